//! Checking store, clock, policy and targets, and looking for what needs an operator.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::AccessState;
use jit_core::database::{Check, DeadMansSwitch, Severity};
use jit_core::engine::{AccessView, Concerns, Jit, JitError, Scope, TargetReport};
use jit_core::id::TargetName;
use jit_core::store::ClockState;
use serde_json::{Value, json};

use super::Context;
use super::unreachable::remedy;
use crate::build;
use crate::build::postgres;
use crate::config::{AuditConfig, Config, StoreAt};
use crate::error::{Exit, Failure};
use crate::print::Lines;
use crate::spans::{said, shown, stamped};

/// Reports what is well and what is not, with the fix; fails if work would be refused.
pub(super) async fn doctor(at: &Context<'_>) -> Result<(), Failure> {
    let config = at.config()?;
    let jit = at.engine_of(&config).await?;
    let mut lines = Lines::default();
    let mut worst = Worst::default();
    let store = match &config.store {
        StoreAt::Sqlite(path) => format!("sqlite, {}", path.display()),
        StoreAt::Postgres { server, .. } => format!("postgres, {}", server.url),
        StoreAt::Memory => "memory: everything is forgotten when the process ends".to_owned(),
    };
    let now = jit.store().now().await?;
    lines.add("store", format!("ok, {store}"));
    let store_checks: Vec<Check> = match &config.store {
        StoreAt::Postgres { server, .. } => {
            postgres(server).ok().and_then(|config| config.tls_check()).into_iter().collect()
        }
        StoreAt::Sqlite(_) | StoreAt::Memory => Vec::new(),
    };
    store_checks.iter().for_each(|check| said_of(check, None, &mut lines));
    let clock = clock(&jit, &mut worst).await?;
    lines.add("clock", format!("{clock}, the store's time is {}", shown(now)));
    let configured: BTreeSet<TargetName> = jit.targets()?.into_iter().collect();
    let (words, policy) = policy(&config, &jit, &configured)?;
    words.iter().for_each(|line| lines.add("policy", line));
    let mut targets = Vec::new();
    for name in &configured {
        let checked = jit.check_target(name).await;
        match checked {
            Ok(report) => {
                told(name, &report, &mut lines, &mut worst);
                targets.push(listed(name, &report));
            }
            Err(error) => {
                let is_unreachable = matches!(&error, JitError::Database(error) if error.is_unreachable());
                let failure = Failure::from(error);
                let remedy = is_unreachable.then(|| remedy(name, &failure.message));
                lines.add("target", format!("{name}: {}", failure.message));
                remedy.iter().for_each(|remedy| lines.add("", format!("fix: {remedy}")));
                targets.push(json!({"target": name, "error": failure.message, "remedy": remedy}));
                worst.unreachable.insert(name.clone(), failure.message);
            }
        }
    }
    let concerns = jit.concerns().await?;
    concerned(&concerns, &mut lines, &mut worst);
    let mut answer = json!({
        "store": {"url": store, "time": stamped(now), "checks": store_checks}, "clock": clock, "policy": policy, "targets": targets,
        "concerns": concerns, "healthy": worst.failure().is_none(),
    });
    keep_mend(&mut answer);
    at.out.result(&answer, || lines.text())?;
    worst.failure().map_or(Ok(()), Err)
}

/// Prints the script that sets the target up. It neither needs nor touches the store or the log,
/// and the target need not answer.
pub(super) async fn set_up(at: &Context<'_>, target: &TargetName) -> Result<(), Failure> {
    let mut config = at.config()?;
    config.store = StoreAt::Memory;
    config.tenants.values_mut().for_each(|tenant| tenant.audit = AuditConfig::default());
    let script = build::engine(&config, at.cli.tenant.as_ref()).await?.set_up_target(target).await?;
    at.out.result(&json!({"target": target, "script": script}), || script.trim_end().to_owned())
}

/// Number of accesses of a target that are named one by one.
const NAMED: usize = 5;

#[derive(Debug, Default)]
struct Worst {
    refusals: usize,
    /// Targets that could not be checked, and why.
    unreachable: BTreeMap<TargetName, String>,
    /// Number of lines that say that a role may be held and that nothing here ends it in time.
    held: usize,
}

impl Worst {
    fn failure(&self) -> Option<Failure> {
        if self.refusals > 0 {
            let message = match self.refusals {
                1 => "one thing has to be fixed before requests can be granted".to_owned(),
                several => format!("{several} things have to be fixed before requests can be granted"),
            };
            return Some(Failure::refused("unhealthy", message, "the lines above say how to fix it"));
        }
        if !self.unreachable.is_empty() {
            let names: Vec<&str> = self.unreachable.keys().map(TargetName::as_str).collect();
            let message = format!("not reachable: {}", names.join(", "));
            return Some(Failure::new(Exit::Unreachable, "database", message, "the lines above say how to fix it"));
        }
        let message = "a role may be held, and nothing here ends it in time";
        (self.held > 0).then(|| Failure::refused("unhealthy", message, "the lines above say what to do"))
    }
}

async fn clock(jit: &Jit, worst: &mut Worst) -> Result<String, Failure> {
    Ok(match jit.clock().await? {
        ClockState::Good => "ok".to_owned(),
        ClockState::Doubtful { mark, wall } => {
            worst.refusals = worst.refusals.saturating_add(1);
            let (mark, wall) = (shown(mark), shown(wall));
            format!(
                "doubtful: the store last saw {mark} and this machine says {wall}; new grants wait until `jit clock accept`"
            )
        }
        ClockState::Stepped { by } => format!("stepped by {}, which is not followed", said(by.abs())),
        _ => "in a state that this command does not know".to_owned(),
    })
}

fn policy(config: &Config, jit: &Jit, configured: &BTreeSet<TargetName>) -> Result<(Vec<String>, Value), Failure> {
    let Some(settings) = config.tenants.get(jit.tenant_id()) else { return Ok((Vec::new(), Value::Null)) };
    let warnings = settings.policy.check()?;
    let path = settings.policy.document.display();
    let mut words = vec![format!("ok, {}", settings.policy)];
    words.extend(warnings.iter().map(|warning| format!("warning: {path}:{warning}")));
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    let unmatched = settings.policy.unmatched(configured)?;
    words.extend(unmatched.iter().map(|line| format!("warning: {line}")));
    Ok((words, json!({"file": path.to_string(), "warnings": warnings, "unmatched": unmatched})))
}

/// Adds what needs an operator, one line each with what to do.
fn concerned(concerns: &Concerns, lines: &mut Lines, worst: &mut Worst) {
    for view in &concerns.overdue {
        worst.held = worst.held.saturating_add(1);
        let AccessView { id, role, target, principal, last_error, .. } = view;
        let why = last_error.as_ref().or_else(|| worst.unreachable.get(target));
        let why = why.map_or("nothing has tried to end it yet", String::as_str);
        lines.add(
            "access",
            format!(
                "error: OVERDUE: `{role}` on `{target}` for `{principal}` ({id}): {why}; fix that and run `jit run-due`, or write the target \
                 off by `jit target retire {target}` where it is gone for good"
            ),
        );
    }
    for stop in &concerns.stops {
        let reason = if stop.reason.is_empty() { String::new() } else { format!(" ({})", stop.reason) };
        let (scope, since, by) = (&stop.scope, shown(stop.at), &stop.by);
        let flag = match scope {
            Scope::Principal(principal) => format!("--principal {principal}"),
            Scope::Target(target) => format!("--target {target}"),
            _ => "--all".to_owned(),
        };
        lines.add(
            "stop",
            format!("warning: an emergency stop of {scope} is in force since {since}, by `{by}`{reason}: `jit resume {flag}` lifts it"),
        );
    }
    for (target, since) in &concerns.retired {
        let since = shown(*since);
        lines.add(
            "target",
            format!(
                "warning: `{target}` is retired since {since}, and nothing is granted there: `jit target confirm {target}` takes it into use \
                 again, or remove it from jit.toml"
            ),
        );
    }
    for (target, open) in &concerns.unconfigured {
        let held = open
            .iter()
            .filter(|view| matches!(view.state, AccessState::Granting | AccessState::Active | AccessState::Revoking))
            .count();
        worst.held = worst.held.saturating_add(usize::from(held > 0));
        let severity = if held > 0 { "error" } else { "warning" };
        let first: Vec<String> = open.iter().take(NAMED).map(|view| format!("{} {}", view.state, view.id)).collect();
        let more = open.len().saturating_sub(NAMED);
        let work = match (open.len(), more) {
            (0, _) => "was never contacted".to_owned(),
            (_, 0) => format!("has open accesses: {}", first.join(", ")),
            (_, more) => format!("has open accesses: {} and {more} more", first.join(", ")),
        };
        lines.add(
            "target",
            format!(
                "{severity}: `{target}` is not configured here any more, and {work}; configure it again, or write it off by \
                 `jit target retire {target}` where it is gone for good"
            ),
        );
    }
}

fn told(name: &TargetName, report: &TargetReport, lines: &mut Lines, worst: &mut Worst) {
    let TargetReport { identity, capabilities, checks, .. } = report;
    let (engine, version) = (&capabilities.engine, &capabilities.version);
    lines.add("target", format!("{name}: {engine} {version}, realm {}", identity.realm));
    lines.add(
        "",
        match &capabilities.dead_mans_switch {
            DeadMansSwitch::Available(kind) => format!("dead man's switch: {kind}"),
            _ => "dead man's switch: none".to_owned(),
        },
    );
    capabilities.remarks.iter().for_each(|remark| lines.add("", format!("note: {remark}")));
    for check in checks {
        if check.severity == Severity::Refusal {
            worst.refusals = worst.refusals.saturating_add(1);
        }
        said_of(check, Some(name), lines);
    }
    if checks.is_empty() {
        lines.add("", "the broker can do its work here");
    }
}

/// Longest fix, in lines, that is printed among the findings: `--sql` and `--json` print longer
/// ones.
const LONGEST_MEND: usize = 24;

fn said_of(check: &Check, target: Option<&TargetName>, lines: &mut Lines) {
    let severity = match check.severity {
        Severity::Remark => "note",
        Severity::Danger => "danger",
        _ => "error",
    };
    lines.add("", format!("{severity}: {}", check.message));
    let Some(remedy) = &check.remedy else { return };
    match target.filter(|_| remedy.lines().count() > LONGEST_MEND) {
        Some(target) => lines.add("", format!("fix: run the script that `jit doctor --sql {target}` prints")),
        None => lines.lines("", &format!("fix: {remedy}")),
    }
}

fn listed(name: &TargetName, report: &TargetReport) -> Value {
    let TargetReport { identity, capabilities, checks, .. } = report;
    json!({"target": name, "identity": identity, "capabilities": capabilities, "checks": checks})
}

/// Adds the former key `mend` beside each `remedy`. It is deprecated, and goes with the next
/// version.
fn keep_mend(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(keep_mend),
        Value::Object(fields) => {
            fields.values_mut().for_each(keep_mend);
            if let Some(remedy) = fields.get("remedy").cloned() {
                fields.insert("mend".to_owned(), remedy);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fix_has_its_former_key_too() {
        let remedy = || "turn it on".to_owned();
        let mut answer = json!({
            "targets": [{
                "capabilities": {"dead_mans_switch": DeadMansSwitch::Unavailable { remedy: remedy() }},
                "checks": [{"message": "it is off", "remedy": remedy()}, {"message": "so it is", "remedy": null}],
            }],
        });
        keep_mend(&mut answer);
        let both = json!({"remedy": remedy(), "mend": remedy()});
        assert_eq!(answer["targets"][0]["capabilities"]["dead_mans_switch"]["unavailable"], both);
        assert_eq!(answer["targets"][0]["checks"][0]["mend"], json!(remedy()));
        assert_eq!(answer["targets"][0]["checks"][1]["mend"], Value::Null);
    }
}
