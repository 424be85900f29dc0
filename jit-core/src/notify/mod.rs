//! Notices to people: they commit together with the change that they tell of, and are delivered
//! later.

mod backoff;
mod deliver;
#[cfg(feature = "email")]
mod email;
mod notice;
mod notifier;
#[cfg(feature = "http")]
mod slack;
#[cfg(feature = "http")]
mod webhook;
#[cfg(any(feature = "email", feature = "http"))]
mod words;

pub use backoff::{GIVE_UP_AFTER, GIVE_UP_TRIES};
pub(crate) use deliver::{DeliveryRequest, deliver_due};
#[cfg(feature = "email")]
pub use email::{Email, EmailConfig, EmailError, MailTls};
pub use notice::Notice;
pub use notifier::{Notifier, NotifyError, TracingNotifier};
#[cfg(feature = "http")]
pub use slack::Slack;
#[cfg(feature = "http")]
pub use webhook::WebhookNotifier;

#[cfg(test)]
mod tests;
