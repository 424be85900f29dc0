//! Rolling back prepared transactions. Each is rolled back in its own database and as its owner,
//! since only that role (or a superuser) may.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::database::{Call, DatabaseError};
use jit_core::internal::adapter::Budget;

use crate::connect::Connector;
use crate::error;
use crate::sql;

/// Tries to roll back these transactions (database and name, with their owner). Returns those that
/// were rolled back. The look that follows sees the others. A transaction of a role that cannot log
/// in is left alone: it may be somebody else's.
pub(crate) async fn roll_back(
    connector: &Connector,
    call: &Call,
    wanted: BTreeMap<(String, String), String>,
    budget: Budget,
) -> BTreeSet<(String, String)> {
    let mut rolled_back = BTreeSet::new();
    for ((database, gid), owner) in wanted {
        let one = roll_back_one(connector, call, &database, &gid, &owner);
        match tokio::time::timeout(budget.patience(), one).await {
            Ok(Ok(())) => {
                rolled_back.insert((database, gid));
            }
            Ok(Err(error)) => {
                let why = error.with_causes();
                tracing::warn!(gid, database, owner, why, "a prepared transaction could not be rolled back");
            }
            Err(_) => tracing::warn!(gid, database, owner, "a prepared transaction was not rolled back in time"),
        }
    }
    rolled_back
}

/// Rolls back one transaction on a connection of its own. The connection is closed afterwards: it
/// may have become the owner.
async fn roll_back_one(
    connector: &Connector,
    call: &Call,
    database: &str,
    gid: &str,
    owner: &str,
) -> Result<(), DatabaseError> {
    let connection = connector.connect_to(database).await?;
    call.meant_for(&connection.moment().await?.identity)?;
    let row = connection.client.query_one(sql::LOGS_IN, &[&owner]).await.map_err(error::reading)?;
    if !row.try_get::<_, bool>(0).map_err(error::reading)? {
        return Err(DatabaseError::not_applied(
            "it was prepared under SET ROLE, and nothing says by whom: look who prepared it, and end it as its owner",
        ));
    }
    let become_owner = sql::become_owner(&call.label, owner);
    connection.client.batch_execute(&become_owner).await.map_err(error::reading)?;
    connection.client.batch_execute(&sql::rollback_prepared(gid)).await.map_err(|error| error::changing(&error))
}
