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
//! jit logs in as an account of its own, which can grant the requestable roles, see and end sessions, and read who holds what. On MySQL:
//!
//! ```sql
//! CREATE USER jit_broker@'%' IDENTIFIED BY '...' REQUIRE SSL;
//! GRANT PROCESS, CONNECTION_ADMIN ON *.* TO jit_broker@'%';
//! GRANT SELECT ON mysql.role_edges TO jit_broker@'%';
//! GRANT SELECT ON mysql.default_roles TO jit_broker@'%';
//! GRANT SELECT ON mysql.global_grants TO jit_broker@'%';
//! GRANT SELECT ON mysql.db TO jit_broker@'%';
//! GRANT SELECT ON mysql.tables_priv TO jit_broker@'%';
//! GRANT SELECT ON mysql.procs_priv TO jit_broker@'%';
//! GRANT SELECT ON mysql.proxies_priv TO jit_broker@'%';
//! -- every right, and no password:
//! GRANT SELECT (User, Host, Select_priv, Insert_priv, Update_priv, Delete_priv, Create_priv, Drop_priv, Reload_priv, Shutdown_priv, Process_priv,
//!   File_priv, Grant_priv, References_priv, Index_priv, Alter_priv, Show_db_priv, Super_priv, Create_tmp_table_priv, Lock_tables_priv, Execute_priv,
//!   Repl_slave_priv, Repl_client_priv, Create_view_priv, Show_view_priv, Create_routine_priv, Alter_routine_priv, Create_user_priv, Event_priv,
//!   Trigger_priv, Create_tablespace_priv, Create_role_priv, Drop_role_priv) ON mysql.user TO jit_broker@'%';
//! -- for each requestable role:
//! GRANT orders_write TO jit_broker@'%' WITH ADMIN OPTION;
//! ```
//!
//! On MariaDB:
//!
//! ```sql
//! CREATE USER jit_broker@'%' IDENTIFIED BY '...' REQUIRE SSL;
//! GRANT PROCESS, CONNECTION ADMIN ON *.* TO jit_broker@'%';
//! GRANT SELECT ON mysql.roles_mapping TO jit_broker@'%';
//! GRANT SELECT ON mysql.tables_priv TO jit_broker@'%';
//! GRANT SELECT ON mysql.procs_priv TO jit_broker@'%';
//! GRANT SELECT ON mysql.proxies_priv TO jit_broker@'%';
//! GRANT SELECT (User, Host, default_role, Super_priv) ON mysql.user TO jit_broker@'%';
//! -- for each requestable role:
//! GRANT orders_write TO jit_broker@'%' WITH ADMIN OPTION;
//! ```
//!
//! A role that was granted is usable at once where it is a default role (`activation = "default"`, what rules say unless told). To change another
//! account's default roles takes `CREATE USER` or write access to the tables of all accounts, which nobody should have who stands on a network;
//! a procedure has it instead, whose text [`Database::check`](jit_core::database::Database::check) prints. Without it rules need
//! `activation = "session"`, and people run `SET ROLE`.
//!
//! # The dead-man
//!
//! So that roles end when every process of jit is dead, the broker needs [`LEASES`], the routines of [`dead_man_in_mysql`] or
//! [`dead_man_in_mariadb`], and `EVENT` on the database `jit`: [`Database::check`](jit_core::database::Database::check) prints all of it.
//! Accounts that can act as the account (MySQL) lose their sessions, too.
//!
//! # What stays behind
//!
//! Whoever may not run or change an event, a view or a trigger does not see it, so that the broker needs [`DEFINITIONS_IN_MYSQL`] or
//! [`DEFINITIONS_IN_MARIADB`], which shows their names, to tell which of them an account made in a window.
//!
//! # What a role may allow
//!
//! A role is granted without a word where all that it allows ends with the membership: reading and changing ordinary databases, mostly. Any other
//! right is a power, which a rule has to accept by name (`can_grant = "accepted"`): rights on the whole server, on `mysql` and on `jit` but a few,
//! `SELECT` on all databases among them, which shows the passwords' hashes; the grant option, the admin option and `PROXY`. On MariaDB so are
//! `CREATE ROUTINE`, `EVENT` and `TRIGGER` everywhere, for what is made with them can run with the role's rights for good
//! (`DEFINER = CURRENT_ROLE`).
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
mod revoke;
mod rights;
mod sessions;
mod settle;
mod sql;
mod unblock;

pub use config::{ConfigError, MySqlConfig};
pub use database::MySqlDatabase;
pub use sql::dead_man::{LEASES, dead_man_in_mariadb, dead_man_in_mysql};
pub use sql::definitions::{DEFINITIONS_IN_MARIADB, DEFINITIONS_IN_MYSQL};
pub use sql::rights::USER_COLUMNS as USER_COLUMNS_IN_MYSQL;
pub use sql::{DEFAULT_ROLE_IN_MARIADB, DEFAULT_ROLE_IN_MYSQL};
