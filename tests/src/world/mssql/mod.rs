//! The world of the laws on SQL Server, or on the double that speaks like one.

mod place;
mod session;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use jit_core::clock::Time;
use jit_core::database::{Database, DeadMansSwitch, TlsMode};
use jit_core::internal::adapter::name_for;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{
    Act, By, DatabaseLaw, Hold, Login, Need, Privilege, Row, UserSession, WRONG_PASSWORD, World,
};
use jit_mssql::{MsSqlConfig, MsSqlDatabase};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::password::Password;
use crate::server::free_port;
use jit_tds::TdsServer;
pub use place::{Place, double};
pub use session::{MsSqlSession, OpenTransaction};

/// Broker of its own on a server, and the people around it.
#[derive(Debug)]
pub struct MsSqlWorld {
    place: Place,
    /// Double that only this world uses: it may be stopped.
    own: Option<tokio::sync::Mutex<TdsServer>>,
    number: u64,
    names: AtomicU64,
    broker: String,
    password: Password,
    has_dead_mans_switch: bool,
    listeners: Mutex<Vec<JoinHandle<()>>>,
    /// Users that may be impersonated, by the account that may do so.
    actors: Mutex<BTreeMap<String, String>>,
}

/// Returns the reason why SQL Server, or the double, cannot provide this.
#[must_use]
pub fn lacks(need: Need, double: bool) -> Option<&'static str> {
    match need {
        Need::Planted => Some("what is planted has tests of its own"),
        Need::GrantorRecorded => Some("the catalog does not say who granted a membership"),
        Need::SetOption => Some("a role is used without being set"),
        Need::DefaultRoles => Some("there are no default roles: a role works as soon as it is given"),
        Need::Prepared => Some("two-phase transactions belong to a coordinator outside the server"),
        Need::TwoDatabases => Some("each database has roles of its own"),
        Need::Cursors if double => Some("the double has no cursors"),
        Need::OwnServer if !double => Some("others use this server, too"),
        _ => None,
    }
}

/// Returns the reason why a law cannot be kept here although nothing that it needs is missing.
#[must_use]
pub fn ignores(law: &DatabaseLaw, double: bool) -> Option<&'static str> {
    let named = match law.name {
        "contract_check_names_an_admin_option_held_through_a_group" => {
            Some("no grantor is recorded, so a permission held through a role is as good as one's own")
        }
        "law_15_settle_ends_a_waiting_grant_and_nothing_lands_later" => {
            Some("a look waits for a change of the catalog that is under way, and the law looks meanwhile")
        }
        _ => None,
    };
    named.or_else(|| law.needs.iter().find_map(|need| lacks(*need, double)))
}

impl MsSqlWorld {
    /// Makes a world on a server that others use too.
    ///
    /// # Errors
    /// When the server refuses to make its broker.
    pub async fn within(place: Place) -> Result<Self> {
        Self::new(place, None).await
    }

    /// Makes a world on a double of its own.
    ///
    /// # Errors
    /// When it does not start, or refuses to make its broker.
    pub async fn on_a_double() -> Result<Self> {
        let (place, server) = double()?;
        Self::new(place, Some(tokio::sync::Mutex::new(server))).await
    }

    async fn new(place: Place, own: Option<tokio::sync::Mutex<TdsServer>>) -> Result<Self> {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        // several test processes may use one server, one after the other
        let broker = format!("jit_broker_{}_{number}", std::process::id());
        let password = format!("Secret-of-{broker}");
        let (quoted, secret) = (quoted(&broker), literal(&password));
        // the broker with the least privileges
        place
            .run(
                "master",
                &format!(
                    "CREATE LOGIN {quoted} WITH PASSWORD = {secret}; \
                     GRANT ALTER ANY CONNECTION TO {quoted}; GRANT VIEW SERVER STATE TO {quoted};"
                ),
            )
            .await?;
        let of_database = format!("CREATE USER {quoted} FOR LOGIN {quoted}; GRANT VIEW DEFINITION TO {quoted};");
        place.run(&place.database, &of_database).await?;
        let (names, listeners, actors) = (AtomicU64::new(0), Mutex::default(), Mutex::default());
        Ok(Self {
            place,
            own,
            number,
            names,
            broker,
            password: Password::new(&password),
            has_dead_mans_switch: false,
            listeners,
            actors,
        })
    }

    /// Runs the script that a check of the target prints for the dead man's switch, and waits until
    /// the job looks.
    ///
    /// # Errors
    /// When the server refuses the script, or the job never looks.
    pub async fn with_dead_mans_switch(mut self) -> Result<Self> {
        let told = async {
            let database = self.database(Login::Broker).await?;
            let found = database.check(&[]).await?.into_iter().find(|check| check.about.what == "dead-man");
            let statements = found.and_then(|check| check.remedy).ok_or("the check does not say how it is made")?;
            for (at, batch) in printed_batches(&statements) {
                self.place.run(&at, &batch).await?;
            }
            self.until_dead_mans_switches(&*database).await
        };
        told.await.map_err(|error: BoxError| anyhow::anyhow!("{error}"))?;
        self.has_dead_mans_switch = true;
        Ok(self)
    }

    /// Returns the address of the server.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Returns the suffix of the names of the broker's own tables.
    fn whose(&self) -> String {
        name_for(&[&self.broker]).get(..16).unwrap_or_default().to_owned()
    }

    async fn until_dead_mans_switches(&self, database: &dyn Database) -> Result<(), BoxError> {
        for _ in 0..600 {
            if matches!(database.capabilities().await?.dead_mans_switch, DeadMansSwitch::Available(_)) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("the job never looks".into())
    }

    async fn sql(&self, statements: &str) -> Result<(), BoxError> {
        self.place.run(&self.place.database, statements).await?;
        Ok(())
    }

    async fn on_server(&self, statements: &str) -> Result<(), BoxError> {
        self.place.run("master", statements).await?;
        Ok(())
    }

    fn config(&self, host: &str, port: u16, user: &str, tls: TlsMode) -> Result<MsSqlConfig, BoxError> {
        let config = MsSqlConfig::from_url(&format!("mssql://{user}@{host}:{port}/{}", self.place.database))?;
        let config = config.credentials(Arc::new(self.password.clone())).tls(tls).connections(4);
        Ok(config.dead_mans_switch_grace(Duration::from_secs(1)))
    }

    fn tls(&self) -> TlsMode {
        TlsMode::verify_full(self.place.ca.clone())
    }

    /// Starts a man in the middle at this address. It claims that the server speaks no TLS, or only
    /// passes everything on.
    async fn between(&self, host: &str, strips: bool) -> Result<u16, BoxError> {
        let listener = TcpListener::bind((host, 0)).await?;
        let (port, server) = (listener.local_addr()?.port(), (self.place.host.clone(), self.place.port));
        let listening = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(server).await?;
                    if strips {
                        strip(&mut client, &mut server).await?;
                    }
                    copy_bidirectional(&mut client, &mut server).await.map(drop)
                });
            }
        });
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listening);
        Ok(port)
    }

    async fn own(&self) -> Result<tokio::sync::MutexGuard<'_, TdsServer>, BoxError> {
        Ok(self.own.as_ref().ok_or("this server is not its own")?.lock().await)
    }

    async fn is_a_role(&self, name: &str) -> Result<bool, BoxError> {
        let text =
            format!("SELECT COUNT(*) FROM sys.database_principals WHERE type = 'R' AND name = {}", literal(name));
        Ok(self.place.number(&self.place.database, &text).await? > 0)
    }

    async fn drop_role(&self, name: &str) -> Result<(), BoxError> {
        let role = quoted(name);
        for row in self.members(name).await? {
            self.sql(&format!("ALTER ROLE {role} DROP MEMBER {}", quoted(&row.member))).await?;
        }
        self.sql(&format!("DROP TABLE dbo.{role}; DROP ROLE {role};")).await
    }
}

/// Splits a printed script into batches with their databases, as the server's own client does. A
/// batch ends with `GO`; `USE` names the database of the next ones.
#[must_use]
pub fn printed_batches(statements: &str) -> Vec<(String, String)> {
    let mut at = "master".to_owned();
    let mut batches = Vec::new();
    for batch in format!("{statements}\n").split("\nGO\n").filter(|batch| !batch.trim().is_empty()) {
        match batch.strip_prefix("USE [") {
            Some(name) => at = name.trim_end().trim_end_matches(']').to_owned(),
            None => batches.push((at.clone(), batch.to_owned())),
        }
    }
    batches
}

/// Passes on one PRELOGIN exchange, and writes "not supported" where the server announces
/// encryption.
async fn strip(client: &mut TcpStream, server: &mut TcpStream) -> std::io::Result<()> {
    for step in 0..2 {
        let (from, to) = if step == 0 { (&mut *client, &mut *server) } else { (&mut *server, &mut *client) };
        let mut packet = vec![0; 8];
        from.read_exact(&mut packet).await?;
        packet.resize(usize::from(u16::from_be_bytes([packet[2], packet[3]])), 0);
        from.read_exact(&mut packet[8..]).await?;
        let option = packet[8..].chunks(5).take_while(|option| option[0] != 0xFF).find(|option| option[0] == 1);
        let at = option.map(|option| usize::from(u16::from_be_bytes([option[1], option[2]])) + 8);
        if let (1, Some(at)) = (step, at) {
            packet[at] = 2;
        }
        to.write_all(&packet).await?;
    }
    Ok(())
}

impl Drop for MsSqlWorld {
    fn drop(&mut self) {
        for listening in self.listeners.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            listening.abort();
        }
    }
}

#[async_trait]
impl World for MsSqlWorld {
    fn lacks(&self, need: Need) -> Option<&'static str> {
        lacks(need, self.own.is_some())
    }

    fn fresh(&self, hint: &str) -> String {
        let (process, number) = (std::process::id(), self.names.fetch_add(1, Ordering::Relaxed));
        // a backslash separates a Windows domain from a name, and no login with a password has one
        format!("{}_{process}_{}_{number}", hint.replace('\\', "/"), self.number)
    }

    fn longest_name(&self) -> usize {
        128
    }

    fn counts_bytes(&self) -> bool {
        // it counts UTF-16 units
        false
    }

    fn refused_names(&self) -> Vec<String> {
        ["", "public", "dbo", "guest", "sys", "INFORMATION_SCHEMA", "sa", "trailing ", "nul\0"]
            .map(str::to_owned)
            .to_vec()
    }

    fn broker(&self) -> String {
        self.broker.clone()
    }

    async fn database(&self, login: Login) -> Result<Arc<dyn Database>, BoxError> {
        let (host, port, broker) = (self.place.host.as_str(), self.place.port, self.broker.as_str());
        let config = match login {
            Login::Broker
            | Login::UnknownCa
            | Login::Plaintext
            | Login::NameInCertificate
            | Login::AnotherName
            | Login::NameByUnknownCa
            | Login::ChainAlone
            | Login::ChainByUnknownCa => {
                let tls = crate::tls::mode(login, self.place.ca.clone(), &self.place.other_ca);
                self.config(host, port, broker, tls)?
            }
            Login::Superuser => {
                let name = self.fresh("superuser");
                let (login, secret) = (quoted(&name), "Secret-of-a-superuser");
                self.on_server(&format!(
                    "CREATE LOGIN {login} WITH PASSWORD = {}; ALTER SERVER ROLE sysadmin ADD MEMBER {login};",
                    literal(secret)
                ))
                .await?;
                self.config(host, port, &name, self.tls())?.credentials(Arc::new(Password::new(secret)))
            }
            Login::WrongHost => {
                let other = "127.0.0.2";
                self.config(other, self.between(other, false).await?, broker, self.tls())?
            }
            Login::Stripped => self.config("127.0.0.1", self.between("127.0.0.1", true).await?, broker, self.tls())?,
            Login::WrongPassword => {
                let wrong = Arc::new(Password::new(WRONG_PASSWORD));
                self.config(host, port, broker, self.tls())?.credentials(wrong)
            }
            Login::NobodyThere => {
                let port = free_port()?;
                self.config("127.0.0.1", port, broker, self.tls())?
            }
            other => return Err(format!("no {other:?} here").into()),
        };
        Ok(Arc::new(MsSqlDatabase::new(config)?))
    }

    async fn act(&self, act: Act<'_>) -> Result<(), BoxError> {
        let broker = quoted(&self.broker);
        match act {
            Act::CreateAccount { account, .. } => {
                let name = quoted(account);
                self.on_server(&format!("CREATE LOGIN {name} WITH PASSWORD = {}", literal(place::SECRET))).await?;
                self.sql(&format!("CREATE USER {name} FOR LOGIN {name}")).await
            }
            Act::CreateRole { role } => {
                let name = quoted(role);
                self.sql(&format!(
                    "CREATE ROLE {name}; GRANT ALTER ON ROLE::{name} TO {broker}; CREATE TABLE dbo.{name} (n int NOT NULL); \
                     INSERT INTO dbo.{name} (n) VALUES (1), (2), (3); GRANT SELECT ON OBJECT::dbo.{name} TO {name}; \
                     GRANT INSERT ON OBJECT::dbo.{name} TO {name};"
                ))
                .await
            }
            // a user has no members, but other accounts may impersonate it
            Act::Grant { role, to, .. } if !self.is_a_role(role).await? => {
                self.actors.lock().unwrap_or_else(PoisonError::into_inner).insert(to.to_owned(), role.to_owned());
                self.sql(&format!("GRANT IMPERSONATE ON USER::{} TO {}", quoted(role), quoted(to))).await
            }
            Act::Grant { role, to, by, admin, .. } => {
                let grant = format!("ALTER ROLE {} ADD MEMBER {}", quoted(role), quoted(to));
                match by {
                    By::Admin => self.sql(&grant).await?,
                    By::Broker => {
                        let (place, password) = (&self.place, self.password.text());
                        let mut client = place.login(&place.database, &self.broker, &password).await?;
                        place::execute(&mut client, &grant).await?;
                    }
                }
                if admin {
                    self.sql(&format!("GRANT ALTER ON ROLE::{} TO {}", quoted(role), quoted(to))).await?;
                }
                Ok(())
            }
            Act::Revoke { role, from, .. } => {
                self.sql(&format!("ALTER ROLE {} DROP MEMBER {}", quoted(role), quoted(from))).await
            }
            Act::Rename { from, to } => {
                let (old, new) = (quoted(from), quoted(to));
                if self.is_a_role(from).await? {
                    return self.sql(&format!("ALTER ROLE {old} WITH NAME = {new}")).await;
                }
                self.sql(&format!("ALTER USER {old} WITH NAME = {new}")).await?;
                self.on_server(&format!("ALTER LOGIN {old} WITH NAME = {new}")).await
            }
            Act::Drop { name } => {
                if self.is_a_role(name).await? {
                    return self.drop_role(name).await;
                }
                let name = quoted(name);
                self.sql(&format!("DROP USER {name}")).await?;
                self.on_server(&format!("DROP LOGIN {name}")).await
            }
            Act::Show { certificate } => {
                let ca = self.place.ca.as_ref().ok_or("nobody knows its authority")?;
                crate::tls::show(ca, certificate)?;
                Ok(self.own().await?.start_again()?)
            }
            Act::Run { statement } => self.sql(statement).await,
            Act::LetMake { role } => {
                let name = quoted(role);
                self.sql(&format!("CREATE SCHEMA {name} AUTHORIZATION {name}")).await?;
                self.sql(&format!("GRANT CREATE TABLE TO {name}")).await
            }
            Act::LetDeadMen { live } => {
                self.own().await?.set_agent(live);
                if live {
                    return self.until_dead_mans_switches(&*self.database(Login::Broker).await?).await;
                }
                // as if the agent had been off for a while
                let looks = format!("jit.looks_{}", self.whose());
                self.sql(&format!("UPDATE {looks} SET looked_at = DATEADD(minute, -1, looked_at)")).await
            }
            Act::LetCreateAccounts { role } => self.sql(&format!("GRANT ALTER ANY USER TO {}", quoted(role))).await,
            Act::TakeAdminOption { role } => {
                self.sql(&format!("REVOKE ALTER ON ROLE::{} FROM {broker}", quoted(role))).await
            }
            Act::TakeSignal => self.on_server(&format!("REVOKE ALTER ANY CONNECTION FROM {broker}")).await,
            Act::RotatePassword => {
                let password = self.fresh("Another-secret");
                self.on_server(&format!("ALTER LOGIN {broker} WITH PASSWORD = {}", literal(&password))).await?;
                self.place.end_sessions(&self.broker).await?;
                self.password.set(&password);
                Ok(())
            }
            Act::Restart => Ok(self.own().await?.start_again()?),
            Act::Stop => {
                self.own().await?.stop();
                Ok(())
            }
            Act::Start { read_only } => {
                let mut server = self.own().await?;
                server.start_again()?;
                server.set_read_only(read_only);
                Ok(())
            }
            other => Err(format!("no {other:?} here").into()),
        }
    }

    async fn session(&self, account: &str) -> Result<Box<dyn UserSession>, BoxError> {
        let password = if account == self.broker { self.password.text() } else { place::SECRET.to_owned() };
        let actors = self.actors.lock().unwrap_or_else(PoisonError::into_inner).get(account).cloned();
        Ok(Box::new(MsSqlSession::open(&self.place, account, &password, actors).await?))
    }

    async fn hold(&self, role: &str, account: &str) -> Result<Box<dyn Hold>, BoxError> {
        Ok(Box::new(OpenTransaction::begin(&self.place, role, account).await?))
    }

    async fn members(&self, role: &str) -> Result<Vec<Row>, BoxError> {
        let text = format!(
            "SELECT u.name AS member, \
               (SELECT COUNT(*) FROM sys.database_permissions d WHERE d.class = 4 AND d.major_id = r.principal_id \
                  AND d.grantee_principal_id = u.principal_id AND d.permission_name = 'ALTER') AS passes \
             FROM sys.database_role_members m JOIN sys.database_principals r ON r.principal_id = m.role_principal_id \
             JOIN sys.database_principals u ON u.principal_id = m.member_principal_id WHERE r.name = {}",
            literal(role)
        );
        let rows = self.place.rows(&self.place.database, &text).await?;
        let row = |row: &tiberius::Row| {
            let member = row.try_get::<&str, _>("member")?.unwrap_or_default().to_owned();
            let admin = row.try_get::<i32, _>("passes")?.unwrap_or_default() > 0;
            Ok(Row { member, grantor: "unknown".to_owned(), inherits: true, set: true, admin })
        };
        rows.iter().map(row).collect()
    }

    fn privileges(&self) -> Vec<Privilege> {
        let (broker, database) = (quoted(&self.broker), quoted(&self.place.database));
        let of = |right: &str, place: &str| Privilege {
            given: format!("USE {place}; GRANT {right} TO {broker}"),
            taken: format!("USE {place}; REVOKE {right} FROM {broker}"),
            named: vec![format!("GRANT {right}")],
        };
        let whose = self.whose();
        let on = |right: &str, object: &str, named: &str| Privilege {
            given: format!("GRANT {right} ON OBJECT::jit.{object}_{whose} TO {broker}"),
            taken: format!("REVOKE {right} ON OBJECT::jit.{object}_{whose} FROM {broker}"),
            named: vec![format!("GRANT {named} ON OBJECT::jit.{object}_{whose}")],
        };
        let (all, of_looks) = ("SELECT, INSERT, UPDATE, DELETE", "SELECT, INSERT, UPDATE");
        let mut privileges = vec![
            of("ALTER ANY CONNECTION", "master"),
            of("VIEW SERVER STATE", "master"),
            of("VIEW DEFINITION", &database),
        ];
        if self.has_dead_mans_switch {
            privileges.extend(all.split(", ").map(|right| on(right, "leases", all)));
            privileges.extend(of_looks.split(", ").map(|right| on(right, "looks", of_looks)));
        }
        privileges
    }

    async fn waiting(&self) -> Result<usize, BoxError> {
        let text = format!(
            "SELECT COUNT(*) FROM sys.dm_exec_requests r JOIN sys.dm_exec_sessions s ON s.session_id = r.session_id \
             WHERE s.original_login_name = {} AND r.blocking_session_id <> 0",
            literal(&self.broker)
        );
        Ok(usize::try_from(self.place.number("master", &text).await?)?)
    }

    async fn server_time(&self) -> Result<Time, BoxError> {
        let rows = self.place.rows("master", "SELECT SYSUTCDATETIME() AS now").await?;
        let now: chrono::NaiveDateTime = rows.first().ok_or("no time")?.try_get("now")?.ok_or("no time")?;
        Ok(now.and_utc())
    }

    async fn pass(&self, how_long: Duration) {
        tokio::time::sleep(how_long).await;
    }
}

/// Quotes a name for use in a statement.
pub(crate) fn quoted(name: &str) -> String {
    format!("[{}]", name.replace(']', "]]"))
}

fn literal(text: &str) -> String {
    format!("N'{}'", text.replace('\'', "''"))
}
