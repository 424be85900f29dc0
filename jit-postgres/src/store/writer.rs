//! Task that commits. Changes that wait while one call is under way go into the next call together.

use std::sync::Arc;
use std::time::Duration;

use jit_core::store::{Change, Committed, StoreError};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_postgres::types::Type;

use super::error::{again, changed, is_a_collision, unreachable};
use super::rows::get;
use super::shared::{Parameter, Shared};
use super::sql;
use super::wire::{Refused, sent};

/// Number of changes in one call: more would keep other nodes waiting.
const GROUP: usize = 256;
/// Number of tries for a call that deadlocked with another node's.
const TRIES: u32 = 20;

type Responder = oneshot::Sender<Result<Committed, StoreError>>;

#[derive(Debug)]
pub(super) struct Writer {
    jobs: mpsc::UnboundedSender<(Change, Responder)>,
    task: JoinHandle<()>,
}

impl Writer {
    pub(super) fn start(shared: &Arc<Shared>) -> Self {
        let (jobs, queue) = mpsc::unbounded_channel();
        let task = tokio::spawn(serve(Arc::clone(shared), queue));
        Self { jobs, task }
    }

    pub(super) async fn commit(&self, change: Change) -> Result<Committed, StoreError> {
        let (answer, answered) = oneshot::channel();
        let closed = || StoreError::Unavailable { why: "the store was closed".to_owned(), source: None };
        self.jobs.send((change, answer)).map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::OutcomeUnknown { why: "the store was closed".to_owned(), source: None })
        })
    }

    /// Checks whether the task still works.
    pub(super) fn is_alive(&self) -> bool {
        !self.task.is_finished()
    }
}

async fn serve(shared: Arc<Shared>, mut queue: mpsc::UnboundedReceiver<(Change, Responder)>) {
    let mut jobs = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut jobs, GROUP).await > 0 {
        commit(&shared, std::mem::take(&mut jobs)).await;
    }
}

async fn commit(shared: &Shared, jobs: Vec<(Change, Responder)>) {
    match call(shared, jobs.iter().map(|(change, _)| change)).await {
        Ok(answers) => {
            for ((_, answer), committed) in jobs.into_iter().zip(answers) {
                // The caller may have gone; the change is durable all the same.
                let _ = answer.send(committed);
            }
        }
        // One of them spoiled it for all; alone, the others go through.
        Err(StoreError::Unavailable { .. }) if jobs.len() > 1 => {
            for (change, answer) in jobs {
                let committed = call(shared, std::iter::once(&change)).await;
                let _ = answer.send(committed.and_then(|answers| answers.into_iter().next().unwrap_or_else(no_answer)));
            }
        }
        Err(error) => {
            for (_, answer) in jobs {
                let _ = answer.send(Err(again(&error)));
            }
        }
    }
}

fn no_answer() -> Result<Committed, StoreError> {
    Err(StoreError::OutcomeUnknown { why: "the store's server gave no answer for a change".to_owned(), source: None })
}

/// Commits the changes by one call. Returns one answer for each change.
async fn call<'c>(
    shared: &Shared,
    changes: impl Iterator<Item = &'c Change>,
) -> Result<Vec<Result<Committed, StoreError>>, StoreError> {
    let (text, bytes) = sent(changes);
    let limit = shared.pool.call_limit();
    let mut tries = 0_u32;
    loop {
        let lease = shared.pool.lend(limit).await.map_err(unreachable)?;
        let told = shared.told();
        let parameters: [Parameter<'_>; 4] =
            [(&shared.instance, Type::TEXT), (&told, Type::TIMESTAMPTZ), (&text, Type::TEXT), (&bytes, Type::BYTEA)];
        let call = lease.client.query_typed(sql::COMMIT, &parameters);
        let rows = match tokio::time::timeout(limit, call).await {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                if is_a_collision(&error) && tries < TRIES {
                    lease.give_back(true);
                    tries = tries.saturating_add(1);
                    tokio::time::sleep(Duration::from_millis(u64::from(tries))).await;
                    continue;
                }
                return Err(changed(error));
            }
            Err(_) => {
                let why = format!("the store's server did not answer within {} s", limit.as_secs_f32());
                return Err(StoreError::OutcomeUnknown { why, source: None });
            }
        };
        lease.give_back(true);
        let garbled = || StoreError::OutcomeUnknown {
            why: "the store's server gave an answer that makes no sense".to_owned(),
            source: None,
        };
        let row = rows.first().ok_or_else(garbled)?;
        let at = shared.tell(get(row, "at")?);
        let answers: Vec<Option<Refused>> = serde_json::from_str(get(row, "answers")?).map_err(|_| garbled())?;
        if answers.iter().any(Option::is_none) {
            shared.beat();
        }
        let answers = answers.into_iter().map(|refused| match refused {
            None => Ok(Committed::new(at)),
            Some(refused) => Err(refused.into_error()),
        });
        return Ok(answers.collect());
    }
}
