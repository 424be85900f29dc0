//! Making sure that nothing of an earlier call can still arrive (law 15), as
//! [`Settling`] says. A packet of ours takes a lock by its label before
//! anything else, and compares its deadline with the server's clock.

use std::collections::BTreeSet;

use jit_core::clock::Time;
use jit_core::database::{DatabaseError, Identity};
use jit_core::internal::adapter::{Budget, ServerClock, Settling, UNTIL_GONE, not_ended};

use crate::connect::Connection;
use crate::error::{self, reading};
use crate::observe::{garbled, number, text};
use crate::sql;

impl Settling for Connection {
    fn clock(&self) -> &ServerClock {
        &self.server.clock
    }

    async fn identity(&mut self) -> Result<Identity, DatabaseError> {
        Ok(self.moment().await?.identity)
    }

    async fn now(&mut self) -> Result<Time, DatabaseError> {
        Ok(self.moment().await?.now)
    }

    async fn end_labelled(&mut self, labels: &[&str]) -> Result<BTreeSet<String>, DatabaseError> {
        let labels = serde_json::to_string(labels).map_err(|_| garbled())?;
        let (mut found, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for row in self.list(sql::LABELLED, (labels,).into()).await? {
            let id = u64::try_from(number(&row, "id")?).unwrap_or_default();
            if id != 0 {
                found.insert(text(&row, "label")?);
                ids.insert(id);
            }
        }
        for id in &ids {
            match self.end_session(*id).await {
                Err(error) if error::code(&error) != Some(error::NO_SUCH_SESSION) => return Err(reading(error)),
                _ => {}
            }
        }
        if !ids.is_empty() && !self.until_gone(&ids, Budget::of(UNTIL_GONE)).await? {
            return Err(not_ended("sessions", ids));
        }
        Ok(found)
    }
}
