//! Description of the servers that the supervisor keeps running.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::server::Flavour;

/// Environment variable with the path of the file in which the supervisor describes its servers.
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

/// Kind of engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL of this major version.
    Postgres(u32),
    /// MySQL or MariaDB in one version.
    MySql(Flavour),
}

/// Servers that the supervisor has.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Servers {
    /// Servers that run.
    pub running: Vec<Running>,
    /// Engines that do not run, with the reason.
    pub absent: BTreeMap<String, String>,
}

/// Server that is running.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Running {
    /// PostgreSQL server and its address.
    Postgres(RunningPostgres),
    /// MySQL or MariaDB server and its address.
    MySql(RunningMySql),
}

/// PostgreSQL server that is running.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunningPostgres {
    /// Major version of the server.
    pub major: u32,
    /// Port on 127.0.0.1 and 127.0.0.2.
    pub port: u16,
    /// Folder of its socket; everybody may log in by it.
    pub socket: PathBuf,
    /// Authority that signed its certificate, which is for 127.0.0.1 and localhost only.
    pub ca: PathBuf,
    /// Authority that did not sign it.
    pub other_ca: PathBuf,
}

/// MySQL or MariaDB server that is running.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunningMySql {
    /// Product and version of the server.
    pub flavour: Flavour,
    /// Port on 127.0.0.1 and 127.0.0.2.
    pub port: u16,
    /// Socket of the server; root may log in by it, without a password.
    pub socket: PathBuf,
    /// Authority that signed its certificate, which is for 127.0.0.1 and localhost only.
    pub ca: PathBuf,
    /// Authority that did not sign it.
    pub other_ca: PathBuf,
}

impl Running {
    /// Returns the name as tests use it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Postgres(running) => running.name(),
            Self::MySql(running) => running.name().to_owned(),
        }
    }
}

impl RunningPostgres {
    /// Returns the name as tests use it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("postgres-{}", self.major)
    }
}

impl RunningMySql {
    /// Returns the name as tests use it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.flavour.name()
    }
}

impl Servers {
    /// Reads the file that the supervisor of this run has written. Without one, no server runs.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_this_run() -> Result<Self> {
        let Some(path) = std::env::var_os(VARIABLE) else {
            let why = "no servers: run ./tests/run.sh";
            let absent = KNOWN.iter().map(|(name, _)| ((*name).to_owned(), why.to_owned())).collect();
            return Ok(Self { running: Vec::new(), absent });
        };
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.to_string_lossy()))?;
        serde_json::from_str(&text).context("the supervisor's file is not as it should be")
    }

    /// Iterates over the running PostgreSQL servers.
    pub fn postgres(&self) -> impl Iterator<Item = &RunningPostgres> {
        self.running.iter().filter_map(|running| match running {
            Running::Postgres(running) => Some(running),
            Running::MySql(_) => None,
        })
    }

    /// Iterates over the running MySQL and MariaDB servers.
    pub fn mysql(&self) -> impl Iterator<Item = &RunningMySql> {
        self.running.iter().filter_map(|running| match running {
            Running::MySql(running) => Some(running),
            Running::Postgres(_) => None,
        })
    }
}
