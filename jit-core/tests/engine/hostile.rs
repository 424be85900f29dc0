//! Foreign code that panics, hangs or answers nonsense delays nobody else (law 18).

use jit_core::AccessState;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::TimeDelta;
use jit_core::audit::{AuditSink, Checkpoint, NumberedEntry, SinkError};
use jit_core::audit_event::EventKind;
use jit_core::directory::{Directory, DirectoryError, ListedDirectory, Person};
use jit_core::engine::{AccessRequest, Jit, Scope};
use jit_core::id::{Group, Principal, RoleName, TargetName};
use jit_core::notify::{Notice, Notifier, NotifyError};
use jit_core::policy::{Action, Explained, Policy, PolicyDocument, Question, Ruling};
use jit_core::store::MemoryStore;
use jit_core::testkit::faulty::{Fault, Method};

use crate::stage::*;

/// The usual policy with rulings of its own.
struct Rules<R>(PolicyDocument, R);

impl<R> std::fmt::Debug for Rules<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<R: Fn(&PolicyDocument, &Question<'_>) -> Ruling + Send + Sync + 'static> Policy for Rules<R> {
    fn rule(&self, question: &Question<'_>) -> Ruling {
        (self.1)(&self.0, question)
    }
    fn may(&self, action: Action, who: &Person, target: Option<&TargetName>) -> bool {
        self.0.may(action, who, target)
    }
    fn groups(&self) -> BTreeSet<Group> {
        self.0.groups()
    }
    fn requestable(&self, target: &TargetName) -> BTreeSet<RoleName> {
        self.0.requestable(target)
    }
    fn hash(&self) -> String {
        self.0.hash()
    }
    fn explain(&self, question: &Question<'_>) -> Vec<Explained> {
        self.0.explain(question)
    }
    fn directory(&self) -> Option<Arc<dyn Directory>> {
        self.0.directory()
    }
}

#[tokio::test]
async fn law_18_a_policy_that_panics_keeps_no_role_past_its_window() {
    let server = server(17);
    let panics = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&panics);
    let rules = Rules(policy(POLICY), move |usual: &PolicyDocument, question: &Question<'_>| {
        assert!(!told.load(Ordering::SeqCst), "the policy is broken");
        usual.rule(question)
    });
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(rules);
    let jit = builder.database("pg", server.database()).build().await.unwrap();
    let pump = jit.start();
    let ends = usable(&jit, "alice", "reader", 1_500).await;
    let waits = jit.request(&actor("dave"), ask("writer", 60_000)).await.unwrap();
    panics.store(true, Ordering::SeqCst);
    jit.approve(&actor("bob"), waits.id(), "go ahead").await.ok();
    let error = jit.request(&actor("dave"), ask("reader", 60_000)).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    let view = jit.until_ended(ends.id(), Duration::from_secs(5)).await.unwrap();
    assert_eq!((view.state, held(&server, "reader")), (AccessState::Revoked, 0));
    pump.stop().await;
}

#[tokio::test]
async fn law_02_a_policy_that_forgets_to_compare_durations_is_held_to_its_own_limits() {
    let rules = Rules(policy(POLICY), |usual: &PolicyDocument, question: &Question<'_>| {
        let mut short = question.clone();
        (short.duration, short.start) = (TimeDelta::minutes(1), None);
        usual.rule(&short)
    });
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(rules);
    let jit = builder.database("pg", server(17).database()).build().await.unwrap();
    let longer = jit.request(&actor("alice"), ask("reader", 10 * 3_600_000)).await.unwrap_err();
    assert!(longer.to_string().contains("`10h` is too long: ask for at most `4h`"), "{longer}");
    let later = ask("reader", 60_000).starting(clock().wall() + TimeDelta::days(30));
    let later = jit.request(&actor("alice"), later).await.unwrap_err();
    assert!(later.to_string().contains("start"), "{later}");
    let view = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    let longer = jit.extend(&actor("alice"), view.id(), TimeDelta::hours(10), "more").await.unwrap_err();
    assert!(longer.to_string().contains("too long"), "{longer}");
}

/// A directory that never answers.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Directory for Silent {
    async fn person(&self, _: &Principal, _: &BTreeSet<Group>) -> Result<Person, DirectoryError> {
        std::future::pending().await
    }
    async fn account(&self, _: &Principal, _: &TargetName) -> Result<Option<String>, DirectoryError> {
        std::future::pending().await
    }
    async fn knows(&self, _: &Principal) -> Result<bool, DirectoryError> {
        std::future::pending().await
    }
    async fn members(&self, _: &Group) -> Result<BTreeSet<Principal>, DirectoryError> {
        std::future::pending().await
    }
    async fn revision(&self) -> Result<Option<String>, DirectoryError> {
        panic!("the directory is broken")
    }
}

#[tokio::test]
async fn law_18_a_directory_that_hangs_is_an_error_of_the_request() {
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY)).directory(Silent);
    let jit = builder.database("pg", server(17).database()).build().await.unwrap();
    jit.run_due().await.unwrap();
    let asked = Instant::now();
    let error = jit.request(&actor("alice"), ask("reader", 1_000)).await.unwrap_err();
    assert!(error.to_string().contains("gave no answer within"), "{error}");
    assert!(asked.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn law_18_an_adapter_that_hangs_once_delays_an_end_by_one_call_at_most() {
    let server = server(17);
    let database = faulty(&server);
    let jit = engine(Arc::clone(&database)).await;
    let pump = jit.start();
    let one = usable(&jit, "alice", "reader", 1_000).await;
    let two = usable(&jit, "dave", "reader", 1_000).await;
    database.script(Method::Revoke, [Some(Fault::HangForever)]);
    for access in [one, two] {
        let view = jit.until_ended(access.id(), Duration::from_secs(9)).await.unwrap();
        assert_eq!(view.state, "revoked");
    }
    assert_eq!(held(&server, "reader"), 0);
    pump.stop().await;
}

#[tokio::test]
async fn law_18_an_account_on_which_every_call_hangs_delays_others_by_one_call_once_and_it_is_told() {
    one_account_delays_others_once(|database, account| database.stick(account)).await;
}

#[tokio::test]
async fn law_18_an_account_on_which_every_call_panics_delays_others_once_and_it_is_told() {
    one_account_delays_others_once(|database, account| database.break_on(account)).await;
}

async fn one_account_delays_others_once(goes_wrong: impl Fn(&Faulty, jit_core::id::Account)) {
    let server = server(17);
    let database = faulty(&server);
    let jit = engine(Arc::clone(&database)).await;
    let stuck = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    let mut others = Vec::new();
    for who in ["dave", "mallory"] {
        others.push(jit.request(&actor(who), ask("reader", 60_000)).await.unwrap());
    }
    jit.run_due().await.unwrap();
    goes_wrong(&database, jit_core::id::Account::new("alice").unwrap());
    // all of them end at once, in one batch
    jit.stop(&actor("frank"), Scope::All, "now").await.unwrap();
    let pump = jit.start();
    for access in &others {
        let view = jit.until_ended(access.id(), Duration::from_secs(12)).await.unwrap();
        assert_eq!(view.state, "revoked");
    }
    jit.resume(&actor("frank"), Scope::All).await.unwrap();
    // only once: from now on, this account has passes of its own
    for _ in 0..2 {
        let mut again = Vec::new();
        for who in ["dave", "mallory"] {
            again.push(usable(&jit, who, "reader", 1_500).await);
        }
        for access in again {
            let view = jit.until_ended(access.id(), Duration::from_secs(4)).await.unwrap();
            assert_eq!(view.state, "revoked");
        }
    }
    assert_ne!(jit.access(stuck.id()).await.unwrap().state, "revoked");
    pump.stop_within(Duration::from_secs(2)).await;
    jit.keep_log().await.unwrap();
    let log = jit.store().entries(jit.tenant_id(), 0, 10_000).await.unwrap();
    let held_up =
        |body: &[u8]| field(body, "what") == "finding" && String::from_utf8_lossy(body).contains("held up all");
    assert_eq!(log.iter().filter(|entry| held_up(&entry.body)).count(), 1, "no batch, or more than one, was held up");
}

#[tokio::test]
async fn files_of_two_hosts_at_one_path_each_get_the_whole_log() {
    let store: Arc<dyn jit_core::store::Store> = Arc::new(MemoryStore::new(clock()));
    let hosts = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let server = server(17);
    let mut engines = Vec::new();
    for host in &hosts {
        let sink = jit_core::audit::JsonLines::append(host.path().join("audit.jsonl")).unwrap();
        let jit = Jit::builder().shared_store(Arc::clone(&store)).policy(policy(POLICY)).audit_sink(sink);
        engines.push(jit.database("pg", server.database()).build().await.unwrap());
    }
    engines[0].run_due().await.unwrap();
    for jit in &engines {
        jit.request(&actor("alice"), ask("writer", 60_000)).await.unwrap();
        jit.keep_log().await.unwrap();
    }
    engines[0].keep_log().await.unwrap();
    let entries = store.entries(engines[0].tenant_id(), 0, 1_000).await.unwrap().len();
    for host in &hosts {
        let file = std::fs::read_to_string(host.path().join("audit.jsonl")).unwrap();
        assert_eq!(file.matches("{\"number\":").count(), entries);
    }
}

/// A sink that hangs at every delivery, or panics.
#[derive(Debug)]
struct Stuck(&'static str, bool);

#[async_trait]
impl AuditSink for Stuck {
    fn name(&self) -> &str {
        self.0
    }
    async fn deliver(&self, _: &[NumberedEntry]) -> Result<(), SinkError> {
        assert!(!self.1, "the sink is broken");
        std::future::pending().await
    }
    async fn checkpoint(&self, _: &Checkpoint) -> Result<(), SinkError> {
        Ok(())
    }
}

#[tokio::test]
async fn law_18_a_sink_that_hangs_or_panics_does_not_stop_the_pump_from_stopping() {
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY));
    let builder = builder.audit_sink(Stuck("hangs", false)).audit_sink(Stuck("panics", true));
    let jit = builder.database("pg", server(17).database()).build().await.unwrap();
    let pump = jit.start();
    usable(&jit, "alice", "reader", 60_000).await;
    let began = Instant::now();
    pump.stop_within(Duration::from_secs(2)).await;
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn law_18_a_store_that_panics_or_hangs_is_one_that_is_away() {
    for (breaks, why) in [(Breaks::Panics, "panicked"), (Breaks::Hangs, "no answer within")] {
        let (server, store) = (server(17), Arc::new(Counting::default()));
        let jit = engine_on(Arc::clone(&store) as Arc<dyn jit_core::store::Store>, server.database()).await;
        *store.breaks.lock().unwrap() = Some(breaks);
        let error = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap_err();
        assert!(error.to_string().contains(why), "{breaks:?}: {error}");
        *store.breaks.lock().unwrap() = None;
        let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
        *store.breaks.lock().unwrap() = Some(breaks);
        let error = jit.run_due().await.unwrap_err();
        assert!(error.to_string().contains(why), "{breaks:?}: {error}");
        *store.breaks.lock().unwrap() = None;
        jit.run_due().await.unwrap();
        assert_eq!(jit.access(access.id()).await.unwrap().state, "active", "{breaks:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn law_14_a_pump_that_has_to_stop_says_what_is_unfinished_and_gives_back_what_no_database_was_told() {
    let (told, untold) = (faulty(&server(17)), faulty(&server(17)));
    let store = Arc::new(MemoryStore::new(clock()));
    let node = async || {
        let jit =
            Jit::builder().shared_store(Arc::clone(&store) as Arc<dyn jit_core::store::Store>).policy(policy(POLICY));
        jit.database("pg", Arc::clone(&told)).database("pg-two", Arc::clone(&untold)).build().await.unwrap()
    };
    let jit = node().await;
    jit.run_due().await.unwrap();
    told.always(Method::Grant, Some(Fault::HangForever));
    untold.always(Method::Observe, Some(Fault::HangForever));
    let mut asked = Vec::new();
    for target in ["pg", "pg-two"] {
        for who in ["alice", "dave"] {
            let ask = AccessRequest::new(target, "reader", TimeDelta::hours(1)).because("a test needs it");
            asked.push(jit.request(&actor(who), ask).await.unwrap().id());
        }
    }
    let pump = jit.start();
    while told.calls(Method::Grant).running == 0 || untold.calls(Method::Observe).running == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let left = pump.stop_within(Duration::from_millis(300)).await;
    for target in ["`pg`", "`pg-two`"] {
        let said = left.unfinished.iter().any(|what| what.contains(target) && what.contains("2 accounts"));
        assert!(said, "{target} is not among {:?}", left.unfinished);
    }
    told.always(Method::Grant, None);
    untold.always(Method::Observe, None);
    let other = node().await;
    let pump = other.start();
    // longer than claims last
    for id in &asked[2..] {
        other.until_active(*id, Duration::from_secs(4)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(other.access(asked[0]).await.unwrap().state, "granting", "the database may still be at it");
    for id in &asked[..2] {
        other.until_active(*id, PATIENCE).await.unwrap();
    }
    pump.stop().await;
}

/// The people of the policy, in a directory that panics at its second revision and goes on with its
/// third.
#[derive(Debug)]
struct PanicsOnce(ListedDirectory, AtomicUsize);

#[async_trait]
impl Directory for PanicsOnce {
    async fn person(&self, who: &Principal, groups: &BTreeSet<Group>) -> Result<Person, DirectoryError> {
        Ok(self.0.look_up(who, groups))
    }
    async fn account(&self, who: &Principal, target: &TargetName) -> Result<Option<String>, DirectoryError> {
        Ok(self.0.account_of(who, target))
    }
    async fn members(&self, group: &Group) -> Result<BTreeSet<Principal>, DirectoryError> {
        self.0.members(group).await
    }
    async fn knows(&self, who: &Principal) -> Result<bool, DirectoryError> {
        self.0.knows(who).await
    }
    async fn revision(&self) -> Result<Option<String>, DirectoryError> {
        let looks = self.1.fetch_add(1, Ordering::SeqCst);
        assert_ne!(looks, 1, "the directory is broken");
        Ok(Some(looks.to_string()))
    }
}

#[tokio::test]
async fn law_18_a_directory_that_panicked_is_looked_at_again() {
    let policy = policy(POLICY);
    let people = PanicsOnce(policy.people().clone(), AtomicUsize::new(0));
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy).directory(people);
    let jit = builder.database("pg", server(17).database()).build().await.unwrap();
    let mut events = jit.events();
    let pump = jit.start();
    for revision in ["0", "2"] {
        let told = async {
            loop {
                let audit_event = events.next().await.unwrap().unwrap().audit_event;
                if audit_event.what == EventKind::DirectoryChanged {
                    break audit_event;
                }
            }
        };
        let audit_event = tokio::time::timeout(PATIENCE, told).await.unwrap();
        assert!(format!("{:?}", audit_event.details["directory"]).contains(revision), "{audit_event:?}");
    }
    pump.stop().await;
}

/// Notifier that keeps nothing.
#[derive(Debug)]
struct Deaf;

#[async_trait]
impl Notifier for Deaf {
    async fn notify(&self, _: &Notice) -> Result<(), NotifyError> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_given_twice_or_to_nobody_is_refused() {
    let new = || Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY));
    let mut refused = Vec::new();
    refused.push(new().store(MemoryStore::new(clock())).build().await);
    let database = || server(17).database();
    refused.push(new().database("pg", database()).database("pg", database()).build().await);
    refused.push(new().audit_sink(Stuck("one", false)).audit_sink(Stuck("one", false)).build().await);
    refused.push(new().database("pg", database()).notifier("chat", Deaf).notifier("chat", Deaf).build().await);
    let acme = jit_core::id::TenantId::new("acme").unwrap();
    let tenant = || jit_core::engine::TenantBuilder::default().policy(policy(POLICY));
    let lone = Jit::builder().store(MemoryStore::new(clock())).tenant(acme.clone(), tenant());
    refused.push(lone.database("pg", database()).build().await);
    refused.push(new().tenant(acme.clone(), tenant()).tenant(acme, tenant()).build().await);
    for (place, built) in refused.into_iter().enumerate() {
        assert!(matches!(built, Err(jit_core::engine::JitError::Invalid { .. })), "{place}");
    }
}

#[tokio::test]
async fn what_doctor_refuses_is_refused_by_the_grant() {
    let server = server(17);
    server.create_account("nobody-grants").ok();
    let database = faulty(&server);
    let jit = engine(Arc::clone(&database)).await;
    database.script(Method::Check, [Some(Fault::NotApplied)]);
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    let report = jit.run_due().await.unwrap();
    assert_eq!(held(&server, "reader"), 0, "granted, and nobody knows whether the broker could end it");
    assert!(!report.undone.is_empty());
    let pump = jit.start();
    jit.until_active(access.id(), PATIENCE).await.unwrap();
    pump.stop().await;
}

#[tokio::test]
async fn law_18_ends_come_before_begins() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let ends = jit.request(&actor("alice"), ask("reader", 300)).await.unwrap();
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(ends.id()).await.unwrap().state, "active");
    jit.request(&actor("dave"), ask("reader", 60_000)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let mut events = jit.events();
    jit.run_due().await.unwrap();
    let told: Vec<EventKind> = std::iter::from_fn(|| events.try_next().map(Result::unwrap))
        .map(|happened| happened.audit_event.what)
        .collect();
    let place = |what| told.iter().position(|told| *told == what).unwrap();
    assert!(place(EventKind::Revoked) < place(EventKind::Granting), "{told:?}");
}

#[tokio::test]
async fn what_is_new_does_not_wait_for_a_backlog() {
    let server = server(17);
    let database = faulty(&server);
    let builder = Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY));
    let jit = builder.database("pg", Arc::clone(&database)).batch(4).build().await.unwrap();
    let many = 200;
    for number in 0..many {
        let account = format!("u{number}");
        server.create_account(&account).unwrap();
        jit.request(&actor(&account), ask("reader", 3_600_000)).await.unwrap();
    }
    jit.run_due().await.unwrap();
    assert_eq!(held(&server, "reader"), many);
    database.always(Method::Revoke, Some(Fault::Late(Duration::from_millis(900))));
    jit.stop(&actor("frank"), Scope::All, "now").await.unwrap();
    jit.resume(&actor("frank"), Scope::All).await.unwrap();
    let pump = jit.start();
    while database.calls(Method::Revoke).running < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    usable(&jit, "alice", "reader", 3_600_000).await;
    let open = jit.list(&jit_core::engine::Filter::open(), None, 1_000).await.unwrap();
    assert!(open.len() > many / 2, "the new grant came after most of what waited");
    pump.stop_within(Duration::from_secs(20)).await;
}

#[tokio::test]
async fn what_is_committed_is_told_although_the_caller_is_gone_and_to_its_tenant_only() {
    let acme = jit_core::id::TenantId::new("acme").unwrap();
    let builder =
        Jit::builder().store(MemoryStore::new(clock())).policy(policy(POLICY)).database("pg", server(17).database());
    let tenant =
        jit_core::engine::TenantBuilder::default().policy(policy(POLICY)).database("pg", server(17).database());
    let jit = builder.tenant(acme.clone(), tenant).build().await.unwrap();
    let other = jit.tenant(&acme).unwrap();
    let (mut mine, mut theirs) = (jit.events(), other.events());
    let mut asked = 0;
    for polls in 1..12 {
        let caller = actor("alice");
        let mut request = Box::pin(jit.request(&caller, ask("reader", 60_000)));
        for _ in 0..polls {
            let polled = futures_util::poll!(request.as_mut());
            tokio::task::yield_now().await;
            if polled.is_ready() {
                break;
            }
        }
        drop(request);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asked += jit.list(&jit_core::engine::Filter::default(), None, 100).await.unwrap().len();
    let told = std::iter::from_fn(|| mine.try_next().map(Result::unwrap))
        .filter(|told| told.audit_event.what == EventKind::Requested)
        .count();
    assert_eq!(told, asked);
    assert!(asked > 0 && theirs.try_next().is_none());
}

#[tokio::test]
async fn whoever_waits_is_told_why_nothing_moves() {
    let server = server(17);
    let jit = engine(server.database()).await;
    let access = jit.request(&actor("alice"), ask("reader", 60_000)).await.unwrap();
    let no_pump = jit.until_active(access.id(), Duration::from_millis(20)).await.unwrap_err();
    assert!(no_pump.to_string().contains("no pump runs"), "{no_pump}");
    server.stop();
    jit.run_due().await.unwrap();
    let last_error = jit.access(access.id()).await.unwrap().last_error.unwrap();
    assert!(last_error.contains("`pg` does not answer since"), "{last_error}");
    let down = jit.until_active(access.id(), Duration::from_millis(20)).await.unwrap_err();
    assert!(down.to_string().contains("does not answer since"), "{down}");
    server.start(false);
    let pump = jit.start();
    assert_eq!(jit.until_active(access.id(), PATIENCE).await.unwrap().last_error, None);
    pump.stop().await;
}
