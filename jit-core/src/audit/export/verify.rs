//! Verification of an export, without store or engine.

use std::io::{BufRead, Read as _};

use super::ExportError;
use super::line::{read_checkpoint, read_entry, read_header};
use crate::audit::broken::{Broken, Damage};
use crate::audit::canonical;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::hash::Hash;
use crate::audit::key::VerifyingKey;
use crate::audit::tree::Edge;
use crate::id::TenantId;

/// Longest line of an export, in bytes.
const LONGEST_LINE: u64 = 16 << 20;

/// Summary of a verified export.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Tenant that owns the log.
    pub tenant: TenantId,
    /// Number of entries: all that the log had when `latest` was made.
    pub size: u64,
    /// Number of checkpoints in the export.
    pub checkpoints: u64,
    /// Last checkpoint. An export cannot say that nothing came after it: compare it with one from
    /// another source.
    pub latest: Checkpoint,
}

/// Verifies an export with the public keys of the log alone: the current one and its predecessors,
/// if there were any.
///
/// # Errors
/// [`ExportError::Broken`] with the first bad entry, [`ExportError::File`] if the file cannot be
/// read.
pub fn verify_export(mut from: impl BufRead, keys: &[VerifyingKey]) -> Result<Exported, ExportError> {
    let mut buffer = Vec::new();
    let bad_line = |why: &str| Broken::log(Damage::Line { why: why.to_owned() });
    let header = next_line(&mut from, &mut buffer)?.and_then(read_header);
    let (tenant, size) = header.ok_or_else(|| bad_line("the first line is not that of an export"))?;
    let mut edge = Edge::default();
    let (mut checkpoints, mut latest) = (0_u64, None::<Checkpoint>);
    while let Some(line) = next_line(&mut from, &mut buffer)? {
        let number = edge.size();
        if !line.starts_with(b"{\"checkpoint\":") {
            let leaf = entry(&tenant, number, line)?;
            if number >= size {
                return Err(Broken::entry(number, None, Damage::Smuggled).into());
            }
            edge.push(leaf, &mut Vec::new());
            continue;
        }
        // a checkpoint follows the entry that completes it
        let broken = |why: String| Broken::log(Damage::Checkpoint { size: number, why });
        let checkpoint = read_checkpoint(line).ok_or_else(|| broken("its line was changed".to_owned()))?;
        checkpoint.verify(&tenant, keys).map_err(|error| broken(error.to_string()))?;
        let good = latest.as_ref().map_or(0, |latest| latest.statement().size);
        let stated = checkpoint.statement();
        if stated.size != number || number == good {
            return Err(broken(format!("a checkpoint of size {} stands there", stated.size)).into());
        }
        if stated.root != edge.root() {
            return Err(Broken::log(Damage::Rewritten { good, bad: number }).into());
        }
        checkpoints = checkpoints.saturating_add(1);
        latest = Some(checkpoint);
    }
    if edge.size() < size {
        return Err(Broken::entry(edge.size(), None, Damage::Truncated { size }).into());
    }
    match latest {
        Some(latest) if latest.statement().size == size => Ok(Exported { tenant, size, checkpoints, latest }),
        _ => Err(Broken::log(Damage::Checkpoint { size, why: "it is missing at the end".to_owned() }).into()),
    }
}

/// Checks the line of an entry and returns the leaf.
fn entry(tenant: &TenantId, number: u64, line: &[u8]) -> Result<Hash, Broken> {
    let (leaf, body) =
        read_entry(number, line).map_err(|why| Broken::entry(number, None, Damage::Line { why: why.to_owned() }))?;
    let form = canonical::check(body);
    let id = form.as_ref().ok().and_then(|form| form.id.as_deref().map(ToOwned::to_owned));
    if Hash::leaf(body) != leaf {
        return Err(Broken::entry(number, id, Damage::Changed));
    }
    match form {
        Err(why) => Err(Broken::entry(number, id, Damage::Form { why: format!("it is not canonical JSON: {why}") })),
        Ok(form) if form.tenant.as_deref() != Some(tenant.as_str()) => {
            Err(Broken::entry(number, id, Damage::Form { why: "it says that it belongs to another tenant".to_owned() }))
        }
        Ok(_) => Ok(leaf),
    }
}

/// Reads the next line without its end. `None` at the end of the file. A last line without an end
/// was cut.
fn next_line<'a>(from: &mut impl BufRead, buffer: &'a mut Vec<u8>) -> Result<Option<&'a [u8]>, ExportError> {
    buffer.clear();
    if from.take(LONGEST_LINE).read_until(b'\n', buffer)? == 0 {
        return Ok(None);
    }
    match buffer.strip_suffix(b"\n") {
        Some(line) => Ok(Some(line)),
        None => Err(Broken::log(Damage::Line { why: "a line has no end: the file was cut".to_owned() }).into()),
    }
}
