//! A TDS server double: enough of TDS 7.4 and Transact-SQL for independent clients to log in and
//! manage roles, over a catalog in memory. It tests an adapter's own code and its conversation with
//! a driver. It proves nothing about SQL Server itself.
#![forbid(unsafe_code)]

mod connection;
mod error;
mod instance;
mod options;
mod port;
mod run;
mod server;
mod sql;
mod wire;

pub use error::SqlError;
pub(crate) use error::{Stop, error};
pub use options::{Options, Tls};
pub use port::free_port;
pub use server::{Rows, SessionSeen, TdsServer};
pub use sql::{Data, Ty, Value};
