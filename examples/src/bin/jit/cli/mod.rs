//! Command line of the trial binary.

mod workflow;

use std::path::PathBuf;
use std::process::ExitCode;

use chrono::TimeDelta;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, Parser, Subcommand};
use jit_core::clock::Time;
use jit_core::id::{AccessId, Principal, QuestionId, TargetName, TenantId};

use crate::error::Failure;
use crate::output::Output;
use crate::spans;

pub(crate) use self::workflow::{Confirm, Delegate, Factor, Mfa, Review, Serve};

/// Just-in-time access to database roles: request, approve, use for a while, revoke.
#[derive(Debug, Parser)]
#[command(name = "jit", version, disable_help_subcommand = true, infer_long_args = false)]
pub(crate) struct Cli {
    /// Path of the configuration file
    #[arg(long, global = true, env = "JIT_CONFIG", default_value = "jit.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Tenant of the configuration to work for
    #[arg(long, global = true, env = "JIT_TENANT")]
    pub(crate) tenant: Option<TenantId>,
    /// Prints answers for machines: one JSON object, or one per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes a commented jit.toml and policy.toml into this folder
    Init,
    /// Checks the store, the clock, the policy and what the broker may do on every target, and
    /// tells what needs an operator
    Doctor(Doctor),
    /// Requests a role for a limited time
    Request(Request),
    /// Approves a request, or more time
    Approve(Decide),
    /// Denies a request, or more time
    Deny(Decide),
    /// Confirms by a second factor that the request is yours
    Confirm(Confirm),
    /// Cancels a request before its role is granted
    Cancel(Cancel),
    /// Lets somebody else decide in your place while you are away
    Delegate(Delegate),
    /// Gives the review that is due after an emergency
    Review(Review),
    /// Sets up second factors, and removes them
    #[command(subcommand)]
    Mfa(Mfa),
    /// Gives a role back before its window closes
    Release(Release),
    /// Revokes a role before its window closes
    Revoke(Revoke),
    /// Asks for more time in an open window
    Extend(Extend),
    /// Emergency stop: ends open accesses and refuses new requests
    Stop(Stop),
    /// Lifts an emergency stop
    Resume(Resume),
    /// Lists accesses, oldest first
    List(List),
    /// Shows one access with its history
    Show(Show),
    /// Follows changes, until stopped
    Watch,
    /// Does everything that is due now, once: for cron
    RunDue,
    /// Runs the pump in the foreground: ends windows when they close, until stopped
    Pump,
    /// Runs the pump, and listens at an address where outside systems answer later
    Serve(Serve),
    /// Compares the roles held on targets with the store
    Reconcile(Reconcile),
    /// Writes a target off, or confirms what it is now
    #[command(subcommand)]
    Target(Target),
    /// Accepts a clock that went back, or was away for long
    #[command(subcommand)]
    Clock(Clock),
    /// Maintains a store in PostgreSQL, as its owner
    #[command(subcommand)]
    Store(Store),
    /// Checks the policy, or explains what it says
    #[command(subcommand)]
    Policy(Policy),
    /// Verifies the log, exports it, proves an entry
    #[command(subcommand)]
    Audit(Audit),
}

#[derive(Debug, Args)]
pub(crate) struct As {
    /// Principal who acts; believed, and recorded as asserted by this user of the operating system
    #[arg(long = "as", env = "JIT_AS", value_name = "PRINCIPAL")]
    pub(crate) who: Principal,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// Target on which to request the role
    #[arg(long)]
    pub(crate) target: String,
    /// Role to request
    #[arg(long)]
    pub(crate) role: String,
    /// Length of the window, from when the role is usable: 30m, 1h30m
    #[arg(long = "for", value_name = "DURATION", value_parser = spans::duration, allow_hyphen_values = true)]
    pub(crate) how_long: TimeDelta,
    /// Reason for the request
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Ticket for the request
    #[arg(long)]
    pub(crate) ticket: Option<String>,
    /// Start of the window, instead of at once: 2027-01-31T22:00:00Z
    #[arg(long, value_name = "TIME", value_parser = spans::point)]
    pub(crate) at: Option<Time>,
    /// Principal who gets the role, if it is somebody else
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) on_behalf_of: Option<Principal>,
    /// Key of the request: a repeated request with the same key answers with the first access
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Emergency: grants at once where a rule allows it, told loudly and reviewed afterwards
    #[arg(long)]
    pub(crate) break_glass: bool,
    #[command(flatten)]
    pub(crate) factor: Factor,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Access to decide on
    pub(crate) id: AccessId,
    /// Question about it, as shown in notices and by `jit show`; without it, the oldest that you
    /// have not answered
    #[arg(long, value_name = "QUESTION")]
    pub(crate) question: Option<QuestionId>,
    /// Note in your own words
    #[arg(long, default_value = "")]
    pub(crate) note: String,
    #[command(flatten)]
    pub(crate) factor: Factor,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Access to cancel
    pub(crate) id: AccessId,
    /// Reason for cancelling
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Access to give back
    pub(crate) id: AccessId,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Access to revoke
    pub(crate) id: AccessId,
    /// Reason for revoking
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Extend {
    /// Access to extend
    pub(crate) id: AccessId,
    /// Additional time: 15m
    #[arg(long = "for", value_name = "DURATION", value_parser = spans::duration, allow_hyphen_values = true)]
    pub(crate) how_long: TimeDelta,
    /// Reason for more time
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// Reason for the stop
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Scope {
    /// Everything that this principal asked for or has
    #[arg(long)]
    pub(crate) principal: Option<Principal>,
    /// Everything on this target
    #[arg(long)]
    pub(crate) target: Option<TargetName>,
    /// Everything of the tenant
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only accesses in this state: pending, scheduled, active, revoking, revoked...
    #[arg(long)]
    pub(crate) state: Option<jit_core::AccessState>,
    /// Only accesses asked for by, or for, this principal
    #[arg(long)]
    pub(crate) principal: Option<Principal>,
    /// Only accesses on this target
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Only accesses to which something can still happen
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Prints a script instead, for psql, mysql, mariadb or sqlcmd: it sets this target up from
    /// nothing, or repairs it
    #[arg(long, value_name = "TARGET")]
    pub(crate) sql: Option<TargetName>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Access to show
    pub(crate) id: AccessId,
}

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// Only this target
    #[arg(long)]
    pub(crate) target: Option<TargetName>,
    /// Also ends accesses that vanished, and revokes what our broker granted and no access accounts
    /// for
    #[arg(long)]
    pub(crate) enforce: bool,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// Writes a target off: accesses that are live there are closed as retired, unverified for ever
    Retire(OneTarget),
    /// Confirms that a target is what it is now, or that it is to be used again
    Confirm(ConfirmTarget),
}

#[derive(Debug, Args)]
pub(crate) struct ConfirmTarget {
    #[command(flatten)]
    pub(crate) one: OneTarget,
    /// The target has the same data as the server that it was: accesses that are live there go on
    /// here, and end here in time. Taken for granted only if this server stands where the old one
    /// did and holds all of them
    #[arg(long, conflicts_with = "other_data")]
    pub(crate) same_data: bool,
    /// The target has other data: accesses that are live on the server that it was stay overdue
    /// until that server answers again, or is retired
    #[arg(long)]
    pub(crate) other_data: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneTarget {
    /// Name of the target
    pub(crate) target: TargetName,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Clock {
    /// Accepts the wall clock as it is: new grants go on
    Accept(As),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Creates the store or upgrades it, and allows roles to use it
    Migrate(Migrate),
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// Role that nodes log in with: it may read, and call what changes the store, and write nothing
    /// by itself
    #[arg(long, value_name = "ROLE")]
    pub(crate) node: Vec<String>,
    /// Role that may read the log and its checkpoints, and nothing else
    #[arg(long, value_name = "ROLE")]
    pub(crate) auditor: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Reads the policy and reports everything that is wrong with it, or probably not meant
    Check {
        /// File to check, instead of the configured one
        file: Option<PathBuf>,
    },
    /// Shows what every rule says to a request, without making one
    Explain(Box<Request>),
    /// Tries a table of cases: who asks for what, and the expected result
    Test {
        /// File with the table of cases
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Checks the log: of the store, or of an exported file
    Verify {
        /// Exported file; without one the store's own log is checked
        file: Option<PathBuf>,
        /// Public key that its checkpoints may be signed with: a file, or the key itself; may be
        /// given more than once
        #[arg(long, value_name = "KEY")]
        public_key: Vec<String>,
    },
    /// Writes the log to a file that anyone with the public key can check
    Export {
        /// File to write; it must not exist yet
        file: PathBuf,
    },
    /// Proves that an entry is in the log
    Prove {
        /// Id of an entry, or of an access for all its entries
        id: String,
    },
    /// Signs the log's current size and root
    Checkpoint,
}

/// Prints what is wrong with a command line, in one line; help and version are no errors.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // if it cannot be printed, nobody reads it
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let json = std::env::args_os().any(|argument| argument == "--json");
    if !json && error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(2);
    }
    let failure = Failure::usage(message(error), hint(error));
    Output::new(json).failure(&failure);
    failure.exit_code()
}

fn message(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command is given".to_owned();
    }
    if error.kind() == ErrorKind::MissingRequiredArgument
        && let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg)
    {
        return format!("missing: {}", missing.join(", "));
    }
    // `--for` takes a negative length, to refuse it as such, and so also takes the next option as
    // its value
    let given: Vec<String> = std::env::args().collect();
    let swallowed = given.iter().zip(given.iter().skip(1)).any(|(one, next)| one == "--for" && next.starts_with("--"));
    if swallowed {
        return "missing: a length of time after --for, like `30m`".to_owned();
    }
    // only the error, without the usage and the pointer to the help after the empty line
    let text = error.render().to_string();
    let first = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    first.strip_prefix("error: ").map_or(first.clone(), str::to_owned)
}

fn hint(error: &clap::Error) -> String {
    let suggested = |kind| match error.get(kind) {
        Some(ContextValue::String(one)) => Some(one.clone()),
        // the nearest suggestion comes last
        Some(ContextValue::Strings(several)) => several.last().cloned(),
        _ => None,
    };
    let near = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    match near.into_iter().find_map(suggested) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let command = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
            let known = command.filter(|name| <Cli as clap::CommandFactory>::command().find_subcommand(name).is_some());
            format!("see `jit {}--help`", known.map_or_else(String::new, |name| format!("{name} ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn a_missing_duration_is_named() {
        let wrong = ["jit", "request", "--target", "t", "--role", "r", "--as", "alice"];
        let error = Cli::try_parse_from(wrong).unwrap_err();
        assert_eq!(message(&error), "missing: --for <DURATION>");
    }

    #[test]
    fn a_malformed_id_is_one_line() {
        let error = Cli::try_parse_from(["jit", "show", "nonsense"]).unwrap_err();
        assert!(message(&error).contains("not a UUID"), "{}", message(&error));
        assert!(!message(&error).contains('\n'));
    }

    #[test]
    fn a_negative_duration_is_told_as_such() {
        let wrong = ["jit", "extend", "018f6f3e-7d4c-7000-8000-000000000000", "--for", "-5m", "--as", "alice"];
        assert!(message(&Cli::try_parse_from(wrong).unwrap_err()).contains("negative"));
    }
}
