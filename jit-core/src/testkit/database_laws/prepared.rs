//! Laws about prepared transactions: one prepared in the window must not commit after it unseen
//! (law 5).

use std::sync::Arc;

use super::scene::{Scene, expect};
use super::{Act, Attempt, Outcome, Tried, World, laws, must};
use crate::database::{MembershipScope, RevokeHow, RevokeReport};
use crate::policy::Prepared;
use crate::store::BoxError;

laws! {
    law_05_prepared_transaction_is_reported: [Prepared], ["pg-prepared"];
    law_05_prepared_transaction_is_rolled_back_by_rule: [Prepared], ["pg-prepared"];
    law_05_prepared_transaction_that_cannot_be_rolled_back_is_reported: [Prepared], ["pg-prepared"];
}

async fn law_05_prepared_transaction_is_reported(world: Arc<dyn World>) -> Outcome {
    let (scene, gid) = scene_with_prepared(world.clone()).await?;
    let report = revoke(&scene, Prepared::Report).await?;
    let seen = report.seen.prepared.iter().any(|seen| seen.gid == gid && seen.owner == scene.account);
    must(seen, format!("`{gid}` is not in the report: {:?}", report.seen.prepared))?;
    must(report.rolled_back.is_empty(), "something was rolled back without a rule")?;
    world.act(Act::CommitPrepared { gid: &gid }).await?;
    let seen = scene.observe().await?;
    must(seen.prepared.is_empty(), "what was committed is still seen")
}

async fn law_05_prepared_transaction_is_rolled_back_by_rule(world: Arc<dyn World>) -> Outcome {
    let (scene, gid) = scene_with_prepared(world.clone()).await?;
    world.act(Act::LetActAs { account: &scene.account }).await?;
    let report = revoke(&scene, Prepared::Rollback).await?;
    must(report.rolled_back == [gid.clone()], format!("rolled back: {:?}", report.rolled_back))?;
    must(report.seen.prepared.is_empty(), "it is still seen")?;
    must(world.act(Act::CommitPrepared { gid: &gid }).await.is_err(), "it could be committed after the window")
}

async fn law_05_prepared_transaction_that_cannot_be_rolled_back_is_reported(world: Arc<dyn World>) -> Outcome {
    let (scene, gid) = scene_with_prepared(world.clone()).await?;
    // the membership has to go anyway; the end stays unverified while the transaction exists
    let report = revoke(&scene, Prepared::Rollback).await?;
    must(scene.rows().await? == 0, "the membership is still there")?;
    let (seen, rolled_back) = (!report.seen.prepared.is_empty(), report.rolled_back.contains(&gid));
    must(seen != rolled_back, "it is neither reported as there nor as rolled back")?;
    let committed = world.act(Act::CommitPrepared { gid: &gid }).await;
    must(committed.is_ok() == seen, "the report does not say what happened to it")
}

async fn scene_with_prepared(world: Arc<dyn World>) -> Result<(Scene, String), BoxError> {
    let gid = world.fresh("it's prepared");
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::Prepare { role: &scene.role, gid: &gid }, Tried::Done).await?;
    let seen = scene.observe().await?;
    must(seen.prepared.iter().any(|seen| seen.gid == gid), "the prepared transaction is not seen")?;
    Ok((scene, gid))
}

async fn revoke(scene: &Scene, prepared: Prepared) -> Result<RevokeReport, BoxError> {
    let mut order = scene.revoke_order(scene.membership()?, RevokeHow::Remove);
    order.prepared = prepared;
    scene.send_revoke(order).await
}
