//! Questions to outside systems, one lane each: a slow or dead system delays nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::Pump;
use crate::approver::{Approver, ApproverError, CALL_LIMIT, Explanation, Reply, Review};
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after};
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::apply::Beside;
use crate::engine::repository::attempt::{Attempt, ignore_conflict, only_store, retry};
use crate::engine::repository::records::{ReviewRecord, body, put};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::stops::InForce;
use crate::engine::tenant::Tenant;
use crate::id::{ApproverName, TenantId};
use crate::model::access::{Access, Event};
use crate::model::approval::{Answer, Verdict};
use crate::store::{Change, Claim, ClaimRequest, Claimed, Lane, Record, Schedule, StoreError, Write};
use crate::text::{cut, escaped};

/// Duration of a question's claim: longer than a call may take.
const CLAIM: TimeDelta = TimeDelta::seconds(30);
/// Number of questions that are asked at a time.
const AT_A_TIME: usize = 32;
/// First pause after no answer, in seconds; it doubles each time.
const FIRST_PAUSE: i64 = 1;
/// Longest pause, in seconds: a system that is back is noticed within it.
const LONGEST_PAUSE: i64 = 60;

impl Pump {
    /// Asks the due questions to one outside system, and returns how many were looked at.
    pub(super) async fn outside(self: &Arc<Self>, lane: &Lane) -> Result<u64, StoreError> {
        let core = &self.core;
        let found = lane.outside_of().and_then(|(tenant, name)| {
            let (tenant, name) = (TenantId::new(tenant).ok()?, ApproverName::new(name).ok()?);
            let settings = core.tenant(&tenant).ok()?;
            let approver = Arc::clone(settings.approvers.get(&name)?);
            Some((settings, approver))
        });
        let Some((settings, approver)) = found else {
            // it is not registered here: another node may have it, or the next start
            let now = core.store.now().await?;
            let unserved = lane.outside_of().and_then(|(tenant, name)| self.unserved_of(tenant, "approver", name));
            self.leave_to_others(lane, now, unserved.into_iter().collect());
            return Ok(0);
        };
        let ask = ClaimRequest::new(core.node.clone(), lane.clone(), AT_A_TIME, CLAIM);
        let claimed = core.store.claim(&ask).await?;
        let claims = claimed.iter().map(|claimed| claimed.claim.clone()).collect();
        let _held = self.in_hand.take(lane.as_str(), claims);
        let count = u64::try_from(claimed.len()).unwrap_or(u64::MAX);
        let asked = claimed.into_iter().map(|claimed| self.ask(&settings, &approver, claimed));
        futures_util::future::join_all(asked).await.into_iter().collect::<Result<(), StoreError>>()?;
        Ok(count)
    }

    async fn ask(&self, settings: &Tenant, approver: &Arc<dyn Approver>, claimed: Claimed) -> Result<(), StoreError> {
        let Claimed { record, claim } = claimed;
        let question: ReviewRecord = match body(&record) {
            Ok(question) => question,
            Err(error) => {
                tracing::error!(key = record.at.key, %error, "what an outside system is to be asked cannot be read");
                return self.drop_question(&record, claim).await;
            }
        };
        let now = self.core.store.now().await?;
        let access = match self.core.load(&record.at.tenant, question.access, now).await {
            Ok(loaded) => loaded.access,
            Err(JitError::Store(error)) => return Err(error),
            Err(_) => return self.drop_question(&record, claim).await,
        };
        let Some(until) = question.waits_until(&access, now) else {
            return self.drop_question(&record, claim).await;
        };
        let review = review(&access, &question, &record.at.key, until);
        let reply = self.core.tasks.within(CALL_LIMIT, approver.review(&review)).await;
        match reply.unwrap_or_else(|| Err(too_slow(CALL_LIMIT))) {
            Ok(Reply::Wait(again)) => self.ask_again(&record, claim, &question, again.max(after(now, pause(0)))).await,
            Ok(reply) => self.core.answered(&record, &question, reply, Some(claim)).await,
            Err(error) => self.no_answer(settings, &access, &record, claim, question, &error).await,
        }
    }

    /// Asks again after a pause, and logs the reason once.
    async fn no_answer(
        &self,
        settings: &Tenant,
        access: &Access,
        record: &Record,
        claim: Claim,
        question: ReviewRecord,
        error: &ApproverError,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let why = cut(&escaped(&error.to_string()), LONGEST_WHY).into_owned();
        let known = question.last_error.as_ref() == Some(&why);
        let wait = pause(question.failures).max(error.retry_after.unwrap_or_default()).min(TimeDelta::hours(1));
        let failures = question.failures.saturating_add(1);
        let next = ReviewRecord { failures, last_error: Some(why.clone()), ..question };
        let mut unit_of_work = UnitOfWork::new(&self.core, access.tenant(), settings, None, now);
        if !known {
            let approver = next.approver.as_str();
            unit_of_work.about(
                access,
                &[AuditEvent::new(EventKind::ApproverFailed).with("approver", approver).with("why", why)],
            )?;
        }
        let schedule = scheduled(record, after(now, wait));
        unit_of_work.change.writes.push(put(record.at.clone(), Some(record), &next, schedule)?);
        unit_of_work.change.release.push(claim);
        ignore_conflict(unit_of_work.commit().await)
    }

    async fn ask_again(
        &self,
        record: &Record,
        claim: Claim,
        question: &ReviewRecord,
        again: Time,
    ) -> Result<(), StoreError> {
        let write = put(record.at.clone(), Some(record), question, scheduled(record, again))?;
        let change = Change { writes: vec![write], release: vec![claim], ..Change::default() };
        ignore_conflict(self.core.store.commit(change).await.map(|committed| committed.at))
    }

    async fn drop_question(&self, record: &Record, claim: Claim) -> Result<(), StoreError> {
        let change = Change { writes: vec![Write::deleting(record)], release: vec![claim], ..Change::default() };
        ignore_conflict(self.core.store.commit(change).await.map(|committed| committed.at))
    }
}

impl Core {
    /// Applies the outside system's answer to the access and closes the question, in one commit.
    pub(in crate::engine) async fn answered(
        &self,
        record: &Record,
        question: &ReviewRecord,
        reply: Reply,
        claim: Option<Claim>,
    ) -> Result<(), StoreError> {
        let (verdict, Explanation { note, details }) = match reply {
            Reply::Approve(said) => (Verdict::Approve, said),
            Reply::Deny(said) => (Verdict::Deny, said),
            Reply::Wait(_) => return Ok(()),
        };
        let short = |text: &str| cut(&escaped(text), LONGEST_WHY).into_owned();
        let note = short(&note);
        let details: BTreeMap<String, String> =
            details.iter().take(DETAILS).map(|(name, text)| (short(name), short(text))).collect();
        let applied = retry!(async {
            let now = self.store.now().await?;
            let loaded = match self.load(&record.at.tenant, question.access, now).await {
                Ok(loaded) => loaded,
                Err(error) => return only_store(error).map(Attempt::Done),
            };
            let release = claim.iter().cloned().collect();
            let InForce { settings, guards, .. } = match self.in_force(&record.at.tenant).await {
                Ok(in_force) => in_force,
                Err(error) => return only_store(error).map(Attempt::Done),
            };
            let beside = Beside { writes: vec![Write::deleting(record)], release, guards };
            let (approver, note, details) = (question.approver.clone(), note.clone(), details.clone());
            if question.waits_until(&loaded.access, now).is_none() {
                // the answer came when nobody waited for it any more: it is logged, and counts for
                // nothing
                let audit_event = AuditEvent::new(EventKind::DecisionRefused)
                    .with("approver", approver.as_str())
                    .with("tried", if verdict == Verdict::Approve { "approve" } else { "deny" })
                    .with("question", question.question.to_string())
                    .with("why", "what it answers is closed, or is asked anew")
                    .with("note", note);
                let mut unit_of_work = UnitOfWork::new(self, &record.at.tenant, &settings, None, now);
                unit_of_work.about(&loaded.access, &[audit_event])?;
                unit_of_work.change.writes.extend(beside.writes);
                unit_of_work.change.release = beside.release;
                return ignore_conflict(unit_of_work.commit().await).map(Attempt::Done);
            }
            let question = question.question;
            let event = Event::Answer(Answer { question, approver, verdict, at: now, note, details });
            match self.apply(&settings, None, &loaded, event, beside).await {
                Ok(Attempt::Done(_)) => Ok(Attempt::Done(())),
                // the question itself may be gone: somebody else has the answer
                Ok(Attempt::Overtaken) => {
                    let version = self.store.read(&record.at).await?.map(|now| now.version);
                    let is_open = version == Some(record.version);
                    Ok(if is_open { Attempt::Overtaken } else { Attempt::Done(()) })
                }
                Err(error) => only_store(error).map(Attempt::Done),
            }
        });
        applied.map(|_| ())
    }
}

/// Number of details of an answer that are kept.
const DETAILS: usize = 16;
/// Number of characters that are kept of an error, and of each text of an answer.
const LONGEST_WHY: usize = 400;

/// Builds the question for the outside system.
pub(in crate::engine) fn review(access: &Access, question: &ReviewRecord, token: &str, until: Time) -> Review {
    let approver = &question.approver;
    let request = access.request();
    let plan = access.decidable().plan();
    let extension = access.extension();
    Review {
        id: format!("{}/{approver}", access.nonce_of(question.question)),
        tenant: access.tenant().clone(),
        access: access.id(),
        approver: approver.clone(),
        target: request.target.clone(),
        role: request.role.clone(),
        requester: request.parties.requester.clone(),
        grantee: request.parties.grantee.clone(),
        account: request.account.clone(),
        duration: extension.map_or(request.duration, |extension| extension.longer),
        start: request.start,
        reason: extension.map_or(&request.reason, |extension| &extension.reason).clone(),
        ticket: request.ticket.clone(),
        rule: plan.rule.clone(),
        policy: plan.policy.clone(),
        extension: extension.is_some(),
        token: token.to_owned(),
        until,
    }
}

fn scheduled(record: &Record, due: Time) -> Option<Schedule> {
    record.schedule.clone().map(|schedule| Schedule { due, ..schedule })
}

fn too_slow(limit: Duration) -> ApproverError {
    ApproverError::new(format!("it gave no answer within {} s", limit.as_secs()))
}

fn pause(failures: u32) -> TimeDelta {
    let doubled = FIRST_PAUSE.checked_shl(failures.min(16)).unwrap_or(LONGEST_PAUSE);
    TimeDelta::seconds(doubled.min(LONGEST_PAUSE))
}
