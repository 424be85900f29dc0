//! A fake provider: its keys are Ed25519, and it answers as it is told.

mod keys;
mod secrets;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signer as _, SigningKey};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::clock::{Clock as _, Time};
use crate::id::{AccessId, Principal, TenantId};
use crate::store::BoxError;
use crate::testkit::ManualClock;

const ISSUER: &str = "https://login.example.com";
const DISCOVERY: &str = "https://login.example.com/.well-known/openid-configuration";
const JWKS: &str = "https://login.example.com/keys";
const ACCESS: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// Answers of the provider by URL, and a count of the requests for its keys.
#[derive(Debug, Default)]
struct Provider {
    answers: Mutex<BTreeMap<String, Vec<u8>>>,
    asked: Mutex<Vec<String>>,
    delay: Mutex<Duration>,
}

#[async_trait]
impl FetchKeys for Provider {
    async fn get(&self, url: &str) -> Result<Vec<u8>, BoxError> {
        self.asked.lock().unwrap().push(url.to_owned());
        let delay = *self.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
        self.answers.lock().unwrap().get(url).cloned().ok_or_else(|| "connection refused".into())
    }
}

impl Provider {
    fn answer(&self, url: &str, answer: &Value) {
        self.answers.lock().unwrap().insert(url.to_owned(), answer.to_string().into_bytes());
    }

    fn has_keys(&self, keys: &[&SignsAs]) {
        let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        self.answer(JWKS, &json!({ "keys": keys }));
    }

    fn is_down(&self) {
        self.answers.lock().unwrap().clear();
    }

    fn asked_for_keys(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|url| *url == JWKS).count()
    }
}

/// A key of a provider.
struct SignsAs {
    kid: &'static str,
    key: SigningKey,
}

impl SignsAs {
    fn new(kid: &'static str, seed: u8) -> Self {
        Self { kid, key: SigningKey::from_bytes(&[seed; 32]) }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes());
        json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": self.kid, "x": x })
    }

    fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({ "alg": "EdDSA", "kid": self.kid }), claims)
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = self.key.sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.to_bytes()))
    }
}

/// A factor, its clock and its provider.
struct Scene {
    clock: ManualClock,
    provider: Arc<Provider>,
    factor: OidcFactor,
    key: SignsAs,
    tenant: TenantId,
    who: Principal,
}

impl Scene {
    fn new() -> Self {
        Self::with(|config| config)
    }

    fn with(change: impl FnOnce(OidcConfig) -> OidcConfig) -> Self {
        let clock = ManualClock::default();
        let provider = Arc::new(Provider::default());
        let key = SignsAs::new("first", 1);
        provider.answer(DISCOVERY, &json!({ "issuer": ISSUER, "jwks_uri": JWKS }));
        provider.has_keys(&[&key]);
        let config = change(OidcConfig::new(ISSUER, "jit").clock(Arc::new(clock.clone())));
        let factor = OidcFactor::fetching(config, provider.clone()).unwrap();
        let (tenant, who) = (TenantId::new("default").unwrap(), Principal::new("alice").unwrap());
        Self { clock, provider, factor, key, tenant, who }
    }

    fn now(&self) -> i64 {
        self.clock.wall().timestamp()
    }

    /// Returns the claims of a good token with these changes; null leaves a claim out.
    fn claims(&self, changes: Value) -> Value {
        let now = self.now();
        let mut claims = json!({
            "iss": ISSUER, "aud": "jit", "sub": "alice", "nonce": ACCESS,
            "iat": now, "exp": now + 300, "auth_time": now - 10, "amr": ["pwd", "otp"], "jti": "one",
        });
        for (claim, value) in changes.as_object().unwrap() {
            claims[claim] = value.clone();
        }
        claims
    }

    async fn verify(&self, token: &str) -> Result<VerifiedFactor, FactorError> {
        self.verify_at(token, self.clock.wall()).await
    }

    async fn verify_at(&self, token: &str, now: Time) -> Result<VerifiedFactor, FactorError> {
        let access: AccessId = ACCESS.parse().unwrap();
        let challenge =
            Challenge { tenant: &self.tenant, who: &self.who, access: Some(access), nonce: ACCESS, now, kept: None };
        self.factor.verify(&challenge, &SecretString::from(token.to_owned())).await
    }

    /// Verifies a good token with these changes.
    async fn says(&self, changes: Value) -> Result<VerifiedFactor, FactorError> {
        self.verify(&self.key.token(&self.claims(changes))).await
    }

    /// Returns the reason why a good token with these changes is refused.
    async fn refused(&self, changes: Value) -> String {
        let described = changes.to_string();
        why(self.says(changes).await.expect_err(&described))
    }
}

fn why(error: FactorError) -> String {
    let FactorError::Wrong { why, keep: None, locked_until: None } = error else { panic!("{error:?}") };
    why
}
