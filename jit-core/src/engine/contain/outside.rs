//! Containment of outside systems, second factors, notifiers and sinks of the log.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use secrecy::SecretString;

use super::{Caught, Failed};
use crate::approver::{Approver, ApproverError, CALL_LIMIT, Callback, CallbackRefused, Reply, Review};
use crate::audit::{AuditSink, Checkpoint, NumberedEntry, SinkError};
use crate::clock::{Entropy, Time, after};
use crate::engine::JitError;
use crate::engine::tasks::Tasks;
use crate::mfa::{Challenge, Enrollment, Factor, FactorError, VerifiedFactor};
use crate::notify::{Notice, Notifier, NotifyError};
use crate::text::taken;

/// Limit of a second factor's call.
const FACTOR_WITHIN: Duration = Duration::from_secs(10);
/// Limit of a notifier's call.
const NOTIFIER_WITHIN: Duration = Duration::from_secs(30);
/// Limit of a log sink's call for one batch.
const SINK_WITHIN: Duration = Duration::from_secs(10);
/// Time by which a proof may be dated ahead: other clocks differ by seconds.
const AHEAD: TimeDelta = TimeDelta::minutes(10);

#[derive(Debug)]
struct Contained<T: ?Sized> {
    calls: Caught,
    inner: Arc<T>,
}

/// Wraps the outside system.
pub(in crate::engine) fn approver(inner: Arc<dyn Approver>, tasks: &Tasks) -> Arc<dyn Approver> {
    Arc::new(Contained { calls: Caught::new(tasks), inner })
}

/// Wraps the second factor.
pub(in crate::engine) fn factor(inner: Arc<dyn Factor>, tasks: &Tasks) -> Arc<dyn Factor> {
    Arc::new(Contained { calls: Caught::new(tasks), inner })
}

/// Wraps the notifier.
pub(in crate::engine) fn notifier(inner: Arc<dyn Notifier>, tasks: &Tasks) -> Arc<dyn Notifier> {
    Arc::new(Contained { calls: Caught::new(tasks), inner })
}

/// Wraps the log sink. Its name is asked for once.
pub(in crate::engine) fn sink(inner: Arc<dyn AuditSink>, tasks: &Tasks) -> Result<Arc<dyn AuditSink>, JitError> {
    let calls = Caught::new(tasks);
    let name = calls.now(|| inner.name().to_owned());
    let name = name.map_err(|failed| JitError::invalid(format!("an audit sink does not say its name: {failed}")))?;
    if name.is_empty() || name.len() > LONGEST_NAME {
        let why = format!("an audit sink has a name of {} bytes: give it one of 1 to {LONGEST_NAME}", name.len());
        return Err(JitError::invalid(why));
    }
    taken("name of an audit sink", &name, LONGEST_NAME)?;
    Ok(Arc::new(Sink { calls, inner, name }))
}

/// Longest name of a sink, in bytes.
const LONGEST_NAME: usize = 512;

#[async_trait]
impl Approver for Contained<dyn Approver> {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        let reply = self.calls.within(CALL_LIMIT, async { self.inner.review(review).await }).await;
        match reply.unwrap_or_else(|failed| Err(ApproverError::new(failed.to_string())))? {
            // after that nobody waits for its answer
            Reply::Wait(again) => Ok(Reply::Wait(again.min(review.until))),
            reply => Ok(reply),
        }
    }

    fn answered(&self, review: &Review, callback: &Callback, now: Time) -> Result<Reply, CallbackRefused> {
        let reply = self.calls.now(|| self.inner.answered(review, callback, now));
        reply.unwrap_or_else(|failed| Err(CallbackRefused::Unreadable { why: failed.to_string() }))
    }
}

#[async_trait]
impl Factor for Contained<dyn Factor> {
    async fn verify(&self, challenge: &Challenge<'_>, response: &SecretString) -> Result<VerifiedFactor, FactorError> {
        let verified = self.calls.within(FACTOR_WITHIN, async { self.inner.verify(challenge, response).await }).await;
        let verified = verified.unwrap_or_else(|failed| Err(unavailable(&failed)))?;
        if verified.at > after(challenge.now, AHEAD) {
            let why = format!("it says that it was proved at {}, which is in the future", verified.at);
            return Err(FactorError::Unavailable { why, source: None });
        }
        Ok(verified)
    }

    fn enroll(&self, who: &Challenge<'_>, entropy: &dyn Entropy) -> Option<Result<Enrollment, FactorError>> {
        self.calls.now(|| self.inner.enroll(who, entropy)).unwrap_or_else(|failed| Some(Err(unavailable(&failed))))
    }
}

fn unavailable(failed: &Failed) -> FactorError {
    FactorError::Unavailable { why: failed.to_string(), source: None }
}

#[async_trait]
impl Notifier for Contained<dyn Notifier> {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let told = self.calls.within(NOTIFIER_WITHIN, async { self.inner.notify(notice).await }).await;
        told.unwrap_or_else(|failed| {
            Err(NotifyError::Temporary { why: failed.to_string(), retry_after: None, source: None })
        })
    }
}

#[derive(Debug)]
struct Sink {
    calls: Caught,
    inner: Arc<dyn AuditSink>,
    name: String,
}

#[async_trait]
impl AuditSink for Sink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn deliver(&self, batch: &[NumberedEntry]) -> Result<(), SinkError> {
        let taken = self.calls.within(SINK_WITHIN, async { self.inner.deliver(batch).await }).await;
        taken.unwrap_or_else(|failed| Err(not_taken(&failed)))
    }

    async fn checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), SinkError> {
        let taken = self.calls.within(SINK_WITHIN, async { self.inner.checkpoint(checkpoint).await }).await;
        taken.unwrap_or_else(|failed| Err(not_taken(&failed)))
    }
}

fn not_taken(failed: &Failed) -> SinkError {
    SinkError { why: failed.to_string(), source: None }
}
