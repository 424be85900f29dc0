//! Bytes as hexadecimal text, in small letters.

use crate::clock::Entropy;

/// Writes the bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes a name of `N` unpredictable bytes. Nobody else has it, and if it is long enough, nobody
/// can guess it.
pub(crate) fn random_hex<const N: usize>(entropy: &dyn Entropy) -> String {
    let mut bytes = [0_u8; N];
    entropy.fill(&mut bytes);
    hex(&bytes)
}
