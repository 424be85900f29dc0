//! A target that is back after an outage.

use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use futures_util::future::try_join_all;
use jit_core::engine::{AccessRequest, Filter};
use jit_tests::server::Down;

use crate::bed::{Bed, PATIENCE, user};
use crate::table::{Table, millis};

const OVERDUE: usize = 1_000;

pub async fn rows(table: &mut Table) -> Result<()> {
    let mut bed = Bed::make(OVERDUE).await?;
    let pump = bed.jit.start();
    let users: Vec<_> = (0..OVERDUE).map(user).collect();
    let asked = users
        .iter()
        .map(|who| bed.jit.request(who, AccessRequest::new("pg", "free", TimeDelta::seconds(6)).because("bench")));
    let asked = try_join_all(asked).await?;
    for access in &asked {
        bed.jit.until_active(access.id(), PATIENCE).await?;
    }
    bed.server.stop(Down::Fast)?;
    // windows last 6 s, and 5 s past the end they are overdue (law 4)
    tokio::time::sleep(Duration::from_secs(15)).await;
    let overdue = bed.jit.list(&Filter::open(), None, OVERDUE * 2).await?;
    let marked = overdue.iter().filter(|view| view.overdue).count();
    anyhow::ensure!(marked == OVERDUE, "{} of {OVERDUE} are open, {marked} overdue", overdue.len());
    let mut events = bed.jit.events();
    bed.server.start().await?;
    let up = Instant::now();
    let mut back = None;
    while !bed.jit.list(&Filter::open(), None, 1).await?.is_empty() {
        while let Some(happened) = events.try_next() {
            let happened = happened?;
            if happened.audit_event.what.as_str() == "target-back" {
                back.get_or_insert(Instant::now());
            }
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let done = Instant::now();
    pump.stop().await;
    let since_back = back.map_or_else(Duration::default, |back| done - back);
    table.row(
        &format!("{OVERDUE} overdue revokes after an outage, since the first probe that succeeded"),
        format!(
            "{} ({} since the server was up: it is probed at least once a second)",
            millis(since_back),
            millis(done - up)
        ),
        "-".to_owned(),
        "1 s",
    );
    Ok(())
}
