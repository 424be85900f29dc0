//! A database as one node reaches it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use tokio::sync::oneshot;

use super::laws::{Sender, Violation};
use super::node::Who;
use super::world::{Power, World};
use crate::clock::after;
use crate::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, Disarmed, GrantOrder, Granted,
    Holders, Identity, NameError, Observation, OfTheBroker, RevokeHow, RevokeOrder, RevokeReport, SettleOrder,
    StoreMarks, Subject,
};
use crate::id::{Account, RoleName};
use crate::store::Record;
use crate::testkit::mock::MockDatabase;

/// A database as one node reaches it. What is sent to the server arrives there whatever becomes of the node.
#[derive(Debug)]
pub(super) struct SimDatabase {
    who: Who,
    server: usize,
    inner: MockDatabase,
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Unreachable,
    NotApplied,
    /// Nothing happened, and nobody knows.
    LostBefore,
    /// It happened, and nobody knows.
    LostAfter,
    /// Nobody knows, and it arrives after a while.
    LostLate,
    /// It takes long, and all is well.
    Slow,
    /// It arrives after a while, perhaps after the call was given up.
    Late,
    /// It arrives, and the answer never comes.
    Hang,
    /// The server is restarted right before.
    RestartBefore,
    /// The server is restarted right after.
    RestartAfter,
}

/// What the server answers to each order.
type Answers<T> = Vec<Result<T, DatabaseError>>;

impl SimDatabase {
    pub(super) fn new(who: Who, server: usize) -> Option<Self> {
        let inner = who.world.servers.get(server)?.database();
        Some(Self { who, server, inner })
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
        });
        Some(fault)
    }

    /// A call that changes nothing.
    async fn look<T>(&self, call: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
        let ambush = self.world().ambush(self.who.node, false);
        self.who.strike(ambush.as_ref(), false).await;
        self.world().latency().await;
        match self.fault(&[(4, Fault::Unreachable), (1, Fault::Hang), (1, Fault::RestartBefore), (2, Fault::Slow)]) {
            Some(Fault::Slow) => {
                let millis = self.world().inside().random.between(500, 3_900);
                tokio::time::sleep(Duration::from_millis(millis)).await;
            }
            Some(Fault::Unreachable) => return Err(DatabaseError::unreachable("simulated")),
            Some(Fault::Hang) => {
                tokio::time::sleep(Duration::from_secs(15)).await;
                return Err(DatabaseError::unreachable("simulated, hung"));
            }
            Some(Fault::RestartBefore) => restart(self.world(), self.server),
            _ => {}
        }
        let answer = call.await;
        self.who.strike(ambush.as_ref(), true).await;
        answer
    }

    fn sender(&self) -> Sender {
        Sender { node: self.who.node, boot: self.who.boot, server: self.server, now: self.world().now() }
    }

    /// Sends statements to the server, and waits for its answers as long as a client does.
    async fn send<T: Send + 'static>(
        &self,
        call: &Call,
        count: usize,
        faults: &[(u64, Fault)],
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
        let fault = self.fault(faults);
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
            Some(Fault::LostBefore) => {
                dropped();
                return all(&|| DatabaseError::unknown("simulated, before"));
            }
            Some(Fault::RestartBefore) => restart(world, self.server),
            _ => {}
        }
        let (answer, answered) = oneshot::channel();
        let server = Server { world: Arc::clone(world), server: self.server };
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

    /// Who may send orders for dead-men does.
    fn about_dead_men<'s>(
        &self,
        call: &Call,
        mut subjects: impl Iterator<Item = &'s Subject>,
        disarms: bool,
    ) -> Result<Vec<u64>, Violation> {
        let by = self.sender();
        let mut inside = self.world().inside();
        let sent = subjects.try_for_each(|subject| {
            let about = (subject.account.as_str(), subject.role.as_str());
            inside.oracle.sends_dead_man(by, &call.label, about, disarms)
        });
        sent.map(|()| Vec::new())
    }

    /// Whether a packet that is sent now arrives while its call waits for it: later the server refuses it, by its own clock.
    fn in_time(&self, call: &Call) -> impl Fn() -> bool + Send + 'static {
        let world = Arc::clone(self.world());
        let until = after(world.now(), TimeDelta::from_std(call.limit).unwrap_or_default());
        move || world.now() <= until
    }

    fn forget(&self, statements: &[u64]) {
        Server { world: Arc::clone(self.world()), server: self.server }.forget(statements);
    }
}

/// The server's side of a statement.
#[derive(Debug, Clone)]
struct Server {
    world: Arc<World>,
    server: usize,
}

impl Server {
    fn stops(&self) -> Option<u64> {
        self.world.inside().stops.get(self.server).copied()
    }

    /// Whether all of them may go on.
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

fn all_late<T, O>(orders: &[O]) -> Answers<T> {
    orders.iter().map(|_| Err(DatabaseError::not_applied("the deadline is past"))).collect()
}

/// The server stops and starts again, as another incarnation.
pub(super) fn restart(world: &World, server: usize) {
    stop(world, server);
    if let Some(it) = world.servers.get(server) {
        it.start(false);
    }
    if let Some(power) = world.inside().up.get_mut(server) {
        *power = Power::Up;
    }
}

/// The server stops: what was on its way to it is gone.
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

const GRANT: [(u64, Fault); 9] = [
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
const REVOKE: [(u64, Fault); 9] = [
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
        self.inner.account(name)
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        self.inner.role(name)
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.look(self.inner.identify()).await
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        match self.inner.continues(before, now) {
            // hands take roles away and restart servers here, and no operator says of what is missing then that it is the same server
            Continuity::Restarted => Continuity::Same,
            other => other,
        }
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.look(self.inner.capabilities()).await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        self.look(self.inner.check(roles)).await
    }

    async fn observe(&self, subjects: &[Subject]) -> Result<Observation, DatabaseError> {
        self.look(self.inner.observe(subjects)).await
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Answers<Granted> {
        self.world().count("grants sent");
        let by = self.sender();
        let statements: Result<Vec<u64>, Violation> = {
            let mut inside = self.world().inside();
            orders.iter().map(|order| inside.oracle.sends_grant(by, &call.label, order)).collect()
        };
        self.world().note(format_args!("node {} sends {} grants as {}", by.node, orders.len(), call.label));
        let (inner, call_of, orders_of) = (self.inner.clone(), call.clone(), orders.to_vec());
        let server = Server { world: Arc::clone(self.world()), server: self.server };
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
                let (subject, done) = (order.subject(), answer.is_ok());
                server.world.note(format_args!("granted {} to {}: {done}", subject.role, subject.account));
                answers.push(answer);
            }
            answers
        };
        self.send(call, orders.len(), &GRANT, statements, (300, 9_000), run).await
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Answers<RevokeReport> {
        self.world().count("revokes sent");
        let by = self.sender();
        let mut numbers = Vec::new();
        for order in orders {
            let realm = format!("mock:{}", self.server.saturating_add(1));
            let account = order.subject.account.as_str();
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
            inside.random.chance(rate.checked_div(4).unwrap_or_default())
        };
        if ineffective {
            self.world().disturbed();
            self.world().count("database: revoke without effect");
        }
        let (inner, call_of, orders_of) = (self.inner.clone(), call.clone(), orders.to_vec());
        let server = Server { world: Arc::clone(self.world()), server: self.server };
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
                let sent = RevokeOrder { how, ..order.clone() };
                let answer = inner.revoke(&call_of, std::slice::from_ref(&sent)).await.pop();
                let answer = answer.unwrap_or_else(|| Err(DatabaseError::unknown("no answer")));
                if let (Ok(report), true) = (&answer, taken) {
                    let (account, role) = (order.subject.account.as_str(), order.subject.role.as_str());
                    let at = report.revoked_at;
                    server.world.inside().oracle.removed(server.server, account, role, at);
                }
                server.over(statement, answer.is_ok());
                let done = answer.is_ok();
                let subject = &order.subject;
                server.world.note(format_args!("revoked {} from {}: {done}", subject.role, subject.account));
                answers.push(answer);
            }
            answers
        };
        self.send(call, orders.len(), &REVOKE, statements, (300, 3_500), run).await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Answers<Armed> {
        self.world().count("dead-men armed");
        for ArmOrder { subject, ends_in, .. } in orders {
            let (node, label) = (self.who.node, &call.label);
            self.world().note(format_args!(
                "node {node} arms {} of {} in {ends_in:?} as {label}",
                subject.role, subject.account
            ));
        }
        let subjects = orders.iter().map(|order| &order.subject);
        let lawful = self.about_dead_men(call, subjects, false);
        let (inner, call_of, orders_of) = (self.inner.clone(), call.clone(), orders.to_vec());
        let arrives = self.in_time(call);
        let run = async move { if arrives() { inner.arm(&call_of, &orders_of).await } else { all_late(&orders_of) } };
        self.send(call, orders.len(), &REVOKE, lawful, (300, 9_000), run).await
    }

    async fn disarm(&self, call: &Call, orders: &[Subject]) -> Answers<Disarmed> {
        self.world().count("dead-men disarmed");
        for subject in orders {
            self.world().note(format_args!("node {} disarms {} of {}", self.who.node, subject.role, subject.account));
        }
        let lawful = self.about_dead_men(call, orders.iter(), true);
        let (inner, call_of, orders_of) = (self.inner.clone(), call.clone(), orders.to_vec());
        let (arrives, world) = (self.in_time(call), Arc::clone(self.world()));
        let run = async move {
            if !arrives() {
                return all_late(&orders_of);
            }
            // what fired is known no more when it is disarmed
            let now = world.now();
            let fired = world.inside().oracle.dead_men_fired(now);
            world.hold(fired);
            inner.disarm(&call_of, &orders_of).await
        };
        self.send(call, orders.len(), &REVOKE, lawful, (300, 9_000), run).await
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        self.world().count("settles");
        let call = async {
            if self.world().inside().up.get(self.server) == Some(&Power::Up) {
                let mut inside = self.world().inside();
                orders.iter().for_each(|order| inside.oracle.ended(self.server, &order.label));
            }
            let settled = self.inner.settle(orders).await;
            if settled.is_ok() {
                let mut inside = self.world().inside();
                orders.iter().for_each(|order| inside.oracle.ended(self.server, &order.label));
            }
            settled
        };
        self.look(call).await
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.look(self.inner.holders(roles)).await
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        self.look(self.inner.of_the_broker()).await
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.look(self.inner.stores()).await
    }
}
