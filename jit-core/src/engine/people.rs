//! What the directory says of people, and who may do what (law 16).

use std::collections::BTreeSet;

use super::core::{Core, Tenant};
use super::error::JitError;
use super::ledger::Ledger;
use crate::access::Access;
use crate::approval::{Actor, Approval, Parties, Snapshot};
use crate::clock::Time;
use crate::directory::{DirectoryError, Person};
use crate::fact::{Fact, What};
use crate::id::{Principal, TargetName};
use crate::policy::{Action, Question, Ruling};
use crate::request::Request;

impl Tenant {
    /// The person with all groups that policy could ask about.
    pub(super) async fn person(&self, who: &Principal) -> Result<Person, DirectoryError> {
        self.directory.person(who, &self.policy.groups()).await
    }

    /// What policy says of the request now.
    pub(super) async fn ruling(&self, request: &Request) -> Result<Ruling, DirectoryError> {
        let Parties { requester, receiver } = &request.parties;
        let groups = self.policy.groups();
        let requester_is = match self.directory.person(requester, &groups).await {
            Err(DirectoryError::Unknown { who }) => return Ok(unknown(&who, self)),
            other => other?,
        };
        let receiver_is = if receiver == requester {
            requester_is.clone()
        } else {
            match self.directory.person(receiver, &groups).await {
                Err(DirectoryError::Unknown { who }) => return Ok(unknown(&who, self)),
                other => other?,
            }
        };
        Ok(self.policy.rule(&Question {
            target: &request.target,
            role: &request.role,
            requester: &requester_is,
            receiver: &receiver_is,
            duration: request.duration,
            reason: &request.reason,
            ticket: request.ticket.as_deref(),
            start: request.start,
            asked_at: request.asked_at,
        }))
    }

    /// What the directory says of a decider, for this approval.
    pub(super) async fn snapshot(
        &self,
        decider: &Principal,
        parties: &Parties,
        groups: &BTreeSet<crate::id::Group>,
    ) -> Result<Snapshot, DirectoryError> {
        let none = BTreeSet::new();
        let decider = self.directory.person(decider, groups).await?;
        let requester = self.directory.person(&parties.requester, &none).await?;
        let receiver = if parties.receiver == parties.requester {
            requester.clone()
        } else {
            self.directory.person(&parties.receiver, &none).await?
        };
        let manages = |person: &Person| person.manager.as_ref().is_some_and(|manager| *manager == decider.principal);
        Ok(Snapshot {
            manages_requester: manages(&requester),
            manages_receiver: manages(&receiver),
            human: decider.human,
            requester: requester.human,
            receiver: receiver.human,
            groups: decider.groups,
        })
    }

    /// What the directory says now of everybody who decided; whom it no longer knows is left out and does not count.
    pub(super) async fn fresh(&self, approval: &Approval) -> Result<Vec<(Principal, Snapshot)>, DirectoryError> {
        let groups = self.policy.groups();
        let groups = groups.union(&approval.plan().groups()).cloned().collect();
        let mut fresh = Vec::new();
        for decision in approval.decisions() {
            match self.snapshot(&decision.by, approval.parties(), &groups).await {
                Ok(snapshot) => fresh.push((decision.by.clone(), snapshot)),
                Err(DirectoryError::Unknown { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(fresh)
    }
}

fn unknown(who: &str, tenant: &Tenant) -> Ruling {
    let reason = format!("the directory does not know `{who}`");
    Ruling::Denied { rule: None, reason, policy: tenant.policy.hash() }
}

impl Core {
    /// Whether the actor may do what only some may; a refusal is in the log.
    pub(super) async fn permit(
        &self,
        settings: &Tenant,
        actor: &Actor,
        action: Action,
        target: Option<&TargetName>,
        about: Option<&Access>,
    ) -> Result<(), JitError> {
        let allowed = match settings.person(&actor.principal).await {
            Ok(person) => settings.policy.may(action, &person, target),
            Err(DirectoryError::Unknown { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if allowed {
            return Ok(());
        }
        let on = target.map_or_else(String::new, |target| format!(" on target `{target}`"));
        let hint =
            format!("a `[[may]]` rule of the policy with `do = [\"{}\"]` would have to name him", action.as_str());
        self.refuse(
            settings,
            actor,
            about,
            JitError::NotAllowed { who: actor.principal.to_string(), what: format!("{}{on}", action.as_str()), hint },
        )
        .await
    }

    /// Writes the refusal of an authenticated actor into the log, and answers with it.
    pub(super) async fn refuse<T>(
        &self,
        settings: &Tenant,
        actor: &Actor,
        about: Option<&Access>,
        error: JitError,
    ) -> Result<T, JitError> {
        let now: Time = self.store.now().await?;
        let mut ledger = Ledger::new(self, &actor.tenant, settings, Some(actor), now);
        let fact = Fact::new(What::CommandRefused).with("why", error.to_string());
        match about {
            Some(access) => ledger.about(access, &[fact])?,
            None => ledger.fact(fact),
        }
        ledger.commit().await?;
        Err(error)
    }
}
