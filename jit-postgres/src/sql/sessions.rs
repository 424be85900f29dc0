//! Sessions: how they are ended, and who stands in the way.

use postgres_protocol::escape::{escape_identifier, escape_literal};

/// Function by which an administrator lets the broker end sessions. Such an administrator may end
/// sessions, and may not pass that right on. The function runs as its owner.
pub(crate) const END_SESSION: &str = "jit_sessions.end_session(integer, oid)";

/// Body of that function.
pub(super) const END_SESSION_BODY: &str = "SELECT pg_catalog.bool_or(pg_catalog.pg_terminate_backend(s.pid)) FROM pg_catalog.pg_stat_get_activity(NULL) s \
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
pub(super) const END_SESSION_THERE: &str = r"SELECT f.oid, f.proowner FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace JOIN pg_roles own ON own.oid = f.proowner
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
pub(super) const SESSIONS_TAKEN: &str = r"(SELECT string_agg(w.why, '; ') FROM pg_namespace n, LATERAL (
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
pub(super) fn with_end_session(statement: &str) -> String {
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
