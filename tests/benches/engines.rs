//! A thousand ends at once on each engine, by the adapter alone. One account in ten has an open
//! session.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use chrono::TimeDelta;
use jit_core::clock::SystemEntropy;
use jit_core::database::{Call, Database, GrantOrder, Membership, MembershipScope, RevokeOrder};
use jit_core::id::AccessId;
use jit_core::policy::{Activation, Stance};
use jit_core::testkit::database_laws::{Act, Login, World, witness};
use jit_tests::server::{Cluster, Flavour, MySqlServer};
use jit_tests::servers::{RunningMySql, RunningPostgres};
use jit_tests::world::mysql::MySqlWorld;
use jit_tests::world::postgres::PostgresWorld;
use mysql_async::prelude::Queryable as _;

use crate::table::Table;

const ACCOUNTS: usize = 1_000;
const SESSIONS: usize = 100;
const ROUNDS: usize = 5;

pub async fn rows(table: &mut Table) -> Result<()> {
    let cluster = Cluster::start_durable_with(17, "max_connections = 400").await?;
    let server = Server::Postgres(cluster.running().clone());
    engine(table, "PostgreSQL 17", server, Arc::new(PostgresWorld::of_its_own(cluster).await?)).await?;
    for flavour in [Flavour::MySql97, Flavour::MariaDb118] {
        let running = MySqlServer::start_durable(flavour).await?;
        let server = Server::MySql(running.running().clone());
        engine(table, flavour.name(), server, Arc::new(MySqlWorld::of_its_own(running).await?)).await?;
    }
    Ok(())
}

/// Server, for the statements that are sent by hand.
enum Server {
    Postgres(RunningPostgres),
    MySql(RunningMySql),
}

impl Server {
    async fn run(&self, statement: &str) -> Result<()> {
        match self {
            Self::Postgres(running) => running.admin("postgres").await?.batch_execute(statement).await?,
            Self::MySql(running) => running.admin().await?.query_drop(statement).await?,
        }
        Ok(())
    }

    /// Returns the number of transactions that it committed, or of statements that it received.
    async fn counted(&self) -> Result<u64> {
        Ok(match self {
            Self::Postgres(running) => {
                // the server's statistics lag behind by up to a second
                tokio::time::sleep(Duration::from_millis(1_500)).await;
                let text = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
                let count: i64 = running.admin("postgres").await?.query_one(text, &[]).await?.try_get(0)?;
                count.try_into()?
            }
            Self::MySql(running) => {
                let mut admin = running.admin().await?;
                let row: Option<(String, u64)> = admin.query_first("SHOW GLOBAL STATUS LIKE 'Questions'").await?;
                row.map_or(0, |(_, count)| count)
            }
        })
    }

    /// Returns one statement for all accounts.
    fn by_hand(&self, verb: &str, role: &str, accounts: &[String]) -> String {
        let (word, quoted): (_, Vec<String>) = match self {
            Self::Postgres(_) => (verb, accounts.iter().map(|account| format!("\"{account}\"")).collect()),
            Self::MySql(_) => (verb, accounts.iter().map(|account| format!("`{account}`@'%'")).collect()),
        };
        let to = if word == "GRANT" { "TO" } else { "FROM" };
        format!("{word} {role} {to} {}", quoted.join(", "))
    }
}

async fn engine(table: &mut Table, name: &str, server: Server, world: Arc<dyn World>) -> Result<()> {
    let wrong = |error: jit_core::store::BoxError| anyhow!("{error}");
    let (role, database) = (world.fresh("many"), world.database(Login::Broker).await.map_err(wrong)?);
    world.act(Act::CreateRole { role: &role }).await.map_err(wrong)?;
    let accounts: Vec<String> = (0..ACCOUNTS).map(|_| world.fresh("u")).collect();
    for account in &accounts {
        world.act(Act::CreateAccount { account, inherits: true }).await.map_err(wrong)?;
    }
    let (mut floor, mut ours, mut statements) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        server.run(&server.by_hand("GRANT", &role, &accounts)).await?;
        let revoke = server.by_hand("REVOKE", &role, &accounts);
        let begun = Instant::now();
        server.run(&revoke).await?;
        floor.push(begun.elapsed());
    }
    for _ in 0..ROUNDS {
        grant(&*world, &*database, &role, &accounts).await?;
        let mut sessions = Vec::new();
        for account in accounts.iter().take(SESSIONS) {
            sessions.push(world.session(account).await.map_err(wrong)?);
        }
        let before = server.counted().await?;
        let begun = Instant::now();
        let ended = revoke(&*database, &role, &accounts).await?;
        ours.push(begun.elapsed());
        statements.push(server.counted().await?.saturating_sub(before));
        ensure!(ended == SESSIONS, "{ended} of {SESSIONS} sessions were ended");
    }
    let median = |all: &mut Vec<Duration>| {
        all.sort();
        all[all.len() / 2].as_secs_f64() * 1_000.0
    };
    statements.sort_unstable();
    table.row(
        &format!("{name}: 1,000 ends in one call of the adapter, 100 sessions ended, all verified"),
        format!("{:.0} ms, {} statements", median(&mut ours), statements[statements.len() / 2]),
        format!("one REVOKE naming all {:.0} ms", median(&mut floor)),
        "",
    );
    Ok(())
}

fn membership(database: &dyn Database, account: &str, role: &str) -> Result<Membership> {
    let (account, role) = (database.account(account)?, database.role(role)?);
    Ok(Membership::new(account, role))
}

async fn grant(world: &dyn World, database: &dyn Database, role: &str, accounts: &[String]) -> Result<()> {
    let now = world.server_time().await.map_err(|error| anyhow!("{error}"))?;
    let access = AccessId::fresh(now, &SystemEntropy);
    let witness = witness(access).map_err(|error| anyhow!("{error}"))?;
    let soon = now + TimeDelta::seconds(60);
    let refused = Stance::Refused;
    let order = |account: &String| {
        let membership = membership(database, account, role)?;
        let order = GrantOrder::new(&witness, membership, MembershipScope::SetRole, soon)
            .with_account_members(refused)
            .with_can_grant(refused);
        Ok(order.activated(Activation::Session))
    };
    let orders = accounts.iter().map(order).collect::<Result<Vec<_>>>()?;
    let call = Call::new("bench.g", Duration::from_secs(30));
    for granted in database.grant(&call, &orders).await {
        granted?;
    }
    Ok(())
}

async fn revoke(database: &dyn Database, role: &str, accounts: &[String]) -> Result<usize> {
    let access = AccessId::fresh(jit_core::clock::Time::UNIX_EPOCH, &SystemEntropy);
    let order = |account: &String| Ok(RevokeOrder::new(access, membership(database, account, role)?));
    let orders = accounts.iter().map(order).collect::<Result<Vec<_>>>()?;
    let call = Call::new("bench.r", Duration::from_secs(30));
    let mut ended = 0;
    for report in database.revoke(&call, &orders).await {
        let report = report?;
        ensure!(report.seen.direct.is_empty() && report.seen.sessions.is_empty(), "not gone: {report:?}");
        ended += report.ended.len();
    }
    Ok(ended)
}
