//! The work of one lane, until nothing of it is due.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::core::Tenant;
use super::super::error::JitError;
use super::super::ledger::Ledger;
use super::super::records::{
    ARMED, RealmRecord, TargetRecord, WATCHED, body, body_or_default, put, realm_key, target_key,
};
use super::super::who::Who;
use super::Lanes;
use super::breaker::Breaker;
use super::case::Case;
use super::contact::{a_copy, another_realm};
use super::gate::Found;
use super::realm::{Pass, Served, Stage};
use super::undone::Unserved;
use crate::clock::{Time, to_std};
use crate::database::{Database, DatabaseError, DeadManHere, Identity};
use crate::fact::{Fact, What};
use crate::holding::Holding;
use crate::id::{RealmId, TargetName, TenantId};
use crate::store::{Change, Claim, ClaimAsk, Claimed, Kind, Lane, PageAsk, Record, StoreError, Write, Writing};

/// A target without a dead-man is asked again after so long whether it has one now.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How many records a desk pass takes.
const DESK_BATCH: usize = 256;
/// How long a lane waits for a pass. A longer one goes on beside it.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a server may take to say who it is. The adapter limits its own connect; a program that gives the password may take longer.
const IDENTIFY_WITHIN: Duration = Duration::from_secs(25);

/// Accounts that are served together: whose, by which target. One whose call hung is served apart.
type Whose = (TenantId, TargetName, Option<String>);

impl Lanes {
    /// Does what is due in the lane; how often something was claimed.
    pub(super) async fn work(self: &Arc<Self>, lane: &Lane) -> Result<u64, StoreError> {
        let mut claims = 0_u64;
        loop {
            if self.stopping.load(Ordering::Relaxed) {
                return Ok(claims);
            }
            if lane.outbox_of().is_some() {
                return self.deliver(lane).await;
            }
            if lane.outside_of().is_some() {
                return self.outside(lane).await;
            }
            let limit = match lane {
                // a server that does not answer, or has not yet, is probed by one: the others are not told that it failed
                lane if lane.is_realm() && !self.breaker(lane, |breaker| breaker.is_up()) => 1,
                lane if lane.is_realm() => self.core.limits.batch,
                _ => DESK_BATCH,
            };
            let (lane_asked, how_long) = (lane.clone(), self.core.limits.claim);
            let ask = ClaimAsk { lane: lane_asked, limit, how_long, node: self.core.node.clone() };
            let claimed = self.core.store.claim(&ask).await?;
            if claimed.is_empty() {
                return Ok(claims);
            }
            claims = claims.saturating_add(1);
            let went_on = if lane.is_realm() {
                self.realm(lane, claimed).await?
            } else {
                let claims = claimed.iter().map(|claimed| claimed.claim.clone()).collect();
                let _held = self.core.in_hand.take(lane.as_str(), claims);
                self.without_effect(lane, claimed).await?
            };
            if !went_on {
                return Ok(claims);
            }
        }
    }

    /// Work that changes nothing in a database; whether it went on.
    async fn without_effect(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> Result<bool, StoreError> {
        if *lane == Lane::desk() {
            self.desk(claimed).await?;
            Ok(true)
        } else {
            self.contact(lane, claimed).await
        }
    }

    /// Serves claimed holdings: first what has to end, then everything else (law 18). Whether the lane's server answered.
    async fn realm(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> Result<bool, StoreError> {
        let now = self.core.store.now().await?;
        let mut stages: [BTreeMap<Whose, Vec<Case>>; 3] = Default::default();
        let [ends, unsettled, others] = &mut stages;
        let mut stranded = Vec::new();
        for case in Case::load(&self.core, claimed, now).await? {
            let settings = self.core.tenant(&case.holding.tenant).ok();
            let Some(target) = settings.as_ref().and_then(|settings| case.target(settings)) else {
                // nothing to do there any more, or nobody here who can
                stranded.push(case);
                continue;
            };
            let stage = match (case.ends(now), case.is_unsettled()) {
                (true, false) => &mut *ends,
                (true, true) => &mut *unsettled,
                (false, _) => &mut *others,
            };
            let suspect = self.core.suspects.has(&case.holding.serial());
            let apart = suspect.then(|| case.holding.serial());
            stage.entry((case.holding.tenant.clone(), target, apart)).or_default().push(case);
        }
        let mut answered = true;
        let mut lost: BTreeMap<(TenantId, TargetName), String> = BTreeMap::new();
        for (cases, stage) in stages.into_iter().zip([Stage::Ends, Stage::Ends, Stage::All]) {
            let mut passes = Vec::new();
            for ((tenant, target, _), cases) in cases {
                let known = lost.get(&(tenant.clone(), target.clone())).cloned();
                let (lanes, lane, at) = (Arc::clone(self), lane.clone(), (tenant.clone(), target.clone()));
                let pass = async move { lanes.serve(&lane, &tenant, &target, cases, stage, known).await };
                passes.push((at, self.spawn_pass(pass)));
            }
            for (at, pass) in passes {
                match self.finished(lane, pass).await {
                    Some(Ok(None)) | None => {}
                    Some(Ok(Some(why))) => {
                        answered = false;
                        lost.insert(at, why);
                    }
                    Some(Err(error)) => return Err(error),
                }
            }
        }
        if !stranded.is_empty() {
            answered = false;
            self.strand(lane, stranded, now).await?;
        }
        Ok(answered)
    }

    /// Runs a pass in a task of its own.
    fn spawn_pass(
        self: &Arc<Self>,
        pass: impl Future<Output = Result<Option<String>, StoreError>> + Send + 'static,
    ) -> JoinHandle<Result<Option<String>, StoreError>> {
        let lanes = Arc::clone(self);
        self.core.tasks.spawn(async move {
            let mut cut = lanes.cut.subscribe();
            tokio::select! {
                biased;
                _ = cut.wait_for(|cut| *cut) => Ok(None),
                served = lanes.survives("pass", pass) => served.unwrap_or(Ok(None)),
            }
        })
    }

    /// Waits for a pass, but not for long: one that takes its time goes on beside the lane, whose other work does not wait for it.
    async fn finished<T: Send + 'static>(
        &self,
        lane: &Lane,
        mut pass: JoinHandle<Result<T, StoreError>>,
    ) -> Option<Result<T, StoreError>> {
        let done = match self.core.tasks.within(PATIENCE, &mut pass).await {
            Some(done) => done,
            None if self.apart.has_room(lane) => {
                self.apart.take(
                    lane,
                    self.core.tasks.spawn(async move {
                        match pass.await {
                            Ok(Ok(_)) => {}
                            Ok(Err(error)) => {
                                tracing::error!(%error, "a slow pass could not be recorded; trying again")
                            }
                            Err(error) => {
                                tracing::error!(%error, "a pass ended badly: what it had claimed is tried again")
                            }
                        }
                    }),
                );
                return None;
            }
            None => pass.await,
        };
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                tracing::error!(%error, lane = lane.as_str(), "a pass ended badly: what it had claimed is tried again");
                None
            }
        }
    }

    /// One pass over accounts of one tenant by one target. Says why where the server did not answer.
    async fn serve(
        self: &Arc<Self>,
        lane: &Lane,
        tenant: &TenantId,
        target: &TargetName,
        cases: Vec<Case>,
        stage: Stage,
        known: Option<String>,
    ) -> Result<Option<String>, StoreError> {
        let Ok(settings) = self.core.tenant(tenant) else { return Ok(None) };
        let Ok(database) = settings.database(target) else { return Ok(None) };
        let label = self.label();
        let Some(realm) = cases.first().map(|case| case.holding.realm.clone()) else { return Ok(None) };
        let ready = match known {
            Some(why) => Err(DatabaseError::unreachable(why)),
            None => self.ready(lane, tenant, &settings, target, &realm, database).await?,
        };
        let incarnation = ready.as_ref().ok().cloned().unwrap_or_default();
        let server = Identity { realm: realm.clone(), incarnation };
        let dead_man = match (&ready, stage) {
            (Ok(_), Stage::All) => self.dead_man(tenant, target, database).await,
            // an end does not wait for what only a grant has to know
            (Ok(_), Stage::Ends) => self.known_dead_man(tenant, target),
            (Err(_), _) => no_dead_man("it does not answer"),
        };
        let core = &*self.core;
        let claims: Vec<Claim> = cases.iter().map(|case| case.claim.clone()).collect();
        let held = core.in_hand.take(format!("target `{target}`: {} accounts", claims.len()), claims);
        let mut pass = Pass {
            core,
            settings: &settings,
            database,
            cases,
            target: target.clone(),
            dead_man,
            label,
            server,
            stage,
            hung: AtomicBool::new(false),
            found: Found::new(),
            held,
        };
        let served = match ready {
            Ok(_) => pass.run().await?,
            Err(error) => pass.unreachable(&error).await?,
        };
        match served {
            Served::Answered { restarted } => {
                if let Some(since) = self.breaker(lane, Breaker::answered) {
                    let fact = Fact::new(What::TargetBack).with("target", target.as_str()).with("lost_at", since);
                    self.tell(tenant, &settings, fact).await?;
                }
                if restarted {
                    self.breaker(lane, |breaker| breaker.forget(tenant, target));
                    // where it does not answer now, it has to before it is told anything
                    let _ = self.ready(lane, tenant, &settings, target, &realm, database).await?;
                }
                Ok(None)
            }
            Served::Unreachable(why) => {
                self.lost(lane, tenant, &settings, target, &why).await?;
                Ok(Some(why))
            }
        }
    }

    /// Gives back what nobody here can do.
    async fn strand(&self, lane: &Lane, cases: Vec<Case>, now: Time) -> Result<(), StoreError> {
        let (mut claims, mut unserved) = (Vec::new(), Vec::new());
        for mut case in cases {
            let settings = self.core.tenant(&case.holding.tenant).ok();
            if let Some(settings) = settings.filter(|_| case.holding.is_empty()) {
                case.record(&self.core, &settings).await?;
            } else {
                // another tenant's work is nobody's business here (law 13)
                if self.core.tenant(&case.holding.tenant).is_ok() {
                    unserved.extend(
                        case.targets().map(|target| Unserved::new(&case.holding.tenant, "target", target.as_str())),
                    );
                }
                claims.push(case.claim);
            }
        }
        if claims.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            lane = lane.as_str(),
            waiting = claims.len(),
            "work is due on a target that is not registered here"
        );
        self.core.store.unclaim(&claims).await?;
        self.leave_to_others(lane, now, unserved);
        Ok(())
    }

    /// The target was registered, or is another database now: it has to say who it is, and what waited for it is looked at.
    pub(in crate::engine) fn registered(&self, tenant: &TenantId, target: &TargetName) {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.core.checked.forget(tenant, target);
        let key = (tenant.clone(), target.clone());
        self.dead_men.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.values_mut().for_each(|breaker| breaker.forget(tenant, target));
        drop(breakers);
        self.done.notify_one();
    }

    /// Makes sure that the server answers and is the one that it was, before it is told anything; in which incarnation it is.
    async fn ready(
        &self,
        lane: &Lane,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        realm: &RealmId,
        database: &Arc<dyn Database>,
    ) -> Result<Result<String, DatabaseError>, StoreError> {
        if let Some(incarnation) = self.breaker(lane, |breaker| breaker.knows(tenant, target)) {
            return Ok(Ok(incarnation));
        }
        let identity = match self.identify(database).await {
            Ok(identity) => identity,
            Err(error) => return Ok(Err(error)),
        };
        if identity.realm != *realm {
            self.stranger(tenant, settings, target, &identity).await?;
            let why = format!("target `{target}` is another server now (`{}`, was `{realm}`)", identity.realm);
            return Ok(Err(DatabaseError::unreachable(why)));
        }
        if let Who::Another(why) = self.core.who_answers(tenant, target, database, &identity).await? {
            self.copy(tenant, settings, target, &identity, Some(&why)).await?;
            return Ok(Err(DatabaseError::unreachable(format!("target `{target}` leads to another server: {why}"))));
        }
        self.copy(tenant, settings, target, &identity, None).await?;
        self.incarnation(tenant, settings, target, &identity).await?;
        let incarnation = identity.incarnation;
        self.breaker(lane, |breaker| breaker.identified(tenant, target, incarnation.clone()));
        Ok(Ok(incarnation))
    }

    /// Whether the target can take a membership away by itself: asked once, and again after a while where it could not.
    async fn dead_man(&self, tenant: &TenantId, target: &TargetName, database: &Arc<dyn Database>) -> DeadManHere {
        let key = (tenant.clone(), target.clone());
        match self.dead_men.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned() {
            Some((here @ DeadManHere::By(_), _)) => return here,
            Some((here, asked)) if asked.elapsed() < ASK_AGAIN => return here,
            _ => {}
        }
        let limit = to_std(self.core.limits.call);
        let here = match self.core.tasks.within(limit, database.capabilities()).await {
            Some(Ok(capabilities)) => capabilities.dead_man,
            Some(Err(error)) => return no_dead_man(&error.with_causes()),
            None => return no_dead_man("it does not answer in time"),
        };
        let mut dead_men = self.dead_men.lock().unwrap_or_else(PoisonError::into_inner);
        dead_men.insert(key, (here.clone(), Instant::now()));
        here
    }

    /// What is known of that without asking.
    fn known_dead_man(&self, tenant: &TenantId, target: &TargetName) -> DeadManHere {
        let known = self.dead_men.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&(tenant.clone(), target.clone())).map(|(here, _)| here.clone());
        known.unwrap_or_else(|| no_dead_man("it was not asked yet"))
    }

    pub(super) async fn identify(&self, database: &Arc<dyn Database>) -> Result<Identity, DatabaseError> {
        let identity = self.core.tasks.within(IDENTIFY_WITHIN, database.identify()).await;
        identity.unwrap_or_else(|| Err(DatabaseError::unreachable("the database did not answer in time")))
    }

    async fn lost(
        &self,
        lane: &Lane,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        why: &str,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        if self.breaker(lane, |breaker| breaker.failed(now)) {
            let fact = Fact::new(What::TargetLost).with("target", target.as_str()).with("why", why);
            self.tell(tenant, settings, fact).await?;
        }
        Ok(())
    }

    pub(super) async fn tell(&self, tenant: &TenantId, settings: &Tenant, fact: Fact) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let mut ledger = Ledger::new(&self.core, tenant, settings, None, now);
        ledger.fact(fact);
        ledger.commit().await.map(|_| ())
    }

    /// Another realm answers under the target's name: it is refused until an operator confirms it.
    async fn stranger(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        identity: &Identity,
    ) -> Result<(), StoreError> {
        let key = target_key(tenant, target);
        let record = self.core.store.read(&key).await?;
        let known: TargetRecord = body_or_default(record.as_ref())?;
        // one that was confirmed is no stranger, although it is not where this work has to be done
        if known.stranger.as_ref() == Some(&identity.realm) || known.realm.as_ref() == Some(&identity.realm) {
            return Ok(());
        }
        let fact = another_realm(target, known.realm.as_ref(), &identity.realm);
        let next = TargetRecord { stranger: Some(identity.realm.clone()), ..known };
        let now = self.core.store.now().await?;
        let mut ledger = Ledger::new(&self.core, tenant, settings, None, now);
        let schedule = record.as_ref().and_then(|record| record.schedule.clone());
        ledger.change.writes.push(put(key, record.as_ref(), &next, schedule)?);
        ledger.fact(fact);
        ignore_conflict(ledger.commit().await)
    }

    /// Remembers that another server with the same identifier answers under the target's name, and why it is taken for one; or that it does no more.
    async fn copy(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        identity: &Identity,
        why: Option<&str>,
    ) -> Result<(), StoreError> {
        let key = target_key(tenant, target);
        let record = self.core.store.read(&key).await?;
        let known: TargetRecord = body_or_default(record.as_ref())?;
        if known.copy.is_some() == why.is_some() {
            return Ok(());
        }
        let now = self.core.store.now().await?;
        let mut ledger = Ledger::new(&self.core, tenant, settings, None, now);
        if let Some(why) = why {
            ledger.fact(a_copy(target, identity, why));
        }
        let next = TargetRecord { copy: why.map(str::to_owned), ..known };
        let schedule = record.as_ref().and_then(|record| record.schedule.clone());
        ledger.change.writes.push(put(key, record.as_ref(), &next, schedule)?);
        ignore_conflict(ledger.commit().await)
    }

    /// Remembers the incarnation of the realm's server; where it changed, everything that is gone there is looked at again (law 5).
    pub(in crate::engine) async fn incarnation(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        identity: &Identity,
    ) -> Result<(), StoreError> {
        let key = realm_key(tenant, &identity.realm);
        let record = self.core.store.read(&key).await?;
        let known: Option<RealmRecord> = record.as_ref().map(body).transpose()?;
        if known.as_ref().is_some_and(|known| known.incarnation == identity.incarnation) {
            return Ok(());
        }
        if known.is_some() {
            // before it is said and remembered: a crash in between only looks twice, and what is due brings the next node here
            self.look_at_all(tenant, &identity.realm).await?;
        }
        let now = self.core.store.now().await?;
        let mut ledger = Ledger::new(&self.core, tenant, settings, None, now);
        if let Some(known) = &known {
            ledger.fact(
                Fact::new(What::IncarnationChanged)
                    .with("target", target.as_str())
                    .with("realm", identity.realm.as_str())
                    .with("was", known.incarnation.as_str())
                    .with("incarnation", identity.incarnation.as_str()),
            );
        }
        let next = RealmRecord { incarnation: identity.incarnation.clone() };
        ledger.change.writes.push(put(key, record.as_ref(), &next, None)?);
        ignore_conflict(ledger.commit().await)
    }

    /// Makes every holding of the realm due now that is watched or has a dead-man, which a restart may have ended.
    async fn look_at_all(&self, tenant: &TenantId, realm: &RealmId) -> Result<(), StoreError> {
        for label in [WATCHED, ARMED] {
            self.look_at(tenant, label, realm).await?;
        }
        Ok(())
    }

    async fn look_at(&self, tenant: &TenantId, label: &str, realm: &RealmId) -> Result<(), StoreError> {
        let label = Some((label.to_owned(), realm.as_str().to_owned()));
        let mut after = None;
        loop {
            let ask = PageAsk { tenant: tenant.clone(), kind: Kind::Holding, label: label.clone(), after, limit: 512 };
            let page = self.core.store.page(&ask).await?;
            for record in &page {
                self.look_now(record.clone()).await?;
            }
            after = page.last().map(|record| record.at.key.clone());
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Makes the watches of one holding due now, whoever else changes it meanwhile.
    async fn look_now(&self, mut record: Record) -> Result<(), StoreError> {
        loop {
            let Ok(mut holding) = body::<Holding>(&record) else {
                tracing::error!(key = record.at.key, "a holding cannot be read: reconcile the target");
                return Ok(());
            };
            let now = self.core.store.now().await?;
            for watch in &mut holding.watched {
                watch.next = now;
            }
            for armed in &mut holding.armed {
                armed.due = Some(now);
            }
            let body = serde_json::to_vec(&holding).unwrap_or_else(|_| record.body.clone());
            let what = Writing::Put { body, schedule: Some(holding.schedule(now)), labels: record.labels.clone() };
            let write = Write { at: record.at.clone(), expect: super::super::records::expect(Some(&record)), what };
            match self.core.store.commit(Change { writes: vec![write], ..Change::default() }).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done.map(|_| ()),
            }
            match self.core.store.read(&record.at).await? {
                Some(now) => record = now,
                None => return Ok(()),
            }
        }
    }
}

fn no_dead_man(why: &str) -> DeadManHere {
    DeadManHere::Missing { mend: why.to_owned() }
}

pub(super) fn ignore_conflict(committed: Result<Time, StoreError>) -> Result<(), StoreError> {
    match committed {
        // somebody else was faster, or took the claim over
        Ok(_) | Err(StoreError::Conflict { .. } | StoreError::Fenced { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a command's error is to the pump: the store's own, or something to log.
pub(super) fn only_store(error: JitError) -> Result<(), StoreError> {
    match error {
        JitError::Store(error) => Err(error),
        other => {
            tracing::warn!(error = %other, "left for the next pass");
            Ok(())
        }
    }
}
