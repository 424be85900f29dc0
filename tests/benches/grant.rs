//! Time from the last approval to the commit of the GRANT.

use std::time::Instant;

use anyhow::{Context as _, Result};
use chrono::TimeDelta;
use jit_core::engine::AccessRequest;

use crate::bed::{Bed, PATIENCE, actor, user};
use crate::table::{Row, Spread, Table};

const ROUNDS: usize = 400;

pub async fn rows(table: &mut Table) -> Result<()> {
    for dead_mans_switch in [false, true] {
        approvals(table, dead_mans_switch).await?;
    }
    Ok(())
}

async fn approvals(table: &mut Table, dead_mans_switch: bool) -> Result<()> {
    let bed = Bed::make(ROUNDS * 2).await?;
    let admin = bed.admin().await?;
    if dead_mans_switch {
        admin.batch_execute(&jit_postgres::dead_mans_switch("jit_broker", None)).await?;
    }
    let pump = bed.jit.start();
    let mut floor = Vec::new();
    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        // floor and engine take turns, so that both see the same machine
        let started = Instant::now();
        admin.batch_execute(&format!("GRANT asked TO u{}", ROUNDS + round)).await?;
        floor.push(started.elapsed());
        let ask = AccessRequest::new("pg", "asked", TimeDelta::hours(1)).because("bench");
        let access = bed.jit.request(&user(round), ask).await?;
        let mut events = bed.jit.events();
        let started = Instant::now();
        bed.jit.approve(&actor("bob"), access.id(), "").await?;
        loop {
            let happened = tokio::time::timeout(PATIENCE, events.next()).await?.context("the engine is gone")??;
            if happened.access.is_some_and(|view| view.id() == access.id() && view.state == "active") {
                break;
            }
        }
        taken.push(started.elapsed());
    }
    pump.stop().await;
    let (floor, taken) = (Spread::of(floor.split_off(20)), Spread::of(taken.split_off(20)));
    let with = if dead_mans_switch { ", a dead-man armed and moved" } else { "" };
    let what =
        format!("last approval to active (commit of the GRANT and its record), PostgreSQL 17, SqliteStore{with}");
    table.add(Row::new(what, "p50 at most 3 x a raw GRANT, p99 at most 5 ms").spread(&taken, &floor, "raw GRANT"));
    Ok(())
}
