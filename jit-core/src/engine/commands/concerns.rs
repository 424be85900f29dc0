//! Search for everything that needs an operator.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::clock::Time;
use crate::engine::Jit;
use crate::engine::access_request::{Filter, Scope};
use crate::engine::error::JitError;
use crate::engine::repository::records::{TargetRecord, body};
use crate::engine::rules::stops::Stop;
use crate::engine::view::AccessView;
use crate::id::{Principal, TargetName};
use crate::store::{Kind, PageQuery};

/// Number of records that are read at a time.
const PAGE: usize = 512;

/// Everything in the store of a tenant that needs an operator. Times are the store's, UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Concerns {
    /// Accesses whose role should have ended and whose end is not verified.
    pub overdue: Vec<AccessView>,
    /// Emergency stops in force.
    pub stops: Vec<StopView>,
    /// Targets of this process that are written off, and since when.
    pub retired: BTreeMap<TargetName, Time>,
    /// Targets with work that this process does not have, with their open accesses. A target
    /// without accesses was never contacted.
    pub unconfigured: BTreeMap<TargetName, Vec<AccessView>>,
}

/// An emergency stop in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StopView {
    /// Scope of the stop, as `jit resume` takes it.
    pub scope: Scope,
    /// Principal who ordered it.
    pub by: Principal,
    /// Reason that was given; may be empty.
    pub reason: String,
    /// Beginning of the stop by the store's time, UTC.
    pub at: Time,
}

impl Jit {
    /// Returns everything that needs an operator: overdue accesses, stops in force, targets that
    /// are written off, and work for targets that this process does not have.
    ///
    /// # Errors
    /// [`JitError::Store`] if the store cannot be read.
    pub async fn concerns(&self) -> Result<Concerns, JitError> {
        let settings = self.core.tenant(&self.tenant)?;
        let stops = self.core.stops(&self.tenant).await?.stops.stops;
        let in_force = stops.into_iter().filter(|stop| !stop.lifted).map(StopView::from);
        let mut concerns = Concerns { stops: in_force.collect(), ..Concerns::default() };
        let mut after = None;
        loop {
            let ask = PageQuery { tenant: self.tenant.clone(), kind: Kind::Target, label: None, after, limit: PAGE };
            let page = self.core.store.page(&ask).await?;
            for record in &page {
                let (target, known) = match (TargetName::new(record.at.key.as_str()), body::<TargetRecord>(record)) {
                    (Ok(target), Ok(known)) => (target, known),
                    (Err(_), _) => continue,
                    (_, Err(error)) => {
                        // one record that cannot be read does not hide the others
                        tracing::error!(%error, "a target cannot be read and is left out of what needs an operator");
                        continue;
                    }
                };
                match (known.retired, settings.databases.contains_key(&target)) {
                    (Some(since), true) => {
                        concerns.retired.insert(target, since);
                    }
                    // its first contact is due
                    (None, false) if record.schedule.is_some() => {
                        concerns.unconfigured.entry(target).or_default();
                    }
                    _ => {}
                }
            }
            after = page.last().map(|record| record.at.key.clone());
            if after.is_none() {
                break;
            }
        }
        let filter = Filter { open: true, ..Filter::default() };
        let mut after = None;
        loop {
            let page = self.list(&filter, after, PAGE).await?;
            after = page.last().map(AccessView::id);
            for view in page {
                if !settings.databases.contains_key(&view.target) {
                    concerns.unconfigured.entry(view.target.clone()).or_default().push(view.clone());
                }
                if view.overdue {
                    concerns.overdue.push(view);
                }
            }
            if after.is_none() {
                return Ok(concerns);
            }
        }
    }
}

impl From<Stop> for StopView {
    fn from(stop: Stop) -> Self {
        let Stop { scope, by, reason, at, .. } = stop;
        Self { scope, by, reason, at }
    }
}
