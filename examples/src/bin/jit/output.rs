//! Output of results and errors: the only place that writes to a terminal.

use std::io::{ErrorKind, Write};

use jit_core::text::{TextWriter, Written};
use serde::Serialize;
use serde_json::json;

use crate::error::Failure;

/// Output for people, or as one JSON object per line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Prints one result: an object for machines, or the text of `words` for people.
    pub(crate) fn result<T: Serialize>(self, value: &T, words: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            return self.write(&words());
        }
        let line = serde_json::to_string(value)
            .map_err(|error| Failure::unusable(format!("the answer has no JSON form: {error}"), "report this"))?;
        self.write(&line)
    }

    /// Prints a line that only people read.
    pub(crate) fn words(self, text: &str) -> Result<(), Failure> {
        if self.json { Ok(()) } else { self.write(text) }
    }

    /// Prints the one line that says what went wrong.
    pub(crate) fn failure(self, failure: &Failure) {
        let line = if self.json {
            let hint = failure.what_to_do();
            json!({"error": {"kind": failure.kind, "message": failure.message, "hint": hint}}).to_string()
        } else if failure.hint.is_empty() {
            format!("error: {}", failure.message)
        } else {
            format!("error: {} ({})", failure.message, failure.hint)
        };
        // if errors cannot be written either, there is nobody to tell
        let _ = writeln!(errors(self.written()), "{line}");
    }

    /// Asks the person at the terminal for something; the question goes to standard error.
    pub(crate) fn ask(self, text: &str) {
        // if nobody can be asked, the answer will be missing
        let _ = writeln!(errors(Written::Lines), "{text}");
    }

    fn written(self) -> Written {
        if self.json { Written::Json } else { Written::Lines }
    }

    fn write(self, text: &str) -> Result<(), Failure> {
        let mut out = TextWriter::new(std::io::stdout().lock(), self.written());
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            // the reader had enough (`jit list | head`)
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            Err(error) => {
                Err(Failure::unusable(format!("the answer cannot be written: {error}"), "look at where it goes"))
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Returns a writer to standard error. It escapes what others wrote, whoever prints it.
pub(crate) fn errors(how: Written) -> TextWriter<std::io::Stderr> {
    TextWriter::new(std::io::stderr(), how)
}
