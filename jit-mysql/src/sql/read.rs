//! Statements that read a list, and how to detect a list that was truncated.

use super::Flavour;

/// Statement that reads a list of rows.
///
/// The statement as sent ends with a row of its own. Whatever truncates an answer (a limit of the
/// server, something between it and us) takes that row first. An answer without it is an error:
/// absence is concluded from whole lists only (law 15).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    columns: usize,
    text: &'static str,
}

/// Column that is 1 in the last row and 0 in all others.
pub(crate) const LAST: &str = "jit_last";

impl Read {
    /// Creates a statement that shows so many columns.
    pub(crate) const fn new(columns: usize, text: &'static str) -> Self {
        Self { columns, text }
    }

    /// Returns the statement as sent to this server.
    pub(crate) fn whole(&self, flavour: Flavour) -> String {
        Self::ended(self.columns, &flavour.text(self.text))
    }

    /// Returns a statement that shows so many columns, as sent.
    pub(crate) fn ended(columns: usize, text: &str) -> String {
        let nothing = "NULL, ".repeat(columns);
        format!("SELECT jit_rows.*, 0 AS {LAST} FROM ({text}) jit_rows UNION ALL SELECT {nothing}1")
    }
}
