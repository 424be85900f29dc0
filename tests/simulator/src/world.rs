//! World that all nodes of a history share: the store, the servers, their clocks, the weather, and
//! the observer of the laws.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt;
use tokio::sync::Notify;

use super::clock::SimClock;
use super::laws::{
    DEAD_MANS_SWITCH_GRACE, GUARDED, Lawful, Oracle, Remembered, Violation, broken, has_dead_mans_switches,
};
use super::node::Gate;
use super::random::Random;
use super::steps::{ACCOUNTS, ALL_SERVERS, History, PEOPLE, ROLES, SERVERS, copy_of, is_second, straight, stranger_to};
use super::systems::Systems;
use jit_core::clock::{Clock, Time, after, span};
use jit_core::id::TenantId;
use jit_core::internal::Replica;
use jit_core::store::{BoxError, Kind, MemoryStore, Record, RecordKey, Store};
use jit_core::testkit::mock::{MockServer, Profile};

/// World that all nodes of a history share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Arc<SimClock>,
    pub(super) server_clocks: Vec<Arc<SimClock>>,
    pub(super) servers: Vec<MockServer>,
    pub(super) store: MemoryStore,
    /// Signal that every commit sends.
    pub(super) committed: Notify,
    pub(super) gates: Mutex<Vec<Arc<Gate>>>,
    /// Content of the store before each of the last steps, the latest first.
    replicas: Mutex<VecDeque<(Replica, Remembered)>>,
    inside: Mutex<Inside>,
    seed: u64,
    began: Time,
}

/// State that changes while a history runs.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) random: Random,
    pub(super) oracle: Oracle,
    pub(super) weather: Weather,
    pub(super) ambushes: Vec<Ambush>,
    /// Server that each target leads to.
    pub(super) leads: Vec<usize>,
    pub(super) moves: Vec<Move>,
    /// Targets that were confirmed with the same data, or were to be: a command's sender does not
    /// always learn how it ended.
    pub(super) carried: BTreeSet<usize>,
    /// Flag: everything was repaired, for good.
    pub(super) mended: bool,
    /// Number of copies that were made.
    pub(super) copies: u64,
    /// Number of times that each server stopped.
    pub(super) stops: Vec<u64>,
    pub(super) up: Vec<Power>,
    pub(super) held: usize,
    pub(super) systems: Systems,
    pub(super) tally: BTreeMap<&'static str, u64>,
    /// Trace of the history, byte for byte.
    trace: Trace,
    failure: Option<Violation>,
}

/// Failure rates of calls, in a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weather {
    pub(super) store: u64,
    pub(super) database: u64,
}

/// State of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Up,
    ReadOnly,
    Down,
}

/// Kill or pause of a node at one of its next calls.
#[derive(Debug, Clone)]
pub(super) struct Ambush {
    pub(super) node: usize,
    pub(super) calls: u64,
    pub(super) in_store: bool,
    pub(super) after: bool,
    pub(super) pause: Option<u64>,
}

/// Move of a target to another server, from one of its next calls on.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) target: usize,
    pub(super) calls: u64,
    /// Flag: the move happens in the middle of a call that changes something.
    pub(super) amid: bool,
    pub(super) to: usize,
}

#[derive(Debug)]
struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Write for Trace {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
        if let Some(line) = self.lines.as_mut().and_then(|lines| lines.last_mut()) {
            line.push_str(text);
        }
        Ok(())
    }
}

/// Time after its end for which something may be left, once everything works again. It covers a
/// hanging store (20 s) and a dead node's claim (12 s). It also covers the longest wait of one
/// order (15 s) or of a probe (5 s), and a call that hangs (8 s).
const GRACE: TimeDelta = TimeDelta::seconds(60);
/// The same time if nothing ever fails: a grant that is withdrawn while it runs is settled first,
/// past its deadline of 4 s.
const QUIET: TimeDelta = TimeDelta::seconds(8);

/// Largest number of steps that a replica may be behind.
pub(super) const BEHIND: usize = 4;

/// Returns the profile of the second server, which knows no grantors: PostgreSQL 15, MySQL or
/// MariaDB, by the history's seed.
fn second(seed: u64) -> Profile {
    match seed % 3 {
        0 => Profile::postgres(15),
        1 => Profile::mysql(9),
        _ => Profile::mariadb(11),
    }
}

impl World {
    pub(super) fn new(history: &History, keep_trace: bool) -> Result<Arc<Self>, BoxError> {
        let clock = Arc::new(SimClock::new());
        let server_clocks: Vec<Arc<SimClock>> = (0..SERVERS).map(|_| Arc::new(SimClock::new())).collect();
        let mut servers = Vec::new();
        let profiles = [Profile::postgres(history.version), second(history.seed)];
        for number in 0..ALL_SERVERS {
            let place = usize::from(is_second(number));
            let (Some(clock), Some(profile)) = (server_clocks.get(place), profiles.get(place)) else { continue };
            // a copy has the realm of its original
            let realm = if number >= copy_of(0) { place } else { number };
            let realm = u64::try_from(realm).unwrap_or_default().saturating_add(1);
            let server = MockServer::of_realm(*profile, Arc::clone(clock) as Arc<dyn Clock>, realm);
            for account in PEOPLE.iter().take(ACCOUNTS) {
                server.create_account(account)?;
            }
            for role in ROLES {
                server.create_role(role)?;
            }
            servers.push(server);
        }
        let dead_mans_switches = has_dead_mans_switches(history.seed);
        if let (true, Some(server)) = (dead_mans_switches, servers.get(GUARDED)) {
            server.set_dead_mans_switch(Some(DEAD_MANS_SWITCH_GRACE));
        }
        let store = MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let now = clock.wall();
        let grace = if history.quiet { QUIET } else { GRACE };
        let merged = !second(history.seed).names_grantors();
        let merged = (0..ALL_SERVERS).map(|server| is_second(server) && merged).collect();
        let mut oracle = Oracle::new(servers.clone(), merged, history.nodes, now, grace);
        oracle.dead_mans_switches = dead_mans_switches;
        for server in 0..SERVERS {
            oracle.freezes(stranger_to(server));
            if let (Some(original), Some(copy)) = (servers.get(server), servers.get(copy_of(server))) {
                copy.copies(original, copy_of(server) as u64);
            }
            oracle.is_copied(server, copy_of(server));
        }
        let lines = keep_trace.then(Vec::new);
        let inside = Inside {
            random: Random::new(history.seed),
            oracle,
            weather: Weather::default(),
            ambushes: Vec::new(),
            leads: straight(),
            moves: Vec::new(),
            carried: BTreeSet::new(),
            mended: false,
            copies: 0,
            stops: vec![0; ALL_SERVERS],
            up: vec![Power::Up; ALL_SERVERS],
            held: 0,
            systems: Systems::default(),
            tally: BTreeMap::new(),
            trace: Trace { hash: 0xCBF2_9CE4_8422_2325, lines },
            failure: None,
        };
        let gates = Mutex::default();
        let inside = Mutex::new(inside);
        let (committed, seed) = (Notify::new(), history.seed);
        let replicas = Mutex::default();
        let world = Self { clock, server_clocks, servers, store, committed, gates, replicas, inside, seed, began: now };
        world.count(match (second(history.seed).names_grantors(), history.seed % 3) {
            (true, _) => "histories with PostgreSQL 15 as the second server",
            (false, 1) => "histories with MySQL as the second server",
            (false, _) => "histories with MariaDB as the second server",
        });
        if dead_mans_switches {
            world.count("histories with dead-men on the first server");
        }
        Ok(Arc::new(world))
    }

    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the store's time.
    pub(super) fn now(&self) -> Time {
        self.store.now().now_or_never().and_then(Result::ok).unwrap_or_default()
    }

    /// Begins a step: random draws depend on this step alone from now on, so that others can be
    /// left out.
    pub(super) fn begin(&self, number: u64) {
        self.inside().random = Random::of(self.seed, number.wrapping_add(1));
    }

    /// Takes a replica of the store in its present state.
    pub(super) fn replicate(&self) {
        let seen = (self.store.replica(), self.inside().oracle.remembered());
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        replicas.push_front(seen);
        replicas.truncate(BEHIND);
    }

    /// Lets the store fail over: what was committed since the replica is lost, and nobody knows of
    /// it.
    pub(super) fn fail_over(&self, behind: usize) {
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        // everything after this replica never happened
        let behind = behind.min(replicas.len());
        replicas.drain(..behind);
        let Some((replica, remembered)) = replicas.front().cloned() else { return };
        drop(replicas);
        self.store.fail_over(replica);
        self.inside().oracle.failed_over(remembered);
        self.committed.notify_waiters();
    }

    /// Writes an event into the trace.
    pub(super) fn note(&self, what: fmt::Arguments<'_>) {
        let at = self.clock.elapsed().as_micros();
        let mut inside = self.inside();
        if let Some(lines) = &mut inside.trace.lines {
            lines.push(String::new());
        }
        // writing into it cannot fail
        let _ = write!(inside.trace, "{at} {what}");
    }

    /// Counts one more event of this kind.
    pub(super) fn count(&self, what: &'static str) {
        let mut inside = self.inside();
        let count = inside.tally.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// Records the result of a check; the first violation counts.
    pub(super) fn hold(&self, lawful: Lawful) {
        let Err(violation) = lawful else { return };
        self.note(format_args!("{violation}"));
        let mut inside = self.inside();
        inside.failure = inside.failure.take().or(Some(violation));
    }

    pub(super) fn failure(&self) -> Option<Violation> {
        self.inside().failure.clone()
    }

    pub(super) fn keeps_trace(&self) -> bool {
        self.inside().trace.lines.is_some()
    }

    pub(super) fn trace(&self) -> (u64, Vec<String>) {
        let inside = self.inside();
        (inside.trace.hash, inside.trace.lines.clone().unwrap_or_default())
    }

    /// Reads the record of a holding, as the store has it.
    pub(super) fn holding(&self, tenant: &str, realm: &str, account: &str) -> Option<Record> {
        let key =
            RecordKey::new(&TenantId::new(tenant).ok()?, Kind::Holding, jit_core::internal::join([realm, account]));
        self.store.read(&key).now_or_never()?.ok()?
    }

    /// Checks everything that must be true at any time.
    pub(super) fn look(&self) {
        let now = self.now();
        let off = span(self.clock.true_time(), now).abs();
        let passed = span(self.began, self.clock.true_time());
        // the store's time follows a wall clock by 2 s, and then by a thousandth of the time that
        // passed
        let spare = passed.checked_div(1000).unwrap_or_default();
        if off > TimeDelta::milliseconds(2_100).checked_add(&spare).unwrap_or_default() {
            self.hold(Err(broken(10, format!("the store's time is off by {off}"))));
        }
        let works = self.works();
        let told = self.tells();
        let mut inside = self.inside();
        inside.oracle.desk_since = if told { inside.oracle.desk_since.or(Some(now)) } else { None };
        inside.oracle.calm_since = if works { inside.oracle.calm_since.or(Some(now)) } else { None };
        inside.oracle.locks = inside.held > 0 || inside.up.get(GUARDED) != Some(&Power::Up);
        let lawful = inside.oracle.dead_mans_switches_fired(now).and_then(|()| inside.oracle.look(now));
        drop(inside);
        self.hold(lawful);
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if gates.iter().any(|gate| gate.has_panicked()) {
            self.hold(Err(broken(0, "a task of the engine panicked")));
        }
    }

    /// Checks whether everything works that the engine needs.
    fn works(&self) -> bool {
        let runs = self.gates.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|gate| gate.runs());
        let inside = self.inside();
        let fair = inside.weather == Weather::default() && inside.ambushes.is_empty() && inside.held == 0;
        let straight = inside.moves.is_empty() && inside.oracle.is_straight(&inside.leads);
        runs && fair && straight && inside.up.iter().all(|power| *power == Power::Up)
    }

    /// Checks whether everything works that is needed to notify people.
    fn tells(&self) -> bool {
        let runs = self.gates.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|gate| gate.runs());
        let inside = self.inside();
        runs && inside.weather.store == 0 && inside.ambushes.is_empty()
    }

    /// Records that something just went wrong.
    pub(super) fn disturbed(&self) {
        self.inside().oracle.calm_since = None;
    }

    /// Records that the store failed the node.
    pub(super) fn store_failed(&self, node: usize) {
        let now = self.now();
        if let Some(failed) = self.inside().oracle.store_failed.get_mut(node) {
            *failed = Some(now);
        }
    }

    /// Records that the node's earlier claims may belong to another node by now.
    pub(super) fn stale(&self, node: usize) {
        self.stale_in(node, TimeDelta::zero());
    }

    /// Records the same for a node that goes on after this long.
    pub(super) fn stale_in(&self, node: usize, how_long: TimeDelta) {
        let now = after(self.now(), how_long);
        let mut inside = self.inside();
        (inside.oracle.calm_since, inside.oracle.desk_since) = (None, None);
        if let Some(since) = inside.oracle.stale_since.get_mut(node) {
            *since = Some(now);
        }
    }

    /// Returns the server that the target leads to for one call, and another server if it changes
    /// in the middle of the call.
    pub(super) fn there(&self, target: usize, changes: bool) -> (usize, Option<usize>) {
        let mut inside = self.inside();
        let now = inside.leads.get(target).copied().unwrap_or_default();
        let due = |it: &Move| it.target == target && (changes || !it.amid);
        let Some(place) = inside.moves.iter().position(due) else { return (now, None) };
        if let Some(it) = inside.moves.get_mut(place)
            && let Some(left) = it.calls.checked_sub(1)
        {
            it.calls = left;
            return (now, None);
        }
        let it = inside.moves.remove(place);
        drop(inside);
        self.lead(target, it.to);
        match it.amid && it.to != now {
            true => {
                self.count("names: another server in the middle of a call");
                (now, Some(it.to))
            }
            false => {
                self.count("names: another server in the middle of a pass");
                (it.to, None)
            }
        }
    }

    /// Leads the target to this server from now on.
    pub(super) fn lead(&self, target: usize, to: usize) {
        let mut inside = self.inside();
        let Some(leads) = inside.leads.get_mut(target) else { return };
        let was = std::mem::replace(leads, to);
        drop(inside);
        if was == to {
            return;
        }
        self.disturbed();
        self.note(format_args!("target {target} leads to server {to}"));
        self.count(match to {
            to if to < SERVERS => "names: the server that it was at first answers again",
            to if to < copy_of(0) => "names: a stranger answers",
            _ => "names: a copy answers",
        });
    }

    /// Makes a copy of the server, or a new one if nobody uses the old copy.
    pub(super) fn copy(&self, server: usize) {
        let copy = copy_of(server);
        let mut inside = self.inside();
        let used = inside.leads.contains(&copy) || inside.moves.iter().any(|it| it.to == copy);
        let (Some(original), Some(copied)) = (self.servers.get(server), self.servers.get(copy)) else { return };
        if used || !inside.oracle.may_be_copied(server, copy) {
            return;
        }
        inside.copies = inside.copies.saturating_add(1);
        let number = inside.copies.saturating_mul(10).saturating_add(copy as u64);
        copied.copies(original, number);
        inside.oracle.is_copied(server, copy);
        drop(inside);
        self.note(format_args!("server {server} is copied"));
        self.count("copies made");
    }

    /// Takes the ambush that is due at this call of the node, if there is one.
    pub(super) fn ambush(&self, node: usize, in_store: bool) -> Option<Ambush> {
        let mut inside = self.inside();
        let place = inside.ambushes.iter().position(|it| it.node == node && it.in_store == in_store)?;
        let it = inside.ambushes.get_mut(place)?;
        match it.calls.checked_sub(1) {
            Some(left) => {
                it.calls = left;
                None
            }
            None => Some(inside.ambushes.remove(place)),
        }
    }

    /// Waits as a call does: not at all, for a few turns, or for a few milliseconds.
    pub(super) async fn latency(&self) {
        let (turns, millis) = {
            let mut inside = self.inside();
            match inside.random.below(20) {
                0 => (0, inside.random.between(1, 5)),
                1..=5 => (inside.random.between(1, 3), 0),
                _ => (0, 0),
            }
        };
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }
}
