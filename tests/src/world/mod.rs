//! Worlds of the database laws around real servers.

pub mod postgres;
