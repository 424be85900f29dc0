//! Tests of a target's identity: earlier copies, other identifiers.

use std::sync::Arc;

use jit_core::database::{FOLLOWS_THE_HOST, declared};
use jit_core::id::TargetName;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, World as _};
use jit_tests::identity::{actor, engine, refused, revoked, same_data, stays_due, usable};
use jit_tests::proxy::Proxy;
use jit_tests::server::{Down, MySqlServer};
use jit_tests::servers::RunningMySql;
use mysql_async::prelude::Queryable as _;

use crate::must;
use crate::scene::Scene;

/// Starts an earlier copy in the place of a server. Only the changes that it lacks tell the copy
/// from the server.
pub(crate) async fn copy_in_place(running: RunningMySql) -> Result<(), BoxError> {
    let mut server = MySqlServer::start_durable(running.flavour).await?;
    let Scene { world, database, account, role, .. } = Scene::new(server.running().clone()).await?;
    let dave = world.fresh("dave");
    world.act(Act::CreateAccount { account: &dave, inherits: true }).await?;
    let jit = engine(&role, &[("db", &database)]).await?;
    let pump = jit.start();
    server.stop(Down::Fast)?;
    server.save().await?;
    server.start().await?;
    // more than a start of the copy writes: a copy that is less far behind cannot be told by its log
    let mut admin = server.running().admin().await?;
    admin.query_drop("CREATE DATABASE filler").await?;
    admin.query_drop("CREATE TABLE filler.t (n INT PRIMARY KEY AUTO_INCREMENT, t LONGTEXT) ENGINE = InnoDB").await?;
    for _ in 0..8 {
        admin.query_drop("INSERT INTO filler.t (t) VALUES (REPEAT('x', 500000))").await?;
    }
    admin.disconnect().await?;
    let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::hours(1)).await?;
    server.stop(Down::Fast)?;
    jit.release(&actor(&account)?, id).await?;
    server.exchange()?;
    server.start().await?;
    stays_due(&jit, id).await?;
    refused(&jit, "db", &dave, &role).await?;
    server.stop(Down::Fast)?;
    server.exchange()?;
    server.start().await?;
    revoked(&jit, id).await?;
    must(!held(server.running(), &account).await?, "the role stays where it was granted")?;
    pump.stop().await;
    Ok(())
}

/// Leads the target's address to a copy while jit is connected. The copy's answer to a revoke
/// proves nothing, whatever its identifier.
pub(crate) async fn moved_address(running: RunningMySql) -> Result<(), BoxError> {
    let mut server = MySqlServer::start_fresh(running.flavour).await?;
    let Scene { world, account, role, .. } = Scene::new(server.running().clone()).await?;
    server.stop(Down::Fast)?;
    let mut copy = server.copy().await?;
    server.start().await?;
    let proxy = Proxy::before(server.running().port).await?;
    let jit = engine(&role, &[("db", &world.database_at(proxy.port())?)]).await?;
    let pump = jit.start();
    for renamed in [false, true] {
        if renamed {
            copy.stop(Down::Fast)?;
            copy.rename()?;
            copy.start().await?;
        }
        let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::hours(1)).await?;
        proxy.lead_to(copy.running().port);
        jit.release(&actor(&account)?, id).await?;
        // also after retries, on a connection to the copy
        for _ in 0..4 {
            stays_due(&jit, id).await?;
        }
        must(held(server.running(), &account).await?, "the role was taken from the server that nobody reached")?;
        proxy.lead_to(server.running().port);
        revoked(&jit, id).await?;
        must(!held(server.running(), &account).await?, "the role stays where it was granted")?;
    }
    pump.stop().await;
    Ok(())
}

/// Brings a server back under another identifier, with the same data. Without a declared realm an
/// operator has to confirm it; with one, work goes on.
pub(crate) async fn another_identifier(running: RunningMySql) -> Result<(), BoxError> {
    for realm in [None, Some("orders")] {
        let mut server = MySqlServer::start_fresh(running.flavour).await?;
        let Scene { world, database, account, role, .. } = Scene::new(server.running().clone()).await?;
        let was = database.identify().await?;
        let jit = engine(&role, &[("db", &declared(database, realm)?)]).await?;
        let pump = jit.start();
        let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::hours(1)).await?;
        server.stop(Down::Fast)?;
        jit.release(&actor(&account)?, id).await?;
        server.rename()?;
        server.start().await?;
        let now = world.database_at(server.running().port)?;
        must(now.identify().await?.realm != was.realm, "it calls itself the same")?;
        let now = declared(now, realm)?;
        jit.put_target(TargetName::new("db")?, Arc::clone(&now)).await?;
        let follows = now.check(&[]).await?.iter().any(|check| check.about.what == FOLLOWS_THE_HOST);
        must(
            follows == (realm.is_none() && running.flavour.is_mariadb()),
            "doctor does not say what MariaDB's identifier follows",
        )?;
        if realm.is_none() {
            stays_due(&jit, id).await?;
            must(jit.live_elsewhere(&TargetName::new("db")?).await?.accesses.len() == 1, "nothing is listed")?;
            same_data(&jit, "db").await?;
        }
        revoked(&jit, id).await?;
        must(!held(server.running(), &account).await?, "the role stays")?;
        pump.stop().await;
    }
    Ok(())
}

/// Checks whether the account is in any role.
async fn held(running: &RunningMySql, account: &str) -> Result<bool, BoxError> {
    let table = if running.flavour.is_mariadb() { "roles_mapping WHERE User" } else { "role_edges WHERE TO_USER" };
    let user = account.split('@').next().unwrap_or(account).trim_matches('\'');
    let mut admin = running.admin().await?;
    let row: Option<u64> = admin.query_first(format!("SELECT COUNT(*) FROM mysql.{table} = '{user}'")).await?;
    admin.disconnect().await?;
    Ok(row.unwrap_or_default() > 0)
}
