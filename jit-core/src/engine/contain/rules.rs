//! Containment of policies and directories.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;

use super::{Caught, Failed};
use crate::alike::Known;
use crate::clock::Time;
use crate::directory::{Directory, DirectoryError, Person};
use crate::engine::JitError;
use crate::engine::tasks::Tasks;
use crate::id::{Group, Principal, RoleName, TargetName};
use crate::policy::{Action, Explained, Mentions, Policy, Question, Ruling, held};

/// Limit of a policy for one answer.
const POLICY_WITHIN: Duration = Duration::from_secs(2);
/// Limit of a directory for one answer.
const DIRECTORY_WITHIN: Duration = Duration::from_secs(5);

/// Policy, and its own description, which is read once.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Rules {
    policy: Arc<dyn Policy>,
    calls: Caught,
    hash: String,
    groups: BTreeSet<Group>,
    mentions: Mentions,
    people: Known,
    directory: Option<Arc<dyn Directory>>,
}

impl Rules {
    /// Wraps the policy; an error if it does not answer.
    pub(in crate::engine) async fn new(policy: Arc<dyn Policy>, tasks: &Tasks) -> Result<Self, JitError> {
        let calls = Caught::new(tasks);
        let asked = Arc::clone(&policy);
        let itself = move || (asked.hash(), asked.groups(), asked.mentions(), asked.directory());
        let said = if policy.answers_at_once() { calls.now(itself) } else { calls.thread(POLICY_WITHIN, itself).await };
        let (hash, groups, mentions, directory) = said.map_err(|failed| no_answer(&failed))?;
        let directory = directory.map(|own| super::directory(own, tasks));
        let people = mentions.people.iter().map(Principal::as_str).collect();
        Ok(Self { policy, calls, hash, groups, mentions, people, directory })
    }

    /// Returns the policy as it was given.
    pub(in crate::engine) fn as_given(&self) -> &Arc<dyn Policy> {
        &self.policy
    }

    /// Returns the policy's hash, see [`Policy::hash`].
    pub(in crate::engine) fn hash(&self) -> &str {
        &self.hash
    }

    /// Returns the policy's groups, see [`Policy::groups`].
    pub(in crate::engine) fn groups(&self) -> &BTreeSet<Group> {
        &self.groups
    }

    /// Returns what the policy mentions, see [`Policy::mentions`].
    pub(in crate::engine) fn mentions(&self) -> &Mentions {
        &self.mentions
    }

    /// Returns the people whom rules name one by one.
    pub(in crate::engine) fn people(&self) -> &Known {
        &self.people
    }

    /// Returns the policy's own directory, see [`Policy::directory`].
    pub(in crate::engine) fn directory(&self) -> Option<Arc<dyn Directory>> {
        self.directory.clone()
    }

    /// Asks for a ruling, see [`Policy::rule`]. A plan is held to its own limits.
    pub(in crate::engine) async fn rule(&self, question: &Question<'_>) -> Result<Ruling, JitError> {
        if self.policy.answers_at_once() {
            let ruling = self.calls.now(|| self.policy.rule(question)).map_err(|failed| no_answer(&failed))?;
            return Ok(held(ruling, question));
        }
        let owned = Owned::from(question);
        Ok(held(self.ask(move |policy| policy.rule(&owned.question())).await?, question))
    }

    /// Asks for an explanation, see [`Policy::explain`].
    pub(in crate::engine) async fn explain(&self, question: &Question<'_>) -> Result<Vec<Explained>, JitError> {
        let question = Owned::from(question);
        self.ask(move |policy| policy.explain(&question.question())).await
    }

    /// Asks whether a person may act, see [`Policy::may`].
    pub(in crate::engine) async fn may(
        &self,
        action: Action,
        who: &Person,
        target: Option<&TargetName>,
    ) -> Result<bool, JitError> {
        let (who, target) = (who.clone(), target.cloned());
        self.ask(move |policy| policy.may(action, &who, target.as_ref())).await
    }

    /// Asks for the requestable roles, see [`Policy::requestable`].
    pub(in crate::engine) async fn requestable(&self, target: &TargetName) -> Result<BTreeSet<RoleName>, JitError> {
        let target = target.clone();
        self.ask(move |policy| policy.requestable(&target)).await
    }

    /// Asks whether a rule makes roles usable at once, see [`Policy::activates`].
    pub(in crate::engine) async fn activates(&self, target: &TargetName) -> Result<bool, JitError> {
        let target = target.clone();
        self.ask(move |policy| policy.activates(&target)).await
    }

    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Policy) -> T + Send + 'static) -> Result<T, JitError> {
        let policy = Arc::clone(&self.policy);
        let answer = if policy.answers_at_once() {
            self.calls.now(|| ask(&*policy))
        } else {
            self.calls.thread(POLICY_WITHIN, move || ask(&*policy)).await
        };
        answer.map_err(|failed| no_answer(&failed))
    }
}

fn no_answer(failed: &Failed) -> JitError {
    JitError::Policy { why: failed.to_string() }
}

/// Question that can be sent to another thread.
struct Owned {
    target: TargetName,
    role: RoleName,
    requester: Person,
    grantee: Person,
    duration: TimeDelta,
    reason: String,
    ticket: Option<String>,
    start: Option<Time>,
    asked_at: Time,
    break_glass: bool,
    owes_review: bool,
}

impl From<&Question<'_>> for Owned {
    fn from(question: &Question<'_>) -> Self {
        Self {
            target: question.target.clone(),
            role: question.role.clone(),
            requester: question.requester.clone(),
            grantee: question.grantee.clone(),
            duration: question.duration,
            reason: question.reason.to_owned(),
            ticket: question.ticket.map(str::to_owned),
            start: question.start,
            asked_at: question.asked_at,
            break_glass: question.break_glass,
            owes_review: question.owes_review,
        }
    }
}

impl Owned {
    fn question(&self) -> Question<'_> {
        Question {
            target: &self.target,
            role: &self.role,
            requester: &self.requester,
            grantee: &self.grantee,
            duration: self.duration,
            reason: &self.reason,
            ticket: self.ticket.as_deref(),
            start: self.start,
            asked_at: self.asked_at,
            break_glass: self.break_glass,
            owes_review: self.owes_review,
        }
    }
}

/// Wraps the directory.
pub(in crate::engine) fn directory(inner: Arc<dyn Directory>, tasks: &Tasks) -> Arc<dyn Directory> {
    Arc::new(Contained { inner, calls: Caught::new(tasks) })
}

#[derive(Debug)]
struct Contained {
    inner: Arc<dyn Directory>,
    calls: Caught,
}

impl Contained {
    async fn ask<T, F>(&self, ask: impl FnOnce(Arc<dyn Directory>) -> F) -> Result<T, DirectoryError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, DirectoryError>> + Send + 'static,
    {
        let inner = Arc::clone(&self.inner);
        let answer = if self.inner.answers_at_once() {
            self.calls.within(DIRECTORY_WITHIN, ask(inner)).await
        } else {
            // what runs before the first wait is the directory's code, too
            match self.calls.now(|| ask(inner)) {
                Ok(answer) => self.calls.apart(DIRECTORY_WITHIN, answer).await,
                Err(failed) => Err(failed),
            }
        };
        answer.unwrap_or_else(|failed| Err(DirectoryError::Unavailable { why: failed.to_string() }))
    }
}

#[async_trait]
impl Directory for Contained {
    async fn person(&self, who: &Principal, groups: &BTreeSet<Group>) -> Result<Person, DirectoryError> {
        let (asked, wanted) = (who.clone(), groups.clone());
        let person = self.ask(|inner| async move { inner.person(&asked, &wanted).await }).await?;
        if person.principal != *who {
            let why = format!("it was asked for `{who}` and answered for `{}`", person.principal);
            return Err(DirectoryError::Unavailable { why });
        }
        // nobody is in a group that was not asked for
        let known = person.groups.intersection(groups).cloned().collect();
        Ok(Person { groups: known, ..person })
    }

    async fn account(&self, who: &Principal, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        let (who, target) = (who.clone(), target.clone());
        self.ask(|inner| async move { inner.account(&who, &target).await }).await
    }

    async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError> {
        let group = group.clone();
        self.ask(|inner| async move { inner.members(&group).await }).await
    }

    async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError> {
        let who = who.clone();
        self.ask(|inner| async move { inner.knows(&who).await }).await
    }

    async fn principal_like(&self, who: &Principal) -> Result<Option<Principal>, DirectoryError> {
        let who = who.clone();
        self.ask(|inner| async move { inner.principal_like(&who).await }).await
    }

    async fn account_like(&self, account: &str, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        let (account, target) = (account.to_owned(), target.clone());
        self.ask(|inner| async move { inner.account_like(&account, &target).await }).await
    }

    async fn revision(&self) -> Result<Option<String>, DirectoryError> {
        self.ask(|inner| async move { inner.revision().await }).await
    }

    fn answers_at_once(&self) -> bool {
        self.inner.answers_at_once()
    }
}
