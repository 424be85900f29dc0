//! Checkpoints: the log's size and root at one time, signed (C2SP tlog-checkpoint in a C2SP signed
//! note).

use std::fmt;

use chrono::{DateTime, Utc};

use super::hash::Hash;
use super::key::{SigningKey, VerifyingKey};
use crate::audit_event::stamp;
use crate::clock::Time;
use crate::id::TenantId;

/// A signed statement of a log's size and root. Anyone who holds the public key can check it with
/// any tool that reads C2SP checkpoints.
#[derive(Clone, PartialEq, Eq)]
pub struct Checkpoint {
    statement: Statement,
    note: String,
}

/// Statement of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement {
    /// Name of the log: `jit/` and the tenant.
    pub origin: String,
    /// Number of entries of the log.
    pub size: u64,
    /// Root over the entries.
    pub root: Hash,
    /// Time of the checkpoint, by the store's clock, UTC.
    pub at: Time,
    /// Number of times that the log went on after a restored store.
    pub epoch: u64,
}

/// Reason why a checkpoint does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The text is no checkpoint of such a log.
    #[error("the checkpoint cannot be read: {why}")]
    Malformed {
        /// Reason why it cannot be read.
        why: &'static str,
    },
    /// The checkpoint has no signature by any of the keys given.
    #[error(
        "the checkpoint of size {size} has no valid signature by {keys}: it was changed, or this is not the log's key"
    )]
    Signature {
        /// Size that the checkpoint states.
        size: u64,
        /// Names of the keys that were tried.
        keys: String,
    },
    /// The checkpoint is of another log.
    #[error("the checkpoint is of the log `{found}`, not of `{wanted}`")]
    OtherLog {
        /// Name of the log that the checkpoint states.
        found: String,
        /// Name of the log that was wanted.
        wanted: String,
    },
}

/// Makes the first line of a tenant's checkpoints. Characters that the format forbids in a name are
/// percent-encoded.
#[must_use]
pub fn origin(tenant: &TenantId) -> String {
    let mut origin = "jit/".to_owned();
    for character in tenant.as_str().chars() {
        if character.is_whitespace() || character.is_control() || matches!(character, '+' | '%') {
            let mut bytes = [0; 4];
            for byte in character.encode_utf8(&mut bytes).bytes() {
                origin.push_str(&format!("%{byte:02X}"));
            }
        } else {
            origin.push(character);
        }
    }
    origin
}

impl Checkpoint {
    /// Signs the statement and makes a checkpoint of it.
    #[must_use]
    pub fn sign(statement: Statement, key: &SigningKey) -> Self {
        let text = statement.to_string();
        let note = format!("{text}\n{}\n", key.sign(&text));
        Self { statement, note }
    }

    /// Reads a note without checking its signatures.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] if the text is no note.
    pub fn read(note: &str) -> Result<Self, CheckpointError> {
        let (text, _) = parts(note)?;
        Ok(Self { statement: Statement::parse(text)?, note: note.to_owned() })
    }

    /// Checks that one of these keys signed the checkpoint, and that it is of this tenant's log.
    ///
    /// # Errors
    /// [`CheckpointError`] says what is wrong.
    pub fn verify(&self, tenant: &TenantId, keys: &[VerifyingKey]) -> Result<(), CheckpointError> {
        let (text, signatures) = parts(&self.note)?;
        let wanted = origin(tenant);
        if self.statement.origin != wanted {
            return Err(CheckpointError::OtherLog { found: self.statement.origin.escape_debug().collect(), wanted });
        }
        // Every line has to have the form. Lines by keys that we do not know (witnesses, older
        // keys) prove nothing and harm nothing.
        let mut signed = false;
        for line in signatures.lines() {
            let (name, signature) = line
                .strip_prefix("\u{2014} ")
                .and_then(|line| line.split_once(' '))
                .ok_or(CheckpointError::Malformed { why: "a signature line is not `\u{2014} name signature`" })?;
            signed |= keys.iter().any(|key| key.name() == name && key.accepts(text, signature));
        }
        if signed {
            return Ok(());
        }
        let names: Vec<String> = keys.iter().map(|key| format!("`{}`", key.name())).collect();
        let keys = if names.is_empty() { "any key, none was given".to_owned() } else { names.join(", ") };
        Err(CheckpointError::Signature { size: self.statement.size, keys })
    }

    /// Returns the statement of the checkpoint.
    #[must_use]
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// Returns the signed note itself.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({:?})", self.note)
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, root, at, epoch } = self;
        writeln!(f, "{origin}\n{size}\n{root}\ntime {}\nepoch {epoch}", stamp(*at))
    }
}

impl Statement {
    fn parse(text: &str) -> Result<Self, CheckpointError> {
        let malformed = |why| CheckpointError::Malformed { why };
        let mut lines = text.lines();
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(malformed("it has no origin"))?;
        let size = lines.next().and_then(whole).ok_or(malformed("its second line is not a size"))?;
        let root = lines.next().and_then(Hash::parse).ok_or(malformed("its third line is not a root"))?;
        let (mut at, mut epoch) = (None, None);
        for line in lines {
            match line.split_once(' ') {
                Some(("time", time)) if at.is_none() => at = DateTime::parse_from_rfc3339(time).ok(),
                Some(("epoch", number)) if epoch.is_none() => epoch = whole(number),
                _ if line.is_empty() => return Err(malformed("it has an empty line")),
                _ => {}
            }
        }
        let at = at.ok_or(malformed("it says no time"))?.with_timezone(&Utc);
        let epoch = epoch.ok_or(malformed("it says no epoch"))?;
        Ok(Self { origin: origin.to_owned(), size, root, at, epoch })
    }
}

/// Splits a note into the signed text with its last end of line, and the signature lines.
fn parts(note: &str) -> Result<(&str, &str), CheckpointError> {
    let malformed = |why| CheckpointError::Malformed { why };
    if note.chars().any(|character| character.is_control() && character != '\n') {
        return Err(malformed("it holds a control character"));
    }
    let gap = note.rfind("\n\n").ok_or(malformed("it has no signature"))?;
    let (text, rest) = note.split_at_checked(gap.saturating_add(1)).ok_or(malformed("it has no signature"))?;
    let signatures = rest.strip_prefix('\n').filter(|lines| lines.ends_with('\n'));
    Ok((text, signatures.ok_or(malformed("its last line has no end"))?))
}

/// Parses a decimal number without sign, blank or leading zero.
fn whole(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Entropy;

    #[derive(Debug)]
    struct Counting;
    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            (0..).zip(buffer).for_each(|(number, byte)| *byte = number);
        }
    }

    /// Note made outside this code, with Python's `cryptography` (Ed25519, seed 00 01 ... 1f) and
    /// hashlib, over the root of the eight certificate-transparency test leaves.
    const NOTE: &str = "jit/default\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n\
        time 2026-11-05T12:00:00.000000Z\nepoch 0\n\n\
        \u{2014} jit/default CRAN/ccE39+m+iKSaFHV9DDgzFRKRzlryWzGd2zN23dx4V/0aYteIUYnDmRjxHhqaBAVQ8qm753SM1KpxOSdGTsjcQ8=\n";

    fn key() -> SigningKey {
        SigningKey::generate("jit/default", &Counting).unwrap()
    }

    fn keys() -> [VerifyingKey; 1] {
        [key().verifying_key().clone()]
    }

    #[test]
    fn a_checkpoint_is_the_note_computed_outside() {
        let statement = Statement {
            origin: origin(&TenantId::default()),
            size: 8,
            root: Hash::parse("XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=").unwrap(),
            at: "2026-11-05T12:00:00Z".parse().unwrap(),
            epoch: 0,
        };
        let signed = Checkpoint::sign(statement, &key());
        assert_eq!(signed.note(), NOTE);
        let read = Checkpoint::read(NOTE).unwrap();
        assert_eq!(read, signed);
        read.verify(&TenantId::default(), &keys()).unwrap();
    }

    #[test]
    fn one_changed_byte_anywhere_is_noticed() {
        for place in 0..NOTE.len() {
            for bit in [0x01, 0x04, 0x20] {
                let mut bytes = NOTE.as_bytes().to_vec();
                bytes[place] ^= bit;
                let Ok(note) = String::from_utf8(bytes) else { continue };
                let verified = Checkpoint::read(&note).and_then(|read| read.verify(&TenantId::default(), &keys()));
                assert!(verified.is_err(), "byte {place}: {note:?}");
            }
        }
    }

    #[test]
    fn signatures_of_witnesses_harm_nothing_and_prove_nothing() {
        let other = SigningKey::generate("witness.example", &crate::clock::SystemEntropy).unwrap();
        let witnessed = format!("{NOTE}{}\n", other.sign("something else"));
        let read = Checkpoint::read(&witnessed).unwrap();
        read.verify(&TenantId::default(), &keys()).unwrap();
        assert!(read.verify(&TenantId::default(), &[other.verifying_key().clone()]).is_err());
        assert!(read.verify(&TenantId::default(), &[]).is_err());
    }

    #[test]
    fn law_13_a_checkpoint_of_another_tenant_does_not_count() {
        let other = TenantId::new("acme").unwrap();
        let error = Checkpoint::read(NOTE).unwrap().verify(&other, &keys()).unwrap_err();
        assert!(matches!(error, CheckpointError::OtherLog { .. }));
    }

    #[test]
    fn origins_hold_no_space_and_stay_apart() {
        let origin = |tenant: &str| origin(&TenantId::new(tenant).unwrap());
        assert_eq!(origin("a b+c"), "jit/a%20b%2Bc");
        assert_ne!(origin("a b"), origin("a%20b"));
    }
}
