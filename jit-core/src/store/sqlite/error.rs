//! Errors of SQLite, translated into what the caller may conclude.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Error, ErrorCode};

use crate::store::{BoxError, StoreError};

/// `SQLITE_IOERR_WRITE`: a write failed for another reason than a full disk; in practice a limit on
/// the file's size.
const WRITE_FAILED: i32 = 778;
/// `SQLITE_IOERR_TRUNCATE`, `SQLITE_IOERR_SHMSIZE`: no room for the files beside it.
const NO_ROOM_BESIDE: [i32; 2] = [1546, 4874];
const IOERR: i32 = 10;

/// Path of the file, for messages that name it.
#[derive(Debug, Clone)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Translates an error of any statement except COMMIT: nothing was changed.
    pub(super) fn error(&self, error: Error) -> StoreError {
        let (code, extended) = codes(&error);
        let source = source(error);
        match code {
            Some(ErrorCode::DiskFull) => self.full(source),
            Some(ErrorCode::SystemIoFailure) if extended == WRITE_FAILED || NO_ROOM_BESIDE.contains(&extended) => {
                // SQLite does not tell why: a file system that became read-only fails in the same
                // way.
                if self.refuses_writing() { self.read_only(source) } else { self.full(source) }
            }
            Some(ErrorCode::ReadOnly) => self.read_only(source),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) if self.refuses_writing_beside() => {
                self.read_only(source)
            }
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                self.unavailable("it cannot be opened: check that it exists and may be read", source)
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                self.unavailable("another process kept it locked for too long: try again", source)
            }
            Some(ErrorCode::NotADatabase) => {
                self.unavailable("it is not a SQLite database: check the path, or whether it was overwritten", source)
            }
            Some(ErrorCode::DatabaseCorrupt) => {
                self.unavailable("it is damaged: restore it from a backup, and keep the damaged one", source)
            }
            Some(ErrorCode::SystemIoFailure) => self.unavailable("the disk does not answer as it should", source),
            Some(ErrorCode::TooBig) => self.unavailable("a record or entry is too big for it", source),
            _ => self.unavailable("SQLite refused a statement", source),
        }
    }

    /// Translates an error of COMMIT. If the last frame could not be written, the transaction does
    /// not exist. If it could not be synced, only the next start will tell.
    pub(super) fn commit_error(&self, error: Error) -> StoreError {
        let (code, extended) = codes(&error);
        let absent = match code {
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly) => true,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => true,
            Some(ErrorCode::SystemIoFailure) => extended == WRITE_FAILED || NO_ROOM_BESIDE.contains(&extended),
            _ => false,
        };
        if absent {
            return self.error(error);
        }
        let why = format!("the commit to {} failed half way", self.0.display());
        StoreError::OutcomeUnknown { why, source: source(error) }
    }

    /// Translates an error of making or opening the file.
    pub(super) fn io_error(&self, error: io::Error) -> StoreError {
        let kind = error.kind();
        let source: Option<BoxError> = Some(Box::new(error));
        match kind {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => self.read_only(source),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => self.full(source),
            io::ErrorKind::NotFound => self.unavailable("its directory does not exist: create it", source),
            _ => self.unavailable("it cannot be opened", source),
        }
    }

    pub(super) fn read_only(&self, source: Option<BoxError>) -> StoreError {
        let path = self.0.display();
        let hint = format!("{path} and the directory it is in must be writable for this process");
        StoreError::ReadOnly { hint, source }
    }

    pub(super) fn unavailable(&self, why: &str, source: Option<BoxError>) -> StoreError {
        StoreError::Unavailable { why: format!("{}: {why}", self.0.display()), source }
    }

    fn full(&self, source: Option<BoxError>) -> StoreError {
        let path = self.0.display();
        let hint = format!("make room on the file system of {path}, or raise the limit on the size of files");
        StoreError::Full { hint, source }
    }

    fn refuses_writing(&self) -> bool {
        let opened = std::fs::OpenOptions::new().write(true).open(&self.0);
        opened.is_err_and(|error| denies(&error))
    }

    /// Checks whether the files that SQLite keeps beside the database (`-wal`, `-shm`) cannot be
    /// made.
    fn refuses_writing_beside(&self) -> bool {
        if self.refuses_writing() {
            return true;
        }
        let mut beside = self.0.clone().into_os_string();
        beside.push("-wal");
        let opened = std::fs::OpenOptions::new().write(true).create(true).truncate(false).open(beside);
        opened.is_err_and(|error| denies(&error))
    }
}

/// Copies the error for each further caller whom it concerns.
pub(super) fn again(error: &StoreError) -> StoreError {
    let shared = |source: &Option<BoxError>| -> Option<BoxError> {
        let cause = source.as_ref()?.downcast_ref::<Arc<Error>>()?;
        Some(Box::new(Arc::clone(cause)))
    };
    match error {
        StoreError::Conflict { kind, key } => StoreError::Conflict { kind, key: key.clone() },
        StoreError::Fenced { serial } => StoreError::Fenced { serial: serial.clone() },
        StoreError::OutcomeUnknown { why, source } => {
            StoreError::OutcomeUnknown { why: why.clone(), source: shared(source) }
        }
        StoreError::ReadOnly { hint, source } => StoreError::ReadOnly { hint: hint.clone(), source: shared(source) },
        StoreError::Full { hint, source } => StoreError::Full { hint: hint.clone(), source: shared(source) },
        StoreError::Newer { found, known } => StoreError::Newer { found: *found, known: *known },
        StoreError::Unavailable { why, source } => StoreError::Unavailable { why: why.clone(), source: shared(source) },
        StoreError::Damaged { kind, key, why } => StoreError::Damaged { kind, key: key.clone(), why: why.clone() },
    }
}

/// Checks whether a row was refused because there is one like it.
pub(super) fn is_double(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
}

fn codes(error: &Error) -> (Option<ErrorCode>, i32) {
    match error {
        Error::SqliteFailure(failure, _) => {
            // An extended code of this family that the library has no name for still belongs to the
            // family.
            let family = failure.extended_code & 0xff;
            let code = if family == IOERR { ErrorCode::SystemIoFailure } else { failure.code };
            (Some(code), failure.extended_code)
        }
        _ => (None, 0),
    }
}

fn denies(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

fn source(error: Error) -> Option<BoxError> {
    Some(Box::new(Arc::new(error)))
}
