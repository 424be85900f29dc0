//! The dead-man: leases in a table, and a backend of the broker's, or a job of `pg_cron`, that takes away what ran out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jit_core::clock::Time;
use jit_core::database::adapter::{Budget, HOW_TO_MAKE, late, none_applied};
use jit_core::database::{
    ArmOrder, Armed, Call, DatabaseError, DeadManHere, DeadManKind, Disarmed, Rejection, Subject,
};
use jit_core::policy::Sessions;
use serde::Serialize;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;

use crate::connect::{Connection, Connector};
use crate::error::{self, reading};
use crate::observe::oid;
use crate::sql::dead_man as sql;

/// How long the sentinel may take to wake.
const WAKES_WITHIN: Duration = Duration::from_secs(3);
/// How long after it was ended it is started again.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct Asked<'a> {
    i: usize,
    account: &'a str,
    account_id: Option<u32>,
    role: &'a str,
    role_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    micros: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<bool>,
}

impl<'a> Asked<'a> {
    fn of(i: usize, subject: &'a Subject) -> Self {
        Self {
            i,
            account: subject.account.as_str(),
            account_id: oid(subject.account_id.as_ref()),
            role: subject.role.as_str(),
            role_id: oid(subject.role_id.as_ref()),
            micros: None,
            ends: None,
        }
    }
}

/// What there is for it on the server.
#[derive(Debug, Clone, Copy)]
struct State {
    leases: bool,
    cron: bool,
    awake: bool,
}

impl Connection {
    async fn dead_man_state(&self) -> Result<State, DatabaseError> {
        let state = self.prepared(&self.statements.dead_man, sql::STATE).await?;
        let row = self.client.query_one(state, &[&self.server.broker]).await.map_err(reading)?;
        let is = |column| row.try_get(column).map_err(reading);
        Ok(State { leases: is("leases")?, cron: is("cron")?, awake: is("awake")? })
    }

    /// Whether there is one here.
    pub(crate) async fn dead_man(&self) -> Result<DeadManHere, DatabaseError> {
        let state = self.dead_man_state().await?;
        Ok(match state.kind() {
            Some(kind) => DeadManHere::By(kind),
            None => DeadManHere::Missing { mend: HOW_TO_MAKE.to_owned() },
        })
    }

    /// Makes the job of `pg_cron`, where it is not there yet.
    async fn schedule(&self) -> Result<(), DatabaseError> {
        let once = sql::once();
        let there = self.client.query_opt(sql::JOB_THERE, &[&sql::JOB, &once]).await.map_err(reading)?;
        if there.is_none() {
            self.client.query_one(sql::MAKE_JOB, &[&sql::JOB, &once]).await.map_err(|error| error::changing(&error))?;
        }
        Ok(())
    }
}

impl State {
    fn kind(self) -> Option<DeadManKind> {
        match self {
            Self { leases: false, .. } => None,
            Self { cron: true, .. } => Some(DeadManKind::PgCron),
            Self { .. } => Some(DeadManKind::Sentinel),
        }
    }
}

/// One result per order.
pub(crate) async fn arm(
    connector: &Arc<Connector>,
    connection: &Connection,
    call: &Call,
    orders: &[ArmOrder],
    budget: Budget,
) -> Vec<Result<Armed, DatabaseError>> {
    let grace = connector.config().dead_man_grace;
    arm_all(connector, connection, call, orders, grace, budget)
        .await
        .unwrap_or_else(|error| none_applied(orders.len(), &error))
}

async fn arm_all(
    connector: &Arc<Connector>,
    connection: &Connection,
    call: &Call,
    orders: &[ArmOrder],
    grace: Duration,
    budget: Budget,
) -> Result<Vec<Result<Armed, DatabaseError>>, DatabaseError> {
    let asked = orders.iter().enumerate().map(|(i, order)| Asked {
        micros: Some(i64::try_from(order.ends_in.saturating_add(grace).as_micros()).unwrap_or(i64::MAX)),
        ends: Some(order.sessions == Sessions::End),
        ..Asked::of(i, &order.subject)
    });
    let asked = written(&asked.collect::<Vec<_>>())?;
    // a packet of a call that was given up must not move what is armed later
    let until = connection.server.clock.after(budget.left());
    let missing = || DatabaseError::rejected(Rejection::NoDeadMan, HOW_TO_MAKE);
    let failed = |error: tokio_postgres::Error| if is_gone(&error) { missing() } else { error::changing(&error) };
    let arm =
        connection.statements.arm.get_or_try_init(|| connection.client.prepare(sql::ARM)).await.map_err(failed)?;
    connection.prepared(&connection.statements.dead_man, sql::STATE).await?;
    // sent together: the sentinel is looked for after the lease was committed, so that one which is about to end sees it, or is seen to have ended
    let parameters: [&(dyn ToSql + Sync); 3] = [&asked, &call.label, &until];
    let (rows, state) = tokio::join!(biased; connection.client.query(arm, &parameters), connection.dead_man_state());
    let rows = rows.map_err(failed)?;
    let state = state?;
    let kind = state.kind().ok_or_else(missing)?;
    match kind {
        DeadManKind::PgCron => connection.schedule().await?,
        _ if state.awake => {}
        _ => wake(connector, connection, budget).await?,
    }
    let mut results: Vec<Result<Armed, DatabaseError>> = orders.iter().map(|_| Err(late())).collect();
    for row in &rows {
        let i: i32 = row.try_get("i").map_err(reading)?;
        let fires_at: Option<Time> = row.try_get("fires_at").map_err(reading)?;
        let (has_role, has_account): (bool, bool) =
            (row.try_get("has_role").map_err(reading)?, row.try_get("has_account").map_err(reading)?);
        let result = match fires_at {
            Some(fires_at) => Ok(Armed { kind, fires_at }),
            None if !has_role => Err(DatabaseError::rejected(Rejection::NoSuchRole, "there is no such role")),
            None if !has_account => Err(DatabaseError::rejected(Rejection::NoSuchAccount, "there is no such account")),
            None => Err(late()),
        };
        if let Some(place) = usize::try_from(i).ok().and_then(|i| results.get_mut(i)) {
            *place = result;
        }
    }
    Ok(results)
}

/// Starts the sentinel, and waits until it looks.
async fn wake(connector: &Arc<Connector>, connection: &Connection, budget: Budget) -> Result<(), DatabaseError> {
    tokio::spawn(keep_awake(Arc::downgrade(connector), its_connection(connector).await?));
    let enough = budget.left().saturating_sub(WAKES_WITHIN);
    loop {
        if connection.dead_man_state().await?.awake {
            return Ok(());
        }
        if budget.left() <= enough {
            return Err(DatabaseError::not_applied("the dead-man's sentinel does not start: see the server's log"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the sentinel, and starts it again where somebody ended it, as long as there is something armed and its database is in use here.
/// Whatever becomes of this process, the server goes on with it.
async fn keep_awake(connector: Weak<Connector>, first: Connection) {
    let mut sentinel = Some(first);
    loop {
        if let Some(sentinel) = sentinel.take() {
            match sentinel.client.batch_execute(&sql::sentinel()).await {
                // nothing is armed any more, or another one is awake
                Ok(()) => return,
                Err(error) => {
                    let why = error::said(&error);
                    tracing::warn!(why, "the dead-man's sentinel was ended: it is started again");
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
        let Some(connector) = connector.upgrade() else { return };
        sentinel = its_connection(&connector).await.ok();
    }
}

async fn its_connection(connector: &Connector) -> Result<Connection, DatabaseError> {
    let connection = connector.connect().await?;
    connection.client.batch_execute(sql::SENTINEL_SETTINGS).await.map_err(reading)?;
    Ok(connection)
}

/// One result per order.
pub(crate) async fn disarm(
    connection: &Connection,
    subjects: &[Subject],
    budget: Budget,
) -> Vec<Result<Disarmed, DatabaseError>> {
    disarm_all(connection, subjects, budget).await.unwrap_or_else(|error| none_applied(subjects.len(), &error))
}

async fn disarm_all(
    connection: &Connection,
    subjects: &[Subject],
    budget: Budget,
) -> Result<Vec<Result<Disarmed, DatabaseError>>, DatabaseError> {
    let asked: Vec<Asked<'_>> = subjects.iter().enumerate().map(|(i, subject)| Asked::of(i, subject)).collect();
    let until = connection.server.clock.after(budget.left());
    let mut results: Vec<Result<Disarmed, DatabaseError>> =
        subjects.iter().map(|_| Ok(Disarmed { fired_at: None })).collect();
    let asked = written(&asked)?;
    let disarming = async {
        let disarm = connection.statements.disarm.get_or_try_init(|| connection.client.prepare(sql::DISARM)).await?;
        connection.client.query(disarm, &[&asked, &until]).await
    };
    let rows = match disarming.await {
        Ok(rows) => rows,
        // whoever took the table, or the right to it, away took the leases along
        Err(error) if is_gone(&error) => return Ok(results),
        Err(error) => return Err(error::changing(&error)),
    };
    for row in &rows {
        let i: i32 = row.try_get("i").map_err(reading)?;
        let fired_at: Option<Time> = row.try_get("fired_at").map_err(reading)?;
        let is_late: bool = row.try_get("late").map_err(reading)?;
        if let Some(place) = usize::try_from(i).ok().and_then(|i| results.get_mut(i)) {
            *place = if is_late { Err(late()) } else { Ok(Disarmed { fired_at }) };
        }
    }
    Ok(results)
}

fn is_gone(error: &tokio_postgres::Error) -> bool {
    let gone = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME, SqlState::INSUFFICIENT_PRIVILEGE];
    error.code().is_some_and(|code| gone.contains(code))
}

fn written(asked: &[Asked<'_>]) -> Result<String, DatabaseError> {
    serde_json::to_string(asked).map_err(|error| DatabaseError::not_applied(error.to_string()))
}
