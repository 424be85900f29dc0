//! What only SQL Server has: roles of the server, contained users, fixed roles, SQL Server Agent, Azure's differences. On the double.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use jit_core::clock::SystemEntropy;
use jit_core::database::{
    ArmOrder, Call, Check, Database, DeadManHere, DeadManKind, DefaultRole, FixedCredentials, GrantOrder, RevokeHow,
    RevokeOrder, RevokeReport, Seen, Severity, Subject, TlsMode, Width,
};
use jit_core::holding::{left_behind, marks};
use jit_core::id::AccessId;
use jit_core::policy::{Prepared, Sessions, Stance};
use jit_core::testkit::database_laws::witness;
use jit_mssql::{MsSqlConfig, MsSqlDatabase};
use jit_tests::tds::{Options, TdsServer, Tls};
use jit_tests::tls::Certificates;
use jit_tests::world::mssql::printed_batches;
use tempfile::TempDir;
use tiberius::{AuthMethod, Client, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

type Talk = Client<Compat<TcpStream>>;

const SECRET: &str = "Secret-of-somebody-1";

/// The broker's login and alice's, and what the broker needs on every server.
const LOGINS: &str = "CREATE LOGIN jit_broker WITH PASSWORD = 'Secret-of-somebody-1'; CREATE LOGIN alice WITH PASSWORD = 'Secret-of-somebody-1'; \
    GRANT ALTER ANY CONNECTION TO jit_broker; GRANT VIEW SERVER STATE TO jit_broker";

/// A server with people on it.
struct Stage {
    server: TdsServer,
    ca: PathBuf,
    _folder: TempDir,
}

impl Stage {
    fn new(setup: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Certificates::make(folder.path()).unwrap();
        let tls = Tls::Offered { certificate: files.certificate.clone(), key: files.key.clone() };
        let all = [("master", LOGINS)].iter().chain(setup).map(|(at, text)| ((*at).to_owned(), (*text).to_owned()));
        let options =
            Options { tls, contained_databases: vec!["box".to_owned()], setup: all.collect(), ..Options::default() };
        Self { server: TdsServer::start(options).unwrap(), ca: files.ca, _folder: folder }
    }

    fn database(&self, name: &str) -> MsSqlDatabase {
        let url = format!("mssql://jit_broker@127.0.0.1:{}/{name}", self.server.port());
        let config = MsSqlConfig::from_url(&url).unwrap();
        let config = config.credentials(Arc::new(FixedCredentials::new(SECRET.into())));
        let tls = TlsMode::VerifyFull { ca: Some(self.ca.clone()) };
        MsSqlDatabase::new(config.tls(tls).dead_man_grace(Duration::from_secs(1))).unwrap()
    }

    async fn alice(&self, database: &str) -> Talk {
        let mut config = tiberius::Config::new();
        config.host("127.0.0.1");
        config.database(database);
        config.encryption(EncryptionLevel::Required);
        config.trust_cert_ca(self.ca.display());
        config.authentication(AuthMethod::sql_server("alice", SECRET));
        let tcp = TcpStream::connect(("127.0.0.1", self.server.port())).await.unwrap();
        Client::connect(config, tcp.compat_write()).await.unwrap()
    }

    /// Does what a check prints.
    fn run_printed(&self, statements: &str) {
        for (at, batch) in printed_batches(statements) {
            self.server.execute(&at, &batch).unwrap_or_else(|error| panic!("{error:?}: {batch}"));
        }
    }
}

/// One role of alice's, through the adapter.
struct Job {
    database: MsSqlDatabase,
    access: AccessId,
    subject: Subject,
}

impl Job {
    async fn new(database: MsSqlDatabase, role: &str) -> Self {
        let (account, role) = (database.account("alice").unwrap(), database.role(role).unwrap());
        let mut job = Self {
            access: AccessId::fresh(chrono::Utc::now(), &SystemEntropy),
            subject: Subject { account, account_id: None, role, role_id: None },
            database,
        };
        // as the engine has it: from now on by what it is, not by its name
        let seen = job.seen().await;
        (job.subject.account_id, job.subject.role_id) = (seen.account_id, seen.role_id);
        job
    }

    fn call(&self, what: &str) -> Call {
        Call { label: format!("{what}{}", self.access), limit: Duration::from_secs(10) }
    }

    async fn seen(&self) -> Seen {
        let observation = self.database.observe(std::slice::from_ref(&self.subject)).await.unwrap();
        observation.seen.into_iter().next().unwrap()
    }

    async fn grant(&self) {
        let soon = self.database.observe(&[]).await.unwrap().server_time + TimeDelta::seconds(60);
        let witness = witness(self.access).unwrap();
        let order =
            GrantOrder::new(&witness, self.subject.clone(), Width::SetRole, soon, Stance::Refused, Stance::Refused);
        self.database.grant(&self.call("g"), &[order]).await.pop().unwrap().unwrap();
    }

    async fn revoke(&self) -> RevokeReport {
        let order = RevokeOrder {
            access: self.access,
            subject: self.subject.clone(),
            how: RevokeHow::Remove,
            sessions: Sessions::End,
            prepared: Prepared::Report,
            default_role: DefaultRole::Stays,
        };
        self.database.revoke(&self.call("r"), &[order]).await.pop().unwrap().unwrap()
    }

    async fn refusals(&self) -> Vec<Check> {
        let all = self.database.check(std::slice::from_ref(&self.subject.role)).await.unwrap();
        all.into_iter().filter(|check| check.severity == Severity::Refusal).collect()
    }
}

async fn number(client: &mut Talk, text: &str) -> Result<i32, tiberius::error::Error> {
    let row = client.simple_query(text).await?.into_row().await?;
    Ok(row.and_then(|row| row.get(0)).unwrap_or_default())
}

const SESSIONS: &str = "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE is_user_process = 1";

const SERVER_ROLE: &str = "GRANT VIEW ANY DEFINITION TO jit_broker; CREATE SERVER ROLE audit; GRANT VIEW SERVER STATE TO audit; \
    GRANT ALTER ON SERVER ROLE::audit TO jit_broker";

#[tokio::test(flavor = "multi_thread")]
async fn law_05_a_role_of_the_server_is_given_used_and_taken_with_its_sessions() {
    let stage = Stage::new(&[("master", SERVER_ROLE)]);
    let job = Job::new(stage.database("master"), "server::audit").await;
    assert_eq!(job.refusals().await, []);
    let mut session = stage.alice("master").await;
    assert_eq!(number(&mut session, SESSIONS).await.unwrap(), 1);
    job.grant().await;
    assert!(stage.server.is_server_member("audit", "alice"));
    assert!(number(&mut session, SESSIONS).await.unwrap() > 1);
    let holders = job.database.holders(std::slice::from_ref(&job.subject.role)).await.unwrap();
    let who: Vec<(&str, &str)> = holders.iter().map(|holder| (holder.role.as_str(), holder.account.as_str())).collect();
    assert_eq!(who, [("server::audit", "alice")]);
    let report = job.revoke().await;
    assert!(report.ended.len() == 1 && report.seen.direct.is_empty() && report.seen.sessions.is_empty(), "{report:?}");
    assert!(number(&mut session, SESSIONS).await.is_err());
    assert!(!stage.server.is_server_member("audit", "alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_the_dead_man_takes_a_role_of_the_server_and_its_sessions() {
    let stage = Stage::new(&[("master", SERVER_ROLE)]);
    let job = Job::new(stage.database("master"), "server::audit").await;
    let printed =
        job.database.check(&[]).await.unwrap().into_iter().find(|check| check.about.what == "dead-man").unwrap();
    stage.run_printed(&printed.mend.unwrap());
    until(async || matches!(job.database.capabilities().await.unwrap().dead_man, DeadManHere::By(_))).await;
    let order = |ends_in| ArmOrder {
        subject: job.subject.clone(),
        ends_in,
        sessions: Sessions::End,
        default_role: DefaultRole::Stays,
    };
    let armed = job.database.arm(&job.call("a"), &[order(Duration::from_secs(3_600))]).await.pop().unwrap().unwrap();
    assert_eq!(armed.kind, DeadManKind::AgentJob);
    job.grant().await;
    let mut session = stage.alice("master").await;
    job.database.arm(&job.call("b"), &[order(Duration::ZERO)]).await.pop().unwrap().unwrap();
    until(async || !stage.server.is_server_member("audit", "alice")).await;
    let mut lives = true;
    for _ in 0..100 {
        lives = lives && number(&mut session, SESSIONS).await.is_ok();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!lives, "its session lives");
    let disarmed =
        job.database.disarm(&job.call("d"), std::slice::from_ref(&job.subject)).await.pop().unwrap().unwrap();
    assert!(disarmed.fired_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_on_the_server_is_seen() {
    let stage = Stage::new(&[("master", SERVER_ROLE)]);
    let job = Job::new(stage.database("master"), "server::audit").await;
    let owned = async || {
        let all = job.database.belongings(std::slice::from_ref(&job.subject)).await.unwrap();
        all.into_iter().next().unwrap().unwrap()
    };
    let before = owned().await;
    let made = "CREATE SERVER ROLE leftover AUTHORIZATION alice";
    stage.server.execute("master", made).unwrap();
    assert_eq!(left_behind(&marks(&before), &owned().await), ["server role leftover"]);
}

/// A database of its own, which knows its users' passwords.
const BOX: &str = "CREATE USER jit_broker FOR LOGIN jit_broker; GRANT VIEW DEFINITION TO jit_broker; \
    CREATE USER alice WITH PASSWORD = 'Secret-of-somebody-1'; CREATE ROLE writer; GRANT ALTER ON ROLE::writer TO jit_broker; \
    CREATE TABLE dbo.t (n int NOT NULL); INSERT INTO dbo.t (n) VALUES (7); GRANT SELECT ON OBJECT::dbo.t TO writer";

#[tokio::test(flavor = "multi_thread")]
async fn law_05_a_contained_user_is_given_a_role_and_loses_it_with_the_sessions() {
    let stage = Stage::new(&[("box", BOX)]);
    let job = Job::new(stage.database("box"), "writer").await;
    assert_eq!(job.refusals().await, []);
    let mut session = stage.alice("box").await;
    assert!(number(&mut session, "SELECT n FROM dbo.t").await.is_err());
    job.grant().await;
    assert_eq!(number(&mut session, "SELECT n FROM dbo.t").await.unwrap(), 7);
    let report = job.revoke().await;
    assert!(report.ended.len() == 1 && report.seen.direct.is_empty() && report.seen.sessions.is_empty(), "{report:?}");
    assert!(number(&mut session, "SELECT 1").await.is_err());
    let mut again = stage.alice("box").await;
    assert!(number(&mut again, "SELECT n FROM dbo.t").await.is_err());
}

/// A role of one's own inside a fixed one.
const FIXED: &str = "CREATE USER jit_broker FOR LOGIN jit_broker; GRANT VIEW DEFINITION TO jit_broker; CREATE USER alice FOR LOGIN alice; \
    CREATE ROLE readers; ALTER ROLE db_datareader ADD MEMBER readers; GRANT ALTER ON ROLE::readers TO jit_broker; \
    CREATE TABLE dbo.t (n int NOT NULL); INSERT INTO dbo.t (n) VALUES (7)";

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_role_is_given_by_a_role_of_ones_own_inside_it() {
    let stage = Stage::new(&[("app", FIXED)]);
    let job = Job::new(stage.database("app"), "readers").await;
    assert_eq!(job.refusals().await, []);
    job.grant().await;
    let mut session = stage.alice("app").await;
    assert_eq!(number(&mut session, "SELECT n FROM dbo.t").await.unwrap(), 7);
    job.revoke().await;
    assert!(number(&mut session, "SELECT 1").await.is_err());
    // the fixed one itself is db_owner's to give, which the check says
    let fixed = Job::new(stage.database("app"), "db_datareader").await;
    let refusals = fixed.refusals().await;
    let mend = refusals.first().and_then(|check| check.mend.clone()).unwrap_or_default();
    assert!(mend.contains("ALTER ROLE [db_datareader] ADD MEMBER"), "{refusals:?}");
    // one that gives what outlives it is named as such
    stage.server.execute("app", "ALTER ROLE db_securityadmin ADD MEMBER readers").unwrap();
    let all = job.database.check(std::slice::from_ref(&job.subject.role)).await.unwrap();
    assert!(
        all.iter().any(|check| check.about.what == "can-grant" && check.message.contains("db_securityadmin")),
        "{all:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlock_victims_are_tried_again() {
    let stage = Stage::new(&[("app", FIXED)]);
    let job = Job::new(stage.database("app"), "readers").await;
    stage.server.deadlock_next(3);
    job.grant().await;
    assert!(stage.server.is_member("app", "readers", "alice"));
    stage.server.deadlock_next(3);
    let report = job.revoke().await;
    assert!(report.seen.direct.is_empty() && !stage.server.is_member("app", "readers", "alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_is_asked_for_its_own_privileges_and_has_no_agent() {
    let stage = Stage::new(&[("app", FIXED)]);
    stage.server.set_engine_edition(5);
    let database = stage.database("app");
    let capabilities = database.capabilities().await.unwrap();
    assert_eq!(capabilities.engine, "Azure SQL Database");
    let DeadManHere::Missing { mend } = capabilities.dead_man else { panic!("{:?}", capabilities.dead_man) };
    assert!(mend.contains("no SQL Server Agent"), "{mend}");
    let role = database.role("readers").unwrap();
    let mends: Vec<String> =
        database.check(&[role]).await.unwrap().into_iter().filter_map(|check| check.mend).collect();
    for expected in ["GRANT KILL DATABASE CONNECTION TO [jit_broker]", "GRANT VIEW DATABASE STATE TO [jit_broker]"] {
        assert!(mends.iter().any(|mend| mend == expected), "{mends:?}");
    }
    let server = stage.database("master").capabilities().await.unwrap();
    assert!(server.remarks.iter().any(|remark| remark.contains("5 minutes")), "{:?}", server.remarks);
}

async fn until(what: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !what().await {
        assert!(begun.elapsed() < Duration::from_secs(40), "it never comes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
