//! One careful way to speak HTTP to outside systems: TLS verified, no redirects followed, answers bounded in size and time, and no
//! address or header in an error.

mod error;
mod signature;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};

pub use error::HttpError;
pub use signature::{SignatureError, TOLERANCE, WebhookSecret, sign, verify};

/// How long a call may take as a whole where nothing else is said.
pub const LIMIT: Duration = Duration::from_secs(10);
/// How many bytes of an answer are read where nothing else is said.
pub const MOST_BYTES: usize = 1 << 20;

/// How to speak to outside systems.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// A file with certificates (PEM) that are trusted beside those of the system.
    pub ca: Option<PathBuf>,
    /// Whether an address without TLS is refused.
    pub plaintext: Plaintext,
    /// How long a call may take as a whole.
    pub limit: Duration,
    /// How many bytes an answer may have.
    pub most_bytes: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { ca: None, plaintext: Plaintext::Refused, limit: LIMIT, most_bytes: MOST_BYTES }
    }
}

/// Whether an address without TLS is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Plaintext {
    /// It is.
    #[default]
    Refused,
    /// It is used: whoever listens on the way reads and forges what is said.
    DangerousAllowed,
}

/// Speaks HTTP. Cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    config: HttpConfig,
}

/// What to send.
#[derive(Debug, Clone)]
pub struct HttpRequest {
    /// How.
    pub method: Method,
    /// Where: it may be a secret, as that of a chat's webhook is.
    pub url: SecretString,
    /// Further headers: they may be secrets.
    pub headers: Vec<(String, SecretString)>,
    /// The body, where it has one.
    pub body: Option<Vec<u8>>,
}

impl HttpRequest {
    /// Reads from there.
    pub fn get(url: impl Into<SecretString>) -> Self {
        Self { method: Method::Get, url: url.into(), headers: Vec::new(), body: None }
    }

    /// Sends this JSON there.
    pub fn post_json(url: impl Into<SecretString>, body: Vec<u8>) -> Self {
        let request = Self { method: Method::Post, url: url.into(), headers: Vec::new(), body: Some(body) };
        request.header("content-type", "application/json")
    }

    /// With one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<SecretString>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// How to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reading.
    Get,
    /// Sending.
    Post,
}

/// What came back, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// The status (200, 404...).
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// When the other side wants to be asked again at the earliest, if it said so in seconds.
    pub retry_after: Option<TimeDelta>,
}

impl HttpAnswer {
    /// Whether it is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl HttpClient {
    /// A client.
    ///
    /// # Errors
    /// [`HttpError::Ca`] where the certificates cannot be used.
    pub fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.limit)
            .user_agent(concat!("jit/", env!("CARGO_PKG_VERSION")))
            // what the environment says of proxies is not for decisions about production databases
            .no_proxy();
        if let Some(path) = &config.ca {
            let wrong = |why: String| HttpError::Ca { path: path.clone(), why };
            let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
            let certificates = reqwest::Certificate::from_pem_bundle(&pem);
            let certificates = certificates.map_err(|_| wrong("it holds no certificates in PEM form".to_owned()))?;
            if certificates.is_empty() {
                return Err(wrong("it holds no certificates in PEM form".to_owned()));
            }
            builder = builder.tls_certs_merge(certificates);
        }
        let client = builder.build().map_err(|error| HttpError::of("TLS", &error))?;
        Ok(Self { client, config })
    }

    /// Sends it and reads the answer.
    ///
    /// # Errors
    /// [`HttpError`] where there is none; an answer of any status is no error.
    pub async fn send(&self, request: &HttpRequest) -> Result<HttpAnswer, HttpError> {
        let url = reqwest::Url::parse(request.url.expose_secret()).map_err(|_| HttpError::InvalidUrl)?;
        match (url.scheme(), self.config.plaintext) {
            ("https", _) | ("http", Plaintext::DangerousAllowed) => {}
            ("http", Plaintext::Refused) => return Err(HttpError::Plaintext { host: host(&url) }),
            _ => return Err(HttpError::InvalidUrl),
        }
        let host = host(&url);
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
        };
        let mut builder = self.client.request(method, url);
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HttpError::InvalidHeader)?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| HttpError::InvalidHeader)?;
            value.set_sensitive(true);
            builder = builder.header(name, value);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let failed = |error: reqwest::Error| match error.is_timeout() {
            true => HttpError::TooSlow { host: host.clone(), limit: self.config.limit },
            false => HttpError::of(&host, &error),
        };
        let mut answer = builder.send().await.map_err(failed)?;
        let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = retry_after.map(|seconds: u32| TimeDelta::seconds(i64::from(seconds)));
        let status = answer.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if body.len().saturating_add(chunk.len()) > self.config.most_bytes {
                return Err(HttpError::TooLarge { host, most: self.config.most_bytes });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(HttpAnswer { status, body, retry_after })
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Who is spoken to, without what may be secret in an address.
fn host(url: &reqwest::Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
