//! Containment of foreign code: an embedder's policy, directory, adapter or sink cannot break
//! anything else (law 18).
//!
//! The builder puts a wrapper around each of these traits, so that no call can bypass it. A panic,
//! a missing answer and an impossible answer are errors of that call.

mod calls;
mod database;
mod outside;
mod rules;
mod store;

use std::any::Any;

pub(super) use self::calls::{Caught, Failed};
pub(super) use self::database::{database, gave_no_answer};
pub(super) use self::outside::{approver, factor, notifier, sink};
pub(super) use self::rules::{Rules, directory};
pub(super) use self::store::store;

/// Returns the message of a panic.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "nothing".to_owned(), |text| text.chars().take(LONGEST).collect())
}

/// Number of characters of a panic message that are kept.
const LONGEST: usize = 200;
