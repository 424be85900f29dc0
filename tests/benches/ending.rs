//! The end of windows: one after the other, many together, and an emergency stop.

use std::time::{Duration, Instant};

use anyhow::Result;
use chrono::TimeDelta;
use futures_util::future::try_join_all;
use jit_core::engine::{AccessRequest, AccessView, Filter, Scope};

use crate::bed::{Bed, PATIENCE, actor, names, roles, user};
use crate::table::{Row, Spread, Table, millis};

const STEADY: usize = 300;
const BY_HAND: usize = 100;
const TOGETHER: usize = 1_000;
const STOPPED: usize = 10_000;
const SESSIONS: usize = 1_000;

pub async fn rows(table: &mut Table) -> Result<()> {
    steady(table).await?;
    for members in [0, 100_000] {
        together(table, members).await?;
    }
    stop(table).await
}

/// Ends 100 windows a second, each with one session.
async fn steady(table: &mut Table) -> Result<()> {
    let bed = Bed::make(STEADY + BY_HAND).await?;
    let admin = bed.admin().await?;
    let mut sessions = Vec::new();
    for number in 0..STEADY + BY_HAND {
        sessions.push(bed.cluster.running().session(&format!("u{number}"), "postgres").await?);
    }
    let mut floor = Vec::new();
    for (number, session) in sessions.iter().enumerate().skip(STEADY) {
        let pid: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        let who = format!("u{number}");
        admin.batch_execute(&format!("GRANT free TO {who}")).await?;
        let started = Instant::now();
        admin.batch_execute(&format!("REVOKE free FROM {who}")).await?;
        admin.query("SELECT pg_terminate_backend($1)", &[&pid]).await?;
        gone(&admin, &who).await?;
        admin.query("SELECT 1 FROM pg_auth_members WHERE member = to_regrole($1)", &[&who]).await?;
        floor.push(started.elapsed());
    }
    let pump = bed.jit.start();
    // the windows are so long that their ends lie 10 ms apart, the first in 4 s
    let began = Instant::now();
    let mut ids = Vec::new();
    for number in 0..STEADY {
        let end = Duration::from_millis(4_000 + 10 * number as u64);
        let left = TimeDelta::from_std(end.saturating_sub(began.elapsed()))?;
        let access = bed.jit.request(&user(number), AccessRequest::new("pg", "free", left).because("bench")).await?;
        ids.push(access.id());
    }
    let mut lags = Vec::new();
    for id in ids {
        let ended = bed.jit.until_ended(id, PATIENCE).await?;
        lags.push(lag(&ended));
    }
    pump.stop().await;
    let what = "end of window to revoked, one session ended, verified, about 100 endings a second";
    let row = Row::new(what, "p50 1.5 x by hand, p99 15 ms");
    table.add(row.spread(&Spread::of(lags), &Spread::of(floor), "REVOKE, terminate, look by hand:"));
    drop(sessions);
    Ok(())
}

fn lag(ended: &AccessView) -> Duration {
    let (Some(end), Some(at)) = (ended.expires_at, ended.ended_at) else { return Duration::MAX };
    (at - end).to_std().unwrap_or_default()
}

/// Ends 1,000 windows of one role together.
async fn together(table: &mut Table, members: usize) -> Result<()> {
    let bed = Bed::make(TOGETHER).await?;
    let admin = bed.admin().await?;
    roles(&admin, 'm', members, "").await?;
    for start in (0..members).step_by(1_000) {
        admin.batch_execute(&format!("GRANT free TO {}", names('m', start..start + 1_000))).await?;
    }
    let names = names('u', 0..TOGETHER);
    admin.batch_execute(&format!("GRANT free TO {names}")).await?;
    let started = Instant::now();
    admin.batch_execute(&format!("REVOKE free FROM {names}")).await?;
    let floor = started.elapsed();
    let pump = bed.jit.start();
    let users: Vec<_> = (0..TOGETHER).map(user).collect();
    let asked = users
        .iter()
        .map(|who| bed.jit.request(who, AccessRequest::new("pg", "free", TimeDelta::seconds(20)).because("bench")));
    let asked = try_join_all(asked).await?;
    for access in &asked {
        bed.jit.until_active(access.id(), PATIENCE).await?;
    }
    // all ends come at one moment: everybody releases their access at once
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
    let floor = by_hand(&bed).await?;
    let pump = bed.jit.start();
    let users: Vec<_> = (0..STOPPED).map(user).collect();
    for some in users.chunks(1_000) {
        let asked = some
            .iter()
            .map(|who| bed.jit.request(who, AccessRequest::new("pg", "free", TimeDelta::hours(1)).because("bench")));
        for access in try_join_all(asked).await? {
            bed.jit.until_active(access.id(), PATIENCE).await?;
        }
    }
    let sessions = open(&bed).await?;
    let started = Instant::now();
    bed.jit.stop(&actor("bob"), Scope::All, "bench").await?;
    let open = Filter::open();
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
        format!("REVOKE 1,000 a statement, end the sessions, look until they are gone: {}", millis(floor)),
        "2 s",
    );
    drop(sessions);
    Ok(())
}

/// Measures the floor of a stop: the same by hand.
async fn by_hand(bed: &Bed) -> Result<Duration> {
    let admin = bed.admin().await?;
    for start in (0..STOPPED).step_by(1_000) {
        admin.batch_execute(&format!("GRANT free TO {}", names('u', start..start + 1_000))).await?;
    }
    let sessions = open(bed).await?;
    let started = Instant::now();
    for start in (0..STOPPED).step_by(1_000) {
        admin.batch_execute(&format!("REVOKE free FROM {}", names('u', start..start + 1_000))).await?;
    }
    admin.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename LIKE 'u%'", &[]).await?;
    gone(&admin, "u%").await?;
    drop(sessions);
    Ok(started.elapsed())
}

/// Opens a session for one account in ten.
async fn open(bed: &Bed) -> Result<Vec<tokio_postgres::Client>> {
    let mut sessions = Vec::new();
    for number in 0..SESSIONS {
        let name = format!("u{}", number * (STOPPED / SESSIONS));
        sessions.push(bed.cluster.running().session(&name, "postgres").await?);
    }
    Ok(sessions)
}

/// Waits until no session of these accounts is left.
async fn gone(admin: &tokio_postgres::Client, like: &str) -> Result<()> {
    let look = "SELECT 1 FROM pg_stat_activity WHERE usename LIKE $1 LIMIT 1";
    while admin.query_opt(look, &[&like]).await?.is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
