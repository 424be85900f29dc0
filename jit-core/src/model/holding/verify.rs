//! Decides what is revoked when accesses end, and whether the later observations suffice (law 5).

use crate::catalog::{DefaultRole, Grantor, Membership, RevokeHow, RevokeOrder, RevokeReport, Seen, Session, anothers};
use crate::clock::Time;
use crate::handling::{MembershipScope, Prepared, Sessions};
use crate::id::{AccessId, RoleName};
use crate::model::access::Access;
use crate::model::approval::Plan;
use crate::model::grant::{EndEvidence, Grant, Window};
use crate::model::proof::VerifiedEnd;

/// The ending of one membership: all accesses that end there together, and what stays because
/// others want it (law 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closing {
    /// Order for the database.
    pub order: RevokeOrder,
    /// Accesses that end with it.
    pub accesses: Vec<AccessId>,
    /// Scope that stays; none if the membership goes.
    pub stays: Option<MembershipScope>,
    /// Accesses for which it stays.
    pub still_held_by: Vec<AccessId>,
    /// Other roles that the account holds by live accesses, through which this one may be held.
    others: Vec<(AccessId, RoleName)>,
    /// Time since which each of the accesses has to end.
    since: Vec<Time>,
}

/// Returns what has to be revoked now, over all live accesses of the account. There is one closing
/// for each membership with an access that is ending.
///
/// A membership with a grant in progress waits until that is settled. Only then it is known whether
/// the membership stays. One that stayed for a grant that was never made would belong to nobody.
#[must_use]
pub fn closings(live: &[&Access], now: Time) -> Vec<Closing> {
    let mut closings: Vec<Closing> = Vec::new();
    for access in live {
        let Some(Grant::Revoking(revoking)) = access.grant() else { continue };
        let done = closings.iter().any(|closing| proves(&closing.order.membership, &revoking.membership));
        let granting = |other: &&&Access| match other.grant() {
            Some(Grant::Granting(granting)) => granting.membership.is_same(&revoking.membership),
            _ => false,
        };
        if done || revoking.unsettled.is_some() || revoking.retry_at > now || live.iter().any(|other| granting(&other))
        {
            continue;
        }
        closings.push(closing(access.id(), &revoking.membership, live));
    }
    closings
}

/// Returns the ending of a membership that no access accounts for; none if a live access holds it
/// now.
#[must_use]
pub fn orphan_closing(orphan: &Membership, live: &[&Access], nobody: AccessId) -> Option<Closing> {
    let held =
        live.iter().any(|access| access.grant().and_then(Grant::membership).is_some_and(|held| held.is_same(orphan)));
    let (how, sessions, prepared) = (RevokeHow::Remove, Sessions::End, Prepared::Report);
    let default_role = DefaultRole::Goes { back_to: None };
    let order = RevokeOrder { access: nobody, membership: orphan.clone(), how, sessions, prepared, default_role };
    (!held).then_some(Closing {
        order,
        accesses: Vec::new(),
        stays: None,
        still_held_by: Vec::new(),
        others: Vec::new(),
        since: Vec::new(),
    })
}

/// Checks whether an observation of one membership holds for the other. Both must be looked up by
/// the same ids, or both by name.
fn proves(one: &Membership, other: &Membership) -> bool {
    one.is_same(other) && one.account_id == other.account_id && one.role_id == other.role_id
}

fn closing(first: AccessId, membership: &Membership, live: &[&Access]) -> Closing {
    let (mut accesses, mut since) = (Vec::new(), Vec::new());
    let mut still_held_by = Vec::new();
    let mut stays: Option<MembershipScope> = None;
    let mut ended: Option<MembershipScope> = None;
    let mut plans: Vec<&Plan> = Vec::new();
    for access in live {
        if !access.grant().and_then(Grant::membership).is_some_and(|held| held.is_same(membership)) {
            continue;
        }
        match access.grant() {
            // if one is known by its id and the other by name only, one can be gone while the other
            // is there
            Some(Grant::Revoking(revoking)) if !proves(membership, &revoking.membership) => {}
            Some(Grant::Revoking(revoking)) if revoking.unsettled.is_none() => {
                accesses.push(access.id());
                since.push(revoking.since);
                if !revoking.untouched {
                    ended = ended.max(Some(access.scope()));
                    plans.push(access.approval().plan());
                }
            }
            _ => {
                if let Some(scope) = access.wants() {
                    stays = stays.max(Some(scope));
                    still_held_by.push(access.id());
                }
            }
        }
    }
    let how = match (ended, stays) {
        (None, _) => RevokeHow::Nothing,
        (Some(_), None) => RevokeHow::Remove,
        (Some(ended), Some(stays)) if ended > stays => RevokeHow::Narrow,
        (Some(_), Some(_)) => RevokeHow::Nothing,
    };
    let any = |sessions| plans.iter().any(|plan| plan.handling.sessions == sessions);
    // a membership that stays as it is takes nothing away from a session
    let sessions = match how {
        RevokeHow::Nothing => Sessions::Keep,
        RevokeHow::Remove | RevokeHow::Narrow if any(Sessions::End) => Sessions::End,
        RevokeHow::Remove | RevokeHow::Narrow => Sessions::Keep,
    };
    let rollback = plans.iter().any(|plan| plan.handling.prepared == Prepared::Rollback);
    let prepared = if rollback { Prepared::Rollback } else { Prepared::Report };
    let default_role = default_role(membership, &accesses, live);
    let order = RevokeOrder { access: first, membership: membership.clone(), how, sessions, prepared, default_role };
    let others = others(membership, live);
    Closing { order, accesses, stays, still_held_by, others, since }
}

/// Returns the roles that the account holds by other live accesses.
fn others(membership: &Membership, live: &[&Access]) -> Vec<(AccessId, RoleName)> {
    let other = |access: &&&Access| {
        let held = access.grant().and_then(Grant::membership).filter(|held| !held.is_same(membership))?;
        access.wants().map(|_| (access.id(), held.role.clone()))
    };
    live.iter().filter_map(|access| other(&access)).collect()
}

/// Returns whether the role of these ending accesses stays a default role, and what replaces it.
///
/// On an engine with a single default role, the replacement is the role of the latest other access
/// that wants a default role. Without one, it is the default role before ours.
pub(super) fn default_role(membership: &Membership, ending: &[AccessId], live: &[&Access]) -> DefaultRole {
    let ended: Vec<&&Access> =
        live.iter().filter(|access| ending.contains(&access.id()) && access.is_activated()).collect();
    let held =
        |access: &Access| access.grant().and_then(Grant::membership).is_some_and(|held| held.is_same(membership));
    // the dead man's switch is armed while they are live
    let mut others = live.iter().filter(|access| !ending.contains(&access.id()) && access.wants_default());
    if ended.is_empty() || others.clone().any(|access| held(access)) {
        return DefaultRole::Stays;
    }
    let since = |access: &&&Access| access.window().map(Window::activated_at);
    let latest = others.by_ref().max_by_key(since).map(|access| access.request().role.as_str().to_owned());
    let before = || ended.iter().find_map(|access| access.default_before()).map(str::to_owned);
    let back_to = latest.or_else(before).filter(|role| role != membership.role.as_str());
    DefaultRole::Goes { back_to }
}

/// Checks whether the observations after the revoke suffice.
///
/// They may show no more than other live accesses and memberships that are not ours justify. They
/// may show no prepared transaction, and no session that could use the role (if the rule says that
/// sessions end).
///
/// # Errors
/// The list of what is still there, for people to read.
pub fn verify(closing: &Closing, report: &RevokeReport) -> Result<Vec<VerifiedEnd>, String> {
    let RevokeReport { seen, was_held, default_kept, ended, rolled_back, revoked_at, server_time, identity } = report;
    // a membership that another store accounts for was left to it, with its sessions
    let theirs = seen.marked_by.as_ref();
    if theirs.is_some() && closing.accesses.is_empty() {
        return Err("another store that works with the same broker accounts for it".to_owned());
    }
    let untouched = closing.order.how == RevokeHow::Nothing && closing.stays.is_none();
    let mut left = Vec::new();
    let mut still_held_by = closing.still_held_by.clone();
    let (mut residual, mut another_store) = (Vec::new(), None);
    for role in &seen.through {
        match closing.others.iter().find(|(_, other)| other.as_str() == role) {
            Some((id, _)) => still_held_by.push(*id),
            None => residual.push(format!("through role `{role}`")),
        }
    }
    for grant in &seen.direct {
        match &grant.grantor {
            // ids of another server mean nothing, and the grantor there is whoever moved the data
            Grantor::Other(grantor) if !untouched && closing.order.membership.role_id.is_none() => left.push(format!(
                "the membership came from another server, and is now granted by `{grantor}`, which the broker cannot revoke: run \
                 `REVOKE ... GRANTED BY` as that grantor"
            )),
            Grantor::Other(grantor) => residual.push(format!("granted by `{grantor}`")),
            Grantor::Broker | Grantor::Unknown if theirs.is_some() => {
                let Membership { account, role, .. } = &closing.order.membership;
                residual.push("held on behalf of another store".to_owned());
                another_store = theirs.map(|store| anothers(account, role, store));
            }
            // nothing was ever applied for these: what is there is for reconciliation
            Grantor::Broker if untouched => residual.push("granted by the broker for another reason".to_owned()),
            Grantor::Unknown if untouched => residual.push("granted by a grantor that the server does not show".to_owned()),
            Grantor::Broker | Grantor::Unknown => match closing.stays {
                Some(stays) if grant.scope <= stays || grant.grantor == Grantor::Unknown => {}
                Some(_) => left.push("the membership is still wider than what remains needs".to_owned()),
                None => left.push("the catalog still shows the membership".to_owned()),
            },
        }
    }
    let is_older = |session: &Session| session.since.is_none_or(|since| since <= *revoked_at);
    if closing.order.how != RevokeHow::Nothing {
        residual.extend(seen.apart.iter().filter(|session| is_older(session)).map(|Session { id, account, .. }| {
            format!("perhaps by session {id} of administrator `{account}`, if that ran SET ROLE as the account: the server does not show it")
        }));
    }
    let (mut kept, mut could_use) = (0_u32, Vec::new());
    for session in &seen.sessions {
        let older = is_older(session);
        let sessions = if theirs.is_some() { Sessions::Keep } else { closing.order.sessions };
        match (sessions, older) {
            (Sessions::End, true) => could_use.push(session),
            (Sessions::End, false) => {}
            (Sessions::Keep, _) => kept = kept.saturating_add(1),
        }
    }
    if !could_use.is_empty() {
        left.push(format!("sessions are still open: {}", name_sessions(&could_use)));
    }
    if closing.order.how == RevokeHow::Remove && theirs.is_none() {
        left.extend(prepared_left(seen));
    }
    let role = &closing.order.membership.role;
    // without its membership it gives nothing, and retrying the end for ever would hide that it
    // ended
    let mut kept_default = None;
    let default_goes = closing.order.default_role != DefaultRole::Stays && theirs.is_none();
    if default_goes && seen.default_roles.iter().any(|one| one == role.as_str()) {
        kept_default =
            default_kept.as_ref().map(|why| format!("`{role}` is still set as a default role of the account: {why}"));
        if kept_default.is_none() {
            left.push(format!(
                "`{role}` is still set as a default role of the account: the broker could not change that"
            ));
        }
    }
    if !left.is_empty() {
        return Err(left.join("; "));
    }
    let mut gone = Vec::new();
    if !seen.account_exists {
        gone.push("account".to_owned());
    }
    if !seen.role_exists {
        gone.push("role".to_owned());
    }
    let gone_before = *was_held == Some(false) && closing.order.how == RevokeHow::Remove && theirs.is_none();
    let evidence = EndEvidence {
        server_time: *server_time,
        realm: Some(identity.realm.clone()),
        incarnation: identity.incarnation.clone(),
        gone_before,
        taken_by_dead_mans_switch: gone_before && seen.taken_by_dead_mans_switch,
        sessions_ended: u32::try_from(ended.len()).unwrap_or(u32::MAX),
        sessions_kept: kept,
        rolled_back: rolled_back.clone(),
        residual,
        still_held_by,
        gone,
        default_kept: kept_default,
        leftovers: Vec::new(),
        not_compared: None,
        another_store,
    };
    let each = closing.accesses.iter().zip(&closing.since);
    Ok(each.map(|(access, since)| VerifiedEnd { access: *access, since: *since, evidence: evidence.clone() }).collect())
}

fn name_sessions(sessions: &[&Session]) -> String {
    let names: Vec<String> =
        sessions.iter().take(5).map(|session| format!("{} of `{}`", session.id, session.account)).collect();
    match sessions.len().checked_sub(5).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", names.join(", ")),
        None => names.join(", "),
    }
}

fn prepared_left(seen: &Seen) -> Option<String> {
    let first = seen.prepared.first()?;
    Some(format!(
        "a prepared transaction is left: run ROLLBACK PREPARED '{}' as its owner `{}` in database `{}`",
        first.gid.replace('\'', "''"),
        first.owner,
        first.database
    ))
}
