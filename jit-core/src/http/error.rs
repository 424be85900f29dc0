//! Reasons why there is no HTTP answer, in words that hold no address and no header.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Reason why there is no answer. No variant holds more of an address than its host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The address is no URL of http or https.
    #[error("the address is not an http or https URL")]
    InvalidUrl,
    /// The header holds characters that no header can hold.
    #[error("a header has a character that no header can have")]
    InvalidHeader,
    /// The request would go over the wire without TLS, and that was not asked for.
    #[error("the address of `{host}` is without TLS: use https, or allow plaintext explicitly")]
    Plaintext {
        /// Host of the address.
        host: String,
    },
    /// The CA certificates that were named cannot be used.
    #[error("the certificates `{path}` cannot be used: {why}")]
    Ca {
        /// File that holds the certificates.
        path: PathBuf,
        /// Reason why they cannot be used.
        why: String,
    },
    /// The host did not answer, or not over TLS as demanded.
    #[error("`{host}` cannot be reached: {why}")]
    Unreachable {
        /// Host that was called.
        host: String,
        /// Reason of the failure.
        why: String,
    },
    /// The answer took too long.
    #[error("`{host}` gave no complete answer within {} s", .limit.as_secs_f32())]
    TooSlow {
        /// Host that was called.
        host: String,
        /// Time limit of the call.
        limit: Duration,
    },
    /// The answer is larger than the limit.
    #[error("`{host}` answered with more than {most} bytes")]
    TooLarge {
        /// Host that was called.
        host: String,
        /// Largest number of bytes that are read.
        most: usize,
    },
}

impl HttpError {
    /// Takes the words of the innermost cause, because the outer ones repeat the address.
    pub(super) fn of(host: &str, error: &reqwest::Error) -> Self {
        let mut cause: &dyn Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        let innermost = !std::ptr::addr_eq(cause, error as &dyn Error as *const dyn Error);
        let why = if innermost { cause.to_string() } else { "the connection failed".to_owned() };
        Self::Unreachable { host: host.to_owned(), why }
    }
}
