//! Every statement that is sent, for review. What is asked goes as JSON in the variable `@jit_ask`, so that no name of an account or role
//! stands in a statement but in `GRANT`, `REVOKE` and `KILL` themselves, quoted.
//!
//! Nothing is a prepared statement: of these the server has only so many for everybody (`max_prepared_stmt_count`), and any account can use up all
//! of them.

pub(crate) mod dead_man;
pub(crate) mod hosts;
mod read;
pub(crate) mod rights;
pub(crate) mod routines;
pub(crate) mod set_up;
pub(crate) mod settings;

pub(crate) use read::{LAST, Read};

use mysql_async::{DriverError, Params, Value};

use crate::account::Name;

/// Which of the two servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// MySQL 8.0 and later.
    MySql,
    /// MariaDB 10.6 and later.
    MariaDb,
}

impl Flavour {
    /// By what the server says of itself, and whether that version is known to work.
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

    /// A statement as this server's catalog has it.
    pub(crate) fn text(self, statement: &str) -> String {
        let parts: &[(&str, &str)] = match self {
            Self::MySql => &IN_MYSQL,
            Self::MariaDb => &IN_MARIADB,
        };
        parts.iter().fold(statement.to_owned(), |text, (name, part)| text.replace(name, part))
    }

    /// The host of a role: MariaDB's have none.
    pub(crate) fn role(self, name: &Name) -> Name {
        match self {
            Self::MariaDb if name.host == "%" => Name::of(name.user.clone(), ""),
            _ => name.clone(),
        }
    }

    /// The roles that everybody holds: MySQL's by a setting, MariaDB's what was granted to PUBLIC.
    pub(crate) fn everybody(self, mandatory: &str) -> Vec<Name> {
        match self {
            Self::MySql => crate::account::listed(mandatory),
            Self::MariaDb => vec![Name::of("PUBLIC", "")],
        }
    }

    /// A role as it stands in a statement.
    pub(crate) fn quoted_role(self, name: &Name) -> String {
        match self {
            Self::MySql => name.quoted(),
            Self::MariaDb => crate::account::backticked(&name.user),
        }
    }
}

/// `{edges}`: who is directly in which role. `{defaults}`: default roles. `{status}`: for how long the server runs, in seconds,
/// by the statement's own time, and how far InnoDB's log is on disk (none before MySQL 8.0.30). `{gtids}`: which changes are in the binary log.
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

/// Where it listens: no two servers that run at the same time on one machine have one port. The uuid is in every copy too.
const PLACE: &str = "CONCAT(@@hostname, ':', @@port)";

/// What is asked: one row for each subject.
const ASKED: &str = "\
(SELECT DISTINCT account_user, account_host, role_user, role_host FROM JSON_TABLE(@jit_ask, '$[*]' COLUMNS (\
account_user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.account_user', account_host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.account_host', \
role_user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.role_user', role_host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.role_host')) json)";

/// Who holds the roles of these names without a grant of their own.
const EVERYBODY: &str = "\
(SELECT user, host FROM JSON_TABLE(@jit_everybody, '$[*]' COLUMNS (\
user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.user', \
host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$.host')) everybody_json)";

/// Who may act as whom by PROXY. Of those who may act as anybody, superusers are left out, as the servers' own `root` is: they need no role of
/// anybody's. So are accounts that are not there, of which new servers have some.
const PROXIES: &str = "\
SELECT p.Proxied_user, p.Proxied_host, p.User, p.Host FROM mysql.proxies_priv p WHERE p.Proxied_user <> '' OR EXISTS (\
SELECT 1 FROM mysql.user u WHERE u.User = p.User AND u.Host = p.Host AND u.Super_priv <> 'Y')";

/// Which server it is, before anything that only one of the two understands.
pub(crate) const VERSION: &str = "SELECT VERSION() AS version";

/// As whom we are logged in, and where.
pub(crate) const HELLO: &str = "\
SELECT CURRENT_USER() AS broker, {realm} AS realm, UNIX_TIMESTAMP() - status.uptime AS started, {place} AS place, {gtids} AS gtids, \
status.lsn AS lsn, @@datadir AS data, DATE_FORMAT(SYSDATE(6), '%Y-%m-%dT%H:%i:%s.%fZ') AS now FROM {status}";

/// The server's time, read before anything else, its incarnation and its position.
pub(crate) const MOMENT: &str = "\
SELECT {realm} AS realm, UNIX_TIMESTAMP() - status.uptime AS started, {place} AS place, {gtids} AS gtids, \
status.lsn AS lsn, @@datadir AS data, DATE_FORMAT(SYSDATE(6), '%Y-%m-%dT%H:%i:%s.%fZ') AS now FROM {status}";

/// Says what is asked, and which roles everybody is taken to hold.
pub(crate) const ASK: &str = "SET @jit_ask = ?, @jit_everybody = ?";

/// Roles that everybody holds by the server's settings, as those are written.
pub(crate) const MANDATORY: &str = "SELECT {mandatory} AS mandatory";

/// Which of the accounts and roles asked for exist; and whoever has the same user name, for telling whose session one is: the server shows of
/// a session the name with which it logged in and where it comes from, not the account that matched. Nothing is joined that could be looked
/// up in a list instead: MariaDB compares every row with every other where no index helps.
pub(crate) const NAMES: Read = Read::new(
    2,
    "\
SELECT User AS user, Host AS host FROM mysql.user \
WHERE User IN (SELECT account_user FROM {asked} a) OR User IN (SELECT role_user FROM {asked} b) \
OR User IN (SELECT CONCAT(account_user, '@', account_host) FROM {asked} c) OR User = ''",
);

/// Who of these user names is directly in which role, and which of those roles, and of those that everybody holds, is in which other.
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

/// Who can act as one of the accounts: by PROXY, and in MySQL as a member of it (a MariaDB account cannot be granted).
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

/// Default roles of everybody of these user names.
pub(crate) const DEFAULTS: Read = Read::new(
    4,
    "\
SELECT d.account_user, d.account_host, d.role_user, d.role_host FROM {defaults} d \
WHERE d.account_user IN (SELECT account_user FROM {asked} a)",
);

/// Every session of these users (JSON), whichever of their accounts it is.
pub(crate) const SESSIONS: Read = Read::new(
    3,
    "\
SELECT ID AS id, USER AS user, HOST AS host FROM information_schema.PROCESSLIST \
WHERE USER IN (SELECT user FROM JSON_TABLE(?, '$[*]' COLUMNS (user VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) json)",
);

/// Every session whose user name no account has: those who come in by an account without a name. The server's own threads are none.
pub(crate) const SESSIONS_WITHOUT_ACCOUNT: Read = Read::new(
    3,
    "\
SELECT ID AS id, USER AS user, HOST AS host FROM information_schema.PROCESSLIST \
WHERE USER NOT IN ('system user', 'event_scheduler', 'unauthenticated user') \
AND USER NOT IN (SELECT CONVERT(User USING utf8mb4) COLLATE utf8mb4_bin FROM mysql.user)",
);

/// How many of these sessions (JSON) are there still.
pub(crate) const STILL_THERE: &str = "\
SELECT COUNT(*) AS there FROM information_schema.PROCESSLIST \
WHERE ID IN (SELECT id FROM JSON_TABLE(?, '$[*]' COLUMNS (id BIGINT PATH '$')) json)";

/// Ends a session.
pub(crate) fn kill(id: u64) -> String {
    format!("KILL CONNECTION {id}")
}

/// A statement with its parameters in the places of its question marks. Texts stand there in hexadecimal digits, so that nothing in them can be taken
/// for a part of the statement, whatever the session's settings are.
///
/// # Errors
/// Where it has another number of parameters.
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

/// Bytes as they stand in a statement.
fn hex(bytes: impl AsRef<[u8]>) -> String {
    let digits: String = bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

/// What names in the packet are written in: stands before them, since something between us and the server may have set another.
pub(crate) const NAMES_IN: &str = "SET NAMES utf8mb4 COLLATE utf8mb4_bin";

/// Fails, and what stands behind it in the packet is not done, where this is true.
fn stop_if(condition: &str) -> String {
    format!("SET @jit_gate = IF({condition}, (SELECT 1 UNION SELECT 2), 0)")
}

/// Until when it may be done, whose work it is, and on which server alone (`realm place`, NULL for any).
pub(crate) const TELL: &str = "SET @jit_label = ?, @jit_not_after = ?, @jit_server = ?";

/// Does it, where [`TELL`] stands before it. A lock by the name of the call shows to others, and by which connection, that it is under way; the server
/// forgets it with the connection. The deadline counts with the time that the statement may wait for locks, so that nothing lands later. What a proxy
/// takes to another server than the one that was looked at is not done there.
///
/// MariaDB does not limit by `lock_wait_timeout` how long a GRANT waits, but by `max_statement_time`.
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

/// Why [`run`] stopped.
pub(crate) const WHY: &str = "SELECT @jit_late AS late, @jit_other AS other";

/// The call is over.
pub(crate) fn done(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => "DO RELEASE_ALL_LOCKS()",
        Flavour::MariaDb => "SET SESSION max_statement_time = 0; DO RELEASE_ALL_LOCKS()",
    }
}

/// One role to several accounts.
pub(crate) fn grant(role: &str, accounts: &[String]) -> String {
    format!("GRANT {role} TO {}", accounts.join(", "))
}

/// One role from several accounts.
pub(crate) fn revoke(role: &str, accounts: &[String]) -> String {
    format!("REVOKE {role} FROM {}", accounts.join(", "))
}

/// Calls what sets default roles: `@jit_1`... are the account (user, host), the role (user, host), and whether it is to be a default role.
pub(crate) const CALL_IN_MYSQL: &str = "CALL jit.default_role(@jit_1, @jit_2, @jit_3, @jit_4, @jit_5)";
/// The account (user, host), and the role or NULL.
pub(crate) const CALL_IN_MARIADB: &str = "CALL jit.default_role(@jit_1, @jit_2, @jit_3)";
/// What a call is told.
pub(crate) const TELL_IN_MYSQL: &str = "SET @jit_1 = ?, @jit_2 = ?, @jit_3 = ?, @jit_4 = ?, @jit_5 = ?";
pub(crate) const TELL_IN_MARIADB: &str = "SET @jit_1 = ?, @jit_2 = ?, @jit_3 = ?";

/// Shows definitions: definers as JSON.
pub(crate) const TELL_DEFINERS: &str = "SET @jit_1 = ?";
pub(crate) const SHOW_DEFINITIONS_IN_MYSQL: &str = "CALL jit.definitions(@jit_1)";
/// It may wait for locks, each for itself, and nobody waits for the answer longer than 2 s.
pub(crate) const SHOW_DEFINITIONS_IN_MARIADB: &str =
    "SET STATEMENT max_statement_time = 1.5 FOR CALL jit.definitions(@jit_1)";
/// What is seen without the procedure in MariaDB, by a right that brokers had before there was one there.
pub(crate) const EVENTS_IN_MARIADB: Read = Read::new(
    5,
    "\
SELECT e.definer AS definer, 'event' AS kind, e.db AS place, e.name AS name, NULL AS version FROM mysql.event e \
WHERE CONVERT(e.definer USING utf8mb4) COLLATE utf8mb4_bin IN (\
SELECT j.definer FROM JSON_TABLE(?, '$[*]' COLUMNS (definer VARCHAR(384) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) j)",
);

/// What the broker may do on the whole server.
pub(crate) const OWN_PRIVILEGES: Read = Read::new(
    1,
    "\
SELECT DISTINCT PRIVILEGE_TYPE AS privilege FROM information_schema.USER_PRIVILEGES \
WHERE GRANTEE = CONCAT(QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', 1)), '@', QUOTE(SUBSTRING_INDEX(CURRENT_USER(), '@', -1)))",
);

/// What may be set wrong on the server.
pub(crate) const SERVER: &str = "\
SELECT @@global.read_only AS read_only, @@global.innodb_flush_log_at_trx_commit <> 1 AS forgetful";

/// Rights with which whoever steals the broker's password owns the server.
pub(crate) const ADMINISTERS_MYSQL: [&str; 4] = ["SUPER", "CREATE USER", "ROLE_ADMIN", "SYSTEM_USER"];
pub(crate) const ADMINISTERS_MARIADB: [&str; 2] = ["SUPER", "CREATE USER"];

/// Tables that have to be read, and what of them. Of `mysql.user` never the passwords.
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

/// The connections that do the work of these calls (JSON).
pub(crate) const LABELLED: Read = Read::new(
    2,
    "\
SELECT label, IS_USED_LOCK(label) AS id FROM JSON_TABLE(?, '$[*]' COLUMNS (label VARCHAR(64) CHARACTER SET utf8mb4 PATH '$')) json",
);

/// Who holds locks that a GRANT or REVOKE waits for (MySQL only): no event, which ends by itself.
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

/// Rights to routines that these accounts (JSON) have, and rights to tables and routines that they passed on, also to themselves. Of who passed one on
/// the servers keep the user and the place of the session, so that every account counts that admits that place. Names stand in the ids so that none
/// can be taken for two, or two for one.
pub(crate) const BELONGINGS: Read = Read::new(
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

/// Transactions that no session has: those that were prepared (XA), and whose session has ended.
pub(crate) const PREPARED: Read = Read::new(
    1,
    "\
SELECT CAST(t.trx_id AS CHAR) AS trx FROM information_schema.INNODB_TRX t \
WHERE t.trx_mysql_thread_id = 0 AND t.trx_state = 'RUNNING' AND t.trx_query IS NULL",
);

/// Every direct holder of the roles asked for.
pub(crate) const HOLDERS: Read = Read::new(
    5,
    "\
SELECT DISTINCT e.role_user, e.role_host, e.member_user, e.member_host, e.with_admin FROM {edges} e \
JOIN {asked} a ON a.role_user = e.role_user AND a.role_host = e.role_host",
);

/// Every role in which an account asked for is directly.
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
