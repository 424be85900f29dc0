//! Whole accesses, from request to end.

use jit_core::{AccessState, Time};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::engine::{AccessRequest, ErrorClass, JitError};
use jit_core::store::{MemoryStore, SqliteStore, Store};

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_case_from_request_to_verified_revoke_on_both_stores() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(folder.path().join("jit.db")).unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::new(MemoryStore::new(clock())), Arc::new(sqlite)];
    for store in stores {
        let server = server(17);
        let jit = engine_on(store, server.database()).await;
        let pump = jit.start();
        let access = jit.request(&actor("alice"), ask("writer", 600)).await.unwrap();
        assert_eq!(access.state, "pending");
        assert_eq!(access.pending_on, ["one of group `dba`"]);
        assert_eq!(held(&server, "writer"), 0);
        jit.approve(&actor("bob"), access.id(), "go ahead").await.unwrap();
        let active = jit.until_active(access.id(), PATIENCE).await.unwrap();
        assert_eq!(held(&server, "writer"), 1);
        let window = active.expires_at.unwrap() - active.activated_at.unwrap();
        assert_eq!(window, TimeDelta::milliseconds(600), "the window counts from when it is usable");
        let ended = jit.until_ended(access.id(), PATIENCE).await.unwrap();
        assert_eq!((ended.state, ended.cause.as_deref()), (AccessState::Revoked, Some("expired")));
        assert!(ended.evidence.is_some());
        assert_eq!(held(&server, "writer"), 0);
        pump.stop().await;
        let mut told = told(&jit, &ended).await;
        told.retain(|what| what != "ending-soon");
        assert_eq!(told, ["requested", "approved", "satisfied", "granting", "active", "revoking", "revoked"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cycle_takes_five_durable_commits_and_one_more_for_each_decision() {
    let server = server(17);
    let store = Arc::new(Counting::default());
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, server.database()).await;
    let pump = jit.start();
    store.commits.store(0, Ordering::SeqCst);
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    jit.release(&actor("alice"), access.id()).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    let counted = store.commits.swap(0, Ordering::SeqCst);
    assert!(counted <= 5, "{counted} commits");
    let access = jit.request(&actor("alice"), ask("writer", 3_600_000)).await.unwrap();
    jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    jit.until_active(access.id(), PATIENCE).await.unwrap();
    jit.release(&actor("alice"), access.id()).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    let counted = store.commits.load(Ordering::SeqCst);
    assert!(counted <= 6, "{counted} commits");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn passes_by_hand_do_what_the_pump_does() {
    let server = server(15);
    let jit = engine(server.database()).await;
    let access = jit.request(&actor("alice"), ask("reader", 300)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "active");
    tokio::time::sleep(Duration::from_millis(350)).await;
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "revoked");
    assert_eq!(held(&server, "reader"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_start_begins_then_and_not_before() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let start = jit.store().now().await.unwrap() + TimeDelta::milliseconds(700);
    let access = jit.request(&actor("alice"), ask("writer", 500).starting(start)).await.unwrap();
    let access = jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    assert_eq!(access.state, "scheduled");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(held(&server, "writer"), 0);
    let active = jit.until_active(access.id(), PATIENCE).await.unwrap();
    assert!(active.activated_at.unwrap() >= start);
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_at_the_start_is_contacted_when_it_comes() {
    let server = server(17);
    server.stop();
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    assert_eq!(access.state, "scheduled");
    assert!(access.pending_on[0].contains("first contact"), "{:?}", access.pending_on);
    server.start(false);
    jit.until_active(access.id(), PATIENCE).await.unwrap();
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_a_key_answers_with_the_first_access() {
    let jit = engine(server(17).database()).await;
    let asked = (0..16).map(|_| async { jit.request(&actor("alice"), ask("reader", 60_000).key("k")).await.unwrap() });
    let views = futures_util::future::join_all(asked).await;
    assert_eq!(views.iter().filter(|view| !view.repeated).count(), 1, "one of the answers is new");
    let ids: Vec<_> = views.iter().map(jit_core::AccessView::id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // two that differ and come at the same time are not one request either
    let dave = actor("dave");
    let both = ["x", "y"].map(|why| jit.request(&dave, ask("reader", 60_000).because(why).key("at once")));
    let both = futures_util::future::join_all(both).await;
    assert_eq!(both.iter().filter(|answer| answer.is_ok()).count(), 1, "{both:?}");
    // the same key with other content is no repeat
    let later = ask("reader", 60_000).starting(Time::from_timestamp(1_900_000_000, 0).unwrap());
    for other in [ask("writer", 60_000), ask("reader", 61_000), ask("reader", 60_000).because("something else"), later]
    {
        let refused = jit.request(&actor("alice"), other.key("k")).await.unwrap_err();
        assert!(matches!(&refused, JitError::KeyInUse { id, .. } if *id == ids[0]), "{refused}");
        assert_eq!(refused.class(), ErrorClass::Conflict);
    }
    let theirs = jit.request(&actor("dave"), ask("writer", 60_000).key("k")).await.unwrap();
    assert_ne!(theirs.id(), ids[0], "a key is the requester's own");
    // stores keep microseconds
    let fine = || AccessRequest::new("pg", "reader", TimeDelta::nanoseconds(60_000_000_500)).because("x").key("fine");
    let first = jit.request(&actor("mallory"), fine()).await.unwrap();
    assert_eq!(jit.request(&actor("mallory"), fine()).await.unwrap().id(), first.id());
    let refused = jit.request(&actor("alice"), ask("reader", 60_000).key("a\0b")).await.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Invalid, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_with_what_would_do() {
    let jit = engine(server(17).database()).await;
    let refused = async |ask: AccessRequest| jit.request(&actor("alice"), ask).await.unwrap_err().to_string();
    assert!(refused(ask("reader", 0)).await.contains("longer than zero"));
    assert!(refused(ask("reader", -5)).await.contains("longer than zero"));
    let nowhere =
        jit.request(&actor("alice"), AccessRequest::new("nowhere", "reader", TimeDelta::hours(1))).await.unwrap_err();
    assert!(
        !nowhere.to_string().contains("configured") && nowhere.hint().unwrap().contains("configured are"),
        "{nowhere}"
    );
    assert!(refused(ask("writer", 7_200_000)).await.contains("at most"));
    assert!(refused(ask("nothing", 1_000)).await.contains("no rule lets"));
    let gone = jit_core::id::AccessId::fresh(jit.store().now().await.unwrap(), &jit_core::clock::SystemEntropy);
    assert_eq!(jit.access(gone).await.unwrap_err().kind(), "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_shown_is_read_back_as_it_was() {
    let jit = engine(server(17).database()).await;
    let mut events = jit.events();
    for milliseconds in [90_000, 1_300] {
        let access = jit.request(&actor("alice"), ask("reader", milliseconds)).await.unwrap();
        let text = serde_json::to_string(&access).unwrap();
        assert_eq!(serde_json::from_str::<jit_core::AccessView>(&text).unwrap(), access, "{text}");
        let seconds = serde_json::to_value(&access).unwrap()["duration_seconds"].as_f64().unwrap();
        assert_eq!((seconds * 1_000.0) as i64, milliseconds);
        let event = events.next().await.unwrap().unwrap();
        let again: jit_core::EngineEvent = serde_json::from_value(serde_json::to_value(&event).unwrap()).unwrap();
        assert_eq!((again.at, again.audit_event, again.access), (event.at, event.audit_event, event.access));
        for entry in jit.history(access.id(), 9).await.unwrap() {
            let entry = entry.read().unwrap();
            assert_eq!((entry.access, entry.actor.as_ref().unwrap().as_str()), (Some(access.id()), "alice"));
        }
    }
}
