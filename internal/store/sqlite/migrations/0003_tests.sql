-- What is known of tests: a read model, made from events and the blobs they name.

-- What the results of one job have in common.
CREATE TABLE reports (
    id         INTEGER PRIMARY KEY,
    repository TEXT NOT NULL,
    run        INTEGER NOT NULL,
    job        TEXT NOT NULL,
    time       INTEGER NOT NULL,    -- microseconds since 1970, UTC
    sha        TEXT NOT NULL,
    branch     TEXT NOT NULL,
    base       INTEGER NOT NULL,
    inputs     INTEGER NOT NULL,
    storm      INTEGER NOT NULL
) STRICT;

CREATE INDEX reports_by_run ON reports (repository, run);
CREATE INDEX reports_by_branch ON reports (repository, branch, run);

-- One row a test and variant, as lists show it.
CREATE TABLE tests (
    id         INTEGER PRIMARY KEY,
    repository TEXT NOT NULL,
    variant    TEXT NOT NULL,
    key        TEXT NOT NULL,
    title      TEXT NOT NULL,
    file       TEXT NOT NULL,
    line       INTEGER NOT NULL,
    owner      TEXT NOT NULL,
    state      TEXT NOT NULL,
    why        TEXT NOT NULL,
    until      INTEGER,             -- microseconds since 1970, UTC
    runs       INTEGER NOT NULL,
    failures   INTEGER NOT NULL,
    flakes     INTEGER NOT NULL,
    rate       REAL NOT NULL,
    low        REAL NOT NULL,
    high       REAL NOT NULL,
    seconds    REAL NOT NULL,
    lost       REAL NOT NULL,
    size       INTEGER NOT NULL,
    first      INTEGER,
    last       INTEGER,
    failed     INTEGER,
    UNIQUE (repository, variant, key)
) STRICT;

-- The few tests that something is thought of.
CREATE INDEX tests_by_state ON tests (repository, state) WHERE state <> 'healthy';

-- What a test has learned, and the chunk of its results that grows.
CREATE TABLE histories (
    test    INTEGER PRIMARY KEY REFERENCES tests,
    learned BLOB NOT NULL,          -- suite.Test
    results BLOB NOT NULL,          -- packed: see history.go of package store
    top     INTEGER NOT NULL,       -- the greatest run in it
    chunk   INTEGER NOT NULL        -- its number
) STRICT;

-- The chunks that are full.
CREATE TABLE chunks (
    test    INTEGER NOT NULL REFERENCES tests,
    chunk   INTEGER NOT NULL,       -- counts up from 0
    top     INTEGER NOT NULL,
    results BLOB NOT NULL,
    PRIMARY KEY (test, chunk)
) STRICT, WITHOUT ROWID;
