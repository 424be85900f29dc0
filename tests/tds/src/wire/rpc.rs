//! RPC requests (2.2.6.6) and the headers before requests (2.2.5.3).

use super::{Reader, types::take_param};
use crate::sql::Value;

#[derive(Debug)]
pub(crate) struct Rpc {
    pub name: String,
    pub params: Vec<Param>,
}

#[derive(Debug, Clone)]
pub(crate) struct Param {
    /// Name with its `@`; empty for a positional parameter.
    pub name: String,
    pub output: bool,
    pub value: Value,
}

/// Returns the request without ALL_HEADERS.
pub(crate) fn skip_headers(body: &[u8]) -> Option<&[u8]> {
    let total = Reader(body).u32()? as usize;
    body.get(total..)
}

/// Parses all calls of the request. `None` if one has a type that is not known here.
pub(crate) fn parse_rpc(body: &[u8]) -> Option<Vec<Rpc>> {
    let mut r = Reader(skip_headers(body)?);
    let mut calls = Vec::new();
    while !r.is_empty() {
        let length = r.u16()?;
        let name = if length == 0xffff { well_known(r.u16()?).to_owned() } else { r.utf16(length.into())? };
        r.u16()?;
        let mut params = Vec::new();
        while let Some(first) = r.0.first() {
            // separator of two calls
            if matches!(first, 0x80 | 0xff | 0xfe) {
                r.u8()?;
                break;
            }
            let units = r.u8()?;
            let name = r.utf16(units.into())?.to_lowercase();
            let output = r.u8()? & 1 != 0;
            params.push(Param { name, output, value: take_param(&mut r)? });
        }
        calls.push(Rpc { name, params });
    }
    Some(calls)
}

fn well_known(id: u16) -> &'static str {
    match id {
        10 => "sp_executesql",
        11 => "sp_prepare",
        12 => "sp_execute",
        13 => "sp_prepexec",
        15 => "sp_unprepare",
        _ => "sp_not_offered",
    }
}
