//! Requests for a role.

use std::time::Duration;

use chrono::TimeDelta;

use crate::actor::Actor;
use crate::alike::{Known, refusal};
use crate::audit_event::{AuditEvent, EventKind};
use crate::database::{Capabilities, DeadMansSwitch, Membership};
use crate::engine::Jit;
use crate::engine::access_request::AccessRequest;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::attempt::{Attempt, retry};
use crate::engine::repository::records::{
    AskedBefore, LastEmergency, TargetRecord, ask_key, body, body_or_default, emergency_key, guard, put, stops_key,
    target_key,
};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::tenant::Tenant;
use crate::engine::view::AccessView;
use crate::id::{AccessId, LONGEST_ID, RealmId, RoleName, TargetName};
use crate::model::access::{Access, Event};
use crate::model::approval::{Confirmation, Parties};
use crate::model::request::Request;
use crate::policy::{DeadMansSwitchPolicy, Ruling};
use crate::store::{ClockState, Expect, Record, RecordKey};
use crate::text::{LONGEST_NOTE, LONGEST_TICKET, taken};

/// Time for which a request waits for the target to report standing memberships. What it does not
/// learn in time is learnt before the grant.
const LOOK_WHEN_ASKED: Duration = Duration::from_millis(500);

impl Jit {
    /// Requests a role. If policy needs nobody's approval, the request is approved at once and the
    /// database grants the role right after.
    ///
    /// # Errors
    /// [`JitError::Denied`] by policy, [`JitError::Standing`] if the role is held already,
    /// [`JitError::Stopped`] during an emergency stop, [`JitError::NotFound`] and
    /// [`JitError::Invalid`] for arguments that make no sense. These refusals are logged.
    /// [`JitError::KeyInUse`] if the key belongs to another request, which is not logged.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, access = tracing::field::Empty))]
    pub async fn request(&self, actor: &Actor, ask: AccessRequest) -> Result<AccessView, JitError> {
        let settings = self.settings_for(actor)?;
        if let Err(error) = valid_key(&ask) {
            return self.core.refuse_request(&settings, actor, &ask, error).await;
        }
        // a repeated request answers with the first one's access, whatever has changed since
        if let Some(before) = self.asked_before(&settings, actor, &ask).await? {
            return Ok(before);
        }
        let request = match self.as_request(&settings, actor, &ask).await {
            Ok(request) => request,
            Err(error) => return self.core.refuse_request(&settings, actor, &ask, error).await,
        };
        let requested = retry!(self.try_request(&settings, actor, &ask, &request));
        match requested {
            Ok(Attempt::Done(view)) => {
                tracing::Span::current().record("access", tracing::field::display(view.id));
                Ok(view)
            }
            Ok(Attempt::Overtaken) => Err(JitError::Busy),
            Err(error @ (JitError::Store(_) | JitError::Directory(_) | JitError::Database(_))) => Err(error),
            Err(error) => self.core.refuse_request(&settings, actor, &ask, error).await,
        }
    }

    /// Returns the access of the same request, if it was made before.
    async fn asked_before(
        &self,
        settings: &Tenant,
        actor: &Actor,
        ask: &AccessRequest,
    ) -> Result<Option<AccessView>, JitError> {
        let Some(key) = &ask.key else { return Ok(None) };
        let record = self.core.store.read(&ask_key(&self.tenant, &actor.principal, key)).await?;
        let Some(AskedBefore { access }) = record.as_ref().map(body).transpose()? else { return Ok(None) };
        let before = AccessView { repeated: true, ..self.access(access).await? };
        let role = settings.database(&before.target).ok().and_then(|database| database.role(&ask.role).ok());
        let same = before.target.as_str() == ask.target
            && role.is_none_or(|role| role == before.role)
            && before.principal == *ask.grantee.as_ref().unwrap_or(&actor.principal)
            && before.duration == ask.duration
            && before.starts_at == ask.start
            && before.reason == ask.reason.trim()
            && before.ticket == ask.ticket
            && before.break_glass == ask.break_glass;
        if !same {
            return Err(JitError::KeyInUse { key: key.clone(), id: access });
        }
        Ok(Some(before))
    }

    /// Builds the request, with every name parsed and validated.
    pub(super) async fn as_request(
        &self,
        settings: &Tenant,
        actor: &Actor,
        ask: &AccessRequest,
    ) -> Result<Request, JitError> {
        let target = TargetName::new(ask.target.as_str())?;
        let database = settings.database(&target)?;
        let role = database.role(&ask.role)?;
        if ask.duration <= TimeDelta::zero() {
            return Err(JitError::invalid("the duration has to be longer than zero"));
        }
        taken("reason", &ask.reason, LONGEST_NOTE)?;
        taken("ticket", ask.ticket.as_deref().unwrap_or_default(), LONGEST_TICKET)?;
        taken("role", role.as_str(), LONGEST_ID)?;
        let grantee = ask.grantee.clone().unwrap_or_else(|| actor.principal.clone());
        settings.is_no_look_alike("principal", &actor.principal).await?;
        if grantee != actor.principal {
            settings.is_no_look_alike("principal", &grantee).await?;
        }
        let account = settings.directory.account(&grantee, &target).await?;
        if account.is_none()
            && let Some(like) = settings.directory.account_like(grantee.as_str(), &target).await?
        {
            return Err(JitError::invalid(refusal("account", grantee.as_str(), &like)));
        }
        let account = database.account(account.as_deref().unwrap_or(grantee.as_str()))?;
        taken("account", account.as_str(), LONGEST_ID)?;
        let now = self.core.store.now().await?;
        if let Some(start) = ask.start
            && start < now
        {
            return Err(JitError::invalid("the start lies in the past: leave it out to begin at once"));
        }
        Ok(Request {
            target,
            role,
            parties: Parties { requester: actor.principal.clone(), grantee },
            account,
            duration: ask.duration,
            start: ask.start,
            reason: ask.reason.trim().to_owned(),
            ticket: ask.ticket.clone(),
            asked_at: now,
            break_glass: ask.break_glass,
        })
    }

    /// Tries the request once.
    async fn try_request(
        &self,
        settings: &Tenant,
        actor: &Actor,
        ask: &AccessRequest,
        request: &Request,
    ) -> Result<Attempt<AccessView>, JitError> {
        let core = &self.core;
        let key = ask.key.as_ref().map(|key| ask_key(&self.tenant, &actor.principal, key));
        let mut keys = vec![stops_key(&self.tenant), target_key(&self.tenant, &request.target)];
        keys.extend(key.clone());
        let read = core.store.read_all(&keys).await?;
        let at = |place: usize| read.get(place).and_then(Option::as_ref);
        // the same request may have been made at the same time
        if at(2).is_some()
            && let Some(before) = self.asked_before(settings, actor, ask).await?
        {
            return Ok(Attempt::Done(before));
        }
        core.trust_clock().await?;
        let known: TargetRecord = body_or_default(at(1))?;
        let stops = core.stops_in(&self.tenant, at(0)).await?;
        if let Some(stop) = stops.meets(settings, request, known.realm.as_ref()).await? {
            return Err(stop.refusal());
        }
        if let Err(refused) = known.usable(&request.target) {
            // the target may have been repaired: then the next request is taken
            self.core.register_target(&self.tenant, &request.target).await?;
            return Err(refused);
        }
        let emergencies = core.emergencies(settings, &self.tenant, request).await?;
        let plan = match core.ruling(settings, &self.tenant, request, None).await? {
            Ruling::Planned(plan) => plan,
            Ruling::Denied { rule, reason, .. } => {
                let reason = settings.with_the_role_meant(request, rule.is_none(), reason).await?;
                return Err(JitError::Denied { reason, rule });
            }
        };
        if let Some(realm) = &known.realm {
            if !core.owns(&self.tenant, realm, &request.role).await? {
                return Err(JitError::of_another_tenant(&request.target, &request.role));
            }
            self.standing(settings, realm, request).await?;
            if plan.handling.dead_mans_switch == DeadMansSwitchPolicy::Required {
                self.has_dead_mans_switch(settings, request).await?;
            }
        }
        let now = core.store.now().await?;
        let id = AccessId::fresh(now, &*core.entropy);
        let audit_event = AuditEvent::new(EventKind::Requested)
            .with("duration", request.duration)
            .with("reason", request.reason.as_str())
            .maybe("ticket", request.ticket.as_deref())
            .maybe("start", request.start);
        let mut access = Access::new(id, self.tenant.clone(), known.realm.clone(), request.clone(), plan, now);
        let audit_event = audit_event.with("state", access.state()).with("awaits", access.pending_on());
        let mut audit_events = vec![audit_event];
        if let Some(owed) = &access.approval().plan().break_glass {
            let review_by = owed.review_by.describe();
            audit_events.push(
                AuditEvent::new(EventKind::BreakGlass)
                    .with("reason", request.reason.as_str())
                    .with("review_by", review_by),
            );
        }
        audit_events.extend(access.asked_at_once());
        // a second factor that came with the request is verified if any stage demands one
        let mut proven = Vec::new();
        if let Ok(mfa) = access.decidable().confirms(&actor.principal)
            && actor.response.is_some()
        {
            let proof = core.prove(settings, actor, &access, &mfa, now).await?;
            proven = proof.writes;
            let question = access.decidable().question();
            let confirmation = Confirmation { question, by: actor.principal.clone(), at: now, proven: proof.proven };
            let step = access.handle(Event::Confirm(confirmation), now).map_err(|refused| refused.why)?;
            (access, audit_events) = (step.access, audit_events.into_iter().chain(step.audit_events).collect());
        }
        let mut unit_of_work = UnitOfWork::new(core, &self.tenant, settings, Some(actor), now);
        unit_of_work.access(&access, Expect::Absent, &audit_events)?;
        unit_of_work.change.writes.extend(proven);
        // a stop, or a target written off, that comes in between has to conflict
        unit_of_work.change.writes.push(guard(stops_key(&self.tenant), at(0)));
        unit_of_work.change.writes.push(guard(target_key(&self.tenant, &request.target), at(1)));
        if let Some(key) = key {
            unit_of_work.change.writes.push(put(key, None, &AskedBefore { access: id }, None)?);
        }
        for (key, before) in emergencies {
            unit_of_work.change.writes.push(put(key, before.as_ref(), &LastEmergency { access: id }, None)?);
        }
        core.place(&mut unit_of_work, None, &access, now).await?;
        Ok(unit_of_work.attempt().await?.map(|()| AccessView::of(&access, now)))
    }

    /// Refuses a request that needs a dead man's switch if the target reports in time that it has
    /// none.
    async fn has_dead_mans_switch(&self, settings: &Tenant, request: &Request) -> Result<(), JitError> {
        let database = settings.database(&request.target)?;
        match self.core.tasks.within(LOOK_WHEN_ASKED, database.capabilities()).await {
            Some(Ok(Capabilities { dead_mans_switch: DeadMansSwitch::Unavailable { remedy }, .. })) => {
                let why = "it has no dead man's switch, which the rule requires";
                Err(JitError::refused_target(&request.target, why, remedy))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a role that is held already, and not by a grant of ours (law 6), if the target
    /// answers in time.
    async fn standing(&self, settings: &Tenant, realm: &RealmId, request: &Request) -> Result<(), JitError> {
        match self.held_already(settings, realm, request).await? {
            None => Ok(()),
            // an access of ours may have ended between the look and the reading of the records
            Some(_) => match self.held_already(settings, realm, request).await? {
                None => Ok(()),
                Some(finding) => Err(JitError::Standing { finding }),
            },
        }
    }

    /// Describes how the role is held, if not by a grant of ours. None if it is not held, or if the
    /// target does not answer in time.
    async fn held_already(
        &self,
        settings: &Tenant,
        realm: &RealmId,
        request: &Request,
    ) -> Result<Option<String>, JitError> {
        let database = settings.database(&request.target)?;
        let membership = Membership {
            account: request.account.clone(),
            account_id: None,
            role: request.role.clone(),
            role_id: None,
        };
        let memberships = [membership];
        let look = self.core.tasks.within(LOOK_WHEN_ASKED, database.observe(&memberships)).await;
        let Some(Ok(observation)) = look else { return Ok(None) };
        if observation.identity.realm != *realm {
            let found = format!("it was `{realm}` and now answers as `{}`", observation.identity.realm);
            return Err(JitError::another_server(&request.target, found));
        }
        let tenant = &self.tenant;
        let who = self.core.who_answers(tenant, &request.target, database, &observation.identity).await?;
        if let Some(why) = who.refused() {
            return Err(JitError::another_server(&request.target, why));
        }
        let Some(seen) = observation.seen.first() else { return Ok(None) };
        if !seen.account_exists {
            return Err(JitError::NoAccount {
                account: request.account.clone(),
                target: request.target.clone(),
                alike: seen.alike.clone(),
            });
        }
        if !seen.role_exists {
            return Err(JitError::invalid(format!(
                "there is no role `{}` on target `{}`: create it, or ask for one that is there",
                request.role, request.target
            )));
        }
        if seen.direct.is_empty() && seen.through.is_empty() && seen.marked_by.is_none() {
            return Ok(None);
        }
        let live = self.core.live_of(&self.tenant, realm, &request.account).await?;
        let live: Vec<&Access> = live.iter().collect();
        let [membership] = &memberships;
        Ok(crate::model::holding::standing(None, &live, seen, membership))
    }
}

impl Tenant {
    /// Adds to the reason why no rule gives the role the name that was probably meant.
    async fn with_the_role_meant(&self, request: &Request, no_rule: bool, reason: String) -> Result<String, JitError> {
        if !no_rule {
            return Ok(reason);
        }
        let requestable = self.policy.requestable(&request.target).await?;
        let known: Known = requestable.iter().map(RoleName::as_str).collect();
        let role = request.role.as_str();
        Ok(match known.like(role) {
            Some(like) => format!("{reason}; {}", refusal("role", role, like)),
            None => reason,
        })
    }
}

impl Core {
    /// Logs a refused request.
    async fn refuse_request<T>(
        &self,
        settings: &Tenant,
        actor: &Actor,
        ask: &AccessRequest,
        error: JitError,
    ) -> Result<T, JitError> {
        let now = self.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(self, &actor.tenant, settings, Some(actor), now);
        // of a text that is not acceptable nothing is kept
        let short = |text: &str| taken("text", text, LONGEST_NOTE).unwrap_or_default().to_owned();
        let what =
            if matches!(error, JitError::Standing { .. }) { EventKind::Finding } else { EventKind::RequestRefused };
        unit_of_work.audit(
            AuditEvent::new(what)
                .with("target", short(&ask.target))
                .with("role", short(&ask.role))
                .with("duration", ask.duration)
                .with("reason", short(&ask.reason))
                .with("kind", error.kind())
                .with("why", error.to_string()),
        );
        unit_of_work.commit().await?;
        Err(error)
    }

    /// Refuses new grants while the clock cannot be trusted (law 10).
    pub(in crate::engine) async fn trust_clock(&self) -> Result<(), JitError> {
        match self.store.clock_state().await? {
            ClockState::Doubtful { mark, wall } => Err(JitError::ClockDoubtful {
                why: format!("the store last saw {mark}, and this machine says {wall}, more than 24 h apart"),
            }),
            ClockState::Good | ClockState::Stepped { .. } => Ok(()),
        }
    }

    /// Returns the records that every emergency of these people changes, so that of two at once one
    /// conflicts.
    async fn emergencies(
        &self,
        settings: &Tenant,
        tenant: &crate::id::TenantId,
        request: &Request,
    ) -> Result<Vec<(RecordKey, Option<Record>)>, JitError> {
        if !request.break_glass {
            return Ok(Vec::new());
        }
        let Parties { requester, grantee } = &request.parties;
        let humans =
            std::collections::BTreeSet::from([settings.human(requester).await?, settings.human(grantee).await?]);
        let keys: Vec<RecordKey> = humans.iter().map(|human| emergency_key(tenant, human)).collect();
        let read = self.store.read_all(&keys).await?;
        Ok(keys.into_iter().zip(read).collect())
    }
}

impl TargetRecord {
    /// Checks whether the target takes new requests.
    pub(in crate::engine) fn usable(&self, target: &TargetName) -> Result<(), JitError> {
        if self.retired.is_some() {
            let why = "it was written off, and an operator has to confirm it before it is used again";
            let hint = "confirm it (`Jit::confirm_target`, or `jit target confirm`)";
            return Err(JitError::refused_target(target, why, hint));
        }
        if let Some(found) = &self.copy {
            return Err(JitError::another_server(target, found));
        }
        match (&self.realm, &self.stranger) {
            (Some(realm), Some(stranger)) => Err(JitError::another_server(
                target,
                format!(
                    "it was `{realm}` and now answers as `{stranger}`: put the URL right, or confirm it (`Jit::confirm_target`, or `jit target confirm`)"
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// Checks the idempotency key before anything is looked up by it.
fn valid_key(ask: &AccessRequest) -> Result<(), JitError> {
    let Some(key) = &ask.key else { return Ok(()) };
    if key.is_empty() || key.len() > LONGEST_ID {
        return Err(JitError::invalid(format!("the key has to have 1 to {LONGEST_ID} bytes")));
    }
    taken("key", key, LONGEST_ID)?;
    Ok(())
}
