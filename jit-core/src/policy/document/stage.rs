//! Reading of the stages of a rule.

use chrono::TimeDelta;
use toml::de::DeValue;

use super::error::Findings;
use super::read::{Found, Section, list, text};
use super::terms::{LONGEST_WAIT, Terms};
use super::who::{group, principal};
use crate::directory::ListedDirectory;
use crate::id::{ApproverName, FactorName};
use crate::model::approval::{Escalation, Mfa, MfaOf, Outside, Requirement, RequirementParty, Stage};
use crate::policy::CEILING;

const EXAMPLE: &str = "[{ group = \"dba\", quorum = 2 }]";
const KINDS: [&str; 4] = ["group", "manager_of", "person", "any"];

/// Reads the stages, each with its place; `None` if one of them has a problem.
pub(super) fn read(
    rule: &Section<'_>,
    directory: &ListedDirectory,
    findings: &mut Findings,
) -> Option<Vec<(usize, Stage)>> {
    let Some(found) = rule.find("stage") else {
        return Some(Vec::new());
    };
    let before = findings.problems();
    let mut stages = Vec::new();
    let (key, what) = match rule.what() {
        Terms::OF_PLAN => ("plan.NAME.stage", "[[plan.NAME.stage]]"),
        _ => ("rule.stage", "[[rule.stage]]"),
    };
    for item in list(found, key, findings)? {
        let Some(section) = Section::of(item, what, findings) else { continue };
        section.only(&["people", "mfa", "approvers", "escalate"], findings);
        let people = section.find("people");
        let stage = Stage {
            people: people.map(|people| requirements(people, "people", directory, findings)).unwrap_or_default(),
            mfa: section.find("mfa").and_then(|found| read_mfa(found, findings)),
            outside: read_approvers(&section, findings),
            escalate: section.find("escalate").and_then(|found| read_escalation(found, directory, findings)),
        };
        check(&section, &stage, findings);
        stages.push((section.at, stage));
    }
    (findings.problems() == before).then_some(stages)
}

/// Refuses a stage with keys that make no sense together.
fn check(section: &Section<'_>, stage: &Stage, findings: &mut Findings) {
    let has = |key| section.find(key).is_some();
    if !has("people") && !has("mfa") && !has("approvers") {
        let line =
            format!("this stage asks for nothing: give it `people`, like `people = {EXAMPLE}`, `mfa` or `approvers`");
        findings.problem(section.at, line);
    } else if !has("people") {
        if has("escalate") {
            findings.problem(section.at, "`escalate` goes with `people` only: remove it");
        }
        if stage.mfa.as_ref().is_some_and(|mfa| mfa.of == MfaOf::Approver) {
            findings.problem(section.at, "`mfa` of the approver goes with `people` only: nobody decides in this stage");
        }
    }
}

/// Reads `{ of = "requester", within = "5m", factor = "totp" }`.
fn read_mfa(found: Found<'_>, findings: &mut Findings) -> Option<Mfa> {
    let section = Section::of(found, "mfa", findings)?;
    section.only(&["of", "within", "factor"], findings);
    section.demand("of", "\"requester\"", findings);
    let of = section.choice("of", &[("requester", MfaOf::Requester), ("approver", MfaOf::Approver)], findings);
    let within = read_within(&section, findings);
    let factor = read_factor(&section, findings);
    Some(Mfa { of: of?, within: within?, factor: factor? })
}

/// Reads the largest age of a second factor.
pub(super) fn read_within(section: &Section<'_>, findings: &mut Findings) -> Option<TimeDelta> {
    section.demand("within", "\"5m\"", findings)?;
    section.duration("within", CEILING, findings).map(|(_, within)| within)
}

/// Reads the name of the second factor, if there is one.
pub(super) fn read_factor(section: &Section<'_>, findings: &mut Findings) -> Option<Option<FactorName>> {
    let Some(found) = section.find("factor") else { return Some(None) };
    let name = text(found, "factor", findings)?;
    match FactorName::new(name) {
        Ok(name) => Some(Some(name)),
        Err(invalid) => {
            findings.problem(found.span().start, invalid.to_string());
            None
        }
    }
}

fn read_approvers(section: &Section<'_>, findings: &mut Findings) -> Vec<Outside> {
    if section.find("approvers").is_none() {
        return Vec::new();
    }
    let names = section.demand_texts("approvers", "[\"change-board\"]", findings).unwrap_or_default();
    let named = names.into_iter().filter_map(|(at, name)| {
        let name = ApproverName::new(name).map_err(|invalid| findings.problem(at, invalid.to_string()));
        name.ok().map(|approver| Outside { approver, again: false })
    });
    named.collect()
}

/// Reads `{ after = "10m", to = "group:oncall" }`.
fn read_escalation(found: Found<'_>, directory: &ListedDirectory, findings: &mut Findings) -> Option<Escalation> {
    let section = Section::of(found, "escalate", findings)?;
    section.only(&["after", "to"], findings);
    section.demand("after", "\"10m\"", findings);
    let after = section.duration("after", LONGEST_WAIT, findings);
    let to = section.demand("to", "\"group:oncall\"", findings)?;
    let name = text(to, "to", findings)?;
    let to = group(name, to.span().start, directory, findings);
    Some(Escalation { after: after?.1, to: to? })
}

fn requirements(value: Found<'_>, key: &str, directory: &ListedDirectory, findings: &mut Findings) -> Vec<Requirement> {
    let Some(items) = list(value, key, findings) else { return Vec::new() };
    if items.is_empty() {
        findings.problem(value.span().start, format!("`{key}` is empty: name some, like `{key} = {EXAMPLE}`"));
    }
    items.iter().filter_map(|item| requirement(item, directory, findings)).collect()
}

fn requirement(value: Found<'_>, directory: &ListedDirectory, findings: &mut Findings) -> Option<Requirement> {
    if let DeValue::String(_) = value.get_ref() {
        let line = "this has to be a table: `{ group = \"dba\", quorum = 2 }`, `{ manager_of = \"requester\" }`, \
                    `{ person = \"frank\" }` or `{ any = [...] }`";
        findings.problem(value.span().start, line);
        return None;
    }
    let section = Section::of(value, "people", findings)?;
    let before = findings.problems();
    section.only(&["group", "quorum", "manager_of", "person", "any"], findings);
    let kinds: Vec<&str> = KINDS.into_iter().filter(|kind| section.find(kind).is_some()).collect();
    let [kind] = kinds.as_slice() else {
        if findings.problems() == before || !kinds.is_empty() {
            let line = "each of `people` says exactly one of `group`, `manager_of`, `person`, `any`";
            findings.problem(section.at, line);
        }
        return None;
    };
    let found = section.find(kind)?;
    let at = found.span().start;
    if *kind != "group"
        && let Some(quorum) = section.find("quorum")
    {
        findings.problem(quorum.span().start, "`quorum` goes with `group` only: remove it");
    }
    match *kind {
        "group" => {
            let name = text(found, kind, findings)?;
            let group = group(name, at, directory, findings);
            let quorum = match section.find("quorum") {
                Some(_) => section.number("quorum", 1_000, findings)?,
                None => 1,
            };
            Some(Requirement::Group { group: group?, quorum })
        }
        "manager_of" => {
            let words = [
                ("requester", RequirementParty::Requester),
                ("grantee", RequirementParty::Grantee),
                // the former name
                ("receiver", RequirementParty::Grantee),
            ];
            section.choice("manager_of", &words, findings).map(Requirement::ManagerOf)
        }
        "person" => principal(text(found, kind, findings)?, at, findings).map(Requirement::Person),
        _ => Some(Requirement::Any(requirements(found, "any", directory, findings))),
    }
}
