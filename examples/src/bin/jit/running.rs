//! Telling that a pump runs on a store that is a file of this machine: `jit pump` and `jit serve` hold a lock beside it meanwhile.
//! The pump of another program is not seen.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Warning of a command that leaves something to be done later while none runs.
pub(crate) const NONE: &str = "warning: nothing runs the pump: run `jit run-due` or `jit pump`";

/// Says that a pump runs, until what is returned is dropped. It runs all the same where that cannot be said.
pub(crate) fn says(store: &Path) -> Option<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(beside(store)).ok()?;
    file.lock_shared().ok()?;
    Some(file)
}

/// Returns true where none runs; false where that cannot be told.
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
