//! What the supervisor says of the servers that it keeps running.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Names the file in which the supervisor describes its servers.
pub const VARIABLE: &str = "JIT_TEST_SERVERS";

/// Every engine that tests know how to start, by name.
pub const KNOWN: [(&str, u32); 4] =
    [("postgres-15", 15), ("postgres-16", 16), ("postgres-17", 17), ("postgres-18", 18)];

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
pub struct Running {
    /// PostgreSQL's major version.
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

impl Running {
    /// As in the names of tests.
    #[must_use]
    pub fn name(&self) -> String {
        format!("postgres-{}", self.major)
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
}
