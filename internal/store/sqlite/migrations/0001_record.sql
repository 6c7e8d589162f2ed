-- The record: events, appended and never changed.
CREATE TABLE events (
    seq  INTEGER PRIMARY KEY,    -- counts up from 1 without a gap
    time INTEGER NOT NULL,       -- microseconds since 1970, UTC
    run  INTEGER,                -- NULL: belongs to no run
    job  TEXT NOT NULL,
    step TEXT NOT NULL,
    kind TEXT NOT NULL,
    body ANY NOT NULL            -- TEXT: JSON; BLOB: JSON, zstd-compressed
) STRICT;

CREATE INDEX events_by_run ON events (run) WHERE run IS NOT NULL;

-- How far each reader has read.
CREATE TABLE marks (
    reader TEXT PRIMARY KEY,
    seq    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A read model: one row a run, kept in the transaction of the events it is
-- made from. A row without a beginning is an ID given out and not yet used.
CREATE TABLE runs (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    repository TEXT NOT NULL,
    file       TEXT NOT NULL,
    number     INTEGER NOT NULL,
    attempt    INTEGER NOT NULL DEFAULT 0,
    of         TEXT NOT NULL DEFAULT '',
    root       TEXT NOT NULL DEFAULT '',
    name       TEXT NOT NULL DEFAULT '',
    event      TEXT NOT NULL DEFAULT '',
    ref        TEXT NOT NULL DEFAULT '',
    branch     TEXT NOT NULL DEFAULT '',
    sha        TEXT NOT NULL DEFAULT '',
    dirty      INTEGER NOT NULL DEFAULT 0,
    actor      TEXT NOT NULL DEFAULT '',
    begun      INTEGER,          -- microseconds since 1970, UTC
    ended      INTEGER,
    verdict    TEXT NOT NULL DEFAULT '',
    why        TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE INDEX runs_by_file ON runs (repository, file, number);
CREATE INDEX runs_unfinished ON runs (id) WHERE verdict = '';
