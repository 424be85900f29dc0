//! Overlapping grants of one membership (law 7), and standing memberships (law 6).

use chrono::TimeDelta;
use jit_core::database::MembershipScope;
use jit_core::engine::{AccessRequest, Jit};
use jit_core::store::MemoryStore;

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn law_07_the_first_of_two_ends_and_the_role_stays_until_the_second_does() {
    for version in [15, 17] {
        let server = server(version);
        let jit = engine(server.database()).await;
        let pump = jit.start();
        let first = usable(&jit, "alice", "reader", 3_600_000).await;
        let second = usable(&jit, "alice", "reader", 3_600_000).await;
        assert_eq!(held(&server, "reader"), 1);
        jit.release(&actor("alice"), first.id()).await.unwrap();
        let ended = jit.until_ended(first.id(), PATIENCE).await.unwrap();
        assert_eq!(ended.evidence.unwrap().still_held_by, [second.id()]);
        assert_eq!(held(&server, "reader"), 1, "the second one's access went with the first");
        jit.release(&actor("alice"), second.id()).await.unwrap();
        jit.until_ended(second.id(), PATIENCE).await.unwrap();
        assert_eq!(held(&server, "reader"), 0);
        pump.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_07_the_wider_one_ends_and_what_stays_is_narrowed_through_two_names_of_one_cluster() {
    let server = server(17);
    let jit = Jit::builder()
        .store(MemoryStore::new(clock()))
        .policy(policy(POLICY))
        .database("pg", server.database())
        .database("wide", server.database())
        .build()
        .await
        .unwrap();
    let pump = jit.start();
    let narrow = usable(&jit, "alice", "reader", 3_600_000).await;
    let wide = AccessRequest::new("wide", "reader", TimeDelta::hours(1)).because("SET ROLE is needed");
    let wide = jit.request(&actor("alice"), wide).await.unwrap();
    jit.until_active(wide.id(), PATIENCE).await.unwrap();
    let set = || server.members("reader").unwrap().iter().any(|row| row.member == "alice" && row.set);
    assert!(set(), "the wider one was not given SET ROLE");
    jit.release(&actor("alice"), wide.id()).await.unwrap();
    jit.until_ended(wide.id(), PATIENCE).await.unwrap();
    assert_eq!(held(&server, "reader"), 1);
    assert!(!set(), "what remains was not narrowed");
    jit.release(&actor("alice"), narrow.id()).await.unwrap();
    jit.until_ended(narrow.id(), PATIENCE).await.unwrap();
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_06_a_role_that_is_held_already_is_refused_when_asked_for() {
    for version in [15, 17] {
        let server = server(version);
        server.grant("reader", "alice", "postgres", MembershipScope::SetRole).unwrap();
        let jit = engine(server.database()).await;
        let pump = jit.start();
        let error = jit.request(&actor("alice"), ask("reader", 1_000)).await.unwrap_err();
        assert_eq!(error.kind(), "standing", "{error}");
        pump.stop().await;
        assert_eq!(held(&server, "reader"), 1, "a standing membership was touched");
        let log = jit.store().entries(jit.tenant_id(), 0, 100).await.unwrap();
        assert!(log.iter().any(|entry| field(&entry.body, "what") == "finding"), "the finding is not in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_06_a_membership_that_appeared_after_asking_is_found_before_the_statement() {
    for version in [15, 17] {
        let server = server(version);
        let jit = engine(server.database()).await;
        let access = jit.request(&actor("alice"), ask("writer", 60_000)).await.unwrap();
        server.grant("writer", "alice", "postgres", MembershipScope::SetRole).unwrap();
        jit.approve(&actor("bob"), access.id(), "").await.unwrap();
        jit.run_due().await.unwrap();
        let failed = jit.access(access.id()).await.unwrap();
        assert_eq!(failed.state, "failed");
        assert!(failed.cause.unwrap().contains("standing"));
        assert_eq!(held(&server, "writer"), 1);
        assert!(told(&jit, &jit.access(access.id()).await.unwrap()).await.contains(&"finding".to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_06_what_remains_after_our_revoke_is_reported() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    server.grant("reader", "alice", "postgres", MembershipScope::SetRole).unwrap();
    jit.release(&actor("alice"), access.id()).await.unwrap();
    let ended = jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!(ended.state, "revoked");
    assert_eq!(ended.evidence.unwrap().residual, ["granted by `postgres`"]);
    assert_eq!(held(&server, "reader"), 1);
    pump.stop().await;
}
