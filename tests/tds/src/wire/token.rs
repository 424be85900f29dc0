//! The tokens of a response (2.2.7).

use super::{
    Reader,
    types::{put_type, put_value},
};
use crate::{
    SqlError,
    sql::{Ty, Value},
};

/// Response under construction.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    pub bytes: Vec<u8>,
    /// Position of the last DONE-like token.
    last_done: Option<usize>,
}

fn short(s: &str) -> Vec<u8> {
    let units: Vec<u16> = s.encode_utf16().take(255).collect();
    let mut out = vec![units.len() as u8];
    out.extend(units.iter().flat_map(|u| u.to_le_bytes()));
    out
}

impl Tokens {
    fn with_length(&mut self, token: u8, body: &[u8]) {
        self.bytes.push(token);
        self.bytes.extend((body.len() as u16).to_le_bytes());
        self.bytes.extend(body);
    }

    pub(crate) fn login_ack(&mut self, version: &str, tds: u32) {
        let mut body = vec![1];
        body.extend(tds.to_be_bytes());
        body.extend(short("Microsoft SQL Server"));
        let numbers: Vec<u16> = version.split('.').map(|n| n.parse().unwrap_or(0)).collect();
        let part = |i: usize| numbers.get(i).copied().unwrap_or(0);
        body.extend([part(0) as u8, part(1) as u8]);
        body.extend(part(2).to_be_bytes());
        self.with_length(0xad, &body);
    }

    /// Writes an environment change with text values: 1 database, 2 language, 4 packet size.
    pub(crate) fn env_text(&mut self, kind: u8, new: &str, old: &str) {
        let mut body = vec![kind];
        body.extend(short(new));
        body.extend(short(old));
        self.with_length(0xe3, &body);
    }

    /// Sends the client to another server.
    pub(crate) fn env_routing(&mut self, host: &str, port: u16) {
        let units: Vec<u16> = host.encode_utf16().collect();
        let mut new = vec![0];
        new.extend(port.to_le_bytes());
        new.extend((units.len() as u16).to_le_bytes());
        new.extend(units.iter().flat_map(|u| u.to_le_bytes()));
        let mut body = vec![20];
        body.extend((new.len() as u16).to_le_bytes());
        body.extend(new);
        body.extend([0, 0]);
        self.with_length(0xe3, &body);
    }

    pub(crate) fn env_collation(&mut self) {
        self.with_length(0xe3, &[7, 5, 0x09, 0x04, 0xd0, 0x00, 0x34, 0]);
    }

    /// Writes a transaction change: 8 begin, 9 commit, 10 rollback. The descriptor is 0 outside of
    /// a transaction.
    pub(crate) fn env_transaction(&mut self, kind: u8, descriptor: u64) {
        let mut body = vec![kind];
        if kind == 8 {
            body.push(8);
            body.extend(descriptor.to_le_bytes());
            body.push(0);
        } else {
            body.push(0);
            body.push(8);
            body.extend(descriptor.to_le_bytes());
        }
        self.with_length(0xe3, &body);
    }

    /// Writes the answer to a reset of the connection.
    pub(crate) fn env_reset(&mut self) {
        self.with_length(0xe3, &[18, 0, 0]);
    }

    /// Writes ERROR, or INFO for a severity up to 10.
    pub(crate) fn message(&mut self, e: &SqlError, server: &str) {
        let mut body = Vec::new();
        body.extend(e.number.to_le_bytes());
        body.extend([e.state, e.severity]);
        let units: Vec<u16> = e.message.encode_utf16().take(2047).collect();
        body.extend((units.len() as u16).to_le_bytes());
        body.extend(units.iter().flat_map(|u| u.to_le_bytes()));
        body.extend(short(server));
        body.extend(short(""));
        body.extend(e.line.to_le_bytes());
        self.with_length(if e.severity > 10 { 0xaa } else { 0xab }, &body);
    }

    pub(crate) fn columns(&mut self, columns: &[(String, Ty)]) {
        self.bytes.push(0x81);
        self.bytes.extend((columns.len() as u16).to_le_bytes());
        for (name, ty) in columns {
            self.bytes.extend([0; 4]);
            // nullable, of unknown updateability
            self.bytes.extend([0x09, 0]);
            put_type(&mut self.bytes, *ty);
            self.bytes.extend(short(name));
        }
    }

    pub(crate) fn row(&mut self, columns: &[(String, Ty)], row: &[Value]) {
        self.bytes.push(0xd1);
        for ((_, ty), value) in columns.iter().zip(row) {
            put_value(&mut self.bytes, *ty, value);
        }
    }

    pub(crate) fn return_status(&mut self, status: i32) {
        self.bytes.push(0x79);
        self.bytes.extend(status.to_le_bytes());
    }

    pub(crate) fn return_value(&mut self, ordinal: u16, name: &str, value: &Value) {
        self.bytes.push(0xac);
        self.bytes.extend(ordinal.to_le_bytes());
        self.bytes.extend(short(name));
        self.bytes.push(1);
        self.bytes.extend([0; 4]);
        self.bytes.extend([0x01, 0]);
        put_type(&mut self.bytes, value.ty);
        put_value(&mut self.bytes, value.ty, value);
    }

    fn done_token(&mut self, token: u8, status: u16, command: u16, rows: Option<u64>) {
        self.last_done = Some(self.bytes.len());
        self.bytes.push(token);
        self.bytes.extend((status | if rows.is_some() { 0x10 } else { 0 }).to_le_bytes());
        self.bytes.extend(command.to_le_bytes());
        self.bytes.extend(rows.unwrap_or(0).to_le_bytes());
    }

    /// Ends a statement; more follows.
    pub(crate) fn done(&mut self, in_proc: bool, command: u16, rows: Option<u64>) {
        self.done_token(if in_proc { 0xff } else { 0xfd }, 1, command, rows);
    }

    /// Ends a failed statement; more follows.
    pub(crate) fn done_error(&mut self, in_proc: bool) {
        self.done_token(if in_proc { 0xff } else { 0xfd }, 3, 0, None);
    }

    pub(crate) fn done_proc(&mut self, more: bool) {
        self.done_token(0xfe, u16::from(more), 0xe0, None);
    }

    /// Ends the response: its last DONE says that nothing follows.
    pub(crate) fn finish(&mut self, attention: bool) {
        let at_end = self.last_done.filter(|at| at + 13 == self.bytes.len());
        match at_end {
            Some(at) if !attention => {
                let status = Reader(&self.bytes[at + 1..]).u16().unwrap_or(0) & !1;
                self.bytes[at + 1..at + 3].copy_from_slice(&status.to_le_bytes());
                // a DONEINPROC never ends a response
                if self.bytes[at] == 0xff {
                    self.bytes[at] = 0xfd;
                }
            }
            _ => self.done_token(0xfd, if attention { 0x20 } else { 0 }, 0, None),
        }
    }
}
