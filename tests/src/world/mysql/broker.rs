//! The least-privileged broker, as a DBA makes it.

use anyhow::Result;
use jit_core::testkit::database_laws::Privilege;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::{literal, quoted};
use crate::server::Flavour;

/// Makes the broker's account, which may look and end sessions, and grant nothing yet.
pub(super) fn least_privileged(flavour: Flavour, broker: &str, password: &str) -> Vec<String> {
    let mut statements = vec![format!("CREATE USER {broker} IDENTIFIED BY {}", literal(password))];
    statements.extend(privileges(flavour, broker));
    statements
}

/// What it is given, each privilege for itself, as the README has it.
pub(super) fn privileges(flavour: Flavour, broker: &str) -> Vec<String> {
    if flavour.is_mariadb() { on_mariadb(broker) } else { on_mysql(broker) }
}

/// The privilege that such a statement gives, with the one that takes it.
pub(super) fn taken_and_named(given: String) -> Privilege {
    let taken = given.replacen("GRANT ", "REVOKE ", 1).replacen(" TO ", " FROM ", 1);
    let (what, rest) = given.trim_start_matches("GRANT ").split_once(" ON ").unwrap_or_default();
    let on = rest.split_once(" TO ").map_or(rest, |(on, _)| on);
    let on = on.trim_start_matches("PROCEDURE ").trim_start_matches("FUNCTION ");
    let what = what.split(" (").next().unwrap_or_default();
    let named = vec![what.to_owned(), on.to_owned()];
    Privilege { given, taken, named }
}

fn on_mysql(broker: &str) -> Vec<String> {
    vec![
        format!("GRANT PROCESS ON *.* TO {broker}"),
        format!("GRANT CONNECTION_ADMIN ON *.* TO {broker}"),
        format!("GRANT SELECT ON mysql.role_edges TO {broker}"),
        format!("GRANT SELECT ON mysql.default_roles TO {broker}"),
        format!("GRANT SELECT ON mysql.global_grants TO {broker}"),
        format!("GRANT SELECT ON mysql.db TO {broker}"),
        format!("GRANT SELECT ON mysql.tables_priv TO {broker}"),
        format!("GRANT SELECT ON mysql.procs_priv TO {broker}"),
        format!("GRANT SELECT ON mysql.proxies_priv TO {broker}"),
        // not authentication_string
        format!("GRANT SELECT ({}) ON mysql.user TO {broker}", jit_mysql::USER_COLUMNS_IN_MYSQL),
        // who blocks whom
        format!("GRANT SELECT ON performance_schema.metadata_locks TO {broker}"),
        format!("GRANT SELECT ON performance_schema.threads TO {broker}"),
        format!("GRANT SELECT ON performance_schema.data_locks TO {broker}"),
        format!("GRANT EXECUTE ON PROCEDURE jit.default_role TO {broker}"),
        format!("GRANT EXECUTE ON PROCEDURE jit.definitions TO {broker}"),
        format!("GRANT SHOW_ROUTINE ON *.* TO {broker}"),
        event_on(broker),
    ]
}

fn on_mariadb(broker: &str) -> Vec<String> {
    vec![
        format!("GRANT PROCESS ON *.* TO {broker}"),
        format!("GRANT CONNECTION ADMIN ON *.* TO {broker}"),
        format!("GRANT SELECT ON mysql.roles_mapping TO {broker}"),
        format!("GRANT SELECT ON mysql.tables_priv TO {broker}"),
        format!("GRANT SELECT ON mysql.procs_priv TO {broker}"),
        format!("GRANT SELECT ON mysql.proxies_priv TO {broker}"),
        // not authentication_string
        format!("GRANT SELECT (User, Host, default_role, Super_priv, Create_user_priv) ON mysql.user TO {broker}"),
        // who may drop its events
        format!("GRANT SELECT ON mysql.db TO {broker}"),
        format!("GRANT EXECUTE ON PROCEDURE jit.default_role TO {broker}"),
        format!("GRANT EXECUTE ON PROCEDURE jit.definitions TO {broker}"),
        format!("GRANT SELECT ON mysql.proc TO {broker}"),
        event_on(broker),
    ]
}

/// The right to make events in the broker's own database.
fn event_on(broker: &str) -> String {
    format!("GRANT EVENT ON {}.* TO {broker}", jit_mysql::home(&broker.replace(['`', '\''], "")))
}

/// Makes what sets default roles for brokers, and what shows them definitions, once on a server; and the database of the broker's events.
pub(super) async fn make_procedures(admin: &mut Conn, flavour: Flavour, broker: &str) -> Result<()> {
    let procedures =
        if flavour.is_mariadb() { jit_mysql::procedures_in_mariadb() } else { jit_mysql::procedures_in_mysql() };
    let home = jit_mysql::home(&broker.replace(['`', '\''], ""));
    let first = ["CREATE DATABASE IF NOT EXISTS jit".to_owned(), format!("CREATE DATABASE {home}")];
    for statement in first.into_iter().chain([jit_mysql::LEASES.to_owned()]).chain(procedures) {
        match admin.query_drop(statement).await {
            // another world was faster
            Err(mysql_async::Error::Server(error)) if error.code == 1304 => {}
            done => done?,
        }
    }
    Ok(())
}

/// Lets the broker grant this role, and nothing else.
pub(super) fn let_grant(role: &str, broker: &str) -> String {
    format!("GRANT {} TO {broker} WITH ADMIN OPTION", quoted(role))
}

/// Takes its right to end sessions.
pub(super) fn take_signal(flavour: Flavour, broker: &str) -> String {
    let privilege = if flavour.is_mariadb() { "CONNECTION ADMIN" } else { "CONNECTION_ADMIN" };
    format!("REVOKE {privilege} ON *.* FROM {broker}")
}
