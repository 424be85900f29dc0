//! The whole workflow: outside systems, second factors, delegation, escalation, emergencies, and
//! notices.

mod scene;

use jit_core::AccessState;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use jit_core::approver::{Approver, ApproverError, Callback, Explanation, Reply, Review};
use jit_core::audit_event::EventKind;
use jit_core::engine::{AccessRequest, AccessView, Filter, Jit, JitError};
use jit_core::id::Principal;
use jit_core::mfa::{Challenge, Factor, FactorError, VerifiedFactor};
use jit_core::notify::{Notice, Notifier, NotifyError};
use jit_core::store::Store;
use secrecy::SecretString;

use crate::stage::{Breaks, actor, field, held, policy, told};

use self::scene::*;

#[tokio::test]
async fn a_ticket_is_looked_at_when_asked_and_again_right_before_the_grant() {
    let scene = Scene::new().await;
    let access = scene.jit.request(&actor("alice"), ask("reader").ticket("OPS-12")).await.unwrap();
    assert_eq!(
        (access.state, access.pending_on.as_slice()),
        (AccessState::Pending, ["the answer of `tracker`".to_owned()].as_slice())
    );
    scene.jit.run_due().await.unwrap();
    assert_eq!(scene.view(&access).await.state, "active");
    // the recent answer still counts
    assert_eq!(scene.tracker.times(), 1);
    let asked = scene.tracker.last();
    assert_eq!(
        (asked.ticket.as_deref(), asked.requester.as_str(), asked.role.as_str()),
        (Some("OPS-12"), "alice", "reader")
    );
    // for an access that starts later, the tracker is asked at the start, and its answer is another
    // by then
    let start = scene.jit.store().now().await.unwrap() + TimeDelta::hours(2);
    let later = scene.jit.request(&actor("dave"), ask("reader").ticket("OPS-13").starting(start)).await.unwrap();
    scene.jit.run_due().await.unwrap();
    assert_eq!((scene.view(&later).await.state, scene.tracker.times()), (AccessState::Scheduled, 2));
    scene.tracker.says(Ok(Reply::Deny(Explanation::new("it was closed"))));
    scene.later(Duration::from_secs(2 * 3_600)).await;
    let denied = scene.view(&later).await;
    assert_eq!((denied.state, scene.tracker.times()), (AccessState::Denied, 3));
    assert!(denied.cause.unwrap().contains("it was closed"));
    assert_eq!(held(&scene.server, "reader"), 0, "the first one is over, the second never came");
}

#[tokio::test]
async fn a_ticket_that_is_looked_at_again_costs_nobody_what_was_said_meanwhile() {
    let scene = Scene::new().await;
    scene.enroll("alice").await;
    let access = scene.jit.request(&actor("alice"), ask("owner").ticket("OPS-12")).await.unwrap();
    scene.jit.run_due().await.unwrap();
    scene.jit.confirm(&scene.with_code("alice"), access.id()).await.unwrap();
    scene.later(Duration::from_secs(11 * 60)).await;
    scene.jit.approve(&actor("grace"), access.id(), "").await.unwrap();
    scene.jit.run_due().await.unwrap();
    let view = scene.view(&access).await;
    assert_eq!((view.state, scene.tracker.times()), (AccessState::Active, 2), "{:?}", view.pending_on);
}

#[tokio::test]
async fn an_outside_system_that_gives_no_answer_is_asked_again_and_the_log_says_why_once() {
    let scene = Scene::new().await;
    for _ in 0..4 {
        scene.tracker.says(Err("it is down".to_owned()));
    }
    let access = scene.jit.request(&actor("alice"), ask("reader").ticket("OPS-12")).await.unwrap();
    scene.jit.run_due().await.unwrap();
    for _ in 0..3 {
        assert_eq!(scene.view(&access).await.state, "pending");
        scene.later(Duration::from_secs(60)).await;
    }
    scene.later(Duration::from_secs(60)).await;
    assert_eq!(scene.view(&access).await.state, "active");
    let failed = told(&scene.jit, &access).await.into_iter().filter(|what| what == "approver-failed").count();
    assert_eq!((scene.tracker.times(), failed), (5, 1));
}

/// An outside system, and also a second factor, that breaks as it is told.
#[derive(Debug, Clone)]
struct Broken(Breaks);

#[async_trait::async_trait]
impl Approver for Broken {
    async fn review(&self, _: &Review) -> Result<Reply, ApproverError> {
        self.0.go().await;
        Err(ApproverError::new("away"))
    }
}

#[async_trait::async_trait]
impl Factor for Broken {
    async fn verify(&self, _: &Challenge<'_>, _: &SecretString) -> Result<VerifiedFactor, FactorError> {
        self.0.go().await;
        Err(FactorError::Unavailable { why: "away".to_owned(), source: None })
    }
}

#[tokio::test(start_paused = true)]
async fn law_18_an_outside_system_or_a_factor_that_panics_or_hangs_is_one_that_does_not_answer() {
    for (breaks, why) in [(Breaks::Panics, "panicked"), (Breaks::Hangs, "no answer within"), (Breaks::Away, "away")] {
        let scene = Scene::new().await;
        let builder = Jit::builder().shared_store(Arc::clone(&scene.store) as Arc<dyn Store>).policy(policy(POLICY));
        let builder = builder.database("pg", scene.server.database()).notifier("chat", scene.chat.clone());
        let jit = builder.approver("tracker", Broken(breaks)).factor("totp", Broken(breaks)).build().await.unwrap();
        let asked = jit.request(&actor("alice"), ask("reader").ticket("OPS-12")).await.unwrap();
        jit.run_due().await.unwrap();
        let history = jit.history(asked.id(), 100).await.unwrap();
        let said =
            |body: &[u8]| field(body, "what") == "approver-failed" && String::from_utf8_lossy(body).contains(why);
        assert!(history.iter().any(|entry| said(&entry.body)), "{breaks:?}");
        let staged = jit.request(&actor("dave"), ask("writer")).await.unwrap();
        let error = jit.confirm(&actor("dave").responding(totp(), "123456"), staged.id()).await.unwrap_err();
        assert!(error.to_string().contains(why), "{breaks:?}: {error}");
        // another node gets answers
        scene.later(Duration::from_secs(60)).await;
        assert_eq!(
            (scene.view(&asked).await.state, scene.view(&staged).await.state),
            (AccessState::Active, AccessState::Pending)
        );
    }
}

/// Notifier that panics at its first notice.
#[derive(Debug)]
struct PanicsOnce(AtomicBool, Chat);

#[async_trait::async_trait]
impl Notifier for PanicsOnce {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        assert!(self.0.swap(true, Ordering::SeqCst), "it is broken");
        self.1.notify(notice).await
    }
}

#[tokio::test]
async fn law_18_a_notice_whose_receiver_panicked_is_told_again() {
    let scene = Scene::new().await;
    let builder = Jit::builder().shared_store(Arc::clone(&scene.store) as Arc<dyn Store>).policy(policy(POLICY));
    let builder = builder.database("pg", scene.server.database()).approver("tracker", Broken(Breaks::Away));
    let builder = builder.factor("totp", Broken(Breaks::Away));
    let heard = Chat::default();
    let jit = builder.notifier("chat", PanicsOnce(AtomicBool::new(false), heard.clone())).build().await.unwrap();
    jit.request(&actor("alice"), ask("admin")).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(heard.events(), []);
    scene.clock.advance(Duration::from_secs(60));
    jit.run_due().await.unwrap();
    assert_eq!(heard.events(), [EventKind::Requested]);
}

#[tokio::test]
async fn an_outside_system_that_never_answers_lets_the_request_lapse() {
    let scene = Scene::new().await;
    for _ in 0..100 {
        scene.tracker.says(Err("it is down".to_owned()));
    }
    let access = scene.jit.request(&actor("alice"), ask("reader").ticket("OPS-12")).await.unwrap();
    scene.jit.run_due().await.unwrap();
    for _ in 0..31 {
        scene.later(Duration::from_secs(60)).await;
    }
    assert_eq!(scene.view(&access).await.state, "lapsed");
    let asked = scene.tracker.times();
    scene.later(Duration::from_secs(3_600)).await;
    assert_eq!(scene.tracker.times(), asked, "it is asked no more");
}

#[tokio::test]
async fn a_later_answer_is_taken_once_for_its_own_access_and_in_time() {
    let scene = Scene::new().await;
    let far = scene.jit.store().now().await.unwrap() + TimeDelta::days(1);
    for _ in 0..3 {
        scene.tracker.says(Ok(Reply::Wait(far)));
    }
    let mut waiting = Vec::new();
    for who in ["alice", "dave"] {
        let access = scene.jit.request(&actor(who), ask("reader").ticket("OPS-12")).await.unwrap();
        scene.jit.run_due().await.unwrap();
        waiting.push((access, scene.tracker.last().token));
    }
    let [(first, token), (second, late)] = waiting.as_slice() else { unreachable!() };
    let call = |token: &str, body: &AccessView| Callback::new(token, body.id().to_string().into_bytes());
    let wrong = scene.jit.callback(&call(token, second)).await.unwrap_err();
    assert_eq!(wrong.kind(), "not-allowed", "{wrong}");
    for guess in ["", "00", "../x", &"f".repeat(48)] {
        assert_eq!(scene.jit.callback(&call(guess, first)).await.unwrap_err().kind(), "not-found");
    }
    assert_eq!(scene.jit.callback(&call(token, first)).await.unwrap().state, "scheduled");
    assert_eq!(scene.jit.callback(&call(token, first)).await.unwrap_err().kind(), "not-found", "replayed");
    scene.jit.run_due().await.unwrap();
    assert_eq!(scene.view(first).await.state, "active");
    scene.later(Duration::from_secs(31 * 60)).await;
    assert_eq!(scene.view(second).await.state, "lapsed");
    assert!(scene.jit.callback(&call(late, second)).await.is_err(), "too late");
    assert_eq!(scene.view(second).await.state, "lapsed");
}

#[tokio::test]
async fn a_stage_demands_the_factors_that_it_names_and_takes_each_code_once() {
    let scene = Scene::new().await;
    for who in ["alice", "bob", "carol"] {
        scene.enroll(who).await;
    }
    let access = scene.jit.request(&actor("alice"), ask("writer")).await.unwrap();
    assert_eq!(access.pending_on, ["a second factor of `alice`"]);
    // neither a wrong code nor somebody else's code proves anything
    for (who, code) in [("alice", "000000".to_owned()), ("bob", scene.code("alice"))] {
        let error = scene.jit.confirm(&actor(who).responding(totp(), code), access.id()).await.unwrap_err();
        assert!(["factor-refused", "refused"].contains(&error.kind()), "{error}");
    }
    assert_eq!(scene.jit.confirm(&actor("alice"), access.id()).await.unwrap_err().kind(), "factor-refused");
    scene.jit.confirm(&scene.with_code("alice"), access.id()).await.unwrap();
    let without = scene.jit.approve(&actor("bob"), access.id(), "").await.unwrap_err();
    assert!(without.to_string().contains("a second factor (`totp`)"), "{without}");
    let approved = scene.jit.approve(&scene.with_code("bob"), access.id(), "go").await.unwrap();
    assert_eq!(approved.state, "scheduled");
    scene.jit.run_due().await.unwrap();
    assert_eq!(scene.view(&access).await.state, "active");
    let told = told(&scene.jit, &access).await;
    let story =
        ["requested", "factor-refused", "confirmed", "decision-refused", "approved", "satisfied", "granting", "active"];
    let told: Vec<&str> = told.iter().map(String::as_str).filter(|what| story.contains(what)).collect();
    assert_eq!(told.iter().filter(|what| **what == "factor-refused").count(), 1);
    assert_eq!(told.last(), Some(&"active"));
}

#[tokio::test]
async fn law_08_one_code_proves_one_decision_on_two_nodes_at_once() {
    let scene = Scene::new().await;
    for who in ["alice", "dave", "bob"] {
        scene.enroll(who).await;
    }
    let mut waiting = Vec::new();
    for who in ["alice", "dave"] {
        let access = scene.jit.request(&scene.with_code(who), ask("writer")).await.unwrap();
        assert_eq!(access.pending_on, ["one of group `dba`"], "the requester's code came with the request");
        waiting.push(access);
    }
    let other = scene.node().await;
    let bob = scene.with_code("bob");
    let (one, two) =
        tokio::join!(scene.jit.approve(&bob, waiting[0].id(), ""), other.approve(&bob, waiting[1].id(), ""));
    let (taken, refused): (Vec<_>, Vec<_>) = [one, two].into_iter().partition(Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (1, 1));
    let error = refused.into_iter().next().unwrap().unwrap_err();
    assert!(error.to_string().contains("used already"), "{error}");
}

#[tokio::test]
async fn the_sixth_wrong_code_locks_and_is_in_the_log() {
    let scene = Scene::new().await;
    scene.enroll("alice").await;
    let access = scene.jit.request(&actor("alice"), ask("writer")).await.unwrap();
    let wrong = actor("alice").responding(totp(), "000000");
    // on two nodes in turn: wrong codes are counted across nodes
    let other = scene.node().await;
    for number in 0..6 {
        let jit = if number % 2 == 0 { &scene.jit } else { &other };
        assert_eq!(jit.confirm(&wrong, access.id()).await.unwrap_err().kind(), "factor-refused");
    }
    let locked = scene.jit.confirm(&scene.with_code("alice"), access.id()).await.unwrap_err();
    assert!(locked.to_string().contains("wrong too often"), "{locked}");
    let told = told(&scene.jit, &access).await;
    let count = |what: &str| told.iter().filter(|one| *one == what).count();
    assert_eq!((count("factor-refused"), count("factor-locked"), count("confirmed")), (7, 1, 0));
    scene.later(Duration::from_secs(15 * 60)).await;
    assert!(scene.chat.events().contains(&EventKind::FactorLocked));
    scene.jit.confirm(&scene.with_code("alice"), access.id()).await.unwrap();
}

#[tokio::test]
async fn a_factor_is_set_up_anew_only_with_the_old_one_or_after_it_was_taken_away() {
    let scene = Scene::new().await;
    scene.enroll("alice").await;
    assert_eq!(scene.jit.enroll_factor(&actor("alice"), &totp()).await.unwrap_err().kind(), "factor-refused");
    let alice = Principal::new("alice").unwrap();
    assert_eq!(scene.jit.remove_factor(&actor("bob"), &totp(), &alice).await.unwrap_err().kind(), "not-allowed");
    scene.jit.enroll_factor(&scene.with_code("alice"), &totp()).await.unwrap();
    scene.jit.remove_factor(&actor("frank"), &totp(), &alice).await.unwrap();
    scene.enroll("alice").await;
    let log = scene.jit.store().unnumbered(scene.jit.tenant_id(), 1_000).await.unwrap();
    let numbered = scene.jit.store().entries(scene.jit.tenant_id(), 0, 1_000).await.unwrap();
    let told: BTreeSet<String> = log.iter().chain(&numbered).map(|entry| field(&entry.body, "what")).collect();
    for what in ["enrollment-begun", "enrolled", "enrollment-ended"] {
        assert!(told.contains(what), "{what}");
    }
}

#[tokio::test]
async fn nobody_decides_for_ten_minutes_and_others_may() {
    let scene = Scene::new().await;
    scene.enroll("alice").await;
    scene.enroll("grace").await;
    let access = scene.jit.request(&scene.with_code("alice"), ask("writer")).await.unwrap();
    let early = scene.jit.approve(&scene.with_code("grace"), access.id(), "").await.unwrap_err();
    assert_eq!(early.kind(), "refused");
    scene.later(Duration::from_secs(10 * 60)).await;
    assert_eq!(scene.chat.field(EventKind::Escalated, "to"), "oncall");
    scene.later(Duration::from_secs(10 * 60)).await;
    assert_eq!(scene.chat.field(EventKind::Reminder, "awaits"), "one of group `dba`");
    assert!(scene.jit.who_can_decide(access.id()).await.unwrap().contains(&Principal::new("grace").unwrap()));
    scene.jit.approve(&scene.with_code("grace"), access.id(), "").await.unwrap();
    scene.jit.run_due().await.unwrap();
    assert_eq!(scene.view(&access).await.state, "active");
    let events = scene.chat.events();
    for told in
        [EventKind::Requested, EventKind::Escalated, EventKind::Reminder, EventKind::Approved, EventKind::Active]
    {
        assert_eq!(events.iter().filter(|event| **event == told).count(), 1, "{told}");
    }
    assert!(!scene.other.events().contains(&EventKind::Requested), "the rule names who is told");
    assert_eq!(
        scene.chat.field(EventKind::Requested, "link"),
        format!("https://jit.example.com/accesses/{}", access.id())
    );
}

#[tokio::test]
async fn law_08_who_is_away_is_stood_in_for_by_one_and_counts_once() {
    let scene = Scene::new().await;
    let (bob, carol, erin, alice) =
        (actor("bob"), actor("carol"), Principal::new("erin").unwrap(), Principal::new("alice").unwrap());
    let now = scene.jit.store().now().await.unwrap();
    let until = now + TimeDelta::hours(8);
    for wrong in [now, now + TimeDelta::days(91)] {
        assert_eq!(scene.jit.delegate(&bob, &erin, wrong).await.unwrap_err().kind(), "invalid");
    }
    assert!(scene.jit.delegate(&bob, &bob.principal.clone(), until).await.is_err());
    scene.jit.delegate(&bob, &alice, until).await.unwrap();
    let access = scene.jit.request(&actor("alice"), ask("admin")).await.unwrap();
    let own = scene.jit.approve(&actor("alice"), access.id(), "").await.unwrap_err();
    assert!(own.to_string().contains("own request"), "{own}");
    scene.jit.delegate(&bob, &erin, until).await.unwrap();
    assert!(scene.jit.approve(&actor("alice"), access.id(), "").await.is_err());
    let approved = scene.jit.approve(&actor("erin"), access.id(), "for bob").await.unwrap();
    assert_eq!(approved.state, "scheduled");
    assert_eq!(approved.decisions[0].in_place_of.as_ref().map(Principal::as_str), Some("bob"));
    scene.jit.run_due().await.unwrap();
    assert_eq!(scene.view(&access).await.state, "active");
    // if the delegation is withdrawn before the grant, decisions under it do not count
    let start = scene.jit.store().now().await.unwrap() + TimeDelta::hours(1);
    let later = scene.jit.request(&actor("dave"), ask("admin").starting(start)).await.unwrap();
    scene.jit.approve(&actor("erin"), later.id(), "").await.unwrap();
    scene.jit.end_delegation(&bob).await.unwrap();
    assert_eq!(scene.jit.end_delegation(&bob).await.unwrap_err().kind(), "not-found");
    scene.later(Duration::from_secs(3_600)).await;
    assert_eq!(scene.view(&later).await.state, "pending");
    assert!(scene.jit.approve(&actor("erin"), later.id(), "").await.is_err());
    scene.jit.approve(&carol, later.id(), "").await.unwrap();
    // decisions under a delegation that expired by itself still count
    scene.jit.delegate(&carol, &erin, scene.jit.store().now().await.unwrap() + TimeDelta::minutes(5)).await.unwrap();
    let start = scene.jit.store().now().await.unwrap() + TimeDelta::hours(1);
    let last = scene.jit.request(&actor("alice"), ask("admin").starting(start)).await.unwrap();
    scene.jit.approve(&actor("erin"), last.id(), "").await.unwrap();
    scene.later(Duration::from_secs(3_600)).await;
    assert_eq!(scene.view(&last).await.state, "active");
}

#[tokio::test]
async fn an_emergency_is_had_at_once_told_loudly_and_reviewed_by_somebody_else() {
    let scene = Scene::new().await;
    scene.enroll("carol").await;
    let emergency =
        || AccessRequest::new("pg", "writer", TimeDelta::minutes(10)).because("the site is down").break_glass();
    assert_eq!(scene.jit.request(&actor("alice"), emergency()).await.unwrap_err().kind(), "denied");
    let access = scene.jit.request(&scene.with_code("carol"), emergency()).await.unwrap();
    scene.jit.run_due().await.unwrap();
    let usable = scene.view(&access).await;
    assert_eq!((usable.state, usable.break_glass), (AccessState::Active, true));
    assert!(usable.review.as_ref().is_some_and(|review| review.given.is_none()));
    // of several notices of one commit, the later ones are due a moment later
    scene.later(Duration::from_millis(1)).await;
    assert_eq!(scene.chat.field(EventKind::BreakGlass, "reason"), "the site is down");
    assert_eq!(scene.chat.field(EventKind::BreakGlass, "review_by"), "any of (one of group `security`)");
    for who in ["carol", "bob", "alice"] {
        assert_eq!(scene.jit.review(&actor(who), access.id(), "fine").await.unwrap_err().kind(), "refused", "{who}");
    }
    // nobody reviews: the review stays visible, and the next emergency needs a second person
    scene.later(Duration::from_secs(3_600)).await;
    scene.later(Duration::from_secs(3_600)).await;
    let overdue = scene.view(&access).await;
    assert_eq!(overdue.state, "revoked");
    assert!(overdue.review.is_some_and(|review| review.overdue));
    assert_eq!(scene.chat.events().iter().filter(|event| **event == EventKind::ReviewOverdue).count(), 1);
    let second = scene.jit.request(&scene.with_code("carol"), emergency()).await.unwrap();
    assert_eq!(second.state, "pending");
    assert_eq!(second.pending_on, ["any of (one of group `dba`, one of group `security`)"]);
    assert!(scene.jit.approve(&actor("carol"), second.id(), "").await.is_err());
    scene.jit.cancel(&actor("carol"), second.id(), "").await.unwrap();
    assert_eq!(scene.jit.review(&actor("frank"), access.id(), " ").await.unwrap_err().kind(), "invalid");
    let reviewed = scene.jit.review(&actor("frank"), access.id(), "it was needed").await.unwrap();
    assert!(reviewed.review.is_some_and(|review| review.given.is_some() && !review.overdue));
    assert!(scene.jit.review(&actor("frank"), access.id(), "again").await.is_err());
    scene.clock.advance(Duration::from_secs(30));
    let third = scene.jit.request(&scene.with_code("carol"), emergency()).await.unwrap();
    assert_eq!(third.state, "scheduled");
}

#[tokio::test]
async fn emergencies_in_a_row_or_at_once_are_never_one_persons_alone() {
    let scene = Scene::new().await;
    scene.jit.reload_policy(policy(&POLICY.replace(", mfa = { within = \"1m\" } }", " }"))).await.unwrap();
    let emergency =
        |role: &str| AccessRequest::new("pg", role, TimeDelta::minutes(10)).because("the site is down").break_glass();
    let carol = actor("carol");
    let one = || scene.jit.request(&carol, emergency("writer"));
    let both = tokio::join!(one(), one());
    let mut states = [both.0.unwrap().state, both.1.unwrap().state];
    states.sort_unstable();
    assert_eq!(states, ["pending", "scheduled"]);
    scene.jit.run_due().await.unwrap();
    // ended early, and still not reviewed
    let open = scene.jit.list(&Filter::open(), None, 9).await.unwrap();
    let had = open.iter().find(|view| view.state == "active").unwrap();
    assert_eq!(scene.jit.request(&carol, emergency("writer")).await.unwrap().state, "pending");
    // a review covers the access until then, not an extension
    scene.jit.review(&actor("frank"), had.id(), "seen").await.unwrap();
    let longer = scene.jit.extend(&carol, had.id(), TimeDelta::minutes(5), "still down").await.unwrap();
    assert!(longer.review.is_some_and(|review| review.given.is_none()));
    scene.jit.release(&carol, had.id()).await.unwrap();
    scene.jit.run_due().await.unwrap();
    assert_eq!(scene.view(had).await.state, "revoked");
    assert_eq!(scene.jit.request(&carol, emergency("writer")).await.unwrap().state, "pending");
    assert_eq!(scene.jit.request(&actor("bob"), emergency("writer")).await.unwrap().state, "scheduled");
}

/// Approver that says yes to an extension, and replaces the extension by a longer one before the
/// yes arrives.
#[derive(Debug, Default, Clone)]
struct Meddling(std::sync::Arc<std::sync::OnceLock<jit_core::engine::Jit>>);

#[async_trait::async_trait]
impl Approver for Meddling {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        let short = TimeDelta::minutes(5);
        if let Some(jit) = self.0.get().filter(|_| review.extension && review.duration == short) {
            jit.deny(&actor("carol"), review.access, "no").await.unwrap();
            jit.extend(&actor("alice"), review.access, TimeDelta::minutes(40), "much longer").await.unwrap();
        }
        match review.extension && review.duration != short {
            true => Ok(Reply::Wait(review.until)),
            false => Ok(Reply::Approve(Explanation::default())),
        }
    }
}

#[tokio::test]
async fn law_19_an_answer_counts_for_the_question_that_was_put() {
    let scene = Scene::new().await;
    let text = POLICY.replace(
        "start_within = \"24h\"\n[[rule.stage]]\npeople",
        "start_within = \"24h\"\n[[rule.stage]]\napprovers = [\"tracker\"]\npeople",
    );
    assert_ne!(text, POLICY);
    scene.jit.reload_policy(policy(&text)).await.unwrap();
    let (jit, alice) = (&scene.jit, actor("alice"));
    let active = async |who: &str| {
        let access = jit.request(&actor(who), ask("admin")).await.unwrap();
        jit.run_due().await.unwrap();
        jit.approve(&actor("bob"), &access, "").await.unwrap();
        jit.run_due().await.unwrap();
        scene.view(&access).await
    };
    // the system answers later
    let access = active("alice").await;
    assert_eq!(access.state, "active");
    let later = jit.store().now().await.unwrap() + TimeDelta::minutes(9);
    let callback = |review: Review| Callback::new(review.token, access.id().to_string().into_bytes());
    let extended = async |minutes| {
        scene.tracker.says(Ok(Reply::Wait(later)));
        let view = jit.extend(&alice, access.id(), TimeDelta::minutes(minutes), "more").await.unwrap();
        jit.run_due().await.unwrap();
        (view, callback(scene.tracker.last()))
    };
    let (_, first) = extended(5).await;
    jit.deny(&actor("carol"), access.id(), "no").await.unwrap();
    let (view, second) = extended(40).await;
    jit.approve(&actor("bob"), &view, "").await.unwrap();
    assert!(jit.callback(&first).await.is_err());
    assert_eq!(scene.view(&access).await.expires_at, access.expires_at, "the yes to 5 minutes gave 40");
    jit.callback(&second).await.unwrap();
    assert_eq!(scene.view(&access).await.expires_at.unwrap() - access.expires_at.unwrap(), TimeDelta::minutes(40));
    // the system answers while its question is replaced
    let meddling = Meddling::default();
    let node = scene.node_with(&text, meddling.clone()).await;
    meddling.0.set(node.clone()).unwrap();
    let access = node.request(&alice, ask("admin")).await.unwrap();
    node.run_due().await.unwrap();
    node.approve(&actor("bob"), &access, "").await.unwrap();
    node.run_due().await.unwrap();
    let access = scene.view(&access).await;
    let short = node.extend(&alice, access.id(), TimeDelta::minutes(5), "more").await.unwrap();
    node.approve(&actor("bob"), &short, "").await.unwrap();
    node.run_due().await.unwrap();
    let view = scene.view(&access).await;
    assert_eq!(view.extension, Some(TimeDelta::minutes(40)));
    node.approve(&actor("bob"), &view, "").await.unwrap();
    node.run_due().await.unwrap();
    assert_eq!(scene.view(&access).await.expires_at, access.expires_at, "a late yes counted");
}

#[tokio::test]
async fn a_policy_that_names_what_is_not_there_is_not_taken() {
    let scene = Scene::new().await;
    for (from, to, says) in [
        ("check = \"tracker\"", "check = \"jira\"", "approver `jira`"),
        ("notify = [\"chat\"]", "notify = [\"slack:dba\"]", "notifier `slack:dba`"),
        ("factor = \"totp\"", "factor = \"oidc\"", "second factor `oidc`"),
    ] {
        let error: JitError = scene.jit.reload_policy(policy(&POLICY.replace(from, to))).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let access = scene.jit.request(&actor("alice"), ask("reader").ticket("OPS-12")).await.unwrap();
    assert_eq!(access.rule.as_str(), "ticketed", "the old one is in force");
}
