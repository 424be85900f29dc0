//! The test bed of the rows: a real PostgreSQL with fsync, a broker, accounts, and an engine on a
//! SqliteStore.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jit_core::Actor;
use jit_core::database::{Credentials, FixedCredentials, TlsMode};
use jit_core::engine::Jit;
use jit_core::id::{Principal, TenantId};
use jit_core::policy::PolicyDocument;
use jit_core::store::SqliteStore;
use jit_postgres::{PostgresConfig, PostgresDatabase};
use jit_tests::server::Cluster;
use jit_tests::servers::RunningPostgres;

pub const POLICY: &str = r#"
version = 1
[groups]
dba = ["bob"]
[[may]]
do = ["stop", "resume", "revoke"]
who = ["bob"]
targets = ["*"]
[[rule]]
name = "at once"
targets = ["pg", "second"]
roles = ["free"]
requesters = ["*"]
max = "4h"
[[rule]]
name = "with a yes"
targets = ["pg"]
roles = ["asked"]
requesters = ["*"]
max = "4h"
[[rule.stage]]
people = [{ group = "dba" }]
"#;

/// PostgreSQL's default buffers, and connections for one in ten of 10,000 accounts.
const SETTINGS: &str = "shared_buffers = 128MB\nmax_connections = 1200";

#[derive(Debug)]
pub struct Bed {
    pub cluster: Cluster,
    pub jit: Jit,
    folder: tempfile::TempDir,
}

impl Bed {
    /// Makes a cluster with `users` accounts `u0`..., and an engine.
    pub async fn make(users: usize) -> Result<Self> {
        let cluster = Cluster::start_durable_with(17, SETTINGS).await?;
        let admin = cluster.running().admin("postgres").await?;
        admin
            .batch_execute(
                "CREATE ROLE jit_broker LOGIN NOINHERIT PASSWORD 'secret';
                 CREATE ROLE free; CREATE ROLE asked;
                 GRANT free TO jit_broker WITH ADMIN OPTION, INHERIT FALSE, SET FALSE;
                 GRANT asked TO jit_broker WITH ADMIN OPTION, INHERIT FALSE, SET FALSE;
                 GRANT pg_signal_backend TO jit_broker WITH INHERIT TRUE;",
            )
            .await?;
        roles(&admin, 'u', users, "LOGIN").await?;
        let folder = tempfile::tempdir()?;
        let jit = engine(&cluster, SqliteStore::open(folder.path().join("jit.db"))?).await?;
        Ok(Self { cluster, jit, folder })
    }

    /// Replaces the store, on the same cluster.
    pub async fn fresh(&mut self) -> Result<()> {
        self.folder = tempfile::tempdir()?;
        self.jit = engine(&self.cluster, SqliteStore::open(self.folder.path().join("jit.db"))?).await?;
        Ok(())
    }

    pub async fn admin(&self) -> Result<tokio_postgres::Client> {
        Ok(self.cluster.running().admin("postgres").await?)
    }
}

/// Makes the roles `u0`, `u1`..., as many at once as the server has locks for.
pub async fn roles(admin: &tokio_postgres::Client, letter: char, count: usize, options: &str) -> Result<()> {
    for start in (0..count).step_by(1_000) {
        let last = count.min(start + 1_000) - 1;
        admin
            .batch_execute(&format!(
                "DO $$ BEGIN FOR i IN {start}..{last} LOOP EXECUTE format('CREATE ROLE %I {options}', '{letter}' || i); END LOOP; END $$"
            ))
            .await?;
    }
    Ok(())
}

/// Returns the names of these roles for a statement: `u0,u1,...`.
pub fn names(letter: char, numbers: std::ops::Range<usize>) -> String {
    numbers.map(|number| format!("{letter}{number}")).collect::<Vec<_>>().join(",")
}

pub fn database(cluster: &Cluster) -> Result<PostgresDatabase> {
    database_of(cluster.running())
}

pub fn database_of(running: &RunningPostgres) -> Result<PostgresDatabase> {
    let credentials: Arc<dyn Credentials> = Arc::new(FixedCredentials::new("secret".into()));
    let config = PostgresConfig::from_url(&format!("postgres://jit_broker@127.0.0.1:{}/postgres", running.port))?
        .credentials(credentials)
        .tls(TlsMode::verify_full(Some(running.ca.clone())));
    Ok(PostgresDatabase::new(config)?)
}

pub async fn engine(cluster: &Cluster, store: SqliteStore) -> Result<Jit> {
    let policy = PolicyDocument::parse(POLICY, "bench")?;
    Ok(Jit::builder().store(store).policy(policy).database("pg", database(cluster)?).build().await?)
}

pub fn actor(name: &str) -> Actor {
    Actor::authenticated(TenantId::default(), Principal::new(name).unwrap(), "bench")
}

pub fn user(number: usize) -> Actor {
    actor(&format!("u{number}"))
}

pub const PATIENCE: Duration = Duration::from_secs(60);
