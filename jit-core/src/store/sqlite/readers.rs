//! Threads that read, so that no task of the caller's runtime ever waits for the disk.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::error::Place;
use super::open;
use super::shared::Shared;
use crate::store::StoreError;

/// Number of readers. A read takes microseconds, so with two of them one may take longer.
const READERS: usize = 2;

type Look = Box<dyn FnOnce(&Place, &Connection) + Send>;

pub(super) struct Readers {
    desk: Arc<Desk>,
    place: Place,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Desk {
    queue: Mutex<Queue>,
    bell: Condvar,
}

#[derive(Default)]
struct Queue {
    looks: VecDeque<Look>,
    closed: bool,
}

impl Readers {
    pub(super) fn start(shared: &Shared) -> Result<Self, StoreError> {
        let mut readers = Self { desk: Arc::default(), place: shared.place.clone(), threads: Vec::new() };
        for _ in 0..READERS {
            let conn = open::reader(&shared.place)?;
            let (desk, place) = (Arc::clone(&readers.desk), shared.place.clone());
            let thread = std::thread::Builder::new().name("jit-store-read".to_owned());
            let thread = thread.spawn(move || desk.serve(&place, &conn));
            readers.threads.push(thread.map_err(|error| shared.place.io_error(error))?);
        }
        Ok(readers)
    }

    /// Runs a read in another thread.
    pub(super) async fn look<T, F>(&self, look: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Place, &Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.desk.put(Box::new(move |place, conn| {
            // The caller may have gone.
            if !answer.is_closed() {
                let _ = answer.send(look(place, conn));
            }
        }));
        answered.await.unwrap_or_else(|_| Err(self.place.unavailable("it was closed", None)))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.desk.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").finish_non_exhaustive()
    }
}

impl Desk {
    fn put(&self, look: Look) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).looks.push_back(look);
        self.bell.notify_one();
    }

    fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.bell.notify_all();
    }

    fn serve(&self, place: &Place, conn: &Connection) {
        while let Some(look) = self.next() {
            look(place, conn);
        }
    }

    fn next(&self) -> Option<Look> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = self.bell.wait_while(queue, |queue| queue.looks.is_empty() && !queue.closed);
        waiting.unwrap_or_else(PoisonError::into_inner).looks.pop_front()
    }
}
