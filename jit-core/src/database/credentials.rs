//! Sources of a broker's password. An adapter reads it when it connects for the first time, and
//! again whenever the server refuses it. So passwords rotate without a restart.

use std::fmt::{self, Debug};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::store::BoxError;

/// Time that reading a password may take, unless its source says otherwise.
const READ_WITHIN: Duration = Duration::from_secs(20);

/// A source of the password.
///
/// ```
/// use async_trait::async_trait;
/// use jit_core::SecretString;
/// use jit_core::database::{Credentials, CredentialsError};
///
/// /// Reads the password from a secret manager.
/// #[derive(Debug)]
/// struct Managed {
///     secret: String,
/// }
///
/// #[async_trait]
/// impl Credentials for Managed {
///     async fn password(&self) -> Result<SecretString, CredentialsError> {
///         fetch(&self.secret).await.map_err(|error| {
///             let from = format!("the secret `{}`", self.secret);
///             CredentialsError::new(from, error.to_string()).caused_by(error)
///         })
///     }
/// }
/// # async fn fetch(_: &str) -> Result<SecretString, std::io::Error> {
/// #     Ok("hunter2".into())
/// # }
/// ```
#[async_trait]
pub trait Credentials: Debug + Send + Sync {
    /// Reads the present password.
    ///
    /// # Errors
    /// When the source cannot be read.
    async fn password(&self) -> Result<SecretString, CredentialsError>;

    /// Returns the time that reading may take. It does not count as time of the connection.
    fn limit(&self) -> Duration {
        READ_WITHIN
    }
}

/// Error for a password that could not be read. It never holds any of the password.
#[derive(Debug, thiserror::Error)]
#[error("the password cannot be read from {from}: {why}")]
#[non_exhaustive]
pub struct CredentialsError {
    /// Source: a file, a variable, a command.
    pub from: String,
    /// Reason, and what to do.
    pub why: String,
    /// Cause of the error.
    #[source]
    pub source: Option<BoxError>,
}

impl CredentialsError {
    /// Creates an error for this source and reason.
    #[must_use]
    pub fn new(from: impl Into<String>, why: impl Into<String>) -> Self {
        Self { from: from.into(), why: why.into(), source: None }
    }

    /// Adds the cause of the error.
    #[must_use]
    pub fn caused_by(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// A file that holds the password and nothing else; line ends at its end are not part of it.
#[derive(Debug, Clone)]
pub struct FileCredentials(PathBuf);

impl FileCredentials {
    /// Uses this file, which is read whenever the password is asked for.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

#[async_trait]
impl Credentials for FileCredentials {
    async fn password(&self) -> Result<SecretString, CredentialsError> {
        let from = format!("the file `{}`", self.0.display());
        let path = self.0.clone();
        // A file on a stalled network disk must not stall the runtime.
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path).map(SecretString::from)).await;
        match read {
            Ok(Ok(text)) => trimmed(from, &text),
            Ok(Err(error)) => Err(CredentialsError { from, why: error.to_string(), source: Some(error.into()) }),
            Err(_) => Err(CredentialsError::new(from, "reading was interrupted")),
        }
    }
}

/// An environment variable of this process.
#[derive(Debug, Clone)]
pub struct EnvCredentials(String);

impl EnvCredentials {
    /// Uses the environment variable of this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

#[async_trait]
impl Credentials for EnvCredentials {
    async fn password(&self) -> Result<SecretString, CredentialsError> {
        let from = format!("the environment variable `{}`", self.0);
        match std::env::var(&self.0) {
            Ok(text) => trimmed(from, &SecretString::from(text)),
            Err(std::env::VarError::NotPresent) => Err(CredentialsError::new(from, "it is not set")),
            Err(std::env::VarError::NotUnicode(_)) => Err(CredentialsError::new(from, "it is not UTF-8")),
        }
    }
}

/// A command that prints the password, such as the client of a secret store. It runs without a
/// shell and its error output is not read. It is killed when it takes too long.
#[derive(Clone)]
pub struct CommandCredentials {
    program: String,
    arguments: Vec<String>,
    limit: Duration,
}

/// Longest output of a command that is still taken for a password, in bytes (a database token of a
/// cloud service has about 2 kB).
const LONGEST_SECRET: u64 = 64 * 1024;

impl CommandCredentials {
    /// Runs this program with these arguments, for 20 s at the longest.
    pub fn new(program: impl Into<String>, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.into(), arguments, limit: READ_WITHIN }
    }

    /// Returns the command with this time limit.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    async fn run(&self, from: &str) -> Result<SecretString, CredentialsError> {
        let failed = |error: std::io::Error| CredentialsError {
            from: from.to_owned(),
            why: error.to_string(),
            source: Some(error.into()),
        };
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut text = String::new();
        if let Some(output) = child.stdout.take() {
            let mut output = output.take(LONGEST_SECRET);
            if let Err(error) = output.read_to_string(&mut text).await {
                drop(SecretString::from(text));
                return Err(failed(error));
            }
        }
        let text = SecretString::from(text);
        let status = child.wait().await.map_err(failed)?;
        if !status.success() {
            return Err(CredentialsError::new(from, format!("it ended with {status}: run it by hand to see why")));
        }
        Ok(text)
    }
}

impl Debug for CommandCredentials {
    /// Hides the arguments, which can hold a token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandCredentials").field("program", &self.program).field("limit", &self.limit).finish()
    }
}

#[async_trait]
impl Credentials for CommandCredentials {
    fn limit(&self) -> Duration {
        self.limit
    }

    async fn password(&self) -> Result<SecretString, CredentialsError> {
        let from = format!("the command `{}`", self.program);
        match tokio::time::timeout(self.limit, self.run(&from)).await {
            Ok(text) => trimmed(from, &text?),
            Err(_) => Err(CredentialsError::new(
                from,
                format!("it took longer than {} s and was killed", self.limit.as_secs_f32()),
            )),
        }
    }
}

/// A password that never changes.
#[derive(Debug, Clone)]
pub struct FixedCredentials(SecretString);

impl FixedCredentials {
    /// Uses this password every time.
    #[must_use]
    pub fn new(password: SecretString) -> Self {
        Self(password)
    }
}

#[async_trait]
impl Credentials for FixedCredentials {
    async fn password(&self) -> Result<SecretString, CredentialsError> {
        Ok(self.0.clone())
    }
}

/// Removes the line end that editors and `echo` put at the end of a file; no password has one.
fn trimmed(from: String, text: &SecretString) -> Result<SecretString, CredentialsError> {
    let text = text.expose_secret().trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(CredentialsError::new(from, "it is empty"));
    }
    Ok(SecretString::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(source: impl Credentials) -> Result<String, String> {
        source.password().await.map(|secret| secret.expose_secret().to_owned()).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_file_is_read_anew_and_its_line_end_is_not_part_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "first\n").unwrap();
        let source = FileCredentials::new(&path);
        assert_eq!(read(source.clone()).await.unwrap(), "first");
        std::fs::write(&path, "second pass \r\n").unwrap();
        assert_eq!(read(source).await.unwrap(), "second pass ");
    }

    #[tokio::test]
    async fn a_missing_or_empty_source_says_which() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        assert!(read(FileCredentials::new(&path)).await.unwrap_err().contains("password`"));
        std::fs::write(&path, "\n").unwrap();
        assert!(read(FileCredentials::new(&path)).await.unwrap_err().contains("empty"));
        assert!(read(EnvCredentials::new("JIT_NOT_SET_ANYWHERE")).await.unwrap_err().contains("not set"));
    }

    #[tokio::test]
    async fn a_command_prints_the_password_or_is_killed() {
        assert_eq!(read(CommandCredentials::new("echo", ["from a vault"])).await.unwrap(), "from a vault");
        assert!(read(CommandCredentials::new("false", [""; 0])).await.unwrap_err().contains("ended with"));
        assert!(read(CommandCredentials::new("no such program", [""; 0])).await.is_err());
        let slow = CommandCredentials::new("sleep", ["30"]).limit(Duration::from_millis(50));
        assert!(read(slow).await.unwrap_err().contains("killed"));
    }

    #[test]
    fn law_12_debug_shows_no_secret() {
        let fixed = FixedCredentials::new(SecretString::from("hunter2"));
        assert!(!format!("{fixed:?}").contains("hunter2"));
        let command = CommandCredentials::new("vault", ["--token=hunter2"]);
        assert!(!format!("{command:?}").contains("hunter2"));
    }
}
