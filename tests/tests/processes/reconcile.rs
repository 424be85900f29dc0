//! Acts with the broker's password behind the store's back, and checks what `jit reconcile`
//! reports.

use anyhow::{Result, ensure};
use serde_json::json;

use crate::Tests;
use crate::stage::Stage;

pub(crate) fn all(tests: &mut Tests) {
    tests.add(
        "law_06_reconcile_tells_what_the_broker_gave_outside_the_policy_and_can_use_itself",
        |server| async move {
            let stage = Stage::on(&server).await?;
            let (broker, account, role) = (&stage.broker, &stage.account, &stage.role);
            let other = format!("admin_of_{role}");
            let may =
                format!("CREATE ROLE {other}; GRANT {other} TO {broker} WITH ADMIN OPTION, INHERIT FALSE, SET FALSE");
            stage.admin.batch_execute(&may).await?;
            expect(&stage, &[], &json!([])).await?;
            let thief = stage.running.session(broker, "postgres").await?;
            thief
                .batch_execute(&format!(
                    "GRANT {other} TO {account} GRANTED BY {broker}; \
                 GRANT {role} TO {broker} WITH INHERIT TRUE, SET TRUE GRANTED BY {broker}; SET ROLE {role}"
                ))
                .await?;
            let orphaned = json!({"is": "orphaned", "account": account, "role": other});
            let usable =
                json!({"is": "usable-by-broker", "account": broker, "role": role, "grantor": "the broker itself"});
            expect(&stage, &[], &json!([orphaned, usable])).await?;
            let said = stage.jit(&["reconcile", "--target=orders", "--as=frank"]).await?.done()?.out;
            for line in [
                format!("orphaned   `{account}` in `{other}`"),
                format!("usable     `{broker}`, the broker, can use `{role}`"),
            ] {
                ensure!(said.contains(&line), "{said} has no `{line}`");
            }
            // the membership that our broker granted is revoked; the one that it can use itself is
            // left to a person
            expect(&stage, &["--enforce"], &json!([orphaned, usable])).await?;
            expect(&stage, &[], &json!([usable])).await
        },
    );
}

async fn expect(stage: &Stage, more: &[&str], found: &serde_json::Value) -> Result<()> {
    let arguments = [&["reconcile", "--target=orders", "--as=frank", "--json"], more].concat();
    let said = stage.jit(&arguments).await?.done()?;
    let first: serde_json::Value = serde_json::from_str(said.out.lines().next().unwrap_or_default())?;
    ensure!(first["found"] == *found, "{arguments:?}: {first}");
    Ok(())
}
