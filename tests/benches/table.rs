//! The printed table, and the figures in it.

use std::time::Duration;

#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// Adds a row: what was measured, the figure, its raw floor in the same run, and the aim.
    pub fn row(&mut self, what: &str, measured: String, floor: String, aim: &str) {
        eprintln!("{what}: {measured} (floor {floor}; aim {aim})");
        self.rows.push([what.to_owned(), measured, floor, aim.to_owned()]);
    }

    pub fn print(&self) {
        println!("| what | measured | raw floor, same run | aim |\n| --- | --- | --- | --- |");
        for [what, measured, floor, aim] in &self.rows {
            println!("| {what} | {measured} | {floor} | {aim} |");
        }
    }
}

/// Durations in ascending order.
#[derive(Debug)]
pub struct Spread(Vec<Duration>);

impl Spread {
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort();
        Self(all)
    }

    pub fn at(&self, percent: usize) -> Duration {
        let place = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(place).copied().unwrap_or_default()
    }

    pub fn said(&self) -> String {
        format!("p50 {}, p99 {} (n={})", millis(self.at(50)), millis(self.at(99)), self.0.len())
    }
}

pub fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

pub fn per_second(count: usize, took: Duration) -> String {
    format!("{:.0}/s", count as f64 / took.as_secs_f64())
}
