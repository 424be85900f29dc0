//! Tests of whole windows, of what outlives them, and of the rights that do.

use std::time::Duration;

use jit_core::database::{MembershipScope, Severity};
use jit_core::engine::AccessRequest;
use jit_core::id::RoleName;
use jit_core::internal::holding::{leftovers, marks};
use jit_core::policy::{Sessions, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, By, World as _};
use jit_tests::servers::RunningMySql;
use jit_tests::world::mysql::PASSWORD;
use mysql_async::prelude::Queryable as _;

use crate::scene::{Path, Scene};
use crate::{PATIENCE, must};

/// Runs the engine from request to verified revoke. Two windows overlap, and the account's own
/// default role is back when both are over.
pub(crate) async fn whole_job(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (own, other) = (scene.world.fresh("own"), scene.world.fresh("other"));
    for role in [&own, &other] {
        scene.world.act(Act::CreateRole { role }).await?;
    }
    let standing =
        Act::Grant { role: &own, to: &scene.account, by: By::Admin, scope: MembershipScope::SetRole, admin: false };
    scene.world.act(standing).await?;
    let (jit, alice) = scene.jit(&[&scene.role, &other]).await?;
    let pump = jit.start();
    let ask = async |role: &str, length| {
        let access = jit.request(&alice, AccessRequest::new("db", role, length).because("OPS-12")).await?;
        Ok::<_, BoxError>(jit.until_active(access.id(), PATIENCE).await?.id())
    };
    let defaults = async || {
        let seen = scene.database.observe(&[scene.membership(&scene.account)?]).await?.seen.pop().ok_or("nothing")?;
        Ok::<_, BoxError>(seen.default_roles)
    };
    let short = ask(&scene.role, chrono::TimeDelta::seconds(3)).await?;
    let mut session = scene.session(Path::CurrentDatabase).await?;
    let long = ask(&other, chrono::TimeDelta::minutes(30)).await?;
    let ended = jit.until_ended(short, PATIENCE).await?;
    must(ended.state == "revoked", format!("it is {}", ended.state))?;
    must(scene.uses(&mut session, Path::CurrentDatabase).await.is_err(), "its session lives")?;
    let mut kept = defaults().await?;
    // MySQL keeps both as default roles, MariaDB only the latest
    kept.retain(|role| *role != own);
    must(kept == [other.as_str()], format!("the other access's role is no default any more: {kept:?}"))?;
    jit.release(&alice, long).await?;
    must(jit.until_ended(long, PATIENCE).await?.state == "revoked", "the second did not end")?;
    must(defaults().await? == [own.as_str()], format!("default roles are {:?}", defaults().await?))?;
    pump.stop().await;
    Ok(())
}

/// Checks a role that somebody took within its window. The end is verified, and the report says
/// that jit did not bring it about.
pub(crate) async fn gone_before(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (jit, alice) = scene.jit(&[&scene.role]).await?;
    let pump = jit.start();
    for taken in [false, true] {
        let ask = AccessRequest::new("db", scene.role.as_str(), chrono::TimeDelta::minutes(30)).because("OPS-12");
        let access = jit.until_active(jit.request(&alice, ask).await?.id(), PATIENCE).await?.id();
        if taken {
            scene.world.act(Act::Revoke { role: &scene.role, from: &scene.account, by: By::Admin }).await?;
        }
        jit.release(&alice, access).await?;
        let ended = jit.until_ended(access, PATIENCE).await?;
        let told = ended.evidence.as_ref().map(|evidence| evidence.gone_before);
        must(ended.state == "revoked" && told == Some(taken), format!("taken before: {taken}: {ended:?}"))?;
    }
    pump.stop().await;
    Ok(())
}

/// Checks that an event, a view and a trigger of a window are reported. They outlive the window
/// with their definer's rights.
pub(crate) async fn definitions(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (schema, role) = (&scene.schema, &scene.role);
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("GRANT EVENT, TRIGGER, CREATE VIEW ON {schema}.* TO `{role}`")).await?;
    let old = format!("CREATE EVENT {schema}.old ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1");
    admin.query_drop(old.replacen("EVENT", &format!("DEFINER = `{}`@`%` EVENT", scene.account), 1)).await?;
    let membership = scene.membership(&scene.account)?;
    let owned = async || {
        let all = scene.database.owned_objects(std::slice::from_ref(&membership)).await?.each.pop().flatten();
        Ok::<_, BoxError>(all.ok_or("too many")?)
    };
    let before = owned().await?;
    must(
        before.iter().any(|thing| thing.what.contains("event") && thing.what.contains(".old")),
        format!("{before:?}"),
    )?;
    // in MariaDB an event is a power: it can run as the role
    scene.grant_with(&scene.account, Stance::Accepted).await?;
    let mut session = scene.running.session(&scene.account, PASSWORD).await?;
    session.query_drop(format!("CREATE EVENT {schema}.e ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1")).await?;
    session.query_drop(format!("CREATE VIEW {schema}.v AS SELECT n FROM {schema}.t")).await?;
    session
        .query_drop(format!("CREATE TRIGGER {schema}.r BEFORE INSERT ON {schema}.t FOR EACH ROW SET NEW.n = 2"))
        .await?;
    let as_role = scene.running.flavour.is_mariadb();
    if as_role {
        let event = "DEFINER = CURRENT_ROLE EVENT";
        session.query_drop(format!("CREATE {event} {schema}.f ON SCHEDULE EVERY 1 DAY DISABLE DO DO 1")).await?;
    }
    scene.revoke(&scene.account, Sessions::End).await?;
    let left = leftovers(&marks(&before), &owned().await?);
    let mut expected = vec!["event {}.e", "trigger {}.r", "view {}.v"];
    if as_role {
        expected.push("event {}.f");
    }
    for what in &expected {
        let what = what.replace("{}", schema);
        must(left.iter().any(|left| left.starts_with(&what)), format!("`{what}` is not among {left:?}"))?;
    }
    must(left.len() == expected.len(), format!("{left:?}"))?;
    Ok(admin.disconnect().await?)
}

/// Checks a right to a table that was passed on with a role: to somebody else, and to the account
/// itself.
pub(crate) async fn passed_on(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let (schema, other) = (&scene.schema, scene.world.fresh("bob"));
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    let mut admin = scene.running.admin().await?;
    admin.query_drop(format!("GRANT SELECT, INSERT ON {schema}.* TO `{}` WITH GRANT OPTION", scene.role)).await?;
    let membership = scene.membership(&scene.account)?;
    let owned = async || {
        let all = scene.database.owned_objects(std::slice::from_ref(&membership)).await?.each.pop().flatten();
        Ok::<_, BoxError>(all.ok_or("too many")?)
    };
    let before = marks(&owned().await?);
    scene.grant_with(&scene.account, Stance::Accepted).await?;
    let mut session = scene.running.session(&scene.account, PASSWORD).await?;
    for account in [&other, &scene.account] {
        session.query_drop(format!("GRANT SELECT ON {schema}.t TO '{account}'@'%'")).await?;
    }
    scene.revoke(&scene.account, Sessions::End).await?;
    let left = leftovers(&before, &owned().await?);
    for account in [&other, &scene.account] {
        let what = format!("Select on table {schema}.t for {account}@%");
        must(left.contains(&what), format!("`{what}` is not among {left:?}"))?;
    }
    Ok(admin.disconnect().await?)
}

/// Checks rights on the server's own tables, on `jit`, and on everything.
pub(crate) async fn powers(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let mut admin = scene.running.admin().await?;
    let (role, mariadb) = (&scene.role, scene.running.flavour.is_mariadb());
    let seen = async || powers_of_the_role(&scene).await;
    must(seen().await?.is_none(), format!("an ordinary role has powers: {:?}", seen().await?))?;
    let mut rights = vec![
        "INSERT ON *.*",
        "RELOAD ON *.*",
        "ALTER ROUTINE ON *.*",
        "UPDATE ON `mysq_`.*",
        "EXECUTE ON jit.*",
        "UPDATE (User) ON mysql.user",
        "DELETE ON jit.leases",
        "SELECT ON *.*",
    ];
    rights.extend(if mariadb {
        ["SET USER ON *.*", "BINLOG ADMIN ON *.*"]
    } else {
        ["SET_ANY_DEFINER ON *.*", "BACKUP_ADMIN ON *.*"]
    });
    let routines = format!("ALTER ROUTINE ON {}.*", scene.schema);
    rights.push(&routines);
    for right in rights {
        admin.query_drop(format!("GRANT {right} TO `{role}`")).await?;
        let powers = seen().await?;
        must(powers.as_ref().is_some_and(|said| !said.contains(", ")), format!("{right}: {powers:?}"))?;
        admin.query_drop(format!("REVOKE {right} FROM `{role}`")).await?;
    }
    must(seen().await?.is_none(), "powers stay when they are taken")?;
    // a routine that an administrator made runs with an administrator's rights
    let schema = &scene.schema;
    admin.query_drop(format!("CREATE PROCEDURE {schema}.own() SQL SECURITY INVOKER DO 0")).await?;
    admin.query_drop(format!("GRANT EXECUTE ON {schema}.* TO `{role}`")).await?;
    must(seen().await?.is_none(), format!("a routine of its caller's rights is a power: {:?}", seen().await?))?;
    admin.query_drop(format!("ALTER PROCEDURE {schema}.own SQL SECURITY DEFINER")).await?;
    let powers = seen().await?;
    must(
        powers
            .as_ref()
            .is_some_and(|said| said.matches("EXECUTE on").count() == 1 && said.contains(&format!("{schema}.own"))),
        format!("{powers:?}"),
    )?;
    // the same holds for a definer who administers by a role, or is a role
    let definer = format!("{role}m");
    let (kind, right) = if mariadb { ("ROLE", "CREATE USER") } else { ("USER", "ROLE_ADMIN") };
    let made = [
        format!("DROP PROCEDURE {schema}.own"),
        format!("CREATE {kind} `{definer}`"),
        format!("CREATE ROLE `{definer}r`"),
        format!("CREATE DEFINER = `{definer}` PROCEDURE {schema}.own() DO 0"),
        format!("GRANT `{definer}r` TO `{definer}`"),
    ];
    for statement in made {
        admin.query_drop(statement).await?;
    }
    must(seen().await?.is_none(), format!("a routine of somebody ordinary is a power: {:?}", seen().await?))?;
    admin.query_drop(format!("GRANT {right} ON *.* TO `{definer}r`")).await?;
    must(seen().await?.is_some(), format!("who administers by a role is not seen: {:?}", seen().await?))?;
    admin.query_drop(format!("REVOKE `{definer}r` FROM `{definer}`")).await?;
    definers(&scene, &definer).await?;
    // a broker of an earlier version sees less, and is told so
    if mariadb {
        let columns = jit_mysql::USER_RIGHTS_IN_MARIADB;
        let broker = scene.world.broker();
        admin.query_drop(format!("REVOKE SELECT ({columns}) ON mysql.user FROM `{broker}`@`%`")).await?;
        admin
            .query_drop(format!("GRANT SELECT (Super_priv, Create_user_priv) ON mysql.user TO `{broker}`@`%`"))
            .await?;
        let findings = scene.database.check(&[RoleName::new(role.as_str())?]).await?;
        let remark = findings.iter().find(|finding| finding.about.on.as_deref() == Some("mysql.user"));
        must(remark.is_some_and(|it| it.about.what == "see-rights"), format!("nothing says so: {findings:?}"))?;
        must(findings.iter().all(|it| it.severity != Severity::Refusal), format!("it cannot work: {findings:?}"))?;
        admin.query_drop(format!("GRANT CREATE USER ON *.* TO `{definer}`")).await?;
        must(seen().await?.is_some(), "an administrator's routine is not seen")?;
    }
    Ok(admin.disconnect().await?)
}

/// Returns what the check says about rights of the role that outlive it.
async fn powers_of_the_role(scene: &Scene) -> Result<Option<String>, BoxError> {
    let findings = scene.database.check(&[RoleName::new(scene.role.as_str())?]).await?;
    let powers = findings.into_iter().find(|finding| finding.about.what == "can-grant");
    Ok(powers.map(|finding| finding.message))
}

/// Gives rights to the definer of a routine that the role may call. What would be a power of the
/// role makes the routine a power.
async fn definers(scene: &Scene, definer: &str) -> Result<(), BoxError> {
    let seen = async || powers_of_the_role(scene).await;
    let (schema, home) = (&scene.schema, scene.home());
    let mut admin = scene.running.admin().await?;
    let mariadb = scene.running.flavour.is_mariadb();
    let harmless = [
        "SELECT, INSERT, EXECUTE, CREATE ROUTINE, ALTER ROUTINE, EVENT, TRIGGER ON orders.*".replace("orders", schema),
        "PROCESS, SHOW DATABASES, SHOW VIEW ON *.*".to_owned(),
        "SELECT ON sys.*".to_owned(),
        "SELECT ON mysql.time_zone".to_owned(),
        "SHOW VIEW ON mysql.*".to_owned(),
    ];
    let mut powers = vec![
        "SELECT ON *.*".to_owned(),
        "INSERT ON *.*".to_owned(),
        "EXECUTE ON *.*".to_owned(),
        "RELOAD ON *.*".to_owned(),
        "FILE ON *.*".to_owned(),
        "INSERT ON mysql.*".to_owned(),
        "SELECT ON `mysq_`.*".to_owned(),
        "UPDATE ON `%`.*".to_owned(),
        "TRIGGER ON sys.*".to_owned(),
        "DROP ON jit.*".to_owned(),
        format!("EVENT ON {home}.*"),
        "DELETE ON mysql.db".to_owned(),
        "UPDATE (User) ON mysql.user".to_owned(),
        "SELECT ON mysql.user".to_owned(),
        "EXECUTE ON PROCEDURE jit.default_role".to_owned(),
        format!("SELECT ON {schema}.* TO `{definer}` WITH GRANT OPTION"),
        format!("SELECT ON {schema}.t TO `{definer}` WITH GRANT OPTION"),
        format!("EXECUTE ON PROCEDURE {schema}.own TO `{definer}` WITH GRANT OPTION"),
        format!("USAGE ON *.* TO `{definer}` WITH GRANT OPTION"),
    ];
    if !mariadb {
        powers.push("BACKUP_ADMIN ON *.*".to_owned());
        powers.push(format!("SHOW_ROUTINE ON *.* TO `{definer}` WITH GRANT OPTION"));
    }
    let rights = harmless.into_iter().map(|right| (right, false)).chain(powers.into_iter().map(|right| (right, true)));
    for (right, is_power) in rights {
        let to = if right.contains(" TO ") { String::new() } else { format!(" TO `{definer}`") };
        admin.query_drop(format!("GRANT {right}{to}")).await?;
        let powers = seen().await?;
        must(powers.is_some() == is_power, format!("of a definer with {right}: {powers:?}"))?;
        must(powers.is_none_or(|said| said.contains(definer)), format!("nobody is named for {right}"))?;
        admin.query_drop(format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM `{definer}`")).await?;
    }
    // so does a right to run or to alter an administrator's routine
    let others = scene.world.fresh("others");
    admin.query_drop(format!("CREATE DATABASE {others}")).await?;
    admin.query_drop(format!("CREATE PROCEDURE {others}.p() DO 0")).await?;
    for (security, right, is_power) in [
        ("DEFINER", "EXECUTE ON others.*", true),
        ("DEFINER", "EXECUTE ON PROCEDURE others.p", true),
        ("INVOKER", "EXECUTE ON others.*", false),
        ("INVOKER", "EXECUTE ON PROCEDURE others.p", false),
        ("INVOKER", "ALTER ROUTINE ON others.*", true),
        ("INVOKER", "ALTER ROUTINE ON PROCEDURE others.p", true),
    ] {
        admin.query_drop(format!("ALTER PROCEDURE {others}.p SQL SECURITY {security}")).await?;
        admin.query_drop(format!("GRANT {} TO `{definer}`", right.replace("others", &others))).await?;
        let powers = seen().await?;
        must(powers.is_some() == is_power, format!("of a definer with {right}, {security}: {powers:?}"))?;
        admin.query_drop(format!("REVOKE ALL PRIVILEGES, GRANT OPTION FROM `{definer}`")).await?;
    }
    // the servers look for rights on databases by user name and host
    let same = format!("{definer}s");
    for statement in [
        format!("CREATE USER `{same}`@localhost, `{same}`@`%`"),
        format!("CREATE DEFINER = `{same}`@localhost PROCEDURE {schema}.theirs() DO 0"),
    ] {
        admin.query_drop(statement).await?;
    }
    must(seen().await?.is_none(), format!("an ordinary routine is a power: {:?}", seen().await?))?;
    admin.query_drop(format!("GRANT INSERT ON mysql.* TO `{same}`@`%`")).await?;
    must(seen().await?.is_some(), "a right of another account of the name is not seen")?;
    admin.query_drop(format!("DROP USER `{same}`@`%`")).await?;
    must(seen().await?.is_none(), format!("powers stay when they are taken: {:?}", seen().await?))?;
    Ok(admin.disconnect().await?)
}

/// Checks a prepared transaction. It outlives its session and its role, and anybody can commit it.
pub(crate) async fn prepared(running: RunningMySql) -> Result<(), BoxError> {
    let scene = Scene::new(running).await?;
    let membership = scene.membership(&scene.account)?;
    let owned = async || {
        let all = scene.database.owned_objects(std::slice::from_ref(&membership)).await?.each.pop().flatten();
        Ok::<_, BoxError>(all.ok_or("too many")?)
    };
    let before = marks(&owned().await?);
    scene.grant(&scene.account).await?;
    let mut session = scene.session(Path::OtherDatabase).await?;
    session.query_drop(format!("XA START '{}'", scene.schema)).await?;
    scene.uses(&mut session, Path::OtherDatabase).await?;
    for step in ["END", "PREPARE"] {
        session.query_drop(format!("XA {step} '{}'", scene.schema)).await?;
    }
    scene.revoke(&scene.account, Sessions::End).await?;
    // InnoDB shows its transactions with a delay of up to 0.1 s
    let told = async |is: bool| {
        for _ in 0..50 {
            let left = leftovers(&before, &owned().await?);
            if left.iter().any(|left| left.contains("prepared transaction")) == is {
                return Ok::<_, BoxError>(true);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(false)
    };
    must(told(true).await?, "it is not told")?;
    let mut again = scene.running.session(&scene.account, PASSWORD).await?;
    // the reason why it is reported: another session can commit it
    again.query_drop(format!("XA COMMIT '{}'", scene.schema)).await?;
    must(told(false).await?, "it is told when it is gone")
}
