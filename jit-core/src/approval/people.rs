//! Actors, the evidence of their identity, and what the directory said about them.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::id::{FactorName, Group, Principal, TenantId};
use crate::mfa::Response;

/// An authenticated principal of a tenant who acts now.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Tenant in which they act.
    pub tenant: TenantId,
    /// Principal who acts.
    pub principal: Principal,
    /// Evidence of their identity.
    pub evidence: Evidence,
    /// Second factor that they give, to be verified here.
    pub response: Option<Response>,
}

impl Actor {
    /// Returns a principal whom the embedding service authenticated by the named method (`oidc`,
    /// `mtls`, `session`).
    #[must_use]
    pub fn authenticated(tenant: TenantId, principal: Principal, method: impl Into<String>) -> Self {
        let evidence = Evidence { method: method.into(), details: BTreeMap::new() };
        Self { tenant, principal, evidence, response: None }
    }

    /// Returns a principal whom a local user of the operating system claims to be. Nothing proves
    /// it, and the log says so.
    #[must_use]
    pub fn asserted(tenant: TenantId, principal: Principal, os_user: impl Into<String>) -> Self {
        let details = BTreeMap::from([("os_user".to_owned(), os_user.into())]);
        let evidence = Evidence { method: "asserted".to_owned(), details };
        Self { tenant, principal, evidence, response: None }
    }

    /// Adds a second factor, such as a code or a token. It serves the next act that demands one,
    /// and only once.
    #[must_use]
    pub fn responding(self, factor: FactorName, secret: impl Into<SecretString>) -> Self {
        Self { response: Some(Response { factor, secret: secret.into() }), ..self }
    }
}

/// Evidence that actors are who they say, in words for the log. It carries no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Method of the proof (`asserted`, `oidc`, ...).
    pub method: String,
    /// Details of the proof.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Requester and grantee of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parties {
    /// Principal who asked for the role.
    pub requester: Principal,
    /// Principal who gets the role.
    #[serde(rename = "receiver")]
    pub grantee: Principal,
}

/// Directory's answer about one decider, at the time of the decision or when it was asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Human behind the decider (the first of their aliases).
    pub human: Principal,
    /// Human behind the requester.
    pub requester: Principal,
    /// Human behind the grantee.
    pub grantee: Principal,
    /// Groups that contain the decider's own name.
    pub groups: BTreeSet<Group>,
    /// True if the decider is the manager of the requester.
    pub manages_requester: bool,
    /// True if the decider is the manager of the grantee.
    pub manages_grantee: bool,
}

impl Snapshot {
    /// Checks whether the decider is the requester or the grantee, under whatever alias.
    #[must_use]
    pub fn is_party(&self) -> bool {
        self.human == self.requester || self.human == self.grantee
    }
}
