//! Laws about many orders in one call, the same order twice, and many calls at once.

use std::sync::Arc;

use futures_util::future::join_all;

use super::scene::{Scene, call, only};
use super::{Outcome, Tried, World, laws, must};
use crate::database::{DatabaseError, GrantOrder, MembershipScope, Rejection, RevokeHow, RevokeOrder};
use crate::store::BoxError;

laws! {
    contract_one_bad_order_does_not_fail_the_others: [], ["pg-dropped", "my-missing"];
    contract_answers_are_in_the_order_of_the_orders: [], ["pg-batch"];
    contract_batch_of_200: [], ["pg-batch", "my-batch"];
    contract_empty_batches_are_fine: [], [];
    contract_grant_is_idempotent: [], ["pg-one-row", "pg-second-revoke"];
    contract_second_revoke_is_fine: [], ["pg-second-revoke", "my-second-revoke"];
    contract_same_order_twice_in_one_batch_is_fine: [], ["pg-second-revoke"];
    contract_calls_at_once_on_one_membership: [], ["pg-concurrent-15", "pg-open-transaction-blocks"];
    contract_calls_at_once_on_one_role: [], ["pg-open-transaction-blocks"];
}

async fn contract_one_bad_order_does_not_fail_the_others(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let (bob, nobody) = (scene.another("bob").await?, world.fresh("nobody"));
    let accounts = [scene.account.clone(), nobody, bob];
    let granted = scene.database.grant(&call("g"), &grants(&scene, &accounts).await?).await;
    let [Ok(_), Err(DatabaseError::Rejected { rejection: Rejection::NoSuchAccount, .. }), Ok(_)] = granted.as_slice()
    else {
        return must(false, format!("good, bad, good should be: {granted:?}"));
    };
    scene.usable(Tried::Done).await?;
    let revoked = scene.database.revoke(&call("r"), &revokes(&scene, &accounts)?).await;
    must(revoked.len() == 3, "not one answer to each order")?;
    for (index, report) in revoked.into_iter().enumerate() {
        let exists = report?.seen.account_exists;
        must(exists != (index == 1), "an answer belongs to another order")?;
    }
    must(in_role(&scene, &accounts).await? == 0, "somebody is still in the role")
}

async fn contract_answers_are_in_the_order_of_the_orders(world: Arc<dyn World>) -> Outcome {
    let first = Scene::new(world.clone()).await?;
    let second = Scene::new(world.clone()).await?;
    // alternating roles, so that an adapter that groups by role has to restore the order
    let missing = world.fresh("nobody");
    let mut orders = Vec::new();
    for scene in [&first, &second, &first, &second] {
        let account = if orders.len() >= 2 { missing.as_str() } else { scene.account.as_str() };
        orders.push(scene.order(scene.subject_of(account)?, MembershipScope::Inherit, scene.soon().await?)?);
    }
    let granted = first.database.grant(&call("g"), &orders).await;
    let [Ok(_), Ok(_), Err(_), Err(_)] = granted.as_slice() else {
        return must(false, format!("two good and two bad should be: {granted:?}"));
    };
    let memberships: Vec<_> = orders.iter().map(|order| order.membership().clone()).collect();
    let seen = first.database.observe(&memberships).await?.seen;
    let held: Vec<usize> = seen.iter().map(|seen| seen.direct.len()).collect();
    must(held == [1, 1, 0, 0], format!("seen in another order: {held:?}"))
}

async fn contract_batch_of_200(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let mut accounts = Vec::new();
    for _ in 0..200 {
        accounts.push(scene.another("many").await?);
    }
    let mut session = scene.world.session(accounts.last().ok_or("no account")?).await?;
    for granted in scene.database.grant(&call("g"), &grants(&scene, &accounts).await?).await {
        granted?;
    }
    must(in_role(&scene, &accounts).await? == 200, "not everybody got the role")?;
    let revoked = scene.database.revoke(&call("r"), &revokes(&scene, &accounts)?).await;
    must(revoked.len() == 200, "not one answer to each order")?;
    for report in revoked {
        must(report?.seen.direct.is_empty(), "a report shows what is gone")?;
    }
    must(in_role(&scene, &accounts).await? == 0, "somebody is still in the role")?;
    super::scene::expect(&mut session, super::Attempt::Ping, Tried::Ended).await
}

async fn contract_empty_batches_are_fine(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let database = &scene.database;
    let nothing = database.grant(&call("g"), &[]).await.is_empty() && database.revoke(&call("r"), &[]).await.is_empty();
    must(nothing, "answers to no order")?;
    must(database.observe(&[]).await?.seen.is_empty(), "something was seen of no subject")?;
    must(database.holders(&[]).await?.holders.is_empty(), "holders of no role")?;
    Ok(database.settle(&[]).await.map(drop)?)
}

async fn contract_grant_is_idempotent(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let first = scene.grant(MembershipScope::Inherit).await?;
    let second = scene.grant(MembershipScope::Inherit).await?;
    must(first.server_time <= second.server_time, "the server's time went backwards")?;
    must(first.identity == second.identity, "the incarnation changed by itself")?;
    must(scene.rows().await? == 1, "granted twice is held twice")?;
    scene.revoke(RevokeHow::Remove).await?;
    must(scene.rows().await? == 0, "one revoke did not take it")
}

async fn contract_second_revoke_is_fine(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let never_held = scene.revoke(RevokeHow::Remove).await?;
    must(never_held.seen.direct.is_empty() && never_held.ended.is_empty(), "a revoke of nothing did something")?;
    scene.grant(MembershipScope::Inherit).await?;
    for _ in 0..2 {
        let report = scene.revoke(RevokeHow::Remove).await?;
        must(report.seen.direct.is_empty(), "it is still held")?;
        must(report.seen.account_exists && report.seen.role_exists, "account or role was not seen")?;
    }
    Ok(())
}

async fn contract_same_order_twice_in_one_batch_is_fine(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let accounts = [scene.account.clone(), scene.account.clone()];
    for granted in scene.database.grant(&call("g"), &grants(&scene, &accounts).await?).await {
        granted?;
    }
    for report in scene.database.revoke(&call("r"), &revokes(&scene, &accounts)?).await {
        must(report?.seen.direct.is_empty(), "it is still held")?;
    }
    must(scene.rows().await? == 0, "it is still held")
}

async fn contract_calls_at_once_on_one_membership(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    for _ in 0..5 {
        let granted = join_all((0..4).map(|_| scene.grant(MembershipScope::Inherit))).await;
        certain(granted)?;
        must(scene.rows().await? == 1, "four grants at once did not leave one membership")?;
        let revoked = join_all((0..4).map(|_| scene.revoke(RevokeHow::Remove))).await;
        certain(revoked)?;
        must(scene.rows().await? == 0, "four revokes at once left something")?;
    }
    Ok(())
}

async fn contract_calls_at_once_on_one_role(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let mut accounts = Vec::new();
    for _ in 0..8 {
        accounts.push(scene.another("one").await?);
    }
    for how in ["grant", "revoke"] {
        let calls = accounts.iter().map(|account| async {
            let account = std::slice::from_ref(account);
            if how == "grant" {
                only(scene.database.grant(&call("g"), &grants(&scene, account).await?).await)?.map(drop)?;
            } else {
                only(scene.database.revoke(&call("r"), &revokes(&scene, account)?).await)?.map(drop)?;
            }
            Ok::<_, BoxError>(())
        });
        for done in join_all(calls).await {
            done?;
        }
        let expected = if how == "grant" { 8 } else { 0 };
        must(in_role(&scene, &accounts).await? == expected, format!("eight {how}s at once did not all happen"))?;
    }
    Ok(())
}

/// Checks that each call was done or is known not to be done, and that at least one was done.
fn certain<T>(all: Vec<Result<T, BoxError>>) -> Outcome {
    let mut done = false;
    for one in all {
        match one {
            Ok(_) => done = true,
            Err(error) => match error.downcast::<DatabaseError>() {
                Ok(error) if matches!(*error, DatabaseError::NotApplied { .. }) => {}
                Ok(error) => return Err(error),
                Err(error) => return Err(error),
            },
        }
    }
    must(done, "none of them was done")
}

async fn grants(scene: &Scene, accounts: &[String]) -> Result<Vec<GrantOrder>, BoxError> {
    let not_after = scene.soon().await?;
    accounts
        .iter()
        .map(|account| scene.order(scene.subject_of(account)?, MembershipScope::Inherit, not_after))
        .collect()
}

fn revokes(scene: &Scene, accounts: &[String]) -> Result<Vec<RevokeOrder>, BoxError> {
    accounts.iter().map(|account| Ok(scene.revoke_order(scene.subject_of(account)?, RevokeHow::Remove))).collect()
}

async fn in_role(scene: &Scene, accounts: &[String]) -> Result<usize, BoxError> {
    let rows = scene.world.members(&scene.role).await?;
    Ok(accounts.iter().filter(|account| rows.iter().any(|row| row.member == **account)).count())
}
