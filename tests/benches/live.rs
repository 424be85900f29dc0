//! Cycles a second beside many live grants in the store.

use anyhow::Result;
use jit_core::store::SqliteStore;

use crate::bed::builder;
use crate::cycle::{FLOOR, once, raw, timed};
use crate::million::{fill, servers};
use crate::server::{Server as _, prepared};
use crate::svg::{Chart, Line};
use crate::table::{Row, Table, rate, size};

const CYCLES: usize = 800;
const PARALLEL: usize = 8;

/// The environment variable `JIT_BENCH_LIVE` lowers the largest number of live grants.
pub async fn rows(table: &mut Table) -> Result<()> {
    let server_of_cycles = prepared(CYCLES).await?;
    let mut lines = [Line::new("request to revoked"), Line::new(FLOOR)];
    let mut with_none = None;
    for live in [0, 10_000, size("JIT_BENCH_LIVE", 1_000_000)] {
        let (folder, servers) = (tempfile::tempdir()?, servers());
        let store = SqliteStore::open(folder.path().join("jit.db"))?;
        fill(&store, &servers, live, 0).await?;
        let mut builder = builder(store)?.database("pg", server_of_cycles.adapter()?);
        for (name, server) in &servers {
            builder = builder.database(name.as_str(), server.database());
        }
        let jit = builder.build().await?;
        let pump = jit.start();
        once(&jit, 0).await?;
        let floor = raw(&server_of_cycles, CYCLES).await?;
        let ours = rate(CYCLES, timed(&jit, PARALLEL, CYCLES).await?);
        pump.stop().await;
        for (line, each_second) in lines.iter_mut().zip([ours, floor]) {
            line.add(live.to_string(), 1e3 / each_second);
        }
        let of_none = ours / floor / *with_none.get_or_insert(ours / floor);
        let what = format!("request to revoked, {PARALLEL} in parallel, beside {live} live grants in the store");
        let mut row = Row::new(what, "flat within 20 %").rate(ours, floor, FLOOR);
        row.measured += &format!(", {of_none:.2} x the ratio beside none");
        table.add(row);
    }
    let chart = Chart {
        title: "Cost of a cycle, 8 in parallel",
        across: "live grants in the store",
        up: "milliseconds a cycle",
    };
    chart.save("live.svg", &lines)
}
