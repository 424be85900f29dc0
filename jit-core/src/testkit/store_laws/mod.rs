//! Contract of [`Store`], as laws that any implementation can be checked against.
//!
//! ```
//! use std::sync::Arc;
//!
//! use jit_core::store::{MemoryStore, Store};
//! use jit_core::testkit::ManualClock;
//! use jit_core::testkit::store_laws::{StoreFactory, StorePlace, store_laws};
//!
//! #[derive(Debug)]
//! struct Memory;
//!
//! #[async_trait::async_trait]
//! impl StoreFactory for Memory {
//!     async fn place(
//!         &self,
//!         clock: &ManualClock,
//!     ) -> Result<Box<dyn StorePlace>, jit_core::store::BoxError> {
//!         Ok(Box::new(Place(Arc::new(MemoryStore::new(Arc::new(clock.clone()))))))
//!     }
//!
//!     fn durable(&self) -> bool {
//!         false
//!     }
//! }
//!
//! #[derive(Debug)]
//! struct Place(Arc<MemoryStore>);
//!
//! #[async_trait::async_trait]
//! impl StorePlace for Place {
//!     async fn open(&self) -> Result<Arc<dyn Store>, jit_core::store::BoxError> {
//!         Ok(Arc::clone(&self.0) as Arc<dyn Store>)
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
//! for law in store_laws() {
//!     law.check(&Memory).await?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Everything below is tests, although it is compiled into the library for others.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod bench;
mod changes;
mod claims;
mod identity;
mod lanes;
mod log;
mod pages;
mod time;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use self::bench::Bench;
use super::ManualClock;
use crate::store::{BoxError, Store, StoreError};

/// Returns every law of the contract.
#[must_use]
pub fn store_laws() -> Vec<StoreLaw> {
    [changes::laws(), claims::laws(), identity::laws(), lanes::laws(), pages::laws(), log::laws(), time::laws()]
        .into_iter()
        .flatten()
        .collect()
}

/// A single law of the contract.
#[derive(Debug, Clone, Copy)]
pub struct StoreLaw {
    /// Name of the law; a numbered law of the system is called `law_NN_...`.
    pub name: &'static str,
    needs: Needs,
    run: fn(Bench) -> BoxFuture<'static, Result<(), Broken>>,
}

impl StoreLaw {
    /// Returns why the law is skipped for the factory's stores; none if it applies to them.
    #[must_use]
    pub fn skipped(&self, factory: &dyn StoreFactory) -> Option<&'static str> {
        match self.needs {
            Needs::Durable if !factory.durable() => Some("the store is not durable"),
            Needs::Clock if !factory.durable() || !factory.follows_clock() => {
                Some("the store is not durable, or has a clock of its own")
            }
            _ => None,
        }
    }

    /// Checks the law in a new place of the factory. The caller needs a tokio runtime of several
    /// threads, with its timers.
    ///
    /// # Errors
    /// Returns [`Broken`] if the law is not kept, or the place cannot be opened.
    pub async fn check(&self, factory: &dyn StoreFactory) -> Result<Outcome, Broken> {
        if let Some(why) = self.skipped(factory) {
            return Ok(Outcome::Skipped(why));
        }
        (self.run)(Bench::new(factory).await?)
            .await
            .map(|()| Outcome::Kept)
            .map_err(|broken| Broken(format!("{}: {}", self.name, broken.0)))
    }
}

/// Makes places for stores.
#[async_trait]
pub trait StoreFactory: Debug + Send + Sync {
    /// Makes an empty place, for stores on this clock.
    ///
    /// # Errors
    /// Returns whatever error prevents that.
    async fn place(&self, clock: &ManualClock) -> Result<Box<dyn StorePlace>, BoxError>;

    /// Checks whether a place keeps what was committed after every store on it is gone.
    fn durable(&self) -> bool;

    /// Checks whether the stores take their time from the given clock. If not, laws that set the
    /// clock are skipped, and the other laws really wait (a few seconds in all).
    fn follows_clock(&self) -> bool {
        true
    }
}

/// Place where stores keep their data.
#[async_trait]
pub trait StorePlace: Debug + Send + Sync {
    /// Opens a store there, as one more process would.
    ///
    /// # Errors
    /// Returns whatever error prevents that.
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError>;
}

/// Result of checking a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Law is kept.
    Kept,
    /// Law does not apply to such a store, for this reason.
    Skipped(&'static str),
}

/// A law that is not kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("an error where there should be none: {error}"))
    }
}

#[derive(Debug, Clone, Copy)]
enum Needs {
    Nothing,
    /// Laws that open the store again.
    Durable,
    /// Laws that set the clock and open the store again.
    Clock,
}

/// Breaks the law with a message unless the condition holds.
macro_rules! hold {
    ($that:expr, $($said:tt)+) => {
        if !$that {
            return Err(crate::testkit::store_laws::Broken(format!($($said)+)));
        }
    };
}

/// Makes a list of laws from the names of their functions.
macro_rules! laws {
    ($needs:ident: $($name:ident),+ $(,)?) => {
        vec![$(crate::testkit::store_laws::StoreLaw {
            name: stringify!($name),
            needs: crate::testkit::store_laws::Needs::$needs,
            run: |bench| Box::pin($name(bench)),
        }),+]
    };
}

use {hold, laws};
