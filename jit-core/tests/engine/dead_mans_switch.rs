//! The dead man's switch: the database ends a role by itself if no node of this system does.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::database::Database;
use jit_core::engine::{AccessView, Jit, JitError};
use jit_core::store::{MemoryStore, Store};
use jit_core::testkit::faulty::{Fault, Method};
use jit_core::testkit::mock::MockServer;

use crate::stage::*;

/// Grace after the end before the switch fires.
const GRACE: TimeDelta = TimeDelta::milliseconds(300);

fn with_dead_mans_switch() -> MockServer {
    let server = server(17);
    server.set_dead_mans_switch(Some(GRACE));
    server
}

fn requiring() -> String {
    POLICY.replace("max = \"4h\"\n", "max = \"4h\"\ndead_man = \"required\"\n")
}

async fn engine_with(store: Arc<dyn Store>, text: &str, database: impl Database) -> Jit {
    let jit = Jit::builder().shared_store(store).policy(policy(text)).database("pg", database).build().await.unwrap();
    jit.run_due().await.unwrap();
    jit
}

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new(clock()))
}

async fn until(what: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !what().await {
        assert!(begun.elapsed() < PATIENCE, "it never comes");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn place(told: &[String], what: &str) -> usize {
    told.iter().position(|told| told == what).unwrap_or_else(|| panic!("no `{what}` among {told:?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_every_node_is_dead_and_the_role_goes_all_the_same() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let jit = engine_with(Arc::clone(&store), POLICY, server.database()).await;
    let access = jit.request(&actor("alice"), ask("reader", 500)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "reader"), 1);
    let log = told(&jit, &access).await;
    assert!(place(&log, "granting") < place(&log, "dead-man-armed"), "{log:?}");
    assert!(place(&log, "dead-man-armed") <= place(&log, "active"), "{log:?}");
    let session = server.session("alice").unwrap();
    // no node works any more
    drop(jit);
    tokio::time::sleep(Duration::from_millis(550)).await;
    assert_eq!(held(&server, "reader"), 1, "it fired before its grace was over");
    until(async || held(&server, "reader") == 0).await;
    assert!(!session.is_open(), "the session lives on");
    let jit = engine_with(store, POLICY, server.database()).await;
    jit.run_due().await.unwrap();
    let ended = jit.access(access.id()).await.unwrap();
    assert_eq!(ended.state, "revoked");
    let log = told(&jit, &access).await;
    assert!(place(&log, "revoked") < place(&log, "dead-man-fired"), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_one_that_ended_in_time_leaves_nothing_armed() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let jit = engine_with(store, POLICY, server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    jit.release(&actor("alice"), access.id()).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    // held by hand from now on: this system must not take it
    server.grant("reader", "alice", "jit_broker", jit_core::database::MembershipScope::SetRole).unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(held(&server, "reader"), 1);
    let log = told(&jit, &access).await;
    assert!(!log.contains(&"dead-man-fired".to_owned()), "{log:?}");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_07_it_fires_for_the_last_of_overlapping_ends_only() {
    for longer_first in [true, false] {
        let (server, store) = (with_dead_mans_switch(), memory());
        let jit = engine_with(store, POLICY, server.database()).await;
        let lengths = if longer_first { [1_500, 400] } else { [400, 1_500] };
        for length in lengths {
            jit.request(&actor("alice"), ask("reader", length)).await.unwrap();
            jit.run_due().await.unwrap();
        }
        drop(jit);
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(held(&server, "reader"), 1, "the shorter one's took the longer one's role ({longer_first})");
        until(async || held(&server, "reader") == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_07_it_follows_what_remains_when_one_of_two_is_released() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let jit = engine_with(store, POLICY, server.database()).await;
    let long = jit.request(&actor("alice"), ask("reader", 3_600_000)).await.unwrap();
    jit.run_due().await.unwrap();
    jit.request(&actor("alice"), ask("reader", 400)).await.unwrap();
    jit.run_due().await.unwrap();
    jit.release(&actor("alice"), long.id()).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "reader"), 1);
    drop(jit);
    until(async || held(&server, "reader") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_02_it_moves_with_an_extension_before_that_is_recorded() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let database = faulty(&server);
    let text = requiring();
    let jit = engine_with(store, &text, database.clone()).await;
    let access = jit.request(&actor("alice"), ask("reader", 600)).await.unwrap();
    jit.run_due().await.unwrap();
    database.script(Method::Arm, [Some(Fault::Unreachable)]);
    let refused = jit.extend(&actor("alice"), access.id(), TimeDelta::hours(1), "more").await;
    assert!(matches!(refused, Err(JitError::Database(_))), "{refused:?}");
    let before = jit.access(access.id()).await.unwrap();
    let longer = jit.extend(&actor("alice"), access.id(), TimeDelta::hours(1), "more").await.unwrap();
    assert!(longer.expires_at > before.expires_at);
    // no node works any more, and yet the role is not taken at its earlier end
    drop(jit);
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    assert_eq!(held(&server, "reader"), 1, "it was taken at the end that it had before");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_a_new_incarnation_has_it_armed_anew() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let database = faulty(&server);
    let jit = engine_with(store, POLICY, database.clone()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    let before = database.calls(Method::Arm).begun;
    server.stop();
    server.start(false);
    // the next contact with the server finds out
    usable(&jit, "dave", "reader", 3_600_000).await;
    until(async || database.calls(Method::Arm).begun >= before + 2).await;
    assert_eq!(jit.access(access.id()).await.unwrap().state, "active");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_it_stays_while_the_revoke_fails_in_a_new_incarnation_too() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let database = faulty(&server);
    let jit = engine_with(Arc::clone(&store), POLICY, database.clone()).await;
    let access = jit.request(&actor("alice"), ask("reader", 800)).await.unwrap();
    jit.run_due().await.unwrap();
    drop(jit);
    server.stop();
    server.start(false);
    tokio::time::sleep(Duration::from_millis(850)).await;
    database.script(Method::Revoke, [Some(Fault::NotApplied), Some(Fault::NotApplied)]);
    // an engine that checks at its start whether the switches are still armed
    let jit = engine_with(store, POLICY, database.clone()).await;
    assert_eq!(jit.access(access.id()).await.unwrap().state, "revoking");
    // no node works any more
    drop(jit);
    until(async || held(&server, "reader") == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_requires_it_is_refused_where_there_is_none() {
    let server = server(17);
    let jit = engine_with(memory(), &requiring(), server.database()).await;
    let refused = jit.request(&actor("alice"), ask("reader", 60_000)).await;
    let Err(error @ JitError::TargetRefused { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.hint().unwrap_or_default().contains("turn the mock's scheduler on"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_requires_it_grants_nothing_once_it_is_turned_off() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let jit = engine_with(store, &requiring(), server.database()).await;
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    server.set_dead_mans_switch(None);
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "reader"), 0);
    let view: AccessView = jit.access(access.id()).await.unwrap();
    assert_eq!(view.state, "failed");
    let ended = jit.until_active(access.id(), PATIENCE).await.unwrap_err().to_string();
    assert!(ended.contains("turn the mock's scheduler on"), "{ended}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_only_wished_for_its_failure_is_told_and_holds_up_nobody() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let database = faulty(&server);
    let jit = engine_with(store, POLICY, database.clone()).await;
    database.script(Method::Arm, [Some(Fault::NotApplied), Some(Fault::NotApplied)]);
    let access = jit.request(&actor("alice"), ask("reader", 3_600_000)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "active");
    let log = told(&jit, &access).await;
    assert_eq!(log.iter().filter(|what| *what == "dead-man-missing").count(), 1, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_disarmed_is_tried_again() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let database = faulty(&server);
    let jit = engine_with(store, POLICY, database.clone()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    database.script(Method::Disarm, [Some(Fault::LostAfter)]);
    jit.release(&actor("alice"), access.id()).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    until(async || database.calls(Method::Disarm).begun >= 2).await;
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_can_switch_it_off() {
    let (server, store) = (with_dead_mans_switch(), memory());
    let database = faulty(&server);
    let off = requiring().replace("\"required\"", "\"off\"");
    let jit = engine_with(store, &off, database.clone()).await;
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "active");
    assert_eq!(database.calls(Method::Arm).begun, 0);
}
