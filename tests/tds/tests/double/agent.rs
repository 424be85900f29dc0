//! Tests of stored procedures, and of SQL Server Agent that runs them.

use std::time::{Duration, Instant};

use super::*;

/// Makes a server with a procedure of `dbo`, over a table on which `ann` has no permission.
fn with_a_procedure() -> TdsServer {
    let server = plain();
    let batches = [
        "CREATE TABLE dbo.log (who nvarchar(128) NOT NULL)",
        "CREATE PROCEDURE dbo.note AS BEGIN SET NOCOUNT ON; INSERT INTO dbo.log (who) VALUES (SUSER_SNAME()); END",
        "GRANT EXECUTE ON OBJECT::dbo.note TO ann",
    ];
    batches.iter().for_each(|batch| drop(server.execute("app", batch).unwrap()));
    server
}

/// Makes a server with a job of ann's that runs this command every ten seconds.
fn with_a_job(command: &str) -> TdsServer {
    let server = with_a_procedure();
    let sql = format!(
        "EXEC msdb.dbo.sp_add_job @job_name = N'j', @owner_login_name = N'ann'; \
         EXEC msdb.dbo.sp_add_jobstep @job_name = N'j', @step_name = N's', @subsystem = N'TSQL', @database_name = N'app', \
           @command = N'{command}'; \
         EXEC msdb.dbo.sp_add_jobschedule @job_name = N'j', @name = N'often', @freq_type = 4, @freq_interval = 1, \
           @freq_subday_type = 2, @freq_subday_interval = 10; \
         EXEC msdb.dbo.sp_add_jobserver @job_name = N'j'"
    );
    server.execute("app", &sql).unwrap();
    server
}

/// Sets the clock this many seconds ahead, and checks whether the log gets a row within three
/// seconds.
fn until_logged(server: &TdsServer, jump: i64) -> bool {
    server.set_clock(chrono::Duration::seconds(jump));
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        if admin(server, "SELECT COUNT(*) FROM dbo.log") != "0" {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

#[tokio::test]
async fn a_procedure_may_change_what_its_caller_may_not() {
    let server = with_a_procedure();
    let mut client = ann(&server).await;
    assert_eq!(ask(&mut client, "INSERT INTO dbo.log (who) VALUES (N'x')").await, Err(229));
    ask(&mut client, "EXEC dbo.note").await.unwrap();
    assert_eq!(admin(&server, "SELECT who FROM dbo.log"), "ann");
    // dynamic text is not part of the ownership chain, and the chain ends with the procedure
    let dynamic = "CREATE PROCEDURE dbo.dynamic AS EXEC sp_executesql N'INSERT INTO dbo.log (who) VALUES (N''y'')'";
    server.execute("app", dynamic).unwrap();
    server.execute("app", "GRANT EXECUTE ON dbo.dynamic TO ann").unwrap();
    assert_eq!(ask(&mut client, "EXEC dbo.dynamic").await, Err(229));
    assert_eq!(ask(&mut client, "INSERT INTO dbo.log (who) VALUES (N'x')").await, Err(229));
    server.execute("app", "REVOKE EXECUTE ON OBJECT::dbo.note FROM ann").unwrap();
    assert_eq!(ask(&mut client, "EXEC dbo.note").await, Err(229));
}

#[test]
fn a_procedure_opens_its_batch_and_takes_what_it_declares() {
    let server = plain();
    assert_eq!(number(&server, "SELECT 1; CREATE PROCEDURE dbo.p AS SELECT 1"), 111);
    server.execute("app", "CREATE PROCEDURE dbo.add_one @n int, @sum int OUTPUT AS SET @sum = @n + 1").unwrap();
    assert_eq!(admin(&server, "DECLARE @r int; EXEC dbo.add_one 4, @r OUTPUT; SELECT @r"), "5");
    assert_eq!(number(&server, "EXEC dbo.add_one"), 201);
    assert_eq!(number(&server, "EXEC dbo.add_none"), 2812);
    assert_eq!(admin(&server, "SELECT type_desc FROM sys.objects WHERE name = N'add_one'"), "SQL_STORED_PROCEDURE");
    server.execute("app", "DROP PROCEDURE dbo.add_one").unwrap();
    assert_eq!(admin(&server, "SELECT OBJECT_ID(N'dbo.add_one', N'P')"), "NULL");
}

#[tokio::test]
async fn a_procedure_may_run_as_somebody_else() {
    let server = with_a_procedure();
    server.execute("app", "CREATE USER bob WITHOUT LOGIN").unwrap();
    server.execute("app", "CREATE PROCEDURE dbo.as_bob WITH EXECUTE AS 'bob' AS SELECT USER_NAME()").unwrap();
    server.execute("app", "GRANT EXECUTE ON dbo.as_bob TO ann").unwrap();
    let mut client = ann(&server).await;
    assert_eq!(ask(&mut client, "EXEC dbo.as_bob; SELECT USER_NAME()").await.unwrap(), ["bob", "ann"]);
    let sql =
        "SELECT USER_NAME(execute_as_principal_id) FROM sys.sql_modules WHERE object_id = OBJECT_ID(N'dbo.as_bob')";
    assert_eq!(admin(&server, sql), "bob");
}

#[test]
fn what_is_deleted_can_be_shown() {
    let server = plain();
    assert_eq!(admin(&server, "DELETE FROM dbo.t OUTPUT deleted.n * 10 AS tenfold WHERE n = 2"), "20");
    assert_eq!(admin(&server, "SELECT COUNT(*) FROM dbo.t"), "1");
}

#[test]
fn a_job_runs_as_its_owner_again_and_again() {
    let server = with_a_job("EXEC dbo.note");
    assert!(until_logged(&server, 10));
    assert_eq!(admin(&server, "SELECT who FROM dbo.log"), "ann");
    server.execute("app", "DELETE FROM dbo.log").unwrap();
    assert!(until_logged(&server, 30));
    assert_eq!(server.job_failure("j"), None);
}

#[test]
fn a_job_that_fails_says_as_whom_and_is_tried_again() {
    let server = with_a_job("INSERT INTO dbo.log (who) VALUES (N''x'')");
    assert!(!until_logged(&server, 10));
    let failure = server.job_failure("j").unwrap();
    assert!(failure.starts_with("Executed as user: ann. The INSERT permission was denied"), "{failure}");
    server.execute("app", "GRANT INSERT ON dbo.log TO ann").unwrap();
    assert!(until_logged(&server, 30));
}

#[test]
fn no_job_runs_while_the_agent_is_stopped_nor_one_that_is_disabled() {
    let server = with_a_job("EXEC dbo.note");
    server.set_agent(false);
    assert!(!until_logged(&server, 10));
    server.set_agent(true);
    server.execute("app", "EXEC msdb.dbo.sp_update_job @job_name = N'j', @enabled = 0").unwrap();
    assert!(!until_logged(&server, 30));
    server.execute("app", "EXEC msdb.dbo.sp_update_job @job_name = N'j', @enabled = 1").unwrap();
    assert!(until_logged(&server, 50));
}

#[tokio::test]
async fn jobs_are_made_by_administrators_and_at_most_every_ten_seconds() {
    let server = plain();
    let mut client = ann(&server).await;
    assert_eq!(ask(&mut client, "EXEC msdb.dbo.sp_add_job @job_name = N'j'").await, Err(229));
    server.execute("app", "EXEC msdb.dbo.sp_add_job @job_name = N'j'").unwrap();
    assert_eq!(number(&server, "EXEC msdb.dbo.sp_add_job @job_name = N'J'"), 14261);
    assert_eq!(number(&server, "EXEC msdb.dbo.sp_add_jobserver @job_name = N'k'"), 14262);
    let schedule = "EXEC msdb.dbo.sp_add_jobschedule @job_name = N'j', @name = N's', @freq_type = 4, @freq_interval = 1, \
        @freq_subday_type = 2, @freq_subday_interval = 9";
    assert_eq!(number(&server, schedule), 14266);
    assert_eq!(number(&server, "EXEC sp_add_job @job_name = N'j'"), 2812);
}
