//! Approver for any outside system, by a signed webhook: it answers at once, or calls back later.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::wire::{said, shown};
use super::{Approver, ApproverError, Callback, CallbackRefused, Reply, Review};
use crate::clock::{Clock, SystemClock, Time};
use crate::http::{HttpClient, HttpRequest, SignedMessage, WebhookSecret, sign, verify};

/// Placeholder of the token in the callback address.
const TOKEN: &str = "{token}";

/// Asks by POSTing the review as JSON, signed as the Standard Webhooks specification demands.
/// `webhook-id` is the review's id, which stays the same however often it is asked.
///
/// The answer is JSON too:
/// `{"decision": "approve" | "deny" | "wait", "reason": "...", "details": {...}}`. A system that
/// answers `wait`, or 202, calls back later. The callback is a POST of the same JSON to the address
/// under `callback`. It repeats `review` and `access` as they were given, and is signed with the
/// same secret.
#[derive(Debug)]
pub struct WebhookApprover {
    client: HttpClient,
    url: SecretString,
    secrets: Vec<WebhookSecret>,
    callback: Option<String>,
}

/// Answer of the webhook.
#[derive(Debug, Deserialize)]
struct WebhookReply {
    decision: Decision,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    details: Map<String, Value>,
    /// Review that a callback is about.
    review: Option<String>,
    access: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Decision {
    Approve,
    Deny,
    Wait,
}

impl WebhookApprover {
    /// Creates an approver at this address, with the secrets that both sides know. The first secret
    /// signs. A callback must be signed with one of them.
    #[must_use]
    pub fn new(client: HttpClient, url: SecretString, secrets: Vec<WebhookSecret>) -> Self {
        Self { client, url, secrets, callback: None }
    }

    /// Sets the callback address. `{token}` in it means the token of the review.
    #[must_use]
    pub fn callback(self, url: impl Into<String>) -> Self {
        Self { callback: Some(url.into()), ..self }
    }

    fn reply(answer: WebhookReply, until: Time) -> Reply {
        let words = said(&answer.reason, Some(&answer.details));
        match answer.decision {
            Decision::Approve => Reply::Approve(words),
            Decision::Deny => Reply::Deny(words),
            Decision::Wait => Reply::Wait(until),
        }
    }
}

#[async_trait]
impl Approver for WebhookApprover {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        let callback = self.callback.as_ref().map(|url| url.replace(TOKEN, &review.token));
        let mut body = shown(review);
        if let Some(body) = body.as_object_mut() {
            body.insert("callback".to_owned(), json!(callback));
        }
        let body = body.to_string().into_bytes();
        let now = SystemClock.wall();
        let signature = sign(&self.secrets, &review.id, now, &body);
        let request = HttpRequest::post_json(self.url.expose_secret(), body)
            .header("webhook-id", review.id.as_str())
            .header("webhook-timestamp", now.timestamp().to_string())
            .header("webhook-signature", signature);
        let answer = self.client.send(&request).await?;
        if answer.status == 202 && answer.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Reply::Wait(review.until));
        }
        if !answer.is_success() {
            let retry_after = answer.retry_after;
            return Err(ApproverError { retry_after, ..ApproverError::new(format!("it answered {}", answer.status)) });
        }
        let told: WebhookReply = serde_json::from_slice(&answer.body).map_err(|_| {
            ApproverError::new("its answer is not JSON with a `decision` of `approve`, `deny` or `wait`")
        })?;
        Ok(Self::reply(told, review.until))
    }

    fn answered(&self, review: &Review, callback: &Callback, now: Time) -> Result<Reply, CallbackRefused> {
        let header = |name: &str| callback.headers.get(name).map_or("", String::as_str);
        let (id, at, signed) = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        verify(&self.secrets, SignedMessage::new(id, at, signed, &callback.body), now)
            .map_err(|error| CallbackRefused::Signature { why: error.to_string() })?;
        let told: WebhookReply = serde_json::from_slice(&callback.body).map_err(|_| CallbackRefused::Unreadable {
            why: "it is not JSON with a `decision` of `approve`, `deny` or `wait`".to_owned(),
        })?;
        let access = review.access.to_string();
        if told.review.as_ref() != Some(&review.id) || told.access.as_ref() != Some(&access) {
            return Err(CallbackRefused::Another);
        }
        if told.decision == Decision::Wait {
            return Err(CallbackRefused::Unreadable { why: "a callback decides: `approve` or `deny`".to_owned() });
        }
        Ok(Self::reply(told, review.until))
    }
}
