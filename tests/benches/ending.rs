//! The end of windows: one after the other, many together, an emergency stop.

use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use futures_util::future::try_join_all;
use jit_core::engine::{AccessView, Ask, Filter, Scope};

use crate::bed::{Bed, PATIENCE, actor, user};
use crate::table::{Spread, Table, millis};

const STEADY: usize = 300;
const TOGETHER: usize = 1_000;
const STOPPED: usize = 10_000;
const SESSIONS: usize = 300;

pub async fn rows(table: &mut Table) -> Result<()> {
    steady(table).await?;
    for members in [0, 100_000] {
        together(table, members).await?;
    }
    stop(table).await
}

/// 100 windows end a second, each with one session.
async fn steady(table: &mut Table) -> Result<()> {
    let bed = Bed::make(STEADY * 2).await?;
    let admin = bed.admin().await?;
    let mut floor = Vec::new();
    for number in STEADY..STEADY + 100 {
        let session = bed.cluster.running().session(&format!("u{number}"), "postgres").await?;
        let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        admin.batch_execute(&format!("GRANT free TO u{number}")).await?;
        let started = Instant::now();
        admin.batch_execute(&format!("REVOKE free FROM u{number}")).await?;
        admin.query("SELECT pg_terminate_backend($1, 1000)", &[&pid]).await?;
        admin.query("SELECT 1 FROM pg_auth_members WHERE member = to_regrole($1)", &[&format!("u{number}")]).await?;
        floor.push(started.elapsed());
    }
    let pump = bed.jit.start();
    let mut sessions = Vec::new();
    for number in 0..STEADY {
        sessions.push(bed.cluster.running().session(&format!("u{number}"), "postgres").await?);
    }
    // each asks for so long that the ends lie 10 ms apart, the first in 4 s
    let began = Instant::now();
    let mut ids = Vec::new();
    for number in 0..STEADY {
        let end = Duration::from_millis(4_000 + 10 * number as u64);
        let left = TimeDelta::from_std(end.saturating_sub(began.elapsed()))?;
        let access = bed.jit.request(&user(number), Ask::new("pg", "free", left).because("bench")).await?;
        ids.push(access.id());
    }
    let mut lags = Vec::new();
    for id in ids {
        let ended = bed.jit.until_ended(id, PATIENCE).await?;
        lags.push(lag(&ended));
    }
    pump.stop().await;
    table.row(
        "end of window to revoked, one session ended, verified, about 100 endings a second",
        Spread::of(lags).said(),
        format!("REVOKE, terminate, look by hand: {}", Spread::of(floor).said()),
        "p50 3 ms, p99 15 ms",
    );
    drop(sessions);
    Ok(())
}

fn lag(ended: &AccessView) -> Duration {
    let (Some(end), Some(at)) = (ended.expires_at, ended.ended_at) else { return Duration::MAX };
    (at - end).to_std().unwrap_or_default()
}

/// 1,000 windows of one role end together.
async fn together(table: &mut Table, members: usize) -> Result<()> {
    let bed = Bed::make(TOGETHER).await?;
    let admin = bed.admin().await?;
    if members > 0 {
        admin
            .batch_execute(&format!(
                "DO $$ BEGIN FOR i IN 1..{members} LOOP EXECUTE format('CREATE ROLE %I', 'm' || i); END LOOP; END $$;
                 DO $$ BEGIN FOR i IN 0..{members} / 1000 - 1 LOOP EXECUTE (SELECT 'GRANT free TO ' ||
                 string_agg(format('%I', 'm' || j), ',') FROM generate_series(i * 1000 + 1, i * 1000 + 1000) j); END LOOP; END $$"
            ))
            .await?;
    }
    let names: Vec<String> = (0..TOGETHER).map(|number| format!("u{number}")).collect();
    let names = names.join(",");
    admin.batch_execute(&format!("GRANT free TO {names}")).await?;
    let started = Instant::now();
    admin.batch_execute(&format!("REVOKE free FROM {names}")).await?;
    let floor = started.elapsed();
    let pump = bed.jit.start();
    let users: Vec<_> = (0..TOGETHER).map(user).collect();
    let asked =
        users.iter().map(|who| bed.jit.request(who, Ask::new("pg", "free", TimeDelta::seconds(20)).because("bench")));
    let asked = try_join_all(asked).await?;
    for access in &asked {
        bed.jit.until_active(access.id(), PATIENCE).await?;
    }
    // all ends are moved to one moment: everybody gives it back at once
    let started = Instant::now();
    try_join_all(users.iter().zip(&asked).map(|(who, access)| bed.jit.release(who, access.id()))).await?;
    let ordered = started.elapsed();
    for access in &asked {
        let ended = bed.jit.until_ended(access.id(), PATIENCE).await?;
        anyhow::ensure!(ended.state == "revoked");
    }
    let took = started.elapsed();
    pump.stop().await;
    let role = if members > 0 { format!("a role with {members} other members") } else { "one role".to_owned() };
    table.row(
        &format!("{TOGETHER} grants of {role} released together, no sessions, until all are verified"),
        format!("{} (of it {} to record the releases)", millis(took), millis(ordered)),
        format!("one REVOKE naming all {}", millis(floor)),
        "100 ms",
    );
    Ok(())
}

async fn stop(table: &mut Table) -> Result<()> {
    let bed = Bed::make(STOPPED).await?;
    let pump = bed.jit.start();
    let users: Vec<_> = (0..STOPPED).map(user).collect();
    for some in users.chunks(1_000) {
        let asked =
            some.iter().map(|who| bed.jit.request(who, Ask::new("pg", "free", TimeDelta::hours(1)).because("bench")));
        for access in try_join_all(asked).await? {
            bed.jit.until_active(access.id(), PATIENCE).await?;
        }
    }
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        sessions.push(bed.cluster.running().session(&format!("u{}", number * 10), "postgres").await?);
    }
    let started = Instant::now();
    bed.jit.stop(&actor("bob"), Scope::All, "bench").await?;
    let open = Filter { open: true, ..Filter::default() };
    while !bed.jit.list(&open, None, 1).await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let took = started.elapsed();
    pump.stop().await;
    let admin = bed.admin().await?;
    let left: i64 =
        admin.query_one("SELECT count(*) FROM pg_auth_members WHERE roleid = 'free'::regrole", &[]).await?.get(0);
    anyhow::ensure!(left == 1, "only the broker's own row may be left, and there are {left}");
    table.row(
        &format!("emergency stop of {STOPPED}, {SESSIONS} open sessions, until all are verified"),
        millis(took),
        "-".to_owned(),
        "2 s (with one session in ten: 1,000)",
    );
    drop(sessions);
    Ok(())
}
