//! What only PostgreSQL has: what its roles can beyond their objects, locks on its catalog, names in another encoding. `postgres-17/law_...`.

#[path = "postgres/set_up.rs"]
mod set_up;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use jit_core::database::{
    ArmOrder, Call, Database, DatabaseError, DefaultRole, GrantOrder, Grantor, Rejection, RevokeHow, RevokeOrder,
    RevokeReport, Subject, Width, declared,
};
use jit_core::holding::{left_behind, marks};
use jit_core::id::{AccessId, TargetName};
use jit_core::policy::{Prepared, Sessions, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, Login, World, witness};
use jit_tests::identity::{actor, engine, refused, revoked, same_data, stays_due, usable};
use jit_tests::server::{Cluster, Down};
use jit_core::testkit::database_laws::{Act, Certificate, Login, World, witness};
use jit_postgres::{PostgresConfig, PostgresStore, StoreConfig, StoreUsers};
use jit_tests::server::Cluster;
use jit_tests::servers::{RunningPostgres, Servers};
use jit_tests::world::postgres::PostgresWorld;
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::runtime::{Builder, Runtime};

/// Longest that one test takes on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(240);

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
        all.add_alone("law_17_a_target_is_set_up_from_nothing_and_mended", set_up::from_nothing);
        all.add_alone("law_17_setting_up_takes_over_nothing_of_a_strangers", set_up::planted);
        all.add_alone("a_target_is_set_up_by_who_is_no_superuser", set_up::by_an_administrator);
        // 15 has neither a lock of a role nor the grantor of a membership
        if running.major >= 16 {
            all.add("law_04_a_lock_of_the_account_does_not_keep_its_role", locked);
            all.add("what_the_broker_granted_and_can_use_is_listed", of_the_broker);
            all.add("a_role_that_was_gone_already_is_told", gone_before);
            all.add("administrators_are_no_members_and_their_sessions_are_left_and_told", administrators);
            all.add("who_is_a_member_of_an_administrator_is_one_of_the_account", members_of_administrators);
            all.add("a_store_knows_a_nameless_server_by_the_expected_name", store_by_name);
            all.add("the_dead_mans_switch_leaves_the_sessions_of_administrators", administrators_and_dead_man);
        }
    }
    if servers.postgres().any(|running| running.major == 17) {
        let mut add = |name: &str, test: fn() -> Tested| {
            let runtime = Arc::clone(&runtime);
            trials.push(Trial::test(format!("postgres-17/{name}"), move || {
                let done = runtime.block_on(async { tokio::time::timeout(PATIENCE, test()).await });
                let done = done.map_err(|_| format!("it takes longer than {PATIENCE:?}"))?;
                done.map_err(|error: BoxError| Failed::from(error.to_string()))
            }));
        };
        add("law_05_an_earlier_copy_in_its_place_is_no_restart_of_it", || Box::pin(copy_in_place()));
        add("law_07_two_clusters_of_one_folder_are_two_realms", || Box::pin(copied_folder()));
        if servers.postgres().any(|running| running.major == 15) {
            add("law_04_what_an_upgrade_brought_along_stays_due_until_it_is_gone", || Box::pin(upgraded()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit()
}

/// What a test with servers of its own comes to.
type Tested = std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

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
        self.add_of(name, |running| async { test(Scene::new(running).await?).await });
    }

    /// On a server of its own, of this major version.
    fn add_alone<F>(&mut self, name: &str, test: impl FnOnce(u32) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        self.add_of(name, |running| test(running.major));
    }

    fn add_of<F>(&mut self, name: &str, test: impl FnOnce(RunningPostgres) -> F + Send + 'static)
    where
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let full = format!("{}/{name}", self.running.name());
        let (runtime, running) = (Arc::clone(self.runtime), self.running.clone());
        self.trials.push(Trial::test(full, move || {
            let work = test(running);
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
}

impl Scene {
    async fn new(running: RunningPostgres) -> Result<Self, BoxError> {
        let world = PostgresWorld::within(running.clone()).await?;
        let (account, role) = (world.fresh("alice"), world.fresh("writer"));
        world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        world.act(Act::CreateRole { role: &role }).await?;
        let database = world.database(Login::Broker).await?;
        let access = AccessId::fresh(world.server_time().await?, &jit_core::clock::SystemEntropy);
        Ok(Self { world, running, database, account, role, access })
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
        let call =
            Call { label: format!("g{}", self.access), limit: Duration::from_secs(10), server: None, store: None };
        let answer = self.database.grant(&call, &[order]).await.pop().ok_or("no answer")?;
        Ok(answer.map(drop))
    }

    async fn revoke(&self) -> Result<RevokeReport, BoxError> {
        let order = RevokeOrder {
            access: self.access,
            subject: self.subject()?,
            how: RevokeHow::Remove,
            sessions: Sessions::End,
            prepared: Prepared::Report,
            default_role: DefaultRole::Stays,
        };
        let call =
            Call { label: format!("r{}", self.access), limit: Duration::from_secs(10), server: None, store: None };
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

/// Whether the account is in the role, whoever granted that.
async fn held(running: &RunningPostgres, role: &str, account: &str) -> Result<bool, BoxError> {
    let admin = running.admin("postgres").await?;
    let statement =
        "SELECT 1 FROM pg_auth_members m WHERE m.roleid = $1::text::regrole AND m.member = $2::text::regrole";
    Ok(admin.query_opt(statement, &[&role, &account]).await?.is_some())
}

/// A copy that was saved before is started in the place of a cluster, where nothing but what it lacks tells it from that one.
async fn copy_in_place() -> Result<(), BoxError> {
    let mut cluster = Cluster::start_fresh(17).await?;
    let Scene { world, database, account, role, .. } = Scene::new(cluster.running().clone()).await?;
    let dave = world.fresh("dave");
    world.act(Act::CreateAccount { account: &dave, inherits: true }).await?;
    let jit = engine(&role, &[("db", &database)]).await?;
    let pump = jit.start();
    // before the grant, and after it, but before something else that was seen
    for later in [false, true] {
        if !later {
            cluster.stop(Down::Fast)?;
            cluster.save().await?;
            cluster.start().await?;
        }
        let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::seconds(if later { 20 } else { 8 })).await?;
        if later {
            cluster.stop(Down::Fast)?;
            cluster.save().await?;
            cluster.start().await?;
            let other = usable(&jit, "db", &dave, &role, chrono::TimeDelta::minutes(5)).await?;
            jit.release(&actor(&dave)?, other).await?;
            revoked(&jit, other).await?;
        }
        cluster.stop(Down::Fast)?;
        cluster.exchange()?;
        cluster.start().await?;
        stays_due(&jit, id).await?;
        refused(&jit, "db", &dave, &role).await?;
        if held(cluster.running(), &role, &account).await? != later {
            return Err("the copy was told something".into());
        }
        cluster.stop(Down::Fast)?;
        cluster.exchange()?;
        cluster.start().await?;
        revoked(&jit, id).await?;
        if held(cluster.running(), &role, &account).await? {
            return Err("the role stays where it was granted".into());
        }
        cluster.stop(Down::Fast)?;
        cluster.forget_saved()?;
        cluster.start().await?;
    }
    pump.stop().await;
    Ok(())
}

/// Two clusters from one copied folder share their system identifier, and are two.
async fn copied_folder() -> Result<(), BoxError> {
    let mut cluster = Cluster::start_fresh(17).await?;
    let Scene { world, database, account, role, .. } = Scene::new(cluster.running().clone()).await?;
    cluster.stop(Down::Fast)?;
    let copy = cluster.copy().await?;
    cluster.start().await?;
    let other = world.database_at(copy.running().port)?;
    let jit = engine(&role, &[("db", &database), ("copy", &other)]).await?;
    let pump = jit.start();
    let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::seconds(5)).await?;
    // it may be taken before the first contact, and is granted never
    let longer = usable(&jit, "copy", &account, &role, chrono::TimeDelta::minutes(30));
    if tokio::time::timeout(Duration::from_secs(3), longer).await.is_ok_and(|granted| granted.is_ok()) {
        return Err("it was granted on the copy, which counts as the original".into());
    }
    refused(&jit, "copy", &account, &role).await?;
    revoked(&jit, id).await?;
    if held(cluster.running(), &role, &account).await? {
        return Err("the role stays for an access on the copy".into());
    }
    // named apart they are two, and each has its own
    let apart = declared(other, Some("staging"))?;
    jit.put_target(TargetName::new("copy")?, apart).await?;
    jit.confirm_target(&actor("frank")?, &TargetName::new("copy")?).await?;
    let there = usable(&jit, "copy", &account, &role, chrono::TimeDelta::minutes(30)).await?;
    if held(cluster.running(), &role, &account).await? || !held(copy.running(), &role, &account).await? {
        return Err(format!("{there} is not where it was asked for").into());
    }
    pump.stop().await;
    Ok(())
}

/// A dump of 15 brings memberships to 17, where the bootstrap superuser has granted them.
async fn upgraded() -> Result<(), BoxError> {
    let old = Cluster::start_fresh(15).await?;
    let Scene { world, database, account, role, .. } = Scene::new(old.running().clone()).await?;
    let jit = engine(&role, &[("db", &database)]).await?;
    let pump = jit.start();
    let id = usable(&jit, "db", &account, &role, chrono::TimeDelta::seconds(3)).await?;
    let new = Cluster::start_fresh(17).await?;
    let admin = new.running().admin("postgres").await?;
    // the superuser is there already
    let dump = old.dumped_accounts(17).await?.replace("CREATE ROLE postgres;", "");
    admin.batch_execute(&dump).await?;
    if !held(new.running(), &role, &account).await? {
        return Err("the dump does not bring the membership along".into());
    }
    jit.put_target(TargetName::new("db")?, world.database_at(new.running().port)?).await?;
    stays_due(&jit, id).await?;
    same_data(&jit, "db").await?;
    stays_due(&jit, id).await?;
    admin.batch_execute(&format!("REVOKE {role} FROM {account} GRANTED BY postgres")).await?;
    revoked(&jit, id).await?;
    pump.stop().await;
    Ok(())
}

/// An administrator, and an account that they made and are a member of, in the place of the scene's.
async fn made_by_an_administrator(scene: Scene) -> Result<(Scene, String), BoxError> {
    let (steward, account) = (scene.world.fresh("steward"), scene.world.fresh("carol"));
    let make = format!(
        "CREATE ROLE {steward} LOGIN CREATEROLE; ALTER ROLE {steward} SET createrole_self_grant = 'set, inherit'"
    );
    scene.sql(&make).await?;
    scene.running.session(&steward, "postgres").await?.batch_execute(&format!("CREATE ROLE {account} LOGIN")).await?;
    let database = scene.world.database_of(&[&steward])?;
    Ok((Scene { account, database, ..scene }, steward))
}

fn refused_for_members(answer: Result<(), DatabaseError>) -> Result<(), BoxError> {
    let members = Some(Rejection::AccountHasMembers);
    let rejection = match &answer {
        Err(DatabaseError::Rejected { rejection, .. }) => Some(*rejection),
        _ => None,
    };
    must(rejection == members, format!("it is not refused for its members: {answer:?}"))
}

async fn administrators(scene: Scene) -> Result<(), BoxError> {
    let unnamed = scene.world.database_of(&[])?;
    let (scene, steward) = made_by_an_administrator(scene).await?;
    let scene = Scene { database: unnamed, ..scene };
    refused_for_members(scene.try_grant(Stance::Refused).await?)?;
    let scene = Scene { database: scene.world.database_of(&[&steward, "nobody_of_this_name"])?, ..scene };
    scene.try_grant(Stance::Refused).await??;

    let theirs = scene.running.session(&steward, "postgres").await?;
    theirs.batch_execute(&format!("SET ROLE {}; SET ROLE {}", scene.account, scene.role)).await?;
    let own = scene.running.session(&scene.account, "postgres").await?;
    let report = scene.revoke().await?;
    must(own.batch_execute("SELECT 1").await.is_err(), "the account's own session goes on")?;
    theirs
        .batch_execute("SELECT 1")
        .await
        .map_err(|error| format!("the administrator's session was ended: {error}"))?;
    must(report.ended.iter().all(|session| session.account == scene.account), format!("{:?}", report.ended))?;
    must(report.seen.members.is_empty() && report.seen.sessions.is_empty(), format!("{:?}", report.seen))?;
    let apart: Vec<&str> = report.seen.apart.iter().map(|session| session.account.as_str()).collect();
    must(apart == [steward.as_str()], format!("sessions of the administrator that are told: {apart:?}"))?;

    let checks = scene.database.check(&[]).await?;
    let told: Vec<_> = checks.iter().filter(|check| check.about.what == "administrators").collect();
    let once = told.iter().filter(|check| check.message.contains(&scene.account)).count();
    must(once == 1 && told.iter().any(|check| check.message.contains("nobody_of_this_name")), format!("{told:?}"))?;
    let mend = format!("REVOKE \"{}\" FROM \"{steward}\" GRANTED BY \"{steward}\"", scene.account);
    let mended = told.iter().filter_map(|check| check.mend.as_ref()).find(|text| text.contains(&mend));
    must(mended.is_some(), format!("`{mend}` is not told: {told:?}"))?;
    let as_member = checks.iter().find(|check| check.about.on.as_deref() == Some(&steward));
    must(as_member.is_none_or(|check| check.about.what != "account-members"), format!("{as_member:?}"))?;
    scene.sql(&mend).await?;

    // somebody else is refused as before
    let other = scene.world.fresh("eve");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    scene.sql(&format!("GRANT {{account}} TO {other}")).await?;
    refused_for_members(scene.try_grant(Stance::Refused).await?)
}

async fn members_of_administrators(scene: Scene) -> Result<(), BoxError> {
    let (scene, steward) = made_by_an_administrator(scene).await?;
    let other = scene.world.fresh("eve");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    scene.sql(&format!("GRANT {steward} TO {other} WITH INHERIT FALSE, SET FALSE, ADMIN TRUE")).await?;
    scene.try_grant(Stance::Refused).await??;
    scene.revoke().await?;
    scene.sql(&format!("GRANT {steward} TO {other} WITH INHERIT FALSE, SET TRUE")).await?;
    refused_for_members(scene.try_grant(Stance::Refused).await?)
}

async fn administrators_and_dead_man(scene: Scene) -> Result<(), BoxError> {
    let (scene, steward) = made_by_an_administrator(scene).await?;
    scene.try_grant(Stance::Refused).await??;
    let theirs = scene.running.session(&steward, "postgres").await?;
    let own = scene.running.session(&scene.account, "postgres").await?;
    let order = ArmOrder {
        subject: scene.subject()?,
        ends_in: Duration::ZERO,
        sessions: Sessions::End,
        default_role: DefaultRole::Stays,
    };
    let call = Call { label: format!("a{}", scene.access), limit: Duration::from_secs(10), server: None };
    scene.database.arm(&call, &[order]).await.pop().ok_or("no answer")??;
    for _ in 0..200 {
        if own.batch_execute("SELECT 1").await.is_err() {
            return Ok(theirs.batch_execute("SELECT 1").await?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    must(false, "the account's session was not ended")
}

async fn store_by_name(scene: Scene) -> Result<(), BoxError> {
    let cluster = Cluster::start_fresh(scene.running.major).await?;
    let running = cluster.running();
    jit_tests::tls::show(&running.ca, Certificate::Nameless)?;
    let admin = running.admin("postgres").await?;
    admin.batch_execute("ALTER ROLE postgres PASSWORD 'secret of the owner'").await?;
    admin.batch_execute("SELECT pg_reload_conf()").await?;
    let config = |login| -> Result<StoreConfig, BoxError> {
        let url = format!("postgres://postgres:secret%20of%20the%20owner@127.0.0.1:{}/other", running.port);
        let tls = jit_tests::tls::mode(login, Some(running.ca.clone()), &running.other_ca);
        Ok(StoreConfig::new(PostgresConfig::from_url(&url)?.tls(tls)))
    };
    let migrate =
        async |login| PostgresStore::migrate(&config(login)?, &StoreUsers::default()).await.map_err(BoxError::from);
    let mut taken = migrate(Login::NameInCertificate).await;
    for _ in 0..100 {
        if taken.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        taken = migrate(Login::NameInCertificate).await;
    }
    taken?;
    migrate(Login::ChainAlone).await?;
    for login in [Login::Broker, Login::AnotherName, Login::NameByUnknownCa, Login::ChainByUnknownCa] {
        let refused = migrate(login).await.err().ok_or_else(|| format!("{login:?} is taken"))?;
        let why = format!("{refused} {refused:?}");
        must(why.contains("certificate"), format!("{login:?}: {why}"))?;
    }
    Ok(())
}
