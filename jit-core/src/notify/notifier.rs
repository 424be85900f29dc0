//! The contract of everything that carries notices to people.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::TimeDelta;

use super::notice::Notice;
use crate::store::BoxError;

/// Carries notices to people: through a chat, a mailbox or a webhook.
///
/// ```
/// use async_trait::async_trait;
/// use jit_core::notify::{Notice, Notifier, NotifyError};
/// use tokio::sync::mpsc;
///
/// /// Hands notices to another part of the service.
/// #[derive(Debug)]
/// struct Channel(mpsc::Sender<Notice>);
///
/// #[async_trait]
/// impl Notifier for Channel {
///     async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
///         self.0.send(notice.clone()).await.map_err(|error| NotifyError::Temporary {
///             why: "nobody receives from the channel".to_owned(),
///             retry_after: None,
///             source: Some(error.into()),
///         })
///     }
/// }
///
/// let (sender, receiver) = mpsc::channel(100);
/// let builder = jit_core::Jit::builder().notifier("channel", Channel(sender));
/// ```
#[async_trait]
pub trait Notifier: Debug + Send + Sync + 'static {
    /// Delivers a notice. If an answer was lost, it may be called again with the same notice:
    /// [`Notice::id`] tells. A call that takes longer than 30 s is given up and comes again.
    ///
    /// # Errors
    /// [`NotifyError`], by whether another try can help.
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError>;
}

/// Reason why a notice was not delivered. Its words reach the log: they carry no secret, and no URL
/// that is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// Delivery failed, but may work later.
    #[error("it could not be delivered now: {why}")]
    Temporary {
        /// Description of what happened.
        why: String,
        /// Time that the other side wants to wait before the next try, if it said so.
        retry_after: Option<TimeDelta>,
        /// Cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
    /// Delivery will never work without a change.
    #[error("it cannot be delivered: {why}")]
    Permanent {
        /// Description of what happened, and what to do.
        why: String,
        /// Cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
}

/// Writes notices as `tracing` events at level info with the target `jit::notify`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(clippy::exhaustive_structs, reason = "it holds nothing, and never will")]
pub struct TracingNotifier;

#[async_trait]
impl Notifier for TracingNotifier {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let Notice { id, tenant, event, fields, .. } = notice;
        let access = notice.access.map(|access| access.to_string());
        tracing::info!(target: "jit::notify", %id, %tenant, access, %event, ?fields);
        Ok(())
    }
}
