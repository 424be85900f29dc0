//! Worlds in which the database laws run on real servers.

pub mod mssql;
pub mod mysql;
mod password;
pub mod postgres;
