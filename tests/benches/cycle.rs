//! Full cycles a second, from request to revoked, with several in parallel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use jit_core::engine::{AccessRequest, Jit};

use crate::bed::{Bed, PATIENCE, user};
use crate::cost::{Cost, Totals};
use crate::server::{ByHand as _, Server};
use crate::table::{Row, Table, rate};
use crate::traced::Traced;

pub const FLOOR: &str = "raw GRANT and REVOKE one by one";

pub async fn rows(table: &mut Table) -> Result<()> {
    let mut bed = Bed::make(4_096).await?;
    let admin = bed.admin().await?;
    let floor = raw(&bed.server, 1_000).await?;
    for (parallel, count, aim) in [(1, 600, "500"), (8, 2_400, "1,700"), (64, 4_096, "5,000")] {
        bed.fresh().await?;
        let pump = bed.jit.start();
        once(&bed.jit, 0).await?;
        let before = Totals::read(&bed.server, &admin).await?;
        let took = timed(&bed.jit, parallel, count).await?;
        let cost = Totals::read(&bed.server, &admin).await?.since(before, count);
        pump.stop().await;
        let cost = counted(&bed, parallel, count / 4, cost).await?;
        let row = Row::new(format!("request to revoked, {parallel} in parallel"), &format!("{aim}/s"));
        table.add(row.rate(rate(count, took), floor, FLOOR).cost(cost));
    }
    Ok(())
}

/// Adds the round trips and syncs of a cycle. They are counted in cycles of their own, because the
/// proxy that counts them takes time.
async fn counted(bed: &Bed, parallel: usize, count: usize, cost: Cost) -> Result<Cost> {
    let traced = Traced::make(&bed.server).await?;
    let pump = traced.jit.start();
    once(&traced.jit, 0).await?;
    let before = traced.counts();
    timed(&traced.jit, parallel, count).await?;
    let counts = traced.counts();
    pump.stop().await;
    Ok(cost.counted(before, counts, count))
}

/// Measures how many grants and revokes by hand the server takes a second, one after the other.
pub async fn raw(server: &impl Server, pairs: usize) -> Result<f64> {
    let mut admin = server.admin().await?;
    let started = Instant::now();
    for number in 0..pairs {
        admin.run(&format!("GRANT free TO u{number}")).await?;
        admin.run(&format!("REVOKE free FROM u{number}")).await?;
    }
    Ok(rate(pairs, started.elapsed()))
}

/// Runs one cycle of each user. Returns the time that all took.
pub async fn timed(jit: &Jit, parallel: usize, count: usize) -> Result<Duration> {
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..parallel {
        let (jit, next) = (jit.clone(), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                once(&jit, number).await?;
            }
        }));
    }
    for task in tasks {
        task.await??;
    }
    Ok(started.elapsed())
}

/// Runs one cycle of this user, from request to revoked.
pub async fn once(jit: &Jit, number: usize) -> Result<()> {
    let who = user(number);
    let access = jit.request(&who, AccessRequest::new("pg", "free", TimeDelta::hours(1)).because("bench")).await?;
    let access = jit.until_active(access.id(), PATIENCE).await?;
    jit.release(&who, access.id()).await?;
    let ended = jit.until_ended(access.id(), PATIENCE).await?;
    anyhow::ensure!(ended.state == "revoked", "{} is {}", ended.id(), ended.state);
    Ok(())
}
