//! Scene of the tests: two nodes, a tracker, chats, and people with codes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;
use jit_core::approver::{Approver, ApproverError, Callback, CallbackRefused, Explanation, Reply, Review};
use jit_core::audit_event::EventKind;
use jit_core::clock::{Clock, SystemEntropy, Time};
use jit_core::engine::{AccessRequest, AccessView, Jit};
use jit_core::id::FactorName;
use jit_core::mfa::{SealKey, TotpFactor};
use jit_core::notify::{Notice, Notifier, NotifyError};
use jit_core::store::{MemoryStore, Store};
use jit_core::testkit::ManualClock;
use jit_core::testkit::mock::{MockServer, Profile};

use crate::stage::{actor, policy};

pub(super) const POLICY: &str = r#"
version = 1
[groups]
payments = ["alice", "dave"]
dba = ["bob", "carol"]
oncall = ["grace"]
security = ["frank"]
others = ["erin"]
[[may]]
do = ["mfa", "stop"]
who = ["frank"]
targets = ["*"]
[[rule]]
name = "ticketed"
targets = ["pg"]
roles = ["reader"]
requesters = ["group:payments"]
max = "1h"
start_within = "24h"
ticket = { pattern = "OPS-[0-9]+", check = "tracker" }
[[rule]]
name = "staged"
targets = ["pg"]
roles = ["writer"]
requesters = ["group:payments"]
max = "1h"
decide_by = "40m"
notify = ["chat"]
break_glass = { by = ["group:dba"], max = "15m", review_by = ["group:security"], within = "1h", mfa = { within = "1m" } }
[[rule.stage]]
mfa = { of = "requester", within = "5m" }
[[rule.stage]]
people = [{ group = "dba" }]
escalate = { after = "10m", to = "group:oncall" }
mfa = { of = "approver", within = "5m", factor = "totp" }
[[rule]]
name = "ticketed and escalated"
targets = ["pg"]
roles = ["owner"]
requesters = ["group:payments"]
max = "1h"
ticket = { pattern = "OPS-[0-9]+", check = "tracker" }
[[rule.stage]]
mfa = { of = "requester", within = "5m" }
[[rule.stage]]
people = [{ group = "dba" }]
escalate = { after = "10m", to = "group:oncall" }
[[rule]]
name = "plain"
targets = ["pg"]
roles = ["admin"]
requesters = ["group:payments"]
max = "1h"
start_within = "24h"
[[rule.stage]]
people = [{ group = "dba" }]
"#;

/// Tracker that answers as it is told, and counts the questions.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    replies: Mutex<Vec<Result<Reply, String>>>,
    asked: Mutex<Vec<Review>>,
}

impl Tracker {
    pub(super) fn says(&self, reply: Result<Reply, String>) {
        self.replies.lock().unwrap().push(reply);
    }

    pub(super) fn times(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    pub(super) fn last(&self) -> Review {
        self.asked.lock().unwrap().last().unwrap().clone()
    }
}

pub(super) fn yes() -> Result<Reply, String> {
    Ok(Reply::Approve(Explanation::new("it is open").detail("status", "open")))
}

#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Tracker>);

#[async_trait]
impl Approver for Shared {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        self.0.asked.lock().unwrap().push(review.clone());
        let mut replies = self.0.replies.lock().unwrap();
        if replies.is_empty() {
            return yes().map_err(ApproverError::new);
        }
        replies.remove(0).map_err(ApproverError::new)
    }

    fn answered(&self, review: &Review, callback: &Callback, _: Time) -> Result<Reply, CallbackRefused> {
        match callback.body.as_slice() {
            body if body != review.access.to_string().as_bytes() => Err(CallbackRefused::Another),
            _ => Ok(yes().unwrap()),
        }
    }
}

/// Notifier that keeps its notices.
#[derive(Debug, Default, Clone)]
pub(super) struct Chat(Arc<Mutex<Vec<Notice>>>);

#[async_trait]
impl Notifier for Chat {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        self.0.lock().unwrap().push(notice.clone());
        Ok(())
    }
}

impl Chat {
    pub(super) fn events(&self) -> Vec<EventKind> {
        self.0.lock().unwrap().iter().map(|notice| notice.event).collect()
    }

    pub(super) fn field(&self, event: EventKind, name: &str) -> String {
        let all = self.0.lock().unwrap();
        let found =
            all.iter().find(|notice| notice.event == event).unwrap_or_else(|| panic!("nobody was told of {event}"));
        found.fields.get(name).cloned().unwrap_or_default()
    }
}

pub(super) struct Scene {
    pub(super) clock: ManualClock,
    pub(super) server: MockServer,
    pub(super) store: Arc<MemoryStore>,
    pub(super) key: SealKey,
    pub(super) tracker: Arc<Tracker>,
    pub(super) chat: Chat,
    pub(super) other: Chat,
    pub(super) jit: Jit,
    pub(super) seeds: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let clock = ManualClock::default();
        clock.advance(Duration::from_secs(1_800_000_000));
        let shared: Arc<dyn Clock> = Arc::new(clock.clone());
        let server = MockServer::new(Profile::postgres(17), Arc::clone(&shared));
        for account in ["alice", "dave", "bob", "carol"] {
            server.create_account(account).unwrap();
        }
        for role in ["reader", "writer", "admin", "owner"] {
            server.create_role(role).unwrap();
        }
        let store = Arc::new(MemoryStore::new(shared));
        let (key, tracker) = (SealKey::generate(&SystemEntropy), Arc::new(Tracker::default()));
        let (chat, other) = (Chat::default(), Chat::default());
        let jit = node(&clock, &server, &store, &key, &tracker, &chat, &other).await;
        jit.run_due().await.unwrap();
        Self { clock, server, store, key, tracker, chat, other, jit, seeds: Mutex::default() }
    }

    /// Builds another node on the same store.
    pub(super) async fn node(&self) -> Jit {
        let Self { clock, server, store, key, tracker, chat, other, .. } = self;
        node(clock, server, store, key, tracker, chat, other).await
    }

    /// Builds another node with its own tracker, under this policy.
    pub(super) async fn node_with(&self, text: &str, tracker: impl Approver) -> Jit {
        Jit::builder()
            .shared_store(Arc::clone(&self.store) as Arc<dyn Store>)
            .policy(policy(text))
            .database("pg", self.server.database())
            .approver("tracker", tracker)
            .factor("totp", TotpFactor::new("jit", self.key.clone()).clock(Arc::new(self.clock.clone())))
            .notifier("chat", self.chat.clone())
            .build()
            .await
            .unwrap()
    }

    pub(super) async fn later(&self, how_much: Duration) {
        self.clock.advance(how_much);
        self.jit.run_due().await.unwrap();
    }

    pub(super) async fn view(&self, access: &AccessView) -> AccessView {
        self.jit.access(access.id()).await.unwrap()
    }

    /// Sets up the factor of a person, and confirms it with a first code.
    pub(super) async fn enroll(&self, who: &str) {
        let enrollment = self.jit.enroll_factor(&actor(who), &totp()).await.unwrap();
        let uri = secrecy::ExposeSecret::expose_secret(&enrollment.uri).to_owned();
        let secret = uri.split("secret=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        let seed = totp_rs::Secret::try_from_base32(secret).unwrap();
        self.seeds.lock().unwrap().insert(who.to_owned(), seed.as_ref().to_vec());
        self.jit.confirm_factor(&self.with_code(who)).await.unwrap();
        self.clock.advance(Duration::from_secs(30));
    }

    pub(super) fn code(&self, who: &str) -> String {
        let seed = self.seeds.lock().unwrap()[who].clone();
        let totp = totp_rs::Builder::new().with_secret(seed).with_account_name(who).build().unwrap();
        totp.generate(self.clock.wall().timestamp() as u64).to_string()
    }

    pub(super) fn with_code(&self, who: &str) -> jit_core::Actor {
        actor(who).responding(totp(), self.code(who))
    }
}

pub(super) async fn node(
    clock: &ManualClock,
    server: &MockServer,
    store: &Arc<MemoryStore>,
    key: &SealKey,
    tracker: &Arc<Tracker>,
    chat: &Chat,
    other: &Chat,
) -> Jit {
    Jit::builder()
        .shared_store(Arc::clone(store) as Arc<dyn Store>)
        .policy(policy(POLICY))
        .database("pg", server.database())
        .approver("tracker", Shared(Arc::clone(tracker)))
        .factor("totp", TotpFactor::new("jit", key.clone()).clock(Arc::new(clock.clone())))
        .notifier("chat", chat.clone())
        .notifier("other", other.clone())
        .link("https://jit.example.com/accesses/{id}")
        .build()
        .await
        .unwrap()
}

pub(super) fn totp() -> FactorName {
    FactorName::new("totp").unwrap()
}

pub(super) fn ask(role: &str) -> AccessRequest {
    AccessRequest::new("pg", role, TimeDelta::minutes(10)).because("OPS-12: a test needs it")
}
