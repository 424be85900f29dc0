//! Runs many processes on one SQLite file. There is one outcome each, and whoever came too late is
//! told so.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use futures_util::future::try_join_all;

use crate::Tests;
use crate::stage::{Said, Stage};

pub(crate) fn all(tests: &mut Tests) {
    tests.add_both("law_08_the_same_two_people_approve_in_many_processes", |server| async move {
        let stage = Stage::on(&server).await?;
        let id = stage.asks("stock", "10m").await?;
        let all =
            at_once(&stage, 8, |n| vec!["approve", &id, if n % 2 == 0 { "--as=bob" } else { "--as=carol" }]).await?;
        one_line_each(&all)?;
        ensure!(done(&all) == 2, "each of two decides once: {all:#?}");
        let access = stage.access(&id).await?;
        ensure!(access["decisions"].as_array().is_some_and(|decisions| decisions.len() == 2), "{access}");
        stage.closes(&id).await
    });
    tests.add_both("law_08_who_agrees_too_late_hears_who_has_agreed", |server| async move {
        let stage = Stage::on(&server).await?;
        for _ in 0..3 {
            let id = stage.asks("orders", "10m").await?;
            let both = ["--as=bob", "--as=carol"];
            let all = at_once(&stage, 2, |n| vec!["approve", &id, both[n]]).await?;
            one_line_each(&all)?;
            ensure!(done(&all) == 1, "one yes is enough: {all:#?}");
            let first = if all[0].code == Some(0) { "bob" } else { "carol" };
            ensure!(all.iter().any(|said| said.code == Some(1) && said.error.contains(first)), "{all:#?}");
            stage.jit(&["release", &id, "--as=alice"]).await?.done()?;
        }
        Ok(())
    });
    tests.add_both("law_07_many_processes_release_one_access", |server| async move {
        let stage = Stage::on(&server).await?;
        let id = stage.holds("10m").await?;
        let all = at_once(&stage, 6, |_| vec!["release", &id, "--as=alice"]).await?;
        one_line_each(&all)?;
        ensure!(done(&all) >= 1, "nobody released it: {all:#?}");
        ensure!(stage.state(&id).await? == "revoked", "{all:#?}");
        stage.closes(&id).await
    });
    tests.add_both("law_09_many_processes_ask_with_one_key", |server| async move {
        let stage = Stage::on(&server).await?;
        let ask = ["request", "--json", "--target=orders", "--for=10m", "--as=alice", "--key=OPS-12", "--role"];
        let all = at_once(&stage, 6, |_| [&ask[..], &[stage.role.as_str()]].concat()).await?;
        let mut ids = BTreeSet::new();
        for said in all {
            ids.insert(said.done()?.json()?["id"].to_string());
        }
        ensure!(ids.len() == 1, "one key made several accesses: {ids:?}");
        Ok(())
    });
}

async fn at_once<'a>(stage: &Stage, how_many: usize, arguments: impl Fn(usize) -> Vec<&'a str>) -> Result<Vec<Said>> {
    let all: Vec<Vec<&str>> = (0..how_many).map(arguments).collect();
    try_join_all(all.iter().map(|arguments| stage.jit(arguments))).await
}

fn done(all: &[Said]) -> usize {
    all.iter().filter(|said| said.code == Some(0)).count()
}

/// Checks that everybody who did not succeed was refused, in one line.
fn one_line_each(all: &[Said]) -> Result<()> {
    for said in all.iter().filter(|said| said.code != Some(0)) {
        ensure!(said.code == Some(1), "{said:?}");
        ensure!(said.error.trim_end().lines().count() == 1, "{said:?}");
    }
    Ok(())
}
