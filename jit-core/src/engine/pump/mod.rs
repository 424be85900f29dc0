//! The pump: one loop over lanes, without a timer per grant. It claims what is due, does it,
//! commits and waits.

mod account_work;
mod ahead;
mod answers;
mod apart;
mod breaker;
mod capability;
mod contact;
mod counted;
mod desk;
mod directories;
mod effect;
mod ending_ahead;
mod gate;
mod in_hand;
mod lane;
mod leftovers;
mod log;
mod observe;
mod outcome;
pub(in crate::engine) mod questions;
mod realm;
mod rule_again;
mod run;
mod running;
mod serve;
pub(in crate::engine) mod switches;
mod undone;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::ahead::End;
use self::apart::{Apart, Suspects};
use self::breaker::Breaker;
use self::ending_ahead::EndingAhead;
use self::gate::Checked;
use self::in_hand::InHand;
use self::log::Sinks;
pub(super) use self::log::{CHECKPOINT_EVERY, SINKS_HAVE_LAST};
pub use self::run::{PumpHandle, Stopped};
use self::running::Running;
use self::undone::Elsewhere;
pub use self::undone::{Undone, Unserved};
use super::core::Core;
use crate::clock::{Time, after};
use crate::database::DeadMansSwitch;
use crate::hex::random_hex;
use crate::id::{TargetName, TenantId};
use crate::store::{Lane, StoreError};

/// Longest wait of the loop when nothing is due; every commit wakes it earlier.
const IDLE: TimeDelta = TimeDelta::seconds(60);
/// Time for which a lane is left alone if its targets or notifiers are not registered here.
const ELSEWHERE: TimeDelta = TimeDelta::seconds(5);
/// Pause before a store that could not be used is asked again.
const STORE_RETRY: Duration = Duration::from_millis(500);

/// State that the lanes' tasks share.
#[derive(Debug)]
pub(super) struct Pump {
    core: Arc<Core>,
    breakers: Mutex<BTreeMap<Lane, Breaker>>,
    /// Revokes that were sent without a claim (law 3's exception).
    ending_ahead: EndingAhead,
    /// Accounts whose calls hung.
    suspects: Suspects,
    /// Account work that is in progress.
    in_hand: InHand,
    /// Roles of targets that were checked.
    checked: Checked,
    running: Running,
    apart: Apart,
    sinks: Mutex<Sinks>,
    /// Lanes whose work this process cannot do, because their targets are not registered here. Each
    /// has the time of the next look.
    elsewhere: Mutex<BTreeMap<Lane, Elsewhere>>,
    /// Last report of each target about its dead man's switch, and its time.
    dead_mans_switches: Mutex<BTreeMap<(TenantId, TargetName), (DeadMansSwitch, Instant)>>,
    /// Time of the last look whether servers with dead man's switches were restarted.
    dead_mans_switches_seen: Mutex<Option<Instant>>,
    /// Id of this start of the node. A node that restarts under its old name numbers its passes
    /// anew. `settle` must not mistake the calls of one start for those of another.
    boot: String,
    /// Counter of the passes of this process, for their labels.
    passes: AtomicU64,
    /// Time at which the store last failed to keep work; none if it has kept some since.
    store_failed: Mutex<Option<Instant>>,
    /// Number of pumps that run in this process.
    pumps: AtomicUsize,
    /// True while the pump stops: nothing more is claimed.
    stopping: AtomicBool,
    /// Signal to stop at once: work in progress is broken off.
    cut: watch::Sender<bool>,
    done: Notify,
}

/// Result of one pass over everything that is due.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PassReport {
    /// Number of times that due work was claimed.
    pub claims: u64,
    /// Lanes whose server did not answer.
    pub unreachable: u64,
    /// Work that is due and was not done.
    pub undone: Undone,
}

impl Pump {
    pub(super) fn new(core: &Arc<Core>) -> Arc<Self> {
        Arc::new(Self {
            core: Arc::clone(core),
            boot: random_hex::<4>(&*core.entropy),
            breakers: Mutex::default(),
            ending_ahead: EndingAhead::default(),
            suspects: Suspects::default(),
            in_hand: InHand::default(),
            checked: Checked::default(),
            running: Running::default(),
            apart: Apart::default(),
            sinks: Mutex::default(),
            elsewhere: Mutex::default(),
            dead_mans_switches: Mutex::default(),
            dead_mans_switches_seen: Mutex::default(),
            passes: AtomicU64::new(0),
            store_failed: Mutex::default(),
            pumps: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            cut: watch::Sender::new(false),
            done: Notify::new(),
        })
    }

    /// Starts what is due, then waits until something else is.
    async fn turn(self: &Arc<Self>) -> Result<(), StoreError> {
        let seen = self.core.store.pulse().await?;
        let lanes = self.core.store.lanes().await?;
        let now = self.core.store.now().await?;
        let mut next = after(now, IDLE);
        for (lane, due) in lanes {
            let due = due.max(self.not_before(&lane).unwrap_or(due));
            if due > now {
                next = next.min(due);
            } else if self.running.begin(&lane) {
                let lanes = Arc::clone(self);
                // a waiter for the lane is woken when the lane is idle again
                drop(self.core.tasks.spawn(async move {
                    let _idle = Idle { lanes: &lanes, lane: lane.clone() };
                    let work = async {
                        let Some(worked) = lanes.survives(lane.as_str(), Box::pin(lanes.work(&lane))).await else {
                            return lanes.core.tasks.pause(STORE_RETRY).await;
                        };
                        lanes.worked(worked.as_ref().map(|_| ()));
                        if let Err(error) = worked {
                            tracing::error!(lane = lane.as_str(), %error, "the store cannot be used; trying again");
                            lanes.core.tasks.pause(STORE_RETRY).await;
                        }
                    };
                    lanes.unless_cut(work).await;
                }));
            } else if let Some(claimed) = self.running.behind(&lane) {
                let lanes = Arc::clone(self);
                // in a task of its own: a turn that is broken off loses nothing that was claimed
                let new = self.core.tasks.spawn(async move { lanes.newcomers(&lane, claimed).await });
                match new.await {
                    Ok(served) => served?,
                    Err(error) => tracing::error!(%error, "a claim of what is new failed"),
                }
            }
        }
        tokio::select! {
            biased;
            waited = self.core.store.wait(seen, next) => waited,
            () = self.done.notified() => Ok(()),
        }
    }

    /// Does everything that is due now, and what becomes due by it. Lanes whose server does not
    /// answer are tried once.
    pub(super) async fn run_due(self: &Arc<Self>) -> Result<PassReport, StoreError> {
        let mut known = Vec::new();
        let mut at = Time::default();
        let passed = self.pass(&mut known, &mut at).await;
        match passed {
            Ok(_) => self.core.keep_positions().await,
            Err(_) => self.end_known(known, at).await,
        }
        passed
    }

    /// Runs one pass. Sets `known` to the ends that were due, and `at` to the time of that read.
    #[tracing::instrument(level = "debug", skip_all, fields(node = %self.core.node))]
    async fn pass(self: &Arc<Self>, known: &mut Vec<End>, at: &mut Time) -> Result<PassReport, StoreError> {
        self.watch_dead_mans_switches().await;
        self.watch_directories().await;
        let mut report = PassReport::default();
        let mut failed = BTreeSet::new();
        loop {
            let lanes = self.core.store.lanes().await?;
            let now = self.core.store.now().await?;
            let due: Vec<Lane> = lanes
                .into_iter()
                .filter(|(lane, due)| *due <= now && self.left_until(lane).is_none_or(|then| then <= now))
                .map(|(lane, _)| lane)
                .filter(|lane| !failed.contains(lane))
                .collect();
            if due.is_empty() {
                break;
            }
            *at = now;
            *known = self.due_now(&due, now).await;
            let mut tasks = Vec::new();
            for lane in &due {
                let (lanes, lane) = (Arc::clone(self), lane.clone());
                tasks.push(self.core.tasks.spawn(async move { Box::pin(lanes.work(&lane)).await }));
            }
            for task in tasks {
                match task.await {
                    Ok(claims) => report.claims = report.claims.saturating_add(claims?),
                    Err(error) => tracing::error!(%error, "a lane's task failed"),
                }
            }
            self.apart.finished().await;
            failed.extend(due.into_iter().filter(|lane| self.probe_at(lane).is_some()));
        }
        report.unreachable = u64::try_from(self.down()).unwrap_or(u64::MAX);
        report.undone = self.undone().await?;
        Ok(report)
    }

    /// Does the work, unless the pump has to stop before it is done.
    async fn unless_cut(&self, work: impl Future<Output = ()>) {
        let mut cut = self.cut.subscribe();
        tokio::select! {
            biased;
            _ = cut.wait_for(|cut| *cut) => {}
            () = work => {}
        }
    }

    /// Returns a new label for the calls of one pass.
    fn label(&self) -> String {
        format!("jit.{}.{}.{}", self.core.node, self.boot, self.passes.fetch_add(1, Ordering::Relaxed))
    }

    fn down(&self) -> usize {
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.values().filter(|breaker| breaker.probe_at().is_some()).count()
    }

    fn not_before(&self, lane: &Lane) -> Option<Time> {
        self.left_until(lane).max(self.probe_at(lane))
    }

    fn probe_at(&self, lane: &Lane) -> Option<Time> {
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        breakers.get(lane).and_then(Breaker::probe_at)
    }

    fn breaker<T>(&self, lane: &Lane, with: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        with(breakers.entry(lane.clone()).or_default())
    }
}

/// Guard that marks the lane as idle again, also if its task panicked.
#[derive(Debug)]
struct Idle<'l> {
    lanes: &'l Pump,
    lane: Lane,
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.lanes.running.end(&self.lane);
        self.lanes.done.notify_one();
    }
}
