//! Steps of a history. They are drawn from its seed before it begins, so that steps can be left
//! out.

use super::systems::{Calls, Proves};

/// Everybody in a history. The first four have accounts on every server.
pub(super) const PEOPLE: [&str; 8] = ["alice", "dave", "erin", "bob", "carol", "alice-dba", "frank", "mallory"];
/// Number of people with accounts.
pub(super) const ACCOUNTS: usize = 4;
/// Names of the roles.
pub(super) const ROLES: [&str; 5] = ["reader", "writer", "admin", "owner", "other"];
/// Targets, each with the index of its server.
pub(super) const TARGETS: [(&str, usize); 4] = [("a1", 0), ("a2", 0), ("wide", 0), ("b1", 1)];
/// Target of the other tenant, after the others: it leads to the first server.
pub(super) const ELSEWHERE: &str = "o1";
/// Number of servers that targets lead to at first. The second one knows no grantors.
pub(super) const SERVERS: usize = 2;
/// Number of all servers. After the first ones come an unrelated server and a copy for each of
/// them.
pub(super) const ALL_SERVERS: usize = 6;

/// Returns the unrelated server that may answer under this one's name.
pub(super) fn stranger_to(server: usize) -> usize {
    server.saturating_add(SERVERS)
}

/// Returns the server that is a copy of this one.
pub(super) fn copy_of(server: usize) -> usize {
    server.saturating_add(SERVERS).saturating_add(SERVERS)
}

/// Checks whether the server knows no grantors, like the second one.
pub(super) fn is_second(server: usize) -> bool {
    server.checked_rem(SERVERS) == Some(1)
}

/// Returns the index of a target; the other tenant's target comes last.
pub(super) fn place_of(target: &str) -> Option<usize> {
    let place = TARGETS.iter().position(|(name, _)| *name == target);
    place.or((target == ELSEWHERE).then_some(TARGETS.len()))
}

/// Returns the tenant of the target with this index.
pub(super) fn tenant_of(target: usize) -> &'static str {
    if target < TARGETS.len() { "default" } else { "other" }
}

/// Returns the servers that the targets lead to at first.
pub(super) fn straight() -> Vec<usize> {
    TARGETS.iter().map(|(_, server)| *server).chain([0]).collect()
}

/// A history before it is run.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) seed: u64,
    pub(super) nodes: usize,
    /// Major version of the first server, a PostgreSQL.
    pub(super) version: u32,
    /// Flag: a node keeps its name when it is started again.
    pub(super) same_name: bool,
    /// Flag: nothing ever fails, so due work has to be done at once.
    pub(super) quiet: bool,
    /// Flag: the store has a replica to fail over to.
    pub(super) replicated: bool,
    /// Flag: other servers come to answer under the names of targets.
    pub(super) moving: bool,
    /// Flag: accounts are renamed.
    pub(super) renaming: bool,
    /// Steps, each with a number that it keeps when others are left out.
    pub(super) steps: Vec<(u64, Step)>,
}

/// Server that comes to answer under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    /// Server that answered at first.
    First,
    /// Server that has nothing to do with it.
    Stranger,
    /// Copy of the server, made at that moment or earlier.
    Copy { fresh: bool },
}

/// A single step. Nodes and accesses are picked among those that exist at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Request {
        node: usize,
        who: usize,
        role: usize,
        target: usize,
        secs: u64,
        /// Grantee, if it is somebody else.
        grantee: Option<usize>,
        start_in: u64,
        keyed: bool,
        /// Flag: break-glass, in an emergency.
        emergency: bool,
        proves: Proves,
    },
    /// Request in the other tenant.
    RequestElsewhere {
        node: usize,
        who: usize,
        role: usize,
        secs: u64,
    },
    /// Attempt by somebody of one tenant to reach an access of the other.
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
    /// Proof by the requester of who they are.
    Confirm {
        node: usize,
        pick: u64,
        proves: Proves,
    },
    /// Delegation of decisions to another person, or its withdrawal.
    Delegate {
        node: usize,
        who: usize,
        to: usize,
        secs: Option<u64>,
    },
    /// Review of an emergency.
    Review {
        node: usize,
        who: usize,
        pick: u64,
    },
    /// Callback of an outside system, or of somebody who pretends to be it.
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
    /// Suspension of the whole machine: everything stands still for this long.
    Jump {
        secs: u64,
    },
    /// Failure rates of calls from now on, in a thousand.
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
    /// Kill or pause of the node at one of its next awaits.
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
    /// Membership that is given or taken by hand.
    Standing {
        server: usize,
        account: usize,
        role: usize,
        give: bool,
    },
    /// Membership that the broker's own account gives by hand.
    Orphan {
        server: usize,
        account: usize,
        role: usize,
    },
    /// Membership of ours that is taken away by hand.
    Vanish {
        server: usize,
        account: usize,
        role: usize,
    },
    /// Restore of the server from a backup that still has a membership which is gone.
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
    /// Move of a name: another server answers under the target's name, or under all names of the
    /// first server.
    Lead {
        target: Option<usize>,
        to: Lead,
        /// Number of the target's calls before the move, even in the middle of a pass; none: at
        /// once.
        calls: Option<u64>,
        /// Flag: the move happens in the middle of a changing call. The call's work is done, and
        /// another server is observed.
        amid: bool,
        /// Milliseconds after which the name leads back.
        back: Option<u64>,
    },
    /// Confirmation by an operator of the server behind a target.
    ConfirmTarget {
        node: usize,
        pick: u64,
        /// Flag: the server has the same data.
        same: bool,
    },
    /// Rename of an account, or its drop with a new account under its name.
    Rename {
        server: usize,
        account: usize,
        anew: bool,
    },
    /// Return of the renamed accounts to their earlier names.
    RenameBack {
        server: usize,
    },
    /// Failover of the store to a replica that is this many steps behind; its nodes are started
    /// again.
    FailOver {
        behind: usize,
    },
}
