//! The built-in policy: a strict TOML document, checked as a whole when it is loaded.

mod check;
mod directory;
mod emergency;
pub(super) mod error;
mod glob;
mod index;
mod may;
#[cfg(feature = "cedar")]
pub(super) mod plans;
pub(super) mod read;
mod rule;
mod stage;
pub(super) mod terms;
mod ticket;
pub(super) mod who;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use toml::de::DeTable;

pub use self::error::{PolicyError, Problem, Warning};

use self::emergency::Emergency;
use self::error::{Findings, read_text};
use self::glob::Glob;
use self::index::Index;
use self::may::May;
use self::read::{Section, list};
use self::rule::Rule;
use super::{Action, Activation, Explained, Mentions, Policy, Question, Ruling};
use crate::directory::{Directory, ListedDirectory, Person};
use crate::hex::hex;
use crate::id::{Group, Principal, RoleName, TargetName};

const KNOWN: [&str; 8] = ["version", "directory", "groups", "managers", "people", "accounts", "may", "rule"];

/// A policy document that was read and checked. Deny by default; rules are tried in their order,
/// and the first match decides.
///
/// A rule matches if all of this holds:
///
/// - It names the target and the role.
/// - The requester is among its `requesters`.
/// - The grantee is among its `grantees`. If it names none, the grantee has to be among its
///   `requesters`.
///
/// People match by the name they act under and the groups that this name is in. An alias shares
/// neither with its human.
///
/// A rule that leaves keys out has these defaults:
///
/// - `max_total` is `max`, `decide_by` is 30 minutes, and `grant_within` is 15 minutes.
/// - A scheduled start is accepted only with `start_within`. No reason and no ticket are demanded.
/// - Sessions end, `SET ROLE` is withheld, and prepared transactions are reported.
/// - Accounts with members and roles that can grant are refused.
///
/// Limits: `max`, `max_total` and `grant_within` end at 24 hours. `decide_by` and `start_within`,
/// during which no role is held, end at 30 days.
///
/// ```
/// use jit_core::policy::PolicyDocument;
///
/// let policy = PolicyDocument::parse(
///     r#"
///     version = 1
///     [groups]
///     payments = ["alice"]
///     [[rule]]
///     name = "read orders"
///     targets = ["orders-*"]
///     roles = ["orders_read"]
///     requesters = ["group:payments"]
///     max = "4h"
///     "#,
///     "example",
/// )?;
/// assert!(policy.check().is_empty());
/// # Ok::<(), jit_core::policy::PolicyError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PolicyDocument {
    hash: String,
    rules: Vec<Rule>,
    index: Index,
    may: Vec<May>,
    directory: Arc<ListedDirectory>,
    warnings: Vec<Warning>,
}

impl PolicyDocument {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`PolicyError::Unreadable`], if there is no such file or it holds no UTF-8 text. Otherwise
    /// as [`Self::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let (text, origin) = read_text(path.as_ref())?;
        Self::parse(&text, &origin)
    }

    /// Reads and checks a text. Error messages give `origin` as its place.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`], with everything that is wrong.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PolicyError> {
        let mut findings = Findings::default();
        let document = Self::read(text, &mut findings);
        let invalid = |problems| PolicyError::Invalid { origin: origin.to_owned(), problems };
        let warnings = findings.settle(text).map_err(invalid)?;
        Ok(Self { warnings, ..document })
    }

    /// Returns warnings: what is allowed but probably not meant, in the order of the text.
    #[must_use]
    pub fn check(&self) -> Vec<Warning> {
        self.warnings.clone()
    }

    /// Returns a line for each rule that names a target of which none is configured.
    #[must_use]
    pub fn unmatched(&self, configured: &BTreeSet<TargetName>) -> Vec<String> {
        let of_rules = self.rules.iter().map(|rule| (format!("rule `{}`", rule.name()), rule.targets.as_slice()));
        let of_may =
            (1_usize..).zip(&self.may).map(|(number, may)| (format!("`[[may]]` number {number}"), may.targets()));
        let mut lines = Vec::new();
        for (what, globs) in of_rules.chain(of_may) {
            let is_there = |glob: &&Glob| configured.iter().any(|target| glob.matches(target.as_str()));
            let missing = globs.iter().filter(|glob| glob.text() != "*" && !is_there(glob));
            lines.extend(missing.map(|glob| no_such_target(&what, glob.text())));
        }
        lines
    }

    /// Returns the groups, managers, people and accounts that the document states.
    #[must_use]
    pub fn people(&self) -> &ListedDirectory {
        &self.directory
    }

    fn read(text: &str, findings: &mut Findings) -> Self {
        let mut rules = Vec::new();
        let mut may = Vec::new();
        let mut directory = open(text, &KNOWN, findings, |document, people, findings| {
            let directory = people.directory;
            rules = read_all(document, "rule", "[[rule]]", findings, |section, findings| {
                Rule::read(section, directory, findings)
            });
            may = read_all(document, "may", "[[may]]", findings, |section, findings| {
                May::read(section, directory, findings)
            });
            check::names(&rules, text, findings);
            if people.known {
                check::reach(&rules, directory, text, findings);
                rules.iter().for_each(|rule| check::stages(rule, directory, findings));
            }
        });
        let hash = hex(&Sha256::digest(text.as_bytes()));
        rules.iter_mut().for_each(|rule| rule.terms.plan.policy.clone_from(&hash));
        let index = Index::of(&rules);
        let document = Self { hash, rules, index, may, directory: Arc::default(), warnings: Vec::new() };
        directory.named.extend(document.named().cloned());
        let directory = directory.settled();
        check::alike(&directory, text, findings);
        Self { directory: Arc::new(directory), ..document }
    }

    /// Returns everybody whom the rules name one by one.
    fn named(&self) -> impl Iterator<Item = &Principal> {
        self.rules.iter().flat_map(Rule::names).chain(self.may.iter().flat_map(May::names))
    }
}

/// The people of the document, and a flag: is enough known about them to find stages that nobody
/// can meet?
#[derive(Debug, Clone, Copy)]
struct People<'d> {
    directory: &'d ListedDirectory,
    known: bool,
}

/// Reads the part that every document begins with, then calls `rest` for the remainder. It calls
/// `rest` only if the text is valid TOML.
fn open(
    text: &str,
    known: &[&str],
    findings: &mut Findings,
    rest: impl FnOnce(&Section<'_>, People<'_>, &mut Findings),
) -> ListedDirectory {
    let (parsed, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        findings.problem(at, format!("this is not valid TOML: {}", error.message()));
    }
    if !errors.is_empty() {
        return ListedDirectory::default();
    }
    let document = Section::new(0, "the document", parsed.get_ref());
    document.only(known, findings);
    read_version(&document, findings);
    let before = findings.problems();
    let directory = ListedDirectory::read(&document, findings);
    // with half a directory every stage would look impossible
    let known = findings.problems() == before && !directory.is_elsewhere();
    rest(&document, People { directory: &directory, known }, findings);
    directory
}

fn read_version(document: &Section<'_>, findings: &mut Findings) {
    let Some(found) = document.demand("version", "1", findings) else { return };
    let is_one = found.get_ref().as_integer().is_some_and(|version| version.as_str() == "1");
    if !is_one {
        findings.problem(found.span().start, "this version reads policy of `version = 1` only");
    }
}

fn read_all<T>(
    document: &Section<'_>,
    key: &str,
    what: &'static str,
    findings: &mut Findings,
    mut read: impl FnMut(&Section<'_>, &mut Findings) -> Option<T>,
) -> Vec<T> {
    let items = document.find(key).and_then(|found| list(found, key, findings)).unwrap_or_default();
    let mut all = Vec::new();
    for item in items {
        if let Some(section) = Section::of(item, what, findings) {
            all.extend(read(&section, findings));
        }
    }
    all
}

impl Policy for PolicyDocument {
    fn answers_at_once(&self) -> bool {
        true
    }

    fn rule(&self, question: &Question<'_>) -> Ruling {
        let Some(rule) = self.index.first(&self.rules, question) else {
            return Ruling::Denied { rule: None, reason: nothing_matches(question), policy: self.hash.clone() };
        };
        match rule.excess(question) {
            None => Ruling::Planned(rule.plan_for(question)),
            Some(reason) => Ruling::Denied { rule: Some(rule.name().clone()), reason, policy: self.hash.clone() },
        }
    }

    fn may(&self, action: Action, who: &Person, target: Option<&TargetName>) -> bool {
        self.may.iter().any(|may| may.allows(action, who, target))
    }

    fn groups(&self) -> BTreeSet<Group> {
        let mut groups = BTreeSet::new();
        for rule in &self.rules {
            groups.extend(rule.requesters.groups.iter().chain(&rule.grantees().groups).cloned());
            groups.extend(rule.terms.plan.groups());
            let emergency = rule.emergency.iter().flat_map(Emergency::people);
            groups.extend(emergency.flat_map(|who| &who.groups).cloned());
        }
        groups.extend(self.may.iter().flat_map(May::groups).cloned());
        groups
    }

    fn requestable(&self, target: &TargetName) -> BTreeSet<RoleName> {
        self.rules.iter().filter(|rule| rule.has_target(target)).flat_map(|rule| rule.roles.iter().cloned()).collect()
    }

    fn activates(&self, target: &TargetName) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.has_target(target) && rule.terms.plan.handling.activation == Activation::Default)
    }

    fn hash(&self) -> String {
        self.hash.clone()
    }

    fn explain(&self, question: &Question<'_>) -> Vec<Explained> {
        let mut decided = false;
        let explained = self.rules.iter().map(|rule| {
            let name = rule.name().clone();
            if let Some(why) = rule.mismatch(question) {
                return Explained { rule: name, decided: false, why };
            }
            if std::mem::replace(&mut decided, true) {
                return Explained { rule: name, decided: false, why: "a rule above it decided".to_owned() };
            }
            let why = match rule.excess(question) {
                Some(excess) => format!("denied: {excess}"),
                None => rule.demands(question),
            };
            Explained { rule: name, decided: true, why }
        });
        explained.collect()
    }

    fn mentions(&self) -> Mentions {
        let mut mentions = Mentions { people: self.named().cloned().collect(), ..Mentions::default() };
        for rule in &self.rules {
            mentions.of_plan(&rule.terms.plan);
            let factor = rule.emergency.iter().filter_map(Emergency::mfa).filter_map(|mfa| mfa.factor.clone());
            mentions.factors.extend(factor);
            mentions.any_factor |= rule.emergency.as_ref().is_some_and(|emergency| emergency.mfa().is_some());
        }
        mentions
    }

    fn directory(&self) -> Option<Arc<dyn Directory>> {
        let own = !self.directory.is_elsewhere();
        own.then(|| Arc::clone(&self.directory) as Arc<dyn Directory>)
    }
}

/// Describes a rule that names a target that is not configured.
pub(super) fn no_such_target(what: &str, target: &str) -> String {
    format!("{what} names `{target}`, which no configured target matches: put the name right, or configure the target")
}

pub(super) fn nothing_matches(question: &Question<'_>) -> String {
    let Question { target, role, requester, grantee, .. } = question;
    let requester = &requester.principal;
    let for_whom = match &grantee.principal {
        grantee if grantee == requester => String::new(),
        grantee => format!(" for `{grantee}`"),
    };
    format!(
        "no rule lets `{requester}` ask for role `{role}` on target `{target}`{for_whom}: what no rule allows is denied"
    )
}
