//! Thread that notices commits of other processes. It also moves the write-ahead log into the file,
//! so that no commit has to wait for that.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use super::open;
use super::shared::Shared;
use super::sql;
use crate::store::StoreError;

/// Longest delay before a commit of another process is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Number of rounds with commits after which the log is looked at.
const ROUNDS_PER_CHECKPOINT: u32 = 10;
/// Number of frames (pages of 1 KiB, or 4 KiB in an older file) that are worth moving.
const FRAMES_WORTH_MOVING: i64 = 4000;

pub(super) struct Watcher {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// Bell that wakes the watcher.
#[derive(Default)]
pub(super) struct Bell {
    wishes: Mutex<Wishes>,
    rung: Condvar,
}

#[derive(Default)]
struct Wishes {
    /// Number of callers that wait for a commit.
    waiting: usize,
    /// True if this process committed since the log was looked at.
    committed: bool,
    closed: bool,
}

/// Guard: while it lives, the watcher looks.
pub(super) struct Watching<'a>(&'a Bell);

impl Watcher {
    pub(super) fn start(shared: &Arc<Shared>) -> Result<Self, StoreError> {
        let conn = open::watcher(&shared.place)?;
        let bell = Arc::new(Bell::default());
        let (for_thread, with) = (Arc::clone(&bell), Arc::clone(shared));
        let thread = std::thread::Builder::new().name("jit-store-watch".to_owned());
        let thread = thread.spawn(move || watch(&for_thread, &with, &conn));
        let thread = thread.map_err(|error| shared.place.io_error(error))?;
        Ok(Self { bell, thread: Some(thread) })
    }

    pub(super) fn watch(&self) -> Watching<'_> {
        let mut wishes = self.bell.wishes();
        wishes.waiting = wishes.waiting.saturating_add(1);
        drop(wishes);
        self.bell.rung.notify_one();
        Watching(&self.bell)
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.bell.wishes().closed = true;
        self.bell.rung.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        let mut wishes = self.0.wishes();
        wishes.waiting = wishes.waiting.saturating_sub(1);
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

impl Bell {
    /// Records that this process committed, so the log has grown.
    pub(super) fn committed(&self) {
        let mut wishes = self.wishes();
        let first = !std::mem::replace(&mut wishes.committed, true);
        drop(wishes);
        if first {
            self.rung.notify_one();
        }
    }

    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to do; `None` when the store is closed.
    fn next(&self) -> Option<(bool, bool)> {
        let idle = |wishes: &mut Wishes| !wishes.closed && wishes.waiting == 0 && !wishes.committed;
        let wishes = self.rung.wait_while(self.wishes(), idle).unwrap_or_else(PoisonError::into_inner);
        (!wishes.closed).then_some((wishes.waiting > 0, wishes.committed))
    }

    fn pause(&self) {
        let pause = self.rung.wait_timeout_while(self.wishes(), LOOK_EVERY, |wishes| !wishes.closed);
        drop(pause);
    }
}

fn watch(bell: &Bell, shared: &Shared, conn: &Connection) {
    let mut version = None;
    let mut rounds = 0_u32;
    while let Some((waiting, committed)) = bell.next() {
        if waiting {
            // What cannot be read now is read in the next round; every call of the store reports
            // the error.
            let _ = look(shared, conn, &mut version);
        }
        if committed {
            rounds = rounds.saturating_add(1);
        }
        if rounds >= ROUNDS_PER_CHECKPOINT {
            rounds = 0;
            bell.wishes().committed = false;
            // If one checkpoint fails, the next one or the writer's own makes up for it.
            let _ = checkpoint(conn);
        }
        bell.pause();
    }
}

fn look(shared: &Shared, conn: &Connection, version: &mut Option<i64>) -> rusqlite::Result<()> {
    let found: i64 = conn.prepare_cached(sql::DATA_VERSION)?.query_row([], |row| row.get(0))?;
    if *version != Some(found) {
        shared.refresh(conn)?;
        *version = Some(found);
    }
    Ok(())
}

fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    let (length, moved): (i64, i64) = conn.query_row(sql::LOG_LENGTH, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    if length.saturating_sub(moved) >= FRAMES_WORTH_MOVING {
        conn.query_row(sql::CHECKPOINT, [], |_| Ok(()))?;
    }
    Ok(())
}
