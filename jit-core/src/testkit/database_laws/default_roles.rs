//! Laws about default roles, if an engine has them: a grant makes the role usable at once, and the
//! default role from before comes back.

use std::sync::Arc;

use super::scene::{Scene, expect};
use super::{Act, Attempt, By, Outcome, Tried, World, laws, must};
use crate::database::{MembershipScope, RevokeHow};
use crate::policy::Activation;
use crate::store::BoxError;

laws! {
    law_07_default_role_that_was_there_comes_back: [DefaultRoles], ["my-inactive", "maria-default-left"];
    law_07_default_role_that_was_set_meanwhile_stays: [DefaultRoles], ["my-inactive", "maria-default-left"];
    contract_activation_by_the_session_leaves_default_roles_alone: [DefaultRoles], ["my-inactive"];
}

async fn law_07_default_role_that_was_there_comes_back(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let before = standing_default(&scene, "before").await?;
    scene.grant(MembershipScope::Inherit).await?;
    scene.usable(Tried::Done).await?;
    scene.revoke(RevokeHow::Remove).await?;
    defaults(&scene, &[&before]).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::Write(&before), Tried::Done).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Denied).await
}

async fn law_07_default_role_that_was_set_meanwhile_stays(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let meanwhile = standing_default(&scene, "meanwhile").await?;
    scene.revoke(RevokeHow::Remove).await?;
    defaults(&scene, &[&meanwhile]).await
}

async fn contract_activation_by_the_session_leaves_default_roles_alone(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let before = standing_default(&scene, "before").await?;
    let order = scene.order(scene.membership()?, MembershipScope::SetRole, scene.soon().await?)?;
    scene.send_grant(order.activated(Activation::Session)).await??;
    defaults(&scene, &[&before]).await?;
    scene.usable(Tried::Denied).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Done).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Done).await?;
    scene.revoke(RevokeHow::Remove).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Ended).await?;
    defaults(&scene, &[&before]).await
}

/// Makes a role that the account holds through another grantor, and that is its default role.
pub(super) async fn standing_default(scene: &Scene, hint: &str) -> Result<String, BoxError> {
    let role = scene.world.fresh(hint);
    let (by, scope, admin) = (By::Admin, MembershipScope::SetRole, false);
    scene.world.act(Act::CreateRole { role: &role }).await?;
    scene.world.act(Act::Grant { role: &role, to: &scene.account, by, scope, admin }).await?;
    Ok(role)
}

pub(super) async fn defaults(scene: &Scene, expected: &[&str]) -> Outcome {
    let seen = scene.observe().await?.default_roles;
    must(seen == expected, format!("default roles are {seen:?} instead of {expected:?}"))
}
