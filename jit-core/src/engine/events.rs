//! Live events for those who watch.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, broadcast};

use super::view::AccessView;
use crate::audit_event::AuditEvent;
use crate::clock::Time;
use crate::id::{AccessId, TenantId};

/// Something that happened. It is published after it was committed. A slow subscriber misses some
/// events and has to read the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EngineEvent {
    /// Tenant in which it happened.
    pub tenant: TenantId,
    /// Audit event that happened.
    pub audit_event: AuditEvent,
    /// Time of the event by the store's clock, UTC.
    pub at: Time,
    /// Access as it is now, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessView>,
}

/// Stream of the events of this process, from [`Jit::events`](super::Jit::events). It ends when the
/// last handle of the engine is dropped.
pub struct EventStream(BoxStream<'static, Result<EngineEvent, MissedEvents>>);

/// Events that were dropped because the subscriber was too slow. The log has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{events} events were missed: read the log")]
#[non_exhaustive]
pub struct MissedEvents {
    /// Number of the events.
    pub events: u64,
}

impl EventStream {
    fn of(receiver: broadcast::Receiver<EngineEvent>) -> Self {
        let each = stream::unfold(receiver, async |mut receiver| {
            let event = match receiver.recv().await {
                Ok(event) => Ok(event),
                Err(RecvError::Lagged(events)) => Err(MissedEvents { events }),
                Err(RecvError::Closed) => return None,
            };
            Some((event, receiver))
        });
        Self(each.boxed())
    }

    /// Returns the next event; `None` once the engine is gone. A call that is cancelled loses
    /// nothing.
    pub async fn next(&mut self) -> Option<Result<EngineEvent, MissedEvents>> {
        self.0.next().await
    }

    /// Returns the next event if it is there already; `None` if there is none yet.
    pub fn try_next(&mut self) -> Option<Result<EngineEvent, MissedEvents>> {
        self.0.next().now_or_never().flatten()
    }
}

impl Stream for EventStream {
    type Item = Result<EngineEvent, MissedEvents>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(context)
    }
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventStream")
    }
}

/// Number of events that are kept for a slow subscriber.
const KEPT: usize = 1_024;

/// Subscribers to the events of this process.
#[derive(Debug)]
pub(super) struct Events {
    /// Channel of all tenants.
    all: broadcast::Sender<EngineEvent>,
    /// Channel of each tenant.
    tenants: Mutex<BTreeMap<TenantId, broadcast::Sender<EngineEvent>>>,
    pub(super) waiters: Waiters,
}

impl Default for Events {
    fn default() -> Self {
        Self { all: broadcast::Sender::new(KEPT), tenants: Mutex::default(), waiters: Waiters::default() }
    }
}

impl Events {
    /// Publishes an event that was committed.
    pub(super) fn tell(&self, happened: EngineEvent) {
        if let Some(view) = &happened.access {
            self.waiters.changed(view);
        }
        let tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        // nobody listening is no error
        if let Some(tenant) = tenants.get(&happened.tenant) {
            let _ = tenant.send(happened.clone());
        }
        let _ = self.all.send(happened);
    }

    /// Subscribes to the events of all tenants from now on.
    pub(super) fn of_all(&self) -> EventStream {
        EventStream::of(self.all.subscribe())
    }

    /// Subscribes to the events of this tenant from now on.
    pub(super) fn of(&self, tenant: &TenantId) -> EventStream {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        EventStream::of(tenants.entry(tenant.clone()).or_insert_with(|| broadcast::Sender::new(KEPT)).subscribe())
    }
}

/// Waiters of this process, by the access that they wait for. A waiter wakes when its access
/// changes, not at every commit.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    waiting: Mutex<BTreeMap<AccessId, Vec<Arc<Change>>>>,
}

/// Latest change of an access that a waiter has not seen.
#[derive(Debug, Default)]
struct Change {
    view: Mutex<Option<AccessView>>,
    made: Notify,
}

/// One waiter; dropping it ends the wait.
#[derive(Debug)]
pub(super) struct Waiter<'w> {
    all: &'w Waiters,
    id: AccessId,
    change: Arc<Change>,
}

impl Waiters {
    /// Registers a waiter for every change of the access that this process commits from now on.
    pub(super) fn wait_for(&self, id: AccessId) -> Waiter<'_> {
        let change = Arc::new(Change::default());
        self.lock().entry(id).or_default().push(Arc::clone(&change));
        Waiter { all: self, id, change }
    }

    /// Wakes the waiters of an access with its view, because a change of it is committed.
    pub(super) fn changed(&self, view: &AccessView) {
        for change in self.lock().get(&view.id).into_iter().flatten() {
            *change.latest() = Some(view.clone());
            change.made.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<AccessId, Vec<Arc<Change>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Change {
    fn latest(&self) -> MutexGuard<'_, Option<AccessView>> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter<'_> {
    /// Returns the access once it has changed since the last return, or since the wait began.
    pub(super) async fn changed(&self) -> AccessView {
        loop {
            self.change.made.notified().await;
            if let Some(view) = self.change.latest().take() {
                return view;
            }
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        let mut waiting = self.all.lock();
        if let Some(others) = waiting.get_mut(&self.id) {
            others.retain(|other| !Arc::ptr_eq(other, &self.change));
            if others.is_empty() {
                waiting.remove(&self.id);
            }
        }
    }
}
