//! Laws 2 and 15: nothing takes effect after its deadline, and nothing after it was settled.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::scene::{Scene, call, call_within, only};
use super::{Need, Outcome, World, laws, must};
use crate::clock::after;
use crate::database::{Call, DatabaseError, MembershipScope, RevokeHow, SettleOrder};
use crate::store::BoxError;

laws! {
    law_02_grant_past_its_deadline_is_refused_by_the_server: [], ["pg-late-grant"];
    law_15_settle_ends_a_waiting_grant_and_nothing_lands_later: [], ["pg-late-grant", "pg-open-transaction-blocks", "my-late-grant"];
    law_15_settle_ends_a_waiting_revoke_and_nothing_lands_later: [], ["pg-late-grant", "pg-open-transaction-blocks", "my-late-grant"];
    law_15_settle_waits_until_the_deadline_is_past: [], ["pg-late-grant"];
    law_15_settle_leaves_other_calls_alone: [], ["pg-late-grant"];
    contract_grant_says_who_blocks_it: [], ["pg-open-transaction-blocks", "maria-wait"];
    law_04_blocked_revoke_says_who_blocks_it_and_succeeds_later: [], ["pg-open-transaction-blocks"];
}

async fn law_02_grant_past_its_deadline_is_refused_by_the_server(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let past = after(world.server_time().await?, TimeDelta::milliseconds(-1));
    let refused = scene.send_grant(scene.order(scene.membership()?, MembershipScope::Inherit, past)?).await?;
    let right = matches!(refused, Err(DatabaseError::NotApplied { .. }));
    must(right, format!("not answered with NotApplied: {refused:?}"))?;
    must(scene.rows().await? == 0, "it was granted all the same")
}

async fn law_15_settle_ends_a_waiting_grant_and_nothing_lands_later(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let hold = world.hold(&scene.role, &scene.account).await?;
    let not_after = after(world.server_time().await?, TimeDelta::seconds(2));
    let order = scene.order(scene.membership()?, MembershipScope::Inherit, not_after)?;
    let call = call_within("g", Duration::from_secs(8));
    abandon(&scene, scene.database.grant(&call, &[order])).await?;
    let seen = scene.observe().await?;
    must(seen.direct.is_empty(), "the waiting grant has landed already")?;
    settle(&scene, &call, not_after).await?;
    hold.release().await?;
    nothing_lands(&scene, 0).await
}

async fn law_15_settle_ends_a_waiting_revoke_and_nothing_lands_later(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let hold = world.hold(&scene.role, &scene.account).await?;
    let order = scene.revoke_order(scene.membership()?, RevokeHow::Remove);
    let call = call_within("r", Duration::from_secs(8));
    abandon(&scene, scene.database.revoke(&call, &[order])).await?;
    settle(&scene, &call, world.server_time().await?).await?;
    hold.release().await?;
    nothing_lands(&scene, 1).await
}

/// Starts the call, and drops it once its statement waits for the lock.
async fn abandon<T>(scene: &Scene, call: impl Future<Output = T>) -> Outcome {
    let waits = async {
        for _ in 0..500 {
            if scene.world.waiting().await? > 0 {
                return Ok(());
            }
            scene.world.pass(Duration::from_millis(10)).await;
        }
        must(false, "the statement does not wait for the lock")
    };
    futures_util::pin_mut!(call, waits);
    match futures_util::future::select(call, waits).await {
        futures_util::future::Either::Left(_) => must(false, "the call was answered although it is blocked"),
        futures_util::future::Either::Right((waits, _)) => waits,
    }
}

async fn settle(scene: &Scene, call: &Call, not_after: crate::clock::Time) -> Outcome {
    scene.database.settle(&[SettleOrder { label: call.label.clone(), not_after }]).await?;
    must(scene.world.waiting().await? == 0, "a statement of the settled call still waits")
}

async fn nothing_lands(scene: &Scene, rows: usize) -> Outcome {
    for _ in 0..20 {
        scene.world.pass(Duration::from_millis(25)).await;
        must(scene.rows().await? == rows, "a statement landed after settle had answered")?;
    }
    Ok(())
}

async fn law_15_settle_waits_until_the_deadline_is_past(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let not_after = after(world.server_time().await?, TimeDelta::milliseconds(1_200));
    // a statement that is still in the network has no connection that could be ended
    settle(&scene, &call("g"), not_after).await?;
    must(world.server_time().await? > not_after, "settle answered before the deadline")
}

async fn law_15_settle_leaves_other_calls_alone(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let hold = world.hold(&scene.role, &scene.account).await?;
    let (settled, other) = (call("g"), call_within("g", Duration::from_secs(15)));
    let order = scene.order(scene.membership()?, MembershipScope::Inherit, scene.soon().await?)?;
    let orders = [order];
    let grant = scene.database.grant(&other, &orders);
    let meanwhile = async {
        while world.waiting().await? == 0 {
            world.pass(Duration::from_millis(10)).await;
        }
        let now = world.server_time().await?;
        scene.database.settle(&[SettleOrder { label: settled.label.clone(), not_after: now }]).await?;
        must(world.waiting().await? == 1, "settle ended another call")?;
        hold.release().await?;
        Ok::<_, BoxError>(())
    };
    let (granted, done) = futures_util::future::join(grant, meanwhile).await;
    done?;
    only(granted)??;
    must(scene.rows().await? == 1, "the other call's grant is missing")
}

async fn contract_grant_says_who_blocks_it(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let hold = world.hold(&scene.role, &scene.account).await?;
    let order = scene.order(scene.membership()?, MembershipScope::Inherit, scene.soon().await?)?;
    let refused = only(scene.database.grant(&call_within("g", Duration::from_secs(2)), &[order]).await)?;
    blocked_by(&*scene.world, refused.map(drop), &hold.id())?;
    hold.release().await?;
    nothing_lands(&scene, 0).await?;
    scene.grant(MembershipScope::Inherit).await.map(drop)
}

async fn law_04_blocked_revoke_says_who_blocks_it_and_succeeds_later(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let hold = world.hold(&scene.role, &scene.account).await?;
    let order = scene.revoke_order(scene.membership()?, RevokeHow::Remove);
    let refused = only(scene.database.revoke(&call_within("r", Duration::from_secs(2)), &[order]).await)?;
    blocked_by(&*scene.world, refused.map(drop), &hold.id())?;
    hold.release().await?;
    scene.revoke(RevokeHow::Remove).await?;
    must(scene.rows().await? == 0, "the membership is still there")
}

fn blocked_by(world: &dyn World, refused: Result<(), DatabaseError>, pid: &str) -> Outcome {
    let Err(error @ DatabaseError::NotApplied { .. }) = refused else {
        return must(false, format!("not answered with NotApplied: {refused:?}"));
    };
    let text = error.with_causes();
    if world.lacks(Need::BlockersShown).is_some() {
        return must(text.contains("lock"), format!("it does not say what it waits for: {text}"));
    }
    must(text.contains(pid), format!("session {pid} blocks, and the error does not name it: {text}"))
}
