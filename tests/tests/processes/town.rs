//! A careful team's surroundings: a server, the programs around jit, and the `jit` binary
//! configured for all of them.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jit_core::testkit::database_laws::{Act, World};
use jit_tests::outside::{MailServer, Outside};
use jit_tests::servers::{RunningMySql, RunningPostgres};
use jit_tests::tls::Certificates;
use jit_tests::world::mysql::MySqlWorld;
use jit_tests::world::postgres::PostgresWorld;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Child;

use crate::stage::{Said, command_in, ended};

/// Secrets that must not appear in any output.
pub(crate) const TRACKER_TOKEN: &str = "MARKER-tracker-token";
pub(crate) const OPA_TOKEN: &str = "MARKER-opa-token";
pub(crate) const CHAT_PATH: &str = "MARKER-chat-path";
pub(crate) const MAIL_PASSWORD: &str = "MARKER-mail-password";
/// Bytes of the webhook secrets.
pub(crate) const SIGNING: &[u8] = b"MARKER-signing-secret-of-32-byte";

/// Everything that the tests of a careful team use.
pub(crate) struct Town {
    pub(crate) world: Arc<dyn World>,
    pub(crate) outside: Outside,
    pub(crate) mail: MailServer,
    pub(crate) folder: TempDir,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) password: String,
}

fn whole(error: jit_core::store::BoxError) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

impl Town {
    pub(crate) async fn on_postgres(running: RunningPostgres) -> Result<Self> {
        let world = Arc::new(PostgresWorld::within(running.clone()).await?);
        let url = format!("postgres://{}@127.0.0.1:{}/postgres", world.broker(), running.port);
        let password = format!("secret of {}", world.broker());
        Self::new(world, &url, &running.ca.display().to_string(), password).await
    }

    pub(crate) async fn on_mysql(running: RunningMySql) -> Result<Self> {
        let world = Arc::new(MySqlWorld::within(running.clone()).await?);
        let url = format!("mysql://{}@127.0.0.1:{}", world.broker(), running.port);
        let password = format!("secret of {}", world.broker());
        Self::new(world, &url, &running.ca.display().to_string(), password).await
    }

    async fn new(world: Arc<dyn World>, url: &str, ca: &str, password: String) -> Result<Self> {
        let (account, role) = (world.fresh("alice"), world.fresh("orders_write"));
        world.act(Act::CreateAccount { account: &account, inherits: true }).await.map_err(whole)?;
        world.act(Act::CreateRole { role: &role }).await.map_err(whole)?;
        let folder = tempfile::tempdir()?;
        // an authority of its own, which the system does not trust
        let certificates = Certificates::make(folder.path())?;
        let mail = MailServer::start(Some((&certificates, ["jit", MAIL_PASSWORD])))?;
        let outside = Outside::start()?;
        let town = Self { world, outside, mail, folder, account, role, password };
        town.write("password", &format!("{}\n", town.password))?;
        town.write("tracker", TRACKER_TOKEN)?;
        town.write("opa", OPA_TOKEN)?;
        town.write("mail", MAIL_PASSWORD)?;
        town.write("chat", &format!("{}/{CHAT_PATH}", town.outside.url("chat")))?;
        town.write("signing", &format!("whsec_{}", STANDARD.encode(SIGNING)))?;
        town.write("jit.toml", &town.config(url, ca))?;
        town.write("policy.toml", &town.policy())?;
        let issue = json!({"fields": {"status": {"statusCategory": {"key": "indeterminate"}}, "assignee": {"emailAddress": "Alice@example.com"}}});
        town.outside.behaves("jira", &json!({ "body": issue.to_string() }))?;
        town.outside.behaves(
            "opa",
            &json!({ "body": json!({"result": {"allow": true}, "decision_id": "decision-7"}).to_string() }),
        )?;
        Ok(town)
    }

    fn config(&self, url: &str, ca: &str) -> String {
        let Self { outside, mail, .. } = self;
        let (jira, board, opa, siem) =
            (outside.url("jira"), outside.url("board"), outside.url("opa"), outside.url("siem"));
        let port = mail.port;
        let plain = "plaintext = \"danger-allowed\"\nlimit = \"2s\"";
        format!(
            r#"policy = "policy.toml"
link = "https://jit.example.com/accesses/{{id}}"
[store]
url = "sqlite:jit.db"
[targets.orders]
url = "{url}"
password_file = "password"
tls = {{ mode = "verify-full", ca = {ca:?} }}
[audit]
signing_key = "audit.key"
file = "audit.jsonl"
[mfa.totp]
issuer = "jit"
key = "mfa.key"
[notify.slack.dba]
url_file = "chat"
{plain}
[notify.webhook.siem]
url = "{siem}"
secret_file = "signing"
{plain}
[notify.email.dba]
host = "127.0.0.1"
port = {port}
ca = "ca.pem"
user = "jit"
password_file = "mail"
from = "jit <jit@example.com>"
to = ["dba@example.com"]
[approvers.jira]
kind = "jira"
url = "{jira}"
token_file = "tracker"
assignee = "{{requester}}@example.com"
{plain}
[approvers.board]
kind = "webhook"
url = "{board}"
secret_file = "signing"
callback = "http://callbacks/{{token}}"
{plain}
[approvers.opa]
kind = "opa"
url = "{opa}"
token_file = "opa"
{plain}
"#
        )
    }

    fn policy(&self) -> String {
        let Self { account, role, .. } = self;
        format!(
            r#"version = 1
[groups]
dba = ["bob", "carol"]
oncall = ["grace"]
[managers]
alice = "dana"
[accounts.orders]
alice = "{account}"
[[rule]]
name = "by the board"
targets = ["orders"]
roles = ["{role}"]
requesters = ["dave"]
receivers = ["alice"]
max = "1h"
[[rule.stage]]
approvers = ["board"]
[[rule]]
name = "change orders"
targets = ["orders"]
roles = ["{role}"]
requesters = ["alice"]
max = "1h"
reason = {{ min_length = 10 }}
ticket = {{ pattern = "OPS-[0-9]+", check = "jira" }}
[[rule.stage]]
mfa = {{ of = "requester", within = "5m" }}
approvers = ["opa"]
[[rule.stage]]
people = [{{ manager_of = "requester" }}, {{ group = "dba", quorum = 2 }}]
escalate = {{ after = "2s", to = "group:oncall" }}
mfa = {{ of = "approver", within = "5m", factor = "totp" }}
"#
        )
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.folder.path().join(name), text)?)
    }

    pub(crate) async fn jit(&self, arguments: &[&str]) -> Result<Said> {
        let mut command = command_in(self.folder.path(), "jit.toml", arguments)?;
        let said = ended(command.env("JIT_LOG", "trace").spawn()?).await?;
        let log = self.said();
        let before = std::fs::read_to_string(&log).unwrap_or_default();
        // the enrolled secret is shown once, to its owner
        if !arguments.contains(&"enroll") {
            std::fs::write(log, format!("{before}{}{}", said.out, said.error))?;
        }
        Ok(said)
    }

    /// Returns the path of the file that keeps the output of commands.
    pub(crate) fn said(&self) -> std::path::PathBuf {
        self.folder.path().join("said.log")
    }

    /// Runs the binary in the background, and keeps its output.
    pub(crate) fn runs(&self, arguments: &[&str]) -> Result<Child> {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("background.log"))?;
        let mut command = command_in(self.folder.path(), "jit.toml", arguments)?;
        command.env("JIT_LOG", "trace").stdout(log.try_clone()?).stderr(log);
        Ok(command.spawn()?)
    }

    pub(crate) fn background(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("background.log")).unwrap_or_default()
    }

    /// Enrols somebody for codes, and returns their secret in base32. This uses up the code of half
    /// a minute ago.
    pub(crate) async fn enrolls(&self, who: &str) -> Result<String> {
        let said = self.jit(&["mfa", "enroll", "--json", "--as", who]).await?.done()?.json()?;
        let uri = said["uri"].as_str().context("no uri")?;
        let secret =
            uri.split("secret=").nth(1).and_then(|rest| rest.split('&').next()).context("no secret")?.to_owned();
        for _ in 0..5 {
            let code = oathtool(&secret, -30)?;
            let said = self.jit(&["mfa", "confirm", "--totp", &code, "--as", who]).await?;
            // the half minute of a code may end before the code is checked
            if !said.error.contains("is wrong") {
                said.done()?;
                return Ok(secret);
            }
        }
        anyhow::bail!("no first code of {who} is taken")
    }

    pub(crate) async fn access(&self, id: &str) -> Result<Value> {
        self.jit(&["show", id, "--json"]).await?.done()?.json()
    }

    pub(crate) async fn until(&self, id: &str, state: &str) -> Result<Value> {
        for _ in 0..300 {
            let access = self.access(id).await?;
            if access["state"] == state {
                return Ok(access);
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        anyhow::bail!("it is not {state}: {}\n{}", self.access(id).await?, self.background())
    }
}

/// Returns the code that an independent generator shows this many seconds from now.
pub(crate) fn oathtool(secret: &str, seconds: i64) -> Result<String> {
    let at = format!("@{}", chrono::Utc::now().timestamp().saturating_add(seconds));
    let made = Command::new("oathtool").args(["--totp", "--base32", "--now", &at, secret]).output();
    let made = made.context("oathtool does not run: is it there?")?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    Ok(String::from_utf8(made.stdout)?.trim().to_owned())
}
