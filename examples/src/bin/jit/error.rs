//! Errors in one line, with a hint and the exit code.

use std::process::ExitCode;

use jit_core::Refusal;
use jit_core::database::DatabaseError;
use jit_core::directory::DirectoryError;
use jit_core::engine::JitError;
use jit_core::policy::PolicyError;
use jit_core::store::StoreError;
use jit_core::text::escaped;

/// Failure of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Stable word for machines.
    pub(crate) kind: &'static str,
    /// Description of what happened.
    pub(crate) message: String,
    /// Hint what to do; empty if the message says it.
    pub(crate) hint: String,
    exit: Exit,
}

/// Exit code for the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Refused or not found.
    Refused,
    /// Wrong usage or configuration.
    Usage,
    /// Database or store that could not be reached.
    Unreachable,
}

impl Failure {
    /// Creates a failure; message and hint are one line each, whoever wrote what is in them.
    pub(crate) fn new(exit: Exit, kind: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let line = |text: String| escaped(&text).into_owned();
        Self { kind, message: line(message.into()), hint: line(hint.into()), exit }
    }

    /// Creates a failure for wrong usage.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", message, hint)
    }

    /// Creates a failure for a wrong configuration.
    pub(crate) fn configuration(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "configuration", message, hint)
    }

    /// Creates a failure for a refusal.
    pub(crate) fn refused(kind: &'static str, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Refused, kind, message, hint)
    }

    /// Creates a failure for a database that does not answer.
    pub(crate) fn unreachable(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, "database", message, hint)
    }

    /// Creates a failure for this machine, which does not do what it should.
    pub(crate) fn unusable(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Exit::Unreachable, "machine", message, hint)
    }

    /// Returns what to do: the hint, or the end of a message that says it itself.
    pub(crate) fn what_to_do(&self) -> &str {
        match self.hint.as_str() {
            "" => self.message.rsplit_once(": ").map_or("", |(_, end)| end),
            hint => hint,
        }
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.exit {
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
        })
    }
}

impl From<JitError> for Failure {
    fn from(error: JitError) -> Self {
        let hinted = error.hint();
        let (exit, hint) = match &error {
            JitError::Refused(Refusal::Question { waits: Some(waits), .. }) => {
                let hint = format!("look at it with `jit show`, and name it with `--question {}`", waits.question);
                return Self::new(Exit::Refused, error.kind(), one_line(&error.to_string()), hint);
            }
            JitError::Denied { .. } => (Exit::Refused, "`jit policy explain` shows what every rule says to it"),
            JitError::Refused(_) => (Exit::Refused, "`jit show` says how it stands, and who can decide"),
            JitError::NotFound { what: "access", .. } => (Exit::Refused, "look with `jit list`"),
            JitError::NotAllowed { .. } | JitError::NotFound { .. } => (Exit::Refused, ""),
            JitError::ClockDoubtful { .. } => (Exit::Refused, "check the clock, then run `jit clock accept`"),
            JitError::Internal { .. } => (Exit::Unreachable, "this is a fault of jit: report it with the log"),
            JitError::Standing { .. } => (Exit::Refused, "the account has the role without a window"),
            JitError::Stopped { .. } => (Exit::Refused, "lift it with `jit resume`, if you may"),
            JitError::TargetRefused { .. } => (Exit::Refused, "`jit doctor` shows how the target identifies itself"),
            JitError::Ended { .. } | JitError::TimedOut { .. } => (Exit::Refused, "`jit show` tells its history"),
            JitError::FactorRefused { .. } => (Exit::Refused, "give one with --totp; `jit mfa enroll` sets codes up"),
            JitError::KeyInUse { .. } => (Exit::Refused, "leave --key out, or give another one"),
            JitError::Busy => (Exit::Refused, "run it again"),
            JitError::Directory(DirectoryError::Unknown { .. }) => (Exit::Refused, "add them to the policy's groups"),
            JitError::Policy { .. } => (Exit::Unreachable, "look at the code of the policy"),
            JitError::Directory(_) => (Exit::Unreachable, "run it again when the directory answers"),
            JitError::Database(error) => (database_exit(error), "`jit doctor` checks every target"),
            JitError::Store(error) => return from_store(error),
            _ => (Exit::Usage, ""),
        };
        let message = match &error {
            JitError::Database(error) => error.with_causes(),
            other => other.to_string(),
        };
        Self::new(exit, error.kind(), one_line(&message), hinted.as_deref().unwrap_or(hint))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        from_store(&error)
    }
}

impl From<PolicyError> for Failure {
    /// Converts an error of the policy: one line per problem, each with its place.
    fn from(error: PolicyError) -> Self {
        let failure = Self::new(Exit::Usage, "policy", "", "fix the policy, then try it with `jit policy check`");
        let lines: Vec<_> = error.to_string().lines().map(|line| escaped(line).into_owned()).collect();
        Self { message: lines.join("\n"), ..failure }
    }
}

fn database_exit(error: &DatabaseError) -> Exit {
    match error {
        DatabaseError::Rejected { .. } => Exit::Refused,
        _ => Exit::Unreachable,
    }
}

fn from_store(error: &StoreError) -> Failure {
    let (exit, hint) = match error {
        StoreError::Conflict { .. } | StoreError::Fenced { .. } => (Exit::Refused, "run it again"),
        StoreError::Newer { .. } => (Exit::Usage, ""),
        StoreError::OutcomeUnknown { .. } => (Exit::Unreachable, "look with `jit list` before doing it again"),
        StoreError::Damaged { .. } => {
            (Exit::Unreachable, "restore the store from a backup, and look at who can write it")
        }
        StoreError::ReadOnly { .. } | StoreError::Full { .. } => (Exit::Unreachable, ""),
        _ => (Exit::Unreachable, "`[store] url` in jit.toml says where it is"),
    };
    Failure::new(exit, "store", one_line(&error.to_string()), hint)
}

/// Puts the text of a cause into one line.
fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
