#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]
//! The PostgreSQL adapter of jit: PostgreSQL 15 to 18, and later.
//!
//! ```no_run
//! use std::sync::Arc;
//! use jit_core::database::{Database, FileCredentials};
//! use jit_postgres::{PostgresConfig, PostgresDatabase};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = PostgresConfig::from_url("postgres://jit_broker@db.example:5432/orders")?
//!     .credentials(Arc::new(FileCredentials::new("/run/secrets/orders")));
//! let database = PostgresDatabase::new(config)?; // connects to nothing yet
//! for finding in database.check(&[database.role("orders_write")?]).await? {
//!     println!("{}: {}", finding.message, finding.remedy.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The broker
//!
//! jit logs in as a role of its own, the broker. The broker can grant the requestable roles and end
//! sessions, and nothing else. It must not be a superuser: the server records every superuser's
//! grants under the bootstrap superuser, so nobody could tell its grants from others' grants.
//! [`Database::set_up`] returns a script for `psql` that creates or repairs the broker, with the
//! dead man's switch described below. On PostgreSQL 15 the admin option makes the broker a member
//! of the role. There it must not inherit; it ends sessions by `SET ROLE`.
//!
//! With `pg_read_all_stats` the broker sees when a session began, and ends none that began after a
//! revoke. A rule can say `prepared = "rollback"`, but only the owner of a prepared transaction can
//! roll it back. The broker must therefore be able to `SET ROLE` to the account (`GRANT alice TO
//! jit_broker WITH INHERIT FALSE, SET TRUE`). Otherwise the transaction stays, and the end of the
//! access is not verified.
//!
//! The dead man's switch ends roles when every process of jit is dead. For it the broker needs a
//! table of leases in the target's database: [`dead_mans_switch`] returns the statements for this
//! table alone. One of two things reads the table:
//!
//! - A job of `pg_cron`, if `pg_cron` is installed in that database, the broker has `USAGE` on the
//!   schema `cron`, and the job was seen to run.
//! - Otherwise a backend of the broker that outlives its client and ends with the server. That
//!   backend keeps the database in use while anything is armed. `DROP DATABASE ... WITH (FORCE)`
//!   ends it, as `pg_terminate_backend` does.
//!
//! The adapter uses nothing that somebody else owns, may write to or has put code on. In that case
//! the database has no switch, and [`check`] says why.
//!
//! [`check`]: jit_core::database::Database::check
//!
//! [`Database::set_up`]: jit_core::database::Database::set_up
//!
//! # What to know
//!
//! - Connect directly, or through a pooler in session mode. A pooler that hands one server
//!   connection to many clients hides which client uses it.
//! - Memberships are granted with `INHERIT TRUE, SET FALSE` on 16 and later (`SET TRUE` if the rule
//!   allows it). On 15 they are granted without options.
//! - Every change is one transaction of one packet. In it the server compares its own clock with
//!   the order's deadline.
//! - All statements are in `sql/`, for review.

mod account;
mod block;
mod check;
mod config;
mod connect;
mod database;
mod dead_mans_switch;
mod error;
mod grant;
mod observe;
mod owned_objects;
mod prepared;
mod revoke;
mod server_text;
mod sessions;
mod settle;
mod sql;
mod store;
mod unblock;

pub use config::PostgresConfig;
pub use database::PostgresDatabase;
pub use dead_mans_switch::dead_mans_switch;
pub use jit_core::internal::adapter::ConfigError;
pub use store::{PostgresStore, StoreConfig, StoreUsers};
