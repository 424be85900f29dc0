//! A careful HTTP client for outside systems. It verifies TLS and follows no redirects. It bounds
//! answers in size and time, and puts no address or header in an error.

mod error;
mod signature;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use reqwest::header::{HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::{ExposeSecret, SecretString};

pub use error::HttpError;
pub use signature::{SignatureError, SignedMessage, TOLERANCE, WebhookSecret, sign, verify};

/// Time that a whole call may take by default.
pub const LIMIT: Duration = Duration::from_secs(10);
/// Number of bytes of an answer that are read by default.
pub const MOST_BYTES: usize = 1 << 20;

/// Settings of the HTTP client.
///
/// ```
/// use std::time::Duration;
///
/// use jit_core::http::{HttpClient, HttpConfig, HttpError, HttpRequest};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), HttpError> {
/// let config = HttpConfig::default().limit(Duration::from_secs(3));
/// let client = HttpClient::new(config)?;
///
/// // an address without TLS is refused before anything is sent
/// let answer = client.send(&HttpRequest::get("http://tracker.example/OPS-12")).await;
/// assert!(matches!(answer, Err(HttpError::Plaintext { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpConfig {
    /// File with certificates (PEM) that are trusted in addition to those of the system.
    pub ca: Option<PathBuf>,
    /// Handling of addresses without TLS.
    pub plaintext: Plaintext,
    /// Time that a whole call may take.
    pub limit: Duration,
    /// Largest number of bytes that an answer may have.
    pub most_bytes: usize,
}

impl HttpConfig {
    /// Trusts the certificates of this file (PEM) too.
    #[must_use]
    pub fn ca(self, path: impl Into<PathBuf>) -> Self {
        Self { ca: Some(path.into()), ..self }
    }

    /// Sets the handling of addresses without TLS.
    #[must_use]
    pub fn plaintext(self, plaintext: Plaintext) -> Self {
        Self { plaintext, ..self }
    }

    /// Sets the time that a whole call may take.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Sets the largest number of bytes that an answer may have.
    #[must_use]
    pub fn most_bytes(self, most_bytes: usize) -> Self {
        Self { most_bytes, ..self }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self { ca: None, plaintext: Plaintext::Refused, limit: LIMIT, most_bytes: MOST_BYTES }
    }
}

/// Handling of addresses without TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Plaintext {
    /// Addresses without TLS are refused.
    #[default]
    Refused,
    /// Addresses without TLS are used. Whoever listens on the way can read and forge everything.
    DangerousAllowed,
}

/// HTTP client, which is cheap to clone.
#[derive(Clone)]
pub struct HttpClient {
    client: reqwest::Client,
    config: HttpConfig,
}

/// A request to send.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    /// Method of the request.
    pub method: Method,
    /// Address, which may be a secret, as that of a chat's webhook is.
    pub url: SecretString,
    /// Further headers, which may be secrets.
    pub headers: Vec<(String, SecretString)>,
    /// Body, if the request has one.
    pub body: Option<Vec<u8>>,
}

impl HttpRequest {
    /// Makes a request that reads from this address.
    pub fn get(url: impl Into<SecretString>) -> Self {
        Self { method: Method::Get, url: url.into(), headers: Vec::new(), body: None }
    }

    /// Makes a request that sends this JSON to this address.
    pub fn post_json(url: impl Into<SecretString>, body: Vec<u8>) -> Self {
        let request = Self { method: Method::Post, url: url.into(), headers: Vec::new(), body: Some(body) };
        request.header("content-type", "application/json")
    }

    /// Returns the request with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<SecretString>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// Method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// Reads from the address.
    Get,
    /// Sends to the address.
    Post,
}

/// An answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpAnswer {
    /// Status of the answer (200, 404...).
    pub status: u16,
    /// Body of the answer.
    pub body: Vec<u8>,
    /// Time to wait before asking again, if the other side stated it in seconds.
    pub retry_after: Option<TimeDelta>,
}

impl HttpAnswer {
    /// Creates an answer of this status and body.
    #[must_use]
    pub fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, body, retry_after: None }
    }
}

impl HttpAnswer {
    /// Checks whether the answer is a success.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl HttpClient {
    /// Makes a client with these settings.
    ///
    /// # Errors
    /// [`HttpError::Ca`] if the certificates cannot be used.
    pub fn new(config: HttpConfig) -> Result<Self, HttpError> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(config.limit)
            .user_agent(concat!("jit/", env!("CARGO_PKG_VERSION")))
            // proxy settings of the environment must not apply to decisions about production
            // databases
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

    /// Sends the request and reads the answer.
    ///
    /// # Errors
    /// [`HttpError`] if there is no answer. An answer of any status is no error.
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

/// Returns the host and port, without the parts of an address that may be secret.
fn host(url: &reqwest::Url) -> String {
    let name = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{name}:{port}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
