-- The journal on a server. Times are milliseconds: wake_ms and ticked_ms since 1970, all others of accumulated running
-- time. The tables that SQLite has too are the same there; what several processes need is marked.
CREATE TABLE installation (
    id            BIGINT PRIMARY KEY CHECK (id = 1),
    instance      TEXT   NOT NULL,
    label_key     BYTEA  NOT NULL,
    uptime_ms     BIGINT NOT NULL,
    ticked_ms     BIGINT NOT NULL, -- when uptime_ms was last pushed, on this server's clock (several processes)
    held_until_ms BIGINT
);

-- The truth: the state of a credential after its last entry.
CREATE TABLE credential (
    id           BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         TEXT   NOT NULL UNIQUE,
    account      TEXT   NOT NULL,
    seq          BIGINT NOT NULL,
    chain        BYTEA  NOT NULL,
    state        TEXT   NOT NULL,
    wake_ms      BIGINT,
    waiting      TEXT   NOT NULL,
    token        BIGINT NOT NULL DEFAULT 0, -- grows with each claim (several processes)
    leased_until TIMESTAMPTZ                -- the claim's end (several processes)
);
CREATE INDEX credential_wake ON credential (wake_ms) WHERE wake_ms IS NOT NULL;

-- Its history.
CREATE TABLE event (
    credential BIGINT NOT NULL REFERENCES credential (id),
    seq        BIGINT NOT NULL,
    token      BIGINT NOT NULL, -- of the claim that wrote it (several processes)
    body       TEXT   NOT NULL,
    chain      BYTEA  NOT NULL,
    PRIMARY KEY (credential, seq)
);

-- What has to be found without reading the history.
CREATE TABLE attempt (
    id          TEXT   PRIMARY KEY,
    credential  BIGINT NOT NULL REFERENCES credential (id),
    account     TEXT   NOT NULL,
    intended    TEXT   NOT NULL,
    intended_ms BIGINT NOT NULL,
    abandoned   BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX attempt_intended ON attempt (account, intended_ms);

CREATE TABLE key (
    sid          TEXT   PRIMARY KEY,
    credential   BIGINT NOT NULL REFERENCES credential (id),
    account      TEXT   NOT NULL,
    attempt      TEXT,
    gone         BIGINT NOT NULL DEFAULT 0,
    condemned_ms BIGINT
);
CREATE INDEX key_attempt ON key (attempt) WHERE attempt IS NOT NULL;
CREATE INDEX key_alive ON key (account) WHERE gone = 0;
CREATE INDEX key_condemned ON key (account, condemned_ms) WHERE condemned_ms IS NOT NULL;

-- What showed that the journal had been restored from a backup; each held the deletes once.
CREATE TABLE evidence (
    body TEXT PRIMARY KEY
);

-- The processes that work with this journal, and when each was last heard of (several processes).
CREATE TABLE replica (
    id   TEXT        PRIMARY KEY,
    seen TIMESTAMPTZ NOT NULL
);

-- Breakers that are open, for whoever looks from outside.
CREATE TABLE breaker (
    replica TEXT NOT NULL REFERENCES replica (id) ON DELETE CASCADE,
    account TEXT NOT NULL,
    breaker TEXT NOT NULL,
    PRIMARY KEY (replica, account, breaker)
);

-- What operators ask of the daemon.
CREATE TABLE request (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    body   TEXT NOT NULL
);
