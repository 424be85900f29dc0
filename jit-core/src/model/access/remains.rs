//! Recovery from a record that is not believed: the role that it may have given is taken away
//! (laws 1 and 4).

use std::collections::BTreeSet;

use chrono::TimeDelta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Access, Phase};
use crate::audit_event::{AuditEvent, EventKind};
use crate::catalog::Membership;
use crate::clock::{Time, after};
use crate::handling::{Activation, DeadMansSwitchPolicy, Leftovers, MembershipScope, Prepared, Sessions, Stance};
use crate::id::{AccessId, RealmId, RuleName, TenantId};
use crate::model::approval::{Approval, Handling, Limits, Plan, Requirement, Stage};
use crate::model::grant::{Cause, EndEvidence, Grant, Intent, OVERDUE_AFTER, Revoking};
use crate::model::request::Request;

/// An access that is not believed and whose role may be held. It can only end.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Access that is ending.
    pub access: Access,
    /// Audit event of the ending.
    pub audit_event: AuditEvent,
}

/// Parts of a record that are needed to revoke its role, each as far as it is readable.
#[derive(Deserialize)]
pub(super) struct Remains {
    id: AccessId,
    tenant: TenantId,
    #[serde(default)]
    realm: Option<RealmId>,
    request: Request,
    #[serde(default)]
    approval: Value,
    phase: Value,
}

impl Remains {
    /// Returns the access that has to end. None if nothing was sent to the database for it, or its
    /// end was verified.
    pub(super) fn ending(self, why: &str, now: Time) -> Option<Ending> {
        let grant = self.phase.get("approved")?;
        match grant.get("is")?.as_str()? {
            "granting" | "active" | "revoking" => {}
            "revoked" | "failed" if part::<Cause>(grant, "cause") != Some(Cause::Standing) => {
                if part::<EndEvidence>(grant, "evidence").is_some() {
                    return None;
                }
            }
            _ => return None,
        }
        let by_name = || Membership {
            account: self.request.account.clone(),
            account_id: None,
            role: self.request.role.clone(),
            role_id: None,
        };
        let revoking = Revoking {
            membership: part(grant, "subject").unwrap_or_else(by_name),
            cause: Cause::Damaged,
            why: Some(why.to_owned()),
            since: now,
            window: part(grant, "window"),
            unsettled: part::<Intent>(grant, "intent").or_else(|| part(grant, "unsettled")),
            untouched: false,
            failures: 0,
            retry_at: now,
            alert_at: after(now, OVERDUE_AFTER),
            last_error: None,
        };
        let plan = part(&self.approval, "plan").or_else(unmeetable)?;
        // no decision is believed: only the handling of the end is taken from the plan
        let approval = Approval::new(self.id, self.request.parties.clone(), plan, now);
        let phase = Phase::Approved(Grant::Revoking(revoking));
        let access = Access::begun(self.id, self.tenant, self.realm, self.request, approval, phase);
        let audit_event = AuditEvent::new(EventKind::Revoking).with("cause", Cause::Damaged.as_str()).with("why", why);
        Some(Ending { access, audit_event })
    }
}

fn part<T: DeserializeOwned>(whole: &Value, name: &str) -> Option<T> {
    serde_json::from_value(whole.get(name)?.clone()).ok()
}

/// Returns a stand-in for a plan that cannot be read. Nobody can satisfy it, and its end is the
/// most thorough one.
fn unmeetable() -> Option<Plan> {
    let none = TimeDelta::zero();
    Some(Plan {
        rule: RuleName::new("unreadable").ok()?,
        policy: String::new(),
        stages: vec![Stage { people: vec![Requirement::Any(Vec::new())], ..Stage::default() }],
        notify: BTreeSet::new(),
        break_glass: None,
        limits: Limits { max: none, max_total: none, decide_by: none, start_within: none, grant_within: none },
        handling: Handling {
            sessions: Sessions::End,
            set_role: MembershipScope::SetRole,
            account_members: Stance::Refused,
            prepared: Prepared::Report,
            can_grant: Stance::Refused,
            activation: Activation::Default,
            dead_mans_switch: DeadMansSwitchPolicy::default(),
            leftovers: Leftovers::default(),
        },
    })
}
