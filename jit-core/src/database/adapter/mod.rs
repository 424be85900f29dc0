//! Shared parts of the adapters: the time left, the server's clock, one error for many orders,
//! settling, passwords in URLs.
#![expect(clippy::disallowed_methods, reason = "the adapters wait for real servers")]

mod answers;
mod call;
mod findings;
mod settle;
mod time;
mod url;

pub use answers::{HOW_TO_MAKE, all_certain, copied, late, none_applied, refused_name, too_slow, unknown_to_all};
pub use call::{Lends, Lent, change, read};
pub use findings::finding;
pub use settle::{Settling, UNTIL_GONE, not_ended, settle, settle_limit};
pub use time::{Budget, ServerClock};
pub use url::{percent_decoded, without_password};

pub use crate::names::name_for;
