//! What only PostgreSQL has: what its roles can beyond their objects, locks on its catalog, names in another encoding. `postgres-17/law_...`.

#[path = "postgres/replicas.rs"]
mod replicas;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jit_core::database::{
    Call, Database, DatabaseError, DefaultRole, Gone, GrantOrder, Grantor, Rejection, RevokeHow, RevokeOrder,
    RevokeReport, Subject, Width,
};
use jit_core::holding::{left_behind, marks};
use jit_core::id::AccessId;
use jit_core::policy::{Prepared, Sessions, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, Login, World, witness};
use jit_tests::servers::{RunningPostgres, Servers};
use jit_tests::world::postgres::PostgresWorld;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

/// Longest that one test takes on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = arguments.test_threads.or(Some(4));
    let servers = Servers::of_this_run()?;
    let runtime = Arc::new(Builder::new_multi_thread().worker_threads(2).enable_all().build()?);
    let mut trials = Vec::new();
    for running in servers.postgres() {
        let mut all = Tests { running, runtime: &runtime, trials: &mut trials };
        all.add("what_reaches_beyond_its_objects_is_a_power", powers);
        all.add("ordinary_rights_are_no_power", ordinary);
        all.add("law_05_a_broker_made_superuser_still_takes_what_it_granted", superuser);
        all.add("names_that_are_no_utf8_stop_nothing", encodings);
        all.add("what_was_given_or_altered_in_the_roles_name_is_left_behind", passed_on);
        // 15 has neither a lock of a role nor the grantor of a membership
        if running.major >= 16 {
            all.add("law_04_a_lock_of_the_account_does_not_keep_its_role", locked);
            all.add("what_the_broker_granted_and_can_use_is_listed", of_the_broker);
            all.add("a_role_that_was_gone_already_is_told", gone_before);
        }
        // the oldest catalog and a newer one
        if [15, 17].contains(&running.major) {
            replicas::all(&mut all);
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}

struct Tests<'a> {
    running: &'a RunningPostgres,
    runtime: &'a Arc<Runtime>,
    trials: &'a mut Vec<Trial>,
}

impl Tests<'_> {
    fn add<F>(&mut self, name: &str, test: impl FnOnce(Scene) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let full = format!("{}/{name}", self.running.name());
        let (runtime, running) = (Arc::clone(self.runtime), self.running.clone());
        self.trials.push(Trial::test(full, move || {
            let work = async { test(Scene::new(running).await?).await };
            let done = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
            let done = done.map_err(|_| format!("it takes longer than {PATIENCE:?}"))?;
            done.map_err(|error: BoxError| Failed::from(error.to_string()))
        }));
    }
}

/// An account, a role, and the broker's adapter.
struct Scene {
    world: PostgresWorld,
    running: RunningPostgres,
    database: Arc<dyn Database>,
    account: String,
    role: String,
    access: AccessId,
    /// What an earlier try showed.
    gone: Vec<Gone>,
}

impl Scene {
    async fn new(running: RunningPostgres) -> Result<Self, BoxError> {
        let world = PostgresWorld::within(running.clone()).await?;
        let (account, role) = (world.fresh("alice"), world.fresh("writer"));
        world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        world.act(Act::CreateRole { role: &role }).await?;
        let database = world.database(Login::Broker).await?;
        let access = AccessId::fresh(world.server_time().await?, &jit_core::clock::SystemEntropy);
        Ok(Self { world, running, database, account, role, access, gone: Vec::new() })
    }

    async fn sql(&self, statements: &str) -> Result<(), BoxError> {
        let text = statements.replace("{role}", &self.role).replace("{account}", &self.account);
        let text = text.replace("{broker}", &self.world.broker());
        // one after the other: statements about what all tests share
        let locked = format!("SELECT pg_advisory_xact_lock(4711); {text}");
        Ok(self.running.admin("postgres").await?.batch_execute(&locked).await?)
    }

    fn subject(&self) -> Result<Subject, BoxError> {
        let (account, role) = (self.database.account(&self.account)?, self.database.role(&self.role)?);
        Ok(Subject { account, account_id: None, role, role_id: None })
    }

    async fn try_grant(&self, powers: Stance) -> Result<Result<(), DatabaseError>, BoxError> {
        let soon = self.world.server_time().await? + chrono::TimeDelta::seconds(60);
        let order =
            GrantOrder::new(&witness(self.access)?, self.subject()?, Width::SetRole, soon, Stance::Refused, powers);
        let call = Call { label: format!("g{}", self.access), limit: Duration::from_secs(10), server: None };
        let answer = self.database.grant(&call, &[order]).await.pop().ok_or("no answer")?;
        Ok(answer.map(drop))
    }

    async fn revoke(&self) -> Result<RevokeReport, BoxError> {
        self.revoke_with(Sessions::End).await
    }

    async fn revoke_with(&self, sessions: Sessions) -> Result<RevokeReport, BoxError> {
        let order = RevokeOrder {
            access: self.access,
            subject: self.subject()?,
            how: RevokeHow::Remove,
            sessions,
            prepared: Prepared::Report,
            default_role: DefaultRole::Stays,
            gone: self.gone.clone(),
        };
        let call = Call { label: format!("r{}", self.access), limit: Duration::from_secs(10), server: None };
        Ok(self.database.revoke(&call, &[order]).await.pop().ok_or("no answer")??)
    }
}

fn must(holds: bool, otherwise: impl Into<String>) -> Result<(), BoxError> {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}

async fn powers(scene: Scene) -> Result<(), BoxError> {
    let (function, schema) = (scene.world.fresh("lent"), scene.world.fresh("lent"));
    scene
        .sql(&format!(
            "CREATE SCHEMA {schema}; CREATE FUNCTION {schema}.{function}() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'; \
             REVOKE ALL ON FUNCTION {schema}.{function}() FROM PUBLIC"
        ))
        .await?;
    let lent = format!("GRANT EXECUTE ON FUNCTION {schema}.{function}() TO {{role}}");
    let unlent = format!("REVOKE EXECUTE ON FUNCTION {schema}.{function}() FROM {{role}}");
    let mut all = vec![
        ("ALTER ROLE {role} CREATEROLE", "ALTER ROLE {role} NOCREATEROLE"),
        ("ALTER ROLE {role} CREATEDB", "ALTER ROLE {role} NOCREATEDB"),
        ("ALTER ROLE {role} REPLICATION", "ALTER ROLE {role} NOREPLICATION"),
        ("ALTER ROLE {role} BYPASSRLS", "ALTER ROLE {role} NOBYPASSRLS"),
        ("GRANT pg_signal_backend TO {role}", "REVOKE pg_signal_backend FROM {role}"),
        ("GRANT pg_read_server_files TO {role}", "REVOKE pg_read_server_files FROM {role}"),
        ("GRANT pg_checkpoint TO {role}", "REVOKE pg_checkpoint FROM {role}"),
        ("GRANT CREATE ON DATABASE postgres TO {role}", "REVOKE CREATE ON DATABASE postgres FROM {role}"),
        ("GRANT SELECT ON pg_authid TO {role}", "REVOKE SELECT ON pg_authid FROM {role}"),
        ("GRANT CREATE ON SCHEMA pg_catalog TO {role}", "REVOKE CREATE ON SCHEMA pg_catalog FROM {role}"),
        (
            "GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {role}",
            "REVOKE EXECUTE ON FUNCTION pg_read_file(text) FROM {role}",
        ),
        ("GRANT SET ON PARAMETER log_statement TO {role}", "REVOKE SET ON PARAMETER log_statement FROM {role}"),
        (&lent, &unlent),
    ];
    if scene.running.major >= 17 {
        all.push(("GRANT pg_maintain TO {role}", "REVOKE pg_maintain FROM {role}"));
    }
    for (give, take) in all {
        scene.sql(give).await?;
        let answer = scene.try_grant(Stance::Refused).await?;
        let refused =
            matches!(&answer, Err(DatabaseError::Rejected { rejection, .. }) if *rejection == Rejection::RoleCanGrant);
        must(refused, format!("{give}: {answer:?}"))?;
        scene.sql(take).await?;
    }
    scene.try_grant(Stance::Refused).await??;
    Ok(())
}

async fn ordinary(scene: Scene) -> Result<(), BoxError> {
    let schema = scene.world.fresh("own");
    scene
        .sql(&format!(
            "GRANT ALL ON TABLE {{role}} TO {{role}} WITH GRANT OPTION; GRANT CREATE ON SCHEMA public TO {{role}}; \
             CREATE SCHEMA {schema} AUTHORIZATION {{role}}; CREATE TABLE {schema}.t (n int); ALTER TABLE {schema}.t OWNER TO {{role}}; \
             CREATE FUNCTION {schema}.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT EXECUTE ON FUNCTION {schema}.f() TO {{role}}; \
             GRANT pg_monitor TO {{role}}; GRANT CONNECT, TEMPORARY ON DATABASE postgres TO {{role}}; \
             GRANT USAGE ON LANGUAGE plpgsql TO {{role}}"
        ))
        .await?;
    scene.try_grant(Stance::Refused).await??;
    Ok(())
}

async fn locked(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    scene.sql("GRANT {role} TO {account} WITH ADMIN OPTION").await?;
    let other = scene.world.fresh("bob");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    // an open transaction that granted the role is in the way of every revoke of it
    let session = scene.running.session(&scene.account, "postgres").await?;
    session.batch_execute(&format!("BEGIN; GRANT {} TO {other}", scene.role)).await?;
    let report = scene.revoke().await?;
    let ours = report.seen.direct.iter().filter(|edge| edge.grantor == Grantor::Broker).count();
    must(ours == 0, format!("it is still held: {:?}", report.seen.direct))?;
    must(session.batch_execute("COMMIT").await.is_err(), "the session that was in the way goes on")
}

async fn superuser(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    scene.sql("ALTER ROLE {broker} SUPERUSER").await?;
    let again = scene.world.database(Login::Broker).await?;
    let scene = Scene { database: again, ..scene };
    let report = scene.revoke().await?;
    must(report.seen.direct.is_empty(), format!("it is still held: {:?}", report.seen.direct))?;
    must(scene.try_grant(Stance::Refused).await?.is_err(), "a superuser grants")
}

async fn encodings(scene: Scene) -> Result<(), BoxError> {
    let latin = scene.world.fresh("latin");
    let admin = scene.running.admin("postgres").await?;
    let make = format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'");
    admin.batch_execute(&make).await?;
    let name = scene.world.fresh("müller");
    let there = scene.running.admin(&latin).await?;
    there.batch_execute(&format!("CREATE ROLE \"{name}\" LOGIN; GRANT {} TO \"{name}\"", scene.role)).await?;
    let role = scene.database.role(&scene.role)?;
    let holders = scene.database.holders(&[role]).await?.holders;
    let told = name.replace('ü', "\\xfc");
    must(holders.iter().any(|holder| holder.account.as_str() == told), format!("`{told}` is not among {holders:?}"))?;
    scene.try_grant(Stance::Refused).await??;
    scene.revoke().await?;
    there.batch_execute(&format!("DROP ROLE \"{name}\"")).await?;
    drop(there);
    Ok(admin.batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await?)
}

async fn passed_on(scene: Scene) -> Result<(), BoxError> {
    let schema = scene.world.fresh("app");
    let mine = |text: &str| text.replace("{schema}", &schema);
    scene
        .sql(&mine(
            "CREATE SCHEMA {schema} AUTHORIZATION {role}; SET ROLE {role}; CREATE TABLE {schema}.letters (t text); \
             CREATE TABLE {schema}.ledger (t text); ALTER TABLE {schema}.ledger ENABLE ROW LEVEL SECURITY; \
             CREATE TABLE {schema}.still (t text); GRANT SELECT ON {schema}.still TO PUBLIC; \
             CREATE FUNCTION {schema}.counts() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1::bigint'; RESET ROLE",
        ))
        .await?;
    let owned = async || -> Result<Vec<_>, BoxError> {
        let owned = scene.database.belongings(&[scene.subject()?]).await?.each.pop().flatten();
        Ok(owned.ok_or("too many")?)
    };
    let before = marks(&owned().await?);
    must(left_behind(&before, &owned().await?).is_empty(), "what was there before is news")?;
    scene
        .sql(&mine(
            "SET ROLE {role}; GRANT SELECT ON {schema}.letters TO {account}; CREATE POLICY everything ON {schema}.ledger USING (true); \
             GRANT UPDATE (t) ON {schema}.ledger TO PUBLIC; ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {account}; \
             CREATE OR REPLACE FUNCTION {schema}.counts() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 2::bigint'; RESET ROLE",
        ))
        .await?;
    let left = left_behind(&before, &owned().await?);
    for (what, more) in [
        ("letters", "SELECT"),
        ("ledger", "policy"),
        ("ledger", "UPDATE"),
        ("default privileges", ""),
        ("counts", "altered"),
    ] {
        must(
            left.iter().any(|one| one.contains(what) && one.contains(more)),
            format!("{what} ({more}) is not in {left:?}"),
        )?;
    }
    must(!left.iter().any(|one| one.contains("still")), format!("what nobody touched is told: {left:?}"))
}

async fn of_the_broker(scene: Scene) -> Result<(), BoxError> {
    must(scene.database.of_the_broker().await?.usable.is_empty(), "the broker can use nothing yet")?;
    scene.try_grant(Stance::Refused).await??;
    scene.sql("GRANT {role} TO {broker} WITH SET TRUE").await?;
    let seen = scene.database.of_the_broker().await?;
    must(seen.granted.iter().any(|holder| holder.role.as_str() == scene.role), "what it granted is not listed")?;
    must(seen.usable.iter().any(|holder| holder.role.as_str() == scene.role), "what it can use is not listed")
}

async fn gone_before(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    must(scene.revoke().await?.was_held == Some(true), "it was held")?;
    must(scene.revoke().await?.was_held == Some(false), "it was gone already")
}
