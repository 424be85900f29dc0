//! Sends SIGSTOP before a packet, and SIGCONT after another process took over. The stopped process
//! can neither record nor cause anything.

use anyhow::{Result, ensure};
use jit_tests::proxy::Way as To;

use crate::Tests;
use crate::kills::{CHANGE, LOOK};
use crate::stage::{Stage, end, ended, signal};

pub(crate) fn all(tests: &mut Tests) {
    tests.add_both("law_14_stopped_before_the_intent_of_a_grant", |server| async move {
        granting(&Stage::on(&server).await?, To::ToClient, LOOK).await
    });
    tests.add_both("law_14_stopped_before_a_grant_is_sent", |server| async move {
        granting(&Stage::on(&server).await?, To::ToServer, CHANGE).await
    });
    tests.add_both("law_14_stopped_before_a_revoke_is_sent", |server| async move {
        revoking(&Stage::on(&server).await?).await
    });
}

async fn granting(stage: &Stage, way: To, needle: &str) -> Result<()> {
    let id = stage.asks("orders", "10m").await?;
    stage.proxy.freeze(way, needle);
    let victim = stage.victim(&["approve", &id, "--as=bob"])?;
    stage.proxy.caught().await?;
    let latest_end = end(&stage.access(&id).await?).ok();
    signal(&victim, "STOP")?;
    let pump = stage.pump()?;
    stage.until(&id, &["active"]).await?;
    stage.jit(&["release", &id, "--as=alice"]).await?.done()?;
    stage.proxy.thaw();
    signal(&victim, "CONT")?;
    ended(victim).await?;
    stage.until_plain_gone().await?;
    ensure!(stage.agree(&id, latest_end).await? == "revoked", "who was stopped changed what others had ended");
    drop(pump);
    stage.closes(&id).await
}

async fn revoking(stage: &Stage) -> Result<()> {
    let id = stage.holds("3s").await?;
    let session = stage.session().await?;
    stage.until_overdue(&id).await?;
    stage.proxy.freeze(To::ToServer, CHANGE);
    let victim = stage.victim(&["run-due"])?;
    stage.proxy.caught().await?;
    signal(&victim, "STOP")?;
    let pump = stage.pump()?;
    stage.until(&id, &["revoked"]).await?;
    ensure!(session.batch_execute("SELECT 1").await.is_err(), "its session lives on");
    let again = stage.holds("10m").await?;
    stage.proxy.thaw();
    signal(&victim, "CONT")?;
    ended(victim).await?;
    stage.until_plain_gone().await?;
    ensure!(stage.is_member().await?, "a REVOKE of a stopped process took what another access holds");
    drop(pump);
    stage.closes(&again).await
}
