//! Tests with databases that fail (laws 3, 4, 15).

use std::time::Duration;

use jit_core::testkit::faulty::{Fault, Method};

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn law_15_a_grant_whose_answer_was_lost_is_settled_and_counts_from_its_intent() {
    let server = server(17);
    let database = faulty(&server);
    let jit = engine(database.clone()).await;
    let pump = jit.start();
    database.script(Method::Grant, [Some(Fault::LostAfter)]);
    let access = usable(&jit, "alice", "reader", 60_000).await;
    assert_eq!(database.calls(Method::Grant).begun, 1, "it was granted twice");
    assert!(database.calls(Method::Settle).begun >= 1, "it was concluded on without settling");
    let entries = jit.history(access.id(), 100).await.unwrap();
    let intent = entries.iter().find(|entry| field(&entry.body, "what") == "granting").unwrap();
    let at = chrono::DateTime::parse_from_rfc3339(&field(&intent.body, "at")).unwrap();
    assert!(
        access.activated_at.unwrap() <= at + chrono::TimeDelta::milliseconds(5),
        "it counts from later than the intent"
    );
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_15_a_grant_that_did_not_arrive_is_made_again() {
    for fault in [Fault::LostBefore, Fault::NotApplied, Fault::Unreachable] {
        let server = server(17);
        let database = faulty(&server);
        let jit = engine(database.clone()).await;
        let pump = jit.start();
        database.script(Method::Grant, [Some(fault)]);
        usable(&jit, "alice", "reader", 60_000).await;
        assert_eq!(database.calls(Method::Grant).begun, 2, "{fault:?}");
        assert_eq!(held(&server, "reader"), 1);
        pump.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_03_the_intent_is_in_the_store_while_the_statement_is_under_way() {
    let server = server(17);
    let database = faulty(&server);
    let jit = engine(database.clone()).await;
    let pump = jit.start();
    database.script(Method::Grant, [Some(Fault::Hang)]);
    let access = jit.request(&actor("alice"), ask("reader", 3_600_000)).await.unwrap();
    while database.calls(Method::Grant).begun == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(jit.access(access.id()).await.unwrap().state, "granting");
    database.release();
    jit.until_active(access.id(), PATIENCE).await.unwrap();
    database.script(Method::Revoke, [Some(Fault::Hang)]);
    jit.release(&actor("alice"), access.id()).await.unwrap();
    while database.calls(Method::Revoke).begun == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(jit.access(access.id()).await.unwrap().state, "revoking");
    database.release();
    assert_eq!(jit.until_ended(access.id(), PATIENCE).await.unwrap().state, "revoked");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_a_revoke_that_fails_is_overdue_at_once_and_never_given_up() {
    for fault in [Fault::NotApplied, Fault::LostBefore, Fault::LostAfter, Fault::Unreachable] {
        let server = server(17);
        let database = faulty(&server);
        let jit = engine(database.clone()).await;
        let pump = jit.start();
        let access = usable(&jit, "alice", "reader", 300).await;
        database.always(Method::Revoke, Some(fault));
        while !jit.access(access.id()).await.unwrap().overdue {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(told(&jit, &access).await.contains(&"overdue".to_owned()), "{fault:?}: nobody was told");
        assert_ne!(jit.access(access.id()).await.unwrap().state, "revoked");
        database.always(Method::Revoke, None);
        assert_eq!(jit.until_ended(access.id(), PATIENCE).await.unwrap().state, "revoked");
        assert_eq!(held(&server, "reader"), 0);
        pump.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_target_delays_no_other() {
    let (first, second) = (server(17), server(17));
    let database = faulty(&first);
    let jit = jit_core::engine::Jit::builder()
        .store(jit_core::store::MemoryStore::new(clock()))
        .policy(policy(POLICY))
        .database("pg", database.clone())
        .database("pg-two", second.database())
        .build()
        .await
        .unwrap();
    jit.run_due().await.unwrap();
    let pump = jit.start();
    database.always(Method::Grant, Some(Fault::HangForever));
    jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    let began = std::time::Instant::now();
    let other =
        jit_core::engine::AccessRequest::new("pg-two", "reader", chrono::TimeDelta::milliseconds(300)).because("x");
    let other = jit.request(&actor("alice"), other).await.unwrap();
    jit.until_ended(other.id(), PATIENCE).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "the other target waited {:?}", began.elapsed());
    pump.stop().await;
}
