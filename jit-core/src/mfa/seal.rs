//! Sealing of the data that a second factor keeps about a person. Whoever reads the store elsewhere
//! sees no seed; data that was written elsewhere is not believed.

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

/// First characters of a file with such a key.
const MARK: &str = "JIT+SEAL+KEY+";
/// Bytes of a nonce of XChaCha20-Poly1305: long enough to be drawn at random for ever.
const NONCE: usize = 24;

/// Key that seals the data of a second factor (XChaCha20-Poly1305). It is kept outside of the
/// store, appears in no Debug, error or log, and is wiped from memory.
#[derive(Clone)]
pub struct SealKey {
    bytes: Zeroizing<[u8; 32]>,
}

impl SealKey {
    /// Makes a new key.
    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0_u8; 32]);
        entropy.fill(&mut *bytes);
        Self { bytes }
    }

    /// Takes 32 bytes that the embedding service keeps elsewhere, for example in a secret manager.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes: Zeroizing::new(bytes) }
    }

    /// Loads the key from this file. If there is no file, makes a new key and writes it (mode
    /// 0600).
    ///
    /// # Errors
    /// [`SealKeyError`], if the file cannot be read or written, others may read it, or it holds no
    /// such key.
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

    /// Loads the key from this file.
    ///
    /// # Errors
    /// [`SealKeyError`], if the file cannot be read, others may read it, or it holds no such key.
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

    /// Seals a text for this purpose only.
    pub(super) fn seal(&self, purpose: &str, text: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let mut nonce = [0_u8; NONCE];
        entropy.fill(&mut nonce);
        let payload = Payload { msg: text, aad: purpose.as_bytes() };
        // encryption fails only for texts of more than 256 GiB
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens data that was sealed for this purpose under this key; `None` for any other data.
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

/// Reason why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealKeyError {
    /// The key file cannot be read.
    #[error("the key `{path}` cannot be read: check that this user may read it")]
    Read {
        /// Path of the key file.
        path: PathBuf,
        /// Cause of the error.
        #[source]
        source: io::Error,
    },
    /// The key file cannot be written.
    #[error("the key `{path}` cannot be written: check that the directory is there and writable")]
    Write {
        /// Path of the key file.
        path: PathBuf,
        /// Cause of the error.
        #[source]
        source: io::Error,
    },
    /// Others than the owner may read the key file.
    #[error("the key `{path}` has mode {mode:o}, others may read it: run `chmod 600 {path}`")]
    Exposed {
        /// Path of the key file.
        path: PathBuf,
        /// Permissions of the key file.
        mode: u32,
    },
    /// The file does not hold such a key.
    #[error("`{path}` holds no key for second factors: restore it, without it everybody has to set theirs up again")]
    Malformed {
        /// Path of the key file.
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
