//! Two stores that work with one broker: a broker belongs to one store, and a breach of that is
//! reported.

use jit_core::AccessState;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::database::{ArmOrder, Call, Database, DefaultRole, Membership, Severity};
use jit_core::engine::{Drift, JitError, Reconcile};
use jit_core::id::{StoreId, TargetName};
use jit_core::policy::Sessions;
use jit_core::store::{MemoryStore, Store, identity};
use jit_core::testkit::faulty::{Fault, Method};
use jit_core::testkit::mock::MockServer;

use crate::stage::*;

fn with_dead_mans_switch() -> MockServer {
    let server = server(17);
    server.set_dead_mans_switch(Some(TimeDelta::seconds(1)));
    server
}

/// Id of the other store.
const OTHER: &str = "0123456789abcdef";

fn membership(server: &MockServer) -> (Membership, Call) {
    let database = server.database();
    let membership = Membership::new(database.account("alice").unwrap(), database.role("reader").unwrap());
    (membership, Call::new("other", Duration::from_secs(5)).of_store(StoreId::new(OTHER).unwrap()))
}

/// Arms the membership's switch as the other store.
async fn mark(server: &MockServer) {
    let (membership, call) = membership(server);
    let default_role = DefaultRole::Goes { back_to: None };
    let order = ArmOrder::new(membership, Duration::from_secs(3_600), Sessions::End).default_role(default_role);
    server.database().arm(&call, &[order]).await.pop().unwrap().unwrap();
}

/// Ends the access of the other store.
async fn end_the_others(server: &MockServer) {
    server.revoke("reader", "alice", "jit_broker").unwrap();
    let (membership, call) = membership(server);
    server.database().disarm(&call, &[membership]).await.pop().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_06_the_end_of_one_stores_access_leaves_what_another_store_accounts_for() {
    let server = with_dead_mans_switch();
    let text = POLICY.replace("max = \"4h\"\n", "max = \"4h\"\ndead_man = \"off\"\n");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let builder = jit_core::engine::Jit::builder().shared_store(store).policy(policy(&text));
    let jit = builder.database("pg", server.database()).build().await.unwrap();
    jit.run_due().await.unwrap();
    let pump = jit.start();
    let unmarked = usable(&jit, "alice", "reader", 1_500).await;
    mark(&server).await;
    let session = server.session("alice").unwrap();
    let ended = jit.until_ended(unmarked.id(), PATIENCE).await.unwrap();
    assert_eq!(ended.state, "revoked");
    assert!(ended.cause.as_ref().unwrap().contains("another store"), "{ended:?}");
    assert!(told(&jit, &ended).await.contains(&"finding".to_owned()));
    assert_eq!(held(&server, "reader"), 1, "the other's membership went with it");
    assert!(session.is_open(), "the other's session ended");
    // a new request is refused, with the reason, and this is in the log
    let refused = jit.request(&actor("alice"), ask("reader", 3_000)).await.unwrap_err();
    assert!(matches!(&refused, JitError::Standing { finding } if finding.contains("another store")), "{refused}");
    let found = jit.reconcile(&actor("frank"), &TargetName::new("pg").unwrap(), Reconcile::Enforce).await.unwrap();
    let named = |drift: &Drift| matches!(drift, Drift::OfAnotherStore { account, .. } if account.as_str() == "alice");
    assert!(found.iter().any(named), "{found:?}");
    assert!(!found.iter().any(|drift| matches!(drift, Drift::Orphaned { .. })), "{found:?}");
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "reader"), 1, "reconciling took it");
    let checks = jit.check_target(&TargetName::new("pg").unwrap()).await.unwrap().checks;
    assert!(checks.iter().any(|check| check.about.what == "another-store" && check.severity == Severity::Danger));
    end_the_others(&server).await;
    // the role can be granted now
    usable(&jit, "alice", "reader", 3_600_000).await;
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_06_what_another_store_granted_without_a_mark_is_not_granted_again() {
    let server = server(17);
    let (one, two) = (engine(server.database()).await, engine(server.database()).await);
    let pump = one.start();
    let access = usable(&one, "alice", "reader", 3_600_000).await;
    let refused = two.request(&actor("alice"), ask("reader", 3_000)).await.unwrap_err();
    let named = "no access here accounts for it";
    assert!(matches!(&refused, JitError::Standing { finding } if finding.contains(named)), "{refused}");
    assert_eq!((one.access(access.id()).await.unwrap().state, held(&server, "reader")), (AccessState::Active, 1));
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_06_what_another_store_marks_between_look_and_grant_is_not_granted() {
    let server = with_dead_mans_switch();
    let database = faulty(&server);
    let jit = engine(Arc::clone(&database)).await;
    let access = jit.request(&actor("alice"), ask("reader", 3_600_000)).await.unwrap();
    // the look finds nothing yet; the arming finds the other store's mark
    database.script(Method::Arm, [Some(Fault::Hang)]);
    let passes = tokio::spawn({
        let jit = jit.clone();
        async move { (jit.run_due().await.unwrap(), jit.run_due().await.unwrap()) }
    });
    while database.calls(Method::Arm).running == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    mark(&server).await;
    database.release();
    passes.await.unwrap();
    let ended = jit.access(access.id()).await.unwrap();
    assert_eq!(ended.state, "failed", "{ended:?}");
    assert!(ended.cause.as_ref().unwrap().contains("0123456789abcdef"), "{ended:?}");
    assert_eq!(held(&server, "reader"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_another_process_is_the_same_store_and_a_new_one_is_another() {
    let server = with_dead_mans_switch();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let jit = engine_on(Arc::clone(&store), server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    pump.stop().await;
    drop(jit);
    let own = identity(&*store, &jit_core::clock::SystemEntropy).await.unwrap();
    let marks = server.database().stores().await.unwrap();
    assert!(matches!(marks.as_slice(), [marks] if marks.store == own && marks.memberships == 1), "{marks:?}");
    let jit = engine_on(store, server.database()).await;
    jit.release(&actor("alice"), access.id()).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "revoked");
    assert_eq!(held(&server, "reader"), 0);
    assert!(server.database().stores().await.unwrap().is_empty(), "a mark is left");
}

#[cfg(feature = "sqlite")]
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_restored_from_a_backup_elsewhere_is_the_same_store() {
    use jit_core::clock::SystemEntropy;
    use jit_core::store::SqliteStore;

    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let of = async |path: std::path::PathBuf| {
        let store = SqliteStore::open(path).unwrap();
        identity(&store, &SystemEntropy).await.unwrap()
    };
    let before = of(here.path().join("jit.db")).await;
    std::fs::copy(here.path().join("jit.db"), there.path().join("moved.db")).unwrap();
    assert_eq!(of(there.path().join("moved.db")).await, before);
    assert_eq!(of(here.path().join("jit.db")).await, before);
    assert_ne!(of(there.path().join("new.db")).await, before);
}
