//! Check of the broker: can it do its work here, and what would fix a problem?

use jit_core::database::{Check, DatabaseError, Severity, SwitchKind};
use jit_core::id::RoleName;
use jit_core::internal::adapter::{can_grant, finding, login_of_its_own, no_dead_mans_switch};
use tokio_postgres::Row;

use crate::account::quoted;
use crate::connect::Connection;
use crate::dead_mans_switch::State;
use crate::error::reading;
use crate::server_text::ServerText;
use crate::sql::{self, Catalog};

/// Finds everything that is missing or dangerous.
pub(crate) async fn check(
    connection: &Connection,
    roles: &[RoleName],
    tls: Option<Check>,
    administrators: &[String],
) -> Result<Vec<Check>, DatabaseError> {
    let names: Vec<&str> = roles.iter().map(RoleName::as_str).collect();
    let text = connection.server.catalog.text(sql::CHECK_ROLES);
    let broker = &connection.server.broker;
    let checked = connection.server.catalog.text(sql::CHECK_SERVER);
    let server = connection.client.query_one(&checked, &[broker]).await.map_err(reading)?;
    let members = connection.server.catalog.text(sql::CHECK_MEMBERS);
    let members =
        connection.client.query(&members, &[broker, &connection.server.administrators]).await.map_err(reading)?;
    let of_broker = connection.server.catalog.text(sql::BROKER_MEMBERS);
    let of_broker = connection.client.query(&of_broker, &[broker]).await.map_err(reading)?;
    let unknown = connection.client.query_one(sql::NO_ROLES, &[&administrators]).await.map_err(reading)?;
    let rows = connection.client.query(&text, &[&names, broker]).await.map_err(reading)?;
    let mut findings: Vec<Check> = tls.into_iter().collect();
    of_the_broker(connection, &server, &mut findings).map_err(reading)?;
    of_the_server(&server, &mut findings).map_err(reading)?;
    let broker: String = server.try_get("broker").map_err(reading)?;
    let administrator =
        !server.try_get::<_, bool>("can_signal").map_err(reading)? && is_managed(&server).map_err(reading)?;
    of_the_dead_mans_switch(&connection.dead_mans_switch_state().await?, &broker, administrator, &mut findings);
    for row in &of_broker {
        of_a_member_of_the_broker(connection, &broker, row, &mut findings).map_err(reading)?;
    }
    for row in &members {
        of_members(connection, row, &mut findings).map_err(reading)?;
    }
    of_administrators(connection, administrators, &members, &unknown, &mut findings).map_err(reading)?;
    for row in &rows {
        of_a_role(connection, &broker, row, &mut findings).map_err(reading)?;
    }
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(findings)
}

/// Checks whether the server is run by a vendor. There an administrator may end sessions and cannot
/// pass that right on.
fn is_managed(row: &Row) -> Result<bool, tokio_postgres::Error> {
    row.try_get("managed")
}

/// Adds findings about the administrators that the target names.
fn of_administrators(
    connection: &Connection,
    named: &[String],
    members: &[Row],
    unknown: &Row,
    findings: &mut Vec<Check>,
) -> Result<(), tokio_postgres::Error> {
    if named.is_empty() {
        return Ok(());
    }
    if connection.server.catalog == Catalog::Merged {
        let message = "`administrators` has no effect before PostgreSQL 16, where nobody becomes a member of an account by making it";
        findings.push(finding(Severity::Remark, ("administrators", None), message, None));
        return Ok(());
    }
    for ServerText(name) in unknown.try_get::<_, Option<Vec<ServerText>>>("names")?.unwrap_or_default() {
        let message = format!("there is no role `{name}`, which `administrators` names");
        findings.push(finding(Severity::Danger, ("administrators", Some(name)), message, None));
    }
    let mut now = Vec::new();
    let mut remedy = Vec::new();
    for row in members {
        if row.try_get("named")? {
            let (ServerText(member), accounts) = (row.try_get("member")?, accounts_of(row)?);
            now.push(format!("`{member}` of {}", accounts.said));
            remedy.extend(
                accounts
                    .first
                    .iter()
                    .map(|account| taken(connection, account, &member, row))
                    .collect::<Result<Vec<_>, _>>()?,
            );
        }
    }
    let now = if now.is_empty() { "now of none".to_owned() } else { format!("now {}", now.join("; ")) };
    findings.push(finding(
        Severity::Remark,
        ("administrators", Some(named.join(", "))),
        format!(
            "administrators ({}) are not counted as members of accounts, and their sessions are not ended with an account's: they can act as every account that they made ({now}), and so use its roles, until `REVOKE account FROM administrator GRANTED BY administrator` takes that away",
            named.join(", ")
        ),
        (!remedy.is_empty()).then(|| remedy.join(";\n")),
    ));
    Ok(())
}

/// Accounts that have a certain member.
struct Accounts {
    /// Names of up to five of them.
    first: Vec<String>,
    /// Description of the accounts in words.
    said: String,
}

fn accounts_of(row: &Row) -> Result<Accounts, tokio_postgres::Error> {
    let count: i64 = row.try_get("accounts")?;
    let first: Vec<ServerText> = row.try_get::<_, Option<Vec<ServerText>>>("first")?.unwrap_or_default();
    let first: Vec<String> = first.into_iter().map(String::from).collect();
    let said = match count {
        1 => format!("account `{}`", first.concat()),
        several => format!("{several} accounts ({})", first.join(", ")),
    };
    Ok(Accounts { first, said })
}

/// Returns the statement that takes such a membership away.
fn taken(connection: &Connection, account: &str, member: &str, row: &Row) -> Result<String, tokio_postgres::Error> {
    let own = connection.server.catalog == Catalog::PerGrantor && row.try_get("by_itself")?;
    let whose = if own { format!(" GRANTED BY {}", quoted(member)) } else { String::new() };
    Ok(format!("REVOKE {} FROM {}{whose}", quoted(account), quoted(member)))
}

/// Adds the finding about a member of accounts.
fn of_members(connection: &Connection, row: &Row, findings: &mut Vec<Check>) -> Result<(), tokio_postgres::Error> {
    if row.try_get("named")? {
        return Ok(());
    }
    let ServerText(member) = row.try_get("member")?;
    let by_itself: bool = row.try_get("by_itself")?;
    let Accounts { first, said } = accounts_of(row)?;
    let how = if by_itself { ": the server made it so when it created them (createrole_self_grant)" } else { "" };
    let revokes =
        first.iter().map(|account| taken(connection, account, &member, row)).collect::<Result<Vec<_>, _>>()?;
    findings.push(finding(
        Severity::Danger,
        ("account-members", Some(member.clone())),
        format!(
            "`{member}` is a member of {said} and could act as them{how}. Roles for these are refused unless the rule says `account_members = \
             \"accepted\"`, with which an end of a window ends the sessions of `{member}`, too; an administrator can be named by `administrators`. What takes it away: {}",
            revokes.join("; ")
        ),
        by_itself.then(|| revokes.join(";\n")),
    ));
    Ok(())
}

/// Adds the finding about one member of the broker.
fn of_a_member_of_the_broker(
    connection: &Connection,
    broker: &str,
    row: &Row,
    findings: &mut Vec<Check>,
) -> Result<(), tokio_postgres::Error> {
    let ServerText(member) = row.try_get("member")?;
    let about = ("broker-members", Some(member.clone()));
    if !row.try_get::<_, bool>("uses")? {
        let message = format!(
            "`{member}` holds ADMIN OPTION on the broker `{broker}` and can make themselves a member of it; from PostgreSQL 16 on, the maker of an account always can"
        );
        findings.push(finding(Severity::Remark, about, message, None));
        return Ok(());
    }
    let revoke = format!("REVOKE {} FROM {}", quoted(broker), quoted(&member));
    let grantors: Vec<ServerText> = row.try_get::<_, Option<Vec<ServerText>>>("grantors")?.unwrap_or_default();
    let remedy = if connection.server.catalog == Catalog::PerGrantor {
        let each = grantors.into_iter().map(|ServerText(grantor)| format!("{revoke} GRANTED BY {}", quoted(&grantor)));
        each.collect::<Vec<_>>().join(";\n")
    } else {
        revoke
    };
    let message = format!(
        "`{member}` is a member of the broker `{broker}`: they can act as it, grant every role that it grants, and take back what it granted"
    );
    findings.push(finding(Severity::Danger, about, message, Some(remedy)));
    Ok(())
}

fn of_the_dead_mans_switch(state: &State, broker: &str, administrator: bool, findings: &mut Vec<Check>) {
    let about = |on: &str| ("dead-man", Some(on.to_owned()));
    if let Some(remedy) = state.statements(broker) {
        // A login that is no superuser can make objects of the broker only as a member of the
        // broker.
        let name = quoted(broker);
        let remedy = if administrator {
            format!(
                "GRANT {name} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE;\n{remedy}REVOKE {name} FROM CURRENT_USER"
            )
        } else {
            remedy
        };
        let (severity, why) = if state.faults.is_empty() {
            (Severity::Remark, "its table in this database, or the right to it, is missing".to_owned())
        } else {
            (Severity::Danger, format!("what is there cannot be trusted, and is not used: {}", state.faults.join("; ")))
        };
        findings.push(no_dead_mans_switch(severity, &why, Some(remedy)));
    }
    if let Some(note) = state.note() {
        findings.push(finding(Severity::Remark, about("pg_cron"), note, None));
    }
    if state.kind() == Some(SwitchKind::Sentinel) {
        findings.push(finding(
            Severity::Remark,
            about("sentinel"),
            "while a role is armed, the dead man's switch is connected to this database: DROP DATABASE needs WITH (FORCE), and before a \
             rename its process (application_name `jit sentinel`) has to be ended; the next grant starts it again",
            None,
        ));
    }
}

/// Oid of the superuser that `initdb` makes (`BOOTSTRAP_SUPERUSERID` of the server's source).
const BOOTSTRAP_SUPERUSER: u32 = 10;

fn of_the_broker(connection: &Connection, row: &Row, findings: &mut Vec<Check>) -> Result<(), tokio_postgres::Error> {
    let name: String = row.try_get("broker")?;
    let broker = quoted(&name);
    let fifteen = connection.server.catalog == Catalog::Merged;
    let superuser = row.try_get("superuser")?;
    if superuser {
        // the superuser of initdb has to stay one
        let statement = (row.try_get::<_, u32>("broker_id")? != BOOTSTRAP_SUPERUSER)
            .then(|| format!("ALTER ROLE {broker} NOSUPERUSER"));
        findings.push(finding(
            Severity::Refusal,
            ("superuser", None),
            format!("the broker `{name}` is a superuser, whose grants cannot be told from others'"),
            Some(login_of_its_own(&name, statement.as_deref())),
        ));
    }
    if !superuser && row.try_get("createrole")? {
        findings.push(finding(
            Severity::Danger,
            ("createrole", None),
            format!("the broker `{name}` can create roles, which it does not need"),
            Some(format!("ALTER ROLE {broker} NOCREATEROLE")),
        ));
    }
    if !superuser && fifteen && row.try_get("inherits")? {
        findings.push(finding(
            Severity::Danger,
            ("inherit", None),
            format!("the broker `{name}` inherits every role that it can grant"),
            Some(format!("ALTER ROLE {broker} NOINHERIT")),
        ));
    }
    if !row.try_get::<_, bool>("can_signal")? {
        let option = if fifteen { "" } else { " WITH INHERIT TRUE" };
        let grant = format!("GRANT pg_signal_backend TO {broker}{option}");
        let (more, remedy) = if is_managed(row)? {
            // An administrator who may end sessions cannot pass that on.
            let more = format!(
                "; who cannot run `{grant}`, and may end sessions, lets it do so by a function (the other way is that statement)"
            );
            (more, sql::make_end_session(&broker))
        } else {
            (String::new(), grant)
        };
        findings.push(finding(
            Severity::Refusal,
            ("signal-backend", None),
            format!("the broker `{name}` cannot end sessions{more}"),
            Some(remedy),
        ));
    }
    if let Some(ServerText(owner)) = row.try_get("signals_by")? {
        findings.push(finding(
            Severity::Remark,
            ("end-session", Some(owner.clone())),
            format!(
                "sessions are ended by the function {}, which runs as its owner `{owner}`; it is looked at before each use",
                sql::END_SESSION
            ),
            None,
        ));
    }
    if !row.try_get::<_, bool>("sees_start")? {
        let grant = format!("GRANT pg_read_all_stats TO {broker} WITH INHERIT TRUE, SET FALSE");
        // An administrator who cannot pass the right on is not told to: it helps, and is not
        // needed.
        let (more, remedy) = if fifteen {
            ("; before 16 it could only by inheriting the roles that it grants, too".to_owned(), None)
        } else if is_managed(row)? {
            (format!("; where somebody may, run `{grant}`"), None)
        } else {
            (String::new(), Some(grant))
        };
        findings.push(finding(
            Severity::Remark,
            ("read-all-stats", None),
            format!(
                "the broker `{name}` cannot see when a session began, so it ends again those that come back during a revoke{more}"
            ),
            remedy,
        ));
    }
    let triggers: Vec<ServerText> = row.try_get::<_, Option<Vec<ServerText>>>("login_triggers")?.unwrap_or_default();
    for trigger in triggers.into_iter().map(String::from) {
        findings.push(finding(
            Severity::Refusal,
            ("login-trigger", Some(trigger.clone())),
            format!("a login trigger of this database runs the function {trigger}, who can make it do anything as the broker `{name}`"),
            Some(format!("let a superuser own the function {trigger}, or drop the event trigger")),
        ));
    }
    if !row.try_get::<_, bool>("plpgsql")? {
        findings.push(finding(
            Severity::Refusal,
            ("plpgsql", None),
            "the language plpgsql is missing in this database or the broker may not use it",
            Some(format!("CREATE EXTENSION IF NOT EXISTS plpgsql; GRANT USAGE ON LANGUAGE plpgsql TO {broker}")),
        ));
    }
    Ok(())
}

fn of_the_server(row: &Row, findings: &mut Vec<Check>) -> Result<(), tokio_postgres::Error> {
    if row.try_get("standby")? {
        findings.push(finding(
            Severity::Refusal,
            ("read-only", None),
            "the server is a standby: roles can only be granted on the primary",
            Some("point the target's URL at the primary, or add target_session_attrs=read-write to it".to_owned()),
        ));
    } else if row.try_get("read_only")? {
        findings.push(finding(
            Severity::Refusal,
            ("read-only", None),
            "transactions of the broker are read-only",
            Some("set default_transaction_read_only = off for the broker".to_owned()),
        ));
    }
    if !row.try_get::<_, bool>("fsync")? {
        findings.push(finding(
            Severity::Danger,
            ("fsync", None),
            "fsync is off: a crash can bring back a role that was revoked",
            Some("ALTER SYSTEM SET fsync = on".to_owned()),
        ));
    }
    let senders: i64 = row.try_get("senders")?;
    let slots: Vec<ServerText> = row.try_get::<_, Option<Vec<ServerText>>>("slots")?.unwrap_or_default();
    if senders > 0 || !slots.is_empty() {
        let slots: Vec<String> = slots.into_iter().map(String::from).collect();
        findings.push(finding(
            Severity::Remark,
            ("standby", (!slots.is_empty()).then(|| slots.join(", "))),
            format!(
                "{senders} connections replicate from here, with {} physical slots: nobody looks at sessions on standbys. One that ran SET ROLE there \
                 keeps the role after the end of its window, until it ends",
                slots.len()
            ),
            None,
        ));
    }
    let standbys: Vec<String> = row.try_get::<_, Option<Vec<String>>>("asynchronous")?.unwrap_or_default();
    if !standbys.is_empty() {
        findings.push(finding(
            Severity::Remark,
            ("asynchronous-standby", Some(standbys.join(", "))),
            "a failover to an asynchronous standby can bring back a role that was just revoked; it is looked at again afterwards",
            Some("set synchronous_standby_names".to_owned()),
        ));
    }
    Ok(())
}

fn of_a_role(
    connection: &Connection,
    broker: &str,
    row: &Row,
    findings: &mut Vec<Check>,
) -> Result<(), tokio_postgres::Error> {
    let name: String = row.try_get("role")?;
    let (role, to) = (quoted(&name), quoted(broker));
    let on = || Some(name.clone());
    let fifteen = connection.server.catalog == Catalog::Merged;
    if row.try_get::<_, Option<u32>>("oid")?.is_none() {
        let message = format!("there is no role `{name}`");
        findings.push(finding(Severity::Refusal, ("role", on()), message, Some(format!("CREATE ROLE {role} NOLOGIN"))));
        return Ok(());
    }
    let options = if fifteen { "ADMIN OPTION" } else { "ADMIN OPTION, INHERIT FALSE, SET FALSE" };
    let own_admin: bool = row.try_get("own_admin")?;
    if !own_admin {
        let through = if row.try_get("any_admin")? {
            " itself (only through a group, which would be recorded as the grantor)"
        } else {
            ""
        };
        findings.push(finding(
            Severity::Refusal,
            ("admin-option", on()),
            format!("the broker `{broker}` does not hold the admin option on `{name}`{through}"),
            Some(format!("GRANT {role} TO {to} WITH {options}")),
        ));
    }
    if own_admin && !fifteen && row.try_get("own_use")? {
        findings.push(finding(
            Severity::Danger,
            ("use", on()),
            format!("the broker `{broker}` can use `{name}` itself, which it does not need"),
            Some(format!("GRANT {role} TO {to} WITH {options}")),
        ));
    }
    let powers: Vec<String> = row
        .try_get::<_, Option<Vec<ServerText>>>("powers")?
        .unwrap_or_default()
        .into_iter()
        .map(String::from)
        .collect();
    findings.extend(can_grant(&name, &powers));
    Ok(())
}
