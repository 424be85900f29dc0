//! Workbench of every law: a place for stores, and short forms for writes and claims.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::{Broken, StoreFactory, StorePlace};
use crate::clock::{SystemEntropy, Time, after};
use crate::id::{EntryId, NodeId, TenantId};
use crate::store::{
    Change, Claim, ClaimRequest, Claimed, Expect, Kind, Lane, NewEntry, Numbering, Record, RecordKey, Schedule, Store,
    StoreError, Write, Writing,
};
use crate::testkit::ManualClock;

/// A new place and its clock.
pub(super) struct Bench {
    pub(super) clock: ManualClock,
    place: Box<dyn StorePlace>,
    follows_clock: bool,
}

impl Bench {
    pub(super) async fn new(factory: &dyn StoreFactory) -> Result<Self, Broken> {
        let clock = ManualClock::default();
        let place = factory.place(&clock).await.map_err(|error| Broken(format!("no place: {error}")))?;
        Ok(Self { clock, place, follows_clock: factory.follows_clock() })
    }

    /// Opens one more store on the place, as another process would.
    pub(super) async fn open(&self) -> Result<Arc<dyn Store>, Broken> {
        self.place.open().await.map_err(|error| Broken(format!("the place does not open: {error}")))
    }

    /// Lets this much of the store's time pass.
    pub(super) async fn pass(&self, how_long: Duration) {
        if self.follows_clock {
            self.clock.advance(how_long);
        } else {
            tokio::time::sleep(how_long).await;
        }
    }
}

pub(super) fn tenant(name: &str) -> Result<TenantId, Broken> {
    TenantId::new(name).map_err(|error| Broken(error.to_string()))
}

pub(super) fn node(name: &str) -> Result<NodeId, Broken> {
    NodeId::new(name).map_err(|error| Broken(error.to_string()))
}

/// Returns the key of an access of the default tenant.
pub(super) fn at(key: &str) -> RecordKey {
    RecordKey::new(&TenantId::default(), Kind::Access, key)
}

pub(super) fn write(at: &RecordKey, expect: Expect, body: &str) -> Write {
    let what = Writing::Put { body: body.as_bytes().to_vec(), schedule: None, labels: BTreeMap::new() };
    Write { at: at.clone(), expect, what }
}

pub(super) fn delete(at: &RecordKey, expect: Expect) -> Write {
    Write { at: at.clone(), expect, what: Writing::Delete }
}

pub(super) fn guard(at: &RecordKey, expect: Expect) -> Write {
    Write { at: at.clone(), expect, what: Writing::Guard }
}

/// Returns a write that is due in the lane.
pub(super) fn due(at: &RecordKey, expect: Expect, lane: &Lane, due: Time, serial: &str) -> Write {
    let schedule = Some(Schedule { lane: lane.clone(), due, serial: serial.to_owned() });
    let what = Writing::Put { body: b"due".to_vec(), schedule, labels: BTreeMap::new() };
    Write { at: at.clone(), expect, what }
}

pub(super) fn labelled(at: &RecordKey, expect: Expect, labels: &[(&str, &str)]) -> Write {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Write { at: at.clone(), expect, what: Writing::Put { body: b"labelled".to_vec(), schedule: None, labels } }
}

pub(super) fn writes(writes: impl IntoIterator<Item = Write>) -> Change {
    Change { writes: writes.into_iter().collect(), ..Change::default() }
}

pub(super) fn entry(tenant: &TenantId, subject: Option<&str>, body: &str) -> NewEntry {
    NewEntry {
        id: EntryId::fresh(Time::UNIX_EPOCH, &SystemEntropy),
        tenant: tenant.clone(),
        subject: subject.map(str::to_owned),
        body: body.as_bytes().to_vec(),
    }
}

pub(super) fn entries(entries: impl IntoIterator<Item = NewEntry>) -> Change {
    Change { entries: entries.into_iter().collect(), ..Change::default() }
}

pub(super) fn numbers(tenant: &TenantId, first: u64, entries: &[EntryId]) -> Change {
    let numbering = Numbering { tenant: tenant.clone(), first, entries: entries.to_vec() };
    Change { numbering: Some(numbering), ..Change::default() }
}

pub(super) const CLAIM_FOR: Duration = Duration::from_millis(1_500);
pub(super) const PAST_THE_CLAIM: Duration = Duration::from_millis(1_700);

pub(super) async fn claim(store: &dyn Store, lane: &Lane, limit: usize, who: &str) -> Result<Vec<Claimed>, Broken> {
    claim_for(store, lane, limit, who, CLAIM_FOR).await
}

pub(super) async fn claim_for(
    store: &dyn Store,
    lane: &Lane,
    limit: usize,
    who: &str,
    how_long: Duration,
) -> Result<Vec<Claimed>, Broken> {
    let how_long = TimeDelta::from_std(how_long).unwrap_or(TimeDelta::MAX);
    Ok(store.claim(&ClaimRequest::new(node(who)?, lane.clone(), limit, how_long)).await?)
}

/// Claims the only record that can be claimed.
pub(super) async fn claim_one(store: &dyn Store, lane: &Lane, who: &str) -> Result<Claimed, Broken> {
    let mut claimed = claim(store, lane, 10, who).await?;
    match (claimed.pop(), claimed.is_empty()) {
        (Some(one), true) => Ok(one),
        _ => Err(Broken(format!("{who} should have got exactly one claim in {lane:?}"))),
    }
}

/// Commits a record that is due now.
pub(super) async fn put_due(store: &dyn Store, key: &str, lane: &Lane, serial: &str) -> Result<RecordKey, Broken> {
    let at = at(key);
    let now = store.now().await?;
    store.commit(writes([due(&at, Expect::Absent, lane, now, serial)])).await?;
    Ok(at)
}

pub(super) async fn version(store: &dyn Store, at: &RecordKey) -> Result<Option<u64>, Broken> {
    Ok(store.read(at).await?.map(|record| record.version))
}

pub(super) fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.at.key.as_str()).collect()
}

pub(super) fn claimed_keys(claimed: &[Claimed]) -> Vec<&str> {
    claimed.iter().map(|one| one.record.at.key.as_str()).collect()
}

pub(super) fn claims(claimed: &[Claimed]) -> Vec<Claim> {
    claimed.iter().map(|one| one.claim.clone()).collect()
}

pub(super) fn later(time: Time, millis: i64) -> Time {
    after(time, TimeDelta::milliseconds(millis))
}

pub(super) fn same<T: PartialEq + Debug>(found: T, wanted: T, what: &str) -> Result<(), Broken> {
    if found == wanted { Ok(()) } else { Err(Broken(format!("{what}: {found:?} where {wanted:?} was expected"))) }
}

pub(super) fn conflict<T: Debug>(found: Result<T, StoreError>, kind: &str, what: &str) -> Result<(), Broken> {
    match found {
        Err(StoreError::Conflict { kind: said, .. }) if said == kind => Ok(()),
        other => Err(Broken(format!("{what}: {other:?} where a conflict of `{kind}` was expected"))),
    }
}

pub(super) fn fenced<T: Debug>(found: Result<T, StoreError>, serial: &str, what: &str) -> Result<(), Broken> {
    match found {
        Err(StoreError::Fenced { serial: said }) if said == serial => Ok(()),
        other => Err(Broken(format!("{what}: {other:?} where `{serial}` fenced was expected"))),
    }
}
