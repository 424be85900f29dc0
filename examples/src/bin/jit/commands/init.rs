//! Writing a first configuration.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use crate::error::Failure;
use crate::output::Output;

const CONFIG: &str = include_str!("../templates/jit.toml");
const POLICY: &str = include_str!("../templates/policy.toml");

/// Writes jit.toml, and policy.toml beside it; overwrites nothing.
pub(super) fn init(config: &Path, out: Output) -> Result<(), Failure> {
    let policy = config.with_file_name("policy.toml");
    for path in [config, &policy] {
        if path.symlink_metadata().is_ok() {
            let message = format!("`{}` is there already: nothing was written", path.display());
            return Err(Failure::configuration(message, "move it away first, or name another folder with --config"));
        }
    }
    write(config, CONFIG)?;
    write(&policy, POLICY)?;
    let written = [config.display().to_string(), policy.display().to_string()];
    out.result(&json!({"written": written}), || {
        let [config, policy] = &written;
        format!("wrote {config} and {policy}\nnext: say in {config} where your database is, then run `jit doctor`")
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => "make the folder first",
            ErrorKind::PermissionDenied => "look at the folder's permissions",
            _ => "",
        };
        Failure::configuration(format!("`{}` cannot be written: {error}", path.display()), hint)
    })
}
