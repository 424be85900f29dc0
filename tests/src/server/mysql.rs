//! MySQL and MariaDB servers that the tests start and throw away.

use std::fmt;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder, SslOpts};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use super::{Down, User, cache, end, exchange, finish, free_port, last_words, save, signal};
use crate::servers::RunningMySql;
use crate::tls::Certificates;

/// Server of one test. It is stopped and removed when dropped.
pub struct MySqlServer {
    running: RunningMySql,
    program: Program,
    user: User,
    folder: TempDir,
    process: Option<Child>,
    durable: bool,
}

impl fmt::Debug for MySqlServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MySqlServer").field("running", &self.running).finish_non_exhaustive()
    }
}

/// Server product and its version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flavour {
    /// MySQL 9.7, or a later version.
    MySql97,
    /// MariaDB of version 10.11.
    MariaDb1011,
    /// MariaDB of version 11.8.
    MariaDb118,
}

/// Settings that differ from the usual ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    /// Durability of its writes: decides whether it may be killed.
    pub durability: Durability,
    /// State of its event scheduler.
    pub scheduler: Scheduler,
    /// Lines at the end of its option file, which override earlier ones.
    pub lines: &'a str,
}

/// Durability of a server's writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Durability {
    /// Server never waits for the disk, as its data will be thrown away.
    #[default]
    Lost,
    /// Server keeps every committed write when it is killed.
    Kept,
}

/// State of the event scheduler.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Scheduler {
    /// Scheduler runs from the start.
    #[default]
    On,
    /// Scheduler runs only after somebody turns it on: MariaDB's default.
    Off,
}

impl Flavour {
    /// All products and versions.
    pub const ALL: [Self; 3] = [Self::MySql97, Self::MariaDb1011, Self::MariaDb118];

    /// Returns the name as tests use it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MySql97 => "mysql-9.7",
            Self::MariaDb1011 => "mariadb-10.11",
            Self::MariaDb118 => "mariadb-11.8",
        }
    }

    /// Checks whether the product is MariaDB.
    #[must_use]
    pub fn is_mariadb(self) -> bool {
        self != Self::MySql97
    }
}

impl MySqlServer {
    /// Database in which the tests keep their tables.
    pub const DATABASE: &str = "jit_tests";

    /// Makes and starts a server that never waits for the disk, as its data will be thrown away.
    ///
    /// # Errors
    /// When its binaries are missing or it does not start.
    pub async fn start_fresh(flavour: Flavour) -> Result<Self> {
        Self::start_with(flavour, Settings::default()).await
    }

    /// Makes and starts a server that keeps every committed write when it is killed.
    ///
    /// # Errors
    /// When its binaries are missing or it does not start.
    pub async fn start_durable(flavour: Flavour) -> Result<Self> {
        Self::start_with(flavour, Settings { durability: Durability::Kept, ..Settings::default() }).await
    }

    /// Makes and starts a server with these settings.
    ///
    /// # Errors
    /// When its binaries are missing or it does not start.
    pub async fn start_with(flavour: Flavour, settings: Settings<'_>) -> Result<Self> {
        let mut server = Self::init(flavour, settings).await?;
        server.start().await?;
        Ok(server)
    }

    async fn init(flavour: Flavour, settings: Settings<'_>) -> Result<Self> {
        let program = Program::of(flavour)?;
        let user = User::unprivileged()?;
        let folder = tempfile::Builder::new().prefix("jit-my").permissions(Permissions::from_mode(0o755)).tempdir()?;
        user.own(folder.path())?;
        let at = |name: &str| folder.path().join(name);
        // a folder of its own: a starting MariaDB removes the files of other servers in a shared
        // one
        std::fs::create_dir(at("tmp"))?;
        user.own(&at("tmp"))?;
        program.copy_of_new(user, folder.path()).await.with_context(|| format!("making a new {}", flavour.name()))?;
        let certificates = Certificates::make(folder.path())?;
        user.own(&certificates.key)?;
        std::fs::set_permissions(&certificates.key, Permissions::from_mode(0o600))?;
        let running = RunningMySql {
            flavour,
            port: free_port()?,
            socket: at("socket"),
            ca: certificates.ca.clone(),
            other_ca: certificates.other_ca.clone(),
        };
        let durable = settings.durability == Durability::Kept;
        // clients from the network never count as `localhost`, so only those with access to the
        // socket are root
        let mut lines = format!(
            "[mysqld]\n{own}port={port}\nbind-address=127.0.0.1,127.0.0.2\nsocket={socket}\npid-file={pid}\ntmpdir={tmp}\n\
             ssl-cert={certificate}\nssl-key={key}\nskip-name-resolve=ON\nmax-connections=400\n\
             innodb-buffer-pool-size=32M\nevent-scheduler={scheduler}\n",
            own = program.options(&at("data")),
            port = running.port,
            socket = running.socket.display(),
            pid = at("pid").display(),
            tmp = at("tmp").display(),
            certificate = certificates.certificate.display(),
            key = certificates.key.display(),
            scheduler = if settings.scheduler == Scheduler::On { "ON" } else { "OFF" },
        );
        if !flavour.is_mariadb() {
            lines += "mysqlx=OFF\nskip-log-bin\n";
        } else {
            // off by default in MariaDB, which needs it to show who blocks whom; MySQL has it on
            lines += "performance-schema=ON\nperformance-schema-instrument='wait/lock/metadata/sql/mdl=ON'\n";
        }
        if !durable {
            lines += "innodb-flush-log-at-trx-commit=0\ninnodb-doublewrite=OFF\n";
        }
        std::fs::write(at("my.cnf"), lines + settings.lines + "\n")?;
        Ok(Self { running, program, user, folder, process: None, durable })
    }

    /// Returns the addresses and certificates of the server.
    #[must_use]
    pub fn running(&self) -> &RunningMySql {
        &self.running
    }

    /// Starts the server process.
    ///
    /// # Errors
    /// When it does not answer within a minute.
    pub async fn start(&mut self) -> Result<()> {
        self.start_as(&[]).await?;
        let mut admin = self.running.admin().await?;
        admin.query_drop(format!("CREATE DATABASE IF NOT EXISTS {}", Self::DATABASE)).await?;
        admin.disconnect().await?;
        Ok(())
    }

    /// Starts the server so that it writes nothing, like a replica.
    ///
    /// # Errors
    /// When it does not answer within a minute.
    pub async fn start_read_only(&mut self) -> Result<()> {
        // accounts exempt from read_only: MariaDB has no option that binds them
        let super_too = if self.running.flavour.is_mariadb() { None } else { Some("--super-read-only=ON") };
        let options: Vec<&str> = std::iter::once("--read-only=ON").chain(super_too).collect();
        self.start_as(&options).await
    }

    async fn start_as(&mut self, options: &[&str]) -> Result<()> {
        ensure!(self.process.is_none(), "it runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let mut command = self.program.command(self.user);
        command.arg(format!("--defaults-file={}", self.folder.path().join("my.cnf").display())).args(options);
        command.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().with_context(|| format!("starting {}", self.running.name()))?);
        let patience = Instant::now() + Duration::from_secs(60);
        loop {
            match self.running.admin().await {
                Ok(admin) => return Ok(admin.disconnect().await?),
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
    }

    /// Stops the server process.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub fn stop(&mut self, how: Down) -> Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        match how {
            Down::Fast => signal(process.id(), "TERM")?,
            Down::Killed => {
                ensure!(self.durable, "a server that does not wait for the disk is not for killing");
                process.kill()?;
            }
        }
        end(&mut process)?;
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
        let folder = tempfile::Builder::new().prefix("jit-my").permissions(Permissions::from_mode(0o755)).tempdir()?;
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(self.folder.path().join(".")).arg(folder.path());
        finish(copy, Stdio::null()).await?;
        let running = RunningMySql { port: free_port()?, socket: folder.path().join("socket"), ..self.running.clone() };
        let file = folder.path().join("my.cnf");
        let (here, there) = (self.folder.path().display().to_string(), folder.path().display().to_string());
        let lines = std::fs::read_to_string(&file)?.replace(&here, &there);
        std::fs::write(&file, lines + &format!("port={}\n", running.port))?;
        let (program, user) = (self.program.clone(), self.user);
        let mut copy = Self { running, program, user, folder, process: None, durable: self.durable };
        copy.start().await?;
        Ok(copy)
    }

    /// Gives the server another identifier from its next start on, with the same data: like a MySQL
    /// after a failover, or a MariaDB on another host.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn rename(&mut self) -> Result<()> {
        if !self.running.flavour.is_mariadb() {
            return Ok(std::fs::remove_file(self.folder.path().join("data/auto.cnf"))?);
        }
        // MariaDB's identifier consists of the host and the port
        self.running.port = free_port()?;
        let file = self.folder.path().join("my.cnf");
        let lines = std::fs::read_to_string(&file)?;
        Ok(std::fs::write(&file, lines + &format!("port={}\n", self.running.port))?)
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for MySqlServer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // killed at once: nobody will read its data again
            let _ = process.kill();
            let _ = end(&mut process);
        }
    }
}

impl RunningMySql {
    /// Opens a session of the administrator.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn admin(&self) -> Result<Conn, mysql_async::Error> {
        let socket = Some(self.socket.to_string_lossy());
        Conn::new(OptsBuilder::default().socket(socket).user(Some("root")).stmt_cache_size(0)).await
    }

    /// Opens a session of this user, by the network over verified TLS.
    ///
    /// # Errors
    /// When the server refuses it.
    pub async fn session(&self, user: &str, password: &str) -> Result<Conn, mysql_async::Error> {
        let tls = SslOpts::default().with_root_certs(vec![self.ca.clone().into()]).with_disable_built_in_roots(true);
        let options = OptsBuilder::default().ip_or_hostname("127.0.0.1").tcp_port(self.port).stmt_cache_size(0);
        // the driver would switch to the socket, where the server sees another account
        Conn::new(options.prefer_socket(false).ssl_opts(tls).user(Some(user)).pass(Some(password))).await
    }

    /// Returns the version text of the server.
    ///
    /// # Errors
    /// When the server cannot be asked.
    pub async fn version(&self) -> Result<String> {
        let mut admin = self.admin().await?;
        let version = admin.query_first("SELECT VERSION()").await?;
        admin.disconnect().await?;
        let name = if self.flavour.is_mariadb() { "MariaDB" } else { "MySQL" };
        let version: String = version.context("it does not say its version")?;
        Ok(format!("{name} {version}"))
    }
}

/// Program of a server, with its paths.
#[derive(Debug, Clone)]
struct Program {
    flavour: Flavour,
    /// Folder that stands for `/usr`.
    prefix: PathBuf,
    /// Program was unpacked together with its libraries; their own loader runs it.
    unpacked: bool,
}

impl Program {
    /// Finds the program of this product and version.
    ///
    /// # Errors
    /// When it is not found; the error says what to do.
    fn of(flavour: Flavour) -> Result<Self> {
        let unpacked = flavour != Flavour::MariaDb1011;
        let prefix = if unpacked { cache().join(flavour.name()).join("usr") } else { PathBuf::from("/usr") };
        let program = Self { flavour, prefix, unpacked };
        let (there, name) = (program.file().exists(), flavour.name());
        ensure!(there, "{name} is nowhere to be found: ./tests/run.sh brings it");
        Ok(program)
    }

    fn file(&self) -> PathBuf {
        self.prefix.join(if self.flavour.is_mariadb() { "sbin/mariadbd" } else { "sbin/mysqld" })
    }

    fn command(&self, user: User) -> Command {
        if !self.unpacked {
            return user.command(&self.file());
        }
        let mut command = user.command(&self.prefix.join("lib64/ld-linux-x86-64.so.2"));
        command.arg("--library-path").arg(self.prefix.join("lib/x86_64-linux-gnu")).arg(self.file());
        command
    }

    /// Returns its `share` folder, which has another name in MariaDB 11.
    fn share(&self) -> PathBuf {
        let names = ["share/mariadb", "share/mysql"].map(|name| self.prefix.join(name));
        let [mariadb, mysql] = names;
        if self.flavour.is_mariadb() && mariadb.join("english").exists() { mariadb } else { mysql }
    }

    /// Returns lines of an option file with all paths.
    fn options(&self, data: &Path) -> String {
        let (prefix, share) = (self.prefix.display(), self.share());
        let mut lines = format!("basedir={prefix}\ndatadir={}\nlc-messages-dir={}\n", data.display(), share.display());
        if self.flavour.is_mariadb() {
            lines += &format!("character-sets-dir={}\n", share.join("charsets").display());
        } else {
            lines += "secure-file-priv=NULL\ninnodb-redo-log-capacity=16M\n";
        }
        lines
    }

    /// Puts the data of a new server into `data` of this folder. MySQL takes seconds to make it, so
    /// the first one is kept and copied later.
    async fn copy_of_new(&self, user: User, folder: &Path) -> Result<()> {
        let home = cache().join(self.flavour.name());
        let kept = home.join("data");
        if !kept.exists() {
            let made = std::fs::create_dir_all(&home).and_then(|()| {
                tempfile::Builder::new().prefix("new").permissions(Permissions::from_mode(0o755)).tempdir_in(&home)
            });
            let Ok(fresh) = made else { return self.make_new(user, folder).await };
            user.own(fresh.path())?;
            self.make_new(user, fresh.path()).await?;
            // another process may have been faster
            if std::fs::rename(fresh.path().join("data"), &kept).is_err() {
                ensure!(kept.exists(), "{} cannot be written", home.display());
            }
        }
        let mut copy = Command::new("cp");
        copy.args(["-R", "--reflink=auto", "--sparse=always"]).arg(&kept).arg(folder.join("data"));
        finish(copy, Stdio::null()).await?;
        user.own_all(&folder.join("data")).await
    }

    /// Makes a new server's `data` in this folder. Its root has no password, and logs in on this
    /// machine only.
    async fn make_new(&self, user: User, folder: &Path) -> Result<()> {
        let (data, option_file, tmp) = (folder.join("data"), folder.join("new.cnf"), folder.join("new.tmp"));
        std::fs::create_dir(&tmp)?;
        user.own(&tmp)?;
        std::fs::write(&option_file, format!("[mysqld]\n{}tmpdir={}\n", self.options(&data), tmp.display()))?;
        let mut command = self.command(user);
        command.arg(format!("--defaults-file={}", option_file.display()));
        if !self.flavour.is_mariadb() {
            command.arg("--initialize-insecure");
            finish(command, Stdio::null()).await?;
            // removed, so that each copy gets an id of its own
            return Ok(std::fs::remove_file(data.join("auto.cnf"))?);
        }
        std::fs::create_dir(&data)?;
        user.own(&data)?;
        let statements = folder.join("new.sql");
        std::fs::write(&statements, self.system_tables()?)?;
        command.arg("--bootstrap");
        finish(command, std::fs::File::open(&statements)?.into()).await
    }

    /// Returns the statements that make MariaDB's own tables, one a line, as `mariadbd --bootstrap`
    /// reads them.
    fn system_tables(&self) -> Result<String> {
        let before = "create database if not exists mysql;\nuse mysql;\nset @auth_root_socket=NULL;\nset @skip_auth_anonymous=1;\n";
        let mut text = before.to_owned();
        for part in ["system_tables", "performance_tables", "system_tables_data"] {
            let names = ["mariadb", "mysql"].map(|by| self.share().join(format!("{by}_{part}.sql")));
            let file = names.into_iter().find(|file| file.exists()).with_context(|| format!("{part} is missing"))?;
            text += &std::fs::read_to_string(file)?;
            text.push('\n');
        }
        Ok(text + "delete from mysql.global_priv where User = 'root' and Host <> 'localhost';\n")
    }
}
