//! Tests of what can block the dead man's switch: locks, strangers, and missing rights.

use std::sync::Arc;
use std::time::Duration;

use jit_core::database::{ArmOrder, Call, FixedCredentials, Severity, TlsMode};
use jit_core::policy::{Sessions, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, World as _};
use jit_postgres::{PostgresConfig, PostgresDatabase};
use jit_tests::server::Cluster;
use jit_tests::set_up::{Target, run};
use tokio::process::Command;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::must;
use crate::scene::Scene;

/// Longest time of the switch for one end: a lock holds it up for seconds, several times.
const SOON: Duration = Duration::from_secs(60);

/// Grants the role, and arms the switch to end it after `ends_in` plus one second.
async fn grant_and_arm(scene: &Scene, powers: Stance, ends_in: Duration) -> Result<(), BoxError> {
    scene.try_grant(powers).await??;
    let order = ArmOrder::new(scene.membership()?, ends_in, Sessions::End);
    let call = Call::new(format!("a{}", scene.access), Duration::from_secs(10));
    scene.database.arm(&call, &[order]).await.pop().ok_or("no answer")??;
    Ok(())
}

async fn ends(session: &Client) -> Result<(), BoxError> {
    let ended = async {
        while session.batch_execute("SELECT 1").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let ended = tokio::time::timeout(SOON, ended).await;
    must(ended.is_ok(), "the account's session was not ended")
}

async fn is_taken(scene: &Scene) -> Result<(), BoxError> {
    let taken = async {
        while scene.world.members(&scene.role).await?.iter().any(|row| row.member == scene.account) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok::<_, BoxError>(())
    };
    tokio::time::timeout(SOON, taken).await.map_err(|_| "the role was not taken")?
}

/// Returns the check's message about the switch.
async fn told(scene: &Scene) -> Result<String, BoxError> {
    let found = scene.database.check(&[]).await?;
    let about = found.iter().filter(|check| check.about.what == "dead-man" && check.severity > Severity::Remark);
    Ok(about.map(|check| check.message.clone()).collect::<Vec<_>>().join("; "))
}

/// Returns the name of the table of the broker's leases.
async fn leases(scene: &Scene, admin: &Client) -> Result<String, BoxError> {
    let query = "SELECT 'jit_of_' || oid || '.leases' FROM pg_roles WHERE rolname = $1";
    Ok(admin.query_one(query, &[&scene.world.broker()]).await?.try_get(0)?)
}

/// Returns the process of the broker's sentinel.
async fn sentinel(scene: &Scene, admin: &Client) -> Result<Option<i32>, BoxError> {
    let query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'jit sentinel' AND usename = $1";
    let row = admin.query_opt(query, &[&scene.world.broker()]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}

/// Locks the leases longer than the sentinel waits. It must survive, since only a running jit would
/// start another one.
pub(crate) async fn locked_leases(scene: Scene) -> Result<(), BoxError> {
    let admin = scene.running.admin("postgres").await?;
    let leases = leases(&scene, &admin).await?;
    for lock in [
        format!("LOCK TABLE {leases} IN ACCESS EXCLUSIVE MODE"),
        format!("UPDATE {leases} SET failure = 'somebody was here'"),
    ] {
        grant_and_arm(&scene, Stance::Refused, Duration::from_secs(1)).await?;
        let first = sentinel(&scene, &admin).await?;
        must(first.is_some(), "no sentinel is awake")?;
        // longer than both of its waits
        admin.batch_execute(&format!("BEGIN; {lock}")).await?;
        tokio::time::sleep(Duration::from_secs(13)).await;
        admin.batch_execute("ROLLBACK").await?;
        is_taken(&scene).await.map_err(|error| format!("{lock}: {error}"))?;
        must(sentinel(&scene, &admin).await? == first, format!("{lock}: the sentinel was ended"))?;
    }
    Ok(())
}

/// Locks a table of the catalog that the switch reads. Before 17, only a superuser can lock one in
/// a mode that blocks others.
pub(crate) async fn locked_catalog(major: u32) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(major).await?;
    let scene = Scene::new(cluster.running().clone()).await?;
    scene.sql("GRANT MAINTAIN ON pg_policy TO {role}").await?;
    grant_and_arm(&scene, Stance::Accepted, Duration::from_secs(2)).await?;
    let session = scene.running.session(&scene.account, "postgres").await?;
    session.batch_execute("BEGIN; LOCK TABLE pg_policy IN ACCESS EXCLUSIVE MODE").await?;
    ends(&session).await?;
    is_taken(&scene).await
}

/// Leaves the session of a mere administrator of the account alone. Before 16, every member can act
/// as the account.
pub(crate) async fn mere_admin(scene: Scene) -> Result<(), BoxError> {
    let other = scene.world.fresh("eve");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    scene.sql(&format!("GRANT {{account}} TO {other} WITH INHERIT FALSE, SET FALSE, ADMIN TRUE")).await?;
    let theirs = scene.running.session(&other, "postgres").await?;
    let own = scene.running.session(&scene.account, "postgres").await?;
    grant_and_arm(&scene, Stance::Refused, Duration::ZERO).await?;
    ends(&own).await?;
    theirs.batch_execute("SELECT 1").await.map_err(|error| format!("the session of who cannot act as it: {error}"))?;
    Ok(())
}

pub(crate) async fn by_the_function(major: u32) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(major).await?;
    let scene = Scene::new(cluster.running().clone()).await?;
    // as on a vendor's servers
    scene
        .sql(
            "CREATE ROLE administrator LOGIN CREATEROLE; GRANT pg_signal_backend TO administrator; \
             REVOKE pg_signal_backend FROM {broker}",
        )
        .await?;
    let found = scene.database.check(&[]).await?;
    let mut mends = found.iter().filter_map(|check| check.remedy.as_deref());
    let remedy = mends
        .find(|remedy| remedy.contains("CREATE FUNCTION jit_sessions.end_session"))
        .ok_or("no function is told")?;
    scene.sql(remedy).await?;
    let own = scene.running.session(&scene.account, "postgres").await?;
    grant_and_arm(&scene, Stance::Refused, Duration::ZERO).await?;
    ends(&own).await
}

pub(crate) async fn planted_cron(major: u32) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(major).await?;
    let scene = Scene::new(cluster.running().clone()).await?;
    scene.sql("CREATE ROLE mallory; CREATE SCHEMA cron AUTHORIZATION mallory").await?;
    let told = told(&scene).await?;
    must(told.is_empty(), format!("it says of the switch: {told}"))?;
    let own = scene.running.session(&scene.account, "postgres").await?;
    grant_and_arm(&scene, Stance::Refused, Duration::ZERO).await?;
    ends(&own).await?;
    is_taken(&scene).await
}

/// Runs the job of `pg_cron` in a session with the search path of the database. The job takes the
/// role, and calls nothing of mallory's.
pub(crate) async fn hostile_path(major: u32) -> Result<(), BoxError> {
    let settings =
        "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'postgres'\ncron.use_background_workers = on";
    let cluster = Cluster::start_durable_with(major, settings).await?;
    let scene = Scene::new(cluster.running().clone()).await?;
    scene.sql("CREATE EXTENSION pg_cron; GRANT USAGE ON SCHEMA cron TO {broker}").await?;
    grant_and_arm(&scene, Stance::Refused, Duration::from_secs(600)).await?;
    let (admin, broker) = (scene.running.admin("postgres").await?, scene.world.broker());
    let job = "SELECT command FROM cron.job WHERE active AND username = $1";
    let job: String = admin.query_one(job, &[&broker]).await?.try_get(0)?;
    // as in every database that came from 14 or earlier
    admin
        .batch_execute(
            "CREATE ROLE mallory; GRANT CREATE ON SCHEMA public TO mallory; \
             ALTER DATABASE postgres SET search_path = public, pg_catalog; SET ROLE mallory; \
             CREATE FUNCTION public.hers(oid[]) RETURNS oid[] LANGUAGE plpgsql AS $$ BEGIN RAISE 'hers'; END $$; \
             CREATE AGGREGATE public.array_agg(oid) (SFUNC = array_append, STYPE = oid[], FINALFUNC = public.hers, INITCOND = '{}'); \
             CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE 'hers'; END $$; \
             CREATE VIEW public.pg_auth_members AS SELECT * FROM pg_catalog.pg_auth_members WHERE false; \
             GRANT SELECT ON public.pg_auth_members TO PUBLIC",
        )
        .await?;
    let session = scene.running.session(&broker, "postgres").await?;
    for careless in ["SELECT array_agg(1::oid)", "SELECT clock_timestamp()", "SELECT 1 / count(*) FROM pg_auth_members"]
    {
        must(session.batch_execute(careless).await.is_err(), format!("{careless}: it finds nothing of hers"))?;
    }
    // the job has to do it, so the sentinel is ended
    let due = format!(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'jit sentinel'; \
         UPDATE {} SET fires_at = pg_catalog.clock_timestamp()",
        leases(&scene, &admin).await?
    );
    admin.batch_execute(&format!("RESET ROLE; {due}")).await?;
    session.batch_execute(&job).await.map_err(|error| format!("the job: {error:?}"))?;
    let members = scene.world.members(&scene.role).await?;
    must(members.iter().all(|row| row.member != scene.account), "the job took nothing")
}

/// Arms the switch, whose sentinel keeps a session in its database. Doctor reports that, with the
/// statement that drops the database.
pub(crate) async fn in_use(scene: Scene) -> Result<(), BoxError> {
    let (place, broker) = (scene.world.fresh("place"), scene.world.broker());
    let admin = scene.running.admin("postgres").await?;
    admin.batch_execute(&format!("CREATE DATABASE {place} TEMPLATE template0")).await?;
    let oid: u32 = admin.query_one("SELECT oid FROM pg_roles WHERE rolname = $1", &[&broker]).await?.try_get(0)?;
    let there = scene.running.admin(&place).await?;
    there.batch_execute(&jit_postgres::dead_mans_switch(&broker, Some(oid))).await?;
    drop(there);
    let url = format!("postgres://{broker}@127.0.0.1:{}/{place}", scene.running.port);
    let config = PostgresConfig::from_url(&url)?.tls(TlsMode::verify_full(Some(scene.running.ca.clone())));
    let config = config.credentials(Arc::new(FixedCredentials::new(format!("secret of {broker}").into())));
    let scene = Scene { database: Arc::new(PostgresDatabase::new(config)?), ..scene };
    let found = scene.database.check(&[]).await?;
    must(
        found.iter().any(|check| check.message.contains("WITH (FORCE)")),
        format!("doctor does not say it: {found:?}"),
    )?;
    grant_and_arm(&scene, Stance::Refused, Duration::from_secs(600)).await?;
    must(sentinel(&scene, &admin).await?.is_some(), "no sentinel is awake")?;
    drop(scene.database);
    // waits until only the sentinel is left
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name <> 'jit sentinel'";
    while admin.query_one(others, &[&place]).await?.try_get::<_, i64>(0)? > 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let refused = admin.batch_execute(&format!("DROP DATABASE {place}")).await.err();
    let code = refused.as_ref().and_then(|error| error.code());
    must(code == Some(&SqlState::OBJECT_IN_USE), format!("it is not in use: {refused:?}"))?;
    Ok(admin.batch_execute(&format!("DROP DATABASE {place} WITH (FORCE)")).await?)
}

pub(crate) async fn writers(major: u32) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(major).await?;
    let scene = Scene::new(cluster.running().clone()).await?;
    let sound = told(&scene).await?;
    must(sound.is_empty(), format!("it says of the switch: {sound}"))?;
    let admin = if major < 16 { "ADMIN OPTION" } else { "ADMIN TRUE, INHERIT FALSE, SET FALSE" };
    let lender = format!("CREATE ROLE lender LOGIN; GRANT pg_write_all_data TO lender WITH {admin}");
    for (given, taken, who) in [
        // who may give it to themselves can write for a moment that nobody sees
        (lender.as_str(), "DROP ROLE lender", "lender"),
        ("CREATE ROLE loader LOGIN; GRANT pg_write_all_data TO loader", "DROP ROLE loader", "loader"),
        (
            "CREATE ROLE loaders; CREATE ROLE carol LOGIN; GRANT pg_write_all_data TO loaders; GRANT loaders TO carol",
            "DROP ROLE carol; DROP ROLE loaders",
            "carol",
        ),
        // the account that is granted the role could write the leases
        ("GRANT pg_write_all_data TO {role}", "REVOKE pg_write_all_data FROM {role}", scene.role.as_str()),
    ] {
        scene.sql(given).await?;
        let told = told(&scene).await?;
        must(told.contains(&format!("{who} may write every table")), format!("{given}: it says: {told}"))?;
        scene.sql(taken).await?;
    }
    // somebody who may read everything, and somebody who could set the broker's password anyway
    scene
        .sql(&format!(
            "CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader; CREATE ROLE steward LOGIN CREATEROLE; \
             GRANT pg_write_all_data TO steward; GRANT {{broker}} TO steward WITH {admin}"
        ))
        .await?;
    let told = told(&scene).await?;
    must(told.is_empty(), format!("it says of the switch: {told}"))
}

/// Plants a schema under the name that the broker's own would have. It does not stop the script
/// where the common schema is in use.
pub(crate) async fn planted_own_schema(major: u32) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(major).await?;
    let running = cluster.running();
    let password = "secret of jit_broker";
    let config = PostgresConfig::from_url(&format!("postgres://jit_broker@127.0.0.1:{}/postgres", running.port))?;
    let config = config.credentials(Arc::new(FixedCredentials::new(password.into())));
    let config = config.tls(TlsMode::verify_full(Some(running.ca.clone())));
    let target = Target::new(Arc::new(PostgresDatabase::new(config)?), &["orders_write"]).await?;
    let script = target.script().await?;
    let runs = async || {
        let mut client = Command::new("psql");
        client.args(["-X", "-q", "-h"]).arg(&running.socket).args(["-p", &running.port.to_string()]);
        client.args(["-U", "postgres", "-d", "postgres", "-v"]).arg(format!("password={password}"));
        run(&mut client, &script).await
    };
    runs().await??;
    let planted = "CREATE ROLE mallory; DO $$ BEGIN EXECUTE format('CREATE SCHEMA %I AUTHORIZATION mallory', \
                   'jit_of_' || 'jit_broker'::regrole::oid); END $$";
    running.admin("postgres").await?.batch_execute(planted).await?;
    runs().await??;
    let wrong = target.wrong().await?;
    must(wrong.is_empty(), format!("{wrong:?}"))
}
