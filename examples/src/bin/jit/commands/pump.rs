//! Pump in the foreground, and one pass of it.

use std::time::Duration;

use jit_core::audit_event::{AuditEvent, Detail, EventKind};
use jit_core::engine::{AccessView, EngineEvent, EventStream, Jit, MissedEvents, Undone};
use jit_core::text::escaped;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use crate::error::Failure;
use crate::output::Output;
use crate::running;
use crate::spans::{shown, stamped};

/// Runs the pump until SIGINT or SIGTERM, and prints what happens.
pub(super) async fn pump(at: &Context<'_>) -> Result<(), Failure> {
    let jit = at.engine().await?;
    pumping(at, &jit).await
}

/// Runs the pump of this engine until SIGINT or SIGTERM, and prints what happens.
pub(super) async fn pumping(at: &Context<'_>, jit: &Jit) -> Result<(), Failure> {
    let mut events = jit.events_of_all_tenants();
    let _runs = at.file.get().and_then(|store| running::says(store));
    let pump = jit.start();
    let tenants: Vec<String> = jit.tenants().iter().map(ToString::to_string).collect();
    let started = json!({"pump": "started", "tenants": tenants});
    at.out.result(&started, || "the pump runs: windows end when they close; stop it with Ctrl-C".to_owned())?;
    let told = tokio::select! {
        told = tell(at.out, &mut events) => told,
        stopped = stopped() => stopped,
    };
    let left = pump.stop_within(STOP_WITHIN).await;
    while let Some(happened) = events.try_next() {
        tell_one(at.out, happened)?;
    }
    let mut answer = json!({"pump": "stopped", "unfinished": left.unfinished});
    merge(&mut answer, as_json(&left.undone));
    at.out.result(&answer, || {
        let mut lines = vec!["the pump stopped; what is due waits for the next one".to_owned()];
        lines.extend(left.unfinished.iter().map(|what| format!("broken off: {what}")));
        lines.extend(lines_of(&left.undone));
        lines.join("\n")
    })?;
    told?;
    left_undone(&left.undone)
}

/// Makes one pass over everything due.
pub(super) async fn run_due(at: &Context<'_>) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let mut events = jit.events_of_all_tenants();
    let report = jit.run_due().await?;
    if !at.out.is_json() {
        while let Some(happened) = events.try_next() {
            tell_one(at.out, happened)?;
        }
    }
    let mut answer = json!({"claims": report.claims, "unreachable": report.unreachable});
    merge(&mut answer, as_json(&report.undone));
    at.out.result(&answer, || {
        let all = match (report.claims, report.unreachable) {
            _ if !report.undone.is_empty() => "not everything due was done:".to_owned(),
            (0, 0) => "nothing was due".to_owned(),
            (_, 0) => "done: everything due".to_owned(),
            (_, down) => format!("done, except on {down} that did not answer"),
        };
        std::iter::once(all).chain(lines_of(&report.undone)).collect::<Vec<_>>().join("\n")
    })?;
    left_undone(&report.undone)?;
    if report.unreachable == 0 {
        return Ok(());
    }
    let message = format!("{} did not answer: what is due there waits", report.unreachable);
    Err(Failure::unreachable(message, "`jit doctor` says which; run it again when it is back"))
}

/// Fails if something due was not done, and names the first such item.
fn left_undone(undone: &Undone) -> Result<(), Failure> {
    let lines = lines_of(undone);
    let Some(first) = lines.first() else { return Ok(()) };
    let message = match lines.len() {
        1 => first.clone(),
        several => format!("{first}; and {} more", several.saturating_sub(1)),
    };
    let hint = "`jit doctor` checks the targets, `jit show` tells the history of an access; it is tried again by the next `jit run-due` or `jit pump`";
    Err(Failure::unreachable(message, hint))
}

/// Lists what is due and was not done, one line each, with the reason.
fn lines_of(undone: &Undone) -> Vec<String> {
    let of = |view: &AccessView, what: &str| {
        let why = view.last_error.as_deref().unwrap_or("it was not tried yet");
        format!("{what}: {} on {} for {} ({}): {why}", view.role, view.target, view.principal, view.id)
    };
    let overdue = undone.overdue.iter().map(|view| of(view, "OVERDUE"));
    let failing = undone.failing.iter().map(|view| of(view, "not done yet"));
    let unserved = undone.unserved.iter().map(|left| {
        let what = left.what;
        format!(
            "work is due for {what} `{}`, and no such {what} is configured here: configure it again, or retire it",
            left.name
        )
    });
    overdue.chain(failing).chain(unserved).collect()
}

fn as_json(undone: &Undone) -> Value {
    let unserved: Vec<Value> = undone
        .unserved
        .iter()
        .map(|left| json!({"tenant": left.tenant, "what": left.what, "name": left.name}))
        .collect();
    json!({"overdue": undone.overdue, "failing": undone.failing, "unserved": unserved})
}

fn merge(answer: &mut Value, more: Value) {
    if let (Some(answer), Value::Object(more)) = (answer.as_object_mut(), more) {
        answer.extend(more);
    }
}

/// Time for work in hand when the pump is stopped: less than service managers wait.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// Returns at SIGINT or SIGTERM.
pub(super) async fn stopped() -> Result<(), Failure> {
    let no_signals = |error| Failure::unusable(format!("signals cannot be received: {error}"), "");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_signals)?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

async fn tell(out: Output, events: &mut EventStream) -> Result<(), Failure> {
    while let Some(happened) = events.next().await {
        tell_one(out, happened)?;
    }
    Ok(())
}

fn tell_one(out: Output, happened: Result<EngineEvent, MissedEvents>) -> Result<(), Failure> {
    match happened {
        Ok(happened) => say(out, &happened),
        Err(missed) => {
            let answer = json!({"missed": missed.events});
            out.result(&answer, || format!("{} events are not shown: see `jit list`", missed.events))
        }
    }
}

fn say(out: Output, happened: &EngineEvent) -> Result<(), Failure> {
    let EngineEvent { tenant, audit_event, at, access, .. } = happened;
    let details = serde_json::to_value(&audit_event.details).unwrap_or(Value::Null);
    let answer = json!({
        "what": audit_event.what.as_str(), "tenant": tenant, "at": stamped(*at), "details": details, "access": access,
    });
    out.result(&answer, || {
        let about = access.as_ref().map_or_else(String::new, |view| {
            format!(": {} on {} for {} ({})", view.role, view.target, view.principal, view.id)
        });
        let until = access.as_ref().and_then(|view| view.expires_at).filter(|_| audit_event.what == EventKind::Active);
        let until = until.map_or_else(String::new, |end| format!(", until {}", shown(end)));
        escaped(&format!("{}  {}{about}{until}{}", shown(*at), words(audit_event), why(audit_event))).into_owned()
    })
}

/// Describes an audit event in the words of somebody who watches the pump.
fn words(audit_event: &AuditEvent) -> &'static str {
    match audit_event.what {
        EventKind::Granting => "granting",
        EventKind::Active => "usable",
        EventKind::EndingSoon => "ends soon",
        EventKind::Revoking => "ending",
        EventKind::Revoked if audit_event.details.contains_key("residual") => {
            "our grant is revoked and verified, and the role is STILL HELD"
        }
        EventKind::Revoked => "revoked and verified",
        EventKind::Overdue => "OVERDUE",
        EventKind::RevokeFailed => "revoke failed, tried again",
        EventKind::TargetLost => "target does not answer",
        EventKind::SwitchFired => "the dead man's switch fired",
        EventKind::PumpDied => "A PART OF THE PUMP DIED, started again",
        EventKind::TargetBack => "target answers again",
        other => other.as_str(),
    }
}

fn why(audit_event: &AuditEvent) -> String {
    let mut text = String::new();
    for name in ["target", "why", "cause", "fired_at"] {
        if let Some(detail) = audit_event.text(name) {
            text.push_str(&format!(", {name} {detail}"));
        }
    }
    for (name, words) in [("residual", "still held"), ("still_held_by", "still held by"), ("left_behind", "leftovers")]
    {
        let told = listed(audit_event, name);
        if !told.is_empty() {
            text.push_str(&format!(", {words}: {}", told.join("; ")));
        }
    }
    if audit_event.details.contains_key("gone_before") {
        text.push_str(
            ", it was gone before this end: the dead man's switch took it (see the next line), or somebody else did",
        );
    }
    text
}

/// Returns the texts of a detail that is a list.
fn listed<'f>(audit_event: &'f AuditEvent, name: &str) -> Vec<&'f str> {
    let Some(Detail::List(list)) = audit_event.details.get(name) else { return Vec::new() };
    let text = |detail: &'f Detail| match detail {
        Detail::Text(text) => Some(text.as_str()),
        _ => None,
    };
    list.iter().filter_map(text).collect()
}
