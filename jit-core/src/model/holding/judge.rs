//! Judges whether a membership may be granted, and whether it is held.

use crate::catalog::{Grantor, Membership, Seen, anothers};
use crate::clock::Time;
use crate::handling::MembershipScope;
use crate::id::AccessId;
use crate::model::access::{Access, Found};
use crate::model::grant::Grant;
use crate::model::proof::Clear;

/// Judges what was seen right before a grant: either nothing prevents it, or the role is held
/// already and not by us (law 6).
///
/// `label` and `not_after` (by the server's clock, UTC) belong to the statement that follows.
/// `live` has all accesses of the account in the realm.
///
/// # Errors
/// The description of how the role is held already.
pub fn judge(
    access: &Access,
    live: &[&Access],
    seen: &Seen,
    asked: &Membership,
    label: &str,
    not_after: Time,
) -> Result<Clear, String> {
    if let Some(how) = standing(Some(access.id()), live, seen, asked) {
        return Err(how);
    }
    let observed = if seen.direct.is_empty() { "absent" } else { "ours" };
    let membership = observed_subject(seen, asked);
    let default_before = default_before(live, seen, asked);
    let (label, before, not_compared) = (label.to_owned(), None, None);
    Ok(Clear { access: access.id(), membership, observed, label, not_after, default_before, before, not_compared })
}

/// Returns the default role to restore in the end. It is the present one, or, if another access set
/// that, the one before.
fn default_before(live: &[&Access], seen: &Seen, asked: &Membership) -> Option<String> {
    let now = seen.default_roles.first()?;
    let whose = live.iter().find(|other| {
        let role =
            other.grant().filter(|grant| grant.is_live()).and_then(Grant::membership).map(|held| held.role.as_str());
        other.is_activated() && role == Some(now.as_str())
    });
    match whose {
        Some(other) => other.default_before().map(str::to_owned),
        // a revoke left it behind: no access holds it
        None if now == asked.role.as_str() => None,
        None => Some(now.clone()),
    }
}

/// Describes how the role is held already and not by us (law 6); none if it is not. `but` is the
/// access that is being judged: it does not count as holding the role.
#[must_use]
pub fn standing(but: Option<AccessId>, live: &[&Access], seen: &Seen, asked: &Membership) -> Option<String> {
    let Membership { account, role, .. } = asked;
    if let Some(store) = &seen.marked_by {
        return Some(anothers(account, role, store));
    }
    // a role given by a live access of ours ends with that access: it is not held for good
    let by_ours = |through: &&String| live.iter().any(|other| gives(other, through));
    if let Some(through) = seen.through.iter().find(|through| !by_ours(through)) {
        return Some(format!("`{account}` holds `{role}` already, through `{through}`"));
    }
    let membership = observed_subject(seen, asked);
    let ours = live.iter().any(|other| Some(other.id()) != but && holds(other, &membership));
    seen.direct.iter().find_map(|grant| match &grant.grantor {
        Grantor::Broker | Grantor::Unknown if ours => None,
        // it may belong to another store with the same broker, or to a lost record
        Grantor::Broker => Some(format!(
            "`{account}` holds `{role}` already, granted by the broker, and no access here accounts for it: reconcile the \
             target to list it, or to take it away"
        )),
        Grantor::Unknown => Some(format!("`{account}` holds `{role}` already, and not by a grant of jit")),
        Grantor::Other(grantor) => Some(format!("`{account}` holds `{role}` already, granted by `{grantor}`")),
    })
}

fn observed_subject(seen: &Seen, asked: &Membership) -> Membership {
    Membership { account_id: seen.account_id.clone(), role_id: seen.role_id.clone(), ..asked.clone() }
}

/// Checks whether the database holds the membership for a live access, or may hold it.
fn holds(access: &Access, membership: &Membership) -> bool {
    let Some(grant) = access.grant().filter(|grant| grant.is_live()) else { return false };
    let untouched = matches!(grant, Grant::Revoking(revoking) if revoking.untouched);
    !untouched && grant.membership().is_some_and(|held| held.is_same(membership))
}

/// Checks whether a live access gives the account this role, by the server's name for it.
fn gives(access: &Access, role: &str) -> bool {
    let held = access.grant().filter(|grant| grant.is_live()).and_then(Grant::membership);
    held.is_some_and(|held| held.role.as_str() == role && holds(access, held))
}

/// Returns the scope that the statement for this access has to grant. It is the widest that the
/// live accesses want together, because a narrower grant over a wider one narrows it (PostgreSQL 16
/// and later).
#[must_use]
pub fn scope(access: &Access, live: &[&Access]) -> MembershipScope {
    let membership = access.grant().and_then(Grant::membership);
    let together = |other: &&&Access| match (membership, other.grant().and_then(Grant::membership)) {
        (Some(membership), Some(held)) => held.is_same(membership),
        _ => false,
    };
    live.iter().filter(together).filter_map(|other| other.wants()).fold(access.scope(), MembershipScope::max)
}

/// Tells what the database holds of a grant whose outcome was unknown, once it is settled. A
/// membership that was absent before our intent and is held now is ours.
#[must_use]
pub fn settled(seen: &Seen, asked: &Membership, scope: MembershipScope) -> Found {
    let ours = |grantor: &Grantor| !matches!(grantor, Grantor::Other(_));
    if seen.direct.iter().any(|grant| ours(&grant.grantor) && grant.scope >= scope) {
        return Found::Held;
    }
    if is_lost(seen, asked) { Found::Lost } else { Found::Absent }
}

/// Checks whether an account or role that is known by name only is not found. It may be there under
/// another name.
pub(super) fn is_lost(seen: &Seen, asked: &Membership) -> bool {
    let ids = [&seen.account_id, &seen.role_id, &asked.account_id, &asked.role_id];
    ids.into_iter().all(Option::is_none) && !(seen.account_exists && seen.role_exists)
}
