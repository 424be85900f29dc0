//! Who acts, what proves it, and what the directory said of a person.

use std::collections::{BTreeMap, BTreeSet};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::id::{FactorName, Group, Principal, TenantId};
use crate::mfa::Response;

/// An authenticated principal of a tenant doing something now.
#[derive(Debug, Clone)]
pub struct Actor {
    /// Where.
    pub tenant: TenantId,
    /// Who.
    pub principal: Principal,
    /// What proves it.
    pub evidence: Evidence,
    /// What he gives as his second factor, to be verified here.
    pub response: Option<Response>,
}

impl Actor {
    /// A principal whom the embedding service has authenticated by the named method (`oidc`, `mtls`, `session`).
    #[must_use]
    pub fn authenticated(tenant: TenantId, principal: Principal, method: impl Into<String>) -> Self {
        let evidence = Evidence { method: method.into(), details: BTreeMap::new() };
        Self { tenant, principal, evidence, response: None }
    }

    /// A principal whom a local user of the operating system claims to be: nothing proves it, and the log says so.
    #[must_use]
    pub fn asserted(tenant: TenantId, principal: Principal, os_user: impl Into<String>) -> Self {
        let details = BTreeMap::from([("os_user".to_owned(), os_user.into())]);
        let evidence = Evidence { method: "asserted".to_owned(), details };
        Self { tenant, principal, evidence, response: None }
    }

    /// The same with a second factor: a code, a token. It is used for the next act that demands one, and once.
    #[must_use]
    pub fn responding(self, factor: FactorName, secret: impl Into<SecretString>) -> Self {
        Self { response: Some(Response { factor, secret: secret.into() }), ..self }
    }
}

/// What proves that an actor is who he says, in words for the log. It carries no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How (`asserted`, `oidc`, ...).
    pub method: String,
    /// More of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// Whom a request is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parties {
    /// Who asked.
    pub requester: Principal,
    /// Who gets the role.
    pub receiver: Principal,
}

/// What the directory said of one decider, when he decided or when it was asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The human behind the decider (the first of his aliases).
    pub human: Principal,
    /// The human behind the requester.
    pub requester: Principal,
    /// The human behind the receiver.
    pub receiver: Principal,
    /// The groups that the decider's own name is in.
    pub groups: BTreeSet<Group>,
    /// Whether he is the manager of the requester.
    pub manages_requester: bool,
    /// Whether he is the manager of the receiver.
    pub manages_receiver: bool,
}

impl Snapshot {
    /// Whether the decider is the requester or the receiver, under whatever alias.
    #[must_use]
    pub fn is_party(&self) -> bool {
        self.human == self.requester || self.human == self.receiver
    }
}
