//! The pump in the foreground, and one pass of it.

use jit_core::engine::{Happened, Jit};
use jit_core::fact::{Detail, Fact, What};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::RecvError;

use super::Context;
use crate::error::Failure;
use crate::output::Output;
use crate::spans::{shown, stamped};

/// Runs the pump until SIGINT or SIGTERM, and says what happens.
pub(super) async fn pump(at: &Context<'_>) -> Result<(), Failure> {
    let jit = at.engine().await?;
    pumping(at, &jit).await
}

/// Runs the pump of this engine until SIGINT or SIGTERM, and says what happens.
pub(super) async fn pumping(at: &Context<'_>, jit: &Jit) -> Result<(), Failure> {
    let mut events = jit.events();
    let pump = jit.start();
    let tenants: Vec<String> = jit.tenants().iter().map(ToString::to_string).collect();
    let started = json!({"pump": "started", "tenants": tenants});
    at.out.result(&started, || "the pump runs: windows end when they close; stop it with Ctrl-C".to_owned())?;
    let told = tokio::select! {
        told = tell(at.out, &mut events) => told,
        stopped = stopped() => stopped,
    };
    pump.stop().await;
    while let Ok(happened) = events.try_recv() {
        say(at.out, &happened)?;
    }
    at.out.result(&json!({"pump": "stopped"}), || "the pump stopped; what is due waits for the next one".to_owned())?;
    told
}

/// One pass over everything due.
pub(super) async fn run_due(at: &Context<'_>) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let mut events = jit.events();
    let report = jit.run_due().await?;
    if !at.out.is_json() {
        while let Ok(happened) = events.try_recv() {
            say(at.out, &happened)?;
        }
    }
    let answer = json!({"claims": report.claims, "unreachable": report.unreachable});
    at.out.result(&answer, || match (report.claims, report.unreachable) {
        (0, 0) => "nothing was due".to_owned(),
        (_, 0) => "done: everything due".to_owned(),
        (_, down) => format!("done, except on {down} that did not answer"),
    })?;
    if report.unreachable == 0 {
        return Ok(());
    }
    let message = format!("{} did not answer: what is due there waits", report.unreachable);
    Err(Failure::unreachable(message, "`jit doctor` says which; run it again when it is back"))
}

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

async fn tell(out: Output, events: &mut tokio::sync::broadcast::Receiver<Happened>) -> Result<(), Failure> {
    loop {
        match events.recv().await {
            Ok(happened) => say(out, &happened)?,
            Err(RecvError::Lagged(missed)) => {
                let answer = json!({"missed": missed});
                out.result(&answer, || format!("{missed} more happened than could be said: see `jit list`"))?;
            }
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn say(out: Output, happened: &Happened) -> Result<(), Failure> {
    let Happened { tenant, fact, at, access, .. } = happened;
    let details = serde_json::to_value(&fact.details).unwrap_or(Value::Null);
    let answer = json!({
        "what": fact.what.as_str(), "tenant": tenant, "at": stamped(*at), "details": details, "access": access,
    });
    out.result(&answer, || {
        let about = access.as_ref().map_or_else(String::new, |view| {
            format!(": {} on {} for {} ({})", view.role, view.target, view.principal, view.id)
        });
        let until = access.as_ref().and_then(|view| view.expires_at).filter(|_| fact.what == What::Active);
        let until = until.map_or_else(String::new, |end| format!(", until {}", shown(end)));
        format!("{}  {}{about}{until}{}", shown(*at), words(fact), why(fact))
    })
}

/// What happened, in the words of somebody who watches the pump.
fn words(fact: &Fact) -> &'static str {
    match fact.what {
        What::Granting => "granting",
        What::Active => "usable",
        What::EndingSoon => "ends soon",
        What::Revoking => "due to end",
        What::Revoked if fact.details.contains_key("residual") => {
            "our grant is gone, verified, and the role is STILL HELD"
        }
        What::Revoked => "gone, verified",
        What::Overdue => "OVERDUE",
        What::RevokeFailed => "revoke failed, tried again",
        What::TargetLost => "target does not answer",
        What::TargetBack => "target answers again",
        other => other.as_str(),
    }
}

fn why(fact: &Fact) -> String {
    let mut text = String::new();
    for name in ["target", "why", "cause"] {
        if let Some(detail) = fact.text(name) {
            text.push_str(&format!(", {name} {detail}"));
        }
    }
    for (name, words) in
        [("residual", "still held"), ("still_held_by", "still held by"), ("left_behind", "left behind")]
    {
        let told = listed(fact, name);
        if !told.is_empty() {
            text.push_str(&format!(", {words}: {}", told.join("; ")));
        }
    }
    if fact.details.contains_key("gone_before") {
        text.push_str(", it was gone before this end: somebody else took it");
    }
    text
}

/// The texts of a detail that is a list.
fn listed<'f>(fact: &'f Fact, name: &str) -> Vec<&'f str> {
    let Some(Detail::List(list)) = fact.details.get(name) else { return Vec::new() };
    let text = |detail: &'f Detail| match detail {
        Detail::Text(text) => Some(text.as_str()),
        _ => None,
    };
    list.iter().filter_map(text).collect()
}
