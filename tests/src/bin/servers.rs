//! The supervisor: starts the servers, runs a command beside them, stops them however it ends.
//!
//! `servers [--list-facts] -- COMMAND...`

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use jit_core::testkit::database_laws::{FACTS, database_laws};
use jit_tests::server::Cluster;
use jit_tests::servers::{KNOWN, Servers, VARIABLE};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, [])) if first == "--list-facts" => {
            list_facts();
            Ok(ExitCode::SUCCESS)
        }
        Some((first, command)) if first == "--" && !command.is_empty() => {
            // one thread: servers are told to end when the thread that started them does
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(command))
        }
        _ => bail!("usage: servers -- COMMAND..., or servers --list-facts"),
    }
}

async fn run(command: &[String]) -> Result<ExitCode> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let folder = tempfile::tempdir()?;
    tokio::select! {
        code = beside_servers(command, folder.path()) => code,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
    }
}

async fn beside_servers(command: &[String], folder: &std::path::Path) -> Result<ExitCode> {
    let skipped = std::env::var("JIT_TEST_SKIP").unwrap_or_default();
    let skipped: Vec<&str> = skipped.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = skipped.iter().find(|name| !KNOWN.iter().any(|(known, _)| known == *name)) {
        bail!("JIT_TEST_SKIP names `{unknown}`: known are {}", KNOWN.map(|(name, _)| name).join(", "));
    }
    let mut servers = Servers::default();
    let mut clusters = Vec::new();
    for (name, major) in KNOWN {
        if skipped.contains(&name) {
            servers.absent.insert(name.to_owned(), "skipped by JIT_TEST_SKIP".to_owned());
            continue;
        }
        let started = Cluster::start_fresh(major).await;
        let cluster = started.with_context(|| format!("{name} does not run; JIT_TEST_SKIP={name} leaves it out"))?;
        eprintln!("{name}: {} on port {}", version(&cluster).await?, cluster.running().port);
        servers.running.push(cluster.running().clone());
        clusters.push(cluster);
    }
    let file = folder.join("servers.json");
    std::fs::write(&file, serde_json::to_vec_pretty(&servers)?)?;
    let Some((program, arguments)) = command.split_first() else { bail!("there is no command") };
    let mut child = Command::new(program).args(arguments).env(VARIABLE, &file).process_group(0).spawn()?;
    let group = Group(child.id());
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    drop(group);
    for (name, why) in &servers.absent {
        eprintln!("{name}: {why}");
    }
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// The command and all that it started. They end with it.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        // nobody may be left to tell
        let _ = Command::new("kill")
            .args(["-TERM", "--"])
            .arg(format!("-{}", self.0))
            .stderr(std::process::Stdio::null())
            .status();
    }
}

async fn version(cluster: &Cluster) -> Result<String> {
    let admin = cluster.running().admin("postgres").await?;
    Ok(admin.query_one("SELECT split_part(version(), ' on ', 1)", &[]).await?.try_get(0)?)
}

fn list_facts() {
    for fact in FACTS {
        println!("{}: {}", fact.id, fact.says);
        for law in database_laws().iter().filter(|law| law.facts.contains(&fact.id)) {
            println!("    {}", law.name);
        }
        if let Some(elsewhere) = fact.elsewhere {
            println!("    - {elsewhere}");
        }
    }
}
