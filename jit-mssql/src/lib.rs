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
//! The SQL Server adapter of jit: SQL Server 2017 and later, Azure SQL.
//!
//! ```no_run
//! use std::sync::Arc;
//! use jit_core::database::{Database, FileCredentials};
//! use jit_mssql::{MsSqlConfig, MsSqlDatabase};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = MsSqlConfig::from_url("mssql://jit_broker@db.example:1433/orders")?
//!     .credentials(Arc::new(FileCredentials::new("/run/secrets/orders")));
//! let database = MsSqlDatabase::new(config)?; // connects to nothing yet
//! for finding in database.check(&[database.role("orders_write")?]).await? {
//!     println!("{}: {}", finding.message, finding.mend.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Whose roles
//!
//! The database in the URL says whose roles a target has. Mostly they are that database's own: `orders_write`, given to its users (mapped to a login, or contained). With
//! `master` they are the server's, written `server::audit`, given to logins: such a target's realm is the server, so that a role of the server is never held through two
//! databases that do not know of each other. One server can be many targets. An account is named `alice` in both: the user of that name, or the login.
//!
//! # The broker
//!
//! jit logs in with a login of its own, which can see and end sessions, see who is in a role and change the requestable roles, and nothing else.
//! [`Database::set_up`](jit_core::database::Database::set_up) has the script for `sqlcmd` that makes it or mends it, with what ends roles when every process of jit is dead:
//! two tables in a schema `jit`, and a job of SQL Server Agent that the broker owns and that can do no more than the broker may.
//!
//! In Azure SQL Database it is a contained user of the database with `KILL DATABASE CONNECTION` and `VIEW DATABASE STATE` instead of the first two.
//!
//! A fixed role (`db_datareader`) can be given by `db_owner` only, which the broker must not be: put a role of your own into it, and request that.
//!
//! # What to know
//!
//! - Names are taken exactly. Most servers find `Alice` when asked for `alice`; jit does not, and says that there is no such account.
//! - The catalog does not say who granted a membership: what an account held before is seen before the grant, and is left alone.
//! - Whoever may impersonate an account (`EXECUTE AS`) can use its roles: such an account is refused unless a rule accepts it (`account_members`), and their sessions end too.
//! - Logins of a directory's group cannot be given a role: whose sessions are theirs the server does not say.
//! - Every change is one transaction of one round trip, in which the server's own clock is compared with the order's deadline. The name of the call stands in the
//!   session's context (`sys.dm_exec_sessions.context_info`) while it works.
//! - The server's certificate is verified, chain and name, before the login; a CA file is trusted instead of the system's roots. A server without a certificate of its own
//!   shows a self-signed one, which is refused.
//! - All statements stand in `sql.rs`, for review.

mod account;
mod batch;
mod belongings;
mod check;
mod config;
mod connect;
mod database;
mod dead_man;
mod error;
mod grant;
mod observe;
mod pool;
mod revoke;
mod row;
mod sessions;
mod settle;
mod sql;
mod tls;

pub use config::{ConfigError, MsSqlConfig};
pub use database::MsSqlDatabase;
