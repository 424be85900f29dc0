//! Laws of the dead man's switch: the database itself takes the role away when this system does
//! not.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Scene, call, expect, only};
use super::{Act, Attempt, By, Outcome, Plant, Tried, World, laws, must};
use crate::database::{
    ArmOrder, Armed, Check, DatabaseError, DeadMansSwitch, DefaultRole, Disarmed, Membership, MembershipScope,
    Rejection, RevokeHow, Severity,
};
use crate::policy::Sessions;
use crate::store::BoxError;

laws! {
    law_04_dead_mans_switch_takes_the_role_and_its_sessions: [DeadMansSwitch], ["pg-sentinel", "my-event"];
    law_04_dead_mans_switch_survives_a_restart_or_is_armed_anew: [DeadMansSwitch, OwnServer], ["my-event"];
    law_04_dead_mans_switch_fires_whatever_the_defaults_are: [DeadMansSwitch, Planted], [];
    law_04_dead_mans_switch_has_nothing_that_a_stranger_planted: [DeadMansSwitch, Planted], [];
    law_05_dead_mans_switch_says_whether_it_took_the_membership: [DeadMansSwitch], [];
    law_06_dead_mans_switch_leaves_what_others_granted: [DeadMansSwitch, GrantorRecorded], [];
    law_07_dead_mans_switch_puts_the_default_role_back: [DeadMansSwitch, DefaultRoles], [];
    law_11_dead_mans_switch_of_names_that_need_quotes: [DeadMansSwitch], [];
    contract_dead_mans_switch_is_moved_both_ways: [DeadMansSwitch], [];
    contract_dead_mans_switch_that_was_disarmed_never_fires: [DeadMansSwitch], [];
    contract_dead_mans_switch_leaves_sessions_alone_where_told: [DeadMansSwitch], [];
    contract_dead_mans_switch_of_another_membership_is_another: [DeadMansSwitch], [];
    contract_dead_mans_switch_that_is_turned_off_is_said_to_be_missing: [DeadMansSwitch, OwnServer], ["my-scheduler"];
}

const SOON: Duration = Duration::ZERO;
const LATER: Duration = Duration::from_secs(3_600);
/// Time after which a switch that was armed for now has fired: its grace, and its look at the
/// clock.
const LONG_GONE: Duration = Duration::from_secs(6);
/// Limit for the switch on a machine with much other work.
const PATIENCE: Duration = Duration::from_secs(40);

fn order(membership: Membership, ends_in: Duration) -> ArmOrder {
    let default_role = DefaultRole::Goes { back_to: None };
    ArmOrder { membership, ends_in, sessions: Sessions::End, default_role }
}

async fn arm(scene: &Scene, order: ArmOrder) -> Result<Armed, BoxError> {
    Ok(only(scene.database.arm(&call("a"), &[order]).await)??)
}

/// Grants a role whose dead man's switch fires now. The switch is armed for later first, as if the
/// caller were slow.
async fn granted_and_over(scene: &Scene, scope: MembershipScope, over: ArmOrder) -> Outcome {
    arm(scene, ArmOrder { ends_in: LATER, ..over.clone() }).await?;
    scene.grant(scope).await?;
    arm(scene, over).await.map(drop)
}

async fn disarm(scene: &Scene) -> Result<Disarmed, BoxError> {
    Ok(only(scene.database.disarm(&call("d"), &[scene.membership()?]).await)??)
}

/// Waits until the catalog shows at most this many rows.
async fn until_gone(scene: &Scene, rows: usize) -> Outcome {
    let begun = std::time::Instant::now();
    while scene.rows().await? > rows {
        must(begun.elapsed() < PATIENCE, "the dead man's switch does not fire")?;
        scene.world.pass(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until a session is gone.
async fn until_ended(scene: &Scene, session: &mut Box<dyn super::UserSession>) -> Outcome {
    let begun = std::time::Instant::now();
    while session.attempt(Attempt::Ping).await? != Tried::Ended {
        must(begun.elapsed() < PATIENCE, "the dead man's switch ends no session")?;
        scene.world.pass(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Waits until the switch is known to have fired, and checks the reported time.
async fn fired(scene: &Scene) -> Outcome {
    let begun = std::time::Instant::now();
    let now = scene.world.server_time().await?;
    // the switch reports that it fired once all of its work is done
    loop {
        scene.world.pass(Duration::from_millis(300)).await;
        if let Some(fired_at) = disarm(scene).await?.fired_at {
            let off = crate::clock::span(now, fired_at).num_seconds().abs();
            return must(off < 60, format!("it says that it fired at {fired_at}, and it is {now}"));
        }
        must(begun.elapsed() < PATIENCE, "nobody says that the dead man's switch fired")?;
        arm(scene, order(scene.membership()?, SOON)).await?;
        scene.world.pass(LONG_GONE).await;
    }
}

async fn law_04_dead_mans_switch_takes_the_role_and_its_sessions(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let before = scene.world.server_time().await?;
    arm(&scene, order(scene.membership()?, LATER)).await?;
    scene.grant(MembershipScope::SetRole).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Done).await?;
    let armed = arm(&scene, order(scene.membership()?, SOON)).await?;
    must(armed.fires_at > before, format!("it is to fire at {}, and it was {before}", armed.fires_at))?;
    until_gone(&scene, 0).await?;
    until_ended(&scene, &mut session).await?;
    scene.usable(Tried::Denied).await?;
    fired(&scene).await?;
    // a later revoke finds nothing to do
    let report = scene.revoke(RevokeHow::Remove).await?;
    must(report.seen.direct.is_empty(), "it is there again")
}

async fn law_04_dead_mans_switch_survives_a_restart_or_is_armed_anew(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let order = order(scene.membership()?, Duration::from_secs(2));
    arm(&scene, ArmOrder { ends_in: LATER, ..order.clone() }).await?;
    scene.grant(MembershipScope::SetRole).await?;
    let armed = arm(&scene, order.clone()).await?;
    scene.world.act(Act::Restart).await?;
    if armed.kind == crate::database::SwitchKind::Sentinel {
        arm(&scene, order).await?;
    }
    until_gone(&scene, 0).await
}

async fn law_04_dead_mans_switch_fires_whatever_the_defaults_are(world: Arc<dyn World>) -> Outcome {
    let defaults = world.hostile_defaults().ok_or("there are no defaults to be had")?;
    let mut scene = Scene::new(world).await?;
    scene.world.act(Act::Run { statement: &defaults.put }).await?;
    // open connections still have the earlier defaults
    scene.database = scene.world.database(super::Login::Broker).await?;
    granted_and_over(&scene, MembershipScope::Inherit, order(scene.membership()?, SOON)).await?;
    until_gone(&scene, 0).await?;
    fired(&scene).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    must(report.seen.direct.is_empty(), "the revoke leaves it there")?;
    scene.world.act(Act::Run { statement: &defaults.taken }).await
}

async fn law_04_dead_mans_switch_has_nothing_that_a_stranger_planted(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    arm(&scene, order(scene.membership()?, LATER)).await?;
    let role = scene.database.role(&scene.role)?;
    for Plant { put, taken, named } in scene.world.plants() {
        scene.world.act(Act::Run { statement: &put }).await?;
        // both the adapter that used the switch before, and one that sees it for the first time
        for database in [Arc::clone(&scene.database), scene.world.database(super::Login::Broker).await?] {
            let armed = only(database.arm(&call("a"), &[order(scene.membership()?, LATER)]).await)?;
            let rejected = matches!(armed, Err(DatabaseError::Rejected { rejection: Rejection::NoDeadMansSwitch, .. }));
            must(rejected, format!("`{put}`: {armed:?}"))?;
            let here = database.capabilities().await?.dead_mans_switch;
            must(matches!(here, DeadMansSwitch::Unavailable { .. }), format!("`{put}`: {here:?}"))?;
            let checks = database.check(std::slice::from_ref(&role)).await?;
            let said = |check: &Check| {
                check.about.what == "dead-man" && check.severity == Severity::Danger && check.message.contains(&named)
            };
            must(checks.iter().any(said), format!("`{put}`: no danger names `{named}`: {checks:?}"))?;
        }
        scene.world.act(Act::Run { statement: &taken }).await?;
        arm(&scene, order(scene.membership()?, LATER)).await.map_err(|error| format!("after `{taken}`: {error}"))?;
    }
    disarm(&scene).await.map(drop)
}

async fn law_06_dead_mans_switch_leaves_what_others_granted(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.standing(By::Admin).await?;
    let (role, to, by, scope, admin) = (&scene.role, &scene.account, By::Broker, MembershipScope::SetRole, false);
    scene.world.act(Act::Grant { role, to, by, scope, admin }).await?;
    arm(&scene, order(scene.membership()?, SOON)).await?;
    until_gone(&scene, 1).await?;
    scene.world.pass(LONG_GONE).await;
    let rows = scene.world.members(&scene.role).await?;
    let left: Vec<_> = rows.iter().filter(|row| row.member == scene.account).collect();
    must(left.len() == 1 && left.iter().all(|row| row.grantor != scene.world.broker()), format!("{left:?}"))
}

async fn law_07_dead_mans_switch_puts_the_default_role_back(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let before = super::default_roles::standing_default(&scene, "before").await?;
    let default_role = DefaultRole::Goes { back_to: scene.observe().await?.default_roles.into_iter().next() };
    granted_and_over(&scene, MembershipScope::Inherit, ArmOrder { default_role, ..order(scene.membership()?, SOON) })
        .await?;
    until_gone(&scene, 0).await?;
    fired(&scene).await?;
    super::default_roles::defaults(&scene, &[&before]).await
}

async fn law_11_dead_mans_switch_of_names_that_need_quotes(world: Arc<dyn World>) -> Outcome {
    for hint in ["o'brien\"; DROP", "back\\slash`%_", "Größe Ω"] {
        let (account, role) = (world.fresh(hint), world.fresh(&format!("r{hint}")));
        let scene = Scene::named(Arc::clone(&world), account, role).await?;
        arm(&scene, order(scene.membership()?, LATER)).await?;
        scene.grant(MembershipScope::SetRole).await?;
        let mut session = scene.session().await?;
        arm(&scene, order(scene.membership()?, SOON)).await?;
        until_gone(&scene, 0).await?;
        until_ended(&scene, &mut session).await?;
    }
    Ok(())
}

/// Shows that a switch that found nothing to take explains nothing: the account may have another
/// name.
async fn law_05_dead_mans_switch_says_whether_it_took_the_membership(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    arm(&scene, order(scene.membership()?, SOON)).await?;
    scene.world.pass(LONG_GONE).await;
    must(!scene.observe().await?.taken_by_dead_mans_switch, "it says that it took what was not there")?;
    scene.grant(MembershipScope::SetRole).await?;
    arm(&scene, order(scene.membership()?, SOON)).await?;
    must(!scene.observe().await?.taken_by_dead_mans_switch, "it says that it took what is there")?;
    until_gone(&scene, 0).await?;
    scene.world.pass(LONG_GONE).await;
    let seen = scene.observe().await?;
    must(seen.taken_by_dead_mans_switch == seen.is_by_name(), format!("it does not say that it took it: {seen:?}"))
}

async fn contract_dead_mans_switch_is_moved_both_ways(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let first = arm(&scene, order(scene.membership()?, Duration::from_secs(1))).await?;
    scene.grant(MembershipScope::SetRole).await?;
    let second = arm(&scene, order(scene.membership()?, LATER)).await?;
    must(second.fires_at > first.fires_at, "it was not moved")?;
    scene.world.pass(LONG_GONE).await;
    must(scene.rows().await? == 1, "it fired at the time before it was moved")?;
    arm(&scene, order(scene.membership()?, SOON)).await?;
    until_gone(&scene, 0).await
}

async fn contract_dead_mans_switch_that_was_disarmed_never_fires(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    must(disarm(&scene).await?.fired_at.is_none(), "one that was never armed fired")?;
    arm(&scene, order(scene.membership()?, Duration::from_secs(1))).await?;
    scene.grant(MembershipScope::SetRole).await?;
    must(disarm(&scene).await?.fired_at.is_none(), "it fired before its time")?;
    must(disarm(&scene).await?.fired_at.is_none(), "it fired after it was disarmed")?;
    scene.world.pass(LONG_GONE).await;
    must(scene.rows().await? == 1, "it fired although it was disarmed")
}

async fn contract_dead_mans_switch_leaves_sessions_alone_where_told(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let mut session = scene.session().await?;
    let over = ArmOrder { sessions: Sessions::Keep, ..order(scene.membership()?, SOON) };
    granted_and_over(&scene, MembershipScope::SetRole, over).await?;
    until_gone(&scene, 0).await?;
    fired(&scene).await?;
    expect(&mut session, Attempt::Ping, Tried::Done).await
}

async fn contract_dead_mans_switch_of_another_membership_is_another(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let other = scene.another("other").await?;
    let memberships = [scene.membership()?, scene.subject_of(&other)?];
    let [mine, theirs] = memberships.clone();
    scene.grant(MembershipScope::SetRole).await?;
    let grant = scene.order(theirs.clone(), MembershipScope::SetRole, scene.soon().await?)?;
    scene.send_grant(grant).await??;
    for armed in scene.database.arm(&call("a"), &[order(mine, SOON), order(theirs, LATER)]).await {
        armed?;
    }
    until_gone(&scene, 0).await?;
    let rows = scene.world.members(&scene.role).await?;
    must(rows.iter().any(|row| row.member == other), "another account's membership went with it")?;
    for disarmed in scene.database.disarm(&call("d"), &memberships).await {
        disarmed?;
    }
    Ok(())
}

async fn contract_dead_mans_switch_that_is_turned_off_is_said_to_be_missing(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let here = scene.database.capabilities().await?.dead_mans_switch;
    must(matches!(here, DeadMansSwitch::Available(_)), format!("it is missing from the beginning: {here:?}"))?;
    scene.world.act(Act::LetDeadMen { live: false }).await?;
    let here = scene.database.capabilities().await?.dead_mans_switch;
    must(matches!(&here, DeadMansSwitch::Unavailable { remedy } if !remedy.is_empty()), format!("{here:?}"))?;
    let refused = only(scene.database.arm(&call("a"), &[order(scene.membership()?, LATER)]).await)?;
    let rejected = matches!(refused, Err(DatabaseError::Rejected { rejection: Rejection::NoDeadMansSwitch, .. }));
    must(rejected, format!("it is armed all the same: {refused:?}"))?;
    must(disarm(&scene).await?.fired_at.is_none(), "it fired")?;
    let role = scene.database.role(&scene.role)?;
    let checks = scene.database.check(&[role]).await?;
    let said = checks.iter().any(|check| check.about.what == "dead-man" && check.remedy.is_some());
    must(said, format!("the check does not say so: {checks:?}"))?;
    scene.world.act(Act::LetDeadMen { live: true }).await?;
    arm(&scene, order(scene.membership()?, LATER)).await.map(drop)
}
