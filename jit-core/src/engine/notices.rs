//! Notifiers and contents of notices.

use std::collections::BTreeMap;

use super::tenant::Tenant;
use crate::actor::Actor;
use crate::audit_event::{AuditEvent, Detail, EventKind, stamp};
use crate::clock::to_std;
use crate::model::access::Access;
use crate::model::grant::{Grant, Window};

/// Returns the notifiers that tell of this event: those that the rule names, or all of them. None
/// if people are not told of it.
pub(super) fn notifiers<'s>(settings: &'s Tenant, access: Option<&Access>, what: EventKind) -> Vec<&'s str> {
    if !is_told(what) {
        return Vec::new();
    }
    let named = access.map(|access| &access.approval().plan().notify);
    let all = settings.notifiers.keys().map(String::as_str);
    match named.filter(|named| !named.is_empty()) {
        Some(named) => all.filter(|name| named.iter().any(|one| one.as_str() == *name)).collect(),
        None => all.collect(),
    }
}

/// Returns the fields of a notice: the request, who acted, the state of the access, and what
/// happened.
pub(super) fn fields(
    settings: &Tenant,
    access: Option<&Access>,
    audit_event: &AuditEvent,
    actor: Option<&Actor>,
) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut put = |name: &str, text: String| {
        if !text.is_empty() {
            fields.insert(name.to_owned(), text);
        }
    };
    for (name, detail) in &audit_event.details {
        if let Some(text) = words(detail) {
            put(name, text);
        }
    }
    if let Some(actor) = actor {
        put("by", actor.principal.to_string());
    }
    if let Some(access) = access {
        let request = access.request();
        put("target", request.target.to_string());
        put("role", request.role.to_string());
        put("principal", request.parties.grantee.to_string());
        put("requester", request.parties.requester.to_string());
        put("account", request.account.to_string());
        put("state", access.state().to_string());
        put("reason", request.reason.clone());
        put("ticket", request.ticket.clone().unwrap_or_default());
        put("rule", access.approval().plan().rule.to_string());
        put("duration", humantime::format_duration(to_std(request.duration)).to_string());
        put("awaits", access.pending_on().join(", "));
        if let Some(extension) = access.extension().filter(|_| asks(audit_event)) {
            // the notice shows what is asked now, not the first request
            put("reason", extension.reason.clone());
            put("duration", format!("{} more", humantime::format_duration(to_std(extension.longer))));
        }
        let (id, question) = (access.id().to_string(), access.decidable().question().to_string());
        if asks(audit_event) && !access.pending_on().is_empty() {
            put("question", question.clone());
            if settings.link.is_none() {
                put("approve", format!("jit approve {id} --question {question}"));
            }
        }
        let granting = match access.grant() {
            Some(Grant::Granting(granting)) => Some(granting.latest_end),
            _ => access.window().map(Window::end),
        };
        put("expires_at", granting.map(stamp).unwrap_or_default());
        let link = settings.link.as_deref().unwrap_or_default();
        put("link", link.replace("{id}", &id).replace("{question}", &question));
    }
    fields
}

/// Checks whether the event asks people for a decision.
fn asks(audit_event: &AuditEvent) -> bool {
    matches!(
        audit_event.what,
        EventKind::Requested | EventKind::Reminder | EventKind::Escalated | EventKind::ExtensionRequested
    )
}

fn words(detail: &Detail) -> Option<String> {
    match detail {
        Detail::Text(text) => Some(text.clone()),
        Detail::Int(number) => Some(number.to_string()),
        Detail::Bool(_) | Detail::Map(_) => None,
        Detail::List(list) => Some(list.iter().filter_map(words).collect::<Vec<_>>().join(", ")),
    }
}

/// Checks whether people are told of this event.
fn is_told(what: EventKind) -> bool {
    matches!(
        what,
        EventKind::Requested
            | EventKind::Reminder
            | EventKind::Escalated
            | EventKind::Approved
            | EventKind::Denied
            | EventKind::Cancelled
            | EventKind::Lapsed
            | EventKind::Active
            | EventKind::EndingSoon
            | EventKind::ExtensionRequested
            | EventKind::Extended
            | EventKind::ExtensionRefused
            | EventKind::Revoked
            | EventKind::Failed
            | EventKind::Withdrawn
            | EventKind::Overdue
            | EventKind::Finding
            | EventKind::Reappeared
            | EventKind::Retired
            | EventKind::SwitchFired
            | EventKind::BreakGlass
            | EventKind::Reviewed
            | EventKind::ReviewOverdue
            | EventKind::FactorLocked
            | EventKind::Stopped
            | EventKind::TargetLost
            | EventKind::PumpDied
            | EventKind::TargetBack
            | EventKind::TargetRefused
    )
}
