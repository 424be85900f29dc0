//! Terms of a rule or of a named plan, whoever asks.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::error::Findings;
use super::read::{Section, said, shown};
use super::stage;
use super::ticket::Ticket;
use crate::directory::ListedDirectory;
use crate::handling::MembershipScope;
use crate::id::{NotifierName, RuleName};
use crate::model::approval::{DECIDE_BY, GRANT_WITHIN};
use crate::model::approval::{Handling, Limits, Outside, Plan, Stage};
use crate::policy::limits;
use crate::policy::{Activation, CEILING, DeadMansSwitchPolicy, Leftovers, Prepared, Question, Sessions, Stance};

/// Longest time for people to decide, and furthest start. No role is held meanwhile, so the ceiling
/// of windows does not apply.
pub(super) const LONGEST_WAIT: TimeDelta = TimeDelta::days(30);

/// Demands on a request besides who may ask for what, and the plan that it then has.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Terms {
    /// Byte offset of its beginning in the text.
    pub(in crate::policy) at: usize,
    /// Byte offsets of its stages.
    pub(in crate::policy) stages_at: Vec<usize>,
    /// Least length of the reason, in characters.
    pub(in crate::policy) reason: usize,
    /// Tickets: the request's ticket has to match all of these.
    pub(in crate::policy) tickets: Vec<Ticket>,
    /// Plan to meet; its policy hash is set once the whole text is read.
    pub(in crate::policy) plan: Plan,
}

impl Terms {
    /// Keys of a rule that state its terms.
    pub(in crate::policy) const KEYS: [&'static str; 17] = [
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
        "dead_mans_switch",
        "leftovers",
        "notify",
        "stage",
    ];

    /// Name of the table of a named plan.
    pub(super) const OF_PLAN: &'static str = "[plan.NAME]";

    /// Lists the limits that the question exceeds, and what would be accepted; `None` if it is
    /// within all limits.
    pub(in crate::policy) fn excess(&self, question: &Question<'_>, longest: TimeDelta) -> Option<String> {
        let mut found: Vec<String> =
            limits::duration(question, longest).into_iter().chain(self.reason(question)).collect();
        if !question.break_glass {
            found.extend(self.tickets.iter().filter_map(|demanded| Self::ticket(demanded, question)));
        }
        found.extend(limits::start(question, self.plan.limits.start_within));
        (!found.is_empty()).then(|| found.join("; "))
    }

    /// Reads the terms from a `[[rule]]` or a named plan; `None` if they have a problem or there is
    /// no name.
    pub(super) fn read(
        section: &Section<'_>,
        name: Option<RuleName>,
        directory: &ListedDirectory,
        findings: &mut Findings,
    ) -> Option<Self> {
        let before = findings.problems();
        let limits = read_limits(section, findings);
        let reason = read_reason(section, findings);
        let ticket = Ticket::read(section, findings);
        let handling = read_handling(section, findings);
        let stages = stage::read(section, directory, findings);
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
            reason,
            tickets: ticket.into_iter().collect(),
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

    fn reason(&self, question: &Question<'_>) -> Option<String> {
        let length = question.reason.trim().chars().count();
        let least = if question.break_glass { self.reason.max(1) } else { self.reason };
        let short = length < least;
        short.then(|| format!("the reason is too short ({length} characters): give one of at least {least}"))
    }

    fn ticket(demanded: &Ticket, question: &Question<'_>) -> Option<String> {
        let pattern = demanded.pattern();
        match question.ticket {
            None => Some(format!("a ticket is missing: give one that matches `{pattern}`")),
            Some(given) if demanded.matches(given) => None,
            Some(given) => {
                Some(format!("ticket `{}` is not accepted: give one that matches `{pattern}`", shown(given)))
            }
        }
    }
}

/// Describes the demands of the plan, for people to read.
pub(in crate::policy) fn demands(plan: &Plan) -> String {
    let stages = plan
        .stages
        .iter()
        .enumerate()
        .map(|(number, stage)| format!("stage {}: {}", number.saturating_add(1), stage.describe()));
    let stages: Vec<String> = stages.collect();
    let first = if stages.is_empty() { "granted at once".to_owned() } else { stages.join("; ") };
    let owed = plan.break_glass.as_ref().map_or_else(String::new, |owed| {
        format!("; reviewed by {} within `{}`", owed.review_by.describe(), said(owed.within))
    });
    format!("{first}; at most `{}`{owed}", said(plan.limits.max))
}

fn read_notify(section: &Section<'_>, findings: &mut Findings) -> BTreeSet<NotifierName> {
    if section.find("notify").is_none() {
        return BTreeSet::new();
    }
    let names = section.demand_texts("notify", "[\"slack:dba\"]", findings).unwrap_or_default();
    let named = names.into_iter().filter_map(|(at, name)| {
        NotifierName::new(name).map_err(|invalid| findings.problem(at, invalid.to_string())).ok()
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
    let set_role = section.choice(
        "set_role",
        &[("no", MembershipScope::Inherit), ("allowed", MembershipScope::SetRole)],
        findings,
    );
    if set_role == Some(MembershipScope::SetRole)
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
    let dead_mans_switches = [
        ("when possible", DeadMansSwitchPolicy::WhenPossible),
        ("required", DeadMansSwitchPolicy::Required),
        ("off", DeadMansSwitchPolicy::Off),
    ];
    let dead_mans_switch = section.choice("dead_mans_switch", &dead_mans_switches, findings);
    let leftovers = section.choice("leftovers", &[("report", Leftovers::Report), ("off", Leftovers::Off)], findings);
    if leftovers == Some(Leftovers::Off)
        && can_grant == Some(Stance::Accepted)
        && let Some(found) = section.find("leftovers")
    {
        let line = "`can_grant = \"accepted\"` needs `leftovers = \"report\"`: such a role can make what outlives it";
        findings.problem(found.span().start, line);
    }
    Some(Handling {
        sessions: sessions?,
        set_role: set_role?,
        account_members: account_members?,
        prepared: prepared?,
        can_grant: can_grant?,
        activation: activation?,
        dead_mans_switch: dead_mans_switch?,
        leftovers: leftovers?,
    })
}
