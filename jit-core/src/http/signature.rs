//! Signatures of webhooks, as the Standard Webhooks specification defines them (symmetric, `v1`).

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::clock::{Time, span};

/// Largest difference between a message's time and ours, in either direction. The specification
/// leaves it to the side that checks; its libraries take 5 minutes.
pub const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

const PREFIX: &str = "whsec_";

/// A secret that both sides know. It appears in no Debug and no error, and is wiped from memory.
#[derive(Clone)]
pub struct WebhookSecret {
    bytes: Zeroizing<Vec<u8>>,
}

impl FromStr for WebhookSecret {
    type Err = SignatureError;

    /// Reads `whsec_` and 24 to 64 bytes in base64.
    fn from_str(text: &str) -> Result<Self, SignatureError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(SignatureError::Secret)?;
        let bytes = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| SignatureError::Secret)?);
        if !(24..=64).contains(&bytes.len()) {
            return Err(SignatureError::Secret);
        }
        Ok(Self { bytes })
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(..)")
    }
}

/// Reason why a message is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The text is no webhook secret.
    #[error("a webhook secret is `whsec_` and 24 to 64 bytes in base64")]
    Secret,
    /// A header is missing.
    #[error("the headers webhook-id, webhook-timestamp and webhook-signature are needed")]
    Headers,
    /// The time cannot be read, or is more than five minutes off.
    #[error("its time is more than 5 minutes off")]
    Time,
    /// The message has no signature that fits.
    #[error("none of its signatures is valid")]
    Wrong,
}

/// Makes the value of the header `webhook-signature`. It holds one signature for each secret, so
/// that secrets can be changed on one side after the other.
#[must_use]
pub fn sign(secrets: &[WebhookSecret], id: &str, at: Time, body: &[u8]) -> String {
    let signatures = secrets.iter().map(|secret| {
        let signature = mac(secret, id, &at.timestamp().to_string(), body).finalize().into_bytes();
        format!("v1,{}", STANDARD.encode(signature))
    });
    signatures.collect::<Vec<_>>().join(" ")
}

/// A message with its headers, as it arrived.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SignedMessage<'a> {
    /// Header `webhook-id`.
    pub id: &'a str,
    /// Header `webhook-timestamp`.
    pub timestamp: &'a str,
    /// Header `webhook-signature`.
    pub signatures: &'a str,
    /// Body of the message.
    pub body: &'a [u8],
}

impl<'a> SignedMessage<'a> {
    /// Creates the message of these headers and this body.
    #[must_use]
    pub fn new(id: &'a str, timestamp: &'a str, signatures: &'a str, body: &'a [u8]) -> Self {
        Self { id, timestamp, signatures, body }
    }
}

/// Verifies that the message is fresh and signed with one of the secrets.
///
/// # Errors
/// [`SignatureError`] says why the message is not believed.
pub fn verify(secrets: &[WebhookSecret], message: SignedMessage<'_>, now: Time) -> Result<(), SignatureError> {
    let SignedMessage { id, timestamp, signatures, body } = message;
    let at = timestamp.parse().ok().and_then(|seconds| Time::from_timestamp(seconds, 0)).ok_or(SignatureError::Time)?;
    if span(at, now).abs() > TOLERANCE {
        return Err(SignatureError::Time);
    }
    let given: Vec<Vec<u8>> =
        signatures.split_ascii_whitespace().filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok()).collect();
    let fits = |secret: &WebhookSecret| {
        // the comparison takes the same time, whatever is wrong
        given.iter().any(|signature| mac(secret, id, timestamp, body).verify_slice(signature).is_ok())
    };
    if secrets.iter().any(fits) { Ok(()) } else { Err(SignatureError::Wrong) }
}

fn mac(secret: &WebhookSecret, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    // HMAC takes keys of any length
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.bytes).unwrap_or_else(|_| Hmac::new(&Default::default()));
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::after;

    /// Vectors of the specification's reference libraries (standard-webhooks/standard-webhooks,
    /// tests of C#, Go and Rust).
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: i64 = 1_614_265_330;
    const BODY: &[u8] = b"{\"test\": 2432232314}";
    const SIGNED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret() -> WebhookSecret {
        SECRET.parse().unwrap()
    }

    fn at() -> Time {
        Time::from_timestamp(AT, 0).unwrap()
    }

    #[test]
    fn signatures_are_those_of_the_specification() {
        assert_eq!(sign(&[secret()], ID, at(), BODY), SIGNED);
        verify(&[secret()], SignedMessage::new(ID, "1614265330", SIGNED, BODY), at()).unwrap();
        let (body, at) = (
            br#"{"email":"test@example.com","username":"test_user"}"#,
            Time::from_timestamp(1_649_367_553, 0).unwrap(),
        );
        let secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD".parse().unwrap();
        let signed = sign(&[secret], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", at, body);
        assert_eq!(signed, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    #[test]
    fn what_is_altered_late_or_early_is_not_believed() {
        let judge = |id: &str, timestamp: &str, signed: &str, body: &[u8], now: Time| {
            verify(&[secret()], SignedMessage::new(id, timestamp, signed, body), now)
        };
        assert_eq!(judge("msg_other", "1614265330", SIGNED, BODY, at()), Err(SignatureError::Wrong));
        assert_eq!(judge(ID, "1614265331", SIGNED, BODY, at()), Err(SignatureError::Wrong));
        assert_eq!(judge(ID, "1614265330", SIGNED, b"{\"test\": 2432232315}", at()), Err(SignatureError::Wrong));
        for off in [-301, 301] {
            let now = after(at(), TimeDelta::seconds(off));
            assert_eq!(judge(ID, "1614265330", SIGNED, BODY, now), Err(SignatureError::Time));
        }
        for timestamp in ["", "x", "99999999999999999999"] {
            assert_eq!(judge(ID, timestamp, SIGNED, BODY, at()), Err(SignatureError::Time));
        }
        for signed in ["", "v1,", "v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,AAAA", "g0hM9SsE+OTPJTGt"] {
            assert_eq!(judge(ID, "1614265330", signed, BODY, at()), Err(SignatureError::Wrong), "{signed}");
        }
        // one matching secret is enough, on either side
        let several = format!("v1a,xxxx v1,AAAA {SIGNED}");
        judge(ID, "1614265330", &several, BODY, at()).unwrap();
        let other: WebhookSecret = format!("whsec_{}", STANDARD.encode([7_u8; 32])).parse().unwrap();
        let both = sign(&[other.clone(), secret()], ID, at(), BODY);
        judge(ID, "1614265330", &both, BODY, at()).unwrap();
        verify(&[other.clone(), secret()], SignedMessage::new(ID, "1614265330", SIGNED, BODY), at()).unwrap();
        assert!(verify(&[other], SignedMessage::new(ID, "1614265330", SIGNED, BODY), at()).is_err());
        assert!(verify(&[], SignedMessage::new(ID, "1614265330", SIGNED, BODY), at()).is_err());
    }

    #[test]
    fn a_secret_has_its_length_and_shows_nowhere() {
        assert!(!format!("{:?}", secret()).contains("MfKQ"));
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_AAAA", "whsec_!!!"] {
            assert!(text.parse::<WebhookSecret>().is_err(), "{text}");
        }
    }
}
