//! Directory look-ups about people, and permissions of people (law 16).

mod delegations;
pub(in crate::engine) mod servers;
pub(in crate::engine) mod stops;

use std::collections::BTreeSet;

use crate::actor::Actor;
use crate::alike::refusal;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::Time;
use crate::directory::{DirectoryError, Person};
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::records::owes_label;
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::stops::StopsNow;
use crate::engine::tenant::Tenant;
use crate::id::{AccessId, Principal, TargetName, TenantId};
use crate::model::access::Access;
use crate::model::approval::{Approval, Fresh, Parties, Snapshot};
use crate::model::request::Request;
use crate::policy::{Action, Question, Ruling};
use crate::store::{Kind, PageQuery, StoreError, Write};

impl Tenant {
    /// Looks up the person with all groups that policy could ask about.
    pub(in crate::engine) async fn person(&self, who: &Principal) -> Result<Person, DirectoryError> {
        self.directory.person(who, self.policy.groups()).await
    }

    /// Refuses an unknown name that could be mistaken for a known one. Names in the policy and in
    /// the directory are known and never refused.
    ///
    /// # Errors
    /// [`JitError::Invalid`] names the known one.
    pub(in crate::engine) async fn is_no_look_alike(&self, what: &str, who: &Principal) -> Result<(), JitError> {
        let named = self.policy.people();
        if named.has(who.as_str()) {
            return Ok(());
        }
        let like = match named.like(who.as_str()) {
            Some(like) => Some(like.to_owned()),
            None => self.directory.principal_like(who).await?.map(String::from).filter(|like| *like != who.as_str()),
        };
        match like {
            Some(like) if !self.directory.knows(who).await? => {
                Err(JitError::invalid(refusal(what, who.as_str(), &like)))
            }
            _ => Ok(()),
        }
    }

    /// Builds the question to the policy. `owes_review` says that the requester or the grantee owes
    /// a review.
    pub(in crate::engine) fn question<'q>(
        &self,
        request: &'q Request,
        requester: &'q Person,
        grantee: &'q Person,
        owes_review: bool,
    ) -> Question<'q> {
        Question {
            target: &request.target,
            role: &request.role,
            requester,
            grantee,
            duration: request.duration,
            reason: &request.reason,
            ticket: request.ticket.as_deref(),
            start: request.start,
            asked_at: request.asked_at,
            break_glass: request.break_glass,
            owes_review,
        }
    }

    /// Takes from the directory what it says of a decider, for this approval.
    pub(in crate::engine) async fn snapshot(
        &self,
        decider: &Principal,
        parties: &Parties,
        groups: &BTreeSet<crate::id::Group>,
    ) -> Result<Snapshot, DirectoryError> {
        let none = BTreeSet::new();
        let decider = self.directory.person(decider, groups).await?;
        let requester = self.directory.person(&parties.requester, &none).await?;
        let grantee = if parties.grantee == parties.requester {
            requester.clone()
        } else {
            self.directory.person(&parties.grantee, &none).await?
        };
        let manages = |person: &Person| person.manager.as_ref().is_some_and(|manager| *manager == decider.principal);
        Ok(Snapshot {
            manages_requester: manages(&requester),
            manages_grantee: manages(&grantee),
            human: decider.human,
            requester: requester.human,
            grantee: grantee.human,
            groups: decider.groups,
        })
    }

    /// Takes the same snapshot; a decider unknown to the directory is in no group and nobody's
    /// manager.
    pub(in crate::engine) async fn snapshot_or_stranger(
        &self,
        decider: &Principal,
        approval: &Approval,
    ) -> Result<Snapshot, DirectoryError> {
        let parties = approval.parties();
        match self.snapshot(decider, parties, &approval.plan().groups()).await {
            Err(DirectoryError::Unknown { .. }) => Ok(Snapshot {
                human: decider.clone(),
                requester: parties.requester.clone(),
                grantee: parties.grantee.clone(),
                groups: BTreeSet::new(),
                manages_requester: false,
                manages_grantee: false,
            }),
            other => other,
        }
    }
}

impl Core {
    /// Asks policy about the request now; `itself` is the access that the request belongs to, if
    /// there is one.
    pub(in crate::engine) async fn ruling(
        &self,
        settings: &Tenant,
        tenant: &TenantId,
        request: &Request,
        itself: Option<AccessId>,
    ) -> Result<Ruling, JitError> {
        let Parties { requester, grantee } = &request.parties;
        let requester_is = match settings.person(requester).await {
            Err(DirectoryError::Unknown { who }) => return Ok(unknown(&who, settings)),
            other => other?,
        };
        let grantee_is = if grantee == requester {
            requester_is.clone()
        } else {
            match settings.person(grantee).await {
                Err(DirectoryError::Unknown { who }) => return Ok(unknown(&who, settings)),
                other => other?,
            }
        };
        let humans = BTreeSet::from([&requester_is.human, &grantee_is.human]);
        let owes = request.break_glass && self.owes_review(tenant, humans, itself).await?;
        settings.policy.rule(&settings.question(request, &requester_is, &grantee_is, owes)).await
    }

    /// Checks whether one of the humans has another emergency that has begun or ended and has no
    /// review yet.
    pub(in crate::engine) async fn owes_review(
        &self,
        tenant: &TenantId,
        humans: BTreeSet<&Principal>,
        itself: Option<AccessId>,
    ) -> Result<bool, StoreError> {
        let itself = itself.map(|id| id.to_string());
        for human in humans {
            let label = Some(owes_label(human));
            let ask = PageQuery { tenant: tenant.clone(), kind: Kind::Access, label, after: None, limit: 2 };
            let page = self.store.page(&ask).await?;
            if page.iter().any(|record| Some(&record.at.key) != itself.as_ref()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Asks the directory again about everybody who decided.
    ///
    /// Left out, and so not counted, are deciders whom the directory no longer knows or who are
    /// stopped. So are those who decided in the place of somebody who took that back or is stopped.
    ///
    /// The result includes guards of the delegations that were read. Commit them with the outcome,
    /// so that a delegation that is taken back meanwhile does not count.
    pub(in crate::engine) async fn fresh(
        &self,
        settings: &Tenant,
        tenant: &TenantId,
        approval: &Approval,
        stops: &StopsNow,
    ) -> Result<(Vec<Fresh>, Vec<Write>), JitError> {
        let groups = settings.policy.groups();
        let groups = groups.union(&approval.plan().groups()).cloned().collect();
        let (mut fresh, mut guards) = (Vec::new(), Vec::new());
        for decision in approval.decisions() {
            let by = decision.by.clone();
            if stops.of_person(settings, &by).await?.is_some() {
                continue;
            }
            let Some(snapshot) = known(settings.snapshot(&by, approval.parties(), &groups).await)? else { continue };
            let mut in_place_of = None;
            if let Some(away) = &decision.in_place_of {
                let (given, guard) = self.delegation(tenant, &away.who).await?;
                guards.push(guard);
                if given.is_some_and(|given| given.cover(&by, decision.at))
                    && settings.directory.knows(&by).await?
                    && stops.of_person(settings, &away.who).await?.is_none()
                {
                    in_place_of = known(settings.snapshot(&away.who, approval.parties(), &groups).await)?;
                }
            }
            fresh.push(Fresh { by, snapshot, in_place_of });
        }
        Ok((fresh, guards))
    }
}

fn known(snapshot: Result<Snapshot, DirectoryError>) -> Result<Option<Snapshot>, DirectoryError> {
    match snapshot {
        Err(DirectoryError::Unknown { .. }) => Ok(None),
        other => other.map(Some),
    }
}

fn unknown(who: &str, tenant: &Tenant) -> Ruling {
    let reason = format!("the directory does not know `{who}`");
    Ruling::Denied { rule: None, reason, policy: tenant.policy.hash().to_owned() }
}

impl Core {
    /// Checks that the actor may perform an action that only some may; a refusal is logged.
    pub(in crate::engine) async fn permit(
        &self,
        settings: &Tenant,
        actor: &Actor,
        action: Action,
        target: Option<&TargetName>,
        about: Option<&Access>,
    ) -> Result<(), JitError> {
        let allowed = match settings.person(&actor.principal).await {
            Ok(person) => settings.policy.may(action, &person, target).await?,
            Err(DirectoryError::Unknown { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if allowed {
            return Ok(());
        }
        let on = target.map_or_else(String::new, |target| format!(" on target `{target}`"));
        let hint = format!("a `[[may]]` rule of the policy with `do = [\"{}\"]` has to name them", action.as_str());
        self.refuse(
            settings,
            actor,
            about,
            JitError::NotAllowed { who: actor.principal.to_string(), what: format!("{}{on}", action.describe()), hint },
        )
        .await
    }

    /// Logs the refusal of an authenticated actor, and returns it as the error.
    pub(in crate::engine) async fn refuse<T>(
        &self,
        settings: &Tenant,
        actor: &Actor,
        about: Option<&Access>,
        error: JitError,
    ) -> Result<T, JitError> {
        let now: Time = self.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(self, &actor.tenant, settings, Some(actor), now);
        let audit_event = AuditEvent::new(EventKind::CommandRefused).with("why", error.to_string());
        match about {
            Some(access) => unit_of_work.about(access, &[audit_event])?,
            None => unit_of_work.audit(audit_event),
        }
        unit_of_work.commit().await?;
        Err(error)
    }
}
