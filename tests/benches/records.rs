//! Active accesses that are written into a store, without a grant on any server.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use chrono::TimeDelta;
use jit_core::clock::{SystemEntropy, Time};
use jit_core::database::{Membership, ObjectId};
use jit_core::id::{Account, RealmId, RoleName, TargetName};
use jit_core::store::{Change, Store};
use jit_core::testkit::live;

/// Number of records in one commit.
const AT_ONCE: usize = 2_000;

/// An active access, with its window.
#[derive(Debug)]
pub struct Live<'a> {
    pub target: &'a TargetName,
    pub realm: &'a RealmId,
    pub membership: Membership,
    pub since: Time,
    pub duration: TimeDelta,
}

/// Writes all of them into the store.
pub async fn write<'a>(store: &impl Store, all: impl IntoIterator<Item = Result<Live<'a>>>) -> Result<()> {
    let mut change = Change::default();
    for one in all {
        let Live { target, realm, membership, since, duration } = one?;
        let writes = live::active(target, realm, membership, since, duration, &SystemEntropy);
        change.writes.extend(writes.map_err(|error| anyhow!("{error}"))?);
        if change.writes.len() >= AT_ONCE {
            store.commit(std::mem::take(&mut change)).await?;
        }
    }
    store.commit(change).await?;
    Ok(())
}

/// Returns this membership with the ids by which the server knows account and role.
pub fn membership(ids: &BTreeMap<String, u32>, account: &str, role: &str) -> Result<Membership> {
    let id = |name: &str| ids.get(name).map(|id| ObjectId(id.to_string()));
    let mut membership = Membership::new(Account::new(account)?, RoleName::new(role)?);
    (membership.account_id, membership.role_id) = (id(account), id(role));
    Ok(membership)
}
