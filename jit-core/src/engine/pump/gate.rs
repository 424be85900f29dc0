//! Checks before a grant: what `jit doctor` says must be fixed first prevents the grant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::observe::{ObserveOrder, Purpose};
use super::realm::Pass;
use crate::clock::to_std;
use crate::database::{Check, DatabaseError, Rejection, Severity};
use crate::id::{RoleName, TargetName, TenantId};
use crate::model::access::Access;
use crate::policy::Sessions;

/// Time for which a check without findings counts.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Names of checks about sessions that cannot be seen or ended. They do not matter to a rule that
/// keeps sessions.
const OF_SESSIONS: [&str; 3] = ["signal-backend", "process", "view-sessions"];

/// Roles of targets that were checked without findings.
#[derive(Debug, Default)]
pub(super) struct Checked(Mutex<BTreeMap<(TenantId, TargetName), (String, Roles)>>);

type Roles = BTreeMap<RoleName, Instant>;

impl Checked {
    /// Checks whether the role was found in order within the last minute, in this incarnation of
    /// the server.
    fn is_good(&self, at: &(TenantId, TargetName), incarnation: &str, role: &RoleName) -> bool {
        let all = self.lock();
        let known = all.get(at).filter(|(of, _)| of == incarnation).and_then(|(_, roles)| roles.get(role));
        known.is_some_and(|checked| checked.elapsed() < GOOD_FOR)
    }

    #[expect(clippy::disallowed_methods, reason = "it limits how often this process looks")]
    fn good(&self, at: (TenantId, TargetName), incarnation: &str, role: RoleName) {
        let mut all = self.lock();
        let (of, roles) = all.entry(at).or_default();
        if of != incarnation {
            (*of, *roles) = (incarnation.to_owned(), Roles::new());
        }
        roles.insert(role, Instant::now());
    }

    /// Forgets what was found of the target.
    pub(super) fn forget(&self, tenant: &TenantId, target: &TargetName) {
        self.lock().remove(&(tenant.clone(), target.clone()));
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<(TenantId, TargetName), (String, Roles)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Findings of checks about roles that are about to be granted; roles in order are left out.
pub(super) type Findings = BTreeMap<RoleName, Result<Vec<Check>, String>>;

impl Pass<'_> {
    /// Checks the roles that are about to be granted, unless that was done within the last minute.
    pub(super) async fn check(&self, orders: &[ObserveOrder]) -> Findings {
        let Some(work) = self.accounts.first() else { return Findings::new() };
        let at = (work.holding.tenant.clone(), self.target.clone());
        let begins = orders.iter().filter(|order| matches!(order.purpose, Purpose::Grant(_)));
        let roles: BTreeSet<&RoleName> = begins.map(|order| &order.membership.role).collect();
        let unknown = roles.into_iter().filter(|role| !self.pump.checked.is_good(&at, &self.server.incarnation, role));
        let limit = to_std(self.core.limits.call);
        let checks = unknown.map(|role| async move {
            let checked = self.core.tasks.within(limit, self.database.check(std::slice::from_ref(role))).await;
            let found = match checked {
                Some(Ok(checks)) => {
                    Ok(checks.into_iter().filter(|check| check.severity == Severity::Refusal).collect::<Vec<Check>>())
                }
                Some(Err(error)) => Err(error.with_causes()),
                None => Err("the database did not answer in time".to_owned()),
            };
            (role.clone(), found)
        });
        let mut findings = Findings::new();
        for (role, checks) in futures_util::future::join_all(checks).await {
            match checks {
                Ok(none) if none.is_empty() => self.pump.checked.good(at.clone(), &self.server.incarnation, role),
                other => drop(findings.insert(role, other)),
            }
        }
        findings
    }

    /// Returns the reason why the access may not be granted, by the findings about its role and its
    /// realm.
    pub(super) fn refused(&self, access: &Access) -> Option<DatabaseError> {
        if let Some(why) = &self.doubted {
            return Some(DatabaseError::rejected(Rejection::Other, why.clone()));
        }
        let checks = match self.findings.get(&access.request().role)? {
            Ok(checks) => checks,
            Err(why) => {
                let why = format!("whether the broker can do its work could not be checked: {why}");
                return Some(DatabaseError::not_applied(why));
            }
        };
        let keeps = access.approval().plan().handling.sessions == Sessions::Keep;
        let check = checks.iter().find(|check| !(keeps && OF_SESSIONS.contains(&check.about.what.as_str())))?;
        let remedy = check.remedy.as_ref().map_or_else(String::new, |remedy| format!("; to fix it: {remedy}"));
        let why = format!("{}{remedy}", check.message);
        Some(match check.about.what.as_str() {
            // this passes, as after a failover
            "read-only" => DatabaseError::not_applied(why),
            "role" => DatabaseError::rejected(Rejection::NoSuchRole, why),
            _ => DatabaseError::rejected(Rejection::PrivilegeMissing, why),
        })
    }
}
