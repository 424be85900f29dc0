//! Manual comparison of a realm's memberships with the store.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::actor::Actor;
use crate::audit_event::{AuditEvent, EventKind};
use crate::database::{Database, DatabaseError, Grantor, Holder, Identity, Membership, OfTheBroker};
use crate::engine::Jit;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::attempt::{Attempt, until_committed};
use crate::engine::repository::loaded;
use crate::engine::repository::records::{TargetRecord, body, body_or_default, expect, target_key};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::rules::servers::Who;
use crate::engine::tenant::Tenant;
use crate::id::{AccessId, Account, RealmId, RoleName, StoreId, TargetName};
use crate::model::access::{Access, Event};
use crate::model::grant::{Cause, Grant};
use crate::model::holding::Holding;
use crate::policy::Action;
use crate::store::{Kind, PageQuery, RecordKey};

/// Number of memberships that one call looks at.
const AT_ONCE: usize = 1_000;

/// Action to take on differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reconcile {
    /// Report the differences only.
    Report,
    /// End what vanished, and take away what our broker granted and no access accounts for.
    /// Standing memberships stay (law 6).
    Enforce,
}

/// Difference between a realm and the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Drift {
    /// Membership that is not ours: nothing is done about it (law 6).
    Standing {
        /// Account that holds it.
        account: Account,
        /// Role that is held.
        role: RoleName,
        /// Grantor, if the server says it.
        grantor: String,
    },
    /// Membership that our broker granted and no live access accounts for.
    Orphaned {
        /// Account that holds it.
        account: Account,
        /// Role that is held.
        role: RoleName,
    },
    /// Membership that another store with the same broker accounts for: nothing is done about it.
    OfAnotherStore {
        /// Account that holds it.
        account: Account,
        /// Role that is held.
        role: RoleName,
        /// Store that accounts for it.
        store: StoreId,
    },
    /// Membership by which the broker's own login can use a role: nothing is done about it.
    UsableByBroker {
        /// Account of the broker.
        account: Account,
        /// Role that is held.
        role: RoleName,
        /// Grantor, if the server says it.
        grantor: String,
    },
    /// Live access whose membership is missing in the database.
    Vanished {
        /// Id of the access.
        access: AccessId,
        /// Account that should hold it.
        account: Account,
        /// Role that should be held.
        role: RoleName,
    },
}

impl Jit {
    /// Compares all requestable roles' memberships in the target's realm with the store.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] if no `[[may]]` rule allows it, [`JitError::Database`] if the
    /// target does not answer.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, target = %target, realm = tracing::field::Empty))]
    pub async fn reconcile(&self, actor: &Actor, target: &TargetName, mode: Reconcile) -> Result<Vec<Drift>, JitError> {
        let settings = self.acting(actor).await?.settings;
        self.core.permit(&settings, actor, Action::Reconcile, Some(target), None).await?;
        let database = settings.database(target)?;
        let identity = database.identify().await?;
        let known: TargetRecord =
            body_or_default(self.core.store.read(&target_key(&self.tenant, target)).await?.as_ref())?;
        let realm = known.realm.unwrap_or_else(|| identity.realm.clone());
        tracing::Span::current().record("realm", realm.as_str());
        if realm != identity.realm {
            let why = format!("it was `{realm}` and answers as `{}`", identity.realm);
            return Err(JitError::refused_target(target, why, ""));
        }
        if let Who::Another(why) = self.core.who_answers(&self.tenant, target, database, &identity).await? {
            return Err(JitError::refused_target(target, why, ""));
        }
        let (mut roles, mut others) = (Vec::new(), Vec::new());
        for role in settings.policy.requestable(target).await? {
            let role = database.role(role.as_str())?;
            // what another tenant's accesses hold there is nobody's business here (law 13)
            if self.core.owns(&self.tenant, &realm, &role).await? {
                roles.push(role);
            }
        }
        // the store is read before the realm: what is granted in between is known, or not held yet
        let live = self.live_in(&realm).await?;
        let seen = database.holders(&roles).await?;
        let OfTheBroker { identity: answered, granted, usable } = database.of_the_broker().await?;
        if let Some(other) = answered.iter().chain([&seen.identity]).find(|other| **other != identity) {
            return Err(DatabaseError::another_server(&identity, other).into());
        }
        let mut holders = seen.holders;
        for holder in granted {
            // roles of the policy are known already, and another tenant's roles are theirs to
            // report
            if !roles.contains(&holder.role) && self.core.owns(&self.tenant, &realm, &holder.role).await? {
                others.push(holder);
            }
        }
        holders.append(&mut others);
        let live_now = self.live_in(&realm).await?;
        let mut drifts = compare(&live, &live_now, &holders);
        name_other_stores(&**database, &identity, &mut drifts).await?;
        for holder in &usable {
            if self.core.owns(&self.tenant, &realm, &holder.role).await? {
                drifts.push((usable_by_broker(holder), None));
            }
        }
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, &self.tenant, &settings, Some(actor), now);
        unit_of_work.audit(
            AuditEvent::new(EventKind::Reconciled)
                .with("target", target.as_str())
                .with("found", drifts.iter().map(|(drift, _)| told(drift)).collect::<Vec<String>>())
                .with("enforced", mode == Reconcile::Enforce),
        );
        unit_of_work.commit().await?;
        if mode == Reconcile::Enforce {
            for (drift, holder) in &drifts {
                self.enforce(&settings, actor, target, &realm, drift, *holder).await?;
            }
        }
        Ok(drifts.into_iter().map(|(drift, _)| drift).collect())
    }

    /// Returns all live accesses of this tenant in the realm.
    async fn live_in(&self, realm: &RealmId) -> Result<Vec<Access>, JitError> {
        let mut live = Vec::new();
        let mut after = None;
        loop {
            let label = Some(("open".to_owned(), "yes".to_owned()));
            let ask = PageQuery { tenant: self.tenant.clone(), kind: Kind::Access, label, after, limit: 1_024 };
            let page = self.core.store.page(&ask).await?;
            let now = self.core.store.now().await?;
            for record in &page {
                match loaded(record, now).map(|loaded| loaded.access) {
                    Ok(access) => {
                        if access.realm() == Some(realm) && access.grant().is_some_and(Grant::is_live) {
                            live.push(access);
                        }
                    }
                    // nothing of it is live, or what is live will be found in the realm
                    Err(error) => tracing::error!(%error, "an access cannot be read and is left out of the comparison"),
                }
            }
            after = page.last().map(|record| record.at.key.clone());
            if after.is_none() {
                return Ok(live);
            }
        }
    }

    async fn enforce(
        &self,
        settings: &Tenant,
        actor: &Actor,
        target: &TargetName,
        realm: &RealmId,
        drift: &Drift,
        holder: Option<&Holder>,
    ) -> Result<(), JitError> {
        match (drift, holder) {
            (Drift::Vanished { access, .. }, _) => {
                let why = Some("the membership was no longer in the database".to_owned());
                let event = Event::End { cause: Cause::Vanished, by: Some(actor.principal.clone()), why };
                self.core.change(settings, &self.tenant, *access, event).await.map(|_| ())
            }
            (Drift::Orphaned { .. }, Some(holder)) => {
                self.core.order_away(settings, actor, target, realm, holder).await
            }
            _ => Ok(()),
        }
    }
}

impl Core {
    /// Orders the pump to take away a membership that no access accounts for.
    async fn order_away(
        &self,
        settings: &Tenant,
        actor: &Actor,
        target: &TargetName,
        realm: &RealmId,
        holder: &Holder,
    ) -> Result<(), JitError> {
        let tenant = &actor.tenant;
        until_committed!(async {
            let at = RecordKey::new(tenant, Kind::Holding, Holding::key(realm, &holder.account));
            let record = self.store.read(&at).await?;
            let mut holding: Holding = match &record {
                Some(record) => body(record)?,
                None => Holding::new(tenant.clone(), realm.clone(), holder.account.clone()),
            };
            let now = self.store.now().await?;
            if !holding.order_away(target.clone(), subject_of(holder), now) {
                return Ok(Attempt::Done(()));
            }
            let mut unit_of_work = UnitOfWork::new(self, tenant, settings, Some(actor), now);
            unit_of_work.audit(
                AuditEvent::new(EventKind::Revoking)
                    .with("orphaned", true)
                    .with("target", target.as_str())
                    .with("account", holder.account.as_str())
                    .with("role", holder.role.as_str()),
            );
            unit_of_work.holding(&holding, expect(record.as_ref()), Some(now))?;
            Ok(unit_of_work.attempt().await?)
        })
    }
}

/// Returns the differences, each with the holder that it is about.
fn compare<'h>(live: &[Access], live_now: &[Access], holders: &'h [Holder]) -> Vec<(Drift, Option<&'h Holder>)> {
    let mut drifts = Vec::new();
    let same = |access: &Access, holder: &Holder| {
        let Some(membership) = access.grant().and_then(Grant::membership) else { return false };
        let account = match (&membership.account_id, &holder.account_id) {
            (Some(one), Some(two)) => one == two,
            _ => membership.account == holder.account,
        };
        let role = match (&membership.role_id, &holder.role_id) {
            (Some(one), Some(two)) => one == two,
            _ => membership.role == holder.role,
        };
        account && role
    };
    for holder in holders {
        let ours = live.iter().chain(live_now).any(|access| same(access, holder));
        let (account, role) = (holder.account.clone(), holder.role.clone());
        match (&holder.grant.grantor, ours) {
            (Grantor::Broker | Grantor::Unknown, true) => {}
            (Grantor::Broker, false) => drifts.push((Drift::Orphaned { account, role }, Some(holder))),
            (Grantor::Unknown, false) => {
                let grantor = "not recorded by this server".to_owned();
                drifts.push((Drift::Standing { account, role, grantor }, Some(holder)));
            }
            (Grantor::Other(grantor), _) => {
                let grantor = grantor.clone();
                drifts.push((Drift::Standing { account, role, grantor }, Some(holder)));
            }
        }
    }
    let still: BTreeMap<AccessId, &Access> = live_now.iter().map(|access| (access.id(), access)).collect();
    for access in live {
        let active = |access: &Access| matches!(access.grant(), Some(Grant::Active(_)));
        let is_still = still.get(&access.id()).is_some_and(|now| active(now));
        let held =
            holders.iter().any(|holder| !matches!(holder.grant.grantor, Grantor::Other(_)) && same(access, holder));
        if active(access) && is_still && !held {
            let request = access.request();
            let (account, role) = (request.account.clone(), request.role.clone());
            drifts.push((Drift::Vanished { access: access.id(), account, role }, None));
        }
    }
    drifts
}

/// Finds memberships that another store accounts for. It recognises them by that store's mark,
/// which only the broker can have made.
async fn name_other_stores(
    database: &dyn Database,
    server: &Identity,
    drifts: &mut [(Drift, Option<&Holder>)],
) -> Result<(), JitError> {
    for some in drifts.chunks_mut(AT_ONCE) {
        let is_asked = |holder: &&Holder| !matches!(holder.grant.grantor, Grantor::Other(_));
        let asked: Vec<&mut (Drift, Option<&Holder>)> =
            some.iter_mut().filter(|(_, holder)| holder.as_ref().is_some_and(is_asked)).collect();
        let memberships: Vec<Membership> = asked.iter().filter_map(|(_, holder)| holder.map(subject_of)).collect();
        if memberships.is_empty() {
            continue;
        }
        let observation = database.observe(&memberships).await?;
        if observation.identity != *server {
            return Err(DatabaseError::another_server(server, &observation.identity).into());
        }
        for ((drift, _), (membership, seen)) in asked.into_iter().zip(memberships.into_iter().zip(observation.seen)) {
            if let Some(store) = seen.marked_by {
                *drift = Drift::OfAnotherStore { account: membership.account, role: membership.role, store };
            }
        }
    }
    Ok(())
}

fn subject_of(holder: &Holder) -> Membership {
    Membership {
        account: holder.account.clone(),
        account_id: holder.account_id.clone(),
        role: holder.role.clone(),
        role_id: holder.role_id.clone(),
    }
}

fn usable_by_broker(holder: &Holder) -> Drift {
    let grantor = match &holder.grant.grantor {
        Grantor::Broker => "the broker itself".to_owned(),
        Grantor::Other(grantor) => grantor.clone(),
        Grantor::Unknown => "not recorded by this server".to_owned(),
    };
    Drift::UsableByBroker { account: holder.account.clone(), role: holder.role.clone(), grantor }
}

fn told(drift: &Drift) -> String {
    match drift {
        Drift::Standing { account, role, grantor } => format!("standing: `{account}` in `{role}`, by {grantor}"),
        Drift::Orphaned { account, role } => format!("orphaned: `{account}` in `{role}`"),
        Drift::OfAnotherStore { account, role, store } => {
            format!("of another store: `{account}` in `{role}`, by store `{store}`")
        }
        Drift::UsableByBroker { account, role, grantor } => {
            format!("usable by the broker: `{account}` in `{role}`, by {grantor}")
        }
        Drift::Vanished { access, account, role } => format!("vanished: `{account}` in `{role}` ({access})"),
    }
}
