-- What is known of tests: a read model, made from events and the blobs they name.

-- What the results of one job have in common.
CREATE TABLE reports (
    id         bigint PRIMARY KEY,
    repository text COLLATE "C" NOT NULL,
    run        bigint NOT NULL,
    job        text NOT NULL,
    time       timestamptz NOT NULL,
    sha        text NOT NULL,
    branch     text COLLATE "C" NOT NULL,
    base       boolean NOT NULL,
    inputs     bigint NOT NULL,
    storm      boolean NOT NULL
);

CREATE INDEX reports_by_run ON reports (repository, run);
CREATE INDEX reports_by_branch ON reports (repository, branch, run);

-- One row a test and variant, as lists show it.
CREATE TABLE tests (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    repository text COLLATE "C" NOT NULL,
    variant    text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    title      text COLLATE "C" NOT NULL,
    file       text NOT NULL,
    line       bigint NOT NULL,
    owner      text NOT NULL,
    state      text COLLATE "C" NOT NULL,
    why        text NOT NULL,
    until      timestamptz,
    runs       bigint NOT NULL,
    failures   bigint NOT NULL,
    flakes     bigint NOT NULL,
    rate       double precision NOT NULL,
    low        double precision NOT NULL,
    high       double precision NOT NULL,
    seconds    double precision NOT NULL,
    lost       double precision NOT NULL,
    size       bigint NOT NULL,
    first      timestamptz,
    last       timestamptz,
    failed     timestamptz,
    UNIQUE (repository, variant, key)
) WITH (fillfactor = 50);

-- The few tests that something is thought of.
CREATE INDEX tests_by_state ON tests (repository, state) WHERE state <> 'healthy';

-- What a test has learned, and the chunk of its results that grows. Both are
-- compressed as far as it pays, and change with every result.
CREATE TABLE histories (
    test    bigint PRIMARY KEY REFERENCES tests,
    learned bytea NOT NULL,         -- suite.Test
    results bytea NOT NULL,         -- packed: see history.go of package store
    top     bigint NOT NULL,        -- the greatest run in it
    chunk   bigint NOT NULL         -- its number
) WITH (fillfactor = 50);

ALTER TABLE histories ALTER COLUMN learned SET STORAGE MAIN, ALTER COLUMN results SET STORAGE MAIN;

-- The chunks that are full.
CREATE TABLE chunks (
    test    bigint NOT NULL REFERENCES tests,
    chunk   bigint NOT NULL,        -- counts up from 0
    top     bigint NOT NULL,
    results bytea NOT NULL,
    PRIMARY KEY (test, chunk)
);
