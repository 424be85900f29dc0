//! Profile of the server that the mock plays.

use crate::database::{Capabilities, DeadMansSwitch, NameError};

/// An engine and its version, as far as they behave differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    engine: Engine,
    version: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engine {
    Postgres,
    MySql,
    MariaDb,
}

impl Profile {
    /// Profile of PostgreSQL in this major version. Versions up to 15 know neither grantors nor
    /// options of a membership.
    #[must_use]
    pub const fn postgres(version: u32) -> Self {
        Self { engine: Engine::Postgres, version }
    }

    /// Profile of MySQL in this major version. It has a list of default roles, and a REVOKE removes
    /// its role from the list.
    #[must_use]
    pub const fn mysql(version: u32) -> Self {
        Self { engine: Engine::MySql, version }
    }

    /// Profile of MariaDB in this major version. It has one default role, which a REVOKE leaves
    /// set.
    #[must_use]
    pub const fn mariadb(version: u32) -> Self {
        Self { engine: Engine::MariaDb, version }
    }

    /// Every profile there is.
    pub const ALL: [Self; 6] = [
        Self::postgres(15),
        Self::postgres(16),
        Self::postgres(17),
        Self::postgres(18),
        Self::mysql(9),
        Self::mariadb(11),
    ];

    /// Name of the profile in tests.
    #[must_use]
    pub fn name(self) -> String {
        let engine = match self.engine {
            Engine::Postgres => "postgres",
            Engine::MySql => "mysql",
            Engine::MariaDb => "mariadb",
        };
        format!("mock-{engine}-{}", self.version)
    }

    /// Checks whether there is one row per grantor, with INHERIT and SET options. If so, an open
    /// transaction blocks the whole role.
    #[must_use]
    pub(super) fn per_grantor(self) -> bool {
        self.is_postgres() && self.version >= 16
    }

    pub(super) fn is_postgres(self) -> bool {
        self.engine == Engine::Postgres
    }

    /// Checks whether a row at least names its grantor, so that a REVOKE of ours takes no other
    /// row.
    #[doc(hidden)]
    #[must_use]
    pub fn names_grantors(self) -> bool {
        self.is_postgres()
    }

    /// Checks whether there are default roles: a session starts with them, and keeps what it has.
    pub(super) fn default_roles(self) -> bool {
        !self.is_postgres()
    }

    /// Checks whether an account has only one default role.
    pub(super) fn one_default_role(self) -> bool {
        self.engine == Engine::MariaDb
    }

    /// Checks whether an account can be granted like a role.
    pub(super) fn account_members(self) -> bool {
        self.engine != Engine::MariaDb
    }

    pub(super) fn capabilities(self) -> Capabilities {
        let engine = match self.engine {
            Engine::Postgres => "PostgreSQL",
            Engine::MySql => "MySQL",
            Engine::MariaDb => "MariaDB",
        };
        Capabilities {
            engine: engine.to_owned(),
            version: format!("{}.0", self.version),
            grantor_recorded: self.per_grantor(),
            set_option: self.per_grantor(),
            sessions_keep_role: true,
            dead_mans_switch: DeadMansSwitch::Unavailable { remedy: "turn the mock's scheduler on".to_owned() },
            remarks: Vec::new(),
        }
    }

    /// Length of the longest name, in bytes, or in characters if the engine counts those.
    pub(super) fn longest_name(self) -> usize {
        if self.is_postgres() { 63 } else { 32 }
    }

    /// Returns names that no account and no role can have.
    pub(super) fn refused_names(self) -> &'static [&'static str] {
        if self.is_postgres() {
            &["", "public", "none", "pg_monitor", "pg_x", "nul\0"]
        } else {
            &["", "public", "none", "nul\0", "behind "]
        }
    }

    /// Checks a name: fails if the engine would cut, refuse or misread it.
    pub(super) fn name_problem(self, what: &'static str, name: &str) -> Result<(), NameError> {
        let length = if self.is_postgres() { name.len() } else { name.chars().count() };
        let why = if name.is_empty() {
            "it is empty"
        } else if name.contains('\0') {
            "it holds a NUL character"
        } else if length > self.longest_name() {
            "it is longer than the engine takes whole"
        } else if self.is_postgres() && name.starts_with("pg_") {
            "names that begin with `pg_` are the server's own"
        } else if !self.is_postgres() && name.ends_with(' ') {
            "the server would take blanks at the end off"
        } else if name == "public" || name == "none" {
            "it is a reserved word"
        } else {
            return Ok(());
        };
        Err(NameError {
            what,
            given: name.chars().take(80).flat_map(char::escape_debug).collect(),
            why: why.to_owned(),
        })
    }
}
