//! What happens, as it happens, for those who watch.

use super::view::AccessView;
use crate::clock::Time;
use crate::fact::Fact;
use crate::id::TenantId;

/// Something that happened. It was committed before it is told; who listens too slowly misses some and reads the log.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Happened {
    /// In which tenant.
    pub tenant: TenantId,
    /// What.
    pub fact: Fact,
    /// When, the store's time, UTC.
    pub at: Time,
    /// The access as it is now, where it is about one.
    pub access: Option<AccessView>,
}
