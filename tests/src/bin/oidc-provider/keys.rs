//! Keys of the provider. They sign by themselves, without the library that verifies the signatures.

use anyhow::{Context, Result, bail};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeySize, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Signing keys, one of each type.
pub(crate) struct Keys {
    generation: u32,
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Keys {
    /// Generates new keys. Their names contain the generation, so they differ from earlier ones.
    pub(crate) fn generate(generation: u32) -> Result<Self> {
        Ok(Self {
            generation,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048)?,
            p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
            p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING)?,
            ed25519: Ed25519KeyPair::generate()?,
        })
    }

    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Returns the public keys as `jwks_uri` lists them, with another one that only encrypts.
    pub(crate) fn public(&self) -> Vec<Value> {
        let rsa = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
        let (n, e) = (URL_SAFE_NO_PAD.encode(rsa.n), URL_SAFE_NO_PAD.encode(rsa.e));
        let curve = |pair: &EcdsaKeyPair| {
            // the uncompressed point: the byte 4, then both halves
            let (x, y) = pair
                .public_key()
                .as_ref()
                .split_first()
                .map_or((&[][..], &[][..]), |(_, both)| both.split_at(both.len() / 2));
            (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
        };
        let ((x256, y256), (x384, y384)) = (curve(&self.p256), curve(&self.p384));
        let x = URL_SAFE_NO_PAD.encode(self.ed25519.public_key());
        vec![
            json!({ "kty": "RSA", "use": "enc", "kid": self.kid("enc"), "n": n, "e": e }),
            json!({ "kty": "RSA", "use": "sig", "kid": self.kid("rsa"), "n": n, "e": e }),
            json!({ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid("p256"), "x": x256, "y": y256 }),
            json!({ "kty": "EC", "crv": "P-384", "use": "sig", "alg": "ES384", "kid": self.kid("p384"), "x": x384, "y": y384 }),
            json!({ "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": self.kid("ed"), "x": x }),
        ]
    }

    /// Returns the public RSA key as a PEM file.
    pub(crate) fn rsa_pem(&self) -> Result<String> {
        let der: PublicKeyX509Der<'_> = self.rsa.public_key().as_der()?;
        let text = STANDARD.encode(der.as_ref());
        let lines: Vec<String> =
            text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        Ok(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
    }

    /// Signs a token with these claims, whatever they are.
    pub(crate) fn token(&self, algorithm: &str, claims: &[u8]) -> Result<String> {
        let kind = match algorithm {
            "RS256" | "PS256" => "rsa",
            "ES256" => "p256",
            "ES384" => "p384",
            "EdDSA" => "ed",
            "enc" => "enc",
            other => bail!("no key signs `{other}`"),
        };
        let named = if algorithm == "enc" { "RS256" } else { algorithm };
        let header = json!({ "alg": named, "typ": "JWT", "kid": self.kid(kind) }).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.sign(named, signed.as_bytes())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    fn sign(&self, algorithm: &str, signed: &[u8]) -> Result<Vec<u8>> {
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(padding, &random, signed, &mut signature).context("RSA")?;
            anyhow::Ok(signature)
        };
        Ok(match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256)?,
            "PS256" => rsa(&RSA_PSS_SHA256)?,
            "ES256" => self.p256.sign(&random, signed)?.as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, signed)?.as_ref().to_vec(),
            _ => self.ed25519.sign(signed).as_ref().to_vec(),
        })
    }

    fn kid(&self, kind: &str) -> String {
        format!("{kind}-{}", self.generation)
    }
}
