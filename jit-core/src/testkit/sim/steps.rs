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
/// The server that knows no grantors.
pub(super) const SERVERS: usize = 2;

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
    /// Each with a number of its own, which it keeps when others are left out.
    pub(super) steps: Vec<(u64, Step)>,
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
    /// The store fails over to a replica that is so many steps behind, and its nodes are started again.
    FailOver {
        behind: usize,
    },
}
