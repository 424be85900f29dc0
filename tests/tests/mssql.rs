//! Tests of features that only SQL Server has: server roles, contained users, fixed roles, SQL
//! Server Agent, Azure's differences. They run on the double.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use jit_core::clock::SystemEntropy;
use jit_core::database::{
    ArmOrder, Call, Check, Database, DeadMansSwitch, FixedCredentials, GrantOrder, Membership, MembershipScope,
    RevokeOrder, RevokeReport, Seen, Severity, SwitchKind, TlsMode,
};
use jit_core::id::{AccessId, RoleName};
use jit_core::internal::holding::{leftovers, marks};
use jit_core::policy::Sessions;
use jit_core::testkit::database_laws::witness;
use jit_mssql::{MsSqlConfig, MsSqlDatabase};
use jit_tds::{Options, TdsServer, Tls};
use jit_tests::tls::Certificates;
use jit_tests::world::mssql::printed_batches;
use tempfile::TempDir;
use tiberius::{AuthMethod, Client, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

type Talk = Client<Compat<TcpStream>>;

const SECRET: &str = "Secret-of-somebody-1";

/// Logins of the broker and of alice, and the broker's permissions that every server needs.
const LOGINS: &str = "CREATE LOGIN jit_broker WITH PASSWORD = 'Secret-of-somebody-1'; CREATE LOGIN alice WITH PASSWORD = 'Secret-of-somebody-1'; \
    GRANT ALTER ANY CONNECTION TO jit_broker; GRANT VIEW SERVER STATE TO jit_broker";

/// Server with accounts on it.
struct Stage {
    server: TdsServer,
    ca: PathBuf,
    _folder: TempDir,
}

impl Stage {
    fn new(setup: &[(&str, &str)]) -> Self {
        Self::with(&[&[("master", LOGINS)], setup].concat())
    }

    /// Starts a server with only the accounts that `setup` makes.
    fn with(setup: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = Certificates::make(folder.path()).unwrap();
        let tls = Tls::Offered { certificate: files.certificate.clone(), key: files.key.clone() };
        let all = setup.iter().map(|(at, text)| ((*at).to_owned(), (*text).to_owned()));
        let options =
            Options { tls, contained_databases: vec!["box".to_owned()], setup: all.collect(), ..Options::default() };
        Self { server: TdsServer::start(options).unwrap(), ca: files.ca, _folder: folder }
    }

    fn database(&self, name: &str) -> MsSqlDatabase {
        let url = format!("mssql://jit_broker@127.0.0.1:{}/{name}", self.server.port());
        let config = MsSqlConfig::from_url(&url).unwrap();
        let config = config.credentials(Arc::new(FixedCredentials::new(SECRET.into())));
        let tls = TlsMode::verify_full(Some(self.ca.clone()));
        MsSqlDatabase::new(config.tls(tls).dead_mans_switch_grace(Duration::from_secs(1))).unwrap()
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

    /// Runs a script that a check prints.
    fn run_printed(&self, statements: &str) {
        for (at, batch) in printed_batches(statements) {
            self.server.execute(&at, &batch).unwrap_or_else(|error| panic!("{error:?}: {batch}"));
        }
    }
}

/// Role of alice's, used through the adapter.
struct Job {
    database: MsSqlDatabase,
    access: AccessId,
    membership: Membership,
}

impl Job {
    async fn new(database: MsSqlDatabase, role: &str) -> Self {
        let (account, role) = (database.account("alice").unwrap(), database.role(role).unwrap());
        let mut job = Self {
            access: AccessId::fresh(chrono::Utc::now(), &SystemEntropy),
            membership: Membership::new(account, role),
            database,
        };
        // as the engine does: from now on by id, not by name
        let seen = job.seen().await;
        (job.membership.account_id, job.membership.role_id) = (seen.account_id, seen.role_id);
        job
    }

    fn call(&self, what: &str) -> Call {
        Call::new(format!("{what}{}", self.access), Duration::from_secs(10))
    }

    async fn seen(&self) -> Seen {
        let observation = self.database.observe(std::slice::from_ref(&self.membership)).await.unwrap();
        observation.seen.into_iter().next().unwrap()
    }

    async fn grant(&self) {
        let soon = self.database.observe(&[]).await.unwrap().server_time + TimeDelta::seconds(60);
        let witness = witness(self.access).unwrap();
        let order = GrantOrder::new(&witness, self.membership.clone(), MembershipScope::SetRole, soon);
        self.database.grant(&self.call("g"), &[order]).await.pop().unwrap().unwrap();
    }

    async fn revoke(&self) -> RevokeReport {
        let order = RevokeOrder::new(self.access, self.membership.clone());
        self.database.revoke(&self.call("r"), &[order]).await.pop().unwrap().unwrap()
    }

    async fn refusals(&self) -> Vec<Check> {
        let all = self.database.check(std::slice::from_ref(&self.membership.role)).await.unwrap();
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
    let holders = job.database.holders(std::slice::from_ref(&job.membership.role)).await.unwrap().holders;
    let who: Vec<(&str, &str)> = holders.iter().map(|holder| (holder.role.as_str(), holder.account.as_str())).collect();
    assert_eq!(who, [("server::audit", "alice")]);
    let report = job.revoke().await;
    assert!(report.ended.len() == 1 && report.seen.direct.is_empty() && report.seen.sessions.is_empty(), "{report:?}");
    assert!(number(&mut session, SESSIONS).await.is_err());
    assert!(!stage.server.is_server_member("audit", "alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_the_dead_mans_switch_takes_a_role_of_the_server_and_its_sessions() {
    let stage = Stage::new(&[("master", SERVER_ROLE)]);
    let job = Job::new(stage.database("master"), "server::audit").await;
    let printed =
        job.database.check(&[]).await.unwrap().into_iter().find(|check| check.about.what == "dead-man").unwrap();
    stage.run_printed(&printed.remedy.unwrap());
    until(async || matches!(job.database.capabilities().await.unwrap().dead_mans_switch, DeadMansSwitch::Available(_)))
        .await;
    let order = |ends_in| ArmOrder::new(job.membership.clone(), ends_in, Sessions::End);
    let armed = job.database.arm(&job.call("a"), &[order(Duration::from_secs(3_600))]).await.pop().unwrap().unwrap();
    assert_eq!(armed.kind, SwitchKind::AgentJob);
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
        job.database.disarm(&job.call("d"), std::slice::from_ref(&job.membership)).await.pop().unwrap().unwrap();
    assert!(disarmed.fired_at.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_behind_on_the_server_is_seen() {
    let stage = Stage::new(&[("master", SERVER_ROLE)]);
    let job = Job::new(stage.database("master"), "server::audit").await;
    let owned = async || {
        let all = job.database.owned_objects(std::slice::from_ref(&job.membership)).await.unwrap().each;
        all.into_iter().next().unwrap().unwrap()
    };
    let before = owned().await;
    let made = "CREATE SERVER ROLE leftover AUTHORIZATION alice";
    stage.server.execute("master", made).unwrap();
    assert_eq!(leftovers(&marks(&before), &owned().await), ["server role leftover"]);
}

/// Setup of a contained database, which keeps its users' passwords.
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

/// Setup of a role of one's own inside a fixed role.
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
    // only db_owner may give the fixed role itself, and the check says so
    let fixed = Job::new(stage.database("app"), "db_datareader").await;
    let refusals = fixed.refusals().await;
    let remedy = refusals.first().and_then(|check| check.remedy.clone()).unwrap_or_default();
    assert!(remedy.contains("ALTER ROLE [db_datareader] ADD MEMBER"), "{refusals:?}");
    // a role with permissions that outlive the membership is reported as such
    stage.server.execute("app", "ALTER ROLE db_securityadmin ADD MEMBER readers").unwrap();
    let all = job.database.check(std::slice::from_ref(&job.membership.role)).await.unwrap();
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
    let DeadMansSwitch::Unavailable { remedy } = capabilities.dead_mans_switch else {
        panic!("{:?}", capabilities.dead_mans_switch)
    };
    assert!(remedy.contains("no SQL Server Agent"), "{remedy}");
    let role = database.role("readers").unwrap();
    let mends: Vec<String> =
        database.check(&[role]).await.unwrap().into_iter().filter_map(|check| check.remedy).collect();
    for expected in ["GRANT KILL DATABASE CONNECTION TO [jit_broker]", "GRANT VIEW DATABASE STATE TO [jit_broker]"] {
        assert!(mends.iter().any(|remedy| remedy == expected), "{mends:?}");
    }
    // server roles cannot be granted on Azure
    let server = stage.database("master").identify().await.unwrap_err();
    assert!(server.to_string().contains("no server roles"), "{server}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_azure_is_used_without_tempdb_and_under_its_name() {
    let stage = Stage::new(&[("app", FIXED)]);
    stage.server.set_engine_edition(5);
    stage.server.execute("app", "GRANT VIEW DATABASE STATE TO jit_broker").unwrap();
    let job = Job::new(stage.database("app"), "readers").await;
    job.grant().await;
    assert!(stage.server.is_member("app", "readers", "alice"));
    let report = job.revoke().await;
    assert!(report.seen.direct.is_empty() && !stage.server.is_member("app", "readers", "alice"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_sent_elsewhere_goes_there() {
    let (gateway, stage) = (Stage::new(&[("app", FIXED)]), Stage::new(&[("app", FIXED)]));
    gateway.server.route_to(stage.server.port());
    let url = format!("mssql://jit_broker@127.0.0.1:{}/app", gateway.server.port());
    let config = MsSqlConfig::from_url(&url).unwrap().tls(TlsMode::DangerPlaintext);
    let config = config.credentials(Arc::new(FixedCredentials::new(SECRET.into())));
    let database = MsSqlDatabase::new(config).unwrap();
    assert_eq!(database.identify().await.unwrap(), stage.database("app").identify().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn law_02_a_trigger_that_rolls_back_lets_nothing_run_outside_of_the_transaction() {
    let stage = Stage::new(&[("master", "CREATE LOGIN bob WITH PASSWORD = 'Secret-of-somebody-1'"), ("app", FIXED)]);
    stage.server.execute("app", "CREATE USER bob FOR LOGIN bob").unwrap();
    let no_alice = "CREATE TRIGGER no_alice ON DATABASE FOR ADD_ROLE_MEMBER AS \
        IF EXISTS (SELECT 1 FROM sys.database_role_members m JOIN sys.database_principals p ON p.principal_id = m.member_principal_id WHERE p.name = N'alice') \
        ROLLBACK TRANSACTION";
    stage.server.execute("app", no_alice).unwrap();
    let job = Job::new(stage.database("app"), "readers").await;
    let mut bob = job.membership.clone();
    (bob.account, bob.account_id) = (job.database.account("bob").unwrap(), None);
    let soon = job.database.observe(&[]).await.unwrap().server_time + TimeDelta::seconds(60);
    let witness = witness(job.access).unwrap();
    let orders = [job.membership.clone(), bob]
        .map(|membership| GrantOrder::new(&witness, membership, MembershipScope::SetRole, soon));
    let answers = job.database.grant(&job.call("g"), &orders).await;
    assert!(answers[0].is_err() && answers[1].is_ok(), "{answers:?}");
    assert!(!stage.server.is_member("app", "readers", "alice") && stage.server.is_member("app", "readers", "bob"));
    // anybody who may change the trigger has the broker's rights
    let found = job.database.check(&[]).await.unwrap();
    assert!(found.iter().any(|check| check.about.what == "trigger" && check.severity == Severity::Danger), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_who_may_impersonate_the_login_counts_as_acting_for_the_user() {
    let stage = Stage::new(&[
        (
            "master",
            "CREATE LOGIN bob WITH PASSWORD = 'Secret-of-somebody-1'; GRANT VIEW ANY DEFINITION TO jit_broker; \
        GRANT IMPERSONATE ON LOGIN::alice TO bob",
        ),
        ("app", FIXED),
    ]);
    let job = Job::new(stage.database("app"), "readers").await;
    assert_eq!(job.seen().await.members, ["bob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_a_look_that_is_not_shown_everything_is_none() {
    let stage = Stage::new(&[("app", FIXED)]);
    let job = Job::new(stage.database("app"), "readers").await;
    job.grant().await;
    stage.server.execute("master", "REVOKE VIEW SERVER STATE FROM jit_broker").unwrap();
    let looked = job.database.observe(std::slice::from_ref(&job.membership)).await.unwrap_err();
    assert!(looked.to_string().contains("does not see"), "{looked}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_is_harmless_only_by_what_is_known_to_be() {
    let stage = Stage::new(&[("app", FIXED)]);
    let job = Job::new(stage.database("app"), "readers").await;
    let gives = async |power: &str| {
        let all = job.database.check(std::slice::from_ref(&job.membership.role)).await.unwrap();
        all.iter().any(|check| check.about.what == "can-grant" && check.message.contains(power))
    };
    assert!(!gives("").await);
    for (given, taken, named) in [
        ("ALTER ROLE db_ddladmin ADD MEMBER readers", "ALTER ROLE db_ddladmin DROP MEMBER readers", "db_ddladmin"),
        (
            "ALTER ROLE db_backupoperator ADD MEMBER readers",
            "ALTER ROLE db_backupoperator DROP MEMBER readers",
            "db_backupoperator",
        ),
        ("GRANT ALTER ON SCHEMA::dbo TO readers", "REVOKE ALTER ON SCHEMA::dbo FROM readers", "ALTER on SCHEMA"),
        ("GRANT ALTER ANY SCHEMA TO readers", "REVOKE ALTER ANY SCHEMA FROM readers", "ALTER ANY SCHEMA"),
        (
            "GRANT SELECT ON OBJECT::dbo.t TO readers WITH GRANT OPTION",
            "REVOKE SELECT ON OBJECT::dbo.t FROM readers CASCADE",
            "WITH GRANT OPTION",
        ),
    ] {
        stage.server.execute("app", given).unwrap();
        assert!(gives(named).await, "{given}");
        stage.server.execute("app", taken).unwrap();
    }
    assert!(!gives("").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_17_tables_that_somebody_else_made_or_put_code_on_are_no_dead_mans_switch() {
    let stage = Stage::new(&[("app", FIXED)]);
    let job = Job::new(stage.database("app"), "readers").await;
    let check = async || {
        job.database.check(&[]).await.unwrap().into_iter().find(|check| check.about.what == "dead-man").unwrap()
    };
    let printed = check().await.remedy.unwrap();
    let leases =
        printed.split_whitespace().find_map(|word| word.strip_prefix("OBJECT::jit.leases_")).unwrap().to_owned();
    stage.run_printed(&printed);
    // a second run changes nothing
    stage.run_printed(&printed);
    until(async || matches!(job.database.capabilities().await.unwrap().dead_mans_switch, DeadMansSwitch::Available(_)))
        .await;
    let on_the_table = format!("CREATE TRIGGER own ON jit.leases_{leases} AFTER INSERT AS PRINT 'mine'");
    stage.server.execute("app", &on_the_table).unwrap();
    let (here, told) = (job.database.capabilities().await.unwrap().dead_mans_switch, check().await);
    assert!(matches!(here, DeadMansSwitch::Unavailable { .. }), "{here:?}");
    assert!(told.severity == Severity::Danger && told.message.contains("dbo"), "{told:?}");
    let order = ArmOrder::new(job.membership.clone(), Duration::from_secs(60), Sessions::End);
    let refused = job.database.arm(&job.call("a"), &[order]).await.pop().unwrap().unwrap_err();
    assert!(refused.to_string().contains("somebody else"), "{refused}");
    // the script does not take over foreign objects either
    let again = printed_batches(&printed).into_iter().map(|(at, batch)| stage.server.execute(&at, &batch));
    assert!(again.filter_map(Result::err).any(|error| error.to_string().contains("somebody else")));
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_a_lock_of_the_accounts_own_session_does_not_keep_the_role() {
    let stage = Stage::new(&[("app", FIXED)]);
    let job = Job::new(stage.database("app"), "readers").await;
    job.grant().await;
    stage.server.execute("app", "CREATE USER bob WITHOUT LOGIN; GRANT ALTER ON ROLE::readers TO alice").unwrap();
    let mut session = stage.alice("app").await;
    session
        .simple_query("BEGIN TRANSACTION; ALTER ROLE readers ADD MEMBER bob")
        .await
        .unwrap()
        .into_results()
        .await
        .unwrap();
    let report = job.revoke().await;
    assert!(report.seen.direct.is_empty() && !stage.server.is_member("app", "readers", "alice"), "{report:?}");
}

/// Runs the script as sqlcmd does, which handles its own commands and variables itself. Ends at the
/// first error.
fn set_up(stage: &Stage, script: &str, password: &str) -> Result<(), String> {
    let script = script.replace("$(password)", password);
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with(':')).collect();
    for (at, batch) in printed_batches(&lines.join("\n")) {
        stage.server.execute(&at, &batch).map_err(|error| format!("{error:?}: {batch}"))?;
    }
    Ok(())
}

/// Returns the findings of a check that need a fix.
async fn wrong(database: &MsSqlDatabase, role: &RoleName) -> Vec<Check> {
    let all = database.check(std::slice::from_ref(role)).await.unwrap();
    all.into_iter().filter(|check| check.remedy.is_some() || check.severity != Severity::Remark).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn law_17_a_database_is_set_up_from_nothing_and_mended() {
    let alice = "CREATE LOGIN alice WITH PASSWORD = 'Secret-of-somebody-1'";
    let stage = Stage::with(&[("master", alice), ("app", "CREATE USER alice FOR LOGIN alice; CREATE ROLE readers")]);
    let database = stage.database("app");
    let role = database.role("readers").unwrap();
    let script = database.set_up(std::slice::from_ref(&role)).await.unwrap();
    set_up(&stage, &script, SECRET).unwrap();
    until(async || matches!(database.capabilities().await.unwrap().dead_mans_switch, DeadMansSwitch::Available(_)))
        .await;
    assert_eq!(wrong(&database, &role).await, []);
    let job = Job::new(stage.database("app"), "readers").await;
    job.grant().await;
    assert!(stage.server.is_member("app", "readers", "alice"));
    let report = job.revoke().await;
    assert!(report.seen.direct.is_empty() && !stage.server.is_member("app", "readers", "alice"), "{report:?}");
    // the server answers now, and the script is the same; it restores what was taken
    assert_eq!(database.set_up(std::slice::from_ref(&role)).await.unwrap(), script);
    for (at, taken) in [
        ("app", "REVOKE ALTER ON ROLE::readers FROM jit_broker"),
        ("app", "REVOKE VIEW DEFINITION FROM jit_broker"),
        ("master", "REVOKE ALTER ANY CONNECTION FROM jit_broker"),
    ] {
        stage.server.execute(at, taken).unwrap();
        assert_ne!(wrong(&database, &role).await, [], "{taken}");
        set_up(&stage, &script, "").unwrap();
        until(async || matches!(database.capabilities().await.unwrap().dead_mans_switch, DeadMansSwitch::Available(_)))
            .await;
        assert_eq!(wrong(&database, &role).await, [], "{taken}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_17_setting_up_takes_over_nothing_of_a_strangers() {
    for (at, planted, why) in [
        ("app", "CREATE USER jit_broker WITHOUT LOGIN", "is not the login"),
        ("app", "CREATE SCHEMA jit AUTHORIZATION mallory", "somebody else"),
        (
            "master",
            "CREATE LOGIN jit_broker WITH PASSWORD = 'x'; ALTER SERVER ROLE sysadmin ADD MEMBER jit_broker",
            "sysadmin",
        ),
    ] {
        let stage = Stage::with(&[("app", "CREATE USER mallory WITHOUT LOGIN"), (at, planted)]);
        let database = stage.database("app");
        let role = database.role("readers").unwrap();
        let script = database.set_up(std::slice::from_ref(&role)).await.unwrap();
        let refused = set_up(&stage, &script, SECRET).unwrap_err();
        assert!(refused.contains(why), "{planted}: {refused}");
    }
}

async fn until(what: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !what().await {
        assert!(begun.elapsed() < Duration::from_secs(40), "it never comes");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
