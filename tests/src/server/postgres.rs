//! PostgreSQL servers that the tests start and throw away.

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::{Down, FAKETIME, User, cache, end, exchange, finish, free_port, last_words, save, signal};
use crate::servers::RunningPostgres;
use crate::tls::Certificates;

/// Server of one test. It is stopped and removed when dropped.
pub struct Cluster {
    running: RunningPostgres,
    binaries: PathBuf,
    user: User,
    folder: TempDir,
    process: Option<Child>,
    durable: bool,
    /// File with the offset of its clock, which libfaketime reads. `None`: the clock is the
    /// machine's.
    clock: Option<PathBuf>,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("running", &self.running).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Makes and starts a server that never waits for the disk, as its data will be thrown away.
    ///
    /// # Errors
    /// When its binaries are missing or it does not start.
    pub async fn start_fresh(major: u32) -> Result<Self> {
        let mut cluster = Self::init(major, false, "").await?;
        cluster.start().await?;
        Ok(cluster)
    }

    /// Makes and starts a server that keeps every committed write when it is killed (fsync is on).
    ///
    /// # Errors
    /// When its binaries are missing or it does not start.
    pub async fn start_durable(major: u32) -> Result<Self> {
        Self::start_durable_with(major, "").await
    }

    /// Does the same as [`Self::start_durable`], with these lines at the end of its
    /// `postgresql.conf`.
    ///
    /// # Errors
    /// When its binaries are missing or it does not start.
    pub async fn start_durable_with(major: u32, settings: &str) -> Result<Self> {
        let mut cluster = Self::init(major, true, settings).await?;
        cluster.start().await?;
        Ok(cluster)
    }

    /// Does the same as [`Self::start_fresh`], with a clock that [`Self::set_clock`] sets.
    ///
    /// # Errors
    /// When libfaketime or its binaries are missing, or it does not start.
    pub async fn start_with_clock(major: u32) -> Result<Self> {
        ensure!(Path::new(FAKETIME).exists(), "{FAKETIME} is missing: install libfaketime");
        let mut cluster = Self::init(major, false, "").await?;
        cluster.clock = Some(cluster.folder.path().join("clock"));
        cluster.set_clock(0)?;
        cluster.start().await?;
        Ok(cluster)
    }

    /// Sets its clock this many seconds ahead of the machine's.
    ///
    /// # Errors
    /// When it has no clock of its own.
    pub fn set_clock(&self, seconds: i64) -> Result<()> {
        let clock = self.clock.as_ref().context("this server has the machine's clock")?;
        Ok(std::fs::write(clock, format!("{seconds:+}\n"))?)
    }

    async fn init(major: u32, durable: bool, more: &str) -> Result<Self> {
        let binaries = binaries(major)?;
        let user = User::unprivileged()?;
        let folder = tempfile::Builder::new().prefix("jit-pg").permissions(Permissions::from_mode(0o755)).tempdir()?;
        user.own(folder.path())?;
        let data = folder.path().join("data");
        let mut initdb = user.command(&binaries.join("initdb"));
        initdb.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]);
        finish(initdb, Stdio::null()).await.with_context(|| format!("initdb of PostgreSQL {major}"))?;
        let certificates = Certificates::make(folder.path())?;
        user.own(&certificates.key)?;
        std::fs::set_permissions(&certificates.key, Permissions::from_mode(0o600))?;
        // everybody may log in by the socket: administrators and users of the tests; the network
        // needs a password
        std::fs::write(data.join("pg_hba.conf"), "local all all trust\nhost all all 127.0.0.0/8 scram-sha-256\n")?;
        let running = RunningPostgres {
            major,
            port: free_port()?,
            socket: folder.path().to_owned(),
            ca: certificates.ca.clone(),
            other_ca: certificates.other_ca.clone(),
        };
        let settings = format!(
            "listen_addresses = '127.0.0.1,127.0.0.2'\nport = {port}\nunix_socket_directories = '{socket}'\n\
             max_connections = 400\nmax_prepared_transactions = 100\nfsync = {fsync}\nshared_buffers = 32MB\n\
             ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\npassword_encryption = 'scram-sha-256'\n\
             log_line_prefix = '%m [%p] %u %a '\nfull_page_writes = {fsync}\n{more}\n",
            port = running.port,
            socket = running.socket.display(),
            fsync = if durable { "on" } else { "off" },
            certificate = certificates.certificate.display(),
            key = certificates.key.display(),
        );
        let file = data.join("postgresql.conf");
        let defaults = std::fs::read_to_string(&file)?;
        std::fs::write(&file, defaults + &settings)?;
        Ok(Self { running, binaries, user, folder, process: None, durable, clock: None })
    }

    /// Returns the addresses and certificates of the server.
    #[must_use]
    pub fn running(&self) -> &RunningPostgres {
        &self.running
    }

    /// Returns the process id of the server, while it runs.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts the server process.
    ///
    /// # Errors
    /// When it does not answer within a minute.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "it runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let postgres = self.binaries.join("postgres");
        let mut command = match &self.clock {
            None => self.user.command(&postgres),
            Some(clock) => {
                // faketime is loaded after the change of user: it keeps a file that belongs to the
                // user that started it
                let mut command = self.user.command(Path::new("env"));
                command.args([&format!("LD_PRELOAD={FAKETIME}"), "FAKETIME_NO_CACHE=1", "DONT_FAKE_MONOTONIC=1"]);
                command.arg(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display())).arg(postgres);
                command
            }
        };
        command.arg("-D").arg(self.data()).current_dir("/").stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().context("starting postgres")?);
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            match self.running.admin("postgres").await {
                Ok(_) => break,
                Err(error) if Instant::now() > patience => {
                    bail!("it does not start: {error}\n{}", last_words(&self.log()))
                }
                Err(_) => {}
            }
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
                self.process = None;
                bail!("it ended at once, {status}:\n{}", last_words(&self.log()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if !self.data().join("standby.signal").exists() {
            let admin = self.running.admin("postgres").await?;
            let there = admin.query_opt("SELECT 1 FROM pg_database WHERE datname = 'other'", &[]).await?;
            if there.is_none() {
                admin.batch_execute("CREATE DATABASE other").await?;
            }
        }
        Ok(())
    }

    /// Starts the server as a standby without a primary: it answers, and writes nothing.
    ///
    /// # Errors
    /// When it does not answer within a minute.
    pub async fn start_read_only(&mut self) -> Result<()> {
        std::fs::write(self.data().join("standby.signal"), "")?;
        self.start().await
    }

    /// Stops the server process.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn stop(&mut self, how: Down) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        match how {
            Down::Fast => signal(process.id(), "INT")?,
            Down::Killed => {
                ensure!(self.durable, "a server without fsync is not for killing: it promises nothing");
                // the children notice that the postmaster has died, and exit
                process.kill()?;
            }
        }
        end(&mut process)?;
        if how == Down::Killed {
            let _ = std::fs::remove_file(self.data().join("postmaster.pid"));
        }
        Ok(())
    }

    /// Copies its data as a storage snapshot does. The server has to be stopped.
    ///
    /// # Errors
    /// When the data cannot be copied.
    pub async fn save(&self) -> Result<()> {
        save(self.folder.path()).await
    }

    /// Removes the saved copy.
    ///
    /// # Errors
    /// When there is no saved copy.
    pub fn forget_saved(&self) -> Result<()> {
        Ok(std::fs::remove_dir_all(self.folder.path().join("saved"))?)
    }

    /// Replaces its data with the saved copy, and keeps the previous data as the saved one: another
    /// server at the same place. The server has to be stopped.
    ///
    /// # Errors
    /// When there is no saved copy.
    pub fn exchange(&self) -> Result<()> {
        exchange(self.folder.path())
    }

    /// Starts a byte for byte copy of the server beside it. The server has to be stopped while the
    /// copy is made.
    ///
    /// # Errors
    /// When it cannot be copied, or the copy does not start.
    pub async fn copy(&self) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("jit-pg").permissions(Permissions::from_mode(0o755)).tempdir()?;
        self.user.own(folder.path())?;
        let mut copy = std::process::Command::new("cp");
        copy.arg("-a").arg(self.data()).arg(folder.path().join("data"));
        finish(copy, Stdio::null()).await?;
        let running = RunningPostgres { port: free_port()?, socket: folder.path().to_owned(), ..self.running.clone() };
        let file = folder.path().join("data/postgresql.conf");
        let settings = std::fs::read_to_string(&file)?;
        let elsewhere = format!("port = {}\nunix_socket_directories = '{}'\n", running.port, running.socket.display());
        std::fs::write(&file, settings + &elsewhere)?;
        let (binaries, user) = (self.binaries.clone(), self.user);
        let mut copy = Self { running, binaries, user, folder, process: None, durable: self.durable, clock: None };
        copy.start().await?;
        Ok(copy)
    }

    /// Dumps all accounts and roles with `pg_dumpall`, to restore them in a later version. The
    /// grantors of memberships are left out. `pg_dumpall` of 16 and later leaves them out for an
    /// earlier server, but this one has the server's own version and does not.
    ///
    /// # Errors
    /// When `pg_dumpall` is missing, or fails.
    pub async fn dumped_accounts(&self) -> Result<String> {
        let mut dump = self.user.command(&self.binaries.join("pg_dumpall"));
        let port = self.running.port.to_string();
        dump.args(["--globals-only", "-U", "postgres", "-p", &port, "-h"]).arg(&self.running.socket);
        let said = tokio::process::Command::from(dump).output().await?;
        ensure!(said.status.success(), "pg_dumpall: {}", String::from_utf8_lossy(&said.stderr));
        // lines for psql alone concern no account
        let said = String::from_utf8(said.stdout)?;
        let statements = said.lines().filter(|line| !line.starts_with('\\'));
        Ok(statements
            .map(|line| match line.split_once(" GRANTED BY ") {
                Some((grant, _)) => format!("{grant};\n"),
                None => format!("{line}\n"),
            })
            .collect())
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // killed at once: nobody will read its data again
            if signal(process.id(), "QUIT").is_err() {
                let _ = process.kill();
            }
            let _ = end(&mut process);
        }
    }
}

impl RunningPostgres {
    /// Opens a session of the administrator in this database.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn admin(&self, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        self.session("postgres", database).await
    }

    /// Opens a session of this user by the socket, which needs no password.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn session(&self, user: &str, database: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.socket).port(self.port).user(user).dbname(database);
        config.application_name("jit tests").connect_timeout(Duration::from_secs(10));
        let (client, connection) = config.connect(NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

/// Returns the folder of `initdb` and `postgres` of this version.
///
/// # Errors
/// When they are not found; the error says what to do.
pub fn binaries(major: u32) -> Result<PathBuf> {
    let cached = cache().join(format!("postgres-{major}/native/bin"));
    let places = [PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")), cached];
    let found = places.into_iter().find(|place| place.join("postgres").exists());
    found.with_context(|| format!("PostgreSQL {major} is nowhere to be found: ./tests/run.sh brings it"))
}
