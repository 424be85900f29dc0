//! Text of a notice for people, in one line.

use super::notice::Notice;
use crate::fact::What;
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
        What::Requested => format!("{} asks for {membership}", field("requester")),
        What::Reminder => format!("Still waiting: {membership}"),
        What::Escalated => format!("Escalated to {}: {membership}", field("to")),
        What::Approved => by(&format!("Approved: {membership},")),
        What::Denied => by(&format!("Denied: {membership},")),
        What::Cancelled => format!("Taken back: {membership}"),
        What::Lapsed => format!("Nobody decided in time: {membership}"),
        What::Active => format!("Usable: {membership}"),
        What::EndingSoon => format!("Ends soon: {membership}"),
        What::ExtensionRequested => format!("More time is asked for ({}): {membership}", field("duration")),
        What::Extended => format!("More time was given: {membership}"),
        What::ExtensionRefused => format!("No more time: {membership}"),
        What::Revoked => format!("Gone, verified: {membership}"),
        What::Failed | What::Withdrawn => format!("Not granted: {membership}"),
        What::Overdue => format!("OVERDUE: {membership} should be gone and is not known to be"),
        What::Reappeared => format!("REAPPEARED: {membership} is held again although it was revoked"),
        What::BreakGlass => format!("EMERGENCY: {who} takes {role} on {target}"),
        What::Reviewed => format!("Reviewed: the emergency of {who}, {role} on {target}"),
        What::ReviewOverdue => format!("REVIEW OVERDUE: the emergency of {who}, {role} on {target}"),
        What::DeadManFired => format!("The database's own switch fired: {membership}"),
        What::FactorLocked => format!("Second factor locked after too many wrong ones: {membership}"),
        What::Retired => format!("Written off, unverified for ever: {membership}"),
        What::Finding if who.is_empty() => format!("Finding: {}", field("why")),
        What::Finding => format!("Finding: {membership}: {}", field("why")),
        What::Stopped => format!("EMERGENCY STOP: {}", field("scope")),
        What::PumpDied => format!("A part of the pump died and is started again: {}", field("why")),
        What::TargetLost => format!("Target {target} does not answer"),
        What::TargetBack => format!("Target {target} answers again"),
        What::TargetRefused => format!("Target {target} is not what it was"),
        other => match role {
            "" => other.to_string(),
            _ => format!("{other}: {membership}"),
        },
    };
    escaped(&text).into_owned()
}
