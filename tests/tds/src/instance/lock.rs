//! Locks. A change of the catalog or of a table holds its lock until the transaction ends; readers
//! wait for it.

use super::Instance;
use crate::error::{Stop, error};

/// Exclusive lock on one resource.
#[derive(Debug, Clone)]
pub(crate) struct Lock {
    pub spid: i32,
    pub database: i32,
    pub kind: &'static str,
}

/// Lock taken by sp_getapplock.
#[derive(Debug, Clone)]
pub(crate) struct AppLock {
    pub spid: i32,
    pub database: i32,
    pub resource: String,
    pub mode: String,
    pub of_session: bool,
    pub count: u32,
}

impl Instance {
    /// Takes a lock until the transaction ends, or says who holds it.
    pub(crate) fn lock(
        &mut self,
        spid: i32,
        database: i32,
        kind: &'static str,
        what: impl std::fmt::Display,
    ) -> Result<(), Stop> {
        let resource = format!("{kind}:{database}:{what}");
        match self.locks.get(&resource) {
            Some(lock) if lock.spid != spid => self.wait(spid, lock.spid, resource, "LCK_M_X"),
            Some(_) => Ok(()),
            None => {
                self.locks.insert(resource, Lock { spid, database, kind });
                Ok(())
            }
        }
    }

    /// Makes a reader wait for a session that changes a resource of this kind.
    pub(crate) fn readable(&self, spid: i32, database: i32, kind: &str) -> Result<(), Stop> {
        if self.session(spid).dirty_reads || self.session(spid).system {
            return Ok(());
        }
        match self.locks.iter().find(|(_, l)| l.database == database && l.kind == kind && l.spid != spid) {
            Some((resource, lock)) => self.wait(spid, lock.spid, resource.clone(), "LCK_M_S"),
            None => Ok(()),
        }
    }

    /// Waits for a session. A wait that would close a circle never ends: it becomes the deadlock
    /// victim.
    pub(crate) fn wait(&self, spid: i32, by: i32, resource: String, wait: &'static str) -> Result<(), Stop> {
        let mut at = by;
        for _ in 0..self.sessions.len() {
            at = self.session(at).blocked_by;
            if at == spid {
                return deadlock(spid);
            }
        }
        Err(Stop::Blocked { by, resource, wait })
    }

    pub(crate) fn release(&mut self, spid: i32) {
        self.locks.retain(|_, l| l.spid != spid);
        self.app_locks.retain(|l| l.spid != spid || l.of_session);
    }
}

pub(crate) fn deadlock<T>(spid: i32) -> Result<T, Stop> {
    error(
        1205,
        format!(
            "Transaction (Process ID {spid}) was deadlocked on lock resources with another process and has been chosen as the deadlock victim. Rerun the transaction."
        ),
    )
}
