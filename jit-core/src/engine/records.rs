//! Records that the engine keeps beside accesses and holdings.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::access::{Access, Phase};
use crate::clock::Time;
use crate::database::Identity;
use crate::holding::Holding;
use crate::id::{AccessId, ApproverName, FactorName, Principal, QuestionId, RealmId, RoleName, TargetName, TenantId};
use crate::names::join;
use crate::store::{Expect, Kind, Lane, Record, RecordKey, Schedule, StoreError, Write, Writing};

/// What a target was found to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TargetRecord {
    /// Its realm, since the first contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) realm: Option<RealmId>,
    /// Another realm that answered under its name, and that no operator has confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stranger: Option<RealmId>,
    /// What answered under its name and is another server with the same identifier, and what was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) copy: Option<String>,
    /// Since when it is written off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) retired: Option<Time>,
}

/// What is known of a realm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RealmRecord {
    /// The incarnation of its server that was seen last.
    pub(super) incarnation: String,
    /// How far that one was seen, as the adapter writes it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) position: String,
    /// Why an operator has to look before anything is granted there: two targets of the declared realm showed two servers at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) doubted: Option<String>,
}

impl RealmRecord {
    /// The realm's server as it was seen last.
    pub(super) fn seen(&self, realm: &RealmId) -> Identity {
        Identity { realm: realm.clone(), incarnation: self.incarnation.clone(), position: self.position.clone() }
    }
}

/// Which tenant a role of a realm belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RoleOwner {
    pub(super) tenant: TenantId,
}

/// The policy that was in force last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PolicySeen {
    pub(super) hash: String,
    /// What the directory said last, where it is one that changes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) directory: Option<String>,
}

/// Who decides or decided in the place of one who is away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delegations {
    /// Who is away.
    pub(super) of: Principal,
    /// In their order; only the last can be in force.
    pub(super) given: Vec<Delegation>,
}

/// See [`Delegations`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delegation {
    pub(super) to: Principal,
    pub(super) since: Time,
    pub(super) until: Time,
    /// It was taken back: who decided meanwhile does not count.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) taken_back: bool,
}

impl ReviewRecord {
    /// Until when the access waits for the answer to this very question; none where it does not.
    pub(super) fn waits_until(&self, access: &Access, now: Time) -> Option<Time> {
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
    /// Whether this one could decide in the other's place then.
    pub(super) fn cover(&self, by: &Principal, at: Time) -> bool {
        self.given.iter().any(|one| !one.taken_back && one.to == *by && one.since <= at && at < one.until)
    }
}

/// What an outside system is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReviewRecord {
    pub(super) access: AccessId,
    /// Which question: an answer counts for this one only. Records of before have none.
    #[serde(default)]
    pub(super) question: QuestionId,
    pub(super) approver: ApproverName,
    /// How often it gave no answer.
    #[serde(default)]
    pub(super) failures: u32,
    /// Why, last time: the log has it once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<String>,
}

/// Something that was used and is not used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OnceRecord {
    pub(super) until: Time,
}

/// The last emergency that a human asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastEmergency {
    pub(super) access: AccessId,
}

/// The access that a keyed request led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AskedBefore {
    pub(super) access: AccessId,
}

pub(super) fn target_key(tenant: &TenantId, target: &TargetName) -> RecordKey {
    RecordKey::new(tenant, Kind::Target, target.as_str())
}

pub(super) fn stops_key(tenant: &TenantId) -> RecordKey {
    RecordKey::new(tenant, Kind::Stops, "stops")
}

pub(super) fn delegation_key(tenant: &TenantId, of: &Principal) -> RecordKey {
    RecordKey::new(tenant, Kind::Delegation, of.as_str())
}

/// The label of delegations to this one.
pub(super) fn delegated_label(to: &Principal) -> (String, String) {
    ("to".to_owned(), to.to_string())
}

/// The label of emergencies of this human that are begun or were had, and that nobody has reviewed.
pub(super) fn owes_label(human: &Principal) -> (String, String) {
    ("owes".to_owned(), human.to_string())
}

/// What every emergency of this human changes: of two at once one has to look again.
pub(super) fn emergency_key(tenant: &TenantId, human: &Principal) -> RecordKey {
    RecordKey::new(tenant, Kind::Setting, format!("emergency/{human}"))
}

pub(super) fn review_key(tenant: &TenantId, token: &str) -> RecordKey {
    RecordKey::new(tenant, Kind::Review, token)
}

pub(super) fn factor_key(tenant: &TenantId, factor: &FactorName, who: &Principal) -> RecordKey {
    RecordKey::new(tenant, Kind::Factor, join([factor.as_str(), who.as_str()]))
}

pub(super) fn once_key(tenant: &TenantId, factor: &FactorName, key: &str) -> RecordKey {
    RecordKey::new(tenant, Kind::Once, join([factor.as_str(), key]))
}

pub(super) fn policy_key(tenant: &TenantId) -> RecordKey {
    RecordKey::new(tenant, Kind::Setting, "policy")
}

pub(super) fn ask_key(tenant: &TenantId, by: &Principal, key: &str) -> RecordKey {
    RecordKey::new(tenant, Kind::AskKey, join([by.as_str(), key]))
}

pub(super) fn access_key(tenant: &TenantId, id: AccessId) -> RecordKey {
    RecordKey::new(tenant, Kind::Access, id.to_string())
}

pub(super) fn realm_key(tenant: &TenantId, realm: &RealmId) -> RecordKey {
    RecordKey::new(tenant, Kind::Realm, realm.as_str())
}

/// A realm's roles are nobody's until a tenant asks for one: this record stands outside all tenants.
pub(super) fn role_owner_key(realm: &RealmId, role: &RoleName) -> RecordKey {
    RecordKey::new(&TenantId::everywhere(), Kind::RoleOwner, join([realm.as_str(), role.as_str()]))
}

/// The body of a record, or the default where there is none.
pub(super) fn body_or_default<T: DeserializeOwned + Default>(record: Option<&Record>) -> Result<T, StoreError> {
    record.map_or_else(|| Ok(T::default()), body)
}

/// The body of a record.
pub(super) fn body<T: DeserializeOwned>(record: &Record) -> Result<T, StoreError> {
    serde_json::from_slice(&record.body).map_err(|error| StoreError::Damaged {
        kind: record.at.kind.as_str(),
        key: record.at.key.clone(),
        why: error.to_string(),
    })
}

/// Writes a body over what was read.
pub(super) fn put<T: Serialize>(
    at: RecordKey,
    before: Option<&Record>,
    body: &T,
    schedule: Option<Schedule>,
) -> Result<Write, StoreError> {
    let body = encode(&at, serde_json::to_vec(body))?;
    let what = Writing::Put { body, schedule, labels: BTreeMap::new() };
    Ok(Write { at, expect: expect(before), what })
}

/// Writes bytes that are somebody else's over what was read.
pub(super) fn put_bytes(at: RecordKey, before: Option<&Record>, body: Vec<u8>) -> Write {
    let what = Writing::Put { body, schedule: None, labels: BTreeMap::new() };
    Write { at, expect: expect(before), what }
}

/// Demands that the record is as it was read.
pub(super) fn guard(at: RecordKey, read: Option<&Record>) -> Write {
    Write { at, expect: expect(read), what: Writing::Guard }
}

/// Adds guards, each once: one record may be read for several decisions.
pub(super) fn add_guards(writes: &mut Vec<Write>, guards: impl IntoIterator<Item = Write>) {
    for guard in guards {
        if !writes.contains(&guard) {
            writes.push(guard);
        }
    }
}

/// What is expected of a record that was read so.
pub(super) fn expect(before: Option<&Record>) -> Expect {
    before.map_or(Expect::Absent, |record| Expect::Version(record.version))
}

pub(super) fn encode(at: &RecordKey, bytes: Result<Vec<u8>, serde_json::Error>) -> Result<Vec<u8>, StoreError> {
    bytes.map_err(|error| StoreError::Damaged {
        kind: at.kind.as_str(),
        key: at.key.clone(),
        why: format!("it has no stored form: {error}"),
    })
}

/// The record of an access as it is now.
pub(crate) fn write_access(access: &Access, expect: Expect) -> Result<Write, StoreError> {
    let at = access_key(access.tenant(), access.id());
    let body = encode(&at, access.to_bytes())?;
    let desk = |due| Schedule { lane: Lane::desk(), due, serial: format!("access:{}", access.id()) };
    let what = Writing::Put { body, schedule: access.desk_due().map(desk), labels: labels(access) };
    Ok(Write { at, expect, what })
}

/// The label of a holding with second looks to come, with the realm as its value.
pub(super) const WATCHED: &str = "watched";
/// The label of a holding with a dead-man, with the realm as its value.
pub(super) const ARMED: &str = "armed";

/// The record of a holding as it is now, due then. One that holds nothing any more stays, and is not due: deleted and made again it
/// would count its versions from 1 again, and who read it before would take the new one for the old.
pub(crate) fn write_holding(holding: &Holding, expect: Expect, due: Option<Time>) -> Result<Option<Write>, StoreError> {
    if expect == Expect::Absent && holding.is_empty() {
        return Ok(None);
    }
    let at = RecordKey::new(&holding.tenant, Kind::Holding, Holding::key(&holding.realm, &holding.account));
    let label = |name: &str, there: bool| there.then(|| (name.to_owned(), holding.realm.to_string()));
    let labels = [label(WATCHED, !holding.watched.is_empty()), label(ARMED, !holding.armed.is_empty())];
    let body = encode(&at, serde_json::to_vec(holding))?;
    let schedule = due.filter(|_| !holding.is_empty()).map(|due| holding.schedule(due));
    Ok(Some(Write {
        at,
        expect,
        what: Writing::Put { body, schedule, labels: labels.into_iter().flatten().collect() },
    }))
}

/// What [`crate::store::Store::page`] can ask for.
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
