//! Checks that need only the change itself, whatever the store holds.

use std::collections::BTreeSet;

use super::{Change, StoreError, Writing};

/// Longest key of a record, in bytes.
const LONGEST_KEY: usize = 2048;

impl Change {
    /// Refuses a change that says two things about one record or entry, or that has an impossible
    /// name for a record. Every store does this first.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] and [`StoreError::Unavailable`], as they say.
    pub fn check(&self) -> Result<(), StoreError> {
        let mut keys = BTreeSet::new();
        for write in &self.writes {
            let kind = write.at.kind.as_str();
            if !keys.insert(&write.at) {
                return Err(conflict(kind, &write.at.key));
            }
            if write.at.key.len() > LONGEST_KEY || write.at.key.contains('\0') {
                return Err(refused(format!("a key of `{kind}` is longer than {LONGEST_KEY} bytes or holds a NUL")));
            }
            if let Writing::Put { schedule, labels, .. } = &write.what {
                let texts = labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
                let texts = texts.chain(schedule.iter().flat_map(|it| [it.lane.as_str(), it.serial.as_str()]));
                if texts.into_iter().any(|text| text.contains('\0')) {
                    return Err(refused(format!("a label or the schedule of `{kind} {}` holds a NUL", write.at.key)));
                }
            }
        }
        let mut ids = BTreeSet::new();
        if let Some(twice) = self.entries.iter().find(|entry| !ids.insert(entry.id)) {
            return Err(conflict("entry", &twice.id.to_string()));
        }
        let mut numbered = BTreeSet::new();
        let numbering = self.numbering.iter().flat_map(|it| &it.entries);
        if let Some(twice) = numbering.into_iter().find(|id| !numbered.insert(**id)) {
            return Err(conflict("entry", &twice.to_string()));
        }
        Ok(())
    }
}

pub(super) fn conflict(kind: &'static str, key: &str) -> StoreError {
    StoreError::Conflict { kind, key: key.to_owned() }
}

fn refused(why: String) -> StoreError {
    StoreError::Unavailable { why, source: None }
}
