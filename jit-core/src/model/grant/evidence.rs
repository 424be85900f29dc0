//! Observations of the database at the end of a grant.

use serde::{Deserialize, Serialize};

use crate::audit_event::{AuditEvent, Detail, stamp};
use crate::clock::Time;
use crate::id::{AccessId, RealmId};

/// Observations of the database at the end of a grant. Only [`crate::model::holding::verify`] decides that
/// they suffice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndEvidence {
    /// Time at which the catalog was read, by the server's own clock, UTC.
    pub server_time: Time,
    /// Realm that answered; none in records of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<RealmId>,
    /// Incarnation of the server that answered.
    pub incarnation: String,
    /// True if the membership was gone before the revoke: another person or the dead man's switch
    /// removed it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone_before: bool,
    /// True if the dead man's switch reports that it removed the membership.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[serde(rename = "taken_by_dead_man")]
    pub taken_by_dead_mans_switch: bool,
    /// Number of sessions that were ended.
    pub sessions_ended: u32,
    /// Number of sessions that were left alone, because the rule says so or because another access
    /// still holds the membership.
    pub sessions_kept: u32,
    /// Prepared transactions that were rolled back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rolled_back: Vec<String>,
    /// Remaining access to the role that is not ours (law 6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<String>,
    /// Other accesses that still hold the membership (law 7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_held_by: Vec<StillHeldBy>,
    /// Objects that are gone entirely (`account`, `role`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// Reason why the role stays a default role of the account, if nobody could change that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_kept: Option<String>,
    /// Leftovers: what the account or the role came to own meanwhile, and what was passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[serde(rename = "left_behind")]
    pub leftovers: Vec<String>,
    /// Reason why the leftovers are unknown, if they should have been compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// Description of another store that accounts for the membership, which was left to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub another_store: Option<String>,
}

/// Id of another access that still holds the membership.
pub type StillHeldBy = AccessId;

impl EndEvidence {
    /// Adds the evidence to the audit event of the end.
    #[must_use]
    pub fn tell(&self, audit_event: AuditEvent) -> AuditEvent {
        let list = |texts: &[String]| {
            (!texts.is_empty()).then(|| Detail::List(texts.iter().map(|text| text.as_str().into()).collect()))
        };
        let held: Vec<String> = self.still_held_by.iter().map(ToString::to_string).collect();
        audit_event
            .with("verified", true)
            .with("server_time", stamp(self.server_time))
            .maybe("realm", self.realm.as_ref().map(RealmId::as_str))
            .with("incarnation", self.incarnation.as_str())
            .maybe("gone_before", self.gone_before.then_some(true))
            .maybe("taken_by_dead_man", self.taken_by_dead_mans_switch.then_some(true))
            .with("sessions_ended", i64::from(self.sessions_ended))
            .with("sessions_kept", i64::from(self.sessions_kept))
            .maybe("rolled_back", list(&self.rolled_back))
            .maybe("residual", list(&self.residual))
            .maybe("still_held_by", list(&held))
            .maybe("gone", list(&self.gone))
            .maybe("default_kept", self.default_kept.as_deref())
            .maybe("left_behind", list(&self.leftovers))
            .maybe("not_compared", self.not_compared.as_deref())
            .maybe("another_store", self.another_store.as_deref())
    }
}
