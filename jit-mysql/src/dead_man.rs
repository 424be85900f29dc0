//! The dead-man: leases in a table, and an event of the broker's that takes away what ran out. It outlives every process of ours, and a
//! restart of the server.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::clock::Time;
use jit_core::database::adapter::{Budget, HOW_TO_MAKE, late, name_for, none_applied};
use jit_core::database::{
    ArmOrder, Armed, Call, DatabaseError, DeadManHere, DeadManKind, DefaultRole, Disarmed, Identity, Rejection, Subject,
};
use jit_core::policy::Sessions;
use serde::Serialize;

use crate::account::Name;
use crate::connect::Connection;
use crate::error::{self, reading};
use crate::observe::{Named, garbled, number, text};
use crate::sql::dead_man as sql;

/// A lease as it is asked for.
#[derive(Debug, Serialize)]
struct Lease<'a> {
    id: &'a str,
    account_user: &'a str,
    account_host: &'a str,
    role_user: &'a str,
    role_host: &'a str,
    micros: u64,
    ends_sessions: u8,
    default_goes: u8,
    back_to: Option<String>,
}

/// What there is for it on the server.
struct State {
    here: DeadManHere,
    /// How the broker's event stands; empty where there is none.
    event: String,
}

impl Connection {
    /// Whether there is one here.
    pub(crate) async fn dead_man(&mut self) -> Result<DeadManHere, DatabaseError> {
        Ok(self.dead_man_state().await?.here)
    }

    async fn dead_man_state(&mut self) -> Result<State, DatabaseError> {
        let rows = self.ask(sql::STATE, (self.event(),).into()).await.map_err(reading)?;
        let row = rows.first().ok_or_else(garbled)?;
        let there = |column| number(row, column).map(|count| count != 0);
        let missing = |mend: &str| DeadManHere::Missing { mend: mend.to_owned() };
        let (routines, table, schedule) = (there("has_routines")?, there("has_table")?, there("may_schedule")?);
        let here = if !(routines && table && schedule) {
            missing(HOW_TO_MAKE)
        } else if !["ON", "1"].contains(&text(row, "scheduler")?.to_ascii_uppercase().as_str()) {
            missing(sql::SCHEDULER_ON)
        } else {
            DeadManHere::By(DeadManKind::Event)
        };
        Ok(State { here, event: text(row, "event")? })
    }

    /// The server, if it is the one that the call is meant for.
    async fn meant(&mut self, call: &Call) -> Result<Identity, DatabaseError> {
        let identity = self.moment().await?.identity;
        call.meant_for(&identity).map(|()| identity)
    }

    /// The broker's own event.
    fn event(&self) -> String {
        format!("dead_man_{}", name_for(&[&self.server.broker]).get(..16).unwrap_or_default())
    }

    /// The event looks, from now on.
    async fn watch(&mut self, state: &str) -> Result<(), DatabaseError> {
        if state == "ENABLED" {
            return Ok(());
        }
        let schedule = sql::schedule(&self.event(), !state.is_empty());
        self.script(&schedule).await.map_err(|error| error::changing(&error)).map(drop)
    }

    fn lease_id(&self, named: &Named) -> String {
        let Named { account, role } = named;
        name_for(&[&self.server.broker, &account.user, &account.host, &role.user, &role.host])
    }
}

/// One result per order.
pub(crate) async fn arm(
    connection: &mut Connection,
    call: &Call,
    orders: &[ArmOrder],
    grace: Duration,
    budget: Budget,
) -> Vec<Result<Armed, DatabaseError>> {
    match arm_all(connection, call, orders, grace, budget).await {
        Ok(armed) => armed.into_iter().map(Ok).collect(),
        Err(error) => none_applied(orders.len(), &error),
    }
}

async fn arm_all(
    connection: &mut Connection,
    call: &Call,
    orders: &[ArmOrder],
    grace: Duration,
    budget: Budget,
) -> Result<Vec<Armed>, DatabaseError> {
    let identity = connection.meant(call).await?;
    let state = connection.dead_man_state().await?;
    if let DeadManHere::Missing { mend } = state.here {
        return Err(DatabaseError::rejected(Rejection::NoDeadMan, mend));
    }
    connection.watch(&state.event).await?;
    let flavour = connection.server.flavour;
    let named: Vec<Named> = orders.iter().map(|order| Named::of(flavour, &order.subject)).collect();
    let ids: Vec<String> = named.iter().map(|named| connection.lease_id(named)).collect();
    let leases = orders.iter().zip(&named).zip(&ids).map(|((order, named), id)| Lease {
        id,
        account_user: &named.account.user,
        account_host: &named.account.host,
        role_user: &named.role.user,
        role_host: &named.role.host,
        micros: u64::try_from(order.ends_in.saturating_add(grace).as_micros()).unwrap_or(u64::MAX),
        ends_sessions: (order.sessions == Sessions::End).into(),
        default_goes: matches!(order.default_role, DefaultRole::Goes { .. }).into(),
        back_to: match &order.default_role {
            DefaultRole::Goes { back_to: Some(role) } => Name::parse(role).ok().map(|role| role.user),
            _ => None,
        },
    });
    let leases = serde_json::to_string(&leases.collect::<Vec<_>>()).map_err(|_| garbled())?;
    let until = until(connection, budget);
    let label = call.label.as_str();
    let armed = connection.ask(sql::ARM, (label, leases, until).into()).await;
    armed.map_err(|error| error::changing(&error))?;
    let rows = leases_of(connection, &ids).await?;
    let each = ids.iter().map(|id| match rows.get(id) {
        Some((by, fires_at, _)) if by == label => {
            Ok(Armed { kind: DeadManKind::Event, fires_at: *fires_at, identity: identity.clone() })
        }
        _ => Err(late()),
    });
    each.collect()
}

/// One result per order.
pub(crate) async fn disarm(
    connection: &mut Connection,
    call: &Call,
    subjects: &[Subject],
    budget: Budget,
) -> Vec<Result<Disarmed, DatabaseError>> {
    match disarm_all(connection, call, subjects, budget).await {
        Ok(disarmed) => disarmed.into_iter().map(Ok).collect(),
        Err(error) => none_applied(subjects.len(), &error),
    }
}

async fn disarm_all(
    connection: &mut Connection,
    call: &Call,
    subjects: &[Subject],
    budget: Budget,
) -> Result<Vec<Disarmed>, DatabaseError> {
    let identity = connection.meant(call).await?;
    let flavour = connection.server.flavour;
    let ids: Vec<String> = subjects.iter().map(|subject| connection.lease_id(&Named::of(flavour, subject))).collect();
    let before = match leases_of(connection, &ids).await {
        // whoever took the table away took the leases along
        Err(DatabaseError::Rejected { .. }) => BTreeMap::new(),
        other => other?,
    };
    if !before.is_empty() {
        let until = until(connection, budget);
        let these = serde_json::to_string(&ids).map_err(|_| garbled())?;
        let done = connection.ask(sql::DISARM, (until, these).into()).await;
        done.map_err(|error| error::changing(&error))?;
        if !leases_of(connection, &ids).await?.is_empty() {
            return Err(late());
        }
    }
    let each = ids.iter().map(|id| Disarmed {
        fired_at: before.get(id).and_then(|(_, _, fired_at)| *fired_at),
        identity: identity.clone(),
    });
    Ok(each.collect())
}

/// By id: who armed it, when it fires, when it fired.
type Leases = BTreeMap<String, (String, Time, Option<Time>)>;

async fn leases_of(connection: &mut Connection, ids: &[String]) -> Result<Leases, DatabaseError> {
    let these = serde_json::to_string(ids).map_err(|_| garbled())?;
    let rows = connection.ask(sql::ARMED, (these,).into()).await.map_err(reading)?;
    let time = |text: String| text.parse::<Time>().map_err(|_| garbled());
    let mut leases = Leases::new();
    for row in &rows {
        let fired_at = Some(text(row, "fired_at")?).filter(|text| !text.is_empty()).map(time).transpose()?;
        leases.insert(text(row, "id")?, (text(row, "armed_by")?, time(text(row, "fires_at")?)?, fired_at));
    }
    Ok(leases)
}

/// A packet of a call that was given up must not undo what is done later.
fn until(connection: &Connection, budget: Budget) -> String {
    connection.server.clock.after(budget.left()).format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}
