//! Records of the store, read without the engine's own types: only what the laws need.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use jit_core::clock::Time;

#[derive(Debug, Deserialize)]
pub(super) struct AccessRecord {
    pub(super) tenant: String,
    pub(super) realm: Option<String>,
    pub(super) request: RequestRecord,
    pub(super) approval: ApprovalRecord,
    pub(super) phase: PhaseRecord,
    pub(super) extension: Option<ExtensionRecord>,
    #[serde(default)]
    pub(super) extended: Vec<ExtensionRecord>,
    pub(super) review: Option<ReviewRecord>,
}

/// Approval record of a request or an extension.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct ApprovalRecord {
    /// Question that is asked.
    #[serde(default)]
    pub(super) question: String,
    pub(super) opened_at: Time,
    pub(super) decisions: Vec<DecisionRecord>,
    #[serde(default)]
    pub(super) confirmations: Vec<ConfirmationRecord>,
    #[serde(default)]
    pub(super) answers: Vec<HeardRecord>,
}

impl ApprovalRecord {
    /// Returns the nonce to which signed answers about it are bound.
    pub(super) fn nonce(&self, id: &str) -> String {
        if id.ends_with(&self.question) { id.to_owned() } else { format!("{id}.{}", self.question) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct DecisionRecord {
    pub(super) question: String,
    pub(super) by: String,
    pub(super) verdict: String,
    pub(super) at: Time,
    pub(super) proven: Option<ProvenRecord>,
    pub(super) in_place_of: Option<AwayRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ConfirmationRecord {
    pub(super) question: String,
    pub(super) by: String,
    pub(super) at: Time,
    pub(super) proven: ProvenRecord,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ProvenRecord {
    pub(super) at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AwayRecord {
    pub(super) who: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct HeardRecord {
    pub(super) answer: AnswerRecord,
    pub(super) since: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct AnswerRecord {
    pub(super) question: String,
    pub(super) approver: String,
    pub(super) verdict: String,
    pub(super) at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ExtensionRecord {
    pub(super) approval: ApprovalRecord,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct ReviewRecord {
    pub(super) due: Time,
    #[serde(default)]
    pub(super) told: bool,
    pub(super) given: Option<GivenRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct GivenRecord {
    pub(super) by: String,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RequestRecord {
    pub(super) target: String,
    pub(super) role: String,
    pub(super) requester: String,
    #[serde(rename = "receiver")]
    pub(super) grantee: String,
    pub(super) account: String,
    pub(super) duration: i64,
    pub(super) start: Option<Time>,
    #[serde(default)]
    pub(super) break_glass: bool,
}

// read once, and taken apart immediately
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum PhaseRecord {
    Pending(IgnoredAny),
    Denied(IgnoredAny),
    Cancelled(IgnoredAny),
    Lapsed(IgnoredAny),
    Approved(GrantRecord),
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct GrantRecord {
    pub(super) is: String,
    pub(super) start: Option<Time>,
    #[serde(rename = "subject")]
    pub(super) membership: Option<MembershipRecord>,
    pub(super) intent: Option<IntentRecord>,
    pub(super) unsettled: Option<IntentRecord>,
    pub(super) latest_end: Option<Time>,
    pub(super) window: Option<WindowRecord>,
    pub(super) since: Option<Time>,
    pub(super) cause: Option<String>,
    pub(super) evidence: Option<EvidenceRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct IntentRecord {
    pub(super) label: String,
    pub(super) not_after: Time,
    pub(super) at: Time,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct WindowRecord {
    pub(super) activated_at: Time,
    pub(super) end: Time,
    pub(super) server_time: Option<Time>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct EvidenceRecord {
    #[serde(default)]
    pub(super) still_held_by: Vec<Value>,
}

#[derive(Debug, Deserialize)]
pub(super) struct HoldingRecord {
    pub(super) realm: String,
    #[serde(default)]
    pub(super) live: Vec<String>,
    #[serde(default)]
    pub(super) watched: Vec<WatchRecord>,
    #[serde(default)]
    pub(super) orphans: Vec<OrphanRecord>,
}

/// A second look that is still to come.
#[derive(Debug, Deserialize)]
pub(super) struct WatchRecord {
    pub(super) access: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct OrphanRecord {
    #[serde(rename = "subject")]
    pub(super) membership: MembershipRecord,
}

#[derive(Debug, Deserialize)]
pub(super) struct MembershipRecord {
    pub(super) role: String,
    pub(super) account_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StopsRecord {
    #[serde(default)]
    pub(super) stops: Vec<StopRecord>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct StopRecord {
    pub(super) scope: Value,
    pub(super) at: Time,
    #[serde(default)]
    pub(super) lifted: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct DelegationsRecord {
    pub(super) of: String,
    pub(super) given: Vec<DelegationRecord>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DelegationRecord {
    pub(super) to: String,
    pub(super) since: Time,
    pub(super) until: Time,
    #[serde(default)]
    pub(super) taken_back: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct EntryRecord {
    pub(super) what: String,
    pub(super) access: Option<String>,
    pub(super) actor: Option<String>,
    #[serde(default)]
    pub(super) details: BTreeMap<String, Value>,
}

impl ApprovalRecord {
    /// Returns every yes of a person.
    pub(super) fn yes(&self) -> Vec<&DecisionRecord> {
        self.decisions.iter().filter(|one| one.verdict == "approve").collect()
    }
}

impl EntryRecord {
    /// Returns the text of a detail.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.details.get(name).and_then(Value::as_str)
    }
}

impl StopRecord {
    /// Checks whether the stop covers this target or one of these people.
    pub(super) fn meets(&self, target: &str, people: [&str; 2]) -> bool {
        if self.scope.as_str() == Some("all") {
            return true;
        }
        let named = |what: &str| self.scope.get(what).and_then(Value::as_str);
        named("target") == Some(target) || named("principal").is_some_and(|who| people.contains(&who))
    }
}
