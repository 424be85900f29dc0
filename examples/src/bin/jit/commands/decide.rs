//! Approving, denying, confirming, and cancelling a request.

use jit_core::engine::{About, AccessView};

use super::Context;
use super::request::sentence;
use crate::cli;
use crate::error::Failure;
use crate::spans::{said, shown};

pub(super) async fn approve(at: &Context<'_>, decide: &cli::Decide) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.proving(&jit, &decide.actor, &decide.factor)?;
    let more = jit.access(decide.id).await?.extension.map(said);
    let view = jit.approve(&actor, About::question(decide.id, decide.question), &decide.note).await?;
    at.finish(&jit, view.id(), |view| match (&more, view.expires_at) {
        (Some(more), _) if view.extension.is_some() => recorded(&format!("{more} more"), view),
        (Some(more), Some(end)) => format!("yes to {more} more: until {}", shown(end)),
        _ if view.state == "pending" => recorded("the request", view),
        _ => sentence(view),
    })
    .await
}

/// Returns the sentence for a yes that was not the last one.
fn recorded(what: &str, view: &AccessView) -> String {
    format!("your yes to {what} is recorded; still needed: {}", view.pending_on.join("; "))
}

pub(super) async fn deny(at: &Context<'_>, decide: &cli::Decide) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &decide.actor);
    let extension = jit.access(decide.id).await?.extension.is_some();
    let view = jit.deny(&actor, About::question(decide.id, decide.question), &decide.note).await?;
    let what = if extension { "denied: no more time is given" } else { "denied: nothing was granted" };
    at.finish(&jit, view.id(), |_| what.to_owned()).await
}

pub(super) async fn confirm(at: &Context<'_>, confirm: &cli::Confirm) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.proving(&jit, &confirm.actor, &confirm.factor)?;
    let view = jit.confirm(&actor, About::question(confirm.id, confirm.question)).await?;
    at.finish(&jit, view.id(), sentence).await
}

pub(super) async fn cancel(at: &Context<'_>, cancel: &cli::Cancel) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &cancel.actor);
    let view = jit.cancel(&actor, cancel.id, &cancel.reason).await?;
    at.access(&jit, &view, "cancelled: nothing was granted").await
}
