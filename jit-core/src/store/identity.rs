//! Identity of a store, for the marks that it leaves in databases.

use std::collections::BTreeMap;

use super::{Change, Expect, Kind, RecordKey, Store, StoreError, Write, Writing};
use crate::clock::Entropy;
use crate::id::{StoreId, TenantId};

/// Returns the id of the store.
///
/// The id is a record of the store, made when it is first asked for. A store that is opened again,
/// moved to another host or restored from a backup keeps its id. Two stores that were made
/// separately have two ids.
///
/// # Errors
/// [`StoreError`], if the store cannot be used, or has no id yet and cannot be written.
pub async fn identity(store: &dyn Store, entropy: &dyn Entropy) -> Result<StoreId, StoreError> {
    let at = RecordKey::new(&TenantId::everywhere(), Kind::Setting, "store");
    loop {
        if let Some(record) = store.read(&at).await? {
            return serde_json::from_slice(&record.body).map_err(|error| StoreError::Damaged {
                kind: at.kind.as_str(),
                key: at.key.clone(),
                why: error.to_string(),
            });
        }
        let body = format!("\"{}\"", StoreId::fresh(entropy)).into_bytes();
        let what = Writing::Put { body, schedule: None, labels: BTreeMap::new() };
        let write = Write { at: at.clone(), expect: Expect::Absent, what };
        match store.commit(Change { writes: vec![write], ..Change::default() }).await {
            // the process that came first has made it
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
}
