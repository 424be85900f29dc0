//! Check whether the broker can do its work here, with the fix for each finding.

use std::collections::BTreeSet;

use jit_core::database::{Check, DatabaseError, DeadMansSwitch, FOLLOWS_THE_HOST, Severity};
use jit_core::id::RoleName;
use jit_core::internal::adapter::{can_grant, finding, no_dead_mans_switch};

use crate::account::Name;
use crate::connect::Connection;
use crate::default_role::{Standing, procedure};
use crate::error::{self, reading};
use crate::observe::{Look, MANDATORY_ROLES, Named, number, text};
use crate::owned_objects::definitions;
use crate::sql::routines::{Killer, Routine};
use crate::sql::{self, Flavour};

/// Finds everything that is missing or dangerous.
pub(crate) async fn check(
    connection: &mut Connection,
    roles: &[RoleName],
    tls: Option<Check>,
) -> Result<Vec<Check>, DatabaseError> {
    let mut findings: Vec<Check> = tls.into_iter().collect();
    let broker = broker(connection);
    of_the_broker(connection, &broker, &mut findings).await?;
    let may_look = of_the_catalog(connection, &broker, &mut findings).await?;
    of_the_server(connection, &mut findings).await?;
    if connection.server.flavour == Flavour::MariaDb {
        findings.push(finding(
            Severity::Remark,
            (FOLLOWS_THE_HOST, None),
            "MariaDB's own identity follows its host (network card, port and name): on another one it is another server; where it moves, name its \
             realm by `realm = \"...\"` under the target",
            None,
        ));
    }
    if may_look && !roles.is_empty() {
        of_the_roles(connection, &broker, roles, &mut findings).await?;
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

pub(crate) fn broker(connection: &Connection) -> Name {
    let (user, host) = connection.server.broker.rsplit_once('@').unwrap_or((&connection.server.broker, "%"));
    Name::of(user, host)
}

async fn of_the_broker(
    connection: &mut Connection,
    broker: &Name,
    findings: &mut Vec<Check>,
) -> Result<(), DatabaseError> {
    let to = broker.quoted();
    let rows = connection.list(sql::OWN_PRIVILEGES, ().into()).await?;
    let held = rows.iter().map(|row| text(row, "privilege")).collect::<Result<BTreeSet<String>, _>>()?;
    let (kill, administers): (&str, &[&str]) = match connection.server.flavour {
        Flavour::MySql => ("CONNECTION_ADMIN", &sql::ADMINISTERS_MYSQL),
        Flavour::MariaDb => ("CONNECTION ADMIN", &sql::ADMINISTERS_MARIADB),
    };
    for too_much in administers.iter().filter(|privilege| held.contains(**privilege)) {
        findings.push(finding(
            Severity::Refusal,
            ("superuser", Some((*too_much).to_owned())),
            format!("the broker {broker} has {too_much}, with which whoever steals its password owns the server"),
            Some(format!("REVOKE {too_much} ON *.* FROM {to}")),
        ));
    }
    if !held.contains(kill) {
        match connection.killer().await? {
            Some(killer) => findings.push(finding(
                Severity::Remark,
                ("ends-by-procedure", Some(killer.name().to_owned())),
                format!(
                    "the broker {broker} ends sessions by the procedure {}, without the right {kill}",
                    killer.name()
                ),
                None,
            )),
            None => findings.push(finding(
                Severity::Refusal,
                ("signal-backend", None),
                format!(
                    "the broker {broker} cannot end sessions; where nobody may be given {kill}, EXECUTE on {} will do",
                    Killer::ALL.map(Killer::name).join(" or on ")
                ),
                Some(format!("GRANT {kill} ON *.* TO {to}")),
            )),
        }
    }
    if !held.contains("PROCESS") {
        findings.push(finding(
            Severity::Refusal,
            ("process", None),
            format!("the broker {broker} cannot see sessions"),
            Some(format!("GRANT PROCESS ON *.* TO {to}")),
        ));
    }
    of_the_procedures(connection, broker, findings).await?;
    of_the_dead_mans_switch(connection, broker, findings).await?;
    if connection.server.flavour == Flavour::MySql && connection.list(sql::BLOCKERS, ().into()).await.is_err() {
        findings.push(finding(
            Severity::Remark,
            ("see-locks", None),
            format!("the broker {broker} cannot see whose lock it waits for"),
            Some(format!(
                "GRANT SELECT ON performance_schema.metadata_locks TO {to}; GRANT SELECT ON performance_schema.threads TO {to}; \
                 GRANT SELECT ON performance_schema.data_locks TO {to}"
            )),
        ));
    }
    Ok(())
}

/// Checks the procedures of jit, which run with the rights of their creator.
async fn of_the_procedures(
    connection: &mut Connection,
    broker: &Name,
    findings: &mut Vec<Check>,
) -> Result<(), DatabaseError> {
    let (flavour, to) = (connection.server.flavour, broker.quoted());
    let remedy = |routine: &Routine, standing: &Standing| match standing {
        Standing::Fit => None,
        Standing::NotAllowed => Some(format!("GRANT EXECUTE ON PROCEDURE jit.{} TO {to}", routine.name)),
        Standing::Missing | Standing::Unfit(_) => {
            Some(routine.script(flavour, matches!(standing, Standing::Unfit(_)), &to))
        }
    };
    let routine = procedure(flavour);
    let standing = connection.standing(routine).await?;
    if standing != Standing::Fit {
        findings.push(finding(
            Severity::Danger,
            ("default-role", None),
            format!(
                "the broker {broker} cannot make roles usable at once, as rules want unless they say `activation = \"session\"`: \
                 the procedure jit.{} cannot be used: {}",
                routine.name,
                standing.why()
            ),
            remedy(routine, &standing),
        ));
    }
    let routine = definitions(flavour);
    let standing = connection.standing(routine).await?;
    let severity = match standing {
        Standing::Fit => return Ok(()),
        Standing::Unfit(_) => Severity::Danger,
        Standing::Missing | Standing::NotAllowed => Severity::Remark,
    };
    findings.push(finding(
        severity,
        ("definitions", None),
        format!(
            "the broker {broker} cannot see all leftovers that run with the rights of people or roles (views, triggers, routines, \
             events): the procedure jit.{} cannot be used: {}",
            routine.name,
            standing.why()
        ),
        remedy(routine, &standing),
    ));
    Ok(())
}

/// Checks the dead man's switch, which revokes a role when every process of jit is dead, and who
/// could get in its way.
async fn of_the_dead_mans_switch(
    connection: &mut Connection,
    broker: &Name,
    findings: &mut Vec<Check>,
) -> Result<(), DatabaseError> {
    let home = connection.home();
    let (others, state) = (connection.others().await?, connection.dead_mans_switch_state().await?);
    if let DeadMansSwitch::Unavailable { remedy } = state.here(others.as_deref()) {
        let (severity, why, remedy) = if !state.strangers.is_empty() {
            let why = format!("the broker's database `{home}` holds events or routines of others: {}", state.strangers);
            (Severity::Danger, why, remedy)
        } else if let Some(others) = others.as_deref().filter(|others| !others.is_empty()) {
            let why = format!("others may change or drop what is in the broker's database `{home}`: {others}");
            (Severity::Danger, why, remedy)
        } else if remedy == sql::dead_mans_switch::SCHEDULER_ON {
            let why = "the event scheduler is off (it is so after every restart, too, unless `event_scheduler = ON` stands in the server's option file)";
            (Severity::Remark, why.to_owned(), "SET GLOBAL event_scheduler = ON".to_owned())
        } else {
            let why = format!("the broker's database `{home}` is missing, or the right EVENT on it");
            let statements = sql::dead_mans_switch::dead_mans_switch_for(&connection.server.broker, &broker.quoted());
            (Severity::Remark, why, statements.join(";\n"))
        };
        findings.push(no_dead_mans_switch(severity, &why, Some(remedy)));
    }
    // in MySQL the check of the catalog demands this table, because role privileges are read from
    // it
    if others.is_none() && connection.server.flavour == Flavour::MariaDb {
        findings.push(finding(
            Severity::Remark,
            ("see-rights", Some(home.clone())),
            format!("the broker {broker} cannot see who else may change or drop what is in its database `{home}`: it cannot read mysql.db"),
            Some(format!("GRANT {} TO {}", sql::dead_mans_switch::SEE_OTHERS_IN_MARIADB, broker.quoted())),
        ));
    }
    of_definers(connection, broker, findings).await?;
    for row in connection.list(sql::dead_mans_switch::OF_EARLIER_VERSIONS, ().into()).await? {
        let name = text(&row, "name")?;
        findings.push(finding(
            Severity::Danger,
            ("old-dead-man", Some(format!("jit.{name}"))),
            format!("the event jit.{name} of an earlier version runs a procedure as the broker that others may be able to replace"),
            Some(format!("DROP EVENT jit.{}", crate::account::backticked(&name))),
        ));
    }
    Ok(())
}

/// Checks whether the broker sees the rights of those whose routines a role may call. In MySQL the
/// check of the catalog demands them.
async fn of_definers(
    connection: &mut Connection,
    broker: &Name,
    findings: &mut Vec<Check>,
) -> Result<(), DatabaseError> {
    if connection.server.flavour == Flavour::MySql {
        return Ok(());
    }
    let columns = sql::rights::USER_RIGHTS_IN_MARIADB;
    match connection.script(&format!("SELECT {columns} FROM mysql.user LIMIT 0")).await {
        Ok(_) => {}
        Err(error) if error::code(&error).is_some() => findings.push(finding(
            Severity::Remark,
            ("see-rights", Some("mysql.user".to_owned())),
            format!(
                "the broker {broker} cannot see which routines run with rights that outlive a role: it cannot read all rights in mysql.user"
            ),
            Some(format!("GRANT SELECT ({columns}) ON mysql.user TO {}", broker.quoted())),
        )),
        Err(error) => return Err(reading(error)),
    }
    Ok(())
}

/// Checks whether the broker can read everything that it has to.
async fn of_the_catalog(
    connection: &mut Connection,
    broker: &Name,
    findings: &mut Vec<Check>,
) -> Result<bool, DatabaseError> {
    let tables: &[(&str, &str)] = match connection.server.flavour {
        Flavour::MySql => &sql::TABLES_OF_MYSQL,
        Flavour::MariaDb => &sql::TABLES_OF_MARIADB,
    };
    let mut all = true;
    for (table, columns) in tables {
        match connection.script(&format!("SELECT {columns} FROM {table} LIMIT 0")).await {
            Ok(_) => {}
            Err(error) if error::code(&error).is_some() => {
                all = false;
                let of = if *columns == "*" { String::new() } else { format!(" ({columns})") };
                findings.push(finding(
                    Severity::Refusal,
                    ("read-catalog", Some((*table).to_owned())),
                    format!("the broker {broker} cannot read {table}: {}", error::said(&error)),
                    Some(format!("GRANT SELECT{of} ON {table} TO {}", broker.quoted())),
                ));
            }
            Err(error) => return Err(reading(error)),
        }
    }
    Ok(all)
}

async fn of_the_server(connection: &mut Connection, findings: &mut Vec<Check>) -> Result<(), DatabaseError> {
    let answers = connection.script(&connection.server.flavour.text(sql::SERVER)).await.map_err(reading)?;
    let row = answers.first().and_then(|rows| rows.first()).ok_or_else(crate::observe::garbled)?;
    // OFF and ON, 0 and 1, and more words in newer versions
    let read_only = text(row, "read_only")?;
    if !["0", "OFF"].contains(&read_only.as_str()) {
        findings.push(finding(
            Severity::Refusal,
            ("read-only", None),
            "the server is read-only: roles can only be granted on the primary",
            Some("point the target's URL at the primary".to_owned()),
        ));
    }
    if number(row, "forgetful")? != 0 {
        findings.push(finding(
            Severity::Danger,
            ("fsync", None),
            "innodb_flush_log_at_trx_commit is not 1: a crash can bring back a role that was revoked",
            Some("SET GLOBAL innodb_flush_log_at_trx_commit = 1".to_owned()),
        ));
    }
    Ok(())
}

async fn of_the_roles(
    connection: &mut Connection,
    broker: &Name,
    roles: &[RoleName],
    findings: &mut Vec<Check>,
) -> Result<(), DatabaseError> {
    let flavour = connection.server.flavour;
    let named: Vec<Named> = roles
        .iter()
        .filter_map(|role| Name::parse(role.as_str()).ok())
        .map(|role| Named { account: broker.clone(), role: flavour.role(&role) })
        .collect();
    let looks = connection.look_at_with_powers(&named).await?.1;
    let everybody = connection.server.everybody.iter().map(Name::as_role);
    let everybody: BTreeSet<String> = everybody.chain([MANDATORY_ROLES.to_owned()]).collect();
    for ((role, named), look) in roles.iter().zip(&named).zip(looks) {
        let on = || Some(role.as_str().to_owned());
        let (quoted, to) = (flavour.quoted_role(&named.role), broker.quoted());
        let Look { seen, powers, .. } = look;
        if !seen.role_exists {
            let remedy = Some(format!("CREATE ROLE {quoted}"));
            findings.push(finding(Severity::Refusal, ("role", on()), format!("there is no role `{role}`"), remedy));
            continue;
        }
        if !seen.direct.iter().any(|grant| grant.admin) {
            findings.push(finding(
                Severity::Refusal,
                ("admin-option", on()),
                format!("the broker {broker} does not hold the admin option on `{role}` itself"),
                Some(format!("GRANT {quoted} TO {to} WITH ADMIN OPTION")),
            ));
        }
        // a role that the broker holds through a role of everybody is held by everybody
        if let Some(by) = seen.through.iter().find(|by| everybody.contains(*by)) {
            let remedy = match flavour {
                Flavour::MySql => format!("take `{by}` out of mandatory_roles"),
                Flavour::MariaDb => format!("REVOKE {quoted} FROM PUBLIC"),
            };
            findings.push(finding(
                Severity::Refusal,
                ("mandatory", on()),
                format!("everybody holds `{role}`, by {by}: there is nothing to request, and it cannot be revoked"),
                Some(remedy),
            ));
        }
        findings.extend(can_grant(role.as_str(), &powers));
    }
    Ok(())
}
