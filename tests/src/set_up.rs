//! A target that a printed script sets up, and the client that runs the script.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::TimeDelta;
use jit_core::Actor;
use jit_core::database::{Check, Database, Severity};
use jit_core::engine::{AccessRequest, Jit};
use jit_core::id::{AccessId, Principal, TargetName, TenantId};
use jit_core::policy::PolicyDocument;
use jit_core::store::{BoxError, MemoryStore};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// Longest wait for one step on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Catalog of the server behind a target.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// Checks whether alice is in the role.
    async fn is_held(&self) -> Result<bool, BoxError>;

    /// Checks whether the server itself will take the role away within the next minute.
    async fn fires_soon(&self) -> Result<bool, BoxError>;
}

/// Target called `db`. Alice may have its roles at once, for as long as the database itself would
/// take them away.
#[derive(Debug)]
pub struct Target {
    jit: Jit,
    alice: Actor,
    name: TargetName,
}

impl Target {
    /// Makes a target with these roles.
    ///
    /// # Errors
    /// When the engine cannot be built.
    pub async fn new(database: Arc<dyn Database>, roles: &[&str]) -> Result<Self, BoxError> {
        let policy = format!(
            "version = 1\n[[rule]]\nname = \"at once\"\ntargets = [\"db\"]\nroles = {roles:?}\nrequesters = [\"alice\"]\nmax = \"1h\"\n\
             dead_man = \"required\"\n"
        );
        let policy = PolicyDocument::parse(&policy, "test")?;
        let jit = Jit::builder().store(MemoryStore::default()).policy(policy).database("db", database).build().await?;
        let alice = Actor::authenticated(TenantId::default(), Principal::new("alice")?, "test");
        Ok(Self { jit, alice, name: TargetName::new("db")? })
    }

    /// Returns the script that sets the target up.
    ///
    /// # Errors
    /// When the adapter has none.
    pub async fn script(&self) -> Result<String, BoxError> {
        Ok(self.jit.set_up_target(&self.name).await?)
    }

    /// Returns the findings of a check that need a fix.
    ///
    /// # Errors
    /// When the target cannot be checked.
    pub async fn wrong(&self) -> Result<Vec<Check>, BoxError> {
        let checks = self.jit.check_target(&self.name).await?.checks;
        // a throwaway server never waits for the disk
        let to_mend = |check: &Check| {
            check.about.what != "fsync" && (check.remedy.is_some() || check.severity != Severity::Remark)
        };
        Ok(checks.into_iter().filter(to_mend).collect())
    }

    /// Opens two windows of the role: one that alice gives back, and one that only the database
    /// ends.
    ///
    /// # Errors
    /// When the role is not held within a window, or is held afterwards.
    pub async fn windows(&self, role: &str, catalog: &dyn Catalog) -> Result<(), BoxError> {
        let pump = self.jit.start();
        let access = self.begin(role, TimeDelta::minutes(30), catalog).await?;
        self.jit.release(&self.alice, access).await?;
        let ended = self.jit.until_ended(access, PATIENCE).await?;
        if ended.state != "revoked" || catalog.is_held().await? {
            return Err(format!("it was given back and is {}", ended.state).into());
        }
        self.begin(role, TimeDelta::seconds(15), catalog).await?;
        let begun = Instant::now();
        while !catalog.fires_soon().await? {
            again(begun, "no lease is moved to the window's end").await?;
        }
        pump.stop().await;
        if !catalog.is_held().await? {
            return Err("the window was over before the pump stopped".into());
        }
        let begun = Instant::now();
        while catalog.is_held().await? {
            again(begun, "the database does not take it away by itself").await?;
        }
        Ok(())
    }

    async fn begin(&self, role: &str, length: TimeDelta, catalog: &dyn Catalog) -> Result<AccessId, BoxError> {
        let access = self.jit.request(&self.alice, AccessRequest::new("db", role, length).because("OPS-12")).await?;
        let access = self.jit.until_active(access.id(), PATIENCE).await?.id();
        if catalog.is_held().await? { Ok(access) } else { Err("it is usable and not held".into()) }
    }
}

/// Waits a moment before another try, unless it has taken too long.
async fn again(begun: Instant, otherwise: &str) -> Result<(), BoxError> {
    if begun.elapsed() > PATIENCE {
        return Err(otherwise.into());
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    Ok(())
}

/// Runs the script with a database's own client. A failed run returns what the client printed.
///
/// # Errors
/// When there is no such client.
pub async fn run(client: &mut Command, script: &str) -> Result<Result<(), String>, BoxError> {
    let mut child =
        client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let mut stdin = child.stdin.take().ok_or("no way in")?;
    // a client that fails stops reading
    let (_, output) = tokio::join!(
        async {
            let written = stdin.write_all(script.as_bytes()).await;
            drop(stdin);
            written
        },
        child.wait_with_output()
    );
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(if output.status.success() { Ok(()) } else { Err(said) })
}
