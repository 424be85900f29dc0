//! A database as one node reaches it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use tokio::sync::oneshot;

use super::laws::{Sender, Violation, server_by};
use super::node::Who;
use super::steps::straight;
use super::world::{Power, World};
use jit_core::clock::after;
use jit_core::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, Disarmed, GrantOrder, Granted,
    Holders, Identity, Membership, NameError, Observation, OfTheBroker, Owned, RevokeHow, RevokeOrder, RevokeReport,
    SettleOrder, StoreMarks,
};
use jit_core::id::{Account, RoleName};
use jit_core::store::Record;
use jit_core::testkit::mock::{MockDatabase, MockServer};

/// A database as one node reaches it. Statements that were sent arrive at the server even if the
/// node dies.
#[derive(Debug)]
pub(super) struct SimDatabase {
    who: Who,
    /// Index of its target.
    target: usize,
    /// Server to which it leads at first.
    first: MockDatabase,
}

/// Destination of a call.
#[derive(Debug, Clone)]
struct There {
    server: usize,
    inner: MockDatabase,
    /// Server that is observed at the end, if it is another one.
    then: Option<MockDatabase>,
}

/// A way in which a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Unreachable,
    NotApplied,
    /// Nothing happened, and the caller cannot know.
    LostBefore,
    /// The work was done, and the caller cannot know.
    LostAfter,
    /// The caller cannot know, and the statement arrives after a while.
    LostLate,
    /// The call takes long, and all is well.
    Slow,
    /// The statement arrives after a while, perhaps after the call was given up.
    Late,
    /// The statement arrives, and the answer never comes.
    Hang,
    /// The server is restarted right before.
    RestartBefore,
    /// The server is restarted right after.
    RestartAfter,
    /// The server shows fewer rows than there are.
    Cut,
    /// The adapter panics in the call.
    Panic,
}

/// Answers of the server, one for each order.
type Answers<T> = Vec<Result<T, DatabaseError>>;

impl SimDatabase {
    pub(super) fn new(who: Who, target: usize) -> Option<Self> {
        let first = who.world.servers.get(straight().get(target).copied()?)?.database();
        Some(Self { who, target, first })
    }

    /// Returns the destination of the next call.
    fn there(&self, changes: bool) -> There {
        let world = self.world();
        let (server, then) = world.there(self.target, changes);
        let at = |server: usize| world.servers.get(server).map_or_else(|| self.first.clone(), MockServer::database);
        There { server, inner: at(server), then: then.map(at) }
    }

    /// Returns the server as it answers in this weather: it may show fewer rows than there are.
    fn weathered(&self, inner: &MockDatabase, fault: Option<Fault>) -> MockDatabase {
        match fault {
            Some(Fault::Cut) => {
                let rows = self.world().inside().random.below(3);
                inner.cut_to(usize::try_from(rows).unwrap_or_default())
            }
            _ => inner.clone(),
        }
    }

    fn world(&self) -> &Arc<World> {
        &self.who.world
    }

    fn fault(&self, of: &[(u64, Fault)]) -> Option<Fault> {
        let mut inside = self.world().inside();
        let rate = inside.weather.database;
        if rate == 0 || !inside.random.chance(rate) {
            return None;
        }
        let fault = inside.random.weighted(of)?;
        drop(inside);
        self.world().disturbed();
        self.world().count(match fault {
            Fault::Unreachable => "database: unreachable",
            Fault::NotApplied => "database: not applied",
            Fault::LostBefore => "database: lost before",
            Fault::LostAfter => "database: lost after",
            Fault::LostLate => "database: lost, late effect",
            Fault::Slow => "database: slow",
            Fault::Late => "database: late effect",
            Fault::Hang => "database: hangs",
            Fault::RestartBefore | Fault::RestartAfter => "database: restarted",
            Fault::Cut => "reads cut",
            Fault::Panic => "adapter panicked",
        });
        Some(fault)
    }

    /// Makes a call that changes nothing.
    async fn look<T, F>(&self, call: impl FnOnce(There) -> F) -> Result<T, DatabaseError>
    where
        F: Future<Output = Result<T, DatabaseError>>,
    {
        let ambush = self.world().ambush(self.who.node, false);
        self.who.strike(ambush.as_ref(), false).await;
        self.world().latency().await;
        let mut there = self.there(false);
        let fault = self.fault(&[
            (4, Fault::Unreachable),
            (1, Fault::Hang),
            (1, Fault::RestartBefore),
            (2, Fault::Slow),
            (4, Fault::Cut),
            (1, Fault::Panic),
        ]);
        there.inner = self.weathered(&there.inner, fault);
        match fault {
            Some(Fault::Slow) => {
                let millis = self.world().inside().random.between(500, 3_900);
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            Some(Fault::Unreachable) => return Err(DatabaseError::unreachable("simulated")),
            Some(Fault::Panic) => panics(),
            Some(Fault::Hang) => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                return Err(DatabaseError::unreachable("simulated, hung"));
            }
            Some(Fault::RestartBefore) => restart(self.world(), there.server),
            _ => {}
        }
        let answer = call(there).await;
        self.who.strike(ambush.as_ref(), true).await;
        answer
    }

    /// Returns the sender of a call: it is meant for the server that the call names, and goes to
    /// the server that is there.
    fn sender(&self, call: &Call, there: &There) -> Sender {
        let meant = call.server.as_ref().and_then(|meant| server_by(meant.realm.as_str(), &meant.incarnation));
        let (node, boot, now) = (self.who.node, self.who.boot, self.world().now());
        Sender { node, boot, server: meant.unwrap_or(there.server), at: there.server, now }
    }

    /// Sends statements to the server, and waits for its answers as long as a client does.
    async fn send<T: Send + 'static>(
        &self,
        (there, call): (&There, &Call),
        count: usize,
        fault: Option<Fault>,
        statements: Result<Vec<u64>, Violation>,
        late: (u64, u64),
        run: impl Future<Output = Answers<T>> + Send + 'static,
    ) -> Answers<T> {
        let all = |error: &dyn Fn() -> DatabaseError| (0..count).map(|_| Err(error())).collect::<Answers<T>>();
        let world = self.world();
        let statements = match statements {
            Ok(statements) => statements,
            Err(violation) => {
                world.hold(Err(violation));
                return all(&|| DatabaseError::unreachable("the history is over"));
            }
        };
        let ambush = world.ambush(self.who.node, false);
        let dropped = || self.forget(&statements);
        match fault {
            Some(Fault::Unreachable) => {
                dropped();
                return all(&|| DatabaseError::unreachable("simulated"));
            }
            Some(Fault::NotApplied) => {
                dropped();
                return all(&|| DatabaseError::not_applied("simulated"));
            }
            Some(Fault::Panic) => {
                dropped();
                panics();
            }
            Some(Fault::LostBefore) => {
                dropped();
                return all(&|| DatabaseError::unknown("simulated, before"));
            }
            Some(Fault::RestartBefore) => restart(world, there.server),
            _ => {}
        }
        let (answer, answered) = oneshot::channel();
        let server = Server { world: Arc::clone(world), server: there.server };
        let delay = match fault {
            Some(Fault::Late | Fault::Hang | Fault::LostLate) => world.inside().random.between(late.0, late.1),
            _ => u64::from(world.inside().random.chance(250)),
        };
        let again = fault == Some(Fault::RestartAfter);
        let stops = server.stops();
        drop(tokio::spawn(async move {
            if delay > 0 {
                tokio::time::sleep(Duration::from_millis(delay)).await;
            }
            if server.stops() == stops && server.arrive(&statements) {
                let answers = run.await;
                if again {
                    restart(&server.world, server.server);
                }
                // the client may have gone
                let _ = answer.send(answers);
            }
            server.forget(&statements);
        }));
        self.who.strike(ambush.as_ref(), false).await;
        if fault == Some(Fault::LostLate) {
            return all(&|| DatabaseError::unknown("simulated, on its way"));
        }
        let answers = tokio::time::timeout(call.limit, answered).await;
        self.who.strike(ambush.as_ref(), true).await;
        match (fault, answers) {
            (Some(Fault::LostAfter | Fault::RestartAfter), _) => all(&|| DatabaseError::unknown("simulated, after")),
            (Some(Fault::Hang), _) => std::future::pending().await,
            (_, Ok(Ok(answers))) => answers,
            (_, Ok(Err(_))) => all(&|| DatabaseError::unknown("the connection was ended")),
            (_, Err(_)) => all(&|| DatabaseError::unknown("no answer in time")),
        }
    }

    /// Records orders for dead man's switches, and checks that their sender may send them.
    fn about_dead_mans_switches<'s>(
        &self,
        (there, call): (&There, &Call),
        mut memberships: impl Iterator<Item = &'s Membership>,
        disarms: bool,
    ) -> Result<Vec<u64>, Violation> {
        let by = self.sender(call, there);
        let mut inside = self.world().inside();
        let sent = memberships.try_for_each(|membership| {
            let about = (membership.account.as_str(), membership.role.as_str());
            // a new account with the name of a dropped account keeps its own switch
            let disarms = disarms && !inside.oracle.is_of_nobody(by.server, membership);
            inside.oracle.sends_dead_mans_switch(by, &call.label, about, disarms)
        });
        sent.map(|()| Vec::new())
    }

    /// Returns a check whether a packet that is sent now arrives while its call waits for it.
    /// Later, the server refuses it by its own clock.
    fn in_time(&self, call: &Call) -> impl Fn() -> bool + Send + 'static {
        let world = Arc::clone(self.world());
        let until = after(world.now(), TimeDelta::from_std(call.limit).unwrap_or_default());
        move || world.now() <= until
    }

    fn forget(&self, statements: &[u64]) {
        Server { world: Arc::clone(self.world()), server: 0 }.forget(statements);
    }
}

/// Server side of a statement.
#[derive(Debug, Clone)]
struct Server {
    world: Arc<World>,
    server: usize,
}

impl Server {
    fn stops(&self) -> Option<u64> {
        self.world.inside().stops.get(self.server).copied()
    }

    /// Checks whether all of the statements may go on.
    fn arrive(&self, statements: &[u64]) -> bool {
        let mut inside = self.world.inside();
        statements.iter().all(|statement| inside.oracle.arrives(*statement))
    }

    fn forget(&self, statements: &[u64]) {
        let now = self.world.now();
        let mut inside = self.world.inside();
        statements.iter().for_each(|statement| inside.oracle.over(*statement, false, now));
    }

    fn goes_on(&self, statement: u64) -> bool {
        self.world.inside().oracle.goes_on(statement)
    }

    fn over(&self, statement: u64, applied: bool) {
        let now = self.world.now();
        self.world.inside().oracle.over(statement, applied, now);
    }
}

/// Panics as an adapter would, without a message on the console.
fn panics() -> ! {
    std::panic::resume_unwind(Box::new("simulated".to_owned()))
}

/// Returns the report of a revoke, with what another server shows.
async fn looked_at(
    then: &MockDatabase,
    mut report: RevokeReport,
    membership: &Membership,
) -> Result<RevokeReport, DatabaseError> {
    let looked = then.observe(std::slice::from_ref(membership)).await;
    let looked = looked.map_err(|error| DatabaseError::unknown(error.to_string()))?;
    report.seen = looked.seen.into_iter().next().unwrap_or_default();
    (report.server_time, report.identity) = (looked.server_time, looked.identity);
    Ok(report)
}

fn all_late<T, O>(orders: &[O]) -> Answers<T> {
    orders.iter().map(|_| Err(DatabaseError::not_applied("the deadline is past"))).collect()
}

/// Stops the server and starts it again, as another incarnation.
pub(super) fn restart(world: &World, server: usize) {
    stop(world, server);
    if let Some(it) = world.servers.get(server) {
        it.start(false);
    }
    if let Some(power) = world.inside().up.get_mut(server) {
        *power = Power::Up;
    }
}

/// Stops the server: whatever was on its way to it is lost.
pub(super) fn stop(world: &World, server: usize) {
    if let Some(it) = world.servers.get(server) {
        it.stop();
    }
    world.disturbed();
    let now = world.now();
    let mut inside = world.inside();
    inside.oracle.stopped(server, now);
    if let Some(stops) = inside.stops.get_mut(server) {
        *stops = stops.saturating_add(1);
    }
    if let Some(power) = inside.up.get_mut(server) {
        *power = Power::Down;
    }
}

const GRANT: [(u64, Fault); 10] = [
    (1, Fault::Panic),
    (4, Fault::LostLate),
    (3, Fault::Unreachable),
    (2, Fault::NotApplied),
    (3, Fault::LostBefore),
    (4, Fault::LostAfter),
    (4, Fault::Late),
    (2, Fault::Hang),
    (1, Fault::RestartBefore),
    (1, Fault::RestartAfter),
];
const REVOKE: [(u64, Fault); 11] = [
    (1, Fault::Panic),
    (3, Fault::Cut),
    (4, Fault::LostLate),
    (3, Fault::Unreachable),
    (2, Fault::NotApplied),
    (3, Fault::LostBefore),
    (4, Fault::LostAfter),
    (2, Fault::Late),
    (2, Fault::Hang),
    (1, Fault::RestartBefore),
    (1, Fault::RestartAfter),
];

#[async_trait]
impl Database for SimDatabase {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        self.first.account(name)
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        self.first.role(name)
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.look(|there| async move { there.inner.identify().await }).await
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        match self.first.continues(before, now) {
            // hands take roles away and restart servers here, and afterwards no operator confirms
            // that it is the same server
            Continuity::Restarted => Continuity::Same,
            other => other,
        }
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.look(|there| async move { there.inner.capabilities().await }).await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        self.look(|there| async move { there.inner.check(roles).await }).await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.look(|there| async move { there.inner.observe(memberships).await }).await
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        self.look(|there| async move { there.inner.owned_objects(memberships).await }).await
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Answers<Granted> {
        self.world().count("grants sent");
        let there = self.there(true);
        let by = self.sender(call, &there);
        let statements: Result<Vec<u64>, Violation> = {
            let mut inside = self.world().inside();
            orders.iter().map(|order| inside.oracle.sends_grant(by, &call.label, order)).collect()
        };
        self.world().note(format_args!("node {} sends {} grants as {}", by.node, orders.len(), call.label));
        let fault = self.fault(&GRANT);
        let (inner, then) = (there.inner.clone(), there.then.clone());
        let (call_of, orders_of) = (call.clone(), orders.to_vec());
        let server = Server { world: Arc::clone(self.world()), server: there.server };
        let numbers = statements.clone().unwrap_or_default();
        let run = async move {
            let mut answers = Vec::new();
            for (order, statement) in orders_of.iter().zip(numbers) {
                if !server.goes_on(statement) {
                    answers.push(Err(DatabaseError::unknown("the connection was ended")));
                    continue;
                }
                let answer = inner.grant(&call_of, std::slice::from_ref(order)).await.pop();
                let answer = answer.unwrap_or_else(|| Err(DatabaseError::unknown("no answer")));
                server.over(statement, answer.is_ok());
                let (membership, done) = (order.membership(), answer.is_ok());
                server.world.note(format_args!("granted {} to {}: {done}", membership.role, membership.account));
                answers.push(match (answer, &then) {
                    (Ok(granted), Some(then)) => {
                        let identity = then.identify().await.map_err(|error| DatabaseError::unknown(error.to_string()));
                        identity.map(|identity| Granted::new(identity, granted.server_time))
                    }
                    (answer, _) => answer,
                });
            }
            answers
        };
        self.send((&there, call), orders.len(), fault, statements, (300, 9_000), run).await
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Answers<RevokeReport> {
        self.world().count("revokes sent");
        let there = self.there(true);
        let by = self.sender(call, &there);
        let realm = self.world().servers.get(by.server).map(MockServer::realm).unwrap_or_default();
        let mut numbers = Vec::new();
        for order in orders {
            let account = order.membership.account.as_str();
            let tenants = ["default", "other"].iter();
            let holdings: Vec<Record> =
                tenants.filter_map(|tenant| self.world().holding(tenant, &realm, account)).collect();
            numbers.push(self.world().inside().oracle.sends_revoke(by, &call.label, order, &holdings));
        }
        let statements: Result<Vec<u64>, Violation> = numbers.into_iter().collect();
        self.world().note(format_args!("node {} sends {} revokes as {}", by.node, orders.len(), call.label));
        let ineffective = {
            let mut inside = self.world().inside();
            let rate = inside.weather.database;
            // a revoke that is observed elsewhere may not have happened at all
            let rate = if there.then.is_some() { 500 } else { rate.checked_div(4).unwrap_or_default() };
            inside.random.chance(rate)
        };
        if ineffective {
            self.world().disturbed();
            self.world().count("database: revoke without effect");
        }
        let fault = self.fault(&REVOKE);
        let (inner, then) = (self.weathered(&there.inner, fault), there.then.clone());
        let (call_of, orders_of) = (call.clone(), orders.to_vec());
        let server = Server { world: Arc::clone(self.world()), server: there.server };
        let numbers = statements.clone().unwrap_or_default();
        let run = async move {
            let mut answers = Vec::new();
            for (order, statement) in orders_of.iter().zip(numbers) {
                if !server.goes_on(statement) {
                    answers.push(Err(DatabaseError::unknown("the connection was ended")));
                    continue;
                }
                let taken = order.how == RevokeHow::Remove && !ineffective;
                let how = if ineffective { RevokeHow::Nothing } else { order.how };
                let sent = order.clone().how(how);
                let answer = inner.revoke(&call_of, std::slice::from_ref(&sent)).await.pop();
                let answer = answer.unwrap_or_else(|| Err(DatabaseError::unknown("no answer")));
                if let (Ok(report), true) = (&answer, taken) {
                    let (account, role) = (order.membership.account.as_str(), order.membership.role.as_str());
                    let at = report.revoked_at;
                    let mut inside = server.world.inside();
                    if inside.oracle.finds(server.server, &order.membership) {
                        inside.oracle.removed(server.server, account, role, at);
                    }
                }
                server.over(statement, answer.is_ok());
                let done = answer.is_ok();
                let membership = &order.membership;
                server.world.note(format_args!("revoked {} from {}: {done}", membership.role, membership.account));
                answers.push(match (answer, &then) {
                    (Ok(report), Some(then)) => looked_at(then, report, &order.membership).await,
                    (answer, _) => answer,
                });
            }
            answers
        };
        self.send((&there, call), orders.len(), fault, statements, (300, 3_500), run).await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Answers<Armed> {
        self.world().count("dead-men armed");
        for ArmOrder { membership, ends_in, .. } in orders {
            let (node, label) = (self.who.node, &call.label);
            self.world().note(format_args!(
                "node {node} arms {} of {} in {ends_in:?} as {label}",
                membership.role, membership.account
            ));
        }
        let memberships = orders.iter().map(|order| &order.membership);
        let there = self.there(false);
        let lawful = self.about_dead_mans_switches((&there, call), memberships, false);
        let fault = self.fault(&REVOKE);
        let (inner, call_of, orders_of) = (there.inner.clone(), call.clone(), orders.to_vec());
        let arrives = self.in_time(call);
        let run = async move { if arrives() { inner.arm(&call_of, &orders_of).await } else { all_late(&orders_of) } };
        self.send((&there, call), orders.len(), fault, lawful, (300, 9_000), run).await
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Answers<Disarmed> {
        self.world().count("dead-men disarmed");
        for membership in orders {
            self.world()
                .note(format_args!("node {} disarms {} of {}", self.who.node, membership.role, membership.account));
        }
        let there = self.there(false);
        let lawful = self.about_dead_mans_switches((&there, call), orders.iter(), true);
        let fault = self.fault(&REVOKE);
        let (inner, call_of, orders_of) = (there.inner.clone(), call.clone(), orders.to_vec());
        let (arrives, world) = (self.in_time(call), Arc::clone(self.world()));
        let run = async move {
            if !arrives() {
                return all_late(&orders_of);
            }
            // a switch that fired is unknown once it is disarmed
            let now = world.now();
            let fired = world.inside().oracle.dead_mans_switches_fired(now);
            world.hold(fired);
            inner.disarm(&call_of, &orders_of).await
        };
        self.send((&there, call), orders.len(), fault, lawful, (300, 9_000), run).await
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        self.world().count("settles");
        let world = Arc::clone(self.world());
        let call = |there: There| async move {
            let ended = |world: &World| {
                let mut inside = world.inside();
                orders.iter().for_each(|order| inside.oracle.ended(there.server, &order.label));
            };
            if world.inside().up.get(there.server) == Some(&Power::Up) {
                ended(&world);
            }
            let settled = there.inner.settle(orders).await;
            if settled.is_ok() {
                ended(&world);
            }
            settled
        };
        self.look(call).await
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.look(|there| async move { there.inner.holders(roles).await }).await
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        self.look(|there| async move { there.inner.of_the_broker().await }).await
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.look(|there| async move { there.inner.stores().await }).await
    }
}
