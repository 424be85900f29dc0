//! Laws about claims: one per serial key, whoever asks, until it expires.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;
use futures_util::future::join_all;

use super::bench::{
    Bench, PAST_THE_CLAIM, at, claim, claim_one, claimed_keys, claims, due, fenced, later, node, put_due, same, tenant,
    version, write, writes,
};
use super::{Broken, StoreLaw, hold, laws};
use crate::store::{Change, ClaimRequest, Expect, Kind, Lane, RecordKey};

pub(super) fn laws() -> Vec<StoreLaw> {
    laws![Nothing:
        what_is_due_is_claimed_earliest_first,
        what_became_due_after_a_time_is_claimed_without_what_waits_before_it,
        a_claim_carries_its_record,
        law_14_one_claim_per_serial_key_whoever_asks,
        law_14_many_who_claim_never_share,
        law_14_a_claimed_record_stays_claimed_when_it_changes,
        law_14_an_expired_claim_is_taken_over_and_its_holder_fenced,
        a_claim_that_nobody_took_over_still_counts,
        a_released_claim_is_free_at_once,
        a_claim_goes_back_only_by_whoever_holds_it,
        many_due_behind_a_claim_do_not_hide_the_next,
    ]
}

async fn what_is_due_is_claimed_earliest_first(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let now = store.now().await?;
    let (lane, other) = (Lane::desk(), Lane::from_stored("realm:other".to_owned()));
    let of = |key: &str, lane: &Lane, millis| due(&at(key), Expect::Absent, lane, later(now, millis), key);
    let records = [
        of("third", &lane, -10),
        of("first", &lane, -3_000),
        of("second", &lane, -20),
        of("future", &lane, 60_000),
        of("elsewhere", &other, -5_000),
    ];
    store.commit(writes(records)).await?;
    store.commit(writes([write(&at("never"), Expect::Absent, "x")])).await?;
    same(claim(&*store, &lane, 0, "n1").await?.len(), 0, "a claim of none")?;
    same(claimed_keys(&claim(&*store, &lane, 2, "n1").await?), vec!["first", "second"], "the first two")?;
    same(claimed_keys(&claim(&*store, &lane, 9, "n1").await?), vec!["third"], "the rest")?;
    same(claim(&*store, &lane, 9, "n1").await?.len(), 0, "nothing is left")?;
    same(claimed_keys(&claim(&*store, &other, 9, "n1").await?), vec!["elsewhere"], "the other lane")?;

    // Expired claims, too, are given out earliest first.
    bench.pass(PAST_THE_CLAIM).await;
    let again = claim(&*store, &lane, 9, "n2").await?;
    same(claimed_keys(&again), vec!["first", "second", "third"], "once more")
}

async fn what_became_due_after_a_time_is_claimed_without_what_waits_before_it(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let (now, lane) = (store.now().await?, Lane::desk());
    let of = |key: &str, millis| due(&at(key), Expect::Absent, &lane, later(now, millis), key);
    let records =
        [of("waits", -3_000), of("at the time", -1_000), of("new", -900), of("newer", -10), of("future", 60_000)];
    store.commit(writes(records)).await?;
    let ask = |limit| {
        let ask = ClaimRequest::new(node("n1")?, lane.clone(), limit, TimeDelta::seconds(30));
        Ok::<_, Broken>(ask.due_after(later(now, -1_000)))
    };
    same(claimed_keys(&store.claim(&ask(1)?).await?), vec!["newer"], "the latest")?;
    same(claimed_keys(&store.claim(&ask(9)?).await?), vec!["new"], "what else is new")?;
    same(store.claim(&ask(9)?).await?.len(), 0, "nothing new is left")?;
    same(claimed_keys(&claim(&*store, &lane, 9, "n2").await?), vec!["waits", "at the time"], "what waited")
}

async fn a_claim_carries_its_record(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    put_due(&*store, "one", &Lane::desk(), "serial").await?;
    let before = store.now().await?;
    let claimed = claim_one(&*store, &Lane::desk(), "n1").await?;
    same(Some(claimed.record), store.read(&at("one")).await?, "the record")?;
    same(claimed.claim.serial.as_str(), "serial", "the serial key")?;
    hold!(!claimed.claim.taken_over, "nobody held it before");
    let (least, most) = (later(before, 1_500), later(store.now().await?, 1_500));
    hold!(claimed.claim.until >= least && claimed.claim.until <= most, "it ends at {}", claimed.claim.until);
    Ok(())
}

async fn law_14_one_claim_per_serial_key_whoever_asks(bench: Bench) -> Result<(), Broken> {
    let (one, other) = (bench.open().await?, bench.open().await?);
    let now = one.now().await?;
    let lanes = [Lane::desk(), Lane::from_stored("realm:r".to_owned())];
    let (acme, globex) = (tenant("acme")?, tenant("globex")?);
    let mut records = Vec::new();
    for lane in &lanes {
        for tenant in [&acme, &globex] {
            for key in ["a", "b"] {
                let at = RecordKey::new(tenant, Kind::Holding, format!("{key} {}", lane.as_str()));
                records.push(due(&at, Expect::Absent, lane, now, "r/alice"));
            }
        }
    }
    one.commit(writes(records)).await?;
    let [desk, realm] = &lanes;
    let first = claim_one(&*one, desk, "n1").await?;
    for store in [&one, &other] {
        for lane in &lanes {
            same(claim(&**store, lane, 9, "n2").await?.len(), 0, "a second claim on the serial key")?;
        }
    }
    other.unclaim(&[first.claim]).await?;
    let second = claim_one(&*other, realm, "n2").await?;
    same(claim(&*one, desk, 9, "n1").await?.len(), 0, "a claim beside the one of the other lane")?;
    other.commit(Change { release: vec![second.claim], ..Change::default() }).await?;
    claim_one(&*one, desk, "n1").await.map(|_| ())
}

async fn law_14_many_who_claim_never_share(bench: Bench) -> Result<(), Broken> {
    let stores = [bench.open().await?, bench.open().await?];
    let [one, _] = &stores;
    let now = one.now().await?;
    let records = (0..200).map(|i| {
        let serial = format!("serial {}", i % 50);
        due(&at(&format!("{i}")), Expect::Absent, &Lane::desk(), later(now, -i), &serial)
    });
    one.commit(writes(records)).await?;
    let tasks = (0..20).map(|i| {
        let store = Arc::clone(if i % 2 == 0 { one } else { &stores[1] });
        // no claim ends before the last one asks, however slow the machine is
        let how_long = TimeDelta::minutes(5);
        tokio::spawn(async move {
            let ask = ClaimRequest::new(node(&format!("n{i}"))?, Lane::desk(), 3, how_long);
            Ok::<_, Broken>(store.claim(&ask).await?)
        })
    });
    let mut seen = BTreeSet::new();
    for done in join_all(tasks).await {
        for claimed in done.map_err(|error| Broken(error.to_string()))?? {
            hold!(seen.insert(claimed.claim.serial.clone()), "`{}` was claimed twice", claimed.claim.serial);
        }
    }
    same(seen.len(), 50, "all of the serial keys")
}

async fn law_14_a_claimed_record_stays_claimed_when_it_changes(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let lane = Lane::desk();
    let key = put_due(&*store, "one", &lane, "serial").await?;
    let held = claim_one(&*store, &lane, "n1").await?.claim;
    let now = store.now().await?;
    store.commit(writes([due(&key, Expect::Version(1), &lane, later(now, -1_000), "serial")])).await?;
    store.commit(writes([due(&at("two"), Expect::Absent, &lane, later(now, -2_000), "serial")])).await?;
    same(claim(&*store, &lane, 9, "n2").await?.len(), 0, "a claim of what changed meanwhile")?;

    // The end of the work: one change sets a new due time and releases the claim.
    let mut done = writes([due(&key, Expect::Version(2), &lane, later(now, 60_000), "serial")]);
    done.release = vec![held];
    store.commit(done).await?;
    same(claimed_keys(&claim(&*store, &lane, 9, "n2").await?), vec!["two"], "what is still due")
}

async fn law_14_an_expired_claim_is_taken_over_and_its_holder_fenced(bench: Bench) -> Result<(), Broken> {
    let (one, other) = (bench.open().await?, bench.open().await?);
    let lane = Lane::desk();
    let key = put_due(&*one, "one", &lane, "serial").await?;
    let former = claim_one(&*one, &lane, "n1").await?.claim;
    bench.pass(PAST_THE_CLAIM).await;
    let taken = claim_one(&*other, &lane, "n2").await?.claim;
    hold!(taken.taken_over, "the claim was taken over and does not say so");
    hold!(taken.fencing > former.fencing, "{} follows {}", taken.fencing, former.fencing);

    let mut late = writes([write(&key, Expect::Version(1), "late")]);
    late.fences = vec![former.clone()];
    fenced(one.commit(late).await, "serial", "the former holder's change")?;
    let mut late = writes([write(&key, Expect::Version(1), "late")]);
    late.release = vec![former.clone()];
    fenced(one.commit(late).await, "serial", "the former holder's release")?;
    one.unclaim(&[former]).await?;
    same(version(&*one, &key).await?, Some(1), "the record")?;
    same(claim(&*one, &lane, 9, "n1").await?.len(), 0, "the claim after the former holder gave it back")?;

    let mut change = writes([write(&key, Expect::Version(1), "in time")]);
    change.fences = vec![taken.clone()];
    change.release = vec![taken];
    other.commit(change).await?;
    Ok(())
}

async fn a_claim_that_nobody_took_over_still_counts(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let key = put_due(&*store, "one", &Lane::desk(), "serial").await?;
    let held = claim_one(&*store, &Lane::desk(), "n1").await?.claim;
    bench.pass(PAST_THE_CLAIM).await;
    // Others claim elsewhere meanwhile, which does not take this claim over.
    put_due(&*store, "other", &Lane::from_stored("realm:r".to_owned()), "other").await?;
    claim(&*store, &Lane::from_stored("realm:r".to_owned()), 9, "n2").await?;
    let mut change = writes([write(&key, Expect::Version(1), "late, but nobody else began")]);
    change.release = vec![held];
    store.commit(change).await?;
    Ok(())
}

async fn a_released_claim_is_free_at_once(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let lane = Lane::desk();
    put_due(&*store, "one", &lane, "serial").await?;
    let mut last = 0;
    for round in 0..6 {
        let claim = claim_one(&*store, &lane, "n1").await?.claim;
        hold!(!claim.taken_over, "round {round}: a claim that was given back is not taken over");
        hold!(claim.fencing > last, "round {round}: {} follows {last}", claim.fencing);
        last = claim.fencing;
        if round % 2 == 0 {
            store.unclaim(std::slice::from_ref(&claim)).await?;
        } else {
            store.commit(Change { release: vec![claim.clone()], ..Change::default() }).await?;
        }
        let fences = Change { fences: vec![claim], ..Change::default() };
        fenced(store.commit(fences).await, "serial", "a claim that was given back")?;
    }
    Ok(())
}

async fn a_claim_goes_back_only_by_whoever_holds_it(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let lane = Lane::desk();
    put_due(&*store, "one", &lane, "one").await?;
    put_due(&*store, "two", &lane, "two").await?;
    let both = claims(&claim(&*store, &lane, 9, "n1").await?);
    same(both.len(), 2, "the claims")?;
    let mut forged = both.clone();
    for claim in &mut forged {
        claim.fencing = claim.fencing.wrapping_sub(2);
    }
    store.unclaim(&forged).await?;
    store.unclaim(&[]).await?;
    same(claim(&*store, &lane, 9, "n2").await?.len(), 0, "claims after others gave back what they do not hold")?;
    store.unclaim(&both).await?;
    store.unclaim(&both).await?;
    same(claim(&*store, &lane, 9, "n2").await?.len(), 2, "claims that were given back")
}

async fn many_due_behind_a_claim_do_not_hide_the_next(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let lane = Lane::desk();
    let now = store.now().await?;
    let crowd = (0..1_000).map(|i| due(&at(&format!("crowd {i}")), Expect::Absent, &lane, later(now, -5_000), "crowd"));
    store.commit(writes(crowd)).await?;
    put_due(&*store, "next", &lane, "next").await?;
    same(claim(&*store, &lane, 1, "n1").await?.len(), 1, "one of the crowd")?;
    same(claimed_keys(&claim(&*store, &lane, 1, "n1").await?), vec!["next"], "what comes after the crowd")
}
