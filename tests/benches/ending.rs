//! The end of windows: one after the other, many together, and an emergency stop.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::TimeDelta;
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use jit_core::engine::{AccessRequest, AccessView, Filter, Jit, Scope};

use crate::bed::{Bed, PATIENCE, actor, names, roles, user};
use crate::cycle::timed;
use crate::server::{ByHand as _, Server};
use crate::table::{Row, Spread, Table, millis};

const STEADY: usize = 300;
const BY_HAND: usize = 100;
pub const TOGETHER: usize = 1_000;
pub const ONE_SESSION: &str = "end of window to revoked, one session ended, verified, about 100 endings a second";
const STOPPED: usize = 10_000;
const SESSIONS: usize = 1_000;

pub async fn rows(table: &mut Table) -> Result<()> {
    let bed = Bed::make(STEADY + BY_HAND).await?;
    table.add(steady(Row::new(ONE_SESSION, "p50 1.5 x by hand, p99 15 ms"), &bed).await?);
    for members in [0, 100_000] {
        let bed = Bed::make(TOGETHER).await?;
        let admin = bed.admin().await?;
        roles(&admin, 'm', members, "").await?;
        for start in (0..members).step_by(1_000) {
            admin.batch_execute(&format!("GRANT free TO {}", names('m', start..start + 1_000))).await?;
        }
        let role = if members > 0 { format!("a role with {members} other members") } else { "one role".to_owned() };
        let what = format!("{TOGETHER} grants of {role} released together, no sessions, until all are verified");
        table.add(together(Row::new(what, "100 ms"), &bed).await?);
    }
    stop(table).await
}

/// Fills the row: ends 100 windows a second, each with one session.
pub async fn steady<S: Server>(row: Row, bed: &Bed<S>) -> Result<Row> {
    let mut admin = bed.admin().await?;
    let mut sessions = Vec::new();
    for number in 0..STEADY + BY_HAND {
        sessions.push(bed.server.session(&format!("u{number}")).await?);
    }
    let mut floor = Vec::new();
    for (number, (_, session)) in sessions.iter().enumerate().skip(STEADY) {
        let who = format!("u{number}");
        admin.run(&format!("GRANT free TO {who}")).await?;
        let started = Instant::now();
        admin.run(&format!("REVOKE free FROM {who}")).await?;
        admin.end(*session, &who).await?;
        admin.look(&who).await?;
        floor.push(started.elapsed());
    }
    let lags = lags(&bed.jit, STEADY, 100).await?;
    drop(sessions);
    Ok(row.spread(&Spread::of(lags), &Spread::of(floor), "REVOKE, terminate, look by hand:"))
}

/// Ends the windows of so many accounts, at this rate a second. Returns the times from the end of
/// each window to revoked.
pub async fn lags(jit: &Jit, users: usize, rate: u32) -> Result<Vec<Duration>> {
    let pump = jit.start();
    let cycles = users.min(40);
    let cycle = timed(jit, 8, cycles).await? / u32::try_from(cycles)?;
    // the windows are so long that all are active before the first of them ends
    let lead = Duration::from_secs(3) + cycle * u32::try_from(users)?;
    let began = Instant::now();
    let asked = (0..users).map(|number| async move {
        let end = lead + Duration::from_secs(1) * u32::try_from(number)? / rate;
        let left = TimeDelta::from_std(end.saturating_sub(began.elapsed()))?;
        let ask = AccessRequest::new("pg", "free", left).because("bench");
        let access = jit.request(&user(number), ask).await?;
        anyhow::Ok(jit.until_active(access.id(), PATIENCE).await?.id())
    });
    let ids: Vec<_> = stream::iter(asked).buffered(8).try_collect().await?;
    anyhow::ensure!(began.elapsed() < lead, "the grants took {} and longer than the windows", millis(began.elapsed()));
    let mut lags = Vec::new();
    for id in ids {
        let ended = jit.until_ended(id, PATIENCE).await?;
        lags.push(lag(&ended).context("it ended before its window did")?);
    }
    pump.stop().await;
    Ok(lags)
}

/// Returns the time from the end of the window to revoked.
pub fn lag(ended: &AccessView) -> Option<Duration> {
    (ended.ended_at? - ended.expires_at?).to_std().ok()
}

/// Fills the row: ends 1,000 windows of one role together.
pub async fn together<S: Server>(row: Row, bed: &Bed<S>) -> Result<Row> {
    let mut admin = bed.admin().await?;
    let names = names('u', 0..TOGETHER);
    admin.run(&format!("GRANT free TO {names}")).await?;
    let started = Instant::now();
    admin.run(&format!("REVOKE free FROM {names}")).await?;
    let floor = started.elapsed();
    let pump = bed.jit.start();
    let users: Vec<_> = (0..TOGETHER).map(user).collect();
    let asked = users
        .iter()
        .map(|who| bed.jit.request(who, AccessRequest::new("pg", "free", TimeDelta::minutes(5)).because("bench")));
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
    Ok(Row {
        measured: format!("{} (of it {} to record the releases)", millis(took), millis(ordered)),
        floor: format!("one REVOKE naming all {}", millis(floor)),
        ratio: Some(took.as_secs_f64() / floor.as_secs_f64()),
        ..row
    })
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
        sessions.push(bed.server.running().session(&name, "postgres").await?);
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
