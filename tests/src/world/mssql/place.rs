//! The address of a server, and its administrator.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use tiberius::{AuthMethod, Client, EncryptionLevel, Row};
use tokio::net::TcpStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt};

use super::literal;
use crate::tls::Certificates;
use jit_tds::{Options, TdsServer, Tls};

/// Password of every account that a law makes.
pub(super) const SECRET: &str = "Secret-of-a-user-1";

/// Client of the driver.
pub(super) type Talk = Client<Compat<TcpStream>>;

/// Address of a server, and its administrator.
#[derive(Debug, Clone)]
pub struct Place {
    /// Host name, which is in its certificate.
    pub host: String,
    /// Port of the server.
    pub port: u16,
    /// Database in which laws may make roles.
    pub database: String,
    /// Login in sysadmin, and its password.
    pub administrator: (String, String),
    /// Authority that signed its certificate. `None`: one that the system trusts.
    pub ca: Option<PathBuf>,
    /// Authority that did not sign it.
    pub other_ca: PathBuf,
    /// Folder of the certificate files.
    _folder: Arc<tempfile::TempDir>,
}

/// Starts a double, with a certificate.
///
/// # Errors
/// When it cannot listen.
pub fn double() -> Result<(Place, TdsServer)> {
    let folder = tempfile::tempdir()?;
    let files = Certificates::make(folder.path())?;
    let tls = Tls::Offered { certificate: files.certificate.clone(), key: files.key.clone() };
    let options = Options { tls, ..Options::default() };
    let administrator = ("sa".to_owned(), options.sa_password.clone());
    let database = options.databases.first().cloned().unwrap_or_default();
    let server = TdsServer::start(options)?;
    let place = Place {
        host: "127.0.0.1".to_owned(),
        port: server.port(),
        database,
        administrator,
        ca: Some(files.ca),
        other_ca: files.other_ca,
        _folder: Arc::new(folder),
    };
    Ok((place, server))
}

impl Place {
    /// Reads the address of a real server from `JIT_MSSQL_URL`
    /// (`mssql://sa:password@host:1433/database`). `JIT_MSSQL_CA` names the authority, if the
    /// system does not trust the server. `None` without that variable.
    ///
    /// # Errors
    /// When the URL is invalid.
    pub fn of_the_environment() -> Result<Option<Self>> {
        let Ok(url) = std::env::var("JIT_MSSQL_URL") else { return Ok(None) };
        let wrong = "JIT_MSSQL_URL is not mssql://login:password@host:port/database";
        let (who, place) = url.strip_prefix("mssql://").and_then(|rest| rest.rsplit_once('@')).context(wrong)?;
        let (login, password) = who.split_once(':').context(wrong)?;
        let (address, database) = place.split_once('/').context(wrong)?;
        let (host, port) = address.split_once(':').unwrap_or((address, "1433"));
        let folder = tempfile::tempdir()?;
        let files = Certificates::make(folder.path())?;
        Ok(Some(Self {
            host: host.to_owned(),
            port: port.parse().context(wrong)?,
            database: database.to_owned(),
            administrator: (login.to_owned(), password.to_owned()),
            ca: std::env::var_os("JIT_MSSQL_CA").map(PathBuf::from),
            other_ca: files.other_ca,
            _folder: Arc::new(folder),
        }))
    }

    /// Opens a session of this login.
    pub(super) async fn login(&self, database: &str, login: &str, password: &str) -> Result<Talk> {
        let mut config = tiberius::Config::new();
        config.host(&self.host);
        config.port(self.port);
        config.database(database);
        config.application_name("jit tests");
        config.encryption(EncryptionLevel::Required);
        if let Some(ca) = &self.ca {
            config.trust_cert_ca(ca.display());
        }
        config.authentication(AuthMethod::sql_server(login, password));
        let tcp = TcpStream::connect((self.host.as_str(), self.port)).await?;
        tcp.set_nodelay(true)?;
        Ok(Client::connect(config, tcp.compat_write()).await?)
    }

    /// Opens a session of the administrator.
    pub(super) async fn admin(&self, database: &str) -> Result<Talk> {
        let (login, password) = &self.administrator;
        self.login(database, login, password).await
    }

    /// Runs the statements as the administrator.
    pub(super) async fn run(&self, database: &str, statements: &str) -> Result<()> {
        self.rows(database, statements).await.with_context(|| format!("administrator: {statements}"))?;
        Ok(())
    }

    /// Returns the last rows of the statements, run as the administrator.
    pub(super) async fn rows(&self, database: &str, statements: &str) -> Result<Vec<Row>> {
        let mut client = self.admin(database).await?;
        let results = client.simple_query(statements).await?.into_results().await?;
        Ok(results.into_iter().next_back().unwrap_or_default())
    }

    /// Returns the number that a statement of the administrator yields.
    pub(super) async fn number(&self, database: &str, statement: &str) -> Result<i32> {
        let rows = self.rows(database, statement).await?;
        rows.first().context("no row")?.try_get(0)?.context("no number")
    }

    /// Ends all sessions of a login, and waits until they are gone.
    pub(super) async fn end_sessions(&self, login: &str) -> Result<()> {
        let text = format!(
            "SELECT CONVERT(int, session_id) AS id FROM sys.dm_exec_sessions WHERE original_login_name = {}",
            literal(login)
        );
        for _ in 0..200 {
            let rows = self.rows("master", &text).await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                let id: i32 = row.try_get("id")?.context("no id")?;
                // the session may have ended by itself
                let _ = self.run("master", &format!("KILL {id}")).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        anyhow::bail!("sessions of `{login}` do not end")
    }
}

/// Runs the statements in this session.
pub(super) async fn execute(client: &mut Talk, statements: &str) -> Result<(), tiberius::error::Error> {
    client.simple_query(statements).await?.into_results().await.map(drop)
}
