//! Tests of procedures and events that somebody replaced or changed. They need a server of their
//! own, since all brokers of a server call the same procedures.

use std::time::Duration;

use jit_core::database::{DeadMansSwitch, Severity};
use jit_core::policy::Sessions;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, World as _};
use jit_tests::servers::RunningMySql;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::must;
use crate::scene::Scene;

/// Server with planted procedures. Their bodies grant another role to the account, whoever calls
/// them.
struct Planted {
    scene: Scene,
    other: String,
    admin: Conn,
}

/// Change of a procedure.
type Change = fn(&Planted, &str) -> Vec<String>;

const CHANGES: [(&str, Change); 8] = [
    ("another body", |planted, made| {
        let (before, after) = made.rsplit_once("END").unwrap_or((made, ""));
        vec![format!("{before}  {};\nEND{after}", planted.gives())]
    }),
    ("a body with a remark", |_, made| vec![made.replacen("BEGIN\n", "BEGIN\n  # ours\n", 1)]),
    ("the caller's rights", |_, made| vec![made.replacen("SECURITY DEFINER", "SECURITY INVOKER", 1)]),
    ("another sql_mode", |_, made| {
        vec!["SET SESSION sql_mode = 'STRICT_ALL_TABLES,PIPES_AS_CONCAT'".to_owned(), made.to_owned()]
    }),
    ("another character set", |_, made| vec!["SET NAMES latin1".to_owned(), made.to_owned()]),
    ("a definer who is gone", |_, made| vec![of("'gone'@'localhost'", made)]),
    ("a definer who administers nothing", |planted, made| vec![of(&format!("'{}'@'%'", planted.scene.account), made)]),
    ("other parameters", |_, made| vec![made.replace("account_host", "account_hosts")]),
];

fn of(definer: &str, made: &str) -> String {
    made.replacen("CREATE PROCEDURE", &format!("CREATE DEFINER = {definer} PROCEDURE"), 1)
}

impl Planted {
    async fn new(running: &RunningMySql) -> Result<Self, BoxError> {
        let scene = Scene::alone(running.flavour).await?;
        let other = scene.world.fresh("other");
        scene.world.act(Act::CreateRole { role: &other }).await?;
        let admin = scene.running.admin().await?;
        Ok(Self { scene, other, admin })
    }

    /// Returns the statement that a planted body runs as its caller.
    fn gives(&self) -> String {
        format!("GRANT `{}` TO `{}`@'%'", self.other, self.scene.account)
    }

    fn lets(&self, name: &str) -> String {
        format!("GRANT EXECUTE ON PROCEDURE jit.{name} TO '{}'@'%'", self.scene.world.broker())
    }

    async fn run(&mut self, statements: &[String]) -> Result<(), BoxError> {
        for statement in statements {
            self.admin.query_drop(statement).await.map_err(|error| format!("{statement}: {error}"))?;
        }
        Ok(())
    }

    /// Returns the statements that make the procedure, and the CREATE statement alone.
    fn made(&self, name: &str) -> (Vec<String>, String) {
        let mariadb = self.scene.running.flavour.is_mariadb();
        let all = if mariadb { jit_mysql::procedures_in_mariadb() } else { jit_mysql::procedures_in_mysql() };
        let settings = all.iter().take_while(|one| !one.starts_with("CREATE"));
        let create = all.iter().find(|one| one.starts_with(&format!("CREATE PROCEDURE jit.{name}(")));
        let create = create.cloned().unwrap_or_default();
        (settings.cloned().chain([create.clone()]).collect(), create)
    }

    /// Replaces the procedure with the changed one.
    async fn plant(&mut self, name: &str, change: Change) -> Result<(), BoxError> {
        let (mut all, create) = self.made(name);
        all.pop();
        all.push(format!("DROP PROCEDURE jit.{name}"));
        let changed = change(self, &create);
        must(!changed.contains(&create) || changed.len() > 1, "nothing is changed")?;
        all.extend(changed);
        all.push(self.lets(name));
        self.run(&all).await
    }

    async fn mend(&mut self, name: &str) -> Result<(), BoxError> {
        let (mut all, _) = self.made(name);
        all.insert(0, format!("DROP PROCEDURE jit.{name}"));
        all.push(self.lets(name));
        self.run(&all).await
    }

    /// Checks whether a check reports this as dangerous.
    async fn told(&self, about: &str) -> Result<bool, BoxError> {
        let found = self.scene.database.check(&[]).await?;
        Ok(found.iter().any(|one| one.severity == Severity::Danger && one.about.what == about && one.remedy.is_some()))
    }
}

/// Plants each change by itself. The grant that needs the procedure is refused or taken back, and
/// says why. The planted body never runs.
pub(crate) async fn procedures(running: RunningMySql) -> Result<(), BoxError> {
    let mut planted = Planted::new(&running).await?;
    let account = planted.scene.account.clone();
    for (name, about) in [("default_role", "default-role"), ("definitions", "definitions")] {
        for (what, change) in CHANGES {
            if name == "definitions" && what == "other parameters" {
                continue;
            }
            planted.plant(name, change).await?;
            must(planted.told(about).await?, format!("{name} with {what}: the check does not say so"))?;
            let granted = planted.scene.grant(&account).await;
            let _ = planted.scene.database.owned_objects(&[planted.scene.membership(&account)?]).await;
            must(!planted.scene.holds(&planted.other).await?, format!("{name} with {what}: it was called"))?;
            if name == "default_role" {
                let why = granted.err().map(|error| error.to_string()).unwrap_or_default();
                must(why.contains("jit.default_role"), format!("{what}: granted, or for no reason: {why}"))?;
                must(!planted.scene.holds(&planted.scene.role).await?, format!("{what}: the role is held"))?;
            }
            planted.mend(name).await?;
            planted.scene.grant(&account).await.map_err(|error| format!("{what}, mended: {error}"))?;
            planted.scene.revoke(&account, Sessions::End).await?;
        }
    }
    Ok(())
}

/// Fires the event of a lease while the procedure is changed. It does not call the procedure, and
/// takes the role all the same.
pub(crate) async fn fires(running: RunningMySql) -> Result<(), BoxError> {
    let mut planted = Planted::new(&running).await?;
    let account = planted.scene.account.clone();
    planted.scene.grant(&account).await?;
    for (_, change) in CHANGES {
        planted.plant("default_role", change).await?;
        planted.scene.fires(&account).await?;
        must(!planted.scene.holds(&planted.other).await?, "the event called the planted procedure")?;
        must(!planted.scene.holds(&planted.scene.role).await?, "the role is held")?;
        planted.mend("default_role").await?;
        planted.scene.disarm(&account).await?;
        planted.scene.grant(&account).await?;
    }
    Ok(())
}

/// Plants a stranger's event in the broker's database, and changes the event of a lease.
pub(crate) async fn events(running: RunningMySql) -> Result<(), BoxError> {
    let mut planted = Planted::new(&running).await?;
    let (account, home) = (planted.scene.account.clone(), planted.scene.home());
    let event =
        format!("CREATE DEFINER = '{account}'@'%' EVENT {home}.planted ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1");
    planted.run(&[event]).await?;
    must(planted.told("dead-man").await?, "the check does not name the stranger's event")?;
    let here = planted.scene.database.capabilities().await?.dead_mans_switch;
    must(matches!(here, DeadMansSwitch::Unavailable { .. }), format!("{here:?}"))?;
    let hour = Duration::from_secs(3600);
    must(planted.scene.arm(&account, hour).await.is_err(), "it is armed beside a stranger's event")?;
    planted.run(&[format!("DROP EVENT {home}.planted")]).await?;
    planted.scene.grant(&account).await?;
    let broker = format!("'{}'@'%'", planted.scene.world.broker());
    // true: counts as armed after the next arming; false: no longer belongs to the broker
    for (what, change, again) in [
        ("another body", format!("ALTER DEFINER = {broker} EVENT {{lease}} DO {}", planted.gives()), true),
        ("turned off", format!("ALTER DEFINER = {broker} EVENT {{lease}} DISABLE"), true),
        (
            "in a year",
            format!(
                "ALTER DEFINER = {broker} EVENT {{lease}} ON SCHEDULE EVERY 1 YEAR STARTS CURRENT_TIMESTAMP + INTERVAL 1 YEAR"
            ),
            true,
        ),
        ("another definer", "ALTER EVENT {lease} ENABLE".to_owned(), false),
    ] {
        planted.scene.arm(&account, hour).await.map_err(|error| format!("before {what}: {error}"))?;
        let lease: Option<String> = planted
            .admin
            .exec_first("SELECT EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = ?", (&home,))
            .await?;
        let lease = format!("{home}.{}", lease.ok_or("there is no lease")?);
        planted.run(&[MADE_WITH.0.to_owned(), MADE_WITH.1.to_owned(), change.replace("{lease}", &lease)]).await?;
        let armed = planted.scene.fires(&account).await;
        if again {
            armed.map_err(|error| format!("{what}: {error}"))?;
            must(!planted.scene.holds(&planted.scene.role).await?, format!("{what}: the role is held"))?;
            planted.scene.disarm(&account).await?;
            planted.scene.grant(&account).await?;
        } else {
            must(armed.is_err(), format!("{what}: it counts as armed"))?;
            planted.run(&[format!("DROP EVENT {lease}")]).await?;
        }
        must(!planted.scene.holds(&planted.other).await?, format!("{what}: what was planted was done"))?;
    }
    Ok(())
}

/// Plants a right to drop objects in the broker's database, by a pattern that matches its name, and
/// a routine that its events would find first.
pub(crate) async fn rights(running: RunningMySql) -> Result<(), BoxError> {
    let mut planted = Planted::new(&running).await?;
    let (account, home) = (planted.scene.account.clone(), planted.scene.home());
    let hour = Duration::from_secs(3600);
    for (what, plant, remedy) in [
        (
            "a right on a pattern",
            format!("GRANT EVENT ON `jit%`.* TO '{account}'@'%'"),
            format!("REVOKE EVENT ON `jit%`.* FROM '{account}'@'%'"),
        ),
        ("a routine", format!("CREATE PROCEDURE {home}.jit() DO 1"), format!("DROP PROCEDURE {home}.jit")),
    ] {
        planted.run(&[plant]).await?;
        must(planted.told("dead-man").await?, format!("{what}: the check does not name it"))?;
        let here = planted.scene.database.capabilities().await?.dead_mans_switch;
        must(matches!(here, DeadMansSwitch::Unavailable { .. }), format!("{what}: {here:?}"))?;
        must(planted.scene.arm(&account, hour).await.is_err(), format!("{what}: it is armed all the same"))?;
        planted.run(&[remedy]).await?;
        planted.scene.arm(&account, hour).await.map_err(|error| format!("{what}, mended: {error}"))?;
        planted.scene.disarm(&account).await?;
    }
    // a right to read the broker's database is harmless
    planted.run(&[format!("GRANT SELECT ON `%`.* TO '{account}'@'%'")]).await?;
    planted.scene.arm(&account, hour).await
}

/// Settings with which the broker makes its events.
const MADE_WITH: (&str, &str) = (
    "SET NAMES utf8mb4 COLLATE utf8mb4_bin",
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES', SESSION time_zone = '+00:00'",
);
