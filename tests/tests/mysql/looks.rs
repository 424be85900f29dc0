//! Tests of what a look must see: all rows, whatever the names are, and what everybody holds.

use std::time::Duration;

use jit_core::database::{Call, Database as _, Membership, MembershipScope, RevokeOrder};
use jit_core::engine::AccessRequest;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, By, Login, World as _};
use jit_tests::servers::RunningMySql;
use jit_tests::world::mysql::PASSWORD;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::scene::Scene;
use crate::{PATIENCE, must};

/// Lets only one row through between us and the server, whatever limit the broker sets.
pub(crate) async fn cut(running: RunningMySql) -> Result<(), BoxError> {
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
    let membership = scene.membership(&scene.account)?;
    let seen = database.observe(std::slice::from_ref(&membership)).await;
    let why = seen.as_ref().err().map(ToString::to_string).unwrap_or_default();
    must(why.contains("cut"), format!("a look that was cut is no error: {seen:?}"))?;
    must(database.holders(&[membership.role]).await.is_err(), "holders that were cut are no error")
}

/// Limits each session of the server to 50 rows. All 60 members are seen nevertheless, and all are
/// revoked.
pub(crate) async fn many(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::alone(running.flavour).await?;
    let accounts: Vec<String> = (0..60).map(|_| scene.world.fresh("p")).collect();
    for account in &accounts {
        scene.world.act(Act::CreateAccount { account, inherits: true }).await?;
        let grant = Act::Grant {
            role: &scene.role,
            to: account,
            by: By::Broker,
            scope: MembershipScope::Inherit,
            admin: false,
        };
        scene.world.act(grant).await?;
    }
    let mut admin = scene.running.admin().await?;
    admin.query_drop("SET GLOBAL sql_select_limit = 50").await?;
    let cut: Vec<String> = scene.running.admin().await?.query("SELECT User FROM mysql.user").await?;
    must(cut.len() == 50, format!("it lets a session have {} rows", cut.len()))?;
    let database = scene.world.database(Login::Broker).await?;
    let memberships = accounts.iter().map(|account| scene.membership(account)).collect::<Result<Vec<_>, _>>()?;
    let mut held = 0;
    for seen in database.observe(&memberships).await?.seen {
        must(seen.account_exists, "an account is not seen")?;
        held += seen.direct.len();
    }
    must(held == 60, format!("{held} members are seen"))?;
    let holders = database.holders(&[scene.membership(&scene.account)?.role]).await?.holders;
    let held = holders
        .iter()
        .filter(|holder| memberships.iter().any(|membership| membership.account == holder.account))
        .count();
    must(held == 60, format!("{held} holders are listed"))?;
    let order = |membership: &Membership| RevokeOrder::new(scene.access, membership.clone());
    let orders: Vec<RevokeOrder> = memberships.iter().map(order).collect();
    let call = Call::new(format!("r{}", scene.access), PATIENCE);
    for report in database.revoke(&call, &orders).await {
        let report = report?;
        must(report.was_held == Some(true) && report.seen.account_exists, format!("{report:?}"))?;
    }
    admin.query_drop("SET GLOBAL sql_select_limit = DEFAULT").await?;
    let left = scene.world.members(&scene.role).await?;
    must(!left.iter().any(|row| accounts.contains(&row.member)), format!("{left:?}"))?;
    Ok(admin.disconnect().await?)
}

/// Renames an account within its window. It keeps the role under the new name, so neither counts as
/// gone.
pub(crate) async fn renamed(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (jit, alice) = scene.jit(&[&scene.role]).await?;
    let pump = jit.start();
    let ask = AccessRequest::new("db", scene.role.as_str(), chrono::TimeDelta::minutes(30)).because("OPS-12");
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

/// Checks grants to everybody: PUBLIC in MariaDB, `mandatory_roles` in MySQL, directly and through
/// another role.
pub(crate) async fn everybody(running: RunningMySql) -> Result<(), BoxError> {
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
        let seen = scene.database.observe(&[scene.membership(&scene.account)?]).await?.seen.pop().ok_or("nothing")?;
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

/// Checks an e-mail address as a whole user name, which reads like a user and a host.
pub(crate) async fn alike(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let mail = format!("{}@x.org", scene.account);
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("CREATE USER '{mail}'@'%' IDENTIFIED BY '{PASSWORD}'")).await?;
    let seen = scene.database.observe(&[scene.membership(&mail)?]).await?.seen.pop().ok_or("nothing")?;
    let expected = [format!("'{}'@'%'", scene.account), format!("'{mail}'@'%'")];
    must(!seen.account_exists && seen.alike == expected, format!("{:?}", seen.alike))?;
    admin.query_drop(format!("DROP USER '{mail}'@'%'")).await?;
    Ok(admin.disconnect().await?)
}

/// Swaps the names of two accounts while one of them holds the role. Neither the account nor the
/// role counts as gone.
pub(crate) async fn swapped(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (jit, alice) = scene.jit(&[&scene.role]).await?;
    let pump = jit.start();
    let ask = AccessRequest::new("db", scene.role.as_str(), chrono::TimeDelta::minutes(30)).because("OPS-12");
    let access = jit.until_active(jit.request(&alice, ask).await?.id(), PATIENCE).await?.id();
    let (other, between) = (scene.world.fresh("other"), scene.world.fresh("between"));
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    for (from, to) in [(&scene.account, &between), (&other, &scene.account), (&between, &other)] {
        scene.world.act(Act::Rename { from, to }).await?;
    }
    jit.release(&alice, access).await?;
    let mut told = String::new();
    for _ in 0..100 {
        told = format!("{:?}", jit.access(access).await?);
        if told.contains(&other) || jit.access(access).await?.state == "revoked" {
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
