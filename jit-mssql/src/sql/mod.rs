//! Every statement that this adapter sends, for review without reading anything else.
//!
//! Statements about a database and about the server differ in names only. [`Scope::text`] replaces
//! the words in braces. A database has `sys.database_principals` and `ALTER ROLE`; the server has
//! `sys.server_principals` and `ALTER SERVER ROLE`.
//!
//! Values travel as parameters (`@P1`, `@P2`...). Only three things stand in the text itself:
//! numbers, binary literals that this module writes, and names. The server itself puts a name into
//! brackets (`QUOTENAME`) after reading it from its catalog.

pub(crate) mod dead_mans_switch;
pub(crate) mod set_up;

use std::fmt::Write;

use jit_core::id::StoreId;

/// Scope of a target's roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Roles of one database; accounts are its users.
    Database,
    /// Roles of one database in Azure SQL Database, where no database shows the server's own
    /// catalog.
    AzureDatabase,
    /// Roles of the server; accounts are its logins. The target's database is `master`.
    Server,
}

impl Scope {
    /// Returns the statement in the words of this scope.
    pub(crate) fn text(self, template: &str) -> String {
        let words: [(&str, &str); 13] = match self {
            // Words that contain other words of this list stand first.
            Self::Database | Self::AzureDatabase => [
                ("{of logins}", if self == Self::Database { OF_LOGINS } else { "" }),
                ("{of leases}", OF_LEASES),
                ("{principals}", "sys.database_principals"),
                ("{members}", "sys.database_role_members"),
                ("{permissions}", "sys.database_permissions"),
                ("{whole}", "0"),
                ("{principal}", "4"),
                ("{role}", "ROLE"),
                ("{harmless roles}", HARMLESS_DATABASE_ROLES),
                ("{harmless}", HARMLESS_IN_A_DATABASE),
                ("{me}", "USER_ID()"),
                ("{home}", if self == Self::Database { HOME } else { "NULL" }),
                ("{sees}", if self == Self::Database { SEES_A_DATABASE } else { SEES_IN_AZURE }),
            ],
            Self::Server => [
                ("{of logins}", ""),
                ("{of leases}", ""),
                ("{principals}", "sys.server_principals"),
                ("{members}", "sys.server_role_members"),
                ("{permissions}", "sys.server_permissions"),
                ("{whole}", "100"),
                ("{principal}", "101"),
                ("{role}", "SERVER ROLE"),
                ("{harmless roles}", HARMLESS_SERVER_ROLES),
                ("{harmless}", HARMLESS_ON_A_SERVER),
                ("{me}", "SUSER_ID()"),
                ("{home}", "0"),
                ("{sees}", SEES_A_SERVER),
            ],
        };
        let template = template.replace("{is theirs}", IS_THEIRS);
        words.iter().fold(template, |text, (word, by)| text.replace(word, by))
    }

    /// Checks whether the roles are those of one database.
    pub(crate) fn is_database(self) -> bool {
        self != Self::Server
    }
}

/// Fixed database roles that give nothing which outlives a membership. Every other fixed role is a
/// power, those of later versions too.
const HARMLESS_DATABASE_ROLES: &str = "N'db_datareader', N'db_datawriter', N'db_denydatareader', N'db_denydatawriter'";
/// Fixed server roles that give nothing which outlives a membership: they only look (since 2022).
const HARMLESS_SERVER_ROLES: &str = "N'##MS_ServerStateReader##', N'##MS_ServerPerformanceStateReader##', N'##MS_DefinitionReader##', \
N'##MS_PerformanceDefinitionReader##', N'##MS_DatabaseConnector##'";
/// Permissions in a database that give nothing which outlives a membership: reading and writing
/// rows, running code, making tables and routines of one's own. Every permission not in this list
/// is a power.
const HARMLESS_IN_A_DATABASE: &str = "N'CONNECT', N'SELECT', N'INSERT', N'UPDATE', N'DELETE', N'EXECUTE', N'REFERENCES', N'VIEW DEFINITION', \
N'VIEW DATABASE STATE', N'VIEW DATABASE PERFORMANCE STATE', N'VIEW PERFORMANCE DEFINITION', N'VIEW CHANGE TRACKING', N'SHOWPLAN', N'RECEIVE', \
N'CREATE TABLE', N'CREATE VIEW', N'CREATE PROCEDURE', N'CREATE FUNCTION', N'CREATE TYPE', N'CREATE DEFAULT', N'CREATE RULE', N'CREATE SYNONYM', \
N'CREATE AGGREGATE', N'CREATE QUEUE', N'CREATE XML SCHEMA COLLECTION', N'UNMASK', N'VIEW ANY COLUMN MASTER KEY DEFINITION', \
N'VIEW ANY COLUMN ENCRYPTION KEY DEFINITION'";
/// Permissions on a server that give nothing which outlives a membership: they let in, and let
/// look.
const HARMLESS_ON_A_SERVER: &str = "N'CONNECT SQL', N'CONNECT', N'VIEW SERVER STATE', N'VIEW SERVER PERFORMANCE STATE', N'VIEW ANY DATABASE', \
N'VIEW ANY DEFINITION', N'VIEW ANY PERFORMANCE DEFINITION', N'VIEW ANY ERROR LOG', N'VIEW DEFINITION', N'CONNECT ANY DATABASE'";

/// Checks whether the broker sees all members and all sessions. The views show less to those who
/// may see less, and do not say so.
const SEES_A_DATABASE: &str = "HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DEFINITION') = 1 AND HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER STATE') = 1";
const SEES_IN_AZURE: &str = "HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DEFINITION') = 1 AND HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DATABASE STATE') = 1";
const SEES_A_SERVER: &str = "HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW ANY DEFINITION') = 1 AND HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER STATE') = 1";

/// Database that a principal logs in to: a contained user logs in to its own, a login to none.
/// Users of different databases may share a SID. Unknown for principals of a directory.
const HOME: &str = "CASE p.authentication_type WHEN 2 THEN CONVERT(int, DB_ID()) WHEN 4 THEN NULL ELSE 0 END";

/// Checks whether a session (`s`) is one of an actor (`x`). It logged in as the actor, in the
/// database where the actor logs in, or has acted as the actor since.
const IS_THEIRS: &str = "\
((s.original_security_id = x.sid AND (x.home IS NULL OR s.authenticating_database_id IS NULL OR s.authenticating_database_id = x.home \
  OR (x.home = 0 AND s.authenticating_database_id = 1))) \
OR (s.security_id = x.sid AND s.original_security_id <> x.sid))";

/// Adds logins that may impersonate the login of a user, since they can act as that user.
const OF_LOGINS: &str = "\
WITH acting (n, id) AS ( \
  SELECT f.n, d.grantee_principal_id FROM @found f JOIN sys.server_principals o ON o.sid = f.account_sid \
  JOIN sys.server_permissions d ON d.class = 101 AND d.major_id = o.principal_id \
  WHERE d.permission_name IN (N'IMPERSONATE', N'CONTROL') AND d.state IN (N'G', N'W') \
  UNION ALL SELECT a.n, m.member_principal_id FROM acting a JOIN sys.server_role_members m ON m.role_principal_id = a.id) \
INSERT INTO @actor (n, sid, name, home, own) \
SELECT DISTINCT a.n, p.sid, p.name, 0, 0 FROM acting a JOIN sys.server_principals p ON p.principal_id = a.id JOIN @found f ON f.n = a.n \
WHERE p.type <> N'R' AND p.sid <> f.account_sid AND NOT EXISTS (SELECT 1 FROM @actor x WHERE x.n = a.n AND x.sid = p.sid); ";

/// Adds the power to write to the tables of the dead man's switch, since that disarms it. It is no
/// power if the role itself is denied that on schema `jit`.
const OF_LEASES: &str = "\
INSERT INTO @power (role_id, what) \
SELECT DISTINCT w.role_id, N'writes to schema jit (' + w.what + N')' FROM ( \
  SELECT h.role_id, d.permission_name COLLATE DATABASE_DEFAULT AS what FROM @held h JOIN {permissions} d ON d.grantee_principal_id = h.id \
  WHERE d.state IN (N'G', N'W') AND d.permission_name IN (N'INSERT', N'UPDATE', N'DELETE') AND (d.class = 0 \
    OR (d.class = 3 AND d.major_id = SCHEMA_ID(N'jit')) \
    OR (d.class = 1 AND d.major_id IN (SELECT o.object_id FROM sys.objects o WHERE o.schema_id = SCHEMA_ID(N'jit')))) \
  UNION SELECT h.role_id, v.what FROM @held h JOIN {principals} p ON p.principal_id = h.id AND p.name = N'db_datawriter' \
  JOIN (VALUES (N'INSERT'), (N'UPDATE'), (N'DELETE')) v (what) ON 1 = 1) w \
WHERE SCHEMA_ID(N'jit') IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {permissions} x WHERE x.class = 3 AND x.major_id = SCHEMA_ID(N'jit') \
  AND x.grantee_principal_id = w.role_id AND x.state = N'D' AND x.permission_name COLLATE DATABASE_DEFAULT = w.what); ";

/// Identifies the server, in the first batch of a connection.
///
/// - A database is known by its broker identifier, which it keeps when it is renamed, detached or
///   restored. The server's name belongs to it, since a copy that was restored elsewhere has the
///   same identifier.
/// - A database in an availability group is known by its identifier there, which all replicas
///   share.
/// - The server itself is known by its name and the identifier of `msdb`, which no two
///   installations share.
///
/// Everybody may read these.
pub(crate) const HELLO: &str = "\
SET NOCOUNT ON; SET LOCK_TIMEOUT 2000; SET ROWCOUNT 0; SET IMPLICIT_TRANSACTIONS OFF; \
SELECT CONVERT(nvarchar(256), SERVERPROPERTY(N'ServerName')) AS server_name, \
  CONVERT(nvarchar(128), SERVERPROPERTY(N'ProductVersion')) AS version, \
  CONVERT(int, SERVERPROPERTY(N'EngineEdition')) AS edition, \
  (SELECT CONVERT(nvarchar(36), d.service_broker_guid) FROM sys.databases d WHERE d.name = DB_NAME()) AS database_guid, \
  (SELECT CONVERT(nvarchar(36), d.group_database_id) FROM sys.databases d WHERE d.name = DB_NAME()) AS group_guid, \
  (SELECT CONVERT(nvarchar(36), d.service_broker_guid) FROM sys.databases d WHERE d.name = N'msdb') AS server_guid, \
  DB_NAME() AS database_name, ORIGINAL_LOGIN() AS broker_login, \
  CONVERT(int, @@SPID) AS session_id, \
  SYSUTCDATETIME() AS now;";

/// Reads the server's clock, the clock of its sessions (local time) and its incarnation. `tempdb`
/// is made anew at each start, and everybody may see when.
///
/// A database of Azure SQL Database does not show that. There only a restore is seen, by the
/// database's own date. Databases are found by name: their numbers in `sys.databases` differ from
/// `DB_ID()` there.
pub(crate) const MOMENT: &str = "\
SELECT SYSUTCDATETIME() AS now, SYSDATETIME() AS local_now, \
  (SELECT CONVERT(nvarchar(30), d.create_date, 126) FROM sys.databases d WHERE d.name = N'tempdb') AS started, \
  (SELECT CONVERT(nvarchar(30), d.create_date, 126) FROM sys.databases d WHERE d.name = DB_NAME()) AS created;";

/// Reads the clock alone.
pub(crate) const NOW: &str = "SELECT SYSUTCDATETIME() AS now;";

/// Settings of every batch, so that nothing is cut, reordered or held back. A server can give each
/// new session others (`user options`).
const SETTINGS: &str = "SET NOCOUNT ON; SET XACT_ABORT ON; SET ROWCOUNT 0; SET IMPLICIT_TRANSACTIONS OFF; SET ANSI_NULLS ON; SET ANSI_WARNINGS ON; \
SET ANSI_PADDING ON; SET ARITHABORT ON; SET CONCAT_NULL_YIELDS_NULL ON; SET QUOTED_IDENTIFIER ON; SET TRANSACTION ISOLATION LEVEL READ COMMITTED; ";

/// Begins every batch. There are no row counts, an error ends the batch, and no wait for a lock is
/// longer than this. (An error ends one statement only if its own error is caught, see
/// [`ANSWERS`].) Others see the call's label in sys.dm_exec_requests and sys.dm_exec_sessions.
pub(crate) fn begin(label: &str, lock_wait_ms: u128) -> String {
    let label: String = label.bytes().fold(String::new(), |mut hex, byte| {
        // Writing to a text cannot fail.
        let _ = write!(hex, "{byte:02X}");
        hex
    });
    let label = if label.is_empty() { "00" } else { &label };
    format!("{SETTINGS}SET LOCK_TIMEOUT {lock_wait_ms}; SET CONTEXT_INFO 0x{label}; ")
}

/// Statement that ends every batch which shows a label.
pub(crate) const END: &str = "SET CONTEXT_INFO 0x00;";

/// Table of the asked rows: ids win over names, and 0 is no id of an account or role.
const ASKED: &str = "\
DECLARE @asked TABLE (n int NOT NULL PRIMARY KEY, account nvarchar(128) NOT NULL, account_id int NOT NULL, account_sid varbinary(85) NOT NULL, \
  role nvarchar(128) NOT NULL, role_id int NOT NULL, role_sid varbinary(85) NOT NULL, \
  not_after datetime2(7) NOT NULL, powers bit NOT NULL, actors bit NOT NULL); ";

/// Number of values in one row of [`ASKED`].
pub(crate) const COLUMNS: usize = 9;
/// Number of rows asked at once: the server takes 2,100 parameters.
pub(crate) const ROWS: usize = 230;

/// Declares [`ASKED`] and fills its rows, numbered from 0. `@P1` is the first value of the first
/// row.
pub(crate) fn asked(rows: usize) -> String {
    let mut text = format!(
        "{ASKED}INSERT INTO @asked (n, account, account_id, account_sid, role, role_id, role_sid, not_after, powers, actors) VALUES "
    );
    write_rows(&mut text, 0, rows, COLUMNS);
    text.push_str("; ");
    text
}

/// Writes rows of VALUES, numbered from 0, with so many parameters each. They use the parameters
/// behind the first `before`.
fn write_rows(text: &mut String, before: usize, rows: usize, columns: usize) {
    let mut parameter = before;
    for row in 0..rows {
        // Writing to a text cannot fail.
        let _ = write!(text, "{}({row}", if row == 0 { "" } else { ", " });
        for _ in 0..columns {
            parameter = parameter.saturating_add(1);
            let _ = write!(text, ", @P{parameter}");
        }
        text.push(')');
    }
}

/// Finds the asked accounts and roles in the catalog. Names are compared byte by byte: a name in
/// another case is another name, whatever the collation.
pub(crate) const FIND: &str = "\
DECLARE @found TABLE (n int NOT NULL PRIMARY KEY, account_id int NULL, account_sid varbinary(85) NULL, account_name nvarchar(128) NULL, \
  account_type nvarchar(2) NULL, account_home int NULL, role_id int NULL, role_sid varbinary(85) NULL, role_name nvarchar(128) NULL); \
INSERT INTO @found (n, account_id, account_sid, account_name, account_type, account_home, role_id, role_sid, role_name) \
SELECT a.n, p.principal_id, p.sid, p.name, p.type, {home}, r.principal_id, r.sid, r.name \
FROM @asked a \
LEFT JOIN {principals} p ON p.type IN (N'S', N'U', N'E', N'G', N'X') \
  AND ((a.account_id = 0 AND p.name = a.account COLLATE Latin1_General_100_BIN2) \
    OR (a.account_id <> 0 AND p.principal_id = a.account_id AND p.sid = a.account_sid)) \
LEFT JOIN {principals} r ON r.type = N'R' \
  AND ((a.role_id = 0 AND r.name = a.role COLLATE Latin1_General_100_BIN2) \
    OR (a.role_id <> 0 AND r.principal_id = a.role_id AND r.sid = a.role_sid)); ";

/// Lists the powers of the roles found: what outlives a membership. That is everything that is not
/// known to be harmless, in what they hold themselves or through other roles.
pub(crate) const POWERS: &str = "\
DECLARE @held TABLE (role_id int NOT NULL, id int NOT NULL); \
WITH held (role_id, id) AS ( \
  SELECT DISTINCT f.role_id, f.role_id FROM @found f WHERE f.role_id IS NOT NULL \
  UNION ALL SELECT h.role_id, m.role_principal_id FROM held h JOIN {members} m ON m.member_principal_id = h.id) \
INSERT INTO @held (role_id, id) SELECT DISTINCT h.role_id, h.id FROM held h; \
DECLARE @power TABLE (role_id int NOT NULL, what nvarchar(400) NOT NULL); \
INSERT INTO @power (role_id, what) \
SELECT DISTINCT h.role_id, p.name COLLATE DATABASE_DEFAULT FROM @held h JOIN {principals} p ON p.principal_id = h.id \
WHERE p.is_fixed_role = 1 AND p.name NOT IN ({harmless roles}) \
UNION \
SELECT DISTINCT h.role_id, d.permission_name COLLATE DATABASE_DEFAULT + N' on ' + d.class_desc COLLATE DATABASE_DEFAULT + ISNULL(N' ' + o.name COLLATE DATABASE_DEFAULT, N'') + CASE d.state WHEN N'W' THEN N' WITH GRANT OPTION' ELSE N'' END \
FROM @held h JOIN {permissions} d ON d.grantee_principal_id = h.id \
LEFT JOIN {principals} o ON d.class = {principal} AND o.principal_id = d.major_id \
WHERE d.state = N'W' OR (d.state = N'G' AND d.permission_name NOT IN ({harmless})); {of leases}";

/// Lists who can act as the accounts found: the accounts themselves, and those that may impersonate
/// them or their logins, by a role too. The sessions of all of these end with a window.
pub(crate) const ACTORS: &str = "\
DECLARE @actor TABLE (n int NOT NULL, sid varbinary(85) NULL, name nvarchar(128) NOT NULL, home int NULL, own bit NOT NULL); \
WITH acting (n, id) AS ( \
  SELECT f.n, d.grantee_principal_id FROM @found f JOIN {permissions} d ON d.class = {principal} AND d.major_id = f.account_id \
  WHERE d.permission_name IN (N'IMPERSONATE', N'CONTROL') AND d.state IN (N'G', N'W') \
  UNION ALL SELECT a.n, m.member_principal_id FROM acting a JOIN {members} m ON m.role_principal_id = a.id) \
INSERT INTO @actor (n, sid, name, home, own) \
SELECT DISTINCT a.n, p.sid, p.name, {home}, 0 FROM acting a JOIN {principals} p ON p.principal_id = a.id JOIN @found f ON f.n = a.n \
WHERE p.type IN (N'S', N'U', N'E', N'G', N'X') AND p.principal_id <> f.account_id; {of logins}\
INSERT INTO @actor (n, sid, name, home, own) SELECT f.n, f.account_sid, f.account_name, f.account_home, 1 FROM @found f WHERE f.account_name IS NOT NULL; ";

/// Shows what was found, six results behind [`MOMENT`]:
///
/// - one row for each question;
/// - the roles through which accounts hold it;
/// - who else can act as the accounts;
/// - the sessions of all these;
/// - the marks of stores;
/// - as the last row of all, whether nothing was kept back.
///
/// An account may pass a role on if it owns the role or may alter it.
pub(crate) const SHOW: &str = "\
SELECT f.n, f.account_id, f.account_sid, f.account_name, f.account_type, f.role_id, f.role_sid, f.role_name, \
  CASE WHEN EXISTS (SELECT 1 FROM {members} m WHERE m.role_principal_id = f.role_id AND m.member_principal_id = f.account_id) THEN 1 ELSE 0 END AS direct, \
  CASE WHEN EXISTS (SELECT 1 FROM {permissions} d WHERE d.class = {principal} AND d.major_id = f.role_id AND d.grantee_principal_id = f.account_id \
      AND d.permission_name IN (N'CONTROL', N'ALTER') AND d.state IN (N'G', N'W')) \
    OR EXISTS (SELECT 1 FROM {principals} o WHERE o.principal_id = f.role_id AND o.owning_principal_id = f.account_id) THEN 1 ELSE 0 END AS admin \
FROM @found f ORDER BY f.n; \
WITH up (n, first_id, id) AS ( \
  SELECT f.n, m.role_principal_id, m.role_principal_id FROM @found f JOIN {members} m ON m.member_principal_id = f.account_id \
  UNION ALL SELECT u.n, u.first_id, m.role_principal_id FROM up u JOIN {members} m ON m.member_principal_id = u.id) \
SELECT DISTINCT u.n, p.name AS name FROM up u JOIN @found f ON f.n = u.n AND f.role_id = u.id \
JOIN {principals} p ON p.principal_id = u.first_id WHERE u.first_id <> u.id; \
SELECT x.n, x.name FROM @actor x WHERE x.own = 0 ORDER BY x.n, x.name; \
SELECT DISTINCT x.n, CONVERT(int, s.session_id) AS session_id, s.original_login_name AS login, s.login_time, CONVERT(nvarchar(30), s.login_time, 126) AS began \
FROM @actor x JOIN sys.dm_exec_sessions s ON s.is_user_process = 1 AND {is theirs}; \
SELECT k.n, k.store FROM @mark k ORDER BY k.n; \
SELECT CASE WHEN {sees} THEN 1 ELSE 0 END AS whole; ";

/// Looks at all that is asked.
pub(crate) fn observe(scope: Scope, broker_login: &str, rows: usize, lock_wait_ms: u128) -> String {
    let marks = dead_mans_switch::marks(scope, broker_login);
    let find = if rows == 0 { String::new() } else { scope.text(&[&asked(rows), FIND, ACTORS].concat()) + &marks };
    let show = if rows == 0 { String::new() } else { scope.text(SHOW) };
    format!("{SETTINGS}SET LOCK_TIMEOUT {lock_wait_ms}; {find}{MOMENT} {show}")
}

/// Table of the answers of [`GRANT`] and [`REVOKE`]. A rollback leaves it alone.
const ANSWERS: &str = "\
DECLARE @answer TABLE (n int NOT NULL PRIMARY KEY, state nvarchar(20) NOT NULL, number int NULL, why nvarchar(4000) NULL); \
DECLARE @n int = 0, @last int = (SELECT MAX(n) FROM @asked), @state nvarchar(20), @number int, @why nvarchar(4000), \
  @role nvarchar(128), @account nvarchar(128), @who nvarchar(128), @statement nvarchar(600), @doomed bit = 0; \
SET XACT_ABORT OFF; ";

/// Grants one order after the other in one transaction. An error affects its own order only.
///
/// The server may doom the whole transaction, or code on the server (a DDL trigger) may end it.
/// Then nothing more is done: outside of the transaction it would be past its deadline. The next
/// call does `again` what was done before. It also repeats everything if the time of one order
/// passed while another waited for a lock.
pub(crate) const GRANT: &str = "\
BEGIN TRANSACTION; \
WHILE @n <= @last AND @doomed = 0 BEGIN \
  SET @state = N'lost'; SET @number = NULL; SET @why = NULL; \
  SELECT @role = f.role_name, @account = f.account_name, \
    @state = CASE WHEN SYSUTCDATETIME() > a.not_after THEN N'late' \
      WHEN IS_SRVROLEMEMBER(N'sysadmin') = 1 OR IS_ROLEMEMBER(N'db_owner') = 1 THEN N'mighty' \
      WHEN f.role_id IS NULL THEN N'no role' \
      WHEN f.account_id IS NULL THEN N'no account' \
      WHEN f.account_id = {me} THEN N'broker' \
      WHEN f.account_type IN (N'G', N'X') THEN N'group' \
      WHEN IS_SRVROLEMEMBER(N'sysadmin', SUSER_SNAME(f.account_sid)) = 1 THEN N'superuser' \
      WHEN a.powers = 0 AND EXISTS (SELECT 1 FROM @power p WHERE p.role_id = f.role_id) THEN N'powers' \
      WHEN a.actors = 0 AND EXISTS (SELECT 1 FROM @actor x WHERE x.n = a.n AND x.own = 0) THEN N'members' \
      WHEN EXISTS (SELECT 1 FROM @answer b JOIN @found g ON g.n = b.n WHERE g.role_id = f.role_id AND b.number = 1222) THEN N'locked' \
      ELSE N'ok' END, \
    @why = (SELECT MIN(p.what) FROM @power p WHERE p.role_id = f.role_id), \
    @who = (SELECT MIN(x.name) FROM @actor x WHERE x.n = a.n AND x.own = 0) \
  FROM @asked a JOIN @found f ON f.n = a.n WHERE a.n = @n; \
  IF @state = N'members' SET @why = @who; ";

/// Revokes one order after the other in one transaction. What another store accounts for is left to
/// it. What is not held (any more) counts as done. The catalog is read before the statement, as it
/// is not known what the server says then.
pub(crate) const REVOKE: &str = "\
BEGIN TRANSACTION; \
WHILE @n <= @last AND @doomed = 0 BEGIN \
  SET @state = N'lost'; SET @number = NULL; SET @why = NULL; \
  SELECT @role = f.role_name, @account = f.account_name, \
    @state = CASE WHEN SYSUTCDATETIME() > a.not_after THEN N'late' \
      WHEN a.powers = 0 OR f.role_id IS NULL OR f.account_id IS NULL \
        OR NOT EXISTS (SELECT 1 FROM {members} m WHERE m.role_principal_id = f.role_id AND m.member_principal_id = f.account_id) THEN N'nothing' \
      WHEN EXISTS (SELECT 1 FROM @mark k WHERE k.n = a.n AND {another}) THEN N'theirs' \
      WHEN EXISTS (SELECT 1 FROM @answer b JOIN @found g ON g.n = b.n WHERE g.role_id = f.role_id AND b.number = 1222) THEN N'locked' \
      ELSE N'ok' END \
  FROM @asked a JOIN @found f ON f.n = a.n WHERE a.n = @n; ";

/// Adds a member to a role, or drops one (`{change}`): the second half of each turn of [`GRANT`]
/// and [`REVOKE`].
const CHANGE: &str = "\
  IF @state = N'ok' BEGIN \
    BEGIN TRY \
      SET @statement = N'ALTER {role} ' + QUOTENAME(@role) + N' {change} MEMBER ' + QUOTENAME(@account); \
      EXEC sp_executesql @statement; \
    END TRY \
    BEGIN CATCH \
      SET @state = N'error'; SET @number = ERROR_NUMBER(); SET @why = ERROR_MESSAGE(); \
    END CATCH; \
    IF XACT_STATE() <> 1 OR @@TRANCOUNT <> 1 BEGIN SET @doomed = 1; IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; END; \
  END; \
  INSERT INTO @answer (n, state, number, why) VALUES (@n, @state, @number, @why); \
  SET @n = @n + 1; \
END; ";

/// Ends both: commits unless the transaction is doomed or an order's time has passed while others
/// waited, and answers.
pub(crate) const ANSWER: &str = "\
IF @doomed = 1 OR EXISTS (SELECT 1 FROM @answer b JOIN @asked a ON a.n = b.n WHERE b.state = N'ok' AND SYSUTCDATETIME() > a.not_after) BEGIN \
  IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION; \
  UPDATE @answer SET state = N'again' WHERE state = N'ok'; \
END ELSE COMMIT TRANSACTION; \
SET XACT_ABORT ON; \
SELECT b.n, b.state, b.number, b.why FROM @answer b ORDER BY b.n; ";

/// Returns a whole call that grants: answers, and the moment behind its commit.
pub(crate) fn grant(scope: Scope, label: &str, rows: usize, lock_wait_ms: u128) -> String {
    let body = scope
        .text(&[&asked(rows), FIND, POWERS, ACTORS, ANSWERS, GRANT, CHANGE, ANSWER].concat())
        .replace("{change}", "ADD");
    format!("{}{body}{MOMENT} {END}", begin(label, lock_wait_ms))
}

/// Returns a whole call that revokes: answers, and a look behind its commit. `powers` says here
/// whether there is something to take from the catalog.
pub(crate) fn revoke(
    scope: Scope,
    broker_login: &str,
    store: Option<&StoreId>,
    label: &str,
    rows: usize,
    lock_wait_ms: u128,
) -> String {
    let another = store.map_or_else(|| "1 = 0".to_owned(), |own| format!("k.store <> N'{own}'"));
    let find = scope.text(&[&asked(rows), FIND, ACTORS].concat());
    let marks = dead_mans_switch::marks(scope, broker_login);
    let revoke = scope.text(&[ANSWERS, REVOKE, CHANGE, ANSWER].concat());
    let revoke = revoke.replace("{change}", "DROP").replace("{another}", &another);
    format!("{}{find}{marks}{revoke}{MOMENT} {} {END}", begin(label, lock_wait_ms), scope.text(SHOW))
}

/// Finds the session that blocks this session (`@P1`).
pub(crate) const BLOCKERS: &str = "\
SELECT CONVERT(int, s.session_id) AS session_id, s.original_login_name AS login, s.status AS status, r.wait_resource AS wait_resource \
FROM sys.dm_exec_requests r JOIN sys.dm_exec_sessions s ON s.session_id = r.blocking_session_id WHERE r.session_id = @P1;";

/// Lists the sessions of so many security identifiers (`@P1`...), of this database's users and of
/// logins.
pub(crate) fn sessions_of(sids: usize) -> String {
    let list: Vec<String> = (1..=sids).map(|n| format!("@P{n}")).collect();
    format!(
        "SELECT CONVERT(int, s.session_id) AS session_id, CONVERT(nvarchar(30), s.login_time, 126) AS began FROM sys.dm_exec_sessions s \
         WHERE s.is_user_process = 1 AND s.session_id <> @@SPID AND (s.security_id IN ({list}) OR s.original_security_id IN ({list})) \
         AND (s.authenticating_database_id IS NULL OR s.authenticating_database_id IN (0, 1, DB_ID()));",
        list = list.join(", ")
    )
}

/// Ends sessions, each only if its number still belongs to the session that began then: numbers are
/// reused. KILL takes no parameter. Answers with the sessions that it could not end. A session that
/// is gone already (6106) is none of them.
pub(crate) fn kill(label: &str, sessions: &[i32]) -> String {
    let mut text = begin(label, 1000);
    text.push_str("DECLARE @failed TABLE (session_id int NOT NULL, number int NULL, why nvarchar(4000) NULL); ");
    for (n, id) in sessions.iter().enumerate() {
        let parameter = n.saturating_add(1);
        let _ = write!(
            text,
            "IF EXISTS (SELECT 1 FROM sys.dm_exec_sessions s WHERE s.session_id = {id} AND CONVERT(nvarchar(30), s.login_time, 126) = @P{parameter}) \
             BEGIN TRY KILL {id}; END TRY \
             BEGIN CATCH IF ERROR_NUMBER() <> 6106 INSERT INTO @failed (session_id, number, why) VALUES ({id}, ERROR_NUMBER(), ERROR_MESSAGE()); END CATCH; "
        );
    }
    text.push_str("SELECT f.session_id, f.number, f.why FROM @failed f; ");
    text.push_str(END);
    text
}

/// Lists those of these numbers that are in use, and since when.
pub(crate) fn still_there(sessions: &[i32]) -> String {
    let list: Vec<String> = sessions.iter().map(ToString::to_string).collect();
    format!(
        "SELECT CONVERT(int, s.session_id) AS session_id, CONVERT(nvarchar(30), s.login_time, 126) AS began \
         FROM sys.dm_exec_sessions s WHERE s.session_id IN ({});",
        list.join(", ")
    )
}

/// Lists the broker's own other sessions and what they show. The label shows at once in their
/// request, and after the request has ended in the session.
pub(crate) const LABELLED: &str = "\
SELECT CONVERT(int, s.session_id) AS session_id, CONVERT(nvarchar(30), s.login_time, 126) AS began, \
  s.context_info AS of_session, r.context_info AS of_request \
FROM sys.dm_exec_sessions s LEFT JOIN sys.dm_exec_requests r ON r.session_id = s.session_id \
WHERE s.is_user_process = 1 AND s.session_id <> @@SPID AND s.original_login_name = ORIGINAL_LOGIN();";

/// Lists every direct holder of these roles (`@P1`...).
pub(crate) fn holders(scope: Scope, roles: usize) -> String {
    let list: Vec<String> = (1..=roles).map(|n| format!("@P{n}")).collect();
    scope.text(&HOLDERS.replace("{list}", &list.join(", ")))
}

const HOLDERS: &str = "\
SELECT r.name AS role_name, r.principal_id AS role_id, r.sid AS role_sid, u.name AS account_name, u.principal_id AS account_id, u.sid AS account_sid, \
  CASE WHEN EXISTS (SELECT 1 FROM {permissions} d WHERE d.class = {principal} AND d.major_id = r.principal_id AND d.grantee_principal_id = u.principal_id \
      AND d.permission_name IN (N'CONTROL', N'ALTER') AND d.state IN (N'G', N'W')) \
    OR r.owning_principal_id = u.principal_id THEN 1 ELSE 0 END AS admin \
FROM {members} m JOIN {principals} r ON r.principal_id = m.role_principal_id JOIN {principals} u ON u.principal_id = m.member_principal_id \
WHERE r.name IN ({list}) ORDER BY r.name, u.name;";

/// Lists the owned objects of accounts and roles, code that runs as them, and permissions that they
/// passed on, for each question. An object of a schema belongs to the schema's owner if it has none
/// of its own.
pub(crate) fn owned_objects(scope: Scope, rows: usize, lock_wait_ms: u128) -> String {
    let show = match scope {
        Scope::Database | Scope::AzureDatabase => OF_THE_DATABASE,
        Scope::Server => OF_THE_SERVER,
    };
    let body = scope.text(&[&asked(rows), FIND, show].concat());
    format!("{SETTINGS}SET LOCK_TIMEOUT {lock_wait_ms}; {body}")
}

const OF_THE_DATABASE: &str = "\
SELECT f.n, N'object ' + CONVERT(nvarchar(11), o.object_id) AS id, \
  LOWER(REPLACE(o.type_desc COLLATE DATABASE_DEFAULT, N'_', N' ')) + N' ' + s.name COLLATE DATABASE_DEFAULT + N'.' + o.name COLLATE DATABASE_DEFAULT AS what \
FROM @found f JOIN sys.schemas s ON 1 = 1 JOIN sys.objects o ON o.schema_id = s.schema_id AND ISNULL(o.principal_id, s.principal_id) IN (f.account_id, f.role_id) \
WHERE o.is_ms_shipped = 0 AND (o.parent_object_id = 0 OR o.type = N'TR') \
UNION ALL \
SELECT f.n, N'runs as ' + CONVERT(nvarchar(11), m.execute_as_principal_id) + N' ' + CONVERT(nvarchar(11), m.object_id), \
  LOWER(REPLACE(o.type_desc COLLATE DATABASE_DEFAULT, N'_', N' ')) + N' ' + s.name COLLATE DATABASE_DEFAULT + N'.' + o.name COLLATE DATABASE_DEFAULT + N', which runs as ' \
    + p.name COLLATE DATABASE_DEFAULT \
FROM @found f JOIN sys.sql_modules m ON m.execute_as_principal_id IN (f.account_id, f.role_id) JOIN sys.objects o ON o.object_id = m.object_id \
JOIN sys.schemas s ON s.schema_id = o.schema_id JOIN sys.database_principals p ON p.principal_id = m.execute_as_principal_id \
UNION ALL \
SELECT f.n, N'schema ' + CONVERT(nvarchar(11), s.schema_id), N'schema ' + s.name COLLATE DATABASE_DEFAULT \
FROM @found f JOIN sys.schemas s ON s.principal_id IN (f.account_id, f.role_id) \
UNION ALL \
SELECT f.n, N'role ' + CONVERT(nvarchar(11), p.principal_id), N'role ' + p.name COLLATE DATABASE_DEFAULT \
FROM @found f JOIN sys.database_principals p ON p.owning_principal_id IN (f.account_id, f.role_id) \
UNION ALL \
SELECT f.n, N'permission ' + CONVERT(nvarchar(11), d.class) + N' ' + CONVERT(nvarchar(11), d.major_id) + N' ' + CONVERT(nvarchar(11), d.minor_id) + N' ' \
    + CONVERT(nvarchar(11), d.grantee_principal_id) + N' ' + CONVERT(nvarchar(11), d.grantor_principal_id) + N' ' + d.permission_name COLLATE DATABASE_DEFAULT, \
  d.permission_name COLLATE DATABASE_DEFAULT + N' on ' + ISNULL(o.name COLLATE DATABASE_DEFAULT, LOWER(d.class_desc COLLATE DATABASE_DEFAULT)) + N' given to ' + p.name COLLATE DATABASE_DEFAULT \
FROM @found f JOIN sys.database_permissions d ON d.grantor_principal_id IN (f.account_id, f.role_id) JOIN sys.database_principals p ON p.principal_id = d.grantee_principal_id \
LEFT JOIN sys.objects o ON d.class = 1 AND o.object_id = d.major_id; ";

const OF_THE_SERVER: &str = "\
SELECT f.n, N'database ' + CONVERT(nvarchar(11), d.database_id) AS id, N'database ' + d.name COLLATE DATABASE_DEFAULT AS what \
FROM @found f JOIN sys.databases d ON d.owner_sid = f.account_sid \
UNION ALL \
SELECT f.n, N'role ' + CONVERT(nvarchar(11), p.principal_id), N'server role ' + p.name COLLATE DATABASE_DEFAULT \
FROM @found f JOIN sys.server_principals p ON p.owning_principal_id IN (f.account_id, f.role_id) \
UNION ALL \
SELECT f.n, N'permission ' + CONVERT(nvarchar(11), d.class) + N' ' + CONVERT(nvarchar(11), d.major_id) + N' ' + CONVERT(nvarchar(11), d.grantee_principal_id) + N' ' \
    + CONVERT(nvarchar(11), d.grantor_principal_id) + N' ' + d.permission_name COLLATE DATABASE_DEFAULT, \
  d.permission_name COLLATE DATABASE_DEFAULT + N' on ' + LOWER(d.class_desc COLLATE DATABASE_DEFAULT) + N' given to ' + p.name COLLATE DATABASE_DEFAULT \
FROM @found f JOIN sys.server_permissions d ON d.grantor_principal_id IN (f.account_id, f.role_id) JOIN sys.server_principals p ON p.principal_id = d.grantee_principal_id; ";

/// Reads the broker's rights on the server and in the database.
pub(crate) const CHECK_BROKER: &str = "\
SELECT IS_SRVROLEMEMBER(N'sysadmin') AS sysadmin, IS_ROLEMEMBER(N'db_owner') AS db_owner, USER_NAME() AS broker_user, \
  HAS_PERMS_BY_NAME(NULL, NULL, N'ALTER ANY CONNECTION') AS may_kill, \
  HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW SERVER STATE') AS sees_sessions, \
  HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DEFINITION') AS sees_database, \
  HAS_PERMS_BY_NAME(NULL, NULL, N'VIEW ANY DEFINITION') AS sees_server, \
  CONVERT(nvarchar(60), DATABASEPROPERTYEX(DB_NAME(), N'Updateability')) AS updateability;";

/// Reads the same in Azure SQL Database, which has permissions of its databases only.
pub(crate) const CHECK_BROKER_AZURE: &str = "\
SELECT 0 AS sysadmin, IS_ROLEMEMBER(N'db_owner') AS db_owner, USER_NAME() AS broker_user, \
  HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'KILL DATABASE CONNECTION') AS may_kill, \
  HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DATABASE STATE') AS sees_sessions, \
  HAS_PERMS_BY_NAME(DB_NAME(), N'DATABASE', N'VIEW DEFINITION') AS sees_database, \
  1 AS sees_server, \
  CONVERT(nvarchar(60), DATABASEPROPERTYEX(DB_NAME(), N'Updateability')) AS updateability;";

/// Lists triggers on statements that change roles, and logins that may impersonate every login: two
/// results.
pub(crate) fn strangers_code(scope: Scope) -> &'static str {
    match scope {
        Scope::AzureDatabase => {
            "SELECT t.name AS name FROM sys.triggers t WHERE t.parent_class = 0 AND t.is_disabled = 0;"
        }
        Scope::Database | Scope::Server => {
            "SELECT t.name AS name FROM sys.triggers t WHERE t.parent_class = 0 AND t.is_disabled = 0 \
             UNION SELECT t.name FROM sys.server_triggers t WHERE t.is_disabled = 0; \
             SELECT p.name AS name FROM sys.server_permissions d JOIN sys.server_principals p ON p.principal_id = d.grantee_principal_id \
             WHERE d.class = 100 AND d.permission_name = N'IMPERSONATE ANY LOGIN' AND d.state IN (N'G', N'W');"
        }
    }
}

/// Reads the state of each role. There are two results: the roles, and [`POWERS`] of those that
/// exist.
pub(crate) fn check_roles(scope: Scope, rows: usize) -> String {
    let show = "\
SELECT f.n, f.role_id, f.role_name, CASE WHEN r.is_fixed_role = 1 THEN 1 ELSE 0 END AS fixed, \
  HAS_PERMS_BY_NAME(QUOTENAME(f.role_name), N'{role}', N'ALTER') AS may_alter \
FROM @found f LEFT JOIN {principals} r ON r.principal_id = f.role_id ORDER BY f.n; \
SELECT DISTINCT p.role_id, p.what FROM @power p;";
    format!("SET NOCOUNT ON; {}", scope.text(&[&asked(rows), FIND, POWERS, show].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_in_braces_is_replaced() {
        for scope in [Scope::Database, Scope::AzureDatabase, Scope::Server] {
            for text in [
                observe(scope, "jit_broker", 2, 5),
                grant(scope, "l", 2, 5),
                revoke(scope, "jit_broker", None, "l", 2, 5),
                holders(scope, 2),
                check_roles(scope, 1),
                owned_objects(scope, 2, 5),
            ] {
                assert!(!text.contains('{') && !text.contains('}'), "{text}");
            }
        }
    }

    #[test]
    fn values_are_parameters_in_the_order_of_their_rows() {
        let text = asked(2);
        assert!(text.contains("(0, @P1, @P2, @P3, @P4, @P5, @P6, @P7, @P8, @P9), (1, @P10, "), "{text}");
        const { assert!(ROWS * COLUMNS <= 2_100) };
    }

    #[test]
    fn a_label_is_shown_before_anything_else_and_cannot_be_a_statement() {
        let text = grant(Scope::Database, "jit'; --", 1, 3);
        assert!(text.starts_with(&format!("{SETTINGS}SET LOCK_TIMEOUT 3; SET CONTEXT_INFO 0x6A6974273B202D2D; ")));
    }

    #[test]
    fn what_waits_is_compared_with_its_deadline_again_before_the_commit() {
        let text = grant(Scope::Server, "l", 1, 3);
        let (statement, deadline, commit) = (
            text.find("EXEC sp_executesql").unwrap(),
            text.rfind("SYSUTCDATETIME() > a.not_after").unwrap(),
            text.find("COMMIT TRANSACTION").unwrap(),
        );
        assert!(statement < deadline && deadline < commit);
        assert!(text.contains("ALTER SERVER ROLE ' + QUOTENAME(@role) + N' ADD MEMBER "));
    }

    #[test]
    fn sessions_are_ended_only_if_they_are_still_the_same() {
        let text = kill("l", &[57, 60]);
        assert!(text.contains(
            "s.session_id = 60 AND CONVERT(nvarchar(30), s.login_time, 126) = @P2) BEGIN TRY KILL 60; END TRY"
        ));
        assert!(!text.contains("BEGIN TRANSACTION"));
        assert!(still_there(&[57, 60]).contains("IN (57, 60)"));
    }
}
