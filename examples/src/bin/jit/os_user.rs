//! User of the operating system, who asserts the principal of `--as`.

/// Returns the user of the operating system, for the log.
pub(crate) fn os_user() -> String {
    whoami::username().unwrap_or_else(|_| "unknown".to_owned())
}
