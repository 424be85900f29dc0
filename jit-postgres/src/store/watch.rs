//! Tasks that notice what others commit: one listens, one asks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jit_core::clock::{Clock as _, SystemClock, Time, span, to_std};
use jit_core::store::StoreError;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_postgres::Notification;
use tokio_postgres::types::Type;

use super::rows::get;
use super::shared::Shared;
use super::sql;
use crate::connect::{Connector, Line};

/// Time after which another connection is tried once one was lost.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);
/// Shortest interval between two hints: hints that come closer together are one.
const HINTS_EVERY: Duration = Duration::from_millis(5);
/// Loss that proves that a server's clock was set back: it lost more than this against the time
/// that passed here.
const SET_BACK: Duration = Duration::from_secs(2);

/// Handle that ends its task when it is dropped.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Listens to the server, from now on if that is possible now. A notification is only a hint to
/// look: any login of the database can send one. However many come, the store looks once every
/// [`HINTS_EVERY`] at most.
pub(super) async fn listen(shared: &Arc<Shared>, connector: Connector) -> Watch {
    let shared = Arc::clone(shared);
    let mut ear = ear(&connector).await;
    Watch(tokio::spawn(async move {
        let hint = Notify::new();
        let hear = async {
            loop {
                match ear {
                    Ok((_line, mut said)) => {
                        while let Some(notice) = said.recv().await {
                            if notice.payload() != shared.instance {
                                hint.notify_one();
                            }
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "commits of other nodes are noticed late: the store's server cannot be listened to");
                    }
                }
                tokio::time::sleep(CONNECT_AGAIN).await;
                ear = self::ear(&connector).await;
            }
        };
        let look = async {
            loop {
                hint.notified().await;
                // If the question fails, everybody who waits looks anyway.
                if ask(&shared).await.is_ok_and(|seen| news(&shared, &seen) == 0) {
                    continue;
                }
                shared.beat();
                tokio::time::sleep(HINTS_EVERY).await;
            }
        };
        tokio::join!(hear, look);
    }))
}

/// Opens a connection on which the server tells what is committed.
async fn ear(connector: &Connector) -> Result<(Line, mpsc::UnboundedReceiver<Notification>), StoreError> {
    let (to, said) = mpsc::unbounded_channel();
    let line = connector.line(Some(to)).await.map_err(super::error::unreachable)?;
    line.client.batch_execute(sql::LISTEN).await.map_err(super::error::failed)?;
    Ok((line, said))
}

/// Asks the server now and then, saves the time that was given there, and finds out when its clock
/// was set back.
pub(super) fn poll(shared: &Arc<Shared>, every: Duration) -> Watch {
    let shared = Arc::clone(shared);
    Watch(tokio::spawn(async move {
        let mut last: Option<Seen> = None;
        loop {
            match ask(&shared).await {
                Ok(seen) => {
                    let news = news(&shared, &seen);
                    // Commits from before the store was opened are seen by everybody who looks, all
                    // the same.
                    if news > 0 && last.is_some() {
                        shared.beat();
                    }
                    if let Some(lost) = last.as_ref().and_then(|last| last.lost(&seen)) {
                        set_back(&shared, seen.corrected, lost).await;
                    }
                    last = Some(seen);
                }
                Err(error) => tracing::debug!(%error, "the store could not be asked"),
            }
            tokio::time::sleep(every).await;
        }
    }))
}

/// Counts the other stores that have committed since the last question.
fn news(shared: &Shared, seen: &Seen) -> usize {
    seen.others.iter().filter(|(instance, pulse)| shared.heard(instance, **pulse)).count()
}

/// Result of one look.
#[derive(Debug)]
struct Seen {
    /// Number of commits of each other store.
    others: BTreeMap<String, i64>,
    clock: Time,
    corrected: i64,
    /// Time since this machine's start, before the question (`asked`) and after the answer
    /// (`answered`).
    asked: Duration,
    answered: Duration,
}

impl Seen {
    /// Returns how much the server's clock lost since, if that is more than a small correction
    /// loses. The result is never more than the true loss: the time that the question and the
    /// answer took is not counted.
    fn lost(&self, later: &Self) -> Option<Duration> {
        if self.corrected != later.corrected {
            return None;
        }
        let passed_here = later.asked.saturating_sub(self.answered);
        // One of the two is zero.
        let (passed_there, gone_back) = (to_std(span(self.clock, later.clock)), to_std(span(later.clock, self.clock)));
        let lost = passed_here.saturating_sub(passed_there).saturating_add(gone_back);
        (lost > SET_BACK).then_some(lost)
    }
}

async fn ask(shared: &Shared) -> Result<Seen, StoreError> {
    let asked = SystemClock.elapsed();
    let parameters = [(&shared.instance as _, Type::TEXT), (&shared.told() as _, Type::TIMESTAMPTZ)];
    let row = shared.ask_one(sql::POLL, &parameters).await?;
    let answered = SystemClock.elapsed();
    shared.tell(get(&row, "at")?);
    Ok(Seen {
        others: serde_json::from_str(get(&row, "others")?).unwrap_or_default(),
        clock: get(&row, "clock")?,
        corrected: get(&row, "corrected")?,
        asked,
        answered,
    })
}

async fn set_back(shared: &Shared, seen: i64, lost: Duration) {
    tracing::warn!(
        seconds = lost.as_secs(),
        "the clock of the store's server was set back: the store's time goes on from where it was"
    );
    let secs = lost.as_secs_f64();
    if let Err(error) = shared.ask(sql::SET_BACK, &[(&seen, Type::INT8), (&secs, Type::FLOAT8)]).await {
        tracing::error!(%error, "the store's time stands still until its server's clock has caught up");
    }
}
