//! The directory: groups, managers, the humans behind principals, and accounts.

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

/// A directory in which people are looked up. An answer that takes longer than 5 s, and a panic,
/// count as [`DirectoryError::Unavailable`].
///
/// ```
/// use std::collections::{BTreeMap, BTreeSet};
///
/// use async_trait::async_trait;
/// use jit_core::directory::{Directory, DirectoryError, Person};
/// use jit_core::id::{Group, Principal, TargetName};
///
/// /// A map of groups that never changes. Nobody has an alias, a manager or another account name.
/// #[derive(Debug)]
/// struct Groups(BTreeMap<Group, BTreeSet<Principal>>);
///
/// #[async_trait]
/// impl Directory for Groups {
///     async fn person(
///         &self,
///         who: &Principal,
///         groups: &BTreeSet<Group>,
///     ) -> Result<Person, DirectoryError> {
///         let has = |group: &&Group| self.0.get(*group).is_some_and(|all| all.contains(who));
///         let groups = groups.iter().filter(has).cloned().collect();
///         Ok(Person::new(who.clone()).groups(groups))
///     }
///
///     async fn account(
///         &self,
///         _: &Principal,
///         _: &TargetName,
///     ) -> Result<Option<String>, DirectoryError> {
///         Ok(None)
///     }
///
///     async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError> {
///         let unknown = || DirectoryError::Unknown { who: group.to_string() };
///         self.0.get(group).cloned().ok_or_else(unknown)
///     }
///
///     async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError> {
///         Ok(self.0.values().any(|members| members.contains(who)))
///     }
///
///     async fn revision(&self) -> Result<Option<String>, DirectoryError> {
///         Ok(None)
///     }
/// }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let (dba, bob) = (Group::new("dba")?, Principal::new("bob")?);
/// # let groups = Groups([(dba.clone(), [bob.clone()].into())].into());
/// # let asked = [dba.clone(), Group::new("payments")?].into();
/// # assert_eq!(groups.person(&bob, &asked).await?.groups, [dba].into());
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait Directory: Debug + Send + Sync + 'static {
    /// Looks up the principal, with only those of their groups that are asked for.
    ///
    /// A directory may accept several spellings of one name, for example because case does not
    /// count. It must return the same [`Person::human`] for each spelling. Otherwise one human
    /// could decide twice, or on their own request.
    ///
    /// # Errors
    /// See [`DirectoryError`]. A directory that knows every principal never says `Unknown`.
    async fn person(&self, who: &Principal, groups: &BTreeSet<Group>) -> Result<Person, DirectoryError>;

    /// Returns the name of the principal's account on the target, if it is not the principal's own
    /// name.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    async fn account(&self, who: &Principal, target: &TargetName) -> Result<Option<String>, DirectoryError>;

    /// Lists the principals of the group, to say who may decide.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError>;

    /// Returns true if the directory knows the principal. Only a known principal decides in
    /// another's place. A directory that takes every name in [`Directory::person`] says here which
    /// of them it has.
    ///
    /// # Errors
    /// See [`DirectoryError`], except `Unknown`.
    async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError>;

    /// Returns a known principal that this name could be taken for. Such names differ only by case,
    /// width, normal form or letters that look the same. Nobody takes part under such a name.
    /// `None` if the name itself is known, and from a directory that lists nobody.
    ///
    /// # Errors
    /// See [`DirectoryError`], except `Unknown`.
    async fn principal_like(&self, who: &Principal) -> Result<Option<Principal>, DirectoryError> {
        let _ = who;
        Ok(None)
    }

    /// Returns an account that this name could be taken for, among those that the directory gives
    /// out on the target.
    ///
    /// # Errors
    /// See [`DirectoryError`], except `Unknown`.
    async fn account_like(&self, account: &str, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        let _ = (account, target);
        Ok(None)
    }

    /// Returns a text that changes whenever the directory's answers change. After a change,
    /// everything open is ruled again. `None` is for a directory that never changes by itself, as a
    /// policy's own. In any other directory, `None` would let somebody who leaves a group keep what
    /// they have.
    ///
    /// # Errors
    /// See [`DirectoryError`].
    async fn revision(&self) -> Result<Option<String>, DirectoryError>;

    /// Checks whether every answer comes at once, from memory. Only a directory that never waits or
    /// locks may return true. Others are asked in a task of their own.
    fn answers_at_once(&self) -> bool {
        false
    }
}

/// A principal as the directory knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Person {
    /// Name that the principal acts under.
    pub principal: Principal,
    /// Human behind the name, the same for all aliases of one human.
    pub human: Principal,
    /// Groups that this name is in, of those that were asked for.
    pub groups: BTreeSet<Group>,
    /// Manager of the principal.
    pub manager: Option<Principal>,
}

impl Person {
    /// Creates a person of one name, in no group and without a manager.
    #[must_use]
    pub fn new(principal: Principal) -> Self {
        Self { human: principal.clone(), principal, groups: BTreeSet::new(), manager: None }
    }

    /// Sets the human behind the name.
    #[must_use]
    pub fn human(self, human: Principal) -> Self {
        Self { human, ..self }
    }

    /// Sets the groups that this name is in.
    #[must_use]
    pub fn groups(self, groups: BTreeSet<Group>) -> Self {
        Self { groups, ..self }
    }

    /// Sets the manager.
    #[must_use]
    pub fn manager(self, manager: Principal) -> Self {
        Self { manager: Some(manager), ..self }
    }
}

/// Reason why a directory did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The directory answered that there is no such principal or group.
    #[error("the directory does not know `{who}`: check the spelling, or add them to it")]
    Unknown {
        /// Principal or group that was asked for.
        who: String,
    },
    /// The directory did not answer.
    #[error("the directory cannot be reached: {why}")]
    Unavailable {
        /// Reason of the failure.
        why: String,
    },
    /// The last answer of the directory is too old to count.
    #[error("the directory's last answer is too old: {why}")]
    Stale {
        /// Reason of the failure, and the age of the last answer.
        why: String,
    },
}
