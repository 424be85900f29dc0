//! Servers of the realms, by tenant; checks of other servers, and of accounts that were renamed.

use std::collections::BTreeSet;

use super::records::{EntryRecord, HoldingRecord};
use super::{BROKER, Case, Held, Lawful, Oracle, Restored, broken, server_of};
use jit_core::clock::Time;
use jit_core::testkit::database_laws::Row;
use jit_core::testkit::mock::MockServer;

use crate::steps::{ROLES, copy_of, is_second, place_of, tenant_of};

/// Returns the server that shows this identity.
pub(crate) fn server_by(realm: &str, incarnation: &str) -> Option<usize> {
    match MockServer::copy_that_ran(incarnation) {
        0 => server_of(realm),
        copy => usize::try_from(copy.checked_rem(10)?).ok(),
    }
}

impl Oracle {
    /// Lists the members of a role. A renamed account is listed by its earlier name.
    pub(super) fn members(&self, server: usize, role: &str) -> Vec<Row> {
        let mut rows = self.servers.get(server).and_then(|server| server.members(role).ok()).unwrap_or_default();
        for row in &mut rows {
            if let Some(was) = self.renamed.get(&(server, row.member.clone())) {
                row.member.clone_from(was);
            }
        }
        rows
    }

    /// Lists the server's dead man's switches, also by earlier names: role, account, the time each
    /// fires, the time it fired.
    pub(super) fn dead_mans_switches_of(&self, server: usize) -> Vec<(String, String, Time, Option<Time>)> {
        let mut dead_mans_switches = self.servers.get(server).map(MockServer::dead_mans_switches).unwrap_or_default();
        for (_, account, ..) in &mut dead_mans_switches {
            if let Some(was) = self.renamed.get(&(server, account.clone())) {
                account.clone_from(was);
            }
        }
        dead_mans_switches
    }

    /// Returns the server of a realm, as this tenant knows it.
    pub(super) fn place(&self, tenant: &str, realm: &str) -> Option<usize> {
        let placed = self.places.get(&(tenant.to_owned(), realm.to_owned())).copied();
        placed.or_else(|| server_of(realm))
    }

    /// Returns the server that the target is known to be. If only another target of its realm was
    /// confirmed elsewhere, the target is where the realm is.
    pub(crate) fn home(&self, target: usize) -> usize {
        let first = crate::steps::straight().get(target).copied().unwrap_or_default();
        let home = self.homes.get(target).copied().unwrap_or(first);
        let realm = self.servers.get(home).map(MockServer::realm).unwrap_or_default();
        let placed = self.places.get(&(tenant_of(target).to_owned(), realm)).copied();
        placed.filter(|_| home == first).unwrap_or(home)
    }

    /// Returns the tenant's other targets that are known to be at the realm's old server, each with
    /// the realm's new server.
    pub(crate) fn left_where_it_was(&self, target: usize) -> Vec<(usize, usize)> {
        let first = crate::steps::straight();
        let (Some(was), Some(now)) = (first.get(target), self.homes.get(target)) else { return Vec::new() };
        let places = self.homes.iter().zip(&first).enumerate();
        let same = places.filter(|(place, (home, first))| {
            *place != target && tenant_of(*place) == tenant_of(target) && *first == was && *home == was && was != now
        });
        same.map(|(place, _)| (place, *now)).collect()
    }

    /// Checks whether every target leads to its known server, and nothing lives elsewhere. No
    /// account may be missing on a server that finds accounts by name only.
    pub(crate) fn is_straight(&self, leads: &[usize]) -> bool {
        let at_home = |case: &Case| {
            let home = place_of(&case.request.target).map(|target| self.home(target));
            case.server.is_none() || case.server == home
        };
        let lost = self.renamed.keys().any(|(server, _)| self.merged.get(*server) == Some(&true));
        let straight = leads.iter().enumerate().all(|(target, leads)| *leads == self.home(target));
        straight && !lost && self.cases.values().filter(|case| !case.is_final()).all(at_home)
    }

    /// Freezes a server: no target is known to be this server, so nobody may change anything on it.
    pub(crate) fn freezes(&mut self, server: usize) {
        let rows = self.rows(server);
        self.frozen.insert(server, rows);
    }

    /// Checks whether the server is frozen.
    pub(crate) fn is_frozen(&self, server: usize) -> bool {
        self.frozen.contains_key(&server)
    }

    fn rows(&self, server: usize) -> BTreeSet<(String, String, String)> {
        let of = |role: &&'static str| {
            let rows = self.members(server, role).into_iter();
            rows.map(|row| (role.to_string(), row.member, row.grantor)).collect::<Vec<_>>()
        };
        ROLES.iter().flat_map(of).collect()
    }

    /// Checks law 5: a call that is meant for another server changes nothing.
    pub(super) fn strangers_are_left_alone(&self) -> Lawful {
        for (server, rows) in &self.frozen {
            let now = self.rows(*server);
            if let Some((role, account, _)) = now.symmetric_difference(rows).next() {
                let why = format!("`{role}` of `{account}` was changed on server {server}, which was never meant");
                return Err(broken(5, why));
            }
        }
        Ok(())
    }

    /// Checks whether a copy may be made, or made anew: nothing is known to be there, and all
    /// accounts have their names.
    pub(crate) fn may_be_copied(&self, server: usize, copy: usize) -> bool {
        let used = self.homes.contains(&copy) || self.places.values().any(|place| *place == copy);
        !used && !self.renamed.keys().any(|(at, _)| *at == server)
    }

    /// Records a new copy: its memberships belong to nobody.
    pub(crate) fn is_copied(&mut self, server: usize, copy: usize) {
        self.by_hand.retain(|held| held.0 != copy);
        self.standing.retain(|held, _| held.0 != copy);
        for (role, account, _) in self.ours(copy) {
            self.by_hand.insert((copy, role.to_owned(), account));
        }
        let standing: Vec<(Held, Time)> = self.standing.iter().map(|(held, since)| (held.clone(), *since)).collect();
        for ((_, role, account), since) in standing.into_iter().filter(|(held, _)| held.0 == server) {
            self.standing.insert((copy, role, account), since);
        }
        let mingled: Vec<Held> = self.ever_ours.iter().filter(|held| held.0 == server).cloned().collect();
        self.ever_ours.extend(mingled.into_iter().map(|(_, role, account)| (copy, role, account)));
        self.freezes(copy);
    }

    /// Reads from the log which servers targets and realms are from now on.
    pub(super) fn is_told(&mut self, tenant: &str, entry: &EntryRecord, at: Time) -> Lawful {
        let (Some(realm), Some(incarnation)) = (entry.text("realm"), entry.text("incarnation")) else { return Ok(()) };
        let Some(server) = server_by(realm, incarnation) else { return Ok(()) };
        let target = entry.text("target").and_then(place_of);
        match entry.what.as_str() {
            "target-contacted" | "target-confirmed" => {
                if entry.what == "target-confirmed" {
                    self.confirmed.insert((tenant.to_owned(), realm.to_owned(), server));
                }
                self.frozen.remove(&server);
                if let Some(home) = target.and_then(|target| self.homes.get_mut(target)) {
                    *home = server;
                }
            }
            "incarnation-changed" => {
                self.incarnations.insert((tenant.to_owned(), server), at);
                if self.place(tenant, realm) != Some(server) {
                    self.is_elsewhere(tenant, realm, server, at)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Records that the realm is on another server from now on. Law 5: an operator has to confirm
    /// it.
    fn is_elsewhere(&mut self, tenant: &str, realm: &str, server: usize, at: Time) -> Lawful {
        if !self.confirmed.contains(&(tenant.to_owned(), realm.to_owned(), server)) {
            return Err(broken(5, format!("server {server} is taken for that of {realm}, and nobody confirmed that")));
        }
        self.comes_about("realms that moved to a copy");
        self.places.insert((tenant.to_owned(), realm.to_owned()), server);
        let about = |case: &Case| case.tenant == tenant && case.realm.as_deref() == Some(realm);
        let all: Vec<String> = self.cases.iter().filter(|(_, case)| about(case)).map(|(id, _)| id.clone()).collect();
        for id in all {
            let Some(case) = self.cases.get_mut(&id) else { continue };
            let was = case.server.replace(server);
            let case = case.clone();
            self.is_carried(&case, was, at);
        }
        Ok(())
    }

    /// Records that an operator moved the access to another server. Its leftovers on the old server
    /// belong to nobody.
    pub(super) fn is_carried(&mut self, case: &Case, was: Option<usize>, at: Time) {
        let (Some(was), Some(server)) = (was, case.server) else { return };
        let (role, account) = (case.request.role.clone(), case.request.account.clone());
        for sent in self.statements.values_mut() {
            sent.forgotten |= sent.is_about(was, &role, &account);
        }
        self.by_hand.insert((was, role.clone(), account.clone()));
        self.restored.remove(&(was, role.clone(), account.clone()));
        let held = (server, role, account);
        self.ever_ours.insert(held.clone());
        if case.is_live() {
            self.by_hand.remove(&held);
        } else if case.state == "revoked" && self.is_ours(server, &held.2, &held.1).is_some() {
            self.restored.insert(held, Restored { tenant: case.tenant.clone(), since: at });
        }
    }

    /// Records the realms of the second looks from now on.
    pub(super) fn looks_are(&mut self, holdings: &[HoldingRecord]) {
        for holding in holdings {
            for watch in &holding.watched {
                let was = self.looks.insert(watch.access.clone(), holding.realm.clone());
                if was.is_some_and(|was| was != holding.realm) {
                    self.comes_about("second looks carried to another realm");
                }
            }
        }
    }

    /// Checks whether every second look at this membership happens on another server. An operator
    /// said that the same data is there. The looks stay there even if another operator later says
    /// that the target is, with other data, the old server again. Reconciliation still finds what
    /// came back here.
    pub(super) fn is_looked_at_elsewhere(&self, (server, role, account): &Held, tenant: &str) -> bool {
        let about =
            self.cases.iter().filter(|(_, case)| case.tenant == tenant && case.is_about(*server, account, role));
        let mut looks = about.filter_map(|(id, _)| self.looks.get(id)).peekable();
        let carried = |realm: &String| {
            let at = self.place(tenant, realm).filter(|at| at != server);
            at.is_some_and(|at| self.confirmed.contains(&(tenant.to_owned(), realm.clone(), at)))
        };
        looks.peek().is_some() && looks.all(carried)
    }

    /// Checks whether a realm on this server, or a target that led to it, is known to be on another
    /// server now.
    pub(super) fn is_left(&self, server: usize) -> bool {
        let moved =
            self.homes.iter().zip(crate::steps::straight()).any(|(home, first)| {
                *home != first && (first == server || copy_of(first) == server || *home == server)
            });
        server >= crate::steps::SERVERS || moved
    }

    /// Records that an account has another name now.
    pub(crate) fn is_called(&mut self, server: usize, was: &str, now: &str) {
        self.renamed.insert((server, now.to_owned()), was.to_owned());
    }

    /// Returns the renamed accounts of the server, each with its earlier name.
    pub(crate) fn called_otherwise(&self, server: usize) -> Vec<(String, String)> {
        let of = self.renamed.iter().filter(|((at, _), _)| *at == server);
        of.map(|((_, now), was)| (now.clone(), was.clone())).collect()
    }

    /// Records that an account has its earlier name again.
    pub(crate) fn is_called_again(&mut self, server: usize, now: &str, at: Time) {
        let Some(was) = self.renamed.remove(&(server, now.to_owned())) else { return };
        // under this name it can be seen only since then
        let of = |held: &Held| held.0 == server && held.2 == was;
        self.standing.iter_mut().filter(|(held, _)| of(held)).for_each(|(_, since)| *since = at);
        self.restored.iter_mut().filter(|(held, _)| of(held)).for_each(|(_, restored)| restored.since = at);
    }

    /// Records that the account was dropped, with all that it held.
    pub(crate) fn is_dropped(&mut self, server: usize, account: &str) {
        let of = |held: &Held| held.0 == server && held.2 == account;
        self.anew.insert((server, account.to_owned()));
        self.standing.retain(|held, _| !of(held));
        self.by_hand.retain(|held| !of(held));
        self.restored.retain(|held, _| !of(held));
        // our memberships stay in `ever_ours`: if only names are known, nobody can see that the
        // account was dropped; a grant by hand to the new account is then, by name, the membership
        // that was absent before our intent and is held now
        self.loose.extend(ROLES.iter().map(|role| (server, (*role).to_owned(), account.to_owned())));
    }

    /// Checks whether an account of this server is known by its name only.
    pub(crate) fn has_names_only(&self, server: usize) -> bool {
        is_second(server) && self.merged.get(server) == Some(&true)
    }

    /// Checks whether the row is ours.
    pub(super) fn bears_our_name(row: &Row) -> bool {
        row.grantor == BROKER && row.member != BROKER
    }
}
