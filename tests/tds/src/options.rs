//! Options that a server starts with.

use std::path::PathBuf;

/// Options that a server starts with.
#[derive(Debug, Clone)]
pub struct Options {
    pub tls: Tls,
    /// Password of `sa`.
    pub sa_password: String,
    /// Names of the databases besides master, tempdb, model and msdb.
    pub databases: Vec<String>,
    /// Names of the contained databases, whose users have passwords.
    pub contained_databases: Vec<String>,
    /// Version that SERVERPROPERTY('ProductVersion') returns.
    pub version: String,
    pub server_name: String,
    /// Batches run as `sa` before anybody connects: (database, text).
    pub setup: Vec<(String, String)>,
}

/// Encryption of the conversations.
#[derive(Debug, Clone)]
pub enum Tls {
    /// Server has no certificate: clients that insist on encryption refuse it.
    Refused,
    /// Encryption for every client that can; clients that cannot talk in the clear.
    Offered { certificate: PathBuf, key: PathBuf },
    /// Encryption for every client; nobody logs in in the clear.
    Forced { certificate: PathBuf, key: PathBuf },
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
