//! Features of the workspace's packages.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::Value;

/// Prints each feature of the workspace on a line: its package, a space, and its name.
///
/// # Errors
/// If cargo cannot say what the workspace holds.
pub(crate) fn print() -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version", "1", "--no-deps", "--locked"]).stderr(Stdio::inherit());
    let output = metadata.output()?;
    ensure!(output.status.success(), "cargo metadata failed: {}", output.status);
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    for package in metadata.get("packages").and_then(Value::as_array).into_iter().flatten() {
        let name = package.get("name").and_then(Value::as_str).unwrap_or_default();
        for feature in package.get("features").and_then(Value::as_object).into_iter().flatten() {
            println!("{name} {}", feature.0);
        }
    }
    Ok(())
}
