//! Pass over the due accounts of a realm: look, commit the intent, tell the database, commit the
//! results.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::Pump;
use super::account_work::{AccountWork, Kept, Release};
use super::effect::needed;
use super::gate::Findings;
use super::in_hand::Held;
use super::observe::{ObserveOrder, Purpose};
use super::outcome::{GrantTerms, Owned, begin, drop_accounted, look_again};
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after, span};
use crate::database::{Database, DatabaseError, DeadMansSwitch, Identity, Membership, Observation};
use crate::engine::contain::gave_no_answer;
use crate::engine::core::Core;
use crate::engine::repository::attempt::ignore_conflict;
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::tenant::Tenant;
use crate::id::{AccessId, TargetName, TenantId};
use crate::model::access::{Access, Event};
use crate::model::grant::{Cause, Grant};
use crate::model::holding::{RETRY_LONGEST, settled};
use crate::store::StoreError;

/// Number of commits that a pass asks for at once. With more, another pass's commit would wait long
/// behind them.
const COMMITS: usize = 64;

/// One pass over the accounts of one tenant in one realm, through one target.
#[derive(Debug)]
pub(super) struct Pass<'p> {
    pub(super) pump: &'p Pump,
    pub(super) core: &'p Core,
    pub(super) settings: &'p Tenant,
    pub(super) database: &'p Arc<dyn Database>,
    pub(super) accounts: Vec<AccountWork>,
    /// Target through which the pass works.
    pub(super) target: TargetName,
    /// Dead man's switch of the target, or the reason why there is none.
    pub(super) dead_mans_switch: DeadMansSwitch,
    /// Label of all calls of this pass, for `settle`.
    pub(super) label: String,
    /// Server that the pass is for, as it identified itself.
    pub(super) server: Identity,
    /// Stage of the pass, which says whether grants may begin in it.
    pub(super) stage: Stage,
    /// True if a call did not come back.
    pub(super) hung: AtomicBool,
    /// Findings of checks about the roles that it grants.
    pub(super) findings: Findings,
    /// Reason why nothing is granted there until an operator has looked, if there is one.
    pub(super) doubted: Option<String>,
    /// Memberships that proved to be another store's when they were to be armed: nothing is granted
    /// there.
    pub(super) theirs: Vec<(usize, Membership, DatabaseError)>,
    /// Claims of the pass, held as work in progress.
    pub(super) held: Held<'p>,
}

/// Work that a pass does for its accounts. Ends come first, in a pass of their own (law 18).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Takes away what has to end. It asks no policy and no directory.
    Ends,
    /// Does everything that is due.
    All,
}

/// Outcome of a pass.
#[derive(Debug)]
pub(super) enum Served {
    /// The server answered.
    Answered {
        /// True if the server has another incarnation, or another server took its place. It has to
        /// identify itself again.
        restarted: bool,
    },
    /// The server did not answer, for this reason.
    Unreachable(String),
}

impl Served {
    /// Combines the outcomes of two calls, one after the other.
    pub(super) fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::Answered { restarted: one }, Self::Answered { restarted: two }) => {
                Self::Answered { restarted: one || two }
            }
            (gone @ Self::Unreachable(_), _) | (_, gone @ Self::Unreachable(_)) => gone,
        }
    }
}

impl Pass<'_> {
    /// Runs the whole pass. Accounts of a call that hung are served apart from then on.
    pub(super) async fn run(&mut self) -> Result<Served, StoreError> {
        let serials: Vec<String> = self.accounts.iter().map(|work| work.claim.serial.clone()).collect();
        let tenant = self.accounts.first().map(|work| work.holding.tenant.clone());
        let served = self.serve().await?;
        let hung = self.hung.load(Ordering::Relaxed);
        if hung && matches!(served, Served::Answered { .. }) {
            tracing::warn!(target = %self.target, accounts = serials.len(), "a call did not come back: its accounts are served apart from now on");
            let accounts = serials.len();
            self.pump.suspects.add(serials.into_iter());
            if let Some(tenant) = tenant.filter(|_| accounts > 1) {
                self.tell_hung(&tenant, accounts).await?;
            }
        } else if !hung {
            self.pump.suspects.clear(serials.iter().map(String::as_str));
        }
        Ok(served)
    }

    /// Logs that a call for several accounts did not come back, which delayed all of them.
    async fn tell_hung(&self, tenant: &TenantId, accounts: usize) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(self.core, tenant, self.settings, None, now);
        let why = "a call did not come back in time and held up all of its accounts: each is served by itself until one of its calls is answered";
        let audit_event = AuditEvent::new(EventKind::Finding)
            .with("target", self.target.as_str())
            .with("accounts", i64::try_from(accounts).unwrap_or(i64::MAX));
        unit_of_work.audit(audit_event.with("why", why));
        ignore_conflict(unit_of_work.commit().await)
    }

    async fn serve(&mut self) -> Result<Served, StoreError> {
        if self.stage == Stage::All {
            self.rule_again().await?;
        }
        if let Err(error) = self.settle().await {
            return self.not_known(&error).await;
        }
        let orders = self.observe_orders().await?;
        let mut owned = BTreeMap::new();
        let observation = if orders.is_empty() {
            None
        } else {
            let memberships: Vec<Membership> = orders.iter().map(|order| order.membership.clone()).collect();
            // side by side: neither look waits for the other
            let compared = self.owned(self.compared(&orders));
            let (observed, before, findings) = tokio::join!(self.observe(&memberships), compared, self.check(&orders));
            (owned, self.findings) = (before, findings);
            match observed {
                Ok(observation) => Some(observation),
                Err(error) => return self.not_known(&error).await,
            }
        };
        self.intend(&orders, observation.as_ref(), owned).await?;
        let served = self.effects().await?;
        self.record(Release::Now).await?;
        Ok(served)
    }

    /// Handles a look that failed, because the server is gone or one call hung.
    async fn not_known(&mut self, error: &DatabaseError) -> Result<Served, StoreError> {
        if error.is_another_server() && self.moved().await {
            // nothing was sent to it: what is due stays due until the server is identified
            self.record(Release::Now).await?;
            return Ok(Served::Answered { restarted: true });
        }
        if gave_no_answer(error) {
            self.hung.store(true, Ordering::Relaxed);
        }
        if !self.hung.load(Ordering::Relaxed) || !self.is_there().await {
            return self.unreachable(error).await;
        }
        // of several accounts one may be the cause: nothing is said of the others
        if let [_] = self.accounts.as_slice() {
            let now = self.core.store.now().await?;
            self.fails(&error.with_causes(), after(now, RETRY_LONGEST), now);
        }
        self.record(Release::Now).await?;
        Ok(Served::Answered { restarted: false })
    }

    /// Checks whether the server answers at all after one of its calls hung.
    pub(super) async fn is_there(&self) -> bool {
        match self.core.tasks.within(THERE_WITHIN, self.database.identify()).await {
            Some(Ok(identity)) => identity == self.server,
            _ => false,
        }
    }

    /// Checks whether another server, or another run of it, has really taken the place of the
    /// pass's server.
    pub(super) async fn moved(&self) -> bool {
        match self.core.tasks.within(THERE_WITHIN, self.database.identify()).await {
            Some(Ok(identity)) => identity != self.server,
            _ => false,
        }
    }

    /// Marks everything that is due as failed with this error. It is due again when the server is
    /// back.
    pub(super) async fn unreachable(&mut self, error: &DatabaseError) -> Result<Served, StoreError> {
        let why = error.with_causes();
        let now = self.core.store.now().await?;
        self.fails(&why, now, now);
        self.record(Release::Now).await?;
        Ok(Served::Unreachable(why))
    }

    /// Tells everything that is due that it failed, and when it is retried.
    fn fails(&mut self, why: &str, retry_at: Time, now: Time) {
        for work in &mut self.accounts {
            // behind other work that is due by now: its target may have a server that answers
            if work.holding.postpone(now, retry_at) {
                work.touch();
            }
            for id in due(work, now) {
                match work.accesses.get(&id).and_then(|loaded| loaded.access.grant()) {
                    Some(Grant::Scheduled(_)) => {
                        work.handle(id, Event::NotGranted { why: why.to_owned(), retry_at }, now);
                    }
                    Some(Grant::Granting(granting)) if granting.last_error.is_none() => {
                        work.handle(id, Event::GrantUnknown { why: why.to_owned() }, now);
                    }
                    Some(Grant::Active(_)) => {
                        work.handle(id, expired(), now);
                        work.handle(id, Event::EndFailed { why: why.to_owned(), retry_at }, now);
                    }
                    Some(Grant::Revoking(_)) => {
                        work.handle(id, Event::EndFailed { why: why.to_owned(), retry_at }, now);
                    }
                    _ => {}
                }
            }
        }
    }

    /// Lets every access handle what was seen, and commits what is intended (law 3).
    async fn intend(
        &mut self,
        orders: &[ObserveOrder],
        observation: Option<&Observation>,
        mut owned: BTreeMap<AccessId, Owned>,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        if let Some(observation) = observation {
            let not_after = after(observation.server_time, self.core.limits.call);
            for (order, seen) in orders.iter().zip(&observation.seen) {
                let Some(work) = self.accounts.get_mut(order.place) else { continue };
                match order.purpose {
                    Purpose::Settled(id) => {
                        let wanted = work.accesses.get(&id).map(|loaded| loaded.access.scope());
                        if let Some(wanted) = wanted {
                            work.handle(id, Event::Settled(settled(seen, &order.membership, wanted)), now);
                        }
                    }
                    // its ruling is as old as its claim, and nothing would be sent: the next pass
                    // rules anew
                    Purpose::Grant(_) if span(now, work.claim.until) < needed(self.core) => {}
                    Purpose::Grant(id) => {
                        let before = owned.remove(&id);
                        begin(
                            work,
                            id,
                            &order.membership,
                            seen,
                            GrantTerms { label: &self.label, not_after, before },
                            now,
                        );
                    }
                    Purpose::Look(id) => {
                        look_again(self.core, work, id, seen, &observation.identity.incarnation, now).await?;
                    }
                }
            }
        }
        for work in &mut self.accounts {
            drop_accounted(work);
            let ids: Vec<AccessId> = work.accesses.keys().copied().collect();
            for id in ids {
                let Some(access) = work.accesses.get(&id).map(|loaded| &loaded.access) else { continue };
                match access.grant() {
                    Some(Grant::Active(active)) if active.window.end() <= now => work.handle(id, expired(), now),
                    Some(Grant::Granting(granting)) if granting.give_up <= now => work.handle(id, Event::Tick, now),
                    _ => {}
                }
            }
        }
        self.plan_dead_mans_switches(now);
        let (core, settings) = (self.core, self.settings);
        let intended: Vec<_> = self.accounts.iter_mut().map(|work| work.intend(core, settings, now)).collect();
        let kept = stream::iter(intended).buffered(COMMITS).collect().await;
        self.retain(kept)
    }

    /// Commits the results of every account. Goes on with those whose claims it still has.
    pub(super) async fn record(&mut self, release: Release) -> Result<(), StoreError> {
        let (core, settings) = (self.core, self.settings);
        let recorded: Vec<_> = self.accounts.iter_mut().map(|work| work.record(core, settings, release)).collect();
        let kept = stream::iter(recorded).buffered(COMMITS).collect().await;
        self.retain(kept)
    }

    /// Goes on with the accounts whose commit was kept.
    fn retain(&mut self, kept: Vec<Result<Kept, StoreError>>) -> Result<(), StoreError> {
        let mut kept = kept.into_iter();
        let mut failed = None;
        self.accounts.retain(|_| match kept.next() {
            Some(Ok(Kept::Yes)) => true,
            Some(Ok(Kept::No)) | None => false,
            Some(Err(error)) => {
                failed = Some(error);
                false
            }
        });
        failed.map_or(Ok(()), Err)
    }
}

/// Limit for a server to show that it is there after one of its calls hung.
const THERE_WITHIN: Duration = Duration::from_secs(1);

/// Returns the accesses of the account work whose database work is due.
pub(super) fn due(work: &AccountWork, now: Time) -> Vec<AccessId> {
    let is_due = |access: &Access| access.effect_due().is_some_and(|due| due <= now);
    work.accesses.iter().filter(|(_, loaded)| is_due(&loaded.access)).map(|(id, _)| *id).collect()
}

/// Returns the event of a window that has closed.
pub(super) fn expired() -> Event {
    Event::End { cause: Cause::Expired, by: None, why: None }
}
