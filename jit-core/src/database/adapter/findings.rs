//! Findings of a check.

use crate::database::{Check, CheckSubject, Severity};

/// Makes one finding of a check. `about` is its stable word and the object.
#[must_use]
pub fn finding(
    severity: Severity,
    about: (&str, Option<String>),
    message: impl Into<String>,
    remedy: Option<String>,
) -> Check {
    let about = CheckSubject { what: about.0.to_owned(), on: about.1 };
    Check { severity, about, message: message.into(), remedy }
}
