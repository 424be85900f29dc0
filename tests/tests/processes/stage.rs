//! The stage of a test: a folder with a configuration, a store and a policy, roles of its own on a
//! server, and the `jit` binary.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use jit_core::clock::Time;
use jit_tests::places::OnPostgres;
use jit_tests::proxy::Proxy;
use jit_tests::servers::RunningPostgres;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio_postgres::Client;

use crate::Ground;

/// Longest wait of a test. Within it a claim runs out (10 s), and another node does the work on a
/// busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// Condition for a session that came by TLS, so not through the proxy.
pub(crate) const BY_TLS: &str = "EXISTS (SELECT FROM pg_stat_ssl s WHERE s.pid = pg_stat_activity.pid AND s.ssl)";
/// Pause between two looks.
const BETWEEN: Duration = Duration::from_millis(100);

/// Surroundings of one or two processes.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) running: RunningPostgres,
    pub(crate) admin: Client,
    pub(crate) folder: TempDir,
    /// Shared store, if the store is not in the folder.
    pub(crate) store: Option<OnPostgres>,
    /// Proxy before the server, for processes that use [`Way::Proxied`].
    pub(crate) proxy: Proxy,
    pub(crate) broker: String,
    pub(crate) account: String,
    pub(crate) role: String,
}

/// Connection of a process to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Connection by verified TLS.
    Straight,
    /// Connection through the proxy, which has to read the conversation.
    Proxied,
}

/// Output of a command.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Way {
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Straight => "jit.toml",
            Self::Proxied => "proxied.toml",
        }
    }
}

impl Said {
    /// Checks that the command succeeded.
    pub(crate) fn done(self) -> Result<Self> {
        ensure!(self.code == Some(0), "{:?}: {}{}", self.code, self.out, self.error);
        Ok(self)
    }

    /// Checks that the command failed with this code, and with one line that contains this text.
    pub(crate) fn fails(self, code: i32, with: &str) -> Result<Self> {
        ensure!(self.code == Some(code), "exit code {:?} instead of {code}: {}{}", self.code, self.out, self.error);
        ensure!(self.error.contains(with), "`{}` has no `{with}`", self.error);
        ensure!(self.error.trim_end().lines().count() == 1, "not one line: {}", self.error);
        Ok(self)
    }

    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{}{}", self.out, self.error))
    }
}

impl Stage {
    /// Makes a stage: `alice` may request one role, and `bob` or `carol` approve it.
    pub(crate) async fn on(ground: &Ground) -> Result<Self> {
        Self::with(&ground.server, ground.store().await?).await
    }

    /// Makes a stage on this server, with this shared store, or with one in a file.
    pub(crate) async fn with(running: &RunningPostgres, store: Option<OnPostgres>) -> Result<Self> {
        static STAGES: AtomicU64 = AtomicU64::new(0);
        let number = STAGES.fetch_add(1, Ordering::Relaxed);
        let of = |name: &str| format!("{name}_{}_{number}", std::process::id());
        let (broker, account, role) = (of("broker"), of("alice"), of("orders_write"));
        let admin = running.admin("postgres").await?;
        admin
            .batch_execute(&format!(
                "CREATE ROLE {role};
                 CREATE ROLE {account} LOGIN;
                 CREATE ROLE {broker} LOGIN NOINHERIT PASSWORD 'the secret of {broker}';
                 GRANT {role} TO {broker} WITH ADMIN OPTION, INHERIT FALSE, SET FALSE;
                 GRANT pg_signal_backend TO {broker} WITH INHERIT TRUE;"
            ))
            .await?;
        let folder = tempfile::tempdir()?;
        let proxy = Proxy::before(running.port).await?;
        let stage = Self { running: running.clone(), admin, folder, store, proxy, broker, account, role };
        stage.write("node", OnPostgres::PASSWORD)?;
        stage.write("password", &format!("the secret of {}\n", stage.broker))?;
        for way in [Way::Straight, Way::Proxied] {
            stage.write(way.file(), &stage.config(way))?;
        }
        stage.write("policy.toml", &stage.policy())?;
        Ok(stage)
    }

    /// Returns the configuration of the target under this name.
    pub(crate) fn target(&self, name: &str, database: &str, way: Way) -> String {
        let (port, tls) = match way {
            Way::Straight => {
                let ca = self.running.ca.display().to_string();
                (self.running.port, format!("{{ mode = \"verify-full\", ca = {ca:?} }}"))
            }
            Way::Proxied => (self.proxy.port(), "{ mode = \"danger-plaintext\" }".to_owned()),
        };
        let (broker, password) = (&self.broker, self.path("password").display().to_string());
        format!(
            "[targets.{name}]\nurl = \"postgres://{broker}@127.0.0.1:{port}/{database}\"\npassword_file = {password:?}\ntls = {tls}\n"
        )
    }

    fn config(&self, way: Way) -> String {
        // two names of one cluster
        let (orders, stock) = (self.target("orders", "postgres", way), self.target("stock", "other", way));
        let store = self.store_at(self.store.as_ref().map_or(0, |store| store.server().port));
        format!(
            "policy = \"policy.toml\"\n{store}{orders}{stock}\
             [audit]\nsigning_key = \"audit.key\"\nfile = \"audit.jsonl\"\n[tenants.acme]\npolicy = \"policy.toml\"\n"
        )
    }

    /// Returns the configuration of the store. A shared one is reached by this port of 127.0.0.1.
    pub(crate) fn store_at(&self, port: u16) -> String {
        let Some(store) = &self.store else { return "[store]\nurl = \"sqlite:jit.db\"\n".to_owned() };
        let (name, ca) = (store.name(), store.server().ca.display().to_string());
        format!(
            "[store]\nurl = \"postgres://{name}_node@127.0.0.1:{port}/{name}\"\npassword_file = \"node\"\n\
             tls = {{ mode = \"verify-full\", ca = {ca:?} }}\n"
        )
    }

    fn policy(&self) -> String {
        let (account, role) = (&self.account, &self.role);
        format!(
            r#"
version = 1
[groups]
dba = ["bob", "carol"]
[accounts.orders]
alice = "{account}"
[accounts.stock]
alice = "{account}"
[[may]]
do      = ["revoke", "stop", "resume", "reconcile"]
who     = ["frank"]
targets = ["*"]
[[rule]]
name       = "change orders"
targets    = ["orders"]
roles      = ["{role}", "missing_role"]
requesters = ["alice"]
max        = "1h"
set_role   = "allowed"
[[rule.stage]]
people = [{{ group = "dba" }}]
[[rule]]
name       = "change stock, by two"
targets    = ["stock"]
roles      = ["{role}"]
requesters = ["alice"]
max        = "1h"
decide_by  = "10s"
[[rule.stage]]
people = [{{ group = "dba", quorum = 2 }}]
"#
        )
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Appends text to a file of the folder.
    pub(crate) fn append(&self, name: &str, text: &str) -> Result<()> {
        let before = std::fs::read_to_string(self.path(name))?;
        self.write(name, &(before + text))
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.path(name), text)?)
    }

    // ---- processes

    /// Returns the binary with these arguments. It is killed when its handle is dropped.
    pub(crate) fn command(&self, way: Way, arguments: &[&str]) -> Result<Command> {
        self.command_with(way.file(), arguments)
    }

    /// Returns the same command with this configuration.
    pub(crate) fn command_with(&self, config: &str, arguments: &[&str]) -> Result<Command> {
        command_in(self.folder.path(), config, arguments)
    }

    /// Runs the binary to its end.
    pub(crate) async fn jit(&self, arguments: &[&str]) -> Result<Said> {
        ended(self.command(Way::Straight, arguments)?.spawn()?).await
    }

    /// Starts the binary, with the proxy before its server.
    pub(crate) fn victim(&self, arguments: &[&str]) -> Result<Child> {
        Ok(self.command(Way::Proxied, arguments)?.spawn()?)
    }

    /// Starts a pump in another process, which reaches the server.
    pub(crate) fn pump(&self) -> Result<Child> {
        self.logged(self.command(Way::Straight, &["pump"])?)
    }

    /// Starts the command; its output goes into the pumps' log.
    pub(crate) fn logged(&self, mut command: Command) -> Result<Child> {
        let log = std::fs::File::options().create(true).append(true).open(self.path("pump.log"))?;
        Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    // ---- accesses

    /// Requests the role, and returns the id of the access.
    pub(crate) async fn asks(&self, target: &str, how_long: &str) -> Result<String> {
        self.asks_for(target, &self.role, how_long).await
    }

    /// Requests this role, and returns the id of the access.
    pub(crate) async fn asks_for(&self, target: &str, role: &str, how_long: &str) -> Result<String> {
        let ask = ["request", "--json", "--target", target, "--role", role, "--for", how_long, "--as", "alice"];
        let said = self.jit(&ask).await?.done()?;
        Ok(said.json()?["id"].as_str().context("no id")?.to_owned())
    }

    /// Requests the role, lets bob approve it, and returns the id of the access.
    pub(crate) async fn holds(&self, how_long: &str) -> Result<String> {
        let id = self.asks("orders", how_long).await?;
        self.jit(&["approve", &id, "--as=bob"]).await?.done()?;
        ensure!(self.is_member().await?, "it is said to be usable, and is not");
        Ok(id)
    }

    pub(crate) async fn access(&self, id: &str) -> Result<Value> {
        self.jit(&["show", id, "--json"]).await?.done()?.json()
    }

    pub(crate) async fn state(&self, id: &str) -> Result<String> {
        Ok(self.access(id).await?["state"].as_str().context("no state")?.to_owned())
    }

    /// Waits until the access is in one of these states, and returns it.
    pub(crate) async fn until(&self, id: &str, states: &[&str]) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let access = self.access(id).await?;
            if access["state"].as_str().is_some_and(|state| states.contains(&state)) {
                return Ok(access);
            }
            ensure!(begun.elapsed() < PATIENCE, "it is not {states:?}: {access}\n{}", self.pump_said());
            tokio::time::sleep(BETWEEN).await;
        }
    }

    pub(crate) fn pump_said(&self) -> String {
        std::fs::read_to_string(self.path("pump.log")).unwrap_or_default()
    }

    // ---- the catalog

    pub(crate) async fn is_member(&self) -> Result<bool> {
        Ok(self.options().await?.is_some())
    }

    /// Waits until the catalog shows the membership, whatever the store says.
    pub(crate) async fn until_member(&self) -> Result<()> {
        let begun = Instant::now();
        while !self.is_member().await? {
            ensure!(begun.elapsed() < PATIENCE, "no GRANT arrives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Returns whether a member may SET ROLE. `None`: the account is no member.
    pub(crate) async fn options(&self) -> Result<Option<bool>> {
        let rows = self
            .admin
            .query(
                "SELECT set_option FROM pg_auth_members WHERE roleid = $1::text::regrole AND member = $2::text::regrole",
                &[&self.role, &self.account],
            )
            .await?;
        ensure!(rows.len() <= 1, "several memberships");
        rows.first().map(|row| Ok(row.try_get(0)?)).transpose()
    }

    /// Opens a session of the account that has set the role.
    pub(crate) async fn session(&self) -> Result<Client> {
        let session = self.running.session(&self.account, "postgres").await?;
        session.batch_execute(&format!("SET ROLE {}", self.role)).await?;
        Ok(session)
    }

    /// Counts the sessions of this user that fulfil this condition.
    pub(crate) async fn sessions(&self, user: &str, which: &str) -> Result<i64> {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND {which}");
        Ok(self.admin.query_one(&sql, &[&user]).await?.try_get(0)?)
    }

    /// Waits until this many sessions of the broker fulfil the condition.
    pub(crate) async fn until_broker(&self, which: &str, how_many: i64) -> Result<()> {
        let begun = Instant::now();
        while self.sessions(&self.broker, which).await? != how_many {
            ensure!(begun.elapsed() < PATIENCE, "never {how_many} sessions of the broker with {which}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits until the server has done everything that came through the proxy, and those sessions
    /// are over.
    pub(crate) async fn until_plain_gone(&self) -> Result<()> {
        self.until_broker(&format!("NOT {BY_TLS}"), 0).await
    }

    /// Waits until the window has closed, with no pump to end it.
    pub(crate) async fn until_overdue(&self, id: &str) -> Result<()> {
        let end = end(&self.access(id).await?)?;
        let left = (end - chrono::Utc::now()).to_std().unwrap_or_default();
        tokio::time::sleep(left + BETWEEN).await;
        Ok(())
    }

    /// Opens a transaction that has changed the role's members, so that nobody else can.
    pub(crate) async fn lock_role(&self) -> Result<Client> {
        let locker = self.running.admin("postgres").await?;
        locker.batch_execute(&format!("BEGIN; GRANT {} TO postgres", self.role)).await?;
        Ok(locker)
    }

    // ---- agreement

    /// Checks that store, catalog and sessions agree about the only access, and that it ends no
    /// later than `latest_end`.
    pub(crate) async fn agree(&self, id: &str, latest_end: Option<Time>) -> Result<String> {
        let access = self.access(id).await?;
        let state = access["state"].as_str().context("no state")?.to_owned();
        let member = self.is_member().await?;
        match state.as_str() {
            "active" => {
                ensure!(member, "active, and the catalog shows no membership: {access}");
                let end = end(&access)?;
                ensure!(latest_end.is_none_or(|latest| end <= latest), "it ends at {end}, later than {latest_end:?}");
            }
            "revoked" | "failed" | "withdrawn" => {
                ensure!(!member, "{state}, and the catalog shows the membership");
                ensure!(
                    self.sessions(&self.account, "true").await? == 0,
                    "{state}, and a session of the account lives"
                );
            }
            other => bail!("it is {other}"),
        }
        Ok(state)
    }

    /// Ends an active access, and checks what is left: no membership, no session, and a sound log
    /// that tells each event once.
    pub(crate) async fn closes(&self, id: &str) -> Result<()> {
        if self.state(id).await? == "active" {
            self.jit(&["release", id, "--as=alice"]).await?.done()?;
        }
        self.agree(id, None).await?;
        self.jit(&["audit", "verify"]).await?.done()?;
        self.jit(&["audit", "export", "export.jsonl"]).await?.done()?;
        let export = std::fs::read_to_string(self.path("export.jsonl"))?;
        let about = format!("\"access\":\"{id}\"");
        for once in ["active", "revoked"] {
            let what = format!("\"what\":\"{once}\"");
            let told = export.lines().filter(|line| line.contains(&what) && line.contains(&about)).count();
            ensure!(told <= 1, "the log tells {told} times that it is {once}");
        }
        Ok(())
    }
}

/// Returns the binary in this folder, with this configuration. It is killed when its handle is
/// dropped.
pub(crate) fn command_in(folder: &Path, config: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.arg("--config").arg(config).args(arguments).current_dir(folder).kill_on_drop(true);
    for variable in ["JIT_CONFIG", "JIT_TENANT", "JIT_AS", "JIT_LOG"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// Returns the end of the access.
pub(crate) fn end(access: &Value) -> Result<Time> {
    let end = access["expires_at"].as_str().with_context(|| format!("no end: {access}"))?;
    Ok(end.parse()?)
}

/// Waits for the end of the process, and returns its output.
pub(crate) async fn ended(child: Child) -> Result<Said> {
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.context("it does not end")??;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) })
}

/// Sends a signal to the process.
pub(crate) fn signal(child: &Child, name: &str) -> Result<()> {
    jit_tests::server::signal(child.id().context("it has ended")?, name)
}

/// Returns the path of `jit`, built beside this test.
fn binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target = here.parent().and_then(Path::parent).context("no target folder")?;
    let binary = target.join("jit");
    ensure!(binary.exists(), "{} is missing: cargo build -p jit-examples --bin jit", binary.display());
    Ok(binary)
}
