//! Codes that change every 30 seconds (RFC 6238), as the usual applications show them.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::TimeDelta;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use totp_rs::{Algorithm, Builder, Totp};
use zeroize::{Zeroize, Zeroizing};

use super::seal::SealKey;
use super::{Challenge, Enrollment, Factor, FactorError, VerifiedFactor};
use crate::clock::{Clock, Entropy, SystemClock, SystemEntropy, Time, after};

/// Number of wrong codes in a row that are tolerated; the next one locks.
pub const MOST_WRONG: u32 = 5;
/// Length of the first lock. Each further wrong code doubles it, up to a day.
pub const LOCKED_FOR: TimeDelta = TimeDelta::minutes(15);

/// Number of digits of a code.
const DIGITS: u8 = 6;
/// Time for which a code is shown, in seconds.
const STEP: u64 = 30;
/// Number of steps by which the person's clock may be off, either way (RFC 6238, section 5.2).
const SKEW: u16 = 1;
/// Bytes of a seed, as long as the hash (RFC 4226, section 4).
const SEED: usize = 20;

/// Time-based one-time codes: six digits of SHA-1 every 30 s, as every authenticator application
/// shows them.
///
/// The seeds are sealed under a key that is not in the store. A step whose code was accepted is
/// never accepted again. Five wrong codes in a row are allowed; the sixth locks for 15 minutes, and
/// each one after that for twice as long.
#[derive(Debug)]
pub struct TotpFactor {
    issuer: String,
    key: SealKey,
    older: Vec<SealKey>,
    clock: Arc<dyn Clock>,
}

/// Data about a person that is kept sealed.
#[derive(Serialize, Deserialize)]
struct Kept {
    seed: Vec<u8>,
    /// True once a first code was given; until then the factor proves nothing.
    confirmed: bool,
    /// Last step whose code was accepted.
    last_step: u64,
    wrong: u32,
    locked_until: Option<Time>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.seed.zeroize();
    }
}

impl TotpFactor {
    /// Makes a factor whose codes show the issuer's name in people's applications.
    #[must_use]
    pub fn new(issuer: impl Into<String>, key: SealKey) -> Self {
        // in an `otpauth` address a colon separates the issuer from the account
        let issuer = issuer.into().replace(':', " ");
        Self { issuer, key, older: Vec::new(), clock: Arc::new(SystemClock) }
    }

    /// Adds an earlier key. Data that was sealed under it can still be read, and is sealed with the
    /// new key when it is used.
    #[must_use]
    pub fn also(mut self, older: SealKey) -> Self {
        self.older.push(older);
        self
    }

    /// Sets the clock that codes are judged by, in place of the machine's wall clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    fn open(&self, challenge: &Challenge<'_>) -> Result<Option<Kept>, FactorError> {
        let Some(sealed) = challenge.kept else { return Ok(None) };
        let purpose = purpose(challenge);
        let keys = std::iter::once(&self.key).chain(&self.older);
        let opened = keys.filter_map(|key| key.open(&purpose, sealed)).next();
        let kept = opened.and_then(|text| serde_json::from_slice(&text).ok());
        kept.map(Some).ok_or_else(|| FactorError::Unavailable {
            why: "this person's second factor cannot be decrypted with the key: restore the key, or have the factor removed"
                .to_owned(),
            source: None,
        })
    }

    fn seal(&self, challenge: &Challenge<'_>, kept: &Kept, entropy: &dyn Entropy) -> Vec<u8> {
        let text = Zeroizing::new(serde_json::to_vec(kept).unwrap_or_default());
        self.key.seal(&purpose(challenge), &text, entropy)
    }

    fn totp(&self, seed: &[u8], account: &str) -> Result<Totp, FactorError> {
        let totp = Builder::new()
            .with_algorithm(Algorithm::SHA1)
            .with_digits(DIGITS)
            .with_skew(SKEW)
            .with_step_duration(STEP)
            .with_secret(seed.to_vec())
            .with_issuer(Some(self.issuer.as_str()))
            .with_account_name(account.replace(':', " "));
        let unusable =
            |_| FactorError::Unavailable { why: "its seed cannot be used: set it up anew".to_owned(), source: None };
        totp.build().map_err(unusable)
    }

    /// Counts a wrong code, and locks where there were too many.
    fn wrong(&self, challenge: &Challenge<'_>, mut kept: Kept, why: &str) -> FactorError {
        kept.wrong = kept.wrong.saturating_add(1);
        let over = kept.wrong.checked_sub(MOST_WRONG.saturating_add(1));
        let longest = TimeDelta::days(1);
        let lock = over.map(|over| {
            let doubled = 1_i32.checked_shl(over.min(16)).and_then(|times| LOCKED_FOR.checked_mul(times));
            after(challenge.now, doubled.unwrap_or(longest).min(longest))
        });
        kept.locked_until = lock;
        let keep = Some(self.seal(challenge, &kept, &SystemEntropy));
        FactorError::Wrong { why: why.to_owned(), keep, locked_until: lock }
    }
}

#[async_trait]
impl Factor for TotpFactor {
    async fn verify(&self, challenge: &Challenge<'_>, response: &SecretString) -> Result<VerifiedFactor, FactorError> {
        let Some(mut kept) = self.open(challenge)? else { return Err(FactorError::NotEnrolled) };
        // until the set-up is complete, a code proves only that set-up
        if !kept.confirmed && challenge.access.is_some() {
            return Err(FactorError::NotEnrolled);
        }
        if let Some(until) = kept.locked_until.filter(|until| *until > challenge.now) {
            return Err(FactorError::Locked { until });
        }
        let wall = u64::try_from(self.clock.wall().timestamp()).unwrap_or_default();
        let code: Zeroizing<String> =
            Zeroizing::new(response.expose_secret().chars().filter(|sign| !sign.is_whitespace()).collect());
        let step = self.totp(&kept.seed, challenge.who.as_str())?.check(&code, wall);
        match step {
            None => Err(self.wrong(challenge, kept, "this code is wrong, or no longer valid")),
            Some(step) if step <= kept.last_step => {
                Err(self.wrong(challenge, kept, "this code was used already: wait for the next one"))
            }
            Some(step) => {
                (kept.confirmed, kept.last_step, kept.wrong, kept.locked_until) = (true, step, 0, None);
                let keep = Some(self.seal(challenge, &kept, &SystemEntropy));
                Ok(VerifiedFactor { at: challenge.now, details: Default::default(), keep, once: None })
            }
        }
    }

    fn enroll(&self, who: &Challenge<'_>, entropy: &dyn Entropy) -> Option<Result<Enrollment, FactorError>> {
        let enrollment = || {
            if self.open(who)?.is_some_and(|kept| kept.confirmed) {
                return Err(FactorError::wrong("it is set up already"));
            }
            let mut seed = vec![0_u8; SEED];
            entropy.fill(&mut seed);
            let uri = self.totp(&seed, who.who.as_str())?.to_url().map_err(|error| FactorError::Unavailable {
                why: "the name of the issuer or of the person cannot stand in an `otpauth` address".to_owned(),
                source: Some(Box::new(error)),
            })?;
            let kept = Kept { seed, confirmed: false, last_step: 0, wrong: 0, locked_until: None };
            Ok(Enrollment { uri: uri.into(), keep: self.seal(who, &kept, entropy) })
        };
        Some(enrollment())
    }
}

/// Returns the purpose of the seal: data about one person opens for no other.
fn purpose(challenge: &Challenge<'_>) -> String {
    let (tenant, who) = (challenge.tenant.as_str(), challenge.who.as_str());
    format!("jit totp 1\0{}\0{tenant}{who}", tenant.len())
}

#[cfg(test)]
mod tests;
