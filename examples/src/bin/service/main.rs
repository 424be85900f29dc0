//! Example of jit in a web service (axum): people ask for a role, approve, look and give it back.
//!
//! Its tests need no server: they use the mock database, and a clock that they move.
//!
//! The environment says where the database is: `ORDERS_URL`, `ORDERS_PASSWORD`, and `ORDERS_CA` for
//! a CA to trust instead of the system's. The policy is `policy.toml`, as `jit init` writes it.

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a missing field is null")]
mod tests;

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Json, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get, post};
use jit_core::{
    About, AccessId, AccessRequest, AccessView, Actor, EnvCredentials, Jit, JitError, JsonLines, PolicyDocument,
    QuestionId, SigningKey, SqliteStore, SystemEntropy, TenantId, TimeDelta, TlsMode,
};
use jit_postgres::{PostgresConfig, PostgresDatabase};

const TARGET: &str = "orders-prod";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let tls = TlsMode::verify_full(std::env::var("ORDERS_CA").ok().map(Into::into));
    let password = Arc::new(EnvCredentials::new("ORDERS_PASSWORD"));
    let config = PostgresConfig::from_url(&std::env::var("ORDERS_URL")?)?.tls(tls).credentials(password);

    let policy = PolicyDocument::load("policy.toml")?;
    policy.check().iter().for_each(|warning| eprintln!("policy.toml: {warning}"));
    let jit = Jit::builder()
        .store(SqliteStore::open("jit.db")?)
        .policy(policy)
        .database(TARGET, PostgresDatabase::new(config)?)
        .signing_key(SigningKey::load_or_create("audit.key", "orders", &SystemEntropy)?)
        .audit_sink(JsonLines::append("audit.jsonl")?)
        .build()
        .await?;
    // a target that is down or not set up yet is worth a line, and no reason not to start
    match jit.check_target(&TARGET.parse()?).await {
        Ok(report) => report.checks.iter().for_each(|check| eprintln!("{TARGET}: {}", check.message)),
        Err(error) => eprintln!("{TARGET}: {error}"),
    }

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8088").await?;
    let pump = jit.start();
    axum::serve(listener, routes(jit)).with_graceful_shutdown(stopped()).await?;
    let left = pump.stop_within(Duration::from_secs(20)).await;
    eprintln!("stopped, with {} unfinished: the next start goes on with them", left.unfinished.len());
    Ok(())
}

async fn stopped() {
    if let Err(error) = tokio::signal::ctrl_c().await {
        eprintln!("Ctrl-C cannot be waited for: {error}");
        std::future::pending::<()>().await;
    }
}

fn routes(jit: Jit) -> Router {
    Router::new()
        .route("/access", post(request))
        .route("/access/{id}", get(show))
        .route("/access/{id}/approve", post(approve))
        .route("/access/{id}/release", post(release))
        .with_state(jit)
}

/// Person who calls. The header `x-user` stands for the login of your service.
struct Caller(Actor);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let user = parts.headers.get("x-user").and_then(|user| user.to_str().ok());
        let user = user.ok_or_else(|| StatusCode::UNAUTHORIZED.into_response())?;
        let principal = user.parse().map_err(|error| Failure::from(error).into_response())?;
        Ok(Self(Actor::authenticated(TenantId::default(), principal, "x-user")))
    }
}

/// Error of jit as an HTTP response. The hint is for operators, and stays in the log.
struct Failure(JitError);

impl<E: Into<JitError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        if let Some(hint) = self.0.hint() {
            eprintln!("{}: {} ({hint})", self.0.kind(), self.0);
        }
        let status = StatusCode::from_u16(self.0.class().http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::json!({ "kind": self.0.kind(), "message": self.0.to_string() });
        (status, Json(body)).into_response()
    }
}

type Answer = Result<Json<AccessView>, Failure>;

#[derive(serde::Deserialize)]
struct NewRequest {
    role: String,
    seconds: i64,
    reason: String,
}

#[derive(serde::Deserialize)]
struct Approval {
    /// Question that the person saw.
    question: QuestionId,
    #[serde(default)]
    note: String,
}

async fn request(
    State(jit): State<Jit>,
    Caller(actor): Caller,
    headers: HeaderMap,
    Json(new): Json<NewRequest>,
) -> Answer {
    let too_long = || JitError::Invalid { why: "seconds: nothing lasts that long".into() };
    let duration = TimeDelta::try_seconds(new.seconds).ok_or_else(too_long)?;
    let mut request = AccessRequest::new(TARGET, new.role, duration).because(new.reason);
    if let Some(key) = headers.get("idempotency-key").and_then(|key| key.to_str().ok()) {
        request = request.key(key);
    }
    Ok(shown(jit.request(&actor, request).await?))
}

async fn approve(
    State(jit): State<Jit>,
    Caller(actor): Caller,
    Path(id): Path<AccessId>,
    Json(approval): Json<Approval>,
) -> Answer {
    let seen = About::question(id, Some(approval.question));
    Ok(shown(jit.approve(&actor, seen, &approval.note).await?))
}

/// Shows an access to its people, and to those who can decide.
async fn show(State(jit): State<Jit>, Caller(actor): Caller, Path(id): Path<AccessId>) -> Answer {
    let (view, me) = (jit.access(id).await?, &actor.principal);
    let involved = [&view.requester, &view.principal].contains(&me) || view.decisions.iter().any(|one| one.by == *me);
    if !involved && !jit.who_can_decide(id).await?.contains(me) {
        return Err(JitError::no_access(id).into());
    }
    Ok(shown(view))
}

async fn release(State(jit): State<Jit>, Caller(actor): Caller, Path(id): Path<AccessId>) -> Answer {
    Ok(shown(jit.release(&actor, id).await?))
}

/// Leaves out what can name servers and sessions.
fn shown(mut view: AccessView) -> Json<AccessView> {
    (view.last_error, view.cause, view.evidence) = (None, None, None);
    Json(view)
}
