//! Statements that read a list, and how a list that was cut is told from one that ends.

use super::Flavour;

/// A statement that reads a list of rows.
///
/// What is sent ends with a row of its own. Whatever cuts an answer (a limit of the server's, something between it and us) takes that
/// row first, and an answer without it is an error: absence is concluded from whole lists only (law 15).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    columns: usize,
    text: &'static str,
}

/// The column that is 1 in the last row and 0 in all others.
pub(crate) const LAST: &str = "jit_last";

impl Read {
    /// A statement that shows so many columns.
    pub(crate) const fn new(columns: usize, text: &'static str) -> Self {
        Self { columns, text }
    }

    /// As it is sent to this server.
    pub(crate) fn whole(&self, flavour: Flavour) -> String {
        Self::ended(self.columns, &flavour.text(self.text))
    }

    /// A statement that shows so many columns, as it is sent.
    pub(crate) fn ended(columns: usize, text: &str) -> String {
        let nothing = "NULL, ".repeat(columns);
        format!("SELECT jit_rows.*, 0 AS {LAST} FROM ({text}) jit_rows UNION ALL SELECT {nothing}1")
    }
}
