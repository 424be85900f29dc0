//! Fetching of the provider's keys.

use std::fmt::Debug;

use async_trait::async_trait;
use serde::Deserialize;

use super::config::{KeysAt, OidcConfig};
use super::jwks::{self, BadKeys, Key};
use crate::http::{HttpClient, HttpRequest};
use crate::store::BoxError;

/// Gets a document of the provider.
#[async_trait]
pub(super) trait FetchKeys: Debug + Send + Sync + 'static {
    /// Returns the document at the URL. The answer has to be a success, and of limited size.
    async fn get(&self, url: &str) -> Result<Vec<u8>, BoxError>;
}

#[async_trait]
impl FetchKeys for HttpClient {
    async fn get(&self, url: &str) -> Result<Vec<u8>, BoxError> {
        let answer = self.send(&HttpRequest::get(url).header("accept", "application/json")).await?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("it answers with status {status}").into()),
        }
    }
}

/// Reason why the provider's keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoKeys {
    #[error("the identity provider does not answer as it should at `{url}`")]
    NoAnswer { url: String, source: BoxError },
    #[error("what the identity provider has at `{url}` is not a discovery document")]
    NotDiscovered { url: String },
    #[error("the discovery document at `{url}` is of `{found}`, not of this issuer")]
    OtherIssuer { url: String, found: String },
    #[error("the identity provider's keys at `{url}`: {bad}")]
    Bad { url: String, bad: BadKeys },
}

#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

/// Fetches the present keys.
pub(super) async fn keys(config: &OidcConfig, from: &dyn FetchKeys) -> Result<Vec<Key>, NoKeys> {
    let url = match &config.keys_at {
        KeysAt::Url(url) => url.clone(),
        KeysAt::Discovered => discover(config, from).await?,
    };
    let set = get(from, &url).await?;
    jwks::read(&set).map_err(|bad| NoKeys::Bad { url, bad })
}

/// Finds the address of the keys by OpenID Connect Discovery, section 4.
async fn discover(config: &OidcConfig, from: &dyn FetchKeys) -> Result<String, NoKeys> {
    let url = format!("{}/.well-known/openid-configuration", config.issuer.trim_end_matches('/'));
    let document = get(from, &url).await?;
    let Ok(found) = serde_json::from_slice::<Discovered>(&document) else {
        return Err(NoKeys::NotDiscovered { url });
    };
    // otherwise one provider could speak for another (section 4.3)
    if found.issuer != config.issuer {
        return Err(NoKeys::OtherIssuer { url, found: super::refused::shown(&found.issuer) });
    }
    Ok(found.jwks_uri)
}

async fn get(from: &dyn FetchKeys, url: &str) -> Result<Vec<u8>, NoKeys> {
    from.get(url).await.map_err(|source| NoKeys::NoAnswer { url: url.to_owned(), source })
}
