//! Approves with a token, through the whole engine.

use chrono::TimeDelta;
use jit_core::Actor;
use jit_core::engine::{AccessRequest, AccessView, Jit};
use jit_core::id::FactorName;
use jit_core::policy::PolicyDocument;
use jit_core::store::MemoryStore;
use jit_core::testkit::mock::{MockServer, Profile};

use super::*;

const POLICY: &str = r#"
version = 1
[groups]
dba = ["bob"]
[[rule]]
name = "write"
targets = ["pg"]
roles = ["writer"]
requesters = ["*"]
max = "1h"
[[rule.stage]]
people = [{ group = "dba" }]
mfa = { of = "approver", within = "5m", factor = "login" }
"#;

async fn engine(scene: &Scene) -> Jit {
    let clock = Arc::new(scene.clock.clone());
    let server = MockServer::new(Profile::postgres(17), clock.clone());
    server.create_account("alice").unwrap();
    server.create_role("writer").unwrap();
    let factor = OidcFactor::new(trusting(&scene.provider.issuer, &scene.clock)).unwrap();
    let jit = Jit::builder()
        .shared_store(Arc::new(MemoryStore::new(clock)))
        .policy(PolicyDocument::parse(POLICY, "test").unwrap())
        .database("pg", server.database())
        .factor("login", factor)
        .build()
        .await
        .unwrap();
    jit.run_due().await.unwrap();
    jit
}

fn actor(name: &str) -> Actor {
    Actor::authenticated(TenantId::default(), Principal::new(name).unwrap(), "test")
}

fn with(token: &str) -> Actor {
    actor("bob").responding(FactorName::new("login").unwrap(), token.to_owned())
}

#[tokio::test]
async fn an_approval_takes_a_token_of_its_own_access_once_and_the_log_says_whose_and_never_what() {
    let scene = Scene::new();
    let jit = engine(&scene).await;
    let access = request(&jit).await;
    let token = |nonce: &AccessView, changes: Value| {
        let mut claims = scene.claims(json!({ "sub": "bob", "nonce": nonce.id().to_string() }));
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        scene.provider.token("ES256", &claims)
    };
    let refused = async |access: &AccessView, token: &str| {
        let error = jit.approve(&with(token), access.id(), "").await.unwrap_err();
        assert_eq!(error.kind(), "factor-refused");
        error.to_string()
    };
    let stale = token(&access, json!({ "auth_time": scene.clock.wall().timestamp() - 301 }));
    let error = jit.approve(&with(&stale), access.id(), "").await.unwrap_err();
    assert!(error.to_string().contains("second factor"), "{error}");
    let good = token(&access, json!({ "jti": "two" }));
    assert_eq!(jit.approve(&with(&good), access.id(), "go").await.unwrap().state, "scheduled");
    jit.run_due().await.unwrap();
    assert_eq!(jit.access(access.id()).await.unwrap().state, "active");
    jit.release(&actor("alice"), access.id()).await.unwrap();
    jit.run_due().await.unwrap();

    let next = request(&jit).await;
    assert!(refused(&next, &good).await.contains("its `nonce` is not that of this access"));
    assert!(refused(&next, &token(&next, json!({ "jti": "two" }))).await.contains("it was used already"));
    jit.approve(&with(&token(&next, json!({ "jti": "three" }))), next.id(), "go").await.unwrap();

    let entries =
        [jit.history(access.id(), 1_000).await.unwrap(), jit.history(next.id(), 1_000).await.unwrap()].concat();
    let told: Vec<String> = entries.iter().map(|entry| String::from_utf8_lossy(&entry.body).into_owned()).collect();
    let approved = told.iter().find(|entry| entry.contains("\"approved\"")).unwrap();
    for said in [scene.provider.issuer.as_str(), "\"pwd otp\"", "p256-1"] {
        assert!(approved.contains(said), "{approved}");
    }
    for part in good.split('.') {
        assert!(!told.iter().any(|entry| entry.contains(part)), "a part of the token is in the log");
    }
}

async fn request(jit: &Jit) -> AccessView {
    let ask = AccessRequest::new("pg", "writer", TimeDelta::minutes(10)).because("a test needs it");
    jit.request(&actor("alice"), ask).await.unwrap()
}
