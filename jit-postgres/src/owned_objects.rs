//! Objects that an account and a role own, and memberships that they passed on.

use jit_core::database::{DatabaseError, MOST_OWNED_OBJECTS, Membership, Owned, OwnedObject};

use crate::connect::Connection;
use crate::error::reading;
use crate::observe::{MembershipColumns, list, texts};
use crate::server_text::ServerText;
use crate::sql;

impl Connection {
    /// Returns the owned objects of each membership, one answer per membership.
    pub(crate) async fn owned_objects(&self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        let asked = MembershipColumns::of(memberships);
        let statement = self.prepared(&self.statements.owned_objects, || sql::OWNED_OBJECTS.to_owned()).await?;
        let most = i64::try_from(MOST_OWNED_OBJECTS.saturating_add(1)).unwrap_or(i64::MAX);
        self.moment_statement().await?;
        let parameters = asked.parameters(&most);
        let (moment, rows) = tokio::join!(biased; self.moment(), self.client.query(statement, &parameters));
        let (moment, rows) = (moment?, rows.map_err(reading)?);
        if rows.len() != memberships.len() {
            return Err(incomplete());
        }
        let mut all = Vec::with_capacity(rows.len());
        for row in &rows {
            let count: i64 = row.try_get("things").map_err(reading)?;
            let (ids, whats) = (texts(row, "ids")?, texts(row, "whats")?);
            let versions: Vec<Option<ServerText>> = list(row, "versions")?;
            if [ids.len(), whats.len(), versions.len()].iter().any(|here| usize::try_from(count) != Ok(*here)) {
                return Err(incomplete());
            }
            let things = ids.into_iter().zip(whats).zip(versions);
            let things = things.map(|((id, what), version)| {
                let mut thing = OwnedObject::new(id, what);
                thing.version = version.map(String::from);
                thing
            });
            all.push(Some(things.collect::<Vec<_>>()).filter(|things| things.len() <= MOST_OWNED_OBJECTS));
        }
        Ok(Owned::new(moment.identity, all))
    }
}

fn incomplete() -> DatabaseError {
    DatabaseError::not_applied("the server's list of owned objects is not complete: nothing is concluded")
}
