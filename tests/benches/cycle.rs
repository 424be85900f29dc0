//! Full cycles a second, from request to revoked, with several in parallel.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Result;
use chrono::TimeDelta;
use jit_core::engine::{AccessRequest, Jit};

use crate::bed::{Bed, PATIENCE, user};
use crate::cost::Totals;
use crate::table::{Row, Table, rate};

pub async fn rows(table: &mut Table) -> Result<()> {
    let mut bed = Bed::make(4_096).await?;
    let admin = bed.admin().await?;
    let started = Instant::now();
    let pairs = 1_000;
    for number in 0..pairs {
        admin.batch_execute(&format!("GRANT free TO u{number}")).await?;
        admin.batch_execute(&format!("REVOKE free FROM u{number}")).await?;
    }
    let floor = rate(pairs, started.elapsed());
    for (parallel, count, aim) in [(1, 600, "500"), (8, 2_400, "1,700"), (64, 4_096, "5,000")] {
        bed.fresh().await?;
        let pump = bed.jit.start();
        once(&bed.jit, 0).await?;
        let before = Totals::read(&bed.cluster, &admin).await?;
        let next = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..parallel {
            let (jit, next) = (bed.jit.clone(), Arc::clone(&next));
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
        let took = started.elapsed();
        let cost = Totals::read(&bed.cluster, &admin).await?.since(before, count);
        pump.stop().await;
        let row = Row::new(format!("request to revoked, {parallel} in parallel"), &format!("{aim}/s"));
        table.add(row.rate(rate(count, took), floor, "raw GRANT and REVOKE one by one").cost(cost));
    }
    Ok(())
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
