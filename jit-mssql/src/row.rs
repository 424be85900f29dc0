//! Reading a row by the names of its columns.

use chrono::NaiveDateTime;
use jit_core::clock::{Time, whole_micros};
use jit_core::database::DatabaseError;
use tiberius::Row;

/// Columns of a row, read by name. A column that is missing, of another type, or NULL where it must
/// not be, is an error.
pub(crate) trait Columns {
    fn maybe_text(&self, column: &str) -> Result<Option<String>, DatabaseError>;
    fn maybe_int(&self, column: &str) -> Result<Option<i32>, DatabaseError>;
    fn maybe_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, DatabaseError>;
    fn maybe_naive(&self, column: &str) -> Result<Option<NaiveDateTime>, DatabaseError>;

    fn naive(&self, column: &str) -> Result<NaiveDateTime, DatabaseError> {
        self.maybe_naive(column)?.ok_or_else(|| garbled(column, "is NULL"))
    }

    fn text(&self, column: &str) -> Result<String, DatabaseError> {
        self.maybe_text(column)?.ok_or_else(|| garbled(column, "is NULL"))
    }

    fn int(&self, column: &str) -> Result<i32, DatabaseError> {
        self.maybe_int(column)?.ok_or_else(|| garbled(column, "is NULL"))
    }

    /// Reads a CASE or a function that says 1 or 0; NULL is no.
    fn yes(&self, column: &str) -> Result<bool, DatabaseError> {
        Ok(self.maybe_int(column)? == Some(1))
    }

    /// Reads a time that the server gave in UTC.
    fn utc(&self, column: &str) -> Result<Time, DatabaseError> {
        Ok(whole_micros(self.naive(column)?.and_utc()))
    }

    /// Reads such a time; `None` if it is NULL.
    fn maybe_utc(&self, column: &str) -> Result<Option<Time>, DatabaseError> {
        Ok(self.maybe_naive(column)?.map(|time| whole_micros(time.and_utc())))
    }
}

impl Columns for Row {
    fn maybe_text(&self, column: &str) -> Result<Option<String>, DatabaseError> {
        Ok(self.try_get::<&str, _>(column).map_err(|error| garbled(column, &error.to_string()))?.map(str::to_owned))
    }

    fn maybe_int(&self, column: &str) -> Result<Option<i32>, DatabaseError> {
        self.try_get(column).map_err(|error| garbled(column, &error.to_string()))
    }

    fn maybe_bytes(&self, column: &str) -> Result<Option<Vec<u8>>, DatabaseError> {
        Ok(self.try_get::<&[u8], _>(column).map_err(|error| garbled(column, &error.to_string()))?.map(<[u8]>::to_vec))
    }

    fn maybe_naive(&self, column: &str) -> Result<Option<NaiveDateTime>, DatabaseError> {
        self.try_get(column).map_err(|error| garbled(column, &error.to_string()))
    }
}

fn garbled(column: &str, why: &str) -> DatabaseError {
    DatabaseError::not_applied(format!("the server's answer could not be read: column `{column}` {why}"))
}
