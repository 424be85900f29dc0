//! Format of tickets, and the system that checks them.

use regex_lite::Regex;

use super::error::Findings;
use super::read::{Section, shown, text};
use crate::id::ApproverName;

/// A pattern that the whole ticket has to match, in time linear in its length.
#[derive(Debug, Clone)]
pub(in crate::policy) struct Ticket {
    pattern: String,
    whole: Regex,
    /// Outside system that knows the tickets.
    check: Option<ApproverName>,
}

impl Ticket {
    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// Returns the system to ask about the ticket: before all else, and again right before the
    /// grant.
    pub(super) fn check(&self) -> Option<&ApproverName> {
        self.check.as_ref()
    }

    pub(super) fn matches(&self, ticket: &str) -> bool {
        self.whole.is_match(ticket)
    }

    pub(super) fn read(rule: &Section<'_>, findings: &mut Findings) -> Option<Self> {
        let section = Section::of(rule.find("ticket")?, "ticket", findings)?;
        section.only(&["pattern", "check"], findings);
        let check = match section.find("check") {
            None => None,
            Some(found) => {
                let name = text(found, "check", findings)?;
                let name = ApproverName::new(name);
                Some(name.map_err(|invalid| findings.problem(found.span().start, invalid.to_string())).ok()?)
            }
        };
        let found = section.demand("pattern", "\"[A-Z]+-[0-9]+\"", findings)?;
        let pattern = text(found, "pattern", findings)?;
        let at = found.span().start;
        // the pattern has to be valid alone before it is put in brackets: `a)|(b` would escape them
        let whole = Regex::new(pattern).and_then(|_| Regex::new(&format!(r"\A(?:{pattern})\z")));
        match whole {
            Ok(whole) if whole.is_match("") => {
                let line =
                    format!("`{}` accepts an empty ticket: demand something, like `[A-Z]+-[0-9]+`", shown(pattern));
                findings.problem(at, line);
                None
            }
            Ok(whole) => Some(Self { pattern: pattern.to_owned(), whole, check }),
            Err(why) => {
                let line = format!("`{}` is not a regular expression that is understood here: {why}", shown(pattern));
                findings.problem(at, line);
                None
            }
        }
    }
}
