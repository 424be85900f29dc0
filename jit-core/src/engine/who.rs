//! Who answers under a target's name: the server that it was, another run of it, or another one that calls itself the same.
//!
//! A system identifier or a uuid is in every copy too. So a realm has one running server at a time, known by its incarnation: what shows
//! another one is a later run of it, or another server, which is refused.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::core::Core;
use super::records::{RealmRecord, TargetRecord, body, body_or_default, realm_key, target_key};
use crate::database::{Database, Identity};
use crate::id::{TargetName, TenantId};
use crate::store::StoreError;

/// How long another target may take to show which server it leads to.
const SHOWS_WITHIN: Duration = Duration::from_secs(2);

/// What the server under a target's name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    /// The realm's server, in the run that is known, or in a later one of it; or the first of a realm that nobody knows yet.
    TheRealms,
    /// Another server: why it is taken for one, and what to do.
    Another(String),
}

/// Another target of the same realm, of any tenant that is configured here.
struct Other {
    mine: bool,
    target: TargetName,
    database: Arc<dyn Database>,
}

impl Core {
    /// Tells who answers under the target's name, where it shows an identity with the realm that the target has, or is to have.
    pub(super) async fn who_answers(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        database: &Arc<dyn Database>,
        found: &Identity,
    ) -> Result<Who, StoreError> {
        let known = self.store.read(&realm_key(tenant, &found.realm)).await?;
        let known: Option<RealmRecord> = known.as_ref().map(body).transpose()?;
        if known.as_ref().is_some_and(|known| known.incarnation == found.incarnation) {
            return Ok(Who::TheRealms);
        }
        let own: TargetRecord = body_or_default(self.store.read(&target_key(tenant, target)).await?.as_ref())?;
        let others = self.others(tenant, target, found).await?;
        let shown =
            join_all(others.iter().map(|other| self.tasks.within(SHOWS_WITHIN, other.database.identify()))).await;
        let mut seen = false;
        let mut silent = None;
        for (other, shown) in others.iter().zip(shown) {
            let name =
                if other.mine { format!("target `{}`", other.target) } else { "another tenant's target".to_owned() };
            match shown {
                Some(Ok(shown)) if shown == *found => seen = true,
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
        // names that lead to one server may have moved to its copy together
        let continues = |known: &RealmRecord| database.continues(&known.incarnation, &found.incarnation);
        if seen && known.as_ref().is_none_or(continues) {
            return Ok(Who::TheRealms);
        }
        let first = own.realm.as_ref() != Some(&found.realm);
        match (known, silent) {
            (_, Some(name)) if first => Ok(Who::Another(format!(
                "it shows the same identifier as {name} (`{}`), which does not answer now, so that nobody can tell whether the two are one \
                 server: bring that one up, or name its realm apart, by `realm = \"...\"` under the target",
                found.realm
            ))),
            (Some(known), _) if !continues(&known) => Ok(Who::Another(format!(
                "it calls itself `{}` and need not be the server that it was: it runs as `{}`, and ran as `{}`. It may be a copy. What is live \
                 on the server that it was stays overdue until that one answers again; if this is the same server or has its data (restored, \
                 failed over), run `jit target confirm {target} --same-data`",
                found.realm, found.incarnation, known.incarnation
            ))),
            _ => Ok(Who::TheRealms),
        }
    }

    /// Why the target's data cannot be taken for that of its realm: another target shows that the server that it was still runs.
    pub(super) async fn runs_elsewhere(
        &self,
        tenant: &TenantId,
        target: &TargetName,
        found: &Identity,
    ) -> Result<Option<String>, StoreError> {
        for other in self.others(tenant, target, found).await? {
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
                    "{name} still leads to the server that it was (`{}`): two servers are two; name this one's realm apart, by `realm = \"...\"`",
                    shown.incarnation
                )));
            }
        }
        Ok(None)
    }

    /// The other targets of the realm that are known to lead, or to have led, to its server.
    async fn others(&self, tenant: &TenantId, target: &TargetName, found: &Identity) -> Result<Vec<Other>, StoreError> {
        let mut others = Vec::new();
        for (whose, settings) in self.tenants() {
            for (name, database) in &settings.databases {
                if (&whose, name) == (tenant, target) {
                    continue;
                }
                let record = self.store.read(&target_key(&whose, name)).await?;
                let known: TargetRecord = body_or_default(record.as_ref())?;
                if known.realm.as_ref() == Some(&found.realm) && known.stranger.is_none() && known.copy.is_none() {
                    let (mine, target, database) = (whose == *tenant, name.clone(), Arc::clone(database));
                    others.push(Other { mine, target, database });
                }
            }
        }
        Ok(others)
    }
}
