//! State of an access as callers, logs and the command line name it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::audit_event::Detail;
use crate::text::cut;

macro_rules! states {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $open:literal;)*) => {
        /// State of an access. Its JSON form is the name that [`AccessState::as_str`] returns.
        ///
        /// ```
        /// use jit_core::AccessState;
        ///
        /// let state: AccessState = "active".parse()?;
        /// assert!(state.is_open() && state == "active");
        /// # Ok::<(), jit_core::UnknownState>(())
        /// ```
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[non_exhaustive]
        pub enum AccessState {
            $($(#[$doc])* $name,)*
        }

        impl AccessState {
            /// Every state, in the order in which an access can go through them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the name that JSON, the log and the command line use.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Checks whether something can still happen to the access.
            #[must_use]
            pub fn is_open(self) -> bool {
                match self { $(Self::$name => $open,)* }
            }
        }
    };
}

states! {
    /// Decisions or conditions are missing.
    Pending = "pending", true;
    /// An approver said no, or policy does not allow it any more.
    Denied = "denied", false;
    /// The requester took the request back.
    Cancelled = "cancelled", false;
    /// Nobody decided in time.
    Lapsed = "lapsed", false;
    /// The role is approved, and not granted yet.
    Scheduled = "scheduled", true;
    /// A grant that had not begun will not be made.
    Withdrawn = "withdrawn", false;
    /// The grant statement was sent, or is about to be.
    Granting = "granting", true;
    /// The role is usable.
    Active = "active", true;
    /// The role ends, and that it is gone is not verified yet.
    Revoking = "revoking", true;
    /// The role is revoked and verified.
    Revoked = "revoked", false;
    /// The role was never usable.
    Failed = "failed", false;
    /// The target was retired: nobody verified the end, and nobody will.
    Retired = "retired", false;
}

/// Text that names no state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no state `{0}`: known are {known}", known = known())]
pub struct UnknownState(String);

/// Lists every state for a message.
fn known() -> String {
    AccessState::ALL.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(", ")
}

impl FromStr for AccessState {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        let found = Self::ALL.iter().find(|state| state.as_str() == text);
        found.copied().ok_or_else(|| UnknownState(cut(text, 64).into_owned()))
    }
}

impl fmt::Display for AccessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl From<AccessState> for Detail {
    fn from(state: AccessState) -> Self {
        state.as_str().into()
    }
}

impl PartialEq<str> for AccessState {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for AccessState {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}
