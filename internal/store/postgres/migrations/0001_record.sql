-- The record: events, appended and never changed.
CREATE TABLE events (
    seq    bigint PRIMARY KEY,    -- counts up from 1 without a gap, in the order of commits
    time   timestamptz NOT NULL,
    run    bigint,                -- NULL: belongs to no run
    job    text NOT NULL,
    step   text NOT NULL,
    kind   text COLLATE "C" NOT NULL,
    body   text,                  -- JSON
    packed bytea,                 -- in its place when it is large: JSON, zstd-compressed
    CHECK ((body IS NULL) <> (packed IS NULL))
);

ALTER TABLE events ALTER COLUMN packed SET STORAGE EXTERNAL; -- it is compressed as it is

CREATE INDEX events_by_run ON events (run, seq) WHERE run IS NOT NULL;

-- Kinds of events that few are of: acts, hooks, effects, the ends of runs.
CREATE INDEX events_by_kind ON events (kind, seq) WHERE kind NOT IN ('job.expanded', 'job.queued', 'job.started',
    'job.finished', 'material', 'step.started', 'step.finished', 'tests.reported', 'artifact.saved');

-- How far the record goes. Whoever writes to the record has this one row
-- locked, so that transactions are committed in the order of their events.
CREATE TABLE head (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    seq bigint NOT NULL,          -- of the newest event
    run bigint NOT NULL           -- the newest run's ID
) WITH (fillfactor = 10);

INSERT INTO head (seq, run) VALUES (0, 0);

-- The last attempt of each process to write. It is written in the transaction
-- itself: whoever lost the connection in a commit reads here what became of it.
CREATE TABLE writers (
    id      text PRIMARY KEY,
    attempt bigint NOT NULL,
    at      timestamptz NOT NULL
) WITH (fillfactor = 50);

-- How far each reader has read.
CREATE TABLE marks (
    reader text COLLATE "C" PRIMARY KEY,
    seq    bigint NOT NULL
) WITH (fillfactor = 50);

-- Registers: small documents that hold now.
CREATE TABLE registers (
    kind    text COLLATE "C" NOT NULL,
    id      text COLLATE "C" NOT NULL,
    version bigint NOT NULL,      -- counts its changes from 1
    body    text NOT NULL,        -- JSON
    changed timestamptz NOT NULL,
    expires timestamptz,          -- from then on it is as if it were not there
    PRIMARY KEY (kind, id)
);

CREATE INDEX registers_by_expiry ON registers (expires) WHERE expires IS NOT NULL;

-- Processes that hold leases, and until when unless they say that they live.
CREATE TABLE sessions (
    id    text PRIMARY KEY,
    until timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE leases (
    name    text COLLATE "C" PRIMARY KEY,
    holder  text NOT NULL,        -- for people
    session text NOT NULL REFERENCES sessions ON DELETE CASCADE
);

CREATE INDEX leases_by_session ON leases (session);

-- A read model: one row a run, kept in the transaction of the events it is
-- made from. A row without a beginning is an ID given out and not yet used.
CREATE TABLE runs (
    id          bigint PRIMARY KEY,
    repository  text COLLATE "C" NOT NULL,
    file        text COLLATE "C" NOT NULL,
    number      bigint NOT NULL,
    base        text COLLATE "C" NOT NULL DEFAULT '', -- last part of file
    attempt     bigint NOT NULL DEFAULT 0,
    of          text NOT NULL DEFAULT '',
    root        text COLLATE "C" NOT NULL DEFAULT '',
    name        text COLLATE "C" NOT NULL DEFAULT '',
    event       text NOT NULL DEFAULT '',
    ref         text COLLATE "C" NOT NULL DEFAULT '',
    branch      text COLLATE "C" NOT NULL DEFAULT '',
    sha         text NOT NULL DEFAULT '',
    dirty       boolean NOT NULL DEFAULT false,
    actor       text COLLATE "C" NOT NULL DEFAULT '',
    begun       timestamptz,
    started     timestamptz,
    ended       timestamptz,
    verdict     text COLLATE "C" NOT NULL DEFAULT '',
    why         text NOT NULL DEFAULT '',
    origin      text NOT NULL DEFAULT '',             -- JSON; '': of the command line
    origin_name text COLLATE "C" NOT NULL DEFAULT '', -- its repository on the server
    change      text COLLATE "C" NOT NULL DEFAULT ''  -- number of the pull or merge request
);

CREATE INDEX runs_by_file ON runs (repository, file, number);
CREATE INDEX runs_unfinished ON runs (id) WHERE verdict = '';

-- One index for each way to choose runs. Each ends in the id, so that the
-- newest are found without sorting, however many there are.
CREATE INDEX runs_by_repository ON runs (repository, id);
CREATE INDEX runs_by_origin ON runs (origin_name, id);
CREATE INDEX runs_by_change ON runs (change, origin_name, id) WHERE change <> '';
CREATE INDEX runs_by_branch ON runs (branch, id);
CREATE INDEX runs_by_ref ON runs (ref, id);
CREATE INDEX runs_by_actor ON runs (actor, id);
CREATE INDEX runs_by_path ON runs (file, id);
CREATE INDEX runs_by_base ON runs (base, id);
CREATE INDEX runs_by_name ON runs (name, id);
CREATE INDEX runs_by_verdict ON runs (verdict, id);
CREATE INDEX runs_by_root ON runs (root, id);
