//! Policies in Cedar, in a build without Cedar.

use std::path::Path;

use jit_core::policy::PolicyDocument;

use crate::error::Failure;

pub(super) fn load(policies: &Path, _: &Path) -> Result<PolicyDocument, Failure> {
    let hint = "build it with `cargo build -p jit-examples --features cedar`, or write rules in TOML and take `cedar` out of jit.toml";
    Err(Failure::configuration(
        format!("`{}` is in Cedar, which this `jit` was built without", policies.display()),
        hint,
    ))
}
