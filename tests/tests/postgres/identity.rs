//! Tests of a target's identity: earlier copies, copied folders, upgrades.

use std::sync::Arc;
use std::time::Duration;

use jit_core::database::declared;
use jit_core::id::TargetName;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, World as _};
use jit_tests::identity::{actor, engine, refused, revoked, same_data, stays_due, usable};
use jit_tests::proxy::Proxy;
use jit_tests::server::{Cluster, Down};
use jit_tests::servers::RunningPostgres;

use crate::scene::Scene;

/// Starts an earlier copy in the place of a cluster. Only the changes that it lacks tell the copy
/// from the cluster.
pub(crate) async fn copy_in_place() -> Result<(), BoxError> {
    let mut cluster = Cluster::start_fresh(17).await?;
    let Scene { world, database, account, role, .. } = Scene::new(cluster.running().clone()).await?;
    let dave = world.fresh("dave");
    world.act(Act::CreateAccount { account: &dave, inherits: true }).await?;
    let jit = engine(&role, &[("db", &database)]).await?;
    let pump = jit.start();
    // a copy from before the grant, then one from after it but before something else that was seen
    for later in [false, true] {
        if !later {
            cluster.stop(Down::Fast)?;
            cluster.save().await?;
            cluster.start().await?;
        }
        let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::hours(1)).await?;
        if later {
            cluster.stop(Down::Fast)?;
            cluster.save().await?;
            cluster.start().await?;
            let other = usable(&jit, "db", &dave, &role, chrono::TimeDelta::minutes(5)).await?;
            jit.release(&actor(&dave)?, other).await?;
            revoked(&jit, other).await?;
        }
        cluster.stop(Down::Fast)?;
        jit.release(&actor(&account)?, id).await?;
        cluster.exchange()?;
        cluster.start().await?;
        stays_due(&jit, id).await?;
        refused(&jit, "db", &dave, &role).await?;
        if held(cluster.running(), &role, &account).await? != later {
            return Err("the copy was told something".into());
        }
        cluster.stop(Down::Fast)?;
        cluster.exchange()?;
        cluster.start().await?;
        revoked(&jit, id).await?;
        if held(cluster.running(), &role, &account).await? {
            return Err("the role stays where it was granted".into());
        }
        cluster.stop(Down::Fast)?;
        cluster.forget_saved()?;
        cluster.start().await?;
    }
    pump.stop().await;
    Ok(())
}

/// Runs two clusters from one copied folder. They share their system identifier, but are two.
pub(crate) async fn copied_folder() -> Result<(), BoxError> {
    let mut cluster = Cluster::start_fresh(17).await?;
    let Scene { world, database, account, role, .. } = Scene::new(cluster.running().clone()).await?;
    cluster.stop(Down::Fast)?;
    let copy = cluster.copy().await?;
    cluster.start().await?;
    let other = world.database_at(copy.running().port)?;
    let jit = engine(&role, &[("db", &database)]).await?;
    let pump = jit.start();
    let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::seconds(5)).await?;
    // the second one counts as the copy
    jit.put_target(TargetName::new("copy")?, Arc::clone(&other)).await?;
    // a request may be accepted before the first contact, but is never granted
    let longer = usable(&jit, "copy", &account, &role, chrono::TimeDelta::minutes(30));
    if tokio::time::timeout(Duration::from_secs(3), longer).await.is_ok_and(|granted| granted.is_ok()) {
        return Err("it was granted on the copy, which counts as the original".into());
    }
    refused(&jit, "copy", &account, &role).await?;
    revoked(&jit, id).await?;
    if held(cluster.running(), &role, &account).await? {
        return Err("the role stays for an access on the copy".into());
    }
    // with a declared realm they are two, and each has its own memberships
    let apart = declared(other, Some("staging"))?;
    jit.put_target(TargetName::new("copy")?, apart).await?;
    jit.confirm_target(&actor("frank")?, &TargetName::new("copy")?).await?;
    let there = usable(&jit, "copy", &account, &role, chrono::TimeDelta::minutes(30)).await?;
    if held(cluster.running(), &role, &account).await? || !held(copy.running(), &role, &account).await? {
        return Err(format!("{there} is not where it was asked for").into());
    }
    pump.stop().await;
    Ok(())
}

/// Leads the target's address to another server while jit is connected. The other server's answer
/// to a revoke proves nothing.
pub(crate) async fn moved_address(major: u32) -> Result<(), BoxError> {
    let mut cluster = Cluster::start_fresh(major).await?;
    let Scene { world, account, role, .. } = Scene::new(cluster.running().clone()).await?;
    cluster.stop(Down::Fast)?;
    let copy = cluster.copy().await?;
    cluster.start().await?;
    let other = Cluster::start_fresh(major).await?;
    let broker = world.broker();
    // another cluster with the same names
    let names = format!(
        "CREATE ROLE {broker} LOGIN NOINHERIT PASSWORD 'secret of {broker}'; GRANT pg_signal_backend TO {broker}; \
         CREATE ROLE {account} LOGIN; CREATE ROLE {role}; GRANT {role} TO {broker} WITH ADMIN OPTION"
    );
    other.running().admin("postgres").await?.batch_execute(&names).await?;
    let proxy = Proxy::before(cluster.running().port).await?;
    let jit = engine(&role, &[("db", &world.database_at(proxy.port())?)]).await?;
    let pump = jit.start();
    for elsewhere in [copy.running(), other.running()] {
        let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::hours(1)).await?;
        proxy.lead_to(elsewhere.port);
        jit.release(&actor(&account)?, id).await?;
        // also after retries, on a connection to the other server
        for _ in 0..4 {
            stays_due(&jit, id).await?;
        }
        if !held(cluster.running(), &role, &account).await? || held(elsewhere, &role, &account).await? {
            return Err("what was granted is not where it was granted alone".into());
        }
        proxy.lead_to(cluster.running().port);
        revoked(&jit, id).await?;
        if held(cluster.running(), &role, &account).await? {
            return Err("the role stays where it was granted".into());
        }
    }
    pump.stop().await;
    Ok(())
}

/// Restores a dump of 15 in 17, where the bootstrap superuser becomes the grantor of all
/// memberships.
pub(crate) async fn upgraded() -> Result<(), BoxError> {
    let old = Cluster::start_fresh(15).await?;
    let Scene { world, database, account, role, .. } = Scene::new(old.running().clone()).await?;
    let jit = engine(&role, &[("db", &database)]).await?;
    let pump = jit.start();
    let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::hours(1)).await?;
    let new = Cluster::start_fresh(17).await?;
    let admin = new.running().admin("postgres").await?;
    // the superuser exists already
    let dump = old.dumped_accounts().await?.replace("CREATE ROLE postgres;", "");
    admin.batch_execute(&dump).await?;
    if !held(new.running(), &role, &account).await? {
        return Err("the dump does not bring the membership along".into());
    }
    jit.put_target(TargetName::new("db")?, world.database_at(new.running().port)?).await?;
    jit.release(&actor(&account)?, id).await?;
    stays_due(&jit, id).await?;
    same_data(&jit, "db").await?;
    stays_due(&jit, id).await?;
    admin.batch_execute(&format!("REVOKE {role} FROM {account} GRANTED BY postgres")).await?;
    revoked(&jit, id).await?;
    pump.stop().await;
    Ok(())
}

/// Checks whether the account is in the role, whoever granted it.
async fn held(running: &RunningPostgres, role: &str, account: &str) -> Result<bool, BoxError> {
    let admin = running.admin("postgres").await?;
    let statement =
        "SELECT 1 FROM pg_auth_members m WHERE m.roleid = $1::text::regrole AND m.member = $2::text::regrole";
    Ok(admin.query_opt(statement, &[&role, &account]).await?.is_some())
}
