//! Throwaway servers.

pub mod mysql;
pub mod postgres;

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub use mysql::{Durability, Flavour, MySqlServer, Scheduler, Settings};
pub use postgres::{Cluster, binaries};

/// How a server goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Sessions are cut off, everything is written.
    Fast,
    /// The processes are gone without a word.
    Killed,
}

/// Moves the clock that a process sees.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// As whom the server runs: never as root, which it refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User(Option<(u32, u32)>);

impl User {
    pub(crate) fn unprivileged() -> Result<Self> {
        let id = |flag: &str, name: &str| -> Result<u32> {
            let output =
                Command::new("id").arg(flag).args(name.split_terminator(' ')).output().context("running id")?;
            ensure!(output.status.success(), "there is no user `{name}`");
            Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
        };
        if id("-u", "")? != 0 {
            return Ok(Self(None));
        }
        let name = if id("-u", "postgres").is_ok() { "postgres" } else { "nobody" };
        Ok(Self(Some((id("-u", name)?, id("-g", name)?))))
    }

    pub(crate) fn own(self, path: &Path) -> Result<()> {
        self.0.map_or(Ok(()), |(user, group)| chown(path, Some(user), Some(group)))?;
        Ok(())
    }

    /// The same for all that is in it.
    pub(crate) async fn own_all(self, folder: &Path) -> Result<()> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        let mut chown = Command::new("chown");
        chown.arg("-R").arg(format!("{user}:{group}")).arg(folder);
        finish(chown, Stdio::null()).await
    }

    /// A command that ends with us, however we end.
    pub(crate) fn command(self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some((user, group)) = self.0 {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
        }
        command.arg("--").arg(program);
        command
    }
}

/// Sends a signal: `STOP`, `CONT`, `TERM`, `KILL`, `INT`, `QUIT`.
///
/// # Errors
/// When the process is gone.
pub fn signal(process: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status()?;
    ensure!(status.success(), "process {process} cannot be told to end");
    Ok(())
}

/// Waits until a process that was told to end has ended. One that hangs is killed together with what it started: a test that is
/// over must not wait for ever, and a server whose clock is moved by libfaketime has been seen to hang.
///
/// # Errors
/// When it cannot be waited for.
pub(crate) fn end(process: &mut Child) -> std::io::Result<()> {
    let patience = Instant::now() + Duration::from_secs(20);
    while process.try_wait()?.is_none() {
        if Instant::now() > patience {
            let children = children_of(process.id());
            process.kill()?;
            for child in children {
                // it may have ended with its parent
                let _ = Command::new("kill").arg("-KILL").arg(child).stderr(Stdio::null()).status();
            }
            process.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn children_of(process: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    children.split_whitespace().map(str::to_owned).collect()
}

/// Keeps a server's `data` of this folder as it is now, as a storage snapshot does. The server has to be stopped.
pub(crate) async fn save(folder: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(folder.join("data")).arg(folder.join("saved"));
    finish(copy, Stdio::null()).await
}

/// Puts what was saved in the place of `data`, and keeps that instead.
pub(crate) fn exchange(folder: &Path) -> Result<()> {
    let (data, saved, aside) = (folder.join("data"), folder.join("saved"), folder.join("aside"));
    std::fs::rename(&data, &aside)?;
    std::fs::rename(&saved, &data)?;
    Ok(std::fs::rename(&aside, &saved)?)
}

/// A port of 127.0.0.1 for a server that can be stopped and started again. The system hands out none of these by itself
/// (`ip_local_port_range` begins at 32768), so that no connection and no other listener takes it while the server is down.
///
/// # Errors
/// When every one is taken.
pub(crate) fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const PORTS: std::ops::Range<u16> = 20_000..32_000;
    let count = u32::from(PORTS.end - PORTS.start);
    // programs that run at the same time begin at different ones
    let first = std::process::id().wrapping_mul(127) % count;
    let mut ports = (0..count).map(|_| {
        let next = (first + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % count;
        PORTS.start + u16::try_from(next).unwrap_or_default()
    });
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no port is free")
}

/// Runs it to its end, which has to be a good one. It is started by this thread, with which it would end.
pub(crate) async fn finish(command: Command, input: Stdio) -> Result<()> {
    let output = tokio::process::Command::from(command).current_dir("/").stdin(input).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}{said}", output.status, String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// The end of a log.
pub(crate) fn last_words(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Where `run.sh` keeps what it brings, when a bench runs by itself.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("JIT_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/jit-tests"), PathBuf::from)
}
