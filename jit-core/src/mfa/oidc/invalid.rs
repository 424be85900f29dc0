//! Mistakes in the configuration of an identity provider.

use chrono::TimeDelta;

use super::config::{KeysAt, LONGEST_LEEWAY, OidcConfig, PRINCIPAL};
use crate::http::{HttpError, Plaintext};

/// Reason why a provider cannot be trusted as it was configured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OidcInvalid {
    /// A setting is empty.
    #[error("the {what} is empty")]
    Empty {
        /// Name of the empty setting.
        what: &'static str,
    },
    /// An issuer has to be a URL without query and fragment (OpenID Connect Core section 1.2).
    #[error("the issuer `{given}` has a query or a fragment, and can have none")]
    Issuer {
        /// Issuer that was given.
        given: String,
    },
    /// The address does not use `https`.
    #[error("`{given}` does not begin with `https://`")]
    Scheme {
        /// Address that was given.
        given: String,
    },
    /// An address must not contain a login.
    #[error("the provider's address holds a login, and can hold none")]
    Login,
    /// The template has to name the principal, exactly once.
    #[error("the template `{given}` does not hold `{{principal}}` once")]
    Template {
        /// Template that was given.
        given: String,
    },
    /// No token would be accepted.
    #[error("no algorithm is accepted")]
    NoAlgorithm,
    /// No token would show a second factor.
    #[error("no value of `amr` and none of `acr` shows a second factor")]
    NothingProves,
    /// The leeway is too long.
    #[error("the leeway is longer than 60 s")]
    Leeway,
    /// Nobody could have logged in recently enough.
    #[error("the longest age of a login is zero")]
    MaxAge,
    /// Keys would be thrown away before they are old.
    #[error("keys are kept for less long while the provider does not answer than while it does")]
    KeysKept,
    /// The HTTP client cannot be built.
    #[error("the HTTP client for the provider cannot be set up")]
    Http(#[source] HttpError),
}

impl OidcConfig {
    /// Refuses a configuration that cannot be meant.
    pub(super) fn checked(self) -> Result<Self, OidcInvalid> {
        let filled = [("issuer", &self.issuer), ("audience", &self.audience), ("principal claim", &self.claim)];
        if let Some((what, _)) = filled.into_iter().find(|(_, text)| text.trim().is_empty()) {
            return Err(OidcInvalid::Empty { what });
        }
        if self.issuer.contains(['?', '#']) {
            return Err(OidcInvalid::Issuer { given: self.issuer });
        }
        let asked = match &self.keys_at {
            KeysAt::Discovered => &self.issuer,
            KeysAt::Url(url) => url,
        };
        // the address is logged, and shown to people
        if asked.contains('@') {
            return Err(OidcInvalid::Login);
        }
        let plaintext = self.http.plaintext == Plaintext::DangerousAllowed && asked.starts_with("http://");
        if !plaintext && !asked.starts_with("https://") {
            return Err(OidcInvalid::Scheme { given: asked.clone() });
        }
        if self.template.matches(PRINCIPAL).count() != 1 {
            return Err(OidcInvalid::Template { given: self.template });
        }
        if self.algorithms.is_empty() {
            return Err(OidcInvalid::NoAlgorithm);
        }
        if self.amr.is_empty() && self.acr.is_empty() {
            return Err(OidcInvalid::NothingProves);
        }
        if self.leeway > LONGEST_LEEWAY {
            return Err(OidcInvalid::Leeway);
        }
        if self.max_age <= TimeDelta::zero() {
            return Err(OidcInvalid::MaxAge);
        }
        if self.usable_for < self.fresh_for {
            return Err(OidcInvalid::KeysKept);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::HttpConfig;

    fn config() -> OidcConfig {
        OidcConfig::new("https://login.example.com", "jit")
    }

    fn plaintext() -> HttpConfig {
        HttpConfig { plaintext: Plaintext::DangerousAllowed, ..HttpConfig::default() }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        config().checked().unwrap();
        let none: [&str; 0] = [];
        let second = Duration::from_secs(1);
        let bad = [
            OidcConfig::new(" ", "jit"),
            OidcConfig::new("https://login.example.com", ""),
            OidcConfig::new("https://login.example.com?a=b", "jit"),
            OidcConfig::new("http://login.example.com", "jit"),
            OidcConfig::new("https://jit:secret@login.example.com", "jit"),
            OidcConfig::new("ftp://login.example.com", "jit").http(plaintext()),
            config().jwks_uri("http://login.example.com/keys"),
            config().principal_claim(""),
            config().principal_template("everybody"),
            config().principal_template("{principal}{principal}"),
            config().algorithms([]),
            config().amr(none),
            config().leeway(61 * second),
            config().max_age(Duration::ZERO),
            config().keys_kept(2 * second, second),
        ];
        for one in bad {
            let described = format!("{one:?}");
            assert!(one.checked().is_err(), "{described}");
        }
        config().amr(none).acr(["gold"]).checked().unwrap();
        OidcConfig::new("http://127.0.0.1", "jit").http(plaintext()).checked().unwrap();
    }
}
