//! Telling people: notices, which commit together with what they tell of, and their delivery.

mod backoff;
mod deliver;
mod notice;
mod notifier;

pub use backoff::{GIVE_UP_AFTER, GIVE_UP_TRIES};
pub use deliver::{DeliverAsk, Outbox, deliver_due};
pub use notice::{Notice, OutboxRecord, dead_label};
pub use notifier::{Notifier, NotifyError, TracingNotifier};

#[cfg(test)]
mod tests;
