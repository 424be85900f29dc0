//! Laws about lanes and waiting: the time at which somebody must look next.

use std::sync::Arc;
use std::time::Duration;

use super::bench::{
    Bench, PAST_THE_CLAIM, at, claim, claim_for, claim_one, claims, delete, due, entries, entry, keys, later, put_due,
    same, write, writes,
};
use super::{Broken, StoreLaw, hold, laws};
use crate::id::TenantId;
use crate::store::{Change, Expect, Lane, Store, StoreError};

pub(super) fn laws() -> Vec<StoreLaw> {
    laws![Nothing:
        each_lane_says_when_its_earliest_is_due,
        a_lane_whose_due_work_is_claimed_says_when_that_ends,
        what_comes_is_read_ahead_and_not_claimed,
        who_waits_wakes_at_the_time,
        who_waits_wakes_on_a_commit,
        who_waits_wakes_on_another_processs_commit,
        no_commit_is_missed_between_looking_and_waiting,
        claims_wake_nobody,
    ]
}

/// Time in which a commit of another process is noticed, even on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Time within which nobody may wake without a reason.
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

    // A changed schedule, a removed schedule, and a move to another lane.
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
    // long enough that no claim ends in between, even on a busy machine and a store with its own
    // clock
    let (held, past) = (Duration::from_secs(5), Duration::from_millis(5_100));
    let two = claims(&claim_for(&*store, &lane, 2, "n1", held).await?);
    let found = next(store.lanes().await?);
    hold!(found.iter().all(|time| *time <= later(now, 4_000)) && found.len() == 1, "one is due, but {found:?}");
    let third = claims(&claim_for(&*store, &lane, 2, "n1", held).await?);
    let [third] = third.as_slice() else { return Err(Broken(format!("one is left to claim, but {third:?}"))) };
    let ends: Vec<_> = two.iter().map(|claim| claim.until).min().into_iter().collect();
    same(next(store.lanes().await?), ends.clone(), "the end of the first claim")?;

    // A record that is due before that end, a record that is due after it, and a record whose
    // serial key is claimed.
    store.commit(writes([due(&at("late"), Expect::Absent, &lane, later(third.until, 60_000), "late")])).await?;
    same(next(store.lanes().await?), ends, "the end of the claim before a later one")?;
    store.commit(writes([due(&at("soon"), Expect::Absent, &lane, later(now, 4_999), "soon")])).await?;
    same(next(store.lanes().await?), vec![later(now, 4_999)], "what is due before the claim ends")?;

    bench.pass(past).await;
    let (found, now) = (next(store.lanes().await?), store.now().await?);
    hold!(found.iter().all(|time| *time <= now) && found.len() == 1, "expired claims hold nothing: {found:?}");
    let all = claim(&*store, &lane, 9, "n2").await?;
    same(all.len(), 4, "what is due")?;
    store.commit(Change { release: claims(&all), ..Change::default() }).await?;
    let (found, now) = (next(store.lanes().await?), store.now().await?);
    hold!(found.iter().all(|time| *time <= now) && found.len() == 1, "what was given back is due: {found:?}");
    Ok(())
}

async fn what_comes_is_read_ahead_and_not_claimed(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let lane = Lane::from_stored("realm:r".to_owned());
    let now = store.now().await?;
    let of = |key: &str, serial: &str, millis| due(&at(key), Expect::Absent, &lane, later(now, millis), serial);
    store
        .commit(writes([
            of("third", "c", 30_000),
            of("first", "a", -10),
            of("second", "b", 20_000),
            of("behind the second", "b", 25_000),
            of("far", "d", 90_000),
            due(&at("elsewhere"), Expect::Absent, &Lane::desk(), now, "e"),
        ]))
        .await?;
    let minute = later(now, 60_000);
    let ahead = async |limit| Ok::<_, Broken>(store.upcoming(&lane, minute, limit).await?);
    same(keys(&ahead(9).await?), vec!["first", "second", "third"], "what comes")?;
    same(keys(&ahead(2).await?), vec!["first", "second"], "the first two")?;
    same(store.upcoming(&Lane::outbox(&TenantId::default(), "x"), minute, 9).await?.len(), 0, "another lane")?;
    // claimed work is not read ahead until its claim ends
    claim_one(&*store, &lane, "n1").await?;
    same(keys(&ahead(9).await?), vec!["second", "third"], "what nobody works on")?;
    bench.pass(PAST_THE_CLAIM).await;
    same(keys(&ahead(9).await?), vec!["first", "second", "third"], "once the claim ended")?;
    same(claim_one(&*store, &lane, "n2").await?.claim.taken_over, true, "reading ahead claims nothing")
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
        commits.commit(entries([entry(&TenantId::default(), None, "x")])).await?;
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
        store.commit(entries([entry(&TenantId::default(), None, "x")])).await?;
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

/// Waits until the process knows every commit so far: a late notice must not count for a later
/// commit.
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
