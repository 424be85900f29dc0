//! Containment of database adapters.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::{Caught, Failed};
use crate::clock::Time;
use crate::database::{
    ArmOrder, Armed, Call, Capabilities, Check, Continuity, Database, DatabaseError, Disarmed, GrantOrder, Granted,
    Holders, Identity, Membership, NameError, Observation, OfTheBroker, Owned, RevokeOrder, RevokeReport, Seen,
    SettleOrder, StoreMarks,
};
use crate::engine::tasks::Tasks;
use crate::id::{Account, RoleName, StoreId};

/// Limit of a call that has none of its own.
const WITHIN: Duration = Duration::from_secs(30);
/// Extra time beyond the limit of a call before the adapter is given up.
const BEYOND: Duration = Duration::from_millis(500);
/// Year 3000 in Unix seconds: no server's clock is later.
const LATEST: i64 = 32_503_680_000;

/// Wraps the adapter, which works for this store.
pub(in crate::engine) fn database(inner: Arc<dyn Database>, tasks: &Tasks, own: Option<&StoreId>) -> Arc<dyn Database> {
    Arc::new(Contained { inner, calls: Caught::new(tasks), own: own.cloned() })
}

#[derive(Debug)]
struct Contained {
    inner: Arc<dyn Database>,
    calls: Caught,
    /// Id of the store that the engine works with.
    own: Option<StoreId>,
}

impl Contained {
    /// Runs a call that changes nothing.
    async fn read<T>(&self, call: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
        match self.calls.within(WITHIN, call).await {
            Ok(answer) => answer,
            Err(failed @ Failed::TooSlow(_)) => Err(DatabaseError::unreachable(of_adapter(&failed))),
            // the server may well be there
            Err(failed @ Failed::Panicked(_)) => {
                Err(DatabaseError::NotApplied { why: of_adapter(&failed), source: Some(NoAnswer.into()) })
            }
        }
    }

    /// Runs a call of so many orders that changes something. Without an answer for each, the
    /// outcome of all is unknown.
    async fn change<T>(
        &self,
        limit: Duration,
        orders: usize,
        call: impl Future<Output = Vec<Result<T, DatabaseError>>>,
    ) -> Vec<Result<T, DatabaseError>> {
        let why = match self.calls.within(limit.saturating_add(BEYOND), call).await {
            Ok(answers) if answers.len() == orders => return answers,
            Ok(answers) => format!("the adapter gave {} answers for {orders} orders", answers.len()),
            Err(failed) => of_adapter(&failed),
        };
        let unknown = || DatabaseError::OutcomeUnknown { why: why.clone(), source: Some(NoAnswer.into()) };
        (0..orders).map(|_| Err(unknown())).collect()
    }
}

impl Contained {
    /// Returns the call marked as this store's.
    fn ours(&self, call: &Call) -> Call {
        Call { store: self.own.clone(), ..call.clone() }
    }

    /// Returns the observation with the marks of other stores only.
    fn others(&self, seen: Seen) -> Seen {
        let others = |store: &StoreId| self.own.as_ref().is_some_and(|own| own != store);
        Seen { marked_by: seen.marked_by.clone().filter(others), ..seen }
    }
}

/// Cause of an error that replaces a missing answer: the adapter hung, panicked or gave too few.
#[derive(Debug, thiserror::Error)]
#[error("one of the accounts of the call may be the cause")]
struct NoAnswer;

/// Checks whether the adapter gave no answer at all. The server may be well, and one account of the
/// call the cause.
pub(in crate::engine) fn gave_no_answer(error: &DatabaseError) -> bool {
    std::error::Error::source(error).is_some_and(|cause| cause.is::<NoAnswer>())
}

fn of_adapter(failed: &Failed) -> String {
    format!("the adapter gave no answer: {failed}")
}

fn no_name(name: &str, failed: &Failed) -> NameError {
    NameError { what: "a name", given: name.escape_debug().to_string(), why: of_adapter(failed) }
}

/// Checks that a server's time is plausible.
fn plausible(time: Time) -> Result<(), DatabaseError> {
    if (0..LATEST).contains(&time.timestamp()) {
        return Ok(());
    }
    Err(DatabaseError::unknown(format!("the adapter says that its server's time is {time}, which is impossible")))
}

/// Checks that there are as many answers as were asked for.
fn as_many<T>(answers: Vec<T>, asked: usize) -> Result<Vec<T>, DatabaseError> {
    if answers.len() == asked {
        return Ok(answers);
    }
    Err(DatabaseError::not_applied(format!("the adapter gave {} answers where {asked} were asked for", answers.len())))
}

#[async_trait]
impl Database for Contained {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        self.calls.now(|| self.inner.account(name)).unwrap_or_else(|failed| Err(no_name(name, &failed)))
    }

    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        self.calls.now(|| self.inner.role(name)).unwrap_or_else(|failed| Err(no_name(name, &failed)))
    }

    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.read(async { self.inner.identify().await }).await
    }

    fn continues(&self, before: &Identity, now: &Identity) -> Continuity {
        let answer = self.calls.now(|| self.inner.continues(before, now));
        answer.unwrap_or_else(|failed| Continuity::Other(failed.to_string()))
    }

    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        self.read(async { self.inner.capabilities().await }).await
    }

    async fn check(&self, roles: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        self.read(async { self.inner.check(roles).await }).await
    }

    async fn observe(&self, memberships: &[Membership]) -> Result<Observation, DatabaseError> {
        let observation = self.read(async { self.inner.observe(memberships).await }).await?;
        plausible(observation.server_time).map_err(|error| DatabaseError::not_applied(error.with_causes()))?;
        let seen = as_many(observation.seen, memberships.len())?;
        for (membership, seen) in memberships.iter().zip(&seen) {
            let accounts = (&membership.account_id, &seen.account_id);
            let roles = (&membership.role_id, &seen.role_id);
            if [accounts, roles].iter().any(|ids| matches!(ids, (Some(asked), Some(seen)) if asked != seen)) {
                let (account, role) = (&membership.account, &membership.role);
                let why = format!("the adapter was asked for `{role}` of `{account}` and answered for another one");
                return Err(DatabaseError::not_applied(why));
            }
        }
        Ok(Observation { seen: seen.into_iter().map(|seen| self.others(seen)).collect(), ..observation })
    }

    async fn grant(&self, call: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        let call = &self.ours(call);
        let granted = async { self.inner.grant(call, orders).await };
        let answers = self.change(call.limit, orders.len(), granted).await;
        let checked = |granted: Granted| plausible(granted.server_time).map(|()| granted);
        answers.into_iter().map(|answer| answer.and_then(checked)).collect()
    }

    async fn revoke(&self, call: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        let call = &self.ours(call);
        let revoked = async { self.inner.revoke(call, orders).await };
        let answers = self.change(call.limit, orders.len(), revoked).await;
        let checked = |report: RevokeReport| {
            plausible(report.server_time).and_then(|()| plausible(report.revoked_at))?;
            Ok(RevokeReport { seen: self.others(report.seen), ..report })
        };
        answers.into_iter().map(|answer| answer.and_then(checked)).collect()
    }

    async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        self.read(async { self.inner.settle(orders).await }).await
    }

    async fn arm(&self, call: &Call, orders: &[ArmOrder]) -> Vec<Result<Armed, DatabaseError>> {
        let call = &self.ours(call);
        self.change(call.limit, orders.len(), async { self.inner.arm(call, orders).await }).await
    }

    async fn disarm(&self, call: &Call, orders: &[Membership]) -> Vec<Result<Disarmed, DatabaseError>> {
        let call = &self.ours(call);
        self.change(call.limit, orders.len(), async { self.inner.disarm(call, orders).await }).await
    }

    async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        let Owned { identity, each } = self.read(async { self.inner.owned_objects(memberships).await }).await?;
        Ok(Owned { identity, each: as_many(each, memberships.len())? })
    }

    async fn holders(&self, roles: &[RoleName]) -> Result<Holders, DatabaseError> {
        self.read(async { self.inner.holders(roles).await }).await
    }

    async fn of_the_broker(&self) -> Result<OfTheBroker, DatabaseError> {
        self.read(async { self.inner.of_the_broker().await }).await
    }

    async fn set_up(&self, roles: &[RoleName]) -> Result<String, DatabaseError> {
        self.read(async { self.inner.set_up(roles).await }).await
    }

    async fn stores(&self) -> Result<Vec<StoreMarks>, DatabaseError> {
        let mut stores = self.read(async { self.inner.stores().await }).await?;
        stores.retain(|marks| self.own.as_ref().is_some_and(|own| *own != marks.store));
        Ok(stores)
    }
}
