//! Tests of the set-up script. The servers' own client runs it, on a server that nobody else uses.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::database::{FixedCredentials, TlsMode};
use jit_core::store::BoxError;
use jit_mysql::{MySqlConfig, MySqlDatabase};
use jit_tests::server::{Flavour, MySqlServer, Scheduler, Settings};
use jit_tests::servers::RunningMySql;
use jit_tests::set_up::{Catalog, Target, run};
use mysql_async::prelude::Queryable as _;
use mysql_async::{Row, Value};
use tokio::process::Command;

use crate::must;

const PASSWORD: &str = "it's \"secret\" \\ `password`";
/// Roles to set up; the second name needs every kind of quotes.
const ROLES: [&str; 2] = ["orders_write", "o'neil \"\\ `x"];

struct Scene {
    server: MySqlServer,
    target: Target,
    /// Script as it is printed before the broker exists.
    script: String,
}

impl Scene {
    async fn new(flavour: Flavour) -> Result<Self, BoxError> {
        let settings = Settings { scheduler: Scheduler::Off, ..Settings::default() };
        let server = MySqlServer::start_with(flavour, settings).await?;
        let scheme = if flavour.is_mariadb() { "mariadb" } else { "mysql" };
        let target = Target::new(database(server.running(), scheme, "jit_broker")?, &ROLES).await?;
        let script = target.script().await?;
        let scene = Self { server, target, script };
        scene.sql("root", &["CREATE ROLE orders_write", "CREATE USER alice", "CREATE USER mallory"]).await?;
        Ok(scene)
    }

    fn is_mariadb(&self) -> bool {
        self.server.running().flavour.is_mariadb()
    }

    async fn sql(&self, user: &str, statements: &[&str]) -> Result<(), BoxError> {
        let running = self.server.running();
        let mut session = if user == "root" { running.admin().await? } else { running.session(user, "").await? };
        for statement in statements {
            session.query_drop(*statement).await.map_err(|error| format!("{statement}: {error}"))?;
        }
        Ok(session.disconnect().await?)
    }

    /// Returns everything that a script could change, as one text.
    async fn everything(&self) -> Result<String, BoxError> {
        let mut admin = self.server.running().admin().await?;
        let mut all = Vec::new();
        for query in [
            "SELECT User, Host FROM mysql.user ORDER BY 1, 2",
            "SHOW CREATE USER jit_broker",
            "SHOW GRANTS FOR jit_broker",
            "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA ORDER BY 1",
            "SELECT ROUTINE_NAME, DEFINER, CREATED, LAST_ALTERED FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA LIKE 'jit%' ORDER BY 1",
            "SELECT TABLE_NAME, TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE 'jit%' ORDER BY 1",
            "SELECT EVENT_NAME, DEFINER FROM information_schema.EVENTS ORDER BY 1",
        ] {
            // the broker may not exist yet
            for row in admin.query::<Row, _>(query).await.unwrap_or_default() {
                let values = row.unwrap().iter().map(|value| value.as_sql(true)).collect::<Vec<_>>();
                all.push(values.join(" "));
            }
        }
        admin.disconnect().await?;
        Ok(all.join("\n"))
    }

    async fn run(&self, script: &str, password: Option<&str>) -> Result<Result<(), String>, BoxError> {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-u", "root", "--socket"]).arg(&self.server.running().socket);
        let password =
            password.map(|password| format!("SET @jit_password = {};\n", Value::from(password).as_sql(false)));
        run(&mut client, &format!("{}{script}", password.unwrap_or_default())).await
    }

    /// Runs the script that is printed now, when the server may already answer.
    async fn runs(&self, password: Option<&str>) -> Result<(), BoxError> {
        Ok(self.run(&self.target.script().await?, password).await??)
    }

    /// Checks that the script fails for this reason, and changes nothing.
    async fn refuses(&self, why: &str) -> Result<(), BoxError> {
        let before = self.everything().await?;
        let answer = self.run(&self.script, Some(PASSWORD)).await?;
        must(answer.as_ref().is_err_and(|said| said.contains(why)), format!("{why}: {answer:?}"))?;
        must(before == self.everything().await?, format!("{why}: something was changed"))
    }

    async fn is_sound(&self) -> Result<(), BoxError> {
        let wrong = self.target.wrong().await?;
        must(wrong.is_empty(), format!("{wrong:?}"))
    }
}

#[async_trait]
impl Catalog for Scene {
    async fn is_held(&self) -> Result<bool, BoxError> {
        let mut admin = self.server.running().admin().await?;
        let grants: Vec<String> = admin.query("SHOW GRANTS FOR alice").await?;
        admin.disconnect().await?;
        Ok(grants.iter().any(|grant| grant.starts_with("GRANT `orders_write`")))
    }

    async fn fires_soon(&self) -> Result<bool, BoxError> {
        let mut admin = self.server.running().admin().await?;
        let leases = "SELECT COUNT(*) FROM jit.leases WHERE status = 'ENABLED' AND fires_at < UTC_TIMESTAMP() + INTERVAL 1 MINUTE";
        let soon: Option<u32> = admin.query_first(leases).await?;
        admin.disconnect().await?;
        Ok(soon == Some(1))
    }
}

fn database(running: &RunningMySql, scheme: &str, broker: &str) -> Result<Arc<MySqlDatabase>, BoxError> {
    let config = MySqlConfig::from_url(&format!("{scheme}://{broker}@127.0.0.1:{}", running.port))?;
    let config = config.credentials(Arc::new(FixedCredentials::new(PASSWORD.into())));
    let config = config.tls(TlsMode::verify_full(Some(running.ca.clone())));
    Ok(Arc::new(MySqlDatabase::new(config.dead_mans_switch_grace(Duration::from_secs(1)))?))
}

pub(crate) async fn from_nothing(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running.flavour).await?;
    scene.refuses_without_a_password().await?;
    scene.run(&scene.script, Some(PASSWORD)).await??;
    scene.is_sound().await?;
    scene.target.windows("orders_write", &scene).await?;
    // a second run changes nothing, with the script that is printed now that the server answers
    let before = scene.everything().await?;
    scene.runs(None).await?;
    let after = scene.everything().await?;
    must(before == after, format!("it was\n{before}\nand is\n{after}"))?;
    // a further run restores each privilege that was taken
    let (kill, catalog) = match scene.is_mariadb() {
        true => {
            ("REVOKE CONNECTION ADMIN ON *.* FROM jit_broker", "REVOKE SELECT ON mysql.roles_mapping FROM jit_broker")
        }
        false => {
            ("REVOKE CONNECTION_ADMIN ON *.* FROM jit_broker", "REVOKE SELECT ON mysql.role_edges FROM jit_broker")
        }
    };
    let home = jit_mysql::home("jit_broker@%");
    for taken in [
        kill,
        catalog,
        "REVOKE orders_write FROM jit_broker",
        "REVOKE EXECUTE ON PROCEDURE jit.default_role FROM jit_broker",
        "DROP PROCEDURE jit.default_role",
        "REVOKE EXECUTE ON PROCEDURE jit.definitions FROM jit_broker",
        "DROP PROCEDURE jit.definitions",
        "DROP DATABASE jit",
        &format!("DROP DATABASE {home}"),
        "SET GLOBAL event_scheduler = OFF",
    ] {
        scene.sql("root", &[taken]).await?;
        must(!scene.target.wrong().await?.is_empty(), format!("{taken}: it is not missed"))?;
        scene.runs(None).await?;
        scene.is_sound().await.map_err(|error| format!("{taken}: {error}"))?;
    }
    Ok(())
}

impl Scene {
    async fn refuses_without_a_password(&self) -> Result<(), BoxError> {
        let answer = self.run(&self.script, None).await?;
        must(answer.as_ref().is_err_and(|said| said.contains("no password is given")), format!("{answer:?}"))
    }
}

pub(crate) async fn planted(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running.flavour).await?;
    let home = jit_mysql::home("jit_broker@%");
    let (make_jit, make_home) = ("CREATE DATABASE jit", format!("CREATE DATABASE {home}"));
    let let_mallory = [
        "GRANT ALL PRIVILEGES ON jit.* TO mallory".to_owned(),
        format!("GRANT ALL PRIVILEGES ON {home}.* TO mallory"),
        "GRANT SELECT, INSERT ON *.* TO mallory".to_owned(),
    ];
    scene.sql("root", &let_mallory.each_ref().map(String::as_str)).await?;
    let procedure =
        "CREATE PROCEDURE jit.default_role(a TEXT, b TEXT, c TEXT, d TEXT, e INT) SQL SECURITY INVOKER SELECT 1";
    let event = format!("CREATE EVENT {home}.own ON SCHEDULE EVERY 1 HOUR DO SELECT 1");
    let (drop_jit, drop_home) = ("DROP DATABASE jit", format!("DROP DATABASE {home}"));
    for (by, planted, taken, why) in [
        ("mallory", [make_jit, procedure], drop_jit, "jit.default_role is not what jit makes"),
        ("mallory", [make_jit, "CREATE TABLE jit.leases (n INT)"], drop_jit, "jit.leases is a table"),
        ("mallory", [&make_home, &event], &drop_home, "holds events of others"),
        (
            "root",
            ["CREATE USER jit_broker", "GRANT CREATE USER ON *.* TO jit_broker"],
            "DROP USER jit_broker",
            "the account is an administrator",
        ),
    ] {
        scene.sql(by, &planted).await?;
        scene.refuses(why).await?;
        scene.sql("root", &[taken]).await?;
    }
    // the other server's script is refused
    let (scheme, why) =
        if scene.is_mariadb() { ("mysql", "the server is MariaDB") } else { ("mariadb", "the server is MySQL") };
    let other = Target::new(database(scene.server.running(), scheme, "jit_broker")?, &ROLES).await?;
    let answer = scene.run(&other.script().await?, Some(PASSWORD)).await?;
    must(answer.as_ref().is_err_and(|said| said.contains(why)), format!("{answer:?}"))?;
    scene.sql("root", &[&format!("REVOKE ALL PRIVILEGES ON {home}.* FROM mallory")]).await?;
    scene.run(&scene.script, Some(PASSWORD)).await??;
    scene.is_sound().await?;
    // a foreign object that comes later is refused too
    scene.sql("root", &["DROP PROCEDURE jit.default_role"]).await?;
    scene.sql("mallory", &[procedure]).await?;
    scene.refuses("jit.default_role is not what jit makes").await
}
