//! Newtypes for every identifier. They parse instead of validating: a value that exists is well
//! formed for this system. Each adapter checks the demands of its database engine on names (law
//! 11).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::{Entropy, Time};
use crate::hex::{hex, random_hex};
use crate::text::{escaped, is_seen, is_wide_space};

/// A text that cannot be the identifier that it was given as.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a valid {what}: {why}")]
#[non_exhaustive]
pub struct InvalidId {
    /// Kind of identifier that was expected, in the user's words.
    pub what: &'static str,
    /// Text that was given, with control characters escaped.
    pub given: String,
    /// Reason for the refusal.
    pub why: &'static str,
}

/// Longest identifier of this system, in bytes. It fits an index row of every store that we know
/// of.
pub const LONGEST_ID: usize = 512;

fn well_formed(what: &'static str, text: &str) -> Result<(), InvalidId> {
    let refuse = |why| {
        let given = escaped(text).chars().take(64).collect();
        Err(InvalidId { what, given, why })
    };
    if text.is_empty() {
        return refuse("it is empty");
    }
    if text.len() > LONGEST_ID {
        return refuse("it is longer than 512 bytes");
    }
    if text.chars().any(char::is_control) {
        return refuse("it holds a control character");
    }
    Ok(())
}

/// Checks a name that people give: it may hold nothing that cannot be seen. Names that a server
/// gives to its roles and accounts are not checked here.
fn given(what: &'static str, text: &str) -> Result<(), InvalidId> {
    well_formed(what, text)?;
    let unseen = |character: char| !is_seen(character) || is_wide_space(character);
    let why = if text.chars().any(unseen) {
        "it holds a character that cannot be seen or passes for another: leave it out"
    } else if text.trim() != text {
        "it begins or ends with a space: leave it out"
    } else {
        return Ok(());
    };
    Err(InvalidId { what, given: escaped(text).chars().take(64).collect(), why })
}

/// Checks an id that this system makes.
fn sixteen_digits(what: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    let given = escaped(text).chars().take(64).collect();
    Err(InvalidId { what, given, why: "it is not 16 hexadecimal digits in small letters" })
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses the text.
            ///
            /// # Errors
            /// When the text is empty, longer than 512 bytes, or holds a control character. A name
            /// that people give also fails if it holds another character that cannot be seen, or
            /// begins or ends with a space.
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                $check($what, &text)?;
                Ok(Self(text))
            }

            /// Returns the text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }
    };
}

text_id!(
    /// Boundary of all data: two tenants never see each other.
    TenantId,
    "tenant",
    given
);
text_id!(
    /// A person or service known to the embedding application (`alice`, `ci-bot`).
    Principal,
    "principal",
    given
);
text_id!(
    /// A group of principals, as the directory names it.
    Group,
    "group",
    given
);
text_id!(
    /// Name under which a database is registered with a tenant.
    TargetName,
    "target",
    given
);
text_id!(
    /// Place where a role really lives, as the server itself identifies it (`postgres:7412...`).
    RealmId,
    "realm",
    well_formed
);
text_id!(
    /// Login or user that a principal has in a realm, in its adapter's canonical spelling.
    Account,
    "account",
    well_formed
);
text_id!(
    /// A role that exists in a realm.
    RoleName,
    "role",
    well_formed
);
text_id!(
    /// Name of a policy rule.
    RuleName,
    "rule",
    given
);
text_id!(
    /// An outside system that says yes or no, as policy names it.
    ApproverName,
    "approver",
    given
);
text_id!(
    /// A kind of second factor, as policy names it (`totp`, `oidc`).
    FactorName,
    "second factor",
    given
);
text_id!(
    /// A notifier, as policy names it (`slack:dba`).
    NotifierName,
    "receiver",
    given
);
text_id!(
    /// One process that runs the engine.
    NodeId,
    "node",
    given
);

text_id!(
    /// Id of a store, wherever it is kept: 16 hexadecimal digits, made at random when the store is
    /// first used.
    StoreId,
    "store",
    sixteen_digits
);

impl StoreId {
    /// Makes a new id from the engine's randomness.
    #[must_use]
    pub fn fresh(entropy: &dyn Entropy) -> Self {
        Self(random_hex::<8>(entropy))
    }
}

impl Default for TenantId {
    /// Returns the tenant of installations that have only one. Its name is `default`.
    fn default() -> Self {
        Self("default".to_owned())
    }
}

impl TenantId {
    /// Returns the owner of records that belong to no tenant. No tenant can have this name.
    #[must_use]
    pub(crate) fn everywhere() -> Self {
        Self("*".to_owned())
    }
}

/// Id of one access, sortable by the time of the request (UUID version 7, RFC 9562).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccessId(Uuid);

/// Id of one entry of the audit log before it has a number (UUID version 7, RFC 9562).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(Uuid);

macro_rules! uuid_id {
    ($name:ident, $what:literal) => {
        impl $name {
            /// Makes a new id from the store's time and the engine's randomness.
            #[must_use]
            pub fn fresh(now: Time, entropy: &dyn Entropy) -> Self {
                let mut random = [0_u8; 10];
                entropy.fill(&mut random);
                let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
                Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Uuid::from_str(text).map(Self).map_err(|_| InvalidId {
                    what: $what,
                    given: escaped(text).chars().take(64).collect(),
                    why: "it is not a UUID",
                })
            }
        }
    };
}

/// Id of one question that people and outside systems are asked: a request, an extension, or either
/// of them under another plan. It is random, but no secret: every answer has to name its question.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QuestionId([u8; 6]);

impl QuestionId {
    /// Makes a new id from the engine's randomness.
    #[must_use]
    pub fn fresh(entropy: &dyn Entropy) -> Self {
        let mut random = [0; 6];
        entropy.fill(&mut random);
        Self(random)
    }

    /// Returns the question of a request: the random end of its access's id.
    #[must_use]
    pub fn of(access: AccessId) -> Self {
        let [.., a, b, c, d, e, f] = *access.0.as_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for QuestionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for QuestionId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId {
            what: "question",
            given: text.chars().take(64).flat_map(char::escape_debug).collect(),
            why: "it is not twelve hexadecimal digits, as an access and its notices show them",
        };
        if text.len() != 12 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        let number = u64::from_str_radix(text, 16).map_err(|_| invalid())?;
        let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
        Ok(Self([a, b, c, d, e, f]))
    }
}

impl TryFrom<String> for QuestionId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<QuestionId> for String {
    fn from(id: QuestionId) -> Self {
        id.to_string()
    }
}

uuid_id!(AccessId, "access id");
uuid_id!(EntryId, "entry id");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_refuse_what_no_name_can_be() {
        assert!(Principal::new("").is_err());
        assert!(Principal::new("a\0b").is_err());
        assert!(Principal::new("a\nb").is_err());
        assert!(Principal::new("a\u{200b}b").is_err());
        assert!(Principal::new("a\u{202e}b").is_err());
        assert!(Principal::new("a\u{a0}b").is_err());
        assert!(Principal::new("alice ").is_err());
        assert!(Account::new("a\u{200b}b").is_ok(), "a server may call an account so");
        assert!(Principal::new("x".repeat(513)).is_err());
        assert!(Principal::new("Zoë O'Brien \"dba\"").is_ok());
    }

    #[test]
    fn a_question_is_written_and_read_as_twelve_digits() {
        let access: AccessId = "01890a5d-ac96-774b-bcce-b302099a8057".parse().unwrap();
        let question = QuestionId::of(access);
        assert_eq!(question.to_string(), "b302099a8057");
        assert_eq!("b302099a8057".parse::<QuestionId>().unwrap(), question);
        for wrong in ["", "b302099a805", "b302099a80570", "+302099a8057", "g302099a8057"] {
            assert!(wrong.parse::<QuestionId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_stored_identifier_is_parsed_again() {
        assert!(serde_json::from_str::<RoleName>("\"\"").is_err());
        assert!(serde_json::from_str::<RoleName>("\"orders_write\"").is_ok());
    }
}
