//! The looks at memberships: who holds what, and by which grantor.

/// Reads who holds what: one row per membership that is asked about. `$1` accounts, `$2` their
/// oids, `$3` roles, `$4` their oids, `$5` the broker, `$6` the administrators' names.
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
const OBSERVE: &str = r"
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
{apart}), prepared AS (
{prepared})
SELECT s.account, s.account_name, s.role, s.grantors, s.grantor_names, s.sets, s.admins, s.through, s.members,
  session.pids, session.users, session.session_names, session.since,
  apart.pids AS apart_pids, apart.session_names AS apart_names, apart.since AS apart_since,
  prepared.gids, prepared.databases, prepared.owners
FROM held s
LEFT JOIN session ON session.n = s.n
LEFT JOIN apart ON apart.n = s.n
LEFT JOIN prepared ON prepared.n = s.n
ORDER BY s.n";

/// Sessions of administrators. Stand in [`OBSERVE`] as `{apart}`.
const APART: &str = r"  SELECT h.n, array_agg(s.pid ORDER BY s.pid) AS pids,
         array_agg((SELECT r.rolname::text FROM pg_roles r WHERE r.oid = s.usesysid) ORDER BY s.pid) AS session_names,
         array_agg(s.backend_start ORDER BY s.pid) AS since
  FROM pg_stat_get_activity(NULL) s JOIN (SELECT n, unnest(administrator_oids) AS oid FROM held) h ON h.oid = s.usesysid GROUP BY h.n
";

/// Prepared transactions. Stand in [`OBSERVE`] as `{prepared}`.
const PREPARED: &str = r"  SELECT h.n, array_agg(p.gid ORDER BY p.gid) AS gids,
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
";

/// Returns [`OBSERVE`] for a server. Each part of a statement costs time even where it has nothing
/// to find: so a part is left out if there are no administrators to tell apart, or if the server
/// cannot prepare transactions.
pub(crate) fn observe(administrators: bool, prepares: bool) -> String {
    let apart = if administrators {
        APART
    } else {
        "SELECT NULL::bigint AS n, NULL::int[] AS pids, NULL::text[] AS session_names, NULL::timestamptz[] AS since WHERE false\n"
    };
    let prepared = if prepares {
        PREPARED
    } else {
        "SELECT NULL::bigint AS n, NULL::text[] AS gids, NULL::text[] AS databases, NULL::text[] AS owners WHERE false\n"
    };
    OBSERVE.replace("{apart}", apart).replace("{prepared}", prepared)
}

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
pub(super) const HOLDERS_OF: &str = "\
  count(*) AS memberships, array_agg(r.rolname::text ORDER BY r.oid, a.oid, m.grantor) AS roles, \
  array_agg(r.oid ORDER BY r.oid, a.oid, m.grantor) AS role_ids, \
  array_agg(a.rolname::text ORDER BY r.oid, a.oid, m.grantor) AS accounts, \
  array_agg(a.oid ORDER BY r.oid, a.oid, m.grantor) AS account_ids, \
  array_agg(m.grantor::oid ORDER BY r.oid, a.oid, m.grantor) AS grantors, \
  array_agg(g.rolname::text ORDER BY r.oid, a.oid, m.grantor) AS grantor_names, \
  array_agg(m.set_option ORDER BY r.oid, a.oid, m.grantor) AS sets, \
  array_agg(m.admin_option ORDER BY r.oid, a.oid, m.grantor) AS admins";
