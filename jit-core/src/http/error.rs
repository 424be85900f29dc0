//! Why there is no answer, in words that hold no address and no header.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no answer. No variant holds more of an address than its host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// What was given as an address is none.
    #[error("the address is no URL of http or https")]
    InvalidUrl,
    /// What was given as a header cannot be one.
    #[error("a header holds what no header can hold")]
    InvalidHeader,
    /// It would go over the wire unprotected, and that was not asked for.
    #[error("the address of `{host}` is without TLS: use https, or spell out that plaintext is meant")]
    Plaintext {
        /// Whose.
        host: String,
    },
    /// The certificates that were named cannot be used.
    #[error("the certificates `{path}` cannot be used: {why}")]
    Ca {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nobody answered, or not over TLS as it is demanded.
    #[error("`{host}` cannot be reached: {why}")]
    Unreachable {
        /// Who.
        host: String,
        /// Why.
        why: String,
    },
    /// It took too long.
    #[error("`{host}` gave no whole answer within {} s", .limit.as_secs_f32())]
    TooSlow {
        /// Who.
        host: String,
        /// How long was waited.
        limit: Duration,
    },
    /// It says more than anybody reads.
    #[error("`{host}` answered with more than {most} bytes")]
    TooLarge {
        /// Who.
        host: String,
        /// How much is read.
        most: usize,
    },
}

impl HttpError {
    /// In the words of the innermost cause: the outer ones repeat the address.
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
