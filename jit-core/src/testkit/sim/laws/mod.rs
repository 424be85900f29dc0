//! The laws, checked by looking on: at what is committed, at what is sent to the databases, at what they hold. Nothing of the
//! engine is asked.

mod approval;
mod commit;
mod dead_man;
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
use crate::clock::Time;
use crate::database::ObjectId;
use crate::testkit::mock::MockServer;

pub(super) use dead_man::{GRACE as DEAD_MAN_GRACE, SERVER as GUARDED, has as has_dead_men};
pub(super) use failover::Remembered;
pub(super) use place::server_by;
pub(super) use reading::Reading;
pub(super) use statement::{Sender, Sent};

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    /// The number of the law in the design; 0: nothing panics, everything ends.
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

/// Everything that is known of one access, from what was committed of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) tenant: String,
    request: RequestRecord,
    realm: Option<String>,
    /// The server that its realm is on.
    pub(super) server: Option<usize>,
    /// The id by which its account was observed there; none where nothing but the account's name counts.
    account_id: Option<ObjectId>,
    pub(super) state: String,
    start: Option<Time>,
    /// Every intent to grant that was ever recorded.
    intents: Vec<IntentRecord>,
    /// The statement that may still arrive, as the record has it.
    unsettled: bool,
    ever_revoking: bool,
    latest_end: Option<Time>,
    window: Option<WindowRecord>,
    /// Which ends were put off, and when: a node without the store cannot have heard of the last.
    put_off: Vec<(Time, Time)>,
    /// By how much its window was made longer, with an entry that says so, microseconds.
    extended: i64,
    since: Option<Time>,
    /// What was said on it.
    heard: ApprovalRecord,
    /// What was said on the extension that waits.
    more: Option<ApprovalRecord>,
    /// Everything that was asked about it, in its order.
    asked: Vec<String>,
    /// How many extensions were given.
    extensions: usize,
    /// What is owed after an emergency.
    review: Option<ReviewRecord>,
    /// Whether people were told that it is overdue.
    alerted: bool,
    /// When the statement of the last intent was executed, the store's time.
    executed: Option<Time>,
}

impl Case {
    /// Whether the database may hold something on its behalf.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.state.as_str(), "granting" | "active" | "revoking")
    }

    pub(super) fn is_final(&self) -> bool {
        !self.is_live() && !matches!(self.state.as_str(), "pending" | "scheduled")
    }

    /// What signed words about it are bound to.
    pub(super) fn nonce(&self, id: &str) -> String {
        self.more.as_ref().unwrap_or(&self.heard).nonce(id)
    }

    /// A question about it, one that is closed as well.
    pub(super) fn question(&self, pick: u64) -> Option<String> {
        let place = usize::try_from(pick.checked_rem(self.asked.len() as u64)?).ok()?;
        self.asked.iter().rev().nth(place.min(2)).cloned()
    }

    /// Whether something that proves who the requester is may be awaited of him.
    pub(super) fn awaits_proof(&self) -> bool {
        self.state == "pending" && (self.request.role == "owner" || self.request.break_glass)
    }

    pub(super) fn target(&self) -> &str {
        &self.request.target
    }

    pub(super) fn requester(&self) -> &str {
        &self.request.requester
    }

    /// This is asked about it now.
    fn is_asked(&mut self, question: &str) {
        if self.asked.last().is_none_or(|last| last != question) {
            self.asked.push(question.to_owned());
        }
    }

    /// Whether its review is owed still.
    pub(super) fn owes(&self) -> bool {
        self.review.as_ref().is_some_and(|review| review.given.is_none())
    }

    fn is_about(&self, server: usize, account: &str, role: &str) -> bool {
        self.server == Some(server) && self.request.account == account && self.request.role == role
    }
}

/// The server of a realm.
pub(super) fn server_of(realm: &str) -> Option<usize> {
    realm.strip_prefix("mock:")?.parse::<usize>().ok()?.checked_sub(1)
}

/// Which policy a node has in force, and had.
#[derive(Debug, Clone, Copy)]
pub(super) struct InForce {
    pub(super) now: usize,
    pub(super) before: usize,
    pub(super) since: Time,
}

/// Who holds the claim on a serial key.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    /// The node, and which start of it.
    pub(super) by: (usize, u64),
    pub(super) fencing: u64,
    pub(super) until: Time,
}

/// One whose sessions are watched.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) server: usize,
    pub(super) account: String,
    /// The server's time.
    pub(super) since: Time,
    pub(super) session: crate::testkit::mock::MockSession,
}

/// A membership that came back from a backup.
#[derive(Debug, Clone)]
pub(super) struct Restored {
    /// Whose it was.
    pub(super) tenant: String,
    /// The store's time.
    pub(super) since: Time,
}

/// A membership of one server: role and account.
pub(super) type Held = (usize, String, String);

/// What is known of the whole.
#[derive(Debug)]
pub(super) struct Oracle {
    pub(super) servers: Vec<MockServer>,
    pub(super) cases: BTreeMap<String, Case>,
    /// In the order of their making.
    pub(super) order: Vec<String>,
    /// Decisions and reviews that were really called for: by whom, on what.
    pub(super) called: BTreeSet<(String, String)>,
    /// The same with the question that was named; none named is the empty one.
    pub(super) meant: BTreeSet<(String, String, String)>,
    /// What outside systems really said: which, about what, yes or no.
    pub(super) words: Vec<(String, String, bool)>,
    desk: Desk,
    pub(super) in_force: Vec<InForce>,
    /// When each node was paused last, or its claims were lost.
    pub(super) stale_since: Vec<Option<Time>>,
    /// When the store failed each node last.
    pub(super) store_failed: Vec<Option<Time>>,
    pub(super) holders: BTreeMap<String, Holder>,
    pub(super) statements: BTreeMap<u64, Sent>,
    next_statement: u64,
    /// Which start of which node sent statements as this.
    labels: BTreeMap<String, (usize, u64)>,
    /// Servers on which what was given by hand and what is ours are one row that bears nobody's name.
    merged: Vec<bool>,
    /// Memberships that were ours once, or were about to be: since then nobody can tell there who gave what.
    ever_ours: BTreeSet<Held>,
    /// Memberships given by hand, with the server's time of it.
    pub(super) standing: BTreeMap<Held, Time>,
    /// What was intended, and is not in the store any more since it failed over.
    lost: BTreeSet<String>,
    /// Intents, each with its access, that reached the store when they were not allowed any more: they must not be sent.
    too_late: BTreeSet<(String, String)>,
    /// Memberships under our name that were given by hand, or by what the store has forgotten.
    pub(super) by_hand: BTreeSet<Held>,
    /// What came back from a backup, and has to be found.
    pub(super) restored: BTreeMap<Held, Restored>,
    /// Where what is gone is looked at again, or was for the last time: the realm, by access.
    looks: BTreeMap<String, String>,
    /// Realms that are on another server than at first, by an operator's word, for a tenant.
    places: BTreeMap<(String, String), usize>,
    /// The servers that the targets are known to be.
    pub(super) homes: Vec<usize>,
    /// What operators confirmed to have a realm's data: for which tenant, of which realm, which server.
    confirmed: BTreeSet<(String, String, usize)>,
    /// What servers held that nobody is to change.
    frozen: BTreeMap<usize, BTreeSet<(String, String, String)>>,
    /// Accounts that were renamed: the name that each had, by server and the name that it has.
    renamed: BTreeMap<(usize, String), String>,
    /// Accounts that were dropped and made anew, by server: who has the name now is somebody else.
    anew: BTreeSet<(usize, String)>,
    /// When it was last noticed, by which tenant, that a server is in another incarnation.
    incarnations: BTreeMap<(String, usize), Time>,
    /// When a membership of ours was last taken away, the server's time.
    removed: BTreeMap<Held, Time>,
    pub(super) logins: Vec<Login>,
    /// Whether the first server has dead-men.
    pub(super) dead_men: bool,
    /// Those that fired, the last time of each, the server's.
    fired: BTreeMap<Held, Time>,
    /// What came about how often.
    pub(super) came_about: BTreeMap<&'static str, u64>,
    /// Memberships whose dead-man somebody may have armed who knew less than others.
    loose: BTreeSet<Held>,
    /// Whether the clock of the server with dead-men was put.
    clock_was_put: bool,
    /// When the server with dead-men stopped last, the store's time.
    guarded_stopped: Option<Time>,
    /// Whether something is locked there, or the server writes nothing.
    pub(super) locks: bool,
    stops: Vec<StopRecord>,
    /// Since when everything works, the store's time.
    pub(super) calm_since: Option<Time>,
    /// Since when all works that people are told with.
    pub(super) desk_since: Option<Time>,
    /// How long after its end something may be left while everything works.
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
            dead_men: false,
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

    /// One more of these.
    fn comes_about(&mut self, what: &'static str) {
        let count = self.came_about.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// Whether what is given by hand now is nobody's to tell from ours.
    pub(super) fn is_mingled(&self, held: &Held) -> bool {
        self.merged.get(held.0) == Some(&true) && self.ever_ours.contains(held)
    }

    /// The memberships that bear our name: role and account, and whether SET ROLE is in them.
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

    /// The live cases of this membership, but for one.
    fn others<'c>(&'c self, but: &str, server: usize, account: &str, role: &str) -> Vec<(&'c String, &'c Case)> {
        let all = self.cases.iter().filter(|(id, case)| id.as_str() != but && case.is_live());
        all.filter(|(_, case)| case.is_about(server, account, role)).collect()
    }
}

/// What the broker is called on every server.
pub(super) const BROKER: &str = "jit_broker";

/// The human behind a principal.
fn human(principal: &str) -> &str {
    match principal {
        "alice-dba" => "alice",
        other => other,
    }
}
