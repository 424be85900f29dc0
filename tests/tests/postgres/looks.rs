//! Tests of what a look at the server must find, whatever strangers made there.

use std::sync::Arc;
use std::time::Duration;

use jit_core::database::{Call, Check, Database, FixedCredentials, RevokeOrder, Severity, TlsMode};
use jit_core::policy::{Prepared, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::World as _;
use jit_postgres::{PostgresConfig, PostgresDatabase};
use jit_tests::server::Cluster;
use jit_tests::servers::RunningPostgres;

use crate::must;
use crate::scene::Scene;

/// Makes a broker's adapter for one database of this server.
fn database_in(
    running: &RunningPostgres,
    (broker, password): (&str, &str),
    name: &str,
) -> Result<PostgresDatabase, BoxError> {
    let config = PostgresConfig::from_url(&format!("postgres://{broker}@127.0.0.1:{}/{name}", running.port))?;
    let config = config.credentials(Arc::new(FixedCredentials::new(password.to_owned().into())));
    Ok(PostgresDatabase::new(config.tls(TlsMode::verify_full(Some(running.ca.clone()))))?)
}

fn found<'a>(checks: &'a [Check], what: &str) -> Option<&'a Check> {
    checks.iter().find(|check| check.about.what == what)
}

/// Prepares a transaction under SET ROLE. It belongs to the role, and nothing shows who prepared
/// it.
pub(crate) async fn prepared_as_role(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    let gid = scene.world.fresh("as the role");
    let session = scene.running.session(&scene.account, "postgres").await?;
    for statement in [
        format!("SET ROLE {}", scene.role),
        "BEGIN".to_owned(),
        "SELECT txid_current()".to_owned(),
        format!("PREPARE TRANSACTION '{gid}'"),
    ] {
        session.batch_execute(&statement).await?;
    }
    let order = RevokeOrder::new(scene.access, scene.membership()?).prepared(Prepared::Rollback);
    let call = Call::new(format!("r{}", scene.access), Duration::from_secs(10));
    let report = scene.database.revoke(&call, &[order]).await.pop().ok_or("no answer")??;
    let seen = report.seen.prepared.iter().any(|one| one.gid == gid && one.owner == scene.role);
    must(seen, format!("`{gid}` is not in the report: {:?}", report.seen.prepared))?;
    must(report.rolled_back.is_empty(), format!("it may be somebody else's: {:?}", report.rolled_back))?;
    scene.running.admin("postgres").await?.batch_execute(&format!("ROLLBACK PREPARED '{gid}'")).await?;
    let report = scene.revoke().await?;
    must(report.seen.prepared.is_empty(), format!("what is gone is still seen: {:?}", report.seen.prepared))
}

pub(crate) async fn members_of_the_broker(scene: Scene) -> Result<(), BoxError> {
    let (broker, mallory) = (scene.world.broker(), scene.world.fresh("mallory"));
    let told = async || -> Result<Option<Check>, BoxError> {
        Ok(found(&scene.database.check(&[]).await?, "broker-members").cloned())
    };
    must(told().await?.is_none(), "somebody is told before anybody is a member")?;
    scene.sql(&format!("CREATE ROLE {mallory} LOGIN; GRANT {broker} TO {mallory}")).await?;
    let check = told().await?.ok_or("nobody says that mallory can act as the broker")?;
    must(check.severity == Severity::Danger && check.message.contains(&mallory), format!("{check:?}"))?;
    scene.sql(&check.remedy.ok_or("nothing is said to mend it")?).await?;
    must(told().await?.is_none(), "it is told after it was mended")?;
    if scene.running.major >= 16 {
        // as the server grants it to the one who makes the broker's account
        scene.sql(&format!("GRANT {broker} TO {mallory} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE")).await?;
        let check = told().await?.ok_or("nobody says that mallory can make herself a member")?;
        must(check.severity == Severity::Remark && check.remedy.is_none(), format!("{check:?}"))?;
    }
    Ok(())
}

/// Plants a schema that the broker may not use. A lookup by name in it would fail.
pub(crate) async fn strangers_schema(scene: Scene) -> Result<(), BoxError> {
    let (place, mallory, broker) = (scene.world.fresh("place"), scene.world.fresh("mallory"), scene.world.broker());
    let admin = scene.running.admin("postgres").await?;
    admin.batch_execute(&format!("CREATE ROLE {mallory} LOGIN")).await?;
    admin.batch_execute(&format!("CREATE DATABASE {place} TEMPLATE template0")).await?;
    let there = scene.running.admin(&place).await?;
    there.batch_execute(&format!("CREATE SCHEMA jit_sessions AUTHORIZATION {mallory}")).await?;
    let database = database_in(&scene.running, (&broker, &format!("secret of {broker}")), &place)?;
    database.check(&[]).await?;
    let scene = Scene { database: Arc::new(database), ..scene };
    scene.try_grant(Stance::Refused).await??;
    scene.revoke().await?;
    drop((there, scene));
    Ok(admin.batch_execute(&format!("DROP DATABASE {place} WITH (FORCE)")).await?)
}

/// Lets the broker end sessions by an administrator's function, as on a vendor's servers.
pub(crate) async fn planted_sessions(major: u32) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(major).await?;
    let running = cluster.running();
    let admin = running.admin("postgres").await?;
    for statements in [
        "CREATE ROLE steward LOGIN CREATEROLE; GRANT pg_signal_backend TO steward; CREATE ROLE mallory LOGIN",
        "CREATE DATABASE orders OWNER steward",
        "GRANT CREATE ON DATABASE orders TO mallory",
    ] {
        admin.batch_execute(statements).await?;
    }
    let (steward, mallory) = (running.session("steward", "orders").await?, running.session("mallory", "orders").await?);
    steward.batch_execute("CREATE ROLE jit_broker LOGIN NOINHERIT PASSWORD 'secret'").await?;
    let database = database_in(running, ("jit_broker", "secret"), "orders")?;
    let remedy = async || -> Result<Option<String>, BoxError> {
        Ok(found(&database.check(&[]).await?, "signal-backend").and_then(|check| check.remedy.clone()))
    };
    let statements = remedy().await?.ok_or("nothing is said to mend it")?;
    mallory.batch_execute("CREATE SCHEMA jit_sessions; GRANT ALL ON SCHEMA jit_sessions TO PUBLIC").await?;
    must(steward.batch_execute(&statements).await.is_err(), "mallory's schema is adopted")?;
    let there = "SELECT count(*)::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'jit_sessions'";
    let there: String = running.admin("orders").await?.query_one(there, &[]).await?.try_get(0)?;
    must(there == "0", "something is made in mallory's schema")?;
    mallory.batch_execute("DROP SCHEMA jit_sessions").await?;
    for _ in 0..2 {
        steward.batch_execute(&statements).await?;
        must(remedy().await?.is_none(), "it is made, and not relied on")?;
    }
    // rights to replace the function
    for (give, take) in [
        ("GRANT CREATE ON SCHEMA jit_sessions TO mallory", "REVOKE CREATE ON SCHEMA jit_sessions FROM mallory"),
        ("ALTER SCHEMA jit_sessions OWNER TO mallory", "ALTER SCHEMA jit_sessions OWNER TO steward"),
    ] {
        let admin = running.admin("orders").await?;
        admin.batch_execute(give).await?;
        must(remedy().await?.is_some(), format!("{give}: it is relied on"))?;
        admin.batch_execute(take).await?;
        must(remedy().await?.is_none(), format!("{take}: it is not relied on"))?;
    }
    Ok(())
}
