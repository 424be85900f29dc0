//! Telling that a pump runs on a store that is a file of this machine. `jit pump` and `jit serve`
//! hold a lock beside the file while they run. The pump of another program is not seen.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Warning of a command that leaves something to be done later while no pump runs.
pub(crate) const NONE: &str = "warning: nothing runs the pump: run `jit run-due` or `jit pump`";

/// Announces that a pump runs, until the returned file is dropped. If that fails, the pump runs all
/// the same.
pub(crate) fn says(store: &Path) -> Option<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside(store)).ok()?;
    file.lock_shared().ok()?;
    Some(file)
}

/// Checks whether no pump runs; returns false if that cannot be told.
pub(crate) fn is_none(store: &Path) -> bool {
    match File::open(beside(store)) {
        Ok(file) => file.try_lock().is_ok(),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

fn beside(store: &Path) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".pump");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pump_is_seen_while_it_runs() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("jit.db");
        assert!(is_none(&store));
        let (first, second) = (says(&store).unwrap(), says(&store).unwrap());
        assert!(!is_none(&store));
        drop(first);
        assert!(!is_none(&store));
        drop(second);
        assert!(is_none(&store) && is_none(&store));
    }
}
