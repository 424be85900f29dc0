//! Laws about entries of the audit log and their numbers.

use super::bench::{Bench, at, conflict, entries, entry, numbers, same, write, writes};
use super::{Broken, StoreLaw, laws};
use crate::id::{EntryId, TenantId};
use crate::store::{Expect, NewEntry, StoredEntry};

pub(super) fn laws() -> Vec<StoreLaw> {
    laws![Nothing:
        entries_keep_their_order_and_their_bytes,
        numbers_are_given_once,
        numbers_may_follow_another_order,
        an_entry_can_get_its_number_with_its_change,
        entries_about_a_subject_come_numbered_or_not,
    ]
}

fn ids(found: &[StoredEntry]) -> Vec<EntryId> {
    found.iter().map(|entry| entry.id).collect()
}

fn numbers_in(found: &[StoredEntry]) -> Vec<Option<u64>> {
    found.iter().map(|entry| entry.number).collect()
}

fn bodies(found: &[StoredEntry]) -> Vec<&[u8]> {
    found.iter().map(|entry| entry.body.as_slice()).collect()
}

fn bodies_of(entries: &[NewEntry]) -> Vec<&[u8]> {
    entries.iter().map(|entry| entry.body.as_slice()).collect()
}

fn some(tenant: &TenantId, count: usize) -> Vec<NewEntry> {
    (0..count).map(|i| entry(tenant, None, &format!("{{\"i\":{i}}}"))).collect()
}

fn ids_of(entries: &[NewEntry]) -> Vec<EntryId> {
    entries.iter().map(|entry| entry.id).collect()
}

async fn entries_keep_their_order_and_their_bytes(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let main = TenantId::default();
    let all = some(&main, 10);
    for pair in all.chunks(2) {
        store.commit(entries(pair.to_vec())).await?;
    }
    let found = store.unnumbered(&main, 99).await?;
    same(ids(&found), ids_of(&all), "the order")?;
    same(bodies(&found), bodies_of(&all), "the bodies")?;
    same(numbers_in(&found), vec![None; 10], "the numbers")?;
    same(ids(&store.unnumbered(&main, 3).await?), ids_of(&all[..3]), "the first three")?;
    same(store.entries(&main, 0, 99).await?.len(), 0, "numbered ones")?;

    store.commit(numbers(&main, 0, &ids_of(&all[..6]))).await?;
    same(ids(&store.unnumbered(&main, 99).await?), ids_of(&all[6..]), "those left")?;
    store.commit(numbers(&main, 6, &ids_of(&all[6..]))).await?;
    let found = store.entries(&main, 0, 99).await?;
    same(ids(&found), ids_of(&all), "the numbered ones")?;
    same(numbers_in(&found), (0..10).map(Some).collect(), "their numbers")?;
    same(bodies(&found), bodies_of(&all), "the bodies")?;
    same(ids(&store.entries(&main, 4, 3).await?), ids_of(&all[4..7]), "a part")?;
    same(store.entries(&main, 10, 9).await?.len(), 0, "past the end")?;
    same(store.entries(&main, u64::MAX, 9).await?.len(), 0, "far past the end")
}

async fn numbers_are_given_once(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let main = TenantId::default();
    let all = some(&main, 4);
    store.commit(entries(all.clone())).await?;
    store.commit(numbers(&main, 0, &ids_of(&all[..2]))).await?;
    let stranger = entry(&main, None, "never committed");
    for (first, of, what) in [
        (0, vec![all[2].id], "a number that is taken"),
        (2, vec![all[1].id], "an entry that has one"),
        (1, vec![all[2].id, all[3].id], "a run that begins with one taken"),
        (2, vec![all[2].id, all[0].id], "a run with an entry that has one"),
        (2, vec![all[2].id, all[2].id], "an entry twice in a run"),
        (2, vec![stranger.id], "an entry that there is not"),
    ] {
        let mut change = numbers(&main, first, &of);
        change.writes = writes([write(&at("beside"), Expect::Absent, "x")]).writes;
        conflict(store.commit(change).await, "entry", what)?;
    }
    same(ids(&store.unnumbered(&main, 9).await?), ids_of(&all[2..]), "those left")?;
    same(store.read(&at("beside")).await?, None, "what stood beside")?;
    conflict(store.commit(entries([all[0].clone()])).await, "entry", "a numbered entry once more")?;
    store.commit(numbers(&main, 2, &ids_of(&all[2..]))).await?;
    same(store.unnumbered(&main, 9).await?.len(), 0, "none left")
}

async fn numbers_may_follow_another_order(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let main = TenantId::default();
    let all = some(&main, 3);
    store.commit(entries(all.clone())).await?;
    store.commit(numbers(&main, 0, &[all[2].id, all[0].id])).await?;
    same(ids(&store.entries(&main, 0, 9).await?), vec![all[2].id, all[0].id], "the order of the numbers")?;
    same(ids(&store.unnumbered(&main, 9).await?), vec![all[1].id], "the one left")
}

async fn an_entry_can_get_its_number_with_its_change(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let main = TenantId::default();
    let all = some(&main, 2);
    let mut change = numbers(&main, 0, &ids_of(&all));
    change.entries.clone_from(&all);
    store.commit(change).await?;
    same(ids(&store.entries(&main, 0, 9).await?), ids_of(&all), "the numbered ones")?;
    same(store.unnumbered(&main, 9).await?.len(), 0, "the others")
}

async fn entries_about_a_subject_come_numbered_or_not(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let main = TenantId::default();
    let about = |subject, body| entry(&main, subject, body);
    let all =
        [about(Some("a"), "1"), about(Some("b"), "2"), about(None, "3"), about(Some("a"), "4"), about(Some("a"), "5")];
    store.commit(entries(all.clone())).await?;
    store.commit(numbers(&main, 0, &[all[0].id, all[1].id])).await?;
    let found = store.entries_about(&main, "a", 9).await?;
    same(ids(&found), vec![all[0].id, all[3].id, all[4].id], "the entries")?;
    same(numbers_in(&found), vec![Some(0), None, None], "their numbers")?;
    same(ids(&store.entries_about(&main, "a", 2).await?), vec![all[0].id, all[3].id], "the first two")?;
    same(store.entries_about(&main, "c", 9).await?.len(), 0, "a subject that there is not")
}
