//! Pool of a few open connections, kept warm, and the calls on them. A connection that was not
//! given back in good order is closed, never kept: what was sent on it may still be under way.

use std::fmt::{self, Debug};
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::answers::{all_certain, none_applied, too_slow, unknown_to_all};
use super::settings::Settings;
use super::settle::{Settling, settle, settle_limit};
use super::time::Budget;
use crate::database::password::Password;
use crate::database::{Call, DatabaseError, Identity, SettleOrder};

/// Opener of connections to one server.
pub trait Connects: Debug + Send + Sync + 'static {
    /// Returns the limits of the connections.
    fn settings(&self) -> &Settings;

    /// Returns the password with which connections log in.
    fn password(&self) -> &Password;
}

/// Connection that a pool can keep. Dropping it closes its socket at once, whatever is under way.
pub trait Kept: Sized + Send + 'static {
    /// Opener of such connections.
    type Connector: Connects;

    /// Opens a new connection.
    ///
    /// # Errors
    /// See [`DatabaseError`]. Nothing was sent that changes anything.
    fn open(connector: &Self::Connector) -> impl Future<Output = Result<Self, DatabaseError>> + Send;

    /// Checks whether the connection can serve another call.
    fn is_open(&mut self) -> impl Future<Output = bool> + Send;

    /// Checks whether the connection may be kept after a call. `certain` means that the call's
    /// answers leave nothing open. A connection may know better.
    fn is_in_order(&self, certain: bool) -> bool {
        certain
    }
}

/// Pool of the connections to one server.
pub struct Pool<C: Kept> {
    connector: Arc<C::Connector>,
    places: Semaphore,
    idle: Mutex<Vec<C>>,
}

/// Connection that is lent for one call. If it is dropped without being given back, it is closed
/// (a call that was cancelled, timed out or failed).
pub struct Lease<'p, C: Kept> {
    connection: C,
    pool: &'p Pool<C>,
    place: SemaphorePermit<'p>,
}

impl<C: Kept> Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("connector", &self.connector).finish_non_exhaustive()
    }
}

impl<C: Kept> Debug for Lease<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("pool", &self.pool).finish_non_exhaustive()
    }
}

impl<C: Kept> Pool<C> {
    /// Makes a pool that is empty at first.
    #[must_use]
    pub fn new(connector: C::Connector) -> Self {
        let places = Semaphore::new(connector.settings().connections.min(Semaphore::MAX_PERMITS));
        Self { connector: Arc::new(connector), places, idle: Mutex::default() }
    }

    /// Returns the opener of the connections.
    #[must_use]
    pub fn connector(&self) -> &Arc<C::Connector> {
        &self.connector
    }

    /// Returns the time limit of calls that bring none of their own.
    #[must_use]
    pub fn call_limit(&self) -> Duration {
        self.connector.settings().call_limit
    }

    /// Lends the connection that was given back last, or a new one, within this time. Nothing was
    /// sent if this fails.
    ///
    /// # Errors
    /// [`DatabaseError::NotApplied`] if all connections are busy, or the error of the connecting.
    pub async fn lend(&self, limit: Duration) -> Result<Lease<'_, C>, DatabaseError> {
        let Ok(Ok(place)) = timeout(limit, self.places.acquire()).await else {
            return Err(DatabaseError::not_applied(format!(
                "all {} connections of this target were busy: allow more, or a longer limit",
                self.connector.settings().connections
            )));
        };
        while let Some(mut connection) = self.take() {
            if timeout(limit, connection.is_open()).await.unwrap_or(false) {
                return Ok(Lease { connection, pool: self, place });
            }
        }
        let too_slow = || DatabaseError::unreachable("no connection within the call's limit");
        let opened = timeout(limit, C::open(&self.connector)).await;
        Ok(Lease { connection: opened.unwrap_or_else(|_| Err(too_slow()))?, pool: self, place })
    }

    /// Makes a call that changes nothing, within the limit of such calls. Waits for the password
    /// first: its source has a time limit of its own.
    ///
    /// # Errors
    /// The error of the work. [`DatabaseError::Unreachable`] if it does not answer in time.
    pub async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&mut C) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let limit = self.call_limit();
        self.connector.password().ready().await?;
        let mut lease = self.lend(limit).await?;
        let result = timeout(limit, work(&mut lease)).await.map_err(|_| too_slow(limit))?;
        lease.give_back(!matches!(&result, Err(error) if error.is_unreachable()));
        result
    }

    /// Makes a call of `count` orders that changes something, within its own limit. Returns one
    /// answer per order.
    pub async fn change<T>(
        &self,
        call: &Call,
        count: usize,
        work: impl AsyncFnOnce(&mut C, Budget) -> Vec<Result<T, DatabaseError>>,
    ) -> Vec<Result<T, DatabaseError>> {
        if count == 0 {
            return Vec::new();
        }
        let budget = Budget::of(call.limit);
        let ready = timeout(budget.left(), self.connector.password().ready()).await;
        if let Err(error) =
            ready.unwrap_or_else(|_| Err(DatabaseError::unreachable("the password is still being read")))
        {
            return none_applied(count, &error);
        }
        let mut lease = match self.lend(budget.left()).await {
            Ok(lease) => lease,
            Err(error) => return none_applied(count, &error),
        };
        match timeout(budget.left(), work(&mut lease, budget)).await {
            Ok(results) => {
                lease.give_back(all_certain(&results));
                results
            }
            Err(_) => unknown_to_all(count, call.limit),
        }
    }

    /// Takes the connection that was given back last.
    fn take(&self) -> Option<C> {
        self.idle().pop()
    }

    fn idle(&self) -> MutexGuard<'_, Vec<C>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Kept + Settling> Pool<C> {
    /// Makes sure that nothing of these earlier calls can still arrive (law 15). Returns the server
    /// for which that holds.
    ///
    /// # Errors
    /// See [`Settling`]. The caller may then conclude nothing.
    pub async fn settle(&self, orders: &[SettleOrder]) -> Result<Identity, DatabaseError> {
        let Some(last) = orders.iter().map(|order| order.not_after).max() else {
            return self.read(async |connection| connection.identity().await).await;
        };
        let mut lease = self.lend(self.call_limit()).await?;
        let limit = settle_limit(lease.clock().after(Duration::ZERO), last, self.call_limit())?;
        let settling = async {
            settle(&mut *lease, orders).await?;
            lease.identity().await
        };
        let result = timeout(limit, settling).await.map_err(|_| too_slow(limit))?;
        lease.give_back(result.is_ok());
        result
    }
}

impl<C: Kept> Lease<'_, C> {
    /// Gives the connection back after the call ended and every answer was read. `certain` means
    /// that the answers leave nothing open.
    pub fn give_back(self, certain: bool) {
        let Self { connection, pool, place } = self;
        if connection.is_in_order(certain) {
            pool.idle().push(connection);
        } else {
            drop(connection);
        }
        // The next caller finds the connection, or room for a new one.
        drop(place);
    }
}

impl<C: Kept> Deref for Lease<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C: Kept> DerefMut for Lease<'_, C> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// Server that counts its connections.
    #[derive(Debug)]
    struct Server {
        settings: Settings,
        password: Password,
        opened: AtomicUsize,
        answers: AtomicBool,
    }

    struct Connection {
        number: usize,
        is_open: bool,
    }

    impl Connects for Server {
        fn settings(&self) -> &Settings {
            &self.settings
        }

        fn password(&self) -> &Password {
            &self.password
        }
    }

    impl Kept for Connection {
        type Connector = Server;

        async fn open(server: &Server) -> Result<Self, DatabaseError> {
            if !server.answers.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
            Ok(Self { number: server.opened.fetch_add(1, Ordering::SeqCst), is_open: true })
        }

        async fn is_open(&mut self) -> bool {
            self.is_open
        }
    }

    const LIMIT: Duration = Duration::from_secs(3);

    fn pool(connections: usize) -> Pool<Connection> {
        let settings = Settings { connections, ..Settings::new(None) };
        let password = Password::new(None);
        Pool::new(Server { settings, password, opened: AtomicUsize::new(0), answers: true.into() })
    }

    async fn number(pool: &Pool<Connection>) -> usize {
        pool.read(async |connection| Ok(connection.number)).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_connection_in_good_order_serves_the_next_call() {
        let pool = pool(2);
        assert_eq!((number(&pool).await, number(&pool).await), (0, 0));
        drop(pool.lend(LIMIT).await.unwrap());
        assert_eq!(number(&pool).await, 1, "one that was not given back is closed");
        pool.lend(LIMIT).await.unwrap().give_back(false);
        assert_eq!(number(&pool).await, 2, "nor is one kept whose answers leave something open");
        pool.read(async |connection| {
            connection.is_open = false;
            Ok(())
        })
        .await
        .unwrap();
        assert_eq!(number(&pool).await, 3, "nor lent one that was closed meanwhile");
        let hung = pool.read(async |_| std::future::pending::<Result<(), DatabaseError>>().await).await;
        assert!(hung.unwrap_err().to_string().contains("within 10 s"));
        assert_eq!(number(&pool).await, 4);
    }

    #[tokio::test(start_paused = true)]
    async fn the_connection_that_was_given_back_last_is_lent_first() {
        let pool = pool(2);
        let (one, two) = (pool.lend(LIMIT).await.unwrap(), pool.lend(LIMIT).await.unwrap());
        let last = one.number;
        two.give_back(true);
        one.give_back(true);
        assert_eq!(number(&pool).await, last);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_connections_are_open_than_allowed_and_a_call_that_waits_says_so() {
        let pool = pool(1);
        let one = pool.lend(LIMIT).await.unwrap();
        let error = pool.lend(LIMIT).await.err().unwrap();
        assert!(
            matches!(&error, DatabaseError::NotApplied { why, .. } if why.contains("all 1 connections")),
            "{error}"
        );
        let (two, ()) = tokio::join!(pool.lend(LIMIT), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            one.give_back(true);
        });
        assert_eq!(two.unwrap().number, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_costs_the_limit_and_no_place() {
        let pool = pool(1);
        pool.connector().answers.store(false, Ordering::SeqCst);
        assert!(pool.lend(LIMIT).await.err().unwrap().is_unreachable());
        pool.connector().answers.store(true, Ordering::SeqCst);
        assert_eq!(number(&pool).await, 0);
    }
}
