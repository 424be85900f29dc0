//! The review that is owed after an emergency.

use serde::{Deserialize, Serialize};

use super::Access;
use super::event::{Refusal, Step};
use super::handle::Handled;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after};
use crate::id::Principal;
use crate::model::approval::{DecisionRefused, Snapshot};

/// The review that is owed after an emergency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwedReview {
    /// Deadline of the review, UTC.
    pub due: Time,
    /// True once people were told that it is overdue.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
    /// Review that was given; none while it is owed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given: Option<ReviewGiven>,
}

/// A review that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ReviewGiven {
    /// Person who reviewed.
    pub by: Principal,
    /// Time of the review, by the store's clock, UTC.
    pub at: Time,
    /// Review in the words of the reviewer.
    pub note: String,
}

impl OwedReview {
    /// Checks whether nobody has given the review, and its time is over.
    #[must_use]
    pub fn is_overdue(&self, now: Time) -> bool {
        self.given.is_none() && self.due <= now
    }
}

impl Access {
    /// Returns the review that is owed or was given, if this was an emergency.
    #[must_use]
    pub fn review(&self) -> Option<&OwedReview> {
        self.review.as_ref()
    }

    /// Returns the person who owes a review.
    #[must_use]
    pub fn owes(&self) -> Option<&Principal> {
        let owed = self.review.as_ref().filter(|review| review.given.is_none());
        owed.and(self.approval.plan().break_glass.as_ref()).map(|break_glass| &break_glass.human)
    }

    /// Returns the person of an emergency that has begun or is over, and that nobody has reviewed
    /// yet.
    #[must_use]
    pub fn unreviewed(&self) -> Option<&Principal> {
        let begun = self.review.is_none() && self.grant().is_some_and(|grant| !grant.is_final());
        let break_glass = self.approval.plan().break_glass.as_ref().filter(|_| begun);
        break_glass.map(|break_glass| &break_glass.human).or_else(|| self.owes())
    }

    /// Demands another review after more time was granted in an emergency, if one was given before.
    pub(super) fn owe_review_again(&mut self, now: Time) {
        if self.review.as_ref().is_some_and(|review| review.given.is_some()) {
            self.review = None;
            self.owe_review(now);
        }
    }

    /// Demands a review from now on, if the role was granted in an emergency.
    pub(super) fn owe_review(&mut self, now: Time) {
        if let Some(break_glass) = &self.approval.plan().break_glass
            && self.review.is_none()
        {
            self.review = Some(OwedReview { due: after(now, break_glass.within), told: false, given: None });
        }
    }

    /// Returns the time to announce that the review is overdue.
    pub(super) fn review_due(&self) -> Option<Time> {
        self.review.as_ref().filter(|review| review.given.is_none() && !review.told).map(|review| review.due)
    }

    /// Announces once that the review is overdue.
    pub(super) fn tick_review(mut step: Step, now: Time) -> Step {
        if step.access.review_due().is_some_and(|due| due <= now)
            && let Some(review) = &mut step.access.review
        {
            review.told = true;
            let due = review.due;
            let human = step.access.owes().map(|human| human.as_str().to_owned());
            step.audit_events.push(AuditEvent::new(EventKind::ReviewOverdue).with("due", due).maybe("owed_by", human));
        }
        step
    }

    pub(super) fn reviewed(&self, by: &Principal, snapshot: &Snapshot, note: String, now: Time) -> Handled {
        let refuse = |why| Err(self.refuse(why, EventKind::DecisionRefused, "review"));
        let owed = self.review.as_ref().filter(|review| review.given.is_none());
        let (Some(owed), Some(break_glass)) = (owed, &self.approval.plan().break_glass) else {
            return refuse(Refusal::State { state: self.state(), what: "reviewed: no review is owed" });
        };
        let parties = &self.request.parties;
        if snapshot.is_party()
            || snapshot.human == break_glass.human
            || [&parties.requester, &parties.grantee].contains(&by)
        {
            return refuse(Refusal::Decision(DecisionRefused::OwnRequest));
        }
        if !break_glass.review_by.names(by, snapshot) {
            return refuse(Refusal::Decision(DecisionRefused::NotEntitled));
        }
        let audit_event = AuditEvent::new(EventKind::Reviewed)
            .with("human", snapshot.human.as_str())
            .with("note", note.as_str())
            .with("overdue", owed.is_overdue(now));
        let given = ReviewGiven { by: by.clone(), at: now, note };
        let mut step = self.unchanged();
        step.access.review = Some(OwedReview { given: Some(given), ..owed.clone() });
        step.audit_events.push(audit_event);
        Ok(step)
    }
}
