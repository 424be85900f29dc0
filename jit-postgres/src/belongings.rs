//! What an account and a role own, and what the account passed on.

use jit_core::database::{Belongings, DatabaseError, MOST_THINGS, Subject, Thing};

use crate::connect::Connection;
use crate::error::reading;
use crate::observe::oid;
use crate::sql;

impl Connection {
    /// One answer per subject.
    pub(crate) async fn belongings(&self, subjects: &[Subject]) -> Result<Vec<Belongings>, DatabaseError> {
        let accounts: Vec<&str> = subjects.iter().map(|subject| subject.account.as_str()).collect();
        let account_ids: Vec<Option<u32>> = subjects.iter().map(|subject| oid(subject.account_id.as_ref())).collect();
        let roles: Vec<&str> = subjects.iter().map(|subject| subject.role.as_str()).collect();
        let role_ids: Vec<Option<u32>> = subjects.iter().map(|subject| oid(subject.role_id.as_ref())).collect();
        let statement = self.prepared(&self.statements.belongings, sql::BELONGINGS).await?;
        let most = i64::try_from(MOST_THINGS.saturating_add(1)).unwrap_or(i64::MAX);
        let rows = self
            .client
            .query(statement, &[&accounts, &account_ids, &roles, &role_ids, &most])
            .await
            .map_err(reading)?;
        let mut all: Vec<Vec<Thing>> = subjects.iter().map(|_| Vec::new()).collect();
        for row in &rows {
            let n: i64 = row.try_get("n").map_err(reading)?;
            let thing = Thing { id: row.try_get("id").map_err(reading)?, what: row.try_get("what").map_err(reading)? };
            if let Some(things) = usize::try_from(n).ok().and_then(|n| all.get_mut(n.saturating_sub(1))) {
                things.push(thing);
            }
        }
        Ok(all.into_iter().map(|things| (things.len() <= MOST_THINGS).then_some(things)).collect())
    }
}
