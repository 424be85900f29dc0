//! Grants two accesses to one membership, through two names of one cluster.

use anyhow::{Result, ensure};

use crate::Tests;
use crate::stage::Stage;

pub(crate) fn all(tests: &mut Tests) {
    tests.add_both("law_07_the_wider_ends_first_and_the_role_stays_and_is_narrowed", |server| async move {
        let stage = Stage::on(&server).await?;
        let (wide, narrow) = both(&stage).await?;
        release(&stage, &wide, Some(&narrow)).await?;
        ensure!(stage.options().await? == Some(false), "it was not narrowed, or is gone");
        release(&stage, &narrow, None).await?;
        ensure!(stage.options().await?.is_none(), "it stayed after the last end");
        stage.closes(&narrow).await
    });
    tests.add_both("law_07_the_narrower_ends_first_and_the_role_stays_as_wide", |server| async move {
        let stage = Stage::on(&server).await?;
        let (wide, narrow) = both(&stage).await?;
        release(&stage, &narrow, Some(&wide)).await?;
        ensure!(stage.options().await? == Some(true), "it was narrowed, or is gone");
        release(&stage, &wide, None).await?;
        ensure!(stage.options().await?.is_none(), "it stayed after the last end");
        stage.closes(&wide).await
    });
}

async fn both(stage: &Stage) -> Result<(String, String)> {
    let wide = stage.holds("10m").await?;
    let narrow = stage.asks("stock", "10m").await?;
    for who in ["--as=bob", "--as=carol"] {
        stage.jit(&["approve", &narrow, who]).await?.done()?;
    }
    ensure!(stage.options().await? == Some(true), "SET ROLE was not allowed");
    Ok((wide, narrow))
}

async fn release(stage: &Stage, id: &str, holder: Option<&str>) -> Result<()> {
    stage.jit(&["release", id, "--as=alice"]).await?.done()?;
    let access = stage.access(id).await?;
    ensure!(access["state"] == "revoked", "{access}");
    let holders: Vec<&str> =
        access["evidence"]["still_held_by"].as_array().into_iter().flatten().filter_map(|id| id.as_str()).collect();
    ensure!(holders == holder.into_iter().collect::<Vec<_>>(), "{access}");
    Ok(())
}
