//! A restart with 1,000,000 live grants in three realms, one of which is stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use chrono::TimeDelta;
use jit_core::clock::{Clock, SystemClock, after};
use jit_core::engine::Jit;
use jit_core::id::{RealmId, TargetName};
use jit_core::policy::PolicyDocument;
use jit_core::store::{SqliteStore, Store as _};
use jit_core::testkit::mock::{MockServer, Profile};

use crate::records::{Live, membership, write};
use crate::table::Table;

const LIVE: usize = 1_000_000;
const DUE: usize = 3_000;
/// Environment variable that makes a process of this bench the one that starts again.
const CHILD: &str = "JIT_BENCH_RESTART";

pub async fn rows(table: &mut Table) -> Result<()> {
    if let Some(store) = std::env::var_os(CHILD) {
        return restart(Path::new(&store)).await;
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("jit.db");
    fill(&SqliteStore::open(&path)?, &servers(), LIVE, DUE).await?;
    let size = std::fs::metadata(&path)?.len();
    let started = Instant::now();
    let read = std::fs::read(&path)?.len();
    let floor = format!("reading the file of {} MB whole: {:.0} ms", size >> 20, started.elapsed().as_secs_f64() * 1e3);
    anyhow::ensure!(read as u64 == size);
    let output = Command::new(std::env::current_exe()?).arg("million").env(CHILD, &path).output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let figure = said.lines().find_map(|line| line.strip_prefix("restart: ")).context("no figure")?;
    table.row(
        "restart with 1,000,000 live grants, three realms, one stopped",
        figure.to_owned(),
        floor,
        "100 ms, under 100 MB",
    );
    Ok(())
}

/// Makes three servers in memory, each a realm of its own.
pub fn servers() -> Vec<(String, MockServer)> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    (0..3).map(|number| (format!("t{number}"), MockServer::new(Profile::postgres(17), Arc::clone(&clock)))).collect()
}

/// Writes so many live grants of these servers into the store. Some windows are due already, the
/// others end over the next hours.
pub async fn fill(store: &SqliteStore, servers: &[(String, MockServer)], live: usize, due: usize) -> Result<()> {
    let realms: Vec<(TargetName, RealmId)> = servers
        .iter()
        .map(|(name, server)| anyhow::Ok((TargetName::new(name)?, RealmId::new(server.realm())?)))
        .collect::<Result<_>>()?;
    let (nobody, since) = (BTreeMap::new(), after(store.now().await?, -TimeDelta::hours(2)));
    let live = (0..live).map(|number| {
        let (target, realm) = &realms[number % realms.len()];
        let seconds = if number < due { 7_100 } else { 8_000 + (number % 70_000) as i64 };
        let membership = membership(&nobody, &format!("u{number}"), "r")?;
        Ok(Live { target, realm, membership, since, duration: TimeDelta::seconds(seconds) })
    });
    write(store, live).await
}

async fn restart(path: &Path) -> Result<()> {
    let servers = servers();
    servers[2].1.stop();
    let policy = PolicyDocument::parse("version = 1\n", "bench")?;
    let began = Instant::now();
    let store = SqliteStore::open(path)?;
    let open = Instant::now();
    let mut builder = Jit::builder().store(store).policy(policy);
    for (name, server) in &servers {
        builder = builder.database(name.as_str(), server.database());
    }
    let jit = builder.build().await?;
    let mut events = jit.events();
    let pump = jit.start();
    let mut first = None;
    let mut ended = 0_usize;
    let mut lost = false;
    while ended < DUE / 3 * 2 {
        let next = tokio::time::timeout(Duration::from_secs(60), events.next()).await?;
        let happened = match next.context("the engine is gone")? {
            Ok(happened) => happened,
            Err(missed) => {
                ended += missed.events as usize / 2;
                continue;
            }
        };
        match happened.audit_event.what.as_str() {
            "revoking" => drop(first.get_or_insert_with(|| open.elapsed())),
            "revoked" => ended += 1,
            "target-lost" => lost = true,
            _ => {}
        }
    }
    let all = open.elapsed();
    let memory = memory("VmHWM").context("no memory figure")?;
    pump.stop().await;
    anyhow::ensure!(lost, "the stopped realm was not noticed");
    println!(
        "restart: due work begins {:.0} ms after the store is open (opened in {:.0} ms), the {} due ones of two realms done after {:.0} ms, at most {} MB",
        first.unwrap_or_default().as_secs_f64() * 1e3,
        (open - began).as_secs_f64() * 1e3,
        DUE / 3 * 2,
        all.as_secs_f64() * 1e3,
        memory >> 10,
    );
    Ok(())
}

pub fn memory(what: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(what))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
