//! Work of one lane, until nothing of it is due.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Pump;
use super::account_work::AccountWork;
use super::answers::Ready;
use super::breaker::Breaker;
use super::gate::Found;
use super::realm::{Pass, Served, Stage};
use super::undone::Unserved;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, to_std};
use crate::database::{Database, DatabaseError, DeadMansSwitch, Identity};
use crate::engine::core::Tenant;
use crate::engine::error::JitError;
use crate::engine::unit_of_work::UnitOfWork;
use crate::id::{TargetName, TenantId};
use crate::store::{Claim, ClaimRequest, Claimed, Lane, StoreError};

/// Pause before a target without a dead man's switch is asked again whether it has one.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// Number of records that a desk pass takes.
const DESK_BATCH: usize = 256;
/// Time for which a lane waits for a pass. A longer pass goes on beside the lane.
const PATIENCE: Duration = Duration::from_secs(1);

/// Key of accounts that are served together: tenant and target. The serial key of an account whose
/// call hung is added, so that it is served apart.
type Whose = (TenantId, TargetName, Option<String>);

impl Pump {
    /// Does what is due in the lane, and returns how often work was claimed.
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
                // A server that does not answer, or has not yet, is probed with one account for
                // each target. One target may lead elsewhere for long; the other accounts are not
                // told that it failed.
                lane if lane.is_realm() && !self.breaker(lane, |breaker| breaker.is_up()) => {
                    self.core.targets().clamp(1, self.core.limits.batch)
                }
                lane if lane.is_realm() => self.core.limits.batch,
                _ => DESK_BATCH,
            };
            let (lane_asked, how_long) = (lane.clone(), self.core.limits.claim);
            let ask = ClaimRequest { lane: lane_asked, limit, how_long, node: self.core.node.clone() };
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

    /// Does work that changes nothing in a database. Returns true if the lane can go on.
    async fn without_effect(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> Result<bool, StoreError> {
        if *lane == Lane::desk() {
            self.desk(claimed).await?;
            Ok(true)
        } else {
            Box::pin(self.contact(lane, claimed)).await
        }
    }

    /// Serves claimed holdings: first what has to end, then everything else (law 18). Returns true
    /// if the lane's server answered.
    async fn realm(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> Result<bool, StoreError> {
        let now = self.core.store.now().await?;
        let mut stages: [BTreeMap<Whose, Vec<AccountWork>>; 3] = Default::default();
        let [ends, unsettled, others] = &mut stages;
        let mut stranded = Vec::new();
        for case in AccountWork::load(&self.core, claimed, now).await? {
            let settings = self.core.tenant(&case.holding.tenant).ok();
            let lost = |target: &TargetName| self.breaker(lane, |it| it.has_lost(&case.holding.tenant, target, now));
            let Some(target) = settings.as_ref().and_then(|settings| case.target(settings, lost)) else {
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

    /// Waits for a pass, but not for long. A slow pass goes on beside the lane, whose other work
    /// does not wait for it.
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
                                tracing::error!(%error, "a pass failed: its claims are tried again")
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
                tracing::error!(%error, lane = lane.as_str(), "a pass failed: its claims are tried again");
                None
            }
        }
    }

    /// Runs one pass over accounts of one tenant through one target. Returns the reason if the
    /// server did not answer.
    async fn serve(
        self: &Arc<Self>,
        lane: &Lane,
        tenant: &TenantId,
        target: &TargetName,
        cases: Vec<AccountWork>,
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
        let (incarnation, doubted) = match &ready {
            Ok(Ready { incarnation, doubted }) => (incarnation.clone(), doubted.clone()),
            Err(_) => (String::new(), None),
        };
        let server = Identity { realm: realm.clone(), incarnation, position: String::new() };
        let dead_mans_switch = match (&ready, stage) {
            (Ok(_), Stage::All) => self.dead_mans_switch(tenant, target, database).await,
            // an end does not wait for what only a grant has to know
            (Ok(_), Stage::Ends) => self.known_dead_mans_switch(tenant, target),
            (Err(_), _) => no_dead_mans_switch("it does not answer"),
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
            dead_mans_switch,
            label,
            server,
            stage,
            hung: AtomicBool::new(false),
            found: Found::new(),
            doubted,
            theirs: Vec::new(),
            held,
        };
        let served = match ready {
            Ok(_) => pass.run().await?,
            Err(error) => pass.unreachable(&error).await?,
        };
        match served {
            Served::Answered { restarted } => {
                if let Err(error) = self.core.keep_position(tenant, &realm, false).await {
                    tracing::debug!(%error, "the server's position could not be stored; trying again later");
                }
                if let Some(since) = self.breaker(lane, Breaker::answered) {
                    let fact =
                        AuditEvent::new(EventKind::TargetBack).with("target", target.as_str()).with("lost_at", since);
                    self.tell(tenant, &settings, fact).await?;
                }
                if restarted {
                    self.breaker(lane, |breaker| breaker.forget(tenant, target));
                    // if it does not answer now, it has to before it is sent anything
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

    /// Gives back the work that nobody here can do.
    async fn strand(&self, lane: &Lane, cases: Vec<AccountWork>, now: Time) -> Result<(), StoreError> {
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

    /// Notes that the target was registered, or is another database now. It has to identify itself
    /// again, and the work that waited for it is looked at.
    pub(in crate::engine) fn registered(&self, tenant: &TenantId, target: &TargetName) {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.core.checked.forget(tenant, target);
        let key = (tenant.clone(), target.clone());
        self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.values_mut().for_each(|breaker| breaker.forget(tenant, target));
        drop(breakers);
        self.done.notify_one();
    }

    /// Asks whether the target has a dead man's switch. It is asked once, and again after a while
    /// if it had none.
    #[expect(clippy::disallowed_methods, reason = "it limits how often this process asks")]
    async fn dead_mans_switch(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        database: &Arc<dyn Database>,
    ) -> DeadMansSwitch {
        let key = (tenant.clone(), target.clone());
        match self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned() {
            Some((here @ DeadMansSwitch::Available(_), _)) => return here,
            Some((here, asked)) if asked.elapsed() < ASK_AGAIN => return here,
            _ => {}
        }
        let limit = to_std(self.core.limits.call);
        let here = match self.core.tasks.within(limit, database.capabilities()).await {
            Some(Ok(capabilities)) => capabilities.dead_mans_switch,
            Some(Err(error)) => return no_dead_mans_switch(&error.with_causes()),
            None => return no_dead_mans_switch("it does not answer in time"),
        };
        let mut dead_mans_switches = self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner);
        dead_mans_switches.insert(key, (here.clone(), Instant::now()));
        here
    }

    /// Returns what is known of the target's dead man's switch, without asking.
    fn known_dead_mans_switch(&self, tenant: &TenantId, target: &TargetName) -> DeadMansSwitch {
        let known = self.dead_mans_switches.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&(tenant.clone(), target.clone())).map(|(here, _)| here.clone());
        known.unwrap_or_else(|| no_dead_mans_switch("it was not asked yet"))
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
        let news = self.breaker(lane, |breaker| {
            breaker.lost(tenant, target, now);
            breaker.failed(now)
        });
        if news {
            let fact = AuditEvent::new(EventKind::TargetLost).with("target", target.as_str()).with("why", why);
            self.tell(tenant, settings, fact).await?;
        }
        Ok(())
    }

    pub(super) async fn tell(&self, tenant: &TenantId, settings: &Tenant, fact: AuditEvent) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, tenant, settings, None, now);
        unit_of_work.fact(fact);
        unit_of_work.commit().await.map(|_| ())
    }
}

fn no_dead_mans_switch(why: &str) -> DeadMansSwitch {
    DeadMansSwitch::Unavailable { remedy: why.to_owned() }
}

pub(super) fn ignore_conflict(committed: Result<Time, StoreError>) -> Result<(), StoreError> {
    match committed {
        // somebody else was faster, or took the claim over
        Ok(_) | Err(StoreError::Conflict { .. } | StoreError::Fenced { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Turns a command's error into what the pump makes of it: a store error, or a warning in the log.
pub(super) fn only_store(error: JitError) -> Result<(), StoreError> {
    match error {
        JitError::Store(error) => Err(error),
        other => {
            tracing::warn!(error = %other, "left for the next pass");
            Ok(())
        }
    }
}
