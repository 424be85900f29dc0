//! Common beginning of nearly every law: an account, a role, the broker's adapter, and orders for
//! them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;

use super::world::{Act, Attempt, By, Login, Tried, UserSession, World};
use super::{Outcome, must};
use crate::clock::{SystemEntropy, Time, after};
use crate::database::{
    Call, Database, DatabaseError, DefaultRole, GrantOrder, Granted, Membership, MembershipScope, RevokeHow,
    RevokeOrder, RevokeReport, Seen,
};
use crate::id::{AccessId, Principal, RuleName};
use crate::model::approval::{Approval, Parties, Plan, Witness};
use crate::policy::{Prepared, Sessions, Stance};
use crate::store::BoxError;

/// An account that may get a role through the broker.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) world: Arc<dyn World>,
    pub(super) database: Arc<dyn Database>,
    pub(super) account: String,
    pub(super) role: String,
    access: AccessId,
    /// Default role that was there before the last grant.
    default_before: Mutex<Option<String>>,
}

impl Scene {
    pub(super) async fn new(world: Arc<dyn World>) -> Result<Self, BoxError> {
        let (account, role) = (world.fresh("alice"), world.fresh("orders_write"));
        Self::named(world, account, role).await
    }

    pub(super) async fn named(world: Arc<dyn World>, account: String, role: String) -> Result<Self, BoxError> {
        world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        world.act(Act::CreateRole { role: &role }).await?;
        let database = world.database(Login::Broker).await?;
        let access = AccessId::fresh(world.server_time().await?, &SystemEntropy);
        Ok(Self { world, database, account, role, access, default_before: Mutex::default() })
    }

    /// Makes one more account in the same world.
    pub(super) async fn another(&self, hint: &str) -> Result<String, BoxError> {
        let account = self.world.fresh(hint);
        self.world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        Ok(account)
    }

    pub(super) fn membership(&self) -> Result<Membership, BoxError> {
        self.subject_of(&self.account)
    }

    pub(super) fn subject_of(&self, account: &str) -> Result<Membership, BoxError> {
        Ok(Membership {
            account: self.database.account(account)?,
            account_id: None,
            role: self.database.role(&self.role)?,
            role_id: None,
        })
    }

    /// Returns the membership with the ids that the server shows now.
    pub(super) async fn subject_by_id(&self) -> Result<Membership, BoxError> {
        let seen = self.observe().await?;
        let mut membership = self.membership()?;
        (membership.account_id, membership.role_id) = (seen.account_id, seen.role_id);
        Ok(membership)
    }

    pub(super) fn order(
        &self,
        membership: Membership,
        scope: MembershipScope,
        not_after: Time,
    ) -> Result<GrantOrder, BoxError> {
        let witness = witness(self.access)?;
        Ok(GrantOrder::new(&witness, membership, scope, not_after))
    }

    pub(super) fn order_accepting(
        &self,
        not_after: Time,
        members: Stance,
        power: Stance,
    ) -> Result<GrantOrder, BoxError> {
        let membership = self.membership()?;
        Ok(GrantOrder::new(&witness(self.access)?, membership, MembershipScope::SetRole, not_after)
            .with_account_members(members)
            .with_can_grant(power))
    }

    pub(super) fn revoke_order(&self, membership: Membership, how: RevokeHow) -> RevokeOrder {
        let default_role = match how {
            RevokeHow::Remove => DefaultRole::Goes { back_to: self.before().clone() },
            RevokeHow::Narrow | RevokeHow::Nothing => DefaultRole::Stays,
        };
        let (sessions, prepared) = (Sessions::End, Prepared::Report);
        RevokeOrder { access: self.access, membership, how, sessions, prepared, default_role }
    }

    /// Returns a deadline that leaves enough time.
    pub(super) async fn soon(&self) -> Result<Time, BoxError> {
        Ok(after(self.world.server_time().await?, TimeDelta::seconds(60)))
    }

    pub(super) async fn observe(&self) -> Result<Seen, BoxError> {
        self.observe_subject(self.membership()?).await
    }

    pub(super) async fn observe_subject(&self, membership: Membership) -> Result<Seen, BoxError> {
        let observation = self.database.observe(&[membership]).await?;
        only(observation.seen)
    }

    /// Returns the account as the adapter writes it.
    pub(super) fn canonical(&self, account: &str) -> String {
        self.database.account(account).map_or_else(|error| error.to_string(), |account| account.as_str().to_owned())
    }

    fn before(&self) -> MutexGuard<'_, Option<String>> {
        self.default_before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) async fn grant(&self, scope: MembershipScope) -> Result<Granted, BoxError> {
        let before = self.observe().await?.default_roles.into_iter().find(|role| *role != self.role);
        if before.is_some() {
            *self.before() = before;
        }
        let order = self.order(self.membership()?, scope, self.soon().await?)?;
        Ok(self.send_grant(order).await??)
    }

    pub(super) async fn send_grant(&self, order: GrantOrder) -> Result<Result<Granted, DatabaseError>, BoxError> {
        only(self.database.grant(&call("g"), &[order]).await)
    }

    pub(super) async fn revoke(&self, how: RevokeHow) -> Result<RevokeReport, BoxError> {
        self.send_revoke(self.revoke_order(self.membership()?, how)).await
    }

    pub(super) async fn send_revoke(&self, order: RevokeOrder) -> Result<RevokeReport, BoxError> {
        Ok(only(self.database.revoke(&call("r"), &[order]).await)??)
    }

    pub(super) async fn session(&self) -> Result<Box<dyn UserSession>, BoxError> {
        self.world.session(&self.account).await
    }

    /// Adds a membership by some grantor, behind this system's back.
    pub(super) async fn standing(&self, by: By) -> Outcome {
        let (role, to) = (&self.role, &self.account);
        self.world.act(Act::Grant { role, to, by, scope: MembershipScope::SetRole, admin: false }).await
    }

    /// Counts the account's rows in the role, as an administrator reads them.
    pub(super) async fn rows(&self) -> Result<usize, BoxError> {
        let rows = self.world.members(&self.role).await?;
        Ok(rows.iter().filter(|row| row.member == self.account).count())
    }

    /// Checks that a new session of the account can, or cannot, use the role without `SET ROLE`.
    pub(super) async fn usable(&self, expected: Tried) -> Outcome {
        let mut session = self.session().await?;
        expect(&mut session, Attempt::Write(&self.role), expected).await
    }
}

/// Checks that an attempt has the expected result.
pub(super) async fn expect(session: &mut Box<dyn UserSession>, what: Attempt<'_>, expected: Tried) -> Outcome {
    let tried = session.attempt(what).await?;
    must(tried == expected, format!("{what:?} in session {}: {tried:?} instead of {expected:?}", session.id()))
}

/// Returns the only element of the list.
pub(super) fn only<T>(all: Vec<T>) -> Result<T, BoxError> {
    let count = all.len();
    let mut all = all.into_iter();
    match (all.next(), all.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(format!("{count} answers to one order").into()),
    }
}

/// Makes a call with a fresh label and enough time.
pub(super) fn call(what: &str) -> Call {
    call_within(what, Duration::from_secs(40))
}

/// Makes a call with a fresh label and this limit.
pub(super) fn call_within(what: &str, limit: Duration) -> Call {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    Call { label: format!("jit/law/{}/{what}{number}", std::process::id()), limit, server: None, store: None }
}

/// Makes the proof of an approval that demands nothing, for tests of an adapter. The state machine
/// makes it, as always (law 1).
///
/// # Errors
/// Fails only if the state machine is broken.
pub fn witness(access: AccessId) -> Result<Witness, BoxError> {
    let (requester, grantee) = (Principal::new("alice")?, Principal::new("alice")?);
    let plan = Plan::new(RuleName::new("law")?, "", TimeDelta::hours(1));
    Approval::new(access, Parties { requester, grantee }, plan, Time::UNIX_EPOCH)
        .witness()
        .ok_or_else(|| "no witness".into())
}
