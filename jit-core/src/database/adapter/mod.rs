//! Shared parts of the adapters, for the author of another adapter too: the pool and its calls,
//! settling, the configuration's base, URLs, answers that are worded alike. They change without
//! notice.
#![expect(clippy::disallowed_methods, reason = "the adapters wait for real servers")]

mod answers;
mod findings;
mod meanwhile;
mod pool;
mod settings;
mod settle;
mod time;
mod url;

pub(in crate::database) use answers::at;
pub use answers::{
    HOW_TO_ALLOW, HOW_TO_MAKE, account_has_members, applied_unseen, copied, is_the_broker, late, lost, none_applied,
    refused_name, role_can_grant,
};
pub use findings::{can_grant, finding, login_of_its_own, no_dead_mans_switch};
pub use meanwhile::meanwhile;
pub use pool::{Connects, Kept, Lease, Pool};
pub use settings::{ConfigError, Settings};
pub use settle::{Settling, UNTIL_GONE, not_ended};
pub use time::{Budget, ServerClock};
pub use url::{SAID_BY_CREDENTIALS, SAID_BY_TLS, decoded, percent_decoded, refuse_parameters, without_password};

#[doc(inline)]
pub use crate::adapter_settings;
pub use crate::database::mark::{store_in, stores_in};
pub use crate::database::password::Password;
#[cfg(feature = "tls")]
pub use crate::database::tls::{TlsError, client_config, trusted};
pub use crate::names::name_for;
