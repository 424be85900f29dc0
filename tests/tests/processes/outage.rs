//! Stops a server, which is down when a window ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jit_tests::server::{Cluster, Down};

use crate::stage::{PATIENCE, Stage, Way, ended, signal};
use crate::{Ground, MAJOR, Tests};

pub(crate) fn all(tests: &mut Tests) {
    tests.add_both(
        "law_04_a_window_that_ends_while_the_server_is_down_is_overdue_and_ended_when_it_is_back",
        |server| async move { down(&server).await },
    );
}

async fn down(elsewhere: &Ground) -> Result<()> {
    let mut cluster = Cluster::start_durable(MAJOR).await?;
    let mut stage = Stage::with(cluster.running(), elsewhere.store().await?).await?;
    let other = Stage::on(elsewhere).await?;
    stage.append("jit.toml", &other.target("elsewhere", "postgres", Way::Straight))?;
    stage.append(
        "policy.toml",
        &format!(
            "[accounts.elsewhere]\nalice = \"{}\"\n[[rule]]\nname = \"elsewhere\"\ntargets = [\"elsewhere\"]\n\
             roles = [\"{}\"]\nrequesters = [\"alice\"]\nmax = \"1h\"\n",
            other.account, other.role
        ),
    )?;
    // long enough that no command sees its end before the pump runs
    let here = stage.holds("15s").await?;
    let there = stage.asks_for("elsewhere", &other.role, "2s").await?;
    ensure!(stage.state(&there).await? == "active", "it is not granted at once");
    let pending = stage.asks("stock", "1h").await?;
    cluster.stop(Down::Killed)?;
    let pump = stage.pump()?;
    stage.until(&there, &["revoked"]).await?;
    stage.until(&pending, &["lapsed"]).await?;
    let access = stage.until(&here, &["revoking"]).await?;
    ensure!(access["overdue"] == true, "it is not overdue: {access}");
    ensure!(access["last_error"].as_str().is_some_and(|why| !why.is_empty()), "it is not said why: {access}");
    let list = stage.jit(&["list"]).await?.done()?.out;
    let line = list.lines().find(|line| line.contains(&here)).context("it is not listed")?;
    ensure!(line.contains("revoking (overdue)"), "{line}");
    // both lag a moment behind the store
    let told = || {
        let log = std::fs::read_to_string(stage.path("audit.jsonl")).unwrap_or_default();
        log.lines().any(|line| line.contains("\"what\":\"overdue\"") && line.contains(&here))
            && stage.pump_said().contains("OVERDUE")
    };
    let begun = Instant::now();
    while !told() {
        ensure!(begun.elapsed() < PATIENCE, "neither alert in the log nor by the pump: {}", stage.pump_said());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    ensure!(other.options().await?.is_none(), "the other server's role is still held");
    // a stopped pump reports by its exit code that it leaves something behind
    signal(&pump, "TERM")?;
    ensure!(ended(pump).await?.code == Some(3), "a pump that leaves something overdue ends as if all were well");
    let pump = stage.pump()?;
    cluster.start().await?;
    stage.admin = stage.running.admin("postgres").await?;
    let access = stage.until(&here, &["revoked"]).await?;
    ensure!(!access["evidence"].is_null(), "it is not verified: {access}");
    ensure!(access["overdue"] == false, "{access}");
    drop(pump);
    stage.closes(&here).await
}
