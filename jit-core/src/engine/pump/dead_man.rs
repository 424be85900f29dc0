//! Dead man's switches: armed before a role is granted, moved with its window, and disarmed when
//! its end is verified.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::super::core::{Core, Tenant};
use super::super::records::{ARMED, TargetRecord, body, body_or_default, target_key};
use super::super::who::Who;
use super::Lanes;
use super::case::Case;
use super::counted::Counted;
use super::outcome::{RETRY_FIRST, RETRY_LONGEST};
use super::realm::{Pass, Served};
use crate::access::{Access, Event};
use crate::clock::{Time, after, span, to_std};
use crate::database::adapter::copied;
use crate::database::{
    ArmOrder, Armed, Call, Database, DatabaseError, DeadManHere, DefaultRole, Disarmed, Rejection, Subject,
};
use crate::fact::{Fact, What, stamp};
use crate::grant::Grant;
use crate::holding::{ArmedDeadMan, Holding, WantedDeadMan, mode, same, wanted_dead_men};
use crate::id::{AccessId, TargetName, TenantId};
use crate::policy::DeadMan;
use crate::store::{Kind, PageAsk, RecordKey, StoreError};

/// Interval between two looks whether a server with our dead man's switches was restarted.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Limit for the server's answer to such a look.
const LOOK_WITHIN: Duration = Duration::from_secs(1);

impl Case {
    /// Makes due what has to be armed, moved or disarmed.
    pub(super) fn plan_dead_men(&mut self, target: &TargetName, here: &DeadManHere, now: Time) {
        let by = matches!(here, DeadManHere::By(_)).then_some(target);
        let live: Vec<_> = self.accesses.values().map(|loaded| &loaded.access).collect();
        if self.holding.plan_dead_men(&live, by, now) {
            self.touch();
        }
    }

    /// Checks whether the pass of this label is about to send the grant of one of these.
    fn begins(&self, wanted: &WantedDeadMan, label: &str) -> bool {
        let begins = |id: &AccessId| match self.accesses.get(id).and_then(|loaded| loaded.access.grant()) {
            Some(Grant::Granting(granting)) => granting.intent.label == label,
            _ => false,
        };
        wanted.accesses.iter().any(begins)
    }

    /// Returns the reason why nothing may be granted to this access, whose rule requires a dead
    /// man's switch. None if it is armed or not required.
    pub(super) fn without_dead_man(&self, id: AccessId, here: &DeadManHere) -> Option<DatabaseError> {
        let access = self.accesses.get(&id).map(|loaded| &loaded.access)?;
        let subject = access.grant().and_then(Grant::subject)?;
        if mode(access) != DeadMan::Required {
            return None;
        }
        let Some(armed) = self.holding.dead_man(subject) else {
            return Some(match here {
                DeadManHere::Missing { mend } => missing(mend),
                DeadManHere::By(_) => DatabaseError::not_applied("its dead-man, which its rule requires, is not armed"),
            });
        };
        let end = wanted_dead_men(&self.live()).into_iter().find(|wanted| same(&wanted.subject, subject))?.end?;
        let enough = armed.end.is_some_and(|armed| armed >= end);
        (!enough).then(|| {
            let why = armed.trouble.as_deref().unwrap_or("nobody said why");
            DatabaseError::not_applied(format!("its dead-man, which its rule requires, could not be armed: {why}"))
        })
    }
}

/// Returns the error if a rule requires a dead man's switch and there is none.
pub(in crate::engine) fn missing(mend: &str) -> DatabaseError {
    let why = format!("its rule requires a dead-man, and the database has none: {mend}");
    DatabaseError::rejected(Rejection::NoDeadMan, why)
}

impl Pass<'_> {
    /// Arms what is due before the grants that need it. With `over`, also arms what should have
    /// ended and whose revoke was tried but is not verified. Returns whether the server answered.
    pub(super) async fn arm(&mut self, now: Time, over: bool) -> Served {
        let (mut whose, mut orders) = (Vec::new(), Vec::new());
        for (place, case) in self.fit(now) {
            for wanted in wanted_dead_men(&case.live()).into_iter().filter(|wanted| over || wanted.end.is_some()) {
                let Some(armed) = case.holding.dead_man(&wanted.subject) else { continue };
                let is_due = |due: Time| due <= now || case.begins(&wanted, &self.label);
                if armed.target != self.target || !armed.due.is_some_and(is_due) {
                    continue;
                }
                orders.push(ArmOrder {
                    subject: wanted.subject.clone(),
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
        let (answers, served) = self.tell(&call, orders.len(), self.database.arm(&call, &orders)).await;
        for ((place, wanted), answer) in whose.into_iter().zip(answers) {
            if let Err(error) = &answer
                && error.is_another_store()
            {
                self.theirs.push((place, wanted.subject.clone(), copied(error)));
            }
            if let Some(case) = self.cases.get_mut(place) {
                armed(case, &wanted, answer, now);
            }
        }
        served
    }

    /// Moves and disarms what the effects of this pass made due.
    pub(super) async fn follow(&mut self, now: Time) -> Served {
        let counted = Counted::from(now);
        for case in &mut self.cases {
            case.plan_dead_men(&self.target, &self.dead_man, now);
        }
        let armed = self.arm(now, true).await;
        if let Served::Unreachable(_) = armed {
            return armed;
        }
        let fit: Vec<usize> = self.fit(counted.now()).map(|(place, _)| place).collect();
        let (mut whose, mut subjects) = (Vec::new(), Vec::new());
        for (place, case) in self.cases.iter_mut().enumerate().filter(|(place, _)| fit.binary_search(place).is_ok()) {
            let wanted = wanted_dead_men(&case.live());
            let over = |subject: &Subject| !wanted.iter().any(|wanted| same(&wanted.subject, subject));
            let mut elsewhere = false;
            for armed in case.holding.armed.iter_mut().filter(|armed| armed.due.is_some_and(|due| due <= now)) {
                if armed.target != self.target {
                    armed.due = Some(after(now, RETRY_LONGEST));
                    elsewhere = true;
                } else if over(&armed.subject) {
                    whose.push(place);
                    subjects.push(armed.subject.clone());
                }
            }
            if elsewhere {
                case.touch();
            }
        }
        if subjects.is_empty() {
            return armed;
        }
        let call = self.call();
        let (answers, served) = self.tell(&call, subjects.len(), self.database.disarm(&call, &subjects)).await;
        for ((place, subject), answer) in whose.into_iter().zip(subjects).zip(answers) {
            if let Some(case) = self.cases.get_mut(place) {
                disarmed(case, &subject, answer, now);
            }
        }
        armed.and(served)
    }
}

fn armed(case: &mut Case, wanted: &WantedDeadMan, answer: Result<Armed, DatabaseError>, now: Time) {
    case.touch();
    let Some(entry) = case.holding.armed.iter_mut().find(|armed| same(&armed.subject, &wanted.subject)) else { return };
    let news = match answer {
        Ok(armed) => {
            // a move closer, to the end of a window that has begun, is no news
            let news = entry.end.is_none() || entry.end < wanted.end;
            (entry.end, entry.due, entry.trouble) = (wanted.end.or(entry.end).or(Some(now)), None, None);
            news.then_some(Event::DeadManArmed(armed))
        }
        // it is armed once the server is identified
        Err(error) if error.is_another_server() => {
            entry.due = Some(again(entry, now));
            None
        }
        Err(error) => {
            let why = error.with_causes();
            let news = entry.trouble.as_ref() != Some(&why);
            (entry.due, entry.trouble) = (Some(again(entry, now)), Some(why.clone()));
            news.then_some(Event::DeadManMissing { why })
        }
    };
    if let Some(event) = news {
        case.handle(wanted.last, event, now);
    }
}

/// Returns the time of the next try after a failure: soon at first, then less often.
fn again(entry: &ArmedDeadMan, now: Time) -> Time {
    after(now, if entry.trouble.is_none() { RETRY_FIRST } else { RETRY_LONGEST })
}

fn disarmed(case: &mut Case, subject: &Subject, answer: Result<Disarmed, DatabaseError>, now: Time) {
    case.touch();
    match answer {
        Ok(Disarmed { fired_at, .. }) => {
            case.holding.armed.retain(|armed| !same(&armed.subject, subject));
            let Some(fired_at) = fired_at else { return };
            let was = |id: &AccessId| {
                let grant = case.accesses.get(id).and_then(|loaded| loaded.access.grant());
                grant.and_then(Grant::subject).is_some_and(|held| same(held, subject))
            };
            let whose: Vec<AccessId> = case.accesses.keys().copied().filter(was).collect();
            if whose.is_empty() {
                let fact = Fact::new(What::DeadManFired).with("fired_at", stamp(fired_at));
                let fact = fact.with("account", subject.account.as_str()).with("role", subject.role.as_str());
                case.findings.push(fact);
            }
            for id in whose {
                case.handle(id, Event::DeadManFired { fired_at }, now);
            }
        }
        Err(error) => {
            let why = error.with_causes();
            for armed in case.holding.armed.iter_mut().filter(|armed| same(&armed.subject, subject)) {
                (armed.due, armed.trouble) = (Some(again(armed, now)), Some(why.clone()));
            }
        }
    }
}

impl Lanes {
    /// Looks at every server that has a dead man's switch of ours, until stopped: a restart may
    /// have ended it.
    pub(super) async fn keep_dead_men(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        while !*stopped.borrow() {
            self.watch_dead_men().await;
            tokio::select! {
                biased;
                _ = stopped.changed() => {}
                () = self.core.tasks.pause(LOOK_EVERY) => {}
            }
        }
    }

    /// Looks at these servers once, unless that was done within the last minute.
    pub(super) async fn watch_dead_men(&self) {
        let now = Instant::now();
        let before = self.dead_men_seen.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before.is_some_and(|before| now.duration_since(before) < LOOK_EVERY) {
            return;
        }
        for (tenant, settings) in self.core.tenants() {
            for (target, database) in &settings.databases {
                if let Err(error) = self.watch_dead_men_of(&tenant, &settings, target, database).await {
                    tracing::warn!(%tenant, %target, %error, "whether dead-men are still armed is looked at later");
                }
            }
        }
    }

    async fn watch_dead_men_of(
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
        let ask = PageAsk { tenant: tenant.clone(), kind: Kind::Holding, label, after: None, limit: 1 };
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
    pub(in crate::engine) async fn move_dead_man(
        &self,
        settings: &Tenant,
        access: &Access,
        end: Time,
    ) -> Result<Result<(), DatabaseError>, StoreError> {
        let (Some(realm), Some(subject)) = (access.realm(), access.grant().and_then(Grant::subject)) else {
            return Ok(Ok(()));
        };
        let key = Holding::key(realm, &access.request().account);
        let record = self.store.read(&RecordKey::new(access.tenant(), Kind::Holding, key)).await?;
        let holding: Option<Holding> = record.as_ref().map(body).transpose()?;
        let Some(armed) = holding.as_ref().and_then(|holding| holding.dead_man(subject)) else { return Ok(Ok(())) };
        if armed.end.is_some_and(|armed| armed >= end) {
            return Ok(Ok(()));
        }
        let Some(database) = settings.databases.get(&armed.target) else {
            let why = format!("its dead-man was armed by target `{}`, which is not registered here", armed.target);
            return Ok(Err(DatabaseError::not_applied(why)));
        };
        let now = self.store.now().await?;
        let handling = &access.approval().plan().handling;
        let order = ArmOrder {
            subject: subject.clone(),
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
