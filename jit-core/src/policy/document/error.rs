//! Problems and warnings of a document, with their places.

use std::path::Path;

use std::fmt;

use crate::id::RuleName;

/// Reason why there is no policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file could not be read.
    #[error("policy `{path}` cannot be read: {source}")]
    Unreadable {
        /// Path of the file.
        path: String,
        /// Cause of the error.
        source: std::io::Error,
    },
    /// The text was read, but is not a valid policy. It is displayed as one line per problem,
    /// `origin:line:column: what to do`.
    #[error("{}", lines(.origin, .problems))]
    Invalid {
        /// Origin of the text, as messages name it.
        origin: String,
        /// All problems, in the order of the text.
        problems: Vec<Problem>,
    },
}

impl PolicyError {
    /// Returns all problems, in the order of the text; empty if the file could not be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Invalid { problems, .. } => problems,
        }
    }
}

/// Reads the text of a file; also returns the name that messages give it.
pub(in crate::policy) fn read_text(path: &Path) -> Result<(String, String), PolicyError> {
    let origin = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((text, origin)),
        Err(source) => Err(PolicyError::Unreadable { path: origin, source }),
    }
}

/// One problem to fix before the document counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Line of the problem, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// Description of the problem, and what to do.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Warning of something that is allowed but probably not meant.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// Line of the warning, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// Rule that the warning is about, if any.
    pub rule: Option<RuleName>,
    /// Description of the warning, and what to do.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

fn lines(origin: &str, problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(|problem| format!("{origin}:{problem}")).collect();
    lines.join("\n")
}

/// Problems and warnings found so far, at byte offsets of the text.
#[derive(Debug, Default)]
pub(in crate::policy) struct Findings {
    problems: Vec<(usize, String)>,
    warnings: Vec<(usize, Option<RuleName>, String)>,
}

impl Findings {
    pub(in crate::policy) fn problem(&mut self, at: usize, message: impl Into<String>) {
        self.problems.push((at, message.into()));
    }

    pub(in crate::policy) fn warning(&mut self, at: usize, rule: Option<&RuleName>, message: impl Into<String>) {
        self.warnings.push((at, rule.cloned(), message.into()));
    }

    /// Counts the problems. If the count is the same before and after a read, that read was sound.
    pub(in crate::policy) fn problems(&self) -> usize {
        self.problems.len()
    }

    /// Returns the problems as an error if there are any, otherwise the warnings, in the order of
    /// the text.
    pub(in crate::policy) fn settle(mut self, text: &str) -> Result<Vec<Warning>, Vec<Problem>> {
        let lines = Lines::of(text);
        self.problems.sort();
        self.problems.dedup();
        self.warnings.sort();
        if self.problems.is_empty() {
            let warning = |(at, rule, message)| {
                let (line, column) = lines.position(at);
                Warning { line, column, rule, message }
            };
            return Ok(self.warnings.into_iter().map(warning).collect());
        }
        let problem = |(at, message)| {
            let (line, column) = lines.position(at);
            Problem { line, column, message }
        };
        Err(self.problems.into_iter().map(problem).collect())
    }
}

/// Beginnings of the lines of a text.
pub(super) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        let after_newline = text.match_indices('\n').map(|(at, _)| at.saturating_add(1));
        Self { text, starts: std::iter::once(0).chain(after_newline).collect() }
    }

    /// Returns line and column of the byte offset, both from 1, columns in characters.
    pub(super) fn position(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let rest = self.text.get(start..).unwrap_or_default();
        let column = rest.char_indices().take_while(|(offset, _)| start.saturating_add(*offset) < at).count();
        (line, column.saturating_add(1))
    }
}
