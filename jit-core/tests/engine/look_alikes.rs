//! Look-alike names: a name that could be taken for a known one is refused at the entrance, and the
//! error names the known one.

use std::sync::Arc;

use jit_core::engine::{AccessRequest, Jit, JitError, Scope, TenantBuilder};
use jit_core::id::{Principal, TargetName, TenantId};
use jit_core::store::MemoryStore;

use crate::stage::*;

fn named(error: &JitError, known: &str) {
    let said = format!("{error} {}", error.hint().unwrap_or_default());
    assert!(said.contains(&format!("`{known}`")), "{known}: {said}");
}

#[tokio::test]
async fn law_08_nobody_takes_part_under_a_name_that_looks_like_a_known_one() {
    let jit = engine(server(17).database()).await;
    let until = jit.store().now().await.unwrap() + chrono::TimeDelta::hours(1);
    let access = jit.request(&actor("alice"), ask("writer", 60_000)).await.unwrap();
    for (name, known) in [("Bob", "bob"), ("ｂob", "bob"), ("bоb", "bob"), ("ALICE-DBA", "alice-dba")] {
        let who = Principal::new(name).unwrap();
        named(&jit.request(&actor(name), ask("reader", 60_000)).await.unwrap_err(), known);
        named(&jit.request(&actor("dave"), ask("reader", 60_000).on_behalf_of(who.clone())).await.unwrap_err(), known);
        named(&jit.approve(&actor(name), access.id(), "").await.unwrap_err(), known);
        named(&jit.delegate(&actor("carol"), &who, until).await.unwrap_err(), known);
        named(&jit.stop(&actor("frank"), Scope::Principal(who), "stop").await.unwrap_err(), known);
    }
    named(&jit.stop(&actor("Frank"), Scope::All, "stop").await.unwrap_err(), "frank");
    named(&jit.request(&actor("dave"), ask("Reader", 60_000)).await.unwrap_err(), "reader");
    named(
        &jit.request(&actor("dave"), AccessRequest::new("PG", "reader", chrono::TimeDelta::minutes(1)))
            .await
            .unwrap_err(),
        "pg",
    );
    let target = Scope::Target(TargetName::new("Pg").unwrap());
    named(&jit.stop(&actor("frank"), target, "stop").await.unwrap_err(), "pg");
    // a name that looks like no known one is allowed, and refused names are in the log
    jit.request(&actor("zoe"), ask("reader", 60_000)).await.ok();
    jit.keep_log().await.unwrap();
    let log = jit.store().entries(jit.tenant_id(), 0, 1_000).await.unwrap();
    assert!(log.iter().any(|entry| String::from_utf8_lossy(&entry.body).contains("ｂob")));
}

/// Shows two accounts that differ by case alone, as PostgreSQL allows.
#[tokio::test]
async fn two_known_names_that_differ_by_case_both_work() {
    let server = server(17);
    server.create_account("Alice").unwrap();
    let text = POLICY.replace("payments = [\"alice\", ", "payments = [\"alice\", \"Alice\", ");
    assert!(policy(&text).check().iter().any(|warning| warning.message.contains("`Alice` and `alice`")));
    let jit = Jit::builder().store(MemoryStore::new(clock())).policy(policy(&text)).database("pg", server.database());
    let jit = jit.build().await.unwrap();
    jit.run_due().await.unwrap();
    let pump = jit.start();
    for name in ["alice", "Alice"] {
        usable(&jit, name, "reader", 60_000).await;
    }
    assert_eq!(held(&server, "reader"), 2);
    named(&jit.request(&actor("ALICE"), ask("reader", 60_000)).await.unwrap_err(), "Alice");
    jit.stop(&actor("frank"), Scope::Principal(Principal::new("alice").unwrap()), "only one").await.unwrap();
    jit.request(&actor("Alice"), ask("reader", 60_000)).await.unwrap();
    assert_eq!(jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap_err().kind(), "stopped");
    pump.stop().await;
}

#[tokio::test]
async fn an_account_that_looks_like_anothers_is_refused() {
    let server = server(17);
    server.create_account("Alice_App").unwrap();
    server.create_account("alice_app").unwrap();
    let text = format!("{POLICY}\n[accounts.pg]\nalice = \"alice_app\"\n");
    let jit = engine(server.database()).await;
    jit.reload_policy(policy(&text)).await.unwrap();
    named(&jit.request(&actor("Alice_App"), ask("reader", 60_000)).await.unwrap_err(), "alice_app");
}

#[tokio::test]
async fn targets_and_tenants_that_look_alike_are_refused_when_an_engine_is_built() {
    let new = || Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY));
    let database = || server(17).database();
    let two = new().database("pg", database()).database("PG", database()).build().await;
    named(&two.unwrap_err(), "PG");
    let tenant = || TenantBuilder::default().policy(policy(POLICY));
    let (one, other) = (TenantId::new("acme").unwrap(), TenantId::new("аcme").unwrap());
    named(&new().tenant(one, tenant()).tenant(other, tenant()).build().await.unwrap_err(), "acme");
    let jit = engine(database()).await;
    named(&jit.put_target(TargetName::new("ｐg").unwrap(), Arc::new(database())).await.unwrap_err(), "pg");
    jit.put_target(TargetName::new("pg").unwrap(), Arc::new(database())).await.unwrap();
}

#[test]
fn a_policy_with_two_names_of_one_look_is_refused() {
    let refused = |text: &str| jit_core::policy::PolicyDocument::parse(text, "test").unwrap_err().to_string();
    for other in ["ａlice", "аlice"] {
        let text = POLICY.replace("\"dave\"", &format!("\"{other}\""));
        assert!(refused(&text).contains("could be taken for each other"), "{other}");
        // as another name of the same human it is allowed
        let same = text.replace("[\"alice-dba\"]", &format!("[\"alice-dba\", \"{other}\"]"));
        policy(&same);
    }
}
