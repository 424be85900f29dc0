//! What happens in a history: drawn from its seed before it begins, so that steps can be left out of it.

use super::outside::{Calls, Proves};

/// Who there is. The first four have accounts on every server.
pub(super) const PEOPLE: [&str; 8] = ["alice", "dave", "erin", "bob", "carol", "alice-dba", "frank", "mallory"];
/// Those with accounts.
pub(super) const ACCOUNTS: usize = 4;
/// Which roles there are.
pub(super) const ROLES: [&str; 5] = ["reader", "writer", "admin", "owner", "other"];
/// The targets, each with the place of its server.
pub(super) const TARGETS: [(&str, usize); 4] = [("a1", 0), ("a2", 0), ("wide", 0), ("b1", 1)];
/// The target of the other tenant, behind those: it leads to the first server.
pub(super) const ELSEWHERE: &str = "o1";
/// The servers that targets lead to at first. The second knows no grantors.
pub(super) const SERVERS: usize = 2;
/// All servers: behind those, for each, one that has nothing to do with it, and one that is a copy of it.
pub(super) const ALL_SERVERS: usize = 6;

/// The server that has nothing to do with this one, and may answer under its name.
pub(super) fn stranger_to(server: usize) -> usize {
    server.saturating_add(SERVERS)
}

/// The server that is a copy of this one.
pub(super) fn copy_of(server: usize) -> usize {
    server.saturating_add(SERVERS).saturating_add(SERVERS)
}

/// Whether the server knows no grantors, as the second.
pub(super) fn is_second(server: usize) -> bool {
    server.checked_rem(SERVERS) == Some(1)
}

/// The place of a target, the other tenant's behind the others.
pub(super) fn place_of(target: &str) -> Option<usize> {
    let place = TARGETS.iter().position(|(name, _)| *name == target);
    place.or((target == ELSEWHERE).then_some(TARGETS.len()))
}

/// Whose the target of this place is.
pub(super) fn tenant_of(target: usize) -> &'static str {
    if target < TARGETS.len() { "default" } else { "other" }
}

/// Where the targets lead at first.
pub(super) fn straight() -> Vec<usize> {
    TARGETS.iter().map(|(_, server)| *server).chain([0]).collect()
}

/// A history before it is run.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// The major version of the first server; the second is a 15.
    pub(super) version: u32,
    /// Whether a node keeps its name when it is started again.
    pub(super) same_name: bool,
    /// Nothing ever fails: what is due has to be done at once.
    pub(super) quiet: bool,
    /// Whether the store has a replica to fail over to.
    pub(super) replicated: bool,
    /// Whether other servers come to answer under the names of targets.
    pub(super) moving: bool,
    /// Whether accounts are renamed.
    pub(super) renaming: bool,
    /// Each with a number of its own, which it keeps when others are left out.
    pub(super) steps: Vec<(u64, Step)>,
}

/// Which server answers under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// The one that it was at first.
    First,
    /// One that has nothing to do with it.
    Stranger,
    /// A copy of it, made at that moment or earlier.
    Copy { fresh: bool },
}

/// One thing that happens. Nodes and accesses are picked among those that there are then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Request {
        node: usize,
        who: usize,
        role: usize,
        target: usize,
        secs: u64,
        /// For somebody else.
        receiver: Option<usize>,
        start_in: u64,
        keyed: bool,
        /// In an emergency.
        emergency: bool,
        proves: Proves,
    },
    /// A request in the other tenant.
    RequestElsewhere {
        node: usize,
        who: usize,
        role: usize,
        secs: u64,
    },
    /// Somebody of one tenant reaches for an access of the other.
    Intrude {
        node: usize,
        pick: u64,
    },
    Decide {
        node: usize,
        who: usize,
        pick: u64,
        yes: bool,
        proves: Proves,
    },
    /// The requester proves that it is he.
    Confirm {
        node: usize,
        pick: u64,
        proves: Proves,
    },
    /// Somebody lets another decide in his place, or takes that back.
    Delegate {
        node: usize,
        who: usize,
        to: usize,
        secs: Option<u64>,
    },
    /// Somebody reviews an emergency.
    Review {
        node: usize,
        who: usize,
        pick: u64,
    },
    /// An outside system calls back, or somebody who says that he is it.
    Callback {
        node: usize,
        pick: u64,
        calls: Calls,
    },
    Release {
        node: usize,
        pick: u64,
    },
    Cancel {
        node: usize,
        pick: u64,
    },
    Revoke {
        node: usize,
        who: usize,
        pick: u64,
    },
    Extend {
        node: usize,
        pick: u64,
        secs: u64,
    },
    Stop {
        node: usize,
        who: usize,
        scope: u64,
    },
    Resume {
        node: usize,
    },
    Policy {
        node: usize,
        which: usize,
    },
    Reconcile {
        node: usize,
        target: usize,
        enforce: bool,
    },
    Pass {
        millis: u64,
    },
    /// Everything stands still for so long, as a machine that is suspended.
    Jump {
        secs: u64,
    },
    /// How often calls fail from now on, in a thousand.
    Weather {
        store: u64,
        database: u64,
    },
    Kill {
        node: usize,
    },
    Start {
        node: usize,
    },
    Pause {
        node: usize,
        millis: u64,
    },
    /// The node is killed, or paused, at one of its next awaits.
    Ambush {
        node: usize,
        calls: u64,
        in_store: bool,
        after: bool,
        pause: Option<u64>,
    },
    ServerStop {
        server: usize,
    },
    ServerStart {
        server: usize,
        read_only: bool,
    },
    /// A membership that is given, or taken, by hand.
    Standing {
        server: usize,
        account: usize,
        role: usize,
        give: bool,
    },
    /// One that the broker's own account gave by hand.
    Orphan {
        server: usize,
        account: usize,
        role: usize,
    },
    /// One of ours is taken away by hand.
    Vanish {
        server: usize,
        account: usize,
        role: usize,
    },
    /// The server comes back from a backup in which it still was.
    Reappear {
        server: usize,
        pick: u64,
    },
    Session {
        server: usize,
        account: usize,
    },
    Hold {
        server: usize,
        account: usize,
        role: usize,
    },
    LetGo,
    StoreClock {
        millis: i64,
    },
    ServerClock {
        server: usize,
        millis: i64,
    },
    LoseClaims,
    /// Another server answers under the target's name, or under all names that lead to the first server.
    Lead {
        target: Option<usize>,
        to: Lead,
        /// After so many calls of the target, be it in the middle of a pass; at once where none.
        calls: Option<u64>,
        /// In the middle of the call that changes something: what it did is done, and another server is looked at.
        amid: bool,
        /// After so many milliseconds it leads back.
        back: Option<u64>,
    },
    /// An operator confirms what a target is now.
    ConfirmTarget {
        node: usize,
        pick: u64,
        /// With the same data.
        same: bool,
    },
    /// An account is renamed, or dropped and made anew under its name.
    Rename {
        server: usize,
        account: usize,
        anew: bool,
    },
    /// Who was renamed gets his name back.
    RenameBack {
        server: usize,
    },
    /// The store fails over to a replica that is so many steps behind, and its nodes are started again.
    FailOver {
        behind: usize,
    },
}
