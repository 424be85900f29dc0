//! Store in memory, for tests and trials: it keeps the whole contract except durability.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::watch;

use super::check::conflict;
use super::waiting::wait;
use super::{
    Change, Claim, ClaimRequest, Claimed, ClockState, Committed, Expect, Lane, PageQuery, Pulse, Record, RecordKey,
    Schedule, Store, StoreError, StoredEntry, Timekeeper, Writing,
};
use crate::clock::{Clock, SystemClock, Time, after};
use crate::id::{EntryId, TenantId};

/// A [`Store`] that forgets everything when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    inside: Mutex<Inside>,
    pulse: watch::Sender<Pulse>,
}

#[derive(Debug)]
struct Inside {
    time: Timekeeper,
    records: BTreeMap<RecordKey, Record>,
    due: BTreeMap<Lane, BTreeSet<(Time, RecordKey)>>,
    held: BTreeMap<String, Held>,
    fencing: u64,
    log: Log,
}

#[derive(Debug)]
struct Held {
    fencing: u64,
    until: Time,
}

/// Content of a store at a moment, as a replica that is behind has it.
#[cfg(feature = "testkit")]
#[derive(Debug, Clone)]
pub struct Replica {
    records: BTreeMap<RecordKey, Record>,
    due: BTreeMap<Lane, BTreeSet<(Time, RecordKey)>>,
    log: Log,
}

#[derive(Debug, Clone, Default)]
struct Log {
    /// All entries, in the order of their commits.
    entries: Vec<Entry>,
    by_id: BTreeMap<EntryId, usize>,
    numbered: BTreeMap<TenantId, BTreeMap<u64, usize>>,
    unnumbered: BTreeMap<TenantId, BTreeSet<usize>>,
}

#[derive(Debug, Clone)]
struct Entry {
    tenant: TenantId,
    subject: Option<String>,
    stored: StoredEntry,
}

impl MemoryStore {
    /// Makes an empty store on this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let inside = Inside {
            time: Timekeeper::open(Arc::clone(&clock), None),
            records: BTreeMap::new(),
            due: BTreeMap::new(),
            held: BTreeMap::new(),
            fencing: 0,
            log: Log::default(),
        };
        Self { clock, inside: Mutex::new(inside), pulse: watch::Sender::new(Pulse::default()) }
    }

    /// Copies what the store holds now.
    #[cfg(feature = "testkit")]
    #[doc(hidden)]
    #[must_use]
    pub fn replica(&self) -> Replica {
        let inside = self.inside();
        Replica { records: inside.records.clone(), due: inside.due.clone(), log: inside.log.clone() }
    }

    /// Fails over to the replica: everything that it lacks is lost, and so are all claims. Time and
    /// fencing numbers go on.
    #[cfg(feature = "testkit")]
    #[doc(hidden)]
    pub fn fail_over(&self, to: Replica) {
        let mut inside = self.inside();
        let Replica { records, due, log } = to;
        (inside.records, inside.due, inside.log) = (records, due, log);
        inside.held.clear();
        self.pulse.send_modify(|pulse| pulse.0 = pulse.0.wrapping_add(1));
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        // Every change is checked before it begins, so the state is whole even after a panic
        // elsewhere.
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn now(&self) -> Result<Time, StoreError> {
        Ok(self.inside().time.now())
    }

    async fn wait(&self, seen: Pulse, until: Time) -> Result<(), StoreError> {
        wait(self.clock.as_ref(), || self.inside().time.now(), self.pulse.subscribe(), seen, until).await;
        Ok(())
    }

    async fn pulse(&self) -> Result<Pulse, StoreError> {
        Ok(*self.pulse.borrow())
    }

    async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        change.check()?;
        let mut inside = self.inside();
        inside.check(&change)?;
        let at = inside.time.now();
        inside.apply(change);
        self.pulse.send_modify(|pulse| pulse.0 = pulse.0.wrapping_add(1));
        Ok(Committed { at })
    }

    async fn claim(&self, ask: &ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        Ok(self.inside().claim(ask))
    }

    async fn unclaim(&self, claims: &[Claim]) -> Result<(), StoreError> {
        let mut inside = self.inside();
        for claim in claims {
            inside.release(claim);
        }
        Ok(())
    }

    async fn lanes(&self) -> Result<Vec<(Lane, Time)>, StoreError> {
        let mut inside = self.inside();
        let now = inside.time.now();
        Ok(inside.due.iter().filter_map(|(lane, due)| Some((lane.clone(), inside.next(due, now)?))).collect())
    }

    async fn upcoming(&self, lane: &Lane, until: Time, limit: usize) -> Result<Vec<Record>, StoreError> {
        let mut inside = self.inside();
        let now = inside.time.now();
        Ok(inside.upcoming(lane, now, until, limit))
    }

    async fn read(&self, at: &RecordKey) -> Result<Option<Record>, StoreError> {
        Ok(self.inside().records.get(at).cloned())
    }

    async fn read_all(&self, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
        let inside = self.inside();
        Ok(keys.iter().map(|at| inside.records.get(at).cloned()).collect())
    }

    async fn page(&self, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
        let from = RecordKey::new(&ask.tenant, ask.kind, ask.after.clone().unwrap_or_default());
        let from = if ask.after.is_some() { Bound::Excluded(from) } else { Bound::Included(from) };
        let inside = self.inside();
        let kind = inside.records.range((from, Bound::Unbounded)).map(|(_, record)| record);
        let kind = kind.take_while(|record| record.at.tenant == ask.tenant && record.at.kind == ask.kind);
        let wanted = kind.filter(|record| match &ask.label {
            Some((name, value)) => record.labels.get(name) == Some(value),
            None => true,
        });
        Ok(wanted.take(ask.limit).cloned().collect())
    }

    async fn entries(&self, tenant: &TenantId, from: u64, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        let inside = self.inside();
        let numbered = inside.log.numbered.get(tenant).into_iter().flat_map(|numbers| numbers.range(from..));
        Ok(inside.log.stored(numbered.map(|(_, place)| place), limit))
    }

    async fn unnumbered(&self, tenant: &TenantId, limit: usize) -> Result<Vec<StoredEntry>, StoreError> {
        let inside = self.inside();
        Ok(inside.log.stored(inside.log.unnumbered.get(tenant).into_iter().flatten(), limit))
    }

    async fn entries_about(
        &self,
        tenant: &TenantId,
        subject: &str,
        limit: usize,
    ) -> Result<Vec<StoredEntry>, StoreError> {
        let inside = self.inside();
        let all = inside.log.entries.iter();
        let about = all.filter(|entry| entry.tenant == *tenant && entry.subject.as_deref() == Some(subject));
        Ok(about.take(limit).map(|entry| entry.stored.clone()).collect())
    }

    async fn accept_clock(&self) -> Result<(), StoreError> {
        self.inside().time.accept();
        Ok(())
    }

    async fn clock_state(&self) -> Result<ClockState, StoreError> {
        Ok(self.inside().time.state())
    }
}

impl Inside {
    /// Checks everything that could refuse the change, so that applying it cannot fail half way.
    fn check(&self, change: &Change) -> Result<(), StoreError> {
        for claim in change.fences.iter().chain(&change.release) {
            if !self.holds(claim) {
                return Err(StoreError::Fenced { serial: claim.serial.clone() });
            }
        }
        for write in &change.writes {
            let found = self.records.get(&write.at).map(|record| record.version);
            let expected = match write.expect {
                Expect::Absent => None,
                Expect::Version(version) => Some(version),
            };
            if found != expected {
                return Err(conflict(write.at.kind.as_str(), &write.at.key));
            }
        }
        self.log.check(change)
    }

    fn apply(&mut self, change: Change) {
        for claim in &change.release {
            self.release(claim);
        }
        for write in change.writes {
            match write.what {
                Writing::Put { body, schedule, labels } => {
                    let version = self.records.get(&write.at).map_or(0, |record| record.version).saturating_add(1);
                    self.put(Record { at: write.at, version, body, schedule, labels });
                }
                Writing::Delete => self.delete(&write.at),
                Writing::Guard => {}
            }
        }
        for new in change.entries {
            self.log.append(new.tenant, new.subject, StoredEntry { id: new.id, number: None, body: new.body });
        }
        if let Some(numbering) = change.numbering {
            for (number, id) in (numbering.first..).zip(numbering.entries) {
                self.log.number(&numbering.tenant, number, id);
            }
        }
    }

    fn put(&mut self, record: Record) {
        self.delete(&record.at);
        if let Some(schedule) = &record.schedule {
            self.due.entry(schedule.lane.clone()).or_default().insert((schedule.due, record.at.clone()));
        }
        self.records.insert(record.at.clone(), record);
    }

    fn delete(&mut self, at: &RecordKey) {
        let Some(schedule) = self.records.remove(at).and_then(|record| record.schedule) else { return };
        let Some(lane) = self.due.get_mut(&schedule.lane) else { return };
        lane.remove(&(schedule.due, at.clone()));
        if lane.is_empty() {
            self.due.remove(&schedule.lane);
        }
    }

    fn claim(&mut self, ask: &ClaimRequest) -> Vec<Claimed> {
        let now = self.time.now();
        let until = after(now, ask.how_long);
        let mut claimed = Vec::new();
        let due = self.due.get(&ask.lane).into_iter().flatten();
        let due: Box<dyn Iterator<Item = &RecordKey>> = match ask.due_after {
            None => Box::new(due.take_while(|(due, _)| *due <= now).map(|(_, at)| at)),
            Some(after) => {
                let latest = due.rev().skip_while(move |(due, _)| *due > now);
                Box::new(latest.take_while(move |(due, _)| *due > after).map(|(_, at)| at))
            }
        };
        for at in due {
            if claimed.len() >= ask.limit {
                break;
            }
            let Some(record) = self.records.get(at) else { continue };
            let Some(Schedule { serial, .. }) = &record.schedule else { continue };
            let before = self.held.get(serial);
            if before.is_some_and(|held| held.until > now) {
                continue;
            }
            let taken_over = before.is_some();
            self.fencing = self.fencing.saturating_add(1);
            self.held.insert(serial.clone(), Held { fencing: self.fencing, until });
            let claim = Claim { serial: serial.clone(), fencing: self.fencing, until, taken_over };
            claimed.push(Claimed { record: record.clone(), claim });
        }
        claimed
    }

    fn upcoming(&self, lane: &Lane, now: Time, until: Time, limit: usize) -> Vec<Record> {
        let mut serials = BTreeSet::new();
        let due = self.due.get(lane).into_iter().flatten().take_while(|(due, _)| *due < until);
        let records = due.filter_map(|(_, at)| self.records.get(at));
        let free = records.filter(|record| {
            let Some(Schedule { serial, .. }) = &record.schedule else { return false };
            self.held.get(serial).is_none_or(|held| held.until <= now) && serials.insert(serial.clone())
        });
        free.take(limit).cloned().collect()
    }

    fn holds(&self, claim: &Claim) -> bool {
        self.held.get(&claim.serial).is_some_and(|held| held.fencing == claim.fencing)
    }

    fn release(&mut self, claim: &Claim) {
        if self.holds(claim) {
            self.held.remove(&claim.serial);
        }
    }

    /// Returns the time at which somebody can claim a record of the lane: the earliest that is not
    /// claimed, or the earliest end of a claim.
    fn next(&self, lane: &BTreeSet<(Time, RecordKey)>, now: Time) -> Option<Time> {
        let mut next: Option<Time> = None;
        for (due, at) in lane {
            if next.is_some_and(|next| next <= *due) {
                break;
            }
            let serial = self.records.get(at).and_then(|record| record.schedule.as_ref()).map(|it| &it.serial);
            let held = serial.and_then(|serial| self.held.get(serial)).filter(|held| held.until > now);
            let ready = held.map_or(*due, |held| held.until.max(*due));
            next = Some(next.map_or(ready, |next| next.min(ready)));
        }
        next
    }
}

impl Log {
    fn check(&self, change: &Change) -> Result<(), StoreError> {
        if let Some(known) = change.entries.iter().find(|entry| self.by_id.contains_key(&entry.id)) {
            return Err(conflict("entry", &known.id.to_string()));
        }
        let Some(numbering) = &change.numbering else { return Ok(()) };
        let numbers = self.numbered.get(&numbering.tenant);
        for (number, id) in (numbering.first..).zip(&numbering.entries) {
            if numbers.is_some_and(|numbers| numbers.contains_key(&number)) {
                return Err(conflict("entry", &format!("number {number}")));
            }
            let stored = self.by_id.get(id).and_then(|place| self.entries.get(*place));
            let stored = stored.is_some_and(|it| it.tenant == numbering.tenant && it.stored.number.is_none());
            let new = change.entries.iter().any(|entry| entry.id == *id && entry.tenant == numbering.tenant);
            if !stored && !new {
                return Err(conflict("entry", &id.to_string()));
            }
        }
        Ok(())
    }

    fn append(&mut self, tenant: TenantId, subject: Option<String>, stored: StoredEntry) {
        let place = self.entries.len();
        self.by_id.insert(stored.id, place);
        self.unnumbered.entry(tenant.clone()).or_default().insert(place);
        self.entries.push(Entry { tenant, subject, stored });
    }

    fn number(&mut self, tenant: &TenantId, number: u64, id: EntryId) {
        let Some(place) = self.by_id.get(&id) else { return };
        let Some(entry) = self.entries.get_mut(*place) else { return };
        entry.stored.number = Some(number);
        self.numbered.entry(tenant.clone()).or_default().insert(number, *place);
        if let Some(unnumbered) = self.unnumbered.get_mut(tenant) {
            unnumbered.remove(place);
        }
    }

    fn stored<'a>(&self, places: impl Iterator<Item = &'a usize>, limit: usize) -> Vec<StoredEntry> {
        places.take(limit).filter_map(|place| self.entries.get(*place)).map(|entry| entry.stored.clone()).collect()
    }
}
