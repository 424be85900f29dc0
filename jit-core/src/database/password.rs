//! Password of one target, shared by all its connections.

use std::fmt::{self, Debug};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use secrecy::SecretString;

use super::adapter::at;
use super::credentials::{Credentials, CredentialsError};
use super::error::DatabaseError;

/// Extra time that a source may need beyond its own limit before it is given up.
const BEYOND: Duration = Duration::from_secs(1);

/// The password that worked last. When the server refuses it, it is read anew once for all
/// connections that wait for it. The reading is a task of its own: a connection that gives up does
/// not break it off.
pub struct Password {
    source: Option<Arc<dyn Credentials>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    kept: Option<Known>,
    reading: Option<Reading>,
    /// Number of readings so far.
    last: u64,
}

type Reading = Shared<BoxFuture<'static, Result<Known, Arc<CredentialsError>>>>;

/// A password as it was read.
#[derive(Debug, Clone)]
struct Known {
    number: u64,
    secret: SecretString,
}

impl Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Password {
    /// Makes a password that is read from this source. `None` if the server wants no password.
    #[must_use]
    pub fn new(source: Option<Arc<dyn Credentials>>) -> Self {
        Self { source, state: Mutex::default() }
    }

    /// Logs in with the password that worked last. Reads it anew, once, if the server refuses it:
    /// it may have been rotated.
    ///
    /// # Errors
    /// The error of the attempt, as `connecting` translates it. [`DatabaseError::Unreachable`] when
    /// the password cannot be read.
    pub async fn log_in<T, E, A: Future<Output = Result<T, E>>>(
        &self,
        attempt: impl Fn(Option<SecretString>) -> A,
        is_refused: impl Fn(&E) -> bool,
        connecting: impl Fn(E) -> DatabaseError,
    ) -> Result<T, DatabaseError> {
        if let Some(known) = self.kept() {
            match attempt(Some(known.secret.clone())).await {
                Err(error) if is_refused(&error) => self.refused(&known),
                other => return other.map_err(connecting),
            }
        }
        let known = self.read().await?;
        attempt(known.map(|known| known.secret)).await.map_err(connecting)
    }

    /// Returns the password that worked last, or is to be tried first.
    fn kept(&self) -> Option<Known> {
        self.lock().kept.clone()
    }

    /// Notes that the server refused this password. The next one who asks has it read anew.
    fn refused(&self, known: &Known) {
        let mut state = self.lock();
        if state.kept.as_ref().is_some_and(|kept| kept.number == known.number) {
            state.kept = None;
        }
    }

    /// Waits until the password is there. Its source has a time limit of its own.
    ///
    /// # Errors
    /// [`DatabaseError::Unreachable`] when the password cannot be read: nobody can log in.
    pub async fn ready(&self) -> Result<(), DatabaseError> {
        Ok(self.read().await.map(|_| ())?)
    }

    /// Waits for a connection to this place within this limit, once the password is there. `place`
    /// is its address, for people to read.
    ///
    /// # Errors
    /// The error of the connecting. [`DatabaseError::Unreachable`] if there is no connection in
    /// time, or no password.
    pub async fn connect<T>(
        &self,
        limit: Duration,
        place: &str,
        connecting: impl Future<Output = Result<T, DatabaseError>>,
    ) -> Result<T, DatabaseError> {
        self.ready().await?;
        let too_slow = |_| {
            // the server refused the password meanwhile, and it is read anew
            let why = if self.is_being_read() {
                "the password is still being read: its source takes its time".to_owned()
            } else {
                format!("no connection within {} s: is the server up?", limit.as_secs_f32())
            };
            Err(DatabaseError::unreachable(why))
        };
        tokio::time::timeout(limit, connecting).await.unwrap_or_else(too_slow).map_err(|error| at(place, error))
    }

    /// Returns the password, and reads it if none is kept. `None` if the server wants no password.
    ///
    /// # Errors
    /// When the password cannot be read, or not in time.
    async fn read(&self) -> Result<Option<Known>, CredentialsError> {
        let Some(source) = &self.source else { return Ok(None) };
        let (reading, number) = {
            let mut state = self.lock();
            if let Some(kept) = &state.kept {
                return Ok(Some(kept.clone()));
            }
            let number = state.last;
            match &state.reading {
                Some(reading) => (reading.clone(), number),
                None => {
                    let number = number.wrapping_add(1);
                    let reading = read(Arc::clone(source), number);
                    (state.last, state.reading) = (number, Some(reading.clone()));
                    (reading, number)
                }
            }
        };
        let read = reading.await;
        let mut state = self.lock();
        if state.last == number && state.reading.take().is_some() {
            state.kept = read.as_ref().ok().cloned();
        }
        match read {
            Ok(known) => Ok(Some(known)),
            Err(error) => Err(CredentialsError { from: error.from.clone(), why: error.why.clone(), source: None }),
        }
    }

    fn is_being_read(&self) -> bool {
        self.lock().reading.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "all callers share one reading, whoever goes away")]
fn read(source: Arc<dyn Credentials>, number: u64) -> Reading {
    let task = tokio::spawn(async move {
        let limit = source.limit().saturating_add(BEYOND);
        // the source is foreign code, which may panic
        match tokio::time::timeout(limit, AssertUnwindSafe(source.password()).catch_unwind()).await {
            Ok(Ok(read)) => read.map(|secret| Known { number, secret }).map_err(Arc::new),
            Ok(Err(_)) => Err(given_up("its code panicked".to_owned())),
            Err(_) => Err(given_up(format!("it gave no answer within {} s", limit.as_secs_f32()))),
        }
    });
    let read = async move { task.await.unwrap_or_else(|_| Err(given_up("reading was interrupted".to_owned()))) };
    read.boxed().shared()
}

fn given_up(why: String) -> Arc<CredentialsError> {
    Arc::new(CredentialsError { from: "its source".to_owned(), why, source: None })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use secrecy::ExposeSecret;

    use super::*;

    #[derive(Debug, Default)]
    struct Slow(AtomicUsize);

    #[async_trait]
    impl Credentials for Slow {
        async fn password(&self) -> Result<SecretString, CredentialsError> {
            let times = self.0.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(6)).await;
            Ok(SecretString::from(format!("secret {times}")))
        }
    }

    #[derive(Debug)]
    struct Broken(bool);

    #[async_trait]
    impl Credentials for Broken {
        async fn password(&self) -> Result<SecretString, CredentialsError> {
            assert!(self.0, "broken");
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_connections_wait_for_one_reading_and_one_that_gives_up_breaks_nothing_off() {
        let source = Arc::new(Slow::default());
        let password = Password::new(Some(Arc::clone(&source) as Arc<dyn Credentials>));
        assert!(tokio::time::timeout(Duration::from_secs(1), password.read()).await.is_err());
        assert!(password.is_being_read());
        let (one, two) = tokio::join!(password.read(), password.read());
        assert_eq!(one.unwrap().unwrap().secret.expose_secret(), "secret 0");
        let two = two.unwrap().unwrap();
        assert_eq!(source.0.load(Ordering::SeqCst), 1);
        password.refused(&two);
        assert_eq!(password.read().await.unwrap().unwrap().secret.expose_secret(), "secret 1");
        password.refused(&two);
        assert!(password.kept().is_some(), "what was refused is not what is kept now");
    }

    #[tokio::test(start_paused = true)]
    async fn law_18_a_source_that_panics_or_hangs_is_an_error_of_that_reading() {
        for broken in [Broken(false), Broken(true)] {
            let password = Password::new(Some(Arc::new(broken)));
            let error = password.read().await.unwrap_err().to_string();
            assert!(error.contains("panicked") || error.contains("within"), "{error}");
            assert!(!password.is_being_read());
        }
    }
}
