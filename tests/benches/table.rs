//! The printed table, and the figures in it.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::cost::Cost;

/// One row: what was measured, its raw floor in the same run, and the aim.
#[derive(Debug, Default, Serialize)]
pub struct Row {
    pub what: String,
    pub measured: String,
    pub floor: String,
    pub aim: String,
    /// Median, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// Our median over that of the floor, or our rate over that of the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
}

impl Row {
    pub fn new(what: impl Into<String>, aim: &str) -> Self {
        Self { what: what.into(), aim: aim.to_owned(), ..Self::default() }
    }

    /// Adds the spread of our durations beside that of the floor.
    pub fn spread(self, ours: &Spread, floor: &Spread, floor_is: &str) -> Self {
        let seconds = |spread: &Spread| spread.at(50).max(Duration::from_nanos(1)).as_secs_f64();
        Self {
            measured: ours.said(),
            floor: format!("{floor_is} {}", floor.said()),
            p50_ms: Some(ours.at(50).as_secs_f64() * 1e3),
            p99_ms: Some(ours.at(99).as_secs_f64() * 1e3),
            ratio: Some(seconds(ours) / seconds(floor)),
            ..self
        }
    }

    /// Adds the spread of our durations, where there is no floor.
    pub fn alone(self, ours: &Spread) -> Self {
        Self { floor: "-".to_owned(), ratio: None, ..self.spread(ours, ours, "") }
    }

    /// Adds our rate beside that of the floor.
    pub fn rate(self, ours: f64, floor: f64, floor_is: &str) -> Self {
        Self {
            measured: format!("{ours:.0}/s"),
            floor: format!("{floor_is} {floor:.0}/s"),
            per_second: Some(ours),
            ratio: Some(ours / floor),
            ..self
        }
    }

    pub fn cost(self, cost: Cost) -> Self {
        Self { cost: Some(cost), ..self }
    }
}

#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a row of figures in words.
    pub fn row(&mut self, what: &str, measured: String, floor: String, aim: &str) {
        self.add(Row { measured, floor, ..Row::new(what, aim) });
    }

    pub fn add(&mut self, row: Row) {
        let Row { what, measured, floor, aim, .. } = &row;
        eprintln!("{what}: {measured} (floor {floor}; aim {aim})");
        self.rows.push(row);
    }

    pub fn print(&self) {
        println!(
            "| what | measured | raw floor, same run | ratio | round trips | syncs, store + server | KiB written, store + server | CPU ms, jit + server | aim |"
        );
        println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
        for row in &self.rows {
            let ratio = row.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            let figure = |figure: Option<f64>| figure.map_or_else(|| "?".to_owned(), |figure| format!("{figure:.1}"));
            let cost = row.cost.map_or_else(
                || " | | | ".to_owned(),
                |cost| {
                    let trips = cost.round_trips.map_or_else(String::new, |trips| format!("{trips:.1}"));
                    format!(
                        "{trips} | {} + {:.1} | {:.1} + {:.1} | {:.2} + {:.2}",
                        figure(cost.store_syncs),
                        cost.server_syncs,
                        cost.store_bytes / 1024.0,
                        cost.server_bytes / 1024.0,
                        cost.own_cpu_ms,
                        cost.server_cpu_ms
                    )
                },
            );
            println!("| {} | {} | {} | {ratio} | {cost} | {} |", row.what, row.measured, row.floor, row.aim);
        }
    }

    /// Writes the rows to a file, as JSON.
    pub fn save(&self, file: &Path) -> Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(file, serde_json::to_string_pretty(&self.rows)?)?)
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
    format!("{:.0}/s", rate(count, took))
}

pub fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// Returns a size that an environment variable may lower, to try a row.
pub fn size(variable: &str, usual: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}
