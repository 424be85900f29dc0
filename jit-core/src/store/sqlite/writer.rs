//! The thread that writes. Jobs that wait while it syncs go into its next transaction together.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::apply::{Fail, apply, release};
use super::claims::{claim, expire};
use super::error::{Place, again};
use super::meta::Meta;
use super::shared::Shared;
use super::sql;
use super::watcher::Bell;
use crate::clock::Time;
use crate::store::{Change, Claim, ClaimRequest, Claimed, Committed, StoreError};

/// Largest number of jobs in one transaction: more would keep other processes waiting.
const GROUP: usize = 256;
/// Longest time after which a time that was given out is kept in the file, even when nothing is
/// committed.
const KEEP_MARK_EVERY: Duration = Duration::from_secs(10);

type Responder<T> = oneshot::Sender<Result<T, StoreError>>;

enum Job {
    Commit(Change, Responder<Committed>),
    Claim(ClaimRequest, Responder<Vec<Claimed>>),
    Unclaim(Vec<Claim>, Responder<()>),
    AcceptClock(Responder<()>),
}

pub(super) struct Writer {
    jobs: Option<Sender<Job>>,
    place: Place,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(shared: &Arc<Shared>, conn: Connection, bell: Arc<Bell>) -> Result<Self, StoreError> {
        let (jobs, queue) = channel();
        let kept_at = shared.clock.elapsed();
        let desk = Desk { conn, shared: Arc::clone(shared), bell, durable: None, kept_at };
        let thread = std::thread::Builder::new().name("jit-store-write".to_owned());
        let thread = thread.spawn(move || desk.serve(&queue)).map_err(|error| shared.place.io_error(error))?;
        Ok(Self { jobs: Some(jobs), place: shared.place.clone(), thread: Some(thread) })
    }

    pub(super) async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        let lost = || StoreError::OutcomeUnknown { why: "the store was closed".to_owned(), source: None };
        self.ask(|answer| Job::Commit(change, answer)).await?.unwrap_or_else(|_| Err(lost()))
    }

    pub(super) async fn claim(&self, ask: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.ask(|answer| Job::Claim(ask, answer)).await?.unwrap_or_else(|_| Err(self.closed()))
    }

    pub(super) async fn unclaim(&self, claims: Vec<Claim>) -> Result<(), StoreError> {
        self.ask(|answer| Job::Unclaim(claims, answer)).await?.unwrap_or_else(|_| Err(self.closed()))
    }

    pub(super) async fn accept_clock(&self) -> Result<(), StoreError> {
        self.ask(Job::AcceptClock).await?.unwrap_or_else(|_| Err(self.closed()))
    }

    async fn ask<T>(
        &self,
        job: impl FnOnce(Responder<T>) -> Job,
    ) -> Result<Result<Result<T, StoreError>, oneshot::error::RecvError>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job(answer)).is_ok());
        if sent { Ok(answered.await) } else { Err(self.closed()) }
    }

    fn closed(&self) -> StoreError {
        self.place.unavailable("it was closed", None)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

struct Desk {
    conn: Connection,
    shared: Arc<Shared>,
    bell: Arc<Bell>,
    /// Kind of commit that the connection is set to; not known at first.
    durable: Option<Durable>,
    /// Elapsed time at which the mark was kept last.
    kept_at: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Durable {
    Synced,
    NotSynced,
}

/// A job on claims.
enum Claiming {
    Claim(ClaimRequest, Responder<Vec<Claimed>>),
    Unclaim(Vec<Claim>, Responder<()>),
}

/// Reason why a transaction came to nothing.
enum Ended {
    /// The transaction did not begin; another try would fail in the same way.
    NotBegun(StoreError),
    /// The transaction began, and nothing of it was kept.
    Undone(StoreError),
    /// It is not known if the transaction was kept.
    Unknown(StoreError),
}

impl Desk {
    fn serve(mut self, queue: &Receiver<Job>) {
        loop {
            match queue.recv_timeout(self.until_mark()) {
                Ok(first) => {
                    let others = queue.try_iter().take(GROUP);
                    let jobs = std::iter::once(first).chain(others).collect();
                    self.serve_group(jobs);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.until_mark().is_zero() {
                if self.shared.told() {
                    self.keep_mark();
                }
                // With nothing to keep, the next look is as far away.
                self.kept_at = self.shared.clock.elapsed();
            }
        }
        if self.shared.told() {
            self.keep_mark();
        }
    }

    fn serve_group(&mut self, jobs: Vec<Job>) {
        let mut commits = Vec::new();
        let mut claims = Vec::new();
        for job in jobs {
            match job {
                Job::Commit(change, answer) => commits.push((change, answer)),
                Job::Claim(ask, answer) => claims.push(Claiming::Claim(ask, answer)),
                Job::Unclaim(which, answer) => claims.push(Claiming::Unclaim(which, answer)),
                Job::AcceptClock(answer) => drop(answer.send(self.accept_clock())),
            }
        }
        // Claims wait for no disk, so they come first.
        if !claims.is_empty() {
            self.claims(claims);
        }
        if !commits.is_empty() {
            self.commits(commits);
        }
    }

    fn commits(&mut self, jobs: Vec<(Change, Responder<Committed>)>) {
        let place = self.shared.place.clone();
        let done = self.transaction(Durable::Synced, |conn, meta, at| {
            let mut answers = Vec::with_capacity(jobs.len());
            for (change, _) in &jobs {
                match apply(&place, conn, change) {
                    Ok(()) => answers.push(Ok(Committed { at })),
                    Err(Fail::Refused(error)) => answers.push(Err(error)),
                    Err(Fail::Spoiled(error)) => return Err(error),
                }
            }
            let any = answers.iter().any(Result::is_ok);
            if any {
                meta.pulse = meta.pulse.wrapping_add(1);
            }
            Ok((answers, any))
        });
        match done {
            Ok(answers) => {
                for ((_, answer), committed) in jobs.into_iter().zip(answers) {
                    // The caller may have gone; the change is durable all the same.
                    let _ = answer.send(committed);
                }
                self.bell.committed();
            }
            // One of the jobs spoiled the transaction for all; alone, the others go through.
            Err(Ended::Undone(_)) if jobs.len() > 1 => {
                for job in jobs {
                    self.commits(vec![job]);
                }
            }
            Err(Ended::NotBegun(error) | Ended::Undone(error) | Ended::Unknown(error)) => {
                for (_, answer) in jobs {
                    let _ = answer.send(Err(again(&error)));
                }
            }
        }
    }

    fn claims(&mut self, jobs: Vec<Claiming>) {
        let place = self.shared.place.clone();
        let error = |error| place.error(error);
        let done = self.transaction(Durable::NotSynced, |conn, meta, now| {
            let before = conn.total_changes();
            expire(conn, now).map_err(error)?;
            let mut claimed = Vec::new();
            for job in &jobs {
                match job {
                    Claiming::Claim(ask, _) => claimed.push(claim(&place, conn, meta, now, ask)?),
                    Claiming::Unclaim(which, _) => {
                        which.iter().try_for_each(|claim| release(conn, claim)).map_err(error)?;
                    }
                }
            }
            Ok((claimed, conn.total_changes() != before))
        });
        match done {
            Ok(claimed) => {
                let mut claimed = claimed.into_iter();
                for job in jobs {
                    match job {
                        Claiming::Claim(_, answer) => drop(answer.send(Ok(claimed.next().unwrap_or_default()))),
                        Claiming::Unclaim(_, answer) => drop(answer.send(Ok(()))),
                    }
                }
            }
            Err(Ended::Undone(_)) if jobs.len() > 1 => {
                for job in jobs {
                    self.claims(vec![job]);
                }
            }
            Err(Ended::NotBegun(error) | Ended::Undone(error) | Ended::Unknown(error)) => {
                for job in jobs {
                    match job {
                        Claiming::Claim(_, answer) => drop(answer.send(Err(again(&error)))),
                        Claiming::Unclaim(_, answer) => drop(answer.send(Err(again(&error)))),
                    }
                }
            }
        }
    }

    /// Accepts the wall clock. The mark is kept before it is believed, and every other process on
    /// the file believes it with the mark.
    fn accept_clock(&mut self) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let done = self.transaction(Durable::Synced, |_, meta, _| {
            let mut accepting = shared.time().clone();
            accepting.accept();
            meta.mark = accepting.mark();
            Ok((meta.mark.clone(), true))
        });
        match done {
            Ok(mark) => {
                self.shared.time().see(&mark);
                Ok(())
            }
            Err(Ended::NotBegun(error) | Ended::Undone(error) | Ended::Unknown(error)) => Err(error),
        }
    }

    /// Keeps the latest time that was given out, if the file does not know it yet.
    fn keep_mark(&mut self) {
        // If this fails, the next commit keeps the mark; and the next opening counts on from an
        // older mark.
        let _ = self.transaction(Durable::NotSynced, |_, _, _| Ok(((), true)));
    }

    fn until_mark(&self) -> Duration {
        let since = self.shared.clock.elapsed().saturating_sub(self.kept_at);
        KEEP_MARK_EVERY.saturating_sub(since)
    }

    /// Runs the work in a transaction, on what the file holds now, whoever wrote it. `work` says
    /// whether there is something to keep.
    fn transaction<T>(
        &mut self,
        durable: Durable,
        work: impl FnOnce(&Connection, &mut Meta, Time) -> Result<(T, bool), StoreError>,
    ) -> Result<T, Ended> {
        let mut meta = self.begin(durable).map_err(Ended::NotBegun)?;
        let at = meta.mark.time;
        let done = work(&self.conn, &mut meta, at).and_then(|(done, keep)| {
            if keep {
                meta.save(&self.conn).map_err(|error| self.shared.place.error(error))?;
            }
            Ok((done, keep))
        });
        match done {
            Ok((done, true)) => {
                if let Err(error) = self.conn.execute_batch(sql::COMMIT) {
                    let error = self.shared.place.commit_error(error);
                    self.roll_back();
                    let unknown = matches!(error, StoreError::OutcomeUnknown { .. });
                    return Err(if unknown { Ended::Unknown(error) } else { Ended::Undone(error) });
                }
                self.kept_at = self.shared.clock.elapsed();
                self.shared.kept(at);
                self.shared.announce(meta.pulse);
                Ok(done)
            }
            Ok((done, false)) => {
                self.roll_back();
                Ok(done)
            }
            Err(error) => {
                self.roll_back();
                Err(Ended::Undone(error))
            }
        }
    }

    /// Begins a transaction, and reads the row that every process shares. Its mark is already the
    /// time of this transaction.
    fn begin(&mut self, durable: Durable) -> Result<Meta, StoreError> {
        if self.durable != Some(durable) {
            let setting = match durable {
                Durable::Synced => sql::COMMITS_ARE_DURABLE,
                Durable::NotSynced => sql::CLAIMS_NEED_NOT_BE,
            };
            self.conn.execute_batch(setting).map_err(|error| self.shared.place.error(error))?;
            self.durable = Some(durable);
        }
        let place = &self.shared.place;
        self.conn.execute_batch(sql::BEGIN).map_err(|error| place.error(error))?;
        let found = Meta::load(&self.conn).and_then(|meta| meta.ok_or(rusqlite::Error::QueryReturnedNoRows));
        match found.map_err(|error| place.error(error)) {
            Ok(mut meta) => {
                let mut time = self.shared.time();
                time.see(&meta.mark);
                meta.mark = time.mark();
                Ok(meta)
            }
            Err(error) => {
                self.roll_back();
                Err(error)
            }
        }
    }

    fn roll_back(&self) {
        // SQLite has rolled back by itself after some errors.
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch(sql::ROLLBACK);
        }
    }
}
