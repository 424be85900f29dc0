//! What people do to the servers by hand.

use super::database::{restart, stop};
use super::laws::{BROKER, Login, Restored};
use super::stage::Stage;
use super::steps::{PEOPLE, ROLES, Step};
use super::world::Power;
use crate::database::Width;

/// The administrator of every server.
pub(super) const ADMIN: &str = "postgres";

impl Stage {
    /// What is done to the servers by hand.
    pub(super) fn by_hand(&mut self, step: Step) {
        let world = &self.world;
        let at = |server: usize, account: usize, role: usize| {
            let (server, account, role) = (world.servers.get(server)?, PEOPLE.get(account)?, ROLES.get(role)?);
            Some((server, *account, *role))
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
                        // it was there, so it can be taken
                        let _ = it.revoke(role, account, ADMIN);
                    }
                } else if it.grant(role, account, ADMIN, Width::SetRole, false).is_ok()
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
                if it.grant(role, account, BROKER, Width::Inherit, false).is_ok() && has(server, account, role, true) {
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
                    // what is given by hand later is not what came back from a backup
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
            Step::Reappear { server, pick } => self.reappear(server, pick),
            _ => {}
        }
    }

    pub(super) fn let_go(&mut self) {
        self.holds.clear();
        self.world.disturbed();
        self.world.inside().held = 0;
    }

    /// The server comes back from a backup in which something still was that is gone.
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
        if it.grant(&role, &account, BROKER, Width::Inherit, false).is_ok() {
            let mut inside = world.inside();
            inside.oracle.by_hand.insert((server, role.clone(), account.clone()));
            inside.oracle.restored.insert((server, role, account), Restored { tenant, since });
        }
        restart(world, server);
    }
}
