//! The commands around approvals.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jit_core::clock::Time;
use jit_core::id::{AccessId, Principal, QuestionId};

use super::As;
use crate::spans;

/// What proves more than a password: at most one of them.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct Factor {
    /// The code that your application shows now
    #[arg(long, env = "JIT_TOTP", hide_env_values = true, value_name = "CODE")]
    pub(crate) totp: Option<String>,
    /// A file with the token of a step-up at the provider; `-` reads it from standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) oidc_token: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Confirm {
    /// Which access
    pub(crate) id: AccessId,
    /// Which question about it, as notices and `jit show` have it
    #[arg(long, value_name = "QUESTION")]
    pub(crate) question: Option<QuestionId>,
    #[command(flatten)]
    pub(crate) factor: Factor,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Delegate {
    /// Who decides meanwhile
    #[arg(long, value_name = "PRINCIPAL", required_unless_present = "end", conflicts_with = "end")]
    pub(crate) to: Option<Principal>,
    /// Until then: 2027-01-31T22:00:00Z
    #[arg(long, value_name = "TIME", value_parser = spans::point, required_unless_present = "end", conflicts_with = "end")]
    pub(crate) until: Option<Time>,
    /// Takes it back: what was decided so and is not granted yet does not count
    #[arg(long)]
    pub(crate) end: bool,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Review {
    /// Which access
    pub(crate) id: AccessId,
    /// What was found
    #[arg(long)]
    pub(crate) note: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Mfa {
    /// Sets codes up: shows what your application scans, then takes a first code
    Enroll {
        /// A code of the one that is set up already, to set it up anew
        #[arg(long, value_name = "CODE")]
        totp: Option<String>,
        #[command(flatten)]
        actor: As,
    },
    /// Ends the setting up with a first code
    Confirm {
        /// The code that your application shows now
        #[arg(long, env = "JIT_TOTP", hide_env_values = true, value_name = "CODE")]
        totp: String,
        #[command(flatten)]
        actor: As,
    },
    /// Takes somebody's codes away, as when the device is lost
    Remove {
        /// Whose
        #[arg(long, value_name = "PRINCIPAL")]
        of: Principal,
        #[command(flatten)]
        actor: As,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Where outside systems call back: POST /callbacks/TOKEN
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8400")]
    pub(crate) listen: std::net::SocketAddr,
}
