//! Application of one event to one access, committed with everything that follows from it.

use crate::actor::Actor;
use crate::audit_event::AuditEvent;
use crate::clock::Time;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::Loaded;
use crate::engine::repository::attempt::{Attempt, until_committed};
use crate::engine::repository::records::RoleOwner;
use crate::engine::repository::records::{add_guards, body, expect, put, role_owner_key};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::tenant::Tenant;
use crate::engine::view::AccessView;
use crate::id::{AccessId, QuestionId, TenantId};
use crate::model::access::{Access, Event, Refused, Step};
use crate::model::holding::{Holding, concerns_holding, mode};
use crate::policy::DeadMansSwitchPolicy;
use crate::store::{Claim, Expect, Kind, RecordKey, Write};

/// Writes that go into the same commit as the access.
#[derive(Debug, Default)]
pub(in crate::engine) struct Beside {
    /// Records that must be as they were read, or are written too.
    pub(in crate::engine) writes: Vec<Write>,
    /// Claims to give back.
    pub(in crate::engine) release: Vec<Claim>,
    /// Records that must be unchanged since the judgement. Guards alone are nothing to commit.
    pub(in crate::engine) guards: Vec<Write>,
}

impl Core {
    /// Handles the event and commits what follows: the access, its place in its holding, entries
    /// and notices.
    pub(in crate::engine) async fn apply(
        &self,
        settings: &Tenant,
        actor: Option<&Actor>,
        loaded: &Loaded,
        event: Event,
        beside: Beside,
    ) -> Result<Attempt<AccessView>, JitError> {
        let now = self.store.now().await?;
        let before = &loaded.access;
        let tenant = before.tenant();
        let mut unit_of_work = UnitOfWork::new(self, tenant, settings, actor, now);
        unit_of_work.change.writes.extend(beside.guards);
        let again = self.extension_again(settings, before, &event, now).await?;
        let (again, by) = again.unzip();
        add_guards(&mut unit_of_work.change.writes, by.into_iter().flatten());
        let ruled = again.map(|again| before.handle(again, now)).transpose().map_err(|refused| refused.why)?;
        let from = ruled.as_ref().map_or(before, |ruled| &ruled.access);
        let step = match from.handle(event, now) {
            Ok(step) => step,
            // what policy says now needs nobody's word
            Err(_) if lengthened(before, from).is_some() => Step { access: from.clone(), audit_events: Vec::new() },
            Err(Refused { why, audit_events }) => {
                match &ruled {
                    // the question is over, or is another question now: whoever tries again has to
                    // see that
                    Some(ruled) if ruled.access.decidable().question() != before.decidable().question() => {
                        let audit_events: Vec<AuditEvent> =
                            ruled.audit_events.iter().cloned().chain(audit_events).collect();
                        unit_of_work.access(&ruled.access, Expect::Version(loaded.version), &audit_events)?;
                        self.place(&mut unit_of_work, Some(before), &ruled.access, now).await?;
                    }
                    _ => unit_of_work.about(before, &audit_events)?,
                }
                unit_of_work.change.release = beside.release;
                return match unit_of_work.attempt().await? {
                    Attempt::Overtaken => Ok(Attempt::Overtaken),
                    Attempt::Done(()) => Err(why.into()),
                };
            }
        };
        if let Some(end) = lengthened(before, &step.access)
            && let Err(error) = self.move_dead_mans_switch(settings, &step.access, end).await?
        {
            // the pump moves it right after, but a rule that requires a switch must not rely on
            // that
            if mode(&step.access) == DeadMansSwitchPolicy::Required {
                return Err(error.into());
            }
            tracing::warn!(access = %before.id(), why = error.with_causes(), "a dead man's switch is not moved yet");
        }
        let view = AccessView::of(&step.access, now);
        let audit_events = loaded.damage.iter().chain(ruled.iter().flat_map(|ruled| &ruled.audit_events));
        let audit_events: Vec<AuditEvent> = audit_events.cloned().chain(step.audit_events).collect();
        if step.access == *before && audit_events.is_empty() && beside.writes.is_empty() && beside.release.is_empty() {
            return Ok(Attempt::Done(view));
        }
        unit_of_work.access(&step.access, Expect::Version(loaded.version), &audit_events)?;
        // a record that is not believed is not believed about its place either
        let was = loaded.damage.is_empty().then_some(before);
        self.place(&mut unit_of_work, was, &step.access, now).await?;
        unit_of_work.change.writes.extend(beside.writes);
        unit_of_work.change.release = beside.release;
        Ok(unit_of_work.attempt().await?.map(|()| view))
    }

    /// Judges the extension that the event speaks about by what policy and directory say now (law
    /// 8). Also returns guards of the records that the judgement read.
    async fn extension_again(
        &self,
        settings: &Tenant,
        access: &Access,
        event: &Event,
        now: Time,
    ) -> Result<Option<(Event, Vec<Write>)>, JitError> {
        let Some(extension) = access.extension().filter(|_| event.is_said()) else { return Ok(None) };
        let request = access.request().for_more(extension.longer, &extension.reason, now);
        let ruling = self.ruling(settings, access.tenant(), &request, None).await?;
        let stops = self.stops(access.tenant()).await?;
        let (fresh, guards) = self.fresh(settings, access.tenant(), &extension.approval, &stops).await?;
        let question = QuestionId::fresh(&*self.entropy);
        Ok(Some((Event::RuleExtensionAgain { ruling, fresh, question }, guards)))
    }

    /// Applies an event that does not depend on an earlier read. It is retried until nobody else is
    /// in the way.
    pub(in crate::engine) async fn change(
        &self,
        settings: &Tenant,
        tenant: &TenantId,
        id: AccessId,
        event: Event,
    ) -> Result<AccessView, JitError> {
        until_committed!(async {
            let now = self.store.now().await?;
            let loaded = self.load(tenant, id, now).await?;
            self.apply(settings, None, &loaded, event.clone(), Beside::default()).await
        })
    }

    /// Updates the holding for an access that joined it, left it or is due at another time.
    pub(in crate::engine) async fn place(
        &self,
        unit_of_work: &mut UnitOfWork<'_>,
        before: Option<&Access>,
        access: &Access,
        now: Time,
    ) -> Result<(), JitError> {
        let Some(realm) = access.realm() else { return Ok(()) };
        if !concerns_holding(before, access) {
            return Ok(());
        }
        let (tenant, holds) = (access.tenant(), access.in_holding());
        let key = Holding::key(realm, &access.request().account);
        let owner_key = role_owner_key(realm, &access.request().role);
        let read = self.store.read_all(&[RecordKey::new(tenant, Kind::Holding, key), owner_key.clone()]).await?;
        let (record, owner) = (read.first().and_then(Option::as_ref), read.get(1).and_then(Option::as_ref));
        match owner.map(body::<RoleOwner>).transpose()? {
            None if holds => {
                unit_of_work.change.writes.push(put(owner_key, None, &RoleOwner { tenant: tenant.clone() }, None)?);
            }
            Some(owner) if holds && owner.tenant != *tenant => {
                return Err(JitError::of_another_tenant(&access.request().target, &access.request().role));
            }
            _ => {}
        }
        let mut holding: Holding = match record {
            Some(record) => body(record)?,
            None => Holding::new(tenant.clone(), realm.clone(), access.request().account.clone()),
        };
        let due = record.and_then(|record| record.schedule.as_ref()).map(|schedule| schedule.due);
        let due = holding.follow(before, access, due, now);
        unit_of_work.holding(&holding, expect(record), due)?;
        Ok(())
    }
}

/// Returns the new end of a window that became longer.
fn lengthened(before: &Access, after: &Access) -> Option<Time> {
    let end = after.window()?.end();
    before.window().is_some_and(|before| before.end() < end).then_some(end)
}
