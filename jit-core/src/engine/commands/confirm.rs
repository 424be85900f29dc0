//! Confirmation of a target that has changed, and the fate of what is live on its old server.

use std::collections::BTreeSet;

use crate::actor::Actor;
use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, after, span, to_std};
use crate::database::{Continuity, Grantor, Identity, Membership, Seen};
use crate::engine::Jit;
use crate::engine::core::Core;
use crate::engine::error::JitError;
use crate::engine::repository::attempt::{Attempt, until_committed};
use crate::engine::repository::records::{
    RealmRecord, RoleOwner, TargetRecord, body, expect, put, realm_key, role_owner_key,
};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::tenant::Tenant;
use crate::engine::view::AccessView;
use crate::id::{AccessId, Account, RealmId, TargetName, TenantId};
use crate::model::access::{Access, Event};
use crate::model::grant::Grant;
use crate::model::holding::{Holding, by_name};
use crate::policy::Action;
use crate::store::{Expect, Kind, PageQuery, Record, RecordKey, StoreError};

/// Accesses that are live on the server that a target led to before, and not on the one that
/// answers now.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Elsewhere {
    /// Accesses and their places. Each is overdue once its window has closed, until that server
    /// answers again or is retired.
    pub accesses: Vec<AccessView>,
    /// True if the server that answers now shows the old one's data. It listens at the same place,
    /// was started later, and holds every membership that was granted there.
    pub same_data: bool,
}

impl Jit {
    /// Returns what is live in another realm than the one that answers under the target's name now.
    ///
    /// # Errors
    /// [`JitError::Database`] if the target does not answer.
    pub async fn live_elsewhere(&self, name: &TargetName) -> Result<Elsewhere, JitError> {
        let settings = self.core.tenant(&self.tenant)?;
        let database = settings.database(name)?;
        let found = database.identify().await?;
        let elsewhere = self.core.elsewhere(&self.tenant, name, &found.realm).await?;
        let mut same_data = !elsewhere.is_empty();
        let realms: BTreeSet<&RealmId> = elsewhere.iter().filter_map(Access::realm).collect();
        for realm in realms {
            let known = self.core.store.read(&realm_key(&self.tenant, realm)).await?;
            let known: Option<RealmRecord> = known.as_ref().map(body).transpose()?;
            same_data &= known.is_some_and(|known| {
                let continues = database.continues(&known.seen(realm), &found);
                matches!(continues, Continuity::Same | Continuity::Restarted)
            });
        }
        let granted: Vec<Membership> =
            elsewhere.iter().filter_map(|access| access.grant()?.membership().map(by_name)).collect();
        same_data = same_data && !granted.is_empty() && {
            let ours = |seen: &Seen| seen.direct.iter().any(|grant| !matches!(grant.grantor, Grantor::Other(_)));
            // a look that fails shows nothing, and what is live is listed all the same
            database.observe(&granted).await.is_ok_and(|look| {
                look.identity.realm == found.realm && look.seen.len() == granted.len() && look.seen.iter().all(ours)
            })
        };
        let now = self.core.store.now().await?;
        let accesses = elsewhere.iter().map(|access| AccessView::of(access, now)).collect();
        Ok(Elsewhere { accesses, same_data })
    }

    /// Confirms the target as it is now, with the same data as the old server: restored, failed
    /// over, or upgraded. Returns the number of accesses that moved.
    ///
    /// What is live there goes on here: it is looked up by name, and ends here in time.
    ///
    /// # Errors
    /// [`JitError::NotAllowed`] if no `[[may]]` rule allows it, [`JitError::Database`] if the
    /// target does not answer, [`JitError::TargetRefused`] if another target still leads to the old
    /// server.
    #[tracing::instrument(skip_all, fields(tenant = %self.tenant, target = %name))]
    pub async fn confirm_same_data(&self, actor: &Actor, name: &TargetName) -> Result<usize, JitError> {
        let settings = self.acting(actor).await?.settings;
        self.core.permit(&settings, actor, Action::Retire, Some(name), None).await?;
        let found = settings.database(name)?.identify().await?;
        if let Some(why) = self.core.runs_elsewhere(&self.tenant, name, &found, false).await? {
            return Err(JitError::refused_target(name, why, ""));
        }
        let audit_event = AuditEvent::new(EventKind::TargetConfirmed)
            .with("target", name.as_str())
            .with("realm", found.realm.as_str())
            .with("incarnation", found.incarnation.as_str())
            .with("same_data", true);
        let realm = found.realm.clone();
        let confirm = move |record: &mut TargetRecord| {
            *record = TargetRecord { realm: Some(realm.clone()), ..TargetRecord::default() };
        };
        self.on_target(&settings, actor, name, audit_event, confirm).await?;
        self.core.looked(&self.tenant, &found.realm).await?;
        self.lanes.confirmed(&self.tenant, &settings, name, &found).await?;
        let elsewhere = self.core.elsewhere(&self.tenant, name, &found.realm).await?;
        for access in &elsewhere {
            self.core.carry(&settings, actor, name, access.id(), &found).await?;
        }
        self.core.carry_looks(&settings, actor, name, &found).await?;
        self.lanes.registered(&self.tenant, name);
        self.core.contact_now(&self.tenant, name).await?;
        Ok(elsewhere.len())
    }
}

impl Core {
    /// Moves one access, and its place, to the realm that has its data now. Ids of the old server
    /// mean nothing there, but names do.
    async fn carry(
        &self,
        settings: &Tenant,
        actor: &Actor,
        target: &TargetName,
        id: AccessId,
        to: &Identity,
    ) -> Result<(), JitError> {
        let tenant = &actor.tenant;
        until_committed!(async {
            let now = self.store.now().await?;
            let before = self.load(tenant, id, now).await?;
            if let Some(Grant::Granting(granting)) = before.access.grant()
                && let over = after(granting.intent.at, self.limits.claim)
                && now < over
            {
                // its statement may be on its way to the old server, and must be known of there
                self.tasks.pause(to_std(span(now, over))).await;
                return Ok(Attempt::Overtaken);
            }
            let Some(from) = before.access.realm().filter(|from| **from != to.realm).cloned() else {
                return Ok(Attempt::Done(()));
            };
            let account = before.access.request().account.clone();
            let owner_key = role_owner_key(&to.realm, &before.access.request().role);
            let keys = [place(tenant, &from, &account), place(tenant, &to.realm, &account), owner_key.clone()];
            let read = self.store.read_all(&keys).await?;
            let at = |place: usize| read.get(place).and_then(Option::as_ref);
            let event = Event::Moved(to.realm.clone());
            let step = before.access.handle(event, now).map_err(|refused| refused.why)?;
            let mut old = held(at(0), tenant, &from, &account)?;
            let mut new = held(at(1), tenant, &to.realm, &account)?;
            old.carry(&mut new, &before.access, target, now);
            let mut unit_of_work = UnitOfWork::new(self, tenant, settings, Some(actor), now);
            match at(2).map(body::<RoleOwner>).transpose()? {
                None => {
                    unit_of_work.change.writes.push(put(owner_key, None, &RoleOwner { tenant: tenant.clone() }, None)?)
                }
                Some(owner) if owner.tenant != *tenant => {
                    return Err(JitError::of_another_tenant(target, &before.access.request().role));
                }
                Some(_) => {}
            }
            unit_of_work.access(&step.access, Expect::Version(before.version), &step.audit_events)?;
            write_places(&mut unit_of_work, (&old, at(0)), (&new, at(1)), now)?;
            Ok(unit_of_work.attempt().await?)
        })
    }

    /// Moves second looks, and memberships to be taken away, in the same way. It moves them from
    /// every earlier realm of the target, even if nothing is live there.
    async fn carry_looks(
        &self,
        settings: &Tenant,
        actor: &Actor,
        target: &TargetName,
        to: &Identity,
    ) -> Result<(), JitError> {
        let tenant = &actor.tenant;
        let mut after = None;
        loop {
            let ask = PageQuery { tenant: tenant.clone(), kind: Kind::Holding, label: None, after, limit: 512 };
            let page = self.store.page(&ask).await?;
            for record in &page {
                let Holding { realm, account, watched, orphans, .. } = body(record)?;
                let mut targets =
                    watched.iter().map(|watch| &watch.target).chain(orphans.iter().map(|one| &one.target));
                if realm != to.realm && targets.any(|of| of == target) {
                    self.carry_looks_of(settings, actor, target, &account, &realm, to).await?;
                }
            }
            after = page.last().map(|record| record.at.key.clone());
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn carry_looks_of(
        &self,
        settings: &Tenant,
        actor: &Actor,
        target: &TargetName,
        account: &Account,
        from: &RealmId,
        to: &Identity,
    ) -> Result<(), JitError> {
        let tenant = &actor.tenant;
        until_committed!(async {
            let keys = [place(tenant, from, account), place(tenant, &to.realm, account)];
            let read = self.store.read_all(&keys).await?;
            let at = |place: usize| read.get(place).and_then(Option::as_ref);
            let Some(mut old) = at(0).map(body::<Holding>).transpose()? else {
                return Ok(Attempt::Done(()));
            };
            let mut new = held(at(1), tenant, &to.realm, account)?;
            let now = self.store.now().await?;
            if !old.carry_looks(&mut new, target, now) {
                return Ok(Attempt::Done(()));
            }
            let mut unit_of_work = UnitOfWork::new(self, tenant, settings, Some(actor), now);
            write_places(&mut unit_of_work, (&old, at(0)), (&new, at(1)), now)?;
            Ok(unit_of_work.attempt().await?)
        })
    }
}

/// Returns the key of the account's holding in the realm.
fn place(tenant: &TenantId, realm: &RealmId, account: &Account) -> RecordKey {
    RecordKey::new(tenant, Kind::Holding, Holding::key(realm, account))
}

/// Decodes the account's holding in the realm from its record.
fn held(record: Option<&Record>, tenant: &TenantId, realm: &RealmId, account: &Account) -> Result<Holding, StoreError> {
    record.map_or_else(|| Ok(Holding::new(tenant.clone(), realm.clone(), account.clone())), body)
}

/// Writes both places. What is left in the old one is due as before, and what came to the new one
/// is looked at now.
fn write_places(
    unit_of_work: &mut UnitOfWork<'_>,
    (old, was): (&Holding, Option<&Record>),
    (new, is): (&Holding, Option<&Record>),
    now: Time,
) -> Result<(), StoreError> {
    let due = was.and_then(|record| record.schedule.as_ref()).map(|schedule| schedule.due);
    unit_of_work.holding(old, expect(was), due)?;
    unit_of_work.holding(new, expect(is), Some(now))
}
