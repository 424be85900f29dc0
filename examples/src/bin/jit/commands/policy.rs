//! Checking and explaining the policy.

use std::path::Path;

use jit_core::text::escaped;
use serde_json::json;

use super::Context;
use super::request::ask;
use crate::cli;
use crate::error::Failure;

/// Checks a policy: the configured one, or the document in the file.
pub(super) fn check(at: &Context<'_>, file: Option<&Path>) -> Result<(), Failure> {
    let policy = match file {
        Some(file) => file.to_owned().into(),
        None => {
            let config = at.config()?;
            let tenant = at.cli.tenant.clone().unwrap_or_default();
            let settings = config
                .tenants
                .get(&tenant)
                .or_else(|| config.tenants.values().next().filter(|_| at.cli.tenant.is_none()));
            let missing =
                || Failure::configuration(format!("tenant `{tenant}` is not configured"), "name one with --tenant");
            settings.ok_or_else(missing)?.policy.clone()
        }
    };
    let warnings = policy.check()?;
    let path = policy.document.display();
    let listed: Vec<_> = warnings
        .iter()
        .map(|warning| json!({"line": warning.line, "column": warning.column, "rule": warning.rule, "message": warning.message}))
        .collect();
    at.out.result(&json!({"policy": path.to_string(), "valid": true, "warnings": listed}), || {
        let mut lines: Vec<String> = warnings.iter().map(|warning| format!("{path}:{warning}")).collect();
        lines.push(match lines.len() {
            0 => format!("{policy}: sound"),
            1 => format!("{policy}: valid, with one warning"),
            several => format!("{policy}: valid, with {several} warnings"),
        });
        lines.join("\n")
    })
}

/// Prints what every rule says to a request.
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
            .map(|rule| {
                let line = format!("{} `{}`: {}", if rule.decided { "->" } else { "  " }, rule.rule, rule.why);
                escaped(&line).into_owned()
            })
            .collect();
        if decided.is_none() {
            lines.push("no rule matches: what no rule allows is denied".to_owned());
        }
        lines.join("\n")
    })
}
