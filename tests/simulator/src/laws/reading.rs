//! Changes of the store, read without the engine's own types.

use std::fmt;

use super::records::{
    AccessRecord, DelegationsRecord, EntryRecord, HoldingRecord, PhaseRecord, RequestRecord, StopsRecord,
};
use super::{Violation, broken};
use jit_core::store::{Change, Kind, Writing};

/// A change, read before it is committed.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(super) accesses: Vec<(String, AccessRecord)>,
    pub(super) entries: Vec<(String, EntryRecord)>,
    pub(super) notices: usize,
    pub(super) stops: Option<StopsRecord>,
    pub(super) delegations: Vec<DelegationsRecord>,
    pub(super) holdings: Vec<HoldingRecord>,
    /// Other records that are written.
    others: Vec<String>,
}

impl Reading {
    /// Reads a change.
    ///
    /// # Errors
    /// Returns an error if it cannot be read.
    pub(crate) fn of(change: &Change) -> Result<Self, Violation> {
        let mut reading = Self {
            accesses: Vec::new(),
            entries: Vec::new(),
            notices: 0,
            stops: None,
            delegations: Vec::new(),
            holdings: Vec::new(),
            others: Vec::new(),
        };
        for write in &change.writes {
            if write.at.kind != Kind::Access {
                reading.others.push(format!("{} {}", write.at.kind.as_str(), write.at.key));
            }
            let Writing::Put { body, .. } = &write.what else { continue };
            match write.at.kind {
                Kind::Access => {
                    let record: AccessRecord = read(body, "an access")?;
                    if record.tenant != write.at.tenant.as_str() {
                        return Err(broken(
                            13,
                            format!("an access of `{}` under `{}`", record.tenant, write.at.tenant),
                        ));
                    }
                    reading.accesses.push((write.at.key.clone(), record));
                }
                Kind::Notice if write.expect == jit_core::store::Expect::Absent => {
                    reading.notices = reading.notices.saturating_add(1);
                }
                Kind::Stops if write.at.tenant.as_str() == "default" => reading.stops = Some(read(body, "the stops")?),
                Kind::Holding => reading.holdings.push(read(body, "a holding")?),
                Kind::Delegation => reading.delegations.push(read(body, "a delegation")?),
                _ => {}
            }
        }
        for entry in &change.entries {
            reading.entries.push((entry.tenant.to_string(), read(&entry.body, "an entry")?));
        }
        Ok(reading)
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, record) in &self.accesses {
            let state = match &record.phase {
                PhaseRecord::Approved(grant) => grant.is.as_str(),
                _ => "not approved",
            };
            let RequestRecord { role, account, target, .. } = &record.request;
            write!(f, "[{id}: `{role}` of {target} for `{account}` {state}] ")?;
        }
        let whats: Vec<&str> = self.entries.iter().map(|(_, entry)| entry.what.as_str()).collect();
        write!(f, "{whats:?} {:?}", self.others)?;
        let whys = self.entries.iter().filter_map(|(_, entry)| entry.text("why"));
        whys.into_iter().try_for_each(|why| write!(f, " ({why})"))
    }
}

pub(super) fn read<T: serde::de::DeserializeOwned>(body: &[u8], what: &str) -> Result<T, Violation> {
    serde_json::from_slice(body).map_err(|error| broken(9, format!("{what} cannot be read: {error}")))
}
