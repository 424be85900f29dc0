//! The provider's keys as they were last seen, and the rules for fetching them again.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::config::OidcConfig;
use super::fetch::{self, FetchKeys, NoKeys};
use super::jwks::Key;
use crate::mfa::FactorError;

/// Shortest time between two fetches that unknown keys cause. Otherwise whoever makes up keys could
/// flood the provider.
const UNKNOWN_EVERY: Duration = Duration::from_secs(30);

/// Shortest time between a failed fetch and the next one.
const FAILED_EVERY: Duration = Duration::from_secs(5);

/// Set of keys, with the elapsed time at which it was fetched.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) keys: Vec<Key>,
    fetched: Duration,
}

impl Set {
    pub(super) fn with_id<'a>(&'a self, kid: &'a str) -> impl Iterator<Item = &'a Key> + Clone {
        self.keys.iter().filter(move |key| key.kid == kid)
    }

    fn has(&self, kid: &str) -> bool {
        self.with_id(kid).next().is_some()
    }
}

/// History of the fetches so far.
#[derive(Debug, Default)]
struct Fetches {
    /// Number of fetches that have ended.
    ended: u64,
    /// Elapsed time and error of the last fetch, if it failed.
    failed: Option<(Duration, String)>,
    /// Elapsed time of the last fetch that an unknown key caused.
    for_unknown: Option<Duration>,
}

/// The provider's keys, kept and fetched again.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    config: Arc<OidcConfig>,
    from: Arc<dyn FetchKeys>,
    seen: Arc<RwLock<Seen>>,
    fetches: Arc<Mutex<Fetches>>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    set: Option<Arc<Set>>,
    ended: u64,
}

impl Keys {
    pub(super) fn new(config: Arc<OidcConfig>, from: Arc<dyn FetchKeys>) -> Self {
        Self { config, from, seen: Arc::default(), fetches: Arc::default() }
    }

    /// Returns the set in which to look for the key of this name. The provider is asked if the keys
    /// are old or have none of that name.
    pub(super) async fn to_find(&self, kid: &str) -> Result<Arc<Set>, FactorError> {
        let seen = self.seen();
        let fresh = |set: &&Arc<Set>| self.age(set) < self.config.fresh_for;
        if let Some(set) = seen.set.as_ref().filter(fresh).filter(|set| set.has(kid)) {
            return Ok(Arc::clone(set));
        }
        let unknown = seen.set.as_ref().is_some_and(|set| fresh(&set));
        let failure = self.refresh(seen.ended, unknown).await;
        let set = self.seen().set.filter(|set| self.age(set) < self.config.usable_for);
        match (set, failure) {
            // a key that appeared while the provider is out of reach may well be right
            (Some(set), Some(why)) if !set.has(kid) => Err(unavailable(why)),
            (Some(set), _) => Ok(set),
            (None, why) => {
                Err(unavailable(why.unwrap_or_else(|| "the identity provider's keys are too old".to_owned())))
            }
        }
    }

    /// Fetches the keys, unless that was done meanwhile or too recently. Returns the error of the
    /// last fetch, if it failed.
    #[expect(clippy::disallowed_methods, reason = "all callers share one fetch, whoever goes away")]
    async fn refresh(&self, ended: u64, unknown: bool) -> Option<String> {
        let mut fetches = Arc::clone(&self.fetches).lock_owned().await;
        let now = self.config.clock.elapsed();
        let lately = |at: Duration, every| now.saturating_sub(at) < every;
        let failed_lately = fetches.failed.as_ref().is_some_and(|(at, _)| lately(*at, FAILED_EVERY));
        let asked_lately = unknown && fetches.for_unknown.is_some_and(|at| lately(at, UNKNOWN_EVERY));
        if fetches.ended != ended || failed_lately || asked_lately {
            return fetches.failed.as_ref().map(|(_, why)| why.clone());
        }
        if unknown {
            fetches.for_unknown = Some(now);
        }
        // in a separate task: a caller who goes away neither cancels what others wait for, nor can
        // start it again at once
        let task = tokio::spawn(self.clone().fetch(fetches));
        task.await.unwrap_or_else(|error| Some(error.to_string()))
    }

    async fn fetch(self, mut fetches: OwnedMutexGuard<Fetches>) -> Option<String> {
        let fetched = fetch::keys(&self.config, self.from.as_ref()).await;
        let now = self.config.clock.elapsed();
        fetches.ended = fetches.ended.saturating_add(1);
        fetches.failed = fetched.as_ref().err().map(|error| (now, in_words(error)));
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.ended = fetches.ended;
        match fetched {
            Ok(keys) => seen.set = Some(Arc::new(Set { keys, fetched: now })),
            Err(error) => tracing::warn!(issuer = self.config.issuer, error = in_words(&error), "no keys were fetched"),
        }
        fetches.failed.as_ref().map(|(_, why)| why.clone())
    }

    fn seen(&self) -> Seen {
        self.seen.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn age(&self, set: &Set) -> Duration {
        self.config.clock.elapsed().saturating_sub(set.fetched)
    }
}

/// Returns the error with its causes.
fn in_words(error: &NoKeys) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

fn unavailable(why: String) -> FactorError {
    FactorError::Unavailable { why, source: None }
}
