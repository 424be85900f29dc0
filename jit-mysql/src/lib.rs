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
//! Adapter of jit for MySQL (8.0 to 9.x) and MariaDB (10.6 to 11.x). The server says which of the
//! two it is.
//!
//! ```no_run
//! use std::sync::Arc;
//! use jit_core::database::{Database, FileCredentials};
//! use jit_mysql::{MySqlConfig, MySqlDatabase};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = MySqlConfig::from_url("mysql://jit_broker@db.example:3306")?
//!     .credentials(Arc::new(FileCredentials::new("/run/secrets/orders")));
//! let database = MySqlDatabase::new(config)?; // connects to nothing yet
//! for finding in database.check(&[database.role("orders_write")?]).await? {
//!     println!("{}: {}", finding.message, finding.remedy.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The broker
//!
//! jit logs in as an account of its own. This account can grant the requestable roles, see and end
//! sessions, and read who holds what. [`Database::set_up`](jit_core::database::Database::set_up)
//! returns the script for `mysql` and `mariadb` that creates or repairs the account, with
//! everything described below.
//!
//! A granted role is usable at once if it is a default role (`activation = "default"`, which is
//! what a rule has unless it says otherwise). Changing the default roles of another account takes
//! `CREATE USER` or write access to the tables of all accounts. No account that is reachable from a
//! network should have either, so a procedure has it instead. Without this procedure rules need
//! `activation = "session"`, and people run `SET ROLE`.
//!
//! The procedure runs with the rights of its definer. So the broker calls it only while its text,
//! its settings and its definer are what jit expects. The packet that calls it compares them first.
//! The definer has to be an administrator, and the account has to stay: if it is dropped, create
//! the procedure anew.
//!
//! # The dead man's switch
//!
//! Roles have to end even when every process of jit is dead. So each broker creates an event for
//! each membership that it granted. The events are in a database of its own ([`home`]) in which no
//! other account has rights. The broker needs `EVENT` there.
//!
//! An event runs with the rights of the account that created or changed it last. So only the broker
//! can change what runs as the broker. Accounts that can act as the account lose their sessions,
//! too. [`LEASES`] is a view for people who want to see which events are armed.
//!
//! # Ending sessions without the right to
//!
//! Some vendors give no account that right. There, `EXECUTE` on `mysql.rds_kill` or `mysql.az_kill`
//! is enough, or on a procedure `jit.end_session(id BIGINT)` that an administrator created with
//! `SQL SECURITY DEFINER`.
//!
//! # Leftovers
//!
//! An account that may not run or change an event, a view, a trigger or a routine does not see it.
//! The procedure `jit.definitions` shows the broker what an account or a role defined. In MariaDB a
//! role can be a definer. A grantee can create a view in a database of their own with the role as
//! its definer, and then reads the role's tables for good.
//!
//! # What to know
//!
//! - An account is always a user and a host: `alice` is `'alice'@'%'`.
//! - Neither server records who granted a role. So only a look before the grant tells our
//!   memberships from those of others.
//! - Every change is one packet, which compares the server's own clock with the deadline of the
//!   order.
//! - All statements are in `sql/`, for review.

mod account;
mod block;
mod check;
mod config;
mod connect;
mod database;
mod dead_mans_switch;
mod default_role;
mod error;
mod grant;
mod observe;
mod owned_objects;
mod powers;
mod relay;
mod revoke;
mod rights;
mod sessions;
mod settle;
mod sql;
mod unblock;

pub use config::MySqlConfig;
pub use database::MySqlDatabase;
pub use jit_core::internal::adapter::ConfigError;
pub use sql::dead_mans_switch::{LEASES, dead_mans_switch_for, home};
pub use sql::hosts::{certain, may_match, place, specific};
pub use sql::rights::{USER_COLUMNS as USER_COLUMNS_IN_MYSQL, USER_RIGHTS_IN_MARIADB};
pub use sql::routines::{procedures_in_mariadb, procedures_in_mysql};
