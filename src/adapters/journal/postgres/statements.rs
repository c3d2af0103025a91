//! The statements that only a server with several processes needs.

/// Takes what is due and free. Rows that another process is just taking are passed over instead of waited for.
pub(super) const TAKE_DUE: &str = "WITH due AS ( \
        SELECT id FROM credential \
        WHERE wake_ms <= $1 AND (leased_until IS NULL OR leased_until <= clock_timestamp()) \
              AND name <> ALL($2) AND account <> ALL($3) \
        ORDER BY wake_ms LIMIT $4 FOR UPDATE SKIP LOCKED) \
    UPDATE credential c SET token = token + 1, leased_until = clock_timestamp() + $5 * interval '1 second' \
    FROM due WHERE c.id = due.id \
    RETURNING c.name, c.account, c.seq, c.state, c.wake_ms, c.waiting, c.token";

/// When the next claim of somebody else on something that is due ends, in milliseconds from now.
pub(super) const NEXT_END: &str = "SELECT (extract(epoch FROM min(leased_until) - clock_timestamp()) * 1000)::bigint FROM credential \
     WHERE wake_ms <= $1 AND leased_until > clock_timestamp() AND name <> ALL($2)";

pub(super) const CLAIM: &str = "UPDATE credential SET token = token + 1, leased_until = clock_timestamp() + $2 * interval '1 second' \
     WHERE name = $1 AND (leased_until IS NULL OR leased_until <= clock_timestamp()) \
     RETURNING name, account, seq, state, wake_ms, waiting, token";

pub(super) const RENEW: &str = "UPDATE credential SET leased_until = clock_timestamp() + $3 * interval '1 second' \
     WHERE name = $1 AND token = $2 AND leased_until > clock_timestamp() RETURNING id";

pub(super) const RELEASE: &str =
    "UPDATE credential SET wake_ms = $2, waiting = $3, leased_until = NULL WHERE name = $1 AND token = $4";

/// Pushes the running time by what has passed on the server's clock since the last push, and by no more than $1.
pub(super) const TICK: &str = "UPDATE installation SET ticked_ms = clock.now_ms, \
        uptime_ms = uptime_ms + least(greatest(clock.now_ms - ticked_ms, 0), $1) \
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms) AS clock RETURNING uptime_ms";

pub(super) const NOTE_BREAKERS: &str = "WITH gone AS ( \
        DELETE FROM breaker WHERE replica = $1 AND (account, breaker) NOT IN (SELECT * FROM unnest($2, $3))) \
    INSERT INTO breaker (replica, account, breaker) SELECT $1, * FROM unnest($2, $3) ON CONFLICT DO NOTHING";

pub(super) const BREAKERS: &str = "SELECT DISTINCT b.account, b.breaker FROM breaker b JOIN replica r ON r.id = b.replica \
    WHERE r.seen > clock_timestamp() - interval '3 minutes' ORDER BY 1, 2";

/// Only what was never told before moves the end of the hold.
pub(super) const HOLD: &str = "WITH new AS (INSERT INTO evidence (body) VALUES ($1) ON CONFLICT DO NOTHING RETURNING body) \
    UPDATE installation SET held_until_ms = greatest(coalesce(held_until_ms, 0), $2) FROM new";
