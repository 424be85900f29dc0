//! Bytes in hexadecimal, small letters.

use crate::clock::Entropy;

/// The bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So many unpredictable bytes: a name that nobody else has, and that nobody guesses where it is long.
pub(crate) fn random_hex<const N: usize>(entropy: &dyn Entropy) -> String {
    let mut bytes = [0_u8; N];
    entropy.fill(&mut bytes);
    hex(&bytes)
}
