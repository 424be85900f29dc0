//! What an account came to have of its own: rights to routines, which who makes one gets, rights to tables that it passed on, and what runs
//! with its rights or the role's. Tables have no owner here.

use std::collections::BTreeMap;

use jit_core::database::{DatabaseError, MOST_THINGS, Owned, Subject, Thing};

use crate::connect::Connection;
use crate::error::{self, reading};
use crate::observe::{Named, garbled, text};
use crate::sql::{self, definitions};

/// There is no such procedure (1305, and 1049 where there is no database for it), or it may not be called (1370, 1044).
const MISSING: [u16; 4] = [1305, 1049, 1370, 1044];

impl Connection {
    /// One answer per subject.
    pub(crate) async fn belongings(&mut self, subjects: &[Subject]) -> Result<Owned, DatabaseError> {
        let flavour = self.server.flavour;
        let accounts: Vec<String> = subjects
            .iter()
            .map(|subject| Named::of(flavour, subject).account)
            .map(|account| format!("{}@{}", account.user, account.host))
            .collect();
        let asked = serde_json::to_string(&accounts).map_err(|_| garbled())?;
        // MariaDB's roles have no host, and still an @ where they define something
        let roles = subjects.iter().map(|subject| Named::of(flavour, subject).role);
        let roles: Vec<String> = roles.map(|role| format!("{}@{}", role.user, role.host)).collect();
        let mut all: BTreeMap<String, Vec<Thing>> = BTreeMap::new();
        for row in self.list(sql::BELONGINGS, (&asked, &asked).into()).await? {
            let thing = Thing { id: text(&row, "id")?, what: text(&row, "what")?, version: None };
            all.entry(text(&row, "account")?).or_default().push(thing);
        }
        let definers: Vec<&String> = accounts.iter().chain(&roles).collect();
        for (definer, thing) in self.definitions(&definers).await?.unwrap_or_default() {
            all.entry(definer).or_default().push(thing);
        }
        let each = accounts.iter().zip(&roles).map(|(account, role)| {
            let mut things: Vec<Thing> =
                [account, role].into_iter().filter_map(|owner| all.get(owner)).flatten().cloned().collect();
            things.sort();
            (things.len() <= MOST_THINGS).then_some(things)
        });
        let each = each.collect();
        Ok(Owned { identity: self.moment().await?.identity, each })
    }

    /// What these defined, by definer; none where the procedure that shows it is missing, or the right to it.
    pub(crate) async fn definitions(
        &mut self,
        definers: &[&String],
    ) -> Result<Option<Vec<(String, Thing)>>, DatabaseError> {
        let asked = serde_json::to_string(definers).map_err(|_| garbled())?;
        let rows = match self.ask(definitions::CALL, (asked,).into()).await {
            Err(error) if MISSING.contains(&error::code(&error).unwrap_or_default()) => return Ok(None),
            rows => rows.map_err(reading)?,
        };
        let each = rows.iter().map(|row| {
            let (kind, name) = (text(row, "kind")?, text(row, "name")?);
            let what = format!("{kind} {name}, which runs with its definer's rights");
            Ok((text(row, "definer")?, Thing { id: format!("{kind}/{name}"), what, version: None }))
        });
        each.collect::<Result<_, DatabaseError>>().map(Some)
    }
}
