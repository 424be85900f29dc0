//! The compact form of a signed token (RFC 7515 section 7.1), split into its parts. None of it is
//! believed yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::algorithm::SigningAlgorithm;
use super::claims::Claims;
use super::jwks::Key;
use super::refused::{Refused, shown};

/// Longest token that is looked at, in bytes. Tokens of providers that include a person's groups
/// have about 8 KiB.
const LONGEST_TOKEN: usize = 32 * 1024;

/// A token in its compact form, with its header read. It has no `Debug`, so that it cannot be
/// printed (law 12).
pub(super) struct Token<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
    pub(super) algorithm: SigningAlgorithm,
    pub(super) kid: String,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// Splits a token into its parts.
    ///
    /// # Errors
    /// [`Refused`], if it is no signed token, or is signed with none of these algorithms.
    pub(super) fn read(text: &'a str, accepted: &[SigningAlgorithm]) -> Result<Self, Refused> {
        let text = text.trim_ascii();
        if text.len() > LONGEST_TOKEN {
            return Err(Refused::NotAToken { why: "it is too long" });
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(NOT_THREE)?;
        let (header, payload) = signed.split_once('.').ok_or(NOT_THREE)?;
        if payload.contains('.') {
            return Err(NOT_THREE);
        }
        let header = decoded(header)?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|_| Refused::NotAToken { why: "its header is not one" })?;
        let known = SigningAlgorithm::named(&header.alg).filter(|known| accepted.contains(known));
        let algorithm =
            known.ok_or_else(|| Refused::Algorithm { alg: shown(&header.alg), accepted: accepted.to_vec() })?;
        // the same keys sign other tokens of the provider as well (RFC 8725 section 3.11)
        if let Some(typ) = header.typ.filter(|typ| !typ.eq_ignore_ascii_case("JWT")) {
            return Err(Refused::Kind { typ: shown(&typ) });
        }
        if header.crit.is_some() {
            return Err(Refused::Critical);
        }
        let kid = header.kid.filter(|kid| !kid.is_empty()).ok_or(Refused::NoKeyId)?;
        Ok(Self { signed, payload, signature: decoded(signature)?, algorithm, kid })
    }

    /// Returns the claims, once one of these keys has signed them.
    ///
    /// # Errors
    /// [`Refused`], if none of the keys has.
    pub(super) fn signed_by<'k>(&self, mut keys: impl Iterator<Item = &'k Key>) -> Result<Claims, Refused> {
        if !keys.any(|key| key.has_signed(self.algorithm, self.signed.as_bytes(), &self.signature)) {
            return Err(Refused::Signature);
        }
        Claims::read(&decoded(self.payload)?)
    }

    /// Returns a digest that names the token without revealing it. It covers only the signed text,
    /// because an ECDSA signature can be written in two ways.
    pub(super) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.signed.as_bytes()).into()
    }
}

const NOT_THREE: Refused = Refused::NotAToken { why: "it does not have the three parts of one" };

fn decoded(part: &str) -> Result<Vec<u8>, Refused> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::NotAToken { why: "a part of it is not base64url" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Result<String, Refused> {
        let text = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header));
        Token::read(&text, &[SigningAlgorithm::Es256]).map(|token| token.kid)
    }

    #[test]
    fn what_is_no_signed_token_is_told_apart() {
        assert_eq!(read(r#"{"alg":"ES256","kid":"a","typ":"jwt"}"#), Ok("a".to_owned()));
        assert_eq!(read(r#"{"alg":"ES256"}"#), Err(Refused::NoKeyId));
        assert_eq!(read(r#"{"alg":"ES256","kid":""}"#), Err(Refused::NoKeyId));
        assert_eq!(read(r#"{"alg":"ES256","kid":"a","crit":["b64"],"b64":false}"#), Err(Refused::Critical));
        assert_eq!(
            read(r#"{"alg":"ES256","kid":"a","typ":"at+jwt"}"#),
            Err(Refused::Kind { typ: "at+jwt".to_owned() })
        );
        for other in ["none", "HS256", "RS256", "es256"] {
            let accepted = vec![SigningAlgorithm::Es256];
            let refused = Refused::Algorithm { alg: other.to_owned(), accepted };
            assert_eq!(read(&format!(r#"{{"alg":"{other}","kid":"a"}}"#)), Err(refused));
        }
        for text in ["", "..", "a.b", "a.b.c.d.e", "!.e30.AAAA", "123456", &"a".repeat(LONGEST_TOKEN * 2)] {
            let read = Token::read(text, &SigningAlgorithm::ALL).map(|token| token.kid);
            assert!(matches!(read, Err(Refused::NotAToken { .. })), "{read:?}");
        }
    }
}
