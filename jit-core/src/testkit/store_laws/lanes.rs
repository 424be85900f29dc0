//! Lanes and waiting: when somebody must look next.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{
    Bench, PAST_THE_CLAIM, at, claim, claim_one, claims, delete, due, entries, entry, later, put_due, same, write,
    writes,
};
use super::{Broken, StoreLaw, hold, laws};
use crate::id::TenantId;
use crate::store::{Change, Expect, Lane, Store, StoreError};

pub(super) fn laws() -> Vec<StoreLaw> {
    laws![Nothing:
        each_lane_says_when_its_earliest_is_due,
        a_lane_whose_due_work_is_claimed_says_when_that_ends,
        who_waits_wakes_at_the_time,
        who_waits_wakes_on_a_commit,
        who_waits_wakes_on_another_processs_commit,
        no_commit_is_missed_between_looking_and_waiting,
        claims_wake_nobody,
    ]
}

/// Long enough for a commit of another process to be noticed on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Nobody may wake within this without a reason.
const A_WHILE: Duration = Duration::from_millis(150);

async fn each_lane_says_when_its_earliest_is_due(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    same(store.lanes().await?, Vec::new(), "the lanes of an empty store")?;
    let now = store.now().await?;
    let lane = |name: &str| Lane::from_stored(name.to_owned());
    let of = |key: &str, name: &str, millis| due(&at(key), Expect::Absent, &lane(name), later(now, millis), key);
    store
        .commit(writes([of("1", "realm:b", 500), of("2", "realm:b", 90), of("3", "desk", -5), of("4", "realm:a", 7)]))
        .await?;
    store.commit(writes([write(&at("5"), Expect::Absent, "not scheduled")])).await?;
    let wanted =
        vec![(lane("desk"), later(now, -5)), (lane("realm:a"), later(now, 7)), (lane("realm:b"), later(now, 90))];
    same(store.lanes().await?, wanted, "the lanes")?;

    // A change of the schedule, its end, and a move to another lane.
    let moved = due(&at("4"), Expect::Version(1), &lane("desk"), later(now, 1), "4");
    let changes = [due(&at("2"), Expect::Version(1), &lane("realm:b"), later(now, 900), "2"), moved];
    store.commit(writes(changes)).await?;
    store.commit(writes([write(&at("3"), Expect::Version(1), "done")])).await?;
    same(
        store.lanes().await?,
        vec![(lane("desk"), later(now, 1)), (lane("realm:b"), later(now, 500))],
        "the lanes then",
    )?;
    store.commit(writes([delete(&at("1"), Expect::Version(1)), delete(&at("2"), Expect::Version(2))])).await?;
    same(store.lanes().await?, vec![(lane("desk"), later(now, 1))], "the lanes in the end")
}

async fn a_lane_whose_due_work_is_claimed_says_when_that_ends(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let lane = Lane::desk();
    let now = store.now().await?;
    for i in 0..3 {
        put_due(&*store, &format!("{i}"), &lane, &format!("{i}")).await?;
    }
    let next = |lanes: Vec<(Lane, _)>| lanes.into_iter().map(|(_, time)| time).collect::<Vec<_>>();
    let two = claims(&claim(&*store, &lane, 2, "n1").await?);
    let found = next(store.lanes().await?);
    hold!(found.iter().all(|time| *time <= later(now, 250)) && found.len() == 1, "one is due, but {found:?}");
    let third = claim_one(&*store, &lane, "n1").await?.claim;
    let ends = two.iter().map(|claim| claim.until).min();
    same(next(store.lanes().await?), ends.into_iter().collect(), "the end of the first claim")?;

    // One that is not due yet and comes before that end, one that comes after, and one whose serial key is claimed.
    let until = third.until;
    store.commit(writes([due(&at("late"), Expect::Absent, &lane, later(until, 60_000), "late")])).await?;
    same(next(store.lanes().await?), ends.into_iter().collect(), "the end of the claim before a later one")?;
    store.commit(writes([due(&at("soon"), Expect::Absent, &lane, later(now, 299), "soon")])).await?;
    same(next(store.lanes().await?), vec![later(now, 299)], "what is due before the claim ends")?;

    bench.pass(PAST_THE_CLAIM).await;
    let (found, now) = (next(store.lanes().await?), store.now().await?);
    hold!(found.iter().all(|time| *time <= now) && found.len() == 1, "expired claims hold nothing: {found:?}");
    let all = claim(&*store, &lane, 9, "n2").await?;
    same(all.len(), 4, "what is due")?;
    store.commit(Change { release: claims(&all), ..Change::default() }).await?;
    let (found, now) = (next(store.lanes().await?), store.now().await?);
    hold!(found.iter().all(|time| *time <= now) && found.len() == 1, "what was given back is due: {found:?}");
    Ok(())
}

async fn who_waits_wakes_at_the_time(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let (seen, now) = (store.pulse().await?, store.now().await?);
    within(store.wait(seen, now), "a time that has come").await?;
    within(store.wait(seen, later(now, -1_000)), "a time long past").await?;
    let until = later(store.now().await?, 500);
    let waiter = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.wait(seen, until).await }
    });
    tokio::time::sleep(A_WHILE).await;
    hold!(!waiter.is_finished(), "it returned before its time");
    bench.pass(Duration::from_millis(500)).await;
    within_task(waiter, "its time").await?;
    hold!(store.now().await? >= until, "it returned before its time");
    Ok(())
}

async fn who_waits_wakes_on_a_commit(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    commit_wakes(&store, &store).await
}

async fn who_waits_wakes_on_another_processs_commit(bench: Bench) -> Result<(), Broken> {
    let (one, other) = (bench.open().await?, bench.open().await?);
    commit_wakes(&one, &other).await?;
    commit_wakes(&other, &one).await
}

async fn commit_wakes(waits: &Arc<dyn Store>, commits: &Arc<dyn Store>) -> Result<(), Broken> {
    for i in 0..3 {
        settle(waits).await?;
        let (seen, now) = (waits.pulse().await?, waits.now().await?);
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let store = Arc::clone(waits);
                tokio::spawn(async move { store.wait(seen, later(now, 3_600_000)).await })
            })
            .collect();
        tokio::time::sleep(A_WHILE).await;
        hold!(!waiters.iter().any(tokio::task::JoinHandle::is_finished), "round {i}: it returned without a commit");
        commits.commit(entries([entry(&TenantId::main(), None, "x")])).await?;
        for waiter in waiters {
            within_task(waiter, "a commit").await?;
        }
        hold!(waits.pulse().await? != seen, "the pulse did not change with the commit");
    }
    Ok(())
}

async fn no_commit_is_missed_between_looking_and_waiting(bench: Bench) -> Result<(), Broken> {
    let (one, other) = (bench.open().await?, bench.open().await?);
    for store in [&one, &other] {
        let (seen, now) = (one.pulse().await?, one.now().await?);
        store.commit(entries([entry(&TenantId::main(), None, "x")])).await?;
        within(one.wait(seen, later(now, 3_600_000)), "a commit before it waited").await?;
        settle(&one).await?;
    }
    Ok(())
}

async fn claims_wake_nobody(bench: Bench) -> Result<(), Broken> {
    let (one, other) = (bench.open().await?, bench.open().await?);
    let lane = Lane::desk();
    put_due(&*one, "one", &lane, "serial").await?;
    settle(&one).await?;
    let (seen, now) = (one.pulse().await?, one.now().await?);
    let waiter = tokio::spawn({
        let store = Arc::clone(&one);
        async move { store.wait(seen, later(now, 3_600_000)).await }
    });
    // Two pumps that wake each other by looking for work would never rest.
    claim_one(&*other, &lane, "n2").await?;
    claim(&*one, &lane, 9, "n1").await?;
    tokio::time::sleep(A_WHILE).await;
    hold!(!waiter.is_finished(), "a claim woke who waits for a commit");
    waiter.abort();
    Ok(())
}

/// Until the process knows every commit that there was: a late notice must not count for a later commit.
async fn settle(store: &Arc<dyn Store>) -> Result<(), Broken> {
    loop {
        let (seen, now) = (store.pulse().await?, store.now().await?);
        let wait = store.wait(seen, later(now, 3_600_000));
        match tokio::time::timeout(A_WHILE, wait).await {
            Err(_) => return Ok(()),
            Ok(woken) => woken?,
        }
    }
}

async fn within(wait: impl Future<Output = Result<(), StoreError>>, what: &str) -> Result<(), Broken> {
    match tokio::time::timeout(SOON, wait).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(Broken(format!("nobody woke on {what}"))),
    }
}

async fn within_task(waiter: tokio::task::JoinHandle<Result<(), StoreError>>, what: &str) -> Result<(), Broken> {
    match tokio::time::timeout(SOON, waiter).await {
        Ok(done) => Ok(done.map_err(|error| Broken(error.to_string()))??),
        Err(_) => Err(Broken(format!("nobody woke on {what}"))),
    }
}
