//! Actors: who acts now, and the evidence of their identity.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::id::{FactorName, Principal, TenantId};

/// An authenticated principal of a tenant who acts now.
#[derive(Debug, Clone)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct Evidence {
    /// Method of the proof (`asserted`, `oidc`, ...).
    pub method: String,
    /// Details of the proof.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl Evidence {
    /// Creates the evidence of this method, without details.
    #[must_use]
    pub fn new(method: impl Into<String>) -> Self {
        Self { method: method.into(), details: BTreeMap::new() }
    }

    /// Adds a detail. It reaches the log, so it carries no secret.
    #[must_use]
    pub fn detail(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let mut details = self.details;
        details.insert(name.into(), value.into());
        Self { details, ..self }
    }
}

/// Response of a person, as they gave it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Response {
    /// Name of the factor.
    pub factor: FactorName,
    /// Secret of the response, such as a code or a token.
    pub secret: SecretString,
}

impl Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response").field("factor", &self.factor).finish_non_exhaustive()
    }
}
