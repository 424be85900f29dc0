//! Waits until an access reaches a state.

use std::time::Duration;

use chrono::TimeDelta;

use crate::clock::after;
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::view::AccessView;
use crate::id::AccessId;

/// Pause after a commit before looking whether another process changed the access. Changes by this
/// process are known at once, and many waiters do not read again for every commit of others.
const LOOK_ELSEWHERE: Duration = Duration::from_millis(20);

impl Jit {
    /// Waits until the role is usable, up to the limit. The limit counts on the store's clock: with
    /// a clock that is moved by hand nothing times out until it is moved.
    ///
    /// # Errors
    /// [`JitError::Ended`] if the access was denied, lapsed, failed or is over;
    /// [`JitError::TimedOut`] if the role may still become usable.
    pub async fn until_active(&self, id: AccessId, limit: Duration) -> Result<AccessView, JitError> {
        let view =
            self.until(id, limit, |view| view.state == "active" || view.state == "revoking" || view.is_final()).await?;
        if view.state == "active" {
            return Ok(view);
        }
        let why = view.cause.clone().unwrap_or_else(|| "it is over".to_owned());
        Err(JitError::Ended { id, state: view.state, why })
    }

    /// Waits until nothing more can happen to the access: the role is revoked and verified, or it
    /// was never granted.
    ///
    /// # Errors
    /// [`JitError::TimedOut`] if the access is not over in time.
    pub async fn until_ended(&self, id: AccessId, limit: Duration) -> Result<AccessView, JitError> {
        self.until(id, limit, AccessView::is_final).await
    }

    async fn until(
        &self,
        id: AccessId,
        limit: Duration,
        reached: impl Fn(&AccessView) -> bool + Send,
    ) -> Result<AccessView, JitError> {
        let store = &self.core.store;
        let limit = TimeDelta::from_std(limit).unwrap_or(TimeDelta::MAX);
        let until = after(store.now().await?, limit);
        let waiter = self.core.events.waiters.wait_for(id);
        loop {
            let seen = store.pulse().await?;
            let view = self.access(id).await?;
            if reached(&view) {
                return Ok(view);
            }
            if store.now().await? >= until {
                let pending_on = match (&view.last_error, view.pending_on.as_slice()) {
                    (Some(last_error), _) => last_error.clone(),
                    (None, []) if self.lanes.pumps_here() == 0 => {
                        "no pump runs in this process: start one, or call `run_due` from a scheduler".to_owned()
                    }
                    (None, []) => "it takes longer than the given time".to_owned(),
                    (None, pending_on) => format!("pending on {}", pending_on.join(", ")),
                };
                return Err(JitError::TimedOut { id, state: view.state, pending_on });
            }
            let elsewhere = async {
                store.wait(seen, until).await?;
                self.core.tasks.pause(LOOK_ELSEWHERE).await;
                Ok::<(), JitError>(())
            };
            let here = async {
                loop {
                    let view = waiter.changed().await;
                    if reached(&view) {
                        return view;
                    }
                }
            };
            tokio::select! {
                biased;
                view = here => return Ok(view),
                looked = elsewhere => looked?,
            }
        }
    }
}
