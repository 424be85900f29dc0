//! Knowledge that is left once the store has lost its tail.

use std::collections::BTreeMap;

use super::records::StopRecord;
use super::said::Desk;
use super::{Case, Held, Oracle};
use jit_core::clock::Time;

/// Knowledge from what had been committed.
#[derive(Debug, Clone)]
pub(crate) struct Remembered {
    cases: BTreeMap<String, Case>,
    order: Vec<String>,
    incarnations: BTreeMap<(String, usize), Time>,
    looks: BTreeMap<String, String>,
    stops: Vec<StopRecord>,
    entries: BTreeMap<String, u64>,
    desk: Desk,
    places: BTreeMap<(String, String), usize>,
    homes: Vec<usize>,
}

impl Oracle {
    /// Checks whether the membership was given by hand, or by a statement that the store has
    /// forgotten, even one without an answer yet.
    pub(super) fn is_nobodys(&self, held: &Held) -> bool {
        let forgotten = self.statements.values().filter(|sent| sent.forgotten && !sent.over);
        let mut about = forgotten.map(|sent| (sent.server, sent.role.as_str(), sent.account.as_str()));
        self.by_hand.contains(held) || about.any(|about| about == (held.0, held.1.as_str(), held.2.as_str()))
    }

    pub(crate) fn remembered(&self) -> Remembered {
        Remembered {
            cases: self.cases.clone(),
            order: self.order.clone(),
            incarnations: self.incarnations.clone(),
            looks: self.looks.clone(),
            stops: self.stops.clone(),
            entries: self.entries.clone(),
            desk: self.desk.clone(),
            places: self.places.clone(),
            homes: self.homes.clone(),
        }
    }

    /// Resets the knowledge after the store has failed over. Whatever the databases did since then
    /// belongs to nobody.
    pub(crate) fn failed_over(&mut self, to: Remembered) {
        let Remembered { cases, order, incarnations, looks, stops, entries, desk, places, homes } = to;
        (self.desk, self.places, self.homes, self.looks) = (desk, places, homes, looks);
        let before = std::mem::replace(&mut self.cases, cases);
        (self.order, self.incarnations, self.stops, self.entries) = (order, incarnations, stops, entries);
        self.loosen_all();
        self.holders.clear();
        for (id, was) in before {
            let known = self.cases.get_mut(&id);
            let intents = known.as_ref().map(|case| case.intents.clone()).unwrap_or_default();
            let lost = was.intents.iter().filter(|intent| !intents.contains(intent));
            self.lost.extend(lost.map(|intent| intent.label.clone()));
            if let Some(case) = known.filter(|case| case.intents.last() == was.intents.last()) {
                // the database did it, whatever the store knows
                case.executed = was.executed;
            }
        }
        for sent in self.statements.values_mut().filter(|sent| self.lost.contains(&sent.label)) {
            sent.forgotten = true;
        }
        for server in 0..self.servers.len() {
            for (role, account, wide) in self.ours(server) {
                let mut known = self.others("", server, &account, role);
                // the store knows an account that was dropped since; the new account of that name
                // got its role by an intent that the store has lost
                known.retain(|(_, case)| !self.is_missing(server, case.account_id.as_ref()));
                let as_wide = known.iter().any(|(_, case)| case.request.target == "wide");
                if known.is_empty() || wide && !as_wide {
                    self.by_hand.insert((server, role.to_owned(), account));
                }
            }
        }
    }
}
