//! Kinds of stores that the store laws run on.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use async_trait::async_trait;
use jit_core::database::{Credentials, FixedCredentials, TlsMode};
use jit_core::store::{BoxError, MemoryStore, SqliteStore, Store};
use jit_core::testkit::ManualClock;
use jit_core::testkit::store_laws::{StoreFactory, StorePlace};
use jit_postgres::{PostgresConfig, PostgresStore, StoreConfig, StoreUsers};

use crate::pooler::Pooler;
use crate::servers::{RunningPostgres, Servers};

/// PostgreSQL version behind the pooler.
const POOLED: u32 = 18;
/// PostgreSQL versions on which the store is tested: the oldest and the newest.
const VERSIONS: [u32; 2] = [15, 18];

/// Kind of store.
#[derive(Debug, Clone)]
pub enum Places {
    /// Store in memory.
    Memory,
    /// Store in a SQLite file.
    Sqlite,
    /// Store on a PostgreSQL server that the supervisor keeps running.
    Postgres(RunningPostgres),
    /// Store on such a server, behind a pooler in transaction mode.
    Pooled(RunningPostgres),
    /// Store whose server is not available.
    Absent {
        /// Name of the kind.
        name: String,
        /// Reason why it is not available.
        why: String,
    },
}

impl Places {
    /// Returns all kinds of stores.
    #[must_use]
    pub fn all(servers: &Servers) -> Vec<Self> {
        let versions = VERSIONS.map(|major| format!("postgres-{major}"));
        let running = servers.postgres().filter(|running| versions.contains(&running.name()));
        let pooled = servers.postgres().filter(|running| running.major == POOLED);
        let absent = servers.absent.iter().filter(|(name, _)| versions.contains(name));
        [Self::Memory, Self::Sqlite]
            .into_iter()
            .chain(running.cloned().map(Self::Postgres))
            .chain(pooled.cloned().map(Self::Pooled))
            .chain(absent.map(|(name, why)| Self::Absent { name: name.clone(), why: why.clone() }))
            .collect()
    }

    /// Returns the name as tests use it: `store-postgres-18`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Memory => "store-memory".to_owned(),
            Self::Sqlite => "store-sqlite".to_owned(),
            Self::Postgres(running) => format!("store-{}", running.name()),
            Self::Pooled(running) => format!("store-pooled-{}", running.name()),
            Self::Absent { name, .. } => format!("store-{name}"),
        }
    }
}

#[async_trait]
impl StoreFactory for Places {
    async fn place(&self, clock: &ManualClock) -> Result<Box<dyn StorePlace>, BoxError> {
        Ok(match self {
            Self::Memory => Box::new(InMemory(Arc::new(MemoryStore::new(Arc::new(clock.clone()))))),
            Self::Sqlite => Box::new(InFile { directory: tempfile::tempdir()?, clock: clock.clone() }),
            Self::Postgres(running) => Box::new(OnPostgres::make(running).await?),
            Self::Pooled(running) => Box::new(BehindPooler::make(running).await?),
            Self::Absent { why, .. } => return Err(why.clone().into()),
        })
    }

    fn durable(&self) -> bool {
        !matches!(self, Self::Memory)
    }

    fn follows_clock(&self) -> bool {
        matches!(self, Self::Memory | Self::Sqlite)
    }
}

#[derive(Debug)]
struct InMemory(Arc<MemoryStore>);

#[async_trait]
impl StorePlace for InMemory {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::clone(&self.0) as Arc<dyn Store>)
    }
}

#[derive(Debug)]
struct InFile {
    directory: tempfile::TempDir,
    clock: ManualClock,
}

#[async_trait]
impl StorePlace for InFile {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let path = self.directory.path().join("jit.db");
        Ok(Arc::new(SqliteStore::open_with(path, Arc::new(self.clock.clone()))?))
    }
}

/// Store in a database of its own. Its owner made it for a node with the least privileges that a
/// node needs.
#[derive(Debug)]
pub struct OnPostgres {
    running: RunningPostgres,
    name: String,
}

impl OnPostgres {
    /// Password of the node's role.
    pub const PASSWORD: &str = "node secret";

    /// Makes an empty database with a store in it, a role for its nodes and a role for its
    /// auditors.
    ///
    /// # Errors
    /// When the server refuses a statement.
    pub async fn make(running: &RunningPostgres) -> Result<Self> {
        static PLACES: AtomicU64 = AtomicU64::new(0);
        // several test processes may use one server, one after the other
        let number = PLACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("store_{}_{number}", std::process::id());
        let admin = running.admin("postgres").await?;
        admin.batch_execute(&format!("CREATE ROLE {name}_owner LOGIN")).await?;
        admin.batch_execute(&format!("CREATE ROLE {name}_node LOGIN PASSWORD '{}'", Self::PASSWORD)).await?;
        admin.batch_execute(&format!("CREATE ROLE {name}_auditor LOGIN")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {name} OWNER {name}_owner TEMPLATE template0")).await?;
        let place = Self { running: running.clone(), name };
        let socket = running.socket.to_string_lossy().replace('/', "%2F");
        let owner = format!("postgres://{0}_owner@{socket}:{1}/{0}", place.name, running.port);
        let config = StoreConfig::new(PostgresConfig::from_url(&owner)?);
        let users =
            StoreUsers::nodes(vec![format!("{}_node", place.name)]).auditors(vec![format!("{}_auditor", place.name)]);
        PostgresStore::migrate(&config, &users).await?;
        Ok(place)
    }

    /// Returns the database's name. The names of its roles have `_owner`, `_node` and `_auditor`
    /// behind it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the server of the database.
    #[must_use]
    pub fn server(&self) -> &RunningPostgres {
        &self.running
    }

    /// Returns the configuration of a node that logs in by verified TLS, through this port of
    /// 127.0.0.1.
    ///
    /// # Errors
    /// When the configuration is invalid.
    pub fn node(&self, port: u16) -> Result<PostgresConfig> {
        self.node_by(port, &self.running.ca)
    }

    /// Returns the same configuration with this certificate authority.
    fn node_by(&self, port: u16, ca: &Path) -> Result<PostgresConfig> {
        let credentials: Arc<dyn Credentials> = Arc::new(FixedCredentials::new(Self::PASSWORD.into()));
        let url = format!("postgres://{0}_node@127.0.0.1:{port}/{0}", self.name);
        let tls = TlsMode::verify_full(Some(ca.to_owned()));
        Ok(PostgresConfig::from_url(&url)?.credentials(credentials).tls(tls))
    }
}

#[async_trait]
impl StorePlace for OnPostgres {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let config = StoreConfig::new(self.node(self.running.port)?);
        Ok(Arc::new(PostgresStore::open(config).await?))
    }
}

/// Same store behind PgBouncer; only LISTEN bypasses the pooler.
#[derive(Debug)]
struct BehindPooler {
    place: OnPostgres,
    pooler: Pooler,
}

impl BehindPooler {
    async fn make(running: &RunningPostgres) -> Result<Self> {
        let place = OnPostgres::make(running).await?;
        let node = format!("{}_node", place.name);
        let pooler = Pooler::before(running, &place.name, &node, OnPostgres::PASSWORD).await?;
        Ok(Self { place, pooler })
    }
}

#[async_trait]
impl StorePlace for BehindPooler {
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError> {
        let around = self.place.node(self.place.running.port)?;
        let config = StoreConfig::new(self.place.node_by(self.pooler.port(), self.pooler.ca())?).listen(Some(around));
        Ok(Arc::new(PostgresStore::open(config).await?))
    }
}
