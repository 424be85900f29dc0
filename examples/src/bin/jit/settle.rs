//! Finishing the work that a command made due, before the command ends, as far as the databases
//! answer.

use std::time::Duration;

use jit_core::AccessState;
use jit_core::engine::{AccessView, Jit, Scope};
use jit_core::id::AccessId;
use tokio::time::{Instant, sleep};

use crate::error::{Exit, Failure};
use crate::spans;

/// Longest wait of a command for a database that answers but is slow, or for a pump that already
/// does the work.
const PATIENCE: Duration = Duration::from_secs(15);
/// Pause between two passes; work of another process is seen after this time.
const BETWEEN: Duration = Duration::from_millis(50);

/// Runs passes until the access has come to rest. Returns its state then, and the reason if it went
/// no further.
pub(crate) async fn settle(jit: &Jit, id: AccessId) -> Result<(AccessView, Option<Failure>), Failure> {
    let patience = Instant::now().checked_add(PATIENCE);
    loop {
        let report = jit.run_due().await?;
        let view = jit.access(id).await?;
        if rests(&view) {
            let failed = matches!(view.state, AccessState::Failed | AccessState::Withdrawn | AccessState::Retired);
            let why = failed.then(|| ended(&view));
            return Ok((view, why));
        }
        // a server that does not answer now is not waited for: the next pass, or a pump, goes on
        let down = report.unreachable > 0 && (view.last_error.is_some() || !view.pending_on.is_empty());
        if down || patience.is_none_or(|until| Instant::now() >= until) {
            let why = Some(waiting(&view));
            return Ok((view, why));
        }
        sleep(BETWEEN).await;
    }
}

/// Runs passes until the stop has nothing left to end. Returns the accesses that are still left.
pub(crate) async fn settle_all(jit: &Jit, scope: &Scope) -> Result<Vec<AccessView>, Failure> {
    let patience = Instant::now().checked_add(PATIENCE);
    loop {
        let report = jit.run_due().await?;
        let open = jit.stops_about(scope).await?;
        if open.is_empty() || report.unreachable > 0 || patience.is_none_or(|until| Instant::now() >= until) {
            return Ok(open);
        }
        sleep(BETWEEN).await;
    }
}

/// Checks whether nothing is due for it now.
fn rests(view: &AccessView) -> bool {
    match view.state {
        AccessState::Granting | AccessState::Revoking => false,
        AccessState::Scheduled => view.starts_at.is_some() && view.last_error.is_none() && view.pending_on.is_empty(),
        _ => true,
    }
}

fn ended(view: &AccessView) -> Failure {
    let why = view.cause.as_deref().unwrap_or("it is over");
    Failure::refused("ended", format!("access {} is {}: {why}", view.id, view.state), "`jit show` tells its history")
}

fn waiting(view: &AccessView) -> Failure {
    let why = match (&view.last_error, view.pending_on.as_slice()) {
        (Some(last_error), _) => last_error.clone(),
        (None, []) => "the database has not finished it yet".to_owned(),
        (None, pending_on) => format!("it is pending on {}", pending_on.join(", ")),
    };
    let (id, state, role, target) = (view.id, view.state, &view.role, &view.target);
    let (message, hint) = match state {
        AccessState::Revoking => (
            format!("`{role}` is not known to be gone from target `{target}` yet: {why}"),
            "it is tried until it is gone: keep `jit pump` running, or run `jit run-due` again".to_owned(),
        ),
        _ => (
            format!("access {id} is approved and {state}, and `{role}` is not usable on target `{target}` yet: {why}"),
            view.expires_at.map_or_else(
                || "it is tried for a while: keep `jit pump` running, or run `jit run-due` again".to_owned(),
                |end| format!("it is tried, and is over by {} at the latest", spans::shown(end)),
            ),
        ),
    };
    Failure::new(Exit::Unreachable, "database", message, hint)
}
