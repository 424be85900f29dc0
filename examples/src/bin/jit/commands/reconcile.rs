//! Comparing the roles held on targets with the store.

use jit_core::engine::{Drift, Reconcile};
use jit_core::text::escaped;
use serde_json::json;

use super::Context;
use crate::cli;
use crate::error::Failure;

pub(super) async fn reconcile(at: &Context<'_>, asked: &cli::Reconcile) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &asked.actor);
    let mode = if asked.enforce { Reconcile::Enforce } else { Reconcile::Report };
    let targets = match &asked.target {
        Some(target) => vec![target.clone()],
        None => jit.targets()?,
    };
    let (mut failed, mut any) = (None, false);
    for target in &targets {
        match jit.reconcile(&actor, target, mode).await {
            Ok(drifts) => {
                any |= !drifts.is_empty();
                let answer = json!({"target": target, "enforced": asked.enforce, "found": drifts});
                at.out.result(&answer, || told(target.as_str(), &drifts, mode))?;
            }
            // one target that is down hides no other
            Err(error) => {
                let failure = Failure::from(error);
                if let Some(earlier) = failed.replace(failure) {
                    at.out.failure(&earlier);
                }
            }
        }
    }
    if asked.enforce {
        jit.run_due().await?;
        if any {
            at.out.words("one pass was made: `jit reconcile` says what is left")?;
        }
    }
    failed.map_or(Ok(()), Err)
}

fn told(target: &str, drifts: &[Drift], mode: Reconcile) -> String {
    if drifts.is_empty() {
        return format!("{target}: holds what the store says, nothing else");
    }
    let enforces = mode == Reconcile::Enforce;
    let line = |drift: &Drift| match drift {
        Drift::Standing { account, role, grantor } => {
            format!("  standing   `{account}` in `{role}`: not ours, left alone (grantor: {grantor})")
        }
        Drift::Orphaned { account, role } => {
            let done = if enforces { "the pump is told to take it away" } else { "`--enforce` takes it away" };
            format!("  orphaned   `{account}` in `{role}`: our broker granted it and no access accounts for it; {done}")
        }
        Drift::OfAnotherStore { account, role, store } => {
            format!(
                "  elsewhere  `{account}` in `{role}`: another store ({store}) that works with the same broker accounts for it, left alone"
            )
        }
        Drift::UsableByBroker { account, role, grantor } => {
            format!(
                "  usable     `{account}`, the broker, can use `{role}` itself: revoke that, and ask who granted it (grantor: {grantor})"
            )
        }
        Drift::Vanished { access, account, role } => {
            let done = if enforces { "the access is ended" } else { "`--enforce` ends the access" };
            format!(
                "  vanished   `{account}` in `{role}`: access {access} is live and the database does not hold it; {done}"
            )
        }
        _ => "  a finding that this command does not know: see --json".to_owned(),
    };
    let lines: Vec<String> = drifts.iter().map(|drift| escaped(&line(drift)).into_owned()).collect();
    format!("{target}:\n{}", lines.join("\n"))
}
