//! Dead man's switch: the database itself takes a membership away if no process of ours is alive to
//! do it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Identity;
use super::order::DefaultRole;
use super::seen::Membership;
use crate::clock::Time;
use crate::handling::Sessions;

/// Time between the end of the last access and the firing of the switch, unless the target's
/// configuration sets one.
pub const DEAD_MANS_SWITCH_GRACE: Duration = Duration::from_secs(60);

/// Mechanism by which a database takes a membership away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SwitchKind {
    /// Event of the server's scheduler (MySQL, MariaDB). It outlives a restart.
    Event,
    /// Job of `pg_cron` (PostgreSQL), which looks once a minute. It outlives a restart.
    PgCron,
    /// Backend of the broker that outlives its client (PostgreSQL). A restart of the server ends
    /// it, and it is armed anew.
    Sentinel,
    /// Job of SQL Server Agent. It outlives a restart.
    AgentJob,
}

impl SwitchKind {
    /// Returns the name that the log uses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::PgCron => "pg_cron",
            Self::Sentinel => "sentinel",
            Self::AgentJob => "agent_job",
        }
    }
}

impl fmt::Display for SwitchKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Dead man's switch of a server, or the way to get one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeadMansSwitch {
    /// Server has a switch, by this mechanism.
    Available(SwitchKind),
    /// Server has no switch.
    Unavailable {
        /// Fix in one sentence: the way to turn it on.
        remedy: String,
    },
}

/// Order to take this membership away at a given time, unless told otherwise before. A second order
/// for the same membership moves the first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ArmOrder {
    /// Account and role of the membership.
    pub membership: Membership,
    /// Time from now until the last access to the membership is to be over. The target's grace
    /// comes on top.
    pub ends_in: Duration,
    /// Handling of the account's sessions when the switch fires.
    pub sessions: Sessions,
    /// Default role of the account afterwards, on engines that have default roles.
    pub default_role: DefaultRole,
}

impl ArmOrder {
    /// Creates an order that leaves default roles alone.
    #[must_use]
    pub fn new(membership: Membership, ends_in: Duration, sessions: Sessions) -> Self {
        Self { membership, ends_in, sessions, default_role: DefaultRole::Stays }
    }

    /// Sets the default role of the account afterwards.
    #[must_use]
    pub fn default_role(self, default_role: DefaultRole) -> Self {
        Self { default_role, ..self }
    }
}

/// Answer to an [`ArmOrder`]: the switch is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Armed {
    /// Mechanism of the switch.
    pub kind: SwitchKind,
    /// Time at which it fires, by the server's clock, UTC.
    pub fires_at: Time,
    /// Server that has the switch, as the very connection saw it.
    pub identity: Identity,
}

impl Armed {
    /// Creates the answer of this server.
    #[must_use]
    pub fn new(identity: Identity, kind: SwitchKind, fires_at: Time) -> Self {
        Self { kind, fires_at, identity }
    }
}

/// Answer to a disarming: the switch is no longer armed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disarmed {
    /// Time at which it had fired already, by the server's clock, UTC. `None` if it had not.
    pub fired_at: Option<Time>,
    /// Server that had the switch, as the very connection saw it.
    pub identity: Identity,
}

impl Disarmed {
    /// Creates the answer of this server, with the time at which the switch had fired.
    #[must_use]
    pub fn new(identity: Identity, fired_at: Option<Time>) -> Self {
        Self { fired_at, identity }
    }
}
