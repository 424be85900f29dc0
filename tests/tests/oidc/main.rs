//! Tests of the OpenID Connect step-up, with an identity provider in its own process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod engine;
mod keys;
mod provider;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use jit_core::clock::{Clock as _, SystemClock};
use jit_core::http::{HttpConfig, Plaintext};
use jit_core::id::{AccessId, Principal, TenantId};
use jit_core::mfa::{Challenge, Factor as _, FactorError, OidcConfig, OidcFactor, VerifiedFactor};
use jit_core::testkit::ManualClock;
use secrecy::SecretString;
use serde_json::{Value, json};

use provider::Provider;

const ACCESS: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const SECOND: Duration = Duration::from_secs(1);

/// Provider, a factor that trusts it, and the clock of the factor.
struct Scene {
    provider: Provider,
    factor: OidcFactor,
    clock: ManualClock,
}

impl Scene {
    fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(change: impl FnOnce(OidcConfig) -> OidcConfig) -> Self {
        let provider = Provider::start();
        let clock = ManualClock::at(SystemClock.wall());
        let config = change(trusting(&provider.issuer, &clock));
        Self { factor: OidcFactor::new(config).unwrap(), provider, clock }
    }

    /// Returns the claims of a good token with these changes; null leaves a claim out.
    fn claims(&self, changes: Value) -> Value {
        let now = self.clock.wall().timestamp();
        let mut claims = json!({
            "iss": self.provider.issuer, "aud": "jit", "sub": "alice", "nonce": ACCESS, "jti": "one",
            "iat": now, "exp": now + 300, "auth_time": now - 10, "amr": ["pwd", "otp"],
        });
        for (claim, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
                value => claims[claim] = value.clone(),
            }
        }
        claims
    }

    /// Returns a token that the provider signs.
    fn token(&self, changes: Value) -> String {
        self.provider.token("ES256", &self.claims(changes))
    }

    async fn verify(&self, token: &str) -> Result<VerifiedFactor, FactorError> {
        let (tenant, who) = (TenantId::new("default").unwrap(), Principal::new("alice").unwrap());
        let access: AccessId = ACCESS.parse().unwrap();
        let mut challenge = Challenge::new(&tenant, &who, ACCESS, self.clock.wall());
        challenge.access = Some(access);
        self.factor.verify(&challenge, &SecretString::from(token.to_owned())).await
    }

    /// Returns the reason why the token proves nothing.
    async fn refused(&self, token: &str) -> String {
        match self.verify(token).await {
            Err(FactorError::Wrong { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    /// Returns the reason why the token cannot be checked.
    async fn unavailable(&self, token: &str) -> String {
        match self.verify(token).await {
            Err(FactorError::Unavailable { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }
}

fn trusting(issuer: &str, clock: &ManualClock) -> OidcConfig {
    let http = HttpConfig::default().plaintext(Plaintext::DangerousAllowed).limit(SECOND);
    OidcConfig::new(issuer, "jit").clock(Arc::new(clock.clone())).http(http)
}
