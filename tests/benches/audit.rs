//! The audit log: durable entries a second, proofs and verification in a log of 1,000,000.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use jit_core::audit::{self, SigningKey};
use jit_core::audit_event::{AuditEvent, EventKind};
use jit_core::clock::{SystemEntropy, Time};
use jit_core::id::{NodeId, TenantId};
use jit_core::internal::EntryContext;
use jit_core::store::{Change, NewEntry, SqliteStore, Store};

use crate::table::{Spread, Table, millis, per_second};

const ENTRIES: usize = 1_000_000;

pub async fn rows(table: &mut Table) -> Result<()> {
    durable(table).await?;
    million(table).await
}

fn entry(tenant: &TenantId, node: &NodeId, at: Time) -> NewEntry {
    let context = EntryContext::new(tenant, node, at);
    let audit_event =
        AuditEvent::new(EventKind::Requested).with("reason", "stuck orders after the release").with("ticket", "OPS-12");
    context.entry(&audit_event, &SystemEntropy).to_store()
}

async fn durable(table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(SqliteStore::open(folder.path().join("jit.db"))?);
    let (tenant, node) = (TenantId::default(), NodeId::new("bench")?);
    let raw = raw(folder.path())?;
    for (parallel, count, aim) in [(1_usize, 2_000_usize, "4,000/s"), (256, 60_000, "80,000/s")] {
        let started = Instant::now();
        let mut tasks = Vec::new();
        for _ in 0..parallel {
            let (store, tenant, node) = (Arc::clone(&store), tenant.clone(), node.clone());
            tasks.push(tokio::spawn(async move {
                for _ in 0..count / parallel {
                    let entries = vec![entry(&tenant, &node, store.now().await?)];
                    store.commit(Change::default().entries(entries)).await?;
                }
                anyhow::Ok(())
            }));
        }
        for task in tasks {
            task.await??;
        }
        let how = if parallel == 1 { "alone".to_owned() } else { format!("grouped, {parallel} at a time") };
        let measured = per_second(count, started.elapsed());
        table.row(&format!("audit entries, durable, {how}"), measured, format!("raw SQLite commits {raw}"), aim);
    }
    Ok(())
}

/// Inserts one row after the other by hand, each durable.
fn raw(folder: &std::path::Path) -> Result<String> {
    let raw = rusqlite::Connection::open(folder.join("raw.db"))?;
    raw.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (b BLOB)")?;
    let started = Instant::now();
    for _ in 0..2_000 {
        raw.execute("INSERT INTO t VALUES (?1)", [vec![0_u8; 400]])?;
    }
    Ok(per_second(2_000, started.elapsed()))
}

async fn million(table: &mut Table) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = SqliteStore::open(folder.path().join("jit.db"))?;
    let (tenant, node) = (TenantId::default(), NodeId::new("bench")?);
    let at = store.now().await?;
    for _ in 0..ENTRIES / 10_000 {
        let entries = (0..10_000).map(|_| entry(&tenant, &node, at)).collect();
        store.commit(Change::default().entries(entries)).await?;
    }
    let started = Instant::now();
    while audit::advance(&store, &tenant, audit::BATCH).await?.more {}
    let numbered = started.elapsed();
    let key = SigningKey::generate(&audit::origin(&tenant), &SystemEntropy)?;
    audit::checkpoint(&store, &tenant, &key, at).await?;
    let mut proofs = Vec::new();
    for round in 0..200_u64 {
        let started = Instant::now();
        let proof = audit::prove(&store, &tenant, (round * 4_999) % ENTRIES as u64).await?;
        proofs.push(started.elapsed());
        audit::verify_proof(&proof, &[key.verifying_key().clone()])?;
    }
    let started = Instant::now();
    let verified = audit::verify(&store, &tenant, &[key.verifying_key().clone()]).await?;
    let took = started.elapsed();
    anyhow::ensure!(verified.size == ENTRIES as u64);
    let started = Instant::now();
    let mut from = 0;
    let mut bytes = 0_usize;
    while from < ENTRIES as u64 {
        let page = store.entries(&tenant, from, 10_000).await?;
        bytes += page.iter().map(|entry| entry.body.len()).sum::<usize>();
        from += page.len() as u64;
    }
    let read = started.elapsed();
    let chunk = vec![7_u8; bytes / ENTRIES];
    let started = Instant::now();
    for _ in 0..ENTRIES {
        std::hint::black_box(audit::Hash::leaf(std::hint::black_box(&chunk)));
    }
    let hashed: Duration = started.elapsed();
    table.row("inclusion proof in a log of 1,000,000", Spread::of(proofs).said(), "-".to_owned(), "under 10 ms");
    table.row(
        "verification of 1,000,000 stored entries",
        format!("{} ({})", per_second(ENTRIES, took), millis(took)),
        format!("reading them {}, hashing so many bytes {}", millis(read), millis(hashed)),
        "1,000,000/s (hashing stored bytes)",
    );
    table.row("numbering 1,000,000 entries", per_second(ENTRIES, numbered), "-".to_owned(), "-");
    Ok(())
}
