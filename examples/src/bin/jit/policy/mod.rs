//! Policy of a tenant, from its files.

#[cfg(feature = "cedar")]
mod cedar;
#[cfg(not(feature = "cedar"))]
#[path = "without_cedar.rs"]
mod cedar;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

use jit_core::engine::TenantBuilder;
use jit_core::id::TargetName;
use jit_core::policy::{PolicyDocument, Warning};

use crate::error::Failure;

/// Files of one policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PolicyFiles {
    /// TOML document: people, and rules, or plans if the rules are Cedar's.
    pub(crate) document: PathBuf,
    /// Cedar policies, if they decide who may ask for what.
    pub(crate) cedar: Option<PathBuf>,
}

impl PolicyFiles {
    /// Adds this policy to the tenant, read and checked.
    pub(crate) fn add_to(&self, tenant: TenantBuilder) -> Result<TenantBuilder, Failure> {
        Ok(match &self.cedar {
            None => tenant.policy(PolicyDocument::load(&self.document)?),
            Some(policies) => tenant.policy(cedar::load(policies, &self.document)?),
        })
    }

    /// Returns warnings about what is allowed and probably not meant, each with its place in the
    /// document.
    pub(crate) fn check(&self) -> Result<Vec<Warning>, Failure> {
        Ok(match &self.cedar {
            None => PolicyDocument::load(&self.document)?.check(),
            Some(policies) => cedar::load(policies, &self.document)?.check(),
        })
    }

    /// Names the rules whose targets are not configured, one line each.
    pub(crate) fn unmatched(&self, configured: &BTreeSet<TargetName>) -> Result<Vec<String>, Failure> {
        Ok(match &self.cedar {
            None => PolicyDocument::load(&self.document)?.unmatched(configured),
            Some(policies) => cedar::load(policies, &self.document)?.unmatched(configured),
        })
    }
}

impl fmt::Display for PolicyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(policies) = &self.cedar {
            write!(f, "{} and ", policies.display())?;
        }
        write!(f, "{}", self.document.display())
    }
}

impl From<PathBuf> for PolicyFiles {
    fn from(document: PathBuf) -> Self {
        Self { document, cedar: None }
    }
}
