//! Deciding in the place of somebody who is away.

use serde_json::json;

use super::Context;
use crate::cli;
use crate::error::Failure;
use crate::spans::{shown, stamped};

pub(super) async fn delegate(at: &Context<'_>, delegate: &cli::Delegate) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &delegate.actor);
    let of = &delegate.actor.who;
    let (Some(to), Some(until)) = (&delegate.to, delegate.until) else {
        jit.end_delegation(&actor).await?;
        return at.out.result(&json!({"of": of, "ended": true}), || format!("`{of}` decides in person again"));
    };
    jit.delegate(&actor, to, until).await?;
    let answer = json!({"of": of, "to": to, "until": stamped(until)});
    at.out.result(&answer, || format!("`{to}` decides in the place of `{of}` until {}", shown(until)))
}
