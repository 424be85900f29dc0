//! Accepting the clock.

use serde_json::json;

use super::Context;
use crate::cli;
use crate::error::Failure;
use crate::spans::{shown, stamped};

pub(super) async fn accept(at: &Context<'_>, who: &cli::As) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, who);
    jit.accept_clock(&actor).await?;
    let now = jit.store().now().await?;
    let answer = json!({"clock": "accepted", "store_time": stamped(now)});
    at.out.result(&answer, || format!("accepted: the store's time is {} and goes on from there", shown(now)))
}
