//! Checking store, clock, policy and targets.

use jit_core::database::{Check, DeadManHere, Severity};
use jit_core::engine::{Jit, TargetReport};
use jit_core::id::TargetName;
use jit_core::store::ClockState;
use serde_json::{Value, json};

use super::Context;
use crate::build;
use crate::build::postgres;
use crate::config::{AuditConfig, Config, StoreAt};
use crate::error::{Exit, Failure};
use crate::print::Lines;
use crate::spans::{said, shown, stamped};

/// Says what is well and what is not, with what mends it; fails where work would be refused.
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
    store_checks.iter().for_each(|check| said_of(check, &mut lines));
    let clock = clock(&jit, &mut worst).await?;
    lines.add("clock", format!("{clock}, the store's time is {}", shown(now)));
    let (words, policy) = policy(&config, &jit)?;
    words.iter().for_each(|line| lines.add("policy", line));
    let mut targets = Vec::new();
    for name in jit.targets()? {
        let checked = jit.check_target(&name).await;
        match checked {
            Ok(report) => {
                told(&name, &report, &mut lines, &mut worst);
                targets.push(listed(&name, &report));
            }
            Err(error) => {
                let failure = Failure::from(error);
                worst.unreachable.push(name.to_string());
                lines.add("target", format!("{name}: {}", failure.message));
                targets.push(json!({"target": name, "error": failure.message}));
            }
        }
    }
    let answer = json!({
        "store": {"url": store, "time": stamped(now), "checks": store_checks}, "clock": clock, "policy": policy, "targets": targets,
        "healthy": worst.failure().is_none(),
    });
    at.out.result(&answer, || lines.text())?;
    worst.failure().map_or(Ok(()), Err)
}

/// Prints the script that sets the target up. Neither the store nor the log is needed for it, nor touched, and the target need not answer.
pub(super) async fn set_up(at: &Context<'_>, target: &TargetName) -> Result<(), Failure> {
    let mut config = at.config()?;
    config.store = StoreAt::Memory;
    config.tenants.values_mut().for_each(|tenant| tenant.audit = AuditConfig::default());
    let script = build::engine(&config, at.cli.tenant.as_ref()).await?.set_up_target(target).await?;
    at.out.result(&json!({"target": target, "script": script}), || script.trim_end().to_owned())
}

#[derive(Debug, Default)]
struct Worst {
    refusals: usize,
    unreachable: Vec<String>,
}

impl Worst {
    fn failure(&self) -> Option<Failure> {
        if self.refusals > 0 {
            let message = match self.refusals {
                1 => "one thing has to be mended before requests can be granted".to_owned(),
                several => format!("{several} things have to be mended before requests can be granted"),
            };
            return Some(Failure::refused("unhealthy", message, "the lines above say what mends it"));
        }
        if self.unreachable.is_empty() {
            return None;
        }
        let message = format!("not reachable: {}", self.unreachable.join(", "));
        Some(Failure::new(
            Exit::Unreachable,
            "database",
            message,
            "start it, or put its URL, password and tls right in jit.toml",
        ))
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
        _ => "in a state that this command has no words for".to_owned(),
    })
}

fn policy(config: &Config, jit: &Jit) -> Result<(Vec<String>, Value), Failure> {
    let Some(settings) = config.tenants.get(jit.tenant_id()) else { return Ok((Vec::new(), Value::Null)) };
    let warnings = settings.policy.check()?;
    let path = settings.policy.document.display();
    let mut words = vec![format!("ok, {}", settings.policy)];
    words.extend(warnings.iter().map(|warning| format!("warning: {path}:{warning}")));
    let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    Ok((words, json!({"file": path.to_string(), "warnings": warnings})))
}

fn told(name: &TargetName, report: &TargetReport, lines: &mut Lines, worst: &mut Worst) {
    let TargetReport { identity, capabilities, checks, .. } = report;
    let (engine, version) = (&capabilities.engine, &capabilities.version);
    lines.add("target", format!("{name}: {engine} {version}, realm {}", identity.realm));
    lines.add(
        "",
        match &capabilities.dead_man {
            DeadManHere::By(kind) => format!("dead-man: {kind}"),
            DeadManHere::Missing { .. } => "dead-man: none".to_owned(),
        },
    );
    capabilities.remarks.iter().for_each(|remark| lines.add("", format!("note: {remark}")));
    for check in checks {
        if check.severity == Severity::Refusal {
            worst.refusals = worst.refusals.saturating_add(1);
        }
        said_of(check, lines);
    }
    if checks.is_empty() {
        lines.add("", "the broker can do its work here");
    }
}

fn said_of(check: &Check, lines: &mut Lines) {
    let severity = match check.severity {
        Severity::Remark => "note",
        Severity::Danger => "danger",
        Severity::Refusal => "wrong",
    };
    lines.add("", format!("{severity}: {}", check.message));
    if let Some(mend) = &check.mend {
        lines.lines("", &format!("mend: {mend}"));
    }
}

fn listed(name: &TargetName, report: &TargetReport) -> Value {
    let TargetReport { identity, capabilities, checks, .. } = report;
    json!({"target": name, "identity": identity, "capabilities": capabilities, "checks": checks})
}
