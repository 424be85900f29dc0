//! Policies in Cedar.

use std::path::Path;

use jit_core::policy::CedarPolicy;

use crate::error::Failure;

pub(super) fn load(policies: &Path, document: &Path) -> Result<CedarPolicy, Failure> {
    Ok(CedarPolicy::load(policies, document)?)
}
