//! The dead-man: the database itself takes a membership away when nobody of ours is alive to do it (DESIGN section 8).

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Identity;
use super::order::DefaultRole;
use super::seen::Subject;
use crate::clock::Time;
use crate::policy::Sessions;

/// How long after the end of the last access it fires, where the target's configuration does not say.
pub const DEAD_MAN_GRACE: Duration = Duration::from_secs(60);

/// By what a database takes a membership away by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeadManKind {
    /// An event of the server's scheduler (MySQL, MariaDB). It outlives a restart.
    Event,
    /// A job of `pg_cron` (PostgreSQL), which looks once a minute. It outlives a restart.
    PgCron,
    /// A backend of the broker that outlives its client (PostgreSQL). A restart of the server ends it, and it is armed anew.
    Sentinel,
    /// A job of SQL Server Agent. It outlives a restart.
    AgentJob,
}

impl DeadManKind {
    /// As the log has it.
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

impl fmt::Display for DeadManKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a server can take a membership away by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeadManHere {
    /// It can, by this.
    By(DeadManKind),
    /// It cannot.
    Missing {
        /// How it is turned on, in a sentence.
        mend: String,
    },
}

/// Take this membership away at that time, unless told otherwise until then. A second order for the same membership moves the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArmOrder {
    /// What is taken from whom.
    pub subject: Subject,
    /// How long from now until the last access to it is to be over; the target's grace comes on top.
    pub ends_in: Duration,
    /// Whether the account's sessions are ended too.
    pub sessions: Sessions,
    /// Whether it stays a default role of the account, where the engine has such.
    pub default_role: DefaultRole,
}

/// It is armed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Armed {
    /// By what.
    pub kind: DeadManKind,
    /// When it fires, the server's clock, UTC.
    pub fires_at: Time,
    /// The server that has it, as the very connection saw it.
    pub identity: Identity,
}

/// It is armed no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disarmed {
    /// When it had fired already, the server's clock, UTC.
    pub fired_at: Option<Time>,
    /// The server that had it, as the very connection saw it.
    pub identity: Identity,
}
