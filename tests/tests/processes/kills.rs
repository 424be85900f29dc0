//! Runs `kill -9` around every step of a grant and of a revoke. Store, catalog and sessions agree
//! afterwards.

use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::proxy::Way as To;
use tokio::process::Child;

use crate::Tests;
use crate::stage::{BY_TLS, Stage, end};

/// Text in the packet that looks before a grant.
pub(crate) const LOOK: &str = "WITH RECURSIVE subject";
/// Text in the packet that grants, and in the packet that revokes.
pub(crate) const CHANGE: &str = "EXECUTE current_setting('jit.run')";
/// Text in the first packet of a connection.
pub(crate) const HELLO: &str = "may_identify";
/// Text in the packet that ends sessions.
pub(crate) const TERMINATE: &str = "pg_terminate_backend(o.pid)";

pub(crate) fn all(tests: &mut Tests) {
    tests.add_both("law_15_killed_before_the_intent_of_a_grant", |server| async move {
        let stage = Stage::on(&server).await?;
        granting(&stage, To::ToServer, LOOK, "scheduled", false).await
    });
    tests.add_both("law_15_killed_after_the_intent_of_a_grant_and_its_packet_arrives_late", |server| async move {
        let stage = Stage::on(&server).await?;
        granting(&stage, To::ToServer, CHANGE, "granting", false).await
    });
    tests.add_both("law_15_killed_after_a_grant_and_before_its_record", |server| async move {
        let stage = Stage::on(&server).await?;
        granting(&stage, To::ToClient, CHANGE, "granting", true).await
    });
    tests.add_both("law_15_killed_while_a_grant_waits_for_a_lock_that_is_freed_then", |server| async move {
        waiting_grant(&Stage::on(&server).await?, Freed::BeforeTakeOver).await
    });
    tests.add_both(
        "law_15_killed_while_a_grant_waits_for_a_lock_that_is_freed_after_the_take_over",
        |server| async move { waiting_grant(&Stage::on(&server).await?, Freed::AfterTakeOver).await },
    );
    tests.add_both("law_04_killed_before_the_intent_of_a_revoke", |server| async move {
        let stage = Stage::on(&server).await?;
        revoking(&stage, To::ToServer, HELLO, "active", Left::Both).await
    });
    tests.add_both("law_04_killed_after_the_intent_of_a_revoke_and_its_packet_arrives_late", |server| async move {
        let stage = Stage::on(&server).await?;
        revoking(&stage, To::ToServer, CHANGE, "revoking", Left::Both).await
    });
    tests.add_both("law_04_killed_after_a_revoke_and_before_its_sessions_end", |server| async move {
        let stage = Stage::on(&server).await?;
        revoking(&stage, To::ToServer, TERMINATE, "revoking", Left::Session).await
    });
    tests.add_both("law_04_killed_after_a_revoke_and_before_its_record", |server| async move {
        let stage = Stage::on(&server).await?;
        revoking(&stage, To::ToClient, TERMINATE, "revoking", Left::Nothing).await
    });
    tests.add_both("law_04_killed_while_a_revoke_waits_for_a_lock", |server| async move {
        waiting_revoke(&Stage::on(&server).await?).await
    });
}

/// Moment at which the lock is freed for which the killed process's statement waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freed {
    BeforeTakeOver,
    AfterTakeOver,
}

/// Leftovers at the moment when a revoking process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Both,
    Session,
    Nothing,
}

async fn kill(mut victim: Child) -> Result<()> {
    victim.start_kill()?;
    let status = victim.wait().await?;
    ensure!(!status.success(), "it ended before it was killed");
    Ok(())
}

/// Freezes a grant at the needle, kills its process, and lets another one go on.
async fn granting(stage: &Stage, way: To, needle: &str, state: &str, member: bool) -> Result<()> {
    let id = stage.asks("orders", "10m").await?;
    stage.proxy.freeze(way, needle);
    let victim = stage.victim(&["approve", &id, "--as=bob"])?;
    stage.proxy.caught().await?;
    let then = stage.access(&id).await?;
    ensure!(then["state"] == state, "the moment is another one: {then}");
    ensure!(stage.is_member().await? == member, "the moment is another one: the catalog");
    let latest_end = end(&then).ok();
    kill(victim).await?;
    let _pump = stage.pump()?;
    stage.until(&id, &["active", "failed"]).await?;
    // the held packet of the dead process arrives now
    stage.proxy.thaw();
    stage.until_plain_gone().await?;
    let agreed = stage.agree(&id, latest_end).await?;
    ensure!(agreed == "active", "it could be granted, and is {agreed}");
    stage.closes(&id).await
}

/// Kills a process while its GRANT waits for a lock. The GRANT commits afterwards, or would.
async fn waiting_grant(stage: &Stage, freed: Freed) -> Result<()> {
    let id = stage.asks("orders", "10m").await?;
    let locker = stage.lock_role().await?;
    let victim = stage.victim(&["approve", &id, "--as=bob"])?;
    stage.until_broker("wait_event_type = 'Lock'", 1).await?;
    let then = stage.access(&id).await?;
    ensure!(then["state"] == "granting", "the moment is another one: {then}");
    let latest_end = end(&then)?;
    kill(victim).await?;
    if freed == Freed::BeforeTakeOver {
        locker.batch_execute("ROLLBACK").await?;
        stage.until_broker("wait_event_type = 'Lock'", 0).await?;
        stage.until_member().await?;
    }
    let _pump = stage.pump()?;
    if freed == Freed::AfterTakeOver {
        // the survivor has sent its own statement by then, which waits as well
        stage.until_broker(&format!("wait_event_type = 'Lock' AND {BY_TLS}"), 1).await?;
        ensure!(!stage.is_member().await?, "it holds a role for which it waits");
        locker.batch_execute("ROLLBACK").await?;
    }
    stage.until(&id, &["active", "failed"]).await?;
    stage.agree(&id, Some(latest_end)).await?;
    stage.closes(&id).await
}

/// Freezes a revoke at the needle, kills its process, and lets another one go on.
async fn revoking(stage: &Stage, way: To, needle: &str, state: &str, left: Left) -> Result<()> {
    let id = stage.holds("3s").await?;
    let session = stage.session().await?;
    stage.until_overdue(&id).await?;
    stage.proxy.freeze(way, needle);
    let victim = stage.victim(&["run-due"])?;
    stage.proxy.caught().await?;
    let then = stage.access(&id).await?;
    ensure!(then["state"] == state, "the moment is another one: {then}");
    ensure!(stage.is_member().await? == (left == Left::Both), "the moment is another one: the catalog");
    if left == Left::Session {
        session.batch_execute("SELECT 1").await?;
    }
    kill(victim).await?;
    let _pump = stage.pump()?;
    stage.until(&id, &["revoked"]).await?;
    ensure!(session.batch_execute("SELECT 1").await.is_err(), "its session lives on");
    stage.agree(&id, None).await?;
    let again = stage.holds("10m").await?;
    // the old REVOKE arrives when another access holds the same membership
    stage.proxy.thaw();
    stage.until_plain_gone().await?;
    ensure!(stage.is_member().await?, "a REVOKE of a dead process took what another access holds");
    stage.agree(&again, None).await?;
    stage.closes(&again).await
}

async fn waiting_revoke(stage: &Stage) -> Result<()> {
    let id = stage.holds("10m").await?;
    let session = stage.session().await?;
    let locker = stage.lock_role().await?;
    let victim = stage.victim(&["release", &id, "--as=alice"])?;
    stage.until_broker("wait_event_type = 'Lock'", 1).await?;
    kill(victim).await?;
    let _pump = stage.pump()?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(stage.is_member().await?, "the catalog changed in spite of the lock");
    locker.batch_execute("ROLLBACK").await?;
    stage.until(&id, &["revoked"]).await?;
    ensure!(session.batch_execute("SELECT 1").await.is_err(), "its session lives on");
    stage.closes(&id).await
}
