//! Configuration of one tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::contain::Rules;
use super::error::JitError;
use crate::alike::is_disguise;
use crate::approver::Approver;
use crate::audit::{AuditSink, SigningKey};
use crate::database::Database;
use crate::directory::Directory;
use crate::id::{ApproverName, FactorName, TargetName};
use crate::mfa::Factor;
use crate::notify::Notifier;

/// Configuration of one tenant.
#[derive(Debug, Clone)]
pub(super) struct Tenant {
    pub(super) policy: Rules,
    pub(super) directory: Arc<dyn Directory>,
    /// True if the directory is not the policy's own, so that it changes by itself.
    pub(super) directory_changes: bool,
    pub(super) databases: BTreeMap<TargetName, Arc<dyn Database>>,
    pub(super) notifiers: BTreeMap<String, Arc<dyn Notifier>>,
    pub(super) approvers: BTreeMap<ApproverName, Arc<dyn Approver>>,
    pub(super) factors: BTreeMap<FactorName, Arc<dyn Factor>>,
    pub(super) link: Option<String>,
    pub(super) sinks: Vec<Arc<dyn AuditSink>>,
    pub(super) key: Option<Arc<SigningKey>>,
}

impl Tenant {
    /// Checks that everything exists that the policy mentions by name. If something were missing,
    /// requests would wait for it until they lapse.
    pub(super) fn validate_rules(&self, policy: &Rules) -> Result<(), JitError> {
        let mentions = policy.mentions();
        let notifiers = mentions.notifiers.iter().map(|name| name.as_str());
        let notifier_name = notifiers.into_iter().find(|name| !self.notifiers.contains_key(*name));
        let approver = mentions.approvers.iter().find(|name| !self.approvers.contains_key(*name));
        let factor = mentions.factors.iter().find(|name| !self.factors.contains_key(*name));
        let missing = notifier_name.map(|name| ("notifier", name));
        let missing = missing.or(approver.map(|name| ("approver", name.as_str())));
        let missing = missing.or(factor.map(|name| ("second factor", name.as_str())));
        if let Some((what, name)) = missing {
            return Err(JitError::invalid(format!(
                "the policy names the {what} `{name}`, and there is none: configure it"
            )));
        }
        if mentions.any_factor && self.factors.is_empty() {
            return Err(JitError::invalid("the policy demands a second factor, and none is configured"));
        }
        Ok(())
    }

    /// Returns the configured target that this name could be mistaken for; none if the name itself
    /// is configured.
    pub(super) fn target_like(&self, target: &TargetName) -> Option<&TargetName> {
        if self.databases.contains_key(target) {
            return None;
        }
        self.databases.keys().find(|known| is_disguise(known.as_str(), target.as_str()))
    }

    /// Returns the database of this name.
    pub(super) fn database(&self, target: &TargetName) -> Result<&Arc<dyn Database>, JitError> {
        self.databases.get(target).ok_or_else(|| {
            let known: Vec<String> = self.databases.keys().map(|name| format!("`{name}`")).collect();
            let hint = match known.len() {
                0 => "no target is configured".to_owned(),
                _ => format!("configured are {}", known.join(", ")),
            };
            JitError::NotFound { what: "target", name: target.to_string(), hint }
        })
    }
}
