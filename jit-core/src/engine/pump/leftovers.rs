//! Leftovers of accesses: a look right before a grant, another right after its end, and the
//! comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::account_work::AccountWork;
use super::outcome::{NotRevoked, Outcome, Owned, too_many};
use super::realm::Pass;
use crate::clock::to_std;
use crate::database::{DatabaseError, Membership, OwnedObject, OwnedObjects, RevokeHow, RevokeOrder};
use crate::id::{AccessId, Account, RoleName};
use crate::model::access::Access;
use crate::model::grant::Grant;
use crate::model::holding::{Closing, appeared, leftovers, lists_memberships, marks};
use crate::model::proof::VerifiedEnd;
use crate::store::StoreError;

/// Limit for the look at leftovers: no end is held up by what may be read later.
const WITHIN: Duration = Duration::from_secs(2);

impl Pass<'_> {
    /// Returns the owned objects of the accounts and roles before these accesses are granted.
    pub(super) async fn owned(&self, compared: Vec<(AccessId, Membership)>) -> BTreeMap<AccessId, Owned> {
        let (ids, memberships): (Vec<AccessId>, Vec<Membership>) = compared.into_iter().unzip();
        // runs beside the look, which may take as long
        let owned: Vec<Owned> = match self.owned_objects(&memberships, to_std(self.core.limits.call)).await {
            Ok(seen) => seen.iter().map(|objects| Ok(objects.as_deref().map(marks))).collect(),
            Err(why) => vec![Err(why); ids.len()],
        };
        ids.into_iter().zip(owned).collect()
    }

    /// Returns the owned objects of these now, or the reason why they are not known.
    async fn owned_objects(&self, memberships: &[Membership], within: Duration) -> Result<Vec<OwnedObjects>, String> {
        if memberships.is_empty() {
            return Ok(Vec::new());
        }
        let looked = self.core.tasks.within(within, self.database.owned_objects(memberships)).await;
        let late = || DatabaseError::unreachable(format!("it takes longer than {} s", within.as_secs()));
        let looked = looked.unwrap_or_else(|| Err(late()));
        let mut looked = looked.map_err(|error| error.with_causes())?;
        self.same_server(&looked.identity).map_err(|error| error.with_causes())?;
        looked.each.resize(memberships.len(), None);
        Ok(looked.each)
    }

    /// Adds the leftovers of the accesses to the proofs of their ends.
    pub(super) async fn compare(&self, answered: &mut [(usize, Closing, Outcome)]) {
        let before = |place: usize, id: AccessId| self.accounts.get(place)?.accesses.get(&id)?.access.owned_before();
        let compared = |(place, closing, outcome): &(usize, Closing, Outcome)| {
            outcome.is_ok() && closing.accesses.iter().any(|id| before(*place, *id).is_some())
        };
        for (place, closing, outcome) in &mut *answered {
            let unknown = closing.order.membership.account_id.is_none();
            for proof in outcome.iter_mut().flatten().filter(|_| unknown) {
                if before(*place, proof.access()).is_none() && is_missing(proof) {
                    *proof = proof.clone().with_leftovers(Err(MAYBE_RENAMED.to_owned()));
                }
            }
        }
        let ends = || answered.iter().filter(|end| compared(end));
        let memberships: Vec<Membership> = ends().map(|(_, closing, _)| closing.order.membership.clone()).collect();
        if memberships.is_empty() {
            return;
        }
        let now = self.owned_objects(&memberships, WITHIN).await;
        let mut next = 0_usize;
        for (place, closing, outcome) in answered.iter_mut().filter(|end| compared(end)) {
            let seen = now.as_ref().map(|now| now.get(next).and_then(Option::as_ref));
            next = next.saturating_add(1);
            // What the dead man's switch took was not renamed. But once another account was seen
            // that may hold it, nothing explains that away.
            let first = self.accounts.get(*place).is_some_and(|work| is_first_try(work, closing));
            let mut renamed = None;
            for proof in outcome.iter_mut().flatten() {
                let Some(before) = before(*place, proof.access()) else { continue };
                let gone = !proof.evidence().gone.is_empty();
                let taken = first && proof.evidence().taken_by_dead_mans_switch;
                let perhaps_renamed = gone || proof.evidence().gone_before && !taken;
                let by_name = closing.order.membership.account_id.is_none();
                // what one of them shows holds for all: it is one membership
                if perhaps_renamed && renamed.is_none() {
                    renamed = match seen {
                        // the objects could be compared before, but are too many now
                        Ok(None) if by_name => Some(not_looked_up(&too_many())),
                        Ok(seen) => self.renamed(before, seen, &closing.order, gone).await,
                        Err(why) if by_name => Some(not_looked_up(why)),
                        Err(_) => None,
                    };
                }
                let left = match seen {
                    Ok(Some(objects)) => Ok(leftovers(before, objects)),
                    Ok(None) => Err(too_many()),
                    Err(why) => Err(why.clone()),
                };
                let unlisted = seen.ok().flatten().is_some_and(|now| !lists_memberships(before, now));
                *proof = proof.clone().with_leftovers(left);
                if perhaps_renamed && unlisted && by_name {
                    *proof = proof.clone().with_leftovers(Err(MAYBE_RENAMED.to_owned()));
                }
            }
            if let Some(why) = renamed {
                *outcome = Err(NotRevoked { why, at_once: false, unknown: false, delivered: true, moved: false });
            }
        }
    }

    /// Returns the reason why the absence of a name proves nothing. An account that came to hold
    /// the role since may be the same one, renamed, and two accounts may have swapped their names.
    /// Memberships by accesses of ours do not count.
    async fn renamed(
        &self,
        before: &BTreeSet<String>,
        now: Option<&Vec<OwnedObject>>,
        order: &RevokeOrder,
        gone: bool,
    ) -> Option<String> {
        let Membership { account: whose, role: of, .. } = &order.membership;
        let mut suspects = Vec::new();
        for (account, role) in appeared(before, now?) {
            if (account, role) == (whose, of) && order.how == RevokeHow::Remove {
                return Some(format!("`{account}` was not found by name, and exists again: it holds `{role}`"));
            }
            match self.gives(account, role).await {
                Ok(true) => {}
                Ok(false) => suspects.push(format!("`{account}` holds `{role}`")),
                Err(error) => return Some(not_looked_up(&error)),
            }
        }
        let more = suspects.len().saturating_sub(MOST_SUSPECTS);
        suspects.truncate(MOST_SUSPECTS);
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        let found = if gone {
            format!("`{whose}` or `{of}` no longer exists under its name")
        } else {
            format!("`{whose}` did not hold `{of}` any more at its end")
        };
        (!suspects.is_empty()).then(|| {
            format!(
                "{found}, which is no proof: since it was granted, {}{more}, and it may be the same under another name; \
                 revoke that from them (they can be given it again as soon as this has ended)",
                suspects.join(", ")
            )
        })
    }

    /// Checks whether the account holds the role by a live access.
    async fn gives(&self, account: &Account, role: &RoleName) -> Result<bool, StoreError> {
        // a pass serves one realm of one tenant
        let Some(AccountWork { holding, .. }) = self.accounts.first() else { return Ok(false) };
        let live = self.core.live_of(&holding.tenant, &holding.realm, account).await?;
        let held =
            |access: &Access| access.grant().filter(|grant| grant.is_live()).and_then(Grant::membership).cloned();
        Ok(live.iter().filter_map(held).any(|held| held.role == *role))
    }
}

/// Largest number of suspects that are named.
const MOST_SUSPECTS: usize = 10;

/// Message if a membership went by itself, and the earlier holders of its role are unknown or too
/// many to compare.
const MAYBE_RENAMED: &str = "the account, the role or the membership was gone before its end, and it cannot be seen whether one of the role's \
                             holders is the same account under another name";

/// Checks that none of these ends was tried before.
fn is_first_try(work: &AccountWork, closing: &Closing) -> bool {
    let grants = closing.accesses.iter().filter_map(|id| work.accesses.get(id)?.access.grant());
    grants.into_iter().all(|grant| matches!(grant, Grant::Revoking(revoking) if revoking.failures == 0))
}

/// Checks whether the membership was already missing when its end came.
fn is_missing(proof: &VerifiedEnd) -> bool {
    !proof.evidence().gone.is_empty() || proof.evidence().gone_before
}

fn not_looked_up(why: &dyn std::fmt::Display) -> String {
    format!("it is not known whether it was renamed: {why}")
}
