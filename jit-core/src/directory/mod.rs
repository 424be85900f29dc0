//! Who is who: groups, managers, humans behind principals, accounts.

#[cfg(feature = "http")]
mod http;
mod listed;

use std::collections::BTreeSet;
use std::fmt::Debug;

use async_trait::async_trait;

use crate::id::{Group, Principal, TargetName};

#[cfg(feature = "http")]
pub use http::HttpDirectory;
pub use listed::ListedDirectory;

/// Where people are looked up. An answer that takes longer than 5 s, and a panic, count as [`DirectoryError::Unavailable`].
#[async_trait]
pub trait Directory: Debug + Send + Sync + 'static {
    /// What is known of the principal: of his groups only those asked for. A directory that takes several spellings of one name, as those do
    /// for which case does not count, says the same [`Person::human`] for each: else one human could decide twice, or for himself.
    ///
    /// # Errors
    /// As [`DirectoryError`] says. A directory that knows every principal never says `Unknown`.
    async fn person(&self, who: &Principal, groups: &BTreeSet<Group>) -> Result<Person, DirectoryError>;

    /// The name of the principal's account on the target, where it is not the principal's own name.
    ///
    /// # Errors
    /// As [`DirectoryError`] says.
    async fn account(&self, who: &Principal, target: &TargetName) -> Result<Option<String>, DirectoryError>;

    /// The principals of the group, to say who may decide.
    ///
    /// # Errors
    /// As [`DirectoryError`] says.
    async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError>;

    /// Returns whether the directory knows the principal. Only somebody known decides in another's place: a directory that takes every
    /// name in [`Directory::person`] says here which of them it has.
    ///
    /// # Errors
    /// As [`DirectoryError`] says, but for `Unknown`.
    async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError>;

    /// Returns a principal that the directory knows and that this name could be taken for: the same but for case, width, normal form or letters
    /// that look the same. Nobody takes part under such a name. None where the name itself is known, and from a directory that lists
    /// nobody.
    ///
    /// # Errors
    /// As [`DirectoryError`] says, but for `Unknown`.
    async fn principal_like(&self, who: &Principal) -> Result<Option<Principal>, DirectoryError> {
        let _ = who;
        Ok(None)
    }

    /// The same for accounts on the target: one that the directory gives to somebody, and that this one could be taken for.
    ///
    /// # Errors
    /// As [`DirectoryError`] says, but for `Unknown`.
    async fn account_like(&self, account: &str, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        let _ = (account, target);
        Ok(None)
    }

    /// What it says now, by a text that is another one when it says something else: where it changed, everything open is ruled again.
    /// `None` is for a directory that never changes by itself, as a policy's own: who leaves a group of any other keeps what they have.
    ///
    /// # Errors
    /// As [`DirectoryError`] says.
    async fn revision(&self) -> Result<Option<String>, DirectoryError>;

    /// Whether every answer comes at once, from memory. Only what never waits or locks may say so: others are asked in a task of
    /// their own.
    fn answers_at_once(&self) -> bool {
        false
    }
}

/// A principal as the directory knows him.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name he acts under.
    pub principal: Principal,
    /// The human behind it: the same for all aliases of one.
    pub human: Principal,
    /// Those of the groups asked for that this name is in.
    pub groups: BTreeSet<Group>,
    /// His manager.
    pub manager: Option<Principal>,
}

/// Why a directory did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// It answered: there is no such principal or group.
    #[error("the directory does not know `{who}`")]
    Unknown {
        /// Who.
        who: String,
    },
    /// It did not answer.
    #[error("the directory cannot be reached: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
    /// What it last answered is too old to count.
    #[error("what the directory last answered is too old: {why}")]
    Stale {
        /// Since when.
        why: String,
    },
}
