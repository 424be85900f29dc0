//! The aims of DESIGN section 12, measured: each row beside a raw floor of the same run, on this machine, with fsync on.
//!
//! `cargo bench -p jit-tests --bench aims` prints the whole table, `-- NAME...` only the rows whose names contain one of these words.

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
mod cycle;
mod ending;
mod grant;
mod million;
mod outage;
mod policy;
mod table;

use table::Table;

#[tokio::main(flavor = "multi_thread")]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let mut table = Table::default();
    if wanted("policy") {
        policy::rows(&mut table)?;
    }
    if wanted("audit") {
        audit::rows(&mut table).await?;
    }
    if wanted("million") {
        million::rows(&mut table).await?;
    }
    if wanted("grant") {
        grant::rows(&mut table).await?;
    }
    if wanted("cycle") {
        cycle::rows(&mut table).await?;
    }
    if wanted("ending") {
        ending::rows(&mut table).await?;
    }
    if wanted("outage") {
        outage::rows(&mut table).await?;
    }
    table.print();
    Ok(())
}
