//! Time from the last approval to the commit of the GRANT.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::TimeDelta;
use jit_core::engine::{AccessRequest, Jit};
use jit_postgres::{PostgresStore, StoreConfig};
use jit_tests::places::OnPostgres;

use crate::bed::{Bed, PATIENCE, actor, engine, user};
use crate::server::{ByHand as _, Server, postgres, prepared};
use crate::table::{Row, Spread, Table};

const ROUNDS: usize = 400;
pub const AIM: &str = "p50 at most 3 x a raw GRANT, p99 at most 5 ms";
const WHAT: &str = "last approval to active (commit of the GRANT and its record), PostgreSQL 17";

pub async fn rows(table: &mut Table) -> Result<()> {
    for (dead_mans_switch, with) in [(false, ""), (true, ", a dead-man armed and moved")] {
        let bed = Bed::make(ROUNDS * 2).await?;
        if dead_mans_switch {
            bed.admin().await?.batch_execute(&jit_postgres::dead_mans_switch("jit_broker", None)).await?;
        }
        let row = Row::new(format!("{WHAT}, SqliteStore{with}"), AIM);
        table.add(approvals(row, &bed.server, &bed.jit, ROUNDS).await?);
    }
    let (server, of_store) = (prepared(ROUNDS * 2).await?, postgres(17).await?);
    let place = OnPostgres::make(of_store.running()).await?;
    let store = PostgresStore::open(StoreConfig::new(place.node(of_store.running().port)?)).await?;
    let jit = engine(&server, store).await?;
    let row = Row::new(
        format!("{WHAT}, PostgresStore on another PostgreSQL 17"),
        "p50 at most 5 x a raw GRANT, p99 at most 5 ms",
    );
    table.add(approvals(row, &server, &jit, ROUNDS).await?);
    Ok(())
}

/// Fills the row. Floor and engine take turns, so that both see the same machine.
pub async fn approvals(row: Row, server: &impl Server, jit: &Jit, rounds: usize) -> Result<Row> {
    let mut admin = server.admin().await?;
    let pump = jit.start();
    let mut floor = Vec::new();
    let mut taken = Vec::new();
    for round in 0..rounds {
        let started = Instant::now();
        admin.run(&format!("GRANT asked TO u{}", rounds + round)).await?;
        floor.push(started.elapsed());
        taken.push(approval(jit, round).await?);
    }
    pump.stop().await;
    let (floor, taken) = (Spread::of(floor.split_off(20)), Spread::of(taken.split_off(20)));
    Ok(row.spread(&taken, &floor, "raw GRANT"))
}

/// Measures the time from the approval of this user's request to active.
pub async fn approval(jit: &Jit, number: usize) -> Result<Duration> {
    let ask = AccessRequest::new("pg", "asked", TimeDelta::hours(1)).because("bench");
    let access = jit.request(&user(number), ask).await?;
    let mut events = jit.events();
    let started = Instant::now();
    jit.approve(&actor("bob"), access.id(), "").await?;
    loop {
        let happened = tokio::time::timeout(PATIENCE, events.next()).await?.context("the engine is gone")??;
        if happened.access.is_some_and(|view| view.id() == access.id() && view.state == "active") {
            return Ok(started.elapsed());
        }
    }
}
