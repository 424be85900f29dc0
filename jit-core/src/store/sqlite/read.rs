//! Reading of rows as records and entries.

use std::collections::BTreeMap;

use chrono::DateTime;
use rusqlite::{Connection, OptionalExtension, Params, Row, params};

use super::error::Place;
use super::sql;
use crate::clock::Time;
use crate::id::TenantId;
use crate::store::{Kind, Lane, PageQuery, Record, RecordKey, Schedule, StoreError, StoredEntry};

pub(super) fn record(place: &Place, conn: &Connection, at: &RecordKey) -> Result<Option<Record>, StoreError> {
    let row = || {
        let mut read = conn.prepare_cached(sql::READ)?;
        read.query_row(params![at.tenant.as_str(), at.kind.as_str(), at.key], Raw::from_row).optional()
    };
    row().map_err(|error| place.error(error))?.map(|raw| raw.into_record(at.clone())).transpose()
}

/// Reads the records of these keys in one snapshot.
pub(super) fn records(place: &Place, conn: &Connection, keys: &[RecordKey]) -> Result<Vec<Option<Record>>, StoreError> {
    conn.execute_batch(sql::SNAPSHOT).map_err(|error| place.error(error))?;
    let found = keys.iter().map(|at| record(place, conn, at)).collect();
    conn.execute_batch(sql::ROLLBACK).map_err(|error| place.error(error))?;
    found
}

pub(super) fn page(place: &Place, conn: &Connection, ask: &PageQuery) -> Result<Vec<Record>, StoreError> {
    let (tenant, kind, limit) = (ask.tenant.as_str(), ask.kind.as_str(), rows(ask.limit));
    let found = match (&ask.label, &ask.after) {
        (None, None) => keyed(conn, sql::PAGE_FIRST, params![tenant, kind, limit]),
        (None, Some(after)) => keyed(conn, sql::PAGE, params![tenant, kind, after, limit]),
        (Some((name, value)), None) => keyed(conn, sql::PAGE_LABEL_FIRST, params![tenant, kind, limit, name, value]),
        (Some((name, value)), Some(after)) => {
            keyed(conn, sql::PAGE_LABEL, params![tenant, kind, after, limit, name, value])
        }
    };
    let found = found.map_err(|error| place.error(error))?;
    found.into_iter().map(|(raw, key)| raw.into_record(RecordKey::new(&ask.tenant, ask.kind, key))).collect()
}

pub(super) fn lanes(place: &Place, conn: &Connection) -> Result<Vec<(Lane, Time)>, StoreError> {
    let look = || -> rusqlite::Result<Vec<(Lane, Time)>> {
        let mut read = conn.prepare_cached(sql::LANES)?;
        let rows = read.query_map([], |row| {
            let (free, again): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(2)?);
            let next = free.into_iter().chain(again).min().unwrap_or(i64::MAX);
            Ok((Lane::from_stored(row.get(0)?), time(next)))
        })?;
        rows.collect()
    };
    look().map_err(|error| place.error(error))
}

pub(super) fn upcoming(
    place: &Place,
    conn: &Connection,
    lane: &Lane,
    now: Time,
    until: Time,
    limit: usize,
) -> Result<Vec<Record>, StoreError> {
    let look = || -> rusqlite::Result<Vec<_>> {
        let mut read = conn.prepare_cached(sql::UPCOMING)?;
        let rows = read.query_map(params![lane.as_str(), micros(now), micros(until), rows(limit)], |row| {
            Ok((Raw::from_row(row)?, (row.get(6)?, row.get::<_, String>(7)?, row.get(8)?)))
        })?;
        rows.collect()
    };
    let found = look().map_err(|error| place.error(error))?;
    found.into_iter().map(|(raw, (tenant, kind, key))| raw.into_record(record_key(tenant, &kind, key)?)).collect()
}

pub(super) fn entries(
    place: &Place,
    conn: &Connection,
    statement: &str,
    params: impl Params,
) -> Result<Vec<StoredEntry>, StoreError> {
    let mut read = conn.prepare_cached(statement).map_err(|error| place.error(error))?;
    let rows = read.query_map(params, |row| {
        let (id, number): (String, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok((id, number.map(i64::cast_unsigned), row.get(2)?))
    });
    let rows = rows.map_err(|error| place.error(error))?;
    let entry = |row: rusqlite::Result<(String, Option<u64>, Vec<u8>)>| {
        let (id, number, body) = row.map_err(|error| place.error(error))?;
        let id = id.parse().map_err(|_| damaged("entry", &id, "its id is not a UUID"))?;
        Ok(StoredEntry { id, number, body })
    };
    rows.map(entry).collect()
}

/// Columns of a record, in the order of every statement that reads one.
pub(super) struct Raw {
    version: i64,
    labels: Option<String>,
    schedule: Option<Schedule>,
    body: Vec<u8>,
}

impl Raw {
    pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { version: row.get(0)?, labels: row.get(1)?, schedule: schedule(row, 2)?, body: row.get(5)? })
    }

    pub(super) fn into_record(self, at: RecordKey) -> Result<Record, StoreError> {
        let labels = labels(&at, self.labels.as_deref())?;
        Ok(Record { at, version: self.version.cast_unsigned(), body: self.body, schedule: self.schedule, labels })
    }
}

/// Returns the key of a row that was found by its schedule.
pub(super) fn record_key(tenant: String, kind: &str, key: String) -> Result<RecordKey, StoreError> {
    let Some(kind) = Kind::parse(kind) else {
        return Err(damaged("record", &key, "its kind is unknown"));
    };
    match TenantId::new(tenant) {
        Ok(tenant) => Ok(RecordKey { tenant, kind, key }),
        Err(_) => Err(damaged(kind.as_str(), &key, "its tenant is not valid")),
    }
}

/// Reads the columns lane, due, serial.
pub(super) fn schedule(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<Schedule>> {
    let Some(lane) = row.get::<_, Option<String>>(first)? else { return Ok(None) };
    let due = time(row.get(first.saturating_add(1))?);
    let serial = row.get(first.saturating_add(2))?;
    Ok(Some(Schedule { lane: Lane::from_stored(lane), due, serial }))
}

pub(super) fn labels(at: &RecordKey, stored: Option<&str>) -> Result<BTreeMap<String, String>, StoreError> {
    let Some(stored) = stored else { return Ok(BTreeMap::new()) };
    serde_json::from_str(stored).map_err(|_| damaged(at.kind.as_str(), &at.key, "its labels do not parse"))
}

pub(super) fn damaged(kind: &'static str, key: &str, why: &str) -> StoreError {
    StoreError::Damaged { kind, key: key.to_owned(), why: why.to_owned() }
}

/// Converts a limit on rows to SQLite's type.
pub(super) fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Converts a time to the form that the file keeps: microseconds since 1970, UTC.
pub(super) fn micros(time: Time) -> i64 {
    time.timestamp_micros()
}

pub(super) fn time(micros: i64) -> Time {
    let edge = if micros < 0 { DateTime::<chrono::Utc>::MIN_UTC } else { DateTime::<chrono::Utc>::MAX_UTC };
    DateTime::from_timestamp_micros(micros).unwrap_or(edge)
}

fn keyed(conn: &Connection, statement: &str, params: impl Params) -> rusqlite::Result<Vec<(Raw, String)>> {
    let mut read = conn.prepare_cached(statement)?;
    read.query_map(params, |row| Ok((Raw::from_row(row)?, row.get(6)?)))?.collect()
}
