//! Several nodes on one PostgresStore: the time until one wakes another, and three nodes over a
//! million live grants.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use jit_core::clock::after;
use jit_core::database::{Database as _, FixedCredentials, TlsMode};
use jit_core::engine::AccessRequest;
use jit_core::id::{RealmId, TargetName};
use jit_core::store::Store as _;
use jit_postgres::{PostgresConfig, PostgresStore, StoreConfig};
use jit_tests::places::OnPostgres;
use jit_tests::servers::RunningPostgres;

use crate::bed::{PATIENCE, actor, builder, engine, ids, names, user};
use crate::million::memory;
use crate::records::{Live, membership, write};
use crate::server::{Server as _, database_of, prepared};
use crate::table::{Spread, Table, millis};

const TOLD: usize = 200;
const ASKED: usize = 20;
const POLL: Duration = Duration::from_secs(1);

const LIVE: usize = 1_000_000;
const NODES: usize = 3;
/// Number of windows that end each second, for `SECONDS` seconds.
const RATE: usize = 200;
const SECONDS: usize = 300;
/// Seconds from the last record to the first end; the nodes start within them.
const START: i64 = 60;
/// Environment variable that makes a process of this bench a node, with the addresses that it
/// needs.
const CHILD: &str = "JIT_BENCH_NODE";

/// Measures how fast an approval on one node becomes usable through another node's pump.
pub async fn wake(table: &mut Table) -> Result<()> {
    let server = prepared(TOLD + ASKED).await?;
    let place = OnPostgres::make(server.running()).await?;
    let node = || place.node(server.running().port);
    let desk = engine(&server, PostgresStore::open(StoreConfig::new(node()?)).await?).await?;
    for (said, listen, users, aim) in [
        ("told by NOTIFY", Some(node()?), 0..TOLD, "50 ms"),
        ("asking every second", None, TOLD..TOLD + ASKED, "the polling interval + 50 ms"),
    ] {
        let config = StoreConfig::new(node()?).listen(listen).poll_every(POLL);
        let other = engine(&server, PostgresStore::open(config).await?).await?;
        let pump = other.start();
        let mut events = other.events();
        let mut taken = Vec::new();
        for number in users {
            let ask = AccessRequest::new("pg", "asked", TimeDelta::hours(1)).because("bench");
            let access = desk.request(&user(number), ask).await?;
            // the other node notices the request first; an approval may come at any moment of the
            // interval
            tokio::time::sleep(Duration::from_millis(20 + (number as u64 * 137) % 400)).await;
            let started = Instant::now();
            desk.approve(&actor("bob"), access.id(), "").await?;
            loop {
                let happened = tokio::time::timeout(PATIENCE, events.next()).await?.context("the engine is gone")??;
                if happened.access.is_some_and(|view| view.id() == access.id() && view.state == "active") {
                    break;
                }
            }
            taken.push(started.elapsed());
        }
        pump.stop().await;
        table.row(
            &format!("approval on one node to active by another node's pump, {said}"),
            Spread::of(taken).said(),
            "-".to_owned(),
            aim,
        );
    }
    Ok(())
}

/// Measures three nodes over a million live grants, of which 200 a second end for five minutes.
pub async fn million(table: &mut Table) -> Result<()> {
    if let Some(where_) = std::env::var_os(CHILD) {
        return node(&where_.to_string_lossy()).await;
    }
    let ending = RATE * SECONDS;
    let server = prepared(ending + TOLD).await?;
    let running = server.running();
    let admin = server.admin().await?;
    // the windows that end are real memberships; the others end long after
    for start in (0..ending + TOLD).step_by(1_000) {
        let names = names('u', start..(start + 1_000).min(ending + TOLD));
        admin.batch_execute(&format!("GRANT free TO {names} GRANTED BY jit_broker")).await?;
    }
    let mut floor = Vec::new();
    for place in ending..ending + TOLD {
        let started = Instant::now();
        admin.batch_execute(&format!("REVOKE free FROM u{place} GRANTED BY jit_broker")).await?;
        floor.push(started.elapsed());
    }
    let place = OnPostgres::make(running).await?;
    let realm = server.adapter()?.identify().await?.realm;
    let started = Instant::now();
    let ids = ids(&admin).await?;
    fill(&place.node(running.port)?, &realm, &ids).await?;
    eprintln!("filled in {:.0} s", started.elapsed().as_secs_f64());
    let at = format!("{} {} {} {}", running.port, place.name(), running.ca.display(), OnPostgres::PASSWORD);
    let nodes: Vec<_> = (0..NODES)
        .map(|_| {
            let mut node = Command::new(std::env::current_exe()?);
            Ok(node.arg("million-shared").env(CHILD, &at).stdout(Stdio::piped()).spawn()?)
        })
        .collect::<Result<_>>()?;
    let (mut lags, mut starts, mut most) = (Vec::new(), Vec::new(), 0);
    for node in nodes {
        let output = node.wait_with_output()?;
        ensure!(output.status.success(), "a node failed");
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some(("lag", micros)) => lags.push(Duration::from_micros(micros.parse()?)),
                Some(("start", micros)) => starts.push(millis(Duration::from_micros(micros.parse()?))),
                Some(("memory", kib)) => most = most.max(kib.parse::<u64>()? >> 10),
                _ => {}
            }
        }
    }
    ensure!(lags.len() == ending, "{} of {ending} ended", lags.len());
    let left =
        "SELECT count(*) FROM pg_auth_members WHERE roleid = 'free'::regrole AND member <> 'jit_broker'::regrole";
    let left: i64 = admin.query_one(left, &[]).await?.try_get(0)?;
    ensure!(left == 0, "{left} memberships are left");
    table.row(
        &format!("{NODES} nodes, 1,000,000 live grants in PostgresStore, {RATE} endings a second for {SECONDS} s: end of window to revoked"),
        format!("{}; a node is at work {} after it began to open the store, at most {most} MB", Spread::of(lags).said(), starts.join(" / ")),
        format!("raw REVOKE among as many members {}", Spread::of(floor).said()),
        "p99 under 1 s",
    );
    Ok(())
}

/// Fills the store. The accounts in `ids` exist on the server; the windows of the others end after
/// the bench.
async fn fill(config: &PostgresConfig, realm: &RealmId, ids: &BTreeMap<String, u32>) -> Result<()> {
    let store = PostgresStore::open(StoreConfig::new(config.clone().call_limit(Duration::from_secs(120)))).await?;
    let target = TargetName::new("pg")?;
    let fill = async |places: std::ops::Range<usize>, ends_in: &dyn Fn(usize) -> TimeDelta| {
        let since = after(store.now().await?, -TimeDelta::hours(1));
        let live = |place| {
            let (membership, duration) = (membership(ids, &format!("u{place}"), "free")?, TimeDelta::hours(1));
            Ok(Live { target: &target, realm, membership, since, duration: duration + ends_in(place) })
        };
        write(&store, places.map(live)).await
    };
    let ending = RATE * SECONDS;
    fill(ending..LIVE, &|place| TimeDelta::hours(2) + TimeDelta::seconds((place % 70_000) as i64)).await?;
    // windows that end soon are written last: the first of them ends when the nodes have started
    let micros = |place: usize| TimeDelta::microseconds((place * 1_000_000 / RATE) as i64);
    fill(0..ending, &|place| TimeDelta::seconds(START) + micros(place)).await
}

/// Runs one of the nodes.
async fn node(at: &str) -> Result<()> {
    let mut words = at.splitn(4, ' ');
    let mut word = || words.next().context("no address");
    let (port, name, ca, password) = (word()?.parse()?, word()?, word()?, word()?);
    let running = RunningPostgres { major: 17, port, socket: "/".into(), ca: ca.into(), other_ca: ca.into() };
    let url = format!("postgres://{name}_node@127.0.0.1:{port}/{name}");
    let tls = TlsMode::verify_full(Some(ca.into()));
    let credentials = Arc::new(FixedCredentials::new(password.to_owned().into()));
    let config = PostgresConfig::from_url(&url)?.credentials(credentials).tls(tls);
    let began = Instant::now();
    let store = PostgresStore::open(StoreConfig::new(config)).await?;
    let jit = builder(store)?.database("pg", database_of(&running)?).build().await?;
    let mut events = jit.events();
    let open = began.elapsed();
    let pump = jit.start();
    let over = Instant::now() + Duration::from_secs(SECONDS as u64 + 2 * START as u64 + 30);
    let mut said = String::new();
    while let Ok(Some(happened)) =
        tokio::time::timeout(over.saturating_duration_since(Instant::now()), events.next()).await
    {
        let happened = happened.context("the bench is slower than the events")?;
        if happened.audit_event.what.as_str() == "revoked"
            && let Some(view) = happened.access
        {
            let lag = view.ended_at.zip(view.expires_at).and_then(|(at, end)| (at - end).to_std().ok());
            said += &format!("lag {}\n", lag.context("it ended early")?.as_micros());
        }
    }
    pump.stop().await;
    println!("{said}start {}\nmemory {}", open.as_micros(), memory("VmHWM").context("no memory")?);
    Ok(())
}
