//! Conversation with a DO block. The question goes as JSON and the result comes back as JSON, in
//! one transaction. Each role has one transaction. All of them, and a look behind them, are sent
//! without waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use jit_core::database::{Call, DatabaseError, Identity, Membership};
use jit_core::id::StoreId;
use jit_core::internal::adapter::Budget;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement};

use crate::connect::{Connection, Statements};
use crate::error;
use crate::observe::{Look, Moment};
use crate::server_text::ServerText;
use crate::sql;
use crate::unblock::Unblock;

/// Orders that travel in one transaction.
#[derive(Debug)]
pub(crate) struct Group {
    /// Role of the orders, and its oid if that is known.
    pub(crate) role: (String, Option<u32>),
    /// Question for the sorting statement, as JSON.
    pub(crate) ask: String,
    /// Indexes of the orders in this group.
    pub(crate) orders: Vec<usize>,
}

impl Group {
    pub(crate) fn new(role: &str, role_id: Option<u32>, ask: &impl Serialize, orders: Vec<usize>) -> Self {
        // Texts, numbers and times: nothing that JSON could not say. The server would refuse an
        // empty question.
        let ask = serde_json::to_string(ask).unwrap_or_default();
        Self { role: (role.to_owned(), role_id), ask, orders }
    }
}

/// Result of some orders (or processes).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct OrderResult {
    /// Indexes of the orders that this result is about.
    pub(crate) i: Vec<usize>,
    /// State of the orders: `ok`, `gone` if there was nothing to do, a word of the block, or an
    /// SQLSTATE.
    pub(crate) state: String,
    /// Message of the server.
    #[serde(default)]
    pub(crate) why: Option<String>,
}

impl OrderResult {
    fn why(&self) -> &str {
        self.why.as_deref().unwrap_or_default()
    }
}

/// Results of all orders, and a look taken right after the last transaction had committed.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) results: Vec<Result<(), DatabaseError>>,
    /// Orders for which there was nothing left to do.
    pub(crate) idle: BTreeSet<usize>,
    pub(crate) look: Result<(Moment, Vec<Look>), DatabaseError>,
    /// Stores whose marks stood on the memberships when the last packet was sent, if there are any.
    pub(crate) marks: Vec<Option<StoreId>>,
}

/// Kind of orders: how they become groups, and what a block's own words mean.
pub(crate) trait Orders {
    /// Leaves alone what another store accounts for, if `true`.
    const HEEDS_MARKS: bool;
    /// Statement that sorts the orders before [`sql::RUN`] does them.
    const SORT: &'static str;
    /// Returns the cell that keeps the sorting statement once it is prepared.
    fn statement(statements: &Statements) -> &OnceCell<Statement>;
    /// Groups these orders by role.
    fn groups(&self, connection: &Connection, orders: &[usize], budget: Budget) -> Vec<Group>;
    /// Translates an answer to the order that is neither `ok` nor an SQLSTATE.
    fn refusal(&self, order: usize, answer: &OrderResult) -> Option<DatabaseError>;
}

/// Number of transactions sent at once. A small number keeps them, and the look behind them, in
/// order.
const AT_ONCE: usize = 24;

/// Time that a role waits for its lock while other roles wait behind it.
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// Number of tries for a membership that another change collides with (15 only).
const TRIES: u32 = 20;

/// Sends the orders and looks at the memberships behind them. Tries collided orders again, and
/// locked ones with more patience. The last argument names the memberships, and the sessions that may be
/// ended if they block.
pub(crate) async fn drive<O: Orders>(
    connection: &Connection,
    call: &Call,
    budget: Budget,
    all: &O,
    count: usize,
    mut pending: Vec<usize>,
    (memberships, unblock): (&[Membership], Option<&Unblock<'_>>),
) -> Outcome {
    let mut results: Vec<Result<(), DatabaseError>> = (0..count).map(|_| Ok(())).collect();
    let mut idle = BTreeSet::new();
    let several = all.groups(connection, &pending, budget).len() > 1;
    // A session that may be ended when it blocks is not waited for.
    let hasty = several || unblock.is_some();
    let mut wait = if hasty { SHORT_WAIT.min(budget.patience()) } else { budget.patience() };
    let mut tries = 0_u32;
    let marked = O::HEEDS_MARKS && call.store.is_some();
    let mut marks = Vec::new();
    let prepared = async {
        connection.prepare_look().await?;
        connection.prepared(O::statement(&connection.statements), O::SORT).await
    };
    let sort = match prepared.await {
        Ok(sort) => sort,
        // Nothing was sent yet that changes anything.
        Err(error) => {
            let why = error.with_causes();
            let results = (0..count).map(|_| Err(DatabaseError::not_applied(&why))).collect();
            return Outcome { results, idle, look: Err(error), marks: Vec::new() };
        }
    };
    loop {
        let mut groups = all.groups(connection, &pending, budget);
        let later = groups.split_off(AT_ONCE.min(groups.len()));
        let limits = Limits::of(call, wait, budget);
        let work = async {
            tokio::join!(
                biased;
                connection.marks(if marked { memberships } else { &[] }, wait.min(SHORT_WAIT)),
                join_all(groups.iter().map(|group| run(&connection.client, limits, sql::RUN, OrderInput::Sorted(sort, &group.ask)))),
                connection.look(memberships)
            )
        };
        let (found, answers, look) = match unblock.filter(|_| tries > 0) {
            Some(unblock) => unblock.meanwhile(work).await,
            None => work.await,
        };
        // Marks that cannot be read again stay as they were.
        marks = found.unwrap_or(marks);
        tries = tries.saturating_add(1);
        pending = later.into_iter().flat_map(|group| group.orders).collect();
        let more_waits = wait < budget.patience() && wait == SHORT_WAIT;
        let mut locked = Vec::new();
        for (group, answers) in groups.into_iter().zip(answers) {
            let answers = match answers {
                Ok(answers) => answers,
                Err(unanswered) => {
                    for &order in &group.orders {
                        set(&mut results, order, Err(unanswered.to_error()));
                    }
                    continue;
                }
            };
            let each = answers.iter().flat_map(|answer| answer.i.iter().map(move |order| (*order, answer)));
            let answers: BTreeMap<usize, &OrderResult> = each.collect();
            for &order in &group.orders {
                let answer = answers.get(&order).copied();
                match answer.map_or("JT000", |answer| answer.state.as_str()) {
                    "ok" => set(&mut results, order, Ok(())),
                    "gone" | "theirs" => {
                        idle.insert(order);
                        set(&mut results, order, Ok(()));
                    }
                    state => {
                        let why = answer.map(OrderResult::why).unwrap_or_default();
                        let refusal = answer.and_then(|answer| all.refusal(order, answer));
                        set(&mut results, order, Err(refusal.unwrap_or_else(|| error::from_state(state, why))));
                        let collided = error::is_a_collision(state, why) && tries < TRIES;
                        if collided || (state == "55P03" && more_waits) {
                            pending.push(order);
                        } else if state == "55P03" {
                            locked.push((order, group.role.clone()));
                        }
                    }
                }
            }
        }
        blame(connection, locked, &mut results).await;
        if pending.is_empty() || look.is_err() || budget.statement() < SHORT_WAIT {
            // Orders that were never sent have no answer yet.
            return Outcome { results, idle, look, marks };
        }
        if more_waits {
            wait = budget.patience();
        }
    }
}

/// Names the transactions that block, in the orders' errors.
async fn blame(
    connection: &Connection,
    locked: Vec<(usize, (String, Option<u32>))>,
    results: &mut [Result<(), DatabaseError>],
) {
    for (order, (role, id)) in locked {
        let Ok(rows) = connection.client.query(sql::BLOCKERS, &[&role, &id, &connection.server.broker]).await else {
            return;
        };
        let (ours, others): (Vec<&Row>, Vec<&Row>) =
            rows.iter().partition(|row| matches!(row.try_get("ours"), Ok(Some(true))));
        let others: Vec<String> = others.into_iter().filter_map(blocker).collect();
        let why = match (others.as_slice(), ours.is_empty()) {
            ([], true) => format!("role `{role}` was locked by a transaction that has ended since: it is tried again"),
            ([], false) => {
                format!("role `{role}` is locked by another call of jit: it is tried again once that has ended")
            }
            (others, _) => format!(
                "role `{role}` is locked by {}: an open transaction that granted or revoked it must end first",
                others.join(", ")
            ),
        };
        set(results, order, Err(DatabaseError::not_applied(why)));
    }
}

/// Describes one blocking transaction, for people to read.
fn blocker(row: &Row) -> Option<String> {
    if let Some(ServerText(gid)) = row.try_get("gid").ok()? {
        return Some(format!("the prepared transaction `{gid}`"));
    }
    let pid: i32 = row.try_get("pid").ok()?;
    let ServerText(name) = row.try_get("name").ok()?;
    let state: Option<String> = row.try_get("state").ok()?;
    let state = state.map(|state| format!(" ({state})")).unwrap_or_default();
    Some(format!("process {pid} of `{name}`{state}"))
}

fn set(results: &mut [Result<(), DatabaseError>], order: usize, result: Result<(), DatabaseError>) {
    if let Some(place) = results.get_mut(order) {
        *place = result;
    }
}

/// Label, time limits and server of one transaction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits<'a> {
    pub(crate) label: &'a str,
    pub(crate) lock: Duration,
    pub(crate) statement: Duration,
    /// Server that the transaction is meant for.
    pub(crate) server: Option<&'a Identity>,
}

impl<'a> Limits<'a> {
    pub(crate) fn of(call: &'a Call, lock: Duration, budget: Budget) -> Self {
        let (label, server) = (call.label.as_str(), call.server.as_ref());
        Self { label, lock, statement: budget.statement(), server }
    }
}

/// Reason why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// Server refused to begin the transaction.
    NotBegun(tokio_postgres::Error),
    /// Error of the server, or of the connection to it.
    Server(tokio_postgres::Error),
    /// Block ran and committed, and its answer makes no sense.
    Garbled,
}

impl Unanswered {
    /// Returns the error for each order of the packet.
    fn to_error(&self) -> DatabaseError {
        match self {
            Self::NotBegun(error) => error::not_begun(error),
            Self::Server(error) => error::changing(error),
            Self::Garbled => DatabaseError::unknown("the server's answer could not be read"),
        }
    }
}

/// Way in which a block gets its orders.
#[derive(Debug, Clone, Copy)]
pub(crate) enum OrderInput<'a> {
    /// Prepared statement sorts the orders, and answers for those with nothing to do.
    Sorted(&'a Statement, &'a str),
    /// Orders go to the block as they are.
    Plainly(&'a str),
}

/// Runs one block in a transaction of its own and reads its answers. Every part is sent without
/// waiting for the one before. When this is `Ok`, the transaction has committed. If a part fails,
/// the server refuses the parts behind it, and the COMMIT ends the transaction without effect.
pub(crate) async fn run(
    client: &Client,
    limits: Limits<'_>,
    block: &str,
    told: OrderInput<'_>,
) -> Result<Vec<OrderResult>, Unanswered> {
    // A timeout of 0 would switch the limit off.
    let (lock, statement) = (limits.lock.as_millis().max(1), limits.statement.as_millis().max(1));
    let begin = sql::begin(limits.label, lock, statement, limits.server);
    let block = sql::answered(block);
    let tell = async {
        match told {
            OrderInput::Sorted(sort, ask) => {
                client.query_one(sort, &[&ask]).await?.try_get(0).map(|ServerText(answers)| Some(answers))
            }
            OrderInput::Plainly(ask) => client.batch_execute(&sql::ask(ask)).await.map(|()| None),
        }
    };
    let (begun, told, done, committed) = tokio::join!(
        biased;
        client.batch_execute(&begin),
        tell,
        client.simple_query(&block),
        client.batch_execute("COMMIT")
    );
    begun.map_err(Unanswered::NotBegun)?;
    let sorted: Option<String> = told.map_err(Unanswered::Server)?;
    let messages = done.map_err(Unanswered::Server)?;
    committed.map_err(Unanswered::Server)?;
    let answer = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.try_get(0).ok().flatten(),
        _ => None,
    });
    let read = |text: &str| serde_json::from_str::<Vec<OrderResult>>(text).map_err(|_| Unanswered::Garbled);
    let mut answers = read(answer.ok_or(Unanswered::Garbled)?)?;
    if let Some(sorted) = sorted {
        answers.extend(read(&sorted)?);
    }
    Ok(answers)
}
