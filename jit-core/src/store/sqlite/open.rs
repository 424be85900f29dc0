//! Opening of the file. It is made for its owner alone, refused if it is newer, and migrated if it
//! is older.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::error::Place;
use super::meta::Meta;
use super::sql;
use crate::clock::Clock;
use crate::store::{Pulse, StoreError, Timekeeper};

/// Time that a process waits for the transaction of another one. Transactions last milliseconds, so
/// a longer wait should become an error.
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Number of statements that can stay prepared: enough for every statement of the store.
const STATEMENTS: usize = 64;
/// Mode of the file: only its owner may read it.
const MODE: u32 = 0o600;

/// Makes the path absolute: then it is never one of SQLite's special names (`:memory:`,
/// `file:...`).
pub(super) fn place(path: &Path) -> Result<Place, StoreError> {
    let named = Place::new(path.to_path_buf());
    std::path::absolute(path).map(Place::new).map_err(|error| named.io_error(error))
}

/// Makes the file. If there is one, checks that it is ours, without changing it.
pub(super) fn prepare(place: &Place) -> Result<(), StoreError> {
    let made = OpenOptions::new().write(true).create_new(true).mode(MODE).open(place.path());
    match made {
        Ok(_) => sync_directory(place).map_err(|error| place.io_error(error)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => recognise(place),
        Err(error) => match place.path().try_exists() {
            // A directory that refuses new files may well hold this one.
            Ok(true) => recognise(place),
            _ => Err(place.io_error(error)),
        },
    }
}

pub(super) fn writer(place: &Place) -> Result<Connection, StoreError> {
    let conn = connect(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // SQLite opens a read-only file without an error.
    if conn.is_readonly("main").map_err(|error| place.error(error))? {
        return Err(place.read_only(None));
    }
    conn.execute_batch(sql::SMALL_PAGES).map_err(|error| place.error(error))?;
    write_ahead(place, &conn)?;
    conn.execute_batch(sql::WRITER_SETUP).map_err(|error| place.error(error))?;
    Ok(conn)
}

pub(super) fn reader(place: &Place) -> Result<Connection, StoreError> {
    let conn = connect(place, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.execute_batch(sql::READER_SETUP).map_err(|error| place.error(error))?;
    Ok(conn)
}

pub(super) fn watcher(place: &Place) -> Result<Connection, StoreError> {
    let conn = connect(place, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    conn.execute_batch(sql::WATCHER_SETUP).map_err(|error| place.error(error))?;
    Ok(conn)
}

/// Migrates an older schema, completely or not at all.
pub(super) fn migrate(place: &Place, conn: &mut Connection) -> Result<(), StoreError> {
    if schema(conn).map_err(|error| place.error(error))? == sql::SCHEMA {
        return Ok(());
    }
    let forward = |conn: &mut Connection| -> rusqlite::Result<i64> {
        let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
        // Another process may have been faster.
        let found = schema(&transaction)?;
        let done = usize::try_from(found).unwrap_or_default();
        for migration in sql::MIGRATIONS.iter().skip(done) {
            transaction.execute_batch(migration)?;
        }
        if found < sql::SCHEMA {
            transaction.pragma_update(None, "user_version", sql::SCHEMA)?;
        }
        transaction.commit()?;
        Ok(found)
    };
    let found = forward(conn).map_err(|error| place.error(error))?;
    refuse_newer(found)
}

/// Starts the store's time. The mark is kept at once, so that a doubt about the clock outlives this
/// process.
pub(super) fn start_time(
    place: &Place,
    conn: &mut Connection,
    clock: Arc<dyn Clock>,
) -> Result<(Timekeeper, Pulse), StoreError> {
    let start = |conn: &mut Connection, clock| -> rusqlite::Result<_> {
        conn.execute_batch(sql::CLAIMS_NEED_NOT_BE)?;
        let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
        let found = Meta::load(&transaction)?;
        let mut time = Timekeeper::open(clock, found.as_ref().map(|meta| &meta.mark));
        let mark = time.mark();
        let mut meta = found.unwrap_or_else(|| Meta::fresh(mark.clone()));
        meta.mark = mark;
        meta.save(&transaction)?;
        transaction.commit()?;
        Ok((time, Pulse(meta.pulse)))
    };
    match start(conn, Arc::clone(&clock)).map_err(|error| place.error(error)) {
        // On a full disk the store can still be read, and due accesses can still be ended (law 3).
        Err(StoreError::Full { hint, source }) => {
            let found = Meta::load(conn).map_err(|error| place.error(error))?;
            let Some(meta) = found else { return Err(StoreError::Full { hint, source }) };
            Ok((Timekeeper::open(clock, Some(&meta.mark)), Pulse(meta.pulse)))
        }
        started => started,
    }
}

fn connect(place: &Place, how: OpenFlags) -> Result<Connection, StoreError> {
    // Each connection belongs to one thread.
    let flags = how | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(place.path(), flags).map_err(|error| place.error(error))?;
    conn.busy_timeout(LOCK_WAIT).map_err(|error| place.error(error))?;
    // Otherwise SQLite plans a prepared statement anew for each value of a LIMIT, and of other
    // parameters.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(|error| place.error(error))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

fn recognise(place: &Place) -> Result<(), StoreError> {
    let mut conn = connect(place, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    // reads both in one snapshot, because another process may be making the store
    let look = |conn: &mut Connection| -> rusqlite::Result<(i64, i64)> {
        let moment = conn.transaction()?;
        let tables = moment.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        Ok((schema(&moment)?, tables))
    };
    let (found, tables) = look(&mut conn).map_err(|error| place.error(error))?;
    refuse_newer(found)?;
    if found == 0 && tables > 0 {
        return Err(place.unavailable("it is a SQLite database of something else: check the path", None));
    }
    Ok(())
}

fn refuse_newer(found: i64) -> Result<(), StoreError> {
    if found > sql::SCHEMA {
        return Err(StoreError::Newer { found, known: sql::SCHEMA });
    }
    Ok(())
}

fn schema(conn: &Connection) -> rusqlite::Result<i64> {
    conn.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[expect(clippy::disallowed_methods, reason = "a thread that may block waits for another process")]
fn write_ahead(place: &Place, conn: &Connection) -> Result<(), StoreError> {
    // Two processes that make the file together: SQLite does not wait for the other one here.
    let mut tries = 0_u32;
    let mode: String = loop {
        match conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries < 100 => {
                tries = tries.saturating_add(1);
                std::thread::sleep(Duration::from_millis(20));
            }
            done => break done.map_err(|error| place.error(error))?,
        }
    };
    if mode != "wal" {
        return Err(place.unavailable("its file system cannot share memory: put it on a local disk", None));
    }
    Ok(())
}

fn sync_directory(place: &Place) -> io::Result<()> {
    place.path().parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}
