//! Tests of the set-up script, run by psql on a server of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::database::{FixedCredentials, TlsMode};
use jit_core::store::BoxError;
use jit_postgres::{PostgresConfig, PostgresDatabase};
use jit_tests::server::Cluster;
use jit_tests::servers::RunningPostgres;
use jit_tests::set_up::{Catalog, Target, run};
use tokio::process::Command;

use crate::must;

const PASSWORD: &str = "it's \"secret\" \\ :password";
/// Roles to set up; the second name needs every kind of quotes.
const ROLES: [&str; 2] = ["orders_write", "o'neil \"\\ :x"];

/// Query for everything that a script could change, as one text.
const EVERYTHING: &str = "SELECT concat_ws('; ', \
    (SELECT string_agg(a::text, ', ' ORDER BY a.oid) FROM pg_authid a), \
    (SELECT string_agg(concat(m.roleid, m.member, m.grantor, m.admin_option, to_jsonb(m)), ', ' ORDER BY m.roleid, m.member, m.grantor) FROM pg_auth_members m), \
    (SELECT string_agg(n::text, ', ' ORDER BY n.oid) FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp'), \
    (SELECT string_agg(concat(c.oid, c.relname, c.relowner, c.relacl), ', ' ORDER BY c.oid) FROM pg_class c WHERE c.relname = 'leases'), \
    (SELECT string_agg(concat(p.oid, p.proacl), ', ' ORDER BY p.oid) FROM pg_proc p WHERE p.oid >= 16384))";

struct Scene {
    cluster: Cluster,
    target: Target,
    script: String,
}

impl Scene {
    async fn new(major: u32) -> Result<Self, BoxError> {
        let cluster = Cluster::start_fresh(major).await?;
        cluster.running().admin("postgres").await?.batch_execute("CREATE DATABASE orders").await?;
        let target = Target::new(database(cluster.running(), "jit_broker")?, &ROLES).await?;
        let script = target.script().await?;
        let scene = Self { cluster, target, script };
        let roles = "CREATE ROLE orders_write; CREATE ROLE alice LOGIN; CREATE ROLE mallory LOGIN; GRANT CREATE ON DATABASE orders TO mallory";
        scene.sql("postgres", roles).await?;
        Ok(scene)
    }

    async fn sql(&self, user: &str, statements: &str) -> Result<(), BoxError> {
        Ok(self.cluster.running().session(user, "orders").await?.batch_execute(statements).await?)
    }

    async fn text(&self, query: &str) -> Result<String, BoxError> {
        Ok(self.cluster.running().admin("orders").await?.query_one(query, &[]).await?.try_get(0)?)
    }

    async fn run_by(&self, user: &str, database: &str, password: Option<&str>) -> Result<Result<(), String>, BoxError> {
        psql(self.cluster.running(), user, database, password, &self.script).await
    }

    /// Runs the script as the superuser, for whom it has to work.
    async fn runs(&self, password: Option<&str>) -> Result<(), BoxError> {
        Ok(self.run_by("postgres", "orders", password).await??)
    }

    /// Checks that the script fails for this reason, and changes nothing.
    async fn refuses(&self, why: &str) -> Result<(), BoxError> {
        let before = self.text(EVERYTHING).await?;
        let answer = self.run_by("postgres", "orders", Some(PASSWORD)).await?;
        must(answer.as_ref().is_err_and(|said| said.contains(why)), format!("{why}: {answer:?}"))?;
        must(before == self.text(EVERYTHING).await?, format!("{why}: something was changed"))
    }

    async fn is_sound(&self) -> Result<(), BoxError> {
        let wrong = self.target.wrong().await?;
        must(wrong.is_empty(), format!("{wrong:?}"))
    }
}

#[async_trait]
impl Catalog for Scene {
    async fn is_held(&self) -> Result<bool, BoxError> {
        let members = "SELECT count(*)::text FROM pg_auth_members WHERE roleid = 'orders_write'::regrole AND member = 'alice'::regrole";
        Ok(self.text(members).await? == "1")
    }

    async fn fires_soon(&self) -> Result<bool, BoxError> {
        let leases =
            "SELECT count(*)::text FROM jit.leases WHERE fired_at IS NULL AND fires_at < now() + interval '1 minute'";
        Ok(self.text(leases).await? == "1")
    }
}

fn database(running: &RunningPostgres, broker: &str) -> Result<Arc<PostgresDatabase>, BoxError> {
    let config = PostgresConfig::from_url(&format!("postgres://{broker}@127.0.0.1:{}/orders", running.port))?;
    let config = config.credentials(Arc::new(FixedCredentials::new(PASSWORD.into())));
    let config = config.tls(TlsMode::verify_full(Some(running.ca.clone())));
    Ok(Arc::new(PostgresDatabase::new(config.dead_mans_switch_grace(Duration::from_secs(1)))?))
}

async fn psql(
    running: &RunningPostgres,
    user: &str,
    database: &str,
    password: Option<&str>,
    script: &str,
) -> Result<Result<(), String>, BoxError> {
    let mut client = Command::new("psql");
    client.args(["-X", "-q", "-h"]).arg(&running.socket).args(["-p", &running.port.to_string()]);
    client.args(["-U", user, "-d", database]);
    if let Some(password) = password {
        client.arg("-v").arg(format!("password={password}"));
    }
    run(&mut client, script).await
}

pub(crate) async fn from_nothing(major: u32) -> Result<(), BoxError> {
    let scene = Scene::new(major).await?;
    // no account is made without its password, and nothing in another database
    let answer = scene.run_by("postgres", "orders", None).await?;
    must(answer.as_ref().is_err_and(|said| said.contains("no password")), format!("{answer:?}"))?;
    let answer = scene.run_by("postgres", "orders", Some("")).await?;
    must(answer.as_ref().is_err_and(|said| said.contains("the password is empty")), format!("{answer:?}"))?;
    let answer = scene.run_by("postgres", "postgres", Some(PASSWORD)).await?;
    must(answer.as_ref().is_err_and(|said| said.contains("the target is database orders")), format!("{answer:?}"))?;
    must(scene.text("SELECT count(*)::text FROM pg_roles WHERE rolname = 'jit_broker'").await? == "0", "half is made")?;
    scene.runs(Some(PASSWORD)).await?;
    scene.is_sound().await?;
    scene.target.windows("orders_write", &scene).await?;
    // a second run changes nothing
    let before = scene.text(EVERYTHING).await?;
    scene.runs(None).await?;
    let after = scene.text(EVERYTHING).await?;
    must(before == after, format!("it was\n{before}\nand is\n{after}"))?;
    // a further run restores each privilege that was taken
    for taken in [
        "REVOKE orders_write FROM jit_broker CASCADE",
        "REVOKE pg_signal_backend FROM jit_broker",
        "REVOKE INSERT ON jit.leases FROM jit_broker",
        "REVOKE USAGE ON SCHEMA jit FROM jit_broker",
        "DROP SCHEMA jit CASCADE",
        "ALTER ROLE jit_broker INHERIT CREATEROLE",
    ] {
        scene.sql("postgres", taken).await?;
        must(!scene.target.wrong().await?.is_empty(), format!("{taken}: it is not missed"))?;
        scene.runs(None).await?;
        scene.is_sound().await.map_err(|error| format!("{taken}: {error}"))?;
    }
    // another broker of the same database has a schema of its own
    let other = Target::new(database(scene.cluster.running(), "other_broker")?, &ROLES).await?;
    psql(scene.cluster.running(), "postgres", "orders", Some(PASSWORD), &other.script().await?).await??;
    let wrong = other.wrong().await?;
    must(wrong.is_empty(), format!("{wrong:?}"))?;
    let own = "SELECT count(*)::text FROM pg_namespace WHERE nspname = 'jit_of_' || 'other_broker'::regrole::oid";
    must(scene.text(own).await? == "1", "it has no place of its own")?;
    scene.is_sound().await
}

pub(crate) async fn planted(major: u32) -> Result<(), BoxError> {
    let scene = Scene::new(major).await?;
    let table = "CREATE SCHEMA jit; CREATE TABLE jit.leases (broker oid, role oid, account oid, fires_at timestamptz, ends_sessions bool, \
        armed_by text, fired_at timestamptz, sessions_ended int, failure text)";
    for (by, planted, taken, why) in [
        ("mallory", table, "DROP SCHEMA jit CASCADE", "schema jit belongs to mallory"),
        ("mallory", "CREATE SCHEMA jit", "DROP SCHEMA jit CASCADE", "schema jit belongs to mallory"),
        ("mallory", "CREATE SCHEMA jit_sessions", "DROP SCHEMA jit_sessions", "schema jit_sessions belongs to mallory"),
        (
            "postgres",
            "CREATE SCHEMA jit; GRANT CREATE ON SCHEMA jit TO mallory",
            "DROP SCHEMA jit CASCADE",
            "mallory may create in schema jit",
        ),
        (
            "postgres",
            "CREATE ROLE jit_broker LOGIN; GRANT jit_broker TO mallory",
            "DROP ROLE jit_broker",
            "mallory could act as jit_broker",
        ),
        ("postgres", "CREATE ROLE jit_broker LOGIN SUPERUSER", "DROP ROLE jit_broker", "is a superuser"),
    ] {
        scene.sql(by, planted).await?;
        scene.refuses(why).await?;
        scene.sql("postgres", taken).await?;
    }
    scene.runs(Some(PASSWORD)).await?;
    scene.is_sound().await?;
    // a foreign trigger that comes later is refused too
    scene
        .sql(
            "postgres",
            "CREATE FUNCTION public.own() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
             CREATE TRIGGER own BEFORE INSERT ON jit.leases FOR EACH ROW EXECUTE FUNCTION public.own()",
        )
        .await?;
    scene.refuses("has trigger own").await
}

/// Runs the script as an administrator who is not a superuser, as on a vendor's servers.
pub(crate) async fn by_an_administrator(major: u32) -> Result<(), BoxError> {
    let scene = Scene::new(major).await?;
    scene
        .sql(
            "postgres",
            "CREATE ROLE administrator LOGIN CREATEROLE; GRANT CREATE ON DATABASE orders TO administrator WITH GRANT OPTION; \
             GRANT orders_write, pg_signal_backend, pg_read_all_stats TO administrator WITH ADMIN OPTION",
        )
        .await?;
    for password in [Some(PASSWORD), None] {
        scene.run_by("administrator", "orders", password).await??;
        scene.is_sound().await?;
    }
    // a function ends sessions if the administrator may do that, but may not pass the right on
    scene
        .sql(
            "postgres",
            "REVOKE pg_signal_backend FROM administrator CASCADE; REVOKE pg_signal_backend FROM jit_broker CASCADE; \
             GRANT pg_signal_backend TO administrator",
        )
        .await?;
    for _ in 0..2 {
        scene.run_by("administrator", "orders", None).await??;
        scene.is_sound().await?;
    }
    Ok(())
}
