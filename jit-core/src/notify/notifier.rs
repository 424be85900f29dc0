//! The contract of whatever carries a notice to people.

use std::fmt::Debug;

use async_trait::async_trait;
use chrono::TimeDelta;

use super::notice::Notice;
use crate::store::BoxError;

/// Carries notices to a receiver: a chat, a mailbox, a webhook.
#[async_trait]
pub trait Notifier: Debug + Send + Sync + 'static {
    /// Delivers a notice. It may be called again with the same one when an answer was lost: [`Notice::id`] tells. A call
    /// that takes longer than 30 s is given up and comes again.
    ///
    /// # Errors
    /// [`NotifyError`], by whether trying again can help.
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError>;
}

/// Why a notice was not delivered. Its words reach the log: they carry no secret, and no URL that is one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// It may work later.
    #[error("it could not be delivered now: {why}")]
    Temporary {
        /// What happened.
        why: String,
        /// When the receiver wants to be asked again at the earliest, if it said so.
        retry_after: Option<TimeDelta>,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
    /// It will never work as it is.
    #[error("it cannot be delivered: {why}")]
    Permanent {
        /// What happened, and what to do.
        why: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
}

/// Writes notices as `tracing` events at level info with the target `jit::notify`.
#[derive(Debug, Clone, Copy, Default)]
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
