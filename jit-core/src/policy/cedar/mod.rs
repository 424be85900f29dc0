//! Policy in Cedar: who may ask for which role. Cedar has no words for people and for plans; a TOML
//! document holds these.

mod ask;
mod explain;
mod judge;
mod named;
mod names;
mod place;
mod read;
mod rule;
mod scope;
mod syntax;
mod together;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use cedar_policy::{Authorizer, PolicySet};
use sha2::{Digest, Sha256};

use self::ask::CedarRequest;
use self::judge::{No, Slice, satisfied, slices};
use self::names::Names;
use self::read::Reader;
use self::rule::Rule;
use self::together::together;
use super::document::error::{Findings, read_text};
use super::document::plans::Plans;
use super::document::{no_such_target, nothing_matches};
use super::{Action, Activation, Explained, Mentions, Policy, PolicyError, Question, Ruling, Warning};
use crate::directory::{Directory, ListedDirectory, Person};
use crate::hex::hex;
use crate::id::{Group, RoleName, RuleName, TargetName};

/// Policy in Cedar's language (<https://docs.cedarpolicy.com>), read and checked, with a TOML
/// document of people and named plans. Deny by default; `forbid` wins over `permit`, and a policy
/// that fails with an error denies.
///
/// # Writing policies
///
/// Every policy has an `@id`. One that permits `request` names its roles:
/// `resource == Jit::Role::"target/role"`, or `when { resource in [...] }` for several. Its `@plan`
/// names the plan of the document that the request has to meet; `@max` narrows that plan's `max`.
/// [`Self::SCHEMA`] has everything that policies can speak of.
///
/// The other actions are those of [`Action`]. They are on a `Jit::Target`, or on
/// `Jit::Tenant::"all"`, the parent of every target, if the action is about no single target. An
/// action on all targets, such as a stop of everything, is asked once about that tenant. A `forbid`
/// on one target does not deny it: it has to forbid the action on the tenant as well.
///
/// # How requests are decided
///
/// If several policies permit a request, all of their plans have to be met: every stage of each, in
/// the order of the names, within the strictest of their limits.
///
/// If the grantee is not the requester, a policy that does not speak of `context.grantee` is also
/// asked about the grantee. A permit has to be satisfied for both of them as the principal; a
/// `forbid` denies if it applies to either.
///
/// Emergencies are always denied, and so is everything on a target with a `/` in its name.
///
/// ```
/// use jit_core::policy::CedarPolicy;
///
/// let policy = CedarPolicy::parse(
///     r#"
///     @id("read orders")
///     @plan("at once")
///     permit(principal in Jit::Group::"payments", action == Jit::Action::"request",
///            resource == Jit::Role::"orders-prod/orders_read")
///     when { context.duration <= 3600 };
///     "#,
///     r#"
///     version = 1
///     [groups]
///     payments = ["alice"]
///     [plan."at once"]
///     max = "4h"
///     "#,
///     "example",
/// )?;
/// assert!(policy.check().is_empty());
/// # Ok::<(), jit_core::policy::PolicyError>(())
/// ```
#[derive(Clone)]
pub struct CedarPolicy {
    hash: String,
    rules: BTreeMap<RuleName, Rule>,
    /// Names in the order of the text.
    order: Vec<RuleName>,
    slices: BTreeMap<TargetName, BTreeMap<RoleName, Slice>>,
    /// Policies of every action except `request`.
    others: PolicySet,
    authorizer: Arc<Authorizer>,
    names: Names,
    directory: Arc<ListedDirectory>,
    warnings: Vec<Warning>,
}

impl CedarPolicy {
    /// Schema of everything that policies can speak of, in Cedar's schema language, for editors and
    /// Cedar's own tools.
    pub const SCHEMA: &str = include_str!("jit.cedarschema");

    /// Reads and checks two files: the Cedar policies, and the TOML document of people and plans.
    ///
    /// # Errors
    /// [`PolicyError::Unreadable`], if one of them is missing or is no UTF-8 text. Otherwise as
    /// [`Self::parse`].
    pub fn load(cedar: impl AsRef<Path>, document: impl AsRef<Path>) -> Result<Self, PolicyError> {
        let (cedar, cedar_origin) = read_text(cedar.as_ref())?;
        let (document, document_origin) = read_text(document.as_ref())?;
        Self::read((&cedar, &cedar_origin), (&document, &document_origin))
    }

    /// Reads and checks two texts: the Cedar policies, and the TOML document of people and plans.
    /// Error messages give `origin` as the place of the Cedar text, and `origin (document)` as that
    /// of the document.
    ///
    /// # Errors
    /// [`PolicyError::Invalid`], with everything that is wrong with the document. If the document
    /// is sound, with everything that is wrong with the Cedar text.
    pub fn parse(cedar: &str, document: &str, origin: &str) -> Result<Self, PolicyError> {
        Self::read((cedar, origin), (document, &format!("{origin} (document)")))
    }

    /// Returns the document's warnings: what is allowed but probably not meant, in the order of its
    /// text.
    #[must_use]
    pub fn check(&self) -> Vec<Warning> {
        self.warnings.clone()
    }

    /// Returns a line for each policy that gives roles of a target that is not configured.
    #[must_use]
    pub fn unmatched(&self, configured: &BTreeSet<TargetName>) -> Vec<String> {
        let mut lines = Vec::new();
        for rule in self.rules.values() {
            let targets: BTreeSet<&TargetName> = rule.roles.iter().map(|(target, _)| target).collect();
            let missing = targets.into_iter().filter(|target| !configured.contains(*target));
            let what = format!("policy `{}`", rule.name);
            lines.extend(missing.map(|target| no_such_target(&what, target.as_str())));
        }
        lines
    }

    /// Returns the groups, managers, people and accounts that the document states.
    #[must_use]
    pub fn people(&self) -> &ListedDirectory {
        &self.directory
    }

    fn read(
        (cedar, cedar_origin): (&str, &str),
        (document, document_origin): (&str, &str),
    ) -> Result<Self, PolicyError> {
        let invalid = |origin: &str, text, findings: Findings| {
            let problems = findings.settle(text).err().unwrap_or_default();
            PolicyError::Invalid { origin: origin.to_owned(), problems }
        };
        let mut of_document = Findings::default();
        let plans = Plans::read(document, &mut of_document);
        if of_document.problems() > 0 {
            return Err(invalid(document_origin, document, of_document));
        }
        let mut findings = Findings::default();
        let names = Names::new();
        if names.is_none() {
            findings.problem(0, "this build of Cedar does not read the names of the schema");
        }
        let reader = |names| Reader { plans: &plans, names, schema: Self::SCHEMA };
        let mut rules = names.as_ref().map(|names| reader(names).read(cedar, &mut findings)).unwrap_or_default();
        let hash = hash(cedar, document);
        rules.iter_mut().filter_map(|rule| rule.terms.as_mut()).for_each(|terms| terms.plan.policy.clone_from(&hash));
        let policies = rules.iter().filter(|rule| rule.actions.others).map(|rule| rule.policy.clone());
        let others = PolicySet::from_policies(policies).map_err(|error| findings.problem(0, error.to_string()));
        let sliced = names.as_ref().map(|names| slices(&rules, names)).unwrap_or(Ok(BTreeMap::new()));
        let sliced = sliced.map_err(|error| findings.problem(0, error));
        let (Some(names), Ok(others), Ok(slices), 0) = (names, others, sliced, findings.problems()) else {
            return Err(invalid(cedar_origin, cedar, findings));
        };
        let used: BTreeSet<&str> = rules.iter().map(|rule| rule.plan.as_str()).collect();
        for (name, terms) in plans.named.iter().filter(|(name, _)| !used.contains(name.as_str())) {
            of_document.warning(
                terms.at,
                None,
                format!("no policy names plan `{name}`: remove it or name it in `@plan`"),
            );
        }
        let warnings = of_document.settle(document).unwrap_or_default();
        Ok(Self {
            hash,
            order: rules.iter().map(|rule| rule.name.clone()).collect(),
            rules: rules.into_iter().map(|rule| (rule.name.clone(), rule)).collect(),
            slices,
            others,
            authorizer: Arc::new(Authorizer::new()),
            names,
            directory: Arc::new(plans.directory),
            warnings,
        })
    }

    /// Returns the permits that are satisfied, at least one, in the order of their names.
    fn permits(&self, question: &Question<'_>) -> Result<Vec<&Rule>, No> {
        if question.break_glass {
            let why = "Cedar policy gives nothing in an emergency: ask without `break_glass`".to_owned();
            return Err(No { rule: None, why });
        }
        let slice = self.slices.get(question.target).and_then(|roles| roles.get(question.role));
        let permits = match slice {
            Some(slice) => slice.permits(question, &self.authorizer, &self.names)?,
            None => BTreeSet::new(),
        };
        let rule = |name: &String| self.rules.get(&RuleName::new(name.as_str()).ok()?);
        let rules: Vec<&Rule> = permits.iter().filter_map(rule).collect();
        match rules.is_empty() {
            true => Err(No { rule: None, why: nothing_matches(question) }),
            false => Ok(rules),
        }
    }

    fn denied(&self, No { rule, why }: No) -> Ruling {
        Ruling::Denied { rule, reason: why, policy: self.hash.clone() }
    }
}

impl Policy for CedarPolicy {
    fn answers_at_once(&self) -> bool {
        true
    }

    fn rule(&self, question: &Question<'_>) -> Ruling {
        let permits = match self.permits(question) {
            Ok(permits) => permits,
            Err(no) => return self.denied(no),
        };
        match together(&permits) {
            Err(why) => self.denied(No { rule: None, why }),
            Ok(terms) => match terms.excess(question, terms.plan.limits.max) {
                Some(why) => self.denied(No { rule: Some(terms.plan.rule.clone()), why }),
                None => Ruling::Planned(terms.into_owned().plan),
            },
        }
    }

    fn may(&self, action: Action, who: &Person, target: Option<&TargetName>) -> bool {
        if target.is_some_and(|target| target.as_str().contains('/')) {
            return false;
        }
        let asked = CedarRequest::may(action, who, target, &self.names);
        satisfied(&asked, &self.others, &self.authorizer).is_ok_and(|permits| !permits.is_empty())
    }

    fn groups(&self) -> BTreeSet<Group> {
        let of_plans = self.rules.values().filter_map(|rule| rule.terms.as_ref()).flat_map(|terms| terms.plan.groups());
        self.rules.values().flat_map(|rule| rule.groups.iter().cloned()).chain(of_plans).collect()
    }

    fn requestable(&self, target: &TargetName) -> BTreeSet<RoleName> {
        self.slices.get(target).into_iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    fn activates(&self, target: &TargetName) -> bool {
        let gives = |rule: &&Rule| rule.roles.iter().any(|(of, _)| of == target);
        let mut terms = self.rules.values().filter(gives).filter_map(|rule| rule.terms.as_ref());
        terms.any(|terms| terms.plan.handling.activation == Activation::Default)
    }

    fn hash(&self) -> String {
        self.hash.clone()
    }

    fn explain(&self, question: &Question<'_>) -> Vec<Explained> {
        explain::explain(self, question)
    }

    fn mentions(&self) -> Mentions {
        let mut mentions = Mentions { people: self.directory.named.clone(), ..Mentions::default() };
        self.rules.values().filter_map(|rule| rule.terms.as_ref()).for_each(|terms| mentions.of_plan(&terms.plan));
        mentions
    }

    fn directory(&self) -> Option<Arc<dyn Directory>> {
        let own = !self.directory.is_elsewhere();
        own.then(|| Arc::clone(&self.directory) as Arc<dyn Directory>)
    }
}

/// Hashes both texts and the length of the first, so no two pairs have the same bytes.
fn hash(cedar: &str, document: &str) -> String {
    let length = u64::try_from(cedar.len()).unwrap_or(u64::MAX);
    let digest = Sha256::new().chain_update(length.to_be_bytes()).chain_update(cedar).chain_update(document);
    hex(&digest.finalize())
}

impl fmt::Debug for CedarPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CedarPolicy").field("hash", &self.hash).field("rules", &self.order).finish_non_exhaustive()
    }
}
