use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;

use super::deliver::Outbox;
use super::notice::dead_label;
use super::*;
use crate::audit_event::EventKind;
use crate::clock::{SystemEntropy, Time, after};
use crate::id::{AccessId, NodeId, TenantId};
use crate::store::{Change, Kind, Lane, MemoryStore, PageQuery, Store};
use crate::testkit::ManualClock;

/// Answers as it is told, notice by notice, and keeps what it received.
#[derive(Debug, Default)]
struct Mailbox {
    taken: Mutex<Vec<(EventKind, String)>>,
    answers: Mutex<Vec<NotifyError>>,
}

impl Mailbox {
    fn fails_with(&self, errors: impl IntoIterator<Item = NotifyError>) {
        self.answers.lock().unwrap().extend(errors);
    }

    fn taken(&self) -> Vec<EventKind> {
        self.taken.lock().unwrap().iter().map(|(what, _)| *what).collect()
    }
}

#[async_trait]
impl Notifier for Mailbox {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        if let Some(error) = self.answers.lock().unwrap().pop() {
            return Err(error);
        }
        self.taken.lock().unwrap().push((notice.event, notice.id.to_string()));
        Ok(())
    }
}

fn temporary() -> NotifyError {
    NotifyError::Temporary { why: "it is closed".to_owned(), retry_after: None, source: None }
}

struct Post {
    clock: ManualClock,
    store: Arc<MemoryStore>,
    tenant: TenantId,
    node: NodeId,
    mailbox: Mailbox,
}

impl Post {
    fn new() -> Self {
        let clock = ManualClock::default();
        Self {
            store: Arc::new(MemoryStore::new(Arc::new(clock.clone()))),
            clock,
            tenant: TenantId::default(),
            node: NodeId::new("node-1").unwrap(),
            mailbox: Mailbox::default(),
        }
    }

    fn access(&self) -> AccessId {
        AccessId::fresh(Time::UNIX_EPOCH, &SystemEntropy)
    }

    async fn send(&self, access: AccessId, events: &[EventKind]) {
        let now = self.store.now().await.unwrap();
        let notices: Vec<Notice> = events
            .iter()
            .map(|event| {
                let notice = Notice::new(self.tenant.clone(), *event, now, &SystemEntropy).about(access);
                notice.field("role", "orders_write")
            })
            .collect();
        let writes = notices
            .iter()
            .zip(0..)
            .map(|(notice, place)| notice.write("slack:dba", after(now, TimeDelta::microseconds(place))).unwrap());
        let writes = writes.collect();
        self.store.commit(Change { writes, ..Change::default() }).await.unwrap();
        self.clock.advance(Duration::from_millis(1));
    }

    async fn deliver(&self) -> Outbox {
        let ask = DeliveryRequest { tenant: &self.tenant, notifier_name: "slack:dba", node: &self.node, limit: 16 };
        deliver_due(&*self.store, &self.mailbox, ask, &SystemEntropy).await.unwrap()
    }

    async fn left(&self, label: Option<(String, String)>) -> usize {
        let ask = PageQuery { tenant: self.tenant.clone(), kind: Kind::Notice, label, after: None, limit: 100 };
        self.store.page(&ask).await.unwrap().len()
    }
}

const STORY: [EventKind; 3] = [EventKind::Requested, EventKind::Active, EventKind::Revoked];

#[tokio::test]
async fn notices_are_delivered_in_their_order_and_are_gone() {
    let post = Post::new();
    post.send(post.access(), &STORY).await;
    assert_eq!(post.deliver().await, Outbox { delivered: 3, delayed: 0, dropped: 0 });
    assert_eq!(post.mailbox.taken(), STORY);
    assert_eq!(post.left(None).await, 0);
    assert_eq!(post.deliver().await, Outbox::default());
}

#[tokio::test]
async fn later_notices_of_an_access_wait_behind_one_that_is_tried_again_and_others_do_not() {
    let post = Post::new();
    let (one, other) = (post.access(), post.access());
    post.send(one, &STORY[..2]).await;
    post.mailbox.fails_with([temporary()]);
    assert_eq!(post.deliver().await, Outbox { delivered: 0, delayed: 1, dropped: 0 });
    post.send(one, &STORY[2..]).await;
    post.send(other, &[EventKind::Overdue]).await;
    assert_eq!(post.deliver().await.delivered, 1);
    assert_eq!(post.mailbox.taken(), [EventKind::Overdue]);
    post.clock.advance(Duration::from_secs(3));
    assert_eq!(post.deliver().await.delivered, 3);
    assert_eq!(post.mailbox.taken()[1..], STORY);
}

#[tokio::test]
async fn while_a_notice_waits_its_lane_sleeps() {
    let post = Post::new();
    post.send(post.access(), &STORY).await;
    post.mailbox.fails_with([temporary()]);
    post.deliver().await;
    let now = post.store.now().await.unwrap();
    let lanes = post.store.lanes().await.unwrap();
    assert_eq!(lanes[0].0, Lane::outbox(&post.tenant, "slack:dba"));
    assert!(lanes[0].1 > now);
}

#[tokio::test]
async fn a_notice_is_tried_for_days_and_then_given_up_with_an_entry() {
    let post = Post::new();
    let access = post.access();
    post.send(access, &STORY[..1]).await;
    let mut tries = 0;
    while post.left(Some(dead_label())).await == 0 {
        post.mailbox.fails_with([temporary()]);
        post.deliver().await;
        tries += 1;
        post.clock.advance(Duration::from_secs(3600));
        assert!(tries < 100);
    }
    assert!(tries >= 72, "{tries}");
    let entries = post.store.entries_about(&post.tenant, &access.to_string(), 10).await.unwrap();
    assert_eq!(entries.len(), 1);
    let text = String::from_utf8(entries[0].body.clone()).unwrap();
    assert!(text.contains("\"what\":\"notice-dropped\"") && text.contains("it is closed"), "{text}");
    // the notice that was given up no longer blocks the others
    post.send(access, &STORY[1..]).await;
    post.mailbox.answers.lock().unwrap().clear();
    assert_eq!(post.deliver().await.delivered, 2);
}

#[tokio::test]
async fn after_a_permanent_error_the_next_one_goes_on() {
    let post = Post::new();
    post.send(post.access(), &STORY).await;
    post.mailbox.fails_with([NotifyError::Permanent { why: "no such channel".to_owned(), source: None }]);
    assert_eq!(post.deliver().await, Outbox { delivered: 2, delayed: 0, dropped: 1 });
    assert_eq!(post.mailbox.taken(), STORY[1..]);
    assert_eq!(post.left(Some(dead_label())).await, 1);
    assert_eq!(post.left(None).await, 1);
}

#[tokio::test]
async fn many_nodes_deliver_each_notice_once() {
    let post = Arc::new(Post::new());
    for _ in 0..20 {
        post.send(post.access(), &STORY).await;
    }
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let post = Arc::clone(&post);
            tokio::spawn(async move { while post.deliver().await.delivered > 0 {} })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let taken = post.mailbox.taken.lock().unwrap().clone();
    assert_eq!(taken.len(), 60);
    assert_eq!(taken.iter().collect::<std::collections::BTreeSet<_>>().len(), 60);
}

#[derive(Debug)]
struct Sleeper;

#[async_trait]
impl Notifier for Sleeper {
    async fn notify(&self, _: &Notice) -> Result<(), NotifyError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_notifier_that_never_answers_is_given_up_for_now() {
    let post = Post::new();
    post.send(post.access(), &STORY).await;
    let ask = DeliveryRequest { tenant: &post.tenant, notifier_name: "slack:dba", node: &post.node, limit: 16 };
    let outbox = deliver_due(&*post.store, &Sleeper, ask, &SystemEntropy).await.unwrap();
    assert_eq!(outbox, Outbox { delivered: 0, delayed: 1, dropped: 0 });
}
