//! Emergency stops and their scope, under every name that a person or target has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alike::are_alike;
use crate::clock::Time;
use crate::directory::DirectoryError;
use crate::engine::access_request::Scope;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::records::{TargetRecord, body_or_default, guard, policy_key, stops_key, target_key};
use crate::engine::tenant::Tenant;
use crate::id::{Principal, RealmId, TargetName, TenantId};
use crate::model::access::Access;
use crate::model::request::Request;
use crate::store::{Record, StoreError, Write};

/// Time for which a stop waits until the directory says who is meant. The stop does not depend on
/// it.
pub(in crate::engine) const WHO_WITHIN: Duration = Duration::from_secs(1);

/// All emergency stops of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Stops {
    pub(in crate::engine) stops: Vec<Stop>,
}

/// One emergency stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Stop {
    pub(in crate::engine) scope: Scope,
    pub(in crate::engine) by: Principal,
    pub(in crate::engine) reason: String,
    pub(in crate::engine) at: Time,
    /// Human behind the stopped principal, as the directory had it at the stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) human: Option<Principal>,
    /// Realm of the stopped target, if it was known at the stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) realm: Option<RealmId>,
    /// True if the stop was lifted before everything that it ends was handled. It refuses nothing
    /// any more, but still ends that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::engine) lifted: bool,
}

impl Stops {
    /// Returns the stops that remain once everything that they end was handled.
    pub(in crate::engine) fn swept(&self) -> Self {
        Self { stops: self.stops.iter().filter(|stop| !stop.lifted).cloned().collect() }
    }
}

impl Stop {
    /// Returns the refusal of a new request.
    pub(in crate::engine) fn refusal(&self) -> JitError {
        JitError::Stopped { scope: self.scope.to_string(), by: self.by.to_string(), reason: self.reason.clone() }
    }

    /// Returns the refusal of anything that a stopped person tries to do.
    pub(in crate::engine) fn binds(&self, who: &Principal) -> JitError {
        JitError::NotAllowed {
            who: who.to_string(),
            what: "act".to_owned(),
            hint: format!(
                "an emergency stop of {} is in force (by `{}`: {}), until an operator lifts it",
                self.scope, self.by, self.reason
            ),
        }
    }
}

/// Stops with the current realms of their targets. People are looked up on demand.
#[derive(Debug, Clone)]
pub(in crate::engine) struct StopsNow {
    pub(in crate::engine) stops: Stops,
    /// Realms of the stopped targets, as far as they are known.
    realms: BTreeMap<TargetName, RealmId>,
}

impl StopsNow {
    /// Returns the stop in force that refuses this request.
    pub(in crate::engine) async fn meets(
        &self,
        settings: &Tenant,
        request: &Request,
        realm: Option<&RealmId>,
    ) -> Result<Option<&Stop>, DirectoryError> {
        self.first(settings, request, realm, |stop| !stop.lifted).await
    }

    /// Returns the stop that ends this access. A lifted stop ends what was requested before it.
    pub(in crate::engine) async fn ends(
        &self,
        settings: &Tenant,
        access: &Access,
    ) -> Result<Option<&Stop>, DirectoryError> {
        let request = access.request();
        self.first(settings, request, access.realm(), |stop| !stop.lifted || request.asked_at <= stop.at).await
    }

    /// Returns the stop in force of this person, under any of their names. Nothing that a stopped
    /// person does counts.
    pub(in crate::engine) async fn of_person(
        &self,
        settings: &Tenant,
        who: &Principal,
    ) -> Result<Option<&Stop>, DirectoryError> {
        for stop in self.stops.stops.iter().filter(|stop| !stop.lifted) {
            if let Scope::Principal(stopped) = &stop.scope
                && is_same_human(settings, stop, stopped, who).await?
            {
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    /// Checks whether a stopped target has an unknown realm, so that its other names are unknown
    /// too.
    pub(in crate::engine) fn has_unknown_realm(&self) -> bool {
        self.stops.stops.iter().filter(|stop| !stop.lifted).any(
            |stop| matches!(&stop.scope, Scope::Target(target) if stop.realm.is_none() && !self.realms.contains_key(target)),
        )
    }

    async fn first(
        &self,
        settings: &Tenant,
        request: &Request,
        realm: Option<&RealmId>,
        counts: impl Fn(&Stop) -> bool,
    ) -> Result<Option<&Stop>, DirectoryError> {
        for stop in self.stops.stops.iter().filter(|stop| counts(stop)) {
            let about = match &stop.scope {
                Scope::All => true,
                Scope::Target(stopped) => {
                    *stopped == request.target || realm.is_some_and(|realm| self.is_at(stop, stopped, realm))
                }
                Scope::Principal(stopped) => {
                    let (requester, grantee) = (&request.parties.requester, &request.parties.grantee);
                    is_same_human(settings, stop, stopped, requester).await?
                        || requester != grantee && is_same_human(settings, stop, stopped, grantee).await?
                }
            };
            if about {
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    /// Checks whether the stopped target is in this realm, or was when it was stopped. There its
    /// roles are the same under any name.
    fn is_at(&self, stop: &Stop, stopped: &TargetName, realm: &RealmId) -> bool {
        stop.realm.as_ref() == Some(realm) || self.realms.get(stopped) == Some(realm)
    }
}

/// Checks whether both names are one human's, by what the directory says now or said when the stop
/// began.
async fn is_same_human(
    settings: &Tenant,
    stop: &Stop,
    stopped: &Principal,
    who: &Principal,
) -> Result<bool, DirectoryError> {
    let is_meant = |name: &Principal| name == stopped || stop.human.as_ref() == Some(name);
    if is_meant(who) {
        return Ok(true);
    }
    let human = settings.human(who).await?;
    if is_meant(&human) || settings.human(stopped).await? == human {
        return Ok(true);
    }
    // another spelling of a stopped name is no way around the stop, unless it is somebody's own
    Ok(are_alike(who.as_str(), stopped.as_str())
        && !settings.policy.people().has(who.as_str())
        && !settings.directory.knows(who).await?)
}

/// Stops and policy by which something is judged. The result is committed together with the guards,
/// so that a stop or a policy that was committed meanwhile conflicts.
#[derive(Debug)]
pub(in crate::engine) struct InForce {
    /// Configuration of the tenant, with the policy.
    pub(in crate::engine) settings: Arc<Tenant>,
    /// Stops of the tenant.
    pub(in crate::engine) stops: StopsNow,
    /// Guards of the records of both, as they were read.
    pub(in crate::engine) guards: Vec<Write>,
}

impl InForce {
    /// Refuses whatever a stopped person tries.
    pub(in crate::engine) async fn not_stopped(&self, who: &Principal) -> Result<(), JitError> {
        match self.stops.of_person(&self.settings, who).await? {
            Some(stop) => Err(stop.binds(who)),
            None => Ok(()),
        }
    }
}

impl Tenant {
    /// Returns the human behind the name, or the name itself if the directory does not know it.
    pub(in crate::engine) async fn human(&self, who: &Principal) -> Result<Principal, DirectoryError> {
        match self.directory.person(who, &BTreeSet::new()).await {
            Ok(person) => Ok(person.human),
            Err(DirectoryError::Unknown { .. }) => Ok(who.clone()),
            Err(error) => Err(error),
        }
    }
}

impl Core {
    /// Decodes the tenant's stops from their record.
    pub(in crate::engine) async fn stops_in(
        &self,
        tenant: &TenantId,
        record: Option<&Record>,
    ) -> Result<StopsNow, StoreError> {
        self.stops_now(tenant, body_or_default(record)?).await
    }

    /// Reads the tenant's stops.
    pub(in crate::engine) async fn stops(&self, tenant: &TenantId) -> Result<StopsNow, StoreError> {
        self.stops_in(tenant, self.store.read(&stops_key(tenant)).await?.as_ref()).await
    }

    /// Adds to these stops the realms of their targets.
    pub(in crate::engine) async fn stops_now(&self, tenant: &TenantId, stops: Stops) -> Result<StopsNow, StoreError> {
        let stopped = |stop: &Stop| match &stop.scope {
            Scope::Target(target) => Some(target.clone()),
            Scope::All | Scope::Principal(_) => None,
        };
        let targets: Vec<TargetName> = stops.stops.iter().filter_map(stopped).collect();
        let mut realms = BTreeMap::new();
        if !targets.is_empty() {
            let keys: Vec<_> = targets.iter().map(|target| target_key(tenant, target)).collect();
            for (target, record) in targets.into_iter().zip(self.store.read_all(&keys).await?) {
                let TargetRecord { realm, .. } = body_or_default(record.as_ref())?;
                realms.extend(realm.map(|realm| (target, realm)));
            }
        }
        Ok(StopsNow { stops, realms })
    }

    /// Creates a stop of this scope, with every name of it that is known now.
    pub(in crate::engine) async fn new_stop(
        &self,
        settings: &Tenant,
        tenant: &TenantId,
        scope: Scope,
        by: Principal,
        reason: String,
        at: Time,
    ) -> Result<Stop, StoreError> {
        let (mut human, mut realm) = (None, None);
        match &scope {
            Scope::All => {}
            Scope::Principal(who) => {
                human = self.tasks.within(WHO_WITHIN, settings.human(who)).await.and_then(Result::ok)
            }
            Scope::Target(target) => {
                let record = self.store.read(&target_key(tenant, target)).await?;
                TargetRecord { realm, .. } = body_or_default(record.as_ref())?;
            }
        }
        Ok(Stop { scope, by, reason, at, human, realm, lifted: false })
    }

    /// Reads what is in force for the tenant now. Its guards are what a commit that relies on it
    /// must find unchanged.
    pub(in crate::engine) async fn in_force(&self, tenant: &TenantId) -> Result<InForce, JitError> {
        let keys = [stops_key(tenant), policy_key(tenant)];
        let read = self.store.read_all(&keys).await?;
        let guards = keys.into_iter().zip(&read).map(|(at, record)| guard(at, record.as_ref())).collect();
        let stops = self.stops_in(tenant, read.first().and_then(Option::as_ref)).await?;
        // read after its record: a policy that comes into force meanwhile changes that record
        // afterwards
        let settings = self.tenant(tenant)?;
        Ok(InForce { settings, stops, guards })
    }
}
