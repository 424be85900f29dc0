//! Laws about accounts and roles that were renamed or dropped in an open window, or never existed.

use std::sync::Arc;

use super::scene::Scene;
use super::{Act, By, Outcome, Tried, World, laws, must};
use crate::database::{DatabaseError, MembershipScope, Rejection, RevokeHow};

laws! {
    law_04_dropped_account_is_done: [], ["pg-dropped"];
    law_04_dropped_role_is_done: [], ["pg-dropped"];
    law_05_renamed_account_is_still_found: [LastingIds], ["pg-dropped"];
    law_05_renamed_role_is_still_found: [LastingIds], ["pg-dropped"];
    law_06_another_account_of_the_same_name_is_left_alone: [LastingIds], ["pg-dropped"];
    contract_missing_account_is_named: [], ["pg-dropped", "my-missing"];
    contract_missing_role_is_named: [], ["pg-dropped", "my-missing"];
}

async fn law_04_dropped_account_is_done(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let membership = scene.subject_by_id().await?;
    world.act(Act::Drop { name: &scene.account }).await?;
    for membership in [membership, scene.membership()?] {
        let report = scene.send_revoke(scene.revoke_order(membership, RevokeHow::Remove)).await?;
        must(!report.seen.account_exists, "a dropped account was seen")?;
        must(report.seen.role_exists, "the role is there and was not seen")?;
        must(report.seen.direct.is_empty(), "a dropped account holds something")?;
    }
    Ok(())
}

async fn law_04_dropped_role_is_done(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let membership = scene.subject_by_id().await?;
    world.act(Act::Drop { name: &scene.role }).await?;
    for membership in [membership, scene.membership()?] {
        let report = scene.send_revoke(scene.revoke_order(membership, RevokeHow::Remove)).await?;
        must(!report.seen.role_exists, "a dropped role was seen")?;
        must(report.seen.account_exists, "the account is there and was not seen")?;
    }
    Ok(())
}

async fn law_05_renamed_account_is_still_found(world: Arc<dyn World>) -> Outcome {
    let mut scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let membership = scene.subject_by_id().await?;
    let renamed = world.fresh("renamed");
    world.act(Act::Rename { from: &scene.account, to: &renamed }).await?;
    let session = world.session(&renamed).await?;
    let report = scene.send_revoke(scene.revoke_order(membership, RevokeHow::Remove)).await?;
    must(
        report.seen.account_renamed.as_deref() == Some(&renamed),
        format!("renamed: {:?}", report.seen.account_renamed),
    )?;
    must(report.ended.iter().any(|ended| ended.id == session.id()), "its session under the new name was not ended")?;
    scene.account = renamed;
    must(scene.rows().await? == 0, "it is still in the role under its new name")?;
    scene.usable(Tried::Denied).await
}

async fn law_05_renamed_role_is_still_found(world: Arc<dyn World>) -> Outcome {
    let mut scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let membership = scene.subject_by_id().await?;
    let renamed = world.fresh("renamed");
    world.act(Act::Rename { from: &scene.role, to: &renamed }).await?;
    scene.send_revoke(scene.revoke_order(membership, RevokeHow::Remove)).await?;
    scene.role = renamed;
    must(scene.rows().await? == 0, "the account is still in the renamed role")
}

async fn law_06_another_account_of_the_same_name_is_left_alone(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let membership = scene.subject_by_id().await?;
    world.act(Act::Drop { name: &scene.account }).await?;
    world.act(Act::CreateAccount { account: &scene.account, inherits: true }).await?;
    scene.standing(By::Broker).await?;
    let report = scene.send_revoke(scene.revoke_order(membership, RevokeHow::Remove)).await?;
    must(!report.seen.account_exists, "another account was taken for the dropped one")?;
    must(scene.rows().await? == 1, "another account of the same name lost its membership")
}

async fn contract_missing_account_is_named(world: Arc<dyn World>) -> Outcome {
    let mut scene = Scene::new(world.clone()).await?;
    scene.account = world.fresh("nobody");
    let seen = scene.observe().await?;
    must(!seen.account_exists && seen.role_exists, "seen as it is not")?;
    missing(&scene, Rejection::NoSuchAccount).await?;
    // a name in another case is another name, whatever the server's collation
    let mut scene = Scene::new(world).await?;
    scene.account = scene.account.to_uppercase();
    missing(&scene, Rejection::NoSuchAccount).await
}

async fn contract_missing_role_is_named(world: Arc<dyn World>) -> Outcome {
    let mut scene = Scene::new(world.clone()).await?;
    scene.role = world.fresh("no_role");
    let seen = scene.observe().await?;
    must(seen.account_exists && !seen.role_exists, "seen as it is not")?;
    missing(&scene, Rejection::NoSuchRole).await?;
    let mut scene = Scene::new(world).await?;
    scene.role = scene.role.to_uppercase();
    missing(&scene, Rejection::NoSuchRole).await
}

async fn missing(scene: &Scene, expected: Rejection) -> Outcome {
    let order = scene.order(scene.membership()?, MembershipScope::Inherit, scene.soon().await?)?;
    match scene.send_grant(order).await? {
        Err(DatabaseError::Rejected { rejection, .. }) if rejection == expected => Ok(()),
        other => must(false, format!("not rejected as `{}`: {other:?}", expected.as_str())),
    }
}
