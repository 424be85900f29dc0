//! The main rows in a short form on every other engine. PostgreSQL 17 has the long form.

use anyhow::Result;
use jit_tests::servers::{KNOWN, Kind};

use crate::bed::Bed;
use crate::cycle::{FLOOR, once, raw, timed};
use crate::ending::{ONE_SESSION, TOGETHER, steady, together};
use crate::grant::{AIM, approvals};
use crate::server::{Server, mysql, postgres};
use crate::table::{Row, Table, rate};

/// Number of approvals.
const ROUNDS: usize = 220;
/// Number of accounts, which is enough for every row.
const ACCOUNTS: usize = 1_024;

pub async fn rows(table: &mut Table) -> Result<()> {
    for (name, kind) in KNOWN {
        match kind {
            // 16 differs from 17 in nothing that an adapter does
            Kind::Postgres(16 | 17) => {}
            Kind::Postgres(major) => on(table, name, postgres(major).await).await?,
            Kind::MySql(flavour) => on(table, name, mysql(flavour).await).await?,
        }
    }
    Ok(())
}

async fn on<S: Server>(table: &mut Table, name: &str, started: Result<S>) -> Result<()> {
    let server = match started {
        Ok(server) => server,
        Err(why) => {
            table.row(name, format!("not measured: {why:#}"), "-".to_owned(), "-");
            return Ok(());
        }
    };
    let mut bed = Bed::on(server, ACCOUNTS).await?;
    let row = Row::new(format!("{name}: last approval to active"), AIM);
    table.add(approvals(row, &bed.server, &bed.jit, ROUNDS).await?);
    let floor = raw(&bed.server, ACCOUNTS / 2).await?;
    for (parallel, count) in [(1, 200), (8, 600), (64, ACCOUNTS)] {
        bed.fresh().await?;
        let pump = bed.jit.start();
        once(&bed.jit, 0).await?;
        let took = timed(&bed.jit, parallel, count).await?;
        pump.stop().await;
        let row = Row::new(format!("{name}: request to revoked, {parallel} in parallel"), "-");
        table.add(row.rate(rate(count, took), floor, FLOOR));
    }
    bed.fresh().await?;
    table.add(steady(Row::new(format!("{name}: {ONE_SESSION}"), "p50 1.5 x by hand, p99 15 ms"), &bed).await?);
    bed.fresh().await?;
    let what = format!("{name}: {TOGETHER} grants of one role released together, until all are verified");
    table.add(together(Row::new(what, "100 ms"), &bed).await?);
    Ok(())
}
