//! Errors with the numbers that SQL Server gives them.

/// An error message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlError {
    /// Number of the message in sys.messages.
    pub number: i32,
    pub severity: u8,
    pub state: u8,
    pub message: String,
    pub line: u32,
    /// Error arises when a statement is compiled, as that of an unknown name. A CATCH of the same
    /// level does not see it.
    pub(crate) compile: bool,
}

impl SqlError {
    /// Makes an error with the severity that the documentation gives its number.
    pub fn new(number: i32, message: impl Into<String>) -> Self {
        let severity = match number {
            102 | 103 | 105 | 113 | 156 | 1038 | 137 | 319 => 15,
            229 | 230 | 262 | 297 | 300 | 916 | 4060 | 18456 | 18470 | 6102 | 4604 => 14,
            1205 => 13,
            596 => 21,
            6005 => 10,
            _ => 16,
        };
        Self {
            number,
            severity,
            state: 1,
            message: message.into(),
            line: 1,
            compile: matches!(number, 207 | 208 | 4104),
        }
    }

    pub(crate) fn at(mut self, line: u32) -> Self {
        self.line = line;
        self
    }

    pub(crate) fn state(mut self, state: u8) -> Self {
        self.state = state;
        self
    }
}

impl std::fmt::Display for SqlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "error {}, level {}, line {}: {}", self.number, self.severity, self.line, self.message)
    }
}

impl std::error::Error for SqlError {}

/// Reason why a statement stops.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    Error(SqlError),
    /// Another session holds a lock that the statement needs: wait, then run the statement again.
    Blocked {
        by: i32,
        resource: String,
        wait: &'static str,
    },
    Killed,
    /// Client asked to cancel the request.
    Attention,
    Return,
    Break,
    Continue,
    /// Batch ends; its error has already been sent.
    Batch,
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Stop::Error(error)
    }
}

pub(crate) fn error<T>(number: i32, message: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Error(SqlError::new(number, message)))
}
