//! Code that is not ours: what an embedder's policy, directory, adapter, sink... does cannot break anything else (law 18).
//!
//! Each of these traits is called through a wrapper that the builder puts around it, so that no call can forget it. A panic, an answer
//! that does not come and an answer that cannot be meant are errors of that call.

mod calls;
mod database;
mod outside;
mod people;
mod store;

use std::any::Any;

pub(super) use self::calls::{Caught, Failed};
pub(super) use self::database::{database, gave_no_answer};
pub(super) use self::outside::{approver, factor, notifier, sink};
pub(super) use self::people::{Rules, directory};
pub(super) use self::store::store;

/// What a panic said.
pub(super) fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.map_or_else(|| "nothing".to_owned(), |text| text.chars().take(LONGEST).collect())
}

/// How many characters of what a panic said are kept.
const LONGEST: usize = 200;
