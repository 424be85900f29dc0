//! The dead-man's statements: a table of leases, and what acts on those that ran out: a backend of the broker's that outlives its client
//! (the sentinel), or a job of `pg_cron`.

/// Where leases are kept, in the target's database. A DBA makes it once; each broker sees to its own rows.
pub const LEASES: &str = "\
CREATE SCHEMA IF NOT EXISTS jit;
CREATE TABLE IF NOT EXISTS jit.leases (
  broker oid NOT NULL,
  role oid NOT NULL,
  account oid NOT NULL,
  fires_at timestamptz NOT NULL,
  ends_sessions boolean NOT NULL,
  armed_by text NOT NULL,
  fired_at timestamptz,
  sessions_ended int,
  failure text,
  PRIMARY KEY (broker, role, account)
)";

/// What a DBA runs for it.
pub(crate) fn make(broker: &str) -> String {
    format!(
        "{LEASES};\nGRANT USAGE ON SCHEMA jit TO {broker};\nGRANT SELECT, INSERT, UPDATE, DELETE ON jit.leases TO {broker}"
    )
}

/// The sentinel's lock, so that there is one for each broker: this, and the broker's oid in the lower half.
const KEY: &str = "(1785295988::bigint << 32 | me::bigint)";

/// What there is: the table with all rights to it, `pg_cron` with the right to use it, and whether the sentinel is awake. `$1` the broker's oid.
pub(crate) const STATE: &str = "\
SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'jit' AND c.relname = 'leases' \
         AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
         AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')) AS leases, \
       EXISTS (SELECT FROM pg_extension x JOIN pg_namespace n ON n.nspname = 'cron' \
         WHERE x.extname = 'pg_cron' AND has_schema_privilege(n.oid, 'USAGE')) AS cron, \
       EXISTS (SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.granted AND l.classid = 1785295988::oid AND l.objid = $1::oid \
         AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())) AS awake";

/// Arms, or moves. `$1` JSON `[{i, account, account_id, role, role_id, micros, ends}]`, `$2` by whose call, `$3` until when that may be done.
pub(crate) const ARM: &str = r"
WITH me AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
), asked AS MATERIALIZED (
  SELECT e.i, e.micros, e.ends,
    (SELECT r.oid FROM pg_roles r WHERE r.oid = coalesce(e.role_id, (SELECT x.oid FROM pg_roles x WHERE x.rolname = e.role))) AS role,
    (SELECT r.oid FROM pg_roles r WHERE r.oid = coalesce(e.account_id, (SELECT x.oid FROM pg_roles x WHERE x.rolname = e.account))) AS account
  FROM jsonb_to_recordset($1::text::jsonb) AS e(i int, account name, account_id oid, role name, role_id oid, micros bigint, ends bool)
), armed AS (
  INSERT INTO jit.leases AS l (broker, role, account, fires_at, ends_sessions, armed_by)
  SELECT me.oid, a.role, a.account, clock_timestamp() + a.micros * interval '1 microsecond', a.ends, $2::text FROM asked a, me
  WHERE a.role IS NOT NULL AND a.account IS NOT NULL AND clock_timestamp() < $3::timestamptz
  ON CONFLICT (broker, role, account) DO UPDATE SET fires_at = EXCLUDED.fires_at, ends_sessions = EXCLUDED.ends_sessions,
    armed_by = EXCLUDED.armed_by, fired_at = NULL, sessions_ended = NULL, failure = NULL
  RETURNING l.role, l.account, l.fires_at
)
SELECT a.i, a.role IS NOT NULL AS has_role, a.account IS NOT NULL AS has_account, armed.fires_at
FROM asked a LEFT JOIN armed USING (role, account) ORDER BY a.i";

/// Disarms. `$1` JSON `[{i, account, account_id, role, role_id}]`, `$2` until when that may be done.
pub(crate) const DISARM: &str = r"
WITH me AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
), asked AS MATERIALIZED (
  SELECT e.i, coalesce(e.role_id, (SELECT x.oid FROM pg_roles x WHERE x.rolname = e.role)) AS role,
    coalesce(e.account_id, (SELECT x.oid FROM pg_roles x WHERE x.rolname = e.account)) AS account
  FROM jsonb_to_recordset($1::text::jsonb) AS e(i int, account name, account_id oid, role name, role_id oid)
), there AS MATERIALIZED (
  SELECT l.role, l.account FROM jit.leases l, me, asked a WHERE l.broker = me.oid AND l.role = a.role AND l.account = a.account
), gone AS (
  DELETE FROM jit.leases l USING me, asked a
  WHERE l.broker = me.oid AND l.role = a.role AND l.account = a.account AND clock_timestamp() < $2::timestamptz
  RETURNING l.role, l.account, l.fired_at
)
SELECT a.i, gone.fired_at, there.role IS NOT NULL AND gone.role IS NULL AS late
FROM asked a LEFT JOIN there USING (role, account) LEFT JOIN gone USING (role, account) ORDER BY a.i";

/// Takes away what ran out: the membership first, then, once that is committed, the sessions. What fails stays, with why, and is tried again
/// at the next look. Names are looked up by oid at this moment, and quoted, by the server itself.
const LOOK: &str = r"
  FOR lease IN SELECT l.role, l.account FROM jit.leases l WHERE l.broker = me AND l.fired_at IS NULL AND l.fires_at <= clock_timestamp() LOOP
    BEGIN
      IF EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = lease.role AND m.member = lease.account AND (old OR m.grantor = me)) THEN
        EXECUTE concat_ws(' ', 'REVOKE', lease.role::regrole, 'FROM', lease.account::regrole, CASE WHEN NOT old THEN 'GRANTED BY CURRENT_USER' END);
      END IF;
      UPDATE jit.leases l SET fired_at = clock_timestamp(), failure = NULL WHERE l.broker = me AND l.role = lease.role AND l.account = lease.account;
    EXCEPTION WHEN OTHERS THEN
      UPDATE jit.leases l SET failure = SQLERRM WHERE l.broker = me AND l.role = lease.role AND l.account = lease.account;
    END;
  END LOOP;
  COMMIT;
  SELECT array_agg(DISTINCT l.account) INTO over FROM jit.leases l
    WHERE l.broker = me AND l.fired_at IS NOT NULL AND l.ends_sessions AND l.sessions_ended IS NULL;
  IF over IS NOT NULL THEN
    WITH RECURSIVE w AS (
      SELECT unnest(over) AS oid
      UNION SELECT m.member FROM w JOIN pg_auth_members m ON m.roleid = w.oid WHERE m.member <> me
    ) SELECT array_agg(w.oid) INTO whose FROM w JOIN pg_roles r ON r.oid = w.oid AND NOT r.rolsuper;
    IF NOT pg_has_role('pg_signal_backend', 'USAGE') AND pg_has_role('pg_signal_backend', 'MEMBER') THEN
      SET LOCAL ROLE pg_signal_backend;
    END IF;
    ended := 0;
    why := NULL;
    FOR s IN SELECT a.pid FROM pg_stat_activity a WHERE a.usesysid = ANY (whose) AND a.pid <> pg_backend_pid() LOOP
      BEGIN
        PERFORM pg_terminate_backend(s.pid);
        ended := ended + 1;
      EXCEPTION WHEN OTHERS THEN
        why := SQLERRM;
      END;
    END LOOP;
    COMMIT;
    UPDATE jit.leases l SET sessions_ended = CASE WHEN why IS NULL THEN ended END, failure = why
      WHERE l.broker = me AND l.fired_at IS NOT NULL AND l.account = ANY (over) AND l.sessions_ended IS NULL;
    COMMIT;
  END IF;";

const VARIABLES: &str = r"
  me    oid := (SELECT oid FROM pg_roles WHERE rolname = current_user);
  old   bool := current_setting('server_version_num')::int < 160000;
  lease record;
  s     record;
  over  oid[];
  whose oid[];
  ended int;
  why   text;";

/// Looks once: the job of `pg_cron`.
pub(crate) fn once() -> String {
    format!("DO $jit$\nDECLARE{VARIABLES}\nBEGIN{LOOK}\nEND $jit$")
}

/// Looks twice a second, until there was nothing to look at for a minute. Who arms one finds it by its lock; the table is locked for the last
/// look, so that nobody arms one that nobody looks at.
pub(crate) fn sentinel() -> String {
    format!(
        r"DO $jit$
DECLARE{VARIABLES}
  idle  int := 0;
BEGIN
  IF NOT pg_try_advisory_lock({KEY}) THEN RETURN; END IF;
  LOOP{LOOK}
  idle := CASE WHEN EXISTS (SELECT FROM jit.leases l WHERE l.broker = me) THEN 0 ELSE idle + 1 END;
  IF idle >= 120 THEN
    LOCK TABLE jit.leases IN SHARE ROW EXCLUSIVE MODE;
    IF NOT EXISTS (SELECT FROM jit.leases l WHERE l.broker = me) THEN
      PERFORM pg_advisory_unlock({KEY});
      RETURN;
    END IF;
  END IF;
  COMMIT;
  PERFORM pg_sleep(0.5);
  END LOOP;
END $jit$"
    )
}

/// Settings of the sentinel's connection: nothing ends it but its own word, also when its client has gone.
pub(crate) const SENTINEL_SETTINGS: &str = "\
SET application_name = 'jit sentinel'; SET statement_timeout = 0; SET lock_timeout = '5s'; SET idle_in_transaction_session_timeout = 0; \
SET client_connection_check_interval = 0";

/// The job's name in `cron.job`.
pub(crate) const JOB: &str = "jit dead-man";
/// Whether the broker's job is there as it should be: `$1` its name, `$2` its command.
pub(crate) const JOB_THERE: &str =
    "SELECT FROM cron.job WHERE jobname = $1::text AND command = $2::text AND active AND username = current_user";
/// Makes it, or replaces it: it looks every minute.
pub(crate) const MAKE_JOB: &str = "SELECT cron.schedule($1::text, '* * * * *', $2::text)";
