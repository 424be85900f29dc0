//! Tests of settings for all sessions. They run on a server of their own, since they would affect
//! every other test.

use std::time::Duration;

use jit_core::database::MembershipScope;
use jit_core::policy::Sessions;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, By, Login, World as _};
use jit_tests::servers::RunningMySql;
use jit_tests::world::mysql::PASSWORD;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use crate::must;
use crate::scene::{Path, Scene};

/// Settings of both servers. Each cuts, blocks, reorders or rewrites the reads and writes of
/// sessions that do not override it.
const OF_BOTH: [&str; 20] = [
    "sql_select_limit = 1",
    "sql_safe_updates = 1",
    "autocommit = 0",
    "completion_type = 'CHAIN'",
    "completion_type = 'RELEASE'",
    "init_connect = 'START TRANSACTION WITH CONSISTENT SNAPSHOT'",
    "init_connect = 'SET autocommit = 0, sql_select_limit = 1, sql_mode = ANSI'",
    "sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,TRADITIONAL'",
    "group_concat_max_len = 4",
    "lock_wait_timeout = 1",
    "time_zone = '+13:00'",
    "max_sort_length = 8",
    "div_precision_increment = 0",
    "sql_auto_is_null = 1",
    "sql_quote_show_create = 0",
    "max_error_count = 0",
    "tmp_table_size = 1024",
    "max_heap_table_size = 16384",
    "collation_connection = 'latin1_general_ci'",
    "default_week_format = 3",
];

const OF_MYSQL: [&str; 5] = [
    "transaction_read_only = 1",
    "transaction_isolation = 'SERIALIZABLE'",
    "max_execution_time = 1",
    "cte_max_recursion_depth = 1",
    "activate_all_roles_on_login = 1",
];

const OF_MARIADB: [&str; 7] = [
    "max_session_mem_used = 1000000",
    "tx_read_only = 1",
    "tx_isolation = 'SERIALIZABLE'",
    "max_statement_time = 0.001",
    "max_recursive_iterations = 0",
    "sql_mode = 'ORACLE'",
    "sql_if_exists = 1",
];

/// Grants, sees and revokes a role under each setting, with its sessions. The dead man's switch
/// fires too.
pub(crate) async fn settings(running: RunningMySql) -> Result<(), BoxError> {
    let mut scene = Scene::alone(running.flavour).await?;
    // with these roles a look has more than one row
    for hint in ["first", "second", "third"] {
        let role = scene.world.fresh(hint);
        scene.world.act(Act::CreateRole { role: &role }).await?;
        let standing = Act::Grant {
            role: &role,
            to: &scene.account,
            by: By::Admin,
            scope: MembershipScope::SetRole,
            admin: false,
        };
        scene.world.act(standing).await?;
    }
    let mut admin = scene.running.admin().await?;
    let own: &[&str] = if running.flavour.is_mariadb() { &OF_MARIADB } else { &OF_MYSQL };
    for setting in OF_BOTH.iter().chain(own).chain(["max_join_size = 5"].iter()) {
        let name = setting.split(' ').next().unwrap_or_default();
        admin.query_drop(format!("SET GLOBAL {setting}")).await.map_err(|error| format!("{setting}: {error}"))?;
        let done = whole(&mut scene, &mut admin).await;
        admin.query_drop(format!("SET GLOBAL {name} = DEFAULT")).await?;
        done.map_err(|error| format!("{setting}: {error}"))?;
    }
    Ok(admin.disconnect().await?)
}

/// Runs one window with connections that begin under the setting, and another one that the dead
/// man's switch ends.
async fn whole(here: &mut Scene, admin: &mut Conn) -> Result<(), BoxError> {
    here.database = here.world.database(Login::Broker).await?;
    let membership = here.membership(&here.account)?;
    // a look before anything exists: later looks must not repeat its result
    here.database.observe(std::slice::from_ref(&membership)).await?;
    here.grant(&here.account).await?;
    must(holds(here, admin).await?, "it is granted, and not held")?;
    let seen = here.database.observe(&[membership]).await?.seen.pop().ok_or("nothing")?;
    must(seen.direct.len() == 1, format!("it is held, and not seen: {seen:?}"))?;
    let mut session = here.running.session(&here.account, PASSWORD).await?;
    let report = here.revoke(&here.account, Sessions::End).await?;
    must(report.was_held == Some(true), "it was held, and not seen")?;
    must(report.seen.direct.is_empty() && report.seen.sessions.is_empty(), format!("{:?}", report.seen))?;
    must(!holds(here, admin).await?, "it is revoked, and held")?;
    must(session.query_drop("DO 1").await.is_err(), "its session lives")?;
    here.grant(&here.account).await?;
    let mut session = here.running.session(&here.account, PASSWORD).await?;
    here.arm(&here.account, Duration::ZERO).await?;
    for _ in 0..200 {
        if !holds(here, admin).await? {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    must(!holds(here, admin).await?, "the dead man's switch does not take it")?;
    // the switch ends the sessions after that
    tokio::time::sleep(Duration::from_secs(1)).await;
    must(here.uses(&mut session, Path::OtherDatabase).await.is_err(), "its session outlives the dead man's switch")?;
    here.disarm(&here.account).await
}

/// Checks whether the role is held, by a session that began before the setting.
async fn holds(here: &Scene, admin: &mut Conn) -> Result<bool, BoxError> {
    let (table, member, role) = if here.running.flavour.is_mariadb() {
        ("roles_mapping", "User", "Role")
    } else {
        ("role_edges", "TO_USER", "FROM_USER")
    };
    let text = format!("SELECT COUNT(*) FROM mysql.{table} WHERE {member} = ? AND {role} = ?");
    let user = here.account.split('@').next().unwrap_or_default();
    let count: Option<u64> = admin.exec_first(text, (user, &here.role)).await?;
    Ok(count.unwrap_or_default() > 0)
}
