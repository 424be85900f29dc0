//! Every statement that the store sends. The functions that they call stand in `schema.sql`.
//!
//! No statement relies on anything that an earlier one left behind in its connection. A pooler may
//! hand every one of them to another connection. Nor does any rely on the planner's statistics:
//! after a restore the planner knows nothing of a million records, so joins are written as
//! look-ups. Functions are named with their schema, so that no better-fitting function of a
//! stranger is called instead.

/// Creates every object of the store, in an empty schema.
pub(super) const SCHEMA_1: &str = include_str!("schema.sql");

/// Begins a transaction, with names that mean the server's own functions, whatever somebody else
/// has put into a schema of the database.
///
/// [`MIGRATION_LOCK`] then holds up everybody else who brings the schema forward or allows roles,
/// until the transaction ends. If there is no schema yet, making it does the same. Readers may lock
/// the tables against changes of their form: nobody waits for them for long.
pub(super) const BEGIN: &str = "BEGIN; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '10s'";
pub(super) const MIGRATION_LOCK: &str = "SELECT FROM jit.meta FOR UPDATE";

/// Finds the schema, if any, and checks whether this user owns it or could make one. It goes by
/// names in the catalog: `to_regclass` fails if this user may not use the schema, whoever made it.
///
/// - `foreign_owner`: the schema's owner, if that is neither a superuser, nor the database's owner,
///   nor this user.
/// - `foreign`: objects in it that somebody else than the schema's owner owns, and others who may
///   make something in it.
pub(super) const FOUND: &str = "\
SELECT EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relname = 'meta') AS there, \
       coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS usable, \
       coalesce(pg_has_role(n.nspowner, 'USAGE'), has_database_privilege(current_database(), 'CREATE')) AS owner, \
       n.oid IS NOT NULL AS taken, current_setting('server_version_num')::int AS server, pg_is_in_recovery() AS standby, \
       (SELECT o.rolname::text FROM pg_roles o WHERE o.oid = n.nspowner AND NOT o.rolsuper AND o.oid <> d.datdba \
        AND NOT pg_has_role(o.oid, 'USAGE')) AS foreign_owner, \
       (SELECT string_agg(f.what, ', ' ORDER BY f.what) FROM ( \
         SELECT format('`%s` of %s', c.relname, c.relowner::regrole) FROM pg_class c \
         WHERE c.relnamespace = n.oid AND c.relowner <> n.nspowner \
         UNION ALL SELECT format('`%s` of %s', p.proname, p.proowner::regrole) FROM pg_proc p \
         WHERE p.pronamespace = n.oid AND p.proowner <> n.nspowner \
         UNION ALL SELECT format('CREATE of %s', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END) \
         FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner) AS f(what)) AS foreign \
FROM pg_database d LEFT JOIN pg_namespace n ON n.nspname = 'jit' WHERE d.datname = current_database()";
pub(super) const SCHEMA_OF: &str = "SELECT schema FROM jit.meta";

/// Reads the database's quoted name, and the quoted names of the roles that use the store. Also
/// checks whether this user owns the database, and whether everybody may connect to it or make
/// something in its schema `public`.
pub(super) const DATABASE: &str = "\
SELECT quote_ident(d.datname) AS name, pg_has_role(d.datdba, 'USAGE') AS owner, \
       EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT') \
       AS everybody_connects, \
       EXISTS (SELECT FROM pg_namespace n, aclexplode(n.nspacl) a \
               WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE') AS everybody_makes, \
       (SELECT string_agg(a.grantee::regrole::text, ', ') FROM pg_namespace n, aclexplode(n.nspacl) a \
        WHERE n.nspname = 'jit' AND a.grantee <> 0 AND a.privilege_type = 'USAGE') AS users \
FROM pg_database d WHERE d.datname = current_database()";
/// Lets nobody but the owner and the allowed roles connect to the store's database. A stranger
/// there could fill it, wake the nodes, and use up connections. `PLACE` stands for the database's
/// quoted name, `USERS` for a list of such names.
pub(super) const CLOSE: &str = "REVOKE CONNECT ON DATABASE PLACE FROM PUBLIC";
pub(super) const CLOSE_PUBLIC: &str = "REVOKE CREATE ON SCHEMA public FROM PUBLIC";
pub(super) const ALLOW_CONNECT: &str = "GRANT CONNECT ON DATABASE PLACE TO USERS";

/// Rights of nodes and auditors. `NODES` and `AUDITORS` stand for lists of quoted names.
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
pub(super) const SET_BACK: &str = "SELECT jit.set_back($1, pg_catalog.make_interval(secs => $2))";
pub(super) const ACCEPT_CLOCK: &str = "SELECT jit.accept_clock($1)";
pub(super) const DOUBT: &str = "SELECT doubt_mark, doubt_wall FROM jit.meta";
pub(super) const COMMIT: &str = "SELECT at, answers::text AS answers FROM jit.commit($1, $2, $3::text::jsonb, $4)";
pub(super) const CLAIM: &str = "\
SELECT serial, fencing, until, taken_over, tenant, kind, key, version, lane, due, labels::text AS labels, body \
FROM jit.claim($1, $2, $3, pg_catalog.make_interval(secs => $4), $5, $6)";
pub(super) const UNCLAIM: &str = "SELECT jit.unclaim($1, $2)";
pub(super) const LANES: &str = "SELECT lane, next FROM jit.lanes($1)";

/// Lists upcoming records. `$1` the lane, `$2` the store's time, `$3` until when, `$4` how many.
pub(super) const UPCOMING: &str = "\
SELECT tenant, kind, key, version, lane, due, serial, labels::text AS labels, body FROM jit.upcoming($1, $2, $3, $4)";

pub(super) const READ: &str = "\
SELECT u.n, r.tenant, r.kind, r.key, r.version, r.lane, r.due, r.serial, r.labels::text AS labels, r.body \
FROM ROWS FROM (pg_catalog.unnest($1::text[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[])) \
WITH ORDINALITY AS u(tenant, kind, key, n) \
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

/// Listens for commits, on a connection of its own.
pub(super) const LISTEN: &str = "LISTEN jit_store";
