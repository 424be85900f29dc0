//! An engine over servers that change under their names. The tests of server identity share it.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::Actor;
use jit_core::database::Database;
use jit_core::engine::{AccessRequest, Jit};
use jit_core::id::{AccessId, Principal, TargetName, TenantId};
use jit_core::policy::PolicyDocument;
use jit_core::store::{BoxError, MemoryStore};

/// Longest wait for an expected event.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes an authenticated actor of this name.
///
/// # Errors
/// When the name is invalid.
pub fn actor(name: &str) -> Result<Actor, BoxError> {
    Ok(Actor::authenticated(TenantId::default(), Principal::new(name)?, "test"))
}

/// Makes an engine whose policy gives this role at once, on all targets, without a dead man's
/// switch. `frank` is the administrator.
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

/// Requests the role, and waits until it is usable.
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
    let ask = || AccessRequest::new(target, role, length).because("a test needs it");
    let mut access = jit.request(&actor(account)?, ask()).await;
    // if another server answered before, the refusal makes the engine look at the target again
    for _ in 0..50 {
        match access {
            Err(error) if error.kind() == "target-refused" => tokio::time::sleep(Duration::from_millis(200)).await,
            _ => break,
        }
        access = jit.request(&actor(account)?, ask()).await;
    }
    Ok(jit.until_active(access?.id(), PATIENCE).await?.id())
}

/// Checks that new requests are refused on the target.
///
/// # Errors
/// When a request is accepted, or refused for another reason.
pub async fn refused(jit: &Jit, target: &str, account: &str, role: &str) -> Result<(), BoxError> {
    let ask = AccessRequest::new(target, role, TimeDelta::minutes(1)).because("a test needs it");
    match jit.request(&actor(account)?, ask).await {
        Err(error) if error.kind() == "target-refused" => Ok(()),
        Err(error) => Err(error.into()),
        Ok(access) => Err(format!("{} was taken on `{target}`", access.id()).into()),
    }
}

/// Waits until the access is overdue and a little longer, and checks that it has not ended.
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

/// Waits until the access is revoked and verified.
///
/// # Errors
/// When it does not end so.
pub async fn revoked(jit: &Jit, id: AccessId) -> Result<(), BoxError> {
    let view = jit.until_ended(id, PATIENCE).await?;
    if view.state == "revoked" { Ok(()) } else { Err(format!("it is {}", view.state).into()) }
}

/// Confirms, as an operator, that the target has the same data.
///
/// # Errors
/// When the engine refuses that.
pub async fn same_data(jit: &Jit, target: &str) -> Result<(), BoxError> {
    jit.confirm_same_data(&actor("frank")?, &TargetName::new(target)?).await?;
    Ok(())
}
