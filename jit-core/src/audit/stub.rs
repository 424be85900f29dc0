//! stub
use async_trait::async_trait;
/// stub
#[async_trait]
pub trait AuditSink: std::fmt::Debug + Send + Sync + 'static {}
