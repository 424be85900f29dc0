//! Tests with targets that are down (law 4).

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use jit_core::clock::{SystemEntropy, after};
use jit_core::database::Membership;
use jit_core::engine::{AccessRequest, AccessView, Filter, Jit};
use jit_core::id::{Account, RealmId, RoleName, TargetName};
use jit_core::store::{Change, MemoryStore, Store};
use jit_core::testkit::faulty::{Fault, Method};
use jit_core::testkit::live;

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn law_04_a_window_that_closes_while_the_target_is_down_is_overdue_and_ends_at_once_when_it_is_back() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 400).await;
    let mut events = jit.events();
    server.stop();
    while !jit.access(access.id()).await.unwrap().overdue {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(told(&jit, &access).await.contains(&"overdue".to_owned()));
    tokio::time::sleep(Duration::from_millis(600)).await;
    server.start(false);
    let mut back = None;
    loop {
        let happened = tokio::time::timeout(PATIENCE, events.next()).await.unwrap().unwrap().unwrap();
        match happened.audit_event.what.as_str() {
            "target-back" => back = Some(Instant::now()),
            "revoked" => break,
            _ => {}
        }
    }
    let since = back.map(|back| back.elapsed()).unwrap_or_default();
    assert!(since < Duration::from_secs(1), "{since:?} since the first probe that succeeded");
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

const MANY: usize = 10_000;
/// Limit for many ends on a machine with much other work.
const PATIENCE_OF_MANY: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn law_04_ten_thousand_due_revokes_cause_one_probe_at_a_time_and_delay_nothing_else() {
    let (dead, other) = (server(17), server(17));
    let database = faulty(&dead);
    let store = Arc::new(MemoryStore::new(clock()));
    let jit = Jit::builder()
        .shared_store(Arc::clone(&store) as Arc<dyn Store>)
        .policy(policy(&POLICY.replace("max_total = \"2h\"", "max_total = \"2h\"\ndecide_by = \"1s\"")))
        .database("pg", database.clone())
        .database("pg-two", other.database())
        .build()
        .await
        .unwrap();
    jit.run_due().await.unwrap();
    let now = store.now().await.unwrap();
    let (target, role) = (TargetName::new("pg").unwrap(), RoleName::new("reader").unwrap());
    let realm = RealmId::new(dead.realm()).unwrap();
    let mut change = Change::default();
    for number in 0..MANY {
        let (since, account) = (after(now, -TimeDelta::hours(1)), Account::new(format!("u{number}")).unwrap());
        let membership = Membership::new(account, role.clone());
        let writes = live::active(&target, &realm, membership, since, TimeDelta::minutes(59), &SystemEntropy);
        change.writes.extend(writes.unwrap());
    }
    store.commit(change).await.unwrap();
    dead.stop();
    let before = database.calls(Method::Identify).begun;
    let pump = jit.start();
    let began = Instant::now();
    let lapses = jit
        .request(&actor("alice"), AccessRequest::new("pg-two", "writer", TimeDelta::hours(1)).because("x"))
        .await
        .unwrap();
    let ends = AccessRequest::new("pg-two", "reader", TimeDelta::milliseconds(300)).because("x");
    let ends = jit.request(&actor("alice"), ends).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2).saturating_sub(began.elapsed())).await;
    let probed = database.calls(Method::Identify).begun - before;
    assert!((1..=20).contains(&probed), "{probed} probes in two seconds");
    // all of this happens while the target is down and its revokes are due
    jit.until_ended(ends.id(), PATIENCE_OF_MANY).await.unwrap();
    assert_eq!(jit.until_ended(lapses.id(), PATIENCE_OF_MANY).await.unwrap().state, "lapsed");
    assert_eq!(database.calls(Method::Identify).most, 1, "probes ran beside each other");
    assert_eq!(database.calls(Method::Revoke).begun, 0, "a dead target was told to revoke");
    dead.start(false);
    while !jit.list(&Filter::open(), None, 1).await.unwrap().is_empty() {
        assert!(began.elapsed() < PATIENCE_OF_MANY, "they do not go through");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    pump.stop().await;
}

#[tokio::test]
async fn law_04_a_pass_by_hand_ends_what_it_knows_although_the_store_is_gone_meanwhile() {
    let (server, store) = (server(17), Arc::new(Counting::default()));
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, server.database()).await;
    let access = jit.request(&actor("alice"), ask("reader", 300)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "reader"), 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    *store.breaks.lock().unwrap() = Some(Breaks::Away);
    jit.run_due().await.unwrap_err();
    assert_eq!(held(&server, "reader"), 0);
    *store.breaks.lock().unwrap() = None;
    assert_ne!(jit.access(access.id()).await.unwrap().state, "revoked", "nobody could record it");
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "revoked");
}

#[tokio::test]
async fn law_14_nothing_is_granted_while_a_revoke_without_a_claim_may_still_arrive() {
    let (server, store) = (server(17), Arc::new(Counting::default()));
    let database = faulty(&server);
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&database)).await;
    let access = jit.request(&actor("alice"), ask("reader", 300)).await.unwrap();
    jit.run_due().await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    *store.breaks.lock().unwrap() = Some(Breaks::Away);
    database.script(Method::Revoke, [Some(Fault::LostAfter)]);
    jit.run_due().await.unwrap_err();
    assert_eq!(database.calls(Method::Revoke).begun, 1, "nothing was sent ahead of the record");
    *store.breaks.lock().unwrap() = None;
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "revoked");
    let again = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    jit.run_due().await.unwrap();
    waits_for_the_revoke(&jit, &again).await;
    // limit of a call and its margin
    tokio::time::sleep(Duration::from_millis(5_200)).await;
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(again.id()).await.unwrap().state, "active");
    assert_eq!(held(&server, "reader"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_14_another_node_learns_that_a_revoke_without_a_claim_may_still_arrive() {
    let (server, store) = (server(17), Arc::new(Counting::default()));
    let database = faulty(&server);
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, Arc::clone(&database)).await;
    let other = engine_on(Arc::clone(&store) as Arc<dyn Store>, server.database()).await;
    let access = jit.request(&actor("alice"), ask("reader", 2_000)).await.unwrap();
    jit.run_due().await.unwrap();
    // it reads ahead when it starts
    let pump = jit.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    *store.breaks.lock().unwrap() = Some(Breaks::Away);
    database.script(Method::Revoke, [Some(Fault::LostAfter)]);
    let began = Instant::now();
    while database.calls(Method::Revoke).begun == 0 {
        assert!(began.elapsed() < PATIENCE, "nothing was sent ahead of the record");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    *store.breaks.lock().unwrap() = None;
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    pump.stop().await;
    let again = other.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    other.run_due().await.unwrap();
    waits_for_the_revoke(&other, &again).await;
}

async fn waits_for_the_revoke(jit: &Jit, access: &AccessView) {
    let waits = jit.access(access.id()).await.unwrap();
    assert!(waits.last_error.is_some_and(|why| why.contains("may still arrive")), "it is {}", waits.state);
}
