//! Laws about statements: what may be sent to a database, and what it does there.

use chrono::TimeDelta;

use super::records::HoldingRecord;
use super::{Lawful, Oracle, broken};
use crate::steps::is_second;
use jit_core::clock::{Time, after, span};
use jit_core::database::{GrantOrder, Membership, ObjectId, RevokeHow, RevokeOrder};
use jit_core::store::Record;

/// A statement on its way to a server.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    tenant: Option<String>,
    pub(crate) server: usize,
    /// Server that it went to, whichever server it is meant for.
    at: usize,
    pub(crate) account: String,
    pub(crate) role: String,
    pub(crate) label: String,
    /// Id of the access, if it is a grant.
    pub(crate) grants: Option<String>,
    /// Time after which the server refuses it, by the server's own clock.
    pub(crate) not_after: Option<Time>,
    /// Flag: it has reached the server and waits there.
    pub(crate) arrived: bool,
    /// Flag: it was ended, or came to its end.
    pub(crate) over: bool,
    /// Flag: the store has lost its intent, so nobody can know of it.
    pub(super) forgotten: bool,
}

impl Sent {
    /// Checks whether the statement is about this membership.
    pub(super) fn is_about(&self, server: usize, role: &str, account: &str) -> bool {
        (self.server, self.role.as_str(), self.account.as_str()) == (server, role, account)
    }
}

/// Sender of a statement.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sender {
    pub(crate) node: usize,
    pub(crate) boot: u64,
    /// Server that it is meant for.
    pub(crate) server: usize,
    /// Server that answers the call.
    pub(crate) at: usize,
    pub(crate) now: Time,
}

/// Time after a pause for which a node may work on what it claimed before.
const STALE: TimeDelta = TimeDelta::seconds(60);
/// Suffix of the labels of calls that are sent without a claim (law 3's exception).
const AHEAD: &str = ".ahead";
/// Time for which a node may take the store as failing after a failure: a suspended machine does
/// not count the suspension.
const FAILED: TimeDelta = TimeDelta::hours(2);
/// Largest age of the knowledge of a node without the store: it reads a minute ahead.
const UNHEARD: TimeDelta = TimeDelta::seconds(65);
/// Distance from the observed server time to a `not_after` that the engine sets.
const CALL: TimeDelta = TimeDelta::seconds(4);

impl Oracle {
    /// Checks whether a statement can still have an effect.
    pub(super) fn may_arrive(&self, sent: &Sent) -> bool {
        let late = |not_after: Time| self.servers.get(sent.server).is_none_or(|server| server.now() > not_after);
        // another server refuses it
        sent.at == sent.server && !sent.over && !sent.forgotten && (sent.arrived || !sent.not_after.is_some_and(late))
    }

    /// Records a grant that is about to be sent, and checks it.
    pub(crate) fn sends_grant(&mut self, by: Sender, label: &str, order: &GrantOrder) -> Result<u64, super::Violation> {
        let id = order.access().to_string();
        // a label ends calls, so no other start of a node may use it
        let first = *self.labels.entry(label.to_owned()).or_insert((by.node, by.boot));
        if first != (by.node, by.boot) {
            return Err(broken(15, format!("`{label}` is the label of two starts of node {}", by.node)));
        }
        let membership = order.membership();
        let (account, role) = (membership.account.as_str(), membership.role.as_str());
        let Some(case) = self.cases.get(&id) else {
            return Err(broken(1, format!("a grant for {id}, which is not in the store")));
        };
        let Some(intent) = case.intents.iter().find(|intent| intent.label == label) else {
            return Err(broken(3, format!("a grant for {id} is sent as `{label}`, and no intent says so")));
        };
        if order.not_after() > intent.not_after {
            return Err(broken(3, format!("a grant for {id} may arrive later than its intent says")));
        }
        if self.too_late.contains(&(id.clone(), label.to_owned())) {
            return Err(broken(
                1,
                format!("a grant for {id} is sent, which was not allowed any more when it was intended"),
            ));
        }
        if !case.is_about(by.server, account, role) {
            return Err(broken(1, format!("a grant for {id} is about `{role}` for `{account}`")));
        }
        let fresh = self.claimed(by, account)?;
        let held = (by.server, role.to_owned(), account.to_owned());
        if fresh {
            self.is_armed(&id, case, &held, by.now)?;
        }
        // an access that was given back since its intent is revoked right after
        if fresh && !matches!(case.state.as_str(), "granting" | "revoking") {
            return Err(broken(3, format!("a grant for {id} is sent, which is {}", case.state)));
        }
        let observed = after(order.not_after(), TimeDelta::zero().checked_sub(&CALL).unwrap_or_default());
        // without a recorded grantor, a grant by hand that came after ours was taken by hand cannot
        // be told from ours
        let alike = is_second(by.server) && !self.others(&id, by.server, account, role).is_empty();
        // a renamed account is not found by its old name
        let found = membership.account_id.is_some() || self.servers.get(by.server).is_some_and(|it| it.has(account));
        if let Some(since) = self.standing.get(&held).filter(|since| **since < observed && !alike && found) {
            return Err(broken(6, format!("`{role}` is granted to `{account}`, who holds it since {since}")));
        }
        if fresh {
            self.serial(by.server, account, label, &id, true)?;
        }
        Ok(self.sent((by, account, role), label, &id, true, Some(order.not_after())))
    }

    /// Records a revoke that is about to be sent, and checks it.
    pub(crate) fn sends_revoke(
        &mut self,
        by: Sender,
        label: &str,
        order: &RevokeOrder,
        holdings: &[Record],
    ) -> Result<u64, super::Violation> {
        let id = order.access.to_string();
        let (account, role) = (order.membership.account.as_str(), order.membership.role.as_str());
        if label.ends_with(AHEAD) {
            self.ends_ahead(by, &id, order)?;
            return Ok(self.sent((by, account, role), label, &id, false, None));
        }
        let fresh = self.claimed(by, account)?;
        match self.cases.get(&id) {
            Some(case) if !case.ever_revoking => {
                return Err(broken(3, format!("a revoke for {id} is sent, which is {}", case.state)));
            }
            Some(case) if fresh && case.state != "revoking" => {
                return Err(broken(3, format!("a revoke for {id} is sent, which is {}", case.state)));
            }
            Some(_) => {}
            None if fresh => {
                let mut found =
                    holdings.iter().filter_map(|record| serde_json::from_slice::<HoldingRecord>(&record.body).ok());
                let ordered = found.any(|found| found.orphans.iter().any(|orphan| orphan.membership.role == role));
                if !ordered {
                    return Err(broken(6, format!("`{role}` is taken from `{account}` on nobody's behalf")));
                }
            }
            None => {}
        }
        if fresh {
            let arriving = self.statements.values().find(|sent| {
                sent.grants.is_some()
                    && (sent.server, sent.account.as_str(), sent.role.as_str()) == (by.server, account, role)
                    && self.may_arrive(sent)
            });
            if let Some(sent) = arriving {
                let why = format!("`{role}` is taken from `{account}` while `{}` may still give it", sent.label);
                return Err(broken(15, why));
            }
            // an access that was granted to a missing account needs nothing from the present
            // account of that name: the account was dropped, or an operator confirmed a copy from
            // before the account was made
            let wanted = self.others(&id, by.server, account, role).into_iter().find(|(_, other)| {
                matches!(other.state.as_str(), "granting" | "active")
                    && !self.is_missing(by.server, other.account_id.as_ref())
            });
            let dropped = self.is_of_nobody(by.server, &order.membership);
            if let (RevokeHow::Remove, Some((other, _)), false) = (order.how, wanted, dropped) {
                return Err(broken(7, format!("`{role}` is taken from `{account}`, and {other} wants it")));
            }
            self.serial(by.server, account, label, &id, false)?;
        }
        Ok(self.sent((by, account, role), label, &id, false, None))
    }

    /// Checks whether the account is missing on the server, whoever has its name there now.
    pub(crate) fn is_of_nobody(&self, server: usize, membership: &Membership) -> bool {
        self.is_missing(server, membership.account_id.as_ref())
    }

    /// Checks whether the account is found on the server: by its id, or by its name if no id is
    /// known.
    pub(crate) fn finds(&self, server: usize, membership: &Membership) -> bool {
        let Some(server) = self.servers.get(server) else { return false };
        membership.account_id.as_ref().map_or_else(|| server.has(membership.account.as_str()), |id| server.has_id(id))
    }

    /// Checks whether the server has no account of this id. Without an id, the answer is always no.
    pub(super) fn is_missing(&self, server: usize, account: Option<&ObjectId>) -> bool {
        account.zip(self.servers.get(server)).is_some_and(|(id, server)| !server.has_id(id))
    }

    /// Checks law 3's exception: a revoke without intent and claim is allowed only while the store
    /// fails, and only for an access that is over.
    fn ends_ahead(&self, by: Sender, id: &str, order: &RevokeOrder) -> Lawful {
        let failed = self.store_failed.get(by.node).copied().flatten();
        // the store has not answered a node that was suspended in the middle of a question
        let suspended = self.stale_since.get(by.node).copied().flatten();
        let woke = suspended.is_some_and(|suspended| span(suspended, by.now) < STALE);
        if !woke && failed.is_none_or(|failed| span(failed, by.now) > FAILED) {
            return Err(broken(3, format!("{id} is ended without an intent, and the store works")));
        }
        let unheard = |(end, at): &(Time, Time)| *end <= by.now && span(*at, by.now) < UNHEARD;
        // the same holds for news from before a suspension: no time passes on a suspended node
        let unheard = |put_off: &(Time, Time)| {
            unheard(put_off) || put_off.0 <= by.now && suspended.is_some_and(|suspended| suspended >= put_off.1)
        };
        // an access that is being revoked has its intent in the store already
        let over = |case: &super::Case| {
            case.state == "revoking"
                || case.window.as_ref().is_some_and(|window| window.end <= by.now)
                || case.put_off.iter().any(&unheard)
        };
        if !self.cases.get(id).is_some_and(over) || order.how != RevokeHow::Remove {
            return Err(broken(3, format!("{id} is ended without an intent, and is not over")));
        }
        Ok(())
    }

    fn sent(
        &mut self,
        (by, account, role): (Sender, &str, &str),
        label: &str,
        id: &str,
        grants: bool,
        not_after: Option<Time>,
    ) -> u64 {
        self.next_statement = self.next_statement.saturating_add(1);
        let (account, role, label) = (account.to_owned(), role.to_owned(), label.to_owned());
        let tenant = self.cases.get(id).map(|case| case.tenant.clone());
        let grants = grants.then(|| id.to_owned());
        let sent = Sent {
            tenant,
            server: by.server,
            at: by.at,
            account,
            role,
            label,
            grants,
            not_after,
            arrived: false,
            over: false,
            forgotten: false,
        };
        self.statements.retain(|_, sent| !sent.over);
        self.statements.insert(self.next_statement, sent);
        self.next_statement
    }

    /// Checks law 14: the sender holds the claim on the account. Returns false if the sender was
    /// paused or lost its claims, and so cannot know.
    pub(super) fn claimed(&self, by: Sender, account: &str) -> Result<bool, super::Violation> {
        let stale = self.stale_since.get(by.node).copied().flatten();
        if stale.is_some_and(|stale| span(stale, by.now) < STALE) {
            return Ok(false);
        }
        let realm = self.servers.get(by.server).map(|server| server.realm()).unwrap_or_default();
        let serial = format!("holding:{}", jit_core::internal::join([&realm, account]));
        match self.holders.get(&serial) {
            Some(holder) if holder.by == (by.node, by.boot) && by.now <= holder.until => Ok(true),
            other => Err(broken(14, format!("node {} works on `{account}` without its claim ({other:?})", by.node))),
        }
    }

    /// Checks law 14: no other statement is under way for the account. Several revokes may be: a
    /// revoke whose answer was lost is sent again at once, and it does not matter which of them
    /// takes the role.
    ///
    /// Statements of another tenant for the same account are about another role (law 13). That
    /// tenant's own passes settle them: the claim keeps passes apart, not the statements that they
    /// left.
    fn serial(&self, server: usize, account: &str, label: &str, id: &str, grants: bool) -> Lawful {
        let tenant = self.cases.get(id).map(|case| case.tenant.as_str());
        let other = self.statements.values().find(|sent| {
            sent.server == server
                && sent.account == account
                && sent.label != label
                && (grants || sent.grants.is_some())
                && sent.tenant.as_deref() == tenant
                && self.may_arrive(sent)
        });
        match other {
            Some(sent) => {
                let why = format!("`{label}` is sent for `{account}` while `{}` is under way", sent.label);
                Err(broken(14, why))
            }
            None => Ok(()),
        }
    }

    /// Records that the statement has reached the server. Returns whether it may go on.
    pub(crate) fn arrives(&mut self, statement: u64) -> bool {
        match self.statements.get_mut(&statement) {
            Some(sent) if !sent.over => {
                sent.arrived = true;
                true
            }
            _ => false,
        }
    }

    /// Checks that the statement was not ended meanwhile: the orders of one call run one after the
    /// other.
    pub(crate) fn goes_on(&self, statement: u64) -> bool {
        self.statements.get(&statement).is_some_and(|sent| !sent.over)
    }

    /// Records the end of a statement, and whether it had an effect.
    pub(crate) fn over(&mut self, statement: u64, applied: bool, now: Time) {
        let Some(sent) = self.statements.get_mut(&statement) else { return };
        sent.over = true;
        let sent = sent.clone();
        if !applied {
            return;
        }
        if sent.forgotten && sent.grants.is_some() {
            self.by_hand.insert((sent.server, sent.role.clone(), sent.account.clone()));
        }
        if let Some(case) = sent.grants.as_ref().and_then(|id| self.cases.get_mut(id)) {
            case.executed = case.executed.or(Some(now));
        }
    }

    /// Records that a membership of ours was taken away.
    pub(crate) fn removed(&mut self, server: usize, account: &str, role: &str, at: Time) {
        let held = (server, role.to_owned(), account.to_owned());
        self.by_hand.remove(&held);
        self.restored.remove(&held);
        self.removed.insert(held, at);
    }

    /// Records that the broker's connections with this label were ended, with all that they still
    /// had to do.
    pub(crate) fn ended(&mut self, server: usize, label: &str) {
        let ended = |sent: &&mut Sent| sent.at == server && sent.label == label && sent.arrived;
        self.statements.values_mut().filter(ended).for_each(|sent| sent.over = true);
    }

    /// Records that the server stopped: whatever was on its way to it is lost.
    pub(crate) fn stopped(&mut self, server: usize, now: Time) {
        if server == super::GUARDED {
            self.guarded_stopped = Some(now);
        }
        self.statements.values_mut().filter(|sent| sent.at == server).for_each(|sent| sent.over = true);
    }
}
