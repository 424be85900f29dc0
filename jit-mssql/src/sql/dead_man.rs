//! The dead-man's statements: a table of leases, a procedure that acts on those that ran out, and a job of SQL Server Agent that calls it.

use std::fmt::Write;

use super::{COLUMNS, FIND, Scope, asked, write_rows};
use crate::account::{literal, quoted};

/// What a DBA makes once in a database. Brokers see and change rows of their own; a name stands nowhere, since principals are renamed.
const TABLES: &str = "\
IF SCHEMA_ID(N'jit') IS NULL EXEC (N'CREATE SCHEMA jit AUTHORIZATION dbo')
GO
IF OBJECT_ID(N'jit.leases', N'U') IS NULL CREATE TABLE jit.leases (
  id char(64) NOT NULL PRIMARY KEY,
  broker_sid varbinary(85) NOT NULL,
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
IF OBJECT_ID(N'jit.looks', N'U') IS NULL CREATE TABLE jit.looks (
  broker_sid varbinary(85) NOT NULL PRIMARY KEY,
  looked_at datetime2(7) NOT NULL
)";

/// Takes away what ran out, with its sessions. It runs as the broker, so that it can do no more than the broker may: only rows of the two tables
/// are its owner's. What fails stays, with why, and is tried again by the next look. Names are quoted here and nowhere else.
const DEAD_MAN: &str = "\
CREATE OR ALTER PROCEDURE jit.dead_man AS
BEGIN
  SET NOCOUNT ON;
  SET XACT_ABORT OFF;
  SET LOCK_TIMEOUT 5000;
  DECLARE @id char(64) = '', @account_id int, @account_sid varbinary(85), @account nvarchar(128), @role_id int, @role nvarchar(128),
    @ends_sessions bit, @session int, @statement nvarchar(600);
  UPDATE jit.looks SET looked_at = SYSUTCDATETIME() WHERE broker_sid = SUSER_SID();
  IF @@ROWCOUNT = 0 INSERT INTO jit.looks (broker_sid, looked_at) VALUES (SUSER_SID(), SYSUTCDATETIME());
  WHILE 1 = 1
  BEGIN
    SELECT TOP (1) @id = l.id, @account_id = u.principal_id, @account_sid = l.account_sid, @account = u.name,
        @role_id = r.principal_id, @role = r.name, @ends_sessions = l.ends_sessions
      FROM jit.leases l
      LEFT JOIN {principals} u ON u.principal_id = l.account_id AND u.sid = l.account_sid
      LEFT JOIN {principals} r ON r.principal_id = l.role_id AND r.sid = l.role_sid
      WHERE l.broker_sid = SUSER_SID() AND l.fired_at IS NULL AND l.fires_at <= SYSUTCDATETIME() AND l.id > @id
      ORDER BY l.id;
    IF @@ROWCOUNT = 0 BREAK;
    BEGIN TRY
      IF EXISTS (SELECT 1 FROM {members} m WHERE m.role_principal_id = @role_id AND m.member_principal_id = @account_id)
      BEGIN
        SET @statement = N'ALTER {role} ' + QUOTENAME(@role) + N' DROP MEMBER ' + QUOTENAME(@account);
        EXEC sp_executesql @statement;
      END;
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
            AND (s.security_id = @account_sid OR s.original_security_id = @account_sid OR EXISTS (
              SELECT 1 FROM acting a JOIN {principals} p ON p.principal_id = a.id
              WHERE p.sid = s.security_id OR p.sid = s.original_security_id))
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
      UPDATE jit.leases SET fired_at = SYSUTCDATETIME(), failure = NULL WHERE id = @id;
    END TRY
    BEGIN CATCH
      UPDATE jit.leases SET failure = ERROR_MESSAGE() WHERE id = @id;
    END CATCH;
  END;
END";

/// What the job does: SQL Server Agent starts it every ten seconds at the most, and the dead-man looks every other second.
const STEP: &str = "DECLARE @look int = 0; \
WHILE @look < 4 BEGIN EXEC jit.dead_man; SET @look = @look + 1; WAITFOR DELAY '00:00:02'; END";

/// It is said to be missing when it has not looked for so many seconds: three starts of the job.
const SILENT_SECONDS: u32 = 30;

/// What a DBA runs for it, in the servers' own client, whose `GO` ends a batch.
pub(crate) fn make(scope: Scope, database: &str, broker_login: &str, broker_user: &str) -> String {
    let (at, login) = (quoted(database), quoted(broker_login));
    // whoever has no user in a database is its guest, who must be given nothing
    let stranger = broker_user == "guest";
    let user = if stranger { login.clone() } else { quoted(broker_user) };
    let come_in = if stranger { format!("CREATE USER {user} FOR LOGIN {login}\nGO\n") } else { String::new() };
    format!(
        "USE {at}\nGO\n{come_in}{TABLES}\nGO\n{}\nGO\n\
         GRANT SELECT, INSERT, DELETE ON OBJECT::jit.leases TO {user}\n\
         GRANT SELECT ON OBJECT::jit.looks TO {user}\n\
         GRANT EXECUTE ON OBJECT::jit.dead_man TO {user}\nGO\n{}",
        scope.text(DEAD_MAN),
        job(database, broker_login)
    )
}

/// The job alone.
pub(crate) fn job(database: &str, broker_login: &str) -> String {
    let name = literal(&job_name(database, broker_login));
    format!(
        "EXEC msdb.dbo.sp_add_job @job_name = {name}, @owner_login_name = {}\n\
         EXEC msdb.dbo.sp_add_jobstep @job_name = {name}, @step_name = N'look', @subsystem = N'TSQL', @database_name = {},\n  @command = {}\n\
         EXEC msdb.dbo.sp_add_jobschedule @job_name = {name}, @name = N'always', @freq_type = 4, @freq_interval = 1,\n  \
         @freq_subday_type = 2, @freq_subday_interval = 10\n\
         EXEC msdb.dbo.sp_add_jobserver @job_name = {name}\nGO",
        literal(broker_login),
        literal(database),
        literal(STEP)
    )
}

/// One for each broker of a database; names of jobs have 128 characters at the most.
pub(crate) fn job_name(database: &str, broker_login: &str) -> String {
    let name = format!("jit dead-man of {database} for {broker_login}");
    name.chars().take(if name.encode_utf16().count() > 128 { 60 } else { 128 }).collect()
}

/// Whether everything is there, and how many seconds ago it looked last, which is NULL where it never has.
pub(crate) const STATE: &str = "\
SET NOCOUNT ON; \
DECLARE @made int = CASE WHEN HAS_PERMS_BY_NAME(N'jit.leases', N'OBJECT', N'SELECT') = 1 AND HAS_PERMS_BY_NAME(N'jit.leases', N'OBJECT', N'INSERT') = 1 \
  AND HAS_PERMS_BY_NAME(N'jit.leases', N'OBJECT', N'DELETE') = 1 AND HAS_PERMS_BY_NAME(N'jit.looks', N'OBJECT', N'SELECT') = 1 \
  AND HAS_PERMS_BY_NAME(N'jit.dead_man', N'OBJECT', N'EXECUTE') = 1 THEN 1 ELSE 0 END, @ago bigint; \
IF @made = 1 SELECT @ago = DATEDIFF_BIG(second, k.looked_at, SYSUTCDATETIME()) FROM jit.looks k WHERE k.broker_sid = SUSER_SID(); \
SELECT @made AS made, CONVERT(int, CASE WHEN @ago > 1000000000 THEN 1000000000 ELSE @ago END) AS ago;";

/// Whether one that looked so many seconds ago looks no more. A look to come is one from before the clock was put back.
pub(crate) fn is_silent(ago: i32) -> bool {
    ago.unsigned_abs() > SILENT_SECONDS
}

/// Values of one lease beside those of [`asked`]: its id, in how many milliseconds it fires, whether it ends sessions.
const LEASE_COLUMNS: usize = 3;
/// Leases armed at once, with one value more for whose call it is: the server takes 2,100 parameters.
pub(crate) const LEASES: usize = 150;

/// Arms, or moves: what is asked, then the leases, then by whose call. Answers with each as it stands.
pub(crate) fn arm(scope: Scope, rows: usize) -> String {
    let mut text = asked(rows);
    text.push_str(&scope.text(FIND));
    text.push_str(
        "DECLARE @lease TABLE (n int NOT NULL PRIMARY KEY, id char(64) NOT NULL, in_ms int NOT NULL, ends_sessions bit NOT NULL); \
         INSERT INTO @lease (n, id, in_ms, ends_sessions) VALUES ",
    );
    write_rows(&mut text, rows.saturating_mul(COLUMNS), rows, LEASE_COLUMNS);
    let last = rows.saturating_mul(COLUMNS.saturating_add(LEASE_COLUMNS)).saturating_add(1);
    let _ = write!(
        text,
        "; BEGIN TRANSACTION; \
         IF SYSUTCDATETIME() < (SELECT MIN(a.not_after) FROM @asked a) BEGIN \
         DELETE FROM jit.leases WHERE broker_sid = SUSER_SID() AND id IN (SELECT x.id FROM @lease x); \
         INSERT INTO jit.leases (id, broker_sid, account_id, account_sid, role_id, role_sid, fires_at, ends_sessions, armed_by) \
         SELECT x.id, SUSER_SID(), f.account_id, f.account_sid, f.role_id, f.role_sid, DATEADD(millisecond, x.in_ms, SYSUTCDATETIME()), x.ends_sessions, @P{last} \
         FROM @lease x JOIN @found f ON f.n = x.n WHERE f.account_id IS NOT NULL AND f.role_id IS NOT NULL; \
         END; COMMIT TRANSACTION; \
         SELECT f.n, f.account_id, f.role_id, l.armed_by, l.fires_at FROM @lease x JOIN @found f ON f.n = x.n \
         LEFT JOIN jit.leases l ON l.id = x.id AND l.broker_sid = SUSER_SID() ORDER BY f.n; "
    );
    text
}

/// Leases disarmed at once.
pub(crate) const IDS: usize = 1_000;

/// Disarms these (`@P2`...) until then (`@P1`): answers with those that were armed, and with those that still are. Whoever took the table away
/// took the leases along.
pub(crate) fn disarm(ids: usize) -> String {
    let list: Vec<String> = (2..ids.saturating_add(2)).map(|n| format!("@P{n}")).collect();
    let list = list.join(", ");
    format!(
        "IF OBJECT_ID(N'jit.leases', N'U') IS NOT NULL BEGIN \
         DELETE FROM jit.leases OUTPUT deleted.id, deleted.fired_at \
         WHERE broker_sid = SUSER_SID() AND SYSUTCDATETIME() < @P1 AND id IN ({list}); \
         SELECT l.id FROM jit.leases l WHERE l.broker_sid = SUSER_SID() AND l.id IN ({list}); END; "
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_in_braces_is_replaced() {
        for scope in [Scope::Database, Scope::Server] {
            for text in [make(scope, "orders", "jit_broker", "jit_broker"), arm(scope, 2)] {
                assert!(!text.contains('{') && !text.contains('}'), "{text}");
            }
        }
    }

    #[test]
    fn values_of_leases_follow_those_of_what_is_asked() {
        let text = arm(Scope::Database, 2);
        assert!(text.contains("(0, @P19, @P20, @P21), (1, @P22, @P23, @P24); "), "{text}");
        assert!(text.contains("x.ends_sessions, @P25 "), "{text}");
        const { assert!(LEASES * (COLUMNS + LEASE_COLUMNS) < 2_100) };
    }

    #[test]
    fn names_of_jobs_fit() {
        assert_eq!(job_name("orders", "jit"), "jit dead-man of orders for jit");
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
