//! Protection of the connection to a target.

#[cfg(feature = "tls")]
mod verifier;
#[cfg(feature = "tls")]
mod version_1;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::adapter::finding;
use super::{Check, Severity};

#[cfg(feature = "tls")]
pub use verifier::{TlsError, client_config, trusted};

/// Protection of the connection to a target. The default verifies everything, and giving a CA
/// switches nothing off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum TlsMode {
    /// The certificate chain and the name are verified.
    VerifyFull {
        /// PEM file of CA certificates that are trusted instead of the system's roots.
        #[serde(default)]
        ca: Option<PathBuf>,
        /// Name that the certificate has to be for, instead of the URL's host. A certificate
        /// without alternative names may have it as its common name. This needs `ca`.
        #[serde(default)]
        server_name: Option<String>,
    },
    /// Only the certificate chain is verified, not the name in the certificate.
    VerifyCa {
        /// PEM file of CA certificates that are trusted instead of the system's roots. Without one,
        /// the chain alone would prove nothing.
        ca: PathBuf,
    },
    /// No TLS at all: password and statements are sent in plain text. It has to be spelled out by
    /// this name.
    DangerPlaintext,
}

impl Default for TlsMode {
    fn default() -> Self {
        Self::verify_full(None)
    }
}

impl TlsMode {
    /// Verifies chain and host name, by this PEM file of CA certificates or by the system's roots.
    #[must_use]
    pub fn verify_full(ca: Option<PathBuf>) -> Self {
        Self::VerifyFull { ca, server_name: None }
    }

    /// Returns the file of CA certificates that replaces the system's roots.
    #[must_use]
    pub fn ca(&self) -> Option<&Path> {
        match self {
            Self::VerifyFull { ca, .. } => ca.as_deref(),
            Self::VerifyCa { ca } => Some(ca),
            Self::DangerPlaintext => None,
        }
    }

    /// Returns the finding of a check, if the server is not verified by the URL's host.
    #[must_use]
    pub fn checked(&self) -> Option<Check> {
        match self {
            Self::VerifyFull { server_name: Some(name), .. } => Some(finding(
                Severity::Remark,
                ("tls-name", Some(name.clone())),
                format!("the server is known by a certificate for `{name}` (`server_name`), not for the URL's host"),
                None,
            )),
            Self::VerifyCa { ca } => {
                let ca = ca.display();
                Some(finding(
                    Severity::Danger,
                    ("tls-chain-only", None),
                    format!(
                        "only the chain of the server's certificate is verified (`verify-ca`), which does not prove that it is this server: whoever \
                         has any certificate of an authority in `{ca}` can stand in its place and learn the password"
                    ),
                    Some(format!(
                        "tls = {{ mode = \"verify-full\", ca = \"{ca}\", server_name = \"NAME IN THE CERTIFICATE\" }}"
                    )),
                ))
            }
            Self::DangerPlaintext => Some(finding(
                Severity::Danger,
                ("plaintext", None),
                "the connection is not encrypted: password and statements are sent in plain text",
                Some("set `tls` to verify-full".to_owned()),
            )),
            Self::VerifyFull { server_name: None, .. } => None,
        }
    }
}
