//! Dead man's switches: armed before a role is granted, moved with its window, and disarmed when
//! its end is verified.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::Pump;
use super::account_work::AccountWork;
use super::counted::Counted;
use super::realm::{Pass, Served};
use crate::audit_event::{AuditEvent, EventKind, stamp};
use crate::clock::{Time, span, to_std};
use crate::database::adapter::copied;
use crate::database::{
    ArmOrder, Armed, Call, Database, DatabaseError, DeadMansSwitch, DefaultRole, Disarmed, Membership, Rejection,
};
use crate::engine::core::Core;
use crate::engine::repository::records::{ARMED, TargetRecord, body, body_or_default, target_key};
use crate::engine::rules::servers::Who;
use crate::engine::tenant::Tenant;
use crate::id::{AccessId, TargetName, TenantId};
use crate::model::access::{Access, Event};
use crate::model::grant::Grant;
use crate::model::holding::{Holding, WantedSwitch, mode, wanted_dead_mans_switches};
use crate::policy::DeadMansSwitchPolicy;
use crate::store::{Kind, PageQuery, RecordKey, StoreError};

/// Interval between two looks whether a server with our dead man's switches was restarted.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Limit for the server's answer to such a look.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

impl AccountWork {
    /// Makes due what has to be armed, moved or disarmed.
    pub(super) fn plan_dead_mans_switches(&mut self, target: &TargetName, here: &DeadMansSwitch, now: Time) {
        let by = matches!(here, DeadMansSwitch::Available(_)).then_some(target);
        let live: Vec<_> = self.accesses.values().map(|loaded| &loaded.access).collect();
        if self.holding.plan_dead_mans_switches(&live, by, now) {
            self.touch();
        }
    }

    /// Checks whether the pass of this label is about to send the grant of one of these.
    fn begins(&self, wanted: &WantedSwitch, label: &str) -> bool {
        let begins = |id: &AccessId| match self.accesses.get(id).and_then(|loaded| loaded.access.grant()) {
            Some(Grant::Granting(granting)) => granting.intent.label == label,
            _ => false,
        };
        wanted.accesses.iter().any(begins)
    }

    /// Returns the reason why nothing may be granted to this access, whose rule requires a dead
    /// man's switch. None if it is armed or not required.
    pub(super) fn without_dead_mans_switch(&self, id: AccessId, here: &DeadMansSwitch) -> Option<DatabaseError> {
        let access = self.accesses.get(&id).map(|loaded| &loaded.access)?;
        let membership = access.grant().and_then(Grant::membership)?;
        if mode(access) != DeadMansSwitchPolicy::Required {
            return None;
        }
        let Some(armed) = self.holding.dead_mans_switch(membership) else {
            return Some(match here {
                DeadMansSwitch::Unavailable { remedy } => missing(remedy),
                DeadMansSwitch::Available(_) => {
                    DatabaseError::not_applied("its dead man's switch, which its rule requires, is not armed")
                }
            });
        };
        let end = wanted_dead_mans_switches(&self.live())
            .into_iter()
            .find(|wanted| wanted.membership.is_same(membership))?
            .end?;
        let enough = armed.end.is_some_and(|armed| armed >= end);
        (!enough).then(|| {
            let why = armed.last_error.as_deref().unwrap_or("the cause is not known");
            DatabaseError::not_applied(format!(
                "its dead man's switch, which its rule requires, could not be armed: {why}"
            ))
        })
    }
}

/// Returns the error if a rule requires a dead man's switch and there is none.
pub(in crate::engine) fn missing(remedy: &str) -> DatabaseError {
    let why = format!("its rule requires a dead man's switch, and the database has none: {remedy}");
    DatabaseError::rejected(Rejection::NoDeadMansSwitch, why)
}

impl Pass<'_> {
    /// Makes due what has to be armed, moved or disarmed.
    pub(super) fn plan_dead_mans_switches(&mut self, now: Time) {
        for work in &mut self.accounts {
            work.plan_dead_mans_switches(&self.target, &self.dead_mans_switch, now);
        }
    }

    /// Arms what is due before the grants that need it. With `over`, also arms what should have
    /// ended and whose revoke was tried but is not verified. Returns whether the server answered.
    pub(super) async fn arm(&mut self, now: Time, over: bool) -> Served {
        let (mut whose, mut orders) = (Vec::new(), Vec::new());
        for (place, work) in self.fit(now) {
            for wanted in
                wanted_dead_mans_switches(&work.live()).into_iter().filter(|wanted| over || wanted.end.is_some())
            {
                let Some(armed) = work.holding.dead_mans_switch(&wanted.membership) else { continue };
                let is_due = |due: Time| due <= now || work.begins(&wanted, &self.label);
                if armed.target != self.target || !armed.due.is_some_and(is_due) {
                    continue;
                }
                orders.push(ArmOrder {
                    membership: wanted.membership.clone(),
                    // what should have ended goes soon
                    ends_in: wanted.end.map(|end| to_std(span(now, end))).unwrap_or_default(),
                    sessions: wanted.sessions,
                    default_role: wanted.default_role.clone(),
                });
                whose.push((place, wanted));
            }
        }
        if orders.is_empty() {
            return Served::Answered { restarted: false };
        }
        let call = self.call();
        let (answers, served) = self.send(&call, orders.len(), self.database.arm(&call, &orders)).await;
        for ((place, wanted), answer) in whose.into_iter().zip(answers) {
            if let Err(error) = &answer
                && error.is_another_store()
            {
                self.theirs.push((place, wanted.membership.clone(), copied(error)));
            }
            if let Some(work) = self.accounts.get_mut(place) {
                armed(work, &wanted, answer, now);
            }
        }
        served
    }

    /// Moves and disarms what is due by now.
    pub(super) async fn follow(&mut self, now: Time) -> Served {
        let counted = Counted::from(now);
        let armed = self.arm(now, true).await;
        if let Served::Unreachable(_) = armed {
            return armed;
        }
        let fit: Vec<usize> = self.fit(counted.now()).map(|(place, _)| place).collect();
        let (mut whose, mut memberships) = (Vec::new(), Vec::new());
        for (place, work) in self.accounts.iter_mut().enumerate().filter(|(place, _)| fit.binary_search(place).is_ok())
        {
            if work.holding.postpone_switches_elsewhere(&self.target, now) {
                work.touch();
            }
            for membership in work.holding.switches_to_disarm(&self.target, &work.live(), now) {
                whose.push(place);
                memberships.push(membership);
            }
        }
        if memberships.is_empty() {
            return armed;
        }
        let call = self.call();
        let (answers, served) = self.send(&call, memberships.len(), self.database.disarm(&call, &memberships)).await;
        for ((place, membership), answer) in whose.into_iter().zip(memberships).zip(answers) {
            if let Some(work) = self.accounts.get_mut(place) {
                disarmed(work, &membership, answer, now);
            }
        }
        armed.and(served)
    }
}

fn armed(work: &mut AccountWork, wanted: &WantedSwitch, answer: Result<Armed, DatabaseError>, now: Time) {
    work.touch();
    let news = match answer {
        Ok(armed) => {
            work.holding.switch_armed(&wanted.membership, wanted.end, now).then_some(Event::SwitchArmed(armed))
        }
        // it is armed once the server is identified
        Err(error) if error.is_another_server() => {
            work.holding.switch_delayed(&wanted.membership, now);
            None
        }
        Err(error) => {
            let why = error.with_causes();
            work.holding.switch_failed(&wanted.membership, &why, now).then_some(Event::SwitchMissing { why })
        }
    };
    if let Some(event) = news {
        work.handle(wanted.last, event, now);
    }
}

fn disarmed(work: &mut AccountWork, membership: &Membership, answer: Result<Disarmed, DatabaseError>, now: Time) {
    work.touch();
    match answer {
        Ok(Disarmed { fired_at, .. }) => {
            work.holding.switch_gone(membership);
            let Some(fired_at) = fired_at else { return };
            let was = |id: &AccessId| {
                let grant = work.accesses.get(id).and_then(|loaded| loaded.access.grant());
                grant.and_then(Grant::membership).is_some_and(|held| held.is_same(membership))
            };
            let whose: Vec<AccessId> = work.accesses.keys().copied().filter(was).collect();
            if whose.is_empty() {
                let audit_event = AuditEvent::new(EventKind::SwitchFired).with("fired_at", stamp(fired_at));
                let audit_event =
                    audit_event.with("account", membership.account.as_str()).with("role", membership.role.as_str());
                work.findings.push(audit_event);
            }
            for id in whose {
                work.handle(id, Event::SwitchFired { fired_at }, now);
            }
        }
        Err(error) => {
            work.holding.switch_failed(membership, &error.with_causes(), now);
        }
    }
}

impl Pump {
    /// Looks at every server that has a dead man's switch of ours, until stopped: a restart may
    /// have ended it.
    pub(super) async fn keep_dead_mans_switches(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            self.watch_dead_mans_switches().await;
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.core.tasks.pause(LOOK_EVERY) => {}
            }
        }
    }

    /// Looks at these servers once, unless that was done within the last minute.
    #[expect(clippy::disallowed_methods, reason = "it limits how often this process looks")]
    pub(super) async fn watch_dead_mans_switches(&self) {
        let now = Instant::now();
        let before = self.dead_mans_switches_seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before.is_some_and(|before| now.duration_since(before) < LOOK_EVERY) {
            return;
        }
        for (tenant, settings) in self.core.tenants() {
            for (target, database) in &settings.databases {
                if let Err(error) = self.watch_dead_mans_switches_of(&tenant, &settings, target, database).await {
                    tracing::warn!(%tenant, %target, %error, "cannot check whether dead man's switches are still armed; trying again later");
                }
            }
        }
    }

    async fn watch_dead_mans_switches_of(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        database: &Arc<dyn Database>,
    ) -> Result<(), StoreError> {
        let record = self.core.store.read(&target_key(tenant, target)).await?;
        let known: TargetRecord = body_or_default(record.as_ref())?;
        let Some(realm) = known.realm else { return Ok(()) };
        let label = Some((ARMED.to_owned(), realm.as_str().to_owned()));
        let ask = PageQuery { tenant: tenant.clone(), kind: Kind::Holding, label, after: None, limit: 1 };
        if self.core.store.page(&ask).await?.is_empty() {
            return Ok(());
        }
        // a server that does not answer is no news for its own work, and there is nothing to do
        // here
        match self.core.tasks.within(LOOK_WITHIN, database.identify()).await {
            Some(Ok(identity)) if identity.realm == realm => {
                match self.core.who_answers(tenant, target, database, &identity).await? {
                    Who::TheRealms | Who::Doubted(_) => self.incarnation(tenant, settings, target, &identity).await,
                    // whoever has work there finds out
                    Who::Another(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl Core {
    /// Moves the dead man's switch of an access before its longer window is recorded, so that it
    /// takes nothing too early. An error says why the switch is not as late as it has to be; no
    /// switch is no error.
    pub(in crate::engine) async fn move_dead_mans_switch(
        &self,
        settings: &Tenant,
        access: &Access,
        end: Time,
    ) -> Result<Result<(), DatabaseError>, StoreError> {
        let (Some(realm), Some(membership)) = (access.realm(), access.grant().and_then(Grant::membership)) else {
            return Ok(Ok(()));
        };
        let key = Holding::key(realm, &access.request().account);
        let record = self.store.read(&RecordKey::new(access.tenant(), Kind::Holding, key)).await?;
        let holding: Option<Holding> = record.as_ref().map(body).transpose()?;
        let Some(armed) = holding.as_ref().and_then(|holding| holding.dead_mans_switch(membership)) else {
            return Ok(Ok(()));
        };
        if armed.end.is_some_and(|armed| armed >= end) {
            return Ok(Ok(()));
        }
        let Some(database) = settings.databases.get(&armed.target) else {
            let why =
                format!("its dead man's switch was armed by target `{}`, which is not registered here", armed.target);
            return Ok(Err(DatabaseError::not_applied(why)));
        };
        let now = self.store.now().await?;
        let handling = &access.approval().plan().handling;
        let order = ArmOrder {
            membership: membership.clone(),
            ends_in: to_std(span(now, end)),
            sessions: handling.sessions,
            // the pump knows what is put back, and arms it again
            default_role: DefaultRole::Goes { back_to: access.default_before().map(str::to_owned) },
        };
        let limit = to_std(self.limits.call);
        let late = || DatabaseError::unreachable("the database did not answer in time");
        let server = match self.tasks.within(limit, database.identify()).await {
            Some(Ok(server)) if server.realm == *realm => server,
            Some(Ok(server)) => {
                let why =
                    format!("target `{}` is another server now (`{}`, was `{realm}`)", armed.target, server.realm);
                return Ok(Err(DatabaseError::AnotherServer { why }));
            }
            Some(Err(error)) => return Ok(Err(error)),
            None => return Ok(Err(late())),
        };
        if let Who::Another(why) = self.who_answers(access.tenant(), &armed.target, database, &server).await? {
            return Ok(Err(DatabaseError::AnotherServer { why }));
        }
        let call = Call { label: format!("{}.extend", self.node), limit, server: Some(server), store: None };
        let orders = [order];
        let answers = self.tasks.within(limit, database.arm(&call, &orders)).await;
        let answer = answers.and_then(|mut answers| answers.pop()).unwrap_or_else(|| Err(late()));
        let meant =
            |armed: Armed| call.meant_for(&armed.identity).map_err(|error| DatabaseError::unknown(error.to_string()));
        Ok(answer.and_then(meant))
    }
}
