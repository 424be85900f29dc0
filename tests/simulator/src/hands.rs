//! Changes that people make on the servers by hand.

use std::sync::Arc;
use std::time::Duration;

use super::database::{restart, stop};
use super::laws::{BROKER, Login, Restored};
use super::running::Running;
use super::steps::{Lead, PEOPLE, ROLES, Step, copy_of, straight, stranger_to};
use super::world::{Move, Power};
use jit_core::database::MembershipScope;
use jit_core::testkit::mock::MockServer;

/// Administrator of every server.
pub(super) const ADMIN: &str = "postgres";

impl Running {
    /// Does a step by hand on a server.
    pub(super) fn by_hand(&mut self, step: Step) {
        let world = &self.world;
        let at = |server: usize, account: usize, role: usize| {
            let (server, account, role) = (world.servers.get(server)?, PEOPLE.get(account)?, ROLES.get(role)?);
            // a renamed account is not found by its old name
            let found = server.has(account);
            found.then_some((server, *account, *role))
        };
        let has = |server: usize, account: &str, role: &str, ours: bool| {
            let rows = world.servers.get(server).and_then(|server| server.members(role).ok()).unwrap_or_default();
            rows.iter().any(|row| row.member == account && (row.grantor == BROKER) == ours)
        };
        match step {
            Step::ServerStop { server } => {
                world.count("server stopped");
                stop(world, server);
            }
            Step::ServerStart { server, read_only } => {
                let power = world.inside().up.get(server).copied();
                if power == Some(Power::Up) && !read_only {
                    return;
                }
                world.count("server started");
                restart(world, server);
                if read_only && let Some(it) = world.servers.get(server) {
                    it.start(true);
                    if let Some(power) = world.inside().up.get_mut(server) {
                        *power = Power::ReadOnly;
                    }
                }
            }
            Step::Standing { server, account, role, give } => {
                let Some((it, account, role)) = at(server, account, role) else { return };
                let held = (server, role.to_owned(), account.to_owned());
                world.count("membership changed by hand");
                if !give {
                    if world.inside().oracle.standing.remove(&held).is_some() {
                        // the membership was there, so it can be taken
                        let _ = it.revoke(role, account, ADMIN);
                    }
                } else if it.grant(role, account, ADMIN, MembershipScope::SetRole).is_ok()
                    && has(server, account, role, false)
                    && !world.inside().oracle.is_mingled(&held)
                {
                    let since = it.now();
                    world.inside().oracle.standing.entry(held).or_insert(since);
                }
            }
            Step::Orphan { server, account, role } => {
                let Some((it, account, role)) = at(server, account, role) else { return };
                if has(server, account, role, true) {
                    return;
                }
                world.count("membership changed by hand");
                if it.grant(role, account, BROKER, MembershipScope::Inherit).is_ok() && has(server, account, role, true)
                {
                    world.inside().oracle.by_hand.insert((server, role.to_owned(), account.to_owned()));
                }
            }
            Step::Vanish { server, account, role } => {
                let Some((it, account, role)) = at(server, account, role) else { return };
                if has(server, account, role, true) && it.revoke(role, account, BROKER).is_ok() {
                    world.count("membership changed by hand");
                    let held = (server, role.to_owned(), account.to_owned());
                    let mut inside = world.inside();
                    inside.oracle.by_hand.remove(&held);
                    // a grant that comes later by hand is not the membership from a backup
                    inside.oracle.restored.remove(&held);
                }
            }
            Step::Session { server, account } => {
                let Some((it, account, _)) = at(server, account, 0) else { return };
                let Ok(session) = it.session(account) else { return };
                world.count("session opened");
                let (since, account) = (it.now(), account.to_owned());
                world.inside().oracle.logins.push(Login { server, account, since, session });
            }
            Step::Hold { server, account, role } => {
                let Some((it, account, role)) = at(server, account, role) else { return };
                if let Ok(hold) = it.hold(role, account) {
                    world.count("membership locked");
                    world.inside().held = self.holds.len().saturating_add(1);
                    self.holds.push(hold);
                }
            }
            Step::LetGo => self.let_go(),
            Step::Rename { server, account, anew } => {
                let Some((it, account, _)) = at(server, account, 0) else { return };
                match anew {
                    true => self.make_anew(server, it, account),
                    false => self.rename(server, it, account),
                }
            }
            Step::RenameBack { server } => self.rename_back(server),
            Step::Reappear { server, pick } => self.reappear(server, pick),
            _ => {}
        }
    }

    /// Lets another server answer under a name, at once or at one of the next calls.
    pub(super) fn lead(&self, step: Step) {
        let Step::Lead { target, to, calls, amid, back } = step else { return };
        let first = straight();
        let server = target.and_then(|target| first.get(target)).copied().unwrap_or_default();
        let to = match to {
            Lead::First => server,
            Lead::Stranger => stranger_to(server),
            Lead::Copy { fresh } => {
                if fresh {
                    self.world.copy(server);
                }
                copy_of(server)
            }
        };
        let of = |place: &usize| target.is_none_or(|target| target == *place);
        let targets: Vec<usize> =
            (0..first.len()).filter(|place| first.get(*place) == Some(&server)).filter(of).collect();
        let was = self.world.inside().leads.clone();
        for place in &targets {
            match calls {
                None => self.world.lead(*place, to),
                Some(calls) => {
                    self.world.inside().moves.push(Move { target: *place, calls, amid, to });
                    self.world.disturbed();
                }
            }
        }
        if let Some(millis) = back {
            let world = Arc::clone(&self.world);
            drop(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                if world.inside().mended {
                    return;
                }
                for place in targets {
                    world.inside().moves.retain(|it| it.target != place || it.to != to);
                    if let Some(was) = was.get(place) {
                        world.lead(place, *was);
                    }
                }
            }));
        }
    }

    /// Renames an account, with all that it holds. If only names are known on the server, its
    /// sessions are closed.
    fn rename(&self, server: usize, it: &MockServer, account: &str) {
        let now = format!("{account}-left");
        if it.rename(account, &now).is_err() {
            return;
        }
        self.world.count("accounts renamed");
        self.world.disturbed();
        let mut inside = self.world.inside();
        inside.oracle.is_called(server, account, &now);
        if inside.oracle.has_names_only(server) {
            inside.oracle.logins.retain(|login| login.server != server || login.account != account);
        }
    }

    pub(super) fn rename_back(&self, server: usize) {
        let Some(it) = self.world.servers.get(server) else { return };
        let all = self.world.inside().oracle.called_otherwise(server);
        for (now, was) in all {
            if it.rename(&now, &was).is_ok() {
                let at = it.now();
                self.world.inside().oracle.is_called_again(server, &now, at);
            }
        }
        self.world.disturbed();
    }

    /// Drops an account with its sessions, and gives its name to a new account.
    fn make_anew(&self, server: usize, it: &MockServer, account: &str) {
        if it.drop_name(account).is_err() || it.create_account(account).is_err() {
            return;
        }
        self.world.count("accounts dropped and made anew");
        self.world.disturbed();
        let mut inside = self.world.inside();
        inside.oracle.is_dropped(server, account);
        inside.oracle.logins.retain(|login| login.server != server || login.account != account);
    }

    pub(super) fn let_go(&mut self) {
        self.holds.clear();
        self.world.disturbed();
        self.world.inside().held = 0;
    }

    /// Restores the server from a backup that still has a membership which is gone now.
    fn reappear(&self, server: usize, pick: u64) {
        let world = &self.world;
        let Some(it) = world.servers.get(server) else { return };
        let gone = {
            let inside = world.inside();
            inside.oracle.revoked(server, pick)
        };
        let Some((role, account, tenant)) = gone else { return };
        let rows = it.members(&role).unwrap_or_default();
        if rows.iter().any(|row| row.member == account) {
            return;
        }
        world.count("membership restored from a backup");
        let since = world.now();
        stop(world, server);
        if it.grant(&role, &account, BROKER, MembershipScope::Inherit).is_ok() {
            let mut inside = world.inside();
            inside.oracle.by_hand.insert((server, role.clone(), account.clone()));
            inside.oracle.restored.insert((server, role, account), Restored { tenant, since });
        }
        restart(world, server);
    }
}
