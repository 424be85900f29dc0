//! What a second factor keeps of a person is sealed: a store that is read elsewhere shows no seed, and one that is written elsewhere
//! is not believed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::key_file::{others_may_read, read_short, write_new};

/// How a file with such a key begins.
const MARK: &str = "JIT+SEAL+KEY+";
/// Bytes of a nonce of XChaCha20-Poly1305: long enough to be drawn at random for ever.
const NONCE: usize = 24;

/// The key under which what a second factor keeps is sealed (XChaCha20-Poly1305). It is kept outside of the store, appears in no
/// Debug, error or log, and is wiped from memory.
#[derive(Clone)]
pub struct SealKey {
    bytes: Zeroizing<[u8; 32]>,
}

impl SealKey {
    /// A new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        entropy.fill(&mut *bytes);
        Self { bytes }
    }

    /// From 32 bytes that the embedding service keeps elsewhere (a secret manager).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes: Zeroizing::new(bytes) }
    }

    /// The key of this file; where there is none a new one is made (mode 0600).
    ///
    /// # Errors
    /// [`SealKeyError`] when the file cannot be read or written, others may read it, or it is no such key.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<Self, SealKeyError> {
        match Self::load(path) {
            Err(SealKeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let key = Self::generate(entropy);
        let encoded = Zeroizing::new(STANDARD.encode(*key.bytes));
        let text = Zeroizing::new(format!("{MARK}{}\n", *encoded));
        match write_new(path, text.as_bytes(), 0o600) {
            Ok(()) => Ok(key),
            // another process was faster: its key counts
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(SealKeyError::Write { path: path.to_owned(), source }),
        }
    }

    /// The key of this file.
    ///
    /// # Errors
    /// [`SealKeyError`] when it cannot be read, others may read it, or it is no such key.
    pub fn load(path: &Path) -> Result<Self, SealKeyError> {
        let cannot = |source| SealKeyError::Read { path: path.to_owned(), source };
        if let Some(mode) = others_may_read(path).map_err(cannot)? {
            return Err(SealKeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(read_short(path).map_err(cannot)?);
        let encoded = text.trim_end().strip_prefix(MARK).unwrap_or_default();
        let decoded = Zeroizing::new(STANDARD.decode(encoded).unwrap_or_default());
        let bytes = <[u8; 32]>::try_from(decoded.as_slice());
        bytes.map(Self::from_bytes).map_err(|_| SealKeyError::Malformed { path: path.to_owned() })
    }

    /// Seals it for this purpose only.
    pub(super) fn seal(&self, purpose: &str, text: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE];
        entropy.fill(&mut nonce);
        let payload = Payload { msg: text, aad: purpose.as_bytes() };
        // it fails for texts of more than 256 GiB only
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [nonce.as_slice(), &sealed].concat()
    }

    /// What was sealed for this purpose under this key; none where it was not.
    pub(super) fn open(&self, purpose: &str, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
        let nonce = <[u8; NONCE]>::try_from(nonce).ok()?;
        let payload = Payload { msg: sealed, aad: purpose.as_bytes() };
        self.cipher().decrypt(&XNonce::from(nonce), payload).ok().map(Zeroizing::new)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.bytes).into())
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealKey(..)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealKeyError {
    /// It cannot be read.
    #[error("the key `{path}` cannot be read: check that this user may read it")]
    Read {
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("the key `{path}` cannot be written: check that the directory is there and writable")]
    Write {
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error("the key `{path}` has mode {mode:o}, others may read it: run `chmod 600 {path}`")]
    Exposed {
        /// Where.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is not such a key.
    #[error("`{path}` holds no key for second factors: restore it, without it everybody has to set his up anew")]
    Malformed {
        /// Where.
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemEntropy;

    #[test]
    fn what_is_sealed_opens_under_its_key_and_for_its_purpose_only() {
        let (key, other) = (SealKey::generate(&SystemEntropy), SealKey::generate(&SystemEntropy));
        let sealed = key.seal("alice", b"seed", &SystemEntropy);
        assert_eq!(key.open("alice", &sealed).unwrap().as_slice(), b"seed");
        assert!(key.open("bob", &sealed).is_none() && other.open("alice", &sealed).is_none());
        for place in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[place] ^= 1;
            assert!(key.open("alice", &altered).is_none(), "{place}");
        }
        assert!(key.open("alice", &sealed[..20]).is_none());
        assert_ne!(sealed, key.seal("alice", b"seed", &SystemEntropy));
    }

    #[test]
    fn a_key_is_made_once_and_is_for_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mfa.key");
        let made = SealKey::load_or_create(&path, &SystemEntropy).unwrap();
        let found = SealKey::load_or_create(&path, &SystemEntropy).unwrap();
        assert_eq!(made.bytes, found.bytes);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!format!("{made:?}").contains(text.trim_end().strip_prefix(MARK).unwrap()));
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(SealKey::load(&path).unwrap_err().to_string().contains("chmod 600"));
        let wrong = directory.path().join("wrong.key");
        write_new(&wrong, b"JIT+SEAL+KEY+AAAA\n", 0o600).unwrap();
        assert!(matches!(SealKey::load(&wrong), Err(SealKeyError::Malformed { .. })));
    }
}
