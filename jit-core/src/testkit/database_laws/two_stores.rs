//! Laws about two stores that work with one broker: each leaves alone what the other one accounts
//! for.

use std::sync::Arc;
use std::time::Duration;

use super::scene::{Scene, call, expect, only};
use super::{Attempt, Outcome, Tried, World, laws, must};
use crate::actor::Actor;
use crate::clock::SystemEntropy;
use crate::database::{ArmOrder, Call, DefaultRole, Membership, MembershipScope, RevokeHow, Severity};
use crate::engine::{AccessRequest, AccessView, Drift, Jit, JitError, Reconcile};
use crate::id::{Principal, StoreId, TargetName, TenantId};
use crate::policy::{PolicyDocument, Sessions};
use crate::store::{BoxError, MemoryStore, Store};

laws! {
    law_06_what_another_store_armed_is_left_to_it: [DeadMansSwitch], [];
    law_06_two_stores_with_one_broker_are_told_apart: [DeadMansSwitch, OwnServer], [];
}

const LATER: Duration = Duration::from_secs(3_600);

fn by(store: &StoreId, what: &str) -> Call {
    Call { store: Some(store.clone()), ..call(what) }
}

fn arming(membership: &Membership, ends_in: Duration) -> ArmOrder {
    let default_role = DefaultRole::Goes { back_to: None };
    ArmOrder { membership: membership.clone(), ends_in, sessions: Sessions::End, default_role }
}

async fn law_06_what_another_store_armed_is_left_to_it(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let (ours, theirs) = (StoreId::fresh(&SystemEntropy), StoreId::fresh(&SystemEntropy));
    let (database, membership) = (&scene.database, scene.subject_by_id().await?);
    let order = |ends_in| arming(&membership, ends_in);
    must(scene.observe().await?.marked_by.is_none(), "a mark before anything was armed")?;
    only(database.arm(&by(&theirs, "a"), &[order(LATER)]).await)??;
    scene.grant(MembershipScope::SetRole).await?;
    let mut session = scene.session().await?;
    must(scene.observe().await?.marked_by.as_ref() == Some(&theirs), "the mark is not seen")?;
    let count = |store: StoreId| async move {
        let all = database.stores().await?;
        let one = all.into_iter().find(|marks| marks.store == store);
        Ok::<_, BoxError>(one.map_or(0, |marks| marks.memberships))
    };
    must(count(theirs.clone()).await? == 1, "the store is not listed")?;
    // our calls do not touch the other store's membership
    let armed = only(database.arm(&by(&ours, "a"), &[order(Duration::ZERO)]).await)?;
    let refused =
        matches!(&armed, Err(error) if error.is_another_store() && error.to_string().contains(theirs.as_str()));
    must(refused, format!("it was armed over another store's: {armed:?}"))?;
    let order_away = scene.revoke_order(membership.clone(), RevokeHow::Remove);
    let report = only(database.revoke(&by(&ours, "r"), std::slice::from_ref(&order_away)).await)??;
    must(report.seen.marked_by.as_ref() == Some(&theirs), format!("whose it is was not told: {report:?}"))?;
    must(report.ended.is_empty() && report.was_held.is_none(), format!("{report:?}"))?;
    must(scene.rows().await? == 1, "another store's membership was taken")?;
    expect(&mut session, Attempt::Ping, Tried::Done).await?;
    let disarmed = only(database.disarm(&by(&ours, "d"), std::slice::from_ref(&membership)).await)??;
    must(disarmed.fired_at.is_none(), "it is said to have fired")?;
    must(count(theirs.clone()).await? == 1, "another store's was disarmed")?;
    // the store that armed the switch moves it, disarms it, and leaves no mark
    only(database.arm(&by(&theirs, "a"), &[order(LATER)]).await)??;
    let report = only(database.revoke(&by(&theirs, "r"), &[order_away]).await)??;
    must(scene.rows().await? == 0, format!("its own store does not take it: {report:?}"))?;
    expect(&mut session, Attempt::Ping, Tried::Ended).await?;
    only(database.disarm(&by(&theirs, "d"), std::slice::from_ref(&membership)).await)??;
    must(count(theirs.clone()).await? == 0, "a mark is left")?;
    // a switch that has fired, or that names no store, belongs to nobody
    only(database.arm(&call("a"), &[order(LATER)]).await)??;
    must(scene.observe().await?.marked_by.is_none(), "a mark of nobody")?;
    only(database.arm(&by(&ours, "a"), &[order(LATER)]).await)??;
    only(database.disarm(&by(&ours, "d"), &[membership]).await)??;
    Ok(())
}

/// A single host: an engine with a store of its own.
struct Host {
    jit: Jit,
    actor: Actor,
    store: Arc<dyn Store>,
}

impl Host {
    async fn new(scene: &Scene, dead_mans_switch: &str) -> Result<Self, BoxError> {
        Self::on(scene, dead_mans_switch, Arc::new(MemoryStore::default())).await
    }

    async fn on(scene: &Scene, dead_mans_switch: &str, store: Arc<dyn Store>) -> Result<Self, BoxError> {
        let policy = format!(
            "version = 1\n[[may]]\ndo = [\"reconcile\"]\nwho = [\"*\"]\ntargets = [\"*\"]\n[[rule]]\nname = \"at once\"\n\
             targets = [\"db\"]\nroles = [{role:?}]\nrequesters = [\"*\"]\nmax = \"1h\"\ndead_man = {dead_mans_switch:?}\n",
            role = scene.role,
        );
        let jit = Jit::builder()
            .shared_store(Arc::clone(&store))
            .policy(PolicyDocument::parse(&policy, "law")?)
            .database("db", Arc::clone(&scene.database))
            .build()
            .await?;
        jit.run_due().await?;
        let actor = Actor::authenticated(TenantId::default(), Principal::new(scene.account.as_str())?, "law");
        Ok(Self { jit, actor, store })
    }

    async fn ask(&self, scene: &Scene) -> Result<AccessView, JitError> {
        let ask = AccessRequest::new("db", &scene.role, chrono::TimeDelta::minutes(30)).because("a law needs it");
        self.jit.request(&self.actor, ask).await
    }

    /// Requests the role, and checks that the access is active.
    async fn usable(&self, scene: &Scene) -> Result<AccessView, BoxError> {
        let asked = self.ask(scene).await?;
        self.jit.run_due().await?;
        let access = self.jit.access(asked.id()).await?;
        must(access.state == "active", format!("it is not usable: {access:?}"))?;
        Ok(access)
    }

    /// Releases the access, and checks that it is revoked.
    async fn ended(&self, access: &AccessView) -> Result<AccessView, BoxError> {
        self.jit.release(&self.actor, access.id()).await?;
        self.jit.run_due().await?;
        let access = self.jit.access(access.id()).await?;
        must(access.state == "revoked", format!("it is not over: {access:?}"))?;
        Ok(access)
    }
}

async fn law_06_two_stores_with_one_broker_are_told_apart(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let target = TargetName::new("db")?;
    let (one, two) = (Host::new(&scene, "required").await?, Host::new(&scene, "off").await?);
    // `two` holds the membership without a mark: `one` does not take it over
    let unmarked = two.usable(&scene).await?;
    let refused = one.ask(&scene).await;
    must(matches!(&refused, Err(JitError::Standing { .. })), format!("what another store granted: {refused:?}"))?;
    // another store accounts for the membership now, so the end of `two` leaves it there
    let (other, membership) = (StoreId::fresh(&SystemEntropy), scene.subject_by_id().await?);
    only(scene.database.arm(&by(&other, "a"), &[arming(&membership, LATER)]).await)??;
    let ended = two.ended(&unmarked).await?;
    let says = ended.cause.as_ref().is_some_and(|cause| cause.contains("another store"));
    must(says, format!("its end does not say that the membership is another store's: {ended:?}"))?;
    must(scene.rows().await? == 1, "the end of one store's access took another's")?;
    let order_away = scene.revoke_order(membership.clone(), RevokeHow::Remove);
    only(scene.database.revoke(&by(&other, "r"), &[order_away]).await)??;
    only(scene.database.disarm(&by(&other, "d"), &[membership]).await)??;

    let held = one.usable(&scene).await?;
    let mut session = scene.session().await?;
    let refused = two.ask(&scene).await;
    let told = matches!(&refused, Err(JitError::Standing { finding }) if finding.contains("another store"));
    must(told, format!("it was not refused as another store's: {refused:?}"))?;
    let found = two.jit.reconcile(&two.actor, &target, Reconcile::Enforce).await?;
    two.jit.run_due().await?;
    let named = |drift: &Drift| matches!(drift, Drift::OfAnotherStore { account, .. } if *account == held.account);
    must(found.iter().any(named), format!("reconciling does not name it: {found:?}"))?;
    must(scene.rows().await? == 1, "reconciling took it")?;
    expect(&mut session, Attempt::Ping, Tried::Done).await?;
    let checks = two.jit.check_target(&target).await?.checks;
    let danger = checks.iter().any(|check| check.about.what == "another-store" && check.severity == Severity::Danger);
    must(danger, format!("the check does not tell of another store: {checks:?}"))?;
    let checks = one.jit.check_target(&target).await?.checks;
    must(checks.iter().all(|check| check.about.what != "another-store"), "a store is told of itself")?;
    // the same store, in another process
    let again = Host::on(&scene, "required", Arc::clone(&one.store)).await?;
    again.ended(&held).await?;
    must(scene.rows().await? == 0, "its own store does not end it")?;
    let checks = two.jit.check_target(&target).await?.checks;
    must(checks.iter().all(|check| check.about.what != "another-store"), "a mark is left")?;
    // `two` gets the membership now, and ends it
    let host = Host::on(&scene, "required", Arc::clone(&two.store)).await?;
    let access = host.usable(&scene).await?;
    host.ended(&access).await?;
    must(scene.rows().await? == 0, "it does not end")
}
