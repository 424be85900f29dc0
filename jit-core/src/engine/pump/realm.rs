//! One pass over the due accounts of a realm: look, record what is intended, tell the database, record what came of it.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::super::core::{Core, Tenant};
use super::super::error::JitError;
use super::super::records::{Stops, body_or_default, stops_key};
use super::case::{Case, Kept};
use super::outcome::{
    Left, Outcome, Owned, RETRY_FIRST, RETRY_LONGEST, Told, begin, drop_accounted, ended, grant_failed, look_again,
};
use crate::access::{Access, Event};
use crate::clock::{Time, after, span, to_std};
use crate::database::{
    Call, Database, DatabaseError, DeadManHere, GrantOrder, Observation, RevokeOrder, RevokeReport, SettleOrder,
    Subject,
};
use crate::grant::{Cause, Grant, Intent};
use crate::holding::{Closing, closings, orphan_closing, settled, verify, width};
use crate::id::{AccessId, TargetName};
use crate::store::{ClockState, StoreError};

/// How long the directory may take before a grant: the ends of others wait behind it.
const RULED_WITHIN: Duration = Duration::from_secs(1);
/// How much of a claim has to be left over after a call, so that what it came to can still be recorded.
const MARGIN: TimeDelta = TimeDelta::seconds(1);

/// What a pass serves: the accounts of one tenant in one realm, through one target.
#[derive(Debug)]
pub(super) struct Pass<'p> {
    pub(super) core: &'p Core,
    pub(super) settings: &'p Tenant,
    pub(super) database: &'p Arc<dyn Database>,
    pub(super) cases: Vec<Case>,
    /// By which target.
    pub(super) target: TargetName,
    /// Whether it can take a membership away by itself.
    pub(super) dead_man: DeadManHere,
    /// Of all calls of this pass, for `settle`.
    pub(super) label: String,
    /// The incarnation that the server was in when it said who it is.
    pub(super) incarnation: String,
}

/// How a pass ended.
#[derive(Debug)]
pub(super) enum Served {
    /// The server answered.
    Answered {
        /// It is in another incarnation than it was.
        restarted: bool,
    },
    /// It did not.
    Unreachable(String),
}

/// A membership that is looked at, and why.
#[derive(Debug)]
struct Asked {
    case: usize,
    subject: Subject,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Grant(AccessId),
    Settled(AccessId),
    Look(AccessId),
}

impl Pass<'_> {
    /// Does all of it.
    pub(super) async fn run(&mut self) -> Result<Served, StoreError> {
        self.rule_again().await?;
        if let Err(error) = self.settle().await {
            return self.unreachable(&error).await;
        }
        let asked = self.asked().await?;
        let mut owned = BTreeMap::new();
        let observation = if asked.is_empty() {
            None
        } else {
            let subjects: Vec<Subject> = asked.iter().map(|asked| asked.subject.clone()).collect();
            // side by side: nobody waits for the one because of the other
            let (observed, before) = tokio::join!(self.observe(&subjects), self.owned(self.compared(&asked)));
            owned = before;
            match observed {
                Ok(observation) => Some(observation),
                Err(error) => return self.unreachable(&error).await,
            }
        };
        self.intend(&asked, observation.as_ref(), owned).await?;
        let served = self.effects().await?;
        self.record().await?;
        let seen = observation.map(|observation| observation.identity.incarnation);
        Ok(match served {
            Served::Answered { restarted } => {
                let restarted = restarted || seen.is_some_and(|seen| seen != self.incarnation);
                Served::Answered { restarted }
            }
            unreachable @ Served::Unreachable(_) => unreachable,
        })
    }

    /// Everything that is due is known to fail now; it says so, and is due again when the server is back.
    pub(super) async fn unreachable(&mut self, error: &DatabaseError) -> Result<Served, StoreError> {
        let why = error.with_causes();
        let now = self.core.store.now().await?;
        for case in &mut self.cases {
            for id in due(case, now) {
                match case.accesses.get(&id).and_then(|loaded| loaded.access.grant()) {
                    Some(Grant::Scheduled(_)) => {
                        case.handle(id, Event::NotGranted { why: why.clone(), retry_at: now }, now);
                    }
                    Some(Grant::Granting(granting)) if granting.trouble.is_none() => {
                        case.handle(id, Event::GrantUnknown { why: why.clone() }, now);
                    }
                    Some(Grant::Active(_)) => {
                        case.handle(id, expired(), now);
                        case.handle(id, Event::EndFailed { why: why.clone(), retry_at: now }, now);
                    }
                    Some(Grant::Revoking(_)) => {
                        case.handle(id, Event::EndFailed { why: why.clone(), retry_at: now }, now);
                    }
                    _ => {}
                }
            }
        }
        self.record().await?;
        Ok(Served::Unreachable(why))
    }

    /// The case is ruled again before its grant begins (DESIGN section 3), and nothing begins during a stop or with a doubtful clock.
    async fn rule_again(&mut self) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let is_scheduled = |access: &Access| matches!(access.grant(), Some(Grant::Scheduled(_)));
        let begins = |case: &Case| {
            let due = due(case, now).into_iter();
            due.filter(|id| case.accesses.get(id).is_some_and(|loaded| is_scheduled(&loaded.access))).collect()
        };
        let beginning: Vec<(usize, Vec<AccessId>)> = self.cases.iter().map(begins).enumerate().collect();
        let Some(tenant) = self.cases.first().map(|case| case.holding.tenant.clone()) else { return Ok(()) };
        if beginning.iter().all(|(_, ids)| ids.is_empty()) {
            return Ok(());
        }
        let stops: Stops = body_or_default(self.core.store.read(&stops_key(&tenant)).await?.as_ref())?;
        let doubtful = matches!(self.core.store.clock_state().await?, ClockState::Doubtful { .. });
        let (core, settings, cases, stops) = (self.core, self.settings, &self.cases, &stops);
        let each = beginning.iter().flat_map(|(place, ids)| ids.iter().map(move |id| (*place, *id)));
        // all at once: a directory that is slow holds nothing up for longer than one of them waits
        let judged = futures_util::future::join_all(each.map(|(place, id)| async move {
            let case = cases.get(place)?;
            let access = &case.accesses.get(&id)?.access;
            let event = match case.holding.quiet_until.filter(|until| *until > now) {
                Some(retry_at) => {
                    let why = "a revoke whose outcome is not known may still arrive".to_owned();
                    Some(Event::NotGranted { why, retry_at })
                }
                None => begin_or_not(core, settings, access, stops, doubtful, now).await,
            };
            Some((place, id, event))
        }));
        for (place, id, event) in judged.await.into_iter().flatten() {
            let Some(case) = self.cases.get_mut(place) else { continue };
            case.handle(id, Event::Tick, now);
            if let Some(event) = event {
                case.handle(id, event, now);
            }
        }
        Ok(())
    }

    /// Makes sure that no earlier statement of ours can still arrive (law 15).
    async fn settle(&mut self) -> Result<(), DatabaseError> {
        let mut orders: BTreeMap<&str, SettleOrder> = BTreeMap::new();
        for intent in
            self.cases.iter().flat_map(|case| case.accesses.values()).filter_map(|loaded| unsettled(&loaded.access))
        {
            let order = SettleOrder { label: intent.label.clone(), not_after: intent.not_after };
            let entry = orders.entry(&intent.label).or_insert(order);
            entry.not_after = entry.not_after.max(intent.not_after);
        }
        if orders.is_empty() {
            return Ok(());
        }
        let orders: Vec<SettleOrder> = orders.into_values().collect();
        // it may have to wait past the deadline of the earlier statement
        let limit = to_std(self.core.limits.call).saturating_mul(2);
        let settle = self.core.tasks.within(limit, self.database.settle(&orders));
        settle
            .await
            .unwrap_or_else(|| Err(DatabaseError::unreachable("an earlier statement could not be settled in time")))
    }

    /// What has to be looked at.
    async fn asked(&mut self) -> Result<Vec<Asked>, StoreError> {
        let now = self.core.store.now().await?;
        let mut asked = Vec::new();
        for (place, case) in self.cases.iter().enumerate() {
            for loaded in case.accesses.values() {
                let access = &loaded.access;
                match access.grant() {
                    Some(Grant::Scheduled(_)) if access.effect_due().is_some_and(|due| due <= now) => {
                        let request = access.request();
                        let (account, role) = (request.account.clone(), request.role.clone());
                        let subject = Subject { account, account_id: None, role, role_id: None };
                        asked.push(Asked { case: place, subject, why: Why::Grant(access.id()) });
                    }
                    Some(grant) if unsettled(access).is_some() => {
                        if let Some(subject) = grant.subject().cloned() {
                            asked.push(Asked { case: place, subject, why: Why::Settled(access.id()) });
                        }
                    }
                    _ => {}
                }
            }
            for watch in case.holding.watched.iter().filter(|watch| watch.next <= now) {
                asked.push(Asked { case: place, subject: watch.subject.clone(), why: Why::Look(watch.access) });
            }
        }
        Ok(asked)
    }

    /// The accesses among the asked that begin a grant whose leftovers will be compared, and what of.
    fn compared(&self, asked: &[Asked]) -> Vec<(AccessId, Subject)> {
        let compared = asked.iter().filter_map(|asked| {
            let Why::Grant(id) = asked.why else { return None };
            let loaded = self.cases.get(asked.case)?.accesses.get(&id)?;
            loaded.access.compares().then(|| (id, asked.subject.clone()))
        });
        compared.collect()
    }

    async fn observe(&self, subjects: &[Subject]) -> Result<Observation, DatabaseError> {
        let limit = to_std(self.core.limits.call);
        let observation = self.core.tasks.within(limit, self.database.observe(subjects)).await;
        let observation = observation.unwrap_or_else(|| {
            Err(DatabaseError::unreachable("the database did not answer in time when it was looked at"))
        })?;
        if observation.seen.len() != subjects.len() {
            return Err(DatabaseError::unreachable(
                "the adapter answered for another number of memberships than it was asked for",
            ));
        }
        let elsewhere = |case: &&Case| case.holding.realm != observation.identity.realm;
        if let Some(case) = self.cases.iter().find(elsewhere) {
            let (realm, was) = (&observation.identity.realm, &case.holding.realm);
            return Err(DatabaseError::unreachable(format!("another server answers (`{realm}`, was `{was}`)")));
        }
        Ok(observation)
    }

    /// Lets every access handle what was seen, and commits what is intended (law 3).
    async fn intend(
        &mut self,
        asked: &[Asked],
        observation: Option<&Observation>,
        mut owned: BTreeMap<AccessId, Owned>,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        if let Some(observation) = observation {
            let not_after = after(observation.server_time, self.core.limits.call);
            for (asked, seen) in asked.iter().zip(&observation.seen) {
                let Some(case) = self.cases.get_mut(asked.case) else { continue };
                match asked.why {
                    Why::Settled(id) => {
                        let wanted = case.accesses.get(&id).map(|loaded| loaded.access.width());
                        if let Some(wanted) = wanted {
                            case.handle(id, Event::Settled(settled(seen, wanted)), now);
                        }
                    }
                    Why::Grant(id) => {
                        let before = owned.remove(&id);
                        begin(case, id, &asked.subject, seen, Told { label: &self.label, not_after, before }, now);
                    }
                    Why::Look(id) => {
                        look_again(self.core, case, id, seen, &observation.identity.incarnation, now).await?;
                    }
                }
            }
        }
        for case in &mut self.cases {
            drop_accounted(case);
            let ids: Vec<AccessId> = case.accesses.keys().copied().collect();
            for id in ids {
                let Some(access) = case.accesses.get(&id).map(|loaded| &loaded.access) else { continue };
                match access.grant() {
                    Some(Grant::Active(active)) if active.window.end() <= now => case.handle(id, expired(), now),
                    Some(Grant::Granting(granting)) if granting.give_up <= now => case.handle(id, Event::Tick, now),
                    _ => {}
                }
            }
        }
        for case in &mut self.cases {
            case.plan_dead_men(&self.target, &self.dead_man, now);
        }
        let (core, settings) = (self.core, self.settings);
        let kept =
            futures_util::future::join_all(self.cases.iter_mut().map(|case| case.intend(core, settings, now))).await;
        let mut kept = kept.into_iter();
        let mut failed = None;
        self.cases.retain(|_| match kept.next() {
            Some(Ok(Kept::Yes)) => true,
            Some(Ok(Kept::No)) | None => false,
            Some(Err(error)) => {
                failed = Some(error);
                false
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// Tells the database: what has to go first.
    async fn effects(&mut self) -> Result<Served, StoreError> {
        let counted = Counted::from(self.core.store.now().await?);
        let (revoked, mut served) = self.revoke(counted.now()).await;
        let armed = self.arm(counted.now(), false).await;
        if let (Served::Answered { .. }, gone @ Served::Unreachable(_)) = (&served, armed) {
            served = gone;
        }
        let granted = match &served {
            Served::Answered { restarted } => {
                let before = *restarted;
                let (granted, second) = self.grant(counted.now()).await;
                served = match second {
                    Served::Answered { restarted } => Served::Answered { restarted: restarted || before },
                    unreachable @ Served::Unreachable(_) => unreachable,
                };
                granted
            }
            Served::Unreachable(_) => Vec::new(),
        };
        let now = self.core.store.now().await?;
        let arrived = after(now, needed(self.core));
        for (place, closing, outcome) in revoked {
            if let Some(case) = self.cases.get_mut(place) {
                if matches!(&outcome, Err(left) if left.unknown) {
                    case.quiet(arrived);
                }
                ended(case, &closing, outcome, now);
            }
        }
        for (place, id, outcome) in granted {
            let event = match outcome {
                Ok(granted) => Event::Granted(granted),
                Err(error) => grant_failed(&error, now),
            };
            if let Some(case) = self.cases.get_mut(place) {
                case.handle(id, event, now);
            }
        }
        if matches!(served, Served::Answered { .. })
            && let gone @ Served::Unreachable(_) = self.follow(now).await
        {
            served = gone;
        }
        Ok(served)
    }

    /// The cases, with their places, whose claim lasts long enough for a call that is sent now: one that could be taken over before its answer is
    /// recorded is not worked on, and the next pass does. Each call takes its time, so that it is asked before each. Nor is one for which this node
    /// is ending something without a claim.
    pub(super) fn fit(&self, now: Time) -> impl Iterator<Item = (usize, &Case)> {
        let needed = needed(self.core);
        let busy = self.core.ending_ahead.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fit = move |case: &Case| span(now, case.claim.until) >= needed && !busy.contains(&case.claim.serial);
        self.cases.iter().enumerate().filter(move |(_, case)| fit(case))
    }

    async fn revoke(&self, now: Time) -> (Vec<(usize, Closing, Outcome)>, Served) {
        let mut closing = Vec::new();
        for (place, case) in self.fit(now) {
            let live = case.live();
            closing.extend(closings(&live, now).into_iter().map(|closing| (place, closing)));
            for orphan in case.holding.orphans.iter().filter(|orphan| orphan.retry_at <= now) {
                let nobody = AccessId::fresh(now, &*self.core.entropy);
                closing.extend(orphan_closing(&orphan.subject, &live, nobody).map(|closing| (place, closing)));
            }
        }
        if closing.is_empty() {
            return (Vec::new(), Served::Answered { restarted: false });
        }
        let orders: Vec<RevokeOrder> = closing.iter().map(|(_, closing)| closing.order.clone()).collect();
        let call = self.call();
        let limit = call.limit.saturating_mul(2);
        let answers = self.core.tasks.within(limit, self.database.revoke(&call, &orders)).await;
        let incarnation = |report: &RevokeReport| report.incarnation.clone();
        let (outcomes, served) = self.served(answers, orders.len(), incarnation);
        let at_once = matches!(served, Served::Unreachable(_));
        let answered = closing.into_iter().zip(outcomes).map(|((place, closing), outcome)| {
            let outcome = match outcome {
                Ok(report) => verify(&closing, &report).map_err(|why| Left { why, at_once: false, unknown: false }),
                Err(error) => {
                    let unknown = matches!(error, DatabaseError::OutcomeUnknown { .. });
                    Err(Left { why: error.with_causes(), at_once, unknown })
                }
            };
            (place, closing, outcome)
        });
        let mut answered: Vec<(usize, Closing, Outcome)> = answered.collect();
        self.compare(&mut answered).await;
        (answered, served)
    }

    async fn grant(
        &self,
        now: Time,
    ) -> (Vec<(usize, AccessId, Result<crate::database::Granted, DatabaseError>)>, Served) {
        let mut whose = Vec::new();
        let mut orders: Vec<GrantOrder> = Vec::new();
        let mut refused = Vec::new();
        for (place, case) in self.fit(now) {
            let live = case.live();
            for access in &live {
                let (Some(Grant::Granting(granting)), Some(witness)) = (access.grant(), access.witness()) else {
                    continue;
                };
                if granting.intent.label != self.label {
                    continue;
                }
                if let Some(error) = case.without_dead_man(access.id(), &self.dead_man) {
                    refused.push((place, access.id(), Err(error)));
                    continue;
                }
                let handling = &access.approval().plan().handling;
                let order = GrantOrder::new(
                    &witness,
                    granting.subject.clone(),
                    width(access, &live),
                    granting.intent.not_after,
                    handling.account_members,
                    handling.can_grant,
                );
                orders.push(order.activated(handling.activation));
                whose.push((place, access.id()));
            }
        }
        if orders.is_empty() {
            return (refused, Served::Answered { restarted: false });
        }
        let call = self.call();
        let limit = call.limit.saturating_mul(2);
        let answers = self.core.tasks.within(limit, self.database.grant(&call, &orders)).await;
        let incarnation = |granted: &crate::database::Granted| granted.incarnation.clone();
        let (outcomes, served) = self.served(answers, orders.len(), incarnation);
        let answered = whose.into_iter().zip(outcomes).map(|((place, id), outcome)| (place, id, outcome));
        (answered.chain(refused).collect(), served)
    }

    /// One answer for each order, and whether the server does its work: one that did not answer in time does not.
    fn served<T>(
        &self,
        answers: Option<Vec<Result<T, DatabaseError>>>,
        orders: usize,
        incarnation: impl Fn(&T) -> String,
    ) -> (Vec<Result<T, DatabaseError>>, Served) {
        let Some(mut answers) = answers else {
            let why = "the database did not answer in time";
            let answers = (0..orders).map(|_| Err(DatabaseError::unknown(why))).collect();
            return (answers, Served::Unreachable(why.to_owned()));
        };
        answers.resize_with(orders, || Err(DatabaseError::unknown("the adapter gave no answer for this order")));
        let errors = answers.iter().filter_map(|answer| answer.as_ref().err());
        let served = match errors.into_iter().find(|error| error.is_unreachable()) {
            Some(error) => Served::Unreachable(error.with_causes()),
            None => {
                let restarted = answers.iter().flatten().any(|answer| incarnation(answer) != self.incarnation);
                Served::Answered { restarted }
            }
        };
        (answers, served)
    }

    pub(super) fn call(&self) -> Call {
        Call { label: self.label.clone(), limit: to_std(self.core.limits.call) }
    }

    async fn record(&mut self) -> Result<(), StoreError> {
        let (core, settings) = (self.core, self.settings);
        let kept = futures_util::future::join_all(self.cases.iter_mut().map(|case| case.record(core, settings))).await;
        kept.into_iter().try_for_each(|kept| kept.map(|_| ()))
    }
}

/// The store's time, counted on from when it was read: to ask again can be a round trip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    read: Time,
    at: Instant,
}

impl From<Time> for Counted {
    fn from(read: Time) -> Self {
        Self { read, at: Instant::now() }
    }
}

impl Counted {
    pub(super) fn now(self) -> Time {
        after(self.read, TimeDelta::from_std(self.age()).unwrap_or(TimeDelta::MAX))
    }

    /// How long ago it was read.
    pub(super) fn age(self) -> Duration {
        self.at.elapsed()
    }
}

fn slow_directory() -> JitError {
    let why = format!("it did not answer within {} s", RULED_WITHIN.as_secs());
    crate::directory::DirectoryError::Unavailable { why }.into()
}

/// How long a claim has to last for a call.
fn needed(core: &Core) -> TimeDelta {
    core.limits.call.checked_add(&MARGIN).unwrap_or(TimeDelta::MAX)
}

/// The accesses of the case whose database work is due.
fn due(case: &Case, now: Time) -> Vec<AccessId> {
    let is_due = |access: &Access| access.effect_due().is_some_and(|due| due <= now);
    case.accesses.iter().filter(|(_, loaded)| is_due(&loaded.access)).map(|(id, _)| *id).collect()
}

/// Its window has closed.
pub(super) fn expired() -> Event {
    Event::End { cause: Cause::Expired, by: None, why: None }
}

/// The intent of an earlier pass whose statement may still arrive.
fn unsettled(access: &Access) -> Option<&Intent> {
    match access.grant()? {
        Grant::Granting(granting) => Some(&granting.intent),
        Grant::Revoking(revoking) => revoking.unsettled.as_ref(),
        _ => None,
    }
}

/// What stands between an access and its grant; none: nothing was found.
async fn begin_or_not(
    core: &Core,
    settings: &Tenant,
    access: &Access,
    stops: &Stops,
    doubtful: bool,
    now: Time,
) -> Option<Event> {
    let retry_at = after(now, RETRY_LONGEST);
    let parties = &access.request().parties;
    if let Some(stop) = stops.meets(&access.request().target, [&parties.requester, &parties.receiver]) {
        let why = Some(format!("emergency stop by `{}`: {}", stop.by, stop.reason));
        return Some(Event::End { cause: Cause::Stopped, by: None, why });
    }
    if doubtful {
        let why = "the clock is doubtful: new grants wait for `jit clock accept`".to_owned();
        return Some(Event::NotGranted { why, retry_at });
    }
    let ruled = async {
        let ruling = core.ruling(settings, access.tenant(), access.request()).await?;
        Ok((ruling, core.fresh(settings, access.tenant(), access.approval()).await?))
    };
    let ruled = core.tasks.within(RULED_WITHIN, ruled).await;
    let ruled = ruled.unwrap_or_else(|| Err(slow_directory()));
    match ruled {
        Ok((ruling, fresh)) => Some(Event::RuleAgain { ruling, fresh }),
        // nobody is granted anything on what a directory said once (fail closed)
        Err(error) => Some(Event::NotGranted { why: error.to_string(), retry_at: after(now, RETRY_FIRST) }),
    }
}
