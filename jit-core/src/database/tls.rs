//! How the connection to a target is protected.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How the connection to a target is protected. The default verifies everything, and giving a CA switches nothing off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
pub enum TlsMode {
    /// The certificate chain and the host name are verified.
    VerifyFull {
        /// A PEM file of CA certificates that are trusted instead of the system's roots.
        #[serde(default)]
        ca: Option<PathBuf>,
    },
    /// No TLS at all: password and statements travel readable. Only by this spelled-out name.
    DangerPlaintext,
}

impl Default for TlsMode {
    fn default() -> Self {
        Self::VerifyFull { ca: None }
    }
}
