//! The statements that SQLite and PostgreSQL understand alike.

/// The columns that a credential is read from.
macro_rules! credentials {
    ($rest:literal) => {
        concat!("SELECT name, account, seq, state, wake_ms, waiting FROM credential ", $rest)
    };
}

/// The columns that a key is read from.
macro_rules! keys {
    ($rest:literal) => {
        concat!("SELECT k.sid, c.name, k.attempt, k.gone FROM key k JOIN credential c ON c.id = k.credential ", $rest)
    };
}

pub(super) const ROWS: &str = credentials!("ORDER BY name");
pub(super) const ROWS_AFTER: &str = credentials!("WHERE name LIKE $1 || '%' AND name > $2 ORDER BY name LIMIT $3");
pub(super) const ROW: &str = credentials!("WHERE name = $1");
/// A credential whose state was not made from its last entry.
pub(super) const BROKEN: &str = "SELECT c.name FROM credential c \
                                 LEFT JOIN event e ON e.credential = c.id AND e.seq = c.seq \
                                 WHERE c.seq > 0 AND (e.chain IS NULL OR e.chain <> c.chain) LIMIT 1";
pub(super) const HELD_UNTIL: &str = "SELECT held_until_ms FROM installation";
/// One statement, so that an entry that is written just now is seen in both tables or in none.
pub(super) const HISTORY: &str = "SELECT c.seq, c.chain, e.body, e.chain FROM credential c \
                                  LEFT JOIN event e ON e.credential = c.id WHERE c.name = $1 ORDER BY e.seq";
pub(super) const KEYS_ALIVE: &str = keys!("WHERE k.account = $1 AND k.gone = 0");
/// The same as one text, for SQLite.
pub(super) const KEYS_AT_ONCE: &str = "SELECT json_group_array(json_array(k.sid, c.name, k.attempt)) \
                                       FROM key k JOIN credential c ON c.id = k.credential \
                                       WHERE k.account = $1 AND k.gone = 0";
pub(super) const KEY: &str = keys!("WHERE k.sid = $1");
pub(super) const ATTEMPT: &str = "SELECT c.name, a.intended, k.sid FROM attempt a \
                                  JOIN credential c ON c.id = a.credential LEFT JOIN key k ON k.attempt = a.id \
                                  WHERE a.id = $1";
pub(super) const DELETES_SINCE: &str =
    "SELECT count(*) FROM key WHERE account = $1 AND condemned_ms > $2 AND sid <> $3";
pub(super) const ATTEMPTS_SINCE: &str = "SELECT count(*), CAST(coalesce(sum(abandoned), 0) AS BIGINT) FROM attempt \
                                         WHERE account = $1 AND intended_ms > $2";
pub(super) const ASK: &str = "INSERT INTO request (body) VALUES ($1)";
pub(super) const REQUESTS: &str = "SELECT number, body FROM request ORDER BY number";
pub(super) const ANSWERED: &str = "DELETE FROM request WHERE number = $1";
pub(super) const MAKING: &str = "SELECT seq, body FROM subaccount WHERE name = $1";
pub(super) const MAKINGS: &str = "SELECT name, body FROM subaccount ORDER BY name";
/// The compare-and-set: nothing is written if another entry than $2 - 1 is the last one.
pub(super) const NOTE_MAKING: &str = "INSERT INTO subaccount (name, seq, body) \
                                      SELECT CAST($1 AS TEXT), CAST($2 AS BIGINT), CAST($3 AS TEXT) \
                                      WHERE CAST($2 AS BIGINT) = 1 OR EXISTS (SELECT 1 FROM subaccount WHERE name = $1) \
                                      ON CONFLICT (name) DO UPDATE SET seq = excluded.seq, body = excluded.body \
                                      WHERE subaccount.seq = excluded.seq - 1 RETURNING seq";
pub(super) const EVIDENCE: &str = "SELECT body FROM evidence ORDER BY body";
pub(super) const NEW_EVIDENCE: &str = "INSERT INTO evidence (body) VALUES ($1) ON CONFLICT DO NOTHING";
