//! What only MySQL and MariaDB have: what open sessions keep, and accounts of several hosts. `mariadb-11.8/law_05_...`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jit_core::approval::{Actor, Witness};
use jit_core::database::{
    ArmOrder, Call, Database, DefaultRole, GrantOrder, RevokeHow, RevokeOrder, RevokeReport, Subject, Width,
};
use jit_core::engine::{Ask, Jit};
use jit_core::holding::{left_behind, marks};
use jit_core::id::{AccessId, Principal, TenantId};
use jit_core::policy::{PolicyDocument, Prepared, Sessions, Stance};
use jit_core::store::{BoxError, MemoryStore};
use jit_core::testkit::database_laws::{Act, By, Login, World, witness};
use jit_tests::server::Flavour;
use jit_tests::servers::{RunningMySql, Servers};
use jit_tests::world::mysql::{MySqlWorld, PASSWORD};
use libtest_mimic::{Arguments, Failed, Trial};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

/// Longest that one test takes on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let servers = Servers::of_this_run()?;
    let runtime = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build()?);
    let mut trials = Vec::new();
    for flavour in Flavour::ALL {
        let mut all = Tests { flavour, servers: &servers, runtime: &runtime, trials: &mut trials };
        for path in Path::ALL {
            all.add(&format!("law_05_open_session_loses_{}", path.name()), move |running| loses(running, path));
        }
        all.add("fact_open_sessions_keep_what_they_had", keeps);
        all.add("law_05_accounts_of_two_hosts_are_kept_apart", |running| two_hosts(running, Ender::Revoke));
        all.add("law_05_the_dead_man_keeps_accounts_of_two_hosts_apart", |running| two_hosts(running, Ender::DeadMan));
        all.add("law_05_the_dead_man_tells_hosts_apart_as_the_server_does", hosts);
        all.add("what_runs_with_somebodys_rights_is_left_behind", definitions);
        all.add("law_15_a_cut_look_is_an_error", cut);
        all.add("law_15_a_renamed_account_is_no_proof", renamed);
        all.add("law_06_what_everybody_holds_is_held", everybody);
        all.add("law_05_a_session_by_proxy_ends", proxied);
        all.add("law_04_a_lock_of_the_account_keeps_no_role", locked);
        all.add("law_04_what_outlives_a_role_is_a_power", powers);
        all.add("an_account_that_may_be_meant_is_named", alike);
        all.add("law_07_two_accesses_of_one_account_and_its_own_default_role", whole_job);
    }
    libtest_mimic::run(&arguments, trials).exit()
}

struct Tests<'a> {
    flavour: Flavour,
    servers: &'a Servers,
    runtime: &'a Arc<Runtime>,
    trials: &'a mut Vec<Trial>,
}

impl Tests<'_> {
    fn add<F>(&mut self, name: &str, test: impl FnOnce(RunningMySql) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let full = format!("{}/{name}", self.flavour.name());
        let Some(running) = self.servers.mysql().find(|running| running.flavour == self.flavour).cloned() else {
            let why = self.servers.absent.get(self.flavour.name()).cloned().unwrap_or_default();
            self.trials.push(Trial::test(full, || Ok(())).with_kind(why).with_ignored_flag(true));
            return;
        };
        let runtime = Arc::clone(self.runtime);
        self.trials.push(Trial::test(full, move || {
            let done = runtime.block_on(async { tokio::time::timeout(PATIENCE, test(running)).await });
            let done = done.map_err(|_| format!("it takes longer than {PATIENCE:?}"))?;
            done.map_err(|error| Failed::from(error.to_string()))
        }));
    }
}

/// What ends a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ender {
    Revoke,
    DeadMan,
}

/// How an open session uses a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    /// In the database that it has chosen.
    CurrentDatabase,
    /// In another one.
    OtherDatabase,
    /// By a statement that it prepared before.
    Prepared,
    /// In a transaction that it began before.
    Transaction,
}

impl Path {
    const ALL: [Self; 4] = [Self::CurrentDatabase, Self::OtherDatabase, Self::Prepared, Self::Transaction];

    fn name(self) -> &'static str {
        match self {
            Self::CurrentDatabase => "its_current_database",
            Self::OtherDatabase => "another_database",
            Self::Prepared => "a_prepared_statement",
            Self::Transaction => "an_open_transaction",
        }
    }
}

/// A role on a database of its own, an account, and the broker's adapter.
struct Scene {
    world: MySqlWorld,
    running: RunningMySql,
    database: Arc<dyn Database>,
    account: String,
    role: String,
    /// What the role may use: all of it, as application roles often do.
    schema: String,
    access: AccessId,
}

impl Scene {
    /// An engine whose policy gives these roles at once, and the account's owner.
    async fn jit(&self, roles: &[&String]) -> Result<(Jit, Actor), BoxError> {
        let policy = format!(
            "version = 1\n[[rule]]\nname = \"at once\"\ntargets = [\"db\"]\nroles = {roles:?}\nrequesters = [\"*\"]\nmax = \"1h\"\n"
        );
        let jit = Jit::builder()
            .store(MemoryStore::default())
            .policy(PolicyDocument::parse(&policy, "test")?)
            .database("db", Arc::clone(&self.database))
            .build()
            .await?;
        Ok((jit, Actor::authenticated(TenantId::main(), Principal::new(self.account.as_str())?, "test")))
    }

    async fn new(running: RunningMySql) -> Result<Self, BoxError> {
        let world = MySqlWorld::within(running.clone()).await?;
        let (account, role, schema) = (world.fresh("alice"), world.fresh("writer"), world.fresh("orders"));
        world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        world.act(Act::CreateRole { role: &role }).await?;
        let mut admin = running.admin().await?;
        admin.query_drop(format!("CREATE DATABASE {schema}")).await?;
        admin.query_drop(format!("CREATE TABLE {schema}.t (n INT) ENGINE = InnoDB")).await?;
        admin.query_drop(format!("GRANT SELECT, INSERT ON {schema}.* TO `{role}`")).await?;
        admin.disconnect().await?;
        let database = world.database(Login::Broker).await?;
        let access = AccessId::fresh(world.server_time().await?, &jit_core::clock::SystemEntropy);
        Ok(Self { world, running, database, account, role, schema, access })
    }

    fn subject(&self, account: &str) -> Result<Subject, BoxError> {
        let account = self.database.account(account)?;
        Ok(Subject { account, account_id: None, role: self.database.role(&self.role)?, role_id: None })
    }

    async fn grant(&self, account: &str) -> Result<(), BoxError> {
        self.grant_with(account, Stance::Refused).await
    }

    /// Grants it to the account, with this stance on what outlives a membership and on who can act as the account.
    async fn grant_with(&self, account: &str, stance: Stance) -> Result<(), BoxError> {
        let soon = self.world.server_time().await? + chrono::TimeDelta::seconds(60);
        let witness: Witness = witness(self.access)?;
        let subject = self.subject(account)?;
        let order = GrantOrder::new(&witness, subject, Width::Inherit, soon, stance, stance);
        let call = Call { label: format!("g{}", self.access), limit: Duration::from_secs(10), server: None };
        for granted in self.database.grant(&call, &[order]).await {
            granted?;
        }
        Ok(())
    }

    async fn revoke(&self, account: &str, sessions: Sessions) -> Result<RevokeReport, BoxError> {
        let order = RevokeOrder {
            access: self.access,
            subject: self.subject(account)?,
            how: RevokeHow::Remove,
            sessions,
            prepared: Prepared::Report,
            default_role: DefaultRole::Goes { back_to: None },
            gone: Vec::new(),
        };
        let call = Call { label: format!("r{}", self.access), limit: Duration::from_secs(10), server: None };
        let report = self.database.revoke(&call, &[order]).await.pop().ok_or("no answer")??;
        Ok(report)
    }

    /// The database of the broker's events.
    fn home(&self) -> String {
        jit_mysql::home(&format!("{}@%", self.world.broker()))
    }

    /// Arms the dead-man for now, and waits until it has fired.
    async fn fires(&self, account: &str) -> Result<(), BoxError> {
        let (subject, default_role) = (self.subject(account)?, DefaultRole::Goes { back_to: None });
        let order =
            ArmOrder { subject: subject.clone(), ends_in: Duration::ZERO, sessions: Sessions::End, default_role };
        let call = Call { label: format!("a{}", self.access), limit: Duration::from_secs(10), server: None };
        self.database.arm(&call, &[order]).await.pop().ok_or("no answer")??;
        let mut admin = self.running.admin().await?;
        for _ in 0..200 {
            let text = "SELECT COUNT(*) FROM jit.leases WHERE db = ? AND status = 'DISABLED'";
            if admin.exec_first(text, (self.home(),)).await? == Some(1) {
                return Ok(admin.disconnect().await?);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("the dead-man does not fire".into())
    }

    /// A session of the account that is on this path, and used the role there.
    async fn session(&self, path: Path) -> Result<Conn, BoxError> {
        let mut session = self.running.session(&self.account, PASSWORD).await?;
        let schema = &self.schema;
        match path {
            Path::CurrentDatabase => session.query_drop(format!("USE {schema}")).await?,
            Path::OtherDatabase => {}
            Path::Prepared => session.query_drop(format!("PREPARE p FROM 'INSERT INTO {schema}.t VALUES (1)'")).await?,
            Path::Transaction => session.query_drop("START TRANSACTION").await?,
        }
        self.uses(&mut session, path).await?;
        Ok(session)
    }

    async fn uses(&self, session: &mut Conn, path: Path) -> Result<(), mysql_async::Error> {
        let schema = &self.schema;
        match path {
            Path::CurrentDatabase => session.query_drop("INSERT INTO t VALUES (1)").await,
            Path::Prepared => session.query_drop("EXECUTE p").await,
            Path::OtherDatabase | Path::Transaction => {
                session.query_drop(format!("INSERT INTO {schema}.t VALUES (1)")).await
            }
        }
    }
}

/// The end of a window takes it from a session that has it open, on every path.
async fn loses(running: RunningMySql, path: Path) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    scene.grant(&scene.account).await?;
    let mut session = scene.session(path).await?;
    let report = scene.revoke(&scene.account, Sessions::End).await?;
    must(report.ended.len() == 1 && report.seen.sessions.is_empty(), format!("sessions: {report:?}"))?;
    let used = scene.uses(&mut session, path).await;
    must(!matches!(used, Ok(()) | Err(mysql_async::Error::Server(_))), format!("the session lives: {used:?}"))?;
    let mut again = scene.running.session(&scene.account, PASSWORD).await?;
    let used = scene.uses(&mut again, Path::OtherDatabase).await;
    must(matches!(used, Err(mysql_async::Error::Server(_))), format!("a new session has the role: {used:?}"))
}

/// Why sessions are ended: what is measured where they are left alone.
async fn keeps(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    scene.grant(&scene.account).await?;
    let mut sessions = Vec::new();
    for path in Path::ALL {
        sessions.push((path, scene.session(path).await?));
    }
    scene.revoke(&scene.account, Sessions::Keep).await?;
    for (path, mut session) in sessions {
        let kept = scene.uses(&mut session, path).await.is_ok();
        let expected = scene.running.flavour.is_mariadb() || path == Path::CurrentDatabase;
        must(kept == expected, format!("{path:?}: kept {kept}"))?;
    }
    Ok(())
}

/// `'alice'@'%'` and `'alice'@'localhost'` are two: one gets the role and loses its sessions, the other nothing of both.
async fn two_hosts(running: RunningMySql, ends: Ender) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let here = format!("{}@localhost", scene.account);
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("CREATE USER '{}'@'localhost' IDENTIFIED BY '{PASSWORD}'", scene.account)).await?;
    admin.disconnect().await?;
    scene.grant(&scene.account).await?;
    let by_socket = OptsBuilder::default().socket(Some(scene.running.socket.to_string_lossy()));
    let mut local = Conn::new(by_socket.user(Some(scene.account.clone())).pass(Some(PASSWORD))).await?;
    must(scene.uses(&mut local, Path::OtherDatabase).await.is_err(), "the other account has the role")?;
    let mut remote = scene.session(Path::OtherDatabase).await?;
    let seen = scene.database.observe(&[scene.subject(&scene.account)?, scene.subject(&here)?]).await?.seen;
    let ids: Vec<Vec<String>> =
        seen.iter().map(|seen| seen.sessions.iter().map(|session| session.id.clone()).collect()).collect();
    must(ids == [vec![remote.id().to_string()], vec![local.id().to_string()]], format!("whose is which: {ids:?}"))?;
    must(seen.iter().map(|seen| seen.direct.len()).eq([1, 0]), "who holds it was not told apart")?;
    match ends {
        Ender::Revoke => drop(scene.revoke(&scene.account, Sessions::End).await?),
        Ender::DeadMan => scene.fires(&scene.account).await?,
    }
    must(scene.uses(&mut remote, Path::OtherDatabase).await.is_err(), "its session lives")?;
    must(local.query_drop("DO 1").await.is_ok(), "the other account's session was ended")
}

/// An event outlives the window in which it was made, with its definer's rights; so do a view and a trigger.
async fn definitions(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (schema, role) = (&scene.schema, &scene.role);
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("GRANT EVENT, TRIGGER, CREATE VIEW ON {schema}.* TO `{role}`")).await?;
    let old = format!("CREATE EVENT {schema}.old ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1");
    admin.query_drop(old.replacen("EVENT", &format!("DEFINER = `{}`@`%` EVENT", scene.account), 1)).await?;
    let subject = scene.subject(&scene.account)?;
    let owned = async || {
        let all = scene.database.belongings(std::slice::from_ref(&subject)).await?.each.pop().flatten();
        Ok::<_, BoxError>(all.ok_or("too many")?)
    };
    let before = owned().await?;
    must(
        before.iter().any(|thing| thing.what.contains("event") && thing.what.contains(".old")),
        format!("{before:?}"),
    )?;
    // in MariaDB an event is a power: it can run as the role
    scene.grant_with(&scene.account, Stance::Accepted).await?;
    let mut session = scene.running.session(&scene.account, PASSWORD).await?;
    session.query_drop(format!("CREATE EVENT {schema}.e ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1")).await?;
    session.query_drop(format!("CREATE VIEW {schema}.v AS SELECT n FROM {schema}.t")).await?;
    session
        .query_drop(format!("CREATE TRIGGER {schema}.r BEFORE INSERT ON {schema}.t FOR EACH ROW SET NEW.n = 2"))
        .await?;
    let as_role = scene.running.flavour.is_mariadb();
    if as_role {
        let event = "DEFINER = CURRENT_ROLE EVENT";
        session.query_drop(format!("CREATE {event} {schema}.f ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1")).await?;
    }
    scene.revoke(&scene.account, Sessions::End).await?;
    let left = left_behind(&marks(&before), &owned().await?);
    let expected =
        if as_role { vec!["event {}.e", "event {}.f"] } else { vec!["event {}.e", "trigger {}.r", "view {}.v"] };
    for what in &expected {
        let what = what.replace("{}", schema);
        must(left.iter().any(|left| left.starts_with(&what)), format!("`{what}` is not among {left:?}"))?;
    }
    must(left.len() == expected.len(), format!("{left:?}"))?;
    Ok(admin.disconnect().await?)
}

/// Patterns of hosts, where a session comes from, and how far that is the same.
async fn hosts(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let mut admin = scene.running.admin().await?;
    for (pattern, origin, expected) in [
        ("%", "10.0.0.5:4711", 2),
        ("localhost", "localhost", 2),
        ("localhost", "10.0.0.5:4711", 0),
        ("10.0.0.5", "10.0.0.5:4711", 2),
        ("10.0.0.5", "10.0.0.50:4711", 0),
        ("10.0.%", "10.0.7.5:1", 2),
        ("10.0.%", "10.1.7.5:1", 0),
        ("192.168.1.0/255.255.255.0", "192.168.1.77:9", 2),
        ("192.168.1.0/255.255.255.0", "192.168.2.77:9", 0),
        ("192.168.0.0/16", "192.168.2.77:9", 2),
        ("::1", "::1:4711", 2),
        ("db%.example", "DB7.example:4711", 2),
        // the server shows a name, and the pattern is about addresses
        ("10.0.%", "db7.example:4711", 1),
        ("10.0.0.0/8", "db7.example:4711", 1),
        ("10.0.%", "localhost", 0),
        ("db%.example", "web.example:4711", 0),
    ] {
        let (place, port) = origin.rsplit_once(':').map_or((origin, 0), |(place, _)| (place, 1));
        let (certain, perhaps) = (jit_mysql::certain("@p", "@o"), jit_mysql::perhaps("@p", &port.to_string(), "@o"));
        admin.exec_drop("SET @p = ?, @o = LOWER(?)", (pattern, place)).await?;
        let came: Option<i64> = admin.query_first(format!("SELECT IF({certain}, 2, IF({perhaps}, 1, 0))")).await?;
        must(came == Some(expected), format!("`{pattern}` and `{origin}`: {came:?} instead of {expected}"))?;
    }
    let mut last = 0;
    for pattern in ["%", "1%", "10.0.%", "10.0.0.0/8", "10.0.0.0/255.255.0.0", "10.0.0.5"] {
        admin.exec_drop("SET @p = ?", (pattern,)).await?;
        let specific: Option<i64> = admin.query_first(format!("SELECT {}", jit_mysql::specific("@p"))).await?;
        let specific = specific.ok_or("nothing")?;
        must(specific > last, format!("`{pattern}` is no more specific than the one before: {specific} and {last}"))?;
        last = specific;
    }
    Ok(admin.disconnect().await?)
}

/// The engine, from request to verified revoke: two windows overlap, and the account's own default role is back when both are over.
async fn whole_job(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (own, other) = (scene.world.fresh("own"), scene.world.fresh("other"));
    for role in [&own, &other] {
        scene.world.act(Act::CreateRole { role }).await?;
    }
    let standing = Act::Grant { role: &own, to: &scene.account, by: By::Admin, width: Width::SetRole, admin: false };
    scene.world.act(standing).await?;
    let (jit, alice) = scene.jit(&[&scene.role, &other]).await?;
    let pump = jit.start();
    let ask = async |role: &str, length| {
        let access = jit.request(&alice, Ask::new("db", role, length).because("OPS-12")).await?;
        Ok::<_, BoxError>(jit.until_active(access.id(), PATIENCE).await?.id())
    };
    let defaults = async || {
        let seen = scene.database.observe(&[scene.subject(&scene.account)?]).await?.seen.pop().ok_or("nothing")?;
        Ok::<_, BoxError>(seen.default_roles)
    };
    let short = ask(&scene.role, chrono::TimeDelta::seconds(3)).await?;
    let mut session = scene.session(Path::CurrentDatabase).await?;
    let long = ask(&other, chrono::TimeDelta::minutes(30)).await?;
    let ended = jit.until_ended(short, PATIENCE).await?;
    must(ended.state == "revoked", format!("it is {}", ended.state))?;
    must(scene.uses(&mut session, Path::CurrentDatabase).await.is_err(), "its session lives")?;
    let mut kept = defaults().await?;
    // MySQL has both by default, MariaDB the latest
    kept.retain(|role| *role != own);
    must(kept == [other.as_str()], format!("the other access's role is no default any more: {kept:?}"))?;
    jit.release(&alice, long).await?;
    must(jit.until_ended(long, PATIENCE).await?.state == "revoked", "the second did not end")?;
    must(defaults().await? == [own.as_str()], format!("default roles are {:?}", defaults().await?))?;
    pump.stop().await;
    Ok(())
}

/// Something between us and the server lets one row through, whatever limit the broker sets.
async fn cut(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    scene.grant(&scene.account).await?;
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let (port, server) = (listener.local_addr()?.port(), scene.running.port);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { continue };
            let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move {
                let mut buffer = vec![0_u8; 65_536];
                while let Ok(count @ 1..) = from_client.read(&mut buffer).await {
                    let (limit, one) =
                        (b"sql_select_limit = 18446744073709551615", b"sql_select_limit = 00000000000000000001");
                    let mut at = 0;
                    while let Some(found) = buffer[at..count].windows(limit.len()).position(|part| part == limit) {
                        at += found;
                        buffer[at..at + one.len()].copy_from_slice(one);
                    }
                    if to_server.write_all(&buffer[..count]).await.is_err() {
                        break;
                    }
                }
            });
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
        }
    });
    let database = scene.world.database_at(port)?;
    let subject = scene.subject(&scene.account)?;
    let seen = database.observe(std::slice::from_ref(&subject)).await;
    let why = seen.as_ref().err().map(ToString::to_string).unwrap_or_default();
    must(why.contains("cut"), format!("a look that was cut is no error: {seen:?}"))?;
    must(database.holders(&[subject.role]).await.is_err(), "holders that were cut are no error")
}

/// An account that takes the role along under another name is not gone, and neither is the role.
async fn renamed(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (jit, alice) = scene.jit(&[&scene.role]).await?;
    let pump = jit.start();
    let ask = Ask::new("db", scene.role.as_str(), chrono::TimeDelta::minutes(30)).because("OPS-12");
    let access = jit.until_active(jit.request(&alice, ask).await?.id(), PATIENCE).await?.id();
    let other = scene.world.fresh("other");
    scene.world.act(Act::Rename { from: &scene.account, to: &other }).await?;
    jit.release(&alice, access).await?;
    let mut told = String::new();
    for _ in 0..100 {
        told = format!("{:?}", jit.access(access).await?);
        if told.contains(&other) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    must(told.contains(&other), format!("nobody is told of `{other}`: {told}"))?;
    must(jit.access(access).await?.state == "revoking", "it counts as gone")?;
    scene.world.act(Act::Revoke { role: &scene.role, from: &other, by: By::Admin }).await?;
    let ended = jit.until_ended(access, PATIENCE).await?;
    must(ended.state == "revoked", format!("it is {}", ended.state))?;
    pump.stop().await;
    Ok(())
}

/// PUBLIC in MariaDB, `mandatory_roles` in MySQL, directly and through another role.
async fn everybody(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let base = scene.world.fresh("base");
    scene.world.act(Act::CreateRole { role: &base }).await?;
    let mut admin = scene.running.admin().await?;
    let (role, mariadb) = (&scene.role, scene.running.flavour.is_mariadb());
    let give = async |admin: &mut Conn, role: &str| {
        let give = if mariadb {
            format!("GRANT `{role}` TO PUBLIC")
        } else {
            format!("SET GLOBAL mandatory_roles = '`{role}`@`%`'")
        };
        admin.query_drop(give).await
    };
    let take = async |admin: &mut Conn, role: &str| {
        let take =
            if mariadb { format!("REVOKE `{role}` FROM PUBLIC") } else { "SET GLOBAL mandatory_roles = ''".to_owned() };
        admin.query_drop(take).await
    };
    let through = async || {
        let seen = scene.database.observe(&[scene.subject(&scene.account)?]).await?.seen.pop().ok_or("nothing")?;
        Ok::<_, BoxError>(seen.through)
    };
    must(through().await?.is_empty(), "it is held already")?;
    give(&mut admin, role).await?;
    let directly = through().await;
    take(&mut admin, role).await?;
    let directly = directly?;
    must(directly.len() == 1, format!("what everybody holds is not held: {directly:?}"))?;
    admin.query_drop(format!("GRANT `{role}` TO `{base}`")).await?;
    give(&mut admin, &base).await?;
    let indirectly = through().await;
    take(&mut admin, &base).await?;
    let indirectly = indirectly?;
    must(indirectly.len() == 1, format!("what everybody's role holds is not held: {indirectly:?}"))?;
    must(through().await?.is_empty(), "it is held still")?;
    Ok(admin.disconnect().await?)
}

/// Who may act as the account is a member of it, and their sessions end with its own.
async fn proxied(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let bobby = scene.world.fresh("bobby");
    scene.world.act(Act::CreateAccount { account: &bobby, inherits: true }).await?;
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("GRANT PROXY ON '{}'@'%' TO '{bobby}'@'%'", scene.account)).await?;
    must(scene.grant(&scene.account).await.is_err(), "an account that somebody may act as is granted without a word")?;
    scene.grant_with(&scene.account, Stance::Accepted).await?;
    let mut session = scene.running.session(&bobby, PASSWORD).await?;
    let report = scene.revoke(&scene.account, Sessions::End).await?;
    must(report.seen.members == [format!("'{bobby}'@'%'")], format!("members: {:?}", report.seen.members))?;
    must(session.query_drop("DO 1").await.is_err(), "the proxy's session lives")?;
    Ok(admin.disconnect().await?)
}

/// A lock on the tables of roles does not hold up the revoke that ends its session.
async fn locked(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let table = if scene.running.flavour.is_mariadb() { "roles_mapping" } else { "role_edges" };
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("GRANT SELECT, LOCK TABLES ON mysql.* TO '{}'@'%'", scene.account)).await?;
    scene.grant(&scene.account).await?;
    let mut session = scene.running.session(&scene.account, PASSWORD).await?;
    session.query_drop(format!("LOCK TABLES mysql.{table} READ")).await?;
    let report = scene.revoke(&scene.account, Sessions::End).await?;
    must(report.seen.direct.is_empty() && report.seen.sessions.is_empty(), format!("it is held: {report:?}"))?;
    must(session.query_drop("DO 1").await.is_err(), "its session lives")?;
    Ok(admin.disconnect().await?)
}

/// Rights on the server's own tables, on `jit`, and on everything.
async fn powers(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let mut admin = scene.running.admin().await?;
    let (role, mariadb) = (&scene.role, scene.running.flavour.is_mariadb());
    let seen = async || {
        let seen = scene.database.observe(&[scene.subject(&scene.account)?]).await?.seen.pop().ok_or("nothing")?;
        Ok::<_, BoxError>(seen.powers)
    };
    must(seen().await?.is_empty(), format!("an ordinary role has powers: {:?}", seen().await?))?;
    let mut rights = vec![
        "INSERT ON *.*",
        "RELOAD ON *.*",
        "ALTER ROUTINE ON *.*",
        "UPDATE ON `mysq_`.*",
        "EXECUTE ON jit.*",
        "UPDATE (User) ON mysql.user",
        "DELETE ON jit.leases",
        "SELECT ON *.*",
    ];
    rights.extend(if mariadb {
        ["SET USER ON *.*", "BINLOG ADMIN ON *.*"]
    } else {
        ["SET_ANY_DEFINER ON *.*", "BACKUP_ADMIN ON *.*"]
    });
    for right in rights {
        admin.query_drop(format!("GRANT {right} TO `{role}`")).await?;
        let powers = seen().await?;
        must(powers.len() == 1, format!("{right}: {powers:?}"))?;
        admin.query_drop(format!("REVOKE {right} FROM `{role}`")).await?;
    }
    must(seen().await?.is_empty(), "powers stay when they are taken")?;
    Ok(admin.disconnect().await?)
}

/// An e-mail address is a whole user name here, and reads as a user and a host.
async fn alike(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let mail = format!("{}@x.org", scene.account);
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("CREATE USER '{mail}'@'%' IDENTIFIED BY '{PASSWORD}'")).await?;
    let seen = scene.database.observe(&[scene.subject(&mail)?]).await?.seen.pop().ok_or("nothing")?;
    let expected = [format!("'{}'@'%'", scene.account), format!("'{mail}'@'%'")];
    must(!seen.account_exists && seen.alike == expected, format!("{:?}", seen.alike))?;
    admin.query_drop(format!("DROP USER '{mail}'@'%'")).await?;
    Ok(admin.disconnect().await?)
}

fn must(holds: bool, otherwise: impl Into<String>) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}
