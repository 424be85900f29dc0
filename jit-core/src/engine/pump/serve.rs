//! One pass through one target: its server is identified first, and its answer noted last.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::Pump;
use super::account_work::AccountWork;
use super::answers::Ready;
use super::breaker::Breaker;
use super::capability::no_dead_mans_switch;
use super::gate::Findings;
use super::realm::{Pass, Served, Stage};
use crate::audit_event::{AuditEvent, EventKind};
use crate::database::{DatabaseError, Identity};
use crate::engine::repository::unit_of_work::UnitOfWork;
use crate::engine::tenant::Tenant;
use crate::id::{TargetName, TenantId};
use crate::store::{Claim, Lane, StoreError};

impl Pump {
    /// Runs one pass over accounts of one tenant through one target. Returns the reason if the
    /// server did not answer.
    #[tracing::instrument(
        level = "debug",
        skip_all,
        fields(%tenant, %target, realm = accounts.first().map(|work| work.holding.realm.as_str()))
    )]
    pub(super) async fn serve(
        self: &Arc<Self>,
        lane: &Lane,
        tenant: &TenantId,
        target: &TargetName,
        accounts: Vec<AccountWork>,
        stage: Stage,
        known: Option<String>,
    ) -> Result<Option<String>, StoreError> {
        let Ok(settings) = self.core.tenant(tenant) else { return Ok(None) };
        let Ok(database) = settings.database(target) else { return Ok(None) };
        let label = self.label();
        let Some(realm) = accounts.first().map(|work| work.holding.realm.clone()) else { return Ok(None) };
        let ready = match known {
            Some(why) => Err(DatabaseError::unreachable(why)),
            None => self.ready(lane, tenant, &settings, target, &realm, database).await?,
        };
        let (incarnation, doubted) = match &ready {
            Ok(Ready { incarnation, doubted }) => (incarnation.clone(), doubted.clone()),
            Err(_) => (String::new(), None),
        };
        let server = Identity { realm: realm.clone(), incarnation, position: String::new() };
        let dead_mans_switch = match (&ready, stage) {
            (Ok(_), Stage::All) => self.dead_mans_switch(tenant, target, database).await,
            // an end does not wait for what only a grant has to know
            (Ok(_), Stage::Ends) => self.known_dead_mans_switch(tenant, target),
            (Err(_), _) => no_dead_mans_switch("it does not answer"),
        };
        let claims: Vec<Claim> = accounts.iter().map(|work| work.claim.clone()).collect();
        let held = self.in_hand.take(format!("target `{target}`: {} accounts", claims.len()), claims);
        let mut pass = Pass {
            pump: self,
            core: &self.core,
            settings: &settings,
            database,
            accounts,
            target: target.clone(),
            dead_mans_switch,
            label,
            server,
            stage,
            hung: AtomicBool::new(false),
            findings: Findings::new(),
            doubted,
            theirs: Vec::new(),
            held,
        };
        let served = match ready {
            Ok(_) => pass.run().await?,
            Err(error) => pass.unreachable(&error).await?,
        };
        match served {
            Served::Answered { restarted } => {
                if let Err(error) = self.core.keep_position(tenant, &realm, false).await {
                    tracing::debug!(%error, "the server's position could not be stored; trying again later");
                }
                if let Some(since) = self.breaker(lane, Breaker::answered) {
                    let audit_event =
                        AuditEvent::new(EventKind::TargetBack).with("target", target.as_str()).with("lost_at", since);
                    self.tell(tenant, &settings, audit_event).await?;
                }
                if restarted {
                    self.breaker(lane, |breaker| breaker.forget(tenant, target));
                    // if it does not answer now, it has to before it is sent anything
                    let _ = self.ready(lane, tenant, &settings, target, &realm, database).await?;
                }
                Ok(None)
            }
            Served::Unreachable(why) => {
                self.lost(lane, tenant, &settings, target, &why).await?;
                Ok(Some(why))
            }
        }
    }

    /// Notes that the server did not answer; that is logged if it is new.
    async fn lost(
        &self,
        lane: &Lane,
        tenant: &TenantId,
        settings: &Tenant,
        target: &TargetName,
        why: &str,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let news = self.breaker(lane, |breaker| {
            breaker.lost(tenant, target, now);
            breaker.failed(now)
        });
        if news {
            let audit_event = AuditEvent::new(EventKind::TargetLost).with("target", target.as_str()).with("why", why);
            self.tell(tenant, settings, audit_event).await?;
        }
        Ok(())
    }

    /// Logs an event that is about no access.
    pub(super) async fn tell(
        &self,
        tenant: &TenantId,
        settings: &Tenant,
        audit_event: AuditEvent,
    ) -> Result<(), StoreError> {
        let now = self.core.store.now().await?;
        let mut unit_of_work = UnitOfWork::new(&self.core, tenant, settings, None, now);
        unit_of_work.audit(audit_event);
        unit_of_work.commit().await.map(|_| ())
    }
}
