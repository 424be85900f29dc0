//! The stores of this crate, held to the contract.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::Arc;

use async_trait::async_trait;
use jit_core::store::{BoxError, MemoryStore, SqliteStore, Store};
use jit_core::testkit::ManualClock;
use jit_core::testkit::store_laws::{Outcome, StoreFactory, StorePlace, store_laws};

async fn keeps_the_laws(factory: &dyn StoreFactory) {
    let mut broken = Vec::new();
    for law in store_laws() {
        match law.check(factory).await {
            Ok(Outcome::Skipped(why)) => println!("skipped  {}: {why}", law.name),
            Ok(_) => println!("kept     {}", law.name),
            Err(error) => broken.push(error.to_string()),
        }
    }
    assert!(broken.is_empty(), "{factory:?} breaks {} laws:\n{}", broken.len(), broken.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_laws() {
    keeps_the_laws(&Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_laws() {
    keeps_the_laws(&Sqlite).await;
}

#[derive(Debug)]
struct Memory;

#[async_trait]
impl StoreFactory for Memory {
    async fn place(&self, clock: &ManualClock) -> Result<Box<dyn StorePlace>, BoxError> {
        Ok(Box::new(InMemory(Arc::new(MemoryStore::new(Arc::new(clock.clone()))))))
    }

    fn durable(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct InMemory(Arc<MemoryStore>);

#[async_trait]
impl StorePlace for InMemory {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::clone(&self.0) as Arc<dyn Store>)
    }
}

#[derive(Debug)]
struct Sqlite;

#[async_trait]
impl StoreFactory for Sqlite {
    async fn place(&self, clock: &ManualClock) -> Result<Box<dyn StorePlace>, BoxError> {
        Ok(Box::new(InFile { directory: tempfile::tempdir()?, clock: clock.clone() }))
    }

    fn durable(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct InFile {
    directory: tempfile::TempDir,
    clock: ManualClock,
}

#[async_trait]
impl StorePlace for InFile {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let path = self.directory.path().join("jit.db");
        Ok(Arc::new(SqliteStore::open_with(path, Arc::new(self.clock.clone()))?))
    }
}
