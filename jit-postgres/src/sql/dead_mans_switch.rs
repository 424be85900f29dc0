//! Statements of the dead man's switch: a table of leases, and the code that acts on those that ran
//! out. The code runs in a backend of the broker that outlives its client (the sentinel), or in a
//! job of `pg_cron`.
//!
//! The table stands in a schema of its own, in the target's database, and serves one broker. The
//! schema is `jit`, or `jit_of_` and the broker's oid if another broker has that one. No statement
//! here touches the table before [`faults`] found nothing. The check is in the same transaction and
//! a statement of its own, since planning a statement that names the table can run what a stranger
//! put on it. One exception: a sentinel that cannot look reads what it trusted before (see
//! [`sentinel`]).

use postgres_protocol::escape::{escape_identifier, escape_literal};

use super::{Catalog, with_end_session};

/// Columns of the table: name, type, and the type's oid.
const COLUMNS: [(&str, &str, u32); 9] = [
    ("broker", "oid NOT NULL", 26),
    ("role", "oid NOT NULL", 26),
    ("account", "oid NOT NULL", 26),
    ("fires_at", "timestamptz NOT NULL", 1184),
    ("ends_sessions", "bool NOT NULL", 16),
    ("armed_by", "text NOT NULL", 25),
    ("fired_at", "timestamptz", 1184),
    ("sessions_ended", "int4", 23),
    ("failure", "text", 25),
];

/// Schema in which a broker's table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// Schema `jit`, the usual one.
    Common,
    /// Schema for the broker of this oid, if another broker has `jit`.
    Own(u32),
}

impl Home {
    pub(crate) fn schema(self) -> String {
        match self {
            Self::Common => "jit".to_owned(),
            Self::Own(broker) => format!("jit_of_{broker}"),
        }
    }

    fn leases(self) -> String {
        format!("{}.leases", self.schema())
    }

    /// First half of the advisory locks by which a sentinel of this home is known.
    fn lock(self) -> i32 {
        match self {
            Self::Common => 1_785_295_988,
            Self::Own(_) => 1_785_295_989,
        }
    }
}

/// Checks whether this owner or grantee is the broker or a superuser. A scalar query, which the
/// planner cannot turn into a join that reads every role.
fn is_trusted(oid: &str) -> String {
    format!("coalesce((SELECT t.oid = me.oid OR t.rolsuper FROM pg_roles t WHERE t.oid = {oid}), false)")
}

/// Lists the reasons why the schema `n` and the table `c` in it cannot be trusted, a row for each.
/// `me` is the broker. It looks at the owners, and at others who may write there. It also looks at
/// everything on the table by which its owner could make the broker run code, or lose a row.
///
/// It reads tables of the server's catalog only, in a session whose search path is pinned.
fn faults() -> String {
    let (names, types): (Vec<String>, Vec<String>) =
        COLUMNS.iter().map(|(name, _, oid)| (format!("'{name}'"), oid.to_string())).unzip();
    let (names, types) = (names.join(", "), types.join(", "));
    let (owns_schema, owns_table, may) = (is_trusted("n.nspowner"), is_trusted("c.relowner"), is_trusted("a.grantee"));
    format!(
        r"SELECT format('schema %I belongs to %I', n.nspname, pg_get_userbyid(n.nspowner)) AS why WHERE NOT {owns_schema}
    UNION ALL SELECT format('%s may %s in schema %I', {grantee}, lower(a.privilege_type), n.nspname)
      FROM aclexplode(n.nspacl) a WHERE a.privilege_type <> 'USAGE' AND NOT {may}
    UNION ALL SELECT format('table %s belongs to %I', t.name, pg_get_userbyid(c.relowner)) WHERE c.oid IS NOT NULL AND NOT {owns_table}
    UNION ALL SELECT format('%s may %s on table %s', {grantee}, lower(a.privilege_type), t.name) FROM (
        SELECT x.* FROM aclexplode(c.relacl) x
        UNION ALL SELECT x.* FROM pg_attribute y, aclexplode(y.attacl) x WHERE y.attrelid = c.oid
      ) a WHERE a.privilege_type <> 'SELECT' AND NOT {may}
    UNION ALL SELECT format('%s is no ordinary table', t.name) WHERE c.relkind <> 'r' OR c.relpersistence <> 'p' OR c.relispartition
      OR c.reloftype <> 0 OR c.relam <> (SELECT m.oid FROM pg_am m WHERE m.amname = 'heap')
    UNION ALL SELECT format('table %s has other columns than jit makes', t.name) WHERE c.oid IS NOT NULL AND NOT EXISTS (
      SELECT FROM pg_attribute y WHERE y.attrelid = c.oid AND y.attnum > 0
      HAVING array_agg(y.attname::text ORDER BY y.attnum) = ARRAY[{names}]
        AND array_agg(y.atttypid::int8 ORDER BY y.attnum) = ARRAY[{types}]::int8[]
        AND bool_and(y.attidentity = '' AND y.attgenerated = '' AND y.attcollation IN (0, 100) AND NOT y.attisdropped))
    UNION ALL SELECT format('table %s has a default: it must have none', t.name) WHERE EXISTS (SELECT FROM pg_attrdef x WHERE x.adrelid = c.oid)
    UNION ALL SELECT format('table %s has trigger %I', t.name, x.tgname) FROM pg_trigger x WHERE x.tgrelid = c.oid
    UNION ALL SELECT format('table %s has rule %I', t.name, x.rulename) FROM pg_rewrite x WHERE x.ev_class = c.oid
    UNION ALL SELECT format('table %s has row security', t.name) WHERE c.relrowsecurity OR c.relforcerowsecurity
      OR EXISTS (SELECT FROM pg_policy x WHERE x.polrelid = c.oid)
    UNION ALL SELECT format('table %s has constraint %I', t.name, x.conname) FROM pg_constraint x
      WHERE x.conrelid = c.oid AND x.contype NOT IN ('p', 'n')
    UNION ALL SELECT format('table %s is named by constraint %I', t.name, x.conname)
      FROM pg_depend d, LATERAL (SELECT k.conname, k.confrelid FROM pg_constraint k WHERE k.oid = d.objid OFFSET 0) x
      WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_constraint'::regclass AND x.confrelid = c.oid
    UNION ALL SELECT format('table %s has other indexes than its primary key', t.name) WHERE c.oid IS NOT NULL AND NOT EXISTS (
      SELECT FROM pg_index x WHERE x.indrelid = c.oid
      HAVING count(*) = 1 AND bool_and(x.indisprimary AND x.indisvalid AND x.indimmediate AND x.indkey::text = '1 2 3'
        AND x.indexprs IS NULL AND x.indpred IS NULL))
    UNION ALL SELECT format('table %s has statistics %I', t.name, x.stxname) FROM pg_statistic_ext x WHERE x.stxrelid = c.oid
    UNION ALL SELECT format('table %s inherits, or is inherited from', t.name) WHERE EXISTS (
      SELECT FROM pg_inherits x WHERE x.inhrelid = c.oid OR x.inhparent = c.oid)",
        grantee = "CASE a.grantee WHEN 0 THEN 'everybody' ELSE quote_ident(pg_get_userbyid(a.grantee)) END",
    )
}

/// Lists who else can write every table, and so the leases too, a row for each. `me` is the broker.
/// These are members of `pg_write_all_data` who can log in, and roles in it that the broker can
/// grant. ADMIN OPTION alone counts: its holder can be a member for a moment that nobody sees.
///
/// Superusers are left out, and so are roles that could set the broker's password anyway. Members
/// of `pg_maintain` may lock only in schemas that they may use. The text serves every version: 15
/// has no options of a membership.
const WRITERS: &str = r"SELECT format('%I may write every table, as a member of pg_write_all_data', w.rolname) AS why FROM (
      WITH RECURSIVE member(oid) AS (
        SELECT p.oid FROM pg_roles p WHERE p.rolname = 'pg_write_all_data'
        UNION SELECT y.member FROM member x, LATERAL (
          SELECT m.member, to_jsonb(m) AS how FROM pg_auth_members m WHERE m.roleid = x.oid OFFSET 0
        ) y WHERE coalesce((y.how->>'inherit_option')::bool OR (y.how->>'set_option')::bool OR (y.how->>'admin_option')::bool, true)
      ) SELECT r.rolname FROM member x, LATERAL (
        SELECT p.oid, p.rolname, p.rolsuper, p.rolcanlogin, p.rolcreaterole FROM pg_roles p WHERE p.oid = x.oid OFFSET 0
      ) r
      WHERE r.rolname <> 'pg_write_all_data' AND r.oid <> me.oid AND NOT r.rolsuper
        AND (r.rolcanlogin OR pg_has_role(me.oid, r.oid, 'MEMBER WITH ADMIN OPTION'))
        AND NOT (r.rolcreaterole AND (current_setting('server_version_num')::int < 160000 OR pg_has_role(r.oid, me.oid, 'MEMBER WITH ADMIN OPTION')))
    ) w";

/// Returns every reason not to use a home: [`faults`] of what is there, and [`WRITERS`].
fn dangers() -> String {
    format!("{}\n    UNION ALL {WRITERS}", faults())
}

/// Finds the schema of this name, its table, and the table's full name.
const THERE: &str = r"pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'leases'
    CROSS JOIN LATERAL (SELECT format('%I.%I', n.nspname, 'leases') AS name) t";

/// Says why this home cannot be used, as one text, or NULL. For a block whose variable `me` is the
/// broker's oid.
fn distrust(home: Home) -> String {
    distrust_in(&escape_literal(&home.schema()), &dangers())
}

/// Does the same for the schema that this expression names, and these reasons.
fn distrust_in(schema: &str, reasons: &str) -> String {
    format!(
        r"(SELECT CASE WHEN count(c.oid) = 0 THEN 'there is no table ' || {schema} || '.leases' ELSE string_agg(f.why, '; ') END
    FROM (SELECT my AS oid) me, {THERE} LEFT JOIN LATERAL ({reasons}) f ON true WHERE n.nspname = {schema})"
    )
}

/// Lists the homes, a row for each, the broker's own first. `faults` are reasons not to trust it,
/// and `lacks` are missing rights to it. `$1` the broker's oid.
pub(crate) fn homes() -> String {
    format!(
        r"
SELECT h.own, n.oid IS NOT NULL AS schema_there, c.oid IS NOT NULL AS there,
  CASE WHEN n.oid IS NOT NULL THEN ARRAY(SELECT f.why FROM ({dangers}) f) END AS faults,
  ARRAY(SELECT r.what FROM (VALUES ('USAGE ON SCHEMA ' || h.schema, has_schema_privilege(n.oid, 'USAGE'))) r(what, has) WHERE NOT r.has
    UNION ALL SELECT p.p || ' ON ' || h.schema || '.leases' FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p
      WHERE NOT has_table_privilege(c.oid, p.p)) AS lacks
FROM (SELECT $1::oid AS oid) me, (VALUES (true), (false)) o(own)
  CROSS JOIN LATERAL (SELECT o.own, CASE WHEN o.own THEN 'jit_of_' || $1::oid::text ELSE 'jit' END AS schema) h
  LEFT JOIN pg_namespace n ON n.nspname = h.schema
  LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'leases'
  CROSS JOIN LATERAL (SELECT h.schema || '.leases' AS name) t
ORDER BY o.own DESC",
        dangers = dangers(),
    )
}

/// Stops the transaction, by a division by zero, if the home cannot be used any more, or another
/// process serves the connection. `$1` the broker's oid, `$2` the process.
pub(crate) fn guard(home: Home) -> String {
    format!(
        "SELECT 1 / CASE WHEN {distrust} IS NULL AND pg_backend_pid() = $2::int THEN 1 ELSE 0 END FROM (SELECT $1::oid AS my) broker",
        distrust = distrust(home)
    )
}

/// Checks whether a sentinel is awake: a live process of the broker in this database that holds a
/// lock of this kind. Anybody can take such a lock; nobody else is that process. `my` is the
/// broker's oid.
fn sentinels(home: Home) -> String {
    format!(
        r"SELECT FROM pg_locks l CROSS JOIN LATERAL pg_stat_get_activity(l.pid) a
      WHERE l.locktype = 'advisory' AND l.granted AND l.mode = 'ExclusiveLock' AND l.classid = {lock}::oid AND l.objsubid = 2
        AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database())
        AND a.usesysid = my AND a.datid = l.database AND a.state IS DISTINCT FROM 'idle'",
        lock = home.lock()
    )
}

/// Checks whether the sentinel is awake, and [`CRON`]. `$1` the broker's oid.
pub(crate) fn awake(home: Home) -> String {
    format!("SELECT EXISTS ({}) AS awake, ({CRON}) AS cron FROM (SELECT $1::oid AS my) broker", sentinels(home))
}

/// Returns the store of a mark, or NULL. A regular expression would cost more than everything else
/// about a lease, so there is none.
fn store_of(mark: &str) -> String {
    format!(
        "CASE WHEN left(right({mark}, 23), 7) = '/store:' AND translate(right({mark}, 16), '0123456789abcdef', '') = '' \
         THEN right({mark}, 16) END"
    )
}

/// Oids of the role and the account of an asked row `e`, by its ids or else its names.
const ROLE: &str = "coalesce(e.role_id, (SELECT x.oid FROM pg_roles x WHERE x.rolname = e.role))";
const ACCOUNT: &str = "coalesce(e.account_id, (SELECT x.oid FROM pg_roles x WHERE x.rolname = e.account))";

/// Reads the asked memberships, `$1` JSON `[{i, account, account_id, role, role_id}]`.
fn asked() -> String {
    format!(
        r"asked AS MATERIALIZED (
  SELECT e.i, {ROLE} AS role,
    {ACCOUNT} AS account
  FROM jsonb_to_recordset($1::text::jsonb) AS e(i int, account name, account_id oid, role name, role_id oid)
)"
    )
}

/// Finds the stores whose marks stand on memberships: the stores of leases that have not fired.
///
/// The answer is JSON `[{i, role, account, store}]`. It is also in the setting `jit.marks`, for the
/// statements sent behind it. `$1` JSON `[{i, account, account_id, role, role_id}]`.
pub(crate) fn marks(home: Home) -> String {
    format!(
        r"
WITH me AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
), {asked}
SELECT set_config('jit.marks', coalesce((
  SELECT jsonb_agg(jsonb_build_object('i', a.i, 'role', l.role::int8, 'account', l.account::int8, 'store', {store}))
  FROM me, asked a, LATERAL (
    SELECT l.role, l.account, l.armed_by FROM {leases} l
    WHERE l.broker = me.oid AND l.role = a.role AND l.account = a.account AND l.fired_at IS NULL OFFSET 0
  ) l WHERE {store} IS NOT NULL
), '[]')::text, false) AS marks",
        asked = asked(),
        store = store_of("l.armed_by"),
        leases = home.leases()
    )
}

/// Begins a transaction that reads the leases, with this limit on waiting for a lock.
pub(crate) fn begin_reading(lock_timeout_ms: u128) -> String {
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = '{lock_timeout_ms}ms'"
    )
}

/// Clears the known marks. Sent before [`marks`], which may fail, and because somebody else may
/// have given the database this setting.
pub(crate) const NO_MARKS: &str = "SELECT set_config('jit.marks', '', false)";

/// Counts the marks of each store here. `$1` the broker.
pub(crate) fn stores(home: Home) -> String {
    format!(
        "SELECT {store} AS store, count(*) AS memberships FROM {leases} l \
         WHERE l.broker = $1 AND l.fired_at IS NULL AND {store} IS NOT NULL GROUP BY 1 ORDER BY 1",
        store = store_of("l.armed_by"),
        leases = home.leases()
    )
}

/// Arms leases, or moves them. A lease that another store has armed and that has not fired stays as
/// it is.
///
/// `$1` JSON `[{i, account, account_id, role, role_id, micros, ends}]`, `$2` the mark of the call,
/// `$3` the time until which that may be done, `$4` the call's store.
pub(crate) fn arm(home: Home) -> String {
    format!(
        r"
WITH me AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
), asked AS MATERIALIZED (
  SELECT e.i, e.micros, e.ends,
    (SELECT r.oid FROM pg_roles r WHERE r.oid = {ROLE}) AS role,
    (SELECT r.oid FROM pg_roles r WHERE r.oid = {ACCOUNT}) AS account
  FROM jsonb_to_recordset($1::text::jsonb) AS e(i int, account name, account_id oid, role name, role_id oid, micros bigint, ends bool)
), armed AS (
  INSERT INTO {leases} AS l (broker, role, account, fires_at, ends_sessions, armed_by)
  SELECT me.oid, a.role, a.account, clock_timestamp() + a.micros * interval '1 microsecond', a.ends, $2::text FROM asked a, me
  WHERE a.role IS NOT NULL AND a.account IS NOT NULL AND clock_timestamp() < $3::timestamptz
  ON CONFLICT (broker, role, account) DO UPDATE SET fires_at = EXCLUDED.fires_at, ends_sessions = EXCLUDED.ends_sessions,
    armed_by = EXCLUDED.armed_by, fired_at = NULL, sessions_ended = NULL, failure = NULL
  WHERE l.fired_at IS NOT NULL OR coalesce({store}, $4::text, '') = coalesce($4::text, {store}, '')
  RETURNING l.role, l.account, l.fires_at
)
SELECT a.i, a.role IS NOT NULL AS has_role, a.account IS NOT NULL AS has_account, armed.fires_at,
  (SELECT {store} FROM {leases} l, me WHERE l.broker = me.oid AND l.role = a.role AND l.account = a.account AND l.fired_at IS NULL
    AND armed.fires_at IS NULL AND {store} <> $4::text) AS another
FROM asked a LEFT JOIN armed USING (role, account) ORDER BY a.i",
        store = store_of("l.armed_by"),
        leases = home.leases()
    )
}

/// Disarms leases. What another store has armed stays. `$1` JSON `[{i, account, account_id, role,
/// role_id}]`, `$2` the time until which that may be done, `$3` the call's store.
pub(crate) fn disarm(home: Home) -> String {
    format!(
        r"
WITH me AS (
  SELECT oid FROM pg_roles WHERE rolname = current_user
), {asked}, there AS MATERIALIZED (
  SELECT l.role, l.account FROM me, asked a, LATERAL (
    SELECT l.role, l.account, l.armed_by FROM {leases} l WHERE l.broker = me.oid AND l.role = a.role AND l.account = a.account OFFSET 0
  ) l WHERE coalesce({store}, $3::text, '') = coalesce($3::text, {store}, '')
), gone AS (
  DELETE FROM {leases} l USING asked a
  WHERE l.broker = (SELECT oid FROM me) AND l.role = ANY (ARRAY(SELECT role FROM asked)) AND l.account = ANY (ARRAY(SELECT account FROM asked))
    AND l.role = a.role AND l.account = a.account AND clock_timestamp() < $2::timestamptz
    AND coalesce({store}, $3::text, '') = coalesce($3::text, {store}, '')
  RETURNING l.role, l.account, l.fired_at
)
SELECT a.i, gone.fired_at, there.role IS NOT NULL AND gone.role IS NULL AS late
FROM asked a LEFT JOIN there USING (role, account) LEFT JOIN gone USING (role, account) ORDER BY a.i",
        asked = asked(),
        store = store_of("l.armed_by"),
        leases = home.leases()
    )
}

/// Variables of both blocks. Their types are named in full: the session's search path is whatever
/// the database says, until [`PINNED`] ran.
const VARIABLES: &str = r"
  my     pg_catalog.oid;
  old    pg_catalog.bool;
  lease  pg_catalog.record;
  s      pg_catalog.record;
  over   pg_catalog.oid[];
  stuck  pg_catalog.oid[];
  whose  pg_catalog.oid[];
  ended  pg_catalog.int4;
  why    pg_catalog.text;
  missed pg_catalog.text;";

/// Errors of a statement that met somebody else's lock: the next look may get it.
const HELD: &str = "lock_not_available OR deadlock_detected OR query_canceled";

/// First statements of both blocks. From here on names mean the server's own objects, the broker is
/// itself, and transactions write. Nothing is ever written to a client that is gone, since that
/// would end the process.
const PINNED: &str = r"
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false), pg_catalog.set_config('role', 'none', false),
    pg_catalog.set_config('default_transaction_read_only', 'off', false),
    pg_catalog.set_config('default_transaction_isolation', 'read committed', false), pg_catalog.set_config('synchronous_commit', 'on', false),
    pg_catalog.set_config('exit_on_error', 'off', false), pg_catalog.set_config('client_min_messages', 'error', false),
    pg_catalog.set_config('quote_all_identifiers', 'off', false), pg_catalog.set_config('transform_null_equals', 'off', false),
    pg_catalog.set_config('row_security', 'on', false), pg_catalog.set_config('lock_timeout', '5s', false),
    pg_catalog.set_config('statement_timeout', '0', false), pg_catalog.set_config('idle_in_transaction_session_timeout', '0', false);
  IF pg_catalog.current_setting('transaction_timeout', true) IS NOT NULL THEN
    PERFORM pg_catalog.set_config('transaction_timeout', '0', false);
  END IF;
  COMMIT;
  my := (SELECT r.oid FROM pg_roles r WHERE r.rolname = current_user);
  old := current_setting('server_version_num')::int < 160000;";

/// Looks at the leases: [`take`], then [`end_sessions`].
fn look(home: Home, administrators: &[String], catalog: Catalog) -> String {
    format!("{}{}", take(home), end_sessions(home, administrators, catalog))
}

/// Takes away memberships that ran out. Their sessions follow once that is committed.
///
/// Also ends the sessions of accounts whose membership cannot be taken, since one of them may stand
/// in the way. What fails stays, with the reason, and is tried again at the next look. This also
/// holds if somebody holds the table. The server itself looks names up by oid at this moment, and
/// quotes them.
fn take(home: Home) -> String {
    format!(
        r"
  stuck := '{{}}';
  over := NULL;
  BEGIN
    FOR lease IN SELECT l.role, l.account, l.ends_sessions FROM {leases} l
      WHERE l.broker = my AND l.fired_at IS NULL AND l.fires_at <= clock_timestamp()
    LOOP
      BEGIN
        -- it is locked until this is committed, and left alone if it was armed anew since it was read
        UPDATE {leases} l SET fired_at = clock_timestamp(), failure = NULL
          WHERE l.broker = my AND l.role = lease.role AND l.account = lease.account AND l.fired_at IS NULL AND l.fires_at <= clock_timestamp();
        CONTINUE WHEN NOT FOUND;
        IF EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = lease.role AND m.member = lease.account AND (old OR m.grantor = my)) THEN
          EXECUTE concat_ws(' ', 'REVOKE', lease.role::regrole, 'FROM', lease.account::regrole, CASE WHEN NOT old THEN 'GRANTED BY CURRENT_USER' END);
        END IF;
      EXCEPTION WHEN OTHERS OR query_canceled THEN
        why := SQLERRM;
        IF lease.ends_sessions AND SQLSTATE IN ('55P03', '57014', '40P01') THEN stuck := stuck || lease.account; END IF;
        BEGIN
          UPDATE {leases} l SET failure = why WHERE l.broker = my AND l.role = lease.role AND l.account = lease.account;
        EXCEPTION WHEN {HELD} THEN
          missed := SQLERRM;
        END;
      END;
    END LOOP;
  EXCEPTION WHEN {HELD} THEN
    missed := SQLERRM;
  END;
  COMMIT;
  BEGIN
    SELECT array_agg(DISTINCT l.account) INTO over FROM {leases} l
      WHERE l.broker = my AND l.fired_at IS NOT NULL AND l.ends_sessions AND l.sessions_ended IS NULL;
  EXCEPTION WHEN {HELD} THEN
    missed := SQLERRM;
  END;",
        leases = home.leases(),
    )
}

/// Ends the sessions of `over` and `stuck`, and of accounts that can act as them. Sessions of
/// administrators are ended with their own window only. If the broker may not end sessions itself,
/// the function does it by which an administrator lets the broker do so.
fn end_sessions(home: Home, administrators: &[String], catalog: Catalog) -> String {
    format!(
        r"
  IF over IS NOT NULL OR cardinality(stuck) > 0 THEN
    whose := coalesce(over, '{{}}') || stuck;
    BEGIN
      WITH RECURSIVE w AS (
        SELECT unnest(whose) AS oid
        UNION SELECT m.member FROM w JOIN pg_auth_members m ON m.roleid = w.oid {acts} WHERE m.member <> my
      ) SELECT array_agg(w.oid) INTO whose FROM w JOIN pg_roles r ON r.oid = w.oid AND NOT r.rolsuper{apart};
    EXCEPTION WHEN {HELD} THEN
      -- somebody holds the catalog: the accounts themselves are known
      NULL;
    END;
    ended := 0;
    why := NULL;
    BEGIN
      IF NOT pg_has_role('pg_signal_backend', 'USAGE') AND pg_has_role('pg_signal_backend', 'MEMBER') THEN
        SET LOCAL ROLE pg_signal_backend;
      END IF;
    EXCEPTION WHEN insufficient_privilege OR {HELD} THEN
      NULL;
    END;
    BEGIN
      FOR s IN SELECT a.pid, a.usesysid FROM pg_stat_get_activity(NULL) a WHERE a.usesysid = ANY (whose) AND a.pid <> pg_backend_pid() LOOP
        BEGIN
          -- what is not reached is not planned, and waits for no lock
          IF pg_has_role('pg_signal_backend', 'USAGE') THEN
            PERFORM pg_terminate_backend(s.pid);
          ELSIF EXISTS ({end_session}) THEN
            PERFORM jit_sessions.end_session(s.pid, s.usesysid);
          ELSE
            PERFORM pg_terminate_backend(s.pid);
          END IF;
          ended := ended + 1;
        EXCEPTION WHEN OTHERS THEN
          why := SQLERRM;
        END;
      END LOOP;
    EXCEPTION WHEN {HELD} THEN
      why := SQLERRM;
    END;
    COMMIT;
    IF over IS NOT NULL THEN
      BEGIN
        UPDATE {leases} l SET sessions_ended = CASE WHEN why IS NULL THEN ended END, failure = why
          WHERE l.broker = my AND l.fired_at IS NOT NULL AND l.account = ANY (over) AND l.sessions_ended IS NULL;
      EXCEPTION WHEN {HELD} THEN
        missed := SQLERRM;
      END;
      COMMIT;
    END IF;
  END IF;",
        acts = catalog.text("AND (m.inherit_option OR m.set_option)"),
        end_session = with_end_session("{end_session}"),
        leases = home.leases(),
        apart = if administrators.is_empty() {
            String::new()
        } else {
            let names: Vec<String> = administrators.iter().map(|name| escape_literal(name)).collect();
            format!(" AND (w.oid = ANY (whose) OR r.rolname <> ALL (ARRAY[{}]::name[]))", names.join(", "))
        }
    )
}

/// Looks once: the job of `pg_cron`. If somebody held the table it fails, so that its history does
/// not say that it has looked.
pub(crate) fn once(home: Home, administrators: &[String], catalog: Catalog) -> String {
    format!(
        r"DO $jit$
DECLARE{VARIABLES}
BEGIN{PINNED}
  why := {distrust};
  IF why IS NOT NULL THEN RAISE EXCEPTION 'the leases of jit cannot be trusted: %', why; END IF;{look}
  IF missed IS NOT NULL THEN RAISE EXCEPTION 'the leases of jit are held by somebody: %', missed; END IF;
END $jit$",
        distrust = distrust(home),
        look = look(home, administrators, catalog)
    )
}

/// Looks twice a second, until there was nothing to look at for a minute.
///
/// A process that arms a lease finds the sentinel by its lock. There are so many locks that no
/// stranger can hold them all. The table is locked for the last look, so that nobody arms a lease
/// that nobody looks at. It is locked for the first look too, so that one of two sentinels that
/// began at the same time goes on.
///
/// Somebody may hold what [`distrust`] reads, and that may be an account that is due. Then sessions
/// are ended by what a table says that was trusted before, and the table is only read.
pub(crate) fn sentinel(home: Home, administrators: &[String], catalog: Catalog) -> String {
    format!(
        r"DO $jit$
DECLARE{VARIABLES}
  mine   pg_catalog.int4;
  first  pg_catalog.bool;
  sound  pg_catalog.bool;
  held   pg_catalog.bool;
  idle   pg_catalog.int4;
BEGIN{PINNED}
  first := true;
  sound := false;
  idle := 0;
  LOOP
    mine := (random() * 2147483646)::int;
    EXIT WHEN pg_try_advisory_lock({lock}, mine);
  END LOOP;
  LOOP
  COMMIT;
  IF NOT first THEN PERFORM pg_sleep(0.5); END IF;
  held := false;
  BEGIN
    why := {distrust};
  EXCEPTION WHEN {HELD} THEN
    held := true;
  END;
  IF held THEN
    CONTINUE WHEN NOT sound;
    -- somebody holds the catalog: who is due lets go of it, anybody else has to some time
    over := NULL;
    stuck := NULL;
    BEGIN
      SELECT array_agg(DISTINCT l.account) INTO stuck FROM {leases} l
        WHERE l.broker = my AND l.fired_at IS NULL AND l.fires_at <= clock_timestamp() AND l.ends_sessions;
    EXCEPTION WHEN {HELD} THEN
      NULL;
    END;
    stuck := coalesce(stuck, '{{}}');{end_sessions}
    CONTINUE;
  END IF;
  IF why IS NOT NULL THEN RAISE EXCEPTION 'the leases of jit cannot be trusted: %', why; END IF;
  sound := true;{look}
  BEGIN
    idle := CASE WHEN EXISTS (SELECT FROM {leases} l WHERE l.broker = my) THEN 0 ELSE idle + 1 END;
    IF first OR idle >= 120 THEN
      LOCK TABLE {leases} IN SHARE ROW EXCLUSIVE MODE;
      IF EXISTS ({sentinels} AND l.pid <> pg_backend_pid())
        OR (idle >= 120 AND NOT EXISTS (SELECT FROM {leases} l WHERE l.broker = my))
      THEN
        PERFORM pg_advisory_unlock({lock}, mine);
        RETURN;
      END IF;
      first := false;
    END IF;
  EXCEPTION WHEN {HELD} THEN
    NULL;
  END;
  END LOOP;
END $jit$",
        lock = home.lock(),
        distrust = distrust(home),
        end_sessions = end_sessions(home, administrators, catalog),
        look = look(home, administrators, catalog),
        leases = home.leases(),
        sentinels = sentinels(home),
    )
}

/// Settings of the sentinel's connection. Nothing ends it but its own decision, even after its
/// client has gone. The block itself sets what decides its behaviour.
pub(crate) const SENTINEL_SETTINGS: &str = "\
SET application_name = 'jit sentinel'; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
SET client_connection_check_interval = 0; SET client_min_messages = error";

/// Name of the job in `cron.job`.
pub(crate) const JOB: &str = "jit dead-man";

/// Checks whether `pg_cron` is here, may be used, and is safe. Safe means that the used objects
/// belong to the extension and to superusers. It goes by names in the catalog: `to_regclass` fails
/// if the broker may not use the schema, whoever made it.
pub(crate) const CRON: &str = "\
SELECT EXISTS (SELECT FROM pg_extension x JOIN pg_namespace n ON n.nspname = 'cron' \
  WHERE x.extname = 'pg_cron' AND has_schema_privilege(n.oid, 'USAGE') AND NOT EXISTS ( \
    SELECT FROM ( \
      SELECT 'pg_namespace'::regclass, n.oid, n.nspowner \
      UNION ALL SELECT 'pg_class'::regclass, c.oid, c.relowner FROM (VALUES ('job'), ('job_run_details')) t(name) \
        LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name \
      UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM (VALUES ('schedule')) t(name) \
        LEFT JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = t.name AND p.proargtypes::text = '25 25 25' \
    ) o(class, oid, owner) WHERE NOT EXISTS (SELECT FROM pg_roles t WHERE t.oid = o.owner AND t.rolsuper) \
      OR NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0 \
        AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = x.oid AND d.deptype = 'e'))) AS cron";

/// Finds the broker's job, if it is as it should be. Reads whether it has done its work lately, and
/// the result of its last run. `$1` its name, `$2` its command. It goes by the job's history, since
/// a job runs only where its launcher lives and can log in as the broker.
pub(crate) const JOB_THERE: &str = "\
SELECT coalesce(d.status = 'succeeded' AND d.end_time > clock_timestamp() - interval '150 seconds', false) AS ran, \
  concat_ws(': ', d.status, d.return_message) AS last \
FROM cron.job j LEFT JOIN LATERAL ( \
  SELECT r.status, r.return_message, r.end_time FROM cron.job_run_details r WHERE r.jobid = j.jobid AND r.end_time IS NOT NULL \
  ORDER BY r.runid DESC LIMIT 1 \
) d ON true \
WHERE j.jobname = $1::text AND j.command = $2::text AND j.schedule = '* * * * *' AND j.active \
  AND j.username = current_user AND j.database = current_database()";

/// Makes the job, or replaces it: it looks every minute.
pub(crate) const MAKE_JOB: &str = "SELECT cron.schedule($1::text, '* * * * *'::text, $2::text)";

/// Returns the statements that a DBA runs to make the switch, as often as they like. Their client
/// does one statement after the other.
///
/// The statements make what is missing, and fail on what somebody else has made there: the block's
/// checks are those of each use. The session's search path may be anything.
pub(crate) fn make(broker: &str, home: Home) -> String {
    let (schema, name) = (escape_literal(&home.schema()), escape_identifier(broker));
    let block = block(broker, &schema, &|statement| format!("{};", statement.replace("{schema}", &home.schema())));
    // The sentinel is written in that language.
    format!("GRANT USAGE ON LANGUAGE plpgsql TO {name};\n{block}")
}

/// Returns the same statements for a home that is not known yet: the block chooses it.
///
/// - Schema `jit` if it is free, or the broker's own. Also if it is nobody's that jit knows, which
///   the block then refuses.
/// - The broker's own schema if another broker has `jit`, or if there is one that is no stranger's.
pub(crate) fn make_anywhere(broker: &str) -> String {
    let another = format!(
        "EXISTS (SELECT FROM {THERE}, LATERAL (SELECT c.relowner AS oid) me WHERE n.nspname = 'jit' AND c.relowner <> my
      AND NOT EXISTS ({}))",
        faults()
    );
    let choice = format!(
        "CASE WHEN EXISTS (SELECT FROM pg_namespace n, (SELECT my AS oid) me WHERE n.nspname = 'jit_of_' || my AND {own})
      OR {another} THEN 'jit_of_' || my ELSE 'jit' END",
        own = is_trusted("n.nspowner"),
    );
    block(broker, &choice, &|statement| format!("EXECUTE replace({}, '{{schema}}', home);", escape_literal(statement)))
}

/// Writes the block. `home` is an expression, and `run` says how a statement about `{schema}` is
/// run.
fn block(broker: &str, home: &str, run: &dyn Fn(&str) -> String) -> String {
    let name = escape_identifier(broker);
    let columns: Vec<String> = COLUMNS.iter().map(|(name, kind, _)| format!("\n      {name} {kind},")).collect();
    let table =
        format!("CREATE TABLE {{schema}}.leases ({}\n      PRIMARY KEY (broker, role, account))", columns.concat());
    format!(
        r"DO $jit$
DECLARE
  my    pg_catalog.oid;
  home  pg_catalog.text;
  why   pg_catalog.text;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  SELECT r.oid INTO STRICT my FROM pg_roles r WHERE r.rolname = {literal};
  home := {home};
  IF to_regnamespace(home) IS NULL THEN
    {make_schema}
  END IF;
  -- a schema that was there before may be somebody else's
  why := (SELECT string_agg(f.why, '; ') FROM (SELECT my AS oid) me, {THERE}, LATERAL ({faults}) f WHERE n.nspname = home);
  IF why IS NOT NULL THEN
    RAISE EXCEPTION 'jit is not set up: %', why USING HINT = 'Drop what jit did not make (or give it to a superuser), and run this again.';
  END IF;
  IF to_regclass(home || '.leases') IS NULL THEN
    {make_table}
    {give_table}
  END IF;
  {let_use}
  {let_write}
  why := {distrust};
  IF why IS NOT NULL THEN
    RAISE EXCEPTION 'jit is not set up: %', why USING HINT = 'Let a superuser, or who may SET ROLE to the broker, run this.';
  END IF;
END $jit$;
",
        literal = escape_literal(broker),
        faults = faults(),
        make_schema = run(&format!("CREATE SCHEMA {{schema}} AUTHORIZATION {name}")),
        make_table = run(&table),
        give_table = run(&format!("ALTER TABLE {{schema}}.leases OWNER TO {name}")),
        let_use = run(&format!("GRANT USAGE ON SCHEMA {{schema}} TO {name}")),
        let_write = run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON {{schema}}.leases TO {name}")),
        distrust = distrust_in("home", &faults()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_a_home_name_no_other() {
        let (common, own) = (Home::Common, Home::Own(16_388));
        let of = |home| {
            [
                arm(home),
                disarm(home),
                marks(home),
                stores(home),
                once(home, &[], Catalog::PerGrantor),
                sentinel(home, &[], Catalog::PerGrantor),
                guard(home),
                make("jit_broker", home),
            ]
            .join("\n")
        };
        assert!(!of(common).contains("jit_of_") && !of(own).contains(" jit.leases"));
        assert!(sentinel(own, &[], Catalog::PerGrantor).contains("jit_of_16388.leases"));
    }

    #[test]
    fn blocks_pin_their_path_before_they_name_anything() {
        for block in [once(Home::Common, &[], Catalog::Merged), sentinel(Home::Common, &[], Catalog::PerGrantor)] {
            let declared = block.split_once("DECLARE").unwrap().1.split_once("BEGIN").unwrap().0;
            for line in declared.lines().filter(|line| !line.trim().is_empty()) {
                assert!(line.contains(" pg_catalog."), "{line}");
                assert!(!line.contains(":="), "{line}");
            }
            let first = block.split_once("BEGIN").unwrap().1.trim_start();
            assert!(first.starts_with("PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', false)"));
        }
    }
}
