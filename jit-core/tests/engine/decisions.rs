//! People and their rights: who decides (law 8), who may do what (law 16), and whose access it is
//! (law 13).

use jit_core::Actor;
use jit_core::engine::Jit;
use jit_core::engine::Reconcile;
use jit_core::engine::{Scope, TenantBuilder};
use jit_core::id::{Principal, TargetName, TenantId};
use jit_core::store::MemoryStore;

use crate::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn law_08_decisions_that_do_not_count_are_refused_and_in_the_log() {
    let jit = engine(server(17).database()).await;
    let access = jit.request(&actor("alice"), ask("writer", 60_000)).await.unwrap();
    for who in ["alice", "alice-dba", "mallory", "nobody"] {
        let error = jit.approve(&actor(who), access.id(), "").await.unwrap_err();
        assert_eq!(error.kind(), "refused", "{who}: {error}");
    }
    assert_eq!(jit.access(access.id()).await.unwrap().state, "pending");
    jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    assert!(jit.approve(&actor("bob"), access.id(), "").await.is_err(), "twice");
    let refused = told(&jit, &access).await.into_iter().filter(|what| what == "decision-refused").count();
    assert_eq!(refused, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn law_08_who_lost_his_entitlement_before_the_grant_no_longer_counts() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let start = jit.store().now().await.unwrap() + chrono::TimeDelta::seconds(60);
    let access = jit.request(&actor("alice"), ask("writer", 60_000).starting(start)).await.unwrap();
    jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    jit.reload_policy(policy(&POLICY.replace("dba = [\"bob\", ", "dba = ["))).await.unwrap();
    jit.run_due().await.unwrap();
    let again = jit.access(access.id()).await.unwrap();
    assert_eq!(again.state, "pending", "{:?}", again.cause);
    jit.approve(&actor("carol"), access.id(), "").await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "scheduled");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_08_who_lost_his_entitlement_does_not_count_for_more_time_either() {
    let server = server(17);
    let text = POLICY.replace("people = [{ group = \"dba\" }]", "people = [{ group = \"dba\", quorum = 2 }]");
    let jit = engine(server.database()).await;
    jit.reload_policy(policy(&text)).await.unwrap();
    let pump = jit.start();
    let alice = actor("alice");
    let access = jit.request(&alice, ask("writer", 3_600_000)).await.unwrap();
    for who in ["bob", "carol"] {
        jit.approve(&actor(who), access.id(), "").await.unwrap();
    }
    let active = jit.until_active(access.id(), PATIENCE).await.unwrap();
    let asked = jit.extend(&alice, access.id(), chrono::TimeDelta::minutes(30), "not done yet").await.unwrap();
    jit.approve(&actor("bob"), &asked, "").await.unwrap();
    let without_bob = text.replace("dba = [\"bob\", \"carol\", ", "dba = [\"carol\", \"erin\", ");
    jit.reload_policy(policy(&without_bob)).await.unwrap();
    let asked = jit.approve(&actor("carol"), &asked, "").await.unwrap();
    assert_eq!(asked.expires_at, active.expires_at, "one who may not decide any more counted");
    // erin has to say that the yes is meant for the extension
    assert_eq!(jit.approve(&actor("erin"), access.id(), "").await.unwrap_err().kind(), "refused");
    let longer = jit.approve(&actor("erin"), &asked, "").await.unwrap();
    assert_eq!(longer.expires_at.unwrap() - active.expires_at.unwrap(), chrono::TimeDelta::minutes(30));
    jit.release(&alice, access.id()).await.unwrap();
    jit.until_ended(access.id(), PATIENCE).await.unwrap();
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_policy_no_longer_allows_ends() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let pump = jit.start();
    let live = usable(&jit, "alice", "reader", 3_600_000).await;
    let pending = jit.request(&actor("alice"), ask("writer", 60_000)).await.unwrap();
    jit.reload_policy(policy("version = 1\n")).await.unwrap();
    let ended = jit.until_ended(live.id(), PATIENCE).await.unwrap();
    assert_eq!(ended.state, "revoked");
    assert!(ended.cause.unwrap().starts_with("no longer allowed"));
    assert_eq!(jit.until_ended(pending.id(), PATIENCE).await.unwrap().state, "denied");
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_16_what_only_some_may_is_refused_to_others_and_in_the_log() {
    let jit = engine(server(17).database()).await;
    let pump = jit.start();
    let access = usable(&jit, "alice", "reader", 3_600_000).await;
    let (bob, target) = (actor("bob"), TargetName::new("pg").unwrap());
    let refusals = [
        jit.revoke(&bob, access.id(), "because").await.map(drop).unwrap_err(),
        jit.stop(&bob, Scope::All, "because").await.unwrap_err(),
        jit.resume(&bob, Scope::All).await.unwrap_err(),
        jit.retire_target(&bob, &target).await.map(drop).unwrap_err(),
        jit.confirm_target(&bob, &target).await.unwrap_err(),
        jit.accept_clock(&bob).await.unwrap_err(),
        jit.reconcile(&bob, &target, Reconcile::Report).await.map(drop).unwrap_err(),
        jit.release(&bob, access.id()).await.map(drop).unwrap_err(),
        jit.cancel(&bob, access.id(), "").await.map(drop).unwrap_err(),
    ];
    for error in &refusals {
        assert_eq!(error.kind(), "not-allowed", "{error}");
    }
    pump.stop().await;
    let log = jit.store().entries(jit.tenant_id(), 0, 1_000).await.unwrap();
    let refused = log.iter().filter(|entry| field(&entry.body, "what") == "command-refused").count();
    assert_eq!(refused, refusals.len());
    assert_eq!(jit.access(access.id()).await.unwrap().state, "active");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_13_another_tenants_access_is_not_found() {
    let server = server(17);
    let (one, two) = (TenantId::new("one").unwrap(), TenantId::new("two").unwrap());
    let tenant = || TenantBuilder::default().policy(policy(POLICY));
    let jit = Jit::builder()
        .store(MemoryStore::new(clock()))
        .tenant(one.clone(), tenant().database("pg", server.database()))
        .tenant(two.clone(), tenant().database("pg", server.database()))
        .build()
        .await
        .unwrap();
    let of =
        |tenant: &TenantId, name: &str| Actor::authenticated(tenant.clone(), Principal::new(name).unwrap(), "test");
    let (first, second) = (jit.tenant(&one).unwrap(), jit.tenant(&two).unwrap());
    first.run_due().await.unwrap();
    let access = first.request(&of(&one, "alice"), ask("writer", 60_000)).await.unwrap();
    assert_eq!(second.access(access.id()).await.unwrap_err().kind(), "not-found");
    assert_eq!(second.approve(&of(&two, "bob"), access.id(), "").await.unwrap_err().kind(), "not-found");
    assert_eq!(first.approve(&of(&two, "bob"), access.id(), "").await.unwrap_err().kind(), "not-found");
    first.approve(&of(&one, "bob"), access.id(), "").await.unwrap();
    first.run_due().await.unwrap();
    // the realm's role belongs to the first tenant now
    let other = second.request(&of(&two, "dave"), ask("writer", 60_000)).await;
    let refused = match other {
        Err(error) => error.kind() == "target-refused",
        Ok(view) => {
            second.approve(&of(&two, "bob"), view.id(), "").await.is_err_and(|error| error.kind() == "target-refused")
        }
    };
    assert!(refused, "two tenants share one role of a realm");
}

#[tokio::test(flavor = "multi_thread")]
async fn law_19_a_yes_to_the_request_gives_no_more_time() {
    let jit = engine(server(17).database()).await;
    let pump = jit.start();
    let (alice, bob, carol) = (actor("alice"), actor("bob"), actor("carol"));
    let asked = jit.request(&alice, ask("writer", 600_000)).await.unwrap();
    jit.approve(&carol, &asked, "").await.unwrap();
    let active = jit.until_active(asked.id(), PATIENCE).await.unwrap();
    // one yes was enough, and the second approver is told who gave it
    let late = jit.approve(&bob, asked.id(), "").await.unwrap_err();
    assert!(late.kind() == "refused" && late.to_string().contains("`carol`"), "{late}");
    let first = jit.extend(&alice, asked.id(), chrono::TimeDelta::minutes(5), "not done yet").await.unwrap();
    for error in [jit.approve(&bob, asked.id(), "").await, jit.approve(&bob, &asked, "").await] {
        let error = error.unwrap_err();
        assert!(error.to_string().contains(&first.question.to_string()), "{error}");
    }
    // the view of the first extension decides nothing about the second, neither yes nor no
    jit.deny(&carol, asked.id(), "no").await.unwrap();
    let second = jit.extend(&alice, asked.id(), chrono::TimeDelta::minutes(40), "much longer").await.unwrap();
    assert_ne!(first.question, second.question);
    assert!(jit.approve(&bob, &first, "").await.is_err());
    assert!(jit.deny(&bob, &first, "").await.is_err());
    assert_eq!(jit.access(asked.id()).await.unwrap().expires_at, active.expires_at);
    let longer = jit.approve(&bob, &second, "").await.unwrap();
    assert_eq!(longer.expires_at.unwrap() - active.expires_at.unwrap(), chrono::TimeDelta::minutes(40));
    // another approver agreed to the first extension; an approver of the request alone cannot
    // extend again with a plain yes
    jit.extend(&alice, asked.id(), chrono::TimeDelta::minutes(1), "again").await.unwrap();
    assert!(jit.approve(&carol, asked.id(), "").await.is_err());
    pump.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn law_19_a_yes_to_what_another_policy_asks_otherwise_has_to_be_given_anew() {
    let jit = engine(server(17).database()).await;
    let asked = jit.request(&actor("alice"), ask("writer", 600_000)).await.unwrap();
    let stricter = POLICY.replace("people = [{ group = \"dba\" }]", "people = [{ group = \"dba\", quorum = 2 }]");
    jit.reload_policy(policy(&stricter)).await.unwrap();
    jit.run_due().await.unwrap();
    let now = jit.access(asked.id()).await.unwrap();
    assert_ne!(now.question, asked.question);
    assert!(jit.approve(&actor("bob"), &asked, "").await.is_err());
    jit.approve(&actor("bob"), &now, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn law_16_nothing_that_a_stopped_person_does_counts() {
    let text = POLICY.replace("who = [\"frank\"]", "who = [\"frank\", \"bob\"]");
    let server = server(17);
    let jit = engine(server.database()).await;
    jit.reload_policy(policy(&text)).await.unwrap();
    let (alice, bob, carol, frank) = (actor("alice"), actor("bob"), actor("carol"), actor("frank"));
    let until = jit.store().now().await.unwrap() + chrono::TimeDelta::hours(1);
    let start = jit.store().now().await.unwrap() + chrono::TimeDelta::seconds(2);
    let early = jit.request(&alice, ask("writer", 600_000).starting(start)).await.unwrap();
    jit.approve(&bob, &early, "").await.unwrap();
    jit.delegate(&bob, &Principal::new("mallory").unwrap(), until).await.unwrap();
    jit.stop(&frank, Scope::Principal(bob.principal.clone()), "his laptop was stolen").await.unwrap();
    let other = jit.request(&actor("dave"), ask("writer", 600_000)).await.unwrap();
    let refused = [
        jit.approve(&bob, &other, "").await.map(drop),
        jit.deny(&bob, &other, "").await.map(drop),
        jit.delegate(&bob, &carol.principal, until).await,
        jit.revoke(&bob, other.id(), "").await.map(drop),
        jit.stop(&bob, Scope::All, "").await,
        jit.resume(&bob, Scope::Principal(bob.principal.clone())).await,
        jit.approve(&actor("mallory"), &other, "").await.map(drop),
    ];
    for (place, refused) in refused.into_iter().enumerate() {
        assert!(refused.is_err(), "{place}");
    }
    // bob's earlier yes to an access that is not granted yet does not count while bob is stopped
    tokio::time::sleep(std::time::Duration::from_millis(2_100)).await;
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(early.id()).await.unwrap().state, "pending");
    jit.approve(&carol, early.id(), "").await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(early.id()).await.unwrap().state, "active");
    jit.resume(&frank, Scope::Principal(bob.principal.clone())).await.unwrap();
    jit.approve(&bob, &other, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_somebody_whom_the_directory_knows_stands_in() {
    let jit = engine(server(17).database()).await;
    let until = jit.store().now().await.unwrap() + chrono::TimeDelta::hours(1);
    let delegate = async |to: &str| jit.delegate(&actor("bob"), &Principal::new(to).unwrap(), until).await;
    assert_eq!(delegate("nobody").await.unwrap_err().kind(), "not-found");
    delegate("mallory").await.unwrap();
    let asked = jit.request(&actor("alice"), ask("writer", 600_000)).await.unwrap();
    // a person who left meanwhile no longer stands in for anybody
    jit.reload_policy(policy(&POLICY.replace(", \"mallory\"]", "]"))).await.unwrap();
    assert!(jit.approve(&actor("mallory"), &asked, "").await.is_err());
    jit.reload_policy(policy(POLICY)).await.unwrap();
    let view = jit.access(asked.id()).await.unwrap();
    assert_eq!(jit.approve(&actor("mallory"), &view, "").await.unwrap().state, "scheduled");
}
