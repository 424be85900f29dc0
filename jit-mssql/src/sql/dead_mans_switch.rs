//! Statements of the dead man's switch: two tables of each broker, and a job of SQL Server Agent
//! that acts on leases which ran out.
//!
//! Nothing of it is code that anybody else could replace. The job's code stands in its own step,
//! which belongs to the broker's login or to a sysadmin. The tables belong to `dbo`, and are
//! checked before each use. Anybody else's trigger, constraint, computed column, security policy or
//! right to write on them makes them count as missing.

use std::fmt::Write;

use jit_core::id::StoreId;
use jit_core::internal::adapter::name_for;

use super::{COLUMNS, FIND, Scope, asked, write_rows};
use crate::account::{literal, quoted};

/// Error number of a statement that found the tables missing or changed.
pub(crate) const UNSOUND: u32 = 50_010;

/// Returns the names of a broker's tables.
fn tables(broker_login: &str) -> (String, String) {
    let whose = name_for(&[broker_login]);
    let whose = whose.get(..16).unwrap_or(&whose);
    (format!("leases_{whose}"), format!("looks_{whose}"))
}

/// Returns the statement with the names of the broker's tables, in the words of the scope.
fn text(scope: Scope, template: &str, broker_login: &str) -> String {
    let (leases, looks) = tables(broker_login);
    let template = template.replace("{sound}", SOUND).replace("{leases}", &leases).replace("{looks}", &looks);
    scope.text(&template)
}

/// Statements that a DBA runs once in a database to make the tables. Each broker has tables of its
/// own, so that none changes another's. Tables that are there already and are not as they have to
/// be are refused, never adopted. They hold no names, since principals are renamed.
const TABLES: &str = "\
IF SCHEMA_ID(N'jit') IS NULL EXEC (N'CREATE SCHEMA jit AUTHORIZATION dbo')
GO
IF OBJECT_ID(N'jit.{leases}') IS NULL CREATE TABLE jit.{leases} (
  id char(64) NOT NULL PRIMARY KEY,
  account_id int NOT NULL,
  account_sid varbinary(85) NOT NULL,
  role_id int NOT NULL,
  role_sid varbinary(85) NOT NULL,
  fires_at datetime2(7) NOT NULL,
  ends_sessions bit NOT NULL,
  armed_by nvarchar(256) NOT NULL,
  fired_at datetime2(7) NULL,
  failure nvarchar(4000) NULL
)
IF OBJECT_ID(N'jit.{looks}') IS NULL CREATE TABLE jit.{looks} (
  one int NOT NULL PRIMARY KEY,
  looked_at datetime2(7) NOT NULL
)
GO
GRANT SELECT, INSERT, UPDATE, DELETE ON OBJECT::jit.{leases} TO {user}
GRANT SELECT, INSERT, UPDATE ON OBJECT::jit.{looks} TO {user}
GO
DECLARE @broker int = USER_ID({user name});
IF NOT ({sound}) THROW 50010, N'schema jit, or jit.{leases} or jit.{looks} in it, was made or changed by somebody else: look at what it is, drop it, and run this again', 1
GO
";

/// Checks whether the tables are the broker's own, and nobody else has code on them or may write to
/// them. `@broker` is the broker's user. Everything that belongs to a table except its primary key
/// is code or can refuse a row: triggers, checks, defaults, foreign keys.
const SOUND: &str = "EXISTS (SELECT 1 FROM sys.schemas s WHERE s.schema_id = SCHEMA_ID(N'jit') AND s.principal_id = 1)
  AND (SELECT COUNT(*) FROM sys.objects o WHERE o.schema_id = SCHEMA_ID(N'jit') AND o.name IN (N'{leases}', N'{looks}')
    AND o.type = N'U' AND o.principal_id IS NULL) = 2
  AND (SELECT COUNT(*) FROM sys.columns c WHERE c.object_id IN (OBJECT_ID(N'jit.{leases}'), OBJECT_ID(N'jit.{looks}')) AND c.is_computed = 0) = 12
  AND (SELECT COUNT(*) FROM sys.columns c WHERE c.object_id IN (OBJECT_ID(N'jit.{leases}'), OBJECT_ID(N'jit.{looks}'))) = 12
  AND NOT EXISTS (SELECT 1 FROM sys.objects o WHERE o.parent_object_id IN (OBJECT_ID(N'jit.{leases}'), OBJECT_ID(N'jit.{looks}')) AND o.type <> N'PK')
  AND NOT EXISTS (SELECT 1 FROM sys.security_predicates p WHERE p.target_object_id IN (OBJECT_ID(N'jit.{leases}'), OBJECT_ID(N'jit.{looks}')))
  AND NOT EXISTS (SELECT 1 FROM sys.database_permissions d WHERE d.state IN (N'G', N'W') AND d.grantee_principal_id <> @broker
    AND d.permission_name NOT IN (N'SELECT', N'VIEW DEFINITION') AND ((d.class = 3 AND d.major_id = SCHEMA_ID(N'jit'))
      OR (d.class = 1 AND d.major_id IN (OBJECT_ID(N'jit.{leases}'), OBJECT_ID(N'jit.{looks}')))))";

/// Code of the job's step. It looks five times, every other second, and takes away roles whose
/// lease ran out, with their sessions.
///
/// It runs as the broker, so that it can do no more than the broker may. What fails stays, with the
/// reason, and is tried again by the next look. If a session of the account itself holds the lock
/// that the statement waits for, sessions end first. Names are quoted here and nowhere else.
const STEP: &str = "SET NOCOUNT ON; SET XACT_ABORT OFF; SET IMPLICIT_TRANSACTIONS OFF; SET LOCK_TIMEOUT 5000;
DECLARE @broker int = USER_ID(), @look int = 0, @id char(64), @account_id int, @account_sid varbinary(85), @account nvarchar(128), @role_id int,
  @role nvarchar(128), @ends_sessions bit, @session int, @try int, @statement nvarchar(600);
WHILE @look < 5
BEGIN
  IF {sound}
  BEGIN
    UPDATE jit.{looks} SET looked_at = SYSUTCDATETIME() WHERE one = 1;
    IF @@ROWCOUNT = 0 INSERT INTO jit.{looks} (one, looked_at) VALUES (1, SYSUTCDATETIME());
    SET @id = '';
    WHILE 1 = 1
    BEGIN
      SELECT TOP (1) @id = l.id, @account_id = u.principal_id, @account_sid = l.account_sid, @account = u.name,
          @role_id = r.principal_id, @role = r.name, @ends_sessions = l.ends_sessions
        FROM jit.{leases} l
        LEFT JOIN {principals} u ON u.principal_id = l.account_id AND u.sid = l.account_sid
        LEFT JOIN {principals} r ON r.principal_id = l.role_id AND r.sid = l.role_sid
        WHERE l.fired_at IS NULL AND l.fires_at <= SYSUTCDATETIME() AND l.id > @id
        ORDER BY l.id;
      IF @@ROWCOUNT = 0 BREAK;
      BEGIN TRY
        SET @try = 0;
        WHILE @try < 2
        BEGIN
          SET @try = @try + 2;
          BEGIN TRY
            IF EXISTS (SELECT 1 FROM {members} m WHERE m.role_principal_id = @role_id AND m.member_principal_id = @account_id)
            BEGIN
              SET @statement = N'ALTER {role} ' + QUOTENAME(@role) + N' DROP MEMBER ' + QUOTENAME(@account);
              EXEC sp_executesql @statement;
            END;
          END TRY
          BEGIN CATCH
            -- 1222: a lock, perhaps of a session that is about to end
            IF ERROR_NUMBER() <> 1222 OR @ends_sessions = 0 OR @try > 2 THROW;
            SET @try = 1;
          END CATCH;
          SET @session = 0;
          WHILE @ends_sessions = 1
          BEGIN
            -- theirs, and those of whoever may impersonate the account, by a role too
            WITH acting (id) AS (
              SELECT d.grantee_principal_id FROM {permissions} d WHERE d.class = {principal} AND d.major_id = @account_id
                AND d.permission_name IN (N'IMPERSONATE', N'CONTROL') AND d.state IN (N'G', N'W')
              UNION ALL SELECT m.member_principal_id FROM acting a JOIN {members} m ON m.role_principal_id = a.id)
            SELECT TOP (1) @session = s.session_id FROM sys.dm_exec_sessions s
              WHERE s.is_user_process = 1 AND s.session_id > @session AND s.session_id <> @@SPID
                AND EXISTS (SELECT 1 FROM (
                  SELECT p.sid, {home} AS home FROM {principals} p WHERE p.principal_id = @account_id
                  UNION SELECT p.sid, {home} AS home FROM acting a JOIN {principals} p ON p.principal_id = a.id) x WHERE {is theirs})
              ORDER BY s.session_id;
            IF @@ROWCOUNT = 0 BREAK;
            BEGIN TRY
              SET @statement = N'KILL ' + CONVERT(nvarchar(11), @session);
              EXEC sp_executesql @statement;
            END TRY
            BEGIN CATCH
              -- 6106: it went by itself
              IF ERROR_NUMBER() <> 6106 THROW;
            END CATCH;
          END;
        END;
        UPDATE jit.{leases} SET fired_at = SYSUTCDATETIME(), failure = NULL WHERE id = @id AND fires_at <= SYSUTCDATETIME();
      END TRY
      BEGIN CATCH
        UPDATE jit.{leases} SET failure = ERROR_MESSAGE() WHERE id = @id;
      END CATCH;
    END;
  END;
  SET @look = @look + 1;
  WAITFOR DELAY '00:00:02';
END";

/// Seconds between two starts of the job. The documentation wants an interval longer than 10 s.
const EVERY_SECONDS: u32 = 12;
/// Seconds without a look after which the switch counts as missing: three starts of the job.
const SILENT_SECONDS: u32 = 36;

/// Returns the statements that a DBA runs to make the switch, in the servers' own client, whose
/// `GO` ends a batch.
pub(crate) fn make(scope: Scope, database: &str, broker_login: &str, broker_user: &str) -> String {
    let (at, login) = (quoted(database), quoted(broker_login));
    // A login without a user in a database is its guest, who must be given nothing.
    let stranger = broker_user == "guest";
    let (user, user_name) = if stranger { (login.clone(), broker_login) } else { (quoted(broker_user), broker_user) };
    let come_in = if stranger { format!("CREATE USER {user} FOR LOGIN {login}\nGO\n") } else { String::new() };
    let tables = TABLES.replace("{user name}", &literal(user_name)).replace("{user}", &user);
    let tables = text(scope, &tables, broker_login);
    format!("USE {at}\nGO\n{come_in}{tables}{}", job(scope, database, broker_login))
}

/// Returns the statements that make the job alone. A job that is there already is made anew, with
/// what it has to do.
pub(crate) fn job(scope: Scope, database: &str, broker_login: &str) -> String {
    let name = literal(&job_name(database, broker_login));
    let step = text(scope, STEP, broker_login);
    format!(
        "IF EXISTS (SELECT 1 FROM msdb.dbo.sysjobs j WHERE j.name = {name}) EXEC msdb.dbo.sp_delete_job @job_name = {name}\n\
         EXEC msdb.dbo.sp_add_job @job_name = {name}, @owner_login_name = {}\n\
         EXEC msdb.dbo.sp_add_jobstep @job_name = {name}, @step_name = N'look', @subsystem = N'TSQL', @database_name = {},\n  @command = {}\n\
         EXEC msdb.dbo.sp_add_jobschedule @job_name = {name}, @name = N'always', @freq_type = 4, @freq_interval = 1,\n  \
         @freq_subday_type = 2, @freq_subday_interval = {EVERY_SECONDS}\n\
         EXEC msdb.dbo.sp_add_jobserver @job_name = {name}\nGO",
        literal(broker_login),
        literal(database),
        literal(&step)
    )
}

/// Returns the name of the job, one for each broker of a database. Names of jobs have 128
/// characters at the most.
pub(crate) fn job_name(database: &str, broker_login: &str) -> String {
    let name = format!("jit dead man's switch of {database} for {broker_login}");
    name.chars().take(if name.encode_utf16().count() > 128 { 60 } else { 128 }).collect()
}

/// Checks whether everything is there as it has to be. Also reads how many seconds ago the job
/// looked last, which is NULL if it never has. Also reads who owns the schema if something else is
/// there.
pub(crate) fn state(scope: Scope, broker_login: &str) -> String {
    text(scope, STATE, broker_login)
}

const STATE: &str = "\
SET NOCOUNT ON; \
DECLARE @broker int = USER_ID(), @sound int = 0, @made int = 0, @ago bigint; \
IF {sound} SET @sound = 1; \
IF @sound = 1 AND HAS_PERMS_BY_NAME(N'jit.{leases}', N'OBJECT', N'SELECT') = 1 AND HAS_PERMS_BY_NAME(N'jit.{leases}', N'OBJECT', N'INSERT') = 1 \
  AND HAS_PERMS_BY_NAME(N'jit.{leases}', N'OBJECT', N'UPDATE') = 1 AND HAS_PERMS_BY_NAME(N'jit.{leases}', N'OBJECT', N'DELETE') = 1 \
  AND HAS_PERMS_BY_NAME(N'jit.{looks}', N'OBJECT', N'SELECT') = 1 AND HAS_PERMS_BY_NAME(N'jit.{looks}', N'OBJECT', N'INSERT') = 1 \
  AND HAS_PERMS_BY_NAME(N'jit.{looks}', N'OBJECT', N'UPDATE') = 1 SET @made = 1; \
IF @made = 1 SELECT @ago = DATEDIFF_BIG(second, k.looked_at, SYSUTCDATETIME()) FROM jit.{looks} k WHERE k.one = 1; \
SELECT @made AS made, CONVERT(int, CASE WHEN @ago > 1000000000 THEN 1000000000 ELSE @ago END) AS ago, \
  CASE WHEN @sound = 0 AND (OBJECT_ID(N'jit.{leases}') IS NOT NULL OR OBJECT_ID(N'jit.{looks}') IS NOT NULL) THEN \
    ISNULL((SELECT u.name FROM sys.schemas s JOIN sys.database_principals u ON u.principal_id = s.principal_id WHERE s.schema_id = SCHEMA_ID(N'jit')), N'') \
  END AS planted;";

/// Checks whether a job that looked so many seconds ago does not look any more. A look in the
/// future is one from before the clock was put back.
pub(crate) fn is_silent(ago: i32) -> bool {
    ago.unsigned_abs() > SILENT_SECONDS
}

/// Checks whether a lease carries the mark of a store.
const MARKED: &str = "armed_by LIKE N'%/store:________________'";

/// Checks whether the broker may read its tables, and can trust them. `@broker` is its user.
const READABLE: &str = "{sound} AND HAS_PERMS_BY_NAME(N'jit.{leases}', N'OBJECT', N'SELECT') = 1";

/// Finds the stores whose marks stand on what was found: the stores of leases that have not fired.
/// Tables that cannot be trusted have no marks.
pub(crate) fn marks(scope: Scope, broker_login: &str) -> String {
    let all = format!(
        "DECLARE @broker int = USER_ID(); DECLARE @mark TABLE (n int NOT NULL PRIMARY KEY, store nvarchar(16) NOT NULL); \
         IF {READABLE} INSERT INTO @mark (n, store) SELECT f.n, MIN(RIGHT(l.armed_by, 16)) FROM @found f JOIN jit.{{leases}} l \
         ON l.account_id = f.account_id AND l.account_sid = f.account_sid AND l.role_id = f.role_id AND l.role_sid = f.role_sid \
         WHERE l.fired_at IS NULL AND {MARKED} GROUP BY f.n; "
    );
    text(scope, &all, broker_login)
}

/// Lists all marks on leases that have not fired. There is no result if the tables cannot be
/// trusted.
pub(crate) fn all_marks(scope: Scope, broker_login: &str) -> String {
    let all = format!(
        "SET NOCOUNT ON; DECLARE @broker int = USER_ID(); \
         IF {READABLE} SELECT l.armed_by FROM jit.{{leases}} l WHERE l.fired_at IS NULL AND {MARKED};"
    );
    text(scope, &all, broker_login)
}

/// Checks whether a lease carries the mark of another store than this one.
fn is_theirs(store: Option<&StoreId>) -> String {
    store.map_or_else(|| "1 = 0".to_owned(), |own| format!("({MARKED} AND RIGHT(armed_by, 16) <> N'{own}')"))
}

/// Number of values of one lease beside those of [`asked`]: its id, in how many milliseconds it
/// fires, and whether it ends sessions.
const LEASE_COLUMNS: usize = 3;
/// Number of leases armed at once, with one value more for the mark of the call: the server takes
/// 2,100 parameters.
pub(crate) const LEASES: usize = 150;

/// Refuses to go on if the tables are not as they have to be.
const DEMAND: &str = "DECLARE @broker int = USER_ID(); \
IF NOT ({sound}) THROW 50010, N'the tables of the dead man''s switch are missing, or somebody else has changed them', 1; ";

/// Arms leases, or moves them. The parameters are the asked rows, then the leases, then the mark of
/// the call. A lease that another store has armed and that has not fired stays. Answers with each
/// lease as it stands.
pub(crate) fn arm(scope: Scope, broker_login: &str, store: Option<&StoreId>, rows: usize) -> String {
    let theirs = is_theirs(store);
    let mut all = asked(rows);
    all.push_str(FIND);
    all.push_str(DEMAND);
    all.push_str(
        "DECLARE @lease TABLE (n int NOT NULL PRIMARY KEY, id char(64) NOT NULL, in_ms int NOT NULL, ends_sessions bit NOT NULL); \
         INSERT INTO @lease (n, id, in_ms, ends_sessions) VALUES ",
    );
    write_rows(&mut all, rows.saturating_mul(COLUMNS), rows, LEASE_COLUMNS);
    let last = rows.saturating_mul(COLUMNS.saturating_add(LEASE_COLUMNS)).saturating_add(1);
    // Writing to a text cannot fail.
    let _ = write!(
        all,
        "; BEGIN TRANSACTION; \
         IF SYSUTCDATETIME() < (SELECT MIN(a.not_after) FROM @asked a) BEGIN \
         DELETE FROM jit.{{leases}} WHERE id IN (SELECT x.id FROM @lease x) AND NOT (fired_at IS NULL AND {theirs}); \
         INSERT INTO jit.{{leases}} (id, account_id, account_sid, role_id, role_sid, fires_at, ends_sessions, armed_by) \
         SELECT x.id, f.account_id, f.account_sid, f.role_id, f.role_sid, DATEADD(millisecond, x.in_ms, SYSUTCDATETIME()), x.ends_sessions, @P{last} \
         FROM @lease x JOIN @found f ON f.n = x.n WHERE f.account_id IS NOT NULL AND f.role_id IS NOT NULL \
         AND NOT EXISTS (SELECT 1 FROM jit.{{leases}} l WHERE l.id = x.id); \
         END; COMMIT TRANSACTION; \
         SELECT f.n, f.account_id, f.role_id, l.armed_by, l.fires_at FROM @lease x JOIN @found f ON f.n = x.n \
         LEFT JOIN jit.{{leases}} l ON l.id = x.id ORDER BY f.n; "
    );
    text(scope, &all, broker_login)
}

/// Number of leases disarmed at once.
pub(crate) const IDS: usize = 1_000;

/// Disarms these leases (`@P2`...) until a time (`@P1`). Answers with those that were armed, and
/// with those that still are. Whoever took the table away took the leases along. What another store
/// has armed stays.
pub(crate) fn disarm(scope: Scope, broker_login: &str, store: Option<&StoreId>, ids: usize) -> String {
    let theirs = is_theirs(store);
    let list: Vec<String> = (2..ids.saturating_add(2)).map(|n| format!("@P{n}")).collect();
    let list = list.join(", ");
    let all = format!(
        "IF OBJECT_ID(N'jit.{{leases}}') IS NOT NULL BEGIN {DEMAND}\
         DELETE FROM jit.{{leases}} OUTPUT deleted.id, deleted.fired_at WHERE SYSUTCDATETIME() < @P1 AND id IN ({list}) AND NOT ({theirs}); \
         SELECT l.id FROM jit.{{leases}} l WHERE l.id IN ({list}) AND NOT ({theirs}); END; "
    );
    text(scope, &all, broker_login)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> StoreId {
        StoreId::new("0123456789abcdef").unwrap()
    }

    #[test]
    fn every_word_in_braces_is_replaced() {
        for scope in [Scope::Database, Scope::AzureDatabase, Scope::Server] {
            for text in [
                make(scope, "orders", "jit_broker", "jit_broker"),
                arm(scope, "jit_broker", Some(&store()), 2),
                disarm(scope, "jit_broker", Some(&store()), 2),
                marks(scope, "jit_broker"),
                all_marks(scope, "jit_broker"),
                state(scope, "jit_broker"),
            ] {
                assert!(!text.contains('{') && !text.contains('}'), "{text}");
            }
        }
    }

    #[test]
    fn values_of_leases_follow_those_of_what_is_asked() {
        let text = arm(Scope::Database, "jit_broker", Some(&store()), 2);
        assert!(text.contains("(0, @P19, @P20, @P21), (1, @P22, @P23, @P24); "), "{text}");
        assert!(text.contains("x.ends_sessions, @P25 "), "{text}");
        const { assert!(LEASES * (COLUMNS + LEASE_COLUMNS) < 2_100) };
    }

    #[test]
    fn names_of_jobs_fit() {
        assert_eq!(job_name("orders", "jit"), "jit dead man's switch of orders for jit");
        assert!(job_name(&"d".repeat(128), "jit").encode_utf16().count() <= 128);
    }

    #[test]
    fn a_guest_becomes_a_user_and_is_given_nothing() {
        let text = make(Scope::Server, "master", "jit'[broker]", "guest");
        assert!(text.contains("CREATE USER [jit'[broker]]] FOR LOGIN [jit'[broker]]]"), "{text}");
        assert!(text.contains("@owner_login_name = N'jit''[broker]'"), "{text}");
        assert!(!text.contains("[guest]"), "{text}");
    }
}
