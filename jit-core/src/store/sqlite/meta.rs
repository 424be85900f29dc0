//! The one row that every process shares: the mark of the time, and the counters.

use std::time::Duration;

use chrono::TimeDelta;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::read::{micros, time};
use super::sql;
use crate::store::{Doubt, Mark};

#[derive(Debug)]
pub(super) struct Meta {
    pub(super) mark: Mark,
    pub(super) pulse: u64,
    pub(super) fencing: u64,
}

impl Meta {
    pub(super) fn fresh(mark: Mark) -> Self {
        Self { mark, pulse: 0, fencing: 0 }
    }

    pub(super) fn load(conn: &Connection) -> rusqlite::Result<Option<Self>> {
        conn.prepare_cached(sql::META_LOAD)?.query_row([], Self::from_row).optional()
    }

    pub(super) fn save(&self, conn: &Connection) -> rusqlite::Result<()> {
        let Self { mark, pulse, fencing } = self;
        conn.prepare_cached(sql::META_SAVE)?.execute(params![
            micros(mark.time),
            i64::try_from(mark.elapsed.as_micros()).unwrap_or(i64::MAX),
            mark.boot,
            mark.skew.num_microseconds().unwrap_or_default(),
            mark.doubt.map(|doubt| micros(doubt.mark)),
            mark.doubt.map(|doubt| micros(doubt.wall)),
            mark.accepts.cast_signed(),
            pulse.cast_signed(),
            fencing.cast_signed(),
        ])?;
        Ok(())
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let doubt = match (row.get::<_, Option<i64>>(4)?, row.get::<_, Option<i64>>(5)?) {
            (Some(mark), Some(wall)) => Some(Doubt { mark: time(mark), wall: time(wall) }),
            _ => None,
        };
        let mark = Mark {
            time: time(row.get(0)?),
            elapsed: Duration::from_micros(u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default()),
            boot: row.get(2)?,
            skew: TimeDelta::microseconds(row.get(3)?),
            doubt,
            accepts: row.get::<_, i64>(6)?.cast_unsigned(),
        };
        Ok(Self { mark, pulse: row.get::<_, i64>(7)?.cast_unsigned(), fencing: row.get::<_, i64>(8)?.cast_unsigned() })
    }
}
