//! Running of a running history: the nodes, and the effect of each step.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;

use super::database::SimDatabase;
use super::laws::{Case, InForce, has_dead_mans_switches};
use super::node::{Gate, Who};
use super::policy::{OTHER, default, guarded};
use super::random::{Random, SeededEntropy};
use super::steps::{ELSEWHERE, History, Step, TARGETS, tenant_of};
use super::store::SimStore;
use super::systems::{BOARD, Board, CODE, Codes, People, TOKEN, TRACKER, Tokens, Tracker};
use super::world::{Ambush, Weather, World};
use jit_core::Actor;
use jit_core::engine::{AccessView, Jit, JitError, PumpHandle, Reconcile, Scope, TenantBuilder};
use jit_core::id::{AccessId, NodeId, Principal, TargetName, TenantId};
use jit_core::internal::spawn_gated;
use jit_core::policy::PolicyDocument;
use jit_core::store::{BoxError, Claim, Store};
use jit_core::testkit::mock::MockHold;

/// Accounts that one pass takes in half of the histories: few, so that nodes fall behind.
const SMALL: usize = 2;
/// The same in the other half.
const LARGE: usize = 1_024;

/// A history as it runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) world: Arc<World>,
    seed: u64,
    same_name: bool,
    pub(super) nodes: Vec<Node>,
    policies: Vec<PolicyDocument>,
    other: PolicyDocument,
    pub(super) holds: Vec<MockHold>,
}

/// A node, running or not.
#[derive(Debug)]
pub(super) struct Node {
    gate: Arc<Gate>,
    boot: u64,
    policy: usize,
    runs: Option<(Jit, PumpHandle)>,
}

/// Answer of a command to a step.
pub(super) type Answer = Result<Option<AccessView>, JitError>;

impl Running {
    pub(super) async fn open(history: &History, keep_trace: bool) -> Result<Self, BoxError> {
        let world = World::new(history, keep_trace)?;
        let parse = |text: &str| PolicyDocument::parse(text, "simulated").map_err(|error| error.to_string());
        let guards = has_dead_mans_switches(history.seed);
        let text = |policy: &str| if guards { guarded(policy) } else { policy.to_owned() };
        let policies = [false, true].into_iter().map(|second| parse(&text(&default(second))));
        let policies = policies.collect::<Result<Vec<_>, _>>()?;
        let mut running = Self {
            world,
            seed: history.seed,
            same_name: history.same_name,
            nodes: Vec::new(),
            policies,
            other: parse(OTHER)?,
            holds: Vec::new(),
        };
        for _ in 0..history.nodes {
            running.nodes.push(Node { gate: Arc::new(Gate::default()), boot: 0, policy: 0, runs: None });
        }
        for node in 0..history.nodes {
            running.start(node).await?;
        }
        // the first contacts are made before the history begins
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(running)
    }

    /// Starts the node, if it does not run.
    pub(super) async fn start(&mut self, node: usize) -> Result<(), BoxError> {
        let world = Arc::clone(&self.world);
        let Some(it) = self.nodes.get_mut(node) else { return Ok(()) };
        if it.runs.is_some() && !it.gate.is_dead() {
            return Ok(());
        }
        it.boot = it.boot.saturating_add(1);
        in_force(&world, node, it.policy);
        it.gate = Arc::new(Gate::default());
        // its pump ends with its tasks
        drop(it.runs.take());
        let who = Who { node, boot: it.boot, gate: Arc::clone(&it.gate), world: Arc::clone(&world) };
        let name = if self.same_name { format!("n{node}") } else { format!("n{node}b{}", it.boot) };
        let random = Random::of(self.seed, 0xE57_0000_u64.wrapping_add((node as u64) << 16).wrapping_add(it.boot));
        let gate: Arc<dyn jit_core::internal::Gate> = Arc::clone(&it.gate) as _;
        let mut main = TenantBuilder::default()
            .notifier("people", People(Arc::clone(&world)))
            .approver(TRACKER, Tracker(Arc::clone(&world)))
            .approver(BOARD, Board(Arc::clone(&world)))
            .factor(CODE, Codes)
            .factor(TOKEN, Tokens);
        if let Some(policy) = self.policies.get(it.policy) {
            main = main.policy(policy.clone());
        }
        for (place, (target, _)) in TARGETS.into_iter().enumerate() {
            main = main.database(target, SimDatabase::new(who.clone(), place).ok_or("no such server")?);
        }
        let other = TenantBuilder::default().policy(self.other.clone());
        let other = other.database(ELSEWHERE, SimDatabase::new(who.clone(), TARGETS.len()).ok_or("no such server")?);
        let building = Jit::builder()
            .store(SimStore::new(who.clone()))
            .entropy(SeededEntropy::new(random))
            .node(NodeId::new(name)?)
            .gate(Arc::clone(&gate))
            .batch(if self.seed.is_multiple_of(2) { SMALL } else { LARGE })
            .tenant(TenantId::default(), main)
            .tenant(TenantId::new("other")?, other)
            .build();
        // a node that cannot start is started again later
        let built = tokio::time::timeout(Duration::from_secs(60), spawn_gated(&gate, building)).await;
        world.note(format_args!("node {node} starts"));
        match built {
            Ok(Ok(Ok(jit))) => {
                let pump = jit.start();
                it.runs = Some((jit, pump));
                let mut gates = world.gates.lock().unwrap_or_else(PoisonError::into_inner);
                let length = gates.len().max(node.saturating_add(1));
                gates.resize_with(length, || Arc::clone(&it.gate));
                if let Some(gate) = gates.get_mut(node) {
                    *gate = Arc::clone(&it.gate);
                }
            }
            _ => it.gate.kill(),
        }
        Ok(())
    }

    fn who(&self, node: usize) -> Option<Who> {
        let it = self.nodes.get(node).filter(|it| !it.gate.is_dead())?;
        Some(Who { node, boot: it.boot, gate: Arc::clone(&it.gate), world: Arc::clone(&self.world) })
    }

    /// Runs a command on a node. The step waits for it for a moment, and then leaves it to itself.
    pub(super) async fn command<F>(&self, node: usize, name: &'static str, make: impl FnOnce(Jit) -> F)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        // a caller that finds a node dead goes to the next one
        let all = self.nodes.iter().cycle().skip(node).take(self.nodes.len());
        let Some(it) = all.into_iter().find(|it| !it.gate.is_dead()) else { return };
        let Some((jit, _)) = &it.runs else { return };
        let (world, command) = (Arc::clone(&self.world), make(jit.clone()));
        let gate: Arc<dyn jit_core::internal::Gate> = Arc::clone(&it.gate) as _;
        let task = spawn_gated(&gate, async move {
            let answer = command.await;
            match &answer {
                Ok(view) => {
                    let state = view.as_ref().map_or("", |view| view.state.as_str());
                    world.note(format_args!("{name}: done {state}"));
                }
                Err(error) => world.note(format_args!("{name}: {}", error.kind())),
            }
        });
        let patience = self.world.inside().random.between(1, 60);
        drop(tokio::time::timeout(Duration::from_millis(patience), task).await);
    }

    /// Picks one of the later accesses to which something can still happen.
    pub(super) fn pick(&self, pick: u64) -> Option<AccessId> {
        self.pick_of(pick, |case| !case.is_final())
    }

    /// Picks one of the later accesses that satisfy the condition, or any.
    pub(super) fn pick_of(&self, pick: u64, is_so: impl Fn(&Case) -> bool) -> Option<AccessId> {
        let inside = self.world.inside();
        let order = &inside.oracle.order;
        let is_so = |case: &Case| case.tenant == "default" && is_so(case);
        let recent = order.iter().rev().filter(|id| inside.oracle.cases.get(*id).is_some_and(is_so));
        let recent: Vec<&String> = recent.take(6).collect();
        let place = usize::try_from(pick.checked_rem(recent.len().max(1) as u64)?).ok()?;
        let any = || order.get(usize::try_from(pick.checked_rem(order.len() as u64)?).ok()?);
        let own = |id: &&String| inside.oracle.cases.get(*id).is_some_and(|case| case.tenant == "default");
        recent.get(place).copied().or_else(any).filter(own)?.parse().ok()
    }

    /// Carries out one step.
    pub(super) async fn take(&mut self, step: Step) -> Result<(), BoxError> {
        let world = Arc::clone(&self.world);
        world.note(format_args!("{step:?}"));
        match step {
            Step::Policy { node, which } => self.policy(node, which).await,
            Step::Reconcile { node, target, enforce } => self.reconcile(node, target, enforce).await?,
            Step::Pass { millis } => tokio::time::sleep(Duration::from_millis(millis)).await,
            Step::Jump { secs } => {
                (0..self.nodes.len()).for_each(|node| world.stale_in(node, seconds(secs)));
                tokio::time::advance(Duration::from_secs(secs)).await;
                (0..self.nodes.len()).for_each(|node| world.stale(node));
            }
            Step::Weather { store, database } => world.inside().weather = Weather { store, database },
            Step::Kill { node } => {
                if let Some(who) = self.who(node) {
                    who.kill();
                }
            }
            Step::Start { node } => self.start(node).await?,
            Step::Pause { node, millis } => {
                if let Some(who) = self.who(node) {
                    who.pause(millis);
                }
            }
            Step::Ambush { node, calls, in_store, after, pause } => {
                world.inside().ambushes.push(Ambush { node, calls, in_store, after, pause });
            }
            Step::LoseClaims => self.lose_claims().await?,
            Step::Lead { .. } => self.lead(step),
            Step::ConfirmTarget { node, pick, same } => self.confirm_target(node, pick, same).await?,
            Step::FailOver { behind } => self.fail_over(behind).await?,
            Step::StoreClock { millis } => {
                world.count("clock stepped");
                world.clock.step(TimeDelta::milliseconds(millis));
            }
            Step::ServerClock { server, millis } => {
                world.count("server clock stepped");
                world.disturbed();
                world.inside().oracle.puts_clock(server);
                if let Some(clock) = world.server_clocks.get(server) {
                    clock.step(TimeDelta::milliseconds(millis));
                }
            }
            other => {
                self.by_people(other).await?;
                self.by_hand(other);
            }
        }
        Ok(())
    }

    pub(super) async fn policy(&mut self, node: usize, which: usize) {
        let Some(policy) = self.policies.get(which).cloned() else { return };
        let Some(it) = self.nodes.get_mut(node) else { return };
        it.policy = which;
        // a node that does not run finds the policy when it starts
        if self.who(node).is_none() {
            in_force(&self.world, node, which);
            return;
        }
        let world = Arc::clone(&self.world);
        let command = |jit: Jit| async move {
            // if two commands wait for the node, the one that it reaches last counts
            in_force(&world, node, which);
            jit.reload_policy(policy).await.map(|()| None)
        };
        self.command(node, "policy", command).await;
    }

    pub(super) async fn reconcile(&self, node: usize, target: usize, enforce: bool) -> Result<(), BoxError> {
        let Some((target, _)) = TARGETS.get(target) else { return Ok(()) };
        let (by, target) = (actor("default", "frank")?, TargetName::new(*target)?);
        let mode = if enforce { Reconcile::Enforce } else { Reconcile::Report };
        let command = |jit: Jit| async move { jit.reconcile(&by, &target, mode).await.map(|_| None) };
        self.command(node, "reconcile", command).await;
        Ok(())
    }

    /// Lets an operator confirm a target that leads to another server than its known one, if there
    /// is one.
    async fn confirm_target(&self, node: usize, pick: u64, same: bool) -> Result<(), BoxError> {
        let moved: Vec<usize> = {
            let inside = self.world.inside();
            let moved = inside.leads.iter().zip(&inside.oracle.homes).enumerate();
            moved.filter(|(_, (leads, home))| leads != home).map(|(target, _)| target).collect()
        };
        let Some(place) = pick.checked_rem(moved.len() as u64).and_then(|place| usize::try_from(place).ok()) else {
            return Ok(());
        };
        let Some(target) = moved.get(place).copied() else { return Ok(()) };
        match same {
            true => self.world.inside().carried.insert(target),
            false => self.world.inside().carried.remove(&target),
        };
        self.confirm(node, target, same).await
    }

    /// Lets an operator confirm the server that answers under the target's name.
    pub(super) async fn confirm(&self, node: usize, target: usize, same: bool) -> Result<(), BoxError> {
        let name = TargetName::new(TARGETS.get(target).map_or(ELSEWHERE, |(name, _)| name))?;
        let tenant = tenant_of(target);
        let (by, tenant) = (actor(tenant, "frank")?, TenantId::new(tenant)?);
        self.world.count(if same { "targets confirmed, the same data" } else { "targets confirmed, other data" });
        let command = |jit: Jit| async move {
            let jit = jit.tenant(&tenant)?;
            match same {
                true => jit.confirm_same_data(&by, &name).await.map(|_| None),
                false => jit.confirm_target(&by, &name).await.map(|()| None),
            }
        };
        self.command(node, "confirm target", command).await;
        Ok(())
    }

    /// Lets the store fail over to a replica that is `behind` steps back. All nodes are started
    /// again: a node that lived through it would go on with what it read before.
    async fn fail_over(&mut self, behind: usize) -> Result<(), BoxError> {
        let world = Arc::clone(&self.world);
        world.count("store failed over, its tail lost");
        let running: Vec<usize> = (0..self.nodes.len()).filter(|node| self.who(*node).is_some()).collect();
        for node in &running {
            if let Some(who) = self.who(*node) {
                who.kill();
            }
        }
        world.fail_over(behind);
        for node in running {
            world.stale(node);
            self.start(node).await?;
        }
        Ok(())
    }

    async fn lose_claims(&self) -> Result<(), BoxError> {
        let world = &self.world;
        world.count("claims lost");
        let holders = std::mem::take(&mut world.inside().oracle.holders);
        let claims: Vec<Claim> =
            holders.into_iter().map(|(serial, holder)| Claim::new(serial, holder.fencing, holder.until)).collect();
        world.store.unclaim(&claims).await?;
        (0..self.nodes.len()).for_each(|node| world.stale(node));
        Ok(())
    }

    /// Stops every node, so that nothing of the history goes on.
    pub(super) fn close(&mut self) {
        self.nodes.iter().for_each(|node| node.gate.kill());
        self.world.inside().oracle.logins.clear();
    }
}

pub(super) fn seconds(secs: u64) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(secs).unwrap_or_default())
}

pub(super) fn actor(tenant: &str, who: &str) -> Result<Actor, BoxError> {
    Ok(Actor::authenticated(TenantId::new(tenant)?, Principal::new(who)?, "simulated"))
}

/// Tells the laws which policy the node has from now on.
fn in_force(world: &World, node: usize, which: usize) {
    let now = world.now();
    if let Some(it) = world.inside().oracle.in_force.get_mut(node) {
        // the same policy again changes nothing
        if it.now != which {
            *it = InForce { now: which, before: it.now, since: now };
        }
    }
}

pub(super) fn scope_of(scope: u64) -> Result<Scope, BoxError> {
    Ok(match scope {
        0 => Scope::All,
        1 => Scope::Principal(Principal::new("alice")?),
        2 => Scope::Target(TargetName::new("a1")?),
        _ => Scope::Target(TargetName::new("b1")?),
    })
}
