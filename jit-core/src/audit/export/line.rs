//! The lines of an export: they are written in one form only, and read in that form only.

use crate::audit::checkpoint::Checkpoint;
use crate::audit::hash::Hash;
use crate::id::TenantId;

/// Writes the first line, without its end.
pub(super) fn header_line(tenant: &TenantId, size: u64) -> String {
    format!("{{\"jit_audit_export\":1,\"size\":{size},\"tenant\":{}}}", quoted(tenant.as_str()))
}

/// Writes the line of a checkpoint, without its end.
pub(in super::super) fn checkpoint_line(checkpoint: &Checkpoint) -> String {
    format!("{{\"checkpoint\":{}}}", quoted(checkpoint.note()))
}

/// Writes the line of an entry, with its end, for exports and JSON lines sinks.
pub(in super::super) fn entry_line(number: u64, leaf: &Hash, body: &[u8]) -> Vec<u8> {
    let mut line = format!("{{\"number\":{number},\"leaf\":\"{leaf}\",\"entry\":").into_bytes();
    line.extend_from_slice(body);
    line.extend_from_slice(b"}\n");
    line
}

/// Reads tenant and size from the header.
pub(super) fn read_header(line: &[u8]) -> Option<(TenantId, u64)> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let tenant = TenantId::new(value.get("tenant")?.as_str()?).ok()?;
    let size = value.get("size")?.as_u64()?;
    (header_line(&tenant, size).as_bytes() == line).then_some((tenant, size))
}

/// Reads the checkpoint of a line. `None` if it is another line.
pub(super) fn read_checkpoint(line: &[u8]) -> Option<Checkpoint> {
    let text = line.strip_prefix(b"{\"checkpoint\":")?.strip_suffix(b"}")?;
    let note: String = serde_json::from_slice(text).ok()?;
    let checkpoint = Checkpoint::read(&note).ok()?;
    (checkpoint_line(&checkpoint).as_bytes() == line).then_some(checkpoint)
}

/// Reads leaf hash and bytes of the entry that has this number.
pub(super) fn read_entry(number: u64, line: &[u8]) -> Result<(Hash, &[u8]), &'static str> {
    let rest = line
        .strip_prefix(format!("{{\"number\":{number},\"leaf\":\"").as_bytes())
        .ok_or("its line does not begin with its number: it was changed, taken out or moved")?;
    let (leaf, rest) = rest.split_at_checked(HASH_TEXT).ok_or("its line is cut")?;
    let leaf = std::str::from_utf8(leaf).ok().and_then(Hash::parse).ok_or("its leaf hash was changed")?;
    let body = rest
        .strip_prefix(b"\",\"entry\":")
        .and_then(|rest| rest.strip_suffix(b"}"))
        .ok_or("its line is not of the form of an export")?;
    Ok((leaf, body))
}

/// Length of 32 bytes in base64.
const HASH_TEXT: usize = 44;

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
