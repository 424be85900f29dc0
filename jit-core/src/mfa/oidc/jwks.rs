//! The provider's public keys (RFC 7517). Keys that are not understood are left out; they never
//! spoil the rest.

use std::fmt;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use serde::Deserialize;
use serde_json::Value;

use super::algorithm::SigningAlgorithm;

/// Largest number of keys of a set that are looked at. Providers have two or three, Google and
/// Microsoft up to ten.
const MOST_KEYS: usize = 100;

/// A public key that signs tokens.
pub(super) struct Key {
    pub(super) kid: String,
    fits: Vec<SigningAlgorithm>,
    key: DecodingKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("kid", &self.kid).field("fits", &self.fits).finish_non_exhaustive()
    }
}

impl Key {
    /// Checks whether the key has the type that the algorithm needs, and is not reserved for
    /// another algorithm.
    pub(super) fn fits(&self, algorithm: SigningAlgorithm) -> bool {
        self.fits.contains(&algorithm)
    }

    /// Checks whether this key made the signature.
    pub(super) fn has_signed(&self, algorithm: SigningAlgorithm, signed: &[u8], signature: &[u8]) -> bool {
        // not through the library's default, which panics if an embedder has enabled both of its
        // implementations
        let verifier = (DEFAULT_PROVIDER.verifier_factory)(&algorithm.as_library(), &self.key);
        self.fits(algorithm) && verifier.is_ok_and(|verifier| verifier.verify(signed, &signature.to_vec()).is_ok())
    }
}

/// Reason why a set of keys cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadKeys {
    #[error("its answer is not a set of keys")]
    NotASet,
    #[error("it has more than {MOST_KEYS} keys")]
    TooMany,
    #[error("it has no key that signs and has a `kid`")]
    None,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads a set of keys, and keeps those that sign.
pub(super) fn read(json: &[u8]) -> Result<Vec<Key>, BadKeys> {
    let set: Set = serde_json::from_slice(json).map_err(|_| BadKeys::NotASet)?;
    if set.keys.len() > MOST_KEYS {
        return Err(BadKeys::TooMany);
    }
    let keys: Vec<Key> = set.keys.into_iter().filter_map(|key| key_of(serde_json::from_value(key).ok()?)).collect();
    if keys.is_empty() { Err(BadKeys::None) } else { Ok(keys) }
}

fn key_of(jwk: Jwk) -> Option<Key> {
    let signs = jwk.purpose.is_none_or(|purpose| purpose == "sig");
    let verifies = jwk.key_ops.is_none_or(|all| all.iter().any(|one| one == "verify"));
    if !signs || !verifies || jwk.kid.is_empty() {
        return None;
    }
    // the type of the key decides, never the token: a public RSA key must not become a secret of
    // HMAC
    let (mut fits, key) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let key = DecodingKey::from_rsa_components(&jwk.n?, &jwk.e?);
            (vec![SigningAlgorithm::Rs256, SigningAlgorithm::Ps256], key)
        }
        ("EC", Some("P-256")) => (vec![SigningAlgorithm::Es256], DecodingKey::from_ec_components(&jwk.x?, &jwk.y?)),
        ("EC", Some("P-384")) => (vec![SigningAlgorithm::Es384], DecodingKey::from_ec_components(&jwk.x?, &jwk.y?)),
        ("OKP", Some("Ed25519")) => (vec![SigningAlgorithm::EdDsa], DecodingKey::from_ed_components(&jwk.x?)),
        _ => return None,
    };
    if let Some(alg) = jwk.alg {
        fits.retain(|fit| Some(*fit) == SigningAlgorithm::named(&alg));
    }
    Some(Key { kid: jwk.kid, fits, key: key.ok()? }).filter(|key| !key.fits.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn kids(json: &str) -> Vec<String> {
        read(json.as_bytes()).map(|keys| keys.into_iter().map(|key| key.kid).collect()).unwrap_or_default()
    }

    #[test]
    fn keys_that_do_not_sign_are_left_out_and_spoil_nothing() {
        let set = format!(
            r#"{{"keys":[
                {{"kty":"OKP","crv":"Ed25519","kid":"good","x":"{X}"}},
                {{"kty":"OKP","crv":"Ed25519","kid":"sig","use":"sig","alg":"EdDSA","key_ops":["verify"],"x":"{X}"}},
                {{"kty":"OKP","crv":"Ed25519","kid":"enc","use":"enc","x":"{X}"}},
                {{"kty":"OKP","crv":"Ed25519","kid":"ops","key_ops":["encrypt"],"x":"{X}"}},
                {{"kty":"OKP","crv":"Ed25519","kid":"other","alg":"RS256","x":"{X}"}},
                {{"kty":"OKP","crv":"Ed25519","x":"{X}"}},
                {{"kty":"OKP","crv":"X25519","kid":"agrees","x":"{X}"}},
                {{"kty":"EC","crv":"secp256k1","kid":"curve","x":"{X}","y":"{X}"}},
                {{"kty":"oct","kid":"secret","k":"{X}"}},
                {{"kty":"RSA","kid":"half","n":"AQAB"}},
                {{"kty":"AKP","kid":"new"}}, 7, null
            ]}}"#
        );
        assert_eq!(kids(&set), ["good", "sig"]);
    }

    #[test]
    fn what_is_no_set_of_keys_is_told_apart() {
        assert_eq!(read(b"<html>").unwrap_err(), BadKeys::NotASet);
        assert_eq!(read(br#"{"keys":{}}"#).unwrap_err(), BadKeys::NotASet);
        assert_eq!(read(br#"{"keys":[]}"#).unwrap_err(), BadKeys::None);
        let many = format!(r#"{{"keys":[{}]}}"#, vec!["1"; MOST_KEYS + 1].join(","));
        assert_eq!(read(many.as_bytes()).unwrap_err(), BadKeys::TooMany);
    }

    #[test]
    fn a_key_fits_the_algorithms_of_its_type_and_no_other() {
        let set = r#"{"keys":[{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"},{"kty":"RSA","alg":"PS256","kid":"b","n":"AQAB","e":"AQAB"}]}"#;
        let keys = read(set.as_bytes()).unwrap();
        let fits = |key: &Key| SigningAlgorithm::ALL.into_iter().filter(|alg| key.fits(*alg)).collect::<Vec<_>>();
        assert_eq!(fits(&keys[0]), [SigningAlgorithm::Rs256, SigningAlgorithm::Ps256]);
        assert_eq!(fits(&keys[1]), [SigningAlgorithm::Ps256]);
    }
}
