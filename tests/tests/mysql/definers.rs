//! Tests of code that runs with a definer's rights, of every kind, wherever it is and whoever made
//! it. MariaDB lets a role be a definer, whose rights never end.

use std::time::Duration;

use jit_core::database::OwnedObject;
use jit_core::internal::holding::{leftovers, marks};
use jit_core::policy::Sessions;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::World as _;
use jit_tests::servers::RunningMySql;
use jit_tests::world::mysql::PASSWORD;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::must;
use crate::scene::Scene;

/// Account with databases of its own, in which it may do everything.
struct Home {
    scene: Scene,
    /// Name of the database; there is another one, called `<own>.a`.
    own: String,
    admin: Conn,
}

impl Home {
    async fn new(scene: Scene) -> Result<Self, BoxError> {
        let (own, mut admin) = (scene.world.fresh("own"), scene.running.admin().await?);
        for database in [&own, &format!("{own}.a")] {
            admin.query_drop(format!("CREATE DATABASE `{database}`")).await?;
            admin.query_drop(format!("GRANT ALL ON `{database}`.* TO '{}'@'%'", scene.account)).await?;
        }
        Ok(Self { scene, own, admin })
    }

    /// Returns the definer of what the account makes, as far as the server lets it choose: as
    /// statements write it, and as findings show it.
    fn definer(&self) -> (&'static str, String) {
        if self.scene.running.flavour.is_mariadb() {
            ("DEFINER = CURRENT_ROLE", self.scene.role.clone())
        } else {
            ("DEFINER = CURRENT_USER", format!("{}@%", self.scene.account))
        }
    }

    /// Runs the account's statements: `{own}` is its database, `{t}` the role's table, `{by}` the
    /// definer that it chooses.
    async fn makes(&self, statements: &[&str]) -> Result<(), BoxError> {
        let mut session = self.scene.running.session(&self.scene.account, PASSWORD).await?;
        let (by, table) = (self.definer().0, format!("{}.t", self.scene.schema));
        for statement in statements {
            let statement = statement.replace("{own}", &self.own).replace("{t}", &table).replace("{by}", by);
            session.query_drop(&statement).await.map_err(|error| format!("{statement}: {error}"))?;
        }
        Ok(session.disconnect().await?)
    }

    /// Runs the statements within a window.
    async fn makes_in_a_window(&self, statements: &[&str]) -> Result<(), BoxError> {
        self.scene.grant(&self.scene.account).await?;
        self.makes(statements).await?;
        self.scene.revoke(&self.scene.account, Sessions::End).await?;
        must(!self.scene.holds(&self.scene.role).await?, "the role is held")
    }

    async fn owned(&self) -> Result<Vec<OwnedObject>, BoxError> {
        let membership = self.scene.membership(&self.scene.account)?;
        let owned = self.scene.database.owned_objects(&[membership]).await?.each.pop().flatten();
        Ok(owned.ok_or("too many")?)
    }
}

/// Checks code in a database of the account's own, for which the role needs no right at all.
pub(crate) async fn everywhere(running: RunningMySql) -> Result<(), BoxError> {
    let mariadb = running.flavour.is_mariadb();
    let home = Home::new(Scene::new(running).await?).await?;
    home.makes(&["CREATE VIEW `{own}`.old AS SELECT 1 AS n", "CREATE VIEW `{own}`.`a.b` AS SELECT 1 AS n"]).await?;
    let before = marks(&home.owned().await?);
    home.makes_in_a_window(&[
        "CREATE {by} VIEW `{own}`.v AS SELECT n FROM {t}",
        // existed before, with only the account's rights
        "CREATE OR REPLACE {by} VIEW `{own}`.old AS SELECT n FROM {t}",
        // reads like the name of a view that existed before
        "CREATE {by} VIEW `{own}.a`.b AS SELECT n FROM {t}",
        "CREATE {by} SQL SECURITY INVOKER VIEW `{own}`.harmless AS SELECT n FROM {t}",
        "CREATE TABLE `{own}`.t (n INT)",
        "CREATE {by} TRIGGER `{own}`.r BEFORE INSERT ON `{own}`.t FOR EACH ROW SET NEW.n = (SELECT MAX(n) FROM {t})",
        "CREATE {by} EVENT `{own}`.e ON SCHEDULE EVERY 1 DAY DISABLE DO INSERT INTO `{own}`.t SELECT n FROM {t}",
        "CREATE {by} PROCEDURE `{own}`.p() SELECT n FROM {t}",
        "CREATE {by} FUNCTION `{own}`.f() RETURNS INT READS SQL DATA RETURN (SELECT MAX(n) FROM {t})",
    ])
    .await?;
    let (own, (_, whose)) = (&home.own, home.definer());
    // the reason why it is reported: it can still be read
    let reads = home.makes(&["SELECT * FROM `{own}`.v"]).await;
    must(reads.is_ok() == mariadb, format!("after the window: {reads:?}"))?;
    let left = leftovers(&before, &home.owned().await?);
    let made =
        ["view {}.v", "view {}.old", "view {}.a.b", "trigger {}.r", "event {}.e", "procedure {}.p", "function {}.f"];
    for made in made {
        let told = format!("{}, which runs with the rights of `{whose}`", made.replace("{}", own));
        must(left.iter().any(|left| left.starts_with(&told)), format!("`{told}` is not among {left:?}"))?;
    }
    must(left.len() == made.len(), format!("{left:?}"))?;
    // a view left by one window is replaced in the next
    let before = marks(&home.owned().await?);
    home.makes_in_a_window(&["CREATE OR REPLACE {by} VIEW `{own}`.v AS SELECT n + 1 AS n FROM {t}"]).await?;
    let left = leftovers(&before, &home.owned().await?);
    let told = format!("view {own}.v, which runs with the rights of `{whose}`, altered");
    must(left == [told], format!("{left:?}"))?;
    Ok(home.admin.disconnect().await?)
}

/// Checks that a look does not miss a view. A rename that waits for another table keeps the view
/// locked, and MariaDB would show all views but this one.
pub(crate) async fn locked(running: RunningMySql) -> Result<(), BoxError> {
    let mut home = Home::new(Scene::alone(running.flavour).await?).await?;
    home.makes(&["CREATE TABLE `{own}`.z (n INT)"]).await?;
    home.makes_in_a_window(&["CREATE {by} VIEW `{own}`.v AS SELECT n FROM {t}"]).await?;
    let shows =
        |things: &[OwnedObject]| things.iter().any(|thing| thing.what.starts_with(&format!("view {}.v,", home.own)));
    must(shows(&home.owned().await?), "it is not told")?;
    let mut holding = home.scene.running.session(&home.scene.account, PASSWORD).await?;
    holding.query_drop(format!("LOCK TABLES `{}`.z READ", home.own)).await?;
    let mut waiting = home.scene.running.session(&home.scene.account, PASSWORD).await?;
    let rename = format!("RENAME TABLE `{own}`.v TO `{own}`.w, `{own}`.z TO `{own}`.y", own = home.own);
    let renaming = tokio::spawn(async move { waiting.query_drop(rename).await });
    let waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'RENAME TABLE%' AND STATE LIKE 'Waiting for table%'";
    for _ in 0..100 {
        if home.admin.query_first(waits).await? == Some(1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    must(!renaming.is_finished(), "nothing is locked")?;
    let looked = home.owned().await;
    let hidden = looked.as_ref().is_ok_and(|things| !shows(things));
    must(!hidden, format!("it is hidden: {looked:?}"))?;
    holding.query_drop("UNLOCK TABLES").await?;
    renaming.await??;
    Ok(home.admin.disconnect().await?)
}

/// Checks a broker of an earlier version: without the procedure that shows definitions, but in
/// MariaDB with a right to see events.
pub(crate) async fn earlier(running: RunningMySql) -> Result<(), BoxError> {
    let mut home = Home::new(Scene::alone(running.flavour).await?).await?;
    let broker = format!("'{}'@'%'", home.scene.world.broker());
    home.admin.query_drop("DROP PROCEDURE jit.definitions").await?;
    if running.flavour.is_mariadb() {
        home.admin.query_drop(format!("GRANT SELECT (db, name, definer) ON mysql.event TO {broker}")).await?;
    }
    home.makes_in_a_window(&[
        "CREATE {by} VIEW `{own}`.v AS SELECT n FROM {t}",
        "CREATE {by} EVENT `{own}`.e ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1",
    ])
    .await?;
    let told: Vec<String> = home.owned().await?.into_iter().map(|thing| thing.what).collect();
    let event = told.iter().any(|told| told.starts_with(&format!("event {}.e,", home.own)));
    must(event == running.flavour.is_mariadb(), format!("{told:?}"))?;
    let found = home.scene.database.check(&[]).await?;
    let named = found.iter().any(|one| one.about.what == "definitions" && one.remedy.is_some());
    must(named, format!("{found:?}"))?;
    Ok(home.admin.disconnect().await?)
}
