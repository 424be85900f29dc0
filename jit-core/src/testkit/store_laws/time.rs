//! Laws about the store's time (law 10).

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;

use super::bench::{Bench, at, claim, due, entries, entry, later, same, writes};
use super::{Broken, StoreLaw, hold, laws};
use crate::clock::{Clock as _, after, span};
use crate::id::TenantId;
use crate::store::{ClockState, Expect, Lane, Store};

pub(super) fn laws() -> Vec<StoreLaw> {
    let mut all = laws![Nothing: law_10_commits_and_looks_never_go_back];
    all.extend(laws![Clock:
        a_new_store_believes_the_wall_clock,
        law_10_a_step_back_while_open_changes_nothing,
        law_10_a_step_ahead_while_open_ends_nothing,
        law_10_a_clock_set_back_between_two_processes_changes_nothing,
        law_10_processes_on_one_place_share_its_time,
        law_10_a_clock_two_days_off_waits_for_a_word,
    ]);
    all
}

async fn commit_at(store: &dyn Store) -> Result<crate::clock::Time, Broken> {
    Ok(store.commit(entries([entry(&TenantId::default(), None, "x")])).await?.at)
}

async fn law_10_commits_and_looks_never_go_back(bench: Bench) -> Result<(), Broken> {
    let stores = [bench.open().await?, bench.open().await?];
    let mut last = None;
    for round in 0..20 {
        for store in &stores {
            for now in [store.now().await?, commit_at(&**store).await?, store.now().await?] {
                hold!(last.is_none_or(|last| now >= last), "round {round}: {now} after {last:?}");
                last = Some(now);
            }
        }
        bench.pass(Duration::from_millis(3)).await;
    }
    let at_once = join_all((0..32).map(|i| {
        let store = Arc::clone(&stores[i % 2]);
        tokio::spawn(async move { commit_at(&*store).await })
    }));
    for done in at_once.await {
        let now = done.map_err(|error| Broken(error.to_string()))??;
        hold!(last.is_none_or(|last| now >= last), "{now} after {last:?}");
    }
    Ok(())
}

async fn a_new_store_believes_the_wall_clock(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    same(store.now().await?, bench.clock.wall(), "the time")?;
    same(store.clock_state().await?, ClockState::Good, "the clock")?;
    bench.clock.advance(Duration::from_secs(90));
    same(store.now().await?, bench.clock.wall(), "the time after a while")
}

async fn law_10_a_step_back_while_open_changes_nothing(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let start = commit_at(&*store).await?;
    bench.clock.step_wall(TimeDelta::hours(-3));
    bench.clock.advance(Duration::from_secs(60));
    same(store.now().await?, after(start, TimeDelta::seconds(60)), "the time")?;
    same(commit_at(&*store).await?, after(start, TimeDelta::seconds(60)), "a commit's time")?;
    same(store.clock_state().await?, ClockState::Stepped { by: TimeDelta::hours(-3) }, "the clock")
}

async fn law_10_a_step_ahead_while_open_ends_nothing(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let start = store.now().await?;
    let in_an_hour = due(&at("ends"), Expect::Absent, &Lane::desk(), later(start, 3_600_000), "serial");
    store.commit(writes([in_an_hour])).await?;
    bench.clock.step_wall(TimeDelta::hours(3));
    same(claim(&*store, &Lane::desk(), 9, "n1").await?.len(), 0, "what is due")?;
    same(store.now().await?, start, "the time")?;
    same(store.clock_state().await?, ClockState::Stepped { by: TimeDelta::hours(3) }, "the clock")?;
    bench.clock.advance(Duration::from_secs(3_600));
    same(claim(&*store, &Lane::desk(), 9, "n1").await?.len(), 1, "what is due after an hour")
}

async fn law_10_a_clock_set_back_between_two_processes_changes_nothing(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    commit_at(&*store).await?;
    // A time that was only read counts as well.
    bench.clock.advance(Duration::from_secs(5));
    let told = store.now().await?;
    drop(store);
    bench.clock.step_wall(TimeDelta::hours(-12));
    let mut last = told;
    for round in 0..5 {
        bench.clock.advance(Duration::from_secs(1));
        let store = bench.open().await?;
        for now in [store.now().await?, commit_at(&*store).await?] {
            hold!(now >= last, "process {round}: {now} after {last}");
            last = now;
        }
    }
    Ok(())
}

async fn law_10_processes_on_one_place_share_its_time(bench: Bench) -> Result<(), Broken> {
    let one = bench.open().await?;
    bench.clock.step_wall(TimeDelta::minutes(30));
    // The second process believes the new wall clock. From its first commit on, so does the first
    // one.
    let other = bench.open().await?;
    let theirs = commit_at(&*other).await?;
    let mine = commit_at(&*one).await?;
    hold!(mine >= theirs, "{mine} after {theirs}");
    let now = one.now().await?;
    hold!(now >= mine, "{now} after {mine}");
    Ok(())
}

async fn law_10_a_clock_two_days_off_waits_for_a_word(bench: Bench) -> Result<(), Broken> {
    // Twice two days back, and then to two days ahead of the store's time.
    for days in [-2, -2, 6] {
        let store = bench.open().await?;
        let mark = commit_at(&*store).await?;
        same(store.clock_state().await?, ClockState::Good, "the clock before")?;
        drop(store);
        bench.clock.step_wall(TimeDelta::days(days));
        for round in 0..2 {
            let store = bench.open().await?;
            let state = store.clock_state().await?;
            hold!(matches!(state, ClockState::Doubtful { .. }), "{days} days, process {round}: {state:?}");
            let now = commit_at(&*store).await?;
            hold!(now >= mark, "{days} days: {now} after {mark}");
        }
        let (one, other) = (bench.open().await?, bench.open().await?);
        let before = one.now().await?;
        one.accept_clock().await?;
        for store in [&one, &other, &bench.open().await?] {
            same(store.clock_state().await?, ClockState::Good, "the clock once accepted")?;
            let now = store.now().await?;
            hold!(now >= before, "{days} days: {now} after {before}");
            hold!(span(before, now) <= TimeDelta::days(3), "{days} days: {now} after {before}");
        }
        bench.clock.advance(Duration::from_secs(10));
        same(one.now().await?, later(other.now().await?, 0), "two processes' time")?;
    }
    Ok(())
}
