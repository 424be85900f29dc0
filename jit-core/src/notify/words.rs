//! Text of a notice for people, in one line.

use super::notice::Notice;
use crate::audit_event::EventKind;
use crate::text::escaped;

/// Writes one line: who, what, where. No reason and no name can begin a new line or reverse the
/// order of the letters.
pub(super) fn line(notice: &Notice) -> String {
    let field = |name: &str| notice.fields.get(name).map_or("", String::as_str);
    let (who, role, target) = (field("principal"), field("role"), field("target"));
    let membership = format!("{role} on {target} for {who}");
    let by = |verb: &str| match (field("by"), field("approver")) {
        ("", "") => verb.to_owned(),
        ("", system) => format!("{verb} by {system}"),
        (person, _) => format!("{verb} by {person}"),
    };
    let text = match notice.event {
        EventKind::Requested => format!("{} asks for {membership}", field("requester")),
        EventKind::Reminder => format!("Still waiting: {membership}"),
        EventKind::Escalated => format!("Escalated to {}: {membership}", field("to")),
        EventKind::Approved => by(&format!("Approved: {membership},")),
        EventKind::Denied => by(&format!("Denied: {membership},")),
        EventKind::Cancelled => format!("Cancelled: {membership}"),
        EventKind::Lapsed => format!("Nobody decided in time: {membership}"),
        EventKind::Active => format!("Usable: {membership}"),
        EventKind::EndingSoon => format!("Ends soon: {membership}"),
        EventKind::ExtensionRequested => format!("More time is asked for ({}): {membership}", field("duration")),
        EventKind::Extended => format!("More time was given: {membership}"),
        EventKind::ExtensionRefused => format!("No more time: {membership}"),
        EventKind::Revoked => format!("Revoked and verified: {membership}"),
        EventKind::Failed | EventKind::Withdrawn => format!("Not granted: {membership}"),
        EventKind::Overdue => format!("OVERDUE: {membership} should be gone and is not known to be"),
        EventKind::Reappeared => format!("REAPPEARED: {membership} is held again although it was revoked"),
        EventKind::BreakGlass => format!("EMERGENCY: {who} takes {role} on {target}"),
        EventKind::Reviewed => format!("Reviewed: the emergency of {who}, {role} on {target}"),
        EventKind::ReviewOverdue => format!("REVIEW OVERDUE: the emergency of {who}, {role} on {target}"),
        EventKind::SwitchFired => format!("The dead man's switch fired: {membership}"),
        EventKind::FactorLocked => format!("Second factor locked after too many wrong codes: {membership}"),
        EventKind::Retired => format!("Written off, unverified for ever: {membership}"),
        EventKind::Finding if who.is_empty() => format!("Finding: {}", field("why")),
        EventKind::Finding => format!("Finding: {membership}: {}", field("why")),
        EventKind::Stopped => format!("EMERGENCY STOP: {}", field("scope")),
        EventKind::PumpDied => format!("A part of the pump died and is started again: {}", field("why")),
        EventKind::TargetLost => format!("Target {target} does not answer"),
        EventKind::TargetBack => format!("Target {target} answers again"),
        EventKind::TargetRefused => format!("Target {target} is not the server that it was"),
        other => match role {
            "" => other.to_string(),
            _ => format!("{other}: {membership}"),
        },
    };
    escaped(&text).into_owned()
}
