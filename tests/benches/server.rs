//! Database servers that a bed can stand on, and what a row does there by hand.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jit_core::database::{Credentials, Database, FixedCredentials, TlsMode};
use jit_mysql::{MySqlConfig, MySqlDatabase};
use jit_postgres::{PostgresConfig, PostgresDatabase};
use jit_tests::server::{Cluster, Durability, Flavour, MySqlServer, Scheduler, Settings};
use jit_tests::servers::RunningPostgres;
use jit_tests::world::mysql::make_broker;
use mysql_async::prelude::Queryable as _;

use crate::bed::roles;

/// PostgreSQL's default buffers, and connections for one in ten of 10,000 accounts.
const POSTGRES: &str = "shared_buffers = 128MB\nmax_connections = 1200";
/// The default buffers of MySQL and MariaDB, and as many connections.
const MYSQL: &str = "innodb-buffer-pool-size=128M\nmax-connections=1200";
/// Roles that the broker may grant.
const ROLES: [&str; 2] = ["free", "asked"];

/// A server that keeps every committed write. Its accounts are `u0`, `u1` and so on.
pub trait Server: Sized {
    type Adapter: Database;
    type Admin: ByHand;
    type Session;

    /// Makes the broker, the roles `free` and `asked`, and this many accounts.
    async fn prepare(&self, users: usize) -> Result<()>;
    /// Returns the broker's adapter.
    fn adapter(&self) -> Result<Self::Adapter>;
    /// Opens a session of the administrator.
    async fn admin(&self) -> Result<Self::Admin>;
    /// Opens a session of an account. Returns it with the number by which the server knows it.
    async fn session(&self, account: &str) -> Result<(Self::Session, i64)>;
}

/// A session of the administrator, who does by hand what an adapter does.
pub trait ByHand {
    /// Runs a statement. GRANT and REVOKE of these roles read the same on every engine.
    async fn run(&mut self, statement: &str) -> Result<()>;
    /// Ends a session of the account, and waits until the account has none.
    async fn end(&mut self, session: i64, account: &str) -> Result<()>;
    /// Looks which memberships the account has.
    async fn look(&mut self, account: &str) -> Result<()>;
}

/// Starts a durable PostgreSQL 17 with this many accounts, for an engine that is made elsewhere.
pub async fn prepared(users: usize) -> Result<Cluster> {
    let server = postgres(17).await?;
    server.prepare(users).await?;
    Ok(server)
}

/// Starts a durable PostgreSQL of this version.
pub async fn postgres(major: u32) -> Result<Cluster> {
    Cluster::start_durable_with(major, POSTGRES).await
}

/// Starts a durable MySQL or MariaDB. Its scheduler is off, so no dead man's switch is armed.
pub async fn mysql(flavour: Flavour) -> Result<MySqlServer> {
    let settings = Settings { durability: Durability::Kept, scheduler: Scheduler::Off, lines: MYSQL };
    MySqlServer::start_with(flavour, settings).await
}

/// Returns the adapter of the broker on this PostgreSQL.
pub fn database_of(running: &RunningPostgres) -> Result<PostgresDatabase> {
    let config = PostgresConfig::from_url(&format!("postgres://jit_broker@127.0.0.1:{}/postgres", running.port))?
        .credentials(secret())
        .tls(TlsMode::verify_full(Some(running.ca.clone())));
    Ok(PostgresDatabase::new(config)?)
}

fn secret() -> Arc<dyn Credentials> {
    Arc::new(FixedCredentials::new("secret".into()))
}

impl Server for Cluster {
    type Adapter = PostgresDatabase;
    type Admin = tokio_postgres::Client;
    type Session = tokio_postgres::Client;

    async fn prepare(&self, users: usize) -> Result<()> {
        let admin = self.running().admin("postgres").await?;
        // PostgreSQL 15 has no options of a single membership
        let sixteen = self.running().major >= 16;
        let (narrow, inherit) = if sixteen { (", INHERIT FALSE, SET FALSE", " WITH INHERIT TRUE") } else { ("", "") };
        admin.batch_execute("CREATE ROLE jit_broker LOGIN NOINHERIT PASSWORD 'secret'").await?;
        admin.batch_execute(&format!("GRANT pg_signal_backend TO jit_broker{inherit}")).await?;
        for role in ROLES {
            let grant = format!("GRANT {role} TO jit_broker WITH ADMIN OPTION{narrow}");
            admin.batch_execute(&format!("CREATE ROLE {role}; {grant}")).await?;
        }
        roles(&admin, 'u', users, "LOGIN").await
    }

    fn adapter(&self) -> Result<PostgresDatabase> {
        database_of(self.running())
    }

    async fn admin(&self) -> Result<Self::Admin> {
        Ok(self.running().admin("postgres").await?)
    }

    async fn session(&self, account: &str) -> Result<(Self::Session, i64)> {
        let session = self.running().session(account, "postgres").await?;
        let id: i32 = session.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        Ok((session, id.into()))
    }
}

impl ByHand for tokio_postgres::Client {
    async fn run(&mut self, statement: &str) -> Result<()> {
        Ok(self.batch_execute(statement).await?)
    }

    async fn end(&mut self, session: i64, account: &str) -> Result<()> {
        self.query("SELECT pg_terminate_backend($1)", &[&i32::try_from(session)?]).await?;
        let look = "SELECT 1 FROM pg_stat_activity WHERE usename = $1 LIMIT 1";
        while self.query_opt(look, &[&account]).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn look(&mut self, account: &str) -> Result<()> {
        self.query("SELECT 1 FROM pg_auth_members WHERE member = to_regrole($1)", &[&account]).await?;
        Ok(())
    }
}

/// Administrator of MySQL or MariaDB.
#[derive(Debug)]
pub struct MySqlAdmin {
    conn: mysql_async::Conn,
    flavour: Flavour,
}

impl Server for MySqlServer {
    type Adapter = MySqlDatabase;
    type Admin = MySqlAdmin;
    type Session = mysql_async::Conn;

    async fn prepare(&self, users: usize) -> Result<()> {
        make_broker(self.running(), "jit_broker", "secret").await?;
        let mut admin = self.admin().await?;
        for role in ROLES {
            admin.run(&format!("CREATE ROLE {role}")).await?;
            admin.run(&format!("GRANT {role} TO jit_broker WITH ADMIN OPTION")).await?;
        }
        for start in (0..users).step_by(500) {
            let accounts = crate::bed::names('u', start..users.min(start + 500));
            admin.run(&format!("CREATE USER {accounts}")).await?;
        }
        Ok(())
    }

    fn adapter(&self) -> Result<MySqlDatabase> {
        let running = self.running();
        let config = MySqlConfig::from_url(&format!("mysql://jit_broker@127.0.0.1:{}", running.port))?
            .credentials(secret())
            .tls(TlsMode::verify_full(Some(running.ca.clone())));
        Ok(MySqlDatabase::new(config)?)
    }

    async fn admin(&self) -> Result<MySqlAdmin> {
        Ok(MySqlAdmin { conn: self.running().admin().await?, flavour: self.running().flavour })
    }

    async fn session(&self, account: &str) -> Result<(Self::Session, i64)> {
        let session = self.running().session(account, "").await.context("an account logs in")?;
        let id = i64::from(session.id());
        Ok((session, id))
    }
}

impl ByHand for MySqlAdmin {
    async fn run(&mut self, statement: &str) -> Result<()> {
        Ok(self.conn.query_drop(statement).await?)
    }

    async fn end(&mut self, session: i64, account: &str) -> Result<()> {
        self.conn.query_drop(format!("KILL {session}")).await?;
        let look = format!("SELECT id FROM information_schema.processlist WHERE user = '{account}'");
        while self.conn.query_first::<u64, _>(&look).await?.is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn look(&mut self, account: &str) -> Result<()> {
        let look = if self.flavour.is_mariadb() {
            format!("SELECT 1 FROM mysql.roles_mapping WHERE user = '{account}'")
        } else {
            format!("SELECT 1 FROM mysql.role_edges WHERE to_user = '{account}'")
        };
        Ok(self.conn.query_drop(look).await?)
    }
}
