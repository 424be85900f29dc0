//! Approver that asks Open Policy Agent over its REST API.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::wire::{said, shown};
use super::{Approver, ApproverError, Reply, Review};
use crate::http::{HttpClient, HttpRequest};

/// Asks Open Policy Agent for a decision (`POST /v1/data/...` with the request as `input`). The
/// result is `true` or `false`, or an object with `allow` and optionally `reason`. A policy that
/// does not cover the request is a no. An error is no answer.
#[derive(Debug)]
pub struct Opa {
    client: HttpClient,
    url: SecretString,
    token: Option<SecretString>,
}

#[derive(Debug, Deserialize)]
struct OpaResponse {
    result: Option<Value>,
    decision_id: Option<String>,
}

impl Opa {
    /// Creates an approver for the decision at this address, such as
    /// `https://opa.example.com/v1/data/jit/allow`.
    #[must_use]
    pub fn new(client: HttpClient, url: SecretString) -> Self {
        Self { client, url, token: None }
    }

    /// Adds a bearer token to the calls.
    #[must_use]
    pub fn token(self, token: SecretString) -> Self {
        Self { token: Some(token), ..self }
    }
}

#[async_trait]
impl Approver for Opa {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        let body = json!({ "input": shown(review) }).to_string().into_bytes();
        let mut request = HttpRequest::post_json(self.url.expose_secret(), body);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.expose_secret()));
        }
        let answer = self.client.send(&request).await?;
        if !answer.is_success() {
            return Err(ApproverError::new(format!("it answered {}", answer.status)));
        }
        let told: OpaResponse = serde_json::from_slice(&answer.body)
            .map_err(|_| ApproverError::new("its answer is not JSON with a `result`, as the data API gives it"))?;
        let (allows, reason) = match &told.result {
            None => (false, "the policy says nothing about it"),
            Some(Value::Bool(allows)) => (*allows, ""),
            Some(Value::Object(result)) => match result.get("allow") {
                Some(Value::Bool(allows)) => {
                    (*allows, result.get("reason").and_then(Value::as_str).unwrap_or_default())
                }
                _ => return Err(ApproverError::new("its `result` has no `allow` that is true or false")),
            },
            Some(_) => {
                return Err(ApproverError::new("its `result` is neither true nor false, nor an object with `allow`"));
            }
        };
        let decision = told.decision_id.map(|id| ("decision_id".to_owned(), Value::String(id)));
        let words = said(reason, Some(&decision.into_iter().collect::<Map<_, _>>()));
        Ok(if allows { Reply::Approve(words) } else { Reply::Deny(words) })
    }
}
