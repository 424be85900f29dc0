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
//!     println!("{}: {}", finding.message, finding.mend.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The broker
//!
//! jit logs in as a role of its own, which can grant the requestable roles and end sessions, and nothing else. Not a superuser: every superuser's
//! grants are recorded under the bootstrap superuser, so that ours could not be told from anybody else's. [`Database::set_up`] has the script for
//! `psql` that makes it or mends it, with the switch below. On PostgreSQL 15 the admin option makes the broker a member of the role, so it must not
//! inherit (it ends sessions by `SET ROLE`).
//!
//! With `pg_read_all_stats` the broker sees when a session began, and ends none that came after a revoke. Where a
//! rule says `prepared = "rollback"`, only the owner of a prepared transaction can roll it back: the broker must be able to `SET ROLE` to the account
//! (`GRANT alice TO jit_broker WITH INHERIT FALSE, SET TRUE`), otherwise the transaction stays, and the end of the access is not verified.
//!
//! So that roles end when every process of jit is dead, the broker needs a table of leases in the target's database: [`dead_mans_switch`] has
//! the statements for it alone. What looks at it is a job of `pg_cron`, where that is installed there, the broker has `USAGE` on the schema `cron`, and
//! the job was seen to run; else a backend of the broker's that outlives its client and ends with the server. That backend keeps the database
//! in use while anything is armed: `DROP DATABASE ... WITH (FORCE)` ends it, as `pg_terminate_backend` does.
//! Nothing that somebody else owns, may write to or has put code on is used: then there is no switch here, and [`check`] says why.
//!
//! [`check`]: jit_core::database::Database::check
//! [`Database::set_up`]: jit_core::database::Database::set_up
//!
//! # What to know
//!
//! - Connect directly, or through a pooler in session mode: a pooler that hands one server connection to many clients hides whose it is.
//! - Memberships are given with `INHERIT TRUE, SET FALSE` on 16 and later (`SET TRUE` where the rule allows it), plainly on 15.
//! - Every change is one transaction of one packet, in which the server's own clock is compared with the order's deadline.
//! - All statements stand in `sql.rs` and `sql/`, for review.

mod account;
mod belongings;
mod block;
mod check;
mod config;
mod connect;
mod database;
mod dead_man;
mod error;
mod grant;
mod observe;
mod pool;
mod prepared;
mod revoke;
mod said;
mod sessions;
mod settle;
mod sql;
mod store;
mod unblock;

pub use config::{ConfigError, PostgresConfig};
pub use database::PostgresDatabase;
pub use dead_man::dead_mans_switch;
pub use store::{PostgresStore, StoreConfig, StoreUsers};
