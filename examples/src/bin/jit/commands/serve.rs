//! Pump, and an address at which outside systems answer later.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::{get, post};
use jit_core::approver::Callback;
use jit_core::engine::{Jit, JitError};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep_until};

use super::Context;
use super::listener::LimitedListener;
use super::pump::{pumping, stopped};
use crate::cli;
use crate::error::Failure;

/// Duration of every refusal: longer than a look into the store, a signature and an entry of the
/// log.
const REFUSAL: Duration = Duration::from_millis(250);
/// Longest answer that is accepted, in bytes.
const LONGEST: usize = 64 * 1024;

pub(super) async fn serve(at: &Context<'_>, serve: &cli::Serve) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let handles = jit.tenants().iter().filter_map(|tenant| jit.tenant(tenant).ok()).collect();
    let routes = Router::new()
        .route("/callbacks/{token}", post(callback))
        .route("/health", get(|| async { "ok" }))
        .layer(DefaultBodyLimit::max(LONGEST))
        .layer(map_response(closing))
        .with_state(Arc::new(handles));
    let cannot = |error: std::io::Error| {
        Failure::unusable(format!("nothing can listen at {}: {error}", serve.listen), "name another with --listen")
    };
    let listener = LimitedListener::new(TcpListener::bind(serve.listen).await.map_err(cannot)?);
    let address = axum::serve::Listener::local_addr(&listener).map_err(cannot)?;
    at.out.result(&json!({"listening": address.to_string()}), || format!("outside systems call back at {address}"))?;
    let ends = async {
        // if signals cannot be received, the pump says so and ends too
        let _ = stopped().await;
    };
    let serving = async { axum::serve(listener, routes).with_graceful_shutdown(ends).await };
    let (pumped, served) = tokio::join!(pumping(at, &jit), serving);
    pumped?;
    served.map_err(|error| Failure::unusable(format!("the address does not answer any more: {error}"), ""))
}

/// Allows one request per connection: its time is limited.
async fn closing<B: Send>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Takes an answer from outside. Every refusal is the same, and takes the same time. So strangers
/// do not learn which tokens exist, which are used, and whose signature was wrong. The log has it.
async fn callback(
    State(tenants): State<Arc<Vec<Jit>>>,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, &'static str) {
    let now = Instant::now();
    let refuse_at = now.checked_add(REFUSAL).unwrap_or(now);
    let texts = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let callback = texts.fold(Callback::new(token, body.to_vec()), |call, (name, value)| call.header(name, value));
    for jit in tenants.iter() {
        match jit.callback(&callback).await {
            Ok(_) => return (StatusCode::OK, "taken\n"),
            Err(JitError::NotFound { .. } | JitError::NotAllowed { .. }) => {}
            // only a caller who has signed learns this
            Err(JitError::Refused(_)) => return (StatusCode::GONE, "too late\n"),
            Err(error) => {
                tracing::error!(%error, "a callback could not be taken");
                return (StatusCode::SERVICE_UNAVAILABLE, "try again\n");
            }
        }
    }
    sleep_until(refuse_at).await;
    (StatusCode::NOT_FOUND, "nobody waits for it\n")
}
