//! Step-up by OpenID Connect: the response is an ID token. An identity provider has signed it for
//! one access, after it asked the person for a second factor.

mod algorithm;
mod claims;
mod config;
mod fetch;
mod invalid;
mod judge;
mod jwks;
mod keys;
mod refused;
#[cfg(test)]
mod tests;
mod token;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret as _, SecretString};

pub use algorithm::SigningAlgorithm;
pub use config::{DEFAULT_AMR, OidcConfig};
pub use invalid::OidcInvalid;

use self::fetch::FetchKeys;
use self::judge::{Signed, judge};
use self::keys::Keys;
use self::refused::{Refused, shown};
use self::token::Token;
use super::{Challenge, Factor, FactorError, VerifiedFactor};
use crate::http::HttpClient;

/// A second factor that an identity provider asks for and vouches for.
///
/// A token proves something if all of this holds:
///
/// - Its signature is by a key that the provider publishes under the token's `kid`. The algorithm
///   is asymmetric, accepted, and the one that the key is for.
/// - It is from this issuer and for us. If it is for several audiences, it was given to us.
/// - It is in force, is about the person in question, and is bound to the access (`nonce`).
/// - It says when the person logged in (`auth_time`), and that a second factor was asked for (`amr`
///   or `acr`).
///
/// A token is used once.
///
/// The embedding application sends the person to the provider with [`Access::nonce`] as `nonce`. It
/// also sends `max_age` and `acr_values` (or whatever else the provider takes), so that the
/// provider asks the person anew. The ID token that comes back is the response. Nobody has to be
/// set up here, and nothing is kept about anybody.
///
/// [`Access::nonce`]: crate::model::access::Access::nonce
pub struct OidcFactor {
    config: Arc<OidcConfig>,
    keys: Keys,
}

impl OidcFactor {
    /// Makes a factor that trusts the provider as it is configured. The provider is not asked
    /// before the first token comes, so a service can start while the provider is down.
    ///
    /// # Errors
    /// [`OidcInvalid`] says what is wrong with the configuration.
    pub fn new(config: OidcConfig) -> Result<Self, OidcInvalid> {
        let http = HttpClient::new(config.http.clone()).map_err(OidcInvalid::Http)?;
        Self::fetching(config, Arc::new(http))
    }

    fn fetching(config: OidcConfig, from: Arc<dyn FetchKeys>) -> Result<Self, OidcInvalid> {
        let config = Arc::new(config.checked()?);
        Ok(Self { keys: Keys::new(Arc::clone(&config), from), config })
    }

    async fn judged(&self, challenge: &Challenge<'_>, response: &str) -> Result<VerifiedFactor, FactorError> {
        if challenge.access.is_none() || challenge.nonce.is_empty() {
            return Err(Refused::NotBound.into());
        }
        let accepted: Vec<SigningAlgorithm> = self.config.algorithms.iter().copied().collect();
        let token = Token::read(response, &accepted)?;
        let set = self.keys.to_find(&token.kid).await?;
        let of_that_name = set.with_id(&token.kid);
        if of_that_name.clone().next().is_none() {
            return Err(Refused::UnknownKey { kid: shown(&token.kid) }.into());
        }
        let mut fitting = of_that_name.filter(|key| key.fits(token.algorithm)).peekable();
        if fitting.peek().is_none() {
            return Err(Refused::KeyDoesNotFit { kid: shown(&token.kid), alg: token.algorithm }.into());
        }
        let claims = token.signed_by(fitting)?;
        let signed = Signed { claims: &claims, kid: &token.kid, digest: token.digest() };
        Ok(judge(&self.config, &signed, challenge, self.config.clock.wall())?)
    }
}

impl fmt::Debug for OidcFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OidcFactor").field("config", &self.config).finish_non_exhaustive()
    }
}

#[async_trait]
impl Factor for OidcFactor {
    async fn verify(&self, challenge: &Challenge<'_>, response: &SecretString) -> Result<VerifiedFactor, FactorError> {
        self.judged(challenge, response.expose_secret()).await
    }
}
