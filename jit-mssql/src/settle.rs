//! Making sure that nothing of an earlier call can still arrive (law 15), as
//! [`Settling`] describes. A batch of ours shows its label before
//! anything else. It checks its deadline around each statement that changes something.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::clock::Time;
use jit_core::database::{DatabaseError, Identity};
use jit_core::internal::adapter::{Budget, ServerClock, Settling, UNTIL_GONE, not_ended};

use crate::connect::Connection;
use crate::error::reading;
use crate::observe::Backend;
use crate::row::Columns;
use crate::sql;

impl Settling for Connection {
    fn clock(&self) -> &ServerClock {
        &self.server.clock
    }

    async fn identity(&mut self) -> Result<Identity, DatabaseError> {
        Ok(self.moment().await?.identity)
    }

    async fn now(&mut self) -> Result<Time, DatabaseError> {
        let results = self.run(sql::NOW, Vec::new()).await.all().map_err(reading)?;
        let row = results.first().and_then(|rows| rows.first());
        row.ok_or_else(|| DatabaseError::not_applied("the server does not say what time it is"))?.utc("now")
    }

    async fn end_labelled(&mut self, labels: &[&str]) -> Result<BTreeSet<String>, DatabaseError> {
        let results = self.run(sql::LABELLED, Vec::new()).await.all().map_err(reading)?;
        let mut found: BTreeMap<Backend, String> = BTreeMap::new();
        for row in results.first().map(Vec::as_slice).unwrap_or_default() {
            let backend = Backend { id: row.int("session_id")?, began: row.text("began")? };
            let shown = [row.maybe_bytes("of_request")?, row.maybe_bytes("of_session")?];
            let label = labels.iter().find(|label| shown.iter().flatten().any(|bytes| shows(bytes, label)));
            if let Some(label) = label {
                found.insert(backend, (*label).to_owned());
            }
        }
        if !found.is_empty() {
            let backends: BTreeSet<&Backend> = found.keys().collect();
            let all: Vec<&Backend> = found.keys().collect();
            let failed = self.kill("", &all).await?;
            if !failed.is_empty() || !self.until_gone(&backends, Budget::of(UNTIL_GONE)).await? {
                return Err(not_ended("sessions", all.iter().map(|backend| backend.id)));
            }
        }
        Ok(found.into_values().collect())
    }
}

/// Checks whether a session's context is this label. The server may pad it with zeros.
fn shows(context: &[u8], label: &str) -> bool {
    let end = context.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    context.get(..end).is_some_and(|shown| shown == label.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_found_padded_or_not_and_never_by_its_beginning() {
        assert!(shows(b"jit/n/1", "jit/n/1"));
        assert!(shows(b"jit/n/1\0\0\0", "jit/n/1"));
        assert!(!shows(b"jit/n/12", "jit/n/1"));
        assert!(!shows(b"", "jit/n/1"));
        assert!(!shows(&[0; 128], "jit/n/1"));
    }
}
