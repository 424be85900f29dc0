//! What the supervisor says of the servers that it keeps running.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::server::Flavour;

/// Names the file in which the supervisor describes its servers.
pub const VARIABLE: &str = "JIT_TEST_SERVERS";

/// Every engine that tests know how to start, by name.
pub const KNOWN: [(&str, Kind); 7] = [
    ("postgres-15", Kind::Postgres(15)),
    ("postgres-16", Kind::Postgres(16)),
    ("postgres-17", Kind::Postgres(17)),
    ("postgres-18", Kind::Postgres(18)),
    ("mysql-9.7", Kind::MySql(Flavour::MySql97)),
    ("mariadb-10.11", Kind::MySql(Flavour::MariaDb1011)),
    ("mariadb-11.8", Kind::MySql(Flavour::MariaDb118)),
];

/// What an engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL of this major version.
    Postgres(u32),
    /// MySQL, or MariaDB.
    MySql(Flavour),
}

/// What the supervisor has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Servers {
    /// Servers that run.
    pub running: Vec<Running>,
    /// Engines that do not, with the reason.
    pub absent: BTreeMap<String, String>,
}

/// One server that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Running {
    /// PostgreSQL.
    Postgres(RunningPostgres),
    /// MySQL, or MariaDB.
    MySql(RunningMySql),
}

/// A PostgreSQL server that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunningPostgres {
    /// Its major version.
    pub major: u32,
    /// On 127.0.0.1 and 127.0.0.2.
    pub port: u16,
    /// Where its socket is; everybody may log in by it.
    pub socket: PathBuf,
    /// The authority that signed its certificate, which is for 127.0.0.1 and localhost only.
    pub ca: PathBuf,
    /// One that did not.
    pub other_ca: PathBuf,
}

/// A MySQL or MariaDB server that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunningMySql {
    /// Which.
    pub flavour: Flavour,
    /// On 127.0.0.1 and 127.0.0.2.
    pub port: u16,
    /// Its socket; root may log in by it, without a password.
    pub socket: PathBuf,
    /// The authority that signed its certificate, which is for 127.0.0.1 and localhost only.
    pub ca: PathBuf,
    /// One that did not.
    pub other_ca: PathBuf,
}

impl Running {
    /// As in the names of tests.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Postgres(running) => running.name(),
            Self::MySql(running) => running.name().to_owned(),
        }
    }
}

impl RunningPostgres {
    /// As in the names of tests.
    #[must_use]
    pub fn name(&self) -> String {
        format!("postgres-{}", self.major)
    }
}

impl RunningMySql {
    /// As in the names of tests.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.flavour.name()
    }
}

impl Servers {
    /// As the supervisor of this run has written it; without one, nothing runs.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn of_this_run() -> Result<Self> {
        let Some(path) = std::env::var_os(VARIABLE) else {
            let why = "no servers: run ./tests/run.sh";
            let absent = KNOWN.iter().map(|(name, _)| ((*name).to_owned(), why.to_owned())).collect();
            return Ok(Self { running: Vec::new(), absent });
        };
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.to_string_lossy()))?;
        serde_json::from_str(&text).context("the supervisor's file is not as it should be")
    }

    /// Those of PostgreSQL that run.
    pub fn postgres(&self) -> impl Iterator<Item = &RunningPostgres> {
        self.running.iter().filter_map(|running| match running {
            Running::Postgres(running) => Some(running),
            Running::MySql(_) => None,
        })
    }

    /// Those of MySQL and MariaDB that run.
    pub fn mysql(&self) -> impl Iterator<Item = &RunningMySql> {
        self.running.iter().filter_map(|running| match running {
            Running::MySql(running) => Some(running),
            Running::Postgres(_) => None,
        })
    }
}
