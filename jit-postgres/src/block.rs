//! Transactions that grant or revoke. Each role has one. All of them, and a look behind them, are
//! sent without waiting.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use jit_core::database::{Call, DatabaseError, Identity, Membership, ObjectId};
use jit_core::id::{RoleName, StoreId};
use jit_core::internal::adapter::Budget;
use tokio::sync::OnceCell;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::connect::{Connection, Statements};
use crate::error;
use crate::observe::{Look, Moment, oid};
use crate::server_text::ServerText;
use crate::sql;
use crate::unblock::Unblock;

/// Orders that travel in one transaction.
#[derive(Debug)]
pub(crate) struct Group {
    /// Role of the orders, and its oid if that is known.
    pub(crate) role: (String, Option<u32>),
    /// What tells its statement from another one about the role ([`Orders::about`]).
    pub(crate) set_role: bool,
    /// Indexes of the orders in this group. There is at least one.
    pub(crate) orders: Vec<usize>,
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

/// Kind of orders: how they become groups, and what a sorting statement's words mean.
pub(crate) trait Orders: Sync {
    /// Leaves alone what another store accounts for, if `true`.
    const HEEDS_MARKS: bool;
    /// Statement that sorts the orders before [`sql::RUN`] does them.
    const SORT: &'static str;
    /// Returns the cell that keeps the sorting statement once it is prepared.
    fn statement(statements: &Statements) -> &OnceCell<Statement>;
    /// Returns the membership of an order, and whether its statement is about the right to SET
    /// ROLE.
    fn about(&self, order: usize) -> Option<(&Membership, bool)>;
    /// Sorts the orders of a group, on the server. The first poll sends the question.
    fn sort(
        &self,
        connection: &Connection,
        sort: &Statement,
        group: &Group,
        budget: Budget,
    ) -> impl Future<Output = Result<Row, tokio_postgres::Error>> + Send;
    /// Translates a word of the sorting statement that refuses the order.
    fn refusal(&self, order: usize, state: &str, why: &str) -> Option<DatabaseError>;
}

/// Number of transactions sent at once. A small number keeps them, and the look behind them, in
/// order.
const AT_ONCE: usize = 24;

/// Time that a role waits for its lock while other roles wait behind it.
const SHORT_WAIT: Duration = Duration::from_millis(100);

/// Number of tries for a membership that another change collides with (15 only).
const TRIES: u32 = 20;

/// Sends the orders and looks at the memberships behind them. Tries collided orders again, and
/// locked ones with more patience. If one statement for all accounts of a role fails by a fault of
/// one account, it tries each half of them. The last argument names the memberships, and the
/// sessions that may be ended if they block.
pub(crate) async fn drive<O: Orders>(
    connection: &Connection,
    call: &Call,
    budget: Budget,
    all: &O,
    count: usize,
    pending: Vec<usize>,
    (memberships, unblock): (&[Membership], Option<&Unblock<'_>>),
) -> Outcome {
    let mut done = Done { results: (0..count).map(|_| Ok(())).collect(), idle: BTreeSet::new() };
    let mut pending = groups(all, &pending);
    // A session that may be ended when it blocks is not waited for.
    let hasty = pending.len() > 1 || unblock.is_some();
    let mut wait = if hasty { SHORT_WAIT.min(budget.patience()) } else { budget.patience() };
    let mut tries = 0_u32;
    let marked = O::HEEDS_MARKS && call.store.is_some();
    let mut marks = Vec::new();
    let prepared = async {
        connection.prepare_look().await?;
        connection.prepared(O::statement(&connection.statements), || O::SORT.to_owned()).await
    };
    let sort = match prepared.await {
        Ok(sort) => sort,
        // Nothing was sent yet that changes anything.
        Err(error) => {
            let why = error.with_causes();
            let results = (0..count).map(|_| Err(DatabaseError::not_applied(&why))).collect();
            return Outcome { results, idle: done.idle, look: Err(error), marks: Vec::new() };
        }
    };
    loop {
        let later = pending.split_off(AT_ONCE.min(pending.len()));
        let limits = Limits::of(call, wait, budget);
        let work = async {
            tokio::join!(
                biased;
                connection.marks(if marked { memberships } else { &[] }, wait.min(SHORT_WAIT)),
                join_all(pending.iter().map(|group| change(connection, limits, all, sort, group, budget))),
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
        let more_waits = wait < budget.patience() && wait == SHORT_WAIT;
        let mut locked = Vec::new();
        let mut again = Vec::new();
        for (mut group, answer) in std::mem::replace(&mut pending, later).into_iter().zip(answers) {
            let error = match answer {
                Ok(states) => {
                    done.sorted(all, &group, states);
                    continue;
                }
                Err(Unanswered::NotBegun(error)) => {
                    done.fail(&group, &|| error::not_begun(&error));
                    continue;
                }
                Err(Unanswered::Server(error)) => error,
            };
            done.fail(&group, &|| error::changing(&error));
            let (state, why) = (error.code().map_or("", |code| code.code()), error::said(&error));
            if error::is_a_collision(state, &why) && tries < TRIES || state == "55P03" && more_waits {
                again.push(group);
            } else if state == "55P03" {
                locked.push(group);
            } else if group.orders.len() > 1 && error::is_of_an_account(state) {
                let half = group.orders.split_off(group.orders.len() / 2);
                let other = Group { role: group.role.clone(), set_role: group.set_role, orders: half };
                again.extend([group, other]);
            }
        }
        pending.append(&mut again);
        blame(connection, locked, &mut done.results).await;
        if pending.is_empty() || look.is_err() || budget.statement() < SHORT_WAIT {
            // Orders that were never sent have no answer yet.
            return Outcome { results: done.results, idle: done.idle, look, marks };
        }
        if more_waits {
            wait = budget.patience();
        }
    }
}

/// Groups these orders by their statements.
fn groups(all: &impl Orders, orders: &[usize]) -> Vec<Group> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for &order in orders {
        let Some((membership, set_role)) = all.about(order) else { continue };
        groups.entry((&membership.role, &membership.role_id, set_role)).or_default().push(order);
    }
    let group = |((role, role_id, set_role), orders): ((&RoleName, &Option<ObjectId>, bool), _)| Group {
        role: (role.as_str().to_owned(), oid(role_id.as_ref())),
        set_role,
        orders,
    };
    groups.into_iter().map(group).collect()
}

/// Results so far.
struct Done {
    results: Vec<Result<(), DatabaseError>>,
    idle: BTreeSet<usize>,
}

impl Done {
    /// Takes the states of a group whose transaction has committed.
    fn sorted<O: Orders>(&mut self, all: &O, group: &Group, states: Vec<(Option<String>, Option<String>)>) {
        for (&order, (state, why)) in group.orders.iter().zip(states) {
            let result = match state.as_deref() {
                None | Some("ok") => Ok(()),
                Some("gone" | "theirs") => {
                    self.idle.insert(order);
                    Ok(())
                }
                Some(word) => {
                    let refusal = all.refusal(order, word, why.as_deref().unwrap_or_default());
                    Err(refusal.unwrap_or_else(|| DatabaseError::not_applied(format!("an unknown answer: {word}"))))
                }
            };
            set(&mut self.results, order, result);
        }
    }

    /// Lets every order of a group fail.
    fn fail(&mut self, group: &Group, error: &dyn Fn() -> DatabaseError) {
        group.orders.iter().for_each(|order| set(&mut self.results, *order, Err(error())));
    }
}

/// Names the transactions that block, in the orders' errors.
async fn blame(connection: &Connection, locked: Vec<Group>, results: &mut [Result<(), DatabaseError>]) {
    for Group { role: (role, id), orders, .. } in locked {
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
        orders.iter().for_each(|order| set(results, *order, Err(DatabaseError::not_applied(&why))));
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
}

/// Runs one transaction, and returns the states of its orders, each with its reason. Every part is
/// sent without waiting for the one before. When this is `Ok`, the transaction has committed. If a
/// part fails, the server refuses the parts behind it, and the COMMIT ends the transaction without
/// effect.
async fn change<O: Orders>(
    connection: &Connection,
    limits: Limits<'_>,
    all: &O,
    sort: &Statement,
    group: &Group,
    budget: Budget,
) -> Result<Vec<(Option<String>, Option<String>)>, Unanswered> {
    let client = &connection.client;
    let (begun, sorted, done, committed) = tokio::join!(
        biased;
        connection.begin(limits),
        all.sort(connection, sort, group, budget),
        client.batch_execute(sql::RUN),
        client.batch_execute("COMMIT")
    );
    begun.map_err(Unanswered::NotBegun)?;
    let sorted = sorted.map_err(Unanswered::Server)?;
    done.map_err(Unanswered::Server)?;
    committed.map_err(Unanswered::Server)?;
    let texts = |column| -> Result<Vec<Option<ServerText>>, _> { sorted.try_get(column).map_err(Unanswered::Server) };
    let each = texts("states")?.into_iter().zip(texts("whys")?);
    Ok(each.map(|(state, why)| (state.map(String::from), why.map(String::from))).collect())
}

impl Connection {
    /// Begins the transaction of a call. The first poll sends all of it.
    pub(crate) async fn begin(&self, limits: Limits<'_>) -> Result<(), tokio_postgres::Error> {
        // A timeout of 0 would switch the limit off.
        let milliseconds = |limit: Duration| format!("{}ms", limit.as_millis().max(1));
        let (lock, statement) = (milliseconds(limits.lock), milliseconds(limits.statement));
        let server = limits.server.map(|Identity { realm, incarnation, .. }| format!("{realm} {incarnation}"));
        let parameters: [&(dyn ToSql + Sync); 4] = [&limits.label, &lock, &statement, &server];
        let (begun, limited) = tokio::join!(
            biased;
            self.client.batch_execute(sql::BEGIN),
            self.client.query_one(&self.limits, &parameters)
        );
        begun.and(limited.map(drop))
    }
}
