//! Worlds of the database laws around real servers.

pub mod mssql;
pub mod mysql;
mod password;
pub mod postgres;
