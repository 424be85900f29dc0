//! Tests of several nodes on one store: any of them may die, be paused, be cut off or have a wrong
//! clock.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use jit_core::clock::Time;
use jit_core::store::{Change, ClockState, Store as _};
use jit_postgres::{PostgresStore, StoreConfig};
use jit_tests::places::OnPostgres;
use jit_tests::proxy::Proxy;
use jit_tests::server::{Cluster, FAKETIME};
use tokio::process::Child;

use crate::stage::{PATIENCE, Stage, Way, end, ended, signal};
use crate::{MAJOR, StoreKind, Tests};

/// Longest delay of a revoke on a busy machine: the next claim, and the call.
const LATE: Duration = Duration::from_secs(5);

pub(crate) fn all(tests: &mut Tests) {
    let shared = StoreKind::Shared;
    tests.add_on(shared, "law_04_a_node_ends_what_one_that_was_killed_began", |ground| async move {
        killed(&Stage::on(&ground).await?).await
    });
    tests.add_on(shared, "law_14_a_paused_node_holds_up_nobody", |ground| async move {
        paused(&Stage::on(&ground).await?).await
    });
    tests.add_on(shared, "law_10_nodes_two_hours_off_end_nothing_early_or_late", |ground| async move {
        wrong_clocks(&Stage::on(&ground).await?).await
    });
    tests.add_on(shared, "law_09_the_log_of_a_shared_store_is_closed_to_all", |ground| async move {
        closed_log(&Stage::on(&ground).await?).await
    });
    tests.add_on(shared, "law_10_the_clock_of_the_stores_server_set_back_prolongs_nothing", |_| server_clock());
    tests.add_on(shared, "law_03_windows_end_while_the_store_cannot_be_reached", |ground| async move {
        store_away(&Stage::on(&ground).await?).await
    });
    tests.add_on(shared, "law_04_a_node_cut_off_from_the_store_leaves_its_work_to_others", |ground| async move {
        cut_off(&Stage::on(&ground).await?).await
    });
}

async fn killed(stage: &Stage) -> Result<()> {
    let mut pumps = vec![stage.pump()?, stage.pump()?];
    for round in 0..3 {
        let id = stage.holds("2s").await?;
        let mut victim = pumps.remove(0);
        victim.start_kill()?;
        victim.wait().await?;
        stage.until(&id, &["revoked"]).await?;
        ensure!(!stage.is_member().await?, "round {round}: it is said to be gone, and is not");
        pumps.push(stage.pump()?);
    }
    let id = stage.holds("10m").await?;
    drop(pumps);
    stage.closes(&id).await
}

/// Pauses several nodes at once, at any point of their work. The others go on at once.
async fn paused(stage: &Stage) -> Result<()> {
    let pumps: Vec<Child> = (0..3).map(|_| stage.pump()).collect::<Result<_>>()?;
    for round in 0..6 {
        let id = stage.asks("orders", "10m").await?;
        // pauses at some moment of the work that this begins
        let approve = ["approve", &id, "--as=bob"];
        let approving = stage.jit(&approve);
        let pausing = async {
            tokio::time::sleep(Duration::from_millis(5 * round)).await;
            pumps.iter().try_for_each(|pump| signal(pump, "STOP"))
        };
        let (approved, paused) = tokio::join!(approving, pausing);
        paused?;
        approved?.done()?;
        let begun = Instant::now();
        // commits of other processes, while the paused nodes hold whatever they hold
        let other = stage.asks("stock", "1h").await?;
        stage.jit(&["cancel", &other, "--as=alice"]).await?.done()?;
        let took = begun.elapsed();
        ensure!(took < Duration::from_secs(10), "round {round}: others waited {took:?} for nodes that were paused");
        stage.until(&id, &["active", "granting"]).await?;
        pumps.iter().try_for_each(|pump| signal(pump, "CONT"))?;
        stage.until(&id, &["active"]).await?;
        stage.jit(&["release", &id, "--as=alice"]).await?.done()?;
        stage.until(&id, &["revoked"]).await?;
        ensure!(!stage.is_member().await?, "round {round}: it is said to be gone, and is not");
    }
    let id = stage.holds("10m").await?;
    drop(pumps);
    stage.closes(&id).await
}

async fn wrong_clocks(stage: &Stage) -> Result<()> {
    ensure!(Path::new(FAKETIME).exists(), "{FAKETIME} is missing: install libfaketime");
    let off = |by: &str| {
        let mut command = stage.command(Way::Straight, &["pump"])?;
        command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", by).env("DONT_FAKE_MONOTONIC", "1");
        stage.logged(command)
    };
    let mut pumps = vec![off("+2h")?, stage.pump()?, off("-2h")?];
    // each wrong clock also ends one window alone
    for alone in [None, Some("+2h"), Some("-2h")] {
        if let Some(by) = alone {
            pumps.clear();
            pumps.push(off(by)?);
        }
        let id = stage.holds("6s").await?;
        let end = end(&stage.access(&id).await?)?;
        loop {
            let row = stage.admin.query_one("SELECT clock_timestamp() AS now", &[]).await?;
            let now: Time = row.try_get("now")?;
            let member = stage.is_member().await?;
            ensure!(member || now >= end, "{alone:?}: it was gone at {now}, before its end {end}");
            ensure!(!member || now <= end + LATE, "{alone:?}: it was there at {now}, after its end {end}");
            if !member {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let access = stage.until(&id, &["revoked"]).await?;
        let ended: Time = access["ended_at"].as_str().context("no end")?.parse()?;
        ensure!(ended >= end && ended <= end + LATE, "{alone:?}: recorded as ended at {ended}, its end is {end}");
    }
    drop(pumps);
    let id = stage.holds("10m").await?;
    stage.closes(&id).await
}

/// Sets the server's clock back by an hour while two stores are open. Another store opens after the
/// clock was two days back.
async fn server_clock() -> Result<()> {
    let cluster = Cluster::start_with_clock(MAJOR).await?;
    let place = OnPostgres::make(cluster.running()).await?;
    let open = || async {
        Ok::<_, anyhow::Error>(PostgresStore::open(StoreConfig::new(place.node(cluster.running().port)?)).await?)
    };
    let stores = [open().await?, open().await?];
    let (start, began) = (stores[0].now().await?, Instant::now());
    // a time that one store saw, but never committed, reaches the other one with the next poll
    let told = TimeDelta::milliseconds(1_500);
    let (mut last, mut each) = (start, [start; 2]);
    for hours in [0, -1, -2] {
        cluster.set_clock(hours * 3600)?;
        for _ in 0..60 {
            for (store, own) in stores.iter().zip(&mut each) {
                let now = store.now().await?;
                ensure!(now >= *own, "{hours} hours: {now} after {own} in one store");
                ensure!(now >= last - told, "{hours} hours: {now} after {last}");
                (*own, last) = (now, last.max(now));
            }
            let committed = stores[0].commit(Change::default()).await?.at;
            ensure!(stores[1].now().await? >= committed, "{hours} hours: what was committed is later");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let passed = (last - start).to_std()?;
        let off = passed.abs_diff(began.elapsed());
        ensure!(off < Duration::from_secs(3), "{hours} hours: {passed:?} of the store's time in {:?}", began.elapsed());
        ensure!(stores[1].clock_state().await? == ClockState::Good, "{:?}", stores[1].clock_state().await?);
    }
    drop(stores);
    cluster.set_clock(-4 * 24 * 3600)?;
    let (one, other) = (open().await?, open().await?);
    for store in [&one, &other] {
        ensure!(matches!(store.clock_state().await?, ClockState::Doubtful { .. }), "{:?}", store.clock_state().await?);
    }
    let now = other.now().await?;
    ensure!(now >= last - told, "{now} after {last}");
    // the time counts on from where it was, even with a doubtful clock
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(other.now().await? >= now + Duration::from_secs(1), "the store's time stands still");
    one.accept_clock().await?;
    ensure!(other.clock_state().await? == ClockState::Good, "{:?}", other.clock_state().await?);
    ensure!(other.now().await? >= now, "time went back when the clock was accepted");
    Ok(())
}

/// Checks that nobody changes an entry: no node, no owner, no auditor. An auditor reads the log and
/// nothing else.
async fn closed_log(stage: &Stage) -> Result<()> {
    let id = stage.holds("10m").await?;
    stage.jit(&["audit", "verify"]).await?.done()?;
    let store = stage.store.as_ref().context("no shared store")?;
    let name = store.name();
    for user in ["node", "owner", "auditor"] {
        let session = stage.running.session(&format!("{name}_{user}"), name).await?;
        let mut refused =
            vec!["UPDATE jit.entries SET body = ''", "DELETE FROM jit.numbers", "TRUNCATE jit.entries CASCADE"];
        if user != "owner" {
            refused.push("INSERT INTO jit.entries (id, tenant, body) VALUES (gen_random_uuid(), 'default', '')");
            refused.push("UPDATE jit.records SET body = ''");
            refused.push("DELETE FROM jit.claims");
            refused.push("ALTER TABLE jit.entries DISABLE TRIGGER ALL");
        }
        if user == "auditor" {
            refused.push("SELECT * FROM jit.records");
            refused.push("SELECT * FROM jit.entries");
            refused.push("SELECT jit.time(NULL)");
        }
        for statement in refused {
            let done = session.batch_execute(statement).await;
            let code = done.as_ref().err().and_then(|error| error.code().map(|code| code.code().to_owned()));
            ensure!(code.as_deref() == Some("42501"), "{user} may `{statement}`: {done:?}");
        }
    }
    let auditor = stage.running.session(&format!("{name}_auditor"), name).await?;
    let row = auditor.query_one("SELECT count(*) FROM jit.audit_log WHERE subject = $1", &[&id]).await?;
    ensure!(row.try_get::<_, i64>(0)? > 0, "the auditor does not see the access");
    let row = auditor.query_one("SELECT count(*) FROM jit.audit_checkpoints", &[]).await?;
    ensure!(row.try_get::<_, i64>(0)? > 0, "the auditor does not see a checkpoint");
    stage.closes(&id).await
}

/// Starts a pump whose connection to the store can be cut.
fn cuttable(stage: &Stage, way: &Proxy) -> Result<Child> {
    let store = stage.store.as_ref().context("no shared store")?;
    let config = std::fs::read_to_string(stage.path("jit.toml"))?;
    let (port, name) = (store.server().port, store.name());
    let direct = format!("127.0.0.1:{port}/{name}");
    ensure!(config.contains(&direct), "the store is somewhere else: {config}");
    stage.write("cut.toml", &config.replace(&direct, &format!("127.0.0.1:{}/{name}", way.port())))?;
    stage.logged(stage.command_with("cut.toml", &["pump"])?)
}

/// Cuts the store off while a window ends. The node ends the window, and records it when the store
/// is back.
async fn store_away(stage: &Stage) -> Result<()> {
    let store = stage.store.as_ref().context("no shared store")?;
    let way = Proxy::before(store.server().port).await?;
    let pump = cuttable(stage, &way)?;
    let id = stage.holds("15s").await?;
    let session = stage.session().await?;
    let end = end(&stage.access(&id).await?)?;
    // long enough for the node to have read the coming ends
    tokio::time::sleep(Duration::from_secs(12)).await;
    way.cut();
    loop {
        let row = stage.admin.query_one("SELECT clock_timestamp() AS now", &[]).await?;
        let now: Time = row.try_get("now")?;
        let member = stage.is_member().await?;
        ensure!(member || now >= end, "it was gone at {now}, before its end {end}");
        ensure!(!member || now <= end + 2 * LATE, "it was there at {now}, after its end {end}: {}", stage.pump_said());
        if !member {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(stage.state(&id).await? == "active", "somebody recorded it");
    way.mend();
    stage.until(&id, &["revoked"]).await?;
    ensure!(session.batch_execute("SELECT 1").await.is_err(), "its session lives on");
    // the event is logged even if the node is stopped before it had the time
    signal(&pump, "TERM")?;
    let pump = ended(pump).await?;
    ensure!(pump.code == Some(0), "the pump did not stop well: {}", stage.pump_said());
    stage.jit(&["audit", "export", "ahead.jsonl"]).await?.done()?;
    let told = std::fs::read_to_string(stage.path("ahead.jsonl"))?;
    let told = told.lines().filter(|line| line.contains("\"ended-ahead\"") && line.contains(&id)).count();
    ensure!(told == 1, "the log tells {told} times that it was ended while the store was away");
    stage.closes(&id).await
}

/// Cuts one node off from the store while it works. Another one does the work, and the first comes
/// back.
async fn cut_off(stage: &Stage) -> Result<()> {
    let store = stage.store.as_ref().context("no shared store")?;
    let way = Proxy::before(store.server().port).await?;
    let first = cuttable(stage, &way)?;
    let id = stage.holds("3s").await?;
    way.cut();
    let second = stage.pump()?;
    let begun = Instant::now();
    stage.until(&id, &["revoked"]).await?;
    ensure!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
    way.mend();
    drop(second);
    // the first node works again
    let again = stage.holds("3s").await?;
    stage.until(&again, &["revoked"]).await?;
    drop(first);
    let id = stage.holds("10m").await?;
    stage.closes(&id).await
}
