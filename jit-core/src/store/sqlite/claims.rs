//! Claims: which node works on what, and until when.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::Place;
use super::meta::Meta;
use super::read::{Raw, micros, record_key, rows};
use super::sql;
use crate::clock::{Time, after};
use crate::store::{Claim, ClaimRequest, Claimed, StoreError};

/// Frees the serial keys of expired claims, once for each claim. After that, only the claim itself
/// tells that a key was held.
pub(super) fn expire(conn: &Connection, now: Time) -> rusqlite::Result<()> {
    let mut find = conn.prepare_cached(sql::CLAIMS_EXPIRED)?;
    let expired: Vec<String> = find.query_map([micros(now)], |row| row.get(0))?.collect::<Result<_, _>>()?;
    if expired.is_empty() {
        return Ok(());
    }
    let mut free = conn.prepare_cached(sql::TURNS_FREE)?;
    for serial in &expired {
        free.execute([serial])?;
    }
    conn.prepare_cached(sql::CLAIMS_EXPIRE)?.execute([micros(now)])?;
    Ok(())
}

/// Claims the due records; expired claims have been freed before.
pub(super) fn claim(
    place: &Place,
    conn: &Connection,
    meta: &mut Meta,
    now: Time,
    ask: &ClaimRequest,
) -> Result<Vec<Claimed>, StoreError> {
    let until = after(now, ask.how_long);
    let serials = next(conn, ask, now).map_err(|error| place.error(error))?;
    let mut claimed = Vec::with_capacity(serials.len());
    for serial in serials {
        let (raw, (tenant, kind, key)) = earliest(conn, ask, &serial).map_err(|error| place.error(error))?;
        let record = raw.into_record(record_key(tenant, &kind, key)?)?;
        meta.fencing = meta.fencing.saturating_add(1);
        let taken_over = hold(conn, &serial, meta.fencing, until, ask).map_err(|error| place.error(error))?;
        claimed.push(Claimed { record, claim: Claim { serial, fencing: meta.fencing, until, taken_over } });
    }
    Ok(claimed)
}

fn next(conn: &Connection, ask: &ClaimRequest, now: Time) -> rusqlite::Result<Vec<String>> {
    let (lane, now, limit) = (ask.lane.as_str(), micros(now), rows(ask.limit));
    match ask.due_after.map(micros) {
        None => conn.prepare_cached(sql::TURNS_NEXT)?.query_map(params![lane, now, limit], |row| row.get(0))?.collect(),
        Some(after) => {
            let mut find = conn.prepare_cached(sql::TURNS_LATEST)?;
            find.query_map(params![lane, now, limit, after], |row| row.get(0))?.collect()
        }
    }
}

type Key = (String, String, String);

fn earliest(conn: &Connection, ask: &ClaimRequest, serial: &str) -> rusqlite::Result<(Raw, Key)> {
    let mut find = conn.prepare_cached(sql::TURN_RECORD)?;
    find.query_row([serial, ask.lane.as_str()], |row| {
        Ok((Raw::from_row(row)?, (row.get(6)?, row.get(7)?, row.get(8)?)))
    })
}

/// Holds the serial key. Returns true if another claim held it before and expired.
fn hold(conn: &Connection, serial: &str, fencing: u64, until: Time, ask: &ClaimRequest) -> rusqlite::Result<bool> {
    let mut find = conn.prepare_cached(sql::CLAIM_FENCING)?;
    let before: Option<i64> = find.query_row([serial], |row| row.get(0)).optional()?;
    let mut put = conn.prepare_cached(sql::CLAIM_PUT)?;
    put.execute(params![serial, fencing.cast_signed(), micros(until), ask.node.as_str()])?;
    conn.prepare_cached(sql::TURNS_HOLD)?.execute(params![serial, micros(until)])?;
    Ok(before.is_some())
}
