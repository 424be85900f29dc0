//! What an identity provider is trusted with, and how its tokens are read.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::algorithm::SigningAlgorithm;
use crate::clock::{Clock, SystemClock};
use crate::http::HttpConfig;
use crate::id::Principal;

/// Stands in a template for the principal's name.
pub(super) const PRINCIPAL: &str = "{principal}";

/// Longest leeway between the provider's clock and ours.
pub(super) const LONGEST_LEEWAY: TimeDelta = TimeDelta::seconds(60);

/// Values of `amr` (RFC 8176 section 2) that by themselves say that more than a password was asked for: several factors (`mfa`), a
/// code used once (`otp`), a key that the person holds (`hwk`, `swk`, `sc`), his body (`fpt`, `face`, `iris`, `retina`). Left out are
/// knowledge (`pwd`, `pin`, `kba`), what others can take over or imitate (`sms`, `tel`, `vbm`), and what proves no factor of its own
/// (`geo`, `rba`, `wia`, `user`, `pop`, `mca`).
pub const DEFAULT_AMR: [&str; 9] = ["mfa", "otp", "hwk", "swk", "sc", "fpt", "face", "iris", "retina"];

/// How long an answer of the provider may take in all.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Longest answer of the provider, in bytes: a hundred keys with their certificates take less.
const LONGEST_ANSWER: usize = 512 * 1024;

/// Where the provider's keys are.
#[derive(Debug, Clone)]
pub(super) enum KeysAt {
    /// Where its discovery document says.
    Discovered,
    /// Here.
    Url(String),
}

/// What an identity provider is trusted with. It holds no secret.
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
    /// The provider as it names itself (`iss`, `https://login.example.com`), and the client that tokens have to be for (`aud`).
    ///
    /// Its keys are found through `/.well-known/openid-configuration`; the principal's name is `sub`; a second factor is one of
    /// [`DEFAULT_AMR`].
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

    /// The provider's keys are at this URL; no discovery.
    #[must_use]
    pub fn jwks_uri(self, url: impl Into<String>) -> Self {
        Self { keys_at: KeysAt::Url(url.into()), ..self }
    }

    /// Only these algorithms are accepted; all of [`SigningAlgorithm`] otherwise.
    #[must_use]
    pub fn algorithms(self, accepted: impl IntoIterator<Item = SigningAlgorithm>) -> Self {
        Self { algorithms: accepted.into_iter().collect(), ..self }
    }

    /// The claim that names the person, instead of `sub`: one that he cannot change himself. `email` counts only where the token
    /// says `email_verified`.
    #[must_use]
    pub fn principal_claim(self, claim: impl Into<String>) -> Self {
        Self { claim: claim.into(), ..self }
    }

    /// How that claim is made of the principal's name: `{principal}@example.com`. The name itself otherwise.
    #[must_use]
    pub fn principal_template(self, template: impl Into<String>) -> Self {
        Self { template: template.into(), ..self }
    }

    /// The values of `amr` that show a second factor, instead of [`DEFAULT_AMR`].
    #[must_use]
    pub fn amr<T: Into<String>>(self, accepted: impl IntoIterator<Item = T>) -> Self {
        Self { amr: accepted.into_iter().map(Into::into).collect(), ..self }
    }

    /// The values of `acr` that show a second factor too; none otherwise, as each provider has its own.
    #[must_use]
    pub fn acr<T: Into<String>>(self, accepted: impl IntoIterator<Item = T>) -> Self {
        Self { acr: accepted.into_iter().map(Into::into).collect(), ..self }
    }

    /// How long ago the person may have logged in (`auth_time`) at most, whatever policy demands; an hour otherwise.
    #[must_use]
    pub fn max_age(self, at_most: Duration) -> Self {
        Self { max_age: TimeDelta::from_std(at_most).unwrap_or(TimeDelta::MAX), ..self }
    }

    /// How far the provider's clock may be from ours; 60 s otherwise, which is the most there can be.
    #[must_use]
    pub fn leeway(self, leeway: Duration) -> Self {
        Self { leeway: TimeDelta::from_std(leeway).unwrap_or(TimeDelta::MAX), ..self }
    }

    /// For how long its keys are taken as they are, and for how long at most, both since they were fetched, while the provider does
    /// not answer; ten minutes and an hour otherwise. A key that the provider withdraws counts until then.
    #[must_use]
    pub fn keys_kept(self, fresh: Duration, at_most: Duration) -> Self {
        Self { fresh_for: fresh, usable_for: at_most, ..self }
    }

    /// How the provider is spoken to; otherwise with TLS verified, for five seconds and 512 KiB at most.
    #[must_use]
    pub fn http(self, http: HttpConfig) -> Self {
        Self { http, ..self }
    }

    /// The clock that tokens are judged by; the machine's otherwise.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// What the provider calls this principal.
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
        // no template in a name
        assert_eq!(config.subject_of(&Principal::new("{principal}").unwrap()), "{principal}@example.com");
    }
}
