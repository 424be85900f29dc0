//! The performance aims, measured. Each row stands beside a raw floor of the same run, on this
//! machine, with fsync on.
//!
//! `cargo bench -p jit-tests --bench aims` prints the table. `-- NAME...` prints only the rows
//! whose names contain one of these words. `-- million-shared` prints the one that takes a quarter
//! of an hour.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

mod audit;
mod bed;
#[cfg(feature = "cedar")]
mod cedar;
#[cfg(not(feature = "cedar"))]
#[path = "without_cedar.rs"]
mod cedar;
mod cost;
mod cycle;
mod ending;
mod engines;
mod everywhere;
mod expiry;
mod grant;
mod live;
mod load;
mod million;
mod nodes;
mod notices;
mod outage;
mod policy;
mod records;
mod server;
mod svg;
mod table;
mod trace;
mod traced;

use table::Table;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut table = Table::default();
    // runs first, because it measures the memory of the process
    if wanted("million") && !words.iter().any(|word| word == "million-shared") {
        million::rows(&mut table).await?;
    }
    if wanted("policy") {
        policy::rows(&mut table)?;
    }
    if wanted("audit") {
        audit::rows(&mut table).await?;
    }
    if wanted("grant") {
        grant::rows(&mut table).await?;
    }
    if wanted("cycle") {
        cycle::rows(&mut table).await?;
    }
    if wanted("notices") {
        notices::rows(&mut table).await?;
    }
    if wanted("ending") {
        ending::rows(&mut table).await?;
    }
    if wanted("engines") {
        engines::rows(&mut table).await?;
    }
    if wanted("load") {
        load::rows(&mut table).await?;
    }
    if wanted("live") {
        live::rows(&mut table).await?;
    }
    if wanted("expiry") {
        expiry::rows(&mut table).await?;
    }
    if wanted("everywhere") {
        everywhere::rows(&mut table).await?;
    }
    if wanted("wake") {
        nodes::wake(&mut table).await?;
    }
    // takes a quarter of an hour, so it runs only on request
    if words.iter().any(|word| word == "million-shared") {
        nodes::million(&mut table).await?;
    }
    if wanted("outage") {
        outage::rows(&mut table).await?;
    }
    if words.iter().any(|word| word == "trace") {
        return trace::print().await;
    }
    table.print();
    if let Some(file) = std::env::var_os("JIT_BENCH_JSON") {
        table.save(file.as_ref())?;
    }
    Ok(())
}
