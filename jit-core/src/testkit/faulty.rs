//! A database wrapper that fails as a test tells it to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, Disarmed, GrantOrder, Granted,
    Holders, Identity, Membership, NameError, Observation, OfTheBroker, Owned, RevokeOrder, RevokeReport, SettleOrder,
    StoreMarks,
};
use crate::id::{Account, RoleName};

/// A call of a [`Database`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// Call of [`Database::identify`].
    Identify,
    /// Call of [`Database::capabilities`].
    Capabilities,
    /// Call of [`Database::check`].
    Check,
    /// Call of [`Database::observe`].
    Observe,
    /// Call of [`Database::grant`].
    Grant,
    /// Call of [`Database::revoke`].
    Revoke,
    /// Call of [`Database::settle`].
    Settle,
    /// Call of [`Database::arm`].
    Arm,
    /// Call of [`Database::disarm`].
    Disarm,
    /// Call of [`Database::owned_objects`].
    OwnedObjects,
    /// Call of [`Database::holders`].
    Holders,
}

/// A way in which a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Server cannot be reached; nothing happens.
    Unreachable,
    /// Server refuses for now; nothing happens.
    NotApplied,
    /// Answer is lost, and nothing happened.
    LostBefore,
    /// Answer is lost, although the work was done.
    LostAfter,
    /// Call hangs until [`FaultyDatabase::release`], and then works as usual.
    Hang,
    /// Call hangs forever, and nothing happens.
    HangForever,
    /// Work is done, and the answer is late by this much of the clock's time.
    Late(Duration),
}

/// Counts of one method's calls so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// Number of calls that began.
    pub begun: u64,
    /// Number of calls that are running.
    pub running: u64,
    /// Largest number of calls that ran at once.
    pub most: u64,
}

/// Wrapper of a database that fails as it is told to.
#[derive(Debug)]
pub struct FaultyDatabase<D> {
    inner: D,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    next: BTreeMap<Method, VecDeque<Option<Fault>>>,
    always: BTreeMap<Method, Fault>,
    calls: BTreeMap<Method, Calls>,
    /// Accounts for which no call returns.
    stuck: BTreeSet<Account>,
    /// Accounts for which every call panics.
    breaks: BTreeSet<Account>,
}

impl<D: Database> FaultyDatabase<D> {
    /// Wraps a database, without faults at first. The clock is for late answers.
    #[must_use]
    pub fn new(inner: D, clock: Arc<dyn Clock>) -> Self {
        Self { inner, clock, state: Mutex::default(), released: watch::Sender::new(0) }
    }

    /// Returns the wrapped database.
    pub fn inner(&self) -> &D {
        &self.inner
    }

    /// Scripts the next calls of the method, one after the other; `None` is a call without a fault.
    pub fn script(&self, method: Method, faults: impl IntoIterator<Item = Option<Fault>>) {
        self.state().next.entry(method).or_default().extend(faults);
    }

    /// Sets the fault of every call of the method once its script is used up.
    pub fn always(&self, method: Method, fault: Option<Fault>) {
        let mut state = self.state();
        match fault {
            Some(fault) => drop(state.always.insert(method, fault)),
            None => drop(state.always.remove(&method)),
        }
    }

    /// Lets no call about this account return from now on.
    pub fn stick(&self, account: Account) {
        self.state().stuck.insert(account);
    }

    /// Makes every call about this account panic from now on.
    pub fn break_on(&self, account: Account) {
        self.state().breaks.insert(account);
    }

    /// Lets every call continue that hangs now.
    pub fn release(&self) {
        self.released.send_modify(|times| *times = times.wrapping_add(1));
    }

    /// Returns the counts of the method's calls so far.
    #[must_use]
    pub fn calls(&self, method: Method) -> Calls {
        self.state().calls.get(&method).copied().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, method: Method) -> (Option<Fault>, Running<'_>) {
        let mut state = self.state();
        let calls = state.calls.entry(method).or_default();
        calls.begun = calls.begun.saturating_add(1);
        calls.running = calls.running.saturating_add(1);
        calls.most = calls.most.max(calls.running);
        let next = state.next.get_mut(&method).and_then(VecDeque::pop_front);
        let fault = next.unwrap_or_else(|| state.always.get(&method).copied());
        (fault, Running { state: &self.state, method })
    }

    /// Never returns if one of the accounts is stuck, and panics if one of them breaks.
    async fn unless_stuck(&self, accounts: impl Iterator<Item = &Account>) {
        let accounts: Vec<&Account> = accounts.collect();
        let (is_stuck, breaks) = {
            let state = self.state();
            let any = |of: &BTreeSet<Account>| accounts.iter().any(|account| of.contains(*account));
            (any(&state.stuck), any(&state.breaks))
        };
        if breaks {
            std::panic::resume_unwind(Box::new("the adapter breaks on this account"));
        }
        if is_stuck {
            std::future::pending().await
        }
    }

    /// Runs the call as the script demands. A scripted error replaces the answer of the call.
    async fn run<T>(&self, method: Method, call: impl Future<Output = T>) -> Result<T, DatabaseError> {
        let (fault, _running) = self.begin(method);
        match fault {
            None => Ok(call.await),
            Some(Fault::Unreachable) => Err(DatabaseError::unreachable("scripted")),
            Some(Fault::NotApplied) => Err(DatabaseError::not_applied("scripted")),
            Some(Fault::LostBefore) => Err(DatabaseError::unknown("scripted, before")),
            Some(Fault::LostAfter) => {
                drop(call.await);
                Err(DatabaseError::unknown("scripted, after"))
            }
            Some(Fault::Hang) => {
                // the sender lives as long as this database
                let _ = self.released.subscribe().changed().await;
                Ok(call.await)
            }
            Some(Fault::HangForever) => std::future::pending().await,
            Some(Fault::Late(how_late)) => {
                let answer = call.await;
                self.clock.sleep(how_late).await;
                Ok(answer)
            }
        }
    }
}

/// Guard that counts a running call, and counts it out when it ends or is dropped.
struct Running<'a> {
    state: &'a Mutex<State>,
    method: Method,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(calls) = state.calls.get_mut(&self.method) {
            calls.running = calls.running.saturating_sub(1);
        }
    }
}

#[async_trait]
impl<D: Database> Database for FaultyDatabase<D> {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        self.inner.account(name)
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        self.inner.role(name)
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.run(Method::Identify, self.inner.identify()).await?
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        self.inner.continues(before, now)
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.run(Method::Capabilities, self.inner.capabilities()).await?
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        self.run(Method::Check, self.inner.check(roles)).await?
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        self.unless_stuck(memberships.iter().map(|membership| &membership.account)).await;
        self.run(Method::Observe, self.inner.observe(memberships)).await?
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        self.unless_stuck(orders.iter().map(|order| &order.membership().account)).await;
        let answers = self.run(Method::Grant, self.inner.grant(call, orders)).await;
        answers.unwrap_or_else(|error| orders.iter().map(|_| Err(again(&error))).collect())
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        self.unless_stuck(orders.iter().map(|order| &order.membership.account)).await;
        let answers = self.run(Method::Revoke, self.inner.revoke(call, orders)).await;
        answers.unwrap_or_else(|error| orders.iter().map(|_| Err(again(&error))).collect())
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        self.run(Method::Settle, self.inner.settle(orders)).await?
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        self.unless_stuck(orders.iter().map(|order| &order.membership.account)).await;
        let answers = self.run(Method::Arm, self.inner.arm(call, orders)).await;
        answers.unwrap_or_else(|error| orders.iter().map(|_| Err(again(&error))).collect())
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        self.unless_stuck(orders.iter().map(|membership| &membership.account)).await;
        let answers = self.run(Method::Disarm, self.inner.disarm(call, orders)).await;
        answers.unwrap_or_else(|error| orders.iter().map(|_| Err(again(&error))).collect())
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        self.unless_stuck(memberships.iter().map(|membership| &membership.account)).await;
        self.run(Method::OwnedObjects, self.inner.owned_objects(memberships)).await?
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.run(Method::Holders, self.inner.holders(roles)).await?
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        self.run(Method::Holders, self.inner.of_the_broker()).await?
    }

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        self.inner.set_up(roles).await
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        self.run(Method::Check, self.inner.stores()).await?
    }
}

/// Returns the same error again, for each of several orders.
fn again(error: &DatabaseError) -> DatabaseError {
    match error {
        DatabaseError::Unreachable { why, .. } => DatabaseError::unreachable(why.clone()),
        DatabaseError::NotApplied { why, .. } => DatabaseError::not_applied(why.clone()),
        DatabaseError::AnotherServer { why } => DatabaseError::AnotherServer { why: why.clone() },
        DatabaseError::OutcomeUnknown { why, .. } => DatabaseError::unknown(why.clone()),
        DatabaseError::Rejected { rejection, why, .. } => DatabaseError::rejected(*rejection, why.clone()),
    }
}
