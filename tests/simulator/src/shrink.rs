//! Shrinking: leaves out the steps that a failure does not need.

use super::steps::History;

/// Largest number of times that a history is run again.
const TRIES: usize = 400;

/// Returns the shortest history found that breaks the same law: first without halves, then without
/// ever smaller parts.
pub(super) fn shrink(history: &History, law: u8, breaks: impl Fn(&History) -> Option<u8>) -> History {
    let mut best = history.clone();
    let mut tries = 0_usize;
    let mut part = best.steps.len().div_ceil(2);
    while part > 0 {
        let mut from = 0_usize;
        let mut shorter = false;
        while from < best.steps.len() {
            let Some(left) = TRIES.checked_sub(tries).filter(|left| *left > 0) else { return best };
            tries = TRIES.saturating_sub(left).saturating_add(1);
            let until = from.saturating_add(part);
            let kept = best.steps.iter().enumerate().filter(|(place, _)| *place < from || *place >= until);
            let steps: Vec<_> = kept.map(|(_, step)| *step).collect();
            let tried = History { steps, ..best.clone() };
            if breaks(&tried) == Some(law) {
                best = tried;
                shorter = true;
            } else {
                from = until;
            }
        }
        part = match part {
            1 if shorter => 1,
            1 => 0,
            part => part.div_ceil(2),
        };
    }
    best
}
