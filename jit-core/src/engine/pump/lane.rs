//! Work of one lane, until nothing of it is due: it is claimed, sorted and given to passes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Pump;
use super::account_work::{AccountWork, Release};
use super::apart::MOST;
use super::realm::Stage;
use super::undone::Unserved;
use crate::clock::Time;
use crate::id::{TargetName, TenantId};
use crate::store::{ClaimRequest, Claimed, Lane, StoreError};

/// Number of records that a desk pass takes.
const DESK_BATCH: usize = 256;
/// Time for which a lane waits for a pass. A longer pass goes on beside the lane.
const PATIENCE: Duration = Duration::from_secs(1);
/// Number of batches of one lane that are in flight beside it, while the lane goes on with other
/// accounts. With more, what becomes due gathers to a batch.
const IN_FLIGHT: usize = 3;
/// Largest number of new accounts that are served at once beside a lane that has fallen behind.
const NEWCOMERS: usize = 64;

/// Key of accounts that are served together: tenant and target. The serial key of an account whose
/// call hung is added, so that it is served apart.
type Whose = (TenantId, TargetName, Option<String>);

impl Pump {
    /// Does what is due in the lane, and returns how often work was claimed.
    #[tracing::instrument(level = "debug", skip_all, fields(lane = lane.as_str()))]
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
            let claimed = self.core.store.claim(&self.claim_request(lane, limit)).await?;
            if claimed.is_empty() {
                return Ok(claims);
            }
            claims = claims.saturating_add(1);
            let is_all = claimed.len() < limit;
            let went_on = if lane.is_realm() {
                let latest =
                    claimed.iter().filter_map(|claimed| claimed.record.schedule.as_ref()).map(|it| it.due).max();
                self.running.set_behind(lane, latest.filter(|_| !is_all));
                self.batch(lane, claimed).await?
            } else {
                let claims = claimed.iter().map(|claimed| claimed.claim.clone()).collect();
                let _held = self.in_hand.take(lane.as_str(), claims);
                self.without_effect(lane, claimed).await?
            };
            // What becomes due from now on wakes the loop.
            if !went_on || is_all {
                return Ok(claims);
            }
        }
    }

    /// Serves what became due after everything that the lane has claimed so far, beside it and the
    /// latest first. It does not wait for what came before it.
    pub(super) async fn newcomers(self: &Arc<Self>, lane: &Lane, claimed: Time) -> Result<(), StoreError> {
        if !self.breaker(lane, |breaker| breaker.is_up()) || !self.apart.has_room(lane, MOST) {
            return Ok(());
        }
        let limit = NEWCOMERS.min(self.core.limits.batch);
        let new = self.core.store.claim(&self.claim_request(lane, limit).due_after(claimed)).await?;
        if !new.is_empty() {
            self.beside(lane, self.spawn_batch(lane, new));
        }
        Ok(())
    }

    fn claim_request(&self, lane: &Lane, limit: usize) -> ClaimRequest {
        ClaimRequest::new(self.core.node.clone(), lane.clone(), limit, self.core.limits.claim)
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

    /// Serves claimed holdings in a task of its own. While few batches of the lane are in flight,
    /// the lane does not wait for this one: it goes on with other accounts. Returns true if the
    /// lane can go on.
    async fn batch(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> Result<bool, StoreError> {
        let batch = self.spawn_batch(lane, claimed);
        if self.breaker(lane, |breaker| breaker.is_up()) && self.apart.has_room(lane, IN_FLIGHT) {
            self.beside(lane, batch);
            return Ok(true);
        }
        self.finished(lane, batch).await.unwrap_or(Ok(true))
    }

    fn spawn_batch(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> JoinHandle<Result<bool, StoreError>> {
        let (pump, lane) = (Arc::clone(self), lane.clone());
        self.core.tasks.spawn(async move { pump.realm(&lane, claimed).await })
    }

    /// Serves claimed holdings: first what has to end, then everything else (law 18). Returns true
    /// if the lane's server answered.
    async fn realm(self: &Arc<Self>, lane: &Lane, claimed: Vec<Claimed>) -> Result<bool, StoreError> {
        let now = self.core.store.now().await?;
        let mut stages: [BTreeMap<Whose, Vec<AccountWork>>; 3] = Default::default();
        let [ends, unsettled, others] = &mut stages;
        let mut stranded = Vec::new();
        for work in AccountWork::load(&self.core, claimed, now).await? {
            let settings = self.core.tenant(&work.holding.tenant).ok();
            let lost = |target: &TargetName| self.breaker(lane, |it| it.has_lost(&work.holding.tenant, target, now));
            let Some(target) = settings.as_ref().and_then(|settings| work.target(settings, lost)) else {
                // nothing to do there any more, or nobody here who can
                stranded.push(work);
                continue;
            };
            let stage = match (work.ends(now), work.is_unsettled()) {
                (true, false) => &mut *ends,
                (true, true) => &mut *unsettled,
                (false, _) => &mut *others,
            };
            let suspect = self.suspects.has(&work.holding.serial());
            let apart = suspect.then(|| work.holding.serial());
            stage.entry((work.holding.tenant.clone(), target, apart)).or_default().push(work);
        }
        let mut answered = true;
        let mut lost: BTreeMap<(TenantId, TargetName), String> = BTreeMap::new();
        for (accounts, stage) in stages.into_iter().zip([Stage::Ends, Stage::Ends, Stage::All]) {
            let mut passes = Vec::new();
            for ((tenant, target, _), accounts) in accounts {
                let known = lost.get(&(tenant.clone(), target.clone())).cloned();
                let (lanes, lane, at) = (Arc::clone(self), lane.clone(), (tenant.clone(), target.clone()));
                let pass = async move { lanes.serve(&lane, &tenant, &target, accounts, stage, known).await };
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
        self: &Arc<Self>,
        lane: &Lane,
        mut pass: JoinHandle<Result<T, StoreError>>,
    ) -> Option<Result<T, StoreError>> {
        let done = match self.core.tasks.within(PATIENCE, &mut pass).await {
            Some(done) => done,
            None if self.apart.has_room(lane, MOST) => {
                self.beside(lane, pass);
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

    /// Lets the work go on beside its lane. When it ends, the loop looks for what it left due.
    fn beside<T: Send + 'static>(self: &Arc<Self>, lane: &Lane, work: JoinHandle<Result<T, StoreError>>) {
        let pump = Arc::clone(self);
        let ends = self.core.tasks.spawn(async move {
            match work.await {
                Ok(done) => {
                    pump.worked(done.as_ref().map(|_| ()));
                    if let Err(error) = done {
                        tracing::error!(%error, "work beside its lane could not be recorded; trying again");
                    }
                }
                Err(error) => tracing::error!(%error, "a pass failed: its claims are tried again"),
            }
            pump.done.notify_one();
        });
        self.apart.take(lane, ends);
    }

    /// Gives back the work that nobody here can do.
    async fn strand(&self, lane: &Lane, accounts: Vec<AccountWork>, now: Time) -> Result<(), StoreError> {
        let (mut claims, mut unserved) = (Vec::new(), Vec::new());
        for mut work in accounts {
            let settings = self.core.tenant(&work.holding.tenant).ok();
            if let Some(settings) = settings.filter(|_| work.holding.is_empty()) {
                work.record(&self.core, &settings, Release::Now).await?;
            } else {
                // another tenant's work is nobody's business here (law 13)
                if self.core.tenant(&work.holding.tenant).is_ok() {
                    unserved.extend(
                        work.targets().map(|target| Unserved::new(&work.holding.tenant, "target", target.as_str())),
                    );
                }
                claims.push(work.claim);
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
}
