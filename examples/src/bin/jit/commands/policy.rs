//! Checking and explaining the policy.

use std::path::Path;

use jit_core::id::TenantId;
use jit_core::policy::PolicyDocument;
use serde_json::json;

use super::Context;
use super::request::ask;
use crate::cli;
use crate::error::Failure;

/// Reads a policy document: the configured one, or the file.
pub(super) fn check(at: &Context<'_>, file: Option<&Path>) -> Result<(), Failure> {
    let path = match file {
        Some(file) => file.to_owned(),
        None => {
            let config = at.config()?;
            let tenant = at.cli.tenant.clone().unwrap_or_else(TenantId::main);
            let settings = config
                .tenants
                .get(&tenant)
                .or_else(|| config.tenants.values().next().filter(|_| at.cli.tenant.is_none()));
            let missing =
                || Failure::configuration(format!("tenant `{tenant}` is not configured"), "name one with --tenant");
            settings.ok_or_else(missing)?.policy.clone()
        }
    };
    let policy = PolicyDocument::load(&path)?;
    let warnings = policy.check();
    let listed: Vec<_> = warnings
        .iter()
        .map(|warning| json!({"line": warning.line, "column": warning.column, "rule": warning.rule, "message": warning.message}))
        .collect();
    at.out.result(&json!({"policy": path.display().to_string(), "valid": true, "warnings": listed}), || {
        let mut lines: Vec<String> = warnings.iter().map(|warning| format!("{}:{warning}", path.display())).collect();
        lines.push(match lines.len() {
            0 => format!("{}: sound", path.display()),
            1 => format!("{}: valid, with one warning", path.display()),
            several => format!("{}: valid, with {several} warnings", path.display()),
        });
        lines.join("\n")
    })
}

/// What every rule says to a request.
pub(super) async fn explain(at: &Context<'_>, request: &cli::Request) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &request.actor);
    let explained = jit.explain(&actor, ask(request)).await?;
    let decided = explained.iter().find(|rule| rule.decided);
    let rules: Vec<_> =
        explained.iter().map(|rule| json!({"rule": rule.rule, "decided": rule.decided, "why": rule.why})).collect();
    let answer = json!({"decided_by": decided.map(|rule| &rule.rule), "rules": rules});
    at.out.result(&answer, || {
        let mut lines: Vec<String> = explained
            .iter()
            .map(|rule| format!("{} `{}`: {}", if rule.decided { "->" } else { "  " }, rule.rule, rule.why))
            .collect();
        if decided.is_none() {
            lines.push("no rule matches: what no rule allows is denied".to_owned());
        }
        lines.join("\n")
    })
}
