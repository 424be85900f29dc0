//! Records of the log, and their one canonical form.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::audit_event::{AuditEvent, Detail, EventKind};
use crate::clock::{Entropy, Time};
use crate::id::{AccessId, EntryId, NodeId, Principal, TenantId};
use crate::store::{NewEntry, StoreError, StoredEntry};

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
    /// Fields that every entry of the access repeats: target, role, account, requester, receiver
    /// (the grantee), rule, policy, and the realm once it is known.
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
    pub fn entry(&self, audit_event: &AuditEvent, entropy: &dyn Entropy) -> Entry {
        let id = EntryId::fresh(self.at, entropy);
        let mut fields = self.common.clone();
        fields.insert("what".to_owned(), audit_event.what.as_str().into());
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
        if !audit_event.details.is_empty() {
            fields.insert("details".to_owned(), Detail::Map(audit_event.details.clone()));
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

/// An entry as it was read: the typed form of its canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LogEntry {
    /// Id of the entry.
    pub id: EntryId,
    /// Tenant that owns the log.
    pub tenant: TenantId,
    /// Store's time of the event, UTC.
    pub at: Time,
    /// Kind of the event, by its name. A later version may write kinds that this one does not know:
    /// see [`LogEntry::kind`].
    pub what: String,
    /// Node that wrote the entry.
    pub node: NodeId,
    /// Access that the entry is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessId>,
    /// Actor of the event. `None` if the system made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Principal>,
    /// Evidence that the actor is who they say, with its `method`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub evidence: BTreeMap<String, Detail>,
    /// Details of the event.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Detail>,
    /// Fields that every entry of the access repeats: target, role, account, requester, receiver
    /// (the grantee), rule, policy, and the realm once it is known.
    #[serde(flatten)]
    pub common: BTreeMap<String, Detail>,
}

impl LogEntry {
    /// Returns the kind of the event, if this version knows it.
    #[must_use]
    pub fn kind(&self) -> Option<EventKind> {
        serde_json::from_value(self.what.clone().into()).ok()
    }
}

impl StoredEntry {
    /// Reads what the entry says.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is no entry of a log.
    pub fn read(&self) -> Result<LogEntry, StoreError> {
        serde_json::from_slice(&self.body).map_err(|error| StoreError::Damaged {
            kind: "entry",
            key: self.id.to_string(),
            why: error.to_string(),
        })
    }
}
