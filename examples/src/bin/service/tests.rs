//! Tests of the service on the mock database, by a clock that they move.

use axum::body::{Body, to_bytes};
use axum::http::Request;
use jit_core::testkit::{Bench, mock::Profile};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const POLICY: &str = r#"
version = 1
[groups]
payments = ["alice"]
dba      = ["bob"]
[[rule]]
name       = "change orders"
targets    = ["orders-prod"]
roles      = ["orders_write"]
requesters = ["group:payments"]
max        = "1h"
[[rule.stage]]
people = [{ group = "dba" }]
"#;

/// Service on a mock server that knows alice and the role.
async fn service() -> Outcome<(Bench, Router)> {
    let bench = Bench::start(TARGET, Profile::postgres(17), POLICY).await?;
    bench.server().create_account("alice")?;
    bench.server().create_role("orders_write")?;
    let routes = routes(bench.jit().clone());
    Ok((bench, routes))
}

/// Makes a call, and checks the status of its response.
async fn call(routes: &Router, user: &str, path: &str, body: Option<Value>, status: u16) -> Outcome<Value> {
    let call = Request::builder().uri(path).header("x-user", user).header("content-type", "application/json");
    let call = match body {
        Some(body) => call.method("POST").body(Body::from(body.to_string()))?,
        None => call.body(Body::empty())?,
    };
    let response = routes.clone().oneshot(call).await?;
    let got = response.status().as_u16();
    let body = serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await?)?;
    assert_eq!(got, status, "{user} {path}: {body}");
    Ok(body)
}

fn half_an_hour() -> Option<Value> {
    Some(json!({ "role": "orders_write", "seconds": 1800, "reason": "OPS-12: stuck orders" }))
}

#[tokio::test]
async fn a_role_is_held_from_the_approval_to_the_end_of_its_window() -> Outcome {
    let (bench, routes) = service().await?;
    let asked = call(&routes, "alice", "/access", half_an_hour(), 200).await?;
    let path = format!("/access/{}", asked["id"].as_str().unwrap_or_default());
    bench.advance(Duration::ZERO).await?;
    assert!(!bench.holds("orders_write", "alice")?);

    let yes = Some(json!({ "question": asked["question"], "note": "go ahead" }));
    assert_eq!(call(&routes, "bob", &format!("{path}/approve"), yes, 200).await?["state"], "scheduled");
    bench.advance(Duration::ZERO).await?;
    assert!(bench.holds("orders_write", "alice")?);
    assert_eq!(call(&routes, "alice", &path, None, 200).await?["state"], "active");

    bench.advance(Duration::from_secs(1800)).await?;
    assert!(!bench.holds("orders_write", "alice")?);
    assert_eq!(call(&routes, "alice", &path, None, 200).await?["state"], "revoked");
    Ok(())
}

#[tokio::test]
async fn a_role_that_is_given_back_is_gone() -> Outcome {
    let (bench, routes) = service().await?;
    let asked = call(&routes, "alice", "/access", half_an_hour(), 200).await?;
    let path = format!("/access/{}", asked["id"].as_str().unwrap_or_default());
    call(&routes, "bob", &format!("{path}/approve"), Some(json!({ "question": asked["question"] })), 200).await?;
    bench.advance(Duration::ZERO).await?;
    call(&routes, "bob", &format!("{path}/release"), Some(json!({})), 403).await?;
    call(&routes, "alice", &format!("{path}/release"), Some(json!({})), 200).await?;
    bench.advance(Duration::ZERO).await?;
    assert!(!bench.holds("orders_write", "alice")?);
    Ok(())
}

#[tokio::test]
async fn errors_have_the_status_that_fits() -> Outcome {
    let (_bench, routes) = service().await?;
    let for_seconds = |seconds: i64| Some(json!({ "role": "orders_write", "seconds": seconds, "reason": "OPS-12" }));
    assert_eq!(call(&routes, "alice", "/access", for_seconds(7200), 403).await?["kind"], "denied");
    assert_eq!(call(&routes, "mallory", "/access", half_an_hour(), 403).await?["kind"], "denied");
    assert_eq!(call(&routes, "alice", "/access", for_seconds(-5), 400).await?["kind"], "invalid");

    let asked = call(&routes, "alice", "/access", half_an_hour(), 200).await?;
    let path = format!("/access/{}", asked["id"].as_str().unwrap_or_default());
    let (approve, yes) = (format!("{path}/approve"), Some(json!({ "question": asked["question"] })));
    for nobody in ["alice", "mallory"] {
        assert_eq!(call(&routes, nobody, &approve, yes.clone(), 403).await?["kind"], "refused");
    }
    call(&routes, "bob", &approve, Some(json!({ "question": "000000000000" })), 409).await?;
    assert_eq!(call(&routes, "mallory", &path, None, 404).await?["kind"], "not-found");
    call(&routes, "bob", &approve, yes.clone(), 200).await?;
    call(&routes, "bob", &approve, yes, 409).await?;
    Ok(())
}

#[tokio::test]
async fn the_book_shows_the_json_of_a_view_as_it_is() -> Outcome {
    let book = include_str!("../../../../docs/src/embedding.md");
    let shown = book.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_default();
    let shown: Value = serde_json::from_str(shown)?;
    let read: AccessView = serde_json::from_value(shown.clone())?;
    assert_eq!(serde_json::to_value(&read)?, shown);

    let (_bench, routes) = service().await?;
    let asked = call(&routes, "alice", "/access", half_an_hour(), 200).await?;
    let keys = |view: &Value| view.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    assert_eq!(keys(&asked), keys(&shown));
    Ok(())
}

#[tokio::test]
async fn the_book_shows_the_status_of_every_kind_of_error() -> Outcome {
    let book = include_str!("../../../../docs/src/embedding.md");
    let said = || "said".to_owned();
    let errors: Vec<JitError> = vec![
        JitError::Denied { reason: said(), rule: None },
        JitError::NotAllowed { who: said(), what: said(), hint: said() },
        JitError::FactorRefused { why: said() },
        JitError::Invalid { why: said() },
        JitError::NotFound { what: "access", name: said(), hint: said() },
        JitError::Standing { finding: said() },
        JitError::Stopped { scope: said(), by: said(), reason: said() },
        JitError::ClockDoubtful { why: said() },
        JitError::Busy,
        JitError::Policy { why: said() },
        JitError::Internal { what: "a pass", why: said() },
    ];
    for error in errors {
        let row = format!("| {} |", error.class().http_status());
        let row = book.lines().find(|line| line.starts_with(&row)).unwrap_or_default();
        assert!(row.contains(&format!("`{}`", error.kind())), "{error:?}: {row}");
    }
    Ok(())
}
