//! Trying a policy with a table of cases.

use std::path::Path;

use jit_core::engine::AccessRequest;
use jit_core::id::Principal;
use jit_core::policy::Explained;
use serde::Deserialize;
use serde_json::json;
use toml::Spanned;

use super::Context;
use crate::cli::As;
use crate::error::Failure;
use crate::spans::duration;

/// Table of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    case: Vec<Spanned<Case>>,
}

/// Case of the table: who asks for what, and the expected result.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Principal who asks.
    who: Principal,
    /// Principal who gets the role, if it is somebody else.
    #[serde(alias = "receiver")]
    grantee: Option<Principal>,
    target: String,
    role: String,
    #[serde(rename = "for")]
    how_long: String,
    #[serde(default)]
    reason: String,
    ticket: Option<String>,
    #[serde(default)]
    break_glass: bool,
    expect: Expect,
    /// Rule that has to decide.
    rule: Option<String>,
    /// Text that its answer has to contain.
    says: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Expect {
    /// Some rule allows it, whatever it takes.
    Allowed,
    /// Some rule allows it and asks nobody.
    AtOnce,
    /// No rule allows it, or it exceeds its limits.
    Denied,
}

/// Tries every case; fails if one has another result than expected.
pub(super) async fn test(at: &Context<'_>, file: &Path) -> Result<(), Failure> {
    let wrong = |message: String| Failure::configuration(message, "");
    let text = std::fs::read_to_string(file)
        .map_err(|error| wrong(format!("`{}` cannot be read: {error}", file.display())))?;
    let table: Table = toml::from_str(&text)
        .map_err(|error| wrong(format!("{}:{}: {}", file.display(), line(&text, error.span()), error.message())))?;
    if table.case.is_empty() {
        return Err(wrong(format!("{}: there is no `[[case]]` in it", file.display())));
    }
    let jit = at.engine().await?;
    let mut answers = Vec::new();
    let mut failed = 0_usize;
    for case in &table.case {
        let place = line(&text, Some(case.span()));
        let case = case.get_ref();
        let how_long = duration(&case.how_long).map_err(|why| wrong(format!("{}:{place}: {why}", file.display())))?;
        let mut ask = AccessRequest::new(&case.target, &case.role, how_long).because(&case.reason);
        if let Some(ticket) = &case.ticket {
            ask = ask.ticket(ticket);
        }
        if let Some(grantee) = &case.grantee {
            ask = ask.on_behalf_of(grantee.clone());
        }
        if case.break_glass {
            ask = ask.break_glass();
        }
        let actor = at.actor(&jit, &As { who: case.who.clone() });
        let explained = jit.explain(&actor, ask).await?;
        let why = case.fails(explained.iter().find(|rule| rule.decided));
        failed = failed.saturating_add(usize::from(why.is_some()));
        answers.push(json!({"line": place, "passed": why.is_none(), "why": why}));
    }
    let passed = answers.len().saturating_sub(failed);
    let whole = json!({"file": file.display().to_string(), "passed": passed, "failed": failed, "cases": answers});
    at.out.result(&whole, || {
        let lines = answers.iter().filter_map(|answer| {
            let why = answer.get("why")?.as_str()?;
            Some(format!("{}:{}: {why}", file.display(), answer.get("line")?))
        });
        let sum = format!("{passed} as expected, {failed} not");
        lines.chain(std::iter::once(sum)).collect::<Vec<_>>().join("\n")
    })?;
    match failed {
        0 => Ok(()),
        _ => Err(Failure::refused(
            "policy",
            format!("{failed} of the cases have another result than expected"),
            "fix the policy or the table",
        )),
    }
}

impl Case {
    /// Returns how the result differs from the expected one; none: it does not.
    fn fails(&self, decided: Option<&Explained>) -> Option<String> {
        let (rule, says) = match decided {
            Some(decided) => (Some(decided.rule.as_str()), decided.why.as_str()),
            None => (None, "denied: no rule matches"),
        };
        let came = match says {
            says if says.starts_with("denied") => Expect::Denied,
            says if says.starts_with("granted at once") => Expect::AtOnce,
            _ => Expect::Allowed,
        };
        let fits = came == self.expect || (self.expect == Expect::Allowed && came == Expect::AtOnce);
        if !fits {
            return Some(format!("expected {:?}, and it is: {says}", self.expect));
        }
        if let Some(expected) = self.rule.as_deref().filter(|expected| Some(*expected) != rule) {
            return Some(format!("expected rule `{expected}` to decide, and it is `{}`", rule.unwrap_or("none")));
        }
        let unsaid = self.says.as_deref().filter(|text| !says.contains(text));
        unsaid.map(|text| format!("expected it to say `{text}`, and it says: {says}"))
    }
}

fn line(text: &str, span: Option<std::ops::Range<usize>>) -> usize {
    let before = text.get(..span.map_or(0, |span| span.start)).unwrap_or_default();
    before.matches('\n').count().saturating_add(1)
}
