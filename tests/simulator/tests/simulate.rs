//! Simulated histories: the laws hold in all of them. The seeds are fixed; `tests/simulate.sh` runs
//! as many others as wanted.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::atomic::{AtomicU64, Ordering};

use jit_simulator::{Options, simulate};

/// Number of histories that run here, unoptimised; `.ci/run` runs some thousand more, optimised.
const SEEDS: u64 = 200;

#[test]
fn the_laws_hold_in_every_history() {
    let next = AtomicU64::new(0);
    let (mut events, mut overlapping) = (usize::MAX, 0_u64);
    std::thread::scope(|scope| {
        let run = || {
            let mut reports = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= SEEDS {
                    return reports;
                }
                match simulate(seed, &Options::default()) {
                    Ok(report) => reports.push(report),
                    Err(failure) => panic!("{failure}{}", failure.trace.join("\n")),
                }
            }
        };
        let workers: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
        for report in workers.into_iter().flat_map(|worker| worker.join().unwrap()) {
            events = events.min(report.events);
            overlapping += u64::from(report.overlaps > 0);
            assert!(report.nodes >= 2);
        }
    });
    assert!(events >= 200, "a history of {events} steps");
    assert!(overlapping >= SEEDS / 3, "only {overlapping} histories have overlaps");
}

#[test]
fn one_seed_is_one_history() {
    for seed in 0..20 {
        let run = || simulate(seed, &Options::default()).unwrap().trace;
        assert_eq!(run(), run(), "seed {seed}");
    }
}
