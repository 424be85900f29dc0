//! Reading the stages of a rule.

use toml::de::DeValue;

use super::directory::DocumentDirectory;
use super::error::Findings;
use super::read::{Found, Section, list, text};
use super::who::{known_group, principal};
use crate::approval::{Requirement, RequirementSubject, Stage};

const EXAMPLE: &str = "[{ group = \"dba\", quorum = 2 }]";
const KINDS: [&str; 4] = ["group", "manager_of", "person", "any"];

/// The stages, each with its place; none where something is wrong with one.
pub(super) fn read(
    rule: &Section<'_>,
    directory: &DocumentDirectory,
    findings: &mut Findings,
) -> Option<Vec<(usize, Stage)>> {
    let Some(found) = rule.find("stage") else {
        return Some(Vec::new());
    };
    let before = findings.problems();
    let mut stages = Vec::new();
    for item in list(found, "stage", findings)? {
        let Some(section) = Section::of(item, "[[rule.stage]]", findings) else { continue };
        section.only(&["people"], &["mfa", "escalate", "approver", "approvers", "notify"], findings);
        let Some(people) = section.demand("people", EXAMPLE, findings) else { continue };
        let people = requirements(people, "people", directory, findings);
        stages.push((section.at, Stage { people }));
    }
    (findings.problems() == before).then_some(stages)
}

fn requirements(
    value: Found<'_>,
    key: &str,
    directory: &DocumentDirectory,
    findings: &mut Findings,
) -> Vec<Requirement> {
    let Some(items) = list(value, key, findings) else { return Vec::new() };
    if items.is_empty() {
        findings.problem(value.span().start, format!("`{key}` is empty: name some, like `{key} = {EXAMPLE}`"));
    }
    items.iter().filter_map(|item| requirement(item, directory, findings)).collect()
}

fn requirement(value: Found<'_>, directory: &DocumentDirectory, findings: &mut Findings) -> Option<Requirement> {
    if let DeValue::String(_) = value.get_ref() {
        let line = "this has to be a table: `{ group = \"dba\", quorum = 2 }`, `{ manager_of = \"requester\" }`, \
                    `{ person = \"frank\" }` or `{ any = [...] }`";
        findings.problem(value.span().start, line);
        return None;
    }
    let section = Section::of(value, "people", findings)?;
    let before = findings.problems();
    section.only(&["group", "quorum", "manager_of", "person", "any"], &["mfa", "approver"], findings);
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
            let group = known_group(name.strip_prefix("group:").unwrap_or(name), at, directory, findings);
            let quorum = match section.find("quorum") {
                Some(_) => section.number("quorum", 1_000, findings)?,
                None => 1,
            };
            Some(Requirement::Group { group: group?, quorum })
        }
        "manager_of" => {
            let words = [("requester", RequirementSubject::Requester), ("receiver", RequirementSubject::Receiver)];
            section.choice("manager_of", &words, findings).map(Requirement::ManagerOf)
        }
        "person" => principal(text(found, kind, findings)?, at, findings).map(Requirement::Person),
        _ => Some(Requirement::Any(requirements(found, "any", directory, findings))),
    }
}
