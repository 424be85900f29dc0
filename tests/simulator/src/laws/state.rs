//! Laws about the memberships that the databases may hold at any time.

use chrono::TimeDelta;

use super::{Case, Held, Lawful, Oracle, Restored, broken};
use crate::steps::{ROLES, is_second};
use jit_core::clock::{Time, after, span};

/// Time for which people may not be told while the store works: a call of the store that hangs (20
/// s), and a dead node's claim (10 s).
const DESK: TimeDelta = TimeDelta::seconds(35);

impl Oracle {
    /// Checks everything that must be true at any time.
    pub(crate) fn look(&self, now: Time) -> Lawful {
        for server in 0..self.servers.len() {
            for (role, account, _) in self.ours(server) {
                self.justified(server, &account, role, now)?;
            }
        }
        self.standing_stands()?;
        self.strangers_are_left_alone()?;
        self.people_are_told(now)?;
        self.restored_is_found(now)?;
        self.overdue_moves(now)
    }

    /// Checks laws 1, 2 and 4: a membership of ours is held for an access, and no longer than that.
    fn justified(&self, server: usize, account: &str, role: &str, now: Time) -> Lawful {
        let held = (server, role.to_owned(), account.to_owned());
        if self.is_nobodys(&held) {
            return Ok(());
        }
        let about: Vec<&Case> = self.cases.values().filter(|case| case.is_about(server, account, role)).collect();
        if !about.iter().any(|case| !case.intents.is_empty()) {
            return Err(broken(1, format!("`{account}` has `{role}`, and nobody was to give it")));
        }
        let until = about.iter().filter(|case| case.is_live()).filter_map(|case| end(case)).max();
        let Some(until) = until else {
            // the access was retired, or is reported as gone: that is checked when it is reported
            return if about.iter().any(|case| case.state == "retired") {
                Ok(())
            } else {
                Err(broken(5, format!("`{account}` has `{role}`, and everything about it is over")))
            };
        };
        self.outlives_nobody(&held, now)?;
        if self.is_late(until, now) {
            return Err(broken(2, format!("`{account}` has `{role}` since its end at {until}, and it is {now}")));
        }
        Ok(())
    }

    /// Checks whether work that was due then should be done by now.
    fn is_late(&self, due: Time, now: Time) -> bool {
        let calm = self.calm_since.is_some_and(|since| span(since, now) > self.grace);
        calm && now > after(due, self.grace)
    }

    /// Checks law 6: only people take away what people gave.
    fn standing_stands(&self) -> Lawful {
        for (server, role, account) in self.standing.keys() {
            let rows = self.members(*server, role);
            if !rows.iter().any(|row| row.member == *account && row.grantor != super::BROKER) {
                return Err(broken(6, format!("`{account}` has lost `{role}`, which was given by hand")));
            }
        }
        Ok(())
    }

    /// Checks law 4: due work moves while everything works.
    fn overdue_moves(&self, now: Time) -> Lawful {
        for (id, case) in &self.cases {
            let due = match (case.state.as_str(), &case.window) {
                ("granting", _) => case.intents.last().map(|intent| after(intent.at, TimeDelta::seconds(60))),
                ("active", Some(window)) => Some(window.end),
                // on a server without grantors, a grant that comes by hand meanwhile cannot be told
                // from ours
                ("revoking", _) if !self.disputed(case) => case.since,
                ("scheduled", _) => case.start.map(|start| after(start, TimeDelta::seconds(60))),
                _ => None,
            };
            if due.is_some_and(|due| self.is_late(due, now)) {
                return Err(broken(4, format!("{id} is {} since {due:?}, and it is {now}", case.state)));
            }
        }
        Ok(())
    }

    /// Checks law 4: people are told of overdue ends, even if the server does not answer.
    fn people_are_told(&self, now: Time) -> Lawful {
        let grace = self.grace.min(DESK);
        let works = self.desk_since.is_some_and(|since| span(since, now) > grace);
        for (id, case) in self.cases.iter().filter(|(_, case)| case.is_live() && !case.alerted) {
            let due = end(case).map(|end| after(after(end, TimeDelta::seconds(5)), grace));
            if works && due.is_some_and(|due| due < now) {
                return Err(broken(4, format!("{id} is overdue, and nobody was told")));
            }
        }
        for (id, case) in &self.cases {
            let untold = case.review.as_ref().filter(|review| review.given.is_none() && !review.told);
            if works && untold.is_some_and(|review| after(review.due, grace) < now) {
                return Err(broken(4, format!("the review of {id} is overdue, and nobody was told")));
            }
        }
        Ok(())
    }

    /// Checks law 5: if the server came back in another state, everything that is gone is looked at
    /// again.
    fn restored_is_found(&self, now: Time) -> Lawful {
        for (held, restored) in &self.restored {
            let (server, role, account) = held;
            let seen = self.incarnations.get(&(restored.tenant.clone(), *server));
            let late = seen.is_some_and(|seen| *seen > restored.since && self.is_late(*seen, now));
            if late
                && self.is_ours(*server, account, role).is_some()
                && self.others("", *server, account, role).is_empty()
                && !self.is_left(*server)
                && !self.is_looked_at_elsewhere(held, &restored.tenant)
            {
                return Err(broken(5, format!("`{account}` has `{role}` again, and it is not looked at")));
            }
        }
        Ok(())
    }

    /// Checks whether grants by hand hide that the access is gone. They do so if they are the same
    /// membership. If only names are known, another grant of the role or the account does so as
    /// well: it may be the same one under another name.
    fn disputed(&self, case: &Case) -> bool {
        let given = self.standing.keys().chain(&self.by_hand).filter(|held| is_second(held.0));
        given.filter(|held| case.server == Some(held.0)).any(|held| {
            let (_, role, account) = held;
            let (same_role, same_account) = (case.request.role == *role, case.request.account == *account);
            if same_role && same_account { self.standing.contains_key(held) } else { same_role || same_account }
        })
    }
}

impl Oracle {
    /// Picks a membership of the server that is gone, and whose access ended as it should. Returns
    /// role, account and tenant.
    pub(crate) fn revoked(&self, server: usize, pick: u64) -> Option<(String, String, String)> {
        let gone = self.order.iter().filter_map(|id| self.cases.get(id)).filter(|case| case.state == "revoked");
        // the backup has the account that got the role, not a later account of that name
        let is_there =
            |case: &&Case| self.has_names_only(server) || !self.anew.contains(&(server, case.request.account.clone()));
        // second looks go to the server with the target's data, by an operator's word
        let stays =
            |case: &&Case| !self.confirmed.iter().any(|(tenant, _, at)| *tenant == case.tenant && *at != server);
        let gone = gone.filter(|case| case.server == Some(server)).filter(is_there).filter(stays);
        let gone: Vec<&Case> = gone.collect();
        let place = usize::try_from(pick.checked_rem(gone.len() as u64)?).ok()?;
        let case = gone.get(place)?;
        Some((case.request.role.clone(), case.request.account.clone(), case.tenant.clone()))
    }

    /// Returns memberships on servers without grantors that no access explains and no backup
    /// brought back. Somebody gave them by hand.
    pub(crate) fn given_where_nobody_says(&self) -> Vec<Held> {
        let servers = (0..self.servers.len()).filter(|server| is_second(*server) && !self.is_frozen(*server));
        let rows = servers.flat_map(|server| {
            let of = move |role: &&'static str| {
                let rows = self.members(server, role).into_iter().filter(|row| row.member != super::BROKER);
                rows.map(move |row| (server, role.to_string(), row.member)).collect::<Vec<_>>()
            };
            ROLES.iter().flat_map(of)
        });
        let standing = |held: &Held| self.standing.contains_key(held);
        let wanted =
            |held: &Held| self.cases.values().any(|case| case.is_live() && case.is_about(held.0, &held.2, &held.1));
        rows.filter(|held| standing(held) || !wanted(held) && !self.restored.contains_key(held)).collect()
    }

    /// Checks law 5: a membership that came back is found and taken away again.
    pub(crate) fn left_of_restored(&self) -> Lawful {
        let here = |(held, restored): &(&Held, &Restored)| {
            !self.is_left(held.0) && !self.is_looked_at_elsewhere(held, &restored.tenant)
        };
        let mut looked_at = self.restored.iter().filter(here).map(|(held, _)| held);
        let left = looked_at.find(|held| self.is_ours(held.0, &held.2, &held.1).is_some());
        match left {
            Some((_, role, account)) => {
                Err(broken(5, format!("`{account}` has `{role}` again since a backup, and nobody found it")))
            }
            None => Ok(()),
        }
    }

    /// Checks the end: everything is over, and nothing of ours is left.
    pub(crate) fn over_now(&self) -> Lawful {
        if let Some((id, case)) = self.cases.iter().find(|(_, case)| !case.is_final()) {
            return Err(broken(4, format!("{id} is {} for ever", case.state)));
        }
        for server in 0..self.servers.len() {
            // without a recorded grantor, a grant by hand under our name belongs to nobody
            let known = |account: &String, role: &str| {
                (is_second(server) || self.is_left(server))
                    && self.by_hand.contains(&(server, role.to_owned(), account.clone()))
            };
            if let Some((role, account, _)) = self.ours(server).iter().find(|(role, account, _)| !known(account, role))
            {
                return Err(broken(4, format!("`{account}` has `{role}` for ever")));
            }
        }
        Ok(())
    }
}

/// Returns the time at which the membership has to be gone.
fn end(case: &Case) -> Option<Time> {
    match case.state.as_str() {
        "granting" => case.latest_end,
        "active" => case.window.as_ref().map(|window| window.end),
        _ => case.since,
    }
}
