//! Reviewing an emergency.

use super::Context;
use crate::cli;
use crate::error::Failure;

pub(super) async fn review(at: &Context<'_>, given: &cli::Review) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &given.actor);
    let view = jit.review(&actor, given.id, &given.note).await?;
    at.access(&jit, &view, "reviewed").await
}
