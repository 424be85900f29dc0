//! Every statement that this adapter sends, so that a DBA can review them in one place.
//!
//! There are two kinds of catalog. PostgreSQL 15 keeps one membership per role and member.
//! PostgreSQL 16 and later keep one per grantor, each with its own `inherit_option` and
//! `set_option`. A statement that differs is written for 16, and [`Catalog::text`] cuts it down for
//! 15.
//!
//! Changes are DO blocks of fixed text. Their orders travel beside them as JSON in a setting, and
//! their results come back in `jit.answer`. The server itself looks names up and quotes them. A
//! prepared statement, planned once per connection, decides in advance what the block has to do.

pub(crate) mod dead_mans_switch;
pub(crate) mod set_up;

use jit_core::database::Identity;
use postgres_protocol::escape::{escape_identifier, escape_literal};

/// Form in which the server's catalog keeps memberships.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Catalog {
    /// PostgreSQL 15: one row per role and member, whoever granted it.
    Merged,
    /// PostgreSQL 16 and later: one row per role, member and grantor.
    PerGrantor,
}

impl Catalog {
    /// Returns the kind of catalog for a `server_version_num`; `None` if the server is older than
    /// 15.
    pub(crate) fn of(version: i32) -> Option<Self> {
        match version {
            ..150_000 => None,
            150_000..160_000 => Some(Self::Merged),
            160_000.. => Some(Self::PerGrantor),
        }
    }

    /// Returns the statement in the form for this catalog.
    pub(crate) fn text(self, statement: &str) -> String {
        let text = with_end_session(&statement.replace("{holders m}", HOLDERS_OF));
        let mut text = text.replace("{powers}", &POWERS.replace("{reaches far}", REACHES_FAR));
        text = text.replace("{by kind}", BY_KIND).replace("{only look}", ONLY_LOOK);
        text = text.replace("{without code}", WITHOUT_CODE).replace("{schemas of the broker}", SCHEMAS_OF_THE_BROKER);
        match self {
            Self::PerGrantor => text,
            Self::Merged => {
                for (sixteen, fifteen) in IN_FIFTEEN {
                    text = text.replace(sixteen, fifteen);
                }
                text
            }
        }
    }
}

/// Pairs of a text for 16 and its replacement for 15. The longer forms come first.
const IN_FIFTEEN: [(&str, &str); 6] = [
    ("AND (m.inherit_option OR m.set_option)", ""),
    ("AND m.grantor = ask.me", ""),
    ("e.inherit_option OR e.set_option", "true"),
    ("m.inherit_option", "true"),
    ("m.set_option", "true"),
    ("m.grantor::oid", "NULL::oid"),
];

/// Patience for the settings. Sent before [`SETTINGS`]: an owner of the database can set limits
/// that are too short for them.
pub(crate) const PATIENCE: &str = "\
SET statement_timeout = '30s'; \
SET idle_session_timeout = 0; \
SELECT pg_catalog.set_config('transaction_timeout', '0', false) \
WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL";

/// Settings of every new connection, whatever ALTER ROLE, ALTER DATABASE or postgresql.conf say.
/// [`begin`] sets again, in each transaction, what decides which objects a statement means and what
/// a commit is worth. [`HELLO`] checks that it sees these settings.
///
/// - `search_path`: nothing of the database's own schemas is ever called; temporary objects come
///   last.
/// - `synchronous_commit`: with `off` a crash would bring back what was revoked.
/// - `default_transaction_read_only`: read-only by default is no prohibition, and the broker says
///   that it writes.
/// - `row_security` is on, since `pg_cron` shows each user their own jobs by it.
/// - Timeouts are narrowed by each call.
/// - The planner's settings: everything is found by an index of the catalogs, whose statistics are
///   often missing. A plan made once is as good as the next, and never worth compiling.
/// - `transaction_timeout` is there from 17 on.
pub(crate) const SETTINGS: &str = "\
SET SESSION AUTHORIZATION DEFAULT; \
SET ROLE NONE; \
SET search_path = pg_catalog, pg_temp; \
SET exit_on_error = off; \
SET synchronous_commit = on; \
SET default_transaction_read_only = off; \
SET default_transaction_deferrable = off; \
SET default_transaction_isolation = 'read committed'; \
SET row_security = on; \
SET lock_timeout = '5s'; \
SET idle_in_transaction_session_timeout = '10s'; \
SET idle_session_timeout = 0; \
SET client_connection_check_interval = 0; \
SET client_min_messages = warning; \
SET client_encoding = 'UTF8'; \
SET standard_conforming_strings = on; \
SET backslash_quote = safe_encoding; \
SET quote_all_identifiers = off; \
SET transform_null_equals = off; \
SET array_nulls = on; \
SET DateStyle = 'ISO, YMD'; \
SET IntervalStyle = 'postgres'; \
SET TimeZone = 'UTC'; \
SET bytea_output = 'hex'; \
SET extra_float_digits = 1; \
SET plpgsql.extra_errors = 'none'; \
SET plpgsql.extra_warnings = 'none'; \
SET plan_cache_mode = force_generic_plan; \
SET enable_seqscan = off; \
SET max_parallel_workers_per_gather = 0; \
SET jit = off; \
SET application_name = 'jit'; \
SELECT pg_catalog.set_config('jit.pinned', pg_catalog.pg_backend_pid()::pg_catalog.text, false); \
SELECT pg_catalog.set_config('transaction_timeout', '0', false) \
WHERE pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL";

/// Identifies the server and the login, and checks that [`SETTINGS`] hold here.
pub(crate) const HELLO: &str = "\
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text, \
       r.oid AS broker, r.rolsuper AS superuser, clock_timestamp() AS now, pg_backend_pid() AS pid, \
       has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') AS may_identify, \
       coalesce(current_setting('jit.pinned', true) = pg_backend_pid()::text, false) AS pinned \
FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";

/// Returns the process that serves this connection just now. Works with any search path: a pooler
/// may have lent another connection.
pub(crate) const BACKEND: &str = "SELECT pg_catalog.pg_backend_pid()";

/// Timeline and the position up to which the log is on disk. On one timeline the position never
/// goes back, and a copy that was made earlier is behind.
///
/// The timeline comes from the insert position, which knows it at the moment of a promotion. The
/// control file learns it at the next checkpoint. Managed servers refuse this with 55000 or 0A000.
pub(crate) const POSITION: &str = "\
SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || ' ' || pg_current_wal_flush_lsn() END \
  AS position";

/// Identity of the server: the cluster, a space, and the run of it. The cluster is the same from
/// each of its databases.
///
/// Every copy has the same system identifier. But no two servers that run at the same time on one
/// machine have one port, and hardly two start in the same microsecond. The identity leaves out
/// what one database may hide from the broker and another may not.
const IDENTITY: &str = "\
'postgres:' || (pg_control_system()).system_identifier || ' started ' \
  || to_char(pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') || ', port ' || current_setting('port')";

/// Reads the server's time, its identity, and the process that serves the connection. The time is
/// read before anything else in this statement. Also takes the label off the connection: nothing of
/// its call is under way any more.
pub(crate) fn moment(wal: Wal) -> String {
    let position = match wal {
        Wal::Readable => POSITION,
        Wal::Refused => "SELECT NULL::text AS position",
    };
    format!(
        "SELECT clock_timestamp() AS now, {IDENTITY} AS identity, ({position}) AS position, pg_backend_pid() AS pid, \
         set_config('application_name', 'jit', false) AS unlabelled"
    )
}

/// Text with which the server refuses [`meant_for`], before the identity of the other server.
pub(crate) const ANOTHER_SERVER: &str = "jit: another server: ";

/// Ends the transaction if another server answers than this one.
fn meant_for(server: &Identity) -> String {
    let Identity { realm, incarnation, .. } = server;
    format!(
        "; SELECT CASE WHEN s.id = {} THEN 0 ELSE ('{ANOTHER_SERVER}' || s.id)::int END FROM (SELECT {IDENTITY} AS id OFFSET 0) s",
        escape_literal(&format!("{realm} {incarnation}"))
    )
}

/// Access to the server's write-ahead log: it answers questions about the log, or refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wal {
    Readable,
    /// Questions are refused, as on some managed servers. The position of the log is unknown then.
    Refused,
}

/// Begins the transaction of a call. It writes, whatever the database's default is. Sets the call's
/// label, its time limits, and the only server on which it may go on.
pub(crate) fn begin(
    label: &str,
    lock_timeout_ms: u128,
    statement_timeout_ms: u128,
    server: Option<&Identity>,
) -> String {
    let meant_for = server.map(meant_for).unwrap_or_default();
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL search_path = pg_catalog, pg_temp; \
         SET LOCAL synchronous_commit = on; SET application_name = {label}; SET LOCAL lock_timeout = '{lock_timeout_ms}ms'; \
         SET LOCAL statement_timeout = '{statement_timeout_ms}ms'{meant_for}",
        label = escape_literal(label),
    )
}

/// Puts the orders of a block into a setting.
pub(crate) fn ask(ask: &str) -> String {
    format!("SELECT length(set_config('jit.ask', {}, true))", escape_literal(ask))
}

/// Appends the question for the answer to a block.
pub(crate) fn answered(block: &str) -> String {
    format!("{block}; SELECT current_setting('jit.answer')")
}

/// Sorts the orders to grant one role. Prepared, so that it is planned once per connection.
///
/// `$1` is JSON `{role, role_id, set_role, administrators, orders: [{i, account, account_id,
/// not_after, members, powers}]}`. The answer is JSON `[{i, state, why}]` for orders that need no
/// statement. There i is a list, and state is `ok` or a word of [`crate::grant`]. The setting
/// `jit.todo` gets the remaining work, for [`RUN`].
///
/// The clock is compared before the statement, and again after it got its locks. An account that
/// already has our membership is never narrowed. Administrators are not members of an account, but
/// a member of an administrator is one.
pub(crate) const GRANT: &str = r"
WITH ask AS MATERIALIZED (
  SELECT $1::text::jsonb AS ask, (SELECT oid FROM pg_roles WHERE rolname = current_user) AS me
), given AS MATERIALIZED (
  SELECT r.oid, (SELECT array_to_string(p.powers, ', ') FROM ({powers}) p) AS can
  FROM ask LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce((ask->>'role_id')::oid, (SELECT y.oid FROM pg_roles y WHERE y.rolname = (ask->>'role')::name)) LIMIT 1
  ) r ON true
), administrator AS MATERIALIZED (
  SELECT coalesce(array_agg(r.oid), '{}') AS oids
  FROM ask, jsonb_array_elements_text(ask->'administrators') n, LATERAL (SELECT r.oid FROM pg_roles r WHERE r.rolname = n::name) r
), sorted AS MATERIALIZED (
  SELECT e.i, e.not_after, a.oid AS account, own.mine IS NOT NULL AS again, below.names AS below, given.can,
    CASE WHEN clock_timestamp() >= e.not_after THEN 'late'
         WHEN given.oid IS NULL THEN 'no role'
         WHEN a.oid IS NULL THEN 'no account'
         WHEN a.oid = ask.me THEN 'broker'
         WHEN a.rolsuper THEN 'superuser'
         WHEN given.can IS NOT NULL AND NOT e.powers THEN 'powers'
         WHEN below.names IS NOT NULL AND NOT e.members THEN 'members'
         WHEN own.enough THEN 'ok'
    END AS state
  FROM ask, given, administrator, jsonb_to_recordset(ask->'orders')
         AS e(i int, account name, account_id oid, not_after timestamptz, members bool, powers bool)
  LEFT JOIN LATERAL (
    SELECT x.oid, x.rolsuper FROM pg_roles x
    WHERE x.oid = coalesce(e.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = e.account)) LIMIT 1
  ) a ON true
  LEFT JOIN LATERAL (
    SELECT true AS mine, bool_or(x.enough) AS enough FROM (
      SELECT m.inherit_option AND (m.set_option OR NOT (ask->>'set_role')::bool) AS enough
      FROM pg_auth_members m WHERE m.roleid = given.oid AND m.member = a.oid AND m.grantor = ask.me
    ) x HAVING count(*) > 0
  ) own ON true
  LEFT JOIN LATERAL (
    WITH RECURSIVE member(oid) AS (
      SELECT m.member FROM pg_auth_members m WHERE m.roleid = a.oid AND (m.inherit_option OR m.set_option)
      UNION
      SELECT y.member FROM member x, LATERAL (
        SELECT m.member FROM pg_auth_members m WHERE m.roleid = x.oid AND (m.inherit_option OR m.set_option) OFFSET 0
      ) y WHERE x.oid = ANY (administrator.oids)
    )
    SELECT string_agg(quote_ident(x.rolname), ', ') AS names FROM (
      SELECT r.rolname FROM member x, LATERAL (SELECT r.rolname, r.rolsuper FROM pg_roles r WHERE r.oid = x.oid LIMIT 1) r
      WHERE x.oid <> ask.me AND NOT r.rolsuper AND x.oid <> ALL (administrator.oids) LIMIT 3
    ) x
  ) below ON true
), todo AS (
  SELECT jsonb_build_object('what', 'GRANT', 'role', given.oid, 'whose', 'TO', 'how',
           CASE WHEN current_setting('server_version_num')::int < 160000 THEN ''
                WHEN (ask->>'set_role')::bool THEN 'WITH INHERIT TRUE, SET TRUE GRANTED BY CURRENT_USER'
                WHEN s.again THEN 'WITH INHERIT TRUE GRANTED BY CURRENT_USER'
                ELSE 'WITH INHERIT TRUE, SET FALSE GRANTED BY CURRENT_USER' END,
           'i', s.i, 'each', s.each, 'accounts', s.accounts, 'until', s.until) AS todo
  FROM ask, given, (
    SELECT again, array_agg(i) AS i, array_agg(account) AS each, array_agg(DISTINCT account) AS accounts, min(not_after) AS until
    FROM sorted WHERE state IS NULL GROUP BY again
  ) s
)
SELECT coalesce((SELECT jsonb_agg(jsonb_build_object('i', ARRAY[i], 'state', state,
         'why', CASE state WHEN 'powers' THEN can WHEN 'members' THEN below END)) FROM sorted WHERE state IS NOT NULL), '[]')::text AS answers,
       length(set_config('jit.todo', coalesce((SELECT jsonb_agg(todo) FROM todo), '[]')::text, true)) AS todo";

/// Sorts the orders to take one role, or the right to SET ROLE to it. Works as [`GRANT`]; asks
/// `{role, role_id, until, narrow, store, orders: [{i, account, account_id}]}`.
///
/// A membership that is not there needs no statement. Nor does one that is not ours, if the catalog
/// says whose it is. Our own look decides, since a REVOKE of a missing membership succeeds with a
/// warning. A membership that another store than `store` accounts for needs no statement either.
/// The marks that [`dead_mans_switch::marks`] read right before say so; `store` is null if nothing
/// was read.
pub(crate) const REVOKE: &str = r"
WITH ask AS MATERIALIZED (
  SELECT $1::text::jsonb AS ask, (SELECT oid FROM pg_roles WHERE rolname = current_user) AS me
), taken AS MATERIALIZED (
  SELECT r.oid, (ask->>'until')::timestamptz AS until, (ask->>'narrow')::bool AS narrow
  FROM ask LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce((ask->>'role_id')::oid, (SELECT y.oid FROM pg_roles y WHERE y.rolname = (ask->>'role')::name)) LIMIT 1
  ) r ON true
), sorted AS MATERIALIZED (
  SELECT e.i, a.oid AS account,
    CASE WHEN clock_timestamp() >= taken.until THEN 'late'
         WHEN ask->>'store' IS NOT NULL AND EXISTS (
           SELECT FROM jsonb_to_recordset(nullif(current_setting('jit.marks', true), '')::jsonb) AS k(role oid, account oid, store text)
           WHERE k.role = taken.oid AND k.account = a.oid AND k.store <> ask->>'store') THEN 'theirs'
         WHEN NOT EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = taken.oid AND m.member = a.oid AND m.grantor = ask.me
                          AND (m.set_option OR NOT taken.narrow)) THEN 'gone'
    END AS state
  FROM ask, taken, jsonb_to_recordset(ask->'orders') AS e(i int, account name, account_id oid)
  LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce(e.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = e.account)) LIMIT 1
  ) a ON true
), todo AS (
  SELECT jsonb_build_object('what', CASE WHEN narrow THEN 'REVOKE SET OPTION FOR' ELSE 'REVOKE' END, 'role', taken.oid, 'whose', 'FROM',
           'how', CASE WHEN current_setting('server_version_num')::int < 160000 THEN '' ELSE 'GRANTED BY CURRENT_USER' END,
           'i', s.i, 'each', s.each, 'accounts', s.accounts, 'until', until) AS todo
  FROM taken, (
    SELECT array_agg(i) AS i, array_agg(account) AS each, array_agg(DISTINCT account) AS accounts FROM sorted WHERE state IS NULL
    HAVING count(*) > 0
  ) s
)
SELECT coalesce((SELECT jsonb_agg(jsonb_build_object('i', ARRAY[i], 'state', state)) FROM sorted WHERE state IS NOT NULL), '[]')::text AS answers,
       length(set_config('jit.todo', coalesce((SELECT jsonb_agg(todo) FROM todo), '[]')::text, true)) AS todo";

/// Does the work in `jit.todo`, which only [`GRANT`] and [`REVOKE`] put there, earlier in the same
/// transaction. Answers `[{i, state, why}]`, where state is `ok` or an SQLSTATE.
///
/// The server itself looks names up by oid at this moment, and quotes them. The block is kept short
/// because it is parsed and planned at each call.
///
/// If one statement for all fails by a fault of one account, each account is tried alone. If the
/// fault is the role's, or a lock's, trying each alone would only multiply it.
pub(crate) const RUN: &str = r"DO $jit$
DECLARE
  s       record;
  list    text;
  answers jsonb := '[]';
BEGIN
  FOR s IN SELECT * FROM jsonb_to_recordset(current_setting('jit.todo')::jsonb)
    AS e(what text, role oid, whose text, how text, i int[], each oid[], accounts oid[], until timestamptz)
  LOOP
    BEGIN
      list := array_to_string(s.accounts::regrole[], ', ');
      IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
      EXECUTE concat_ws(' ', s.what, s.role::regrole, s.whose, list, s.how);
      IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
      answers := answers || jsonb_build_object('i', s.i, 'state', 'ok');
    EXCEPTION WHEN OTHERS THEN
      IF cardinality(s.i) = 1 OR SQLSTATE IN ('55P03', '42501', '25006', '40P01') THEN
        answers := answers || jsonb_build_object('i', s.i, 'state', SQLSTATE, 'why', SQLERRM);
      ELSE
        FOR n IN 1 .. cardinality(s.i) LOOP
          BEGIN
            IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
            EXECUTE concat_ws(' ', s.what, s.role::regrole, s.whose, s.each[n]::regrole, s.how);
            IF clock_timestamp() >= s.until THEN RAISE 'late' USING ERRCODE = 'JT001'; END IF;
            answers := answers || jsonb_build_object('i', s.i[n:n], 'state', 'ok');
          EXCEPTION WHEN OTHERS THEN
            answers := answers || jsonb_build_object('i', s.i[n:n], 'state', SQLSTATE, 'why', SQLERRM);
          END;
        END LOOP;
      END IF;
    END;
  END LOOP;
  PERFORM set_config('jit.answer', answers::text, true);
END $jit$";

/// Reads the memberships that are held, one row per subject. `$1` accounts, `$2` their oids, `$3`
/// roles, `$4` their oids, `$5` the broker, `$6` the administrators' names.
///
/// Only memberships that allow some use count as a way from one role to another. (On 16 a
/// membership with neither INHERIT nor SET does not.) The broker and superusers are never counted
/// as members of an account: they need no such way. Administrators are not counted either; their
/// sessions are listed apart.
///
/// A transaction that was prepared under SET ROLE belongs to the role. Nothing says who prepared
/// it, so it may be the account's, and it counts. Roles that may log in are left out: they prepare
/// their own.
///
/// Every step into a catalog is a lateral query that the planner cannot join otherwise (LIMIT,
/// OFFSET 0). Each is therefore a search by an index: a role of 100,000 members costs no more than
/// one of ten.
pub(crate) const OBSERVE: &str = r"
WITH RECURSIVE subject AS MATERIALIZED (
  SELECT u.n, a.oid AS account, a.name AS account_name, r.oid AS role
  FROM unnest($1::name[], $2::oid[], $3::name[], $4::oid[]) WITH ORDINALITY AS u(account, account_id, role, role_id, n)
  LEFT JOIN LATERAL (
    SELECT x.oid, x.rolname::text AS name FROM pg_roles x
    WHERE x.oid = coalesce(u.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = u.account)) LIMIT 1
  ) a ON true
  LEFT JOIN LATERAL (
    SELECT x.oid FROM pg_roles x
    WHERE x.oid = coalesce(u.role_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = u.role)) LIMIT 1
  ) r ON true
), held AS MATERIALIZED (
  SELECT s.*, direct.*, through.*, below.*
  FROM subject s
  LEFT JOIN LATERAL (
    SELECT array_agg(d.grantor ORDER BY d.grantor) AS grantors,
           array_agg((SELECT g.rolname::text FROM pg_roles g WHERE g.oid = d.grantor) ORDER BY d.grantor) AS grantor_names,
           array_agg(d.sets ORDER BY d.grantor) AS sets, array_agg(d.admin_option ORDER BY d.grantor) AS admins
    FROM (
      SELECT m.grantor::oid AS grantor, m.set_option AS sets, m.admin_option
      FROM pg_auth_members m WHERE m.roleid = s.role AND m.member = s.account OFFSET 0
    ) d
  ) direct ON true
  LEFT JOIN LATERAL (
    WITH RECURSIVE above(hop, role) AS (
      SELECT m.roleid, m.roleid FROM pg_auth_members m WHERE m.member = s.account AND (m.inherit_option OR m.set_option)
      UNION
      SELECT x.hop, y.roleid FROM above x, LATERAL (
        SELECT m.roleid FROM pg_auth_members m WHERE m.member = x.role AND (m.inherit_option OR m.set_option) OFFSET 0
      ) y
    )
    SELECT array_agg(DISTINCT (SELECT h.rolname::text FROM pg_roles h WHERE h.oid = x.hop)) AS through
    FROM above x WHERE x.role = s.role AND x.hop <> s.role
  ) through ON true
  LEFT JOIN LATERAL (
    WITH RECURSIVE member(oid) AS (
      SELECT m.member FROM pg_auth_members m WHERE m.roleid = s.account AND (m.inherit_option OR m.set_option)
      UNION
      SELECT y.member FROM member x, LATERAL (
        SELECT m.member FROM pg_auth_members m WHERE m.roleid = x.oid AND (m.inherit_option OR m.set_option) OFFSET 0
      ) y
    )
    SELECT array_agg(r.oid) FILTER (WHERE NOT r.administers) AS member_oids,
           array_agg(r.name ORDER BY r.name) FILTER (WHERE NOT r.administers) AS members,
           array_agg(r.oid) FILTER (WHERE r.administers) AS administrator_oids
    FROM member x, LATERAL (
      SELECT r.oid, r.rolname::text AS name, r.rolsuper, r.rolname::text = ANY ($6::text[]) AS administers FROM pg_roles r WHERE r.oid = x.oid LIMIT 1
    ) r
    WHERE r.oid <> $5 AND NOT r.rolsuper
  ) below ON true
), holder AS MATERIALIZED (
  SELECT n, account AS oid FROM held WHERE account <> $5 UNION ALL SELECT n, unnest(member_oids) FROM held
), session AS (
  SELECT h.n, array_agg(s.pid ORDER BY s.pid) AS pids, array_agg(s.usesysid ORDER BY s.pid) AS users,
         array_agg((SELECT r.rolname::text FROM pg_roles r WHERE r.oid = s.usesysid) ORDER BY s.pid) AS session_names,
         array_agg(s.backend_start ORDER BY s.pid) AS since
  FROM pg_stat_get_activity(NULL) s JOIN holder h ON h.oid = s.usesysid WHERE s.pid <> pg_backend_pid() GROUP BY h.n
), apart AS (
  SELECT h.n, array_agg(s.pid ORDER BY s.pid) AS pids,
         array_agg((SELECT r.rolname::text FROM pg_roles r WHERE r.oid = s.usesysid) ORDER BY s.pid) AS session_names,
         array_agg(s.backend_start ORDER BY s.pid) AS since
  FROM pg_stat_get_activity(NULL) s JOIN (SELECT n, unnest(administrator_oids) AS oid FROM held) h ON h.oid = s.usesysid GROUP BY h.n
), prepared AS (
  SELECT h.n, array_agg(p.gid ORDER BY p.gid) AS gids,
         array_agg((SELECT d.datname::text FROM pg_database d WHERE d.oid = p.dbid) ORDER BY p.gid) AS databases,
         array_agg((SELECT r.rolname::text FROM pg_roles r WHERE r.oid = p.ownerid) ORDER BY p.gid) AS owners
  FROM pg_prepared_xact() p CROSS JOIN LATERAL (
    SELECT h.n FROM holder h WHERE h.oid = p.ownerid
    UNION
    SELECT s.n FROM subject s, LATERAL (
      WITH RECURSIVE above(oid) AS (
        SELECT s.role
        UNION
        SELECT y.roleid FROM above x, LATERAL (SELECT m.roleid FROM pg_auth_members m WHERE m.member = x.oid AND m.set_option OFFSET 0) y
      )
      SELECT FROM above x WHERE x.oid = p.ownerid LIMIT 1
    ) reached
    WHERE s.account IS NOT NULL AND EXISTS (SELECT FROM pg_roles r WHERE r.oid = p.ownerid AND NOT r.rolcanlogin)
  ) h GROUP BY h.n
)
SELECT s.account, s.account_name, s.role, s.grantors, s.grantor_names, s.sets, s.admins, s.through, s.members,
  session.pids, session.users, session.session_names, session.since,
  apart.pids AS apart_pids, apart.session_names AS apart_names, apart.since AS apart_since,
  prepared.gids, prepared.databases, prepared.owners
FROM held s
LEFT JOIN session ON session.n = s.n
LEFT JOIN apart ON apart.n = s.n
LEFT JOIN prepared ON prepared.n = s.n
ORDER BY s.n";

/// Lists the powers of a role: what reaches beyond its objects or outlives a membership. Covers the
/// role itself and every role that it is a member of.
///
/// A list names what is harmless: rights on tables, sequences, functions, types, large objects and
/// schemas of the database's own, and owning such objects. Everything else is a power:
///
/// - Each attribute of a role is one. With LOGIN, a grantee that may SET ROLE can give the role a
///   password and come back as it.
/// - Each predefined role is one, except those that only look.
/// - ADMIN OPTION is one, and being the broker.
/// - Owning a database is one, making schemas in it, and the schemas `jit` and `cron`.
/// - So is what belongs to the system, and whatever else the catalog knows rights on.
///
/// For other databases only the kind of an object is known. Stands in other statements as
/// `{powers}`, where `r` is the role: one row with the array `powers`.
const POWERS: &str = r"WITH RECURSIVE above(oid) AS (
      SELECT r.oid
      UNION
      SELECT y.roleid FROM above x, LATERAL (SELECT m.roleid FROM pg_auth_members m WHERE m.member = x.oid OFFSET 0) y
    )
    SELECT array_agg(DISTINCT w.word) AS powers
    FROM above x, LATERAL (
      SELECT r.rolname::text AS name, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls, r.rolcanlogin
      FROM pg_roles r WHERE r.oid = x.oid LIMIT 1
    ) r, LATERAL (
      SELECT 'SUPERUSER' AS word WHERE r.rolsuper
      UNION ALL SELECT 'CREATEROLE' WHERE r.rolcreaterole
      UNION ALL SELECT 'CREATEDB' WHERE r.rolcreatedb
      UNION ALL SELECT 'REPLICATION' WHERE r.rolreplication
      UNION ALL SELECT 'BYPASSRLS' WHERE r.rolbypassrls
      UNION ALL SELECT 'LOGIN' WHERE r.rolcanlogin
      UNION ALL SELECT 'everything that the broker may' WHERE r.name = current_user
      UNION ALL SELECT r.name WHERE (r.name LIKE 'pg\_%' OR r.name IN ('rds_superuser', 'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin'))
                AND r.name NOT IN ({only look})
      UNION ALL SELECT 'ADMIN OPTION on ' || quote_ident((SELECT g.rolname FROM pg_roles g WHERE g.oid = m.roleid))
                FROM pg_auth_members m WHERE m.member = x.oid AND m.admin_option
      UNION ALL SELECT CASE s.deptype WHEN 'o' THEN 'owner of ' ELSE 'rights on ' END || CASE WHEN s.here
                  THEN coalesce(pg_describe_object(s.classid, s.objid, 0), 'an object that is gone by now')
                  ELSE format('object %s of %s in database %s', s.objid, s.classid::regclass, (SELECT quote_ident(b.datname) FROM pg_database b WHERE b.oid = s.dbid))
                END
        FROM (
          SELECT d.dbid, d.classid, d.objid, d.deptype, d.objid < 16384 AND d.objid <> 2200 AS built_in,
            d.dbid = 0 OR d.dbid = (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()) AS here
          FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = x.oid AND d.deptype IN ('o', 'a') OFFSET 0
        ) s
        WHERE CASE
          {by kind}
          WHEN s.classid = 'pg_language'::regclass AND s.deptype = 'a' AND s.here
            THEN NOT (SELECT l.lanpltrusted FROM pg_language l WHERE l.oid = s.objid)
          WHEN s.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass) THEN true
          WHEN NOT s.here OR s.deptype = 'o' AND s.built_in THEN s.built_in
          WHEN s.objid = ANY (ARRAY({schemas of the broker}))
            OR s.objid = ANY (ARRAY(SELECT d.objid FROM pg_depend d
              WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid IN ({schemas of the broker}))) THEN true
          WHEN s.classid = 'pg_namespace'::regclass AND EXISTS (
            -- functions that everybody may call, in a schema that not everybody may use
            SELECT FROM pg_namespace n WHERE n.oid = s.objid
              AND (s.deptype = 'o' OR EXISTS (SELECT FROM aclexplode(n.nspacl) e WHERE e.grantee = x.oid AND e.privilege_type = 'USAGE'))
              AND NOT EXISTS (SELECT FROM aclexplode(n.nspacl) e WHERE e.grantee = 0 AND e.privilege_type = 'USAGE')
              AND EXISTS (
                SELECT FROM pg_depend d JOIN pg_proc f ON f.oid = d.objid
                WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid AND d.classid = 'pg_proc'::regclass AND f.prosecdef
                  AND EXISTS (SELECT FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) e
                    WHERE e.grantee = 0 AND e.privilege_type = 'EXECUTE')
                  AND {reaches far})) THEN true
          WHEN s.deptype = 'o' THEN false
          WHEN s.classid = 'pg_namespace'::regclass THEN s.built_in AND EXISTS (
            SELECT FROM pg_namespace n, aclexplode(n.nspacl) e WHERE n.oid = s.objid AND e.grantee = x.oid AND e.privilege_type = 'CREATE')
          WHEN s.classid = 'pg_class'::regclass THEN s.built_in AND EXISTS (
            SELECT FROM pg_class c, LATERAL (
              SELECT e.*, NULL::aclitem[] AS of_column FROM aclexplode(c.relacl) e
              UNION ALL SELECT e.*, t.attacl FROM pg_attribute t, aclexplode(t.attacl) e WHERE t.attrelid = c.oid
            ) e WHERE c.oid = s.objid AND e.grantee = x.oid AND NOT EXISTS (
              SELECT FROM (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(e.of_column)) p
              WHERE p.grantee = 0 AND p.privilege_type = e.privilege_type))
          ELSE EXISTS (
            SELECT FROM pg_proc f, aclexplode(f.proacl) e WHERE f.oid = s.objid AND e.grantee = x.oid
              AND (f.prolang IN (SELECT l.oid FROM pg_language l WHERE NOT l.lanpltrusted AND l.lanname <> 'sql')
                OR f.prosecdef AND {reaches far})
              AND NOT EXISTS (SELECT FROM aclexplode(f.proacl) p WHERE p.grantee = 0 AND p.privilege_type = 'EXECUTE'))
        END
    ) w";

/// Checks whether the owner of the function `f` can do more than use objects. The measure is that
/// of [`POWERS`], apart from functions that the owner may call in turn, and from LOGIN. Stands in
/// [`POWERS`] as `{reaches far}`.
const REACHES_FAR: &str = r"EXISTS (
                WITH RECURSIVE own(oid) AS (
                  SELECT f.proowner
                  UNION
                  SELECT y.roleid FROM own x, LATERAL (SELECT m.roleid FROM pg_auth_members m WHERE m.member = x.oid OFFSET 0) y
                )
                SELECT FROM own x JOIN pg_roles o ON o.oid = x.oid
                WHERE o.oid = f.proowner AND (o.rolsuper OR o.rolcreaterole OR o.rolcreatedb OR o.rolreplication OR o.rolbypassrls
                    OR o.rolname = current_user)
                  OR o.rolname LIKE 'pg\_%'
                    AND o.rolname NOT IN ({only look})
                  OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = x.oid AND m.admin_option)
                  OR EXISTS (
                    SELECT FROM pg_shdepend s
                    WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = x.oid AND s.deptype IN ('o', 'a') AND CASE
                      {by kind}
                      WHEN s.classid = 'pg_language'::regclass AND s.deptype = 'a'
                        THEN NOT coalesce((SELECT l.lanpltrusted FROM pg_language l WHERE l.oid = s.objid), false)
                      WHEN s.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_namespace'::regclass) THEN true
                      ELSE s.objid < 16384 AND s.objid <> 2200 OR s.objid = ANY (ARRAY({schemas of the broker}))
                    END))";

/// Predefined roles that are no power: they only look. Stands in [`POWERS`] and [`REACHES_FAR`] as
/// `{only look}`.
const ONLY_LOOK: &str =
    "'pg_monitor', 'pg_read_all_settings', 'pg_read_all_stats', 'pg_stat_scan_tables', 'pg_database_owner'";

/// First branches about the row `s` of `pg_shdepend`, whose role is `x`: objects that are judged
/// without looking into them. Stands in [`POWERS`] and [`REACHES_FAR`] as `{by kind}`.
const BY_KIND: &str = r"WHEN s.classid IN ({without code}) THEN false
          WHEN s.classid = 'pg_database'::regclass AND s.deptype = 'a'
            THEN EXISTS (SELECT FROM pg_database b, aclexplode(b.datacl) e WHERE b.oid = s.objid AND e.grantee = x.oid AND e.privilege_type = 'CREATE')";

/// Classes of objects on which no right reaches beyond the object itself. Stands in [`BY_KIND`] as
/// `{without code}`.
const WITHOUT_CODE: &str = "'pg_auth_members'::regclass, 'pg_authid'::regclass, 'pg_default_acl'::regclass, 'pg_largeobject'::regclass, \
'pg_type'::regclass, 'pg_collation'::regclass, 'pg_conversion'::regclass, 'pg_operator'::regclass, 'pg_opclass'::regclass, \
'pg_opfamily'::regclass, 'pg_statistic_ext'::regclass, 'pg_ts_config'::regclass, 'pg_ts_dict'::regclass";

/// Schemas in which code runs as the broker, or as somebody who lets it end sessions. Stands in
/// [`POWERS`] and [`REACHES_FAR`] as `{schemas of the broker}`.
const SCHEMAS_OF_THE_BROKER: &str = "SELECT n.oid FROM pg_namespace n WHERE n.nspname IN ('jit', 'cron', 'jit_sessions') OR n.nspname LIKE 'jit\\_of\\_%'";

/// Function by which an administrator lets the broker end sessions. Such an administrator may end
/// sessions, and may not pass that right on. The function runs as its owner.
pub(crate) const END_SESSION: &str = "jit_sessions.end_session(integer, oid)";

/// Body of that function.
const END_SESSION_BODY: &str = "SELECT pg_catalog.bool_or(pg_catalog.pg_terminate_backend(s.pid)) FROM pg_catalog.pg_stat_get_activity(NULL) s \
JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) s.usesysid \
WHERE s.pid OPERATOR(pg_catalog.=) $1 AND s.usesysid OPERATOR(pg_catalog.=) $2 AND NOT r.rolsuper";

/// Finds the function's row, if the function can be relied on:
///
/// - Its body is the one that jit made.
/// - Nobody but its owner and the broker may call it.
/// - The owner gains nothing by it: the owner is a superuser, or could set the broker's password
///   anyway.
/// - Its schema belongs to that owner or a superuser, and nobody else may create in it.
///
/// Stands in other statements as `{end_session}`.
const END_SESSION_THERE: &str = r"SELECT f.oid, f.proowner FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace JOIN pg_roles own ON own.oid = f.proowner
      WHERE n.nspname = 'jit_sessions' AND f.proname = 'end_session' AND f.proargtypes::text = '23 26' AND f.prorettype = 16 AND f.prokind = 'f'
        AND f.prosecdef AND NOT f.proretset AND f.prolang = (SELECT l.oid FROM pg_language l WHERE l.lanname = 'sql')
        AND f.prosqlbody IS NULL AND f.prosrc = {end_session_body} AND f.proconfig = ARRAY['search_path=pg_catalog, pg_temp']
        AND (own.rolsuper OR own.rolcreaterole AND (current_setting('server_version_num')::int < 160000
          OR pg_has_role(own.oid, (SELECT b.oid FROM pg_roles b WHERE b.rolname = current_user), 'MEMBER WITH ADMIN OPTION')))
        AND NOT EXISTS (SELECT FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) a
          WHERE a.grantee <> f.proowner AND a.grantee <> (SELECT b.oid FROM pg_roles b WHERE b.rolname = current_user))
        AND NOT EXISTS (SELECT FROM (
            SELECT n.nspowner AS oid UNION ALL SELECT a.grantee FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE'
          ) w WHERE w.oid <> f.proowner AND NOT EXISTS (SELECT FROM pg_roles t WHERE t.oid = w.oid AND t.rolsuper))
        AND has_schema_privilege(n.oid, 'USAGE') AND has_function_privilege(f.oid, 'EXECUTE')";

/// Says who else could change what is in the schema of [`END_SESSION`], as one text. NULL if nobody
/// could except superusers and the role that runs this.
const SESSIONS_TAKEN: &str = r"(SELECT string_agg(w.why, '; ') FROM pg_namespace n, LATERAL (
      SELECT format('schema jit_sessions belongs to %s', quote_ident(pg_get_userbyid(n.nspowner))) AS why, n.nspowner AS oid
      UNION ALL SELECT format('%s may create in schema jit_sessions', CASE a.grantee WHEN 0 THEN 'everybody' ELSE quote_ident(pg_get_userbyid(a.grantee)) END),
        a.grantee FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE' AND a.grantee <> n.nspowner
    ) w WHERE n.nspname = 'jit_sessions' AND NOT EXISTS (SELECT FROM pg_roles t WHERE t.oid = w.oid AND (t.rolsuper OR t.rolname = current_user)))";

/// Returns statements that stop a block if that schema is somebody else's. The block needs a text
/// variable `why`.
pub(crate) fn refuse_sessions_taken() -> String {
    format!(
        r"why := {SESSIONS_TAKEN};
  IF why IS NOT NULL THEN
    RAISE EXCEPTION 'jit is not set up: %', why USING HINT = 'Drop that schema, or let them run this.';
  END IF;"
    )
}

/// Returns the statements that an administrator runs in the target's database to make the function.
/// They can be run as often as the administrator likes. One block makes everything. A client that
/// goes on after an error therefore makes nothing in a schema of somebody else's.
pub(crate) fn make_end_session(broker: &str) -> String {
    format!(
        r"DROP FUNCTION IF EXISTS {END_SESSION};
DO $jit$
DECLARE
  why  pg_catalog.text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  {refuse}
  IF NOT EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = 'jit_sessions') THEN
    CREATE SCHEMA jit_sessions;
  END IF;
  CREATE FUNCTION {END_SESSION} RETURNS boolean LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS {body};
  REVOKE ALL ON FUNCTION {END_SESSION} FROM PUBLIC;
  GRANT USAGE ON SCHEMA jit_sessions TO {broker};
  GRANT EXECUTE ON FUNCTION {END_SESSION} TO {broker};
END $jit$",
        refuse = refuse_sessions_taken(),
        body = escape_literal(END_SESSION_BODY),
    )
}

/// Writes out the check of that function in a statement.
fn with_end_session(statement: &str) -> String {
    let there = END_SESSION_THERE.replace("{end_session_body}", &escape_literal(END_SESSION_BODY));
    statement.replace("{end_session}", &there)
}

/// Signals sessions to end. Asks `{sessions: [{pid, user}]}`. Answers `[{i, state, why}]` for those
/// that could not be signalled (i lists pids). A pid that meanwhile belongs to somebody else is
/// left alone.
///
/// A broker that does not inherit pg_signal_backend takes it by SET ROLE, for this transaction
/// only. A broker that has neither calls [`END_SESSION`], which is checked right before.
pub(crate) const TERMINATE: &str = r"DO $jit$
DECLARE
  o       record;
  answers jsonb[] := '{}';
BEGIN
  IF NOT pg_has_role('pg_signal_backend', 'USAGE') AND pg_has_role('pg_signal_backend', 'MEMBER') THEN
    BEGIN
      SET LOCAL ROLE pg_signal_backend;
    EXCEPTION WHEN insufficient_privilege THEN
      NULL;
    END;
  END IF;
  FOR o IN
    SELECT s.pid, s.usesysid FROM jsonb_to_recordset(current_setting('jit.ask')::jsonb->'sessions') AS e(pid int, usesysid oid)
    JOIN pg_stat_activity s USING (pid, usesysid) WHERE s.pid <> pg_backend_pid()
  LOOP
    BEGIN
      IF NOT pg_has_role('pg_signal_backend', 'USAGE') AND EXISTS ({end_session}) THEN
        PERFORM jit_sessions.end_session(o.pid, o.usesysid);
      ELSE
        PERFORM pg_terminate_backend(o.pid);
      END IF;
    EXCEPTION WHEN OTHERS THEN
      answers := answers || jsonb_build_object('i', ARRAY[o.pid], 'state', SQLSTATE, 'why', SQLERRM);
    END;
  END LOOP;
  PERFORM set_config('jit.answer', to_jsonb(answers)::text, true);
END $jit$";

/// Counts how many of these sessions are still there. `$1` pids, `$2` the oids they logged in as.
pub(crate) const STILL_THERE: &str = "\
SELECT count(*) FROM unnest($1::int[], $2::oid[]) AS e(pid, usesysid) JOIN pg_stat_get_activity(NULL) s USING (pid, usesysid)";

/// Lists the broker's own sessions that carry one of these labels. `$1` labels, `$2` the broker.
pub(crate) const LABELLED: &str = "\
SELECT s.pid, s.application_name AS label, clock_timestamp() AS now FROM pg_stat_get_activity(NULL) s \
WHERE s.usesysid = $2 AND s.application_name = ANY ($1::text[]) AND s.pid <> pg_backend_pid()";

/// Reads the server's time.
pub(crate) const NOW: &str = "SELECT clock_timestamp()";

/// Ends one of the broker's own sessions, which every role may do.
pub(crate) const TERMINATE_OWN: &str = "\
SELECT pg_terminate_backend(s.pid) FROM pg_stat_get_activity(NULL) s \
WHERE s.usesysid = $2 AND s.pid = ANY ($1::int[]) AND s.pid <> pg_backend_pid()";

/// Lists the processes that change memberships of this role just now. On 16 these are the holders
/// of its lock, on 15 those that write the catalog. `$1` the role's name, `$2` its oid, `$3` the
/// broker.
pub(crate) const BLOCKERS: &str = "\
SELECT DISTINCT l.pid, coalesce(s.usename::text, '(unknown)') AS name, s.state, s.usesysid = $3::oid AS ours, \
  (SELECT p.gid FROM pg_prepared_xact() p WHERE l.pid IS NULL AND l.virtualtransaction = '-1/' || p.transaction::text) AS gid \
FROM pg_locks l LEFT JOIN pg_stat_activity s USING (pid) \
WHERE l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND ( \
  (l.locktype = 'object' AND l.classid = 'pg_authid'::regclass AND l.mode <> 'AccessShareLock' AND l.objid = coalesce($2::oid, \
     (SELECT oid FROM pg_roles WHERE rolname = $1::name))) \
  OR (l.locktype = 'relation' AND l.relation = 'pg_auth_members'::regclass AND l.mode <> 'AccessShareLock')) \
ORDER BY l.pid LIMIT 5";

/// Lists sessions that block a backend of the broker with this label. Only sessions of these
/// accounts, or of members that act as them, are listed. `$1` the accounts, `$2` their oids, `$3`
/// the broker, `$4` the label, `$5` the administrators' names.
pub(crate) const IN_THE_WAY: &str = "\
WITH RECURSIVE holder(oid) AS ( \
  SELECT r.oid FROM unnest($1::name[], $2::oid[]) u(account, account_id), pg_roles r \
  WHERE r.oid = coalesce(u.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = u.account)) \
  UNION SELECT m.member FROM holder h JOIN pg_auth_members m ON m.roleid = h.oid AND (m.inherit_option OR m.set_option) \
) \
SELECT DISTINCT b.pid, s.usesysid FROM pg_stat_get_activity(NULL) w, unnest(pg_blocking_pids(w.pid)) b(pid) \
JOIN pg_stat_get_activity(NULL) s ON s.pid = b.pid JOIN holder h ON h.oid = s.usesysid JOIN pg_roles r ON r.oid = h.oid AND NOT r.rolsuper \
WHERE w.usesysid = $3 AND w.application_name = $4 AND h.oid <> $3 \
  AND (r.rolname = ANY ($1::name[]) OR r.rolname::text <> ALL ($5::text[]))";

/// Lists the owned objects of the accounts and roles in the whole cluster. They are found by the
/// shared catalog that DROP ROLE uses. Names are known of this database's objects only.
///
/// Also lists what they gave in their own name: memberships, rights, default privileges, policies,
/// triggers, rules and settings of a database. An object that can be altered under its name, such
/// as a function's definition, has a version.
///
/// One row per subject, so that nothing can be cut off. `$1` accounts, `$2` their oids, `$3` roles,
/// `$4` their oids, `$5` how many of each kind at most.
pub(crate) const BELONGINGS: &str = r"
WITH subject AS MATERIALIZED (
  SELECT u.n, x.oid, x.rolname, x.whose
  FROM unnest($1::name[], $2::oid[], $3::name[], $4::oid[]) WITH ORDINALITY AS u(account, account_id, role, role_id, n),
  LATERAL (
    (SELECT r.oid, r.rolname, 'account' AS whose FROM pg_roles r
       WHERE r.oid = coalesce(u.account_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = u.account)) LIMIT 1)
    UNION ALL
    (SELECT r.oid, r.rolname, 'role' FROM pg_roles r
       WHERE r.oid = coalesce(u.role_id, (SELECT y.oid FROM pg_roles y WHERE y.rolname = u.role)) LIMIT 1)
  ) x
), here AS (
  SELECT oid FROM pg_database WHERE datname = current_database()
), thing AS MATERIALIZED (
SELECT s.n, t.id, t.what || ' (by ' || s.whose || ' ' || quote_ident(s.rolname) || ')' AS what, t.version
FROM subject s, here, LATERAL (
  (SELECT concat_ws('/', 'owns', d.dbid, d.classid, d.objid, d.objsubid) AS id,
     CASE WHEN d.dbid IN (0, here.oid) THEN coalesce(pg_describe_object(d.classid, d.objid, d.objsubid), 'an object that is gone by now')
          ELSE format('object %s of %s in database %s', d.objid, d.classid::regclass, (SELECT quote_ident(b.datname) FROM pg_database b WHERE b.oid = d.dbid))
     END || CASE WHEN d.classid = 'pg_proc'::regclass AND d.dbid = here.oid AND (SELECT p.prosecdef FROM pg_proc p WHERE p.oid = d.objid)
       THEN ', SECURITY DEFINER' ELSE '' END AS what,
     CASE WHEN d.dbid NOT IN (0, here.oid) THEN NULL ELSE CASE d.classid
       WHEN 'pg_proc'::regclass THEN (SELECT md5(concat_ws('/', p.prosecdef, p.proleakproof, p.prolang, p.proconfig, p.probin, p.prosqlbody, p.prosrc))
         FROM pg_proc p WHERE p.oid = d.objid)
       WHEN 'pg_class'::regclass THEN (SELECT md5(concat_ws('/', c.relrowsecurity, c.relforcerowsecurity, c.reloptions,
           (SELECT string_agg(md5(w.ev_action::text), ',' ORDER BY w.oid) FROM pg_rewrite w WHERE w.ev_class = c.oid AND w.rulename = '_RETURN'),
           (SELECT string_agg(a.adnum || md5(a.adbin::text), ',' ORDER BY a.adnum) FROM pg_attrdef a WHERE a.adrelid = c.oid),
           (SELECT string_agg(k.conname || md5(coalesce(k.conbin::text, '')), ',' ORDER BY k.conname) FROM pg_constraint k WHERE k.conrelid = c.oid),
           (SELECT string_agg(i.inhparent::text, ',' ORDER BY i.inhparent) FROM pg_inherits i WHERE i.inhrelid = c.oid)))
         FROM pg_class c WHERE c.oid = d.objid)
       WHEN 'pg_default_acl'::regclass THEN (SELECT md5(f.defaclacl::text) FROM pg_default_acl f WHERE f.oid = d.objid)
       WHEN 'pg_publication'::regclass THEN (SELECT md5(concat_ws('/', p, (SELECT string_agg(r::text, ',' ORDER BY r.oid) FROM pg_publication_rel r
           WHERE r.prpubid = p.oid))) FROM pg_publication p WHERE p.oid = d.objid)
       WHEN 'pg_event_trigger'::regclass THEN (SELECT md5(e::text) FROM pg_event_trigger e WHERE e.oid = d.objid)
       WHEN 'pg_foreign_server'::regclass THEN (SELECT md5(f::text) FROM pg_foreign_server f WHERE f.oid = d.objid)
       WHEN 'pg_database'::regclass THEN (SELECT md5(string_agg(concat_ws('/', g.setrole, g.setconfig), ',' ORDER BY g.setrole))
         FROM pg_db_role_setting g WHERE g.setdatabase = d.objid)
     END END AS version
   FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = s.oid AND d.deptype = 'o' LIMIT $5)
  UNION ALL
  (SELECT concat_ws('/', 'part', p.classid, p.oid), pg_describe_object(p.classid, p.oid, 0), p.version
   FROM pg_shdepend d CROSS JOIN LATERAL (
     SELECT 'pg_policy'::regclass AS classid, x.oid, md5(x::text) AS version FROM pg_policy x WHERE x.polrelid = d.objid
     UNION ALL SELECT 'pg_trigger'::regclass, x.oid, md5(concat_ws('/', x.tgfoid, x.tgtype, x.tgenabled, x.tgargs, x.tgqual))
               FROM pg_trigger x WHERE x.tgrelid = d.objid AND NOT x.tgisinternal
     UNION ALL SELECT 'pg_rewrite'::regclass, x.oid, md5(concat_ws('/', x.ev_enabled, x.ev_qual, x.ev_action))
               FROM pg_rewrite x WHERE x.ev_class = d.objid AND x.rulename <> '_RETURN'
   ) p
   WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = s.oid AND d.deptype = 'o' AND d.classid = 'pg_class'::regclass AND d.dbid = here.oid LIMIT $5)
  UNION ALL
  (SELECT concat_ws('/', 'member', m.roleid, m.member), format('membership of %s in %s', m.member::regrole, m.roleid::regrole),
     m.admin_option::text
   FROM pg_auth_members m WHERE m.grantor = s.oid LIMIT $5)
  UNION ALL
  (SELECT concat_ws('/', 'right', a.grantee, d.classid, d.objid, a.part),
     format('%s on %s for %s', string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type), pg_describe_object(d.classid, d.objid, a.part),
       CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END),
     string_agg(a.privilege_type || a.is_grantable, ',' ORDER BY a.privilege_type)
   FROM (
     SELECT DISTINCT d.classid, d.objid FROM pg_shdepend d
     WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = s.oid AND d.deptype IN ('o', 'a') AND d.dbid IN (0, here.oid) OFFSET 0
   ) d CROSS JOIN LATERAL (
     SELECT 0 AS part, x.* FROM aclexplode(CASE d.classid
       WHEN 'pg_class'::regclass THEN (SELECT c.relacl FROM pg_class c WHERE c.oid = d.objid)
       WHEN 'pg_proc'::regclass THEN (SELECT p.proacl FROM pg_proc p WHERE p.oid = d.objid)
       WHEN 'pg_namespace'::regclass THEN (SELECT n.nspacl FROM pg_namespace n WHERE n.oid = d.objid)
       WHEN 'pg_type'::regclass THEN (SELECT t.typacl FROM pg_type t WHERE t.oid = d.objid)
       WHEN 'pg_database'::regclass THEN (SELECT b.datacl FROM pg_database b WHERE b.oid = d.objid)
       WHEN 'pg_language'::regclass THEN (SELECT l.lanacl FROM pg_language l WHERE l.oid = d.objid)
       WHEN 'pg_largeobject'::regclass THEN (SELECT o.lomacl FROM pg_largeobject_metadata o WHERE o.oid = d.objid)
       WHEN 'pg_foreign_server'::regclass THEN (SELECT f.srvacl FROM pg_foreign_server f WHERE f.oid = d.objid)
       WHEN 'pg_foreign_data_wrapper'::regclass THEN (SELECT f.fdwacl FROM pg_foreign_data_wrapper f WHERE f.oid = d.objid)
       WHEN 'pg_tablespace'::regclass THEN (SELECT t.spcacl FROM pg_tablespace t WHERE t.oid = d.objid)
       WHEN 'pg_parameter_acl'::regclass THEN (SELECT p.paracl FROM pg_parameter_acl p WHERE p.oid = d.objid)
     END) x
     UNION ALL
     SELECT c.attnum, x.* FROM pg_attribute c, aclexplode(c.attacl) x WHERE d.classid = 'pg_class'::regclass AND c.attrelid = d.objid AND c.attacl IS NOT NULL
   ) a
   WHERE a.grantor = s.oid AND a.grantee <> s.oid GROUP BY d.classid, d.objid, a.part, a.grantee LIMIT $5)
) t
)
SELECT u.n, count(t.id) AS things, array_agg(t.id ORDER BY t.id, t.what) FILTER (WHERE t.id IS NOT NULL) AS ids,
  array_agg(t.what ORDER BY t.id, t.what) FILTER (WHERE t.id IS NOT NULL) AS whats,
  array_agg(t.version ORDER BY t.id, t.what) FILTER (WHERE t.id IS NOT NULL) AS versions
FROM generate_series(1, cardinality($1::name[])) u(n) LEFT JOIN thing t ON t.n = u.n GROUP BY u.n ORDER BY u.n";

/// Lists every direct holder of these roles except the broker, whose own membership is what it
/// grants with. One row, so that nothing can be cut off: without it there is no answer. `$1` roles,
/// `$2` the broker.
pub(crate) const HOLDERS: &str = "\
SELECT {holders m} FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles a ON a.oid = m.member \
LEFT JOIN pg_roles g ON g.oid = m.grantor WHERE r.rolname = ANY ($1::name[]) AND a.oid <> $2";

/// Lists the memberships that the broker granted, if the catalog says so. `$1` the broker.
pub(crate) const GRANTED: &str = "\
SELECT {holders m} FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles a ON a.oid = m.member \
LEFT JOIN pg_roles g ON g.oid = m.grantor \
WHERE current_setting('server_version_num')::int >= 160000 AND m.grantor = $1 AND a.oid <> $1";

/// Lists memberships through which the broker can use a role, except those of [`FOR_ITS_WORK`]. On
/// 15 nobody can hold the admin option without such a membership. There, memberships with it are
/// what the broker grants with. `$1` the broker.
pub(crate) const USABLE: &str = "\
SELECT {holders m} FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid JOIN pg_roles a ON a.oid = m.member \
LEFT JOIN pg_roles g ON g.oid = m.grantor \
WHERE m.member = $1 AND (m.inherit_option OR m.set_option) AND r.rolname <> ALL ($2::name[]) \
  AND (current_setting('server_version_num')::int >= 160000 OR NOT m.admin_option)";

/// Roles that the broker should be a member of, so that it can end sessions and see when they
/// began.
pub(crate) const FOR_ITS_WORK: [&str; 4] =
    ["pg_signal_backend", "pg_read_all_stats", "pg_read_all_settings", "pg_monitor"];

/// Columns of memberships, in arrays that belong together. `{holders m}` stands for them in other
/// statements.
const HOLDERS_OF: &str = "\
  count(*) AS memberships, array_agg(r.rolname::text ORDER BY r.oid, a.oid, m.grantor) AS roles, \
  array_agg(r.oid ORDER BY r.oid, a.oid, m.grantor) AS role_ids, \
  array_agg(a.rolname::text ORDER BY r.oid, a.oid, m.grantor) AS accounts, \
  array_agg(a.oid ORDER BY r.oid, a.oid, m.grantor) AS account_ids, \
  array_agg(m.grantor::oid ORDER BY r.oid, a.oid, m.grantor) AS grantors, \
  array_agg(g.rolname::text ORDER BY r.oid, a.oid, m.grantor) AS grantor_names, \
  array_agg(m.set_option ORDER BY r.oid, a.oid, m.grantor) AS sets, \
  array_agg(m.admin_option ORDER BY r.oid, a.oid, m.grantor) AS admins";

/// Becomes the owner, before [`rollback_prepared`]: only the owner of a prepared transaction, or a
/// superuser, may end it.
pub(crate) fn become_owner(label: &str, owner: &str) -> String {
    format!("SET application_name = {}; SET ROLE {}", escape_literal(label), escape_identifier(owner))
}

/// Checks whether this role may log in. `$1` its name.
pub(crate) const LOGS_IN: &str =
    "SELECT EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = $1::text AND r.rolcanlogin)";

/// Rolls back a prepared transaction. This cannot run inside a transaction, so not in a block
/// either.
pub(crate) fn rollback_prepared(gid: &str) -> String {
    format!("ROLLBACK PREPARED {}", escape_literal(gid))
}

/// Reads the broker's rights and the server's settings. `$1` the broker.
pub(crate) const CHECK_SERVER: &str = "\
SELECT b.oid AS broker_id, b.rolname::text AS broker, b.rolsuper AS superuser, b.rolcreaterole AS createrole, b.rolinherit AS inherits, \
  b.rolsuper OR pg_has_role(b.oid, 'pg_signal_backend', 'USAGE') OR (pg_has_role(b.oid, 'pg_signal_backend', 'MEMBER') \
    AND current_setting('server_version_num')::int < 160000) OR EXISTS ({end_session}) AS can_signal, \
  (SELECT o.rolname::text FROM ({end_session}) f JOIN pg_roles o ON o.oid = f.proowner) AS signals_by, \
  EXISTS (SELECT FROM pg_roles s WHERE s.rolcreaterole AND NOT s.rolsuper AND s.oid <> b.oid AND pg_has_role(s.oid, 'pg_signal_backend', 'USAGE') \
    AND NOT pg_has_role(s.oid, 'pg_signal_backend', 'MEMBER WITH ADMIN OPTION')) AS managed, \
  (SELECT count(*) FROM pg_stat_replication) AS senders, \
  (SELECT array_agg(r.slot_name::text ORDER BY r.slot_name) FROM pg_replication_slots r WHERE r.slot_type = 'physical' AND NOT r.temporary) AS slots, \
  pg_has_role(b.oid, 'pg_read_all_stats', 'USAGE') AS sees_start, \
  coalesce((SELECT has_language_privilege(b.oid, l.oid, 'USAGE') FROM pg_language l WHERE l.lanname = 'plpgsql'), false) AS plpgsql, \
  (SELECT array_agg(format('%s of %I', f.oid::regprocedure, o.rolname)) FROM pg_event_trigger e JOIN pg_proc f ON f.oid = e.evtfoid \
   JOIN pg_roles o ON o.oid = f.proowner WHERE e.evtevent = 'login' AND e.evtenabled <> 'D' AND NOT f.prosecdef AND NOT o.rolsuper \
   AND o.oid <> b.oid) AS login_triggers, \
  pg_is_in_recovery() AS standby, current_setting('transaction_read_only')::bool AS read_only, current_setting('fsync')::bool AS fsync, \
  (SELECT array_agg(coalesce(nullif(r.application_name, ''), 'unnamed') ORDER BY r.application_name) \
   FROM pg_stat_replication r WHERE r.sync_state = 'async') AS asynchronous \
FROM pg_roles b WHERE b.oid = $1";

/// Lists members of accounts that could act as them, with up to five of the accounts. Requests for
/// these are refused. `$1` the broker.
///
/// Administrators are listed apart if the server made them members when they made the account
/// (`createrole_self_grant`). So are those that the target names (`$2`).
pub(crate) const CHECK_MEMBERS: &str = "\
SELECT x.member::text AS member, x.by_itself, x.named, x.accounts, (x.accounts_all)[1:5] AS first FROM ( \
  SELECT m.rolname AS member, m.rolcreaterole AND e.grantor = m.oid AS by_itself, m.rolname::text = ANY ($2::text[]) AS named, count(DISTINCT a.oid) AS accounts, \
    array_agg(DISTINCT a.rolname::text ORDER BY a.rolname::text) AS accounts_all \
  FROM pg_auth_members e JOIN pg_roles a ON a.oid = e.roleid AND a.rolcanlogin AND NOT a.rolsuper AND a.oid <> $1 \
  JOIN pg_roles m ON m.oid = e.member AND NOT m.rolsuper AND m.oid <> $1 \
  WHERE e.inherit_option OR e.set_option GROUP BY 1, 2, 3 \
) x ORDER BY x.accounts DESC, x.member LIMIT 10";

/// Lists the direct members of the broker, except superusers. `uses`: they can act as it now.
/// Otherwise they hold ADMIN OPTION only, as the maker of an account always does on 16 and later.
/// `$1` the broker.
pub(crate) const BROKER_MEMBERS: &str = "\
SELECT m.rolname::text AS member, bool_or(e.inherit_option OR e.set_option) AS uses, \
  array_agg(DISTINCT g.rolname::text) FILTER (WHERE (e.inherit_option OR e.set_option) AND g.oid IS NOT NULL) AS grantors \
FROM pg_auth_members e JOIN pg_roles m ON m.oid = e.member AND NOT m.rolsuper LEFT JOIN pg_roles g ON g.oid = e.grantor \
WHERE e.roleid = $1 GROUP BY m.rolname ORDER BY m.rolname";

/// Lists those of these names that are no roles. `$1` names.
pub(crate) const NO_ROLES: &str = "\
SELECT array_agg(u.name) AS names FROM unnest($1::text[]) u(name) WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname::text = u.name)";

/// Reads the broker's rights on each role, and the powers of each role. `$1` roles, `$2` the
/// broker.
pub(crate) const CHECK_ROLES: &str = "\
SELECT u.role::text AS role, r.oid, \
  EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.member = $2 AND m.admin_option) AS own_admin, \
  EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.member = $2 AND (m.inherit_option OR m.set_option)) AS own_use, \
  coalesce(pg_has_role($2::oid, r.oid, 'MEMBER WITH ADMIN OPTION'), false) AS any_admin, \
  ({powers}) AS powers \
FROM unnest($1::name[]) WITH ORDINALITY AS u(role, n) LEFT JOIN pg_roles r ON r.rolname = u.role ORDER BY u.n";
