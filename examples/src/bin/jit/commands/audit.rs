//! tmp
use super::Context;
use crate::cli;
use crate::error::Failure;
pub(super) async fn audit(_: &Context<'_>, _: &cli::Audit) -> Result<(), Failure> { Err(Failure::usage("", "")) }
