//! Overtaken rulings: a ruling does not count if a stop, another policy, or the end of a delegation
//! is committed before it (laws 8, 16 and 19).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use chrono::TimeDelta;
use jit_core::directory::{Directory, DirectoryError, ListedDirectory, Person};
use jit_core::engine::{Jit, Scope};
use jit_core::id::{AccessId, Group, Principal, TargetName};
use jit_core::store::MemoryStore;

use crate::stage::*;

/// An event between the reading and the commit.
#[derive(Debug, Clone)]
enum Meanwhile {
    Stop(Scope),
    Reload(String),
    /// Person who is looked up withdraws their delegation.
    TakeBack,
    /// Bob agrees to it, too.
    Agree(AccessId),
}

/// The people of the policy, in a directory that lets an event happen during a lookup.
#[derive(Debug, Clone)]
struct Meddling {
    people: ListedDirectory,
    next: Arc<Mutex<Option<(Principal, Meanwhile)>>>,
    jit: Arc<OnceLock<Jit>>,
}

impl Meddling {
    /// Lets the event happen during the next lookup of this person.
    fn when(&self, who: &str, meanwhile: Meanwhile) {
        *self.next.lock().unwrap() = Some((Principal::new(who).unwrap(), meanwhile));
    }
}

#[async_trait]
impl Directory for Meddling {
    async fn person(&self, who: &Principal, groups: &BTreeSet<Group>) -> Result<Person, DirectoryError> {
        let next = self.next.lock().unwrap().take_if(|(whom, _)| whom == who);
        let jit = self.jit.get();
        match (next, jit) {
            (Some((_, Meanwhile::Stop(scope))), Some(jit)) => {
                jit.stop(&actor("grace"), scope, "at once").await.unwrap()
            }
            (Some((_, Meanwhile::Reload(text))), Some(jit)) => jit.reload_policy(policy(&text)).await.unwrap(),
            (Some((whose, Meanwhile::TakeBack)), Some(jit)) => {
                jit.end_delegation(&actor(whose.as_str())).await.unwrap();
            }
            (Some((_, Meanwhile::Agree(access))), Some(jit)) => {
                jit.approve(&actor("bob"), access, "").await.unwrap();
            }
            _ => {}
        }
        Ok(self.people.look_up(who, groups))
    }
    async fn account(&self, who: &Principal, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        Ok(self.people.account_of(who, target))
    }
    async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError> {
        self.people.members(group).await
    }
    async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError> {
        self.people.knows(who).await
    }
    async fn revision(&self) -> Result<Option<String>, DirectoryError> {
        Ok(None)
    }
}

fn text() -> String {
    POLICY.replace("who = [\"frank\"]", "who = [\"frank\", \"grace\"]")
}

async fn meddled() -> (Jit, Meddling) {
    let policy = policy(&text());
    let people = Meddling { people: policy.people().clone(), next: Arc::default(), jit: Arc::default() };
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy).directory(people.clone());
    let jit = builder.database("pg", server(17).database()).build().await.unwrap();
    jit.run_due().await.unwrap();
    people.jit.set(jit.clone()).unwrap();
    (jit, people)
}

fn person(name: &str) -> Scope {
    Scope::Principal(Principal::new(name).unwrap())
}

#[tokio::test]
async fn law_16_an_extension_that_a_stop_overtakes_does_not_take_effect() {
    for scope in [Scope::All, person("alice"), Scope::Target(TargetName::new("pg").unwrap())] {
        let (jit, people) = meddled().await;
        let access = jit.request(&actor("alice"), ask("reader", 600_000)).await.unwrap();
        jit.run_due().await.unwrap();
        let before = jit.access(access.id()).await.unwrap();
        people.when("alice", Meanwhile::Stop(scope.clone()));
        let error = jit.extend(&actor("alice"), access.id(), TimeDelta::minutes(30), "more").await.unwrap_err();
        assert!(error.to_string().contains("emergency stop"), "{scope}: {error}");
        assert_eq!(jit.access(access.id()).await.unwrap().expires_at, before.expires_at, "{scope}");
    }
}

#[tokio::test]
async fn law_16_an_extension_that_another_policy_overtakes_does_not_take_effect() {
    let (jit, people) = meddled().await;
    let access = jit.request(&actor("alice"), ask("reader", 600_000)).await.unwrap();
    jit.run_due().await.unwrap();
    let before = jit.access(access.id()).await.unwrap();
    people.when(
        "alice",
        Meanwhile::Reload(
            text().replace("name = \"read\"\ntargets = [\"pg*\"]", "name = \"read\"\ntargets = [\"none\"]"),
        ),
    );
    let error = jit.extend(&actor("alice"), access.id(), TimeDelta::minutes(30), "more").await.unwrap_err();
    assert_eq!(error.kind(), "denied", "{error}");
    assert_eq!(jit.access(access.id()).await.unwrap().expires_at, before.expires_at);
}

#[tokio::test]
async fn law_16_a_yes_to_more_time_that_a_stop_of_its_decider_overtakes_does_not_count() {
    let (jit, people) = meddled().await;
    let access = jit.request(&actor("alice"), ask("writer", 600_000)).await.unwrap();
    jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    jit.run_due().await.unwrap();
    let before = jit.access(access.id()).await.unwrap();
    assert_eq!(before.state, "active");
    let asked = jit.extend(&actor("alice"), access.id(), TimeDelta::minutes(30), "more").await.unwrap();
    people.when("bob", Meanwhile::Stop(person("bob")));
    let error = jit.approve(&actor("bob"), &asked, "").await.unwrap_err();
    assert!(error.to_string().contains("emergency stop"), "{error}");
    assert_eq!(jit.access(access.id()).await.unwrap().expires_at, before.expires_at);
    let longer = jit.approve(&actor("carol"), &asked, "").await.unwrap();
    assert!(longer.expires_at > before.expires_at, "another one may");
}

#[tokio::test]
async fn law_16_a_grant_that_a_stop_overtakes_does_not_begin() {
    let (jit, people) = meddled().await;
    let access = jit.request(&actor("alice"), ask("reader", 600_000)).await.unwrap();
    people.when("alice", Meanwhile::Stop(Scope::All));
    jit.run_due().await.unwrap();
    let told = told(&jit, &access).await;
    assert!(!told.iter().any(|what| what == "granting" || what == "granted"), "{told:?}");
    assert!(people.next.lock().unwrap().is_none(), "nobody was looked up");
}

#[tokio::test]
async fn law_16_who_is_stopped_while_they_lift_a_stop_lifts_none() {
    let (jit, people) = meddled().await;
    jit.stop(&actor("grace"), Scope::All, "all").await.unwrap();
    people.when("frank", Meanwhile::Stop(person("frank")));
    let error = jit.resume(&actor("frank"), Scope::All).await.unwrap_err();
    assert_eq!(error.kind(), "not-allowed", "{error}");
    let error = jit.request(&actor("alice"), ask("reader", 600_000)).await.unwrap_err();
    assert_eq!(error.kind(), "stopped", "{error}");
}

#[tokio::test]
async fn law_16_who_is_stopped_while_they_delegate_delegates_nothing() {
    let (jit, people) = meddled().await;
    let until = jit.store().now().await.unwrap() + TimeDelta::hours(1);
    people.when("bob", Meanwhile::Stop(person("bob")));
    let error = jit.delegate(&actor("bob"), &Principal::new("dave").unwrap(), until).await.unwrap_err();
    assert_eq!(error.kind(), "not-allowed", "{error}");
}

/// Lets dave, who has no right to decide, decide in bob's place.
async fn delegated(jit: &Jit) {
    let until = jit.store().now().await.unwrap() + TimeDelta::hours(1);
    jit.delegate(&actor("bob"), &Principal::new("dave").unwrap(), until).await.unwrap();
}

#[tokio::test]
async fn law_08_a_grant_that_the_end_of_a_delegation_overtakes_does_not_begin() {
    let (jit, people) = meddled().await;
    delegated(&jit).await;
    let access = jit.request(&actor("alice"), ask("writer", 600_000)).await.unwrap();
    let approved = jit.approve(&actor("dave"), access.id(), "").await.unwrap();
    assert_eq!(approved.state, "scheduled");
    // bob is looked up after the delegation was read
    people.when("bob", Meanwhile::TakeBack);
    jit.run_due().await.unwrap();
    assert!(people.next.lock().unwrap().is_none(), "nobody was looked up");
    let told = told(&jit, &access).await;
    assert!(!told.iter().any(|what| what == "granting"), "{told:?}");
    assert_eq!(jit.access(access.id()).await.unwrap().state, "pending");
}

#[tokio::test]
async fn law_08_a_yes_that_another_one_overtakes_is_told_whose_that_was() {
    let (jit, people) = meddled().await;
    let access = jit.request(&actor("alice"), ask("writer", 600_000)).await.unwrap();
    people.when("carol", Meanwhile::Agree(access.id()));
    let error = jit.approve(&actor("carol"), access.id(), "").await.unwrap_err();
    assert!(people.next.lock().unwrap().is_none(), "nobody was looked up");
    assert_eq!(error.kind(), "refused", "{error}");
    assert!(error.to_string().contains("bob"), "{error}");
    let told = told(&jit, &access).await;
    assert_eq!(told.iter().filter(|what| *what == "approved").count(), 1, "{told:?}");
    assert_eq!(jit.access(access.id()).await.unwrap().state, "scheduled");
}

#[tokio::test]
async fn law_08_a_yes_to_more_time_that_the_end_of_a_delegation_overtakes_does_not_count() {
    let (jit, people) = meddled().await;
    delegated(&jit).await;
    let access = jit.request(&actor("alice"), ask("writer", 600_000)).await.unwrap();
    jit.approve(&actor("bob"), access.id(), "").await.unwrap();
    jit.run_due().await.unwrap();
    let before = jit.access(access.id()).await.unwrap();
    assert_eq!(before.state, "active");
    let asked = jit.extend(&actor("alice"), access.id(), TimeDelta::minutes(30), "more").await.unwrap();
    people.when("bob", Meanwhile::TakeBack);
    let error = jit.approve(&actor("dave"), &asked, "").await.unwrap_err();
    assert!(people.next.lock().unwrap().is_none(), "nobody was looked up");
    assert_eq!(error.kind(), "refused", "{error}");
    assert_eq!(jit.access(access.id()).await.unwrap().expires_at, before.expires_at);
}
