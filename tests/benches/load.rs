//! Time from the end of a window to revoked, at several numbers of endings a second.

use anyhow::Result;

use crate::bed::Bed;
use crate::ending::lags;
use crate::svg::{Chart, Line};
use crate::table::{Row, Spread, Table};

/// Endings a second.
const RATES: [u32; 5] = [25, 50, 100, 200, 400];
/// Seconds for which windows end at each rate.
const SECONDS: usize = 5;

pub async fn rows(table: &mut Table) -> Result<()> {
    let mut bed = Bed::make(RATES[RATES.len() - 1] as usize * SECONDS).await?;
    let mut lines = [Line::new("p99"), Line::new("p50")];
    for rate in RATES {
        bed.fresh().await?;
        // a p99 needs a few hundred windows, also at a low rate
        let count = (rate as usize * SECONDS).max(250);
        let lags = Spread::of(lags(&bed.jit, count, rate).await?);
        for (line, percent) in lines.iter_mut().zip([99, 50]) {
            line.add(rate.to_string(), lags.at(percent).as_secs_f64() * 1e3);
        }
        let what = format!("end of window to revoked, no sessions, {rate} endings a second");
        table.add(Row::new(what, "-").alone(&lags));
    }
    let chart =
        Chart { title: "Time from the end of a window to revoked", across: "endings a second", up: "milliseconds" };
    chart.save("lag.svg", &lines)
}
