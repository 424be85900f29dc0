//! Kills every process of ours and restarts the server. The role and its sessions are gone all the
//! same (law 4).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chrono::{TimeDelta, Utc};
use jit_core::clock::{Time, after};
use jit_core::database::{Database as _, TlsMode};
use jit_core::testkit::database_laws::{Act, Attempt, Tried, UserSession, World};
use jit_postgres::{PostgresConfig, PostgresDatabase};
use jit_tests::pooler::{PoolMode, Pooler};
use jit_tests::server::{Cluster, Flavour, MySqlServer, Scheduler, Settings};
use jit_tests::world::mssql::MsSqlWorld;
use jit_tests::world::mysql::MySqlWorld;
use jit_tests::world::postgres::PostgresWorld;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Child;

use crate::stage::{Said, command_in, end, ended};
use crate::{MAJOR, Tests};

/// Time after the end at which the switch fires, as the test configures it.
const GRACE: TimeDelta = TimeDelta::seconds(2);
/// Longest delay of the switch on a busy machine. It looks every other second, and then does its
/// work.
const LATE: TimeDelta = TimeDelta::seconds(20);
/// Interval of one minute at which `pg_cron` looks.
const MINUTE: TimeDelta = TimeDelta::minutes(1);
/// PostgreSQL version of Debian, which has `pg_cron` as a package.
const WITH_CRON: u32 = 15;

pub(crate) fn all(tests: &mut Tests) {
    let postgres = format!("postgres-{MAJOR}");
    for (name, flavour) in [("mysql", Flavour::MySql97), ("mariadb", Flavour::MariaDb118)] {
        let name = format!("law_04_every_node_is_killed_and_the_event_of_{name}_fires_after_a_restart");
        tests.add_with(flavour.name(), &name, move || async move {
            let case = Case::on_mysql(MySqlServer::start_durable(flavour).await?).await?;
            case.fires_after_a_restart("12s", LATE).await
        });
    }
    tests.add_with(
        Flavour::MariaDb118.name(),
        "wrong_use_a_rule_requires_a_dead_man_and_the_scheduler_is_off",
        || async move {
            let settings = Settings { scheduler: Scheduler::Off, ..Settings::default() };
            let case = Case::on_mysql(MySqlServer::start_with(Flavour::MariaDb118, settings).await?).await?;
            case.is_refused("SET GLOBAL event_scheduler = ON").await
        },
    );
    tests.add(
        "law_04_every_node_is_killed_and_the_agents_job_of_the_tds_double_fires_after_a_restart",
        |_| async move {
            let case = Case::on_the_double(MsSqlWorld::on_a_double().await?.with_dead_mans_switch().await?).await?;
            case.fires_after_a_restart("12s", LATE).await
        },
    );
    tests.add("wrong_use_a_rule_requires_a_dead_man_and_the_tds_double_has_no_job", |_| async move {
        let case = Case::on_the_double(MsSqlWorld::on_a_double().await?).await?;
        case.is_refused("prints the statements that make it").await?;
        let doctor = case.jit(&["doctor"]).await?.out;
        ensure!(doctor.contains("fix: run the script that `jit doctor --sql orders` prints"), "{doctor}");
        let doctor = case.jit(&["doctor", "--json"]).await?.out;
        ensure!(doctor.contains("EXEC msdb.dbo.sp_add_job @job_name"), "{doctor}");
        Ok(())
    });
    tests.add_with(&postgres, "wrong_use_a_rule_requires_a_dead_man_and_its_table_is_missing", || async move {
        let case = Case::on_postgres(Cluster::start_fresh(MAJOR).await?, false).await?;
        case.world.act(Act::LetDeadMen { live: false }).await.map_err(whole)?;
        case.is_refused("prints the statements that make it").await?;
        let doctor = case.jit(&["doctor"]).await?.out;
        ensure!(doctor.contains("fix: run the script that `jit doctor --sql orders` prints"), "{doctor}");
        let doctor = case.jit(&["doctor", "--json"]).await?.out;
        ensure!(doctor.contains("CREATE SCHEMA jit_of_"), "{doctor}");
        Ok(())
    });
    tests.add_with(&postgres, "law_04_every_node_is_killed_and_the_sentinel_fires", || async move {
        let case = Case::on_postgres(Cluster::start_durable(MAJOR).await?, false).await?;
        let access = case.granted("6s").await?;
        let mut session = case.session().await?;
        case.fires(&access, LATE).await?;
        case.is_ended(&mut session).await?;
        case.is_told(&access).await
    });
    tests.add_with(&postgres, "law_04_a_strangers_lock_is_no_sentinel", || async move {
        let cluster = Cluster::start_durable(MAJOR).await?;
        let stranger = cluster.running().admin("postgres").await?;
        let case = Case::on_postgres(cluster, false).await?;
        // every kind of lock that ever marked a sentinel, in each mode
        for lock in ["pg_advisory_lock", "pg_advisory_lock_shared"] {
            let keys = "unnest(ARRAY[1785295988, 1785295989]) k, pg_roles r WHERE r.rolname LIKE 'jit_broker%'";
            stranger
                .execute(
                    &format!("SELECT {lock}(k, r.oid::int4), {lock}(k::bigint << 32 | r.oid::bigint) FROM {keys}"),
                    &[],
                )
                .await?;
        }
        stranger.execute("SELECT set_config('application_name', 'jit sentinel', false)", &[]).await?;
        let access = case.granted("6s").await?;
        case.fires(&access, LATE).await?;
        drop(stranger);
        case.is_told(&access).await
    });
    tests.add_with(&postgres, "law_04_a_window_opens_and_ends_where_the_log_may_not_be_asked", || async move {
        let cluster = Cluster::start_durable_with(MAJOR, "allow_system_table_mods = on").await?;
        // as managed servers answer
        cluster
            .running()
            .admin("postgres")
            .await?
            .batch_execute(
                "ALTER FUNCTION pg_catalog.pg_current_wal_insert_lsn() RENAME TO hidden; \
             CREATE FUNCTION pg_catalog.pg_current_wal_insert_lsn() RETURNS pg_lsn LANGUAGE plpgsql \
             AS $$ BEGIN RAISE 'wal_level must be logical' USING ERRCODE = '55000'; END $$",
            )
            .await?;
        let case = Case::on_postgres(cluster, false).await?;
        let access = case.granted("6s").await?;
        case.fires(&access, LATE).await
    });
    tests.add_with(&postgres, "wrong_use_a_pooler_in_transaction_mode_is_refused_and_named", || async move {
        let cluster = Cluster::start_fresh(MAJOR).await?;
        let running = cluster.running().clone();
        let world = PostgresWorld::of_its_own(cluster).await?;
        let (broker, password) = (world.broker(), format!("secret of {}", world.broker()));
        for mode in [PoolMode::Transaction, PoolMode::Session] {
            let pooler = Pooler::start(mode, &running, "postgres", &broker, &password).await?;
            let url =
                format!("postgres://{broker}:{}@localhost:{}/postgres", password.replace(' ', "%20"), pooler.port());
            let config = PostgresConfig::from_url(&url)?.tls(TlsMode::verify_full(Some(pooler.ca().to_owned())));
            // for the first connection and for later ones
            for _ in 0..3 {
                let found = PostgresDatabase::new(config.clone())?.identify().await;
                let right = match (mode, &found) {
                    (PoolMode::Transaction, Err(error)) => error.to_string().contains("pooler"),
                    (mode, found) => mode == PoolMode::Session && found.is_ok(),
                };
                ensure!(right, "{mode:?}: {found:?}");
            }
        }
        Ok(())
    });
    tests.add_with(&postgres, "law_04_a_restart_ends_the_sentinel_and_the_next_start_arms_it_anew", || async move {
        let case = Case::on_postgres(Cluster::start_durable(MAJOR).await?, false).await?;
        let access = case.granted("20s").await?;
        case.world.act(Act::Restart).await.map_err(whole)?;
        // the next start, which is killed before the end too
        let pump = case.pump()?;
        tokio::time::sleep(Duration::from_secs(8)).await;
        killed(pump).await?;
        case.fires(&access, LATE).await?;
        case.is_told(&access).await
    });
    tests.add_with(&format!("postgres-{WITH_CRON}"), "law_04_every_node_is_killed_and_pg_cron_fires_after_a_restart", || async move {
        let settings =
            "shared_preload_libraries = 'pg_cron'\ncron.database_name = 'postgres'\ncron.use_background_workers = on";
        let case = Case::on_postgres(Cluster::start_durable_with(WITH_CRON, settings).await?, true).await?;
        case.fires_after_a_restart("6s", LATE + MINUTE).await
    });
}

/// Server of its own, and a folder for the processes.
struct Case {
    world: Arc<dyn World>,
    folder: TempDir,
    account: String,
    role: String,
}

fn whole(error: jit_core::store::BoxError) -> anyhow::Error {
    anyhow::anyhow!("{error}")
}

async fn killed(mut process: Child) -> Result<()> {
    process.start_kill()?;
    process.wait().await?;
    Ok(())
}

impl Case {
    async fn on_mysql(server: MySqlServer) -> Result<Self> {
        let (ca, port) = (server.running().ca.display().to_string(), server.running().port);
        let world = Arc::new(MySqlWorld::of_its_own(server).await?);
        let url = format!("mysql://{}@127.0.0.1:{port}", world.broker());
        let password = format!("secret of {}", world.broker());
        Self::new(world, &url, &ca, &password).await
    }

    async fn on_the_double(world: MsSqlWorld) -> Result<Self> {
        let (place, broker) = (world.place().clone(), world.broker());
        let url = format!("mssql://{broker}@{}:{}/{}", place.host, place.port, place.database);
        let ca = place.ca.context("nobody knows its authority")?.display().to_string();
        Self::new(Arc::new(world), &url, &ca, &format!("Secret-of-{broker}")).await
    }

    async fn on_postgres(cluster: Cluster, cron: bool) -> Result<Self> {
        let running = cluster.running().clone();
        let world = Arc::new(PostgresWorld::of_its_own(cluster).await?);
        if cron {
            let admin = running.admin("postgres").await?;
            let grant = format!("GRANT USAGE ON SCHEMA cron TO {}", world.broker());
            admin.batch_execute(&format!("CREATE EXTENSION pg_cron; {grant}")).await?;
        }
        let url = format!("postgres://{}@127.0.0.1:{}/postgres", world.broker(), running.port);
        let password = format!("secret of {}", world.broker());
        Self::new(world, &url, &running.ca.display().to_string(), &password).await
    }

    async fn new(world: Arc<dyn World>, url: &str, ca: &str, password: &str) -> Result<Self> {
        let (account, role) = (world.fresh("alice"), world.fresh("orders_write"));
        world.act(Act::CreateAccount { account: &account, inherits: true }).await.map_err(whole)?;
        world.act(Act::CreateRole { role: &role }).await.map_err(whole)?;
        let folder = tempfile::tempdir()?;
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("password", &format!("{password}\n"))?;
        write(
            "jit.toml",
            &format!(
                "policy = \"policy.toml\"\n[store]\nurl = \"sqlite:jit.db\"\n[targets.orders]\nurl = \"{url}\"\npassword_file = \"password\"\n\
                 tls = {{ mode = \"verify-full\", ca = {ca:?} }}\ndead_man_grace = \"{}s\"\n[audit]\nsigning_key = \"audit.key\"\n",
                GRACE.num_seconds()
            ),
        )?;
        write(
            "policy.toml",
            &format!(
                "version = 1\n[accounts.orders]\nalice = \"{account}\"\n[[rule]]\nname = \"change orders\"\ntargets = [\"orders\"]\n\
                 roles = [\"{role}\"]\nrequesters = [\"alice\"]\nmax = \"1h\"\ndead_man = \"required\"\n"
            ),
        )?;
        Ok(Self { world, folder, account, role })
    }

    async fn jit(&self, arguments: &[&str]) -> Result<Said> {
        ended(command_in(self.folder.path(), "jit.toml", arguments)?.spawn()?).await
    }

    fn pump(&self) -> Result<Child> {
        Ok(command_in(self.folder.path(), "jit.toml", &["pump"])?.spawn()?)
    }

    /// Makes an access, and kills the process that granted it. No other process is alive then.
    async fn granted(&self, how_long: &str) -> Result<Value> {
        let pump = self.pump()?;
        let ask = ["request", "--json", "--target", "orders", "--role", &self.role, "--for", how_long, "--as", "alice"];
        let asked = self.jit(&ask).await?.done()?.json()?;
        let id = asked["id"].as_str().context("no id")?;
        let access = self.jit(&["show", id, "--json"]).await?.done()?.json()?;
        ensure!(access["state"] == "active", "it is not active: {access}");
        killed(pump).await?;
        Ok(access)
    }

    async fn session(&self) -> Result<Box<dyn UserSession>> {
        let mut session = self.world.session(&self.account).await.map_err(whole)?;
        // where the role can be set, the session sets it
        let _ = session.attempt(Attempt::SetRole(&self.role)).await.map_err(whole)?;
        let tried = session.attempt(Attempt::Read(&self.role)).await.map_err(whole)?;
        ensure!(tried == Tried::Done, "the role is not usable: {tried:?}");
        Ok(session)
    }

    /// Waits until the membership is gone. That must be after the grace period, and not long after.
    async fn fires(&self, access: &Value, late: TimeDelta) -> Result<()> {
        let due: Time = after(end(access)?, GRACE);
        loop {
            let rows = self.world.members(&self.role).await.map_err(whole)?;
            let now = Utc::now();
            if !rows.iter().any(|row| row.member == self.account) {
                // the window began a moment after the switch was armed for it
                ensure!(now > due - TimeDelta::seconds(1), "it fired at {now}, before its time {due}");
                return Ok(());
            }
            ensure!(now < after(due, late), "it is still there at {now}, and was due at {due}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn is_ended(&self, session: &mut Box<dyn UserSession>) -> Result<()> {
        for _ in 0..100 {
            if session.attempt(Attempt::Ping).await.map_err(whole)? == Tried::Ended {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("its session lives on")
    }

    /// Grants an access, kills the process, and restarts the server. A session that opens then ends
    /// too.
    async fn fires_after_a_restart(&self, how_long: &str, late: TimeDelta) -> Result<()> {
        let access = self.granted(how_long).await?;
        self.world.act(Act::Restart).await.map_err(whole)?;
        let mut session = self.session().await?;
        self.fires(&access, late).await?;
        self.is_ended(&mut session).await?;
        self.is_told(&access).await
    }

    /// Checks that a request is refused without the dead man's switch that its rule requires.
    async fn is_refused(&self, with: &str) -> Result<()> {
        // makes the first contact with the target
        self.jit(&["run-due"]).await?.done()?;
        let ask = ["request", "--target", "orders", "--role", &self.role, "--for", "10m", "--as", "alice"];
        self.jit(&ask).await?.fails(1, with)?;
        Ok(())
    }

    /// Checks that the next start sees what happened, and logs it.
    async fn is_told(&self, access: &Value) -> Result<()> {
        let id = access["id"].as_str().context("no id")?;
        // the switch says that it fired only after it has ended the sessions
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.jit(&["run-due"]).await?.done()?;
        let access = self.jit(&["show", id, "--json"]).await?.done()?.json()?;
        ensure!(access["state"] == "revoked", "{access}");
        self.jit(&["audit", "verify"]).await?.done()?;
        self.jit(&["audit", "export", "export.jsonl"]).await?.done()?;
        let log = std::fs::read_to_string(self.folder.path().join("export.jsonl"))?;
        for what in ["dead-man-armed", "dead-man-fired"] {
            let told = log.lines().any(|line| line.contains(&format!("\"what\":\"{what}\"")) && line.contains(id));
            ensure!(told, "the log does not tell `{what}`");
        }
        Ok(())
    }
}
