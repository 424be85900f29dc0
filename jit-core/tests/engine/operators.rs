//! Work of operators: stop, retire, confirm, reconcile. Also second looks at what was revoked.

use jit_core::AccessState;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::database::MembershipScope;
use jit_core::engine::{AccessRequest, AccessView, Concerns, Drift, Jit, PassReport, Reconcile, Scope};
use jit_core::id::TargetName;
use jit_core::store::{Change, Expect, Kind, MemoryStore, RecordKey, Store, Write, Writing};
use jit_core::testkit::ManualClock;
use jit_core::testkit::mock::{MockServer, Profile};

use crate::stage::*;

fn pg() -> TargetName {
    TargetName::new("pg").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emergency_stop_ends_everything_and_refuses_what_is_new() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let frank = actor("frank");
    let live = usable(&jit, "alice", "reader", 3_600_000).await;
    let pending = jit.request(&actor("dave"), ask("writer", 60_000)).await.unwrap();
    let start = jit.store().now().await.unwrap() + TimeDelta::hours(1);
    let scheduled = jit.request(&actor("mallory"), ask("writer", 60_000).starting(start)).await.unwrap();
    jit.approve(&actor("bob"), scheduled.id(), "").await.unwrap();
    jit.stop(&frank, Scope::All, "a break-in").await.unwrap();
    assert_eq!(jit.until_ended(live.id(), PATIENCE).await.unwrap().state, "revoked");
    assert_eq!(jit.until_ended(pending.id(), PATIENCE).await.unwrap().state, "cancelled");
    assert_eq!(jit.until_ended(scheduled.id(), PATIENCE).await.unwrap().state, "withdrawn");
    assert_eq!(held(&server, "reader"), 0);
    let error = jit.request(&actor("alice"), ask("reader", 1_000)).await.unwrap_err();
    assert_eq!(error.kind(), "stopped", "{error}");
    jit.resume(&frank, Scope::All).await.unwrap();
    usable(&jit, "alice", "reader", 1_000).await;
    jit.stop(&frank, Scope::Principal(frank.principal.clone()), "only him").await.unwrap();
    usable(&jit, "dave", "reader", 1_000).await;
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_a_retired_target_is_unverified_for_ever_and_never_called_revoked() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    server.stop();
    assert_eq!(jit.retire_target(&actor("frank"), &pg()).await.unwrap(), 1);
    let retired = jit.access(access.id()).await.unwrap();
    assert_eq!(retired.state, "retired");
    assert!(retired.evidence.is_none());
    assert!(!told(&jit, &retired).await.contains(&"revoked".to_owned()));
    assert_eq!(jit.request(&actor("alice"), ask("reader", 1_000)).await.unwrap_err().kind(), "target-refused");
    server.start(false);
    jit.confirm_target(&actor("frank"), &pg()).await.unwrap();
    jit.request(&actor("dave"), ask("reader", 1_000)).await.unwrap();
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_another_server_is_refused_until_confirmed() {
    let (old, new) = (server(17), server(17));
    let store = Arc::new(MemoryStore::new(clock()));
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, old.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 300).await;
    pump.stop().await;
    let jit = engine_on(store as Arc<dyn Store>, new.database()).await;
    let pump = jit.start();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let view = jit.access(access.id()).await.unwrap();
    assert_ne!(view.state, "revoked", "another server's word was taken");
    assert!(view.overdue);
    assert_eq!(held(&old, "reader"), 1);
    let error = jit.request(&actor("dave"), ask("reader", 1_000)).await.unwrap_err();
    assert_eq!(error.kind(), "target-refused", "{error}");
    jit.confirm_target(&actor("frank"), &pg()).await.unwrap();
    usable(&jit, "dave", "reader", 60_000).await;
    assert_eq!(held(&new, "reader"), 1);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reconciliation_names_what_drifted_and_takes_away_only_what_is_ours() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let vanished = usable(&jit, "alice", "reader", 3_600_000).await;
    server.revoke("reader", "alice", "jit_broker").unwrap();
    server.grant("reader", "bob", "postgres", MembershipScope::SetRole).unwrap();
    server.grant("reader", "dave", "jit_broker", MembershipScope::Inherit).unwrap();
    let frank = actor("frank");
    let found = jit.reconcile(&frank, &pg(), Reconcile::Report).await.unwrap();
    let has = |wanted: fn(&Drift) -> bool| found.iter().any(wanted);
    assert!(has(|drift| matches!(drift, Drift::Standing { account, .. } if account.as_str() == "bob")), "{found:?}");
    assert!(has(|drift| matches!(drift, Drift::Orphaned { account, .. } if account.as_str() == "dave")), "{found:?}");
    assert!(has(|drift| matches!(drift, Drift::Vanished { .. })), "{found:?}");
    assert_eq!(held(&server, "reader"), 2, "a report changed something");
    jit.reconcile(&frank, &pg(), Reconcile::Enforce).await.unwrap();
    assert_eq!(
        jit.until_ended(vanished.id(), PATIENCE).await.unwrap().cause.unwrap().split(':').next(),
        Some("vanished")
    );
    for _ in 0..400 {
        if held(&server, "reader") == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let left: Vec<String> = server.members("reader").unwrap().into_iter().map(|row| row.member).collect();
    assert!(left.contains(&"bob".to_owned()) && !left.contains(&"dave".to_owned()), "{left:?}");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_what_is_gone_is_looked_at_again_and_taken_away_again() {
    let clock = ManualClock::default();
    let server = MockServer::new(Profile::postgres(17), Arc::new(clock.clone()));
    server.create_account("alice").unwrap();
    server.create_role("reader").unwrap();
    let store = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
    let jit: Jit = Jit::builder()
        .shared_store(store as Arc<dyn Store>)
        .policy(policy(POLICY))
        .database("pg", server.database())
        .build()
        .await
        .unwrap();
    jit.run_due().await.unwrap();
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    jit.run_due().await.unwrap();
    clock.advance(Duration::from_secs(61));
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "revoked");
    clock.advance(Duration::from_secs(61));
    jit.run_due().await.unwrap();
    let log = jit.store().entries(jit.tenant_id(), 0, 100).await.unwrap();
    let still = log.iter().filter(|entry| field(&entry.body, "what") == "still-gone").count();
    assert_eq!(still, 1, "it was not looked at after a minute");
    server.grant("reader", "alice", "jit_broker", MembershipScope::Inherit).unwrap();
    clock.advance(Duration::from_secs(3_600));
    jit.run_due().await.unwrap();
    let again = jit.access(access.id()).await.unwrap();
    assert_eq!((again.state, held(&server, "reader")), (AccessState::Revoked, 0), "what came back was left");
    assert!(told(&jit, &again).await.contains(&"reappeared".to_owned()));
}

#[tokio::test]
async fn what_nobody_decided_in_time_says_so_before_a_pump_runs() {
    let clock = ManualClock::default();
    let server = MockServer::new(Profile::postgres(17), Arc::new(clock.clone()));
    server.create_account("alice").unwrap();
    server.create_role("writer").unwrap();
    let jit = engine_on(Arc::new(MemoryStore::new(Arc::new(clock.clone()))), server.database()).await;
    let asked = jit.request(&actor("alice"), ask("writer", 60_000)).await.unwrap();
    assert!(!asked.lapsed && !jit.who_can_decide(asked.id()).await.unwrap().is_empty());
    clock.advance(Duration::from_secs(31 * 60));
    let view = jit.access(asked.id()).await.unwrap();
    assert_eq!((view.state, view.lapsed), (AccessState::Pending, true));
    assert!(view.pending_on[0].contains("it lapses as soon as a pump runs"), "{:?}", view.pending_on);
    assert!(jit.who_can_decide(asked.id()).await.unwrap().is_empty());
    let late = jit.approve(&actor("bob"), asked.id(), "").await.unwrap_err();
    assert!(late.to_string().contains("nobody decided in time"), "{late}");
    jit.run_due().await.unwrap();
    let view = jit.access(asked.id()).await.unwrap();
    assert_eq!((view.state, view.lapsed, view.pending_on.len()), (AccessState::Lapsed, false, 0));
}

#[tokio::test]
async fn what_needs_an_operator_is_told() {
    let clock = ManualClock::default();
    let server = MockServer::new(Profile::postgres(17), Arc::new(clock.clone()));
    server.create_account("alice").unwrap();
    server.create_role("reader").unwrap();
    let store = Arc::new(MemoryStore::new(Arc::new(clock.clone())));
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, server.database()).await;
    assert_eq!(jit.concerns().await.unwrap(), Concerns::default());
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "active");
    let frank = actor("frank");
    jit.stop(&frank, Scope::Target(TargetName::new("pg-too").unwrap()), "a break-in").await.unwrap();
    let stops = jit.concerns().await.unwrap().stops;
    assert_eq!((stops.len(), stops[0].reason.as_str()), (1, "a break-in"));
    jit.resume(&frank, Scope::Target(TargetName::new("pg-too").unwrap())).await.unwrap();
    assert!(jit.concerns().await.unwrap().stops.is_empty());
    server.stop();
    clock.advance(Duration::from_secs(67));
    jit.run_due().await.unwrap();
    let overdue = jit.concerns().await.unwrap().overdue;
    assert_eq!(overdue.iter().map(AccessView::id).collect::<Vec<_>>(), [access.id()]);
    // another process no longer has the target
    let other = Jit::builder().shared_store(store as Arc<dyn Store>).policy(policy(POLICY)).build().await.unwrap();
    let told = other.concerns().await.unwrap();
    assert_eq!(told.unconfigured[&pg()].iter().map(AccessView::id).collect::<Vec<_>>(), [access.id()]);
    assert_eq!(told.overdue.len(), 1);
    other.retire_target(&frank, &pg()).await.unwrap();
    assert_eq!(other.concerns().await.unwrap(), Concerns::default());
    let told = jit.concerns().await.unwrap();
    assert!(told.retired.contains_key(&pg()) && told.overdue.is_empty(), "{told:?}");
}

#[tokio::test]
async fn a_target_that_was_never_contacted_is_told_until_it_is_retired() {
    let (server, store) = (server(17), Arc::new(MemoryStore::new(clock())));
    let too = TargetName::new("pg-too").unwrap();
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, server.database()).await;
    server.stop();
    jit.put_target(too.clone(), Arc::new(server.database())).await.unwrap();
    let other = engine_on(store as Arc<dyn Store>, server.database()).await;
    assert!(other.concerns().await.unwrap().unconfigured[&too].is_empty());
    let unserved = |report: PassReport| report.undone.unserved.into_iter().map(|left| left.name).collect::<Vec<_>>();
    assert_eq!(unserved(other.run_due().await.unwrap()), ["pg-too"]);
    other.retire_target(&actor("frank"), &too).await.unwrap();
    assert!(other.concerns().await.unwrap().unconfigured.is_empty());
    assert!(unserved(other.run_due().await.unwrap()).is_empty(), "it is contacted for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_01_a_live_access_whose_record_was_altered_is_taken_away() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let access = jit.request(&actor("alice"), ask("writer", 3_600_000)).await.unwrap();
    jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "writer"), 1);
    let at = RecordKey::new(jit.tenant_id(), Kind::Access, access.id().to_string());
    let record = jit.store().read(&at).await.unwrap().unwrap();
    let forged = String::from_utf8(record.body).unwrap().replace("\"by\":\"bob\"", "\"by\":\"eve\"");
    let what = Writing::Put { body: forged.into_bytes(), schedule: record.schedule, labels: record.labels };
    let write = Write::new(at, Expect::Version(record.version), what);
    jit.store().commit(Change::writing(vec![write])).await.unwrap();
    // whoever touches it ends it: here the requester who releases it
    let _ = jit.release(&actor("alice"), access.id()).await;
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "writer"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_is_a_decision_of_its_own_and_never_beyond_the_total() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let alice = actor("alice");
    let access = jit.request(&alice, ask("writer", 3_600_000)).await.unwrap();
    jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    let active = jit.until_active(access.id(), PATIENCE).await.unwrap();
    let asked = jit.extend(&alice, access.id(), TimeDelta::minutes(30), "not done yet").await.unwrap();
    assert_eq!(asked.expires_at, active.expires_at, "it was extended without a yes");
    assert_eq!(asked.pending_on, ["one of group `dba`"]);
    assert!(jit.approve(&alice, access.id(), "").await.is_err());
    let longer = jit.approve(&actor("carol"), &asked, "").await.unwrap();
    assert_eq!(longer.expires_at.unwrap() - active.expires_at.unwrap(), TimeDelta::minutes(30));
    let error = jit.extend(&alice, access.id(), TimeDelta::minutes(45), "still not").await.unwrap_err();
    assert!(error.to_string().contains("at most"), "{error}");
    jit.release(&alice, access.id()).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_about_a_person_and_a_realm_under_every_name() {
    let server = server(17);
    server.create_account("alice-dba").unwrap();
    let jit = Jit::builder()
        .store(MemoryStore::new(clock()))
        .policy(policy(POLICY))
        .database("pg", server.database())
        .database("pg-too", server.database())
        .build()
        .await
        .unwrap();
    jit.run_due().await.unwrap();
    let pump = jit.start();
    let frank = actor("frank");
    let ask_too = |millis| AccessRequest::new("pg-too", "reader", TimeDelta::milliseconds(millis)).because("a test");
    let mine = usable(&jit, "alice", "reader", 3_600_000).await;
    let other = usable(&jit, "dave", "reader", 3_600_000).await;
    jit.stop(&frank, Scope::Principal(actor("alice-dba").principal), "a stolen laptop").await.unwrap();
    assert_eq!(jit.until_ended(mine.id(), PATIENCE).await.unwrap().state, "revoked");
    assert_eq!(jit.request(&actor("alice"), ask("reader", 1_000)).await.unwrap_err().kind(), "stopped");
    assert_eq!(jit.access(other.id()).await.unwrap().state, "active");
    jit.stop(&frank, Scope::Target(TargetName::new("pg-too").unwrap()), "a break-in").await.unwrap();
    assert_eq!(jit.until_ended(other.id(), PATIENCE).await.unwrap().state, "revoked");
    for asked in [ask_too(1_000), ask("reader", 1_000)] {
        assert_eq!(jit.request(&actor("dave"), asked).await.unwrap_err().kind(), "stopped");
    }
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_stopped_before_it_was_seen_is_stopped_under_its_other_names_once_it_is() {
    let (server, store) = (server(17), Arc::new(MemoryStore::new(clock())));
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, server.database()).await;
    let pump = jit.start();
    let live = usable(&jit, "dave", "reader", 3_600_000).await;
    let too = TargetName::new("pg-too").unwrap();
    jit.stop(&actor("frank"), Scope::Target(too.clone()), "a break-in").await.unwrap();
    assert_eq!(jit.access(live.id()).await.unwrap().state, "active", "nobody knows that it is the same server");
    jit.put_target(too, Arc::new(server.database())).await.unwrap();
    assert_eq!(jit.until_ended(live.id(), PATIENCE).await.unwrap().state, "revoked");
    pump.stop().await;
}
