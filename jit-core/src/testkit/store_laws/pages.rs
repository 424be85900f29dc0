//! Laws about pages, and about tenants as walls.

use super::bench::{
    Bench, at, conflict, delete, entries, entry, keys, labelled, numbers, same, tenant, version, write, writes,
};
use super::{Broken, StoreLaw, laws};
use crate::id::TenantId;
use crate::store::{Expect, Kind, PageQuery, RecordKey, Store};

pub(super) fn laws() -> Vec<StoreLaw> {
    laws![Nothing:
        pages_come_in_the_order_of_the_keys_bytes,
        pages_by_label_follow_the_labels,
        kinds_are_apart,
        law_13_another_tenant_s_records_are_not_there,
        law_13_another_tenant_s_entries_are_not_there,
    ]
}

fn ask(tenant: &TenantId, label: Option<(&str, &str)>, after: Option<&str>, limit: usize) -> PageQuery {
    let label = label.map(|(name, value)| (name.to_owned(), value.to_owned()));
    PageQuery { tenant: tenant.clone(), kind: Kind::Access, label, after: after.map(str::to_owned), limit }
}

async fn in_pages(store: &dyn Store, label: Option<(&str, &str)>, limit: usize) -> Result<Vec<String>, Broken> {
    let mut all: Vec<String> = Vec::new();
    loop {
        let page = store.page(&ask(&TenantId::default(), label, all.last().map(String::as_str), limit)).await?;
        all.extend(keys(&page).into_iter().map(str::to_owned));
        if page.len() < limit {
            return Ok(all);
        }
    }
}

async fn pages_come_in_the_order_of_the_keys_bytes(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let mut all = [
        "",
        " ",
        "A",
        "B",
        "Z",
        "_",
        "a",
        "a b",
        "a-b",
        "a/b",
        "aa",
        "ab",
        "b",
        "z",
        "ß",
        "é",
        "z\u{300}",
        "\u{ffff}",
        "\u{10000}",
    ];
    let label = Some(("l", "v"));
    store.commit(writes(all.map(|key| labelled(&at(key), Expect::Absent, &[("l", "v")])))).await?;
    all.sort_by_key(|key| key.as_bytes());
    for label in [None, label] {
        for limit in [1, 2, 7, 19, 100] {
            same(in_pages(&*store, label, limit).await?, all.map(str::to_owned).to_vec(), "the keys")?;
        }
        let page = store.page(&ask(&TenantId::default(), label, Some("a.between"), 2)).await?;
        same(keys(&page), vec!["a/b", "aa"], "a page after a key that is not there")?;
        same(store.page(&ask(&TenantId::default(), label, None, 0)).await?.len(), 0, "a page of none")?;
    }
    Ok(())
}

async fn pages_by_label_follow_the_labels(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let first = [
        labelled(&at("1"), Expect::Absent, &[("state", "active"), ("who", "alice")]),
        labelled(&at("2"), Expect::Absent, &[("state", "active"), ("who", "bob")]),
        labelled(&at("3"), Expect::Absent, &[("state", "pending"), ("who", "alice")]),
        write(&at("4"), Expect::Absent, "none"),
    ];
    store.commit(writes(first)).await?;
    let of = |label| in_pages(&*store, Some(label), 9);
    same(of(("state", "active")).await?, vec!["1".to_owned(), "2".to_owned()], "the active ones")?;
    same(of(("who", "alice")).await?, vec!["1".to_owned(), "3".to_owned()], "alice's")?;
    same(of(("who", "active")).await?, Vec::new(), "a value under another name")?;
    let then = [
        labelled(&at("1"), Expect::Version(1), &[("state", "revoked"), ("who", "alice")]),
        delete(&at("2"), Expect::Version(1)),
        write(&at("3"), Expect::Version(1), "no label"),
        labelled(&at("4"), Expect::Version(1), &[("who", "alice")]),
    ];
    store.commit(writes(then)).await?;
    same(of(("state", "active")).await?, Vec::new(), "the active ones then")?;
    same(of(("state", "revoked")).await?, vec!["1".to_owned()], "the revoked ones")?;
    same(of(("who", "alice")).await?, vec!["1".to_owned(), "4".to_owned()], "alice's then")?;
    same(of(("who", "bob")).await?, Vec::new(), "bob's then")
}

async fn kinds_are_apart(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let tenant = TenantId::default();
    let all = Kind::ALL.map(|kind| write(&RecordKey::new(&tenant, kind, "same"), Expect::Absent, kind.as_str()));
    store.commit(writes(all)).await?;
    for kind in Kind::ALL {
        let page = PageQuery { tenant: tenant.clone(), kind, label: None, after: None, limit: 9 };
        let found = store.page(&page).await?;
        let bodies: Vec<_> = found.into_iter().map(|record| (record.at.kind, record.body)).collect();
        same(bodies, vec![(kind, kind.as_str().as_bytes().to_vec())], "the records of a kind")?;
    }
    Ok(())
}

async fn law_13_another_tenant_s_records_are_not_there(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let (acme, other) = (tenant("acme")?, tenant("acme2")?);
    let (mine, theirs) = (RecordKey::new(&acme, Kind::Access, "k"), RecordKey::new(&other, Kind::Access, "k"));
    store.commit(writes([labelled(&mine, Expect::Absent, &[("l", "v")])])).await?;
    same(version(&*store, &theirs).await?, None, "another tenant's record")?;
    same(
        store.read_all(&[theirs.clone(), mine.clone()]).await?.iter().map(Option::is_some).collect(),
        vec![false, true],
        "both",
    )?;
    for label in [None, Some(("l", "v"))] {
        same(store.page(&ask(&other, label, None, 9)).await?.len(), 0, "another tenant's page")?;
        same(store.page(&ask(&acme, label, None, 9)).await?.len(), 1, "the tenant's page")?;
    }
    conflict(store.commit(writes([delete(&theirs, Expect::Version(1))])).await, "access", "a delete across the wall")?;
    store.commit(writes([write(&theirs, Expect::Absent, "theirs")])).await?;
    store.commit(writes([delete(&theirs, Expect::Version(1))])).await?;
    same(version(&*store, &mine).await?, Some(1), "the tenant's own record")
}

async fn law_13_another_tenant_s_entries_are_not_there(bench: Bench) -> Result<(), Broken> {
    let store = bench.open().await?;
    let (acme, other) = (tenant("acme")?, tenant("other")?);
    let (mine, theirs) = (entry(&acme, Some("access"), "mine"), entry(&other, Some("access"), "theirs"));
    store.commit(entries([mine.clone(), theirs.clone()])).await?;
    let found = store.entries_about(&acme, "access", 9).await?;
    same(found.iter().map(|it| it.id).collect(), vec![mine.id], "entries about the same subject")?;
    same(store.unnumbered(&other, 9).await?.iter().map(|it| it.id).collect(), vec![theirs.id], "without a number")?;
    conflict(store.commit(numbers(&acme, 0, &[theirs.id])).await, "entry", "a number for another tenant's entry")?;
    store.commit(numbers(&acme, 0, &[mine.id])).await?;
    store.commit(numbers(&other, 0, &[theirs.id])).await?;
    for (tenant, id) in [(&acme, mine.id), (&other, theirs.id)] {
        same(store.entries(tenant, 0, 9).await?.iter().map(|it| it.id).collect(), vec![id], "the numbered ones")?;
    }
    Ok(())
}
