//! Ten bad minutes. Three real pumps work on one PostgresStore and two realms, under load. They are
//! killed, paused and cut off at random, but one of them is well at any moment. Afterwards the
//! store and the databases have to agree. `tests/storm.sh [SECONDS] [SEED]`.

#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use jit_core::Actor;
use jit_core::clock::Time;
use jit_core::database::{FixedCredentials, TlsMode};
use jit_core::engine::{AccessRequest, AccessView, Filter, Jit, JitError, Reconcile};
use jit_core::id::{AccessId, Principal, TargetName, TenantId};
use jit_core::policy::PolicyDocument;
use jit_postgres::{PostgresConfig, PostgresDatabase, PostgresStore, StoreConfig};
use jit_tests::places::OnPostgres;
use jit_tests::proxy::Proxy;
use jit_tests::server::{Cluster, signal};
use jit_tests::servers::RunningPostgres;
use tokio::process::{Child, Command};

const NODES: usize = 3;
const ACCOUNTS: u64 = 40;
const ROLES: [&str; 2] = ["reads", "writes"];
/// Target names: two of the first realm, one of the second.
const TARGETS: [&str; 3] = ["north", "north2", "south"];
/// Longest time that a role may outlive its window while its realm answers. The claim of a dead
/// node takes 10 s, and then the next node has to do the work.
const LONGEST: Duration = Duration::from_secs(15);
/// Pause between two looks at the catalogs.
const LOOK: Duration = Duration::from_millis(200);
/// Time within which everything has to end once nothing bad happens any more.
const CALM: Duration = Duration::from_secs(90);

const POLICY: &str = r#"
version = 1
[groups]
dba = ["bob"]
[[may]]
do = ["revoke", "stop", "resume", "reconcile"]
who = ["bob"]
targets = ["*"]
[[rule]]
name = "at once"
targets = ["*"]
roles = ["reads"]
requesters = ["*"]
max = "1h"
[[rule]]
name = "with a yes"
targets = ["*"]
roles = ["writes"]
requesters = ["*"]
max = "1h"
set_role = "allowed"
[[rule.stage]]
people = [{ group = "dba" }]
"#;

/// Random numbers by splitmix64: a seed determines what happens when.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % most.max(1)
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }
}

#[tokio::main(flavor = "multi_thread")]
async fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let seconds: u64 = arguments.next().map_or(Ok(600), |text| text.parse()).context("seconds")?;
    let seed: u64 = arguments.next().map_or(Ok(1), |text| text.parse()).context("seed")?;
    let ground = Ground::make().await?;
    println!("{seconds} s of storm, seed {seed}");
    let over = Instant::now() + Duration::from_secs(seconds);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let looking = tokio::spawn(look(ground.realms(), Arc::clone(&seen)));
    let (asked, happened) = tokio::join!(load(&ground, over, seed), storm(&ground, over, seed ^ 0xABCD));
    let (asked, mut nodes) = (asked?, happened?);
    println!("{}", nodes.said());
    let calm = Instant::now();
    while !ground.jit.list(&Filter::open(), None, 1).await?.is_empty() {
        ensure!(calm.elapsed() < CALM, "something is still open after {CALM:?} of calm");
        tokio::time::sleep(LOOK).await;
    }
    println!("all over {:.1} s after the storm", calm.elapsed().as_secs_f64());
    tokio::time::sleep(LOOK * 3).await;
    looking.abort();
    let seen = std::mem::take(&mut *seen.lock().map_err(|_| anyhow::anyhow!("the look failed"))?);
    nodes.end().await?;
    ground.agree(&asked, &seen).await
}

/// Servers, the store, and an engine that only sends requests.
struct Ground {
    north: Cluster,
    south: Cluster,
    home: Cluster,
    place: OnPostgres,
    folder: tempfile::TempDir,
    jit: Jit,
}

/// Access that was requested.
#[derive(Debug)]
struct Asked {
    id: AccessId,
    /// Time at which its release was recorded.
    released: Option<Time>,
}

/// Membership that was seen in a catalog.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    realm: usize,
    account: String,
    role: String,
}

impl Ground {
    async fn make() -> Result<Self> {
        let (north, south, home) =
            tokio::try_join!(Cluster::start_durable(17), Cluster::start_durable(16), Cluster::start_durable(18))?;
        for cluster in [&north, &south] {
            let admin = cluster.running().admin("postgres").await?;
            admin
                .batch_execute(&format!(
                    "CREATE ROLE jit_broker LOGIN NOINHERIT PASSWORD 'secret'; CREATE ROLE reads; CREATE ROLE writes;
                     GRANT reads, writes TO jit_broker WITH ADMIN OPTION, INHERIT FALSE, SET FALSE;
                     GRANT pg_signal_backend TO jit_broker WITH INHERIT TRUE;
                     DO $$ BEGIN FOR i IN 0..{ACCOUNTS} - 1 LOOP EXECUTE format('CREATE ROLE u%s LOGIN', i); END LOOP; END $$"
                ))
                .await?;
        }
        let place = OnPostgres::make(home.running()).await?;
        let folder = tempfile::tempdir()?;
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("policy.toml", POLICY)?;
        write("password", "secret")?;
        write("node", OnPostgres::PASSWORD)?;
        let store = PostgresStore::open(StoreConfig::new(place.node(home.running().port)?)).await?;
        let mut builder = Jit::builder().store(store).policy(PolicyDocument::parse(POLICY, "policy.toml")?);
        for name in TARGETS {
            let running = if name == "south" { south.running() } else { north.running() };
            builder = builder.database(name, database(running)?);
        }
        Ok(Self { jit: builder.build().await?, north, south, home, place, folder })
    }

    fn realms(&self) -> [RunningPostgres; 2] {
        [self.north.running().clone(), self.south.running().clone()]
    }

    /// Returns the configuration of a node, with connections of its own through these proxies.
    fn config(&self, ways: &[Proxy; 3]) -> String {
        let [home, north, south] = ways;
        let name = self.place.name();
        let ca = |running: &RunningPostgres| {
            format!("{{ mode = \"verify-full\", ca = {:?} }}", running.ca.display().to_string())
        };
        let mut text = format!(
            "policy = \"policy.toml\"\n[store]\nurl = \"postgres://{name}_node@127.0.0.1:{}/{name}\"\npassword_file = \"node\"\ntls = {}\n\
             [audit]\nsigning_key = \"audit.key\"\n",
            home.port(),
            ca(self.home.running())
        );
        for target in TARGETS {
            let (way, running) =
                if target == "south" { (south, self.south.running()) } else { (north, self.north.running()) };
            text += &format!(
                "[targets.{target}]\nurl = \"postgres://jit_broker@127.0.0.1:{}/postgres\"\npassword_file = \"password\"\ntls = {}\n",
                way.port(),
                ca(running)
            );
        }
        text
    }

    /// Checks that store, catalogs and log agree, that nothing is lost or doubled, and that no role
    /// outlived its window for long.
    async fn agree(&self, asked: &[Asked], seen: &[(Time, Held)]) -> Result<()> {
        let mut states: BTreeMap<&str, usize> = BTreeMap::new();
        let mut windows: BTreeMap<Held, Vec<(Time, Time, AccessId)>> = BTreeMap::new();
        for Asked { id, released } in asked {
            let view = self.jit.access(*id).await?;
            *states.entry(view.state.as_str()).or_default() += 1;
            ensure!(view.is_final(), "{id} is {}", view.state);
            self.told_once(&view).await?;
            // an access never seen active may have been held until its end was verified
            let window = view.activated_at.zip(view.expires_at).or(view.ended_at.map(|ended| (view.asked_at, ended)));
            if let Some((from, to)) = window {
                let held = Held {
                    realm: usize::from(view.target.as_str() == "south"),
                    account: view.account.to_string(),
                    role: view.role.to_string(),
                };
                let to = released.map_or(to, |released| to.min(released));
                windows.entry(held).or_default().push((from, to, *id));
            }
        }
        println!("{} asked for: {states:?}", asked.len());
        ensure!(states.get("revoked").is_some_and(|revoked| *revoked > 0), "nothing was granted");
        let (mut longest, mut whose) = (TimeDelta::zero(), None);
        for (at, held) in seen {
            let Some(windows) = windows.get(held) else { anyhow::bail!("{held:?} was seen and nobody asked for it") };
            // the end of the latest window that began before the membership was seen
            let (end, id) = windows
                .iter()
                .filter(|(from, _, _)| *from <= *at + TimeDelta::seconds(30))
                .map(|(_, to, id)| (*to, *id))
                .max()
                .with_context(|| format!("{held:?} was seen at {at} before any window"))?;
            if *at - end > longest {
                (longest, whose) = (*at - end, Some((held.clone(), end, id)));
            }
        }
        println!("longest that a role outlived its window: {:.1} s ({} looks)", longest.as_seconds_f64(), seen.len());
        if let Some((held, end, id)) = whose {
            println!("  {held:?}, to be gone at {end}:");
            for entry in self.jit.history(id, 100).await? {
                let entry: serde_json::Value = serde_json::from_slice(&entry.body)?;
                println!("    {} {} by node {} {}", entry["at"], entry["what"], entry["node"], entry["details"]);
            }
        }
        for (realm, running) in self.realms().iter().enumerate() {
            let left = memberships(&running.admin("postgres").await?, realm).await?;
            ensure!(left.is_empty(), "left over: {left:?}");
        }
        let bob = actor("bob")?;
        for target in TARGETS {
            let drift = self.jit.reconcile(&bob, &TargetName::new(target)?, Reconcile::Report).await?;
            ensure!(drift.is_empty(), "reconcile finds {drift:?}");
        }
        let verified = Command::new(binary()?)
            .args(["--config", "node0.toml", "audit", "verify"])
            .current_dir(self.folder.path())
            .output()
            .await?;
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        ensure!(verified.status.success(), "{said}{}", String::from_utf8_lossy(&verified.stderr));
        print!("{said}");
        ensure!(longest.to_std().unwrap_or_default() <= LONGEST, "longer than {LONGEST:?}");
        println!("store and databases agree");
        Ok(())
    }

    async fn told_once(&self, view: &AccessView) -> Result<()> {
        let mut told: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.jit.history(view.id(), 1_000).await? {
            let entry: serde_json::Value = serde_json::from_slice(&entry.body)?;
            *told.entry(entry["what"].as_str().unwrap_or_default().to_owned()).or_default() += 1;
        }
        let times = |what: &str| told.get(what).copied().unwrap_or_default();
        ensure!(times("requested") == 1 && times("active") <= 1, "{}: {told:?}", view.id());
        let reappeared = times("reappeared");
        ensure!(times("active") == 0 || times("revoked") == 1 + reappeared, "{}: {told:?}", view.id());
        Ok(())
    }
}

/// Plays the people: they request, approve and give back until the time is over.
async fn load(ground: &Ground, over: Instant, seed: u64) -> Result<Vec<Asked>> {
    let mut dice = Dice(seed);
    let mut asked = Vec::new();
    let mut tasks = tokio::task::JoinSet::new();
    let mut refused: BTreeSet<String> = BTreeSet::new();
    while Instant::now() < over {
        let who = actor(&format!("u{}", dice.below(ACCOUNTS)))?;
        let (target, role) = (TARGETS[dice.below(3) as usize], ROLES[dice.below(2) as usize]);
        let duration = TimeDelta::milliseconds(1_000 + dice.below(9_000) as i64);
        let (release, after) = (dice.below(4) == 0, dice.millis(200, 5_000));
        let jit = ground.jit.clone();
        tasks.spawn(async move {
            let access = jit.request(&who, AccessRequest::new(target, role, duration).because("storm")).await?;
            if role == "writes" {
                jit.approve(&actor("bob")?, access.id(), "").await?;
            }
            let mut released = None;
            if release {
                tokio::time::sleep(after).await;
                if let Ok(view) = jit.release(&who, access.id()).await
                    && view.state == "revoking"
                {
                    released = Some(jit.store().now().await?);
                }
            }
            anyhow::Ok(Asked { id: access.id(), released })
        });
        tokio::time::sleep(dice.millis(10, 120)).await;
        while let Some(done) = tasks.try_join_next() {
            match done? {
                Ok(one) => asked.push(one),
                Err(error) => drop(refused.insert(kind(&error))),
            }
        }
    }
    while let Some(done) = tasks.join_next().await {
        match done? {
            Ok(one) => asked.push(one),
            Err(error) => drop(refused.insert(kind(&error))),
        }
    }
    println!("refused: {refused:?}");
    Ok(asked)
}

fn kind(error: &anyhow::Error) -> String {
    error.downcast_ref::<JitError>().map_or_else(|| error.to_string(), |error| error.kind().to_owned())
}

/// Pumps, and the faults that were caused in them.
struct Nodes {
    folder: PathBuf,
    pumps: Vec<Option<Child>>,
    ways: Vec<[Proxy; 3]>,
    done: BTreeMap<&'static str, usize>,
}

impl Nodes {
    async fn start(ground: &Ground) -> Result<Self> {
        let folder = ground.folder.path().to_owned();
        let mut nodes = Self { folder, pumps: Vec::new(), ways: Vec::new(), done: BTreeMap::new() };
        for number in 0..NODES {
            let ways = [
                Proxy::before(ground.home.running().port).await?,
                Proxy::before(ground.north.running().port).await?,
                Proxy::before(ground.south.running().port).await?,
            ];
            std::fs::write(nodes.folder.join(format!("node{number}.toml")), ground.config(&ways))?;
            nodes.ways.push(ways);
            nodes.pumps.push(Some(nodes.pump(number)?));
        }
        Ok(nodes)
    }

    fn pump(&self, number: usize) -> Result<Child> {
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.join(format!("node{number}.log")))?;
        let mut command = Command::new(binary()?);
        command.args(["--config", &format!("node{number}.toml"), "pump"]).current_dir(&self.folder).kill_on_drop(true);
        Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    fn said(&self) -> String {
        format!("done to the nodes: {:?}", self.done)
    }

    async fn end(&mut self) -> Result<()> {
        for pump in self.pumps.iter_mut().flatten() {
            signal(pump.id().context("a pump ended by itself")?, "TERM")?;
            let status =
                tokio::time::timeout(Duration::from_secs(30), pump.wait()).await.context("a pump does not stop")??;
            ensure!(status.code().is_some(), "a pump ended by {status}");
        }
        Ok(())
    }
}

/// Causes one fault after another in random nodes. A node may suffer from several at once.
async fn storm(ground: &Ground, over: Instant, seed: u64) -> Result<Nodes> {
    let mut dice = Dice(seed);
    let mut nodes = Nodes::start(ground).await?;
    // faults to be repaired, with the time of the repair
    let mut later: Vec<(Instant, usize, Bad)> = Vec::new();
    loop {
        let calm = Instant::now() >= over;
        let (due, rest): (Vec<_>, Vec<_>) = later.into_iter().partition(|(at, _, _)| calm || *at <= Instant::now());
        later = rest;
        for (_, node, bad) in due {
            match bad {
                Bad::Killed => nodes.pumps[node] = Some(nodes.pump(node)?),
                Bad::Paused => {
                    if let Some(id) = nodes.pumps[node].as_ref().and_then(Child::id) {
                        signal(id, "CONT")?;
                    }
                }
                Bad::Cut(way) => nodes.ways[node][way].mend(),
            }
        }
        if calm {
            return Ok(nodes);
        }
        tokio::time::sleep(dice.millis(200, 2_500)).await;
        let node = dice.below(NODES as u64) as usize;
        // one node is well at any moment: without any, no window could end in time
        let mut unwell: BTreeSet<usize> = later.iter().map(|(_, node, _)| *node).collect();
        unwell.insert(node);
        if unwell.len() == NODES {
            continue;
        }
        let Some(id) = nodes.pumps[node].as_ref().and_then(Child::id) else { continue };
        let (bad, how_long, what) = match dice.below(10) {
            0..3 => {
                if let Some(mut pump) = nodes.pumps[node].take() {
                    pump.start_kill()?;
                    pump.wait().await?;
                }
                (Bad::Killed, dice.millis(0, 6_000), "killed")
            }
            3..6 => {
                signal(id, "STOP")?;
                (Bad::Paused, dice.millis(100, 20_000), "paused")
            }
            6..8 => {
                nodes.ways[node][0].cut();
                (Bad::Cut(0), dice.millis(100, 12_000), "cut off from the store")
            }
            _ => {
                let way = 1 + dice.below(2) as usize;
                nodes.ways[node][way].cut();
                (Bad::Cut(way), dice.millis(100, 12_000), "cut off from a realm")
            }
        };
        *nodes.done.entry(what).or_default() += 1;
        later.push((Instant::now() + how_long, node, bad));
    }
}

#[derive(Debug, Clone, Copy)]
enum Bad {
    Killed,
    Paused,
    Cut(usize),
}

/// Reads both catalogs again and again, with the time of the servers' clock (which is the store's).
async fn look(realms: [RunningPostgres; 2], seen: Arc<Mutex<Vec<(Time, Held)>>>) -> Result<()> {
    let admins = [realms[0].admin("postgres").await?, realms[1].admin("postgres").await?];
    loop {
        for (realm, admin) in admins.iter().enumerate() {
            let now: Time = admin.query_one("SELECT clock_timestamp()", &[]).await?.try_get(0)?;
            let held = memberships(admin, realm).await?;
            seen.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.extend(held.into_iter().map(|held| (now, held)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn memberships(admin: &tokio_postgres::Client, realm: usize) -> Result<Vec<Held>> {
    let rows = admin
        .query(
            "SELECT m.rolname::text, r.rolname::text FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles r ON r.oid = a.roleid \
             WHERE r.rolname IN ('reads', 'writes') AND m.rolname <> 'jit_broker'",
            &[],
        )
        .await?;
    rows.iter().map(|row| Ok(Held { realm, account: row.try_get(0)?, role: row.try_get(1)? })).collect()
}

fn database(running: &RunningPostgres) -> Result<PostgresDatabase> {
    let config = PostgresConfig::from_url(&format!("postgres://jit_broker@127.0.0.1:{}/postgres", running.port))?
        .credentials(Arc::new(FixedCredentials::new("secret".into())))
        .tls(TlsMode::verify_full(Some(running.ca.clone())));
    Ok(PostgresDatabase::new(config)?)
}

fn actor(name: &str) -> Result<Actor> {
    Ok(Actor::authenticated(TenantId::default(), Principal::new(name)?, "storm"))
}

/// Returns the path of `jit`, built beside this binary.
fn binary() -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let binary = here.parent().map(|folder: &Path| folder.join("jit")).context("no folder")?;
    ensure!(binary.exists(), "{} is missing: cargo build -p jit-examples --bin jit", binary.display());
    Ok(binary)
}
