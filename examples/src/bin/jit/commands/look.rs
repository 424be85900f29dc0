//! Looking at accesses.

use jit_core::engine::{AccessView, Filter};
use jit_core::text::escaped;
use serde_json::{Map, Value, json};

use super::{Context, deciders};
use crate::cli;
use crate::error::Failure;
use crate::print::{self, AccessLine};

/// Number of accesses that are read at a time.
const PAGE: usize = 500;
/// Number of entries of an access's history that are shown, at most.
const HISTORY: usize = 10_000;

pub(super) async fn list(at: &Context<'_>, list: &cli::List) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let mut filter = Filter::default();
    (filter.state, filter.open) = (list.state, list.open);
    (filter.principal, filter.target) = (list.principal.clone(), list.target.clone());
    let mut after = None;
    let mut rows = Vec::new();
    loop {
        let page = jit.list(&filter, after, PAGE).await?;
        let now = jit.store().now().await?;
        after = page.last().map(AccessView::id);
        for view in &page {
            if at.out.is_json() {
                let can_decide = deciders(&jit, view).await;
                at.out.result(&AccessLine { access: view, can_decide: &can_decide }, String::new)?;
            } else {
                rows.push(print::row(view, now));
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    match rows.as_slice() {
        [] => at.out.words("no access matches"),
        rows => at.out.words(&print::table(["ACCESS", "STATE", "ROLE", "FOR", "WHEN", "NOTE"], rows)),
    }
}

pub(super) async fn show(at: &Context<'_>, show: &cli::Show) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let view = jit.access(show.id).await?;
    let entries = jit.history(show.id, HISTORY).await?;
    let history: Vec<Value> =
        entries.iter().map(|entry| serde_json::from_slice(&entry.body).unwrap_or(Value::Null)).collect();
    let can_decide = deciders(&jit, &view).await;
    let now = jit.store().now().await?;
    let line = AccessLine { access: &view, can_decide: &can_decide };
    let answer = json!({"history": history});
    at.out.result(&merged(&line, answer), || {
        let lines: Vec<String> = history.iter().map(told).collect();
        format!("{}\n\n{}", print::access(&view, &can_decide, now), lines.join("\n"))
    })
}

fn merged(line: &AccessLine<'_>, more: Value) -> Value {
    let mut all = Map::new();
    for part in [serde_json::to_value(line).unwrap_or_default(), more] {
        if let Value::Object(fields) = part {
            all.extend(fields);
        }
    }
    Value::Object(all)
}

/// Prints one entry in one line: time, what happened, actor, and its details.
pub(super) fn told(entry: &Value) -> String {
    let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
    let at = text("at").get(..19).unwrap_or_default().replace('T', " ");
    let by = match text("actor") {
        "" => String::new(),
        actor => format!(" by {actor}"),
    };
    let details = match entry.get("details") {
        Some(Value::Object(details)) => details.iter().map(detail).collect::<Vec<_>>().join(", "),
        _ => String::new(),
    };
    let line = format!("{at}  {:<19}{by}{}{details}", text("what"), if details.is_empty() { "" } else { "  " });
    escaped(&line).into_owned()
}

fn detail((name, value): (&String, &Value)) -> String {
    match value {
        Value::String(text) => format!("{name}: {text}"),
        other => format!("{name}: {other}"),
    }
}
