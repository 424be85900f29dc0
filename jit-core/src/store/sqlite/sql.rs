//! Every statement of the store, for review without reading Rust.

/// Schema version that this software writes as `user_version`: the number of [`MIGRATIONS`].
pub(super) const SCHEMA: i64 = 1;

/// Migrations, forward only. New ones are added; none is changed.
pub(super) const MIGRATIONS: [&str; 1] = [r"
-- The store's time, and the counters that every process shares. One row.
CREATE TABLE meta (
    one        INTEGER PRIMARY KEY CHECK (one = 1),
    mark       INTEGER NOT NULL,   -- the latest time given; this and every other time: microseconds since 1970, UTC
    elapsed    INTEGER NOT NULL,   -- microseconds since the start of the machine, when the mark was made
    boot       TEXT,               -- which start
    skew       INTEGER NOT NULL,   -- how far the wall clock was off when it was accepted, microseconds
    doubt_mark INTEGER,            -- what made the clock doubtful
    doubt_wall INTEGER,
    accepts    INTEGER NOT NULL,   -- how often the clock was accepted
    pulse      INTEGER NOT NULL,   -- grows with every commit
    fencing    INTEGER NOT NULL    -- grows with every claim
);

CREATE TABLE records (
    id      INTEGER PRIMARY KEY,
    tenant  TEXT NOT NULL,
    kind    TEXT NOT NULL,
    key     TEXT NOT NULL,
    version INTEGER NOT NULL,
    labels  TEXT,                  -- a JSON object
    lane    TEXT,                  -- lane, due and serial: all or none
    due     INTEGER,
    serial  TEXT,
    body    BLOB NOT NULL,         -- last, so that a look at the others does not read it
    UNIQUE (tenant, kind, key)
);
CREATE INDEX records_turn ON records (serial, lane, due) WHERE serial IS NOT NULL;

-- The labels once more, for pages.
CREATE TABLE labels (
    tenant TEXT NOT NULL,
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    value  TEXT NOT NULL,
    key    TEXT NOT NULL,
    PRIMARY KEY (tenant, kind, name, value, key)
) WITHOUT ROWID;

-- For each serial key and lane the earliest due of its records, so that what waits behind one claim costs nothing.
CREATE TABLE turns (
    serial TEXT NOT NULL,
    lane   TEXT NOT NULL,
    due    INTEGER NOT NULL,
    again  INTEGER,                -- while claimed: when it can be claimed again
    PRIMARY KEY (serial, lane)
) WITHOUT ROWID;
CREATE INDEX turns_next ON turns (lane, again, due);

CREATE TABLE claims (
    serial  TEXT PRIMARY KEY,
    fencing INTEGER NOT NULL,
    until   INTEGER NOT NULL,
    node    TEXT NOT NULL,
    live    INTEGER NOT NULL       -- 0: expired and not yet taken over
) WITHOUT ROWID;
CREATE INDEX claims_end ON claims (until) WHERE live = 1;

-- The audit log. Entries and their numbers are written once.
CREATE TABLE entries (
    seq     INTEGER PRIMARY KEY,   -- the order of the commits
    id      TEXT NOT NULL UNIQUE,
    tenant  TEXT NOT NULL,
    subject TEXT,
    body    BLOB NOT NULL
);
CREATE INDEX entries_subject ON entries (tenant, subject) WHERE subject IS NOT NULL;

CREATE TABLE numbers (
    entry  INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    number INTEGER NOT NULL,
    UNIQUE (tenant, number)
);

CREATE TABLE unnumbered (
    tenant TEXT NOT NULL,
    entry  INTEGER NOT NULL,
    PRIMARY KEY (tenant, entry)
) WITHOUT ROWID;

CREATE TRIGGER entries_no_update BEFORE UPDATE ON entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER entries_no_delete BEFORE DELETE ON entries
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
-- INSERT OR REPLACE deletes without asking the trigger above. (FAIL, not ABORT: an insert that could be undone alone
-- would copy every page before it changes it. The store undoes the whole transaction.)
CREATE TRIGGER entries_no_replace BEFORE INSERT ON entries
WHEN EXISTS (SELECT 1 FROM entries WHERE seq = NEW.seq) OR EXISTS (SELECT 1 FROM entries WHERE id = NEW.id)
BEGIN SELECT RAISE(FAIL, 'the audit log is append-only'); END;

CREATE TRIGGER numbers_no_update BEFORE UPDATE ON numbers
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER numbers_no_delete BEFORE DELETE ON numbers
BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER numbers_no_replace BEFORE INSERT ON numbers
WHEN EXISTS (SELECT 1 FROM numbers WHERE entry = NEW.entry)
  OR EXISTS (SELECT 1 FROM numbers WHERE tenant = NEW.tenant AND number = NEW.number)
BEGIN SELECT RAISE(FAIL, 'the audit log is append-only'); END;
"];

/// Gives a new file pages of 1 KiB, and changes nothing in one that exists. A commit writes every
/// page that it touches, and most of its rows are small: with pages of 4 KiB it writes more than
/// twice as many bytes.
pub(super) const SMALL_PAGES: &str = "PRAGMA page_size = 1024";

/// Settings of the one writer. Its memory for pages of the file is bounded (16 MiB), and nothing is
/// mapped.
pub(super) const WRITER_SETUP: &str = "
PRAGMA cache_size = -16384;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 67108864;
PRAGMA wal_autocheckpoint = 32000;
";

/// Settings of a reader, which keeps 8 MiB at most and cannot write.
pub(super) const READER_SETUP: &str = "
PRAGMA cache_size = -8192;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
PRAGMA trusted_schema = OFF;
PRAGMA query_only = ON;
";

/// Settings of the watcher, which reads one row and moves the write-ahead log into the file.
pub(super) const WATCHER_SETUP: &str = "
PRAGMA cache_size = -1024;
PRAGMA mmap_size = 0;
PRAGMA trusted_schema = OFF;
PRAGMA synchronous = FULL;
PRAGMA wal_autocheckpoint = 0;
";

pub(super) const COMMITS_ARE_DURABLE: &str = "PRAGMA synchronous = FULL";
pub(super) const CLAIMS_NEED_NOT_BE: &str = "PRAGMA synchronous = NORMAL";

pub(super) const BEGIN: &str = "BEGIN IMMEDIATE";
pub(super) const COMMIT: &str = "COMMIT";
pub(super) const ROLLBACK: &str = "ROLLBACK";
pub(super) const SNAPSHOT: &str = "BEGIN DEFERRED";

/// Returns a number that changes with each commit of another connection.
pub(super) const DATA_VERSION: &str = "PRAGMA data_version";
/// Counts the frames in the write-ahead log, and how many of them are in the file already.
pub(super) const LOG_LENGTH: &str = "PRAGMA wal_checkpoint(NOOP)";
pub(super) const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";

pub(super) const META_LOAD: &str =
    "SELECT mark, elapsed, boot, skew, doubt_mark, doubt_wall, accepts, pulse, fencing FROM meta WHERE one = 1";
pub(super) const META_SAVE: &str = "
INSERT INTO meta (one, mark, elapsed, boot, skew, doubt_mark, doubt_wall, accepts, pulse, fencing)
VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
ON CONFLICT (one) DO UPDATE SET mark = ?1, elapsed = ?2, boot = ?3, skew = ?4, doubt_mark = ?5, doubt_wall = ?6,
                                accepts = ?7, pulse = ?8, fencing = ?9";

pub(super) const HEAD: &str =
    "SELECT id, version, labels, lane, due, serial FROM records WHERE tenant = ?1 AND kind = ?2 AND key = ?3";
pub(super) const INSERT: &str = "
INSERT INTO records (tenant, kind, key, version, labels, lane, due, serial, body)
VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8)";
pub(super) const UPDATE: &str = "UPDATE records SET version = ?2, labels = ?3, body = ?4 WHERE id = ?1";
pub(super) const UPDATE_SCHEDULE: &str =
    "UPDATE records SET version = ?2, labels = ?3, body = ?4, lane = ?5, due = ?6, serial = ?7 WHERE id = ?1";
pub(super) const DELETE: &str = "DELETE FROM records WHERE id = ?1";
pub(super) const LABEL_INSERT: &str = "INSERT INTO labels (tenant, kind, name, value, key) VALUES (?1, ?2, ?3, ?4, ?5)";
pub(super) const LABEL_DELETE: &str =
    "DELETE FROM labels WHERE tenant = ?1 AND kind = ?2 AND name = ?3 AND value = ?4 AND key = ?5";

pub(super) const TURN_DUE: &str = "SELECT min(due) FROM records WHERE serial = ?1 AND lane = ?2";
pub(super) const TURN_PUT: &str = "
INSERT INTO turns (serial, lane, due, again)
VALUES (?1, ?2, ?3, (SELECT max(?3, until) FROM claims WHERE serial = ?1 AND live = 1))
ON CONFLICT (serial, lane) DO UPDATE SET due = excluded.due, again = excluded.again";
pub(super) const TURN_DELETE: &str = "DELETE FROM turns WHERE serial = ?1 AND lane = ?2";
pub(super) const TURNS_HOLD: &str = "UPDATE turns SET again = max(due, ?2) WHERE serial = ?1";
pub(super) const TURNS_FREE: &str = "UPDATE turns SET again = NULL WHERE serial = ?1";
pub(super) const TURNS_NEXT: &str =
    "SELECT serial FROM turns WHERE lane = ?1 AND again IS NULL AND due <= ?2 ORDER BY due LIMIT ?3";
pub(super) const TURNS_LATEST: &str = "
SELECT serial FROM turns WHERE lane = ?1 AND again IS NULL AND due > ?4 AND due <= ?2 ORDER BY due DESC LIMIT ?3";
pub(super) const TURN_RECORD: &str = "
SELECT version, labels, lane, due, serial, body, tenant, kind, key
FROM records WHERE serial = ?1 AND lane = ?2 ORDER BY due, id LIMIT 1";

/// Finds the earliest record of each turn that is due before ?3 and that nobody has claimed now
/// (?2). It may never have been claimed, or its claim ended.
pub(super) const UPCOMING: &str = "
SELECT r.version, r.labels, r.lane, r.due, r.serial, r.body, r.tenant, r.kind, r.key
FROM (SELECT * FROM (SELECT serial, due FROM turns WHERE lane = ?1 AND again IS NULL AND due < ?3 ORDER BY due LIMIT ?4)
      UNION ALL
      SELECT serial, due FROM turns WHERE lane = ?1 AND again <= ?2 AND due < ?3) t
CROSS JOIN records r ON r.id = (SELECT id FROM records WHERE serial = t.serial AND lane = ?1 ORDER BY due, id LIMIT 1)
ORDER BY r.due LIMIT ?4";

pub(super) const CLAIM_FENCING: &str = "SELECT fencing FROM claims WHERE serial = ?1";
pub(super) const CLAIM_PUT: &str = "
INSERT INTO claims (serial, fencing, until, node, live) VALUES (?1, ?2, ?3, ?4, 1)
ON CONFLICT (serial) DO UPDATE SET fencing = ?2, until = ?3, node = ?4, live = 1";
pub(super) const CLAIM_RELEASE: &str = "DELETE FROM claims WHERE serial = ?1 AND fencing = ?2";
pub(super) const CLAIMS_EXPIRED: &str = "SELECT serial FROM claims WHERE live = 1 AND until <= ?1";
pub(super) const CLAIMS_EXPIRE: &str = "UPDATE claims SET live = 0 WHERE live = 1 AND until <= ?1";

/// Jumps from lane to lane in the index, and looks at two rows of each.
pub(super) const LANES: &str = "
WITH RECURSIVE lanes (lane) AS (
    SELECT min(lane) FROM turns
    UNION ALL
    SELECT (SELECT min(lane) FROM turns WHERE lane > lanes.lane) FROM lanes WHERE lanes.lane IS NOT NULL
)
SELECT lane,
       (SELECT due FROM turns WHERE turns.lane = lanes.lane AND again IS NULL ORDER BY due LIMIT 1),
       (SELECT again FROM turns WHERE turns.lane = lanes.lane AND again > -9223372036854775808 ORDER BY again LIMIT 1)
FROM lanes WHERE lane IS NOT NULL";

pub(super) const READ: &str = "
SELECT version, labels, lane, due, serial, body
FROM records WHERE tenant = ?1 AND kind = ?2 AND key = ?3";
pub(super) const PAGE: &str = "
SELECT version, labels, lane, due, serial, body, key
FROM records WHERE tenant = ?1 AND kind = ?2 AND key > ?3 ORDER BY key LIMIT ?4";
pub(super) const PAGE_FIRST: &str = "
SELECT version, labels, lane, due, serial, body, key
FROM records WHERE tenant = ?1 AND kind = ?2 ORDER BY key LIMIT ?3";
pub(super) const PAGE_LABEL: &str = "
SELECT r.version, r.labels, r.lane, r.due, r.serial, r.body, r.key
FROM labels l CROSS JOIN records r ON r.tenant = l.tenant AND r.kind = l.kind AND r.key = l.key
WHERE l.tenant = ?1 AND l.kind = ?2 AND l.name = ?5 AND l.value = ?6 AND l.key > ?3 ORDER BY l.key LIMIT ?4";
pub(super) const PAGE_LABEL_FIRST: &str = "
SELECT r.version, r.labels, r.lane, r.due, r.serial, r.body, r.key
FROM labels l CROSS JOIN records r ON r.tenant = l.tenant AND r.kind = l.kind AND r.key = l.key
WHERE l.tenant = ?1 AND l.kind = ?2 AND l.name = ?4 AND l.value = ?5 ORDER BY l.key LIMIT ?3";

pub(super) const ENTRY_INSERT: &str = "INSERT OR FAIL INTO entries (id, tenant, subject, body) VALUES (?1, ?2, ?3, ?4)";
pub(super) const ENTRY_FIND: &str = "SELECT seq FROM entries WHERE id = ?1 AND tenant = ?2";
pub(super) const NUMBER_INSERT: &str = "INSERT OR FAIL INTO numbers (entry, tenant, number) VALUES (?1, ?2, ?3)";
pub(super) const UNNUMBERED_INSERT: &str = "INSERT INTO unnumbered (tenant, entry) VALUES (?1, ?2)";
pub(super) const UNNUMBERED_DELETE: &str = "DELETE FROM unnumbered WHERE tenant = ?1 AND entry = ?2";

pub(super) const ENTRIES: &str = "
SELECT e.id, n.number, e.body FROM numbers n CROSS JOIN entries e ON e.seq = n.entry
WHERE n.tenant = ?1 AND n.number >= ?2 ORDER BY n.number LIMIT ?3";
pub(super) const UNNUMBERED: &str = "
SELECT e.id, NULL, e.body FROM unnumbered u CROSS JOIN entries e ON e.seq = u.entry
WHERE u.tenant = ?1 ORDER BY u.entry LIMIT ?2";
pub(super) const ENTRIES_ABOUT: &str = "
SELECT e.id, n.number, e.body FROM entries e LEFT JOIN numbers n ON n.entry = e.seq
WHERE e.tenant = ?1 AND e.subject = ?2 ORDER BY e.seq LIMIT ?3";
