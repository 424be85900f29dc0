//! A directory that another program serves over HTTP.
#![expect(clippy::disallowed_methods, reason = "answers of a real server are read beside the engine, and grow old")]

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;

use super::{Directory, DirectoryError, ListedDirectory, Person};
use crate::hex::hex;
use crate::http::{HttpClient, HttpRequest};
use crate::id::{Group, Principal, TargetName};

/// Time after which the directory is asked again if it did not answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Reads all lists at once and keeps them
/// (`{"groups": ..., "managers": ..., "people": ..., "accounts": ...}`, see
/// [`ListedDirectory::from_json`]). While they cannot be read, the last ones count for a stated
/// time. After that, nobody is known (fail closed).
pub struct HttpDirectory {
    shared: Arc<Shared>,
}

struct Shared {
    client: HttpClient,
    url: SecretString,
    token: Option<SecretString>,
    fresh: Duration,
    valid: Duration,
    read: RwLock<Read>,
    /// Held while the directory is asked, so that many callers who find the lists old ask once.
    asking: Mutex<()>,
}

#[derive(Default)]
struct Read {
    lists: Option<(Arc<ListedDirectory>, String, Instant)>,
    /// Time of the last failed attempt, and its reason.
    failed: Option<(Instant, String)>,
}

impl HttpDirectory {
    /// Age of the last answer after which the directory is asked again, by default.
    pub const FRESH: Duration = Duration::from_secs(30);
    /// Age up to which the last answer counts while the directory cannot be asked, by default.
    pub const VALID: Duration = Duration::from_secs(15 * 60);

    /// Uses the lists at this address. The server may be down.
    #[must_use]
    pub fn new(client: HttpClient, url: SecretString) -> Self {
        let (token, read, asking) = (None, RwLock::default(), Mutex::default());
        Self { shared: Arc::new(Shared { client, url, token, fresh: Self::FRESH, valid: Self::VALID, read, asking }) }
    }

    /// Sends this bearer token.
    #[must_use]
    pub fn token(self, token: SecretString) -> Self {
        self.with(|shared| shared.token = Some(token))
    }

    /// Sets two ages of the last answer: the one after which the directory is asked again, and the
    /// one up to which it counts while the directory cannot be asked.
    #[must_use]
    pub fn ages(self, fresh: Duration, valid: Duration) -> Self {
        self.with(|shared| (shared.fresh, shared.valid) = (fresh, valid.max(fresh)))
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            change(shared);
        }
        self
    }

    /// Returns the lists. It does not wait for fresher ones while older ones still count.
    async fn lists(&self) -> Result<Arc<ListedDirectory>, DirectoryError> {
        let shared = &self.shared;
        match shared.known() {
            Some((lists, age)) if age <= shared.fresh => return Ok(lists),
            Some((lists, age)) if age <= shared.valid => {
                // nobody waits for this: a slow directory must not hold up a grant or an end
                if !shared.failed_lately() {
                    let shared = Arc::clone(shared);
                    drop(tokio::spawn(async move { shared.ask().await }));
                }
                return Ok(lists);
            }
            _ => {}
        }
        shared.ask().await;
        shared.still_valid()
    }
}

impl Shared {
    fn known(&self) -> Option<(Arc<ListedDirectory>, Duration)> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.lists.as_ref().map(|(lists, _, at)| (Arc::clone(lists), at.elapsed()))
    }

    fn failed_lately(&self) -> bool {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.failed.as_ref().is_some_and(|(at, _)| at.elapsed() < AGAIN)
    }

    fn still_valid(&self) -> Result<Arc<ListedDirectory>, DirectoryError> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        let why = read.failed.as_ref().map_or_else(|| "it was not asked yet".to_owned(), |(_, why)| why.clone());
        match &read.lists {
            Some((lists, _, at)) if at.elapsed() <= self.valid => Ok(Arc::clone(lists)),
            Some((_, _, at)) => Err(DirectoryError::Stale {
                why: format!("{why}; its last answer is {} s old", at.elapsed().as_secs()),
            }),
            None => Err(DirectoryError::Unavailable { why }),
        }
    }

    /// Asks the directory, unless another caller just did.
    async fn ask(&self) {
        let _asking = self.asking.lock().await;
        if self.failed_lately() || self.known().is_some_and(|(_, age)| age <= self.fresh) {
            return;
        }
        let answer = self.fetch().await;
        let mut read = self.read.write().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok((lists, hash)) => {
                read.lists = Some((Arc::new(lists), hash, Instant::now()));
                read.failed = None;
            }
            Err(why) => {
                tracing::warn!(why, "the directory cannot be read");
                read.failed = Some((Instant::now(), why));
            }
        }
    }

    async fn fetch(&self) -> Result<(ListedDirectory, String), String> {
        let mut request = HttpRequest::get(self.url.expose_secret());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.expose_secret()));
        }
        let answer = self.client.send(&request).await.map_err(|error| error.to_string())?;
        if !answer.is_success() {
            return Err(format!("the directory answered {}", answer.status));
        }
        let hash = hex(&Sha256::digest(&answer.body));
        Ok((ListedDirectory::from_json(&answer.body)?, hash))
    }
}

#[async_trait]
impl Directory for HttpDirectory {
    async fn person(&self, who: &Principal, groups: &BTreeSet<Group>) -> Result<Person, DirectoryError> {
        Ok(self.lists().await?.look_up(who, groups))
    }

    async fn account(&self, who: &Principal, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        Ok(self.lists().await?.account_of(who, target))
    }

    async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError> {
        self.lists().await?.members(group).await
    }

    async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError> {
        Ok(self.lists().await?.lists(who))
    }

    async fn principal_like(&self, who: &Principal) -> Result<Option<Principal>, DirectoryError> {
        self.lists().await?.principal_like(who).await
    }

    async fn account_like(&self, account: &str, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        self.lists().await?.account_like(account, target).await
    }

    async fn revision(&self) -> Result<Option<String>, DirectoryError> {
        self.shared.ask().await;
        self.shared.still_valid()?;
        let read = self.shared.read.read().unwrap_or_else(PoisonError::into_inner);
        Ok(read.lists.as_ref().map(|(_, hash, _)| hash.clone()))
    }
}

impl fmt::Debug for HttpDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpDirectory").field("client", &self.shared.client).finish_non_exhaustive()
    }
}
