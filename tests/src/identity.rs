//! An engine over servers that change under their names: what the tests of who a server is have in common.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::approval::Actor;
use jit_core::database::Database;
use jit_core::engine::{Ask, Jit};
use jit_core::id::{AccessId, Principal, TargetName, TenantId};
use jit_core::policy::PolicyDocument;
use jit_core::store::{BoxError, MemoryStore};

/// Longest wait for what has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody who is known.
///
/// # Errors
/// When that cannot be a name.
pub fn actor(name: &str) -> Result<Actor, BoxError> {
    Ok(Actor::authenticated(TenantId::main(), Principal::new(name)?, "test"))
}

/// An engine whose policy gives this role at once, on all targets, without a dead man's switch. `frank` administers.
///
/// # Errors
/// When it cannot be built.
pub async fn engine(role: &str, targets: &[(&str, &Arc<dyn Database>)]) -> Result<Jit, BoxError> {
    let policy = format!(
        "version = 1\n[[may]]\ndo = [\"retire\", \"reconcile\"]\nwho = [\"frank\"]\ntargets = [\"*\"]\n[[rule]]\nname = \"at once\"\n\
         targets = [\"*\"]\nroles = [\"{role}\"]\nrequesters = [\"*\"]\nmax = \"1h\"\ndead_man = \"off\"\n"
    );
    let mut builder = Jit::builder().store(MemoryStore::default()).policy(PolicyDocument::parse(&policy, "test")?);
    for &(name, database) in targets {
        builder = builder.database(name, Arc::clone(database));
    }
    Ok(builder.build().await?)
}

/// Asks for the role, and waits until it is usable.
///
/// # Errors
/// When it is not granted.
pub async fn usable(
    jit: &Jit,
    target: &str,
    account: &str,
    role: &str,
    length: TimeDelta,
) -> Result<AccessId, BoxError> {
    let ask = || Ask::new(target, role, length).because("a test needs it");
    let mut access = jit.request(&actor(account)?, ask()).await;
    // where another server answered until now, a refusal has the target looked at again
    for _ in 0..50 {
        match access {
            Err(error) if error.kind() == "target-refused" => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => break,
        }
        access = jit.request(&actor(account)?, ask()).await;
    }
    Ok(jit.until_active(access?.id(), PATIENCE).await?.id())
}

/// That new requests are refused on the target.
///
/// # Errors
/// When they are not, or for another reason.
pub async fn refused(jit: &Jit, target: &str, account: &str, role: &str) -> Result<(), BoxError> {
    let ask = Ask::new(target, role, TimeDelta::minutes(1)).because("a test needs it");
    match jit.request(&actor(account)?, ask).await {
        Err(error) if error.kind() == "target-refused" => Ok(()),
        Err(error) => Err(error.into()),
        Ok(access) => Err(format!("{} was taken on `{target}`", access.id()).into()),
    }
}

/// Waits until the access is overdue, and a little more: nothing ends it.
///
/// # Errors
/// When it ends.
pub async fn stays_due(jit: &Jit, id: AccessId) -> Result<(), BoxError> {
    for _ in 0..600 {
        if jit.access(id).await?.overdue {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let view = jit.access(id).await?;
    if view.overdue { Ok(()) } else { Err(format!("it is {}, by another server's word", view.state).into()) }
}

/// Waits until it is gone, and verified.
///
/// # Errors
/// When it is not.
pub async fn revoked(jit: &Jit, id: AccessId) -> Result<(), BoxError> {
    let view = jit.until_ended(id, PATIENCE).await?;
    if view.state == "revoked" { Ok(()) } else { Err(format!("it is {}", view.state).into()) }
}

/// An operator's word that the target has the same data.
///
/// # Errors
/// When it is not taken.
pub async fn same_data(jit: &Jit, target: &str) -> Result<(), BoxError> {
    jit.confirm_same_data(&actor("frank")?, &TargetName::new(target)?).await?;
    Ok(())
}
