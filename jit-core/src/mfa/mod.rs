//! Second factors: they turn a person's response into proof, for one access and one act on it.

#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "totp")]
mod seal;
#[cfg(feature = "totp")]
mod totp;

use std::collections::BTreeMap;
use std::fmt::Debug;

use async_trait::async_trait;
use secrecy::SecretString;

pub use crate::actor::Response;
use crate::clock::{Entropy, Time};
use crate::id::{AccessId, FactorName, Principal, TenantId};
use crate::model::approval::Proven;
use crate::store::BoxError;

#[cfg(feature = "oidc")]
pub use oidc::{DEFAULT_AMR, OidcConfig, OidcFactor, OidcInvalid, SigningAlgorithm};
#[cfg(feature = "totp")]
pub use seal::{SealKey, SealKeyError};
#[cfg(feature = "totp")]
pub use totp::{LOCKED_FOR, MOST_WRONG, TotpFactor};

/// A kind of second factor.
///
/// The engine stores what the factor keeps about a person (a seed, the number of wrong tries). It
/// does so in the same commit as the act that the factor proves, so a response that is used twice
/// at once is used once.
///
/// ```
/// use async_trait::async_trait;
/// use jit_core::SecretString;
/// use jit_core::mfa::{Challenge, Factor, FactorError, VerifiedFactor};
///
/// /// Codes from a company's own service, which accepts each code once.
/// #[derive(Debug)]
/// struct CompanyCodes;
///
/// #[async_trait]
/// impl Factor for CompanyCodes {
///     async fn verify(
///         &self,
///         challenge: &Challenge<'_>,
///         response: &SecretString,
///     ) -> Result<VerifiedFactor, FactorError> {
///         if !accepts(challenge, response).await {
///             return Err(FactorError::wrong("the service does not accept this code"));
///         }
///         Ok(VerifiedFactor::new(challenge.now))
///     }
/// }
/// # async fn accepts(_: &Challenge<'_>, _: &SecretString) -> bool { false }
/// ```
#[async_trait]
pub trait Factor: Debug + Send + Sync + 'static {
    /// Judges a response to the challenge.
    ///
    /// # Errors
    /// [`FactorError`] says why the response proves nothing.
    async fn verify(&self, challenge: &Challenge<'_>, response: &SecretString) -> Result<VerifiedFactor, FactorError>;

    /// Begins the set-up for a person; `None` if this factor needs no set-up here. The factor
    /// counts once [`Factor::verify`] has accepted a response.
    ///
    /// # Errors
    /// [`FactorError::Unavailable`], if it cannot be set up now.
    fn enroll(&self, who: &Challenge<'_>, entropy: &dyn Entropy) -> Option<Result<Enrollment, FactorError>> {
        let _ = (who, entropy);
        None
    }
}

/// Challenge that a response has to answer.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Challenge<'a> {
    /// Tenant of the person.
    pub tenant: &'a TenantId,
    /// Person who has to prove their identity.
    pub who: &'a Principal,
    /// Access that the proof is for; `None` during set-up.
    pub access: Option<AccessId>,
    /// Nonce that a signed response has to be bound to: it names the access and the decision.
    pub nonce: &'a str,
    /// The store's time, UTC.
    pub now: Time,
    /// Data that the factor kept about this person.
    pub kept: Option<&'a [u8]>,
}

impl<'a> Challenge<'a> {
    /// Creates the challenge of a person about whom the factor kept nothing, outside of any access.
    #[must_use]
    pub fn new(tenant: &'a TenantId, who: &'a Principal, nonce: &'a str, now: Time) -> Self {
        Self { tenant, who, access: None, nonce, now, kept: None }
    }
}

/// Accepted response, with what it proves.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifiedFactor {
    /// Time at which the human proved it, UTC.
    pub at: Time,
    /// Details for the log; no secret.
    pub details: BTreeMap<String, String>,
    /// Data to keep about the person from now on, if it changed.
    pub keep: Option<Vec<u8>>,
    /// Code or token that may not be used again.
    pub once: Option<Once>,
}

impl VerifiedFactor {
    /// Creates a proof of this time, which keeps nothing and may be repeated.
    #[must_use]
    pub fn new(at: Time) -> Self {
        Self { at, details: BTreeMap::new(), keep: None, once: None }
    }

    /// Returns the proof as the log and the approval hold it.
    #[must_use]
    pub fn proven(&self, factor: &FactorName) -> Proven {
        Proven { factor: factor.clone(), at: self.at, details: self.details.clone() }
    }
}

/// Code or token that may be used once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Once {
    /// Name of the code or token; no secret, at most 200 bytes.
    pub key: String,
    /// Time from which nobody would accept it anyway, UTC.
    pub until: Time,
}

impl Once {
    /// Creates the entry of this code or token.
    #[must_use]
    pub fn new(key: impl Into<String>, until: Time) -> Self {
        Self { key: key.into(), until }
    }
}

/// A second factor that is being set up.
#[derive(Clone)]
#[non_exhaustive]
pub struct Enrollment {
    /// Secret that the person enters into their authenticator application, as an `otpauth://...`
    /// address.
    pub uri: SecretString,
    /// Data to keep about the person.
    pub keep: Vec<u8>,
}

impl Enrollment {
    /// Creates the set-up of this address.
    #[must_use]
    pub fn new(uri: impl Into<SecretString>, keep: Vec<u8>) -> Self {
        Self { uri: uri.into(), keep }
    }
}

impl Debug for Enrollment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrollment(..)")
    }
}

/// Reason why a response proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactorError {
    /// The person has not set up the factor.
    #[error("it is not set up for this person")]
    NotEnrolled,
    /// The response is wrong.
    #[error("{why}")]
    Wrong {
        /// Description of what is wrong with it; no secret.
        why: String,
        /// Data to keep about the person from now on, if it changed.
        keep: Option<Vec<u8>>,
        /// Time until which the factor is locked, UTC, if this wrong response was one too many.
        locked_until: Option<Time>,
    },
    /// There were too many wrong responses, so this one is not looked at.
    #[error("it was wrong too often: try again after {until}")]
    Locked {
        /// Time until which the factor is locked, UTC.
        until: Time,
    },
    /// The response cannot be judged now.
    #[error("it cannot be checked now: {why}")]
    Unavailable {
        /// Description of the reason; no secret.
        why: String,
        /// Cause, if there is one.
        #[source]
        source: Option<BoxError>,
    },
}

impl FactorError {
    /// Makes the error of a wrong response that changes nothing.
    pub fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong { why: why.into(), keep: None, locked_until: None }
    }
}
