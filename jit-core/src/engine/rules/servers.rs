//! Identity check of the server that answers under a target's name: the known server, another run
//! of it, or another server with the same identifier.
//!
//! Every copy of a server has the same system identifier or uuid. So a realm has one running server
//! at a time, known by its incarnation. A server with another incarnation is either a later run of
//! the known one or another server, which is refused. A later run has everything that was seen: its
//! log continues from the position seen last, and what was granted is there. An earlier copy in its
//! place lacks some of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;

use crate::audit_event::{AuditEvent, EventKind};
use crate::clock::{Time, span, to_std};
use crate::database::{Continuity, Database, Identity, Membership, is_declared};
use crate::engine::core::Core;
use crate::engine::repository::records::{
    RealmRecord, TargetRecord, body, body_or_default, put, realm_key, target_key,
};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::id::{RealmId, TargetName, TenantId};
use crate::model::access::Access;
use crate::model::grant::Grant;
use crate::model::holding::Holding;
use crate::store::{Change, Kind, RecordKey, StoreError};

/// Limit for another target to show which server it leads to.
pub(in crate::engine) const SHOWS_WITHIN: Duration = Duration::from_secs(2);

/// Number of accesses that are looked for on a restarted server.
const MOST_LOOKED_FOR: usize = 256;
/// Shortest time between two records of a server's log position.
const KEPT_EVERY: TimeDelta = TimeDelta::seconds(1);

/// Finding about the server under a target's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine) enum Who {
    /// The realm's server, in the known run or a later one, or the first server of an unknown
    /// realm.
    TheRealms,
    /// The realm's server in the known run, while another target of the declared realm showed
    /// another server at the same time. What was granted there ends there, and nothing is granted
    /// until an operator has looked. The text says why.
    Doubted(String),
    /// Another server: the text says why it is taken for one, and what to do.
    Another(String),
}

impl Who {
    /// Returns the reason why nothing may be granted there.
    pub(in crate::engine) fn refused(&self) -> Option<&str> {
        match self {
            Self::TheRealms => None,
            Self::Doubted(why) | Self::Another(why) => Some(why),
        }
    }
}

/// Log positions up to which this process saw the realms' servers. Tracking costs nothing; the
/// positions are stored now and then.
#[derive(Debug, Default)]
pub(in crate::engine) struct LastSeen(Mutex<BTreeMap<(TenantId, RealmId), Shown>>);

#[derive(Debug, Clone)]
struct Shown {
    identity: Identity,
    kept: Option<Time>,
}

impl LastSeen {
    /// Notes that the realm's server answered.
    pub(in crate::engine) fn saw(&self, tenant: &TenantId, identity: &Identity) {
        let mut all = self.lock();
        let shown = all.entry((tenant.clone(), identity.realm.clone()));
        let shown = shown.or_insert_with(|| Shown { identity: identity.clone(), kept: None });
        // an answer without a position leaves the position that was seen
        if shown.identity != *identity || !identity.position.is_empty() {
            shown.identity = identity.clone();
        }
    }

    fn last(&self, tenant: &TenantId, realm: &RealmId) -> Option<Identity> {
        self.lock().get(&(tenant.clone(), realm.clone())).map(|shown| shown.identity.clone())
    }

    /// Returns the realms whose servers answered.
    fn realms(&self) -> Vec<(TenantId, RealmId)> {
        self.lock().keys().cloned().collect()
    }

    /// Returns the identity to store now, unless that was done a moment ago.
    fn to_keep(&self, tenant: &TenantId, realm: &RealmId, now: Time, always: bool) -> Option<Identity> {
        let mut all = self.lock();
        let shown = all.get_mut(&(tenant.clone(), realm.clone()))?;
        if !always && shown.kept.is_some_and(|kept| span(kept, now) < KEPT_EVERY) {
            return None;
        }
        shown.kept = Some(now);
        Some(shown.identity.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(TenantId, RealmId), Shown>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Another target of the same realm, of any tenant that is configured here.
struct Other {
    mine: bool,
    target: TargetName,
    database: Arc<dyn Database>,
    /// Last state of the realm's server that the target's tenant knows.
    known: Option<RealmRecord>,
}

impl Other {
    /// Checks whether another tenant's target shows the server that its tenant knows, while that is
    /// no later run of our server. Such a target says nothing about ours: no tenant can keep
    /// another's server from being recognised. A tenant that has not looked since a restart knows
    /// an earlier run of it.
    fn is_apart(&self, shown: &Identity, ours: Option<&RealmRecord>) -> bool {
        let may_be = |known: &RealmRecord| {
            let continues = self.database.continues(&known.seen(&shown.realm), shown);
            known.incarnation == shown.incarnation || matches!(continues, Continuity::Same | Continuity::Restarted)
        };
        !self.mine && self.known.as_ref().is_some_and(may_be) && ours.is_some_and(|ours| !may_be(ours))
    }
}

impl Core {
    /// Identifies the server that answers under the target's name. Its identity shows the realm
    /// that the target has, or is to have.
    pub(in crate::engine) async fn who_answers(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        database: &Arc<dyn Database>,
        found: &Identity,
    ) -> Result<Who, StoreError> {
        let known = self.store.read(&realm_key(tenant, &found.realm)).await?;
        let known: Option<RealmRecord> = known.as_ref().map(body).transpose()?;
        let same = known.as_ref().is_some_and(|known| known.incarnation == found.incarnation);
        let same = same && !self.went_back(tenant, database, known.as_ref(), found).await;
        match known.as_ref().and_then(|known| known.doubted.clone()) {
            Some(why) if same => return Ok(Who::Doubted(why)),
            Some(why) => return Ok(Who::Another(why)),
            None if same => return Ok(Who::TheRealms),
            None => {}
        }
        let own: TargetRecord = body_or_default(self.store.read(&target_key(tenant, target)).await?.as_ref())?;
        let others = self.others(tenant, target, found, false).await?;
        let shown =
            join_all(others.iter().map(|other| self.tasks.within(SHOWS_WITHIN, other.database.identify()))).await;
        let mut seen = false;
        let mut silent = None;
        for (other, shown) in others.iter().zip(shown) {
            let name =
                if other.mine { format!("target `{}`", other.target) } else { "another tenant's target".to_owned() };
            match shown {
                Some(Ok(shown)) if shown == *found => seen = true,
                Some(Ok(shown)) if shown.realm == found.realm && other.is_apart(&shown, known.as_ref()) => {}
                Some(Ok(shown)) if shown.realm == found.realm && is_declared(&found.realm) => {
                    let why = format!(
                        "target `{target}` (it runs as `{}`) and {name} (it runs as `{}`) are two servers, and both are declared to be realm \
                         `{}`: name one of them apart, by another `realm = \"...\"`, or put its URL right; then confirm both (`Jit::confirm_target`, or `jit target confirm`)",
                        found.incarnation, shown.incarnation, found.realm
                    );
                    if other.mine {
                        self.doubt(tenant, other, found, &why).await?;
                    }
                    return Ok(Who::Another(why));
                }
                Some(Ok(shown)) if shown.realm == found.realm => {
                    return Ok(Who::Another(format!(
                        "it shows the same identifier as {name} (`{}`) and is another server: it runs as `{}`, and that one as `{}`. \
                         One is a copy of the other; name its realm apart, by `realm = \"...\"` under the target",
                        found.realm, found.incarnation, shown.incarnation
                    )));
                }
                Some(_) | None => silent = Some(name),
            }
        }
        let first = own.realm.as_ref() != Some(&found.realm);
        match (known, silent) {
            (_, Some(name)) if first && !seen => Ok(Who::Another(format!(
                "it shows the same identifier as {name} (`{}`), which does not answer now, so that nobody can tell whether the two are one \
                 server: bring that one up, or name its realm apart, by `realm = \"...\"` under the target",
                found.realm
            ))),
            // names that lead to one server may have moved to its copy together: that another shows
            // it too proves nothing
            (Some(known), _) => {
                let was = known.seen(&found.realm);
                Ok(match self.not_it(tenant, database, &was, found).await? {
                    None => Who::TheRealms,
                    Some(why) => Who::Another(format!(
                        "it calls itself `{}` and may not be the same server as before: {why} (it runs as `{}`, and ran as `{}`). It may be a copy. \
                         What is live on the server that it was stays overdue until that one answers again; if this is the same server or has its \
                         data (restored, failed over), confirm that it has the same data (`Jit::confirm_same_data`, or `jit target confirm {target} --same-data`)",
                        found.realm, found.incarnation, was.incarnation
                    )),
                })
            }
            (None, _) => Ok(Who::TheRealms),
        }
    }

    /// Checks whether a server lacks what the one of the same incarnation was seen to have. Some
    /// servers say when they were started in whole seconds only: a copy that starts within the same
    /// second has the incarnation of its original.
    async fn went_back(
        &self,
        tenant: &TenantId,
        database: &Arc<dyn Database>,
        known: Option<&RealmRecord>,
        found: &Identity,
    ) -> bool {
        let seen = [known.map(|known| known.seen(&found.realm)), self.last_seen.last(tenant, &found.realm)];
        let lacks = |now: &Identity| {
            let mut same = seen.iter().flatten().filter(|was| *was == now);
            same.any(|was| matches!(database.continues(was, now), Continuity::Other(_)))
        };
        if !lacks(found) {
            return false;
        }
        // it may have been identified before what was seen since then
        match self.tasks.within(SHOWS_WITHIN, database.identify()).await {
            Some(Ok(now)) => lacks(&now),
            _ => true,
        }
    }

    /// Returns the reason why a server may not be a later run of the one that was seen; none if it
    /// is one.
    async fn not_it(
        &self,
        tenant: &TenantId,
        database: &Arc<dyn Database>,
        was: &Identity,
        found: &Identity,
    ) -> Result<Option<String>, StoreError> {
        // this process may have seen more than is stored
        let last = self.last_seen.last(tenant, &found.realm).filter(|last| last == was);
        let mut restarted = false;
        for was in [Some(was), last.as_ref()].into_iter().flatten() {
            match database.continues(was, found) {
                Continuity::Same => {}
                Continuity::Restarted => restarted = true,
                Continuity::Unclear(why) | Continuity::Other(why) => return Ok(Some(why)),
            }
        }
        if restarted { self.lacks(tenant, database, found).await } else { Ok(None) }
    }

    /// Checks whether a server can be the one that this process saw last in its realm, by what both
    /// say. True if this process saw none.
    pub(in crate::engine) fn may_be(&self, tenant: &TenantId, database: &Arc<dyn Database>, found: &Identity) -> bool {
        let last = self.last_seen.last(tenant, &found.realm).filter(|last| last != found);
        let continues = last.map(|last| database.continues(&last, found));
        !matches!(continues, Some(Continuity::Unclear(_) | Continuity::Other(_)))
    }

    /// Names a grant of the realm that is missing although nobody was to take it yet.
    async fn lacks(
        &self,
        tenant: &TenantId,
        database: &Arc<dyn Database>,
        found: &Identity,
    ) -> Result<Option<String>, StoreError> {
        let now = self.store.now().await?;
        let there = |access: &Access| access.realm() == Some(&found.realm);
        let mut granted: Vec<(Access, Membership)> = Vec::new();
        for access in self.open_where(tenant, there).await? {
            // since this time the role may have been taken: by its dead man's switch, or by a
            // revoke of ours
            let taken = match access.grant() {
                Some(Grant::Active(active)) => active.window.end(),
                Some(Grant::Revoking(revoking)) if revoking.unsettled.is_none() && !revoking.untouched => {
                    revoking.since
                }
                _ => continue,
            };
            let Some(membership) = access.grant().and_then(Grant::membership).cloned() else { continue };
            if taken <= now {
                let key = Holding::key(&found.realm, &access.request().account);
                let record = self.store.read(&RecordKey::new(tenant, Kind::Holding, key)).await?;
                let holding: Option<Holding> = record.as_ref().map(body).transpose()?;
                let may_be = |holding: Holding| {
                    holding.dead_mans_switch(&membership).is_some()
                        || holding.quiet_until.is_some_and(|told| told >= taken)
                };
                if holding.is_none_or(may_be) {
                    continue;
                }
            }
            granted.push((access, membership));
            if granted.len() == MOST_LOOKED_FOR {
                break;
            }
        }
        if granted.is_empty() {
            return Ok(None);
        }
        let memberships: Vec<Membership> = granted.iter().map(|(_, membership)| membership.clone()).collect();
        let observation = match self.tasks.within(to_std(self.limits.call), database.observe(&memberships)).await {
            Some(Ok(observation)) if observation.identity == *found => observation,
            Some(Ok(_)) => return Ok(Some("it changes from one answer to the next".to_owned())),
            Some(Err(error)) => {
                return Ok(Some(format!("what was granted there cannot be seen: {}", error.with_causes())));
            }
            None => return Ok(Some("what was granted there cannot be seen in time".to_owned())),
        };
        // an account or a role that is missing, or has another name, says nothing
        let missing = granted.iter().zip(&observation.seen).find(|(_, seen)| {
            seen.account_exists && seen.role_exists && seen.account_renamed.is_none() && seen.direct.is_empty()
        });
        Ok(missing.map(|((access, membership), _)| {
            format!("role `{}`, which was granted there by {}, is not there", membership.role, access.id())
        }))
    }

    /// Records that two targets of a declared realm show two servers: nothing is granted there
    /// until an operator has looked.
    async fn doubt(&self, tenant: &TenantId, other: &Other, found: &Identity, why: &str) -> Result<(), StoreError> {
        let key = realm_key(tenant, &found.realm);
        let (Some(record), Ok(settings)) = (self.store.read(&key).await?, self.tenant(tenant)) else { return Ok(()) };
        let known: RealmRecord = body(&record)?;
        let next = RealmRecord { doubted: Some(why.to_owned()), ..known };
        let mut unit_of_work = UnitOfWork::new(self, tenant, &settings, None, self.store.now().await?);
        unit_of_work.change.writes.push(put(key, Some(&record), &next, None)?);
        let audit_event = AuditEvent::new(EventKind::TargetRefused).with("target", other.target.as_str());
        unit_of_work.audit(audit_event.with("answers_as", found.realm.as_str()).with("why", why));
        match unit_of_work.commit().await {
            // somebody else was faster, and found the same
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Clears the doubt about the realm, because an operator has looked.
    pub(in crate::engine) async fn looked(&self, tenant: &TenantId, realm: &RealmId) -> Result<(), StoreError> {
        loop {
            let key = realm_key(tenant, realm);
            let Some(record) = self.store.read(&key).await? else { return Ok(()) };
            let known: RealmRecord = body(&record)?;
            if known.doubted.is_none() {
                return Ok(());
            }
            let write = put(key, Some(&record), &RealmRecord { doubted: None, ..known }, None)?;
            match self.store.commit(Change { writes: vec![write], ..Change::default() }).await {
                Err(StoreError::Conflict { .. }) => {}
                done => return done.map(|_| ()),
            }
        }
    }

    /// Stores the log positions of all servers that were seen, before this process forgets them.
    pub(in crate::engine) async fn keep_positions(&self) {
        for (tenant, realm) in self.last_seen.realms() {
            if let Err(error) = self.keep_position(&tenant, &realm, true).await {
                tracing::warn!(%error, %realm, "the position of its server could not be stored");
            }
        }
    }

    /// Stores the log position of the realm's server; without `always` only if that was not just
    /// done.
    pub(in crate::engine) async fn keep_position(
        &self,
        tenant: &TenantId,
        realm: &RealmId,
        always: bool,
    ) -> Result<(), StoreError> {
        let now = self.store.now().await?;
        let Some(shown) = self.last_seen.to_keep(tenant, realm, now, always) else { return Ok(()) };
        let key = realm_key(tenant, realm);
        let Some(record) = self.store.read(&key).await? else { return Ok(()) };
        let known: RealmRecord = body(&record)?;
        if known.seen(realm) != shown || known.position == shown.position || shown.position.is_empty() {
            return Ok(());
        }
        let write = put(key, Some(&record), &RealmRecord { position: shown.position, ..known }, None)?;
        match self.store.commit(Change { writes: vec![write], ..Change::default() }).await {
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the reason why the target's data cannot be taken for its realm's: another target
    /// shows that the old server still runs. With `all`, also asks targets that nobody has
    /// contacted yet.
    pub(in crate::engine) async fn runs_elsewhere(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        found: &Identity,
        all: bool,
    ) -> Result<Option<String>, StoreError> {
        for other in self.others(tenant, target, found, all).await? {
            let shown = self.tasks.within(SHOWS_WITHIN, other.database.identify()).await;
            if let Some(Ok(shown)) = shown
                && shown.realm == found.realm
                && shown.incarnation != found.incarnation
            {
                let name = if other.mine {
                    format!("target `{}`", other.target)
                } else {
                    "another tenant's target".to_owned()
                };
                return Ok(Some(format!(
                    "{name} shows the same name for its realm and is another server (it runs as `{}`): name one of them apart, by `realm = \"...\"` under the target",
                    shown.incarnation
                )));
            }
        }
        Ok(None)
    }

    /// Returns the other targets of the realm that lead, or led, to its server. With `all`, also
    /// those of which nothing is known.
    async fn others(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        found: &Identity,
        all: bool,
    ) -> Result<Vec<Other>, StoreError> {
        let mut others = Vec::new();
        for (whose, settings) in self.tenants() {
            for (name, database) in &settings.databases {
                if (&whose, name) == (tenant, target) {
                    continue;
                }
                let record = self.store.read(&target_key(&whose, name)).await?;
                let known: TargetRecord = body_or_default(record.as_ref())?;
                let leads = known.realm.as_ref() == Some(&found.realm) || all && known.realm.is_none();
                if leads && known.stranger.is_none() && known.copy.is_none() {
                    let (mine, target, database) = (whose == *tenant, name.clone(), Arc::clone(database));
                    let realm = self.store.read(&realm_key(&whose, &found.realm)).await?;
                    let known: Option<RealmRecord> = realm.as_ref().map(body).transpose()?;
                    others.push(Other { mine, target, database, known });
                }
            }
        }
        Ok(others)
    }
}
