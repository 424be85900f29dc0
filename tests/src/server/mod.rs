//! Servers that the tests start and throw away.

pub mod mysql;
pub mod postgres;

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

pub(crate) use jit_tds::free_port;
pub use mysql::{Durability, Flavour, MySqlServer, Scheduler, Settings};
pub use postgres::{Cluster, binaries};

/// Way in which a server goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Sessions are cut off, and everything is written.
    Fast,
    /// Processes are killed without notice.
    Killed,
}

/// Library that changes the clock that a process sees.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// User that the server runs as: never root, which servers refuse.
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

    /// Gives this folder and everything in it to the user.
    pub(crate) async fn own_all(self, folder: &Path) -> Result<()> {
        let Some((user, group)) = self.0 else { return Ok(()) };
        let mut chown = Command::new("chown");
        chown.arg("-R").arg(format!("{user}:{group}")).arg(folder);
        finish(chown, Stdio::null()).await
    }

    /// Makes a command that ends with this process, however this process ends.
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

/// Waits until a process that was told to end has ended. A process that hangs is killed together
/// with its children. A finished test must not wait for ever, and a server under libfaketime has
/// been seen to hang.
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
                // the child may have ended with its parent
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

/// Copies the server's `data` of this folder, as a storage snapshot does. The server has to be
/// stopped.
pub(crate) async fn save(folder: &Path) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(folder.join("data")).arg(folder.join("saved"));
    finish(copy, Stdio::null()).await
}

/// Replaces `data` with the saved copy, and keeps the previous `data` as the saved one.
pub(crate) fn exchange(folder: &Path) -> Result<()> {
    let (data, saved, aside) = (folder.join("data"), folder.join("saved"), folder.join("aside"));
    std::fs::rename(&data, &aside)?;
    std::fs::rename(&saved, &data)?;
    Ok(std::fs::rename(&aside, &saved)?)
}

/// Runs a command to its end, which has to be a success. This thread starts it, and it would end
/// with this thread.
pub(crate) async fn finish(command: Command, input: Stdio) -> Result<()> {
    let output = tokio::process::Command::from(command).current_dir("/").stdin(input).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {}{said}", output.status, String::from_utf8_lossy(&output.stdout));
    Ok(())
}

/// Returns the end of a log.
pub(crate) fn last_words(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// Returns the folder in which `run.sh` keeps the servers that it brings, for a bench that runs by
/// itself.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("JIT_TEST_CACHE").map_or_else(|| PathBuf::from("/var/cache/jit-tests"), PathBuf::from)
}
