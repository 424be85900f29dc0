//! Accesses as text, for people and for machines.

use std::collections::BTreeSet;

use jit_core::AccessState;
use jit_core::Verdict;
use jit_core::clock::Time;
use jit_core::engine::AccessView;
use jit_core::id::Principal;
use jit_core::text::escaped;
use serde::Serialize;

use crate::spans::{from_now, said, shown};

/// Access as machines get it, with the people who can decide.
#[derive(Debug, Serialize)]
pub(crate) struct AccessLine<'a> {
    #[serde(flatten)]
    pub(crate) access: &'a AccessView,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) can_decide: &'a BTreeSet<Principal>,
}

/// Prints an access in a few aligned lines.
pub(crate) fn access(view: &AccessView, can_decide: &BTreeSet<Principal>, now: Time) -> String {
    let mut lines = Lines::default();
    lines.add("access", view.id);
    lines.add("state", state(view));
    lines.add("role", format!("{} on {}", view.role, view.target));
    lines.add("for", grantee(view));
    if !view.reason.is_empty() {
        lines.add("reason", &view.reason);
    }
    if let Some(ticket) = &view.ticket {
        lines.add("ticket", ticket);
    }
    if view.activated_at.is_none() && !view.is_final() {
        let from = view.starts_at.map_or_else(
            || "from when it is usable".to_owned(),
            |start| format!("from {} ({})", shown(start), from_now(start, now)),
        );
        lines.add("window", format!("{} {from}", said(view.duration)));
    }
    if let Some(end) = view.expires_at.filter(|_| !view.is_final()) {
        lines.add("until", format!("{} ({})", shown(end), from_now(end, now)));
    }
    if let Some(at) = view.lapses_at.filter(|_| !view.lapsed) {
        lines.add("decide by", format!("{} ({})", shown(at), from_now(at, now)));
    }
    if let Some(more) = view.extension {
        lines.add("asks for", format!("{} more", said(more)));
    }
    if !view.pending_on.is_empty() {
        lines.add("pending on", view.pending_on.join(", "));
    }
    if !can_decide.is_empty() {
        lines.add("can decide", names(can_decide));
    }
    if !can_decide.is_empty() {
        lines.add("approve", format!("jit approve {} --question {}", view.id, view.question));
    }
    for decision in &view.decisions {
        let verdict = if decision.verdict == Verdict::Approve { "yes" } else { "no" };
        let place = decision.in_place_of.as_ref().map_or_else(String::new, |away| format!(", in the place of {away}"));
        let factor = decision.factor.as_ref().map_or_else(String::new, |factor| format!(", by {factor}"));
        let note = if decision.note.is_empty() { String::new() } else { format!(": {}", decision.note) };
        lines.add("decided", format!("{verdict}, {}{place}{factor}{note}", decision.by));
    }
    for answer in &view.answers {
        let verdict = if answer.verdict == Verdict::Approve { "yes" } else { "no" };
        let note = if answer.note.is_empty() { String::new() } else { format!(": {}", answer.note) };
        lines.add("answered", format!("{verdict}, {}{note}", answer.approver));
    }
    if let Some(review) = &view.review {
        lines.add(
            "review",
            match &review.given {
                Some(given) => format!("by {}: {}", given.by, given.note),
                None if review.overdue => format!("OVERDUE since {}, owed by {}", shown(review.due), review.by),
                None => format!("owed by {} until {}", review.by, shown(review.due)),
            },
        );
    }
    if let Some(end) = view.ended_at {
        lines.add("ended", format!("{} ({})", shown(end), from_now(end, now)));
    }
    if let Some(cause) = &view.cause {
        lines.add("cause", cause);
    }
    if let Some(last_error) = &view.last_error {
        lines.add("last error", last_error);
    }
    if let Some(evidence) = &view.evidence {
        evidence.residual.iter().for_each(|held| lines.add("still held", held));
        evidence.leftovers.iter().for_each(|what| lines.add("leftovers", what));
        evidence.not_compared.iter().for_each(|why| lines.add("leftovers", format!("not known: {why}")));
    }
    lines.0.join("\n")
}

/// Returns one row of a table of accesses.
pub(crate) fn row(view: &AccessView, now: Time) -> [String; 6] {
    let when = match (view.state, view.expires_at, view.ended_at) {
        (AccessState::Pending, _, _) => format!("asked {}", from_now(view.asked_at, now)),
        (AccessState::Scheduled, _, _) => {
            view.starts_at.map_or_else(String::new, |start| format!("from {}", shown(start)))
        }
        (_, _, Some(end)) => format!("ended {}", from_now(end, now)),
        (_, Some(end), None) => format!("ends {}", from_now(end, now)),
        _ => String::new(),
    };
    let held = view.evidence.as_ref().map(|evidence| evidence.residual.join("; ")).unwrap_or_default();
    let note = match (&view.last_error, view.pending_on.as_slice()) {
        (Some(last_error), _) => last_error.clone(),
        (None, []) if !held.is_empty() => format!("still held: {held}"),
        (None, []) => view.cause.clone().unwrap_or_default(),
        (None, pending_on) => format!("pending on {}", pending_on.join(", ")),
    };
    let role = format!("{} on {}", view.role, view.target);
    [view.id.to_string(), state(view), role, view.principal.to_string(), when, note]
}

/// Prints a table. Each column is as wide as its longest text; the last one is not padded.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let rows: Vec<[String; N]> = rows.iter().map(|row| row.each_ref().map(|cell| escaped(cell).into_owned())).collect();
    let all: Vec<&[String; N]> = std::iter::once(&head).chain(&rows).collect();
    let widths: Vec<usize> = (0..N)
        .map(|column| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &&[String; N]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    all.iter().map(line).collect::<Vec<_>>().join("\n")
}

pub(crate) fn names(people: &BTreeSet<Principal>) -> String {
    people.iter().map(Principal::as_str).collect::<Vec<_>>().join(", ")
}

/// Returns the state, with what is wrong about it.
fn state(view: &AccessView) -> String {
    match view.state {
        state if view.overdue => format!("{state} (overdue)"),
        // it is recorded as soon as a pump runs
        AccessState::Pending if view.lapsed => "pending (lapsed)".to_owned(),
        state => state.to_string(),
    }
}

fn grantee(view: &AccessView) -> String {
    let mut text = view.principal.to_string();
    if view.account.as_str() != view.principal.as_str() {
        text.push_str(&format!(", account {}", view.account));
    }
    if view.requester != view.principal {
        text.push_str(&format!(", asked by {}", view.requester));
    }
    text
}

/// Lines of a name and a text, with the texts aligned: one line each, whatever is in it.
#[derive(Debug, Default)]
pub(crate) struct Lines(Vec<String>);

impl Lines {
    pub(crate) fn add(&mut self, name: &str, text: impl std::fmt::Display) {
        self.0.push(format!("{name:<11} {}", escaped(&text.to_string())));
    }

    /// Adds a text of the product itself that has several lines.
    pub(crate) fn lines(&mut self, name: &str, text: &str) {
        text.lines().enumerate().for_each(|(place, line)| self.add(if place == 0 { name } else { "" }, line));
    }

    pub(crate) fn text(&self) -> String {
        self.0.join("\n")
    }
}
