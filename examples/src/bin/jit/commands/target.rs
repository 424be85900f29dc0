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

pub(super) async fn confirm(at: &Context<'_>, asked: &cli::ConfirmTarget) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let (target, actor) = (&asked.one.target, at.actor(&jit, &asked.one.actor));
    // a target that does not answer now is contacted when it does
    let elsewhere = jit.live_elsewhere(target).await.unwrap_or_default();
    let left = elsewhere.accesses.as_slice();
    let same_data = asked.same_data || (elsewhere.same_data && !asked.other_data);
    let each: Vec<String> =
        left.iter().map(|view| format!("{} ({} of `{}`, {})", view.id, view.role, view.account, view.state)).collect();
    if !left.is_empty() && !same_data && !asked.other_data {
        let message = format!(
            "on the server that `{target}` was these are live, and this one does not hold them: {}",
            each.join(", ")
        );
        let hint = "add --same-data if this one has its data (restored, failed over): they end here in time; \
                    add --other-data to leave them to that server, where they stay overdue";
        return Err(Failure::refused("live-elsewhere", message, hint));
    }
    let carried = if same_data {
        jit.confirm_same_data(&actor, target).await?
    } else {
        jit.confirm_target(&actor, target).await?;
        0
    };
    let report = jit.run_due().await?;
    let live: Vec<_> = left
        .iter()
        .map(|view| json!({"id": view.id, "role": view.role, "account": view.account, "state": view.state}))
        .collect();
    let (was, stays) = if same_data { ("carried", "left") } else { ("left", "carried") };
    let answer = json!({"target": target, "confirmed": true, was: live, stays: []});
    at.out.result(&answer, || {
        let contacted =
            if report.unreachable == 0 { "" } else { "; it does not answer now, and is contacted when it does" };
        let said = match (each.is_empty(), same_data) {
            (true, _) => String::new(),
            (false, true) => format!("\n{carried} carried over, to end here: {}", each.join(", ")),
            (false, false) => {
                format!(
                    "\nleft on the server that it was, overdue until that one answers or the target is retired: {}",
                    each.join(", ")
                )
            }
        };
        format!("confirmed: `{target}` is accepted as it is now{contacted}{said}")
    })
}
