//! Account work: one claimed holding with all its accesses, while a pass works on it.

use std::collections::BTreeMap;

use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::Time;
use crate::engine::core::Core;
use crate::engine::repository::attempt::{Attempt, retry};
use crate::engine::repository::records::{access_key, body};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::repository::{Loaded, loaded};
use crate::engine::tenant::Tenant;
use crate::id::{AccessId, TargetName};
use crate::model::access::{Access, Event};
use crate::model::grant::{Cause, Grant};
use crate::model::holding::Holding;
use crate::store::{Claim, Claimed, Expect, Kind, RecordKey, StoreError, Write};

/// Account work: one claimed holding with all its accesses.
#[derive(Debug)]
pub(super) struct AccountWork {
    pub(super) claim: Claim,
    pub(super) holding: Holding,
    version: u64,
    pub(super) accesses: BTreeMap<AccessId, Loaded>,
    /// Audit events of each access since the last commit.
    audit_events: BTreeMap<AccessId, Vec<AuditEvent>>,
    /// Audit events that are about no access.
    pub(super) findings: Vec<AuditEvent>,
    /// Events since the last commit, to be handled again if somebody else was in the way.
    events: Vec<(AccessId, Event)>,
    changed: bool,
    /// Records by which its grants were judged. They must be unchanged when the intent is
    /// committed.
    pub(super) guards: Vec<Write>,
    /// Holding as it was read.
    before: Holding,
}

/// Outcome of a commit of account work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// The commit is durable.
    Yes,
    /// Somebody else changed a record, or took the claim. This pass has nothing more to do with it.
    No,
}

/// Time at which a claim is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// With this commit: it has the last results.
    Now,
    /// With a later commit: the pass goes on with the account.
    Later,
}

impl AccountWork {
    /// Reads what was claimed. A holding that cannot be read is reported, and left for the next
    /// pass.
    pub(super) async fn load(core: &Core, claimed: Vec<Claimed>, now: Time) -> Result<Vec<Self>, StoreError> {
        let mut accounts = Vec::new();
        let mut keys = Vec::new();
        for Claimed { record, claim } in claimed {
            let holding: Holding = match body(&record) {
                Ok(holding) => holding,
                Err(error) => {
                    tracing::error!(key = record.at.key, %error, "a holding cannot be read: compare the target with the store (`Jit::reconcile`, or `jit reconcile`)");
                    continue;
                }
            };
            keys.extend(holding.live.iter().map(|id| access_key(&holding.tenant, *id)));
            accounts.push(Self {
                claim,
                before: holding.clone(),
                holding,
                version: record.version,
                accesses: BTreeMap::new(),
                audit_events: BTreeMap::new(),
                findings: Vec::new(),
                events: Vec::new(),
                changed: false,
                guards: Vec::new(),
            });
        }
        let mut records = core.store.read_all(&keys).await?.into_iter();
        for work in &mut accounts {
            for id in work.holding.live.clone() {
                match records.next().flatten() {
                    Some(record) => work.take(id, &record, now),
                    None => work.holding.forget(id),
                }
            }
        }
        Ok(accounts)
    }

    fn take(&mut self, id: AccessId, record: &crate::store::Record, now: Time) {
        match loaded(record, now) {
            Ok(loaded) => {
                if !loaded.damage.is_empty() {
                    self.audit_events.entry(id).or_default().extend(loaded.damage.iter().cloned());
                    self.changed = true;
                }
                self.accesses.insert(id, loaded);
            }
            Err(error) => {
                self.holding.forget(id);
                self.changed = true;
                self.findings.push(
                    AuditEvent::new(EventKind::Finding)
                        .with("access", id.to_string())
                        .with("account", self.holding.account.as_str())
                        .with("realm", self.holding.realm.as_str())
                        .with("why", format!("{error}: reconcile the target")),
                );
            }
        }
    }

    /// Returns all its accesses.
    pub(super) fn live(&self) -> Vec<&Access> {
        self.accesses.values().map(|loaded| &loaded.access).collect()
    }

    /// Checks whether any of it has to end now.
    pub(super) fn ends(&self, now: Time) -> bool {
        let ends = |access: &Access| match access.grant() {
            Some(Grant::Active(active)) => active.window.end() <= now,
            Some(Grant::Granting(granting)) => granting.give_up <= now,
            Some(Grant::Revoking(revoking)) => revoking.retry_at <= now,
            _ => false,
        };
        self.live().into_iter().any(ends) || self.holding.orphans.iter().any(|orphan| orphan.retry_at <= now)
    }

    /// Returns a target through which its realm is reached, preferably one that is not `lost`.
    pub(super) fn target(&self, settings: &Tenant, lost: impl Fn(&TargetName) -> bool) -> Option<TargetName> {
        let here = || self.targets().filter(|target| settings.databases.contains_key(*target));
        here().find(|target| !lost(target)).or_else(|| here().next()).cloned()
    }

    /// Returns the targets through which its realm may be reached.
    pub(super) fn targets(&self) -> impl Iterator<Item = &TargetName> {
        // a dead man's switch can be moved only where it was armed
        let armed = self.holding.armed.iter().map(|armed| &armed.target);
        let live = self.accesses.values().map(|loaded| &loaded.access.request().target);
        let watched = self.holding.watched.iter().map(|watch| &watch.target);
        let orphans = self.holding.orphans.iter().map(|orphan| &orphan.target);
        armed.chain(live).chain(watched).chain(orphans)
    }

    /// Lets the access handle the event.
    pub(super) fn handle(&mut self, id: AccessId, event: Event, now: Time) {
        self.events.push((id, event.clone()));
        self.handle_once(id, event, now);
    }

    fn handle_once(&mut self, id: AccessId, event: Event, now: Time) {
        let Some(loaded) = self.accesses.get_mut(&id) else { return };
        let audit_events = match loaded.access.handle(event, now) {
            Ok(step) => {
                self.changed |= step.access != loaded.access;
                loaded.access = step.access;
                step.audit_events
            }
            Err(refused) => refused.audit_events,
        };
        if !audit_events.is_empty() {
            self.changed = true;
            self.audit_events.entry(id).or_default().extend(audit_events);
        }
    }

    /// Returns the key of the account's holding.
    pub(super) fn at(&self) -> RecordKey {
        RecordKey::new(&self.holding.tenant, Kind::Holding, Holding::key(&self.holding.realm, &self.holding.account))
    }

    /// Grants nothing to the account until this time.
    pub(super) fn quiet(&mut self, until: Time) {
        self.holding.keep_quiet(until);
        self.changed = true;
    }

    /// Marks the holding itself as changed.
    pub(super) fn touch(&mut self) {
        self.changed = true;
    }

    /// Adds an access that ended and is watched, so that it can handle what a second look showed.
    pub(super) async fn join(&mut self, core: &Core, id: AccessId, now: Time) -> Result<bool, StoreError> {
        let Some(record) = core.store.read(&access_key(&self.holding.tenant, id)).await? else { return Ok(false) };
        self.take(id, &record, now);
        if self.accesses.contains_key(&id) {
            self.holding.take_back(id);
            return Ok(true);
        }
        Ok(false)
    }

    /// Moves accesses that ended from the live ones to the watched ones.
    fn tidy(&mut self) {
        for loaded in self.accesses.values() {
            self.holding.place(&loaded.access);
        }
    }

    /// Commits what is known before anything is sent (law 3). If somebody else was in the way the
    /// account work is dropped: nothing was sent yet, and it is claimed again at once.
    pub(super) async fn intend(&mut self, core: &Core, settings: &Tenant, now: Time) -> Result<Kept, StoreError> {
        if !self.changed {
            return Ok(Kept::Yes);
        }
        match self.commit(core, settings, now, Release::Later).await {
            Ok(()) => Ok(Kept::Yes),
            Err(StoreError::Conflict { .. }) => {
                core.store.unclaim(std::slice::from_ref(&self.claim)).await?;
                Ok(Kept::No)
            }
            Err(StoreError::Fenced { .. }) => Ok(Kept::No),
            Err(error) => Err(error),
        }
    }

    /// Commits the results. If somebody else was in the way the events are handled again, because
    /// what was done in the database was done.
    pub(super) async fn record(
        &mut self,
        core: &Core,
        settings: &Tenant,
        release: Release,
    ) -> Result<Kept, StoreError> {
        let kept = retry!(async {
            let now = core.store.now().await?;
            match self.commit(core, settings, now, release).await {
                Ok(()) => Ok(Attempt::Done(Kept::Yes)),
                Err(StoreError::Conflict { .. }) => self.reload(core, now).await.map(|()| Attempt::Overtaken),
                Err(StoreError::Fenced { .. }) => Ok(Attempt::Done(Kept::No)),
                Err(error) => Err(error),
            }
        });
        match kept? {
            Attempt::Done(kept) => Ok(kept),
            Attempt::Overtaken => Ok(Kept::No),
        }
    }

    async fn commit(&mut self, core: &Core, settings: &Tenant, now: Time, release: Release) -> Result<(), StoreError> {
        self.tidy();
        let mut unit_of_work = UnitOfWork::new(core, &self.holding.tenant, settings, None, now);
        let mut written = Vec::new();
        for (id, audit_events) in &self.audit_events {
            let Some(loaded) = self.accesses.get(id) else { continue };
            unit_of_work.access(&loaded.access, Expect::Version(loaded.version), audit_events)?;
            written.push(*id);
        }
        for (id, loaded) in &self.accesses {
            let silent = self.events.iter().any(|(about, _)| about == id) && !written.contains(id);
            if silent {
                unit_of_work.access(&loaded.access, Expect::Version(loaded.version), &[])?;
                written.push(*id);
            }
        }
        for finding in &self.findings {
            unit_of_work.audit(finding.clone());
        }
        let live = self.accesses.values().map(|loaded| &loaded.access);
        let due = self.holding.due(live);
        unit_of_work.holding(&self.holding, Expect::Version(self.version), due)?;
        match release {
            Release::Now => unit_of_work.change.release.push(self.claim.clone()),
            Release::Later => {
                unit_of_work.change.fences.push(self.claim.clone());
                unit_of_work.change.writes.append(&mut self.guards);
            }
        }
        unit_of_work.commit().await?;
        self.version = self.version.saturating_add(1);
        for id in written {
            if let Some(loaded) = self.accesses.get_mut(&id) {
                loaded.version = loaded.version.saturating_add(1);
            }
        }
        self.before = self.holding.clone();
        self.audit_events.clear();
        self.findings.clear();
        self.events.clear();
        self.changed = false;
        Ok(())
    }

    /// Checks whether the event closes a window that is still open.
    fn closes_early(&self, id: AccessId, event: &Event, now: Time) -> bool {
        let expired = matches!(event, Event::End { cause: Cause::Expired, .. });
        let grant = self.accesses.get(&id).and_then(|loaded| loaded.access.grant());
        expired && matches!(grant, Some(Grant::Active(active)) if active.window.end() > now)
    }

    /// Reads again what somebody else changed, and handles the events of this stage on it.
    async fn reload(&mut self, core: &Core, now: Time) -> Result<(), StoreError> {
        let at = self.at();
        let mut theirs = self.before.clone();
        if let Some(record) = core.store.read(&at).await? {
            theirs = body(&record)?;
            self.version = record.version;
        }
        // the next merge, if there is one, has this version in common with others
        let before = std::mem::replace(&mut self.before, theirs.clone());
        self.holding = Holding::merge(&before, self.holding.clone(), theirs);
        let events = std::mem::take(&mut self.events);
        self.audit_events.clear();
        self.accesses.clear();
        for id in self.holding.live.clone() {
            if let Some(record) = core.store.read(&access_key(&self.holding.tenant, id)).await? {
                self.take(id, &record, now);
            }
        }
        for (id, event) in events {
            // a window that was extended meanwhile has not closed
            if !self.closes_early(id, &event, now) {
                self.handle(id, event, now);
            }
        }
        Ok(())
    }
}
