//! Tests of administrators who are members of the accounts that they made.

use std::time::Duration;

use jit_core::database::{ArmOrder, Call, Database as _, DatabaseError, Rejection, Severity};
use jit_core::policy::{Sessions, Stance};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, World as _};

use crate::must;
use crate::scene::Scene;

/// Replaces the scene's account with one that an administrator made, and is a member of.
async fn made_by_an_administrator(scene: Scene) -> Result<(Scene, String), BoxError> {
    let (steward, account) = (scene.world.fresh("steward"), scene.world.fresh("carol"));
    let make = format!(
        "CREATE ROLE {steward} LOGIN CREATEROLE; ALTER ROLE {steward} SET createrole_self_grant = 'set, inherit'"
    );
    scene.sql(&make).await?;
    scene.running.session(&steward, "postgres").await?.batch_execute(&format!("CREATE ROLE {account} LOGIN")).await?;
    let database = scene.world.database_of(&[&steward])?;
    Ok((Scene { account, database, ..scene }, steward))
}

fn refused_for_members(answer: Result<(), DatabaseError>) -> Result<(), BoxError> {
    let members = Some(Rejection::AccountHasMembers);
    let rejection = match &answer {
        Err(DatabaseError::Rejected { rejection, .. }) => Some(*rejection),
        _ => None,
    };
    must(rejection == members, format!("it is not refused for its members: {answer:?}"))
}

pub(crate) async fn administrators(scene: Scene) -> Result<(), BoxError> {
    let unnamed = scene.world.database_of(&[])?;
    let (scene, steward) = made_by_an_administrator(scene).await?;
    let scene = Scene { database: unnamed, ..scene };
    let found = scene.database.check(&[]).await?;
    let told = found.iter().find(|check| {
        check.about.what == "account-members"
            && check.about.on.as_deref() == Some(&steward)
            && check.severity == Severity::Danger
    });
    must(
        told.is_some_and(|check| check.message.contains(&scene.account)),
        format!("nobody tells of `{steward}`: {found:?}"),
    )?;
    refused_for_members(scene.try_grant(Stance::Refused).await?)?;
    let scene = Scene { database: scene.world.database_of(&[&steward, "nobody_of_this_name"])?, ..scene };
    scene.try_grant(Stance::Refused).await??;

    let theirs = scene.running.session(&steward, "postgres").await?;
    theirs.batch_execute(&format!("SET ROLE {}; SET ROLE {}", scene.account, scene.role)).await?;
    let own = scene.running.session(&scene.account, "postgres").await?;
    let report = scene.revoke().await?;
    must(own.batch_execute("SELECT 1").await.is_err(), "the account's own session goes on")?;
    theirs
        .batch_execute("SELECT 1")
        .await
        .map_err(|error| format!("the administrator's session was ended: {error}"))?;
    must(report.ended.iter().all(|session| session.account == scene.account), format!("{:?}", report.ended))?;
    must(report.seen.members.is_empty() && report.seen.sessions.is_empty(), format!("{:?}", report.seen))?;
    let apart: Vec<&str> = report.seen.apart.iter().map(|session| session.account.as_str()).collect();
    must(apart == [steward.as_str()], format!("sessions of the administrator that are told: {apart:?}"))?;

    let checks = scene.database.check(&[]).await?;
    let told: Vec<_> = checks.iter().filter(|check| check.about.what == "administrators").collect();
    let once = told.iter().filter(|check| check.message.contains(&scene.account)).count();
    must(once == 1 && told.iter().any(|check| check.message.contains("nobody_of_this_name")), format!("{told:?}"))?;
    let remedy = format!("REVOKE \"{}\" FROM \"{steward}\" GRANTED BY \"{steward}\"", scene.account);
    let mended = told.iter().filter_map(|check| check.remedy.as_ref()).find(|text| text.contains(&remedy));
    must(mended.is_some(), format!("`{remedy}` is not told: {told:?}"))?;
    let as_member = checks.iter().find(|check| check.about.on.as_deref() == Some(&steward));
    must(as_member.is_none_or(|check| check.about.what != "account-members"), format!("{as_member:?}"))?;
    scene.sql(&remedy).await?;

    // another member is refused as before
    let other = scene.world.fresh("eve");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    scene.sql(&format!("GRANT {{account}} TO {other}")).await?;
    refused_for_members(scene.try_grant(Stance::Refused).await?)
}

pub(crate) async fn members_of_administrators(scene: Scene) -> Result<(), BoxError> {
    let (scene, steward) = made_by_an_administrator(scene).await?;
    let other = scene.world.fresh("eve");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    scene.sql(&format!("GRANT {steward} TO {other} WITH INHERIT FALSE, SET FALSE, ADMIN TRUE")).await?;
    scene.try_grant(Stance::Refused).await??;
    scene.revoke().await?;
    scene.sql(&format!("GRANT {steward} TO {other} WITH INHERIT FALSE, SET TRUE")).await?;
    refused_for_members(scene.try_grant(Stance::Refused).await?)
}

pub(crate) async fn administrators_and_dead_mans_switch(scene: Scene) -> Result<(), BoxError> {
    let (scene, steward) = made_by_an_administrator(scene).await?;
    scene.try_grant(Stance::Refused).await??;
    let theirs = scene.running.session(&steward, "postgres").await?;
    let own = scene.running.session(&scene.account, "postgres").await?;
    let order = ArmOrder::new(scene.membership()?, Duration::ZERO, Sessions::End);
    let call = Call::new(format!("a{}", scene.access), Duration::from_secs(10));
    scene.database.arm(&call, &[order]).await.pop().ok_or("no answer")??;
    for _ in 0..200 {
        if own.batch_execute("SELECT 1").await.is_err() {
            return Ok(theirs.batch_execute("SELECT 1").await?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    must(false, "the account's session was not ended")
}
