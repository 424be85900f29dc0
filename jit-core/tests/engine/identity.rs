//! Identity of servers: names that move, copies with the same identifier, and the fate of live
//! accesses on the earlier server.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::database::{Database, InRealm as _, MembershipScope};
use jit_core::engine::{AccessRequest, Jit};
use jit_core::id::{TargetName, TenantId};
use jit_core::store::{MemoryStore, Store};
use jit_core::testkit::mock::MockServer;

use crate::stage::*;

fn pg() -> TargetName {
    TargetName::new("pg").unwrap()
}

async fn lead(jit: &Jit, to: &MockServer) {
    jit.put_target(pg(), Arc::new(to.database()) as Arc<dyn Database>).await.unwrap();
}

/// Waits until the access is overdue, and a little more.
async fn overdue(jit: &Jit, access: &jit_core::engine::AccessView) {
    for _ in 0..100 {
        if jit.access(access.id()).await.unwrap().overdue {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let view = jit.access(access.id()).await.unwrap();
    assert_ne!(view.state, "revoked", "another server's word was taken");
    assert!(view.overdue);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_a_copy_under_the_name_proves_nothing_and_the_end_comes_with_the_right_server() {
    let server = server(17);
    let before = server.copy();
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 1_000).await;
    for copy in [before, server.copy()] {
        let holds = held(&copy, "reader");
        lead(&jit, &copy).await;
        overdue(&jit, &access).await;
        assert_eq!((held(&server, "reader"), held(&copy, "reader")), (1, holds), "the copy was told something");
        let error = jit.request(&actor("dave"), ask("reader", 60_000)).await.unwrap_err();
        assert_eq!(error.kind(), "target-refused", "{error}");
    }
    lead(&jit, &server).await;
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

/// Builds an engine that knows one server by two names.
async fn by_two_names(store: &Arc<MemoryStore>, server: &MockServer) -> Jit {
    let builder = Jit::builder().shared_store(Arc::clone(store) as Arc<dyn Store>).policy(policy(POLICY));
    let jit = builder.database("pg", server.database()).database("pg2", server.database()).build().await.unwrap();
    jit.run_due().await.unwrap();
    jit
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_two_names_that_lead_to_a_copy_together_do_not_vouch_for_it() {
    let server = server(17);
    let copy = server.copy();
    let store = Arc::new(MemoryStore::new(clock()));
    let jit = by_two_names(&store, &server).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_000).await;
    pump.stop().await;
    drop(jit);
    let jit = by_two_names(&store, &copy).await;
    let pump = jit.start();
    overdue(&jit, &access).await;
    assert_eq!((held(&server, "reader"), held(&copy, "reader")), (1, 0), "the copy was told something");
    let error = jit.request(&actor("dave"), ask("reader", 60_000)).await.unwrap_err();
    assert_eq!(error.kind(), "target-refused", "{error}");
    pump.stop().await;
    drop(jit);
    let jit = by_two_names(&store, &server).await;
    let pump = jit.start();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_a_server_that_was_only_restarted_goes_on() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 1_500).await;
    server.stop();
    server.start(false);
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_an_earlier_copy_in_its_place_is_no_restart_of_it() {
    // one copy is from before the grant, and the other from between the grant and the last look;
    // the first copy has written more since then than the original
    for (early, late) in [(true, false), (false, true)] {
        let server = server(17);
        let mut copy = server.copy_in_its_place();
        let store = Arc::new(MemoryStore::new(clock()));
        let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, server.database()).await;
        let pump = jit.start();
        let access = usable(&jit, "alice", "reader", 3_500).await;
        if early {
            for _ in 0..9 {
                copy.grant("writer", "mallory", "jit_broker", MembershipScope::Inherit).unwrap();
            }
        }
        if late {
            copy = server.copy_in_its_place();
            let other = usable(&jit, "dave", "reader", 600_000).await;
            jit.release(&actor("dave"), other.id()).await.unwrap();
            jit.until_ended(other.id(), PATIENCE).await.unwrap();
        }
        server.stop();
        // the last look outlives the process that made it
        pump.stop().await;
        drop(jit);
        let holds = held(&copy, "reader");
        let jit = engine_on(store, copy.database()).await;
        let pump = jit.start();
        overdue(&jit, &access).await;
        assert_eq!((held(&server, "reader"), held(&copy, "reader")), (1, holds), "the copy was told something");
        let error = jit.request(&actor("dave"), ask("reader", 60_000)).await.unwrap_err();
        assert_eq!(error.kind(), "target-refused", "{error}");
        assert!(error.hint().unwrap_or_default().contains("--same-data"), "{error}");
        server.start(false);
        lead(&jit, &server).await;
        jit.until_ended(access.id(), PATIENCE).await.unwrap();
        assert_eq!(held(&server, "reader"), 0);
        pump.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_a_server_that_lost_what_it_had_goes_on_when_an_operator_says_so() {
    let server = server(17);
    let restored = server.copy_in_its_place();
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 1_000).await;
    server.stop();
    lead(&jit, &restored).await;
    overdue(&jit, &access).await;
    jit.confirm_target(&actor("frank"), &pg()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_ne!(jit.access(access.id()).await.unwrap().state, "revoked", "nobody said that it has the same data");
    jit.confirm_same_data(&actor("frank"), &pg()).await.unwrap();
    assert_eq!(jit.until_ended(access.id(), PATIENCE).await.unwrap().state, "revoked");
    // the first server comes back after all, and the role that it still has goes there
    server.start(false);
    lead(&jit, &server).await;
    jit.confirm_same_data(&actor("frank"), &pg()).await.unwrap();
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if held(&server, "reader") == 0 {
            break;
        }
    }
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_07_a_copy_is_no_second_name_of_the_original() {
    let server = server(17);
    let copy = server.copy();
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_000).await;
    let wide = TargetName::new("wide").unwrap();
    jit.put_target(wide, Arc::new(copy.database()) as Arc<dyn Database>).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let longer = AccessRequest::new("wide", "reader", TimeDelta::hours(1)).because("a longer one on the copy");
    let refused = jit.request(&actor("alice"), longer).await.unwrap_err();
    assert_eq!(refused.kind(), "target-refused", "{refused}");
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!((held(&server, "reader"), held(&copy, "reader")), (0, 0));
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_13_a_tenants_server_that_claims_anothers_identifier_gets_nothing() {
    let server = server(17);
    let claims = server.copy();
    let id = TenantId::new("other").unwrap();
    let policy = || policy(POLICY);
    let other = jit_core::engine::TenantBuilder::default().policy(policy()).database("pg", claims.database());
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy()).database("pg", server.database());
    let jit = builder.tenant(id.clone(), other).build().await.unwrap();
    // the first tenant to show an identifier has it, and only the second one claims it
    claims.stop();
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_000).await;
    claims.start(false);
    let theirs = jit.tenant(&id).unwrap();
    let mut mallory = actor("mallory");
    mallory.tenant = id.clone();
    if let Ok(asked) = theirs.request(&mallory, ask("reader", 60_000)).await {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_ne!(theirs.access(asked.id()).await.unwrap().state, "active");
    }
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!((held(&server, "reader"), held(&claims, "reader")), (0, 0));
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_13_a_tenant_that_has_not_looked_since_a_restart_keeps_nobodys_server_from_being_recognised() {
    let old = server(17);
    let id = TenantId::new("other").unwrap();
    let other = jit_core::engine::TenantBuilder::default().policy(policy(POLICY)).database("pg", old.database());
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY)).database("pg", old.database());
    let jit = builder.tenant(id, other).build().await.unwrap();
    jit.run_due().await.unwrap();
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    // a target is contacted twice at first, 2 s apart, and then only when there is something to do
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    // one tenant moves to a copy while the old server is down; the old server comes back, and only
    // the other tenant uses it
    let copy = old.copy();
    old.stop();
    lead(&jit, &copy).await;
    jit.confirm_same_data(&actor("frank"), &pg()).await.unwrap();
    old.start(false);
    copy.stop();
    copy.start(false);
    jit.release(&actor("alice"), access.id()).await.unwrap();
    assert_eq!(jit.until_ended(access.id(), PATIENCE).await.unwrap().state, "revoked");
    assert_eq!((held(&copy, "reader"), held(&old, "reader")), (0, 1));
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_what_is_live_is_carried_to_a_server_with_the_same_data_or_written_off_alone() {
    let (old, new) = (server(17), server(17));
    let store = Arc::new(MemoryStore::new(clock()));
    let jit = engine_on(Arc::clone(&store) as Arc<dyn Store>, old.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 2_000).await;
    new.grant("reader", "alice", "jit_broker", MembershipScope::Inherit).unwrap();
    lead(&jit, &new).await;
    overdue(&jit, &access).await;
    assert_eq!(jit.live_elsewhere(&pg()).await.unwrap().accesses.len(), 1);
    jit.confirm_same_data(&actor("frank"), &pg()).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!((held(&new, "reader"), held(&old, "reader")), (0, 1), "it ended where its data is now");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_what_a_failover_brought_back_is_looked_for_although_nothing_is_live() {
    let (old, new) = (server(17), server(17));
    let jit = engine(old.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 1_000).await;
    assert_eq!(jit.until_ended(access.id(), PATIENCE).await.unwrap().state, "revoked");
    // the promoted server had not heard of the end
    new.grant("reader", "alice", "jit_broker", MembershipScope::Inherit).unwrap();
    lead(&jit, &new).await;
    assert_eq!(jit.confirm_same_data(&actor("frank"), &pg()).await.unwrap(), 0);
    for _ in 0..100 {
        if held(&new, "reader") == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(held(&new, "reader"), 0, "it was carried over by the data, and nobody looked");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_what_is_written_off_is_what_the_lost_server_had() {
    let (old, new) = (server(17), server(17));
    let jit = engine(old.database()).await;
    let pump = jit.start();
    let lost = usable(&jit, "alice", "reader", 600_000).await;
    lead(&jit, &new).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    jit.confirm_target(&actor("frank"), &pg()).await.unwrap();
    let kept = usable(&jit, "dave", "reader", 600_000).await;
    assert_eq!(jit.retire_target(&actor("frank"), &pg()).await.unwrap(), 1);
    assert_eq!(jit.access(lost.id()).await.unwrap().state, "retired");
    assert_eq!(jit.access(kept.id()).await.unwrap().state, "active");
    assert_eq!(held(&new, "reader"), 1);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_realm_names_a_copy_apart_and_survives_another_identifier() {
    let server = server(17);
    let copy = server.copy();
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY));
    let builder = builder.database("pg", server.database().in_realm("orders").unwrap());
    let jit = builder.database("wide", copy.database().in_realm("staging").unwrap()).build().await.unwrap();
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 2_000).await;
    let longer = AccessRequest::new("wide", "reader", TimeDelta::hours(1)).because("on the copy");
    let longer = jit.request(&actor("alice"), longer).await.unwrap();
    jit.until_active(longer.id(), PATIENCE).await.unwrap();
    // a failover to a server with another identifier and the same data
    let promoted = crate::stage::server(17);
    promoted.grant("reader", "alice", "jit_broker", MembershipScope::Inherit).unwrap();
    let under_its_name = promoted.database().in_realm("orders").unwrap();
    jit.put_target(pg(), Arc::new(under_its_name) as Arc<dyn Database>).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!((held(&promoted, "reader"), held(&copy, "reader")), (0, 1));
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_07_two_servers_of_one_declared_realm_are_both_refused_until_an_operator_has_looked() {
    let (one, other) = (server(17), server(17));
    let mallory = "mallory";
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY));
    let jit = builder.database("pg", one.database().in_realm("orders").unwrap()).build().await.unwrap();
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 4_000).await;
    let wide = TargetName::new("wide").unwrap();
    let second = other.database().in_realm("orders").unwrap();
    jit.put_target(wide.clone(), Arc::new(second) as Arc<dyn Database>).await.unwrap();
    let on_wide = || AccessRequest::new("wide", "reader", TimeDelta::hours(1)).because("on the other one");
    // the request is refused at once, or waits for the first contact and is never granted
    if let Ok(asked) = jit.request(&actor("dave"), on_wide()).await {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_ne!(jit.access(asked.id()).await.unwrap().state, "active");
    }
    let refused = jit.request(&actor("dave"), on_wide()).await.unwrap_err();
    assert_eq!(refused.kind(), "target-refused", "{refused}");
    let refused = jit.request(&actor(mallory), ask("reader", 60_000)).await.unwrap_err();
    assert_eq!(refused.kind(), "target-refused", "{refused}");
    assert!(refused.hint().unwrap_or_default().contains("two servers"), "{refused}");
    for name in [pg(), wide.clone()] {
        let report = jit.check_target(&name).await.unwrap();
        assert!(report.checks.iter().any(|check| check.about.what == "realm"), "doctor is content with `{name}`");
    }
    // earlier grants are revoked on the server where they were made
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    assert_eq!((held(&one, "reader"), held(&other, "reader")), (0, 0));
    // the two servers get different realms, and an operator confirms both
    let apart = other.database().in_realm("staging").unwrap();
    jit.put_target(wide.clone(), Arc::new(apart) as Arc<dyn Database>).await.unwrap();
    jit.request(&actor(mallory), ask("reader", 60_000)).await.unwrap_err();
    jit.confirm_target(&actor("frank"), &wide).await.unwrap();
    jit.confirm_target(&actor("frank"), &pg()).await.unwrap();
    let again = usable(&jit, mallory, "reader", 60_000).await;
    let longer = jit.request(&actor("dave"), on_wide()).await.unwrap();
    jit.until_active(longer.id(), PATIENCE).await.unwrap();
    assert_eq!((held(&one, "reader"), held(&other, "reader")), (1, 1));
    assert_eq!(again.state, "active");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_07_doctor_tells_two_servers_with_one_identifier_apart_before_anybody_asks() {
    let server = server(17);
    for declared in [false, true] {
        let (one, other) = (server.database(), server.copy().database());
        let (one, other): (Arc<dyn Database>, Arc<dyn Database>) = match declared {
            true => (Arc::new(one.in_realm("orders").unwrap()), Arc::new(other.in_realm("orders").unwrap())),
            false => (Arc::new(one), Arc::new(other)),
        };
        let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY));
        let jit = builder.database("pg", one).database("wide", other).build().await.unwrap();
        let mut refused = 0;
        for name in [pg(), TargetName::new("wide").unwrap()] {
            let report = jit.check_target(&name).await.unwrap();
            refused += usize::from(report.checks.iter().any(|check| check.about.what == "realm"));
        }
        assert_eq!(refused, 2, "declared: {declared}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_what_an_upgrade_brought_along_by_another_grantor_is_not_called_revoked() {
    let (old, new) = (server(15), server(17));
    let jit = engine(old.database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 1_500).await;
    // the state that pg_upgrade leaves
    new.grant("reader", "alice", "postgres", MembershipScope::SetRole).unwrap();
    lead(&jit, &new).await;
    overdue(&jit, &access).await;
    jit.confirm_same_data(&actor("frank"), &pg()).await.unwrap();
    overdue(&jit, &access).await;
    // the grantor on that server revokes it
    new.revoke("reader", "alice", "postgres").unwrap();
    assert_eq!(jit.until_ended(access.id(), PATIENCE).await.unwrap().state, "revoked");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_04_a_target_that_leads_elsewhere_holds_up_no_end_by_another() {
    let server = server(17);
    let store = Arc::new(MemoryStore::new(clock()));
    let jit = by_two_names(&store, &server).await;
    let pump = jit.start();
    // both accesses belong to one account, and the first grant decides by which name the account is
    // reached
    let first = usable(&jit, "alice", "reader", 3_600_000).await;
    let ask = AccessRequest::new("pg2", "writer", TimeDelta::milliseconds(2_500)).because("a test needs it");
    let second = jit.request(&actor("alice"), ask).await.unwrap();
    jit.approve(&actor("bob"), second.id(), "").await.unwrap();
    jit.until_active(second.id(), PATIENCE).await.unwrap();
    let stranger = crate::stage::server(17);
    lead(&jit, &stranger).await;
    assert_eq!(jit.until_ended(second.id(), PATIENCE).await.unwrap().state, "revoked");
    assert_eq!((held(&server, "writer"), held(&server, "reader")), (0, 1));
    assert_eq!(jit.access(first.id()).await.unwrap().state, "active");
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_05_a_node_that_did_not_hear_that_the_realm_moved_tells_the_old_server_nothing() {
    let server = server(17);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new(clock()));
    let (one, two) =
        (engine_on(Arc::clone(&store), server.database()).await, engine_on(store, server.database()).await);
    let deaf = two.start();
    let access = usable(&two, "alice", "reader", 3_600_000).await;
    // `one` moves to the copy, with all accesses; `two` goes on with the server that it knows
    let copy = server.copy();
    lead(&one, &copy).await;
    one.confirm_same_data(&actor("frank"), &pg()).await.unwrap();
    one.release(&actor("alice"), access.id()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let view = one.access(access.id()).await.unwrap();
    assert_ne!(view.state, "revoked", "the server that it was is believed");
    deaf.stop().await;
    let pump = one.start();
    assert_eq!(one.until_ended(access.id(), PATIENCE).await.unwrap().state, "revoked");
    assert_eq!((held(&copy, "reader"), held(&server, "reader")), (0, 1));
    pump.stop().await;
}
