//! The broker with the least privileges, as a DBA makes it.

use anyhow::Result;
use jit_core::testkit::database_laws::Privilege;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;

use super::{literal, quoted};
use crate::server::Flavour;

/// Returns the statements that make the broker's account. It may read the catalog and end sessions,
/// but not grant anything yet.
pub(super) fn least_privileged(flavour: Flavour, broker: &str, password: &str) -> Vec<String> {
    let mut statements = vec![format!("CREATE USER {broker} IDENTIFIED BY {}", literal(password))];
    statements.extend(privileges(flavour, broker));
    statements
}

/// Returns the statements that grant the broker's privileges one by one, as the set-up script
/// lists them.
pub(super) fn privileges(flavour: Flavour, broker: &str) -> Vec<String> {
    if flavour.is_mariadb() { on_mariadb(broker) } else { on_mysql(broker) }
}

/// Returns the privilege of a GRANT statement, with the REVOKE statement that takes it.
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
        // authentication_string is left out
        format!("GRANT SELECT ({}) ON mysql.user TO {broker}", jit_mysql::USER_COLUMNS_IN_MYSQL),
        // to see who blocks whom
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
        // authentication_string is left out
        format!("GRANT SELECT (User, Host, default_role, Super_priv, Create_user_priv) ON mysql.user TO {broker}"),
        // to see which routines run with rights that outlive a role
        format!("GRANT SELECT ({}) ON mysql.user TO {broker}", jit_mysql::USER_RIGHTS_IN_MARIADB),
        // to see who may drop its events
        format!("GRANT SELECT ON mysql.db TO {broker}"),
        format!("GRANT EXECUTE ON PROCEDURE jit.default_role TO {broker}"),
        format!("GRANT EXECUTE ON PROCEDURE jit.definitions TO {broker}"),
        format!("GRANT SELECT ON mysql.proc TO {broker}"),
        event_on(broker),
    ]
}

/// Returns the statement that lets the broker make events in its own database.
fn event_on(broker: &str) -> String {
    format!("GRANT EVENT ON {}.* TO {broker}", jit_mysql::home(&broker.replace(['`', '\''], "")))
}

/// Makes the shared procedures that set default roles and show definitions, once on a server. Also
/// makes the database of the broker's events.
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

/// Takes away the broker's right to end sessions.
pub(super) fn take_signal(flavour: Flavour, broker: &str) -> String {
    let privilege = if flavour.is_mariadb() { "CONNECTION ADMIN" } else { "CONNECTION_ADMIN" };
    format!("REVOKE {privilege} ON *.* FROM {broker}")
}
