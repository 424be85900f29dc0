//! What jit and a database tell each other: memberships, observations, orders and reports.
//!
//! The model decides by these words, and [`crate::database`] makes them a contract. So this module
//! knows neither.

mod dead_mans_switch;
mod order;
mod owned_objects;
mod rejection;
mod report;
mod seen;

pub use dead_mans_switch::{ArmOrder, Armed, DEAD_MANS_SWITCH_GRACE, DeadMansSwitch, Disarmed, SwitchKind};
pub use order::{DefaultRole, RevokeHow, RevokeOrder, SettleOrder};
pub use owned_objects::{MOST_OWNED_OBJECTS, Owned, OwnedObject, OwnedObjects};
pub use rejection::Rejection;
pub(crate) use rejection::anothers;
pub use report::{Granted, Identity, RevokeReport};
pub use seen::{
    Check, CheckSubject, Grantor, Holder, Holders, Membership, MembershipGrant, ObjectId, Observation, OfTheBroker,
    PreparedTransaction, Seen, Session, Severity,
};
