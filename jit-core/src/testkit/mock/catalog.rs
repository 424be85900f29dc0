//! State of the server, and the effect of its statements.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use tokio::sync::oneshot;

use super::dead_mans_switch::MockSwitch;
use super::profile::Profile;
use crate::clock::{Time, after};
use crate::database::{MembershipScope, RevokeHow};

/// An account or role.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) name: String,
    pub(super) inherits: bool,
    pub(super) superuser: bool,
    pub(super) creates: bool,
}

/// A row of `pg_auth_members`.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) role: u32,
    pub(super) member: u32,
    pub(super) grantor: u32,
    pub(super) admin: bool,
    pub(super) inherit: bool,
    pub(super) set: bool,
}

/// A row of `pg_stat_activity`.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    pub(super) login: u32,
    pub(super) current: u32,
    pub(super) since: Time,
    pub(super) cursor: bool,
    /// Roles that the session has as long as it lives, if the engine has default roles.
    pub(super) active: Option<BTreeSet<u32>>,
}

/// An open transaction that touched a membership.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) pid: u32,
    role: u32,
    member: u32,
}

/// A statement that waits for another transaction. It does not notice that its client has gone.
#[derive(Debug)]
pub(super) struct Waiting {
    id: u64,
    pub(super) label: String,
    until: Time,
    statement: Statement,
    answer: oneshot::Sender<()>,
}

/// A statement that the broker sends to the server.
#[derive(Debug, Clone, Copy)]
pub(super) enum Statement {
    Grant { grantor: u32, role: u32, member: u32, scope: MembershipScope, activate: bool },
    Revoke { grantor: u32, role: u32, member: u32, how: RevokeHow },
}

#[derive(Debug)]
pub(super) struct Catalog {
    /// Number of this copy of another server; 0: not a copy.
    pub(super) copy: u64,
    pub(super) profile: Profile,
    pub(super) up: bool,
    pub(super) read_only: bool,
    pub(super) starts: u64,
    /// Number of changes to memberships so far.
    pub(super) written: u64,
    pub(super) signals: bool,
    pub(super) names: BTreeMap<u32, Name>,
    pub(super) members: Vec<Member>,
    /// Default roles by account, if the engine has them.
    pub(super) defaults: BTreeMap<u32, BTreeSet<u32>>,
    pub(super) backends: BTreeMap<u32, Backend>,
    pub(super) prepared: BTreeMap<String, u32>,
    /// Grace after the end before dead man's switches fire; none: the scheduler is off.
    pub(super) dead_mans_switch_grace: Option<TimeDelta>,
    /// Objects with their owners.
    pub(super) things: Vec<(u32, String)>,
    /// Dead man's switches by role and member.
    pub(super) dead_mans_switches: BTreeMap<(u32, u32), MockSwitch>,
    held: Vec<Held>,
    pub(super) waiting: Vec<Waiting>,
    latest: Time,
    next: u32,
    next_wait: u64,
}

impl Catalog {
    /// Returns a copy of the data in another server that was started from it. Nobody is logged in
    /// there, and nothing is under way.
    pub(super) fn copied(&self, copy: u64) -> Self {
        Self {
            copy,
            profile: self.profile,
            up: true,
            read_only: false,
            starts: self.starts.wrapping_add(1),
            written: self.written,
            signals: self.signals,
            names: self.names.clone(),
            members: self.members.clone(),
            defaults: self.defaults.clone(),
            backends: BTreeMap::new(),
            prepared: self.prepared.clone(),
            dead_mans_switch_grace: self.dead_mans_switch_grace,
            things: self.things.clone(),
            dead_mans_switches: self.dead_mans_switches.clone(),
            held: Vec::new(),
            waiting: Vec::new(),
            latest: self.latest,
            next: self.next,
            next_wait: self.next_wait,
        }
    }

    pub(super) fn new(profile: Profile) -> Self {
        Self {
            copy: 0,
            profile,
            up: true,
            read_only: false,
            starts: 1,
            written: 0,
            signals: true,
            names: BTreeMap::new(),
            members: Vec::new(),
            defaults: BTreeMap::new(),
            backends: BTreeMap::new(),
            prepared: BTreeMap::new(),
            dead_mans_switch_grace: None,
            things: Vec::new(),
            dead_mans_switches: BTreeMap::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            latest: Time::MIN_UTC,
            next: 16_384,
            next_wait: 0,
        }
    }

    /// Reads the server's time: two reads never return the same microsecond.
    pub(super) fn tick(&mut self, wall: Time) -> Time {
        self.latest = wall.max(after(self.latest, TimeDelta::microseconds(1)));
        self.latest
    }

    /// Returns an unused number for an OID or a process.
    pub(super) fn fresh(&mut self) -> u32 {
        self.next = self.next.wrapping_add(1);
        self.next
    }

    pub(super) fn id(&self, name: &str) -> Option<u32> {
        self.names.iter().find(|(_, row)| row.name == name).map(|(id, _)| *id)
    }

    pub(super) fn name(&self, id: u32) -> String {
        self.names.get(&id).map_or_else(|| id.to_string(), |row| row.name.clone())
    }

    /// Returns every role that this one is a member of, itself included. Only rows that `counts`
    /// accepts are followed.
    pub(super) fn reach(&self, from: u32, counts: impl Fn(&Member) -> bool) -> BTreeSet<u32> {
        let mut reached = BTreeSet::from([from]);
        let mut edge = vec![from];
        while let Some(at) = edge.pop() {
            for row in self.members.iter().filter(|row| row.member == at && counts(row)) {
                if reached.insert(row.role) {
                    edge.push(row.role);
                }
            }
        }
        reached
    }

    /// Returns everybody who can act as this account.
    pub(super) fn acting_as(&self, account: u32) -> BTreeSet<u32> {
        let others = self.names.keys().filter(|id| **id != account);
        others.filter(|id| self.reach(**id, |_| true).contains(&account)).copied().collect()
    }

    /// Checks whether the session can use this role's table.
    pub(super) fn may_use(&self, backend: &Backend, role: u32) -> bool {
        let superuser = self.names.get(&backend.current).is_some_and(|row| row.superuser);
        superuser
            || match &backend.active {
                Some(active) => active.contains(&role),
                None => self.reach(backend.current, |row| self.inherits(row)).contains(&role),
            }
    }

    /// Makes a session of this login, with its default roles.
    pub(super) fn backend(&self, login: u32, since: Time) -> Backend {
        let held = |role: &&u32| self.members.iter().any(|row| row.member == login && row.role == **role);
        let active = self.profile.default_roles().then(|| {
            let defaults = self.defaults.get(&login).into_iter().flatten().filter(held);
            defaults.flat_map(|role| self.reach(*role, |_| true)).collect()
        });
        Backend { login, current: login, since, cursor: false, active }
    }

    /// Returns the session after `SET ROLE`.
    pub(super) fn becoming(&self, backend: Backend, role: u32) -> Backend {
        let active = backend.active.as_ref().map(|_| self.reach(role, |_| true));
        Backend { current: role, active, ..backend }
    }

    /// Makes the role a default role of the account, or its only one.
    pub(super) fn activate(&mut self, account: u32, role: u32) {
        let defaults = self.defaults.entry(account).or_default();
        if self.profile.one_default_role() {
            defaults.clear();
        }
        defaults.insert(role);
    }

    /// Removes the role from the default roles of the account, if it is one.
    pub(super) fn deactivate(&mut self, account: u32, role: u32, back_to: Option<u32>) {
        let was = self.defaults.get_mut(&account).is_some_and(|defaults| defaults.remove(&role));
        if let (true, true, Some(back_to)) = (was, self.profile.one_default_role(), back_to) {
            self.activate(account, back_to);
        }
    }

    fn inherits(&self, row: &Member) -> bool {
        if self.profile.per_grantor() {
            row.inherit
        } else {
            self.names.get(&row.member).is_some_and(|member| member.inherits)
        }
    }

    /// Checks whether a login may `SET ROLE`.
    pub(super) fn may_become(&self, login: u32, role: u32) -> bool {
        let superuser = self.names.get(&login).is_some_and(|row| row.superuser);
        let direct = |row: &Member| row.member == login && row.role == role;
        superuser
            || if self.profile.is_postgres() {
                self.reach(login, |row| row.set).contains(&role)
            } else {
                self.members.iter().any(direct)
            }
    }

    /// Returns the powers of the role that outlive a membership in it.
    pub(super) fn powers(&self, role: u32) -> Vec<String> {
        let reached = self.reach(role, |_| true);
        let mut powers = BTreeSet::new();
        for row in reached.iter().filter_map(|id| self.names.get(id)) {
            if row.creates {
                powers.insert("CREATEROLE".to_owned());
            }
            if row.superuser {
                powers.insert("SUPERUSER".to_owned());
            }
        }
        for row in self.members.iter().filter(|row| row.admin && reached.contains(&row.member)) {
            powers.insert(format!("ADMIN OPTION on {}", self.name(row.role)));
        }
        powers.into_iter().collect()
    }

    /// Checks whether this account itself may grant the role.
    pub(super) fn may_grant(&self, grantor: u32, role: u32) -> bool {
        self.members.iter().any(|row| row.role == role && row.member == grantor && row.admin)
    }

    pub(super) fn run(&mut self, statement: Statement) {
        match statement {
            Statement::Grant { grantor, role, member, scope, activate } => {
                self.grant(grantor, role, member, true, scope == MembershipScope::SetRole, false);
                if activate && self.profile.default_roles() {
                    self.activate(member, role);
                }
            }
            Statement::Revoke { how: RevokeHow::Nothing, .. } => {}
            Statement::Revoke { grantor, role, member, how: RevokeHow::Remove } => self.revoke(grantor, role, member),
            Statement::Revoke { grantor, role, member, how: RevokeHow::Narrow } => {
                if self.profile.per_grantor() {
                    let ours = |row: &&mut Member| (row.role, row.member, row.grantor) == (role, member, grantor);
                    self.members.iter_mut().filter(ours).for_each(|row| row.set = false);
                }
            }
        }
    }

    /// Runs GRANT. Before 16, a grant over an existing row changes nothing but the admin option.
    pub(super) fn grant(&mut self, grantor: u32, role: u32, member: u32, inherit: bool, set: bool, admin: bool) {
        self.written = self.written.wrapping_add(1);
        let per_grantor = self.profile.per_grantor();
        let same =
            |row: &&mut Member| (row.role, row.member) == (role, member) && (!per_grantor || row.grantor == grantor);
        match self.members.iter_mut().find(same) {
            Some(row) if per_grantor => (row.inherit, row.set, row.admin) = (inherit, set, row.admin || admin),
            Some(row) => row.admin |= admin,
            None => {
                let set = set || !per_grantor;
                self.members.push(Member { role, member, grantor, admin, inherit, set });
            }
        }
    }

    /// Runs REVOKE. Before 16, the grantor does not matter: there is one row.
    pub(super) fn revoke(&mut self, grantor: u32, role: u32, member: u32) {
        self.written = self.written.wrapping_add(1);
        let per_grantor = self.profile.per_grantor();
        self.members.retain(|row| (row.role, row.member) != (role, member) || per_grantor && row.grantor != grantor);
        // MariaDB leaves the default role set
        if self.profile.default_roles() && !self.profile.one_default_role() {
            self.deactivate(member, role, None);
        }
    }

    /// Returns the session that blocks a statement about this membership. Before 16, only a
    /// transaction on the same membership blocks.
    pub(super) fn blocker(&self, role: u32, member: u32) -> Option<u32> {
        let (per_grantor, postgres) = (self.profile.per_grantor(), self.profile.is_postgres());
        let same = |held: &&Held| held.role == role && (per_grantor || held.member == member);
        // elsewhere a lock on the tables of accounts blocks everybody
        self.held.iter().find(|held| !postgres || same(held)).map(|held| held.pid)
    }

    pub(super) fn hold(&mut self, pid: u32, role: u32, member: u32) {
        self.held.push(Held { pid, role, member });
    }

    /// Rolls the transaction back. Statements that waited for it run now, with or without their
    /// client.
    pub(super) fn release(&mut self, pid: u32, now: Time) {
        self.held.retain(|held| held.pid != pid);
        for waiting in std::mem::take(&mut self.waiting) {
            let (Statement::Grant { role, member, .. } | Statement::Revoke { role, member, .. }) = waiting.statement;
            if self.blocker(role, member).is_some() {
                self.waiting.push(waiting);
            } else if now <= waiting.until && self.names.contains_key(&member) && self.names.contains_key(&role) {
                self.run(waiting.statement);
                // the client may have gone
                let _ = waiting.answer.send(());
            }
        }
    }

    /// Puts a statement in the queue. The answer comes when it has run, and never if it was ended.
    pub(super) fn wait(&mut self, label: &str, until: Time, statement: Statement) -> (u64, oneshot::Receiver<()>) {
        self.next_wait = self.next_wait.wrapping_add(1);
        let (answer, answered) = oneshot::channel();
        let id = self.next_wait;
        self.waiting.push(Waiting { id, label: label.to_owned(), until, statement, answer });
        (id, answered)
    }

    /// Takes a statement out of the queue.
    pub(super) fn give_up(&mut self, id: u64) {
        self.waiting.retain(|waiting| waiting.id != id);
    }

    pub(super) fn drop_name(&mut self, id: u32) {
        self.names.remove(&id);
        self.members.retain(|row| row.role != id && row.member != id);
        self.defaults.remove(&id);
        self.dead_mans_switches.retain(|(role, member), _| *role != id && *member != id);
        self.defaults.values_mut().for_each(|defaults| defaults.retain(|role| *role != id));
    }

    /// Stops the server: every session and statement ends.
    pub(super) fn stop(&mut self) {
        self.up = false;
        self.backends.clear();
        self.held.clear();
        self.waiting.clear();
    }

    pub(super) fn start(&mut self, read_only: bool) {
        self.starts = self.starts.wrapping_add(1);
        (self.up, self.read_only) = (true, read_only);
    }
}
