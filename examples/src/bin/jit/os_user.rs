//! Who runs this: what `--as` is asserted by.

/// The user of the operating system, for the log.
pub(crate) fn os_user() -> String {
    whoami::username().unwrap_or_else(|_| "unknown".to_owned())
}
