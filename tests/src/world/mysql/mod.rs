//! The world of the laws on MySQL and MariaDB.

mod broker;
mod session;
mod stripper;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use chrono::NaiveDateTime;
use jit_core::clock::Time;
use jit_core::database::{Database, TlsMode};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{
    Act, By, Hold, Login, Need, Privilege, Row, UserSession, WRONG_PASSWORD, World,
};
use jit_mysql::{MySqlConfig, MySqlDatabase};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::password::Password;
use crate::server::{Down, Flavour, MySqlServer, free_port};
use crate::servers::RunningMySql;
pub use session::{LockedRoles, MySqlSession};
use stripper::Stripper;

/// Password of all accounts except the broker.
pub const PASSWORD: &str = "secret of an account";

/// Laws in which somebody blocks every GRANT and REVOKE of a server. They need a server of their
/// own, as the engines have no narrower lock.
const HOLDING: [&str; 6] = [
    "law_15_settle_ends_a_waiting_grant_and_nothing_lands_later",
    "law_15_settle_ends_a_waiting_revoke_and_nothing_lands_later",
    "law_15_settle_waits_until_the_deadline_is_past",
    "law_15_settle_leaves_other_calls_alone",
    "contract_grant_says_who_blocks_it",
    "law_04_blocked_revoke_says_who_blocks_it_and_succeeds_later",
];

/// Broker of its own on a server, and the people around it.
#[derive(Debug)]
pub struct MySqlWorld {
    running: RunningMySql,
    own: Option<tokio::sync::Mutex<MySqlServer>>,
    broker: String,
    password: Password,
    /// Names of roles. All other names are accounts of every host.
    roles: Mutex<BTreeSet<String>>,
    strippers: Mutex<Vec<Stripper>>,
}

/// Returns the reason why these engines cannot provide this.
#[must_use]
pub fn lacks(flavour: Flavour, need: Need) -> Option<&'static str> {
    match need {
        Need::Planted => Some("what is planted has tests of its own"),
        Need::GrantorRecorded if flavour.is_mariadb() => Some("roles_mapping names no grantor"),
        Need::GrantorRecorded => Some("role_edges names no grantor"),
        Need::SetOption => Some("no SET and INHERIT options: who is in a role may SET ROLE"),
        Need::LastingIds => Some("accounts and roles have no ids but their names"),
        Need::Prepared => Some("XA RECOVER does not say whose a prepared transaction is"),
        Need::Cursors => Some("cursors live inside of routines only"),
        Need::AccountMembers if flavour.is_mariadb() => Some("an account cannot be granted like a role"),
        Need::BlockersShown if flavour.is_mariadb() => Some("nothing shows who holds a lock"),
        _ => None,
    }
}

/// Checks whether the law needs a server that nobody else uses.
#[must_use]
pub fn wants_own_server(law: &jit_core::testkit::database_laws::DatabaseLaw) -> bool {
    law.wants_own_server() || HOLDING.contains(&law.name)
}

/// Makes a broker with the least privileges, which cannot grant any role yet, and the procedures
/// that it calls.
///
/// # Errors
/// When the server refuses a statement.
pub async fn make_broker(running: &RunningMySql, name: &str, password: &str) -> Result<()> {
    let (mut admin, broker) = (running.admin().await?, account(name));
    broker::make_procedures(&mut admin, running.flavour, &broker).await?;
    for statement in broker::least_privileged(running.flavour, &broker, password) {
        admin.query_drop(statement).await?;
    }
    Ok(admin.disconnect().await?)
}

impl MySqlWorld {
    /// Makes a world on a server that others use too.
    ///
    /// # Errors
    /// When the server refuses to make its broker.
    pub async fn within(running: RunningMySql) -> Result<Self> {
        Self::new(running, None).await
    }

    /// Makes a world on a server that nobody else uses: it may be stopped, and locked.
    ///
    /// # Errors
    /// When the server refuses to make its broker.
    pub async fn of_its_own(server: MySqlServer) -> Result<Self> {
        Self::new(server.running().clone(), Some(tokio::sync::Mutex::new(server))).await
    }

    async fn new(running: RunningMySql, own: Option<tokio::sync::Mutex<MySqlServer>>) -> Result<Self> {
        let broker = fresh("jit_broker");
        let password = format!("secret of {broker}");
        make_broker(&running, &broker, &password).await?;
        let (roles, strippers) = (Mutex::default(), Mutex::default());
        Ok(Self { running, own, broker, password: Password::new(&password), roles, strippers })
    }

    /// Returns the broker's adapter for a server at another port of 127.0.0.1. It trusts whatever
    /// answers there.
    ///
    /// # Errors
    /// When the configuration is refused.
    pub fn database_at(&self, port: u16) -> Result<Arc<dyn Database>, BoxError> {
        Ok(Arc::new(MySqlDatabase::new(self.config("127.0.0.1", port, TlsMode::DangerPlaintext)?)?))
    }

    /// Runs each statement by itself, as the administrator.
    async fn sql(&self, statements: &[String]) -> Result<(), BoxError> {
        run(self.running.admin().await?, statements).await
    }

    /// Runs each statement by itself, as the administrator or our broker.
    async fn sql_by(&self, by: By, statements: &[String]) -> Result<(), BoxError> {
        match by {
            By::Admin => self.sql(statements).await,
            By::Broker => run(self.running.session(&self.broker, &self.password.text()).await?, statements).await,
        }
    }

    fn roles(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.roles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a role or an account as statements do.
    fn named(&self, name: &str) -> String {
        if self.roles().contains(name) { quoted(name) } else { account(name) }
    }

    /// Returns the statement that sets a default role, for accounts only: nothing else has one.
    fn default_role(&self, role: &str, to: &str) -> Option<String> {
        let word = if self.running.flavour.is_mariadb() { "FOR" } else { "TO" };
        let is_account = !self.roles().contains(to);
        is_account.then(|| format!("SET DEFAULT ROLE {} {word} {}", self.named(role), account(to)))
    }

    fn config(&self, host: &str, port: u16, tls: TlsMode) -> Result<MySqlConfig, BoxError> {
        self.config_of(&self.broker, host, port, tls)
    }

    fn config_of(&self, user: &str, host: &str, port: u16, tls: TlsMode) -> Result<MySqlConfig, BoxError> {
        let config = MySqlConfig::from_url(&format!("mysql://{user}@{host}:{port}"))?;
        Ok(config
            .credentials(Arc::new(self.password.clone()))
            .tls(tls)
            .connections(4)
            .dead_mans_switch_grace(Duration::from_secs(1)))
    }

    async fn own(&self) -> Result<tokio::sync::MutexGuard<'_, MySqlServer>, BoxError> {
        Ok(self.own.as_ref().ok_or("this server is not its own")?.lock().await)
    }

    /// Ends every connection of the broker, and waits until they are gone.
    async fn end_broker(&self) -> Result<(), BoxError> {
        let mut admin = self.running.admin().await?;
        for _ in 0..500 {
            let text = "SELECT id FROM information_schema.processlist WHERE user = ?";
            let ids: Vec<u64> = admin.exec(text, (&self.broker,)).await?;
            if ids.is_empty() {
                return Ok(admin.disconnect().await?);
            }
            for id in ids {
                // the connection may be gone already
                let _ = admin.query_drop(format!("KILL {id}")).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Err("the broker's connections do not end".into())
    }
}

async fn run(mut conn: Conn, statements: &[String]) -> Result<(), BoxError> {
    for statement in statements {
        conn.query_drop(statement).await.map_err(|error| format!("{statement}: {error}"))?;
    }
    Ok(conn.disconnect().await?)
}

/// Returns a name that nobody else has. MySQL takes 32 characters, so the suffix has to be short.
fn fresh(hint: &str) -> String {
    static NAMES: AtomicU64 = AtomicU64::new(0);
    let number = NAMES.fetch_add(1, Ordering::Relaxed);
    // several test processes may use one server, one after the other
    format!("{hint}_{}_{}", short(u64::from(std::process::id())), short(number))
}

/// Writes a number in base 36.
fn short(mut number: u64) -> String {
    let mut digits = Vec::new();
    loop {
        digits.extend(char::from_digit(u32::try_from(number % 36).unwrap_or_default(), 36));
        number /= 36;
        if number == 0 {
            return digits.into_iter().rev().collect();
        }
    }
}

#[async_trait]
impl World for MySqlWorld {
    fn lacks(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::OwnServer if self.own.is_none() => Some("others use this server, too"),
            _ => lacks(self.running.flavour, need),
        }
    }

    fn fresh(&self, hint: &str) -> String {
        fresh(hint)
    }

    fn longest_name(&self) -> usize {
        32
    }

    fn counts_bytes(&self) -> bool {
        false
    }

    fn refused_names(&self) -> Vec<String> {
        let more: &[&str] = if self.running.flavour.is_mariadb() {
            &["PUBLIC", "public", "CURRENT_USER", "current_role"]
        } else {
            &["event_scheduler"]
        };
        ["", "none", "NONE", "nul\0", "behind "].iter().chain(more).map(|name| (*name).to_owned()).collect()
    }

    fn broker(&self) -> String {
        self.broker.clone()
    }

    async fn database(&self, login: Login) -> Result<Arc<dyn Database>, BoxError> {
        let (host, port) = ("127.0.0.1", self.running.port);
        let tls = || crate::tls::mode(login, Some(self.running.ca.clone()), &self.running.other_ca);
        let config = match login {
            Login::Broker
            | Login::UnknownCa
            | Login::Plaintext
            | Login::NameInCertificate
            | Login::AnotherName
            | Login::NameByUnknownCa
            | Login::ChainAlone
            | Login::ChainByUnknownCa => self.config(host, port, tls())?,
            // a schema is not a realm of its own: another target is another way to the same server
            Login::OtherDatabase => self.config("localhost", port, tls())?,
            Login::Superuser | Login::Nobody => {
                let user = fresh("somebody");
                let mut statements = vec![create_account(&user, PASSWORD)];
                if login == Login::Superuser {
                    statements.push(format!("GRANT ALL PRIVILEGES ON *.* TO {} WITH GRANT OPTION", account(&user)));
                }
                self.sql(&statements).await?;
                self.config_of(&user, host, port, tls())?.credentials(Arc::new(Password::new(PASSWORD)))
            }
            Login::WrongHost => self.config("127.0.0.2", port, tls())?,
            Login::Stripped => {
                let stripper = Stripper::before(port).await?;
                let config = self.config(host, stripper.port(), tls())?;
                self.strippers.lock().unwrap_or_else(PoisonError::into_inner).push(stripper);
                config
            }
            Login::WrongPassword => {
                self.config(host, port, tls())?.credentials(Arc::new(Password::new(WRONG_PASSWORD)))
            }
            Login::NobodyThere => {
                let port = free_port()?;
                self.config(host, port, tls())?
            }
            other => return Err(format!("no {other:?} here").into()),
        };
        Ok(Arc::new(MySqlDatabase::new(config)?))
    }

    async fn act(&self, act: Act<'_>) -> Result<(), BoxError> {
        let mariadb = self.running.flavour.is_mariadb();
        let broker = account(&self.broker);
        match act {
            Act::CreateAccount { account, .. } => self.sql(&[create_account(account, PASSWORD)]).await,
            Act::CreateRole { role } => {
                self.roles().insert(role.to_owned());
                let (name, table) = (quoted(role), table(role));
                self.sql(&[
                    format!("CREATE ROLE {name}"),
                    broker::let_grant(role, &broker),
                    format!("CREATE TABLE {table} (n INT)"),
                    format!("INSERT INTO {table} VALUES (1), (2), (3)"),
                    format!("GRANT SELECT, INSERT ON {table} TO {name}"),
                ])
                .await
            }
            Act::Grant { role, to, by, admin, .. } => {
                let option = if admin { " WITH ADMIN OPTION" } else { "" };
                let grant = format!("GRANT {} TO {}{option}", self.named(role), self.named(to));
                self.sql_by(by, &[grant]).await?;
                // a granted role is not active yet
                self.sql(self.default_role(role, to).as_slice()).await
            }
            Act::Revoke { role, from, by } => {
                self.sql_by(by, &[format!("REVOKE {} FROM {}", self.named(role), self.named(from))]).await
            }
            Act::Rename { from, .. } if mariadb && self.roles().contains(from) => {
                Err("MariaDB cannot rename roles".into())
            }
            Act::Rename { from, to } => {
                let rename = format!("RENAME USER {} TO {}", account(from), account(to));
                if self.roles().remove(from) {
                    self.roles().insert(to.to_owned());
                }
                self.sql(&[rename]).await
            }
            Act::Drop { name } => {
                let is_role = self.roles().remove(name);
                let drop = if is_role {
                    format!("DROP ROLE {}", quoted(name))
                } else {
                    format!("DROP USER {}", account(name))
                };
                self.sql(&[drop]).await
            }
            Act::LetCreateAccounts { role } => {
                self.sql(&[format!("GRANT CREATE USER ON *.* TO {}", self.named(role))]).await
            }
            Act::TakeAdminOption { role } => self.sql(&[format!("REVOKE {} FROM {broker}", self.named(role))]).await,
            Act::AdminThroughGroup { role } => {
                let group = fresh("dba");
                self.roles().insert(group.clone());
                let (role_name, group_name) = (self.named(role), quoted(&group));
                let mut statements = vec![
                    format!("REVOKE {role_name} FROM {broker}"),
                    format!("CREATE ROLE {group_name}"),
                    format!("GRANT {role_name} TO {group_name} WITH ADMIN OPTION"),
                    format!("GRANT {group_name} TO {broker}"),
                ];
                statements.extend(self.default_role(&group, &self.broker));
                self.sql(&statements).await
            }
            Act::Show { certificate } => {
                crate::tls::show(&self.running.ca, certificate)?;
                // MySQL refuses to reload an expired certificate, but starts with it
                self.act(Act::Restart).await
            }
            Act::Run { statement } => self.sql(&[statement.to_owned()]).await,
            Act::LetMake { role } => {
                let database = MySqlServer::DATABASE;
                self.sql(&[format!("GRANT CREATE ROUTINE ON {database}.* TO {}", self.named(role))]).await
            }
            Act::LetDeadMen { live } => {
                let state = if live { "ON" } else { "OFF" };
                self.sql(&[format!("SET GLOBAL event_scheduler = {state}")]).await
            }
            Act::TakeSignal => self.sql(&[broker::take_signal(self.running.flavour, &broker)]).await,
            Act::RotatePassword => {
                let password = fresh("another secret");
                self.sql(&[format!("ALTER USER {broker} IDENTIFIED BY {}", literal(&password))]).await?;
                self.end_broker().await?;
                self.password.set(&password);
                Ok(())
            }
            Act::Restart => {
                let mut server = self.own().await?;
                server.stop(Down::Fast)?;
                Ok(server.start().await?)
            }
            Act::Stop => Ok(self.own().await?.stop(Down::Fast)?),
            Act::Start { read_only: false } => Ok(self.own().await?.start().await?),
            Act::Start { read_only: true } => Ok(self.own().await?.start_read_only().await?),
            other => Err(format!("no {other:?} here").into()),
        }
    }

    async fn session(&self, account: &str) -> Result<Box<dyn UserSession>, BoxError> {
        let password = if account == self.broker { self.password.text() } else { PASSWORD.to_owned() };
        Ok(Box::new(MySqlSession::open(&self.running, account, &password).await?))
    }

    async fn hold(&self, _: &str, _: &str) -> Result<Box<dyn Hold>, BoxError> {
        if self.own.is_none() {
            return Err("it would block everybody on this server: the law belongs into HOLDING".into());
        }
        Ok(Box::new(LockedRoles::lock(&self.running).await?))
    }

    async fn members(&self, role: &str) -> Result<Vec<Row>, BoxError> {
        let text = if self.running.flavour.is_mariadb() {
            "SELECT user, host, admin_option FROM mysql.roles_mapping WHERE role = ?"
        } else {
            "SELECT to_user, to_host, with_admin_option FROM mysql.role_edges WHERE from_user = ? AND from_host = '%'"
        };
        let mut admin = self.running.admin().await?;
        let rows: Vec<(String, String, String)> = admin.exec(text, (role,)).await?;
        admin.disconnect().await?;
        let row = |(user, host, admin): (String, String, String)| Row {
            member: if matches!(host.as_str(), "" | "%") { user } else { format!("{user}@{host}") },
            grantor: String::new(),
            inherits: true,
            set: true,
            admin: admin == "Y",
        };
        Ok(rows.into_iter().map(row).collect())
    }

    fn privileges(&self) -> Vec<Privilege> {
        broker::privileges(self.running.flavour, &account(&self.broker))
            .into_iter()
            .map(broker::taken_and_named)
            .collect()
    }

    async fn waiting(&self) -> Result<usize, BoxError> {
        let text =
            "SELECT COUNT(*) FROM information_schema.processlist WHERE user = ? AND state LIKE 'Waiting for %lock'";
        let mut admin = self.running.admin().await?;
        let waiting: Option<u64> = admin.exec_first(text, (&self.broker,)).await?;
        admin.disconnect().await?;
        Ok(usize::try_from(waiting.unwrap_or_default())?)
    }

    async fn server_time(&self) -> Result<Time, BoxError> {
        let mut admin = self.running.admin().await?;
        let text: Option<String> = admin.query_first("SELECT CAST(UTC_TIMESTAMP(6) AS CHAR)").await?;
        admin.disconnect().await?;
        Ok(NaiveDateTime::parse_from_str(&text.unwrap_or_default(), "%Y-%m-%d %H:%M:%S%.f")?.and_utc())
    }

    async fn pass(&self, how_long: Duration) {
        tokio::time::sleep(how_long).await;
    }
}

fn create_account(name: &str, password: &str) -> String {
    format!("CREATE USER {} IDENTIFIED BY {}", account(name), literal(password))
}

/// Quotes a name for use in a statement.
fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Writes an account of every host.
fn account(name: &str) -> String {
    format!("{}@'%'", quoted(name))
}

/// Returns the role's own table. Its name is the role's, cut to 64 characters.
fn table(role: &str) -> String {
    let name: String = if role.chars().count() > 64 {
        role.chars().take(32).chain(short(hash(role)).chars()).collect()
    } else {
        role.to_owned()
    };
    format!("{}.{}", MySqlServer::DATABASE, quoted(&name))
}

fn hash(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
