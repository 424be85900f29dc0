//! Files that hold keys: short, for their owner only, never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Longest file that is read, in bytes. Every key with its name is far below this.
const LONGEST_FILE: u64 = 4096;

/// Returns the permissions of the file, if others than its owner may read it.
pub(crate) fn others_may_read(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode();
    Ok((mode & 0o077 != 0).then_some(mode & 0o777))
}

/// Reads the text of a short file.
pub(crate) fn read_short(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(File::open(path)?, LONGEST_FILE), &mut text)?;
    Ok(text)
}

/// Writes a new file durably, whole or not at all. It never replaces an existing file.
pub(crate) fn write_new(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let draft = PathBuf::from(name);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        // a link, unlike a rename, never replaces what is there
        fs::hard_link(&draft, path)
    })();
    let _ = fs::remove_file(&draft);
    written?;
    File::open(directory)?.sync_all()
}
