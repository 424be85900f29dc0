//! Effects of what the database showed or answered on the work of an account.

use std::collections::BTreeSet;

use super::account_work::AccountWork;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after};
use crate::database::{DatabaseError, Membership, Seen};
use crate::engine::core::Core;
use crate::id::{AccessId, RoleName};
use crate::model::access::{Access, Event};
use crate::model::grant::Grant;
use crate::model::holding::{Closing, Look, RETRY_FIRST, judge, look, retry_wait};
use crate::model::proof::VerifiedEnd;
use crate::store::StoreError;

/// Marks of objects that were owned before a grant; none if they are too many. An error says why
/// they could not be read.
pub(super) type Owned = Result<Option<BTreeSet<String>>, String>;

/// Outcome of a revoke: the proofs, or what is still there.
pub(super) type Outcome = Result<Vec<VerifiedEnd>, NotRevoked>;

/// Failure of a revoke, with what is still there.
#[derive(Debug)]
pub(super) struct NotRevoked {
    pub(super) why: String,
    /// True if the server did not answer: it is retried as soon as it does, without a wait of its
    /// own.
    pub(super) at_once: bool,
    /// True if what was sent may still arrive.
    pub(super) unknown: bool,
    /// True if the right server got the order and may have carried it out. It was no other server,
    /// which refused.
    pub(super) delivered: bool,
    /// True if another server is in its place and refused. The end stays due until that server is
    /// identified.
    pub(super) moved: bool,
}

/// Terms of a grant that begins.
pub(super) struct GrantTerms<'t> {
    pub(super) label: &'t str,
    pub(super) not_after: Time,
    /// Objects owned before the grant; none if they are not compared.
    pub(super) before: Option<Owned>,
}

/// Lets an access that is due begin its grant, or learn that its role is held already.
pub(super) fn begin(
    work: &mut AccountWork,
    id: AccessId,
    membership: &Membership,
    seen: &Seen,
    terms: GrantTerms<'_>,
    now: Time,
) {
    let GrantTerms { label, not_after, before } = terms;
    let event = {
        let live = work.live();
        let Some(access) = work.accesses.get(&id).map(|loaded| &loaded.access) else { return };
        match judge(access, &live, seen, membership, label, not_after) {
            Ok(clear) => match before {
                // if an account has nothing but its name, only this shows later that it was not
                // renamed
                Some(Err(why)) if access.must_compare() || seen.is_by_name() => not_told(&why, now),
                Some(Ok(None)) if access.must_compare() => not_told(&too_many(), now),
                Some(before) => {
                    Event::BeginGrant(clear.with_owned_before(before.and_then(|marks| marks.ok_or_else(too_many))))
                }
                None => Event::BeginGrant(clear),
            },
            Err(how) => Event::Standing(how),
        }
    };
    work.handle(id, event, now);
}

fn not_told(why: &str, now: Time) -> Event {
    let why = format!("its leftovers could not be determined: {why}");
    Event::NotGranted { why, retry_at: after(now, RETRY_FIRST) }
}

pub(super) fn too_many() -> String {
    format!("the account or the role owns more than {} objects", crate::database::MOST_OWNED_OBJECTS)
}

pub(super) async fn look_again(
    core: &Core,
    work: &mut AccountWork,
    id: AccessId,
    seen: &Seen,
    incarnation: &str,
    now: Time,
) -> Result<(), StoreError> {
    let Some(watch) = work.holding.watched.iter().find(|watch| watch.access == id).cloned() else { return Ok(()) };
    let looked = look(&watch, &work.live(), seen, incarnation);
    work.touch();
    let about = |what| {
        AuditEvent::new(what)
            .with("access", id.to_string())
            .with("account", watch.membership.account.as_str())
            .with("role", watch.membership.role.as_str())
            .with("target", watch.target.as_str())
            .with("incarnation", incarnation)
    };
    match looked {
        Look::Reappeared(how) => {
            if work.join(core, id, now).await? {
                work.handle(id, Event::Reappeared(how), now);
                // its watch may have been carried over since it ended
                work.handle(id, Event::Moved(work.holding.realm.clone()), now);
                return Ok(());
            }
            work.findings.push(about(EventKind::Finding).with("why", how));
        }
        Look::Finding(how) => work.findings.push(about(EventKind::Finding).with("why", how)),
        Look::Gone => work.findings.push(about(EventKind::StillGone)),
    }
    work.holding.looked(&watch, seen, incarnation, now);
    Ok(())
}

/// Lets every access of the closing handle its outcome.
pub(super) fn ended(work: &mut AccountWork, closing: &Closing, outcome: Outcome, now: Time) {
    if matches!(&outcome, Err(failed) if failed.moved) {
        return;
    }
    if closing.accesses.is_empty() {
        orphan_ended(work, &closing.order.membership, outcome.err().map(|failed| failed.why), now);
        return;
    }
    match outcome {
        Ok(proofs) => {
            for proof in proofs {
                work.handle(proof.access(), Event::Ended(proof), now);
            }
        }
        Err(NotRevoked { why, at_once, .. }) => {
            for id in &closing.accesses {
                let failures = match work.accesses.get(id).and_then(|loaded| loaded.access.grant()) {
                    Some(Grant::Revoking(revoking)) => revoking.failures,
                    _ => 0,
                };
                let retry_at = if at_once { now } else { after(now, retry_wait(failures)) };
                work.handle(*id, Event::EndFailed { why: why.clone(), retry_at }, now);
            }
        }
    }
}

/// Drops orphans that a live access accounts for by now: they are revoked when that access ends.
pub(super) fn drop_accounted(work: &mut AccountWork) {
    let live: Vec<&Access> = work.accesses.values().map(|loaded| &loaded.access).collect();
    if work.holding.drop_accounted(&live) {
        work.touch();
    }
}

fn orphan_ended(work: &mut AccountWork, membership: &Membership, why: Option<String>, now: Time) {
    work.touch();
    let role: &RoleName = &membership.role;
    let audit_event =
        |what| AuditEvent::new(what).with("account", membership.account.as_str()).with("role", role.as_str());
    match why {
        None => {
            work.holding.orphan_gone(membership);
            work.findings.push(audit_event(EventKind::Reconciled).with("orphaned", true).with("verified", true));
        }
        Some(why) => {
            work.holding.orphan_left(membership, now);
            work.findings.push(audit_event(EventKind::RevokeFailed).with("orphaned", true).with("why", why));
        }
    }
}

pub(super) fn grant_failed(error: &DatabaseError, now: Time) -> Event {
    let why = error.with_causes();
    match error {
        DatabaseError::Unreachable { .. } | DatabaseError::AnotherServer { .. } => {
            Event::NotGranted { why, retry_at: now }
        }
        DatabaseError::NotApplied { .. } => Event::NotGranted { why, retry_at: after(now, RETRY_FIRST) },
        // the cause says already that it was the database
        DatabaseError::Rejected { rejection, why, .. } => {
            Event::GrantRejected { rejection: *rejection, why: why.clone() }
        }
        DatabaseError::OutcomeUnknown { .. } => Event::GrantUnknown { why },
    }
}
