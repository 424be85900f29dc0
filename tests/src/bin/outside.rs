//! A program outside of jit, as its own process. Over real HTTP it plays trackers, workflow tools,
//! chats and policy engines. It keeps the requests that it receives, and answers as the test told
//! it.
//!
//! `outside` prints its address. It ends with its standard input.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// Answer that it gives under one name.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
struct Behaviour {
    status: u16,
    body: String,
    delay_ms: u64,
    /// Number of bytes to send instead of the body.
    bytes: usize,
    headers: BTreeMap<String, String>,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { status: 200, body: "ok".to_owned(), delay_ms: 0, bytes: 0, headers: BTreeMap::new() }
    }
}

/// Request that it received.
#[derive(Debug, Clone, Serialize)]
struct Heard {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
    /// Status that it answered.
    status: u16,
}

#[derive(Debug, Default)]
struct World {
    behaviours: BTreeMap<String, Behaviour>,
    heard: BTreeMap<String, Vec<Heard>>,
}

type Shared = Arc<Mutex<World>>;

#[tokio::main]
async fn main() -> Result<()> {
    let shared = Shared::default();
    let routes = Router::new()
        .route("/behave/{name}", post(behave))
        .route("/heard/{name}", get(heard))
        .route("/at/{name}", any(hear))
        .route("/at/{name}/{*rest}", any(hear_below))
        .with_state(shared);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    let end = async {
        let mut rest = Vec::new();
        let _ = tokio::io::stdin().read_to_end(&mut rest).await;
    };
    axum::serve(listener, routes).with_graceful_shutdown(end).await?;
    Ok(())
}

async fn behave(State(world): State<Shared>, Path(name): Path<String>, body: Bytes) -> StatusCode {
    let Ok(behaviour) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    world.lock().unwrap_or_else(PoisonError::into_inner).behaviours.insert(name, behaviour);
    StatusCode::OK
}

async fn heard(State(world): State<Shared>, Path(name): Path<String>) -> String {
    let world = world.lock().unwrap_or_else(PoisonError::into_inner);
    serde_json::to_string(world.heard.get(&name).map(Vec::as_slice).unwrap_or_default()).unwrap_or_default()
}

async fn hear_below(
    state: State<Shared>,
    Path((name, _)): Path<(String, String)>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    hear(state, Path(name), method, uri, headers, body).await
}

async fn hear(
    State(world): State<Shared>,
    Path(name): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> impl IntoResponse {
    let behaviour = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        let behaviour = world.behaviours.get(&name).cloned().unwrap_or_default();
        let text = |name: &axum::http::HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let headers = headers.keys().filter_map(|name| Some((name.to_string(), text(name)?.to_owned())));
        let heard = Heard {
            method: method.to_string(),
            path: uri.to_string(),
            headers: headers.collect(),
            body: String::from_utf8_lossy(&body).into_owned(),
            status: behaviour.status,
        };
        world.heard.entry(name).or_default().push(heard);
        behaviour
    };
    tokio::time::sleep(Duration::from_millis(behaviour.delay_ms)).await;
    let status = StatusCode::from_u16(behaviour.status).unwrap_or(StatusCode::OK);
    let mut answer = HeaderMap::new();
    for (name, value) in &behaviour.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<axum::http::HeaderName>(), value.parse()) {
            answer.insert(name, value);
        }
    }
    let body = if behaviour.bytes > 0 { "x".repeat(behaviour.bytes) } else { behaviour.body };
    (status, answer, body)
}
