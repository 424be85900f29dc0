//! Tests of sessions: what open ones keep, which account each belongs to, and who blocks a revoke.

use std::time::Duration;

use jit_core::policy::{Sessions, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, World as _};
use jit_tests::servers::RunningMySql;
use jit_tests::world::mysql::PASSWORD;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};

use crate::must;
use crate::scene::{Ender, Path, Scene};

/// Ends a window while a session uses the role, on every path. The session loses it.
pub(crate) async fn loses(running: RunningMySql, path: Path) -> Result<(), BoxError> {
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

/// Measures why sessions have to be ended: it revokes a role, and leaves the sessions alone.
pub(crate) async fn keeps(running: RunningMySql) -> Result<(), BoxError> {
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

/// Tells `'alice'@'%'` from `'alice'@'localhost'`. The first gets the role and loses its sessions,
/// the other is left alone.
pub(crate) async fn two_hosts(running: RunningMySql, ends: Ender) -> Result<(), BoxError> {
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
    let seen = scene.database.observe(&[scene.membership(&scene.account)?, scene.membership(&here)?]).await?.seen;
    let ids: Vec<Vec<String>> =
        seen.iter().map(|seen| seen.sessions.iter().map(|session| session.id.clone()).collect()).collect();
    must(ids == [vec![remote.id().to_string()], vec![local.id().to_string()]], format!("whose is which: {ids:?}"))?;
    must(seen.iter().map(|seen| seen.direct.len()).eq([1, 0]), "who holds it was not told apart")?;
    match ends {
        Ender::Revoke => drop(scene.revoke(&scene.account, Sessions::End).await?),
        Ender::DeadMansSwitchPolicy => scene.fires(&scene.account).await?,
    }
    must(scene.uses(&mut remote, Path::OtherDatabase).await.is_err(), "its session lives")?;
    must(local.query_drop("DO 1").await.is_ok(), "the other account's session was ended")
}

/// Makes a more specific account of the same user name within the window. The older account's
/// session ends all the same.
pub(crate) async fn came_later(running: RunningMySql, ends: Ender) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    scene.arm(&scene.account, Duration::from_secs(3600)).await?;
    scene.grant(&scene.account).await?;
    let mut session = scene.session(Path::OtherDatabase).await?;
    let mut admin = scene.running.admin().await?;
    for host in ["127.0.0.1", "localhost"] {
        admin.query_drop(format!("CREATE USER '{}'@'{host}' IDENTIFIED BY '{PASSWORD}'", scene.account)).await?;
    }
    admin.disconnect().await?;
    match ends {
        Ender::Revoke => {
            let report = scene.revoke(&scene.account, Sessions::End).await?;
            must(report.ended.len() == 1 && report.seen.sessions.is_empty(), format!("sessions: {report:?}"))?;
        }
        Ender::DeadMansSwitchPolicy => scene.fires(&scene.account).await?,
    }
    must(session.query_drop("DO 1").await.is_err(), "its session lives")?;
    scene.disarm(&scene.account).await
}

/// First 63 bytes of a client's name, as MariaDB shows it.
const LONG: &str = "db-client-0001.batch-workers.payments-production.svc.cluster-eu";
/// Name of 58 bytes, after which MariaDB does not show a port of five digits.
const SHORTER: &str = "db-client-00012.payments-production.svc.eu-1.batch.example:";

/// Checks patterns of hosts against the origin of a session.
pub(crate) async fn hosts(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let mut admin = scene.running.admin().await?;
    let whole = format!("{LONG}1.corp.example");
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
        // the server shows a host name, but the pattern is about addresses
        ("10.0.%", "db7.example:4711", 1),
        ("10.0.0.0/8", "db7.example:4711", 1),
        ("10.0.%", "localhost", 0),
        ("db%.example", "web.example:4711", 0),
        // the server shows 63 bytes of a long name, and no port that does not fit
        ("%", LONG, 1),
        ("%.corp.example", LONG, 1),
        ("10.0.%", LONG, 1),
        ("10.0.0.0/8", LONG, 1),
        ("::1", LONG, 1),
        (&whole.to_ascii_uppercase(), LONG, 1),
        ("localhost", LONG, 0),
        ("db-client-0002.corp.example", LONG, 0),
        ("%.batch.example", SHORTER, 1),
        (SHORTER.trim_end_matches(':'), SHORTER, 1),
        ("10.0.%", SHORTER, 1),
        ("localhost", SHORTER, 0),
        // MySQL shows a longer name as a whole
        ("%.corp.example", &format!("{whole}:4711"), 2),
        ("%.other.example", &format!("{whole}:4711"), 0),
    ] {
        let (certain, may_match) = (jit_mysql::certain("@p", "o.place"), jit_mysql::may_match("@p", "o"));
        admin.exec_drop("SET @p = ?, @o = ?", (pattern, origin)).await?;
        let place = jit_mysql::place("@o");
        let text = format!("SELECT IF({may_match}, IF({certain} AND NOT o.is_cut, 2, 1), 0) FROM (SELECT {place}) o");
        let came: Option<i64> = admin.query_first(text).await?;
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

/// Checks an account that may act as the account by PROXY. It counts as a member, and its sessions
/// end too.
pub(crate) async fn proxied(running: RunningMySql) -> Result<(), BoxError> {
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

/// Locks the tables of roles in the account's session. The revoke ends that session, and is not
/// held up.
pub(crate) async fn locked(running: RunningMySql) -> Result<(), BoxError> {
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

/// Ends a running event, which uses its definer's roles. Its session shows the host of the account
/// itself, even if that is a pattern.
pub(crate) async fn events(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let mut admin = scene.running.admin().await?;
    // MariaDB shows 64 bytes of a host
    let long = [format!("{LONG}1.corp.example"), format!("{LONG}1.%.example")];
    let hosts = ["%", "127.0.0.1", "127.0.%", "127.0.0.0/255.255.255.0"];
    for host in hosts.into_iter().chain(long.iter().map(String::as_str)) {
        let account = scene.world.fresh("eve");
        let (named, event) = (format!("{account}@{host}"), scene.world.fresh("running"));
        admin.query_drop(format!("CREATE USER '{account}'@'{host}' IDENTIFIED BY '{PASSWORD}'")).await?;
        scene.grant_with(&named, Stance::Accepted).await?;
        let schema = &scene.schema;
        admin.query_drop(format!("GRANT EVENT ON {schema}.* TO '{account}'@'{host}'")).await?;
        admin
            .query_drop(format!(
                "CREATE DEFINER = '{account}'@'{host}' EVENT {schema}.{event} ON SCHEDULE AT CURRENT_TIMESTAMP DO DO SLEEP(100)"
            ))
            .await?;
        let running = async || {
            let seen = scene.database.observe(&[scene.membership(&named)?]).await?.seen.pop().ok_or("nothing")?;
            Ok::<_, BoxError>(seen.sessions.len())
        };
        let of_it = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = ?";
        for _ in 0..50 {
            if admin.exec_first(of_it, (&account,)).await? == Some(1) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        must(running().await? == 1, format!("{host}: the event that runs is not seen"))?;
        // the same rule as SQL, as the dead man's switch uses it
        let place: Option<String> =
            admin.exec_first("SELECT HOST FROM information_schema.PROCESSLIST WHERE USER = ?", (&account,)).await?;
        admin.exec_drop("SET @p = ?, @o = ?", (host, place)).await?;
        let text = format!("SELECT {} FROM (SELECT {}) o", jit_mysql::may_match("@p", "o"), jit_mysql::place("@o"));
        let matches: Option<i64> = admin.query_first(text).await?;
        must(matches == Some(1), format!("{host}: the dead man's switch does not see it"))?;
        let report = scene.revoke(&named, Sessions::End).await?;
        must(report.ended.len() == 1, format!("{host}: {:?}", report.ended))?;
        let left: Option<i64> = admin.exec_first(of_it, (&account,)).await?;
        must(left == Some(0), format!("{host}: it runs on"))?;
    }
    Ok(admin.disconnect().await?)
}
