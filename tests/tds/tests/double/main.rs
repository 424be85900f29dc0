//! Tests of the double with the driver `tiberius`.
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod agent;
#[path = "../certificates/mod.rs"]
mod certificates;

use jit_tds::{Options, TdsServer, Tls, Value};
use tempfile::TempDir;
use tiberius::{AuthMethod, Client, ColumnData, Config, EncryptionLevel, Query};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use self::certificates::Certificates;

type Talk = Client<Compat<TcpStream>>;

const SECRET: &str = "Secret-of-ann-1";

/// Setup: a login `ann` with a user in `app`, roles `readers` and `writers` there, and a table.
const SETUP: [(&str, &str); 2] = [
    (
        "master",
        "CREATE LOGIN ann WITH PASSWORD = 'Secret-of-ann-1'; CREATE SERVER ROLE watchers; GRANT VIEW SERVER STATE TO watchers",
    ),
    (
        "app",
        "CREATE USER ann FOR LOGIN ann; CREATE ROLE readers; CREATE ROLE writers; CREATE TABLE dbo.t (n int); \
         INSERT INTO dbo.t (n) VALUES (1), (2); GRANT SELECT ON dbo.t TO readers; GRANT INSERT ON dbo.t TO writers",
    ),
];

fn plain() -> TdsServer {
    let setup = SETUP.map(|(database, sql)| (database.to_owned(), sql.to_owned())).to_vec();
    TdsServer::start(Options { setup, ..Options::default() }).unwrap()
}

fn encrypted(tls: fn(&Certificates) -> Tls) -> (TdsServer, Certificates, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let files = Certificates::make(folder.path()).unwrap();
    let server = TdsServer::start(Options { tls: tls(&files), ..Options::default() }).unwrap();
    (server, files, folder)
}

fn config(login: &str, password: &str) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1");
    config.database("app");
    config.encryption(EncryptionLevel::NotSupported);
    config.authentication(AuthMethod::sql_server(login, password));
    config
}

async fn connect(server: &TdsServer, config: Config) -> Result<Talk, tiberius::error::Error> {
    let tcp = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
    Client::connect(config, tcp.compat_write()).await
}

async fn ann(server: &TdsServer) -> Talk {
    connect(server, config("ann", SECRET)).await.unwrap()
}

async fn sa(server: &TdsServer) -> Talk {
    connect(server, config("sa", &Options::default().sa_password)).await.unwrap()
}

fn shown(data: &ColumnData<'static>) -> String {
    match data {
        ColumnData::U8(n) => n.map(|n| n.to_string()),
        ColumnData::I16(n) => n.map(|n| n.to_string()),
        ColumnData::I32(n) => n.map(|n| n.to_string()),
        ColumnData::I64(n) => n.map(|n| n.to_string()),
        ColumnData::Bit(b) => b.map(|b| u8::from(b).to_string()),
        ColumnData::String(s) => s.as_ref().map(ToString::to_string),
        other => Some(format!("{other:?}")),
    }
    .unwrap_or_else(|| "NULL".to_owned())
}

/// Returns all rows of all results, or the number of the first error. 0: the conversation broke.
async fn ask(client: &mut Talk, sql: &str) -> Result<Vec<String>, u32> {
    let number = |error: tiberius::error::Error| error.code().unwrap_or(0);
    let results = client.simple_query(sql).await.map_err(number)?.into_results().await.map_err(number)?;
    let row = |row: tiberius::Row| row.into_iter().map(|data| shown(&data)).collect::<Vec<_>>().join(",");
    Ok(results.into_iter().flatten().map(row).collect())
}

/// Returns the one value of a query, without permission checks.
fn admin(server: &TdsServer, sql: &str) -> String {
    let sets = server.execute("app", sql).unwrap();
    let value = sets.last().and_then(|set| set.rows.first()).and_then(|row| row.first());
    value.and_then(Value::as_text).unwrap_or_else(|| "NULL".to_owned())
}

fn number(server: &TdsServer, sql: &str) -> i32 {
    server.execute("app", sql).err().map_or(0, |error| error.number)
}

#[tokio::test]
async fn over_tls_a_client_that_knows_the_authority_logs_in() {
    for tls in [Certificates::forced, Certificates::offered] {
        let (server, files, _folder) = encrypted(tls);
        let mut config = config("sa", &Options::default().sa_password);
        config.encryption(EncryptionLevel::Required);
        config.trust_cert_ca(files.ca.display());
        let mut client = connect(&server, config).await.unwrap();
        assert_eq!(ask(&mut client, "SELECT DB_NAME()").await.unwrap(), ["app"]);
        assert!(server.sessions().iter().all(|s| s.encrypted && s.login == "sa" && s.database == "app"));
    }
}

#[tokio::test]
async fn another_authority_and_another_host_are_refused_by_the_client() {
    let (server, files, _folder) = encrypted(Certificates::forced);
    let mut wrong_authority = config("sa", &Options::default().sa_password);
    wrong_authority.encryption(EncryptionLevel::Required);
    let mut wrong_host = wrong_authority.clone();
    wrong_authority.trust_cert_ca(files.other_ca.display());
    wrong_host.trust_cert_ca(files.ca.display());
    wrong_host.host("another.example");
    assert!(connect(&server, wrong_authority).await.is_err());
    assert!(connect(&server, wrong_host).await.is_err());
    assert!(server.sessions().is_empty());
}

#[tokio::test]
async fn a_server_without_a_certificate_speaks_in_the_clear_only() {
    let server = plain();
    let mut wants = config("ann", SECRET);
    wants.encryption(EncryptionLevel::Required);
    assert!(connect(&server, wants).await.is_err());
    let mut client = ann(&server).await;
    assert_eq!(ask(&mut client, "SELECT 1").await.unwrap(), ["1"]);
    assert!(!server.sessions()[0].encrypted);
}

#[tokio::test]
async fn a_server_that_forces_encryption_lets_nobody_in_without() {
    let (server, _files, _folder) = encrypted(Certificates::forced);
    assert!(connect(&server, config("sa", &Options::default().sa_password)).await.is_err());
}

#[tokio::test]
async fn logins_are_refused_for_a_wrong_password_and_a_closed_database() {
    let server = plain();
    assert_eq!(connect(&server, config("ann", "wrong")).await.unwrap_err().code(), Some(18456));
    server.execute("app", "DROP USER ann").unwrap();
    assert_eq!(connect(&server, config("ann", SECRET)).await.unwrap_err().code(), Some(4060));
    server.execute("master", "ALTER LOGIN ann DISABLE").unwrap();
    assert_eq!(connect(&server, config("ann", SECRET)).await.unwrap_err().code(), Some(18470));
}

#[test]
fn contained_databases_have_users_with_passwords() {
    let server = TdsServer::start(Options { contained_databases: vec!["box".into()], ..Options::default() }).unwrap();
    server.execute("box", "CREATE USER bob WITH PASSWORD = 'Secret-of-bob-1'").unwrap();
    assert_eq!(number(&server, "CREATE USER bob WITH PASSWORD = 'Secret-of-bob-1'"), 33233);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut config = config("bob", "Secret-of-bob-1");
        config.database("box");
        let mut client = connect(&server, config).await.unwrap();
        assert_eq!(ask(&mut client, "SELECT USER_NAME()").await.unwrap(), ["bob"]);
    });
}

#[test]
fn adding_and_dropping_a_member_twice_is_silent() {
    let server = plain();
    for _ in 0..2 {
        server.execute("app", "ALTER ROLE readers ADD MEMBER ann").unwrap();
        assert!(server.is_member("app", "readers", "ann"));
    }
    for _ in 0..2 {
        server.execute("app", "ALTER ROLE readers DROP MEMBER ann").unwrap();
        assert!(!server.is_member("app", "readers", "ann"));
    }
    for _ in 0..2 {
        server.execute("master", "ALTER SERVER ROLE watchers ADD MEMBER ann").unwrap();
        assert!(server.is_server_member("watchers", "ann"));
    }
}

#[test]
fn is_rolemember_says_one_zero_or_null() {
    let server = plain();
    server.execute("app", "ALTER ROLE readers ADD MEMBER ann").unwrap();
    assert_eq!(admin(&server, "SELECT IS_ROLEMEMBER('readers', 'ann')"), "1");
    assert_eq!(admin(&server, "SELECT IS_ROLEMEMBER('writers', 'ann')"), "0");
    assert_eq!(admin(&server, "SELECT IS_ROLEMEMBER('nobody', 'ann')"), "NULL");
    assert_eq!(admin(&server, "SELECT IS_ROLEMEMBER('readers', 'nobody')"), "NULL");
}

#[test]
fn role_statements_roll_back_with_their_transaction() {
    let server = plain();
    server.execute("app", "BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER ann; ROLLBACK TRANSACTION").unwrap();
    assert!(!server.is_member("app", "readers", "ann"));
    server.execute("app", "BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER ann; COMMIT TRANSACTION").unwrap();
    assert!(server.is_member("app", "readers", "ann"));
}

#[test]
fn refused_definitions_have_the_numbers_of_the_documentation() {
    let server = plain();
    for (sql, expected) in [
        ("ALTER ROLE nobody ADD MEMBER ann", 15151),
        ("ALTER ROLE readers ADD MEMBER nobody", 15151),
        ("ALTER ROLE public ADD MEMBER ann", 156),
        ("ALTER ROLE [public] ADD MEMBER ann", 15081),
        ("ALTER ROLE readers ADD MEMBER dbo", 15405),
        ("ALTER ROLE readers ADD MEMBER readers", 15413),
        ("EXEC sp_addrolemember 'readers', 'nobody'", 15410),
        ("CREATE ROLE readers", 15023),
        ("CREATE USER carl FOR LOGIN carl", 15007),
        ("GRANT VIEW SERVER STATE TO ann", 4621),
        ("CREATE LOGIN ann WITH PASSWORD = 'x'", 15025),
        ("DROP LOGIN nobody", 15151),
        ("ALTER ROLE readers ADD MEMBER ann; DROP ROLE readers", 15144),
        ("CREATE SCHEMA hers AUTHORIZATION ann; DROP USER ann", 15138),
        ("ALTER ROLE writers ADD MEMBER readers; ALTER ROLE readers ADD MEMBER writers", 15413),
        ("CREATE TABLE dbo.t (n int)", 2714),
        ("SELECT n FROM dbo.missing", 208),
        ("EXEC no_such_procedure", 2812),
        ("DECLARE @t TABLE (n int); IF 1 = 0 DECLARE @t int", 134),
        ("EXEC sp_executesql N'DECLARE @p int', N'@p int', 1", 134),
        ("WITH x (n) AS (SELECT 1 UNION ALL SELECT CONVERT(bigint, n) + 1 FROM x WHERE n < 3) SELECT n FROM x", 240),
        ("WITH x (n) AS (SELECT 1 UNION ALL SELECT DISTINCT n + 1 FROM x WHERE n < 3) SELECT n FROM x", 460),
        ("RETURN 1", 178),
        ("SELECT DISTINCT n FROM dbo.t ORDER BY n + 1", 145),
    ] {
        assert_eq!(number(&server, sql), expected, "{sql}");
    }
}

#[test]
fn quotename_gives_nothing_for_more_than_128_characters() {
    let server = plain();
    assert_eq!(admin(&server, "SELECT QUOTENAME(N'a]b')"), "[a]]b]");
    assert_eq!(admin(&server, &format!("SELECT QUOTENAME(N'{}')", "x".repeat(129))), "NULL");
}

#[tokio::test]
async fn an_open_session_is_denied_at_its_next_statement() {
    let server = plain();
    let mut client = ann(&server).await;
    assert_eq!(ask(&mut client, "SELECT n FROM dbo.t").await, Err(229));
    server.execute("app", "ALTER ROLE readers ADD MEMBER ann").unwrap();
    assert_eq!(ask(&mut client, "SELECT n FROM dbo.t ORDER BY n DESC").await.unwrap(), ["2", "1"]);
    assert_eq!(ask(&mut client, "INSERT INTO dbo.t (n) VALUES (3)").await, Err(229));
    server.execute("app", "ALTER ROLE readers DROP MEMBER ann").unwrap();
    assert_eq!(ask(&mut client, "SELECT n FROM dbo.t").await, Err(229));
}

#[tokio::test]
async fn who_may_not_alter_a_role_is_told_that_it_does_not_exist() {
    let server = plain();
    let mut client = ann(&server).await;
    assert_eq!(ask(&mut client, "ALTER ROLE readers ADD MEMBER ann").await, Err(15151));
    server.execute("app", "GRANT ALTER ON ROLE::readers TO ann").unwrap();
    assert_eq!(ask(&mut client, "ALTER ROLE readers ADD MEMBER ann").await, Ok(vec![]));
    assert_eq!(ask(&mut client, "ALTER ROLE writers ADD MEMBER ann").await, Err(15151));
    // a server role can be changed only by a login with ALTER on it, or by a member if it is fixed
    assert_eq!(ask(&mut client, "ALTER SERVER ROLE watchers ADD MEMBER ann").await, Err(15151));
    assert_eq!(ask(&mut client, "ALTER SERVER ROLE sysadmin ADD MEMBER ann").await, Err(15151));
    assert_eq!(ask(&mut client, "CREATE ROLE mine").await, Err(15247));
    assert_eq!(ask(&mut client, "CREATE TABLE dbo.mine (n int)").await, Err(262));
}

#[tokio::test]
async fn kill_needs_its_permission_and_no_transaction() {
    let server = plain();
    let (mut killer, mut victim) = (ann(&server).await, ann(&server).await);
    let id = ask(&mut victim, "SELECT @@SPID").await.unwrap().remove(0);
    assert_eq!(ask(&mut killer, &format!("KILL {id}")).await, Err(6102));
    server.execute("master", "GRANT ALTER ANY CONNECTION TO ann").unwrap();
    assert_eq!(ask(&mut killer, &format!("BEGIN TRANSACTION; KILL {id}")).await, Err(6115));
    assert_eq!(ask(&mut killer, "ROLLBACK TRANSACTION; KILL 9999").await, Err(6106));
    assert_eq!(ask(&mut killer, "DECLARE @me int = @@SPID; SELECT @me").await.unwrap().len(), 1);
    assert_eq!(ask(&mut killer, &format!("KILL {id}")).await, Ok(vec![]));
    assert!(ask(&mut victim, "SELECT 1").await.is_err());
    // the session number is used again
    let mut next = ann(&server).await;
    let mut again = String::new();
    for _ in 0..100 {
        again = ask(&mut next, "SELECT @@SPID").await.unwrap().remove(0);
        if again == id {
            break;
        }
        drop(next);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        next = ann(&server).await;
    }
    assert_eq!(again, id);
}

#[tokio::test]
async fn a_killed_transaction_is_rolled_back() {
    let server = plain();
    let mut victim = sa(&server).await;
    let id = ask(&mut victim, "BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER ann; SELECT @@SPID")
        .await
        .unwrap()
        .remove(0);
    assert!(server.is_member("app", "readers", "ann"));
    server.execute("master", &format!("KILL {id}")).unwrap();
    assert!(!server.is_member("app", "readers", "ann"));
}

#[tokio::test]
async fn whoever_waits_longer_than_lock_timeout_is_told_1222() {
    let server = plain();
    let (mut holder, mut waiter) = (sa(&server).await, sa(&server).await);
    ask(&mut holder, "BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER ann").await.unwrap();
    assert_eq!(ask(&mut waiter, "SET LOCK_TIMEOUT 20; ALTER ROLE readers ADD MEMBER ann").await, Err(1222));
    assert_eq!(ask(&mut waiter, "ALTER ROLE writers ADD MEMBER ann").await, Ok(vec![]));
    ask(&mut holder, "COMMIT TRANSACTION").await.unwrap();
    assert_eq!(ask(&mut waiter, "ALTER ROLE readers ADD MEMBER ann").await, Ok(vec![]));
}

#[tokio::test]
async fn a_waiting_session_shows_who_blocks_it() {
    let server = plain();
    let (mut holder, mut waiter) = (sa(&server).await, sa(&server).await);
    let id = ask(&mut holder, "BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER ann; SELECT @@SPID")
        .await
        .unwrap()
        .remove(0);
    let waiting = tokio::spawn(async move { ask(&mut waiter, "ALTER ROLE readers DROP MEMBER ann").await });
    let mut blocked = Vec::new();
    for _ in 0..200 {
        let mut look = sa(&server).await;
        blocked = ask(&mut look, "SELECT blocking_session_id FROM sys.dm_exec_requests WHERE blocking_session_id <> 0")
            .await
            .unwrap();
        if !blocked.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(blocked, [id]);
    ask(&mut holder, "COMMIT TRANSACTION").await.unwrap();
    assert_eq!(waiting.await.unwrap(), Ok(vec![]));
    assert!(!server.is_member("app", "readers", "ann"));
}

#[tokio::test]
async fn the_one_who_closes_a_circle_of_waiting_is_the_victim() {
    let server = plain();
    let (mut a, mut b) = (sa(&server).await, sa(&server).await);
    ask(&mut a, "BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER ann").await.unwrap();
    ask(&mut b, "BEGIN TRANSACTION; ALTER ROLE writers ADD MEMBER ann").await.unwrap();
    let first =
        tokio::spawn(async move { ask(&mut a, "ALTER ROLE writers DROP MEMBER ann; COMMIT TRANSACTION").await });
    while !server.sessions().iter().any(|s| s.blocked_by != 0) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(ask(&mut b, "ALTER ROLE readers DROP MEMBER ann").await, Err(1205));
    assert_eq!(first.await.unwrap(), Ok(vec![]));
    assert_eq!(ask(&mut b, "SELECT @@TRANCOUNT").await.unwrap(), ["0"]);
}

#[tokio::test]
async fn what_the_test_asks_for_goes_wrong() {
    let server = plain();
    let mut client = sa(&server).await;
    server.deadlock_next(1);
    assert_eq!(ask(&mut client, "ALTER ROLE readers ADD MEMBER ann").await, Err(1205));
    assert_eq!(ask(&mut client, "ALTER ROLE readers ADD MEMBER ann").await, Ok(vec![]));
    server.set_read_only(true);
    assert_eq!(ask(&mut client, "ALTER ROLE readers DROP MEMBER ann").await, Err(3906));
    assert_eq!(ask(&mut client, "SELECT DATABASEPROPERTYEX(DB_NAME(), 'Updateability')").await.unwrap(), ["READ_ONLY"]);
    server.set_read_only(false);
    assert_eq!(ask(&mut client, "ALTER ROLE readers DROP MEMBER ann").await, Ok(vec![]));
}

#[test]
fn a_caught_error_leaves_the_transaction_unless_it_dooms_it() {
    let server = plain();
    let caught = |prefix: &str, statement: &str| {
        let sql = format!(
            "{prefix}; BEGIN TRANSACTION; BEGIN TRY EXEC sp_executesql N'{statement}' END TRY \
             BEGIN CATCH SELECT CONVERT(nvarchar(20), ERROR_NUMBER()) + N' ' + CONVERT(nvarchar(20), XACT_STATE()) END CATCH; \
             ROLLBACK TRANSACTION"
        );
        admin(&server, &sql)
    };
    assert_eq!(caught("SET XACT_ABORT OFF", "ALTER ROLE readers ADD MEMBER nobody"), "15151 1");
    assert_eq!(caught("SET XACT_ABORT ON", "ALTER ROLE readers ADD MEMBER nobody"), "15151 -1");
    // an unknown name is an error that only an outer level catches
    assert_eq!(caught("SET XACT_ABORT OFF", "SELECT n FROM missing"), "208 1");
}

#[test]
fn without_xact_abort_an_error_takes_its_statement_only() {
    let server = plain();
    let run = |prefix: &str| {
        server
            .execute("app", &format!("{prefix}; ALTER ROLE nobody ADD MEMBER ann; ALTER ROLE readers ADD MEMBER ann"))
            .unwrap_err();
        server.is_member("app", "readers", "ann")
    };
    assert!(!run("SET XACT_ABORT ON"));
    assert!(run("SET XACT_ABORT OFF"));
}

#[test]
fn a_rollback_leaves_table_variables_alone() {
    let server = plain();
    let sql = "DECLARE @t TABLE (n int NOT NULL PRIMARY KEY, s nvarchar(20) NULL); BEGIN TRANSACTION; \
        INSERT INTO @t (n, s) VALUES (1, N'a'), (2, N'b'); ROLLBACK TRANSACTION; UPDATE @t SET s = N'c' WHERE n = 2; \
        DELETE FROM @t WHERE n = 1; SELECT s FROM @t";
    assert_eq!(admin(&server, sql), "c");
    assert_eq!(
        number(&server, "DECLARE @t TABLE (n int PRIMARY KEY); INSERT INTO @t VALUES (1); INSERT INTO @t VALUES (1)"),
        2627
    );
    assert_eq!(number(&server, "DECLARE @t TABLE (s nvarchar(3)); INSERT INTO @t VALUES (N'abcd')"), 2628);
    assert_eq!(number(&server, "DECLARE @t TABLE (n int NOT NULL); INSERT INTO @t VALUES (NULL)"), 515);
}

#[test]
fn options_set_by_dynamic_text_end_with_it() {
    let server = plain();
    let sql = "SET LOCK_TIMEOUT 100; EXEC sp_executesql N'SET LOCK_TIMEOUT 7; SET CONTEXT_INFO 0x0102'; \
        SELECT CONVERT(nvarchar(20), @@LOCK_TIMEOUT) + N' ' + CONVERT(nvarchar(6), SUBSTRING(CONTEXT_INFO(), 1, 2), 1)";
    assert_eq!(admin(&server, sql), "100 0x0102");
}

#[tokio::test]
async fn parameters_travel_with_their_types() {
    let server = plain();
    let mut client = ann(&server).await;
    let mut query =
        Query::new("SELECT @P1 + N'!', @P2 + 1, CONVERT(nvarchar(20), @P3, 1), @P4, CONVERT(nvarchar(30), @P5, 126)");
    query.bind("é漢");
    query.bind(41_i32);
    query.bind(vec![1_u8, 255]);
    query.bind(true);
    query.bind(chrono::NaiveDate::from_ymd_opt(2026, 11, 25).unwrap().and_hms_nano_opt(1, 2, 3, 456_789_100).unwrap());
    let rows = query.query(&mut client).await.unwrap().into_first_result().await.unwrap();
    let row: Vec<String> =
        rows.into_iter().flat_map(|row| row.into_iter().map(|data| shown(&data)).collect::<Vec<_>>()).collect();
    assert_eq!(row, ["é漢!", "42", "0x01FF", "1", "2026-11-25T01:02:03.4567891"]);
}

#[test]
fn recursive_expressions_follow_roles_in_roles() {
    let server = plain();
    server
        .execute(
            "app",
            "CREATE ROLE outer_role; ALTER ROLE outer_role ADD MEMBER readers; ALTER ROLE readers ADD MEMBER ann",
        )
        .unwrap();
    let sql = "WITH up (id) AS (SELECT USER_ID(N'ann') UNION ALL SELECT m.role_principal_id FROM up u \
        JOIN sys.database_role_members m ON m.member_principal_id = u.id) \
        SELECT STRING_AGG(p.name, N',') WITHIN GROUP (ORDER BY p.name) FROM up u JOIN sys.database_principals p ON p.principal_id = u.id";
    assert_eq!(admin(&server, sql), "ann,outer_role,readers");
    assert_eq!(admin(&server, "SELECT IS_ROLEMEMBER('outer_role', 'ann')"), "1");
}

#[tokio::test]
async fn without_view_server_state_one_sees_ones_own_session() {
    let server = plain();
    let (mut client, _other) = (ann(&server).await, sa(&server).await);
    let sql = "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE is_user_process = 1";
    assert_eq!(ask(&mut client, sql).await.unwrap(), ["1"]);
    server.execute("master", "ALTER SERVER ROLE watchers ADD MEMBER ann").unwrap();
    assert_eq!(ask(&mut client, sql).await.unwrap(), ["2"]);
}

#[tokio::test]
async fn whoever_acts_as_another_has_their_roles() {
    let server = plain();
    server.execute("app", "CREATE USER bob WITHOUT LOGIN; ALTER ROLE readers ADD MEMBER bob").unwrap();
    let mut client = ann(&server).await;
    assert_eq!(ask(&mut client, "EXECUTE AS USER = N'bob'").await, Err(15517));
    server.execute("app", "GRANT IMPERSONATE ON USER::bob TO ann").unwrap();
    assert_eq!(ask(&mut client, "EXECUTE AS USER = N'bob'; SELECT COUNT(*) FROM dbo.t; REVERT").await.unwrap(), ["2"]);
    assert_eq!(ask(&mut client, "SELECT COUNT(*) FROM dbo.t").await, Err(229));
}

#[tokio::test]
async fn a_restart_ends_sessions_keeps_the_catalog_and_makes_tempdb_anew() {
    let mut server = plain();
    let mut client = sa(&server).await;
    ask(&mut client, "ALTER ROLE writers ADD MEMBER ann; BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER ann")
        .await
        .unwrap();
    let started = "SELECT CONVERT(nvarchar(30), create_date, 126) FROM sys.databases WHERE name = N'tempdb'";
    let (port, before) = (server.port(), admin(&server, started));
    server.stop();
    assert!(ask(&mut client, "SELECT 1").await.is_err());
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    server.start_again().unwrap();
    assert_eq!(server.port(), port);
    assert_ne!(admin(&server, started), before);
    assert!(server.is_member("app", "writers", "ann") && !server.is_member("app", "readers", "ann"));
    ann(&server).await;
}

#[tokio::test]
async fn application_locks_are_had_by_one() {
    let server = plain();
    let (mut a, mut b) = (sa(&server).await, sa(&server).await);
    let take = "DECLARE @r int; EXEC @r = sp_getapplock @Resource = N'x', @LockMode = N'Exclusive', @LockOwner = N'Session', @LockTimeout = 10; SELECT @r";
    assert_eq!(ask(&mut a, take).await.unwrap(), ["0"]);
    assert_eq!(ask(&mut b, take).await.unwrap(), ["-1"]);
    ask(&mut a, "EXEC sp_releaseapplock @Resource = N'x', @LockOwner = N'Session'").await.unwrap();
    assert_eq!(ask(&mut b, take).await.unwrap(), ["0"]);
}
