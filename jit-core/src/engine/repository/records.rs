//! Records that the engine keeps beside accesses and holdings.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::clock::Time;
use crate::database::Identity;
use crate::id::{AccessId, ApproverName, FactorName, Principal, QuestionId, RealmId, RoleName, TargetName, TenantId};
use crate::model::access::{Access, Phase};
use crate::model::holding::Holding;
use crate::names::join;
use crate::store::{Expect, Kind, Lane, Record, RecordKey, Schedule, StoreError, Write, Writing};

/// Identity of a target as it was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct TargetRecord {
    /// Realm of the target, known since the first contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) realm: Option<RealmId>,
    /// Another realm that answered under the target's name and that no operator has confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) stranger: Option<RealmId>,
    /// Description of another server with the same identifier that answered under the target's
    /// name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) copy: Option<String>,
    /// Time at which the target was written off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) retired: Option<Time>,
}

/// Last known state of a realm's server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct RealmRecord {
    /// Incarnation of the realm's server that was seen last.
    pub(in crate::engine) incarnation: String,
    /// Log position up to which that incarnation was seen, in the adapter's notation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(in crate::engine) position: String,
    /// Reason why an operator has to look before anything is granted there: two targets of the
    /// declared realm showed two servers at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) doubted: Option<String>,
}

impl RealmRecord {
    /// Returns the realm's server as it was seen last.
    pub(in crate::engine) fn seen(&self, realm: &RealmId) -> Identity {
        Identity { realm: realm.clone(), incarnation: self.incarnation.clone(), position: self.position.clone() }
    }
}

/// Tenant that owns a role of a realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct RoleOwner {
    pub(in crate::engine) tenant: TenantId,
}

/// Policy that was in force last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct PolicySeen {
    pub(in crate::engine) hash: String,
    /// Last revision of the directory, if it changes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) directory: Option<String>,
}

/// People who decide, or decided, in the place of a person who is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Delegations {
    /// Person who is away.
    pub(in crate::engine) of: Principal,
    /// Delegations in their order; only the last can be in force.
    pub(in crate::engine) given: Vec<Delegation>,
}

/// One delegation; see [`Delegations`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct Delegation {
    pub(in crate::engine) to: Principal,
    pub(in crate::engine) since: Time,
    pub(in crate::engine) until: Time,
    /// True if it was taken back: decisions made meanwhile do not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::engine) taken_back: bool,
}

impl ReviewRecord {
    /// Returns the time until which the access waits for the answer to this very question; none if
    /// it does not wait for it.
    pub(in crate::engine) fn waits_until(&self, access: &Access, now: Time) -> Option<Time> {
        let until = match (access.phase(), access.extension()) {
            (Phase::Pending(pending), _) => pending.lapses_at,
            (_, Some(extension)) => extension.lapses_at,
            _ => return None,
        };
        let approval = access.decidable();
        let waits = approval.question() == self.question && approval.asks_outside().contains(&self.approver);
        (waits && now < until).then_some(until)
    }
}

impl Delegations {
    /// Checks whether this person could decide in the other's place at this time.
    pub(in crate::engine) fn cover(&self, by: &Principal, at: Time) -> bool {
        self.given.iter().any(|one| !one.taken_back && one.to == *by && one.since <= at && at < one.until)
    }
}

/// Question to an outside system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct ReviewRecord {
    pub(in crate::engine) access: AccessId,
    /// Question asked: an answer counts for this one only. Older records have none.
    #[serde(default)]
    pub(in crate::engine) question: QuestionId,
    pub(in crate::engine) approver: ApproverName,
    /// Number of attempts without an answer.
    #[serde(default)]
    pub(in crate::engine) failures: u32,
    /// Last error: the log has it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::engine) last_error: Option<String>,
}

/// Something that was used once and cannot be used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct OnceRecord {
    pub(in crate::engine) until: Time,
}

/// Last emergency that a human requested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct LastEmergency {
    pub(in crate::engine) access: AccessId,
}

/// Access that a keyed request led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::engine) struct AskedBefore {
    pub(in crate::engine) access: AccessId,
}

pub(in crate::engine) fn target_key(tenant: &TenantId, target: &TargetName) -> RecordKey {
    RecordKey::new(tenant, Kind::Target, target.as_str())
}

pub(in crate::engine) fn stops_key(tenant: &TenantId) -> RecordKey {
    RecordKey::new(tenant, Kind::Stops, "stops")
}

pub(in crate::engine) fn delegation_key(tenant: &TenantId, of: &Principal) -> RecordKey {
    RecordKey::new(tenant, Kind::Delegation, of.as_str())
}

/// Returns the label of delegations to this person.
pub(in crate::engine) fn delegated_label(to: &Principal) -> (String, String) {
    ("to".to_owned(), to.to_string())
}

/// Returns the label of this human's emergencies that have begun or ended and have no review yet.
pub(in crate::engine) fn owes_label(human: &Principal) -> (String, String) {
    ("owes".to_owned(), human.to_string())
}

/// Returns the key of the record that every emergency of this human changes: of two at once, one
/// conflicts and is judged again.
pub(in crate::engine) fn emergency_key(tenant: &TenantId, human: &Principal) -> RecordKey {
    RecordKey::new(tenant, Kind::Setting, format!("emergency/{human}"))
}

pub(in crate::engine) fn review_key(tenant: &TenantId, token: &str) -> RecordKey {
    RecordKey::new(tenant, Kind::Review, token)
}

pub(in crate::engine) fn factor_key(tenant: &TenantId, factor: &FactorName, who: &Principal) -> RecordKey {
    RecordKey::new(tenant, Kind::Factor, join([factor.as_str(), who.as_str()]))
}

pub(in crate::engine) fn once_key(tenant: &TenantId, factor: &FactorName, key: &str) -> RecordKey {
    RecordKey::new(tenant, Kind::Once, join([factor.as_str(), key]))
}

pub(in crate::engine) fn policy_key(tenant: &TenantId) -> RecordKey {
    RecordKey::new(tenant, Kind::Setting, "policy")
}

pub(in crate::engine) fn ask_key(tenant: &TenantId, by: &Principal, key: &str) -> RecordKey {
    RecordKey::new(tenant, Kind::AskKey, join([by.as_str(), key]))
}

pub(in crate::engine) fn access_key(tenant: &TenantId, id: AccessId) -> RecordKey {
    RecordKey::new(tenant, Kind::Access, id.to_string())
}

pub(in crate::engine) fn realm_key(tenant: &TenantId, realm: &RealmId) -> RecordKey {
    RecordKey::new(tenant, Kind::Realm, realm.as_str())
}

/// Returns the key of the record that names a role's tenant. A role belongs to nobody until a
/// tenant asks for it, so this record stands outside all tenants.
pub(in crate::engine) fn role_owner_key(realm: &RealmId, role: &RoleName) -> RecordKey {
    RecordKey::new(&TenantId::everywhere(), Kind::RoleOwner, join([realm.as_str(), role.as_str()]))
}

/// Decodes the body of a record, or returns the default if there is no record.
pub(in crate::engine) fn body_or_default<T: DeserializeOwned + Default>(
    record: Option<&Record>,
) -> Result<T, StoreError> {
    record.map_or_else(|| Ok(T::default()), body)
}

/// Decodes the body of a record.
pub(in crate::engine) fn body<T: DeserializeOwned>(record: &Record) -> Result<T, StoreError> {
    serde_json::from_slice(&record.body).map_err(|error| StoreError::Damaged {
        kind: record.at.kind.as_str(),
        key: record.at.key.clone(),
        why: error.to_string(),
    })
}

/// Writes a body over the record that was read.
pub(in crate::engine) fn put<T: Serialize>(
    at: RecordKey,
    before: Option<&Record>,
    body: &T,
    schedule: Option<Schedule>,
) -> Result<Write, StoreError> {
    let body = encode(&at, serde_json::to_vec(body))?;
    let what = Writing::Put { body, schedule, labels: BTreeMap::new() };
    Ok(Write { at, expect: expect(before), what })
}

/// Writes bytes of a foreign format over the record that was read.
pub(in crate::engine) fn put_bytes(at: RecordKey, before: Option<&Record>, body: Vec<u8>) -> Write {
    let what = Writing::Put { body, schedule: None, labels: BTreeMap::new() };
    Write { at, expect: expect(before), what }
}

/// Demands that the record is as it was read.
pub(in crate::engine) fn guard(at: RecordKey, read: Option<&Record>) -> Write {
    Write { at, expect: expect(read), what: Writing::Guard }
}

/// Adds guards, each once: one record may be read for several decisions.
pub(in crate::engine) fn add_guards(writes: &mut Vec<Write>, guards: impl IntoIterator<Item = Write>) {
    for guard in guards {
        if !writes.contains(&guard) {
            writes.push(guard);
        }
    }
}

/// Returns the expectation for a record that was read in this state.
pub(in crate::engine) fn expect(before: Option<&Record>) -> Expect {
    before.map_or(Expect::Absent, |record| Expect::Version(record.version))
}

pub(in crate::engine) fn encode(
    at: &RecordKey,
    bytes: Result<Vec<u8>, serde_json::Error>,
) -> Result<Vec<u8>, StoreError> {
    bytes.map_err(|error| StoreError::Damaged {
        kind: at.kind.as_str(),
        key: at.key.clone(),
        why: format!("it has no stored form: {error}"),
    })
}

/// Writes the record of an access as it is now.
pub(crate) fn write_access(access: &Access, expect: Expect) -> Result<Write, StoreError> {
    let at = access_key(access.tenant(), access.id());
    let body = encode(&at, access.to_bytes())?;
    let desk = |due| Schedule { lane: Lane::desk(), due, serial: format!("access:{}", access.id()) };
    let what = Writing::Put { body, schedule: access.desk_due().map(desk), labels: labels(access) };
    Ok(Write { at, expect, what })
}

/// Label of a holding that has second looks to come, with the realm as its value.
pub(in crate::engine) const WATCHED: &str = "watched";
/// Label of a holding with a dead man's switch, with the realm as its value.
pub(in crate::engine) const ARMED: &str = "armed";

/// Writes the record of a holding as it is now, due at this time.
///
/// A holding that holds nothing any more stays, but is not due. If it were deleted and made again,
/// its versions would start from 1 again, and an earlier reader would mistake the new one for the
/// old.
pub(crate) fn write_holding(holding: &Holding, expect: Expect, due: Option<Time>) -> Result<Option<Write>, StoreError> {
    if expect == Expect::Absent && holding.is_empty() {
        return Ok(None);
    }
    let at = RecordKey::new(&holding.tenant, Kind::Holding, Holding::key(&holding.realm, &holding.account));
    let label = |name: &str, there: bool| there.then(|| (name.to_owned(), holding.realm.to_string()));
    let labels = [label(WATCHED, !holding.watched.is_empty()), label(ARMED, !holding.armed.is_empty())];
    let body = encode(&at, serde_json::to_vec(holding))?;
    let schedule = due.filter(|_| !holding.is_empty()).map(|due| schedule_of(holding, due));
    Ok(Some(Write {
        at,
        expect,
        what: Writing::Put { body, schedule, labels: labels.into_iter().flatten().collect() },
    }))
}

/// Returns the labels by which [`crate::store::Store::page`] can find the access.
fn labels(access: &Access) -> BTreeMap<String, String> {
    let request = access.request();
    let mut labels = BTreeMap::new();
    if !access.is_final() {
        labels.insert("open".to_owned(), "yes".to_owned());
        if access.realm().is_none() {
            labels.insert("waits".to_owned(), request.target.to_string());
        }
    }
    labels.extend(access.unreviewed().map(owes_label));
    labels
}

/// Returns the lane and the time at which the record of a holding is claimed.
pub(in crate::engine) fn schedule_of(holding: &Holding, due: Time) -> Schedule {
    Schedule { lane: Lane::realm(&holding.realm), due, serial: holding.serial() }
}
