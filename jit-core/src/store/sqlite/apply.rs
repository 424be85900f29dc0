//! One change in a transaction: first everything that can refuse it is checked, then it is written.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{Connection, OptionalExtension, params};

use super::error::{Place, is_double};
use super::read::{labels, micros, schedule};
use super::sql;
use crate::store::check::conflict;
use crate::store::{Change, Claim, Expect, NewEntry, Numbering, RecordKey, Schedule, StoreError, Write, Writing};

/// Reason why a change was not applied.
#[derive(Debug)]
pub(super) enum Fail {
    /// Nothing of the change was written: the transaction can go on with others.
    Refused(StoreError),
    /// Some of it may be written: the whole transaction has to be rolled back.
    Spoiled(StoreError),
}

/// Stored parts of a record, without its body.
struct Head {
    id: i64,
    version: u64,
    labels: Option<String>,
    schedule: Option<Schedule>,
}

pub(super) fn apply(place: &Place, conn: &Connection, change: &Change) -> Result<(), Fail> {
    for claim in change.fences.iter().chain(&change.release) {
        if !holds(conn, claim).map_err(|error| Fail::Refused(place.error(error)))? {
            return Err(Fail::Refused(StoreError::Fenced { serial: claim.serial.clone() }));
        }
    }
    let mut heads = Vec::with_capacity(change.writes.len());
    for write in &change.writes {
        let head = head(conn, &write.at).map_err(|error| Fail::Refused(place.error(error)))?;
        let expected = match write.expect {
            Expect::Absent => None,
            Expect::Version(version) => Some(version),
        };
        if head.as_ref().map(|head| head.version) != expected {
            return Err(Fail::Refused(conflict(write.at.kind.as_str(), &write.at.key)));
        }
        heads.push(head);
    }
    let mut writing = Applying { place, conn, turns: BTreeSet::new() };
    writing.all(change, &heads).map_err(Fail::Spoiled)
}

/// Checks whether the claim is still the latest on its serial key. It is, expired or not, until
/// somebody takes it over.
pub(super) fn holds(conn: &Connection, claim: &Claim) -> rusqlite::Result<bool> {
    let mut find = conn.prepare_cached(sql::CLAIM_FENCING)?;
    let fencing: Option<i64> = find.query_row([&claim.serial], |row| row.get(0)).optional()?;
    Ok(fencing == Some(claim.fencing.cast_signed()))
}

/// Gives the claim back, if it is still held.
pub(super) fn release(conn: &Connection, claim: &Claim) -> rusqlite::Result<()> {
    let mut release = conn.prepare_cached(sql::CLAIM_RELEASE)?;
    if release.execute(params![claim.serial, claim.fencing.cast_signed()])? > 0 {
        conn.prepare_cached(sql::TURNS_FREE)?.execute([&claim.serial])?;
    }
    Ok(())
}

fn head(conn: &Connection, at: &RecordKey) -> rusqlite::Result<Option<Head>> {
    let mut find = conn.prepare_cached(sql::HEAD)?;
    let key = params![at.tenant.as_str(), at.kind.as_str(), at.key];
    let head = find.query_row(key, |row| {
        Ok(Head {
            id: row.get(0)?,
            version: row.get::<_, i64>(1)?.cast_unsigned(),
            labels: row.get(2)?,
            schedule: schedule(row, 3)?,
        })
    });
    head.optional()
}

struct Applying<'a> {
    place: &'a Place,
    conn: &'a Connection,
    /// Serial keys and lanes whose earliest due time may have changed.
    turns: BTreeSet<(String, String)>,
}

impl Applying<'_> {
    fn all(&mut self, change: &Change, heads: &[Option<Head>]) -> Result<(), StoreError> {
        for claim in &change.release {
            release(self.conn, claim).map_err(|error| self.place.error(error))?;
        }
        for (write, head) in change.writes.iter().zip(heads) {
            self.write(write, head.as_ref())?;
        }
        self.settle_turns().map_err(|error| self.place.error(error))?;
        for entry in &change.entries {
            self.append(entry)?;
        }
        change.numbering.iter().try_for_each(|numbering| self.number(numbering))
    }

    fn write(&mut self, write: &Write, head: Option<&Head>) -> Result<(), StoreError> {
        let empty = BTreeMap::new();
        let (body, schedule, new_labels) = match &write.what {
            Writing::Guard => return Ok(()),
            Writing::Put { body, schedule, labels } => (Some(body), schedule.as_ref(), labels),
            Writing::Delete => (None, None, &empty),
        };
        let old_schedule = head.and_then(|head| head.schedule.as_ref());
        let old_text = head.and_then(|head| head.labels.as_deref());
        let new_text = written(new_labels);
        if old_text != new_text.as_deref() {
            let old_labels = labels(&write.at, old_text)?;
            self.relabel(&write.at, &old_labels, new_labels).map_err(|error| self.place.error(error))?;
        }
        if old_schedule != schedule {
            let touched = old_schedule.into_iter().chain(schedule);
            self.turns.extend(touched.map(|it| (it.serial.clone(), it.lane.as_str().to_owned())));
        }
        let put = || match (head, body) {
            (None, None) => Ok(0),
            (Some(head), None) => self.conn.prepare_cached(sql::DELETE)?.execute([head.id]),
            (None, Some(body)) => self.conn.prepare_cached(sql::INSERT)?.execute(params![
                write.at.tenant.as_str(),
                write.at.kind.as_str(),
                write.at.key,
                new_text,
                schedule.map(|it| it.lane.as_str()),
                schedule.map(|it| micros(it.due)),
                schedule.map(|it| &it.serial),
                body
            ]),
            (Some(head), Some(body)) => {
                let version = head.version.saturating_add(1).cast_signed();
                if old_schedule == schedule {
                    let mut update = self.conn.prepare_cached(sql::UPDATE)?;
                    return update.execute(params![head.id, version, new_text, body]);
                }
                self.conn.prepare_cached(sql::UPDATE_SCHEDULE)?.execute(params![
                    head.id,
                    version,
                    new_text,
                    body,
                    schedule.map(|it| it.lane.as_str()),
                    schedule.map(|it| micros(it.due)),
                    schedule.map(|it| &it.serial)
                ])
            }
        };
        put().map(|_| ()).map_err(|error| self.place.error(error))
    }

    fn relabel(
        &self,
        at: &RecordKey,
        old: &BTreeMap<String, String>,
        new: &BTreeMap<String, String>,
    ) -> rusqlite::Result<()> {
        let (tenant, kind) = (at.tenant.as_str(), at.kind.as_str());
        for (name, value) in old.iter().filter(|(name, value)| new.get(*name) != Some(value)) {
            self.conn.prepare_cached(sql::LABEL_DELETE)?.execute(params![tenant, kind, name, value, at.key])?;
        }
        for (name, value) in new.iter().filter(|(name, value)| old.get(*name) != Some(value)) {
            self.conn.prepare_cached(sql::LABEL_INSERT)?.execute(params![tenant, kind, name, value, at.key])?;
        }
        Ok(())
    }

    fn settle_turns(&self) -> rusqlite::Result<()> {
        for (serial, lane) in &self.turns {
            let mut find = self.conn.prepare_cached(sql::TURN_DUE)?;
            let due: Option<i64> = find.query_row([serial, lane], |row| row.get(0))?;
            match due {
                Some(due) => self.conn.prepare_cached(sql::TURN_PUT)?.execute(params![serial, lane, due])?,
                None => self.conn.prepare_cached(sql::TURN_DELETE)?.execute([serial, lane])?,
            };
        }
        Ok(())
    }

    fn append(&self, entry: &NewEntry) -> Result<(), StoreError> {
        let id = entry.id.to_string();
        let tenant = entry.tenant.as_str();
        let insert = || {
            let mut insert = self.conn.prepare_cached(sql::ENTRY_INSERT)?;
            insert.execute(params![id, tenant, entry.subject, entry.body])?;
            let seq = self.conn.last_insert_rowid();
            self.conn.prepare_cached(sql::UNNUMBERED_INSERT)?.execute(params![tenant, seq])
        };
        insert().map(|_| ()).map_err(|error| self.entry_error(&id, error))
    }

    fn number(&self, numbering: &Numbering) -> Result<(), StoreError> {
        let tenant = numbering.tenant.as_str();
        for (number, id) in (numbering.first..).zip(&numbering.entries) {
            let id = id.to_string();
            let number = || {
                let mut find = self.conn.prepare_cached(sql::ENTRY_FIND)?;
                let seq: Option<i64> = find.query_row([id.as_str(), tenant], |row| row.get(0)).optional()?;
                let Some(seq) = seq else { return Ok(false) };
                let mut insert = self.conn.prepare_cached(sql::NUMBER_INSERT)?;
                insert.execute(params![seq, tenant, number.cast_signed()])?;
                self.conn.prepare_cached(sql::UNNUMBERED_DELETE)?.execute(params![tenant, seq])?;
                Ok(true)
            };
            if !number().map_err(|error| self.entry_error(&id, error))? {
                return Err(conflict("entry", &id));
            }
        }
        Ok(())
    }

    fn entry_error(&self, id: &str, error: rusqlite::Error) -> StoreError {
        if is_double(&error) { conflict("entry", id) } else { self.place.error(error) }
    }
}

fn written(labels: &BTreeMap<String, String>) -> Option<String> {
    // A map of texts always serialises.
    if labels.is_empty() { None } else { serde_json::to_string(labels).ok() }
}
