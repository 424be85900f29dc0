//! Objects that an account and a role own, code that runs as them, and permissions that they passed
//! on.

use std::collections::BTreeMap;

use jit_core::clock::Time;
use jit_core::database::{DatabaseError, MOST_OWNED_OBJECTS, Membership, Owned, OwnedObject};

use crate::connect::Connection;
use crate::error::reading;
use crate::observe::{LOCK_WAIT_MS, MembershipRow, values};
use crate::row::Columns;
use crate::sql::{self, ROWS};

impl Connection {
    /// Returns the owned objects of each membership, one answer per membership.
    pub(crate) async fn owned_objects(&mut self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        let mut all = Vec::with_capacity(memberships.len());
        for memberships in memberships.chunks(ROWS) {
            let rows: Vec<MembershipRow<'_>> =
                memberships.iter().map(|membership| MembershipRow::only(membership, Time::UNIX_EPOCH)).collect();
            let text = sql::owned_objects(self.server.scope, rows.len(), LOCK_WAIT_MS);
            let results = self.run(&text, values(&rows)).await.all().map_err(reading)?;
            let mut found: BTreeMap<i32, Vec<OwnedObject>> = BTreeMap::new();
            for row in results.first().map(Vec::as_slice).unwrap_or_default() {
                let thing = OwnedObject::new(row.text("id")?, row.text("what")?);
                found.entry(row.int("n")?).or_default().push(thing);
            }
            all.extend((0_i32..).zip(memberships).map(|(n, _)| {
                let mut things = found.remove(&n).unwrap_or_default();
                things.sort();
                (things.len() <= MOST_OWNED_OBJECTS).then_some(things)
            }));
        }
        Ok(Owned::new(self.moment().await?.identity, all))
    }
}
