//! Conversion of rows into records and entries.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use jit_core::clock::Time;
use jit_core::id::TenantId;
use jit_core::store::{Claim, Claimed, Kind, Lane, Record, RecordKey, Schedule, StoreError, StoredEntry};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::error::failed;

pub(super) fn record(row: &Row) -> Result<Record, StoreError> {
    let (kind, key): (&str, String) = (get(row, "kind")?, get(row, "key")?);
    let Some(kind) = Kind::parse(kind) else { return Err(damaged("record", &key, "its kind is unknown")) };
    let Ok(tenant) = TenantId::new(get::<&str>(row, "tenant")?) else {
        return Err(damaged(kind.as_str(), &key, "its tenant is none"));
    };
    let labels: Option<&str> = get(row, "labels")?;
    let labels: Option<BTreeMap<String, String>> = labels
        .map(serde_json::from_str)
        .transpose()
        .map_err(|_| damaged(kind.as_str(), &key, "its labels do not parse"))?;
    let lane: Option<String> = get(row, "lane")?;
    let (due, serial): (Option<Time>, Option<String>) = (get(row, "due")?, get(row, "serial")?);
    let schedule = match (lane, due, serial) {
        (Some(lane), Some(due), Some(serial)) => Some(Schedule::new(Lane::from_stored(lane), due, serial)),
        _ => None,
    };
    let version = get::<i64>(row, "version")?.cast_unsigned();
    let mut record = Record::new(RecordKey::new(&tenant, kind, key), version, get(row, "body")?);
    record.schedule = schedule;
    record.labels = labels.unwrap_or_default();
    Ok(record)
}

pub(super) fn claimed(row: &Row) -> Result<Claimed, StoreError> {
    let fencing = get::<i64>(row, "fencing")?.cast_unsigned();
    let mut claim = Claim::new(get::<String>(row, "serial")?, fencing, get(row, "until")?);
    claim.taken_over = get(row, "taken_over")?;
    Ok(Claimed::new(record(row)?, claim))
}

pub(super) fn entry(row: &Row) -> Result<StoredEntry, StoreError> {
    let (id, number): (&str, Option<i64>) = (get(row, "id")?, get(row, "number")?);
    let id = id.parse().map_err(|_| damaged("entry", id, "its id is not a UUID"))?;
    Ok(StoredEntry::new(id, number.map(i64::cast_unsigned), get(row, "body")?))
}

pub(super) fn get<'r, T: FromSql<'r>>(row: &'r Row, column: &str) -> Result<T, StoreError> {
    row.try_get(column).map_err(failed)
}

pub(super) fn damaged(kind: &'static str, key: &str, why: &str) -> StoreError {
    StoreError::Damaged { kind, key: key.to_owned(), why: why.to_owned() }
}

/// Limits a time to what PostgreSQL can keep, which begins at 4713 BC.
pub(super) fn kept(time: Time) -> Time {
    let first = DateTime::<Utc>::from_timestamp(-210_866_803_200, 0).unwrap_or(DateTime::UNIX_EPOCH);
    jit_core::clock::whole_micros(time).max(first)
}

/// Converts a limit on rows to PostgreSQL's type.
pub(super) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn seconds(delta: TimeDelta) -> f64 {
    delta.as_seconds_f64()
}
