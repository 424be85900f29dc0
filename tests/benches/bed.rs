//! The test bed of the rows: a real server with fsync, a broker, accounts, and an engine on a
//! SqliteStore.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use jit_core::Actor;
use jit_core::engine::{Builder, Jit};
use jit_core::id::{Principal, TenantId};
use jit_core::policy::PolicyDocument;
use jit_core::store::{SqliteStore, Store};
use jit_tests::server::Cluster;

use crate::server::{Server, postgres};

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

/// A server and an engine whose target `pg` it is. Most rows stand on PostgreSQL 17.
#[derive(Debug)]
pub struct Bed<S = Cluster> {
    pub server: S,
    pub jit: Jit,
    folder: tempfile::TempDir,
}

impl Bed {
    /// Makes a PostgreSQL 17 with `users` accounts `u0`..., and an engine.
    pub async fn make(users: usize) -> Result<Self> {
        Self::on(postgres(17).await?, users).await
    }
}

impl<S: Server> Bed<S> {
    /// Makes `users` accounts `u0`... on this server, and an engine.
    pub async fn on(server: S, users: usize) -> Result<Self> {
        server.prepare(users).await?;
        let folder = tempfile::tempdir()?;
        let jit = engine(&server, SqliteStore::open(folder.path().join("jit.db"))?).await?;
        Ok(Self { server, jit, folder })
    }

    /// Replaces the store, on the same server.
    pub async fn fresh(&mut self) -> Result<()> {
        self.folder = tempfile::tempdir()?;
        self.jit = engine(&self.server, SqliteStore::open(self.folder.path().join("jit.db"))?).await?;
        Ok(())
    }

    pub async fn admin(&self) -> Result<S::Admin> {
        self.server.admin().await
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
pub fn names(letter: char, numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(|number| format!("{letter}{number}")).collect::<Vec<_>>().join(",")
}

/// Returns the ids by which the server knows its accounts and roles.
pub async fn ids(admin: &tokio_postgres::Client) -> Result<BTreeMap<String, u32>> {
    let rows = admin.query("SELECT rolname, oid FROM pg_roles", &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Returns a builder of an engine with the policy of the bed.
pub fn builder(store: impl Store) -> Result<Builder> {
    Ok(Jit::builder().store(store).policy(PolicyDocument::parse(POLICY, "bench")?))
}

/// Makes an engine on this store, whose target `pg` is the server.
pub async fn engine(server: &impl Server, store: impl Store) -> Result<Jit> {
    Ok(builder(store)?.database("pg", server.adapter()?).build().await?)
}

pub fn actor(name: &str) -> Actor {
    Actor::authenticated(TenantId::default(), Principal::new(name).unwrap(), "bench")
}

pub fn user(number: usize) -> Actor {
    actor(&format!("u{number}"))
}

pub const PATIENCE: Duration = Duration::from_secs(60);
