//! The contract of [`Store`] as laws that any implementation can be held to.
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
//!     async fn place(&self, clock: &ManualClock) -> Result<Box<dyn StorePlace>, jit_core::store::BoxError> {
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

// What follows are tests, although they are compiled into the library for others.
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

/// Every law of the contract.
#[must_use]
pub fn store_laws() -> Vec<StoreLaw> {
    [changes::laws(), claims::laws(), identity::laws(), lanes::laws(), pages::laws(), log::laws(), time::laws()]
        .into_iter()
        .flatten()
        .collect()
}

/// One law.
#[derive(Debug, Clone, Copy)]
pub struct StoreLaw {
    /// What it demands; those of the design are called `law_NN_...`.
    pub name: &'static str,
    needs: Needs,
    run: fn(Bench) -> BoxFuture<'static, Result<(), Broken>>,
}

impl StoreLaw {
    /// Why the law says nothing of the factory's stores; none: it holds for them.
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

    /// Holds a new place of the factory to the law. It takes a tokio runtime of several threads, with its timers.
    ///
    /// # Errors
    /// [`Broken`] when the law is not kept, or the place cannot be opened.
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
    /// A place where nothing is kept yet, for stores on this clock.
    ///
    /// # Errors
    /// Whatever prevents that.
    async fn place(&self, clock: &ManualClock) -> Result<Box<dyn StorePlace>, BoxError>;

    /// Whether a place keeps what was committed when every store on it is gone.
    fn durable(&self) -> bool;

    /// Whether the stores' time is made of the clock that they are given. Where it is not, laws that set the clock are
    /// skipped, and the others really wait (a few seconds in all).
    fn follows_clock(&self) -> bool {
        true
    }
}

/// Where stores keep things.
#[async_trait]
pub trait StorePlace: Debug + Send + Sync {
    /// Opens a store there, as one more process would.
    ///
    /// # Errors
    /// Whatever prevents that.
    async fn open(&self) -> Result<Arc<dyn Store>, BoxError>;
}

/// What came of a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// It is kept.
    Kept,
    /// It says nothing of such a store; why.
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
    /// Laws about opening again.
    Durable,
    /// Laws that set the clock and open again.
    Clock,
}

/// Says of what a law was broken.
macro_rules! hold {
    ($that:expr, $($said:tt)+) => {
        if !$that {
            return Err(crate::testkit::store_laws::Broken(format!($($said)+)));
        }
    };
}

/// A list of laws by the names of their functions.
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
