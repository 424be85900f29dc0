//! What may be sent to a database, and what it does there.

use chrono::TimeDelta;

use super::records::HoldingRecord;
use super::{Lawful, Oracle, broken};
use crate::clock::{Time, after, span};
use crate::database::{GrantOrder, ObjectId, RevokeHow, RevokeOrder, Subject};
use crate::store::Record;
use crate::testkit::sim::steps::is_second;

/// A statement on its way.
#[derive(Debug, Clone)]
pub(in super::super) struct Sent {
    tenant: Option<String>,
    pub(in super::super) server: usize,
    /// The server that it went to, whichever it is meant for.
    at: usize,
    pub(in super::super) account: String,
    pub(in super::super) role: String,
    pub(in super::super) label: String,
    /// The access, where it is a grant.
    pub(in super::super) grants: Option<String>,
    /// When the server refuses it, by its own clock.
    pub(in super::super) not_after: Option<Time>,
    /// It has reached the server and waits there.
    pub(in super::super) arrived: bool,
    /// It was ended, or came to its end.
    pub(in super::super) over: bool,
    /// The store has lost its intent: nobody can know of it.
    pub(super) forgotten: bool,
}

impl Sent {
    /// Whether it is about this membership.
    pub(super) fn is_about(&self, server: usize, role: &str, account: &str) -> bool {
        (self.server, self.role.as_str(), self.account.as_str()) == (server, role, account)
    }
}

/// Who sends it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Sender {
    pub(in super::super) node: usize,
    pub(in super::super) boot: u64,
    /// The server that it is meant for.
    pub(in super::super) server: usize,
    /// The server that answers.
    pub(in super::super) at: usize,
    pub(in super::super) now: Time,
}

/// How long after a pause a node may work on what it claimed before.
const STALE: TimeDelta = TimeDelta::seconds(60);
/// Ends the label of what is sent without a claim (law 3's exception).
const AHEAD: &str = ".ahead";
/// How long after the store failed a node it may take it as failing: a machine that was suspended does not count that time.
const FAILED: TimeDelta = TimeDelta::hours(2);
/// How old at most is what a node without the store knows: it reads a minute ahead.
const UNHEARD: TimeDelta = TimeDelta::seconds(65);
/// How far ahead of the observed server time the engine puts a `not_after`.
const CALL: TimeDelta = TimeDelta::seconds(4);

impl Oracle {
    /// Whether a statement can still have an effect.
    pub(super) fn may_arrive(&self, sent: &Sent) -> bool {
        let late = |not_after: Time| self.servers.get(sent.server).is_none_or(|server| server.now() > not_after);
        // another server refuses it
        sent.at == sent.server && !sent.over && !sent.forgotten && (sent.arrived || !sent.not_after.is_some_and(late))
    }

    /// A grant is about to be sent.
    pub(in super::super) fn sends_grant(
        &mut self,
        by: Sender,
        label: &str,
        order: &GrantOrder,
    ) -> Result<u64, super::Violation> {
        let id = order.access().to_string();
        // what is ended by its label must not be somebody else's
        let first = *self.labels.entry(label.to_owned()).or_insert((by.node, by.boot));
        if first != (by.node, by.boot) {
            return Err(broken(15, format!("`{label}` is the label of two starts of node {}", by.node)));
        }
        let subject = order.subject();
        let (account, role) = (subject.account.as_str(), subject.role.as_str());
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
        // one that was given back since its intent is taken away right after
        if fresh && !matches!(case.state.as_str(), "granting" | "revoking") {
            return Err(broken(3, format!("a grant for {id} is sent, which is {}", case.state)));
        }
        let observed = after(order.not_after(), TimeDelta::zero().checked_sub(&CALL).unwrap_or_default());
        // where no grantor is recorded, what was given by hand after ours was taken by hand cannot be told from ours
        let alike = is_second(by.server) && !self.others(&id, by.server, account, role).is_empty();
        // who is called otherwise now is not found by his name
        let found = subject.account_id.is_some() || self.servers.get(by.server).is_some_and(|it| it.has(account));
        if let Some(since) = self.standing.get(&held).filter(|since| **since < observed && !alike && found) {
            return Err(broken(6, format!("`{role}` is granted to `{account}`, who holds it since {since}")));
        }
        if fresh {
            self.serial(by.server, account, label, &id, true)?;
        }
        Ok(self.sent((by, account, role), label, &id, true, Some(order.not_after())))
    }

    /// A revoke is about to be sent.
    pub(in super::super) fn sends_revoke(
        &mut self,
        by: Sender,
        label: &str,
        order: &RevokeOrder,
        holdings: &[Record],
    ) -> Result<u64, super::Violation> {
        let id = order.access.to_string();
        let (account, role) = (order.subject.account.as_str(), order.subject.role.as_str());
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
                let ordered = found.any(|found| found.orphans.iter().any(|orphan| orphan.subject.role == role));
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
            // a case that was granted to an account which is not there wants nothing of whoever has the name now: the account was dropped, or
            // an operator confirmed a copy from before the account was made
            let wanted = self.others(&id, by.server, account, role).into_iter().find(|(_, other)| {
                matches!(other.state.as_str(), "granting" | "active")
                    && !self.is_missing(by.server, other.account_id.as_ref())
            });
            let dropped = self.is_of_nobody(by.server, &order.subject);
            if let (RevokeHow::Remove, Some((other, _)), false) = (order.how, wanted, dropped) {
                return Err(broken(7, format!("`{role}` is taken from `{account}`, and {other} wants it")));
            }
            self.serial(by.server, account, label, &id, false)?;
        }
        Ok(self.sent((by, account, role), label, &id, false, None))
    }

    /// Whether its account is not on the server, whoever has its name there now.
    pub(in super::super) fn is_of_nobody(&self, server: usize, subject: &Subject) -> bool {
        self.is_missing(server, subject.account_id.as_ref())
    }

    /// Whether its account is found on the server: by its id, or, where that is not known, by its name.
    pub(in super::super) fn finds(&self, server: usize, subject: &Subject) -> bool {
        let Some(server) = self.servers.get(server) else { return false };
        subject.account_id.as_ref().map_or_else(|| server.has(subject.account.as_str()), |id| server.has_id(id))
    }

    /// Whether the server has no account of this id; where only the name is known, nobody can say so.
    pub(super) fn is_missing(&self, server: usize, account: Option<&ObjectId>) -> bool {
        account.zip(self.servers.get(server)).is_some_and(|(id, server)| !server.has_id(id))
    }

    /// Law 3's exception: no intent and no claim, but only while the store fails, and only what is over.
    fn ends_ahead(&self, by: Sender, id: &str, order: &RevokeOrder) -> Lawful {
        let failed = self.store_failed.get(by.node).copied().flatten();
        // to a node that was suspended in the middle of a question, the store has not answered
        let suspended = self.stale_since.get(by.node).copied().flatten();
        let woke = suspended.is_some_and(|suspended| span(suspended, by.now) < STALE);
        if !woke && failed.is_none_or(|failed| span(failed, by.now) > FAILED) {
            return Err(broken(3, format!("{id} is ended without an intent, and the store works")));
        }
        let unheard = |(end, at): &(Time, Time)| *end <= by.now && span(*at, by.now) < UNHEARD;
        // nor what was heard before a suspension, which lets nothing grow old on the node
        let unheard = |put_off: &(Time, Time)| {
            unheard(put_off) || put_off.0 <= by.now && suspended.is_some_and(|suspended| suspended >= put_off.1)
        };
        // what was ordered has its intent in the store already
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

    /// Law 14: the sender holds the claim on the account; whether it has to. One that was paused, or whose claims were lost, cannot know.
    pub(super) fn claimed(&self, by: Sender, account: &str) -> Result<bool, super::Violation> {
        let stale = self.stale_since.get(by.node).copied().flatten();
        if stale.is_some_and(|stale| span(stale, by.now) < STALE) {
            return Ok(false);
        }
        let realm = self.servers.get(by.server).map(|server| server.realm()).unwrap_or_default();
        let serial = format!("holding:{}", crate::names::join([&realm, account]));
        match self.holders.get(&serial) {
            Some(holder) if holder.by == (by.node, by.boot) && by.now <= holder.until => Ok(true),
            other => Err(broken(14, format!("node {} works on `{account}` without its claim ({other:?})", by.node))),
        }
    }

    /// Law 14: nothing else is under way for the account. Revokes may be: one whose answer was lost is sent again at once, for the role
    /// is to go, and it does not matter which of them takes it.
    ///
    /// What another tenant has under way for the same account is about another role (law 13), and is settled by its own passes: the
    /// claim keeps the passes apart, not what is left over from them.
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

    /// It has reached the server; whether it may go on.
    pub(in super::super) fn arrives(&mut self, statement: u64) -> bool {
        match self.statements.get_mut(&statement) {
            Some(sent) if !sent.over => {
                sent.arrived = true;
                true
            }
            _ => false,
        }
    }

    /// Whether it was not ended meanwhile: the orders of one call come one after the other.
    pub(in super::super) fn goes_on(&self, statement: u64) -> bool {
        self.statements.get(&statement).is_some_and(|sent| !sent.over)
    }

    /// It came to its end; whether it had an effect.
    pub(in super::super) fn over(&mut self, statement: u64, applied: bool, now: Time) {
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

    /// A membership of ours was taken away.
    pub(in super::super) fn removed(&mut self, server: usize, account: &str, role: &str, at: Time) {
        let held = (server, role.to_owned(), account.to_owned());
        self.by_hand.remove(&held);
        self.restored.remove(&held);
        self.removed.insert(held, at);
    }

    /// The broker's connections with this label were ended, with all that they had still to do.
    pub(in super::super) fn ended(&mut self, server: usize, label: &str) {
        let ended = |sent: &&mut Sent| sent.at == server && sent.label == label && sent.arrived;
        self.statements.values_mut().filter(ended).for_each(|sent| sent.over = true);
    }

    /// The server stopped: what was on its way to it is gone.
    pub(in super::super) fn stopped(&mut self, server: usize, now: Time) {
        if server == super::GUARDED {
            self.guarded_stopped = Some(now);
        }
        self.statements.values_mut().filter(|sent| sent.at == server).for_each(|sent| sent.over = true);
    }
}
