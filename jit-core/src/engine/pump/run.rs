//! The pump in the background: its loop, the keepers beside it, and its stop.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::undone::Undone;
use super::{Pump, STORE_RETRY};
use crate::audit_event::{AuditEvent, EventKind};
use crate::engine::contain::said;

/// First wait before a keeper that died is started again; it doubles each time.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
/// Longest wait before such a restart.
const AGAIN_LONGEST: Duration = Duration::from_secs(30);
/// Limit for reporting what is left when the pump stops.
const SAY_WITHIN: Duration = Duration::from_secs(2);

/// The running pump. Dropping it stops it after the work in progress.
#[derive(Debug)]
pub struct PumpHandle {
    stop: watch::Sender<bool>,
    lanes: Arc<Pump>,
    task: Option<JoinHandle<()>>,
}

/// Report of what a pump left behind when it stopped.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stopped {
    /// Work that was broken off because the time was over. Its claims were given back. If a
    /// database may still be working, they run out within seconds instead.
    pub unfinished: Vec<String>,
    /// Work that is due and was not done.
    pub undone: Undone,
}

impl PumpHandle {
    pub(in crate::engine) fn start(lanes: &Arc<Pump>) -> Self {
        let (stop, stopped) = watch::channel(false);
        lanes.stopping.store(false, Ordering::Relaxed);
        lanes.cut.send_replace(false);
        lanes.pumps.fetch_add(1, Ordering::Relaxed);
        let pump = PumpCount(Arc::clone(lanes));
        let task = Arc::clone(&lanes.core).tasks.spawn(async move { Arc::clone(&pump.0).pump(stopped).await });
        Self { stop, lanes: Arc::clone(lanes), task: Some(task) }
    }

    /// Finishes the work in progress, then stops. Returns what is left.
    pub async fn stop(mut self) -> Stopped {
        let _ = self.stop.send(true);
        self.ended().await;
        self.left(Vec::new()).await
    }

    /// Stops within this time. Work still in progress then is broken off and its claims are given
    /// back, so that another node can go on with it at once.
    ///
    /// Work that a database may still be doing is resumed after its claim has run out, 10 s at
    /// most.
    pub async fn stop_within(mut self, limit: Duration) -> Stopped {
        let _ = self.stop.send(true);
        let lanes = Arc::clone(&self.lanes);
        if lanes.core.tasks.within(limit, self.ended()).await.is_some() {
            return self.left(Vec::new()).await;
        }
        let (unfinished, claims) = lanes.in_hand.unfinished();
        lanes.cut.send_replace(true);
        if let Some(task) = self.task.take() {
            task.abort();
        }
        lanes.apart.abort();
        for what in &unfinished {
            tracing::warn!(what, "interrupted: the pump had to stop");
        }
        let given_back = lanes.core.tasks.within(SAY_WITHIN, lanes.core.store.unclaim(&claims)).await;
        if !matches!(given_back, Some(Ok(()))) {
            tracing::warn!(claims = claims.len(), "claims could not be given back: they run out by themselves");
        }
        self.left(unfinished).await
    }

    async fn ended(&mut self) {
        if let Some(task) = &mut self.task {
            if let Err(error) = task.await {
                tracing::error!(%error, "the pump failed");
            }
            self.task = None;
        }
    }

    async fn left(&self, unfinished: Vec<String>) -> Stopped {
        let undone = self.lanes.core.tasks.within(SAY_WITHIN, self.lanes.undone()).await;
        let undone = undone.and_then(Result::ok).unwrap_or_else(|| {
            tracing::warn!("it is not known what is left: the store does not answer");
            Undone::default()
        });
        Stopped { unfinished, undone }
    }
}

impl Drop for PumpHandle {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
    }
}

/// Guard that counts a pump.
struct PumpCount(Arc<Pump>);

impl Drop for PumpCount {
    fn drop(&mut self) {
        self.0.pumps.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pump {
    async fn pump(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let keepers = [
            self.keep("log", &stopped, Self::keep_log),
            self.keep("ends", &stopped, Self::keep_ends),
            self.keep("dead man's switches", &stopped, Self::keep_dead_mans_switches),
            self.keep("directories", &stopped, Self::keep_directories),
        ];
        while !*stopped.borrow() {
            let turn = async {
                match self.survives("loop", self.turn()).await {
                    Some(Ok(())) => {}
                    Some(Err(error)) => {
                        tracing::error!(%error, "the store cannot be used; trying again");
                        self.core.tasks.pause(STORE_RETRY).await;
                    }
                    None => self.core.tasks.pause(STORE_RETRY).await,
                }
            };
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = turn => {}
            }
        }
        self.stopping.store(true, Ordering::Relaxed);
        while !self.running.is_idle() {
            self.done.notified().await;
        }
        self.apart.finished().await;
        for keeper in keepers {
            // a keeper reports its own end
            let _ = keeper.await;
        }
        self.core.keep_positions().await;
        self.close_log().await;
        self.stopping.store(false, Ordering::Relaxed);
    }

    /// Runs a keeper until the pump stops. A keeper that dies is reported and started again.
    fn keep<F>(
        self: &Arc<Self>,
        what: &'static str,
        stopped: &watch::Receiver<bool>,
        keeper: impl Fn(Arc<Self>, watch::Receiver<bool>) -> F + Send + Sync + 'static,
    ) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (lanes, mut stopped, mut cut) = (Arc::clone(self), stopped.clone(), self.cut.subscribe());
        self.core.tasks.spawn(async move {
            let mut wait = AGAIN_FIRST;
            let kept = async {
                while lanes.survives(what, keeper(Arc::clone(&lanes), stopped.clone())).await.is_none() {
                    tokio::select! {
                        biased;
                        _ = stopped.wait_for(|stopped| *stopped) => {}
                        () = lanes.core.tasks.pause(wait) => {}
                    }
                    wait = wait.saturating_mul(2).min(AGAIN_LONGEST);
                }
            };
            tokio::select! {
                biased;
                _ = cut.wait_for(|cut| *cut) => {}
                () = kept => {}
            }
        })
    }

    /// Runs the work and returns its result; none if it panicked, which is reported.
    pub(super) async fn survives<T>(&self, what: &str, work: impl Future<Output = T>) -> Option<T> {
        let panic = match AssertUnwindSafe(work).catch_unwind().await {
            Ok(done) => return Some(done),
            Err(panic) => panic,
        };
        self.core.tasks.panicked();
        let why = said(&*panic);
        tracing::error!(what, why, "a part of the pump died: it is started again");
        for (tenant, settings) in self.core.tenants() {
            let audit_event = AuditEvent::new(EventKind::PumpDied).with("part", what).with("why", why.as_str());
            if let Err(error) = self.tell(&tenant, &settings, audit_event).await {
                tracing::warn!(%tenant, %error, "the log has no entry about the part that died");
            }
        }
        None
    }
}
