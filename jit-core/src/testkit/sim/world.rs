//! What all nodes of a history share: the store, the servers, their clocks, the weather, and who looks on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::FutureExt;
use tokio::sync::Notify;

use super::clock::SimClock;
use super::laws::{DEAD_MAN_GRACE, GUARDED, Lawful, Oracle, Remembered, Violation, broken, has_dead_men};
use super::node::Gate;
use super::outside::Outside;
use super::random::Random;
use super::steps::{ACCOUNTS, ALL_SERVERS, History, PEOPLE, ROLES, SERVERS, copy_of, is_second, straight, stranger_to};
use crate::clock::{Clock, Time, after, span};
use crate::id::TenantId;
use crate::store::{BoxError, Kind, MemoryStore, Record, RecordKey, Replica, Store};
use crate::testkit::mock::{MockServer, Profile};

/// What all nodes of a history share.
#[derive(Debug)]
pub(super) struct World {
    pub(super) clock: Arc<SimClock>,
    pub(super) server_clocks: Vec<Arc<SimClock>>,
    pub(super) servers: Vec<MockServer>,
    pub(super) store: MemoryStore,
    /// Woken by every commit.
    pub(super) committed: Notify,
    pub(super) gates: Mutex<Vec<Arc<Gate>>>,
    /// What the store held before each of the last steps, the latest first.
    replicas: Mutex<VecDeque<(Replica, Remembered)>>,
    inside: Mutex<Inside>,
    seed: u64,
    began: Time,
}

/// What changes while a history runs.
#[derive(Debug)]
pub(super) struct Inside {
    pub(super) random: Random,
    pub(super) oracle: Oracle,
    pub(super) weather: Weather,
    pub(super) ambushes: Vec<Ambush>,
    /// Which server each target leads to.
    pub(super) leads: Vec<usize>,
    pub(super) moves: Vec<Move>,
    /// Targets that were confirmed with the same data, or were to be: who gave the command does not hear of every end of it.
    pub(super) carried: BTreeSet<usize>,
    /// Whether everything was put right, for good.
    pub(super) mended: bool,
    /// Counts the copies that were made.
    pub(super) copies: u64,
    /// Counts the times that each server stopped.
    pub(super) stops: Vec<u64>,
    pub(super) up: Vec<Power>,
    pub(super) held: usize,
    pub(super) outside: Outside,
    pub(super) tally: BTreeMap<&'static str, u64>,
    /// What the history looks like, byte for byte.
    trace: Trace,
    failure: Option<Violation>,
}

/// How often calls fail, in a thousand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Weather {
    pub(super) store: u64,
    pub(super) database: u64,
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Up,
    ReadOnly,
    Down,
}

/// The node is killed or paused at one of its next calls.
#[derive(Debug, Clone)]
pub(super) struct Ambush {
    pub(super) node: usize,
    pub(super) calls: u64,
    pub(super) in_store: bool,
    pub(super) after: bool,
    pub(super) pause: Option<u64>,
}

/// A target leads to another server from one of its next calls on.
#[derive(Debug, Clone)]
pub(super) struct Move {
    pub(super) target: usize,
    pub(super) calls: u64,
    /// In the middle of one that changes something.
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

/// How long something may be left over after its end, once everything works again: a hanging store (20 s), a dead node's claim
/// (12 s), the longest wait of one order (15 s) or of a probe (5 s), and a call that hangs (8 s).
const GRACE: TimeDelta = TimeDelta::seconds(60);
/// The same where nothing ever fails: what is taken back while it is being granted is settled first, past its deadline of 4 s.
const QUIET: TimeDelta = TimeDelta::seconds(8);

/// So many steps a replica may be behind.
pub(super) const BEHIND: usize = 4;

/// The second server, one that knows no grantors: PostgreSQL 15, MySQL or MariaDB, by the history's seed.
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
            // a copy calls itself as its original does
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
        let dead_men = has_dead_men(history.seed);
        if let (true, Some(server)) = (dead_men, servers.get(GUARDED)) {
            server.set_dead_man(Some(DEAD_MAN_GRACE));
        }
        let store = MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let now = clock.wall();
        let grace = if history.quiet { QUIET } else { GRACE };
        let merged = !second(history.seed).names_grantors();
        let merged = (0..ALL_SERVERS).map(|server| is_second(server) && merged).collect();
        let mut oracle = Oracle::new(servers.clone(), merged, history.nodes, now, grace);
        oracle.dead_men = dead_men;
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
            outside: Outside::default(),
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
        if dead_men {
            world.count("histories with dead-men on the first server");
        }
        Ok(Arc::new(world))
    }

    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store's time.
    pub(super) fn now(&self) -> Time {
        self.store.now().now_or_never().and_then(Result::ok).unwrap_or_default()
    }

    /// What is drawn from now on depends on this step alone, so that others can be left out.
    pub(super) fn begin(&self, number: u64) {
        self.inside().random = Random::of(self.seed, number.wrapping_add(1));
    }

    /// The store's replica has come so far.
    pub(super) fn replicate(&self) {
        let seen = (self.store.replica(), self.inside().oracle.remembered());
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        replicas.push_front(seen);
        replicas.truncate(BEHIND);
    }

    /// The store fails over: what was committed since is lost, and nobody knows of it.
    pub(super) fn fail_over(&self, behind: usize) {
        let mut replicas = self.replicas.lock().unwrap_or_else(PoisonError::into_inner);
        // what comes after it never was
        let behind = behind.min(replicas.len());
        replicas.drain(..behind);
        let Some((replica, remembered)) = replicas.front().cloned() else { return };
        drop(replicas);
        self.store.fail_over(replica);
        self.inside().oracle.failed_over(remembered);
        self.committed.notify_waiters();
    }

    /// Something happened that makes this history what it is.
    pub(super) fn note(&self, what: fmt::Arguments<'_>) {
        let at = self.clock.elapsed().as_micros();
        let mut inside = self.inside();
        if let Some(lines) = &mut inside.trace.lines {
            lines.push(String::new());
        }
        // writing into it cannot fail
        let _ = write!(inside.trace, "{at} {what}");
    }

    /// One more of these.
    pub(super) fn count(&self, what: &'static str) {
        let mut inside = self.inside();
        let count = inside.tally.entry(what).or_default();
        *count = count.saturating_add(1);
    }

    /// A law was looked after; the first that is broken counts.
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

    /// The record of a holding, as the store has it.
    pub(super) fn holding(&self, tenant: &str, realm: &str, account: &str) -> Option<Record> {
        let key = RecordKey::new(&TenantId::new(tenant).ok()?, Kind::Holding, crate::names::join([realm, account]));
        self.store.read(&key).now_or_never()?.ok()?
    }

    /// Everything that must be true at any time.
    pub(super) fn look(&self) {
        let now = self.now();
        let off = span(self.clock.true_time(), now).abs();
        let passed = span(self.began, self.clock.true_time());
        // a wall clock is followed by 2 s, and then by a thousandth of what passed
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
        let lawful = inside.oracle.dead_men_fired(now).and_then(|()| inside.oracle.look(now));
        drop(inside);
        self.hold(lawful);
        let gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if gates.iter().any(|gate| gate.has_panicked()) {
            self.hold(Err(broken(0, "a task of the engine panicked")));
        }
    }

    /// Whether everything works that the engine needs.
    fn works(&self) -> bool {
        let runs = self.gates.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|gate| gate.runs());
        let inside = self.inside();
        let fair = inside.weather == Weather::default() && inside.ambushes.is_empty() && inside.held == 0;
        let straight = inside.moves.is_empty() && inside.oracle.is_straight(&inside.leads);
        runs && fair && straight && inside.up.iter().all(|power| *power == Power::Up)
    }

    /// Whether everything works that people are told with.
    fn tells(&self) -> bool {
        let runs = self.gates.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|gate| gate.runs());
        let inside = self.inside();
        runs && inside.weather.store == 0 && inside.ambushes.is_empty()
    }

    /// Something went wrong just now.
    pub(super) fn disturbed(&self) {
        self.inside().oracle.calm_since = None;
    }

    /// The store fails the node.
    pub(super) fn store_failed(&self, node: usize) {
        let now = self.now();
        if let Some(failed) = self.inside().oracle.store_failed.get_mut(node) {
            *failed = Some(now);
        }
    }

    /// What the node claimed before may be somebody else's by now.
    pub(super) fn stale(&self, node: usize) {
        self.stale_in(node, TimeDelta::zero());
    }

    /// The same of one that goes on after so long.
    pub(super) fn stale_in(&self, node: usize, how_long: TimeDelta) {
        let now = after(self.now(), how_long);
        let mut inside = self.inside();
        (inside.oracle.calm_since, inside.oracle.desk_since) = (None, None);
        if let Some(since) = inside.oracle.stale_since.get_mut(node) {
            *since = Some(now);
        }
    }

    /// Which server the target leads to for one call, and to which in the middle of it, where that is another.
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

    /// The target leads there from now on.
    pub(super) fn lead(&self, target: usize, to: usize) {
        self.disturbed();
        let mut inside = self.inside();
        let Some(leads) = inside.leads.get_mut(target) else { return };
        let was = std::mem::replace(leads, to);
        drop(inside);
        if was == to {
            return;
        }
        self.note(format_args!("target {target} leads to server {to}"));
        self.count(match to {
            to if to < SERVERS => "names: the server that it was at first answers again",
            to if to < copy_of(0) => "names: a stranger answers",
            _ => "names: a copy answers",
        });
    }

    /// Makes a copy of the server, or makes it anew, where nobody uses the old one.
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

    /// The ambush that is due at this call of the node, if one is.
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

    /// A call takes its time: none, its turn, or a few milliseconds.
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
