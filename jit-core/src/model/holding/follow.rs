//! How a holding follows what happens to its accesses.

use super::Holding;
use crate::clock::Time;
use crate::id::AccessId;
use crate::model::access::Access;
use crate::model::grant::{Grant, Window};

impl Access {
    /// Checks whether the access belongs among the live accesses of its account.
    #[must_use]
    pub fn in_holding(&self) -> bool {
        self.grant().is_some_and(|grant| grant.is_live() || matches!(grant, Grant::Scheduled(_)))
    }
}

/// Checks whether a step of an access concerns its account's holding: the access joins it, leaves
/// it, or is due at another time. `before` is none if the access is new or was not believed.
#[must_use]
pub fn concerns_holding(before: Option<&Access>, access: &Access) -> bool {
    let before = before.filter(|before| before.realm().is_some());
    before.is_some_and(Access::in_holding) != access.in_holding()
        || before.and_then(Access::effect_due) != access.effect_due()
        || has_moved(before, access)
}

/// Checks whether the access's window ends at another time than before.
fn has_moved(before: Option<&Access>, access: &Access) -> bool {
    before.and_then(Access::window).map(Window::end) != access.window().map(Window::end)
}

impl Holding {
    /// Follows a step of one access of the account. Returns the time at which the holding is due
    /// from then on; `due` is that time until now.
    ///
    /// `before` is none if the access is new or was not believed.
    pub fn follow(&mut self, before: Option<&Access>, access: &Access, due: Option<Time>, now: Time) -> Option<Time> {
        self.place(access);
        let before = before.filter(|before| before.realm().is_some());
        if let Some(membership) = access.grant().and_then(Grant::membership) {
            match access.grant() {
                // a server that is written off is told nothing any more
                Some(Grant::Retired(_)) => self.armed.retain(|armed| !armed.membership.is_same(membership)),
                Some(Grant::Active(_)) if has_moved(before, access) => {
                    for armed in self.armed.iter_mut().filter(|armed| armed.membership.is_same(membership)) {
                        armed.due = Some(now);
                    }
                }
                _ => {}
            }
        }
        let switches = self.armed.iter().filter_map(|armed| armed.due).min();
        let leaves = (!access.in_holding()).then_some(now);
        [due, switches, access.effect_due(), leaves].into_iter().flatten().min()
    }

    /// Puts the access among the live ones or takes it out, as it is now. A membership that was
    /// verified gone is watched from then on.
    pub fn place(&mut self, access: &Access) {
        let id = access.id();
        if access.in_holding() {
            self.live.insert(id);
        } else if self.live.remove(&id) {
            self.watched.retain(|watch| watch.access != id);
            self.watched.extend(access.watch());
        }
    }

    /// Takes a watched access back among the live ones, because its membership is held again.
    pub fn take_back(&mut self, id: AccessId) {
        self.live.insert(id);
        self.watched.retain(|watch| watch.access != id);
    }

    /// Forgets an access whose record is missing or cannot be read.
    pub fn forget(&mut self, id: AccessId) {
        self.live.remove(&id);
    }

    /// Grants nothing to the account until this time.
    pub fn keep_quiet(&mut self, until: Time) {
        self.quiet_until = self.quiet_until.max(Some(until));
    }
}
