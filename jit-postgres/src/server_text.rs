//! Texts that others chose, in a form that can always be read.
//!
//! Names of roles and databases are kept in the encoding of the database in which they were made.
//! The server hands them out as they are. One name that is not UTF-8 must not stop the work on all
//! others.

use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

/// Text from the server. Bytes that are not UTF-8 are escaped: `m\xfcller`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerText(pub(crate) String);

impl ServerText {
    /// Reads the bytes as text.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
        Self(text)
    }
}

impl<'a> FromSql<'a> for ServerText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::of(raw))
    }

    fn accepts(of: &Type) -> bool {
        [Type::TEXT, Type::NAME, Type::VARCHAR].contains(of)
    }
}

impl From<ServerText> for String {
    fn from(said: ServerText) -> Self {
        said.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_another_encoding_is_escaped_and_any_other_is_itself() {
        assert_eq!(ServerText::of("müller".as_bytes()).0, "müller");
        assert_eq!(ServerText::of(b"m\xfcller").0, "m\\xfcller");
        assert_eq!(ServerText::of(b"\xff\xfe").0, "\\xff\\xfe");
        assert_eq!(ServerText::of(b"").0, "");
    }
}
