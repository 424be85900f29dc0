//! Everything that the database laws are run on.

use std::sync::Arc;

use anyhow::Result;
use jit_core::clock::SystemClock;
use jit_core::testkit::database_laws::{DatabaseLaw, World};
use jit_core::testkit::mock::{MockServer, MockWorld, Profile};

use crate::server::Cluster;
use crate::servers::{Running, Servers};
use crate::world::postgres::PostgresWorld;

/// One engine in one version.
#[derive(Debug, Clone)]
pub enum Engine {
    /// In memory.
    Mock(Profile),
    /// A server that the supervisor keeps running.
    Postgres(Running),
    /// One that is not there.
    Absent {
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
}

impl Engine {
    /// All of them: the mocks, and what the supervisor says it has or was told to skip.
    #[must_use]
    pub fn all(servers: &Servers) -> Vec<Self> {
        let mocks = Profile::ALL.into_iter().map(Self::Mock);
        let running = servers.running.iter().cloned().map(Self::Postgres);
        let absent = servers.absent.iter().map(|(name, why)| Self::Absent { name: name.clone(), why: why.clone() });
        mocks.chain(running).chain(absent).collect()
    }

    /// As in the names of tests: `postgres-17`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Mock(profile) => profile.name(),
            Self::Postgres(running) => running.name(),
            Self::Absent { name, .. } => name.clone(),
        }
    }

    /// Why the law cannot be run here.
    #[must_use]
    pub fn ignores(&self, law: &DatabaseLaw) -> Option<String> {
        match self {
            Self::Mock(profile) => {
                let world = MockWorld::new(MockServer::new(*profile, Arc::new(SystemClock)));
                law.missing(&world).map(str::to_owned)
            }
            Self::Postgres(running) => {
                law.needs.iter().find_map(|need| crate::world::postgres::lacks(running.major, *need)).map(str::to_owned)
            }
            Self::Absent { why, .. } => Some(why.clone()),
        }
    }

    /// A fresh world for this law.
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
            Self::Absent { why, .. } => anyhow::bail!("{why}"),
        })
    }
}
