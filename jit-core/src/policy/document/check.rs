//! Checks of the document as a whole: rules that never match, and stages that nobody can meet.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Findings, Lines};
use super::rule::Rule;
use super::terms::Terms;
use super::who::WhoList;
use crate::alike::{differ_by_case, is_disguise};
use crate::directory::ListedDirectory;
use crate::id::{Principal, RuleName};
use crate::model::approval::{Need, RequirementParty, Stage, Who, matching, ways};

/// Refuses two rules of the same name.
pub(super) fn names(rules: &[Rule], text: &str, findings: &mut Findings) {
    let lines = Lines::of(text);
    let mut seen: BTreeMap<&RuleName, usize> = BTreeMap::new();
    for rule in rules {
        let name = rule.name();
        if let Some(earlier) = seen.insert(name, rule.terms.at) {
            let (line, _) = lines.position(earlier);
            let line = format!("two rules are named `{name}` (the other begins in line {line}): rename one");
            findings.problem(rule.terms.at, line);
        }
    }
}

/// Refuses names of two people who could be mistaken for each other. Warns if only case, or letters
/// of ASCII, tell them apart: then both can be real accounts. Two names of one human are fine.
pub(super) fn alike(directory: &ListedDirectory, text: &str, findings: &mut Findings) {
    for (one, other) in directory.known.alike() {
        let names = [one, other].map(Principal::new);
        let [Ok(first), Ok(second)] = &names else { continue };
        if directory.human(first) == directory.human(second) {
            continue;
        }
        let at = text.find(other).unwrap_or_default();
        let line = format!("the names `{one}` and `{other}` could be taken for each other");
        if differ_by_case(one, other) || !is_disguise(one, other) {
            findings.warning(at, None, format!("{line}: where they are one human, say so under `[people]`"));
        } else {
            findings.problem(at, format!("{line}: write them alike, or choose another"));
        }
    }
}

/// Warns of rules that mean nobody, or to which the rules above leave nothing.
pub(super) fn reach(rules: &[Rule], directory: &ListedDirectory, text: &str, findings: &mut Findings) {
    let lines = Lines::of(text);
    let mut by_role: BTreeMap<_, Vec<&Rule>> = BTreeMap::new();
    for rule in rules {
        let name = rule.name();
        if !rule.requesters.means_somebody(directory) || !rule.grantees().means_somebody(directory) {
            let line = format!("rule `{name}` can never match: the groups that it names have no members");
            findings.warning(rule.terms.at, Some(name), line);
        } else if let Some(above) = shadow(rule, &by_role, directory).filter(|_| rule.emergency.is_none()) {
            let (number, _) = lines.position(above.terms.at);
            let above = above.name();
            let line = format!(
                "rule `{name}` can never match: rule `{above}` above it (line {number}) decides first; move it up or remove it"
            );
            findings.warning(rule.terms.at, Some(name), line);
        }
        for role in &rule.roles {
            by_role.entry(role).or_default().push(rule);
        }
    }
}

/// Returns the first of the rules above that together take everything from this rule, if they do.
fn shadow<'r>(
    rule: &Rule,
    above: &BTreeMap<&crate::id::RoleName, Vec<&'r Rule>>,
    directory: &ListedDirectory,
) -> Option<&'r Rule> {
    let mut first: Option<&Rule> = None;
    for role in &rule.roles {
        let of_role = above.get(role).map(Vec::as_slice).unwrap_or_default();
        for target in &rule.targets {
            let here: Vec<&Rule> =
                of_role.iter().copied().filter(|other| other.targets.iter().any(|glob| glob.covers(target))).collect();
            for requester in rule.requesters.entries() {
                for grantee in rule.grantees().entries() {
                    let taker = here.iter().copied().find(|other| {
                        other.requesters.covers(requester, directory) && other.grantees().covers(grantee, directory)
                    })?;
                    first = first.filter(|first| first.terms.at <= taker.terms.at).or(Some(taker));
                }
            }
        }
    }
    first
}

/// Effect of one person on who may decide: the human that is then left out, and the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Party<'d> {
    human: Option<&'d Principal>,
    manager: Option<&'d Principal>,
}

/// Refuses a rule whose stages nobody can meet, and warns of one whose stages can be met for some
/// requesters only.
pub(super) fn stages(rule: &Rule, directory: &ListedDirectory, findings: &mut Findings) {
    let grantees = rule.names_grantees().then(|| rule.grantees());
    let what = format!("rule `{}`", rule.name());
    if let Some(some) = stuck(&what, &rule.terms, (&rule.requesters, grantees), directory, findings) {
        findings.warning(rule.terms.at, Some(rule.name()), some);
    }
}

/// Refuses stages that can be met for nobody. If they cannot be met for some people, returns who
/// these are.
pub(super) fn stuck(
    what: &str,
    terms: &Terms,
    (requesters, grantees): (&WhoList, Option<&WhoList>),
    directory: &ListedDirectory,
    findings: &mut Findings,
) -> Option<String> {
    let stages = &terms.plan.stages;
    if stages.is_empty() {
        return None;
    }
    for number in 0..stages.len() {
        let reached = stages.get(..=number).unwrap_or_default();
        if let Err(why) = ways(reached) {
            findings.problem(place(terms, number), format!("the stages of {what}: {why}"));
            return None;
        }
    }
    let cases = cases(stages, requesters, grantees, directory);
    let stuck: Vec<&Case<'_>> = cases.iter().filter(|case| !case.can_meet(stages, directory)).collect();
    if stuck.is_empty() {
        return None;
    }
    if stuck.len() < cases.len() {
        return Some(format!(
            "the stages of {what} cannot be met when {} asks: add people who can decide",
            named(stuck.iter().flat_map(|case| &case.names).copied())
        ));
    }
    let unmet = |number: &usize| {
        let reached = stages.get(..=*number).unwrap_or_default();
        cases.iter().all(|case| !case.can_meet(reached, directory))
    };
    // each stage alone may be possible for somebody: then the last one makes the whole impossible
    let number = (0..stages.len()).find(unmet).unwrap_or(stages.len().saturating_sub(1));
    let people = stages.get(number).map(|stage| stage.people.as_slice()).unwrap_or_default();
    let needed: Vec<String> = people.iter().map(crate::model::approval::Requirement::describe).collect();
    let earlier = if number == 0 { "" } else { ", besides those who met the stages before," };
    let line = format!(
        "nobody could ever be approved under {what}: there are not enough distinct people other than the requester for {}{earlier} \
         with the groups and managers of this document; add people or ask for fewer",
        needed.join(" and ")
    );
    findings.problem(place(terms, number), line);
    None
}

fn place(terms: &Terms, stage: usize) -> usize {
    terms.stages_at.get(stage).copied().unwrap_or(terms.at)
}

/// A requester and a grantee, standing for all pairs of the same effect.
#[derive(Debug)]
struct Case<'d> {
    requester: Party<'d>,
    grantee: Party<'d>,
    /// Requesters that the case stands for; `None` is a person whom the document does not name.
    names: BTreeSet<Option<&'d Principal>>,
}

impl Case<'_> {
    /// Checks whether there are distinct humans, other than the two, for everything that the stages
    /// need.
    fn can_meet(&self, stages: &[Stage], directory: &ListedDirectory) -> bool {
        let Ok(ways) = ways(stages) else { return false };
        ways.iter().any(|needs| {
            let sets: Vec<BTreeSet<&Principal>> =
                needs.iter().map(|need| self.humans(need, stages, directory)).collect();
            let people: Vec<&Principal> = sets.iter().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
            let fits = |need: usize, person: usize| match (sets.get(need), people.get(person)) {
                (Some(set), Some(person)) => set.contains(person),
                _ => false,
            };
            people.len() >= needs.len() && matching(needs.len(), people.len(), &fits) == needs.len()
        })
    }

    fn humans<'d>(
        &'d self,
        need: &'d Need,
        stages: &'d [Stage],
        directory: &'d ListedDirectory,
    ) -> BTreeSet<&'d Principal> {
        let members = |group| directory.group(group).into_iter().flatten().map(|member| directory.human(member));
        let mut all: BTreeSet<&Principal> = match &need.who {
            Who::Group(group) => members(group).collect(),
            Who::Person(person) => BTreeSet::from([directory.human(person)]),
            Who::ManagerOf(RequirementParty::Requester) => self.requester.manager.into_iter().collect(),
            Who::ManagerOf(RequirementParty::Grantee) => self.grantee.manager.into_iter().collect(),
        };
        let escalate = stages.get(need.stage).and_then(|stage| stage.escalate.as_ref());
        all.extend(escalate.into_iter().flat_map(|escalate| members(&escalate.to)));
        let party = |human: &&Principal| self.requester.human == Some(human) || self.grantee.human == Some(human);
        all.into_iter().filter(|human| !party(human)).collect()
    }
}

/// Returns every case that differs: requesters for themselves, or every requester with every
/// grantee that the rule names.
fn cases<'d>(
    stages: &'d [Stage],
    requesters: &'d WhoList,
    grantees: Option<&'d WhoList>,
    directory: &'d ListedDirectory,
) -> Vec<Case<'d>> {
    let deciders = Deciders::of(stages, directory);
    let requesters = deciders.parties(&requesters.principals(directory), directory);
    let grantees = grantees.map(|grantees| deciders.parties(&grantees.principals(directory), directory));
    let mut cases = Vec::new();
    for (requester, names) in requesters {
        match &grantees {
            None => cases.push(Case { requester, grantee: requester, names }),
            Some(grantees) => {
                cases.extend(grantees.keys().map(|grantee| Case { requester, grantee: *grantee, names: names.clone() }))
            }
        }
    }
    cases
}

/// Humans whom the stages could ask, and whether managers are among them.
struct Deciders<'d> {
    humans: BTreeSet<&'d Principal>,
    managers: bool,
}

impl<'d> Deciders<'d> {
    fn of(stages: &'d [Stage], directory: &'d ListedDirectory) -> Self {
        let mut deciders = Self { humans: BTreeSet::new(), managers: false };
        stages.iter().flat_map(|stage| &stage.people).for_each(|requirement| deciders.add(requirement, directory));
        if deciders.managers {
            let managers = directory.principals().into_iter().filter_map(|who| directory.manager(who));
            deciders.humans.extend(managers.map(|manager| directory.human(manager)));
        }
        deciders
    }

    fn add(&mut self, requirement: &'d crate::model::approval::Requirement, directory: &'d ListedDirectory) {
        use crate::model::approval::Requirement;
        match requirement {
            Requirement::Group { group, .. } => {
                self.humans.extend(directory.group(group).into_iter().flatten().map(|member| directory.human(member)));
            }
            Requirement::Person(person) => {
                self.humans.insert(directory.human(person));
            }
            Requirement::ManagerOf(_) => self.managers = true,
            Requirement::Any(options) => options.iter().for_each(|option| self.add(option, directory)),
        }
    }

    /// Groups the principals: those of the same effect stand together.
    fn parties(
        &self,
        principals: &BTreeSet<Option<&'d Principal>>,
        directory: &'d ListedDirectory,
    ) -> BTreeMap<Party<'d>, BTreeSet<Option<&'d Principal>>> {
        let mut parties: BTreeMap<Party<'_>, BTreeSet<Option<&Principal>>> = BTreeMap::new();
        for name in principals {
            let human = name.map(|name| directory.human(name)).filter(|human| self.humans.contains(human));
            let manager = name.and_then(|name| directory.manager(name)).filter(|_| self.managers);
            let manager = manager.map(|manager| directory.human(manager));
            parties.entry(Party { human, manager }).or_default().insert(*name);
        }
        parties
    }
}

/// Lists the first few names for a message.
fn named<'d>(names: impl Iterator<Item = Option<&'d Principal>>) -> String {
    const MOST: usize = 5;
    let names: BTreeSet<Option<&Principal>> = names.collect();
    let said = |name: &Option<&Principal>| match name {
        Some(name) => format!("`{name}`"),
        None => "somebody whom the document does not name".to_owned(),
    };
    // those with a name first
    let ordered = names.iter().filter(|name| name.is_some()).chain(names.iter().filter(|name| name.is_none()));
    let mut said: Vec<String> = ordered.take(MOST).map(said).collect();
    let more = names.len().saturating_sub(MOST);
    if more > 0 {
        said.push(format!("{more} more"));
    }
    said.join(" or ")
}
