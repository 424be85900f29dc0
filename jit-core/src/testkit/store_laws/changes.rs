//! Laws about records and changes: versions, conflicts, all or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::bench::{
    Bench, at, claim_one, conflict, delete, due, entries, entry, fenced, guard, labelled, later, numbers, put_due,
    same, version, write, writes,
};
use super::{Broken, StoreLaw, hold, laws};
use crate::id::TenantId;
use crate::store::{Change, Expect, Kind, Lane, PageQuery, RecordKey, Schedule, Store, StoreError, Write, Writing};

pub(super) fn laws() -> Vec<StoreLaw> {
    let mut all = laws![Nothing:
        a_record_reads_as_it_was_written,
        versions_count_from_one,
        a_conflict_names_its_record_and_changes_nothing,
        a_guard_checks_and_changes_nothing,
        a_delete_needs_its_version,
        a_key_twice_in_one_change_is_refused,
        law_09_a_refused_change_leaves_nothing_behind,
        law_09_one_of_many_changes_wins_each_version,
        law_09_a_conflicting_change_fails_alone,
        law_09_two_processes_never_both_win,
        records_read_together_come_in_their_order,
    ];
    all.extend(laws![Durable: law_09_what_was_committed_is_there_after_opening_again]);
    all
}

async fn a_record_reads_as_it_was_written(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let due = later(store.now().await?, 5_000);
    let keys = ["plain", "with/slash", "quote'\"`", "ünïcode \u{1f511}", "\u{1}", "", &"k".repeat(2048)];
    let bodies: [&[u8]; 3] = [b"", &[0, 255, 0, 128], &vec![7; 1 << 20]];
    for (key, body) in keys.into_iter().zip(bodies.into_iter().cycle()) {
        let labels = BTreeMap::from([("state".to_owned(), "a'b\"\\ü".to_owned()), (String::new(), String::new())]);
        let schedule = Some(Schedule { lane: Lane::desk(), due, serial: format!("s{key}") });
        let what = Writing::Put { body: body.to_vec(), schedule: schedule.clone(), labels: labels.clone() };
        store.commit(writes([Write { at: at(key), expect: Expect::Absent, what }])).await?;
        let found = store.read(&at(key)).await?.ok_or_else(|| Broken(format!("`{key}` is not there")))?;
        same(found.at, at(key), "the key")?;
        same(found.version, 1, "the version")?;
        hold!(found.body == body, "the body of `{key}` changed");
        same(found.schedule, schedule, "the schedule")?;
        same(found.labels, labels, "the labels")?;
    }
    same(store.read(&at("absent")).await?, None, "a record that is not there")
}

async fn versions_count_from_one(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let key = at("one");
    for (expect, now) in [(Expect::Absent, 1), (Expect::Version(1), 2), (Expect::Version(2), 3)] {
        store.commit(writes([write(&key, expect, &format!("body {now}"))])).await?;
        let found = store.read(&key).await?;
        same(found.as_ref().map(|it| it.version), Some(now), "the version")?;
        same(found.map(|it| it.body), Some(format!("body {now}").into_bytes()), "the body")?;
    }
    store.commit(writes([delete(&key, Expect::Version(3))])).await?;
    same(version(&*store, &key).await?, None, "the version of a deleted record")?;
    store.commit(writes([write(&key, Expect::Absent, "again")])).await?;
    same(version(&*store, &key).await?, Some(1), "the version of a record made again")
}

async fn a_conflict_names_its_record_and_changes_nothing(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let key = at("one");
    store.commit(writes([write(&key, Expect::Absent, "first")])).await?;
    for expect in [Expect::Absent, Expect::Version(0), Expect::Version(2), Expect::Version(u64::MAX)] {
        for wrong in [write(&key, expect, "wrong"), delete(&key, expect), guard(&key, expect)] {
            match store.commit(writes([wrong])).await {
                Err(StoreError::Conflict { kind: "access", key }) if key == "one" => {}
                other => return Err(Broken(format!("{expect:?} on version 1: {other:?}"))),
            }
        }
    }
    conflict(store.commit(writes([write(&at("two"), Expect::Version(1), "x")])).await, "access", "an absent record")?;
    let found = store.read(&key).await?;
    same(found.map(|it| (it.version, it.body)), Some((1, b"first".to_vec())), "the record after the conflicts")?;
    same(version(&*store, &at("two")).await?, None, "the record that was not there")
}

async fn a_guard_checks_and_changes_nothing(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let (seen, other) = (at("seen"), at("other"));
    store.commit(writes([write(&seen, Expect::Absent, "x")])).await?;
    let change =
        [guard(&seen, Expect::Version(1)), guard(&at("none"), Expect::Absent), write(&other, Expect::Absent, "y")];
    store.commit(writes(change)).await?;
    same(version(&*store, &seen).await?, Some(1), "what was guarded")?;
    same(version(&*store, &at("none")).await?, None, "the absence that was guarded")?;
    let stale = [guard(&seen, Expect::Version(2)), write(&other, Expect::Version(1), "z")];
    conflict(store.commit(writes(stale)).await, "access", "a guard that fails")?;
    same(version(&*store, &other).await?, Some(1), "what stood beside the guard")?;
    store.commit(writes([guard(&seen, Expect::Version(1))])).await?;
    Ok(())
}

async fn a_delete_needs_its_version(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let key = at("one");
    store.commit(writes([write(&key, Expect::Absent, "x")])).await?;
    conflict(store.commit(writes([delete(&key, Expect::Version(2))])).await, "access", "a delete of another version")?;
    store.commit(writes([delete(&key, Expect::Version(1))])).await?;
    conflict(store.commit(writes([delete(&key, Expect::Version(1))])).await, "access", "a second delete")?;
    store.commit(writes([delete(&key, Expect::Absent)])).await?;
    same(version(&*store, &key).await?, None, "the deleted record")
}

async fn a_key_twice_in_one_change_is_refused(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let twice = [write(&at("one"), Expect::Absent, "x"), write(&at("one"), Expect::Absent, "y")];
    hold!(store.commit(writes(twice)).await.is_err(), "a key twice in one change was taken");
    for key in ["a\0b".to_owned(), "k".repeat(2049)] {
        let refused = store.commit(writes([write(&at(&key), Expect::Absent, "x")])).await;
        hold!(refused.is_err(), "a key was taken that none can be");
    }
    same(version(&*store, &at("one")).await?, None, "the record")
}

async fn law_09_a_refused_change_leaves_nothing_behind(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let main = TenantId::default();
    let lane = Lane::desk();
    let busy = put_due(&*store, "busy", &lane, "serial").await?;
    let claimed = claim_one(&*store, &lane, "n1").await?.claim;
    let (old, numbered) = (entry(&main, None, "old"), entry(&main, None, "numbered"));
    store.commit(entries([old.clone(), numbered.clone()])).await?;
    store.commit(numbers(&main, 0, &[numbered.id])).await?;

    let fresh = entry(&main, Some("about"), "fresh");
    let whole = || Change {
        writes: vec![
            write(&at("new"), Expect::Absent, "x"),
            labelled(&at("labelled"), Expect::Absent, &[("state", "active")]),
            delete(&busy, Expect::Version(1)),
        ],
        entries: vec![fresh.clone()],
        numbering: numbers(&main, 1, &[old.id]).numbering,
        fences: Vec::new(),
        release: vec![claimed.clone()],
    };
    let mut lost = claimed.clone();
    lost.fencing = lost.fencing.saturating_add(1);

    let mut wrong = whole();
    wrong.writes.push(write(&at("nowhere"), Expect::Version(7), "x"));
    conflict(store.commit(wrong).await, "access", "a version")?;
    let mut wrong = whole();
    wrong.entries.push(old.clone());
    conflict(store.commit(wrong).await, "entry", "an entry that is known")?;
    let mut wrong = whole();
    wrong.entries.push(fresh.clone());
    conflict(store.commit(wrong).await, "entry", "an entry twice")?;
    let mut wrong = whole();
    wrong.numbering = numbers(&main, 0, &[old.id]).numbering;
    conflict(store.commit(wrong).await, "entry", "a number that is taken")?;
    let mut wrong = whole();
    wrong.numbering = numbers(&main, 1, &[old.id, numbered.id]).numbering;
    conflict(store.commit(wrong).await, "entry", "an entry that has a number")?;
    let mut wrong = whole();
    wrong.fences = vec![lost.clone()];
    fenced(store.commit(wrong).await, "serial", "a claim of somebody else's")?;
    let mut wrong = whole();
    wrong.release = vec![lost];
    fenced(store.commit(wrong).await, "serial", "the release of a claim of somebody else's")?;

    same(version(&*store, &at("new")).await?, None, "the new record")?;
    same(version(&*store, &busy).await?, Some(1), "the deleted record")?;
    same(store.entries_about(&main, "about", 9).await?.len(), 0, "the entries")?;
    same(store.unnumbered(&main, 9).await?.len(), 1, "the entries without a number")?;
    let label = Some(("state".to_owned(), "active".to_owned()));
    let ask = PageQuery { tenant: main.clone(), kind: Kind::Access, label, after: None, limit: 9 };
    same(store.page(&ask).await?.len(), 0, "the labels")?;
    hold!(super::bench::claim(&*store, &lane, 9, "n2").await?.is_empty(), "the claim was released");

    store.commit(whole()).await?;
    same(version(&*store, &at("new")).await?, Some(1), "the new record of the whole change")?;
    same(version(&*store, &busy).await?, None, "the deleted record of the whole change")?;
    same(store.entries(&main, 0, 9).await?.len(), 2, "the numbered entries of the whole change")
}

async fn law_09_one_of_many_changes_wins_each_version(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let key = at("counter");
    store.commit(writes([write(&key, Expect::Absent, "0")])).await?;
    for round in 1..=8 {
        let tasks = (0..32).map(|me| {
            let (store, key) = (Arc::clone(&store), key.clone());
            tokio::spawn(async move {
                let body = format!("{round} by {me}");
                store.commit(writes([write(&key, Expect::Version(round), &body)])).await.map(|_| body)
            })
        });
        let mut winner = None;
        for done in join_all(tasks).await {
            match done.map_err(|error| Broken(error.to_string()))? {
                Ok(body) => {
                    hold!(winner.is_none(), "two changes won version {round}");
                    winner = Some(body.into_bytes());
                }
                lost => conflict(lost, "access", "a change that came too late")?,
            }
        }
        let found = store.read(&key).await?;
        same(found.as_ref().map(|it| it.version), round.checked_add(1), "the version")?;
        same(found.map(|it| it.body), winner, "the winner's body")?;
    }
    Ok(())
}

async fn law_09_a_conflicting_change_fails_alone(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let main = TenantId::default();
    let known = entry(&main, None, "known");
    store.commit(entries([known.clone()])).await?;
    let changes = (0..40).map(|i| {
        let mut change = writes([write(&at(&format!("{i}")), Expect::Absent, "x")]);
        match i % 4 {
            0 => change.writes.push(write(&at("nowhere"), Expect::Version(1), "x")),
            1 if i < 8 => change.entries.push(known.clone()),
            _ => change.entries.push(entry(&main, None, "new")),
        }
        change
    });
    let changes: Vec<Change> = changes.collect();
    let done = join_all(changes.iter().map(|change| store.commit(change.clone()))).await;
    for (i, done) in done.into_iter().enumerate() {
        let fails = i % 4 == 0 || (i % 4 == 1 && i < 8);
        let kind = if i % 4 == 0 { "access" } else { "entry" };
        if fails {
            conflict(done, kind, "a change that conflicts")?;
        } else {
            done?;
        }
        let wanted = if fails { None } else { Some(1) };
        same(version(&*store, &at(&format!("{i}"))).await?, wanted, "what each of the changes wrote")?;
    }
    same(store.unnumbered(&main, 99).await?.len(), 29, "the entries")
}

async fn law_09_two_processes_never_both_win(bench: Bench) -> Result<(), Broken> {
    let (one, other) = (bench.open().await?, bench.open().await?);
    let key = at("counter");
    one.commit(writes([write(&key, Expect::Absent, "x")])).await?;
    let count = |store: Arc<dyn Store>, key: RecordKey| async move {
        let mut won = 0_u64;
        while won < 20 {
            let Some(version) = version(&*store, &key).await? else {
                return Err(Broken("the record vanished".to_owned()));
            };
            match store.commit(writes([write(&key, Expect::Version(version), "x")])).await {
                Ok(_) => won = won.saturating_add(1),
                lost => conflict(lost, "access", "a change that came too late")?,
            }
        }
        Ok(())
    };
    let both = [tokio::spawn(count(Arc::clone(&one), key.clone())), tokio::spawn(count(other, key.clone()))];
    for done in join_all(both).await {
        done.map_err(|error| Broken(error.to_string()))??;
    }
    same(version(&*one, &key).await?, Some(41), "the version after twice twenty changes")
}

async fn records_read_together_come_in_their_order(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    store.commit(writes(["b", "a", "c"].map(|key| write(&at(key), Expect::Absent, key)))).await?;
    let found = store.read_all(&["c", "none", "a", "c"].map(at)).await?;
    let found: Vec<Option<Vec<u8>>> = found.into_iter().map(|it| it.map(|record| record.body)).collect();
    let wanted = vec![Some(b"c".to_vec()), None, Some(b"a".to_vec()), Some(b"c".to_vec())];
    same(found, wanted, "the records")?;
    same(store.read_all(&[]).await?.len(), 0, "no records")
}

async fn law_09_what_was_committed_is_there_after_opening_again(bench: Bench) -> Result<(), Broken> {
    let main = TenantId::default();
    let store = bench.open().await?;
    let now = store.now().await?;
    let (first, second) = (entry(&main, Some("about"), "first"), entry(&main, None, "second"));
    store
        .commit(Change {
            writes: vec![
                labelled(&at("labelled"), Expect::Absent, &[("state", "active")]),
                due(&at("due"), Expect::Absent, &Lane::desk(), now, "serial"),
            ],
            entries: vec![first.clone(), second.clone()],
            numbering: numbers(&main, 0, &[first.id]).numbering,
            ..Change::default()
        })
        .await?;
    let before = (store.read(&at("labelled")).await?, store.read(&at("due")).await?);
    drop(store);

    let store = bench.open().await?;
    same((store.read(&at("labelled")).await?, store.read(&at("due")).await?), before, "the records")?;
    let label = Some(("state".to_owned(), "active".to_owned()));
    let ask = PageQuery { tenant: main.clone(), kind: Kind::Access, label, after: None, limit: 9 };
    same(store.page(&ask).await?.len(), 1, "the labels")?;
    same(store.lanes().await?, vec![(Lane::desk(), now)], "the lanes")?;
    same(claim_one(&*store, &Lane::desk(), "n1").await?.record.at, at("due"), "what is due")?;
    let numbered: Vec<_> = store.entries(&main, 0, 9).await?.into_iter().map(|it| (it.id, it.number)).collect();
    same(numbered, vec![(first.id, Some(0))], "the numbered entries")?;
    let open: Vec<_> = store.unnumbered(&main, 9).await?.into_iter().map(|it| it.id).collect();
    same(open, vec![second.id], "the others")?;
    conflict(store.commit(entries([second])).await, "entry", "an entry of the earlier process once more")
}
