//! Second factors: what turns the response of a person into proof, for one access and one act on it.

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

use crate::approval::Proven;
use crate::clock::{Entropy, Time};
use crate::id::{AccessId, FactorName, Principal, TenantId};
use crate::store::BoxError;

#[cfg(feature = "oidc")]
pub use oidc::{DEFAULT_AMR, OidcConfig, OidcFactor, OidcInvalid, SigningAlgorithm};
#[cfg(feature = "totp")]
pub use seal::{SealKey, SealKeyError};
#[cfg(feature = "totp")]
pub use totp::{LOCKED_FOR, MOST_WRONG, TotpFactor};

/// A kind of second factor. What it keeps of a person (a seed, how often he was wrong) is stored by the engine, in the same commit as
/// what it proves: a response that is used twice at once is used once.
#[async_trait]
pub trait Factor: Debug + Send + Sync + 'static {
    /// Judges a response.
    ///
    /// # Errors
    /// [`FactorError`] says why it proves nothing.
    async fn verify(&self, challenge: &Challenge<'_>, response: &SecretString) -> Result<Verified, FactorError>;

    /// Begins to set it up for a person, where it has to be set up here; it counts once [`Factor::verify`] has accepted a response.
    ///
    /// # Errors
    /// [`FactorError::Unavailable`] where it cannot be.
    fn enrol(&self, who: &Challenge<'_>, entropy: &dyn Entropy) -> Option<Result<Enrolment, FactorError>> {
        let _ = (who, entropy);
        None
    }
}

/// What a response has to prove.
#[derive(Debug, Clone, Copy)]
pub struct Challenge<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Who has to prove that it is he.
    pub who: &'a Principal,
    /// About which access; none when it is set up.
    pub access: Option<AccessId>,
    /// What a signed response has to be bound to: the access, and which of its decisions.
    pub nonce: &'a str,
    /// The store's time, UTC.
    pub now: Time,
    /// What the factor kept of this person.
    pub kept: Option<&'a [u8]>,
}

/// A response that proves what it had to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// When the human proved it, UTC.
    pub at: Time,
    /// More of it, for the log; no secret.
    pub details: BTreeMap<String, String>,
    /// What is to be kept of the person from now on, where it changed.
    pub keep: Option<Vec<u8>>,
    /// What may not be used again.
    pub once: Option<Once>,
}

impl Verified {
    /// As the log and the approval have it.
    #[must_use]
    pub fn proven(&self, factor: &FactorName) -> Proven {
        Proven { factor: factor.clone(), at: self.at, details: self.details.clone() }
    }
}

/// Something that is used once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Once {
    /// Names it; no secret, at most 200 bytes.
    pub key: String,
    /// From then on nobody would take it anyway, UTC.
    pub until: Time,
}

/// A second factor that is being set up.
#[derive(Clone)]
pub struct Enrolment {
    /// What the person has to take over, as his application reads it (`otpauth://...`): secret.
    pub uri: SecretString,
    /// What is to be kept of the person.
    pub keep: Vec<u8>,
}

impl Debug for Enrolment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Enrolment(..)")
    }
}

/// Why a response proves nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactorError {
    /// The person has not set it up.
    #[error("it is not set up for this person")]
    NotEnrolled,
    /// It is not right.
    #[error("{why}")]
    Wrong {
        /// What is wrong with it; no secret.
        why: String,
        /// What is to be kept of the person from now on, where it changed.
        keep: Option<Vec<u8>>,
        /// Until when it is not taken any more, where this was one too many, UTC.
        locked_until: Option<Time>,
    },
    /// It was wrong too often, and is not looked at.
    #[error("it was wrong too often: try again after {until}")]
    Locked {
        /// Until when, UTC.
        until: Time,
    },
    /// It cannot be judged now.
    #[error("it cannot be judged now: {why}")]
    Unavailable {
        /// Why; no secret.
        why: String,
        /// The cause.
        #[source]
        source: Option<BoxError>,
    },
}

impl FactorError {
    /// It is not right, and nothing changes by that.
    pub fn wrong(why: impl Into<String>) -> Self {
        Self::Wrong { why: why.into(), keep: None, locked_until: None }
    }
}

/// A response of a person, as he gave it.
#[derive(Clone)]
pub struct Response {
    /// To which factor.
    pub factor: FactorName,
    /// A code, a token: secret.
    pub secret: SecretString,
}

impl Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response").field("factor", &self.factor).finish_non_exhaustive()
    }
}
