//! What was seen in the database when a grant ended.

use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::fact::{Detail, Fact, stamp};
use crate::id::{AccessId, RealmId};

/// What was seen in the database when a grant ended. Only [`crate::holding::verify`] says that it is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// When the catalog was read, the server's own clock, UTC.
    pub server_time: Time,
    /// The realm that answered; none in what older versions stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<RealmId>,
    /// Which incarnation of the server answered.
    pub incarnation: String,
    /// Whether the membership was gone before it was to be taken: somebody else took it, or the dead man's switch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone_before: bool,
    /// Whether the dead man's switch says that it took it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub taken_by_dead_man: bool,
    /// How many sessions were ended.
    pub sessions_ended: u32,
    /// Sessions that were left alone, because the rule says so or because another access still holds the membership.
    pub sessions_kept: u32,
    /// Prepared transactions that were rolled back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rolled_back: Vec<String>,
    /// Access to the role that remains and is not ours (law 6).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub residual: Vec<String>,
    /// Other accesses that still hold the membership (law 7).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub still_held_by: Vec<StillHeldBy>,
    /// What is gone altogether (`account`, `role`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// That the role stays set as a default role of the account, and why nobody could change that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_kept: Option<String>,
    /// What the account or the role came to own meanwhile, and what was passed on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<String>,
    /// Why that is not known, where it should have been looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_compared: Option<String>,
    /// That another store accounts for the membership, to which it was left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub another_store: Option<String>,
}

/// Another access that still holds the membership.
pub type StillHeldBy = AccessId;

impl Evidence {
    /// Adds it to the fact of the end.
    #[must_use]
    pub fn tell(&self, fact: Fact) -> Fact {
        let list = |texts: &[String]| {
            (!texts.is_empty()).then(|| Detail::List(texts.iter().map(|text| text.as_str().into()).collect()))
        };
        let held: Vec<String> = self.still_held_by.iter().map(ToString::to_string).collect();
        fact.with("verified", true)
            .with("server_time", stamp(self.server_time))
            .maybe("realm", self.realm.as_ref().map(RealmId::as_str))
            .with("incarnation", self.incarnation.as_str())
            .maybe("gone_before", self.gone_before.then_some(true))
            .maybe("taken_by_dead_man", self.taken_by_dead_man.then_some(true))
            .with("sessions_ended", i64::from(self.sessions_ended))
            .with("sessions_kept", i64::from(self.sessions_kept))
            .maybe("rolled_back", list(&self.rolled_back))
            .maybe("residual", list(&self.residual))
            .maybe("still_held_by", list(&held))
            .maybe("gone", list(&self.gone))
            .maybe("default_kept", self.default_kept.as_deref())
            .maybe("left_behind", list(&self.left_behind))
            .maybe("not_compared", self.not_compared.as_deref())
            .maybe("another_store", self.another_store.as_deref())
    }
}
