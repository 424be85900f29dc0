//! Proofs for one entry, for somebody who trusts nothing but the public key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::broken::{Broken, Damage};
use super::checkpoint::{Checkpoint, CheckpointError};
use super::hash::Hash;
use super::head::latest_checkpoint;
use super::key::VerifyingKey;
use super::proof::{ProofError, ProofPlan, TreeHead, verify_inclusion};
use super::read::read_tiles;
use crate::audit_event::Detail;
use crate::id::{AccessId, TenantId};
use crate::store::{Store, StoreError, StoredEntry};

/// Proof that an entry is in the log: the entry, its path up the tree, and the signed checkpoint at
/// the end of the path. One JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Proof {
    /// Tenant that owns the log.
    pub tenant: TenantId,
    /// Number of the entry.
    pub number: u64,
    /// Entry that is proved.
    pub entry: BTreeMap<String, Detail>,
    /// Hashes beside the path from the entry to the root (RFC 6962 section 2.1.1), in base64.
    pub hashes: Vec<Hash>,
    /// Checkpoint, as a C2SP signed note.
    pub checkpoint: String,
}

/// Reason why something is not proved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProveError {
    /// The store could not be read.
    #[error("the log could not be read")]
    Store(#[from] StoreError),
    /// The log has no such entry.
    #[error("there is no such entry in the log of `{tenant}`")]
    NotFound {
        /// Tenant that owns the log.
        tenant: TenantId,
    },
    /// The entry is not covered by a checkpoint yet.
    #[error("no checkpoint covers the entry yet: one is made every minute while entries arrive, or make one now")]
    NotSigned,
    /// The entry is not the one that the log has.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// The checkpoint does not count.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The hashes do not lead to the signed root.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// Proves that the entry of this number is in the log, against its latest checkpoint.
///
/// # Errors
/// [`ProveError`] says what is missing or wrong.
pub async fn prove(store: &dyn Store, tenant: &TenantId, number: u64) -> Result<Proof, ProveError> {
    let entries = store.entries(tenant, number, 1).await?;
    let entry = entries.first().filter(|entry| entry.number == Some(number));
    let entry = entry.ok_or_else(|| ProveError::NotFound { tenant: tenant.clone() })?;
    let checkpoint = latest_checkpoint(store, tenant).await?.ok_or(ProveError::NotSigned)?;
    prove_against(store, tenant, &checkpoint, number, entry).await
}

/// Proves every entry about this access, in the order of their commits.
///
/// # Errors
/// [`ProveError`] says what is missing or wrong; [`ProveError::NotSigned`] if a checkpoint does not
/// cover all of them.
pub async fn prove_access(store: &dyn Store, tenant: &TenantId, access: AccessId) -> Result<Vec<Proof>, ProveError> {
    let entries = store.entries_about(tenant, &access.to_string(), MOST).await?;
    if entries.is_empty() {
        return Err(ProveError::NotFound { tenant: tenant.clone() });
    }
    let checkpoint = latest_checkpoint(store, tenant).await?.ok_or(ProveError::NotSigned)?;
    let mut proofs = Vec::new();
    for entry in &entries {
        let number = entry.number.ok_or(ProveError::NotSigned)?;
        proofs.push(prove_against(store, tenant, &checkpoint, number, entry).await?);
    }
    Ok(proofs)
}

/// Checks a proof with the public keys of the log alone, and returns the checkpoint that it ends
/// in.
///
/// # Errors
/// [`ProveError`] says what is wrong.
pub fn verify_proof(proof: &Proof, keys: &[VerifyingKey]) -> Result<Checkpoint, ProveError> {
    let checkpoint = Checkpoint::read(&proof.checkpoint)?;
    checkpoint.verify(&proof.tenant, keys)?;
    let stated = checkpoint.statement();
    let leaf = Hash::leaf(&serde_json::to_vec(&proof.entry).unwrap_or_default());
    verify_inclusion(&leaf, proof.number, TreeHead::new(stated.size, stated.root), &proof.hashes)?;
    Ok(checkpoint)
}

/// Largest number of entries of one access that are proved. No access can have more, even with
/// retries of a year.
const MOST: usize = 100_000;

async fn prove_against(
    store: &dyn Store,
    tenant: &TenantId,
    checkpoint: &Checkpoint,
    number: u64,
    entry: &StoredEntry,
) -> Result<Proof, ProveError> {
    let stated = checkpoint.statement();
    let plan = ProofPlan::inclusion(number, stated.size).ok_or(ProveError::NotSigned)?;
    let hashes = read_tiles(store, tenant, &plan).await?;
    // a proof that would not verify is not given out
    if verify_inclusion(&Hash::leaf(&entry.body), number, TreeHead::new(stated.size, stated.root), &hashes).is_err() {
        return Err(Broken::entry(number, Some(entry.id.to_string()), Damage::Changed).into());
    }
    let fields = serde_json::from_slice(&entry.body).map_err(|error| {
        Broken::entry(number, Some(entry.id.to_string()), Damage::Form { why: format!("it cannot be read: {error}") })
    })?;
    let checkpoint = checkpoint.note().to_owned();
    Ok(Proof { tenant: tenant.clone(), number, entry: fields, hashes, checkpoint })
}
