//! An end waits for the replica that is named: what people see meanwhile, and afterwards.

use std::time::Duration;

use anyhow::{Result, ensure};
use jit_tests::server::{Cluster, Down};
use serde_json::Value;

use crate::stage::Stage;
use crate::{MAJOR, Tests};

pub(crate) fn all(tests: &mut Tests) {
    let postgres = format!("postgres-{MAJOR}");
    tests.add_with(&postgres, "law_05_an_end_is_overdue_until_its_replica_shows_it", || async move {
        let mut primary = Cluster::start_fresh(MAJOR).await?;
        let standby = primary.standby().await?;
        let stage = named(&primary, &standby, "").await?;
        let id = stage.holds("4s").await?;
        let alice = standby_session(&stage, &standby).await?;
        let admin = standby.running().admin("postgres").await?;
        admin.batch_execute("SELECT pg_wal_replay_pause()").await?;
        tokio::time::sleep(Duration::from_secs(4)).await;
        stage.jit(&["run-due"]).await?;
        ensure!(!stage.is_member().await?, "the primary's revoke waits for the replica");
        alice.batch_execute("SELECT 1").await?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        let said = stage.jit(&["run-due"]).await?;
        let all = said.out + &said.error;
        ensure!(said.code == Some(3) && all.contains("has not replayed the revoke yet"), "{:?} {all}", said.code);
        let overdue = stage.access(&id).await?;
        ensure!(overdue["state"] != "revoked" && overdue["overdue"] == true, "{overdue}");
        admin.batch_execute("SELECT pg_wal_replay_resume()").await?;
        let gone = until_revoked(&stage, &id).await?;
        ensure!(alice.batch_execute("SELECT 1").await.is_err(), "the session on the replica lives on");
        ensure!(told(&stage, &id, "\"replicas\":[\"127.0.0.1:").await?, "its entry names no replica: {gone}");
        Ok(())
    });
    tests.add_with(&postgres, "law_05_a_replica_that_is_down_delays_no_revoke", || async move {
        let mut primary = Cluster::start_fresh(MAJOR).await?;
        let mut standby = primary.standby().await?;
        let stage = named(&primary, &standby, "").await?;
        let id = stage.holds("3s").await?;
        standby.stop(Down::Fast)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        stage.jit(&["run-due"]).await?;
        ensure!(!stage.is_member().await?, "the primary's revoke waits for the replica");
        let open = stage.access(&id).await?.to_string();
        ensure!(open.contains("does not answer") && !open.contains("\"revoked\""), "{open}");
        standby.start().await?;
        until_revoked(&stage, &id).await?;
        // where the operator says so, its absence is told
        let stage = named(&primary, &standby, "replicas_missing = \"told\"\n").await?;
        let id = stage.holds("3s").await?;
        standby.stop(Down::Fast)?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        until_revoked(&stage, &id).await?;
        ensure!(told(&stage, &id, "\"replicas_missing\":[\"replica `127.0.0.1:").await?, "its entry does not tell");
        Ok(())
    });
}

/// With the standby as a replica of the target.
async fn named(primary: &Cluster, standby: &Cluster, more: &str) -> Result<Stage> {
    let stage = Stage::with(primary.running(), None).await?;
    let config = std::fs::read_to_string(stage.path("jit.toml"))?;
    let replicas = format!("replicas = [\"postgres://127.0.0.1:{}\"]\n{more}", standby.running().port);
    let config = config.replace("[targets.orders]\n", &format!("[targets.orders]\n{replicas}"));
    stage.write("jit.toml", &config)?;
    Ok(stage)
}

/// A session that took the role there, once it has heard of it.
async fn standby_session(stage: &Stage, standby: &Cluster) -> Result<tokio_postgres::Client> {
    let session = standby.running().session(&stage.account, "postgres").await?;
    for _ in 0..50 {
        if session.batch_execute(&format!("SET ROLE {}", stage.role)).await.is_ok() {
            return Ok(session);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("the standby does not follow")
}

async fn until_revoked(stage: &Stage, id: &str) -> Result<Value> {
    for _ in 0..60 {
        stage.jit(&["run-due"]).await?;
        let access = stage.access(id).await?;
        if access["state"] == "revoked" {
            return Ok(access);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    anyhow::bail!("it is not verified: {}", stage.access(id).await?)
}

/// Whether an entry of the access has this in it.
async fn told(stage: &Stage, id: &str, what: &str) -> Result<bool> {
    let log = std::fs::read_to_string(stage.path("audit.jsonl"))?;
    Ok(log.lines().any(|line| line.contains(id) && line.replace("\": ", "\":").contains(what)))
}
