-- What a server needs beside the record of one machine's runs.

-- Registers: small documents that hold now.
CREATE TABLE registers (
    kind    TEXT NOT NULL,
    id      TEXT NOT NULL,
    version INTEGER NOT NULL,    -- counts its changes from 1
    body    TEXT NOT NULL,       -- JSON
    changed INTEGER NOT NULL,    -- microseconds since 1970, UTC
    expires INTEGER,             -- from then on it is as if it were not there
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX registers_by_expiry ON registers (expires) WHERE expires IS NOT NULL;

-- Runs wait for their turn, and come from somewhere.
ALTER TABLE runs ADD COLUMN started INTEGER;
ALTER TABLE runs ADD COLUMN origin TEXT NOT NULL DEFAULT '';      -- JSON; '': of the command line
ALTER TABLE runs ADD COLUMN origin_name TEXT NOT NULL DEFAULT ''; -- its repository on the server
ALTER TABLE runs ADD COLUMN change TEXT NOT NULL DEFAULT '';      -- number of the pull or merge request
ALTER TABLE runs ADD COLUMN base TEXT NOT NULL DEFAULT '';        -- last part of file

UPDATE runs SET
    started = (SELECT min(time) FROM events WHERE run = runs.id AND kind = 'run.started'),
    base = replace(file, rtrim(file, replace(file, '/', '')), '');

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

-- Kinds of events that few are of: acts, hooks, effects, the ends of runs.
CREATE INDEX events_by_kind ON events (kind) WHERE kind NOT IN ('job.expanded', 'job.queued', 'job.started',
    'job.finished', 'material', 'step.started', 'step.finished', 'tests.reported', 'artifact.saved');
