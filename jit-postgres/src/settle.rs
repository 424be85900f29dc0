//! Making sure that nothing of an earlier call can still arrive (law 15).
//!
//! A transaction of ours shows its label before anything else, and checks its deadline around each statement that changes something. So a call
//! that is under way is found by its label and ended, whatever part of it has arrived. One that was not sent yet (its process was stopped, a network holds it back) shows nothing, and the server refuses it after its deadline: then
//! we wait for that, and look again for one that slipped in just before.

use std::collections::BTreeSet;
use std::time::Duration;

use jit_core::clock::{Time, span, to_std};
use jit_core::database::{DatabaseError, SettleOrder};

use crate::block::Budget;
use crate::connect::Connection;
use crate::error::reading;
use crate::observe::Backend;
use crate::sql;

/// How long the end of one's own sessions is waited for.
const UNTIL_GONE: Duration = Duration::from_secs(10);

/// Ends what is under way, and waits for what may be.
pub(crate) async fn settle(connection: &Connection, orders: &[SettleOrder]) -> Result<(), DatabaseError> {
    let mut open: Vec<&SettleOrder> = orders.iter().collect();
    while !open.is_empty() {
        // The clock is read before the list: what passed its deadline check did so before this, and shows its label in the list.
        let now = server_now(connection).await?;
        let found = end_labelled(connection, &open).await?;
        open.retain(|order| order.not_after >= now && !found.contains(&order.label));
        if let Some(first) = open.iter().map(|order| order.not_after).min() {
            // A little more, so that one further look is enough.
            let wait = to_std(span(now, first)).saturating_add(Duration::from_millis(2));
            tokio::time::sleep(wait).await;
        }
    }
    Ok(())
}

async fn server_now(connection: &Connection) -> Result<Time, DatabaseError> {
    let row = connection.client.query_typed_one(sql::NOW, &[]).await.map_err(reading)?;
    row.try_get(0).map_err(reading)
}

/// Ends the broker's sessions that carry a label, and says which labels had one.
async fn end_labelled(connection: &Connection, open: &[&SettleOrder]) -> Result<BTreeSet<String>, DatabaseError> {
    let labels: Vec<&str> = open.iter().map(|order| order.label.as_str()).collect();
    let broker = connection.server.broker;
    let rows = connection.client.query(sql::LABELLED, &[&labels, &broker]).await.map_err(reading)?;
    let mut found = BTreeSet::new();
    let mut backends = BTreeSet::new();
    for row in &rows {
        found.insert(row.try_get("label").map_err(reading)?);
        backends.insert(Backend { pid: row.try_get("pid").map_err(reading)?, user: broker });
    }
    if backends.is_empty() {
        return Ok(found);
    }
    let pids: Vec<i32> = backends.iter().map(|backend| backend.pid).collect();
    connection.client.execute(sql::TERMINATE_OWN, &[&pids, &broker]).await.map_err(reading)?;
    if !connection.until_gone(&backends, Budget::of(UNTIL_GONE)).await? {
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        return Err(DatabaseError::not_applied(format!(
            "earlier connections of the broker were told to end and have not yet (processes {})",
            pids.join(", ")
        )));
    }
    Ok(found)
}
