//! Which server the mock is.

use crate::database::{Capabilities, NameError};

/// An engine and its version, as far as they behave differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    version: u32,
}

impl Profile {
    /// PostgreSQL of this major version; 15 and older know neither grantors nor options of a membership.
    #[must_use]
    pub const fn postgres(version: u32) -> Self {
        Self { version }
    }

    /// Every profile there is.
    pub const ALL: [Self; 4] = [Self::postgres(15), Self::postgres(16), Self::postgres(17), Self::postgres(18)];

    /// As tests call it.
    #[must_use]
    pub fn name(self) -> String {
        format!("mock-postgres-{}", self.version)
    }

    /// One row per grantor, with INHERIT and SET options; and an open transaction blocks the whole role.
    #[must_use]
    pub(super) fn per_grantor(self) -> bool {
        self.version >= 16
    }

    pub(super) fn capabilities(self) -> Capabilities {
        Capabilities {
            engine: "PostgreSQL".to_owned(),
            version: format!("{}.0", self.version),
            grantor_recorded: self.per_grantor(),
            set_option: self.per_grantor(),
            sessions_keep_role: true,
            remarks: Vec::new(),
        }
    }

    /// Longest name, in bytes.
    pub(super) const LONGEST: usize = 63;

    /// What the engine would cut, refuse, or take for something else.
    pub(super) fn name_problem(self, what: &'static str, name: &str) -> Result<(), NameError> {
        let why = if name.is_empty() {
            "it is empty"
        } else if name.contains('\0') {
            "it holds a NUL character"
        } else if name.len() > Self::LONGEST {
            "it is longer than 63 bytes, and the server would cut it"
        } else if name.starts_with("pg_") {
            "names that begin with `pg_` are the server's own"
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
