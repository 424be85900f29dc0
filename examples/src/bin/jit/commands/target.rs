//! Writing a target off, and confirming what it is.

use serde_json::json;

use super::Context;
use crate::cli;
use crate::error::Failure;

pub(super) async fn retire(at: &Context<'_>, asked: &cli::OneTarget) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &asked.actor);
    let closed = jit.retire_target(&actor, &asked.target).await?;
    let target = &asked.target;
    at.out.result(&json!({"target": target, "retired": true, "closed": closed}), || {
        format!("retired: `{target}`; {closed} closed as retired, which nobody has verified and nobody will")
    })
}

pub(super) async fn confirm(at: &Context<'_>, asked: &cli::OneTarget) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &asked.actor);
    jit.confirm_target(&actor, &asked.target).await?;
    let report = jit.run_due().await?;
    let target = &asked.target;
    at.out.result(&json!({"target": target, "confirmed": true}), || {
        let contacted =
            if report.unreachable == 0 { "" } else { "; it does not answer now, and is contacted when it does" };
        format!("confirmed: `{target}` is what it is now{contacted}")
    })
}
