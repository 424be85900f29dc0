//! The LOGIN7 message (2.2.6.4).

use super::{Reader, utf16};

/// Account and database of a login request.
#[derive(Debug)]
pub(crate) struct Login7 {
    pub version: u32,
    pub host: String,
    pub user: String,
    pub password: String,
    pub program: String,
    pub interface: String,
    pub database: String,
    /// Integrated security or federated authentication was asked for: not offered here.
    pub other_authentication: bool,
}

impl Login7 {
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut r = Reader(body);
        r.u32()?;
        let version = r.u32()?;
        r.bytes(16)?;
        let flags: [u8; 4] = r.bytes(4)?.try_into().ok()?;
        r.bytes(8)?;
        let mut field = || -> Option<&[u8]> {
            let (offset, units) = (usize::from(r.u16()?), usize::from(r.u16()?));
            body.get(offset..offset + units * 2)
        };
        let host = utf16(field()?);
        let user = utf16(field()?);
        let password: Vec<u8> = field()?.iter().map(|b| (b ^ 0xa5).rotate_left(4)).collect();
        let program = utf16(field()?);
        let _server = field()?;
        // the extension is not text
        r.bytes(4)?;
        let mut field = || -> Option<&[u8]> {
            let (offset, units) = (usize::from(r.u16()?), usize::from(r.u16()?));
            body.get(offset..offset + units * 2)
        };
        let interface = utf16(field()?);
        let _language = field()?;
        let database = utf16(field()?);
        Some(Self {
            version,
            host,
            user,
            password: utf16(&password),
            program,
            interface,
            database,
            other_authentication: flags[1] & 0x80 != 0,
        })
    }
}
