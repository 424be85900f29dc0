//! Trace of one cycle, with every call of the store and of the database.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use chrono::TimeDelta;
use jit_core::engine::{AccessRequest, Jit};

use crate::bed::{Bed, PATIENCE, actor, user};
use crate::cost::Totals;
use crate::table::millis;
use crate::traced::{Counts, Notes, Span, Traced};

/// Cycles before the measured ones.
const WARM: usize = 100;
/// Measured cycles.
const CYCLES: usize = 301;

/// Prints the median cycle, span by span, and what a cycle costs on average.
pub async fn print() -> Result<()> {
    let bed = Bed::make(WARM + CYCLES).await?;
    let traced = Traced::make(&bed.server).await?;
    let (jit, notes) = (&traced.jit, &traced.notes);
    let pump = jit.start();
    let admin = bed.admin().await?;
    let mut cycles = Vec::new();
    let mut before = (Totals::default(), Counts::default());
    for number in 0..WARM + CYCLES {
        if number == WARM {
            before = (Totals::read(&bed.server, &admin).await?, traced.counts());
        }
        // what follows the last cycle belongs to none
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(notes.take());
        once(jit, notes, number).await?;
        cycles.push(notes.take());
    }
    let (after, counts) = (Totals::read(&bed.server, &admin).await?, traced.counts());
    pump.stop().await;
    let mut cycles = cycles.split_off(WARM);
    cycles.sort_by_key(|spans| length(spans));
    if let Some(median) = cycles.get(cycles.len() / 2) {
        let start = median.first().map(|span| span.began).unwrap_or_default();
        println!("| at | took | what |\n| --- | --- | --- |");
        for span in median {
            println!("| {} | {} | {} |", millis(span.began.saturating_sub(start)), millis(span.took), span.what);
        }
    }
    let mut kinds: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    for span in cycles.iter().flatten() {
        let kind = kinds.entry(span.what.as_str()).or_default();
        *kind = (kind.0 + 1, kind.1 + span.took);
    }
    println!("\n| calls a cycle | time each | what |\n| --- | --- | --- |");
    for (what, (count, took)) in kinds {
        let each = took / u32::try_from(count).unwrap_or(1).max(1);
        println!("| {:.2} | {} | {what} |", count as f64 / cycles.len() as f64, millis(each));
    }
    let cost = after.since(before.0, CYCLES).counted(before.1, counts, CYCLES);
    println!("\nA cycle costs, on average (through a proxy, which counts the round trips):\n");
    println!("{}", serde_json::to_string_pretty(&cost)?);
    Ok(())
}

async fn once(jit: &Jit, notes: &Notes, number: usize) -> Result<()> {
    let (who, bob) = (user(number), actor("bob"));
    let ask = AccessRequest::new("pg", "asked", TimeDelta::hours(1)).because("bench");
    let access = notes.note("command: request", jit.request(&who, ask)).await?;
    notes.note("command: approve", jit.approve(&bob, access.id(), "")).await?;
    notes.note("until active", jit.until_active(access.id(), PATIENCE)).await?;
    notes.note("command: release", jit.release(&who, access.id())).await?;
    notes.note("until ended", jit.until_ended(access.id(), PATIENCE)).await?;
    Ok(())
}

fn length(spans: &[Span]) -> Duration {
    let start = spans.first().map(|span| span.began).unwrap_or_default();
    let end = spans.iter().map(|span| span.began + span.took).max().unwrap_or_default();
    end.saturating_sub(start)
}
