//! Dead man's switch: leases in a table, and a job of SQL Server Agent that takes away roles whose
//! lease ran out. The broker owns the job. It outlives every process of ours, and a restart of the
//! server.

use std::time::Duration;

use jit_core::clock::{Time, whole_micros};
use jit_core::database::{
    ArmOrder, Armed, Call, DatabaseError, DeadMansSwitch, Disarmed, Membership, Rejection, StoreMarks, SwitchKind,
};
use jit_core::internal::adapter::{Budget, HOW_TO_MAKE, late, name_for, none_applied, stores_in};
use jit_core::policy::Sessions;

use crate::connect::{AZURE_DATABASE, Connection, EXPRESS, Server, Value};
use crate::error::{self, reading};
use crate::observe::{MembershipRow, values};
use crate::row::Columns;
use crate::sql::{self, dead_mans_switch as statements};

/// State of the dead man's switch on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Job of the switch looks at the leases.
    Live,
    /// Edition of the server has no SQL Server Agent.
    NoAgent,
    /// Tables of the switch, or the right to them, are missing.
    NotMade,
    /// Tables were made or changed by somebody else, or somebody else may write to them.
    Planted { owner: String },
    /// Tables are there, and no job has ever looked.
    NeverLooked,
    /// Job of the switch does not look any more.
    Silent,
}

/// Message about tables that are somebody else's, with what to do about them.
pub(crate) const PLANTED: &str = "its tables in schema `jit` were made or changed by somebody else, who could run code as the broker by them: look at what they are, drop them, and run the statements that the check of this target prints";

impl State {
    pub(crate) fn here(self) -> DeadMansSwitch {
        let remedy = match self {
            Self::Live => return DeadMansSwitch::Available(SwitchKind::AgentJob),
            Self::NoAgent => {
                "this edition of the server has no SQL Server Agent: let the rule say `dead_mans_switch = \"when possible\"`"
            }
            Self::NotMade => HOW_TO_MAKE,
            Self::Planted { .. } => PLANTED,
            Self::NeverLooked => {
                "its job has never looked: start SQL Server Agent, and see the job's history; if there is no job, run the check of this target, which prints the statements that make it"
            }
            Self::Silent => {
                "its job has stopped looking: start SQL Server Agent, and see in the job's history what fails, or whether it is disabled"
            }
        };
        DeadMansSwitch::Unavailable { remedy: remedy.to_owned() }
    }
}

impl Connection {
    pub(crate) async fn dead_mans_switch(&mut self) -> Result<State, DatabaseError> {
        if [AZURE_DATABASE, EXPRESS].contains(&self.server.edition) {
            return Ok(State::NoAgent);
        }
        let state = statements::state(self.server.scope, &self.server.broker_login);
        let results = self.run(&state, Vec::new()).await.all().map_err(reading)?;
        let row = results.last().and_then(|rows| rows.first());
        let row = row
            .ok_or_else(|| DatabaseError::not_applied("the server does not say whether it has a dead man's switch"))?;
        if let Some(owner) = row.maybe_text("planted")? {
            return Ok(State::Planted { owner });
        }
        Ok(match (row.yes("made")?, row.maybe_int("ago")?) {
            (false, _) => State::NotMade,
            (true, None) => State::NeverLooked,
            (true, Some(ago)) if statements::is_silent(ago) => State::Silent,
            (true, Some(_)) => State::Live,
        })
    }

    /// Returns the stores that have marks here.
    pub(crate) async fn stores(&mut self) -> Result<Vec<StoreMarks>, DatabaseError> {
        let text = statements::all_marks(self.server.scope, &self.server.broker_login);
        let results = self.run(&text, Vec::new()).await.all().map_err(reading)?;
        let marks = results.iter().flatten().map(|row| row.text("armed_by")).collect::<Result<Vec<_>, _>>()?;
        Ok(stores_in(&marks))
    }

    fn lease_id(&self, membership: &Membership) -> String {
        name_for(&[&self.server.broker_login, membership.account.as_str(), membership.role.as_str()])
    }

    /// Returns the time until which this call's batches may act. A batch of a call that was given
    /// up must not undo what is done later.
    fn until(&self, budget: Budget) -> Time {
        whole_micros(self.server.clock.after(budget.left()))
    }
}

/// Arms the switch for these memberships. Returns one result per order.
pub(crate) async fn arm(
    connection: &mut Connection,
    call: &Call,
    orders: &[ArmOrder],
    grace: Duration,
    budget: Budget,
) -> Vec<Result<Armed, DatabaseError>> {
    match connection.dead_mans_switch().await.map(State::here) {
        Ok(DeadMansSwitch::Available(_)) => {}
        Ok(DeadMansSwitch::Unavailable { remedy }) => {
            return none_applied(orders.len(), &DatabaseError::rejected(Rejection::NoDeadMansSwitch, remedy));
        }
        Ok(_) => {
            let unknown = "this version does not know the state of the dead man's switch";
            return none_applied(orders.len(), &DatabaseError::rejected(Rejection::NoDeadMansSwitch, unknown));
        }
        Err(error) => return none_applied(orders.len(), &error),
    }
    let mut results = Vec::with_capacity(orders.len());
    for some in orders.chunks(statements::LEASES) {
        let armed = arm_some(connection, call, some, grace, budget).await;
        results.extend(armed.unwrap_or_else(|error| none_applied(some.len(), &error)));
    }
    results
}

async fn arm_some(
    connection: &mut Connection,
    call: &Call,
    orders: &[ArmOrder],
    grace: Duration,
    budget: Budget,
) -> Result<Vec<Result<Armed, DatabaseError>>, DatabaseError> {
    let identity = connection.meant(call)?;
    let until = connection.until(budget);
    let rows: Vec<MembershipRow<'_>> =
        orders.iter().map(|order| MembershipRow::only(&order.membership, until)).collect();
    let leases = orders.iter().flat_map(|order| {
        let millis = order.ends_in.saturating_add(grace).as_micros().div_ceil(1_000);
        [
            Value::Text(connection.lease_id(&order.membership)),
            Value::Int(i32::try_from(millis).unwrap_or(i32::MAX)),
            Value::Bit(order.sessions == Sessions::End),
        ]
    });
    let mark = call.mark();
    let values = values(&rows).into_iter().chain(leases).chain([Value::Text(mark.clone())]).collect();
    let begin = sql::begin(&call.label, budget.patience().as_millis().max(1));
    let Server { scope, broker_login, .. } = &connection.server;
    let arm = statements::arm(*scope, broker_login, call.store.as_ref(), orders.len());
    let text = format!("{begin}{arm}{}", sql::END);
    let results = connection.run(&text, values).await.all().map_err(unsound)?;
    let answers = results.last().map(Vec::as_slice).unwrap_or_default();
    if answers.len() != orders.len() {
        return Err(DatabaseError::unknown("the server answered for another number of leases than was asked"));
    }
    let each = orders.iter().zip(answers).map(|(order, row)| {
        let Membership { account, role, .. } = &order.membership;
        if row.maybe_int("role_id")?.is_none() {
            return Err(DatabaseError::rejected(Rejection::NoSuchRole, format!("there is no role `{role}`")));
        }
        if row.maybe_int("account_id")?.is_none() {
            let why = format!("there is no account `{account}`");
            return Err(DatabaseError::rejected(Rejection::NoSuchAccount, why));
        }
        let armed_by = row.maybe_text("armed_by")?.unwrap_or_default();
        match (row.maybe_utc("fires_at")?, call.another_in(&armed_by)) {
            (Some(_), Some(store)) => Err(DatabaseError::another_store(account, role, &store)),
            (Some(fires_at), None) if armed_by == mark => {
                Ok(Armed::new(identity.clone(), SwitchKind::AgentJob, fires_at))
            }
            _ => Err(late()),
        }
    });
    Ok(each.collect())
}

/// Disarms the switch for these memberships. Returns one result per order.
pub(crate) async fn disarm(
    connection: &mut Connection,
    call: &Call,
    memberships: &[Membership],
    budget: Budget,
) -> Vec<Result<Disarmed, DatabaseError>> {
    let mut results = Vec::with_capacity(memberships.len());
    for some in memberships.chunks(statements::IDS) {
        let disarmed = disarm_some(connection, call, some, budget).await;
        results.extend(disarmed.unwrap_or_else(|error| none_applied(some.len(), &error)));
    }
    results
}

async fn disarm_some(
    connection: &mut Connection,
    call: &Call,
    memberships: &[Membership],
    budget: Budget,
) -> Result<Vec<Result<Disarmed, DatabaseError>>, DatabaseError> {
    let identity = connection.meant(call)?;
    let ids: Vec<String> = memberships.iter().map(|membership| connection.lease_id(membership)).collect();
    let until = Value::Time(connection.until(budget));
    let values = [until].into_iter().chain(ids.iter().cloned().map(Value::Text)).collect();
    let begin = sql::begin(&call.label, budget.patience().as_millis().max(1));
    let Server { scope, broker_login, .. } = &connection.server;
    let disarm = statements::disarm(*scope, broker_login, call.store.as_ref(), ids.len());
    let text = format!("{begin}{disarm}{}", sql::END);
    let results = connection.run(&text, values).await.all().map_err(unsound)?;
    let none = Vec::new();
    let (gone, left) = match results.as_slice() {
        [] => (&none, &none),
        [gone, left] => (gone, left),
        _ => return Err(DatabaseError::unknown("the server answered with another number of results than was asked")),
    };
    if !left.is_empty() {
        return Err(late());
    }
    let mut fired = std::collections::BTreeMap::new();
    for row in gone {
        fired.insert(row.text("id")?, row.maybe_utc("fired_at")?);
    }
    let each = ids.iter().map(|id| fired.get(id).copied().flatten());
    Ok(each.map(|fired_at| Ok(Disarmed::new(identity.clone(), fired_at))).collect())
}

/// Translates an error. Tables that are not as they have to be were not touched.
fn unsound(error: tiberius::error::Error) -> DatabaseError {
    if error.code() == Some(statements::UNSOUND) {
        return DatabaseError::rejected(Rejection::NoDeadMansSwitch, PLANTED);
    }
    error::changing(error)
}
