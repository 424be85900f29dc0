//! Laws about standing memberships: what was there before a grant does not belong to this system
//! (law 6).

use std::sync::Arc;

use super::scene::Scene;
use super::{Act, By, Need, Outcome, Tried, World, laws, must};
use crate::database::{Grantor, MembershipScope, RevokeHow};

laws! {
    law_06_standing_membership_survives: [], ["pg-one-row", "pg-row-per-grantor", "my-no-counting"];
    law_06_standing_membership_by_our_own_grantor_survives: [], ["pg-one-row"];
    law_06_standing_membership_is_seen_before_the_grant: [], ["pg-one-row", "pg-row-per-grantor"];
    law_06_residual_access_is_reported: [GrantorRecorded], ["pg-row-per-grantor", "pg-second-revoke"];
    law_06_membership_through_another_role_is_seen: [], ["pg-member-of-account"];
    law_06_membership_through_another_role_survives: [], ["pg-member-of-account"];
    contract_holders_are_listed_with_their_grantors: [], ["pg-row-per-grantor"];
}

async fn law_06_standing_membership_survives(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.standing(By::Admin).await?;
    // the look before the statement protects the membership: the engine orders nothing for it
    let how = crate::model::holding::standing(None, &[], &scene.observe().await?, &scene.membership()?);
    must(how.is_some(), "it was not taken for a standing membership")?;
    if !scene.database.capabilities().await?.grantor_recorded {
        must(scene.rows().await? == 1, "looking changed something")?;
        return scene.usable(Tried::Done).await;
    }
    // a server that keeps grantors apart keeps the membership even after a grant and a revoke
    let order = scene.order(scene.membership()?, MembershipScope::SetRole, scene.soon().await?)?;
    drop(scene.send_grant(order).await?);
    let report = scene.revoke(RevokeHow::Remove).await?;
    must(scene.rows().await? == 1, "the standing membership went with ours")?;
    must(report.seen.direct.len() == 1, format!("it is not in the report: {:?}", report.seen.direct))?;
    scene.usable(Tried::Done).await
}

async fn law_06_standing_membership_by_our_own_grantor_survives(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.standing(By::Broker).await?;
    let before = scene.observe().await?;
    must(before.direct.len() == 1, "it was not seen before the grant")?;
    scene.grant(MembershipScope::SetRole).await?;
    // the engine looked before its intent, and so knows that the membership is not its own
    let report = scene.revoke(RevokeHow::Nothing).await?;
    must(scene.rows().await? == 1, "the standing membership is gone")?;
    must(report.seen.direct.len() == 1, "it is not in the report")
}

async fn law_06_standing_membership_is_seen_before_the_grant(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let before = scene.observe().await?;
    must(before.account_exists && before.role_exists, "account or role was not seen")?;
    must(before.direct.is_empty() && before.through.is_empty(), "something was seen that is not there")?;
    scene.standing(By::Admin).await?;
    let seen = scene.observe().await?;
    let [grant] = seen.direct.as_slice() else {
        return must(false, format!("one membership should be seen: {:?}", seen.direct));
    };
    must(grant.grantor != Grantor::Broker, "a standing membership was taken for ours")?;
    must(!grant.admin, "an admin option was seen that is not there")
}

async fn law_06_residual_access_is_reported(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    scene.standing(By::Admin).await?;
    must(scene.rows().await? == 2, "there should be one membership for each grantor")?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    let left = &report.seen.direct;
    must(left.len() == 1 && left.iter().all(|grant| grant.grantor != Grantor::Broker), format!("left: {left:?}"))?;
    must(scene.rows().await? == 1, "ours should be gone, the other stays")?;
    scene.usable(Tried::Done).await
}

async fn law_06_membership_through_another_role_is_seen(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let team = through_a_team(&scene).await?;
    let seen = scene.observe().await?;
    must(seen.direct.is_empty(), "a direct membership was seen that is not there")?;
    must(seen.through.contains(&team), format!("held through `{team}`, seen through {:?}", seen.through))
}

async fn law_06_membership_through_another_role_survives(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let team = through_a_team(&scene).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    must(report.seen.direct.is_empty(), "ours is still there")?;
    must(report.seen.through.contains(&team), "the way through the team was not reported as residual")?;
    scene.usable(Tried::Done).await
}

/// Puts the account into the role through another role, and returns the other role's name.
async fn through_a_team(scene: &Scene) -> Result<String, crate::store::BoxError> {
    let team = scene.world.fresh("team");
    let by = By::Admin;
    let scope = MembershipScope::SetRole;
    scene.world.act(Act::CreateRole { role: &team }).await?;
    scene.world.act(Act::Grant { role: &scene.role, to: &team, by, scope, admin: false }).await?;
    scene.world.act(Act::Grant { role: &team, to: &scene.account, by, scope, admin: false }).await?;
    Ok(team)
}

async fn contract_holders_are_listed_with_their_grantors(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let bob = scene.another("bob").await?;
    scene.grant(MembershipScope::Inherit).await?;
    let (role, by, scope) = (scene.role.as_str(), By::Admin, MembershipScope::SetRole);
    world.act(Act::Grant { role, to: &bob, by, scope, admin: true }).await?;
    let asked = scene.database.role(role)?;
    let holders = scene.database.holders(std::slice::from_ref(&asked)).await?.holders;
    let of = |name: &str| holders.iter().find(|holder| holder.account.as_str() == name);
    let (Some(ours), Some(standing)) =
        (of(scene.database.account(&scene.account)?.as_str()), of(scene.database.account(&bob)?.as_str()))
    else {
        return must(false, format!("a holder is missing: {holders:?}"));
    };
    must(holders.iter().all(|holder| holder.role == asked), "a holder of another role")?;
    must(!ours.grant.admin && standing.grant.admin, "the admin options are not as they were granted")?;
    if world.lacks(Need::GrantorRecorded).is_none() {
        must(ours.grant.grantor == Grantor::Broker, "ours was not told from others")?;
        must(matches!(standing.grant.grantor, Grantor::Other(_)), "the other was taken for ours")?;
    }
    if world.lacks(Need::LastingIds).is_none() {
        must(ours.account_id.is_some() && ours.role_id.is_some(), "the lasting ids are missing")?;
    }
    Ok(())
}
