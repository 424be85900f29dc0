//! The provider's documents over HTTP: TLS verified, no redirects, small answers in a short time.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::config::{OidcConfig, OidcInvalid};
use super::fetch::FetchKeys;
use crate::database::TlsMode;
use crate::store::BoxError;

/// Longest answer that is read, in bytes: a hundred keys with their certificates take less.
const LONGEST_ANSWER: usize = 512 * 1024;

/// Gets documents over HTTP.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
}

impl Http {
    /// Nothing is connected to yet.
    pub(super) fn new(config: &OidcConfig) -> Result<Self, OidcInvalid> {
        // whoever answers decides where else we ask, if it may redirect
        let client = Client::builder().redirect(Policy::none()).referer(false).timeout(config.answers_within);
        let client = match &config.tls {
            TlsMode::VerifyFull { ca: None } => client.https_only(true),
            TlsMode::VerifyFull { ca: Some(ca) } => client.https_only(true).tls_certs_only(authorities(ca)?),
            TlsMode::DangerPlaintext => client,
        };
        let client = client.build().map_err(|error| OidcInvalid::Client { source: error.into() })?;
        Ok(Self { client })
    }
}

fn authorities(file: &Path) -> Result<Vec<Certificate>, OidcInvalid> {
    let unusable = |source: BoxError| OidcInvalid::Authority { file: file.to_owned(), source };
    let pem = std::fs::read(file).map_err(|error| unusable(error.into()))?;
    let all = Certificate::from_pem_bundle(&pem).map_err(|error| unusable(error.into()))?;
    if all.is_empty() { Err(unusable("it holds no certificate".into())) } else { Ok(all) }
}

#[async_trait]
impl FetchKeys for Http {
    async fn get(&self, url: &str) -> Result<Vec<u8>, BoxError> {
        let mut answer = self.client.get(url).header("accept", "application/json").send().await?;
        if answer.status() != 200 {
            return Err(format!("it answers `{}`", answer.status()).into());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if body.len().saturating_add(chunk.len()) > LONGEST_ANSWER {
                return Err(format!("its answer is longer than {LONGEST_ANSWER} bytes").into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

/// How long an answer may take in all, unless something else is said.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
