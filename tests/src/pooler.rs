//! The connection pooler PgBouncer.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::server::{User, end, free_port, signal};
use crate::servers::RunningPostgres;
use crate::tls::Certificates;

/// Time for which a client of the pooler keeps one connection to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// Connection is kept for one transaction; the next one takes whichever is free.
    Transaction,
    /// Connection is kept for the client's whole session.
    Session,
}

/// Pooler before a server, for one role. It ends when it is dropped.
#[derive(Debug)]
pub struct Pooler {
    process: Child,
    port: u16,
    ca: PathBuf,
    folder: TempDir,
}

impl Pooler {
    /// Path in Debian's package.
    const PROGRAM: &str = "/usr/sbin/pgbouncer";
    /// Number of connections to the server: so few that clients have to share them.
    const SHARED: usize = 2;

    /// Starts a pooler in transaction mode before this database. It logs in as this role.
    ///
    /// # Errors
    /// When PgBouncer is missing, or does not start.
    pub async fn before(running: &RunningPostgres, database: &str, role: &str, password: &str) -> Result<Self> {
        Self::start(PoolMode::Transaction, running, database, role, password).await
    }

    /// Starts a pooler in this mode.
    ///
    /// # Errors
    /// The same as those of [`Self::before`].
    pub async fn start(
        mode: PoolMode,
        running: &RunningPostgres,
        database: &str,
        role: &str,
        password: &str,
    ) -> Result<Self> {
        let user = User::unprivileged()?;
        let folder =
            tempfile::Builder::new().prefix("jit-pool").permissions(Permissions::from_mode(0o755)).tempdir()?;
        let certificates = Certificates::make(folder.path())?;
        let (port, at) = (free_port()?, |name: &str| folder.path().join(name));
        std::fs::write(at("users"), format!("\"{role}\" \"{password}\"\n"))?;
        let settings = format!(
            "[databases]\n{database} = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\npool_mode = {mode}\ndefault_pool_size = {shared}\nauth_type = scram-sha-256\nauth_file = {users}\n\
             client_tls_sslmode = require\nclient_tls_cert_file = {certificate}\nclient_tls_key_file = {key}\n\
             server_tls_sslmode = verify-full\nserver_tls_ca_file = {ca}\n",
            server = running.port,
            mode = if mode == PoolMode::Transaction { "transaction" } else { "session" },
            shared = if mode == PoolMode::Transaction { Self::SHARED } else { 20 },
            users = at("users").display(),
            certificate = certificates.certificate.display(),
            key = certificates.key.display(),
            ca = running.ca.display(),
        );
        std::fs::write(at("pgbouncer.ini"), settings)?;
        for path in [folder.path(), &certificates.key, &at("users")] {
            user.own(path)?;
        }
        let log = std::fs::File::create(at("log"))?;
        let mut command = user.command(Path::new(Self::PROGRAM));
        command.arg(at("pgbouncer.ini")).current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().context("starting pgbouncer")?;
        let mut pooler = Self { process, port, ca: certificates.ca, folder };
        pooler.until_it_answers().await?;
        Ok(pooler)
    }

    /// Returns its port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the authority that signed its certificate.
    #[must_use]
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    async fn until_it_answers(&mut self) -> Result<()> {
        let patience = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if self.process.try_wait()?.is_some() || Instant::now() > patience {
                let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("pgbouncer does not start: ./tests/run.sh brings it\n{log}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        if signal(self.process.id(), "TERM").is_err() {
            let _ = self.process.kill();
        }
        let _ = end(&mut self.process);
    }
}
