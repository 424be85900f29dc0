//! Replicas of a target's server that users can log in to. They are looked at and ended at, and told nothing else.

use serde::{Deserialize, Serialize};

use super::Identity;
use super::seen::{Seen, Session};
use crate::clock::Time;

/// What becomes of an end while a replica that was named does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReplicasMissing {
    /// It stays unverified, and is overdue, until the replica answers.
    #[default]
    Unverified,
    /// It is verified without the replica, and its entry tells that nobody looked there.
    Told,
}

/// What one replica showed of a revoke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its host and port, as they are configured.
    pub name: String,
    /// What it showed.
    pub shown: AtReplica,
}

/// See [`Replica::shown`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AtReplica {
    /// The revoke has arrived there, sessions were ended as on the primary, and this is what was seen afterwards.
    Seen {
        /// Which server it is.
        identity: Identity,
        /// What the replica's catalog and its list of sessions show.
        seen: Box<Seen>,
        /// Sessions that were ended there.
        ended: Vec<Session>,
        /// The replica's own time when the revoke was there, UTC: a session that began later never had the role.
        revoked_at: Time,
    },
    /// The end cannot be verified. The text goes on from the replica's name: `has not replayed the revoke yet`.
    Open(String),
    /// It does not answer, and [`ReplicasMissing::Told`] accepts that. The text goes on from the replica's name.
    Missing(String),
}
