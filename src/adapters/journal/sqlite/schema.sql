-- The journal. Times are milliseconds: *_ms since 1970 for wake_ms, of accumulated running time for all others.
PRAGMA application_id = 0x72656b79;

CREATE TABLE installation (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    instance      TEXT    NOT NULL,
    label_key     BLOB    NOT NULL,
    uptime_ms     INTEGER NOT NULL,
    writes        INTEGER NOT NULL,
    held_until_ms INTEGER
) STRICT;

-- The truth: the state of a credential after its last entry.
CREATE TABLE credential (
    id      INTEGER PRIMARY KEY,
    name    TEXT    NOT NULL UNIQUE,
    account TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    chain   BLOB    NOT NULL,
    state   TEXT    NOT NULL,
    wake_ms INTEGER,
    waiting TEXT    NOT NULL
) STRICT;
CREATE INDEX credential_wake ON credential (wake_ms) WHERE wake_ms IS NOT NULL;

-- Its history.
CREATE TABLE event (
    credential INTEGER NOT NULL REFERENCES credential (id),
    seq        INTEGER NOT NULL,
    body       TEXT    NOT NULL,
    chain      BLOB    NOT NULL,
    PRIMARY KEY (credential, seq)
) STRICT, WITHOUT ROWID;

-- What has to be found without reading the history.
CREATE TABLE attempt (
    id          TEXT    PRIMARY KEY,
    credential  INTEGER NOT NULL REFERENCES credential (id),
    account     TEXT    NOT NULL,
    intended    TEXT    NOT NULL,
    intended_ms INTEGER NOT NULL,
    abandoned   INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX attempt_intended ON attempt (account, intended_ms);

CREATE TABLE key (
    sid          TEXT    PRIMARY KEY,
    credential   INTEGER NOT NULL REFERENCES credential (id),
    account      TEXT    NOT NULL,
    attempt      TEXT,
    gone         INTEGER NOT NULL DEFAULT 0,
    condemned_ms INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX key_attempt ON key (attempt) WHERE attempt IS NOT NULL;
CREATE INDEX key_alive ON key (account) WHERE gone = 0;
CREATE INDEX key_condemned ON key (account, condemned_ms) WHERE condemned_ms IS NOT NULL;

-- What showed that the journal had been restored from a backup; each held the deletes once.
CREATE TABLE evidence (
    body TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Breakers that are open, for whoever looks from outside.
CREATE TABLE breaker (
    account TEXT NOT NULL,
    breaker TEXT NOT NULL,
    PRIMARY KEY (account, breaker)
) STRICT, WITHOUT ROWID;

-- What operators ask of the daemon.
CREATE TABLE request (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    body   TEXT NOT NULL
) STRICT;
