//! Tests of wrong use that only a real server reveals. Each gets one clear line that says what to
//! do.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::Tests;
use crate::stage::{Said, Stage, Way, ended};

pub(crate) fn all(tests: &mut Tests) {
    tests.add("wrong_use_a_wrong_password", |server| async move {
        let stage = Stage::on(&server).await?;
        let id = stage.asks("orders", "10m").await?;
        stage.write("password", "hunter2\n")?;
        let said = stage.jit(&["approve", &id, "--as=bob"]).await?.fails(3, "password")?;
        ensure!(!format!("{said:?}").contains("hunter2"), "the password is told: {said:?}");
        // nothing is lost: the access is granted once the password is right
        stage.write("password", &format!("the secret of {}", stage.broker))?;
        stage.jit(&["run-due"]).await?.done()?;
        stage.until(&id, &["active"]).await?;
        stage.closes(&id).await
    });
    tests.add("wrong_use_a_role_that_the_server_does_not_know", |server| async move {
        let stage = Stage::on(&server).await?;
        let id = stage.asks_for("orders", "missing_role", "10m").await?;
        stage.jit(&["approve", &id, "--as=bob"]).await?.fails(1, "there is no role `missing_role`")?;
        ensure!(stage.state(&id).await? == "failed");
        Ok(())
    });
    tests.add("wrong_use_another_authority_signed_the_certificate", |server| async move {
        let stage = Stage::on(&server).await?;
        let id = stage.asks("orders", "10m").await?;
        let config = std::fs::read_to_string(stage.path("jit.toml"))?;
        let (ca, other) = (stage.running.ca.display().to_string(), stage.running.other_ca.display().to_string());
        stage.write("jit.toml", &config.replace(&ca, &other))?;
        stage.jit(&["approve", &id, "--as=bob"]).await?.fails(3, "certificate")?;
        ensure!(!stage.is_member().await?);
        Ok(())
    });
    tests.add("wrong_use_a_broker_that_may_too_little", |server| async move {
        let stage = Stage::on(&server).await?;
        let (broker, role) = (&stage.broker, &stage.role);
        let mends = [format!("GRANT \"{role}\" TO \"{broker}\""), format!("GRANT pg_signal_backend TO \"{broker}\"")];
        let before = stage.jit(&["doctor"]).await?;
        ensure!(!mends.iter().any(|remedy| before.out.contains(remedy)), "{before:?}");
        stage
            .admin
            .batch_execute(&format!("REVOKE pg_signal_backend FROM {broker}; REVOKE {role} FROM {broker}"))
            .await?;
        let said = stage.jit(&["doctor"]).await?;
        ensure!(said.code != Some(0), "{said:?}");
        for remedy in mends {
            ensure!(said.out.contains(&remedy), "{} has no `{remedy}`", said.out);
        }
        let id = stage.asks("orders", "10m").await?;
        stage.jit(&["approve", &id, "--as=bob"]).await?.fails(1, "to fix it: GRANT")?;
        Ok(())
    });
    tests.add("wrong_use_a_target_that_is_not_configured_any_more", |server| async move {
        let stage = Stage::on(&server).await?;
        let id = stage.holds("10m").await?;
        let config = std::fs::read_to_string(stage.path("jit.toml"))?;
        let without = config.replace(&stage.target("orders", "postgres", Way::Straight), "");
        ensure!(without != config, "the target is written otherwise");
        stage.write("jit.toml", &without)?;
        let said = stage.jit(&["doctor"]).await?;
        ensure!(said.code != Some(0), "{said:?}");
        for line in ["error: `orders` is not configured here any more", &format!("active {id}")] {
            ensure!(said.out.contains(line), "{} has no `{line}`", said.out);
        }
        stage.write("jit.toml", &config)?;
        stage.jit(&["release", &id, "--as=alice"]).await?.done()?;
        ensure!(!stage.is_member().await?);
        Ok(())
    });
    tests.add("wrong_use_a_store_that_cannot_be_written", |server| async move {
        let stage = Stage::on(&server).await?;
        let id = stage.asks("orders", "10m").await?;
        let said = as_a_reader(&stage, &["approve", &id, "--as=bob"]).await?;
        said.fails(3, "jit.db")?;
        ensure!(stage.state(&id).await? == "pending", "it was changed all the same");
        Ok(())
    });
}

/// Runs the command as somebody who may read everything and write nothing.
async fn as_a_reader(stage: &Stage, arguments: &[&str]) -> Result<Said> {
    let folder = stage.folder.path();
    let is_root = std::fs::metadata(folder).is_ok_and(|there| there.uid() == 0);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, Permissions::from_mode(mode));
    for name in ["jit.db", "jit.db-wal", "jit.db-shm", "jit.toml", "policy.toml", "password"] {
        if stage.path(name).exists() {
            mode(&stage.path(name), 0o444)?;
        }
    }
    let nobody = 65_534;
    if is_root {
        for name in ["audit.key", "audit.jsonl"] {
            chown(stage.path(name), Some(nobody), Some(nobody))?;
        }
    }
    mode(folder, 0o555)?;
    let mut plain = stage.command(Way::Straight, arguments)?;
    let said = if is_root {
        let mut command = Command::new("setpriv");
        command.args([&format!("--reuid={nobody}"), &format!("--regid={nobody}"), "--clear-groups", "--"]);
        command.arg(plain.as_std().get_program()).args(plain.as_std().get_args()).current_dir(folder);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        ended(command.spawn()?).await
    } else {
        ended(plain.spawn()?).await
    };
    mode(folder, 0o755)?;
    mode(&stage.path("jit.db"), 0o644)?;
    said
}
