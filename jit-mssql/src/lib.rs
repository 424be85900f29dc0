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
//!     println!("{}: {}", finding.message, finding.remedy.unwrap_or_default());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Roles of a target
//!
//! The database in the URL decides which roles a target has. Mostly these are that database's own:
//! `orders_write`, granted to its users (mapped to a login, or contained). With `master` they are
//! the server's, written `server::audit` and granted to logins. Such a target's realm is the
//! server, so that a role of the server is never held through two databases that do not know of
//! each other. One server can be many targets. An account is named `alice` in both cases: the user
//! of that name, or the login.
//!
//! # The broker
//!
//! jit logs in with a login of its own, the broker. The broker can see and end sessions, see who is
//! in a role and change the requestable roles, and nothing else.
//! [`Database::set_up`](jit_core::database::Database::set_up) returns a script for `sqlcmd` that
//! creates or repairs it. The script also sets up what ends roles when every process of jit is
//! dead: two tables in a schema `jit`, and a job of SQL Server Agent. The broker owns the job,
//! which can do no more than the broker may.
//!
//! In Azure SQL Database the broker is a contained user of the database. It has `KILL DATABASE
//! CONNECTION` and `VIEW DATABASE STATE` instead of the first two rights.
//!
//! Only `db_owner` can grant a fixed role (`db_datareader`), and the broker must not be that. Put a
//! role of your own into the fixed role, and request your role.
//!
//! # What to know
//!
//! - Names are compared exactly. Most servers find `Alice` when asked for `alice`. jit does not,
//!   and says that there is no such account.
//! - The catalog does not say who granted a membership. jit sees what an account held before the
//!   grant, and leaves it alone.
//! - A login that may impersonate an account (`EXECUTE AS`) can use the account's roles. Such an
//!   account is refused unless a rule accepts it (`account_members`), and the sessions of those
//!   logins end too.
//! - Logins of a directory's group cannot be granted a role: the server does not say which sessions
//!   are theirs.
//! - Every change is one transaction of one round trip. In it the server compares its own clock
//!   with the order's deadline. The call's name stands in the session's context
//!   (`sys.dm_exec_sessions.context_info`) while the call works.
//! - The server's certificate is verified, chain and name, before the login. A CA file is trusted
//!   instead of the system's roots. A server without a certificate of its own shows a self-signed
//!   one, which is refused.
//! - All statements are in `sql/`, for review.

mod account;
mod batch;
mod check;
mod config;
mod connect;
mod database;
mod dead_mans_switch;
mod error;
mod grant;
mod observe;
mod owned_objects;
mod revoke;
mod row;
mod sessions;
mod settle;
mod sql;
mod tls;

pub use config::MsSqlConfig;
pub use database::MsSqlDatabase;
pub use jit_core::internal::adapter::ConfigError;
