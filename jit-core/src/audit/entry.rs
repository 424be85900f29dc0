//! Records of the log, and their one canonical form.

use std::collections::BTreeMap;

use crate::actor::Actor;
use crate::audit_event::{AuditEvent, Detail};
use crate::clock::{Entropy, Time};
use crate::id::{AccessId, EntryId, NodeId, TenantId};
use crate::store::NewEntry;

/// An entry before it is written: an audit event with its actor, time and place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Id of the entry.
    pub id: EntryId,
    /// Tenant that owns the log.
    pub tenant: TenantId,
    /// Access that the entry is about.
    pub access: Option<AccessId>,
    /// Fields of the entry, in their canonical order.
    pub fields: BTreeMap<String, Detail>,
}

/// Common data of all entries of one change.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct EntryContext<'a> {
    /// Tenant that owns the log.
    pub tenant: &'a TenantId,
    /// Access that the change is about.
    pub access: Option<AccessId>,
    /// Actor of the change. `None` if the system made it.
    pub actor: Option<&'a Actor>,
    /// Node that wrote the entry.
    pub node: &'a NodeId,
    /// Store's time, UTC.
    pub at: Time,
    /// Fields that every entry of the access repeats: target, role, account, principal.
    pub common: BTreeMap<String, Detail>,
}

impl<'a> EntryContext<'a> {
    /// Creates the context of a change that the system makes about no access.
    #[must_use]
    pub fn new(tenant: &'a TenantId, node: &'a NodeId, at: Time) -> Self {
        Self { tenant, access: None, actor: None, node, at, common: BTreeMap::new() }
    }
}

impl EntryContext<'_> {
    /// Makes the entry of this audit event.
    #[must_use]
    pub fn entry(&self, fact: &AuditEvent, entropy: &dyn Entropy) -> Entry {
        let id = EntryId::fresh(self.at, entropy);
        let mut fields = self.common.clone();
        fields.insert("what".to_owned(), fact.what.as_str().into());
        fields.insert("id".to_owned(), id.to_string().into());
        fields.insert("tenant".to_owned(), self.tenant.as_str().into());
        fields.insert("at".to_owned(), self.at.into());
        fields.insert("node".to_owned(), self.node.as_str().into());
        if let Some(access) = self.access {
            fields.insert("access".to_owned(), access.to_string().into());
        }
        if let Some(actor) = self.actor {
            fields.insert("actor".to_owned(), actor.principal.as_str().into());
            let mut evidence = BTreeMap::from([("method".to_owned(), Detail::from(actor.evidence.method.as_str()))]);
            for (name, value) in &actor.evidence.details {
                evidence.insert(name.clone(), value.as_str().into());
            }
            fields.insert("evidence".to_owned(), Detail::Map(evidence));
        }
        if !fact.details.is_empty() {
            fields.insert("details".to_owned(), Detail::Map(fact.details.clone()));
        }
        Entry { id, tenant: self.tenant.clone(), access: self.access, fields }
    }
}

impl Entry {
    /// Writes the canonical JSON: sorted keys, no white space, in the RFC 8785 form of such values.
    /// The tree hashes these bytes.
    #[must_use]
    pub fn canonical(&self) -> Vec<u8> {
        // BTreeMap sorts by UTF-8 bytes, which for ASCII keys is the order of RFC 8785; serde_json
        // escapes as RFC 8785 does
        serde_json::to_vec(&self.fields).unwrap_or_default()
    }

    /// Converts the entry to the form that the store takes.
    #[must_use]
    pub fn to_store(&self) -> NewEntry {
        NewEntry {
            id: self.id,
            tenant: self.tenant.clone(),
            subject: self.access.map(|access| access.to_string()),
            body: self.canonical(),
        }
    }
}
