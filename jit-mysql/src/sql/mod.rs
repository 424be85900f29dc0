//! Every statement that is sent, for review. The question goes as JSON in the variable `@jit_ask`.
//! So names of accounts and roles are only in `GRANT`, `REVOKE` and `KILL` statements themselves,
//! quoted.
//!
//! No statement is prepared: the server has only so many prepared statements for all accounts
//! (`max_prepared_stmt_count`), and any account can use up all of them.

pub(crate) mod dead_mans_switch;
pub(crate) mod definers;
pub(crate) mod hosts;
mod read;
pub(crate) mod rights;
pub(crate) mod routines;
pub(crate) mod set_up;
pub(crate) mod settings;

pub(crate) use read::{LAST, Read};

use mysql_async::{DriverError, Params, Value};

use crate::account::Name;

/// Kind of server: one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// MySQL 8.0 and later.
    MySql,
    /// MariaDB 10.6 and later.
    MariaDb,
}

impl Flavour {
    /// Reads the kind from the server's version, and returns true if that version is known to work.
    pub(crate) fn of(version: &str) -> (Self, bool) {
        let flavour = if version.to_ascii_lowercase().contains("mariadb") { Self::MariaDb } else { Self::MySql };
        // old clients of MariaDB expect this before its own number
        let version = version.strip_prefix("5.5.5-").unwrap_or(version);
        let mut numbers =
            version.split(|one: char| !one.is_ascii_digit()).map_while(|number| number.parse::<u32>().ok());
        let version = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
        let oldest = if flavour == Self::MariaDb { (10, 6) } else { (8, 0) };
        (flavour, version >= oldest)
    }

    /// Returns a statement for this server's catalog.
    pub(crate) fn text(self, statement: &str) -> String {
        let parts: &[(&str, &str)] = match self {
            Self::MySql => &IN_MYSQL,
            Self::MariaDb => &IN_MARIADB,
        };
        parts.iter().fold(statement.to_owned(), |text, (name, part)| text.replace(name, part))
    }

    /// Returns the role with its host: MariaDB's roles have none.
    pub(crate) fn role(self, name: &Name) -> Name {
        match self {
            Self::MariaDb if name.host == "%" => Name::of(name.user.clone(), ""),
            _ => name.clone(),
        }
    }

    /// Returns the roles that everybody holds: in MySQL by a setting, in MariaDB by a grant to
    /// PUBLIC.
    pub(crate) fn everybody(self, mandatory: &str) -> Vec<Name> {
        match self {
            Self::MySql => crate::account::listed(mandatory),
            Self::MariaDb => vec![Name::of("PUBLIC", "")],
        }
    }

    /// Returns a role as written in a statement.
    pub(crate) fn quoted_role(self, name: &Name) -> String {
        match self {
            Self::MySql => name.quoted(),
            Self::MariaDb => crate::account::backticked(&name.user),
        }
    }
}

/// Parts of statements in MySQL's words.
///
/// - `{edges}`: the direct members of each role.
/// - `{defaults}`: default roles.
/// - `{status}`: the server's uptime in seconds, by the statement's own time, and the position up
///   to which InnoDB's log is on disk (none before MySQL 8.0.30).
/// - `{gtids}`: the changes in the binary log.
const IN_MYSQL: [(&str, &str); 11] = [
    ("{place}", PLACE),
    ("{asked}", ASKED),
    (
        "{edges}",
        "(SELECT FROM_USER AS role_user, FROM_HOST AS role_host, TO_USER AS member_user, TO_HOST AS member_host, \
                  WITH_ADMIN_OPTION = 'Y' AS with_admin FROM mysql.role_edges)",
    ),
    (
        "{defaults}",
        "(SELECT USER AS account_user, HOST AS account_host, DEFAULT_ROLE_USER AS role_user, DEFAULT_ROLE_HOST AS role_host \
                     FROM mysql.default_roles)",
    ),
    ("{everybody}", EVERYBODY),
    (
        "{acts_as}",
        "(SELECT FROM_USER AS role_user, FROM_HOST AS role_host, TO_USER AS member_user, TO_HOST AS member_host FROM mysql.role_edges \
          UNION {proxies})",
    ),
    ("{proxies}", PROXIES),
    ("{realm}", "CONCAT('mysql:', @@server_uuid)"),
    ("{mandatory}", "@@global.mandatory_roles"),
    ("{gtids}", "@@global.gtid_executed"),
    (
        "{status}",
        "(SELECT MAX(CASE WHEN VARIABLE_NAME = 'Uptime' THEN VARIABLE_VALUE END) AS uptime, \
                 MAX(CASE WHEN VARIABLE_NAME <> 'Uptime' THEN VARIABLE_VALUE END) AS lsn FROM performance_schema.global_status \
          WHERE VARIABLE_NAME IN ('Uptime', 'Innodb_redo_log_flushed_to_disk_lsn')) status",
    ),
];
const IN_MARIADB: [(&str, &str); 11] = [
    ("{place}", PLACE),
    ("{asked}", ASKED),
    (
        "{edges}",
        "(SELECT Role AS role_user, CAST('' AS CHAR(255)) AS role_host, User AS member_user, Host AS member_host, \
                  Admin_option = 'Y' AS with_admin FROM mysql.roles_mapping)",
    ),
    (
        "{defaults}",
        "(SELECT User AS account_user, Host AS account_host, default_role AS role_user, '' AS role_host \
                     FROM mysql.user WHERE default_role <> '')",
    ),
    ("{everybody}", EVERYBODY),
    (
        "{acts_as}",
        "(SELECT Proxied_user AS role_user, Proxied_host AS role_host, User AS member_user, Host AS member_host FROM ({proxies}) proxies)",
    ),
    ("{proxies}", PROXIES),
    ("{mandatory}", "''"),
    ("{realm}", "CONCAT('mariadb:', @@server_uid, ':', @@hostname)"),
    ("{gtids}", "@@global.gtid_binlog_pos"),
    (
        "{status}",
        "(SELECT MAX(CASE WHEN VARIABLE_NAME = 'UPTIME' THEN VARIABLE_VALUE END) AS uptime, \
                 MAX(CASE WHEN VARIABLE_NAME <> 'UPTIME' THEN VARIABLE_VALUE END) AS lsn FROM information_schema.GLOBAL_STATUS \
          WHERE VARIABLE_NAME IN ('UPTIME', 'INNODB_LSN_FLUSHED')) status",
    ),
];

/// Address where it listens: no two servers that run on one machine at the same time have the same
/// port. The uuid is in every copy too.
const PLACE: &str = "CONCAT(@@hostname, ':', @@port)";

/// Rows of the question: one row for each membership.
const ASKED: &str = "\
(SELECT DISTINCT account_user, account_host, role_user, role_host FROM JSON_TABLE(@jit_ask, '$[*]' COLUMNS (\
account_user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.account_user', account_host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.account_host', \
role_user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.role_user', role_host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.role_host')) json)";

/// Roles that everybody holds without a grant of their own.
const EVERYBODY: &str = "\
(SELECT user, host FROM JSON_TABLE(@jit_everybody, '$[*]' COLUMNS (\
user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.user', \
host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.host')) everybody_json)";

/// Accounts that may act as another by PROXY. Of those that may act as anybody, superusers such as
/// the servers' own `root` are left out: they need no role of others. Accounts that do not exist,
/// of which new servers have some, are left out too.
const PROXIES: &str = "\
SELECT p.Proxied_user, p.Proxied_host, p.User, p.Host FROM mysql.proxies_priv p WHERE p.Proxied_user <> '' OR EXISTS (\
SELECT 1 FROM mysql.user u WHERE u.User = p.User AND u.Host = p.Host AND u.Super_priv <> 'Y')";

/// Reads which server it is, before anything that only one of the two understands.
pub(crate) const VERSION: &str = "SELECT VERSION() AS version";

/// Reads the broker's account, and the server.
pub(crate) const HELLO: &str = "\
SELECT CURRENT_USER() AS broker, {realm} AS realm, UNIX_TIMESTAMP() - status.uptime AS started, {place} AS place, {gtids} AS gtids, \
status.lsn AS lsn, @@datadir AS data, DATE_FORMAT(SYSDATE(6), '%Y-%m-%dT%H:%i:%s.%fZ') AS now FROM {status}";

/// Reads the server's time, before anything else, its incarnation and its position.
pub(crate) const MOMENT: &str = "\
SELECT {realm} AS realm, UNIX_TIMESTAMP() - status.uptime AS started, {place} AS place, {gtids} AS gtids, \
status.lsn AS lsn, @@datadir AS data, DATE_FORMAT(SYSDATE(6), '%Y-%m-%dT%H:%i:%s.%fZ') AS now FROM {status}";

/// Sets the question, and the roles that everybody is assumed to hold.
pub(crate) const ASK: &str = "SET @jit_ask = ?, @jit_everybody = ?";

/// Roles that everybody holds by the server's settings, as written there.
pub(crate) const MANDATORY: &str = "SELECT {mandatory} AS mandatory";

/// Reads which of the accounts and roles in question exist, and all accounts with the same user
/// name. The latter tell whose a session is: for a session the server shows its login name and its
/// client's host, not the account that matched. Nothing is joined that could be looked up in a list
/// instead: MariaDB compares every row with every other if no index helps.
pub(crate) const NAMES: Read = Read::new(
    2,
    "\
SELECT User AS user, Host AS host FROM mysql.user \
WHERE User IN (SELECT account_user FROM {asked} a) OR User IN (SELECT role_user FROM {asked} b) \
OR User IN (SELECT CONCAT(account_user, '@', account_host) FROM {asked} c) OR User = ''",
);

/// Reads the direct roles of all accounts with these user names. Reads also which of those roles,
/// and of those that everybody holds, is in which other role.
pub(crate) const HELD: Read = Read::new(
    5,
    "\
WITH RECURSIVE roles AS (\
SELECT DISTINCT e.role_user, e.role_host FROM {edges} e WHERE e.member_user IN (SELECT account_user FROM {asked} a) \
UNION SELECT v.user, v.host FROM {everybody} v \
UNION SELECT e.role_user, e.role_host FROM roles r JOIN {edges} e ON e.member_user = r.role_user AND e.member_host = r.role_host) \
SELECT e.member_user, e.member_host, e.role_user, e.role_host, e.with_admin FROM {edges} e \
WHERE e.member_user IN (SELECT account_user FROM {asked} a) \
OR EXISTS (SELECT 1 FROM roles r WHERE r.role_user = e.member_user AND r.role_host = e.member_host)",
);

/// Reads who can act as one of the accounts: by PROXY, and in MySQL as a member of it (a MariaDB
/// account cannot be granted).
pub(crate) const MEMBERS: Read = Read::new(
    4,
    "\
WITH RECURSIVE down AS (\
SELECT a.account_user, a.account_host, e.member_user, e.member_host FROM (SELECT DISTINCT account_user, account_host FROM {asked} b) a \
JOIN {acts_as} e ON (e.role_user = a.account_user AND e.role_host = a.account_host) OR e.role_user = '' \
UNION SELECT d.account_user, d.account_host, e.member_user, e.member_host \
FROM down d JOIN {acts_as} e ON e.role_user = d.member_user AND e.role_host = d.member_host AND d.member_user <> '') \
SELECT account_user, account_host, member_user, member_host FROM down \
WHERE NOT (member_user = account_user AND member_host = account_host)",
);

/// Reads the default roles of all accounts with these user names.
pub(crate) const DEFAULTS: Read = Read::new(
    4,
    "\
SELECT d.account_user, d.account_host, d.role_user, d.role_host FROM {defaults} d \
WHERE d.account_user IN (SELECT account_user FROM {asked} a)",
);

/// Reads every session of these users (JSON), whichever of their accounts it is.
pub(crate) const SESSIONS: Read = Read::new(
    3,
    "\
SELECT ID AS id, USER AS user, HOST AS host FROM information_schema.PROCESSLIST \
WHERE USER IN (SELECT user FROM JSON_TABLE(?, '$[*]' COLUMNS (user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) json)",
);

/// Reads every session whose user name no account has, that is, of accounts without a name. The
/// server's own threads do not count.
pub(crate) const SESSIONS_WITHOUT_ACCOUNT: Read = Read::new(
    3,
    "\
SELECT ID AS id, USER AS user, HOST AS host FROM information_schema.PROCESSLIST \
WHERE USER NOT IN ('system user', 'event_scheduler', 'unauthenticated user') \
AND USER NOT IN (SELECT CONVERT(User USING utf8mb4) COLLATE utf8mb4_bin FROM mysql.user)",
);

/// Counts those of these sessions (JSON) that are still there.
pub(crate) const STILL_THERE: &str = "\
SELECT COUNT(*) AS there FROM information_schema.PROCESSLIST \
WHERE ID IN (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) json)";

/// Returns the statement that ends a session.
pub(crate) fn kill(id: u64) -> String {
    format!("KILL CONNECTION {id}")
}

/// Fills the parameters of a statement into the places of its question marks. Texts become
/// hexadecimal digits, so that nothing in them can be taken for a part of the statement, whatever
/// the session's settings are.
///
/// # Errors
/// Fails if the number of parameters differs.
pub(crate) fn filled(statement: &str, parameters: &Params) -> Result<String, DriverError> {
    let values = match parameters {
        Params::Positional(values) => values.as_slice(),
        Params::Empty | Params::Named(_) => &[],
    };
    let mut parts = statement.split('?');
    let required = parts.clone().count().saturating_sub(1);
    if required != values.len() {
        let required = required.try_into().unwrap_or(u16::MAX);
        return Err(DriverError::StmtParamsMismatch { required, supplied: values.len() });
    }
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (value, part) in values.iter().zip(parts) {
        match value {
            Value::Bytes(bytes) => text += &format!("_utf8mb4 {} COLLATE utf8mb4_bin", hex(bytes)),
            other => text += &other.as_sql(true),
        }
        text += part;
    }
    Ok(text)
}

/// Returns bytes as written in a statement.
fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digits: String = bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

/// Sets the character set of the names in the packet. It comes before them, since something between
/// us and the server may have set another.
pub(crate) const NAMES_IN: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin";

/// Returns a statement that fails if the condition is true, so that the rest of the packet is not
/// done.
fn stop_if(condition: &str) -> String {
    format!("SET @jit_gate = IF({condition}, (SELECT 1 UNION SELECT 2), 0)")
}

/// Sets the deadline of the work, its label, and its only server (`realm place`, NULL for any).
pub(crate) const TELL: &str = "SET @jit_label = ?, @jit_not_after = ?, @jit_server = ?";

/// Returns the packet that does the work, if [`TELL`] comes before it.
///
/// A lock named after the call shows others that the call is under way, and on which connection.
/// The server forgets it with the connection. The deadline includes the time that the statement may
/// wait for locks, so that nothing is applied later. If a proxy takes the packet to another server
/// than the one that was looked at, it is not done there.
///
/// In MariaDB `lock_wait_timeout` does not limit how long a GRANT waits, but `max_statement_time`
/// does.
pub(crate) fn run(flavour: Flavour, lock_wait_seconds: u64, statement: &str) -> String {
    let limits = match flavour {
        Flavour::MySql => ["lock_wait_timeout", "innodb_lock_wait_timeout"],
        Flavour::MariaDb => ["lock_wait_timeout", "max_statement_time"],
    };
    let limits = limits.map(|limit| format!("SESSION {limit} = {lock_wait_seconds}")).join(", ");
    let server = flavour.text("CONCAT({realm}, ' ', {place})");
    format!(
        "{NAMES_IN}; DO GET_LOCK(@jit_label, 0); SET {limits}; \
         SET @jit_late = SYSDATE(6) + INTERVAL {lock_wait_seconds} SECOND > CAST(@jit_not_after AS DATETIME(6)); \
         SET @jit_other = NOT CONVERT({server} USING utf8mb4) <=> CONVERT(COALESCE(@jit_server, {server}) USING utf8mb4); \
         {}; {statement}",
        stop_if("@jit_late OR @jit_other")
    )
}

/// Reads why [`run`] stopped.
pub(crate) const WHY: &str = "SELECT @jit_late AS late, @jit_other AS other";

/// Returns the statements that end a call.
pub(crate) fn done(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => "DO RELEASE_ALL_LOCKS()",
        Flavour::MariaDb => "SET SESSION max_statement_time = 0; DO RELEASE_ALL_LOCKS()",
    }
}

/// Grants one role to several accounts.
pub(crate) fn grant(role: &str, accounts: &[String]) -> String {
    format!("GRANT {role} TO {}", accounts.join(", "))
}

/// Revokes one role from several accounts.
pub(crate) fn revoke(role: &str, accounts: &[String]) -> String {
    format!("REVOKE {role} FROM {}", accounts.join(", "))
}

/// Calls the procedure that sets default roles. `@jit_1`... are the account (user, host), the role
/// (user, host), and 1 if it is to be a default role.
pub(crate) const CALL_IN_MYSQL: &str = "CALL jit.default_role(@jit_1, @jit_2, @jit_3, @jit_4, @jit_5)";
/// Parameters in MariaDB are the account (user, host), and the role or NULL.
pub(crate) const CALL_IN_MARIADB: &str = "CALL jit.default_role(@jit_1, @jit_2, @jit_3)";
/// Sets the parameters of the call.
pub(crate) const TELL_IN_MYSQL: &str = "SET @jit_1 = ?, @jit_2 = ?, @jit_3 = ?, @jit_4 = ?, @jit_5 = ?";
pub(crate) const TELL_IN_MARIADB: &str = "SET @jit_1 = ?, @jit_2 = ?, @jit_3 = ?";

/// Sets the definers, as JSON, whose definitions are shown.
pub(crate) const TELL_DEFINERS: &str = "SET @jit_1 = ?";
pub(crate) const SHOW_DEFINITIONS_IN_MYSQL: &str = "CALL jit.definitions(@jit_1)";
/// Shows definitions in MariaDB. The call may wait for locks, for each separately, and nobody waits
/// for the answer longer than 2 s.
pub(crate) const SHOW_DEFINITIONS_IN_MARIADB: &str =
    "SET STATEMENT max_statement_time = 1.5 FOR CALL jit.definitions(@jit_1)";
/// Reads the events that are visible in MariaDB without the procedure, by a right that brokers had
/// before it existed.
pub(crate) const EVENTS_IN_MARIADB: Read = Read::new(
    5,
    "\
SELECT e.definer AS definer, 'event' AS kind, e.db AS place, e.name AS name, NULL AS version FROM mysql.event e \
WHERE CONVERT(e.definer USING utf8mb4) COLLATE utf8mb4_bin IN (\
SELECT j.definer FROM JSON_TABLE(?, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j)",
);

/// Reads the broker's rights on the whole server.
pub(crate) const OWN_PRIVILEGES: Read = Read::new(
    1,
    "\
SELECT DISTINCT PRIVILEGE_TYPE AS privilege FROM information_schema.USER_PRIVILEGES \
WHERE GRANTEE = CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))",
);

/// Reads settings that may be wrong on the server.
pub(crate) const SERVER: &str = "\
SELECT @@global.read_only AS read_only, @@global.innodb_flush_log_at_trx_commit <> 1 AS forgetful";

/// Rights with which a thief of the broker's password owns the server.
pub(crate) const ADMINISTERS_MYSQL: [&str; 4] = ["SUPER", "CREATE USER", "ROLE_ADMIN", "SYSTEM_USER"];
pub(crate) const ADMINISTERS_MARIADB: [&str; 2] = ["SUPER", "CREATE USER"];

/// Tables that the broker has to read, and which columns. Of `mysql.user` never the passwords.
pub(crate) const TABLES_OF_MYSQL: [(&str, &str); 8] = [
    ("mysql.role_edges", "*"),
    ("mysql.default_roles", "*"),
    ("mysql.global_grants", "*"),
    ("mysql.db", "*"),
    ("mysql.tables_priv", "*"),
    ("mysql.procs_priv", "*"),
    ("mysql.proxies_priv", "*"),
    ("mysql.user", rights::USER_COLUMNS),
];
pub(crate) const TABLES_OF_MARIADB: [(&str, &str); 5] = [
    ("mysql.roles_mapping", "*"),
    ("mysql.tables_priv", "*"),
    ("mysql.procs_priv", "*"),
    ("mysql.proxies_priv", "*"),
    ("mysql.user", "User, Host, default_role, Super_priv, Create_user_priv"),
];

/// Reads the connections that do the work of these calls (JSON).
pub(crate) const LABELLED: Read = Read::new(
    2,
    "\
SELECT label, IS_USED_LOCK(label) AS id FROM JSON_TABLE(?, '$[*]' COLUMNS (label VARCHAR(64) CHARACTER SET utf8mb4 PATH '$')) json",
);

/// Reads who holds locks that a GRANT or REVOKE waits for (MySQL only). Events are left out: they
/// end by themselves.
pub(crate) const BLOCKERS: Read = Read::new(
    2,
    "\
SELECT DISTINCT t.PROCESSLIST_ID AS id, t.PROCESSLIST_USER AS user FROM performance_schema.metadata_locks m \
JOIN performance_schema.threads t ON t.THREAD_ID = m.OWNER_THREAD_ID \
WHERE m.LOCK_STATUS = 'GRANTED' AND t.PROCESSLIST_ID IS NOT NULL AND t.PROCESSLIST_ID <> CONNECTION_ID() \
AND (m.OBJECT_TYPE IN ('ACL CACHE', 'BACKUP LOCK', 'GLOBAL', 'COMMIT') OR m.OBJECT_SCHEMA = 'mysql') \
AND m.LOCK_TYPE NOT IN ('INTENTION_EXCLUSIVE') AND NOT t.PROCESSLIST_USER <=> 'event_scheduler' \
UNION SELECT t.PROCESSLIST_ID, t.PROCESSLIST_USER FROM performance_schema.data_locks d \
JOIN performance_schema.threads t ON t.THREAD_ID = d.THREAD_ID \
WHERE d.LOCK_STATUS = 'GRANTED' AND d.OBJECT_SCHEMA = 'mysql' AND t.PROCESSLIST_ID <> CONNECTION_ID() \
AND NOT t.PROCESSLIST_USER <=> 'event_scheduler'",
);

/// Reads rights to routines that these accounts (JSON) have, and rights to tables and routines that
/// they passed on, also to themselves. For a right that was passed on, the servers keep the user
/// and the host of the session. So every account counts that admits that host. The ids contain the
/// names in a form that cannot confuse two of them.
pub(crate) const OWNED_OBJECTS: Read = Read::new(
    3,
    "\
SELECT a.account AS account, x.id AS id, x.what AS what FROM (\
SELECT 1 AS own, CONVERT(p.User USING utf8mb4) COLLATE utf8mb4_bin AS user, CONVERT(p.Host USING utf8mb4) COLLATE utf8mb4_bin AS host, \
CAST('' AS CHAR(384)) AS grantee, CONCAT_WS('/', 'routine', HEX(p.Db), HEX(p.Routine_name), p.Routine_type) AS id, \
CONCAT(p.Proc_priv, ' on ', LOWER(p.Routine_type), ' ', p.Db, '.', p.Routine_name) AS what FROM mysql.procs_priv p \
UNION ALL SELECT 0, LEFT(p.grantor, CHAR_LENGTH(p.grantor) - LOCATE('@', REVERSE(p.grantor))), SUBSTRING_INDEX(p.grantor, '@', -1), \
CONCAT(p.User, '@', p.Host), CONCAT_WS('/', 'routine-for', HEX(p.Db), HEX(p.Routine_name), p.Routine_type, HEX(p.User), HEX(p.Host)), \
CONCAT(p.Proc_priv, ' on ', LOWER(p.Routine_type), ' ', p.Db, '.', p.Routine_name, ' for ', p.User, '@', p.Host) \
FROM (SELECT CONVERT(r.Grantor USING utf8mb4) COLLATE utf8mb4_bin AS grantor, r.User, r.Host, r.Db, r.Routine_name, r.Routine_type, r.Proc_priv \
FROM mysql.procs_priv r) p \
UNION ALL SELECT 0, LEFT(t.grantor, CHAR_LENGTH(t.grantor) - LOCATE('@', REVERSE(t.grantor))), SUBSTRING_INDEX(t.grantor, '@', -1), '', \
CONCAT_WS('/', 'table', HEX(t.Db), HEX(t.Table_name), HEX(t.User), HEX(t.Host)), \
CONCAT(CONCAT_WS(',', NULLIF(t.Table_priv, ''), NULLIF(t.Column_priv, '')), ' on table ', t.Db, '.', t.Table_name, ' for ', t.User, '@', t.Host) \
FROM (SELECT CONVERT(g.Grantor USING utf8mb4) COLLATE utf8mb4_bin AS grantor, g.User, g.Host, g.Db, g.Table_name, g.Table_priv, g.Column_priv \
FROM mysql.tables_priv g) t) x \
JOIN (SELECT j.account, LEFT(j.account, CHAR_LENGTH(j.account) - LOCATE('@', REVERSE(j.account))) AS user, SUBSTRING_INDEX(j.account, '@', -1) AS host \
FROM JSON_TABLE(?, '$[*]' COLUMNS (account VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j) a ON a.user = x.user \
WHERE x.own = 1 AND x.host = a.host OR x.own = 0 AND CONVERT(x.grantee USING utf8mb4) COLLATE utf8mb4_bin <> a.account \
AND (LOWER(x.host) LIKE LOWER(a.host) OR a.host LIKE '%/%' \
OR NOT IS_IPV4(x.host) AND NOT IS_IPV6(x.host) AND a.host REGEXP '^[0-9a-fA-F.:%_]+$')",
);

/// Reads transactions that no session has: those that were prepared (XA), and whose session has
/// ended.
pub(crate) const PREPARED: Read = Read::new(
    1,
    "\
SELECT CAST(t.trx_id AS CHAR) AS trx FROM information_schema.INNODB_TRX t \
WHERE t.trx_mysql_thread_id = 0 AND t.trx_state = 'RUNNING' AND t.trx_query IS NULL",
);

/// Reads every direct holder of the roles in question.
pub(crate) const HOLDERS: Read = Read::new(
    5,
    "\
SELECT DISTINCT e.role_user, e.role_host, e.member_user, e.member_host, e.with_admin FROM {edges} e \
JOIN {asked} a ON a.role_user = e.role_user AND a.role_host = e.role_host",
);

/// Reads every direct role of the accounts in question.
pub(crate) const ROLES_OF: Read = Read::new(
    5,
    "\
SELECT DISTINCT e.role_user, e.role_host, e.member_user, e.member_host, e.with_admin FROM {edges} e \
JOIN {asked} a ON a.account_user = e.member_user AND a.account_host = e.member_host",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_servers_are_told_apart_by_what_they_say() {
        for (version, expected) in [
            ("8.0.36", (Flavour::MySql, true)),
            ("9.7.4-2", (Flavour::MySql, true)),
            ("5.7.44-log", (Flavour::MySql, false)),
            ("10.11.19-MariaDB-0+deb12u1", (Flavour::MariaDb, true)),
            ("5.5.5-11.8.9-MariaDB", (Flavour::MariaDb, true)),
            ("10.5.1-MariaDB", (Flavour::MariaDb, false)),
        ] {
            assert_eq!(Flavour::of(version), expected, "{version}");
        }
    }

    #[test]
    fn law_11_parameters_stand_in_a_statement_in_digits() {
        let filled = |parameters: Params| filled("SELECT ?, ?, ? IS NULL", &parameters);
        let text = filled(("a'\\?", 7, None::<String>).into()).unwrap();
        assert_eq!(text, "SELECT _utf8mb4 x'61275c3f' COLLATE utf8mb4_bin, 7, NULL IS NULL");
        assert!(filled(("a", 7).into()).is_err() && filled(Params::Empty).is_err());
    }

    #[test]
    fn no_part_is_left_open() {
        for flavour in [Flavour::MySql, Flavour::MariaDb] {
            let single = [HELLO, MOMENT, MANDATORY, SERVER].map(|statement| flavour.text(statement));
            let lists = [NAMES, HELD, MEMBERS, DEFAULTS, HOLDERS, ROLES_OF, SESSIONS, rights::OF_MYSQL];
            for text in single.into_iter().chain(lists.map(|read| read.whole(flavour))) {
                assert!(!text.contains('{'), "{text}");
            }
        }
    }
}
