//! Laws about overlapping grants of one membership: the longer grant keeps what it needs (law 7).

use std::sync::Arc;

use super::scene::{Scene, expect};
use super::{Attempt, Login, Outcome, Tried, World, laws, must};
use crate::database::{MembershipScope, RevokeHow};

laws! {
    law_07_wider_grant_widens_and_its_end_narrows: [SetOption], ["pg-widen"];
    law_07_end_of_one_of_two_leaves_the_membership: [], ["pg-one-row", "my-no-counting"];
    law_07_narrowing_takes_no_membership_where_it_cannot_narrow: [OneRowPerMember], ["pg-widen"];
    law_07_one_realm_under_two_targets: [TwoDatabases], ["pg-cluster", "my-realm"];
}

async fn law_07_wider_grant_widens_and_its_end_narrows(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    scene.grant(MembershipScope::SetRole).await?;
    let mut wide = scene.session().await?;
    expect(&mut wide, Attempt::SetRole(&scene.role), Tried::Done).await?;
    must(scene.rows().await? == 1, "widening made a second membership")?;
    let report = scene.revoke(RevokeHow::Narrow).await?;
    let narrow = report.seen.direct.iter().all(|grant| grant.scope == MembershipScope::Inherit);
    must(report.seen.direct.len() == 1 && narrow, format!("not narrowed: {:?}", report.seen.direct))?;
    expect(&mut wide, Attempt::Ping, Tried::Ended).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Denied).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Done).await?;
    scene.revoke(RevokeHow::Remove).await?;
    must(scene.rows().await? == 0, "the last end left something")
}

async fn law_07_end_of_one_of_two_leaves_the_membership(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let mut session = scene.session().await?;
    let report = scene.revoke(RevokeHow::Nothing).await?;
    expect(&mut session, Attempt::Ping, Tried::Ended).await?;
    must(report.seen.direct.len() == 1, "the membership is not in the report")?;
    scene.usable(Tried::Done).await
}

async fn law_07_narrowing_takes_no_membership_where_it_cannot_narrow(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::SetRole).await?;
    scene.revoke(RevokeHow::Narrow).await?;
    must(scene.rows().await? == 1, "narrowing took the membership that another access still wants")
}

async fn law_07_one_realm_under_two_targets(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let other = world.database(Login::OtherDatabase).await?;
    let (here, there) = (scene.database.identify().await?, other.identify().await?);
    must(here == there, format!("one server is two: {here:?} and {there:?}"))?;
    scene.grant(MembershipScope::Inherit).await?;
    let seen = other.observe(&[scene.membership()?]).await?;
    let held = seen.seen.iter().all(|seen| seen.direct.len() == 1);
    must(held && seen.identity == here, "what was granted through one database is not seen through the other")
}
