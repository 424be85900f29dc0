//! Configuration of an identity provider: what it is trusted with, and how its tokens are read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::algorithm::SigningAlgorithm;
use crate::clock::{Clock, SystemClock};
use crate::http::HttpConfig;
use crate::id::Principal;

/// Placeholder for the principal's name in a template.
pub(super) const PRINCIPAL: &str = "{principal}";

/// Longest leeway between the provider's clock and ours.
pub(super) const LONGEST_LEEWAY: TimeDelta = TimeDelta::seconds(60);

/// Values of `amr` (RFC 8176 section 2) that prove by themselves that more than a password was
/// asked for.
///
/// They stand for several factors (`mfa`), a code used once (`otp`), a key that the person holds
/// (`hwk`, `swk`, `sc`), or their body (`fpt`, `face`, `iris`, `retina`). Left out are knowledge
/// (`pwd`, `pin`, `kba`) and what others can take over or imitate (`sms`, `tel`, `vbm`). Also left
/// out is what proves no factor of its own (`geo`, `rba`, `wia`, `user`, `pop`, `mca`).
pub const DEFAULT_AMR: [&str; 9] = ["mfa", "otp", "hwk", "swk", "sc", "fpt", "face", "iris", "retina"];

/// Longest time that an answer of the provider may take in all.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Longest answer of the provider, in bytes: a hundred keys with their certificates take less.
const LONGEST_ANSWER: usize = 512 * 1024;

/// Place of the provider's keys.
#[derive(Debug, Clone)]
pub(super) enum KeysAt {
    /// The discovery document names the place.
    Discovered,
    /// The keys are at this address.
    Url(String),
}

/// Configuration of an identity provider: what it is trusted with. It holds no secret.
///
/// ```
/// use std::time::Duration;
///
/// use jit_core::Jit;
/// use jit_core::mfa::{OidcConfig, OidcFactor};
///
/// // `alice` is `alice@example.com` there
/// let config = OidcConfig::new("https://login.example.com", "jit")
///     .principal_claim("email")
///     .principal_template("{principal}@example.com")
///     .max_age(Duration::from_secs(300));
/// let builder = Jit::builder().factor("oidc", OidcFactor::new(config)?);
/// # Ok::<(), jit_core::mfa::OidcInvalid>(())
/// ```
#[derive(Debug, Clone)]
pub struct OidcConfig {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) keys_at: KeysAt,
    pub(super) algorithms: BTreeSet<SigningAlgorithm>,
    pub(super) claim: String,
    pub(super) template: String,
    pub(super) amr: BTreeSet<String>,
    pub(super) acr: BTreeSet<String>,
    pub(super) max_age: TimeDelta,
    pub(super) leeway: TimeDelta,
    pub(super) fresh_for: Duration,
    pub(super) usable_for: Duration,
    pub(super) http: HttpConfig,
    pub(super) clock: Arc<dyn Clock>,
}

impl OidcConfig {
    /// Configures a provider by the name it gives itself (`iss`, `https://login.example.com`), and
    /// the client that tokens have to be for (`aud`).
    ///
    /// Its keys are found through `/.well-known/openid-configuration`; the principal's name is
    /// `sub`; a second factor is one of [`DEFAULT_AMR`].
    #[must_use]
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            keys_at: KeysAt::Discovered,
            algorithms: SigningAlgorithm::ALL.into(),
            claim: "sub".to_owned(),
            template: PRINCIPAL.to_owned(),
            amr: DEFAULT_AMR.map(str::to_owned).into(),
            acr: BTreeSet::new(),
            max_age: TimeDelta::hours(1),
            leeway: LONGEST_LEEWAY,
            fresh_for: Duration::from_secs(600),
            usable_for: Duration::from_secs(3600),
            http: HttpConfig { limit: ANSWERS_WITHIN, most_bytes: LONGEST_ANSWER, ..HttpConfig::default() },
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the URL of the provider's keys; there is no discovery then.
    #[must_use]
    pub fn jwks_uri(self, url: impl Into<String>) -> Self {
        Self { keys_at: KeysAt::Url(url.into()), ..self }
    }

    /// Sets the accepted algorithms. Default: all of [`SigningAlgorithm`].
    #[must_use]
    pub fn algorithms(self, accepted: impl IntoIterator<Item = SigningAlgorithm>) -> Self {
        Self { algorithms: accepted.into_iter().collect(), ..self }
    }

    /// Sets the claim that names the person, instead of `sub`. It has to be one that the person
    /// cannot change. `email` counts only where the token says `email_verified`.
    #[must_use]
    pub fn principal_claim(self, claim: impl Into<String>) -> Self {
        Self { claim: claim.into(), ..self }
    }

    /// Sets how that claim is made from the principal's name: `{principal}@example.com`. Default:
    /// the name itself.
    #[must_use]
    pub fn principal_template(self, template: impl Into<String>) -> Self {
        Self { template: template.into(), ..self }
    }

    /// Sets the values of `amr` that show a second factor, instead of [`DEFAULT_AMR`].
    #[must_use]
    pub fn amr<T: Into<String>>(self, accepted: impl IntoIterator<Item = T>) -> Self {
        Self { amr: accepted.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the values of `acr` that also show a second factor. Default: none, as each provider has
    /// its own.
    #[must_use]
    pub fn acr<T: Into<String>>(self, accepted: impl IntoIterator<Item = T>) -> Self {
        Self { acr: accepted.into_iter().map(Into::into).collect(), ..self }
    }

    /// Sets the longest time since the person logged in (`auth_time`), whatever policy demands.
    /// Default: an hour.
    #[must_use]
    pub fn max_age(self, at_most: Duration) -> Self {
        Self { max_age: TimeDelta::from_std(at_most).unwrap_or(TimeDelta::MAX), ..self }
    }

    /// Sets the largest difference between the provider's clock and ours. Default: 60 s, which is
    /// also the maximum.
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        Self { leeway: TimeDelta::from_std(leeway).unwrap_or(TimeDelta::MAX), ..self }
    }

    /// Sets how long the provider's keys are used after a fetch: `fresh` without asking again, and
    /// `at_most` while the provider does not answer. Defaults: ten minutes and an hour. A key that
    /// the provider withdraws counts until then.
    #[must_use]
    pub fn keys_kept(self, fresh: Duration, at_most: Duration) -> Self {
        Self { fresh_for: fresh, usable_for: at_most, ..self }
    }

    /// Sets the HTTP options for the provider. Default: TLS verified, five seconds and 512 KiB at
    /// most.
    #[must_use]
    pub fn http(self, http: HttpConfig) -> Self {
        Self { http, ..self }
    }

    /// Sets the clock that tokens are judged by. Default: the machine's clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// Returns the provider's name for this principal.
    pub(super) fn subject_of(&self, who: &Principal) -> String {
        self.template.replace(PRINCIPAL, who.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_makes_the_claim_of_the_principal() {
        let config = OidcConfig::new("https://login.example.com", "jit").principal_template("{principal}@example.com");
        assert_eq!(config.subject_of(&Principal::new("alice").unwrap()), "alice@example.com");
        // a name is not a template
        assert_eq!(config.subject_of(&Principal::new("{principal}").unwrap()), "{principal}@example.com");
    }
}
