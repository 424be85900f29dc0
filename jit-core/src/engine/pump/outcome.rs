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
pub(super) type Outcome = Result<Vec<VerifiedEnd>, Left>;

/// Failure of a revoke, with what is still there.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) why: String,
    /// True if the server did not answer: it is retried as soon as it does, without a wait of its
    /// own.
    pub(super) at_once: bool,
    /// True if what was sent may still arrive.
    pub(super) unknown: bool,
    /// True if the right server got the order and may have carried it out. It was no other server,
    /// which refused.
    pub(super) told: bool,
    /// True if another server is in its place and refused. The end stays due until that server is
    /// identified.
    pub(super) moved: bool,
}

/// Arguments of a grant that begins.
pub(super) struct Told<'t> {
    pub(super) label: &'t str,
    pub(super) not_after: Time,
    /// Objects owned before the grant; none if they are not compared.
    pub(super) before: Option<Owned>,
}

/// Lets an access that is due begin its grant, or learn that its role is held already.
pub(super) fn begin(case: &mut AccountWork, id: AccessId, asked: &Membership, seen: &Seen, told: Told<'_>, now: Time) {
    let Told { label, not_after, before } = told;
    let event = {
        let live = case.live();
        let Some(access) = case.accesses.get(&id).map(|loaded| &loaded.access) else { return };
        match judge(access, &live, seen, asked, label, not_after) {
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
    case.handle(id, event, now);
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
    case: &mut AccountWork,
    id: AccessId,
    seen: &Seen,
    incarnation: &str,
    now: Time,
) -> Result<(), StoreError> {
    let Some(watch) = case.holding.watched.iter().find(|watch| watch.access == id).cloned() else { return Ok(()) };
    let looked = look(&watch, &case.live(), seen, incarnation);
    case.touch();
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
            if case.join(core, id, now).await? {
                case.handle(id, Event::Reappeared(how), now);
                // its watch may have been carried over since it ended
                case.handle(id, Event::Moved(case.holding.realm.clone()), now);
                return Ok(());
            }
            case.findings.push(about(EventKind::Finding).with("why", how));
        }
        Look::Finding(how) => case.findings.push(about(EventKind::Finding).with("why", how)),
        Look::Gone => case.findings.push(about(EventKind::StillGone)),
    }
    case.holding.looked(&watch, seen, incarnation, now);
    Ok(())
}

/// Lets every access of the closing handle its outcome.
pub(super) fn ended(case: &mut AccountWork, closing: &Closing, outcome: Outcome, now: Time) {
    if matches!(&outcome, Err(left) if left.moved) {
        return;
    }
    if closing.accesses.is_empty() {
        orphan_ended(case, &closing.order.membership, outcome.err().map(|left| left.why), now);
        return;
    }
    match outcome {
        Ok(proofs) => {
            for proof in proofs {
                case.handle(proof.access(), Event::Ended(proof), now);
            }
        }
        Err(Left { why, at_once, .. }) => {
            for id in &closing.accesses {
                let failures = match case.accesses.get(id).and_then(|loaded| loaded.access.grant()) {
                    Some(Grant::Revoking(revoking)) => revoking.failures,
                    _ => 0,
                };
                let retry_at = if at_once { now } else { after(now, retry_wait(failures)) };
                case.handle(*id, Event::EndFailed { why: why.clone(), retry_at }, now);
            }
        }
    }
}

/// Drops orphans that a live access accounts for by now: they are revoked when that access ends.
pub(super) fn drop_accounted(case: &mut AccountWork) {
    let live: Vec<&Access> = case.accesses.values().map(|loaded| &loaded.access).collect();
    if case.holding.drop_accounted(&live) {
        case.touch();
    }
}

fn orphan_ended(case: &mut AccountWork, membership: &Membership, left: Option<String>, now: Time) {
    case.touch();
    let role: &RoleName = &membership.role;
    let fact = |what| AuditEvent::new(what).with("account", membership.account.as_str()).with("role", role.as_str());
    match left {
        None => {
            case.holding.orphan_gone(membership);
            case.findings.push(fact(EventKind::Reconciled).with("orphaned", true).with("verified", true));
        }
        Some(why) => {
            case.holding.orphan_left(membership, now);
            case.findings.push(fact(EventKind::RevokeFailed).with("orphaned", true).with("why", why));
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
