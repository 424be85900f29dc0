//! scratch
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use chrono::TimeDelta;

use super::*;
use crate::approval::Actor;
use crate::clock::*;
use crate::database::*;
use crate::id::*;
use crate::policy::PolicyDocument;
use crate::store::MemoryStore;

#[derive(Debug, Default, Clone)]
struct Toy(Arc<Mutex<ToyState>>);
#[derive(Debug, Default)]
struct ToyState {
    held: BTreeMap<(String, String), Width>,
    down: bool,
    calls: Vec<String>,
}

fn now() -> Time {
    SystemClock.wall()
}
impl Toy {
    fn seen(&self, s: &Subject) -> Seen {
        let st = self.0.lock().unwrap();
        let direct = st.held.get(&(s.account.to_string(), s.role.to_string())).map(|w| Edge {
            grantor: Grantor::Broker,
            width: *w,
            admin: false,
        });
        Seen {
            account_id: Some(ObjectId(s.account.to_string())),
            account_exists: true,
            role_id: Some(ObjectId(s.role.to_string())),
            role_exists: true,
            direct: direct.into_iter().collect(),
            ..Seen::default()
        }
    }
    fn up(&self, call: &str) -> Result<(), DatabaseError> {
        let mut st = self.0.lock().unwrap();
        st.calls.push(call.to_owned());
        if st.down { Err(DatabaseError::unreachable("down")) } else { Ok(()) }
    }
}
#[async_trait]
impl Database for Toy {
    fn account(&self, name: &str) -> Result<Account, NameError> {
        Ok(Account::new(name).unwrap())
    }
    fn role(&self, name: &str) -> Result<RoleName, NameError> {
        Ok(RoleName::new(name).unwrap())
    }
    async fn identify(&self) -> Result<Identity, DatabaseError> {
        self.up("identify")?;
        Ok(Identity { realm: RealmId::new("toy:1").unwrap(), incarnation: "1".into() })
    }
    async fn capabilities(&self) -> Result<Capabilities, DatabaseError> {
        unimplemented!()
    }
    async fn check(&self, _: &[RoleName]) -> Result<Vec<Check>, DatabaseError> {
        Ok(vec![])
    }
    async fn observe(&self, subjects: &[Subject]) -> Result<Observation, DatabaseError> {
        self.up("observe")?;
        Ok(Observation {
            server_time: now(),
            identity: self.identify().await?,
            seen: subjects.iter().map(|s| self.seen(s)).collect(),
        })
    }
    async fn grant(&self, _: &Call, orders: &[GrantOrder]) -> Vec<Result<Granted, DatabaseError>> {
        orders
            .iter()
            .map(|o| {
                self.up("grant")?;
                self.0
                    .lock()
                    .unwrap()
                    .held
                    .insert((o.subject().account.to_string(), o.subject().role.to_string()), o.width());
                Ok(Granted { server_time: now(), incarnation: "1".into() })
            })
            .collect()
    }
    async fn revoke(&self, _: &Call, orders: &[RevokeOrder]) -> Vec<Result<RevokeReport, DatabaseError>> {
        orders
            .iter()
            .map(|o| {
                self.up("revoke")?;
                let key = (o.subject.account.to_string(), o.subject.role.to_string());
                match o.how {
                    RevokeHow::Remove => {
                        self.0.lock().unwrap().held.remove(&key);
                    }
                    RevokeHow::Narrow => {
                        self.0.lock().unwrap().held.insert(key, Width::Inherit);
                    }
                    RevokeHow::Nothing => {}
                }
                Ok(RevokeReport {
                    seen: self.seen(&o.subject),
                    ended: vec![],
                    rolled_back: vec![],
                    revoked_at: now(),
                    server_time: now(),
                    incarnation: "1".into(),
                })
            })
            .collect()
    }
    async fn settle(&self, _: &[SettleOrder]) -> Result<(), DatabaseError> {
        self.up("settle")
    }
    async fn holders(&self, _: &[RoleName]) -> Result<Vec<Holder>, DatabaseError> {
        Ok(vec![])
    }
}

const POLICY: &str = r#"
version = 1
[groups]
payments = ["alice"]
dba = ["bob", "carol"]
[[may]]
do = ["revoke", "stop", "resume", "reconcile", "retire", "clock", "audit"]
who = ["carol"]
targets = ["*"]
[[rule]]
name = "read"
targets = ["orders"]
roles = ["r"]
requesters = ["group:payments"]
max = "4h"
[[rule]]
name = "write"
targets = ["orders"]
roles = ["w"]
requesters = ["group:payments"]
max = "1h"
[[rule.stage]]
people = [{ group = "dba" }]
"#;

fn actor(name: &str) -> Actor {
    Actor::authenticated(TenantId::main(), Principal::new(name).unwrap(), "test")
}

async fn engine(toy: &Toy) -> Jit {
    let store = MemoryStore::new(Arc::new(SystemClock));
    Jit::builder()
        .store(store)
        .policy(PolicyDocument::parse(POLICY, "t").unwrap())
        .database("orders", toy.clone())
        .build()
        .await
        .unwrap()
}

fn send<T: Send>(t: T) -> T {
    t
}

#[tokio::test(flavor = "multi_thread")]
async fn whole() {
    let toy = Toy::default();
    let jit = engine(&toy).await;
    let pump = jit.start();
    let a = send(jit.request(&actor("alice"), Ask::new("orders", "w", TimeDelta::milliseconds(700)).because("x")))
        .await
        .unwrap();
    assert_eq!(a.state, "pending");
    send(jit.approve(&actor("alice"), a.id, "")).await.unwrap_err();
    let a = send(jit.approve(&actor("bob"), a.id, "ok")).await.unwrap();
    println!("{}", a.state);
    let t = std::time::Instant::now();
    let a = jit.until_active(a.id, Duration::from_secs(5)).await.unwrap();
    println!("active after {:?}", t.elapsed());
    let a = jit.until_ended(a.id, Duration::from_secs(5)).await.unwrap();
    println!("{} {:?} after {:?}", a.state, a.cause, t.elapsed());
    assert_eq!(a.state, "revoked");
    assert!(toy.0.lock().unwrap().held.is_empty());
    for e in jit.history(a.id, 100).await.unwrap() {
        println!("{}", String::from_utf8_lossy(&e.body));
    }
    // outage
    let r =
        jit.request(&actor("alice"), Ask::new("orders", "r", TimeDelta::milliseconds(300)).because("x")).await.unwrap();
    jit.until_active(r.id, Duration::from_secs(5)).await.unwrap();
    toy.0.lock().unwrap().down = true;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let v = jit.access(r.id).await.unwrap();
    println!("{} overdue {} {:?}", v.state, v.overdue, v.trouble);
    assert!(v.overdue);
    toy.0.lock().unwrap().down = false;
    let v = jit.until_ended(r.id, Duration::from_secs(7)).await.unwrap();
    println!("{} {:?}", v.state, v.cause);
    println!("{:?}", toy.0.lock().unwrap().calls);
    pump.stop().await;
}
