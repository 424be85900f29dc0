//! Leftovers of an access: objects that the account or the role came to own in its window.

use std::sync::Arc;

use jit_core::engine::Jit;
use jit_core::store::MemoryStore;
use jit_core::testkit::database_laws::{Attempt, Tried};
use jit_core::testkit::faulty::{Fault, Method};
use jit_core::testkit::mock::MockServer;

use crate::stage::*;

async fn engine_with(text: &str, database: impl jit_core::database::Database) -> Jit {
    let store = Arc::new(MemoryStore::new(clock()));
    let jit = Jit::builder().shared_store(store).policy(policy(text)).database("pg", database).build().await.unwrap();
    jit.run_due().await.unwrap();
    jit
}

fn make(server: &MockServer, name: &str) {
    let mut session = server.session("alice").unwrap();
    assert_eq!(session.attempt(Attempt::Make { role: "reader", name }).unwrap(), Tried::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_in_the_window_is_told_at_its_end_and_what_was_there_is_not() {
    let server = server(17);
    server.grant("reader", "dave", "jit_broker", jit_core::database::MembershipScope::SetRole).unwrap();
    let jit = engine_with(POLICY, server.database()).await;
    let pump = jit.start();
    let first = usable(&jit, "alice", "reader", 3_600_000).await;
    make(&server, "copy_of_orders");
    jit.release(&actor("alice"), first.id()).await.unwrap();
    let ended = jit.until_ended(first.id(), PATIENCE).await.unwrap();
    let left = ended.evidence.unwrap().leftovers;
    assert!(left.len() == 1 && left[0].contains("copy_of_orders"), "{left:?}");
    let log = told(&jit, &first).await;
    assert!(log.contains(&"finding".to_owned()), "{log:?}");
    // objects that exist by now are no leftovers of the next access
    let second = usable(&jit, "alice", "reader", 3_600_000).await;
    make(&server, "another");
    jit.release(&actor("alice"), second.id()).await.unwrap();
    let left = jit.until_ended(second.id(), PATIENCE).await.unwrap().evidence.unwrap().leftovers;
    assert!(left.len() == 1 && left[0].contains("another"), "{left:?}");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_can_switch_it_off() {
    let server = server(17);
    let database = faulty(&server);
    let off = POLICY.replace("max = \"4h\"\n", "max = \"4h\"\nleft_behind = \"off\"\n");
    let jit = engine_with(&off, database.clone()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    make(&server, "copy_of_orders");
    jit.release(&actor("alice"), access.id()).await.unwrap();
    let ended = jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert!(ended.evidence.unwrap().leftovers.is_empty());
    assert_eq!(database.calls(Method::OwnedObjects).begun, 0);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_it_and_that_it_is_not_known_is_told() {
    let server = server(17);
    let database = faulty(&server);
    let jit = engine_with(POLICY, database.clone()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    database.script(Method::OwnedObjects, [Some(Fault::HangForever)]);
    jit.release(&actor("alice"), access.id()).await.unwrap();
    let ended = jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!(held(&server, "reader"), 0);
    let why = ended.evidence.unwrap().not_compared.unwrap();
    assert!(why.contains("longer than"), "{why}");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_that_was_never_granted_leaves_nothing_behind() {
    let server = server(17);
    let database = faulty(&server);
    let jit = engine_with(POLICY, database.clone()).await;
    // a member of the account would get the role as well, so the grant is rejected
    server.grant("alice", "bob", "postgres", jit_core::database::MembershipScope::SetRole).unwrap();
    database.script(Method::OwnedObjects, [None, Some(Fault::NotApplied)]);
    let pump = jit.start();
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    let ended = jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!(ended.state, "failed");
    assert!(database.calls(Method::OwnedObjects).begun >= 2, "it was not looked at");
    assert_eq!(ended.evidence.unwrap().not_compared, None);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_can_grant_is_not_granted_before_it_is_known() {
    let server = server(17);
    let database = faulty(&server);
    let text = POLICY.replace("max = \"4h\"\n", "max = \"4h\"\ncan_grant = \"accepted\"\n");
    let jit = engine_with(&text, database.clone()).await;
    database.always(Method::OwnedObjects, Some(Fault::NotApplied));
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "scheduled");
    assert_eq!(held(&server, "reader"), 0);
    database.always(Method::OwnedObjects, None);
    let pump = jit.start();
    jit.until_active(access.id(), PATIENCE).await.unwrap();
    pump.stop().await;
}
