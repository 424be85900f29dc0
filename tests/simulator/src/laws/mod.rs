//! The laws, checked from systems: what is committed, what is sent to the databases, and what they
//! hold. The engine itself is asked nothing.

mod approval;
mod commit;
mod dead_mans_switch;
mod failover;
mod place;
mod reading;
mod records;
mod said;
mod state;
mod statement;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use self::records::{ApprovalRecord, IntentRecord, RequestRecord, ReviewRecord, StopRecord, WindowRecord};
use self::said::Desk;
use jit_core::clock::Time;
use jit_core::database::ObjectId;
use jit_core::testkit::mock::MockServer;

pub(super) use dead_mans_switch::{GRACE as DEAD_MANS_SWITCH_GRACE, SERVER as GUARDED, has as has_dead_mans_switches};
pub(super) use failover::Remembered;
pub(super) use place::server_by;
pub(super) use reading::Reading;
pub(super) use statement::{Sender, Sent};

/// A state or an event that breaks a law.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// Number of the law; 0 if no law is meant: nothing panics, everything ends.
    pub(super) law: u8,
    pub(super) why: String,
}

pub(super) type Lawful = Result<(), Violation>;

pub(super) fn broken(law: u8, why: impl Into<String>) -> Violation {
    Violation { law, why: why.into() }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.law {
            0 => write!(f, "{}", self.why),
            law => write!(f, "law {law}: {}", self.why),
        }
    }
}

/// Knowledge about one access, from what was committed about it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) tenant: String,
    request: RequestRecord,
    realm: Option<String>,
    /// Server that its realm is on.
    pub(super) server: Option<usize>,
    /// Id by which the account was observed there; none if only the account's name counts.
    account_id: Option<ObjectId>,
    pub(super) state: String,
    start: Option<Time>,
    /// Every intent to grant that was ever recorded.
    intents: Vec<IntentRecord>,
    /// Flag: the record has a statement that may still arrive.
    unsettled: bool,
    ever_revoking: bool,
    latest_end: Option<Time>,
    window: Option<WindowRecord>,
    /// Ends that were put off, with the time of it: a node without the store cannot know the last
    /// one.
    put_off: Vec<(Time, Time)>,
    /// Total of its extensions that have an entry, in microseconds.
    extended: i64,
    since: Option<Time>,
    /// Approval record of the request.
    heard: ApprovalRecord,
    /// Approval record of the pending extension.
    more: Option<ApprovalRecord>,
    /// Every question that was asked about it, in order.
    asked: Vec<String>,
    /// Number of extensions that were given.
    extensions: usize,
    /// Review that is owed after an emergency.
    review: Option<ReviewRecord>,
    /// Flag: people were told that it is overdue.
    alerted: bool,
    /// Time at which the statement of the last intent was executed, by the store's clock.
    executed: Option<Time>,
}

impl Case {
    /// Checks whether the database may hold something for it.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "granting" | "active" | "revoking")
    }

    pub(super) fn is_final(&self) -> bool {
        !self.is_live() && !matches!(self.state.as_str(), "pending" | "scheduled")
    }

    /// Returns the nonce to which signed answers about it are bound.
    pub(super) fn nonce(&self, id: &str) -> String {
        self.more.as_ref().unwrap_or(&self.heard).nonce(id)
    }

    /// Picks a question about it; it may be a closed one.
    pub(super) fn question(&self, pick: u64) -> Option<String> {
        let place = usize::try_from(pick.checked_rem(self.asked.len() as u64)?).ok()?;
        self.asked.iter().rev().nth(place.min(2)).cloned()
    }

    /// Checks whether the requester may still have to prove who they are.
    pub(super) fn awaits_proof(&self) -> bool {
        self.state == "pending" && (self.request.role == "owner" || self.request.break_glass)
    }

    pub(super) fn target(&self) -> &str {
        &self.request.target
    }

    pub(super) fn requester(&self) -> &str {
        &self.request.requester
    }

    /// Records the question that is asked about it now.
    fn is_asked(&mut self, question: &str) {
        if self.asked.last().is_none_or(|last| last != question) {
            self.asked.push(question.to_owned());
        }
    }

    /// Checks whether its review is still owed.
    pub(super) fn owes(&self) -> bool {
        self.review.as_ref().is_some_and(|review| review.given.is_none())
    }

    fn is_about(&self, server: usize, account: &str, role: &str) -> bool {
        self.server == Some(server) && self.request.account == account && self.request.role == role
    }
}

/// Returns the server of a realm.
pub(super) fn server_of(realm: &str) -> Option<usize> {
    realm.strip_prefix("mock:")?.parse::<usize>().ok()?.checked_sub(1)
}

/// Policy that a node has in force, and the one before.
#[derive(Debug, Clone, Copy)]
pub(super) struct InForce {
    pub(super) now: usize,
    pub(super) before: usize,
    pub(super) since: Time,
}

/// Holder of the claim on a serial key.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// Node, and the number of its start.
    pub(super) by: (usize, u64),
    pub(super) fencing: u64,
    pub(super) until: Time,
}

/// A login whose sessions are watched.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) server: usize,
    pub(super) account: String,
    /// Start of the session, by the server's clock.
    pub(super) since: Time,
    pub(super) session: jit_core::testkit::mock::MockSession,
}

/// A membership that came back from a backup.
#[derive(Debug, Clone)]
pub(super) struct Restored {
    /// Tenant that it belonged to.
    pub(super) tenant: String,
    /// Time of the restore, by the store's clock.
    pub(super) since: Time,
}

/// A membership of one server: role and account.
pub(super) type Held = (usize, String, String);

/// Knowledge about the whole simulated world.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) servers: Vec<MockServer>,
    pub(super) cases: BTreeMap<String, Case>,
    /// Ids of the accesses, in the order of their creation.
    pub(super) order: Vec<String>,
    /// Calls for decisions and reviews that were really made: by whom, on which access.
    pub(super) called: BTreeSet<(String, String)>,
    /// The same calls with the question that they named; empty if they named none.
    pub(super) meant: BTreeSet<(String, String, String)>,
    /// Answers that outside systems really gave: the system, the subject, yes or no.
    pub(super) words: Vec<(String, String, bool)>,
    desk: Desk,
    pub(super) in_force: Vec<InForce>,
    /// Time at which each node was last paused, or last lost its claims.
    pub(super) stale_since: Vec<Option<Time>>,
    /// Time at which the store last failed each node.
    pub(super) store_failed: Vec<Option<Time>>,
    pub(super) holders: BTreeMap<String, Holder>,
    pub(super) statements: BTreeMap<u64, Sent>,
    next_statement: u64,
    /// Node and start that sent statements with this label.
    labels: BTreeMap<String, (usize, u64)>,
    /// Servers on which a grant by hand and ours become one row without a grantor.
    merged: Vec<bool>,
    /// Memberships that were ours once, or were about to be. Since then nobody can tell there who
    /// gave what.
    ever_ours: BTreeSet<Held>,
    /// Memberships given by hand, with the server's time of it.
    pub(super) standing: BTreeMap<Held, Time>,
    /// Intents that are no longer in the store since it failed over.
    lost: BTreeSet<String>,
    /// Intents, each with its access, that reached the store when they were not allowed any more:
    /// they must not be sent.
    too_late: BTreeSet<(String, String)>,
    /// Memberships under our name that were given by hand, or by an intent that the store has
    /// forgotten.
    pub(super) by_hand: BTreeSet<Held>,
    /// Memberships that came back from a backup, and have to be found.
    pub(super) restored: BTreeMap<Held, Restored>,
    /// Realm of the second look, or of the last one, by access.
    looks: BTreeMap<String, String>,
    /// Realms that an operator moved to another server, by tenant.
    places: BTreeMap<(String, String), usize>,
    /// Servers that the targets are known to be.
    pub(super) homes: Vec<usize>,
    /// Confirmations by operators that a server has a realm's data: tenant, realm, server.
    confirmed: BTreeSet<(String, String, usize)>,
    /// Memberships on servers that nobody may change.
    frozen: BTreeMap<usize, BTreeSet<(String, String, String)>>,
    /// Earlier names of renamed accounts, by server and present name.
    renamed: BTreeMap<(usize, String), String>,
    /// Accounts, by server, that were dropped and made anew: the name now belongs to somebody else.
    anew: BTreeSet<(usize, String)>,
    /// Time at which a tenant last noticed that a server is in another incarnation.
    incarnations: BTreeMap<(String, usize), Time>,
    /// Time at which a membership of ours was last taken away, by the server's clock.
    removed: BTreeMap<Held, Time>,
    pub(super) logins: Vec<Login>,
    /// Flag: the first server has dead man's switches.
    pub(super) dead_mans_switches: bool,
    /// Time at which each switch last fired, by the server's clock.
    fired: BTreeMap<Held, Time>,
    /// Number of times that each interesting event came about.
    pub(super) came_about: BTreeMap<&'static str, u64>,
    /// Memberships whose switch may have been armed by a node that knew less than others.
    loose: BTreeSet<Held>,
    /// Flag: the clock of the server with the switches was set by hand.
    clock_was_put: bool,
    /// Time at which the server with the switches last stopped, by the store's clock.
    guarded_stopped: Option<Time>,
    /// Flag: something is locked there, or the server writes nothing.
    pub(super) locks: bool,
    stops: Vec<StopRecord>,
    /// Time since which everything works, by the store's clock.
    pub(super) calm_since: Option<Time>,
    /// Time since which everything works that is needed to notify people.
    pub(super) desk_since: Option<Time>,
    /// Time after its end for which something may be left while everything works.
    pub(super) grace: chrono::TimeDelta,
    latest: Option<Time>,
    pub(super) entries: BTreeMap<String, u64>,
    pub(super) overlaps: u64,
}

impl Oracle {
    pub(super) fn new(
        servers: Vec<MockServer>,
        merged: Vec<bool>,
        nodes: usize,
        now: Time,
        grace: chrono::TimeDelta,
    ) -> Self {
        Self {
            servers,
            cases: BTreeMap::new(),
            order: Vec::new(),
            called: BTreeSet::new(),
            meant: BTreeSet::new(),
            words: Vec::new(),
            desk: Desk::default(),
            in_force: vec![InForce { now: 0, before: 0, since: now }; nodes],
            stale_since: vec![None; nodes],
            store_failed: vec![None; nodes],
            holders: BTreeMap::new(),
            statements: BTreeMap::new(),
            next_statement: 0,
            labels: BTreeMap::new(),
            lost: BTreeSet::new(),
            too_late: BTreeSet::new(),
            merged,
            ever_ours: BTreeSet::new(),
            standing: BTreeMap::new(),
            by_hand: BTreeSet::new(),
            restored: BTreeMap::new(),
            looks: BTreeMap::new(),
            places: BTreeMap::new(),
            homes: super::steps::straight(),
            confirmed: BTreeSet::new(),
            frozen: BTreeMap::new(),
            renamed: BTreeMap::new(),
            anew: BTreeSet::new(),
            incarnations: BTreeMap::new(),
            removed: BTreeMap::new(),
            logins: Vec::new(),
            dead_mans_switches: false,
            fired: BTreeMap::new(),
            came_about: BTreeMap::new(),
            loose: BTreeSet::new(),
            clock_was_put: false,
            guarded_stopped: None,
            locks: false,
            stops: Vec::new(),
            calm_since: None,
            desk_since: None,
            grace,
            latest: None,
            entries: BTreeMap::new(),
            overlaps: 0,
        }
    }

    /// Counts one more event of this kind.
    fn comes_about(&mut self, what: &'static str) {
        let count = self.came_about.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// Checks whether a grant by hand cannot be told from ours now.
    pub(super) fn is_mingled(&self, held: &Held) -> bool {
        self.merged.get(held.0) == Some(&true) && self.ever_ours.contains(held)
    }

    /// Returns the memberships with our name: role, account, and whether they include SET ROLE.
    fn ours(&self, server: usize) -> Vec<(&'static str, String, bool)> {
        let mut ours = Vec::new();
        for role in super::steps::ROLES {
            let rows = self.members(server, role).into_iter().filter(Self::bears_our_name);
            ours.extend(rows.map(|row| (role, row.member, row.set)));
        }
        ours
    }

    fn is_ours(&self, server: usize, account: &str, role: &str) -> Option<bool> {
        self.ours(server).into_iter().find(|(held, member, _)| *held == role && member == account).map(|(.., set)| set)
    }

    /// Returns the other live accesses with this membership.
    fn others<'c>(&'c self, but: &str, server: usize, account: &str, role: &str) -> Vec<(&'c String, &'c Case)> {
        let all = self.cases.iter().filter(|(id, case)| id.as_str() != but && case.is_live());
        all.filter(|(_, case)| case.is_about(server, account, role)).collect()
    }
}

/// Name of the broker's account on every server.
pub(super) const BROKER: &str = "jit_broker";

/// Returns the human behind a principal.
fn human(principal: &str) -> &str {
    match principal {
        "alice-dba" => "alice",
        other => other,
    }
}
