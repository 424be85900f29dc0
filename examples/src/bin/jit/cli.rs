//! The command line.

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

/// Just-in-time access to database roles: asked for, approved, granted for a while, gone.
#[derive(Debug, Parser)]
#[command(name = "jit", version, disable_help_subcommand = true, infer_long_args = false)]
pub(crate) struct Cli {
    /// Where the configuration is
    #[arg(long, global = true, env = "JIT_CONFIG", default_value = "jit.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// For which tenant of the configuration
    #[arg(long, global = true, env = "JIT_TENANT")]
    pub(crate) tenant: Option<TenantId>,
    /// Answers for machines: one JSON object, or one a line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes a commented jit.toml and policy.toml into this folder
    Init,
    /// Checks store, clock, policy and what the broker may do on every target, and tells what needs an operator
    Doctor(Doctor),
    /// Asks for a role for a while
    Request(Request),
    /// Says yes to a request, or to more time
    Approve(Decide),
    /// Says no to a request, or to more time
    Deny(Decide),
    /// Proves by a second factor that it is you who asked
    Confirm(Confirm),
    /// Takes a request back before its role is granted
    Cancel(Cancel),
    /// Lets somebody else decide in your place while you are away
    Delegate(Delegate),
    /// Gives the review that an emergency owes
    Review(Review),
    /// Sets second factors up, and takes them away
    #[command(subcommand)]
    Mfa(Mfa),
    /// Gives a role back before its window closes
    Release(Release),
    /// Takes a role away before its window closes
    Revoke(Revoke),
    /// Asks for more time in an open window
    Extend(Extend),
    /// Emergency stop: ends what is there, refuses what is new
    Stop(Stop),
    /// Lifts an emergency stop
    Resume(Resume),
    /// Lists accesses, oldest first
    List(List),
    /// Shows one access with its history
    Show(Show),
    /// Follows what changes, until stopped
    Watch,
    /// Does everything that is due now, once: for cron
    RunDue,
    /// Ends windows when they close, until stopped: the pump in the foreground
    Pump,
    /// The pump, and an address at which outside systems answer later
    Serve(Serve),
    /// Compares what targets hold with what the store says
    Reconcile(Reconcile),
    /// Writes a target off, or confirms what it is now
    #[command(subcommand)]
    Target(Target),
    /// Accepts a clock that went back, or was away for long
    #[command(subcommand)]
    Clock(Clock),
    /// Looks after a store in PostgreSQL, as its owner
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
    /// Who does it; believed, and recorded as asserted by this user of the operating system
    #[arg(long = "as", env = "JIT_AS", value_name = "PRINCIPAL")]
    pub(crate) who: Principal,
}

#[derive(Debug, Args)]
pub(crate) struct Request {
    /// On which target
    #[arg(long)]
    pub(crate) target: String,
    /// Which role
    #[arg(long)]
    pub(crate) role: String,
    /// For how long, from when it is usable: 30m, 1h30m
    #[arg(long = "for", value_name = "DURATION", value_parser = spans::duration, allow_hyphen_values = true)]
    pub(crate) how_long: TimeDelta,
    /// Why
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Under which ticket
    #[arg(long)]
    pub(crate) ticket: Option<String>,
    /// From then on instead of at once: 2027-01-31T22:00:00Z
    #[arg(long, value_name = "TIME", value_parser = spans::point)]
    pub(crate) at: Option<Time>,
    /// For somebody else
    #[arg(long, value_name = "PRINCIPAL")]
    pub(crate) on_behalf_of: Option<Principal>,
    /// A repeated request with the same key answers with the first access
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// In an emergency: at once where a rule allows it, told loudly and reviewed afterwards
    #[arg(long)]
    pub(crate) break_glass: bool,
    #[command(flatten)]
    pub(crate) factor: Factor,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Which access
    pub(crate) id: AccessId,
    /// Which question about it, as notices and `jit show` have it: without it, the oldest that you have not answered
    #[arg(long, value_name = "QUESTION")]
    pub(crate) question: Option<QuestionId>,
    /// In your words
    #[arg(long, default_value = "")]
    pub(crate) note: String,
    #[command(flatten)]
    pub(crate) factor: Factor,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// Which access
    pub(crate) id: AccessId,
    /// Why
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Release {
    /// Which access
    pub(crate) id: AccessId,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Which access
    pub(crate) id: AccessId,
    /// Why
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Extend {
    /// Which access
    pub(crate) id: AccessId,
    /// How much longer: 15m
    #[arg(long = "for", value_name = "DURATION", value_parser = spans::duration, allow_hyphen_values = true)]
    pub(crate) how_long: TimeDelta,
    /// Why
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// Why
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
    /// What this principal asked for or has
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
    /// Only those in this state: pending, scheduled, active, revoking, revoked...
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Only those asked for by, or for, this principal
    #[arg(long)]
    pub(crate) principal: Option<Principal>,
    /// Only those on this target
    #[arg(long)]
    pub(crate) target: Option<String>,
    /// Only those to which something can still happen
    #[arg(long)]
    pub(crate) open: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Prints a script instead, for psql, mysql, mariadb or sqlcmd: it sets this target up from nothing, or mends it
    #[arg(long, value_name = "TARGET")]
    pub(crate) sql: Option<TargetName>,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Which access
    pub(crate) id: AccessId,
}

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// Only this target
    #[arg(long)]
    pub(crate) target: Option<TargetName>,
    /// Also end what vanished and take away what our broker granted and nobody accounts for
    #[arg(long)]
    pub(crate) enforce: bool,
    #[command(flatten)]
    pub(crate) actor: As,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Target {
    /// Writes a target off: what is live there is closed as retired, unverified for ever
    Retire(OneTarget),
    /// Confirms that a target is what it is now, or is to be used again
    Confirm(ConfirmTarget),
}

#[derive(Debug, Args)]
pub(crate) struct ConfirmTarget {
    #[command(flatten)]
    pub(crate) one: OneTarget,
    /// It has the same data as the server that it was: what is live there goes on here, and ends here in time
    #[arg(long, conflicts_with = "other_data")]
    pub(crate) same_data: bool,
    /// It has other data: what is live on the server that it was stays overdue until that one answers again, or is retired
    #[arg(long)]
    pub(crate) other_data: bool,
}

#[derive(Debug, Args)]
pub(crate) struct OneTarget {
    /// Which target
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
    /// Makes the store or brings it forward, and allows roles to use it
    Migrate(Migrate),
}

#[derive(Debug, Args)]
pub(crate) struct Migrate {
    /// A role that nodes log in with: it may look, and call what changes the store, and write nothing by itself
    #[arg(long, value_name = "ROLE")]
    pub(crate) node: Vec<String>,
    /// A role that may read the log and its checkpoints, and nothing else
    #[arg(long, value_name = "ROLE")]
    pub(crate) auditor: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Policy {
    /// Reads the policy and says everything that is wrong with it, or probably not meant
    Check {
        /// Another file than the configured one
        file: Option<PathBuf>,
    },
    /// Shows what every rule says to a request, without asking for anything
    Explain(Box<Request>),
    /// Tries a table of cases: who asks for what, and what has to come of it
    Test {
        /// The table
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Checks the log: of the store, or of an exported file
    Verify {
        /// An exported file; without one the store's own log is checked
        file: Option<PathBuf>,
        /// A public key that its checkpoints may be signed with: a file, or the key itself; may be given again
        #[arg(long, value_name = "KEY")]
        public_key: Vec<String>,
    },
    /// Writes the log to a file that anyone with the public key can check
    Export {
        /// The file to write; it must not be there yet
        file: PathBuf,
    },
    /// Proves that an entry is in the log
    Prove {
        /// The id of an entry, or of an access for all its entries
        id: String,
    },
    /// Signs the log's size and root as they are now
    Checkpoint,
}

/// Says what is wrong with a command line, in one line; help and version are no errors.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // where nobody reads it there is nothing to add
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
    // `--for` takes a negative length, to refuse it as such, and so also what was meant to be the next option
    let given: Vec<String> = std::env::args().collect();
    let swallowed = given.iter().zip(given.iter().skip(1)).any(|(one, next)| one == "--for" && next.starts_with("--"));
    if swallowed {
        return "missing: a length of time after --for, like `30m`".to_owned();
    }
    // what it is, without the usage and the pointer to the help that follow an empty line
    let text = error.render().to_string();
    let first = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect::<Vec<_>>().join(" ");
    first.strip_prefix("error: ").map_or(first.clone(), str::to_owned)
}

fn hint(error: &clap::Error) -> String {
    let suggested = |kind| match error.get(kind) {
        Some(ContextValue::String(one)) => Some(one.clone()),
        // the nearest stands last
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
