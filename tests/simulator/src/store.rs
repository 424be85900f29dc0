//! The store as one node reaches it.

use std::time::Duration;

use async_trait::async_trait;

use super::laws::{Holder, Reading, broken};
use super::node::Who;
use jit_core::clock::{Time, span, to_std};
use jit_core::id::TenantId;
use jit_core::store::{
    Change, Claim, ClaimRequest, Claimed, ClockState, Committed, Lane, PageQuery, Pulse, Record, RecordKey, Store,
    StoreError, StoredEntry,
};

/// The store as one node reaches it: its calls take time, fail and hang, and a node may die in
/// them.
#[derive(Debug)]
pub(super) struct SimStore {
    who: Who,
}

/// A way in which a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Before,
    After,
    HangBefore,
    HangAfter,
    /// The call takes long, and all is well.
    Slow,
}

impl SimStore {
    pub(super) fn new(who: Who) -> Self {
        Self { who }
    }

    fn fault(&self) -> Option<Fault> {
        let world = &self.who.world;
        let mut inside = world.inside();
        let rate = inside.weather.store;
        if rate == 0 || !inside.random.chance(rate) {
            return None;
        }
        let fault = inside.random.weighted(&[
            (4, Fault::Before),
            (4, Fault::After),
            (1, Fault::HangBefore),
            (1, Fault::HangAfter),
            (6, Fault::Slow),
        ])?;
        drop(inside);
        world.disturbed();
        world.count(match fault {
            Fault::Before => "store: error before",
            Fault::After => "store: error after",
            Fault::HangBefore => "store: hangs, then nothing happened",
            Fault::HangAfter => "store: hangs, then it happened",
            Fault::Slow => "store: slow",
        });
        Some(fault)
    }

    async fn hang(&self) {
        let millis = self.who.world.inside().random.between(500, 20_000);
        tokio::time::sleep(Duration::from_millis(millis)).await;
    }

    /// Runs the call in the present weather.
    async fn run<T>(&self, changes: bool, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let answer = self.weathered(changes, call).await;
        if matches!(answer, Err(StoreError::Unavailable { .. } | StoreError::OutcomeUnknown { .. })) {
            self.who.world.store_failed(self.who.node);
        }
        answer
    }

    async fn weathered<T>(
        &self,
        changes: bool,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let world = &self.who.world;
        let ambush = world.ambush(self.who.node, true);
        self.who.strike(ambush.as_ref(), false).await;
        world.latency().await;
        let fault = self.fault();
        if fault.is_some() {
            world.store_failed(self.who.node);
        }
        match fault {
            Some(Fault::Before) => return Err(unavailable("simulated, before")),
            Some(Fault::HangBefore) => {
                self.hang().await;
                return Err(if changes { unknown("simulated, before") } else { unavailable("simulated, hung") });
            }
            Some(Fault::Slow) => self.hang().await,
            _ => {}
        }
        let answer = call.await;
        self.who.strike(ambush.as_ref(), true).await;
        if fault == Some(Fault::HangAfter) {
            self.hang().await;
        }
        match fault {
            Some(Fault::Slow) => answer,
            Some(_) if changes => answer.and(Err(unknown("simulated, after"))),
            Some(_) => answer.and(Err(unavailable("simulated, after"))),
            None => answer,
        }
    }

    async fn commit_and_look(&self, change: Change) -> Result<Committed, StoreError> {
        let world = &self.who.world;
        let reading = Reading::of(&change);
        let (fences, released) = (change.fences.clone(), change.release.clone());
        let said = match &reading {
            Ok(reading) if world.keeps_trace() => reading.to_string(),
            _ => format!("{} writes, {} entries", change.writes.len(), change.entries.len()),
        };
        let committed = world.store.commit(change).await?;
        world.committed.notify_waiters();
        world.note(format_args!("node {} commits {said}", self.who.node));
        world.count("commits");
        for claim in fences.iter().chain(&released) {
            let held = world.inside().oracle.holders.get(&claim.serial).map(|holder| holder.fencing);
            if held != Some(claim.fencing) {
                world.hold(Err(broken(
                    14,
                    format!("node {} commits without its claim on `{}`", self.who.node, claim.serial),
                )));
            }
        }
        for claim in &released {
            self.released(claim);
        }
        let lawful = reading.and_then(|reading| {
            let holding = |tenant: &str, realm: &str, account: &str| world.holding(tenant, realm, account);
            world.inside().oracle.committed(self.who.node, reading, committed.at, &holding)
        });
        world.hold(lawful);
        Ok(committed)
    }

    fn released(&self, claim: &Claim) {
        let mut inside = self.who.world.inside();
        let holders = &mut inside.oracle.holders;
        if holders.get(&claim.serial).is_some_and(|holder| holder.fencing == claim.fencing) {
            holders.remove(&claim.serial);
        }
    }
}

fn unavailable(why: &str) -> StoreError {
    StoreError::Unavailable { why: why.to_owned(), source: None }
}

fn unknown(why: &str) -> StoreError {
    StoreError::OutcomeUnknown { why: why.to_owned(), source: None }
}

#[async_trait]
impl Store for SimStore {
    async fn now(&self) -> Result<Time, StoreError> {
        self.who.world.store.now().await
    }

    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError> {
        let world = &self.who.world;
        // not as the store itself waits: it naps for a second at a time, and a watch channel wakes
        // in random order
        let committed = world.committed.notified();
        if world.store.pulse().await? == seen {
            let left = to_std(span(world.store.now().await?, until));
            // a lost wake-up does no harm: the caller looks again
            drop(tokio::time::timeout(left.saturating_add(Duration::from_millis(1)), committed).await);
        }
        Ok(())
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        self.who.world.store.pulse().await
    }

    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        self.run(true, self.commit_and_look(change)).await
    }

    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let call = async {
            let claimed = self.who.world.store.claim(ask).await?;
            let mut inside = self.who.world.inside();
            for Claimed { claim, .. } in &claimed {
                let by = (self.who.node, self.who.boot);
                let holder = Holder { by, fencing: claim.fencing, until: claim.until };
                inside.oracle.holders.insert(claim.serial.clone(), holder);
            }
            Ok(claimed)
        };
        self.run(false, call).await
    }

    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let call = async {
            self.who.world.store.unclaim(claims).await?;
            claims.iter().for_each(|claim| self.released(claim));
            Ok(())
        };
        self.run(false, call).await
    }

    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        self.run(false, self.who.world.store.lanes()).await
    }

    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.run(false, self.who.world.store.upcoming(lane, until, limit)).await
    }

    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        self.run(false, self.who.world.store.read(at)).await
    }

    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        self.run(false, self.who.world.store.read_all(keys)).await
    }

    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        self.run(false, self.who.world.store.page(ask)).await
    }

    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.run(false, self.who.world.store.entries(tenant, from, limit)).await
    }

    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        self.run(false, self.who.world.store.unnumbered(tenant, limit)).await
    }

    async fn entries_about(
        &self,
        tenant: &TenantId,
        membership: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        self.run(false, self.who.world.store.entries_about(tenant, membership, limit)).await
    }

    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.run(true, self.who.world.store.accept_clock()).await
    }

    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        self.run(false, self.who.world.store.clock_state()).await
    }
}
