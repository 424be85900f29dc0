//! Laws that every [`Database`](crate::database::Database) keeps, as data. Each law runs against a
//! fresh [`World`].
//!
//! An adapter's own test makes a world for each law and runs the law in it. If the world lacks
//! something, the test is shown as ignored, never as passed:
//!
//! ```
//! use std::sync::Arc;
//! use jit_core::clock::SystemClock;
//! use jit_core::testkit::database_laws::{World, database_laws};
//! use jit_core::testkit::mock::{MockServer, MockWorld, Profile};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! for law in database_laws().iter().filter(|law| law.name.starts_with("law_07")) {
//!     let server = MockServer::new(Profile::postgres(17), Arc::new(SystemClock));
//!     let world: Arc<dyn World> = Arc::new(MockWorld::new(server));
//!     match law.missing(&*world) {
//!         Some(why) => println!("{} ignored: {why}", law.name),
//!         None => (law.run)(world).await.unwrap(),
//!     }
//! }
//! # }
//! ```

mod batches;
mod broker;
mod dead_mans_switch;
mod default_roles;
mod facts;
mod gone;
mod leftovers;
mod names;
mod network;
mod overlap;
mod prepared;
mod scene;
mod sessions;
mod settle;
mod standing;
mod two_stores;
mod world;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use facts::{FACTS, Fact};
pub use scene::witness;
pub use world::{
    Act, Attempt, By, CERTIFICATE_NAME, Certificate, Hold, Login, Need, Plant, Privilege, Row, Tried, UserSession,
    WRONG_PASSWORD, World,
};

use crate::store::BoxError;

/// Outcome of a law: nothing, or an error that says how the law was broken.
pub type Outcome = Result<(), BoxError>;

/// Runs a law against a world.
pub type Run = fn(Arc<dyn World>) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// A single law, with what it needs to run.
#[derive(Debug, Clone, Copy)]
pub struct DatabaseLaw {
    /// Name: `law_06_...` by the law's number, or `contract_...` if only the contract demands it.
    pub name: &'static str,
    /// Needs of the law that the engine and the environment have to meet.
    pub needs: &'static [Need],
    /// Measured facts that the adapter is shown to cope with, by [`Fact::id`].
    pub facts: &'static [&'static str],
    /// Function that runs the law.
    pub run: Run,
}

impl DatabaseLaw {
    /// Returns why the law cannot run in this world; none if it can.
    #[must_use]
    pub fn missing(&self, world: &dyn World) -> Option<&'static str> {
        self.needs.iter().find_map(|need| world.lacks(*need))
    }

    /// Checks whether the law stops and restarts its server.
    #[must_use]
    pub fn wants_own_server(&self) -> bool {
        self.needs.contains(&Need::OwnServer)
    }
}

/// Returns every law, in the order of the names.
#[must_use]
pub fn database_laws() -> Vec<DatabaseLaw> {
    let rooms = [
        batches::LAWS,
        broker::LAWS,
        dead_mans_switch::LAWS,
        default_roles::LAWS,
        gone::LAWS,
        leftovers::LAWS,
        names::LAWS,
        network::LAWS,
        overlap::LAWS,
        prepared::LAWS,
        sessions::LAWS,
        settle::LAWS,
        standing::LAWS,
        two_stores::LAWS,
    ];
    let mut laws: Vec<DatabaseLaw> = rooms.concat();
    laws.sort_by_key(|law| law.name);
    laws
}

/// Defines the laws of one module: `name: [needs], [facts];`.
macro_rules! laws {
    ($($name:ident: [$($need:ident),*], [$($fact:literal),*];)*) => {
        pub(super) const LAWS: &[super::DatabaseLaw] = &[$(super::DatabaseLaw {
            name: stringify!($name),
            needs: &[$(super::Need::$need),*],
            facts: &[$($fact),*],
            run: |world| Box::pin($name(world)),
        }),*];
    };
}
use laws;

/// Returns an error unless the condition holds.
fn must(holds: bool, otherwise: impl Into<String>) -> Outcome {
    if holds { Ok(()) } else { Err(otherwise.into().into()) }
}
