//! One rule: how it is read, what it matches, what it demands.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::emergency::Emergency;
use super::error::Findings;
use super::glob::Glob;
use super::read::{Section, said, shown, text};
use super::stage;
use super::ticket::Ticket;
use super::who::WhoList;
use crate::approval::{Handling, Limits, Outside, Plan, Stage};
use crate::clock::{after, span};
use crate::database::Width;
use crate::directory::ListedDirectory;
use crate::id::{ReceiverName, RoleName, RuleName, TargetName};
use crate::policy::{Activation, CEILING, DeadMan, LeftBehind, Prepared, Question, Sessions, Stance};

const KNOWN: [&str; 23] = [
    "name",
    "targets",
    "roles",
    "requesters",
    "receivers",
    "max",
    "max_total",
    "reason",
    "ticket",
    "decide_by",
    "start_within",
    "grant_within",
    "sessions",
    "set_role",
    "account_members",
    "prepared",
    "can_grant",
    "activation",
    "dead_man",
    "left_behind",
    "notify",
    "break_glass",
    "stage",
];
/// How long a request waits for decisions where its rule does not say.
const DECIDE_BY: TimeDelta = TimeDelta::minutes(30);
/// How long after its start a grant may still be tried where the rule does not say (DESIGN section 3).
const GRANT_WITHIN: TimeDelta = TimeDelta::minutes(15);
/// Longest time for people to decide, and furthest start: no role is held meanwhile, so the ceiling of windows is not theirs.
pub(super) const LONGEST_WAIT: TimeDelta = TimeDelta::days(30);

/// A rule as it is asked.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    /// Where it begins, a byte offset of the text.
    pub(super) at: usize,
    /// Where its stages begin.
    pub(super) stages_at: Vec<usize>,
    pub(super) targets: Vec<Glob>,
    pub(super) roles: Vec<RoleName>,
    pub(super) requesters: WhoList,
    receivers: Option<WhoList>,
    reason: usize,
    ticket: Option<Ticket>,
    pub(super) emergency: Option<Emergency>,
    /// What it takes; its policy hash is set once the document is whole.
    pub(super) plan: Plan,
}

impl Rule {
    pub(super) fn name(&self) -> &RuleName {
        &self.plan.rule
    }

    /// Who may get the role: without a list of their own, those who may ask.
    pub(super) fn receivers(&self) -> &WhoList {
        self.receivers.as_ref().unwrap_or(&self.requesters)
    }

    /// Whether people other than the requesters are named to get the role.
    pub(super) fn names_receivers(&self) -> bool {
        self.receivers.is_some()
    }

    pub(super) fn has_target(&self, target: &TargetName) -> bool {
        self.targets.iter().any(|glob| glob.matches(target.as_str()))
    }

    pub(super) fn has_people(&self, question: &Question<'_>) -> bool {
        if question.break_glass {
            return self.emergency.as_ref().is_some_and(|emergency| emergency.allows(question));
        }
        self.requesters.has(question.requester) && self.receivers().has(question.receiver)
    }

    /// Why it does not match; none where it does.
    pub(super) fn mismatch(&self, question: &Question<'_>) -> Option<String> {
        let Question { target, role, requester, receiver, .. } = question;
        if !self.has_target(target) {
            let targets: Vec<String> = self.targets.iter().map(|glob| format!("`{}`", glob.text())).collect();
            return Some(format!("target `{target}` is not among {}", targets.join(", ")));
        }
        if !self.roles.contains(role) {
            let roles: Vec<String> = self.roles.iter().map(|role| format!("`{role}`")).collect();
            return Some(format!("role `{role}` is not among {}", roles.join(", ")));
        }
        if question.break_glass {
            let why = match &self.emergency {
                None => "it has no `break_glass`".to_owned(),
                Some(_) => {
                    format!("`{}` may not take the role in an emergency, or not for another", requester.principal)
                }
            };
            return (!self.has_people(question)).then_some(why);
        }
        if !self.requesters.has(requester) {
            return Some(format!("`{}` is not among its requesters", requester.principal));
        }
        if !self.receivers().has(receiver) {
            return Some(format!("`{}` is not among those who may get the role", receiver.principal));
        }
        None
    }

    /// Everything in which the question exceeds the limits, and what would be accepted; none: it is within them.
    pub(super) fn excess(&self, question: &Question<'_>) -> Option<String> {
        let found = [self.duration(question), self.reason(question), self.ticket(question), self.start(question)];
        let found: Vec<String> = found.into_iter().flatten().collect();
        (!found.is_empty()).then(|| found.join("; "))
    }

    /// What it takes.
    pub(super) fn plan_for(&self, question: &Question<'_>) -> Plan {
        match self.emergency.as_ref().filter(|_| question.break_glass) {
            Some(emergency) => emergency.plan(&self.plan, question),
            None => self.plan.clone(),
        }
    }

    fn longest(&self, question: &Question<'_>) -> TimeDelta {
        let emergency = self.emergency.as_ref().filter(|_| question.break_glass);
        emergency.map_or(self.plan.limits.max, Emergency::max)
    }

    fn duration(&self, question: &Question<'_>) -> Option<String> {
        let longest = self.longest(question);
        let max = said(longest);
        if question.duration <= TimeDelta::zero() {
            return Some(format!("the duration has to be longer than zero: ask for up to `{max}`"));
        }
        let over = question.duration > longest;
        over.then(|| format!("`{}` is too long: ask for at most `{max}`", said(question.duration)))
    }

    fn reason(&self, question: &Question<'_>) -> Option<String> {
        let length = question.reason.trim().chars().count();
        let least = if question.break_glass { self.reason.max(1) } else { self.reason };
        let short = length < least;
        short.then(|| format!("the reason is too short ({length} characters): give one of at least {least}"))
    }

    fn ticket(&self, question: &Question<'_>) -> Option<String> {
        let demanded = self.ticket.as_ref().filter(|_| !question.break_glass)?;
        let pattern = demanded.pattern();
        match question.ticket {
            None => Some(format!("a ticket is missing: give one that matches `{pattern}`")),
            Some(given) if demanded.matches(given) => None,
            Some(given) => {
                Some(format!("ticket `{}` is not accepted: give one that matches `{pattern}`", shown(given)))
            }
        }
    }

    fn start(&self, question: &Question<'_>) -> Option<String> {
        let start = question.start?;
        if question.break_glass {
            return Some("an emergency has no scheduled start".to_owned());
        }
        let within = self.plan.limits.start_within;
        if within.is_zero() {
            return Some("a scheduled start is not accepted here: ask without one when you need the role".to_owned());
        }
        if start < question.asked_at {
            return Some("the start lies in the past: ask for a later one, or without one".to_owned());
        }
        let latest = after(question.asked_at, within);
        let over = span(latest, start) > TimeDelta::zero();
        over.then(|| format!("the start lies too far ahead: ask for one within `{}` from now", said(within)))
    }

    /// What it demands, for people to read.
    pub(super) fn demands(&self, question: &Question<'_>) -> String {
        let plan = self.plan_for(question);
        let stages = plan
            .stages
            .iter()
            .enumerate()
            .map(|(number, stage)| format!("stage {}: {}", number.saturating_add(1), stage.describe()));
        let stages: Vec<String> = stages.collect();
        let first = if stages.is_empty() { "granted at once".to_owned() } else { stages.join("; ") };
        let owed = plan.break_glass.map_or_else(String::new, |owed| {
            format!("; reviewed by {} within `{}`", owed.review_by.describe(), said(owed.within))
        });
        format!("{first}; at most `{}`{owed}", said(plan.limits.max))
    }

    /// Reads one `[[rule]]`; none where something is wrong with it.
    pub(super) fn read(section: &Section<'_>, directory: &ListedDirectory, findings: &mut Findings) -> Option<Self> {
        let before = findings.problems();
        section.only(&KNOWN, findings);
        let name = section.demand("name", "\"read orders\"", findings).and_then(|found| {
            let name = RuleName::new(text(found, "name", findings)?);
            name.map_err(|invalid| findings.problem(found.span().start, invalid.to_string())).ok()
        });
        let targets = read_targets(section, findings);
        let roles = read_roles(section, findings);
        let requesters = section
            .demand_texts("requesters", "[\"group:payments\"]", findings)
            .map(|entries| WhoList::read(&entries, directory, findings));
        let receivers = section.find("receivers").and_then(|_| {
            let entries = section.demand_texts("receivers", "[\"group:payments\"]", findings)?;
            Some(WhoList::read(&entries, directory, findings))
        });
        let limits = read_limits(section, findings);
        let reason = read_reason(section, findings);
        let ticket = Ticket::read(section, findings);
        let handling = read_handling(section, findings);
        let stages = stage::read(section, directory, findings);
        let emergency = Emergency::read(section, directory, findings);
        let notify = read_notify(section, findings);
        if findings.problems() != before {
            return None;
        }
        let check = ticket.as_ref().and_then(Ticket::check).map(|approver| {
            let outside = vec![Outside { approver: approver.clone(), again: true }];
            (section.at, Stage { outside, ..Stage::default() })
        });
        let (stages_at, stages) = check.into_iter().chain(stages?).unzip();
        Some(Self {
            at: section.at,
            stages_at,
            targets: targets?,
            roles: roles?,
            requesters: requesters?,
            receivers,
            reason,
            ticket,
            emergency,
            plan: Plan {
                rule: name?,
                policy: String::new(),
                stages,
                limits: limits?,
                handling: handling?,
                notify,
                break_glass: None,
            },
        })
    }
}

/// Target patterns, of a rule or of `[[may]]`.
pub(super) fn read_targets(section: &Section<'_>, findings: &mut Findings) -> Option<Vec<Glob>> {
    let mut globs = Vec::new();
    for (at, pattern) in section.demand_texts("targets", "[\"orders-*\"]", findings)? {
        match TargetName::new(pattern) {
            Ok(pattern) => globs.push(Glob::new(pattern.as_str())),
            Err(invalid) => findings.problem(at, invalid.to_string()),
        }
    }
    Some(globs)
}

fn read_roles(section: &Section<'_>, findings: &mut Findings) -> Option<Vec<RoleName>> {
    let mut roles = Vec::new();
    for (at, name) in section.demand_texts("roles", "[\"orders_read\"]", findings)? {
        if name.contains('*') {
            let name = shown(name);
            let line =
                format!("`{name}` is a pattern, and roles are named exactly: reconciliation has to know each of them");
            findings.problem(at, line);
            continue;
        }
        match RoleName::new(name) {
            Ok(role) => roles.push(role),
            Err(invalid) => findings.problem(at, invalid.to_string()),
        }
    }
    Some(roles)
}

fn read_notify(section: &Section<'_>, findings: &mut Findings) -> BTreeSet<ReceiverName> {
    if section.find("notify").is_none() {
        return BTreeSet::new();
    }
    let names = section.demand_texts("notify", "[\"slack:dba\"]", findings).unwrap_or_default();
    let named = names.into_iter().filter_map(|(at, name)| {
        ReceiverName::new(name).map_err(|invalid| findings.problem(at, invalid.to_string())).ok()
    });
    named.collect()
}

fn read_limits(section: &Section<'_>, findings: &mut Findings) -> Option<Limits> {
    let before = findings.problems();
    section.demand("max", "\"1h\"", findings);
    let max = section.duration("max", CEILING, findings);
    let max_total = section.duration("max_total", CEILING, findings);
    let decide_by = section.duration("decide_by", LONGEST_WAIT, findings);
    let start_within = section.duration("start_within", LONGEST_WAIT, findings);
    let grant_within = section.duration("grant_within", CEILING, findings);
    if let (Some((_, max)), Some((at, total))) = (max, max_total)
        && total < max
    {
        let (total, max) = (said(total), said(max));
        findings
            .problem(at, format!("`max_total` (`{total}`) is shorter than `max` (`{max}`): make it at least as long"));
    }
    if findings.problems() != before {
        return None;
    }
    let (_, max) = max?;
    let or = |given: Option<(usize, TimeDelta)>, absent| given.map_or(absent, |(_, given)| given);
    Some(Limits {
        max,
        max_total: or(max_total, max),
        decide_by: or(decide_by, DECIDE_BY),
        start_within: or(start_within, TimeDelta::zero()),
        grant_within: or(grant_within, GRANT_WITHIN),
    })
}

fn read_reason(section: &Section<'_>, findings: &mut Findings) -> usize {
    let Some(found) = section.find("reason") else { return 0 };
    let Some(reason) = Section::of(found, "reason", findings) else { return 0 };
    reason.only(&["min_length"], findings);
    reason.demand("min_length", "10", findings);
    let least = reason.number("min_length", 1_000, findings).unwrap_or_default();
    usize::try_from(least).unwrap_or_default()
}

fn read_handling(section: &Section<'_>, findings: &mut Findings) -> Option<Handling> {
    let sessions = section.choice("sessions", &[("end", Sessions::End), ("keep", Sessions::Keep)], findings);
    let set_role = section.choice("set_role", &[("no", Width::Inherit), ("allowed", Width::SetRole)], findings);
    if set_role == Some(Width::SetRole)
        && sessions == Some(Sessions::Keep)
        && let Some(found) = section.find("set_role")
    {
        let line = "`set_role = \"allowed\"` needs `sessions = \"end\"`: a session that ran SET ROLE keeps the role";
        findings.problem(found.span().start, line);
    }
    let stances = [("refused", Stance::Refused), ("accepted", Stance::Accepted)];
    let account_members = section.choice("account_members", &stances, findings);
    let prepared =
        section.choice("prepared", &[("report", Prepared::Report), ("rollback", Prepared::Rollback)], findings);
    let can_grant = section.choice("can_grant", &stances, findings);
    let activations = [("default", Activation::Default), ("session", Activation::Session)];
    let activation = section.choice("activation", &activations, findings);
    let dead_men = [("when possible", DeadMan::WhenPossible), ("required", DeadMan::Required), ("off", DeadMan::Off)];
    let dead_man = section.choice("dead_man", &dead_men, findings);
    let left_behind =
        section.choice("left_behind", &[("report", LeftBehind::Report), ("off", LeftBehind::Off)], findings);
    if left_behind == Some(LeftBehind::Off)
        && can_grant == Some(Stance::Accepted)
        && let Some(found) = section.find("left_behind")
    {
        let line = "`can_grant = \"accepted\"` needs `left_behind = \"report\"`: such a role can make what outlives it";
        findings.problem(found.span().start, line);
    }
    Some(Handling {
        sessions: sessions?,
        set_role: set_role?,
        account_members: account_members?,
        prepared: prepared?,
        can_grant: can_grant?,
        activation: activation?,
        dead_man: dead_man?,
        left_behind: left_behind?,
    })
}
