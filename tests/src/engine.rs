//! Engines that the database laws run on.

use std::sync::Arc;

use anyhow::Result;
use jit_core::clock::SystemClock;
use jit_core::testkit::database_laws::{DatabaseLaw, Need, World};
use jit_core::testkit::mock::{MockServer, MockWorld, Profile};

use crate::server::{Cluster, MySqlServer};
use crate::servers::{RunningMySql, RunningPostgres, Servers};
use crate::world::mssql::{self, MsSqlWorld, Place};
use crate::world::mysql::{self, MySqlWorld};
use crate::world::postgres::{self, PostgresWorld};

/// Database engine in one version.
#[derive(Debug, Clone)]
pub enum Engine {
    /// Mock server in memory.
    Mock(Profile),
    /// A PostgreSQL server that the supervisor keeps running.
    Postgres(RunningPostgres),
    /// A MySQL or MariaDB server that the supervisor keeps running.
    MySql(RunningMySql),
    /// Double that speaks like SQL Server but is not one. It tests the adapter's conversation with
    /// the driver. Each law gets its own.
    TdsDouble,
    /// The SQL Server that `JIT_MSSQL_URL` names.
    SqlServer(Place),
    /// Engine that is not available.
    Absent {
        /// Name of the engine.
        name: String,
        /// Reason why it is not available.
        why: String,
    },
}

impl Engine {
    /// Returns all engines: the mocks, and those that the supervisor runs or was told to skip.
    #[must_use]
    pub fn all(servers: &Servers) -> Vec<Self> {
        let mocks = Profile::ALL.into_iter().map(Self::Mock);
        let postgres = servers.postgres().cloned().map(Self::Postgres);
        let mysql = servers.mysql().cloned().map(Self::MySql);
        let absent = servers.absent.iter().map(|(name, why)| Self::Absent { name: name.clone(), why: why.clone() });
        let sql_server = match Place::of_the_environment() {
            Ok(Some(place)) => Self::SqlServer(place),
            Ok(None) => absent_one("no server: JIT_MSSQL_URL names one"),
            Err(error) => absent_one(&error.to_string()),
        };
        mocks.chain(postgres).chain(mysql).chain([Self::TdsDouble, sql_server]).chain(absent).collect()
    }

    /// Returns the name as tests use it: `postgres-17`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Mock(profile) => profile.name(),
            Self::Postgres(running) => running.name(),
            Self::MySql(running) => running.name().to_owned(),
            Self::TdsDouble => "tds-double".to_owned(),
            Self::SqlServer(_) => SQL_SERVER.to_owned(),
            Self::Absent { name, .. } => name.clone(),
        }
    }

    /// Returns the reason why the law cannot be run here.
    #[must_use]
    pub fn ignores(&self, law: &DatabaseLaw) -> Option<String> {
        match self {
            Self::Mock(profile) => {
                let world = MockWorld::new(MockServer::new(*profile, Arc::new(SystemClock)));
                law.missing(&world).map(str::to_owned)
            }
            Self::Postgres(running) => {
                law.needs.iter().find_map(|need| postgres::lacks(running.major, *need)).map(str::to_owned)
            }
            Self::MySql(running) => {
                law.needs.iter().find_map(|need| mysql::lacks(running.flavour, *need)).map(str::to_owned)
            }
            Self::TdsDouble => mssql::ignores(law, true).map(str::to_owned),
            Self::SqlServer(_) => mssql::ignores(law, false).map(str::to_owned),
            Self::Absent { why, .. } => Some(why.clone()),
        }
    }

    /// Makes a fresh world for this law.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn world(&self, law: &DatabaseLaw) -> Result<Arc<dyn World>> {
        Ok(match self {
            Self::Mock(profile) => Arc::new(MockWorld::new(MockServer::new(*profile, Arc::new(SystemClock)))),
            Self::Postgres(running) if law.wants_own_server() => {
                let cluster = Cluster::start_fresh(running.major).await?;
                Arc::new(PostgresWorld::of_its_own(cluster).await?)
            }
            Self::Postgres(running) => Arc::new(PostgresWorld::within(running.clone()).await?),
            Self::MySql(running) => {
                if mysql::wants_own_server(law) {
                    let server = MySqlServer::start_fresh(running.flavour).await?;
                    Arc::new(MySqlWorld::of_its_own(server).await?)
                } else {
                    Arc::new(MySqlWorld::within(running.clone()).await?)
                }
            }
            Self::TdsDouble => self.sql_server(law, MsSqlWorld::on_a_double().await?).await?,
            Self::SqlServer(place) => self.sql_server(law, MsSqlWorld::within(place.clone()).await?).await?,
            Self::Absent { why, .. } => anyhow::bail!("{why}"),
        })
    }

    /// Adds the dead man's switch only for laws about it: its job runs only every ten seconds, so
    /// they have to wait.
    async fn sql_server(&self, law: &DatabaseLaw, world: MsSqlWorld) -> Result<Arc<MsSqlWorld>> {
        let about = law.needs.iter().any(|need| matches!(need, Need::DeadMansSwitch | Need::Privileges));
        Ok(Arc::new(if about { world.with_dead_mans_switch().await? } else { world }))
    }
}

/// Name under which tests list the SQL Server of the environment.
const SQL_SERVER: &str = "sql-server";

fn absent_one(why: &str) -> Engine {
    Engine::Absent { name: SQL_SERVER.to_owned(), why: why.to_owned() }
}
