//! The mock server, and the manual work of its administrator and its users.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::adapter::MockDatabase;
use super::catalog::{Backend, Catalog, Name};
use super::profile::Profile;
use crate::clock::{Clock, Time};
use crate::database::{MembershipScope, ObjectId};
use crate::store::BoxError;
use crate::testkit::database_laws::{Attempt, Row, Tried};

/// Account that every mock server has for the broker.
pub(super) const BROKER: &str = "jit_broker";
/// Administrator of every mock server.
pub(super) const ADMIN: &str = "postgres";

/// Separator before the number of a copy in an incarnation.
pub(super) const COPY: &str = " of copy ";

/// A database server in memory. A clone is the same server.
#[derive(Clone)]
pub struct MockServer {
    catalog: Arc<Mutex<Catalog>>,
    pub(super) clock: Arc<dyn Clock>,
    realm: u64,
}

impl fmt::Debug for MockServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockServer").field("realm", &self.realm).finish_non_exhaustive()
    }
}

impl MockServer {
    /// Makes a fresh server with an administrator and a least-privileged broker. Its time is the
    /// clock's wall time.
    #[must_use]
    pub fn new(profile: Profile, clock: Arc<dyn Clock>) -> Self {
        static SERVERS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let realm = SERVERS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self::of_realm(profile, clock, realm)
    }

    /// Makes the same server with this realm, which no other server may use.
    #[must_use]
    pub fn of_realm(profile: Profile, clock: Arc<dyn Clock>, realm: u64) -> Self {
        let server = Self { catalog: Arc::new(Mutex::new(Catalog::new(profile))), clock, realm };
        server.add(ADMIN, true, true);
        server.add(BROKER, false, false);
        server
    }

    fn add(&self, name: &str, inherits: bool, superuser: bool) {
        let mut catalog = self.catalog();
        let id = catalog.fresh();
        catalog.names.insert(id, Name { name: name.to_owned(), inherits, superuser, creates: superuser });
    }

    /// Locks the catalog. Nobody panics while holding the lock, so a poisoned lock still guards a
    /// whole catalog.
    pub(super) fn catalog(&self) -> MutexGuard<'_, Catalog> {
        let mut catalog = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if !catalog.dead_mans_switches.is_empty() {
            catalog.fire(self.clock.wall());
        }
        catalog
    }

    /// Turns the scheduler on or off. While it is on, dead man's switches fire this long after the
    /// end.
    pub fn set_dead_mans_switch(&self, grace: Option<chrono::TimeDelta>) {
        self.catalog().dead_mans_switch_grace = grace;
    }

    /// Returns the dead man's switches: role, account, the time each fires, the time it fired.
    #[doc(hidden)]
    #[must_use]
    pub fn dead_mans_switches(&self) -> Vec<(String, String, Time, Option<Time>)> {
        let catalog = self.catalog();
        let one = |((role, member), it): (&(u32, u32), &super::dead_mans_switch::MockSwitch)| {
            (catalog.name(*role).to_owned(), catalog.name(*member).to_owned(), it.fires_at, it.fired_at)
        };
        catalog.dead_mans_switches.iter().map(one).collect()
    }

    /// Returns the adapter, logged in as the broker.
    #[must_use]
    pub fn database(&self) -> MockDatabase {
        MockDatabase::new(self.clone(), BROKER)
    }

    /// Returns the realm, as the server identifies itself.
    #[must_use]
    pub fn realm(&self) -> String {
        format!("mock:{}", self.realm)
    }

    /// Reads the server's own time, in UTC.
    #[must_use]
    pub fn now(&self) -> Time {
        let wall = self.clock.wall();
        self.catalog().tick(wall)
    }

    /// Creates an account that inherits what it is granted.
    ///
    /// # Errors
    /// Returns an error if the name is taken.
    pub fn create_account(&self, account: &str) -> Result<(), BoxError> {
        self.create(account, true)
    }

    /// Creates an account or role.
    ///
    /// # Errors
    /// Returns an error if the name is taken.
    pub(super) fn create(&self, name: &str, inherits: bool) -> Result<(), BoxError> {
        if self.catalog().id(name).is_some() {
            return Err(format!("`{name}` exists already").into());
        }
        self.add(name, inherits, false);
        Ok(())
    }

    /// Creates a role that the broker may grant.
    ///
    /// # Errors
    /// Returns an error if the name is taken.
    pub fn create_role(&self, role: &str) -> Result<(), BoxError> {
        self.create(role, true)?;
        let mut catalog = self.catalog();
        let (id, broker, admin) = (find(&catalog, role)?, find(&catalog, BROKER)?, find(&catalog, ADMIN)?);
        catalog.grant(admin, id, broker, false, false, true);
        Ok(())
    }

    /// Grants a standing membership by hand.
    ///
    /// # Errors
    /// Returns an error if one of the names is missing.
    pub fn grant(&self, role: &str, to: &str, grantor: &str, scope: MembershipScope) -> Result<(), BoxError> {
        self.give(role, to, grantor, (scope, false))
    }

    /// Grants a standing membership by hand, with the option to pass it on.
    ///
    /// # Errors
    /// Returns an error if one of the names is missing.
    pub fn grant_with_admin_option(
        &self,
        role: &str,
        to: &str,
        grantor: &str,
        scope: MembershipScope,
    ) -> Result<(), BoxError> {
        self.give(role, to, grantor, (scope, true))
    }

    fn give(
        &self,
        role: &str,
        to: &str,
        grantor: &str,
        (scope, admin): (MembershipScope, bool),
    ) -> Result<(), BoxError> {
        let mut catalog = self.catalog();
        let (role, to, grantor) = (find(&catalog, role)?, find(&catalog, to)?, find(&catalog, grantor)?);
        catalog.grant(grantor, role, to, true, scope == MembershipScope::SetRole, admin);
        if catalog.profile.default_roles() {
            // a granted role is not active yet
            catalog.defaults.insert(to, [role].into());
        }
        Ok(())
    }

    /// Revokes a membership by hand.
    ///
    /// # Errors
    /// Returns an error if one of the names is missing.
    pub fn revoke(&self, role: &str, from: &str, grantor: &str) -> Result<(), BoxError> {
        let mut catalog = self.catalog();
        let (role, from, grantor) = (find(&catalog, role)?, find(&catalog, from)?, find(&catalog, grantor)?);
        catalog.revoke(grantor, role, from);
        Ok(())
    }

    /// Renames an account or role.
    ///
    /// # Errors
    /// Returns an error if the old name is missing, or the new name is taken.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), BoxError> {
        let mut catalog = self.catalog();
        let id = find(&catalog, from)?;
        if catalog.id(to).is_some() {
            return Err(format!("`{to}` exists already").into());
        }
        if let Some(row) = catalog.names.get_mut(&id) {
            to.clone_into(&mut row.name);
        }
        Ok(())
    }

    /// Drops an account or role, with its memberships. Its sessions live on.
    ///
    /// # Errors
    /// Returns an error if the name is missing.
    pub fn drop_name(&self, name: &str) -> Result<(), BoxError> {
        let mut catalog = self.catalog();
        let id = find(&catalog, name)?;
        catalog.drop_name(id);
        Ok(())
    }

    /// Returns the direct members of the role.
    ///
    /// # Errors
    /// Returns an error if the role is missing.
    pub fn members(&self, role: &str) -> Result<Vec<Row>, BoxError> {
        let catalog = self.catalog();
        let role = find(&catalog, role)?;
        let row = |row: &super::catalog::Member| Row {
            member: catalog.name(row.member),
            grantor: catalog.name(row.grantor),
            inherits: row.inherit,
            set: row.set,
            admin: row.admin,
        };
        Ok(catalog.members.iter().filter(|member| member.role == role).map(row).collect())
    }

    /// Logs an account in.
    ///
    /// # Errors
    /// Returns an error if the account is missing, or the server is down.
    pub fn session(&self, account: &str) -> Result<MockSession, BoxError> {
        let now = self.now();
        let mut catalog = self.catalog();
        if !catalog.up {
            return Err("the server is down".into());
        }
        let login = find(&catalog, account)?;
        let pid = catalog.fresh();
        let backend = catalog.backend(login, now);
        catalog.backends.insert(pid, backend);
        drop(catalog);
        Ok(MockSession { server: self.clone(), pid })
    }

    /// Opens a transaction that touched this membership. Orders for the membership wait until it is
    /// released.
    ///
    /// # Errors
    /// Returns an error if one of the names is missing.
    pub fn hold(&self, role: &str, account: &str) -> Result<MockHold, BoxError> {
        let mut catalog = self.catalog();
        let (role, account) = (find(&catalog, role)?, find(&catalog, account)?);
        let pid = catalog.fresh();
        catalog.hold(pid, role, account);
        drop(catalog);
        Ok(MockHold { server: self.clone(), pid })
    }

    /// Makes a byte for byte copy, like a snapshot that was restored beside the original. The copy
    /// has the same realm and the same memberships, and is another server. Nobody is logged in
    /// there.
    #[must_use]
    pub fn copy(&self) -> Self {
        static COPIES: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);
        let catalog = self.catalog().copied(COPIES.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        Self { catalog: Arc::new(Mutex::new(catalog)), clock: Arc::clone(&self.clock), realm: self.realm }
    }

    /// Makes a copy that takes the original's place, for use when the original is down. It was
    /// started later, and only what was written since tells it from a restart of the original.
    #[must_use]
    pub fn copy_in_its_place(&self) -> Self {
        let copy = self.copy();
        let mut catalog = copy.catalog();
        let number = std::mem::replace(&mut catalog.copy, self.catalog().copy);
        // no start of the original has this number
        catalog.starts = catalog.starts.wrapping_add(number.wrapping_mul(1_000));
        drop(catalog);
        copy
    }

    /// Turns this server into the numbered copy of another server. Its earlier data is gone. No
    /// dead man's switch runs in it.
    #[doc(hidden)]
    pub fn copies(&self, original: &Self, copy: u64) {
        let mut copied = original.catalog().copied(copy);
        copied.dead_mans_switch_grace = None;
        copied.dead_mans_switches.clear();
        *self.catalog() = copied;
    }

    /// Returns the number of the copy that ran with this incarnation; 0: not a copy.
    #[doc(hidden)]
    #[must_use]
    pub fn copy_that_ran(incarnation: &str) -> u64 {
        incarnation.split_once(COPY).and_then(|(_, copy)| copy.parse().ok()).unwrap_or_default()
    }

    /// Checks whether the server has an account or role with this id.
    #[doc(hidden)]
    #[must_use]
    pub fn has_id(&self, id: &ObjectId) -> bool {
        id.0.parse().is_ok_and(|id: u32| self.catalog().names.contains_key(&id))
    }

    /// Checks whether the server has an account or role with this name.
    #[doc(hidden)]
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.catalog().id(name).is_some()
    }

    /// Stops the server: sessions and waiting statements end.
    pub fn stop(&self) {
        self.catalog().stop();
    }

    /// Starts the server again, as another incarnation.
    pub fn start(&self, read_only: bool) {
        self.catalog().start(read_only);
    }
}

pub(super) fn find(catalog: &Catalog, name: &str) -> Result<u32, BoxError> {
    catalog.id(name).ok_or_else(|| format!("`{name}` does not exist").into())
}

/// A session of a user. It ends when it is dropped.
#[derive(Debug)]
pub struct MockSession {
    server: MockServer,
    pid: u32,
}

impl MockSession {
    /// Returns the server's own id of the session.
    #[must_use]
    pub fn id(&self) -> String {
        self.pid.to_string()
    }

    /// Checks whether the server still has the session.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.server.catalog().backends.contains_key(&self.pid)
    }

    /// Tries something as the user.
    ///
    /// # Errors
    /// Returns an error if a role is missing, or the name of a transaction is taken.
    pub fn attempt(&mut self, what: Attempt<'_>) -> Result<Tried, BoxError> {
        let mut catalog = self.server.catalog();
        let Some(backend) = catalog.backends.get(&self.pid).cloned() else {
            return Ok(Tried::Ended);
        };
        let may_use = |role: &str| Ok::<_, BoxError>(catalog.may_use(&backend, find(&catalog, role)?));
        let (allowed, change) = match what {
            Attempt::Ping => (true, None),
            Attempt::Read(role) | Attempt::Write(role) => (may_use(role)?, None),
            Attempt::Fetch => (backend.cursor, None),
            Attempt::OpenCursor(role) => (may_use(role)?, Some(Backend { cursor: true, ..backend.clone() })),
            Attempt::Make { role, name } => {
                let allowed = may_use(role)?;
                if allowed {
                    let owner = if catalog.profile.is_postgres() { backend.current } else { backend.login };
                    catalog.things.push((owner, name.to_owned()));
                }
                (allowed, None)
            }
            Attempt::SetRole(role) => {
                let role = find(&catalog, role)?;
                (catalog.may_become(backend.login, role), Some(catalog.becoming(backend.clone(), role)))
            }
            Attempt::Prepare { role, gid } => {
                let allowed = may_use(role)?;
                if allowed && catalog.prepared.insert(gid.to_owned(), backend.login).is_some() {
                    return Err(format!("transaction `{gid}` exists already").into());
                }
                (allowed, None)
            }
        };
        if let (true, Some(backend)) = (allowed, change) {
            catalog.backends.insert(self.pid, backend);
        }
        Ok(if allowed { Tried::Done } else { Tried::Denied })
    }
}

impl Drop for MockSession {
    fn drop(&mut self) {
        self.server.catalog().backends.remove(&self.pid);
    }
}

/// An open transaction that belongs to somebody else.
#[derive(Debug)]
pub struct MockHold {
    server: MockServer,
    pid: u32,
}

impl MockHold {
    /// Returns the id of the session that holds it.
    #[must_use]
    pub fn id(&self) -> String {
        self.pid.to_string()
    }

    /// Rolls the transaction back; statements that waited for it run.
    pub fn release(self) {}
}

impl Drop for MockHold {
    fn drop(&mut self) {
        let now = self.server.now();
        self.server.catalog().release(self.pid, now);
    }
}
