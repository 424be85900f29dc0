//! Emergency stop and resume.

use jit_core::engine::{Jit, Scope};
use serde_json::json;

use super::Context;
use crate::cli;
use crate::error::{Exit, Failure};
use crate::settle::settle_all;

pub(super) async fn stop(at: &Context<'_>, stop: &cli::Stop) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &stop.actor);
    let scope = scope(&stop.scope)?;
    is_known(&jit, &scope)?;
    jit.stop(&actor, scope.clone(), &stop.reason).await?;
    // under every name of the person or the target: if nobody can say now whose they are, the pump
    // goes on
    let before = jit.stops_about(&scope).await?.len();
    let left = settle_all(&jit, &scope).await?;
    let ended = before.saturating_sub(left.len());
    let answer = json!({"stopped": scope.to_string(), "ended": ended, "still_ending": left.len()});
    at.out.result(&answer, || {
        format!("stopped: {scope}; {ended} ended, {} still ending, nothing new until `jit resume`", left.len())
    })?;
    if left.is_empty() {
        return Ok(());
    }
    let message = format!("the stop is in force, and {} are not known to be gone yet", left.len());
    let hint = "they are tried until they are gone: keep `jit pump` running, and see `jit list --open`";
    Err(Failure::new(Exit::Unreachable, "database", message, hint))
}

pub(super) async fn resume(at: &Context<'_>, resume: &cli::Resume) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &resume.actor);
    let scope = scope(&resume.scope)?;
    jit.resume(&actor, scope.clone()).await?;
    let answer = json!({"resumed": scope.to_string()});
    at.out.result(&answer, || format!("resumed: {scope}; what the stop ended stays ended"))
}

/// Refuses a target that is not configured. A name that is mistyped in a hurry would leave the
/// intended target as it is.
fn is_known(jit: &Jit, scope: &Scope) -> Result<(), Failure> {
    let targets = jit.targets()?;
    match scope {
        Scope::Target(target) if !targets.contains(target) => {
            let known: Vec<String> = targets.iter().map(|target| format!("`{target}`")).collect();
            let message = format!("there is no target `{target}`: nothing was stopped");
            Err(Failure::new(Exit::Refused, "not-found", message, format!("configured are {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

fn scope(given: &cli::Scope) -> Result<Scope, Failure> {
    match (&given.principal, &given.target, given.all) {
        (Some(principal), None, false) => Ok(Scope::Principal(principal.clone())),
        (None, Some(target), false) => Ok(Scope::Target(target.clone())),
        (None, None, true) => Ok(Scope::All),
        _ => Err(Failure::usage("one of --principal, --target and --all has to be given", "")),
    }
}
