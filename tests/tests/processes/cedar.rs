//! Tests of policies in Cedar, from `jit.toml` to the membership.

use anyhow::{Context, Result, ensure};

use crate::Tests;
use crate::stage::{Stage, Way};

pub(crate) fn all(tests: &mut Tests) {
    tests.add("cedar_says_who_may_ask_and_the_document_what_it_takes", |ground| async move {
        let stage = Stage::on(&ground).await?;
        in_cedar(&stage)?;
        let checked = stage.jit(&["policy", "check"]).await?.done()?.out;
        ensure!(checked.contains("policy.cedar and ") && checked.contains("sound"), "{checked}");
        refused(&stage).await?;
        let id = stage.holds("10m").await?;
        stage.jit(&["revoke", &id, "--reason=enough", "--as=bob"]).await?.fails(1, "bob")?;
        stage.jit(&["revoke", &id, "--reason=enough", "--as=frank"]).await?.done()?;
        ensure!(stage.agree(&id, None).await? == "revoked", "it is not gone");
        stage.closes(&id).await
    });
    tests.add("cedar_that_does_not_hold_is_refused_with_its_place", |ground| async move {
        let stage = Stage::on(&ground).await?;
        in_cedar(&stage)?;
        stage.append(
            "policy.cedar",
            "@id(\"odd\") permit(principal, action == Jit::Action::\"revoke\", resource) when { principal.age > 3 };\n",
        )?;
        stage.jit(&["policy", "check"]).await?.fails(2, "policy.cedar:")?;
        stage.jit(&["list"]).await?.fails(2, "policy.cedar:")?;
        Ok(())
    });
}

/// Writes a policy in Cedar: alice may request the role, a DBA approves it, and frank may revoke
/// it.
fn in_cedar(stage: &Stage) -> Result<()> {
    let config = std::fs::read_to_string(stage.path(Way::Straight.file()))?;
    let (own, others) = config.split_once("policy = \"policy.toml\"").context("no policy")?;
    let config = format!("{own}cedar = \"policy.cedar\"\npolicy = \"people.toml\"{others}");
    stage.write(Way::Straight.file(), &config)?;
    let (account, role) = (&stage.account, &stage.role);
    stage.write(
        "people.toml",
        &format!(
            r#"
version = 1
[groups]
dba = ["bob", "carol"]
[accounts.orders]
alice = "{account}"
[plan."one dba"]
max = "1h"
[[plan."one dba".stage]]
people = [{{ group = "dba" }}]
"#
        ),
    )?;
    stage.write(
        "policy.cedar",
        &format!(
            r#"
@id("change orders")
@plan("one dba")
@max("30m")
permit(principal == Jit::Principal::"alice", action == Jit::Action::"request", resource == Jit::Role::"orders/{role}")
unless {{ context.reason like "*just because*" }};

@id("security")
permit(principal == Jit::Principal::"frank", action == Jit::Action::"revoke", resource);
"#
        ),
    )
}

/// Checks the refusals: of people without permission, of windows longer than `@max`, and of reasons
/// that the policy forbids.
async fn refused(stage: &Stage) -> Result<()> {
    let asks = async |who: &str, how_long: &str, why: &str| {
        let ask =
            ["request", "--target=orders", "--role", &stage.role, "--for", how_long, "--reason", why, "--as", who];
        stage.jit(&ask).await
    };
    asks("dave", "10m", "stuck orders").await?.fails(1, "denied")?;
    asks("alice", "45m", "stuck orders").await?.fails(1, "30m")?;
    asks("alice", "10m", "just because").await?.fails(1, "denied")?;
    let explained = ["policy", "explain", "--target=orders", "--role", &stage.role, "--for=10m", "--as=alice"];
    let explained = stage.jit(&explained).await?.done()?.out;
    ensure!(explained.contains("change orders") && explained.contains("one of group `dba`"), "{explained}");
    Ok(())
}
