//! Callbacks of outside systems that answer later.

use crate::approver::{Callback, CallbackRefused};
use crate::audit_event::{AuditEvent, EventKind};
use crate::engine::Jit;
use crate::engine::error::JitError;
use crate::engine::pump::questions::review;
use crate::engine::repository::records::{ReviewRecord, body, review_key};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::view::AccessView;
use crate::model::access::Refusal;

impl Jit {
    /// Takes the answer of an outside system that was asked and calls back, once, before its
    /// request lapses. The sender is authenticated by the signature that the approver checks, not
    /// by the caller.
    ///
    /// # Errors
    /// [`JitError::NotFound`] for a token that is not pending any more or never was,
    /// [`JitError::Refused`] if it is too late, [`JitError::NotAllowed`] if the answer is not
    /// authentic, which is logged.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = tracing::field::Empty))]
    pub async fn callback(&self, callback: &Callback) -> Result<AccessView, JitError> {
        let core = &self.core;
        let settings = core.tenant(&self.tenant)?;
        let gone = || JitError::NotFound {
            what: "question for this token, or it is answered:",
            name: callback.token.chars().take(8).collect(),
            hint: String::new(),
        };
        let hexadecimal = callback.token.len() <= 64 && callback.token.bytes().all(|byte| byte.is_ascii_hexdigit());
        let record = match hexadecimal {
            true => core.store.read(&review_key(&self.tenant, &callback.token)).await?,
            false => None,
        };
        let record = record.ok_or_else(gone)?;
        let question: ReviewRecord = body(&record)?;
        tracing::Span::current().record("access", tracing::field::display(question.access));
        let approver = settings.approvers.get(&question.approver).ok_or_else(gone)?;
        let now = core.store.now().await?;
        let access = core.load(&self.tenant, question.access, now).await?.access;
        let until = question.waits_until(&access, now);
        let asked = review(&access, &question, &record.at.key, until.unwrap_or(now));
        // a sender who cannot sign learns nothing, not even that it is too late
        match approver.answered(&asked, callback, now) {
            Ok(_) if until.is_none() => {
                return Err(Refusal::State { state: access.state(), what: "decided on by this answer" }.into());
            }
            Ok(reply) => core.answered(&record, &question, reply, None).await?,
            Err(refused) => {
                let audit_event = AuditEvent::new(EventKind::DecisionRefused)
                    .with("approver", question.approver.as_str())
                    .with("tried", "callback")
                    .with("why", refused.to_string());
                let mut unit_of_work = UnitOfWork::new(core, &self.tenant, &settings, None, now);
                unit_of_work.about(&access, &[audit_event])?;
                unit_of_work.commit().await?;
                return Err(not_believed(&question, &refused));
            }
        }
        self.access(question.access).await
    }
}

fn not_believed(question: &ReviewRecord, refused: &CallbackRefused) -> JitError {
    JitError::NotAllowed {
        who: question.approver.to_string(),
        what: "give this answer".to_owned(),
        hint: refused.to_string(),
    }
}
