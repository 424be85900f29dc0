//! Dead man's switch: leases in a table, and a backend of the broker or a job of `pg_cron`. The
//! backend or job takes away roles whose lease ran out.

use std::sync::{Arc, Weak};
use std::time::Duration;

use jit_core::clock::Time;
use jit_core::database::{
    ArmOrder, Armed, Call, DatabaseError, DeadMansSwitch, Disarmed, Identity, Membership, Rejection, StoreMarks,
    SwitchKind,
};
use jit_core::id::StoreId;
use jit_core::internal::adapter::{Budget, HOW_TO_MAKE, late, none_applied};
use jit_core::policy::Sessions;
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::block::Limits;
use crate::connect::{Connection, Connector};
use crate::error::{self, reading};
use crate::observe::oid;
use crate::sql::dead_mans_switch::{self as sql, Home};

/// Time that the sentinel may take to wake.
const WAKES_WITHIN: Duration = Duration::from_secs(3);
/// Time after which the sentinel is started again once somebody ended it.
const AGAIN: Duration = Duration::from_secs(2);

#[derive(Debug, Serialize)]
struct MembershipRow<'a> {
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

impl<'a> MembershipRow<'a> {
    fn of(i: usize, membership: &'a Membership) -> Self {
        Self {
            i,
            account: membership.account.as_str(),
            account_id: oid(membership.account_id.as_ref()),
            role: membership.role.as_str(),
            role_id: oid(membership.role_id.as_ref()),
            micros: None,
            ends: None,
        }
    }
}

/// One row of the answer to [`sql::marks`].
#[derive(Debug, Deserialize)]
struct Mark {
    i: usize,
    store: StoreId,
}

/// State of the dead man's switch on the server.
#[derive(Debug)]
pub(crate) struct State {
    /// Place of the leases, if they can be trusted and the broker has all rights to them.
    home: Option<Home>,
    /// Reasons why the tables that are there cannot be trusted. Empty if the home can be used.
    pub(crate) faults: Vec<String>,
    /// Home for which the repairing statements are written.
    remedy: Home,
    cron: Cron,
}

/// State of `pg_cron` on this server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cron {
    /// Extension is missing, or cannot be trusted.
    No,
    /// Extension is there, and has no job of the broker's yet.
    NoJob,
    /// Job is there, and has not run lately. Holds the result of its last run.
    Idle(String),
    /// Job ran within the last minutes.
    Runs,
}

/// Processes that can look at the leases: a sentinel that is awake, and `pg_cron`.
#[derive(Debug, Clone, Copy)]
struct Lookouts {
    awake: bool,
    cron: bool,
}

/// One place where leases can be, as [`sql::homes`] saw it.
struct Place {
    home: Home,
    schema_there: bool,
    there: bool,
    faults: Vec<String>,
    lacks: Vec<String>,
}

impl Place {
    fn is_usable(&self) -> bool {
        self.there && self.faults.is_empty() && self.lacks.is_empty()
    }
}

impl Connection {
    /// Returns the places where leases can be, the broker's own first.
    async fn places(&self) -> Result<Vec<Place>, DatabaseError> {
        let statement = self.prepared(&self.statements.homes, sql::homes).await?;
        let rows = self.client.query(statement, &[&self.server.broker]).await.map_err(reading)?;
        rows.iter().map(|row| self.place(row)).collect::<Result<Vec<_>, _>>().map_err(reading)
    }

    /// Reads the state of the switch.
    pub(crate) async fn dead_mans_switch_state(&self) -> Result<State, DatabaseError> {
        let places = self.places().await?;
        let home = usable(&places);
        // If somebody else has the common place, the broker gets its own.
        let clean = |place: &&Place| place.faults.is_empty();
        let begun = places.iter().filter(|place| place.schema_there).find(clean);
        let remedy = begun.or_else(|| places.iter().rev().find(clean)).or(places.first());
        let remedy = remedy.map_or(Home::Common, |place| place.home);
        let faults =
            if home.is_some() { Vec::new() } else { places.into_iter().flat_map(|place| place.faults).collect() };
        let cron = match home {
            Some(home) if self.lookouts(home).await?.cron => self.cron(home).await?,
            _ => Cron::No,
        };
        Ok(State { home, faults, remedy, cron })
    }

    fn place(&self, row: &Row) -> Result<Place, tokio_postgres::Error> {
        let home = if row.try_get("own")? { Home::Own(self.server.broker) } else { Home::Common };
        Ok(Place {
            home,
            schema_there: row.try_get("schema_there")?,
            there: row.try_get("there")?,
            faults: row.try_get::<_, Option<Vec<String>>>("faults")?.unwrap_or_default(),
            lacks: row.try_get("lacks")?,
        })
    }

    /// Returns the place of the leases. It is found once per connection, and each use checks it
    /// again.
    async fn home(&self) -> Result<Home, DatabaseError> {
        let find = async || {
            let state = self.dead_mans_switch_state().await?;
            state.home.ok_or_else(|| state.missing())
        };
        self.statements.home.get_or_try_init(find).await.copied()
    }

    /// Returns the place of the marks, if there is one. It is found once per connection. Failing to
    /// find it is never an error of the call that asks.
    async fn marked(&self) -> Option<Home> {
        if let Some(home) = self.statements.home.get() {
            return Some(*home);
        }
        let find = async || self.places().await.map(|places| usable(&places));
        self.statements.marked.get_or_try_init(find).await.ok().copied().flatten()
    }

    /// Checks whether there is a place for marks, as far as [`Self::prepare_marks`] found one.
    pub(crate) fn has_marks(&self) -> bool {
        self.statements.home.initialized() || matches!(self.statements.marked.get(), Some(Some(_)))
    }

    /// Prepares what [`Self::marks`] needs, so that it costs no round trip.
    pub(crate) async fn prepare_marks(&self) {
        if let Some(home) = self.marked().await {
            let _ = self.prepared(&self.statements.guard, || sql::guard(home)).await;
            let _ = self.prepared(&self.statements.marks, || sql::marks(home)).await;
        }
    }

    /// Returns the store whose mark stands on each of these memberships. Statements sent behind it
    /// find the marks in `jit.marks`. `None` if there is no place for marks, or if the place cannot
    /// be read or trusted now. Whatever waits for an end does not wait for that.
    pub(crate) async fn marks(&self, memberships: &[Membership], wait: Duration) -> Option<Vec<Option<StoreId>>> {
        let home = self.marked().await.filter(|_| !memberships.is_empty())?;
        let guard = self.prepared(&self.statements.guard, || sql::guard(home)).await.ok()?;
        let marks = self.prepared(&self.statements.marks, || sql::marks(home)).await.ok()?;
        let asked: Vec<MembershipRow<'_>> =
            memberships.iter().enumerate().map(|(i, membership)| MembershipRow::of(i, membership)).collect();
        let asked = written(&asked).ok()?;
        let begin = sql::begin_reading(wait.as_millis().max(1));
        let (broker, pid) = (self.server.broker, self.server.pid);
        let (guarding, asking): ([&(dyn ToSql + Sync); 2], [&(dyn ToSql + Sync); 1]) = ([&broker, &pid], [&asked]);
        let (none, begun, guarded, row, ended) = tokio::join!(
            biased;
            self.client.batch_execute(sql::NO_MARKS),
            self.client.batch_execute(&begin),
            self.client.query_one(guard, &guarding),
            self.client.query_one(marks, &asking),
            self.client.batch_execute("COMMIT")
        );
        if let Err(error) = none.and(begun).and(guarded.map(drop)).and(ended) {
            tracing::debug!(why = error::said(&error), "marks of stores are not read");
            return None;
        }
        let text: String = row.ok()?.try_get("marks").ok()?;
        let found: Vec<Mark> = serde_json::from_str(&text).ok()?;
        let mut marks: Vec<Option<StoreId>> = memberships.iter().map(|_| None).collect();
        for Mark { i, store } in found {
            if let Some(place) = marks.get_mut(i) {
                *place = Some(store);
            }
        }
        Some(marks)
    }

    /// Returns the stores that have marks here.
    pub(crate) async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        let Some(home) = usable(&self.places().await?) else { return Ok(Vec::new()) };
        let guard = self.prepared(&self.statements.guard, || sql::guard(home)).await?;
        let (broker, pid, stores) = (self.server.broker, self.server.pid, sql::stores(home));
        let guarding: [&(dyn ToSql + Sync); 2] = [&broker, &pid];
        self.client.batch_execute(&sql::begin_reading(WAKES_WITHIN.as_millis())).await.map_err(reading)?;
        let read = async {
            self.client.query_one(guard, &guarding).await?;
            self.client.query(&stores, &[&broker]).await
        };
        let rows = read.await;
        self.client.batch_execute("COMMIT").await.map_err(reading)?;
        let marks = |row: &Row| {
            let (store, memberships): (String, i64) =
                (row.try_get("store").map_err(reading)?, row.try_get("memberships").map_err(reading)?);
            let store = StoreId::new(store).map_err(|error| DatabaseError::not_applied(error.to_string()))?;
            Ok(StoreMarks::new(store, memberships.unsigned_abs()))
        };
        rows.map_err(reading)?.iter().map(marks).collect()
    }

    /// Returns the kind of dead man's switch that works here.
    pub(crate) async fn dead_mans_switch(&self) -> Result<DeadMansSwitch, DatabaseError> {
        let state = self.dead_mans_switch_state().await?;
        Ok(match (&state.home, &state.cron) {
            (None, _) => DeadMansSwitch::Unavailable { remedy: state.why() },
            (Some(_), Cron::Runs) => DeadMansSwitch::Available(SwitchKind::PgCron),
            (Some(_), _) => DeadMansSwitch::Available(SwitchKind::Sentinel),
        })
    }

    /// Returns the SQL that the job of `pg_cron` runs.
    fn job(&self, home: Home) -> String {
        sql::once(home, &self.server.administrators, self.server.catalog)
    }

    async fn cron(&self, home: Home) -> Result<Cron, DatabaseError> {
        let job = self.client.query_opt(sql::JOB_THERE, &[&sql::JOB, &self.job(home)]).await.map_err(reading)?;
        let Some(job) = job else { return Ok(Cron::NoJob) };
        let runs: bool = job.try_get("ran").map_err(reading)?;
        Ok(if runs { Cron::Runs } else { Cron::Idle(job.try_get("last").map_err(reading)?) })
    }

    /// Makes the job of `pg_cron` if possible, and returns whether it runs. A job that was not seen
    /// to run ends nothing.
    async fn scheduled(&self, home: Home, there: Lookouts) -> Result<bool, DatabaseError> {
        if !there.cron {
            return Ok(false);
        }
        match self.cron(home).await? {
            Cron::Runs => Ok(true),
            Cron::Idle(_) | Cron::No => Ok(false),
            Cron::NoJob => {
                let made = self.client.query_one(sql::MAKE_JOB, &[&sql::JOB, &self.job(home)]).await;
                if let Err(error) = made {
                    tracing::warn!(
                        why = error::said(&error),
                        "pg_cron does not take the broker's job: the sentinel is used"
                    );
                }
                Ok(false)
            }
        }
    }

    /// Returns the processes that can look at the leases.
    async fn lookouts(&self, home: Home) -> Result<Lookouts, DatabaseError> {
        let awake = self.prepared(&self.statements.awake, || sql::awake(home)).await?;
        let row = self.client.query_one(awake, &[&self.server.broker]).await.map_err(reading)?;
        let is = |column| row.try_get(column).map_err(reading);
        Ok(Lookouts { awake: is("awake")?, cron: is("cron")? })
    }

    /// Runs a statement that touches the leases, in a transaction of its own. A fault stops the
    /// transaction before the statement. The call's label shows until the transaction has ended.
    async fn guarded(
        &self,
        home: Home,
        call: &Call,
        budget: Budget,
        statement: &Statement,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        let guard = self.prepared(&self.statements.guard, || sql::guard(home)).await?;
        let (broker, pid) = (self.server.broker, self.server.pid);
        let guarding: [&(dyn ToSql + Sync); 2] = [&broker, &pid];
        let (begun, guarded, rows, committed) = tokio::join!(
            biased;
            self.begin(Limits::of(call, budget.patience(), budget)),
            self.client.query_one(guard, &guarding),
            self.client.query(statement, parameters),
            self.client.batch_execute("COMMIT; SET application_name = 'jit'")
        );
        begun.map_err(|error| error::not_begun(&error))?;
        match guarded {
            Ok(_) => {}
            Err(error) if error.code() == Some(&SqlState::DIVISION_BY_ZERO) => {
                let state = self.dead_mans_switch_state().await?;
                // The next connection looks for a place again.
                self.close();
                return Err(state.missing());
            }
            Err(error) => return Err(reading(error)),
        }
        let rows = rows.map_err(|error| error::changing(&error))?;
        committed.map_err(|error| error::changing(&error))?;
        Ok(rows)
    }
}

/// Returns the place of the leases that can be used.
fn usable(places: &[Place]) -> Option<Home> {
    places.iter().find(|place| place.is_usable()).map(|place| place.home)
}

impl State {
    /// Returns the statements that make the switch, or repair it.
    pub(crate) fn statements(&self, broker: &str) -> Option<String> {
        self.home.is_none().then(|| sql::make(broker, self.remedy))
    }

    /// Returns a remark about a switch that works.
    pub(crate) fn note(&self) -> Option<String> {
        let Cron::Idle(last) = &self.cron else { return None };
        let last = if last.is_empty() { "it has not run yet".to_owned() } else { format!("its last run: {last}") };
        Some(format!(
            "pg_cron has the broker's job and does not run it ({last}); the sentinel is used until it does. Check its launcher, \
             cron.use_background_workers, and whether the broker may log in from the server itself"
        ))
    }

    pub(crate) fn kind(&self) -> Option<SwitchKind> {
        self.home?;
        Some(if self.cron == Cron::Runs { SwitchKind::PgCron } else { SwitchKind::Sentinel })
    }

    fn why(&self) -> String {
        if self.faults.is_empty() {
            HOW_TO_MAKE.to_owned()
        } else {
            format!("{}; {HOW_TO_MAKE}", self.faults.join("; "))
        }
    }

    fn missing(&self) -> DatabaseError {
        DatabaseError::rejected(Rejection::NoDeadMansSwitch, self.why())
    }
}

/// Returns the statements by which a DBA gives this broker its dead man's switch, or repairs it.
/// They run in the target's database.
///
/// They can be run again at any time, and fail on what somebody else made there. The schema is
/// `jit`. If another broker of the same database has that schema, it is `jit_of_` and this broker's
/// oid.
#[must_use]
pub fn dead_mans_switch(broker: &str, own_schema: Option<u32>) -> String {
    sql::make(broker, own_schema.map_or(Home::Common, Home::Own))
}

/// Arms the switch for these memberships. Returns one result per order.
pub(crate) async fn arm(
    connector: &Arc<Connector>,
    connection: &Connection,
    call: &Call,
    orders: &[ArmOrder],
    budget: Budget,
) -> Vec<Result<Armed, DatabaseError>> {
    let grace = connector.config().settings.dead_mans_switch_grace;
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
    let asked = orders.iter().enumerate().map(|(i, order)| MembershipRow {
        micros: Some(i64::try_from(order.ends_in.saturating_add(grace).as_micros()).unwrap_or(i64::MAX)),
        ends: Some(order.sessions == Sessions::End),
        ..MembershipRow::of(i, &order.membership)
    });
    let asked = written(&asked.collect::<Vec<_>>())?;
    // A packet of a call that was given up must not move what is armed later.
    let until = connection.server.clock.after(budget.left());
    let home = connection.home().await?;
    let arm = connection.prepared(&connection.statements.arm, || sql::arm(home)).await?;
    connection.prepared(&connection.statements.awake, || sql::awake(home)).await?;
    // Sent together. The sentinel is looked for after the lease was committed. A sentinel that is
    // about to end therefore sees the lease, or is seen to have ended.
    let (mark, store) = (call.mark(), call.store.as_ref().map(StoreId::as_str));
    let parameters: [&(dyn ToSql + Sync); 4] = [&asked, &mark, &until, &store];
    let (rows, lookouts, moment) = tokio::join!(
        biased;
        connection.guarded(home, call, budget, arm, &parameters),
        connection.lookouts(home),
        connection.moment()
    );
    let rows = rows?;
    let lookouts = lookouts?;
    let identity = moment?.identity;
    let kind = if connection.scheduled(home, lookouts).await? { SwitchKind::PgCron } else { SwitchKind::Sentinel };
    if kind == SwitchKind::Sentinel && !lookouts.awake {
        wake(connector, connection, home, budget, &identity).await?;
    }
    let mut results: Vec<Result<Armed, DatabaseError>> = orders.iter().map(|_| Err(late())).collect();
    for row in &rows {
        let i: i32 = row.try_get("i").map_err(reading)?;
        let fires_at: Option<Time> = row.try_get("fires_at").map_err(reading)?;
        let (has_role, has_account): (bool, bool) =
            (row.try_get("has_role").map_err(reading)?, row.try_get("has_account").map_err(reading)?);
        let another: Option<String> = row.try_get("another").map_err(reading)?;
        let another = another.and_then(|another| StoreId::new(another).ok());
        let membership = usize::try_from(i).ok().and_then(|i| orders.get(i)).map(|order| &order.membership);
        let another = another
            .zip(membership)
            .map(|(store, Membership { account, role, .. })| DatabaseError::another_store(account, role, &store));
        let result = match (fires_at, another) {
            (Some(fires_at), _) => Ok(Armed::new(identity.clone(), kind, fires_at)),
            (None, Some(another)) => Err(another),
            (None, None) if !has_role => Err(DatabaseError::rejected(Rejection::NoSuchRole, "there is no such role")),
            (None, None) if !has_account => {
                Err(DatabaseError::rejected(Rejection::NoSuchAccount, "there is no such account"))
            }
            (None, None) => Err(late()),
        };
        if let Some(place) = usize::try_from(i).ok().and_then(|i| results.get_mut(i)) {
            *place = result;
        }
    }
    Ok(results)
}

/// Starts the sentinel, and waits until it looks at the leases.
async fn wake(
    connector: &Arc<Connector>,
    connection: &Connection,
    home: Home,
    budget: Budget,
    server: &Identity,
) -> Result<(), DatabaseError> {
    let its = its_connection(connector, server).await?;
    tokio::spawn(keep_awake(Arc::downgrade(connector), its, home, server.clone()));
    let enough = budget.left().saturating_sub(WAKES_WITHIN);
    loop {
        if connection.lookouts(home).await?.awake {
            return Ok(());
        }
        if budget.left() <= enough {
            return Err(DatabaseError::not_applied(
                "the dead man's switch does not start its sentinel: see the server's log",
            ));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Runs the sentinel. If somebody ended it, starts it again, as long as something is armed and its
/// database is in use here. Whatever becomes of this process, the server goes on with the sentinel.
async fn keep_awake(connector: Weak<Connector>, first: Connection, home: Home, server: Identity) {
    let mut sentinel = Some(first);
    loop {
        if let Some(sentinel) = sentinel.take() {
            let its = &sentinel.server;
            let block = sql::sentinel(home, &its.administrators, its.catalog);
            match sentinel.client.batch_execute(&block).await {
                // Nothing is armed any more, or another sentinel is awake.
                Ok(()) => return,
                Err(error) => {
                    let why = error::said(&error);
                    tracing::warn!(why, "the sentinel of the dead man's switch was ended: it is started again");
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
        let Some(connector) = connector.upgrade() else { return };
        sentinel = match its_connection(&connector, &server).await {
            // The process that arms a lease there starts a sentinel there.
            Err(error) if error.is_another_server() => return,
            connected => connected.ok(),
        };
    }
}

/// Opens a connection for the sentinel, to this server only. On another server the sentinel would
/// act on the leases of a copy.
async fn its_connection(connector: &Connector, server: &Identity) -> Result<Connection, DatabaseError> {
    let connection = connector.connect().await?;
    let found = connection.moment().await?.identity;
    if found != *server {
        return Err(DatabaseError::another_server(server, &found));
    }
    connection.client.batch_execute(sql::SENTINEL_SETTINGS).await.map_err(reading)?;
    Ok(connection)
}

/// Disarms the switch for these memberships. Returns one result per order.
pub(crate) async fn disarm(
    connection: &Connection,
    call: &Call,
    memberships: &[Membership],
    budget: Budget,
) -> Vec<Result<Disarmed, DatabaseError>> {
    disarm_all(connection, call, memberships, budget)
        .await
        .unwrap_or_else(|error| none_applied(memberships.len(), &error))
}

async fn disarm_all(
    connection: &Connection,
    call: &Call,
    memberships: &[Membership],
    budget: Budget,
) -> Result<Vec<Result<Disarmed, DatabaseError>>, DatabaseError> {
    let asked: Vec<MembershipRow<'_>> =
        memberships.iter().enumerate().map(|(i, membership)| MembershipRow::of(i, membership)).collect();
    let until = connection.server.clock.after(budget.left());
    let asked = written(&asked)?;
    let store = call.store.as_ref().map(StoreId::as_str);
    let parameters: [&(dyn ToSql + Sync); 3] = [&asked, &until, &store];
    let disarming = async {
        let home = connection.home().await?;
        let disarm = connection.prepared(&connection.statements.disarm, || sql::disarm(home)).await?;
        connection.guarded(home, call, budget, disarm, &parameters).await
    };
    connection.moment_statement().await?;
    let (rows, moment) = tokio::join!(biased; disarming, connection.moment());
    let identity = moment?.identity;
    let none = || Ok(Disarmed::new(identity.clone(), None));
    let mut results: Vec<Result<Disarmed, DatabaseError>> = memberships.iter().map(|_| none()).collect();
    let rows = match rows {
        Ok(rows) => rows,
        // Whoever took away the table, or the right to it, took the leases along.
        Err(DatabaseError::Rejected {
            rejection: Rejection::NoDeadMansSwitch | Rejection::PrivilegeMissing, ..
        }) => {
            return Ok(results);
        }
        Err(error) => return Err(error),
    };
    for row in &rows {
        let i: i32 = row.try_get("i").map_err(reading)?;
        let fired_at: Option<Time> = row.try_get("fired_at").map_err(reading)?;
        let is_late: bool = row.try_get("late").map_err(reading)?;
        if let Some(place) = usize::try_from(i).ok().and_then(|i| results.get_mut(i)) {
            *place = if is_late { Err(late()) } else { Ok(Disarmed::new(identity.clone(), fired_at)) };
        }
    }
    Ok(results)
}

fn written(asked: &[MembershipRow<'_>]) -> Result<String, DatabaseError> {
    serde_json::to_string(asked).map_err(|error| DatabaseError::not_applied(error.to_string()))
}
