//! What an account came to have of its own: rights to routines, which who makes one gets, and rights to tables that it passed on. Tables have no
//! owner here.

use std::collections::BTreeMap;

use jit_core::database::{Belongings, DatabaseError, MOST_THINGS, Subject, Thing};

use crate::connect::Connection;
use crate::error::reading;
use crate::observe::{Named, garbled, text};
use crate::sql;

impl Connection {
    /// One answer per subject.
    pub(crate) async fn belongings(&mut self, subjects: &[Subject]) -> Result<Vec<Belongings>, DatabaseError> {
        let flavour = self.server.flavour;
        let accounts: Vec<String> = subjects
            .iter()
            .map(|subject| Named::of(flavour, subject).account)
            .map(|account| format!("{}@{}", account.user, account.host))
            .collect();
        let asked = serde_json::to_string(&accounts).map_err(|_| garbled())?;
        let mut all: BTreeMap<String, Vec<Thing>> = BTreeMap::new();
        for row in self.ask(sql::BELONGINGS, (&asked, &asked).into()).await.map_err(reading)? {
            let thing = Thing { id: text(&row, "id")?, what: text(&row, "what")? };
            all.entry(text(&row, "account")?).or_default().push(thing);
        }
        let each = accounts.iter().map(|account| {
            let mut things = all.get(account).cloned().unwrap_or_default();
            things.sort();
            (things.len() <= MOST_THINGS).then_some(things)
        });
        Ok(each.collect())
    }
}
