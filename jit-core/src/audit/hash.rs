//! Hashes of RFC 6962, section 2.1.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A hash of the tree: SHA-256, shown and stored in base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// Number of bytes of a hash.
    pub const LENGTH: usize = 32;

    /// Returns the root of a tree without leaves: SHA-256 of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self(Sha256::new().finalize().into())
    }

    /// Returns the hash of a leaf: a zero byte, then the entry's bytes.
    #[must_use]
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
    }

    /// Returns the hash of a node: a one byte, then its two children.
    #[must_use]
    pub fn node(left: &Self, right: &Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// Returns the root over these subtrees. All of them are complete and of one height, but the
    /// last may be lower. With leaf hashes the result is the Merkle tree hash of RFC 6962.
    #[must_use]
    pub fn over(subtrees: &[Self]) -> Self {
        let mut row = subtrees.to_vec();
        while row.len() > 1 {
            // pairing from the left and carrying the odd one upwards is the same as splitting at
            // the largest power of two
            row = row
                .chunks(2)
                .filter_map(|pair| match pair {
                    [left, right] => Some(Self::node(left, right)),
                    [alone] => Some(*alone),
                    _ => None,
                })
                .collect();
        }
        row.first().copied().unwrap_or_else(Self::empty)
    }

    /// Makes a hash from its bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses base64 (RFC 4648 section 4, padded).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for Hash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a hash is 32 bytes in base64")
    }
}
