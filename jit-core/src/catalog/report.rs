//! Answers of a database: who answered, and what was done.

use serde::{Deserialize, Serialize};

use super::seen::{Seen, Session};
use crate::clock::Time;
use crate::id::RealmId;

/// Identity of the server that answers: its realm and its incarnation. Two identities are equal if
/// both of these are equal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// Realm, which is where the roles live.
    pub realm: RealmId,
    /// Incarnation: it changes when the server was restarted, failed over or restored (timeline,
    /// start time). Two servers that run at the same time never show the same one, even if one is a
    /// copy of the other.
    pub incarnation: String,
    /// Position in the server's log, as the adapter writes it. A later incarnation of the server
    /// has to show it again, and an earlier copy cannot. Empty if the server shows none.
    #[serde(default)]
    pub position: String,
}

impl Identity {
    /// Creates the identity of a server that shows no position.
    #[must_use]
    pub fn new(realm: RealmId, incarnation: impl Into<String>) -> Self {
        Self { realm, incarnation: incarnation.into(), position: String::new() }
    }

    /// Adds the position in the server's log.
    #[must_use]
    pub fn at_position(self, position: impl Into<String>) -> Self {
        Self { position: position.into(), ..self }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        // the position grows while the server stays the same
        let Self { realm, incarnation, position: _ } = self;
        *realm == other.realm && *incarnation == other.incarnation
    }
}

impl Eq for Identity {}

/// Answer to a grant order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Granted {
    /// Server's own time right after the statement, UTC.
    pub server_time: Time,
    /// Server that granted the membership, as the very connection saw it.
    pub identity: Identity,
}

impl Granted {
    /// Creates the answer of this server, by its clock.
    #[must_use]
    pub fn new(identity: Identity, server_time: Time) -> Self {
        Self { server_time, identity }
    }
}

/// Answer to a revoke order: what was done and what was seen afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevokeReport {
    /// Catalog and session list, read after the statement and after the sessions were ended.
    pub seen: Seen,
    /// True if the membership was there when the revoke came. `None` if nothing was to be taken, or
    /// nobody looked.
    pub was_held: Option<bool>,
    /// Reason why the role stays a default role of the account although the membership is gone. Set
    /// only if trying again will not fix it. For people to read.
    pub default_kept: Option<String>,
    /// Sessions that were ended.
    pub ended: Vec<Session>,
    /// Names of the prepared transactions that were rolled back.
    pub rolled_back: Vec<String>,
    /// Server's own time right after the statement was committed, UTC. A session that began later
    /// never had the role.
    pub revoked_at: Time,
    /// Server's own time of the last look, UTC.
    pub server_time: Time,
    /// Server that did the work and was looked at, as the very connection saw it.
    pub identity: Identity,
}

impl RevokeReport {
    /// Creates the report of a revoke that ended no session and rolled nothing back. `revoked_at`
    /// is the server's time right after the statement was committed, also that of the last look.
    #[must_use]
    pub fn new(identity: Identity, seen: Seen, revoked_at: Time) -> Self {
        Self {
            seen,
            was_held: None,
            default_kept: None,
            ended: Vec::new(),
            rolled_back: Vec::new(),
            revoked_at,
            server_time: revoked_at,
            identity,
        }
    }
}
