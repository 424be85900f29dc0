//! Live accesses without a database, for stores that have to hold a million of them.

use chrono::TimeDelta;

use crate::clock::{Entropy, Time, after};
use crate::database::{Granted, Identity, Membership, ObjectId, Seen};
use crate::engine::repository::records::{write_access, write_holding};
use crate::id::{AccessId, Principal, RealmId, RuleName, TargetName, TenantId};
use crate::model::access::{Access, Event};
use crate::model::approval::{Parties, Plan};
use crate::model::holding::{Holding, judge};
use crate::model::request::Request;
use crate::store::{BoxError, Expect, Write};

/// Returns the writes that put one active access into a store, made by running the state machines.
/// The account asked for the role and got it at `since`, for this duration, under a rule without
/// stages.
///
/// With a database, the membership has the ids by which it knows account and role. Without one,
/// their names stand for the ids.
///
/// # Errors
/// Returns an error if one of the names is not valid.
pub fn active(
    target: &TargetName,
    realm: &RealmId,
    membership: Membership,
    since: Time,
    duration: TimeDelta,
    entropy: &dyn Entropy,
) -> Result<Vec<Write>, BoxError> {
    let tenant = TenantId::default();
    let Membership { account, account_id, role, role_id } = membership;
    let principal = Principal::new(account.as_str())?;
    let request = Request {
        target: target.clone(),
        role: role.clone(),
        parties: Parties { requester: principal.clone(), grantee: principal },
        account: account.clone(),
        duration,
        start: None,
        reason: "testkit".to_owned(),
        ticket: None,
        asked_at: since,
        break_glass: false,
    };
    let id = AccessId::fresh(since, entropy);
    let access = Access::new(
        id,
        tenant.clone(),
        Some(realm.clone()),
        request,
        Plan::new(RuleName::new("testkit")?, "", TimeDelta::hours(24)),
        since,
    );
    let membership = Membership { account: account.clone(), account_id: None, role: role.clone(), role_id: None };
    let seen = Seen {
        account_id: account_id.or_else(|| Some(ObjectId(account.to_string()))),
        account_exists: true,
        role_id: role_id.or_else(|| Some(ObjectId(role.to_string()))),
        role_exists: true,
        ..Seen::default()
    };
    let clear = judge(&access, &[&access], &seen, &membership, "testkit", after(since, TimeDelta::seconds(4)))?;
    let access = access.handle(Event::BeginGrant(clear), since).map_err(|refused| refused.why)?.access;
    let identity = Identity { realm: realm.clone(), incarnation: "testkit".to_owned(), position: String::new() };
    let granted = Granted { server_time: since, identity };
    let access = access.handle(Event::Granted(granted), since).map_err(|refused| refused.why)?.access;
    let mut holding = Holding::new(tenant, realm.clone(), account);
    holding.live.insert(id);
    let due = holding.due([&access]);
    let mut writes = vec![write_access(&access, Expect::Absent)?];
    writes.extend(write_holding(&holding, Expect::Absent, due)?);
    Ok(writes)
}
