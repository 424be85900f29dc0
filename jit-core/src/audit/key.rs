//! Keys of checkpoints, in the text forms that C2SP signed notes use.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer as _;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::clock::Entropy;
use crate::key_file::{others_may_read, read_short, write_new};

/// Number of Ed25519 in signed notes.
const ED25519: u8 = 1;
const SECRET_MARK: &str = "PRIVATE+KEY+";

/// The key that signs a log's checkpoints. Its secret half appears in no Debug, error or log, and
/// is wiped from memory.
pub struct SigningKey {
    public: VerifyingKey,
    secret: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// Makes a new key. Signatures carry the name, by convention the origin of the log
    /// (`jit/default`).
    ///
    /// # Errors
    /// [`KeyError::Name`] if the name is empty, or has a space, a plus sign or a control character.
    pub fn generate(name: &str, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0_u8; 32]);
        entropy.fill(&mut *seed);
        Self::from_seed(name, &seed)
    }

    /// Loads the key of this file, or makes a new one in it (mode 0600). The public half is beside
    /// it in `.pub` (mode 0644).
    ///
    /// # Errors
    /// [`KeyError`] if the key exists and cannot be used, if it cannot be made, or if only the
    /// public half exists.
    pub fn load_or_create(path: impl AsRef<Path>, name: &str, entropy: &dyn Entropy) -> Result<Self, KeyError> {
        let path = path.as_ref();
        match Self::load(path) {
            Err(KeyError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Ok(key) => {
                if !public_path(path).exists() {
                    key.save_public(path)?;
                }
                return Ok(key);
            }
            Err(error) => return Err(error),
        }
        if public_path(path).exists() {
            return Err(KeyError::SecretLost { path: path.to_owned() });
        }
        let key = Self::generate(name, entropy)?;
        match key.save(path) {
            // another process was faster, so its key counts
            Err(KeyError::Write { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(error) => Err(error),
            Ok(()) => Ok(key),
        }
    }

    /// Loads the key of this file.
    ///
    /// # Errors
    /// [`KeyError`] if the file cannot be read, if others may read it, or if it is no key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let cannot = |source| KeyError::Read { path: path.to_owned(), source };
        if let Some(mode) = others_may_read(path).map_err(cannot)? {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let text = Zeroizing::new(read_short(path).map_err(cannot)?);
        let broken = |why| KeyError::Malformed { what: path.display().to_string(), why };
        let rest = text.trim_end().strip_prefix(SECRET_MARK).ok_or_else(|| broken("it is not a secret key"))?;
        let (name, hash, seed) = split_key(rest).map_err(broken)?;
        let key = Self::from_seed(name, &seed)?;
        if key.public.hash_text() != hash {
            return Err(broken("its hash does not fit the key"));
        }
        Ok(key)
    }

    /// Writes the key to a file that does not exist yet (mode 0600), and the public half to `.pub`
    /// beside it.
    ///
    /// # Errors
    /// [`KeyError::Write`] when the file exists or cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        let mut data = Zeroizing::new(vec![ED25519]);
        data.extend_from_slice(self.secret.as_bytes());
        let encoded = Zeroizing::new(STANDARD.encode(&*data));
        let text =
            Zeroizing::new(format!("{SECRET_MARK}{}+{}+{}\n", self.public.name, self.public.hash_text(), *encoded));
        write_new(path, text.as_bytes(), 0o600).map_err(|source| KeyError::Write { path: path.to_owned(), source })?;
        self.save_public(path)
    }

    /// Returns the public half.
    #[must_use]
    pub fn verifying_key(&self) -> &VerifyingKey {
        &self.public
    }

    /// Makes a signature line of a note, without its end of line.
    pub(super) fn sign(&self, text: &str) -> String {
        let mut line = self.public.id.to_vec();
        line.extend_from_slice(&self.secret.sign(text.as_bytes()).to_bytes());
        format!("\u{2014} {} {}", self.public.name, STANDARD.encode(line))
    }

    fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = ed25519_dalek::SigningKey::from_bytes(seed);
        Ok(Self { public: VerifyingKey::new(name, secret.verifying_key())?, secret })
    }

    fn save_public(&self, path: &Path) -> Result<(), KeyError> {
        let path = public_path(path);
        match write_new(&path, format!("{}\n", self.public).as_bytes(), 0o644) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(KeyError::Write { path, source }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The key that checks a log's checkpoints. Its text is `name+hash+key`, which C2SP calls a vkey.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: [u8; 4],
    key: ed25519_dalek::VerifyingKey,
}

impl VerifyingKey {
    /// Loads the key of this file: the `.pub` file beside a signing key.
    ///
    /// # Errors
    /// [`KeyError`] if the file cannot be read or is no key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let text = read_short(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
        text.trim_end().parse()
    }

    /// Returns the name that signatures carry.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Checks whether this is the base64 part of a signature by this key on the text.
    pub(super) fn accepts(&self, text: &str, signature: &str) -> bool {
        let Ok(bytes) = STANDARD.decode(signature) else { return false };
        let Some((id, signature)) = bytes.split_first_chunk::<4>() else { return false };
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
        *id == self.id && self.key.verify_strict(text.as_bytes(), &signature).is_ok()
    }

    fn new(name: &str, key: ed25519_dalek::VerifyingKey) -> Result<Self, KeyError> {
        let bad = |character: char| character.is_whitespace() || character.is_control() || character == '+';
        if name.is_empty() || name.len() > 512 || name.contains(bad) {
            return Err(KeyError::Name { given: name.escape_debug().take(64).collect() });
        }
        let digest: [u8; 32] = Sha256::new()
            .chain_update(name.as_bytes())
            .chain_update([b'\n', ED25519])
            .chain_update(key.as_bytes())
            .finalize()
            .into();
        let [a, b, c, d, ..] = digest;
        Ok(Self { name: name.to_owned(), id: [a, b, c, d], key })
    }

    fn hash_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id))
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut data = vec![ED25519];
        data.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, self.hash_text(), STANDARD.encode(data))
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({self})")
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        // a secret key pasted here by mistake must not come back in the message
        let broken = |why| KeyError::Malformed { what: "the public key".to_owned(), why };
        if text.starts_with(SECRET_MARK) {
            return Err(broken("it is a secret key; the public one stands beside it in a file that ends in .pub"));
        }
        let (name, hash, key) = split_key(text).map_err(broken)?;
        let key =
            ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| broken("it is not a point of the curve"))?;
        if key.is_weak() {
            return Err(broken("it is a weak key: a signature by it proves nothing"));
        }
        let key = Self::new(name, key)?;
        if key.hash_text() == hash { Ok(key) } else { Err(broken("its hash does not fit the key")) }
    }
}

/// Reason why a key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The key cannot be read.
    #[error("the key `{path}` cannot be read: check that the file is there and that this user may read it")]
    Read {
        /// Path of the key file.
        path: PathBuf,
        /// Cause of the error.
        #[source]
        source: io::Error,
    },
    /// The key cannot be written.
    #[error(
        "the key `{path}` cannot be written: check that the directory is there, writable, and has no such file yet"
    )]
    Write {
        /// Path of the key file.
        path: PathBuf,
        /// Cause of the error.
        #[source]
        source: io::Error,
    },
    /// Others than the owner of the file may read it.
    #[error(
        "the signing key `{path}` has mode {mode:o}, others may read it: run `chmod 600 {path}`, or make a new key"
    )]
    Exposed {
        /// Path of the key file.
        path: PathBuf,
        /// Permissions of the file.
        mode: u32,
    },
    /// The public half exists and the secret one does not.
    #[error(
        "the signing key `{path}` is gone, its public half is still there: restore it from a backup, or move the .pub file \
         away to begin with a new key (keep it: it verifies the older checkpoints)"
    )]
    SecretLost {
        /// Path where the secret half should be.
        path: PathBuf,
    },
    /// The text is not a key.
    #[error("{what} is not a key of a log: {why}; it should read name+hash+base64")]
    Malformed {
        /// Source of the text: a file, or the public key.
        what: String,
        /// Reason why it is not a key.
        why: &'static str,
    },
    /// The name cannot occur in a signature.
    #[error(
        "`{given}` cannot name a key: it must not be empty, nor hold white space, a plus sign or a control character"
    )]
    Name {
        /// Name that was given.
        given: String,
    },
}

/// Splits `name+hash+base64(algorithm, 32 bytes)` into its parts.
fn split_key(text: &str) -> Result<(&str, &str, Zeroizing<[u8; 32]>), &'static str> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(hash), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it does not have three parts");
    };
    let data = Zeroizing::new(STANDARD.decode(data).map_err(|_| "its last part is not base64")?);
    match data.split_first() {
        Some((&ED25519, key)) => {
            let key = key.try_into().map_err(|_| "an Ed25519 key has 32 bytes")?;
            Ok((name, hash, Zeroizing::new(key)))
        }
        _ => Err("it is not an Ed25519 key"),
    }
}

fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::clock::SystemEntropy;

    #[derive(Debug)]
    struct Counting;
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            (0..).zip(buffer).for_each(|(number, byte)| *byte = number);
        }
    }

    /// Keys computed outside this code, with Python's `cryptography` and hashlib, for the seed 00
    /// 01 02 ... 1f.
    const PUBLIC: &str = "jit/default+09100dfd+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4";
    const SECRET: &str = "PRIVATE+KEY+jit/default+09100dfd+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n";

    #[test]
    fn keys_have_the_text_form_computed_outside() {
        let key = SigningKey::generate("jit/default", &Counting).unwrap();
        assert_eq!(key.verifying_key().to_string(), PUBLIC);
        assert_eq!(&PUBLIC.parse::<VerifyingKey>().unwrap(), key.verifying_key());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.key");
        key.save(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), SECRET);
        assert_eq!(fs::read_to_string(public_path(&path)).unwrap().trim_end(), PUBLIC);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.key");
        let made = SigningKey::load_or_create(&path, "jit/default", &SystemEntropy).unwrap();
        let found = SigningKey::load_or_create(&path, "other", &SystemEntropy).unwrap();
        assert_eq!(made.verifying_key(), found.verifying_key());
        assert!(matches!(made.save(&path), Err(KeyError::Write { .. })), "a key never replaces another");
        fs::remove_file(&path).unwrap();
        let lost = SigningKey::load_or_create(&path, "jit/default", &SystemEntropy).unwrap_err();
        assert!(matches!(lost, KeyError::SecretLost { .. }));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("audit.key");
        SigningKey::generate("jit", &SystemEntropy).unwrap().save(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(SigningKey::load(&path).unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn no_secret_shows() {
        let key = SigningKey::generate("jit/default", &Counting).unwrap();
        assert!(!format!("{key:?}").contains("AQABAgMEBQYH"));
        let error = SECRET.trim_end().parse::<VerifyingKey>().unwrap_err();
        assert!(!format!("{error:?} {error}").contains("AQABAgMEBQYH"));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for text in ["", "jit", "jit+09100dfd", "jit/default+00000000+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"] {
            assert!(text.parse::<VerifyingKey>().is_err(), "{text}");
        }
        // the neutral element of the curve: every signature by it verifies somehow
        let weak = STANDARD.encode([&[1, 1_u8][..], &[0; 31]].concat());
        assert!(format!("jit+00000000+{weak}").parse::<VerifyingKey>().unwrap_err().to_string().contains("weak"));
        for name in ["", "a b", "a+b", "a\nb"] {
            assert!(SigningKey::generate(name, &SystemEntropy).is_err());
        }
    }
}
