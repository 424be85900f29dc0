//! What a server is started with.

use std::path::PathBuf;

use crate::tls::Certificates;

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Options {
    pub tls: Tls,
    /// The password of `sa`.
    pub sa_password: String,
    /// Databases besides master, tempdb, model and msdb.
    pub databases: Vec<String>,
    /// Contained ones: users with passwords.
    pub contained_databases: Vec<String>,
    /// What SERVERPROPERTY('ProductVersion') says.
    pub version: String,
    pub server_name: String,
    /// Batches run as `sa` before anybody connects: (database, text).
    pub setup: Vec<(String, String)>,
}

/// Whether conversations are encrypted.
#[derive(Debug, Clone)]
pub enum Tls {
    /// A server without a certificate: clients that insist on encryption refuse it.
    Refused,
    /// Encrypted for every client that can, in the clear for those that say they cannot.
    Offered { certificate: PathBuf, key: PathBuf },
    /// Nobody logs in in the clear.
    Forced { certificate: PathBuf, key: PathBuf },
}

impl Tls {
    /// Forced, with these certificates.
    pub fn with(files: &Certificates) -> Self {
        Self::Forced { certificate: files.certificate.clone(), key: files.key.clone() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tls: Tls::Refused,
            sa_password: "Sa-password-1".into(),
            databases: vec!["app".into()],
            contained_databases: Vec::new(),
            version: "15.0.4385.2".into(),
            server_name: "DOUBLE".into(),
            setup: Vec::new(),
        }
    }
}
