//! The supervisor. It starts the servers, runs a command beside them, and stops them however the
//! command ends.
//!
//! `servers [--list-facts] -- COMMAND...`

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use jit_core::testkit::database_laws::{FACTS, database_laws};
use jit_tests::server::{Cluster, MySqlServer};
use jit_tests::servers::{KNOWN, Kind, Running, Servers, VARIABLE};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, [])) if first == "--list-facts" => {
            list_facts();
            Ok(ExitCode::SUCCESS)
        }
        Some((first, command)) if first == "--" && !command.is_empty() => {
            // one thread: a server is told to end when the thread that started it ends
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
    let (left_out, wanted): (Vec<_>, Vec<_>) = KNOWN.into_iter().partition(|(name, _)| skipped.contains(name));
    for (name, _) in left_out {
        servers.absent.insert(name.to_owned(), "skipped by JIT_TEST_SKIP".to_owned());
    }
    // all at once: some take seconds to be made
    let started = try_join_all(wanted.into_iter().map(|(name, kind)| async move {
        let one = One::start(kind).await;
        one.with_context(|| format!("{name} does not run; JIT_TEST_SKIP={name} leaves it out"))
    }))
    .await?;
    for one in &started {
        let running = one.running();
        eprintln!("{}: {}", running.name(), one.version().await?);
        servers.running.push(running);
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

/// Process group of the command. Everything in it ends with this value.
struct Group(u32);

impl Drop for Group {
    fn drop(&mut self) {
        // the group may already be gone
        let _ = Command::new("kill")
            .args(["-TERM", "--"])
            .arg(format!("-{}", self.0))
            .stderr(std::process::Stdio::null())
            .status();
    }
}

/// Running server, which ends with this value.
enum One {
    Postgres(Cluster),
    MySql(MySqlServer),
}

impl One {
    async fn start(kind: Kind) -> Result<Self> {
        Ok(match kind {
            Kind::Postgres(major) => Self::Postgres(Cluster::start_fresh(major).await?),
            Kind::MySql(flavour) => Self::MySql(MySqlServer::start_fresh(flavour).await?),
        })
    }

    fn running(&self) -> Running {
        match self {
            Self::Postgres(cluster) => Running::Postgres(cluster.running().clone()),
            Self::MySql(server) => Running::MySql(server.running().clone()),
        }
    }

    /// Returns the server's version text and its address.
    async fn version(&self) -> Result<String> {
        let (version, port) = match self {
            Self::Postgres(cluster) => {
                let admin = cluster.running().admin("postgres").await?;
                let text = "SELECT split_part(version(), ' on ', 1)";
                (admin.query_one(text, &[]).await?.try_get(0)?, cluster.running().port)
            }
            Self::MySql(server) => (server.running().version().await?, server.running().port),
        };
        Ok(format!("{version} on port {port}"))
    }
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
