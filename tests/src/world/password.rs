//! The broker's password, which its adapter reads.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jit_core::database::{Credentials, CredentialsError};
use secrecy::{ExposeSecret, SecretString};

/// Password that can be changed while adapters hold it. All clones share it.
#[derive(Debug, Clone)]
pub(super) struct Password(Arc<Mutex<SecretString>>);

#[async_trait]
impl Credentials for Password {
    async fn password(&self) -> Result<SecretString, CredentialsError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Password {
    pub(super) fn new(text: &str) -> Self {
        Self(Arc::new(Mutex::new(SecretString::from(text))))
    }

    pub(super) fn set(&self, text: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = SecretString::from(text);
    }

    pub(super) fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).expose_secret().to_owned()
    }
}
