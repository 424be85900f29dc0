//! Check of the broker: can it do its work here, and what would fix a problem?

use std::collections::BTreeMap;

use jit_core::clock::Time;
use jit_core::database::{Check, DatabaseError, Membership, Severity};
use jit_core::id::{Account, RoleName};
use jit_core::internal::adapter::{can_grant, finding, login_of_its_own, no_dead_mans_switch};
use tiberius::Row;

use crate::account::{bare, literal, quoted};
use crate::connect::{AZURE_DATABASE, Connection, Server};
use crate::dead_mans_switch::{PLANTED, State};
use crate::error::reading;
use crate::observe::{MembershipRow, values};
use crate::row::Columns;
use crate::sql::dead_mans_switch::{job, job_name, make};
use crate::sql::{self, ROWS, Scope};

/// Finds everything that is missing or dangerous.
pub(crate) async fn check(
    connection: &mut Connection,
    roles: &[RoleName],
    tls: Option<Check>,
) -> Result<Vec<Check>, DatabaseError> {
    let row = of_itself(connection).await?;
    let user = row.text("broker_user")?;
    let mut findings: Vec<Check> = tls.into_iter().collect();
    let azure = connection.server.edition == AZURE_DATABASE;
    of_the_broker(&connection.server, azure, &row, &mut findings)?;
    of_the_server(&connection.server, &row, &mut findings)?;
    of_strangers_code(connection, &mut findings).await?;
    let dead_mans_switch = connection.dead_mans_switch().await?;
    findings.extend(of_the_dead_mans_switch(&connection.server, &user, dead_mans_switch));
    for roles in roles.chunks(ROWS) {
        of_the_roles(connection, &user, roles, &mut findings).await?;
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

/// Reads the broker's rights, as the broker sees them.
async fn of_itself(connection: &mut Connection) -> Result<Row, DatabaseError> {
    let azure = connection.server.edition == AZURE_DATABASE;
    let text = if azure { sql::CHECK_BROKER_AZURE } else { sql::CHECK_BROKER };
    let results = connection.run(text, Vec::new()).await.all().map_err(reading)?;
    let row = results.into_iter().next().and_then(|rows| rows.into_iter().next());
    row.ok_or_else(|| DatabaseError::not_applied("the server does not say what the broker may do"))
}

/// Returns the broker's user in the database.
pub(crate) async fn user(connection: &mut Connection) -> Result<String, DatabaseError> {
    of_itself(connection).await?.text("broker_user")
}

fn of_the_broker(server: &Server, azure: bool, row: &Row, findings: &mut Vec<Check>) -> Result<(), DatabaseError> {
    let (login, user) = (quoted(&server.broker_login), quoted(&row.text("broker_user")?));
    let name = &server.broker_login;
    if row.yes("sysadmin")? {
        // `sa` cannot leave it
        let statement = (name != "sa").then(|| format!("USE master; ALTER SERVER ROLE [sysadmin] DROP MEMBER {login}"));
        findings.push(finding(
            Severity::Refusal,
            ("superuser", None),
            format!("the broker `{name}` is in sysadmin: it could grant anything to anybody"),
            Some(login_of_its_own(name, statement.as_deref())),
        ));
    } else if server.scope.is_database() && row.yes("db_owner")? {
        findings.push(finding(
            Severity::Refusal,
            ("superuser", None),
            format!("the broker `{name}` is in db_owner: it could grant anything in this database to anybody"),
            Some(format!("ALTER ROLE [db_owner] DROP MEMBER {user}")),
        ));
    }
    if !row.yes("may_kill")? {
        let remedy = if azure {
            format!("GRANT KILL DATABASE CONNECTION TO {user}")
        } else {
            format!("USE master; GRANT ALTER ANY CONNECTION TO {login}")
        };
        findings.push(finding(
            Severity::Refusal,
            ("signal-backend", None),
            format!("the broker `{name}` cannot end sessions, not even its own earlier ones"),
            Some(remedy),
        ));
    }
    if !row.yes("sees_sessions")? {
        let remedy = if azure {
            format!("GRANT VIEW DATABASE STATE TO {user}")
        } else {
            format!("USE master; GRANT VIEW SERVER STATE TO {login}")
        };
        findings.push(finding(
            Severity::Refusal,
            ("view-sessions", None),
            format!("the broker `{name}` sees no sessions but its own, so it could not say that a user's are gone"),
            Some(remedy),
        ));
    }
    let (sees, remedy) = match server.scope {
        Scope::Database | Scope::AzureDatabase => {
            (row.yes("sees_database")?, format!("GRANT VIEW DEFINITION TO {user}"))
        }
        Scope::Server => (row.yes("sees_server")?, format!("USE master; GRANT VIEW ANY DEFINITION TO {login}")),
    };
    if !sees {
        findings.push(finding(
            Severity::Refusal,
            ("view-definition", None),
            format!("the broker `{name}` cannot see who is in a role"),
            Some(remedy),
        ));
    }
    Ok(())
}

fn of_the_server(server: &Server, row: &Row, findings: &mut Vec<Check>) -> Result<(), DatabaseError> {
    let database = &server.database;
    if row.maybe_text("updateability")?.as_deref() == Some("READ_ONLY") {
        findings.push(finding(
            Severity::Refusal,
            ("read-only", None),
            format!("the database `{database}` is read-only, or this is a secondary replica"),
            Some("point the target's URL at the primary (of an availability group: at its listener)".to_owned()),
        ));
    }
    Ok(())
}

/// Adds findings about code that runs with the broker's rights whenever the broker changes a role.
/// Adds those who may impersonate every login.
async fn of_strangers_code(connection: &mut Connection, findings: &mut Vec<Check>) -> Result<(), DatabaseError> {
    let results = connection.run(sql::strangers_code(connection.server.scope), Vec::new()).await;
    let results = results.all().map_err(reading)?;
    for row in results.first().map(Vec::as_slice).unwrap_or_default() {
        let name = row.text("name")?;
        findings.push(finding(
            Severity::Danger,
            ("trigger", Some(name.clone())),
            format!(
                "the trigger `{name}` runs with the broker's rights whenever a role is given or taken: whoever may change it has them"
            ),
            None,
        ));
    }
    for row in results.get(1).map(Vec::as_slice).unwrap_or_default() {
        let name = row.text("name")?;
        findings.push(finding(
            Severity::Danger,
            ("impersonate-any-login", Some(name.clone())),
            format!("`{name}` may impersonate every login, and so use every role that is given"),
            Some(format!("USE master; REVOKE IMPERSONATE ANY LOGIN FROM {}", quoted(&name))),
        ));
    }
    Ok(())
}

fn of_the_dead_mans_switch(server: &Server, user: &str, state: State) -> Option<Check> {
    let Server { scope, database, broker_login, .. } = server;
    let severity = if matches!(state, State::Planted { .. }) { Severity::Danger } else { Severity::Remark };
    let (why, statements) = match state {
        State::Live => return None,
        State::NoAgent => ("this edition of the server has no SQL Server Agent".to_owned(), None),
        State::NotMade => {
            ("its tables or the right to them are missing".to_owned(), Some(make(*scope, database, broker_login, user)))
        }
        State::Planted { owner } => {
            (format!("{PLANTED} (schema `jit` belongs to `{owner}`)"), Some(make(*scope, database, broker_login, user)))
        }
        State::NeverLooked => ("its job has never looked".to_owned(), Some(job(*scope, database, broker_login))),
        State::Silent => (
            "its job has stopped looking; SQL Server Agent has to run, and the job's history says what fails"
                .to_owned(),
            Some(format!(
                "EXEC msdb.dbo.sp_update_job @job_name = {}, @enabled = 1",
                literal(&job_name(database, broker_login))
            )),
        ),
    };
    Some(no_dead_mans_switch(severity, &why, statements))
}

async fn of_the_roles(
    connection: &mut Connection,
    user: &str,
    roles: &[RoleName],
    findings: &mut Vec<Check>,
) -> Result<(), DatabaseError> {
    // The statement asks for pairs of account and role.
    let nobody = Account::new("-").map_err(|error| DatabaseError::not_applied(error.to_string()))?;
    let memberships: Vec<Membership> = roles.iter().map(|role| Membership::new(nobody.clone(), role.clone())).collect();
    let rows: Vec<MembershipRow<'_>> =
        memberships.iter().map(|membership| MembershipRow::only(membership, Time::UNIX_EPOCH)).collect();
    let text = sql::check_roles(connection.server.scope, rows.len());
    let results = connection.run(&text, values(&rows)).await.all().map_err(reading)?;
    let [found, powers] = results.as_slice() else {
        return Err(DatabaseError::not_applied("the server answered with another number of results than was asked"));
    };
    let mut powers_of: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for row in powers {
        powers_of.entry(row.int("role_id")?).or_default().push(row.text("what")?);
    }
    for (role, row) in roles.iter().zip(found) {
        let powers = row.maybe_int("role_id")?.and_then(|id| powers_of.get(&id));
        of_a_role(&connection.server, user, role, row, powers.map(Vec::as_slice).unwrap_or_default(), findings)?;
    }
    Ok(())
}

fn of_a_role(
    server: &Server,
    user: &str,
    role: &RoleName,
    row: &Row,
    powers: &[String],
    findings: &mut Vec<Check>,
) -> Result<(), DatabaseError> {
    let name = role.as_str();
    let (kind, broker, before) = match server.scope {
        Scope::Database | Scope::AzureDatabase => ("ROLE", quoted(user), ""),
        Scope::Server => ("SERVER ROLE", quoted(&server.broker_login), "USE master; "),
    };
    let quoted = quoted(bare(role));
    let on = || Some(name.to_owned());
    if row.maybe_int("role_id")?.is_none() {
        findings.push(finding(
            Severity::Refusal,
            ("role", on()),
            format!("there is no role `{name}` in exactly this spelling"),
            Some(format!("{before}CREATE {kind} {quoted}")),
        ));
        return Ok(());
    }
    if !row.yes("may_alter")? {
        let (message, remedy) = if row.yes("fixed")? && server.scope.is_database() {
            (
                format!(
                    "only db_owner may give the fixed role `{name}`, and the broker must not be that: make a role of your own, put it into `{name}`, and request that"
                ),
                format!(
                    "CREATE ROLE [orders_read]; ALTER ROLE {quoted} ADD MEMBER [orders_read]; GRANT ALTER ON ROLE::[orders_read] TO {broker}"
                ),
            )
        } else if row.yes("fixed")? {
            (
                format!(
                    "only its members may give the fixed role `{name}`, and the broker must not be one: make a role of your own with the permissions that are needed, and request that"
                ),
                format!("{before}CREATE SERVER ROLE [audit]; GRANT ALTER ON SERVER ROLE::[audit] TO {broker}"),
            )
        } else {
            (
                format!("the broker `{}` cannot change who is in `{name}`", server.broker_login),
                format!("{before}GRANT ALTER ON {kind}::{quoted} TO {broker}"),
            )
        };
        findings.push(finding(Severity::Refusal, ("admin-option", on()), message, Some(remedy)));
    }
    findings.extend(can_grant(name, powers));
    Ok(())
}
