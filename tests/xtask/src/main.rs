//! Reports that the scripts of the tests print.
//!
//! ```text
//! xtask report LOG STATUS    what the tests came to, whose output is LOG and exit code STATUS
//! xtask features             each feature of the workspace: its package, and its name
//! ```

mod features;
mod report;

use anyhow::{Context as _, Result, bail};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["report", log, status] => {
            let text = std::fs::read(log).with_context(|| format!("cannot read `{log}`"))?;
            let skipped = std::env::var("JIT_TEST_SKIP").unwrap_or_default();
            report::print(&String::from_utf8_lossy(&text), status.parse()?, &skipped);
            Ok(())
        }
        ["features"] => features::print(),
        _ => bail!("usage: xtask report LOG STATUS, or xtask features"),
    }
}
