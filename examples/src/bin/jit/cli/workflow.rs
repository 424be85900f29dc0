//! Commands around approvals.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jit_core::clock::Time;
use jit_core::id::{AccessId, Principal, QuestionId};

use super::As;
use crate::spans;

/// Second factor of a command: at most one of them.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Factor {
    /// Code that your application shows now
    #[arg(long, env = "JIT_TOTP", hide_env_values = true, value_name = "CODE")]
    pub(crate) totp: Option<String>,
    /// File with the token of a step-up at the provider; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) oidc_token: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// Access to confirm
    pub(crate) id: AccessId,
    /// Question about it, as shown in notices and by `jit show`
    #[arg(long, value_name = "QUESTION")]
    pub(crate) question: Option<QuestionId>,
    #[command(flatten)]
    pub(crate) factor: Factor,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Delegate {
    /// Principal who decides meanwhile
    #[arg(long, value_name = "PRINCIPAL", required_unless_present = "end", conflicts_with = "end")]
    pub(crate) to: Option<Principal>,
    /// End of the delegation: 2027-01-31T22:00:00Z
    #[arg(long, value_name = "TIME", value_parser = spans::point, required_unless_present = "end", conflicts_with = "end")]
    pub(crate) until: Option<Time>,
    /// Takes the delegation back: decisions made by it do not count for roles that are not granted
    /// yet
    #[arg(long)]
    pub(crate) end: bool,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Review {
    /// Access to review
    pub(crate) id: AccessId,
    /// Result of the review
    #[arg(long)]
    pub(crate) note: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mfa {
    /// Sets up codes: shows what your application scans, then takes a first code
    Enroll {
        /// Code of the application that is set up already, to set it up anew
        #[arg(long, value_name = "CODE")]
        totp: Option<String>,
        #[command(flatten)]
        actor: As,
    },
    /// Completes the set-up with a first code
    Confirm {
        /// Code that your application shows now
        #[arg(long, env = "JIT_TOTP", hide_env_values = true, value_name = "CODE")]
        totp: String,
        #[command(flatten)]
        actor: As,
    },
    /// Removes somebody's codes, as when the device is lost
    Remove {
        /// Principal whose codes are removed
        #[arg(long, value_name = "PRINCIPAL")]
        of: Principal,
        #[command(flatten)]
        actor: As,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Address where outside systems call back: POST /callbacks/TOKEN
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8400")]
    pub(crate) listen: std::net::SocketAddr,
}
