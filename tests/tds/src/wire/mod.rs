//! The protocol as bytes: packets, tokens, types. Section numbers are those of MS-TDS.

mod login;
mod packet;
mod prelogin;
mod rpc;
mod tls;
mod token;
mod types;

pub(crate) use login::Login7;
pub(crate) use packet::{Message, read_message, write_message};
pub(crate) use prelogin::{Encryption, Prelogin};
pub(crate) use rpc::{Param, Rpc, parse_rpc, skip_headers};
pub(crate) use tls::{Wrapped, acceptor};
pub(crate) use token::Tokens;

/// Reader of little-endian fields; `None` when the bytes end early.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }
    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }
    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }
    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }
    pub(crate) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }
    /// Reads UTF-16 text of this number of units.
    pub(crate) fn utf16(&mut self, units: usize) -> Option<String> {
        Some(utf16(self.bytes(units * 2)?))
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

pub(crate) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
    String::from_utf16_lossy(&units)
}
