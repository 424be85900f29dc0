//! Every statement that the store sends; what they call stands in `schema.sql`. None of them relies on anything that an earlier one left
//! behind in its connection, so that a pooler may hand every one of them to another. Nor on what the planner believes of the tables: after
//! a restore it knows nothing of a million records, so joins are written as the look-ups that they are.

/// Makes everything, in an empty schema.
pub(super) const SCHEMA_1: &str = include_str!("schema.sql");

/// One at a time brings the schema forward: held until the transaction ends.
pub(super) const MIGRATION_LOCK: &str = "SELECT pg_advisory_xact_lock(7416, 1)";

/// The schema that is there, if any, and whether this user owns it or could make one.
pub(super) const FOUND: &str = "\
SELECT to_regclass('jit.meta') IS NOT NULL AS there, \
       coalesce(has_schema_privilege(to_regnamespace('jit'), 'USAGE'), false) AS usable, \
       coalesce((SELECT pg_has_role(n.nspowner, 'USAGE') FROM pg_namespace n WHERE n.nspname = 'jit'), \
                has_database_privilege(current_database(), 'CREATE')) AS owner, \
       to_regnamespace('jit') IS NOT NULL AS taken, current_setting('server_version_num')::int AS server, \
       pg_is_in_recovery() AS standby";
pub(super) const SCHEMA_OF: &str = "SELECT schema FROM jit.meta";

/// What nodes and auditors may: `NODES` and `AUDITORS` stand for lists of quoted names.
pub(super) const ALLOW_NODES: &str = "\
GRANT USAGE ON SCHEMA jit TO NODES; \
GRANT SELECT ON ALL TABLES IN SCHEMA jit TO NODES; \
GRANT EXECUTE ON FUNCTION jit.time, jit.enter, jit.poll, jit.set_back, jit.accept_clock, jit.commit, jit.claim, jit.unclaim, jit.lanes, jit.upcoming TO NODES";
pub(super) const ALLOW_AUDITORS: &str = "\
GRANT USAGE ON SCHEMA jit TO AUDITORS; \
GRANT SELECT ON jit.audit_log, jit.audit_checkpoints TO AUDITORS";

pub(super) const ENTER: &str = "SELECT jit.enter($1)";
pub(super) const TIME: &str = "SELECT jit.time($1)";
pub(super) const POLL: &str = "SELECT at, clock, corrected, others::text AS others FROM jit.poll($1, $2)";
pub(super) const SET_BACK: &str = "SELECT jit.set_back($1, make_interval(secs => $2))";
pub(super) const ACCEPT_CLOCK: &str = "SELECT jit.accept_clock($1)";
pub(super) const DOUBT: &str = "SELECT doubt_mark, doubt_wall FROM jit.meta";
pub(super) const COMMIT: &str = "SELECT at, answers::text AS answers FROM jit.commit($1, $2, $3::text::jsonb, $4)";
pub(super) const CLAIM: &str = "\
SELECT serial, fencing, until, taken_over, tenant, kind, key, version, lane, due, labels::text AS labels, body \
FROM jit.claim($1, $2, $3, make_interval(secs => $4), $5)";
pub(super) const UNCLAIM: &str = "SELECT jit.unclaim($1, $2)";
pub(super) const LANES: &str = "SELECT lane, next FROM jit.lanes($1)";

/// `$1` the lane, `$2` the store's time, `$3` until when, `$4` how many.
pub(super) const UPCOMING: &str = "\
SELECT tenant, kind, key, version, lane, due, serial, labels::text AS labels, body FROM jit.upcoming($1, $2, $3, $4)";

pub(super) const READ: &str = "\
SELECT u.n, r.tenant, r.kind, r.key, r.version, r.lane, r.due, r.serial, r.labels::text AS labels, r.body \
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS u(tenant, kind, key, n) \
JOIN jit.records r ON r.tenant = u.tenant AND r.kind = u.kind AND r.key = u.key WHERE r.version > 0";
pub(super) const PAGE: &str = "\
SELECT r.tenant, r.kind, r.key, r.version, r.lane, r.due, r.serial, r.labels::text AS labels, r.body FROM jit.records r \
WHERE r.tenant = $1 AND r.kind = $2 AND ($3::text IS NULL OR r.key > $3) AND r.version > 0 ORDER BY r.key LIMIT $4";
pub(super) const PAGE_LABEL: &str = "\
SELECT r.tenant, r.kind, r.key, r.version, r.lane, r.due, r.serial, r.labels::text AS labels, r.body \
FROM jit.labels l CROSS JOIN LATERAL \
(SELECT * FROM jit.records r WHERE r.tenant = l.tenant AND r.kind = l.kind AND r.key = l.key AND r.version > 0 LIMIT 1) r \
WHERE l.tenant = $1 AND l.kind = $2 AND l.name = $5 AND l.value = $6 AND ($3::text IS NULL OR l.key > $3) \
ORDER BY l.key LIMIT $4";

pub(super) const ENTRIES: &str = "\
SELECT e.id::text AS id, n.number, e.body \
FROM jit.numbers n CROSS JOIN LATERAL (SELECT * FROM jit.entries e WHERE e.seq = n.entry LIMIT 1) e \
WHERE n.tenant = $1 AND n.number >= $2 ORDER BY n.number LIMIT $3";
pub(super) const UNNUMBERED: &str = "\
SELECT e.id::text AS id, NULL::bigint AS number, e.body \
FROM jit.unnumbered u CROSS JOIN LATERAL (SELECT * FROM jit.entries e WHERE e.seq = u.entry LIMIT 1) e \
WHERE u.tenant = $1 ORDER BY u.entry LIMIT $2";
pub(super) const ENTRIES_ABOUT: &str = "\
SELECT e.id::text AS id, (SELECT n.number FROM jit.numbers n WHERE n.entry = e.seq) AS number, e.body FROM jit.entries e \
WHERE e.tenant = $1 AND e.subject = $2 ORDER BY e.seq LIMIT $3";

/// On a connection of its own.
pub(super) const LISTEN: &str = "LISTEN jit_store";
