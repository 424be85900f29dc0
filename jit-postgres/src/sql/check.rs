//! What the broker may, and what a grant would need.

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
