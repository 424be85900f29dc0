//! Following what changes.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use jit_core::clock::after;
use jit_core::engine::{AccessView, Filter, Jit};
use jit_core::id::AccessId;
use jit_core::text::escaped;

use super::{Context, deciders};
use crate::error::Failure;
use crate::print::{self, AccessLine};
use crate::spans::shown;

/// Longest time until a change is seen that comes with time alone (overdue).
const AT_LEAST: TimeDelta = TimeDelta::seconds(1);

/// Prints what is open now, then every change, until stopped.
pub(super) async fn watch(at: &Context<'_>) -> Result<(), Failure> {
    let jit = at.engine().await?;
    tokio::select! {
        followed = follow(at, &jit) => followed,
        stopped = super::pump::stopped() => stopped,
    }
}

async fn follow(at: &Context<'_>, jit: &Jit) -> Result<(), Failure> {
    let filter = Filter::open();
    let mut known: BTreeMap<AccessId, AccessView> = BTreeMap::new();
    loop {
        let seen = jit.store().pulse().await?;
        let open = jit.list(&filter, None, usize::MAX).await?;
        let open: BTreeMap<AccessId, AccessView> = open.into_iter().map(|view| (view.id(), view)).collect();
        let mut changed: Vec<AccessView> = Vec::new();
        for id in known.keys().filter(|id| !open.contains_key(id)) {
            changed.push(jit.access(*id).await?);
        }
        changed.extend(open.values().filter(|view| known.get(&view.id()) != Some(view)).cloned());
        for view in &changed {
            line(at, jit, view).await?;
        }
        known = open;
        let until = after(jit.store().now().await?, AT_LEAST);
        jit.store().wait(seen, until).await?;
    }
}

async fn line(at: &Context<'_>, jit: &Jit, view: &AccessView) -> Result<(), Failure> {
    let can_decide = deciders(jit, view).await;
    let now = jit.store().now().await?;
    at.out.result(&AccessLine { access: view, can_decide: &can_decide }, || {
        let [id, state, role, who, when, note] = print::row(view, now);
        let note = if note.is_empty() { note } else { format!(", {note}") };
        escaped(&format!("{}  {id}  {state}: {role} for {who}, {when}{note}", shown(now))).into_owned()
    })
}
