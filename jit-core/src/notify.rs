//! stub
use crate::clock::*;
use crate::id::*;
use crate::store::*;
use std::collections::BTreeMap;
/// stub
pub trait Notifier: std::fmt::Debug + Send + Sync + 'static {}
/// stub
#[derive(Debug)]
pub struct Notice;
impl Notice {
    /// stub
    pub fn new(
        _: TenantId,
        _: AccessId,
        _: crate::fact::What,
        _: BTreeMap<String, String>,
        _: Time,
        _: &dyn Entropy,
    ) -> Self {
        Self
    }
    /// stub
    pub fn write(&self, _: &str, _: Time) -> Result<Write, StoreError> {
        Err(StoreError::Fenced { serial: String::new() })
    }
}
