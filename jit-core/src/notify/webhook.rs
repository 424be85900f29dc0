//! Notices to any program, as signed webhooks.

use async_trait::async_trait;
use chrono::{SecondsFormat, TimeDelta};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::notice::Notice;
use super::notifier::{Notifier, NotifyError};
use crate::clock::{Clock, SystemClock};
use crate::http::{HttpAnswer, HttpClient, HttpError, HttpRequest, WebhookSecret, sign};

/// Sends notices as JSON by POST, signed as the Standard Webhooks specification says. `webhook-id`
/// is the notice's id: the same for every delivery.
#[derive(Debug)]
pub struct WebhookNotifier {
    client: HttpClient,
    url: SecretString,
    secrets: Vec<WebhookSecret>,
}

impl WebhookNotifier {
    /// Makes a notifier for this address that signs with every one of the secrets.
    #[must_use]
    pub fn new(client: HttpClient, url: SecretString, secrets: Vec<WebhookSecret>) -> Self {
        Self { client, url, secrets }
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let body = json!({
            "type": format!("jit.{}", notice.event),
            "timestamp": notice.at.to_rfc3339_opts(SecondsFormat::Micros, true),
            "data": { "tenant": notice.tenant, "access": notice.access, "fields": notice.fields },
        });
        let body = body.to_string().into_bytes();
        let (id, now) = (notice.id.to_string(), SystemClock.wall());
        let signature = sign(&self.secrets, &id, now, &body);
        let request = HttpRequest::post_json(self.url.expose_secret(), body)
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp().to_string())
            .header("webhook-signature", signature);
        let answer = self.client.send(&request).await.map_err(unanswered)?;
        judge(&answer, "the webhook")
    }
}

/// Turns a missing answer into an error, which says whether it may come later.
pub(super) fn unanswered(error: HttpError) -> NotifyError {
    let why = error.to_string();
    match error {
        HttpError::InvalidUrl | HttpError::InvalidHeader | HttpError::Plaintext { .. } | HttpError::Ca { .. } => {
            NotifyError::Permanent { why, source: Some(Box::new(error)) }
        }
        _ => NotifyError::Temporary { why, retry_after: None, source: Some(Box::new(error)) },
    }
}

/// Judges the status of an answer.
pub(super) fn judge(answer: &HttpAnswer, whose: &str) -> Result<(), NotifyError> {
    let HttpAnswer { status, retry_after, .. } = answer;
    let temporary = |retry_after: Option<TimeDelta>| {
        let why = format!("{whose} answered {status}");
        Err(NotifyError::Temporary { why, retry_after, source: None })
    };
    let permanent =
        |what: &str| Err(NotifyError::Permanent { why: format!("{whose} answered {status}: {what}"), source: None });
    match status {
        200..=299 => Ok(()),
        408 | 425 | 429 | 500..=599 => temporary(*retry_after),
        300..=399 => permanent("redirects are not followed, give the final address"),
        401 | 403 => permanent("it does not allow this"),
        404 | 410 => permanent("there is nothing at this address any more"),
        _ => permanent("it does not accept this"),
    }
}
