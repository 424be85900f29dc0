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
//! The adapter of jit for MySQL (8.0 to 9.x) and MariaDB (10.6 to 11.x). Which of the two it is, the server says.
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
//!     println!("{}: {}", finding.message, finding.mend.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # The broker
//!
//! jit logs in as an account of its own, which can grant the requestable roles, see and end sessions, and read who holds what.
//! [`Database::set_up`](jit_core::database::Database::set_up) has the script for `mysql` and `mariadb` that makes it or mends it, with what is told below.
//!
//! A role that was granted is usable at once where it is a default role (`activation = "default"`, what rules say unless told). To change another
//! account's default roles takes `CREATE USER` or write access to the tables of all accounts, which nobody should have who stands on a network;
//! a procedure has it instead. Without it rules need
//! `activation = "session"`, and people run `SET ROLE`.
//!
//! That procedure runs with its definer's rights, so that it is called only while its text, its settings and its definer are what jit expects,
//! compared in the packet that calls it. An administrator has to be its definer, and has to stay: where they leave, make it anew.
//!
//! # The dead man's switch
//!
//! So that roles end when every process of jit is dead, each broker makes an event for each membership that it granted, in a database of its own
//! ([`home`]) in which nobody else has rights. The broker needs `EVENT` there.
//! An event runs with the rights of who made or changed it last. So nobody but the broker can change what runs as the broker.
//! Accounts that can act as the account lose their sessions, too. [`LEASES`] is a view for people who want to see what is armed.
//!
//! # Ending sessions without the right to
//!
//! Where a vendor gives nobody that right, `EXECUTE` on `mysql.rds_kill` or `mysql.az_kill` will do, or on a procedure `jit.end_session(id BIGINT)`
//! that an administrator made `SQL SECURITY DEFINER`.
//!
//! # What stays behind
//!
//! Whoever may not run or change an event, a view, a trigger or a routine does not see it. The procedure `jit.definitions` shows the broker what an
//! account or a role defined. In MariaDB a role can be a definer: whoever has it makes a view in a database of their own, and reads its tables for good.
//!
//! # What to know
//!
//! - Accounts are a user and a host, always: `alice` is `'alice'@'%'`.
//! - Neither server records who granted a role, so that only what was seen before a grant tells ours from others'.
//! - Every change is one packet, in which the server's own clock is compared with the order's deadline.
//! - All statements stand in `sql.rs` and `sql/`, for review.

mod account;
mod belongings;
mod block;
mod check;
mod config;
mod connect;
mod database;
mod dead_man;
mod default_role;
mod error;
mod grant;
mod observe;
mod pool;
mod powers;
mod relay;
mod revoke;
mod rights;
mod sessions;
mod settle;
mod sql;
mod unblock;

pub use config::{ConfigError, MySqlConfig};
pub use database::MySqlDatabase;
pub use sql::dead_man::{LEASES, dead_man_for, home};
pub use sql::hosts::{certain, perhaps, specific};
pub use sql::rights::USER_COLUMNS as USER_COLUMNS_IN_MYSQL;
pub use sql::routines::{procedures_in_mariadb, procedures_in_mysql};
