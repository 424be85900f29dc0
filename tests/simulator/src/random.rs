//! Random numbers that depend on a seed only.

use std::sync::{Mutex, PoisonError};

use jit_core::clock::Entropy;

/// SplitMix64: small, fast, and good enough for choices.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Makes another generator for a purpose, so that its draws do not change those of others.
    pub(super) fn of(seed: u64, what: u64) -> Self {
        let mut random = Self(seed ^ what.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        let _ = random.next();
        random
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Draws a number below the limit; zero if the limit is zero.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or(0)
    }

    /// Draws a number between the two, both included.
    pub(super) fn between(&mut self, least: u64, most: u64) -> u64 {
        least.saturating_add(self.below(most.saturating_sub(least).saturating_add(1)))
    }

    /// Draws true this many times in a thousand.
    pub(super) fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// Draws one element of the list.
    pub(super) fn one<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let place = usize::try_from(self.below(of.len() as u64)).unwrap_or_default();
        of.get(place).copied()
    }

    /// Draws one element, weighted by its first number.
    pub(super) fn weighted<T: Copy>(&mut self, of: &[(u64, T)]) -> Option<T> {
        let total = of.iter().map(|(weight, _)| weight).sum();
        let mut left = self.below(total);
        for (weight, it) in of {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return Some(*it),
            }
        }
        None
    }
}

/// Entropy that depends on a seed only.
#[derive(Debug)]
pub(super) struct SeededEntropy(Mutex<Random>);

impl SeededEntropy {
    pub(super) fn new(random: Random) -> Self {
        Self(Mutex::new(random))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut random = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for bytes in buffer.chunks_mut(8) {
            for (byte, drawn) in bytes.iter_mut().zip(random.next().to_le_bytes()) {
                *byte = drawn;
            }
        }
    }
}
