//! Runs as many simulated histories as wanted, and says what happened in them how often:
//! `simulate [N [FIRST]]`.
//!
//! With `JIT_SIM_TRACE` it prints what happened in a history that fails, line by line. With
//! `JIT_SIM_WHOLE` it does not make it shorter. With `JIT_SIM_ENOUGH=1` it ends at the first. With
//! `JIT_SIM_MOVES` names move to other servers, and accounts are renamed.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use jit_simulator::{Failure, Options, Report, simulate};

/// After so many failures no more seeds are tried, where `JIT_SIM_ENOUGH` does not say otherwise.
const ENOUGH: usize = 5;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (Ok(count), Ok(first)) = (numbers.next().unwrap_or(Ok(1_000)), numbers.next().unwrap_or(Ok(0))) else {
        eprintln!("usage: simulate [N [FIRST]]");
        return ExitCode::from(2);
    };
    let enough = std::env::var("JIT_SIM_ENOUGH").ok().and_then(|text| text.parse().ok()).unwrap_or(ENOUGH);
    let said = |name: &str| std::env::var_os(name).is_some();
    let options = Options { shrinks: !said("JIT_SIM_WHOLE"), moves: said("JIT_SIM_MOVES"), ..Options::default() };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, begun) = (AtomicU64::new(first), Instant::now());
    let (reports, failures) = (Mutex::new(Vec::<Report>::new()), Mutex::new(Vec::<Box<Failure>>::new()));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failed = failures.lock().map_or(0, |failures| failures.len());
                    if seed >= first.saturating_add(count) || failed >= enough {
                        return;
                    }
                    match simulate(seed, &options) {
                        Ok(report) => reports.lock().map(|mut reports| reports.push(report)).unwrap_or_default(),
                        Err(failure) => {
                            println!("{failure}");
                            if std::env::var_os("JIT_SIM_TRACE").is_some() {
                                failure.trace.iter().for_each(|line| println!("    {line}"));
                            }
                            failures.lock().map(|mut failures| failures.push(failure)).unwrap_or_default();
                        }
                    }
                }
            });
        }
    });
    let took = begun.elapsed().as_secs_f64();
    let (reports, failures) =
        (reports.into_inner().unwrap_or_default(), failures.into_inner().unwrap_or_default().len());
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for report in &reports {
        for (what, times) in &report.counts {
            let count = counts.entry(what).or_default();
            *count = count.saturating_add(*times);
        }
    }
    for (what, times) in &counts {
        println!("{times:>10}  {what}");
    }
    let sum = |of: &dyn Fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let overlapping = reports.iter().filter(|report| report.overlaps > 0).count();
    println!(
        "{} histories hold, {failures} do not; {} accesses, {} overlaps (in {overlapping} histories), {:.0} seeds a second",
        reports.len(),
        sum(&|report| report.accesses as u64),
        sum(&|report| report.overlaps),
        reports.len() as f64 / took,
    );
    println!("all traces together: {:016x}", sum(&|report| report.trace >> 16));
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
