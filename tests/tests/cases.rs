//! Runs the scripts of `tests/cases`. Each plays an attacker, or the operator of an odd server,
//! against the `jit` binary and real servers of its own. A script ends with 0 if jit behaves as it
//! must.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use jit_tests::servers::Servers;
use libtest_mimic::{Arguments, Failed, Trial};

/// Servers that a script needs, by a word in its text.
const NEEDS: [(&str, &str); 4] =
    [(" 15\n", "postgres-15"), (" 17", "postgres-17"), ("mysql", "mysql-9.7"), ("mariadb", "mariadb-10.11")];

fn main() -> Result<()> {
    let servers = Servers::of_this_run()?;
    let mut arguments = Arguments::from_args();
    // each script starts servers of its own
    arguments.test_threads = arguments.test_threads.or(Some(3));
    let binary = env::current_exe()?.parent().and_then(Path::parent).context("no target folder")?.join("jit");
    ensure!(binary.exists(), "{} is missing: cargo build -p jit-examples --bin jit", binary.display());
    let mut trials = Vec::new();
    for (number, script) in scripts()?.into_iter().enumerate() {
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&script)?;
        let absent = NEEDS.iter().find_map(|(word, server)| {
            let why = servers.absent.get(*server)?;
            text.contains(word).then(|| why.clone())
        });
        let binary = binary.clone();
        let trial = Trial::test(format!("cases/{name}"), move || run(&script, &binary, number));
        trials.push(match absent {
            Some(why) => trial.with_kind(why).with_ignored_flag(true),
            None => trial,
        });
    }
    libtest_mimic::run(&arguments, trials).exit()
}

fn scripts() -> Result<Vec<PathBuf>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let files = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut scripts = files.map(|file| Ok(file?.path())).collect::<Result<Vec<PathBuf>>>()?;
    scripts.retain(|path| path.extension().is_some_and(|is| is == "sh") && !path.ends_with("lib.sh"));
    scripts.sort();
    ensure!(!scripts.is_empty(), "no script is in {}", folder.display());
    Ok(scripts)
}

fn run(script: &Path, binary: &Path, number: usize) -> Result<(), Failed> {
    // ports of its own: scripts run in parallel
    let first = 20_000_usize.saturating_add(number.saturating_mul(300));
    let ports = format!("{first}-{}", first.saturating_add(299));
    let mut command = Command::new("timeout");
    let command = command.args(["-k", "20", "300", "bash"]).arg(script);
    let output = command.env("JIT", binary).env("JIT_CASES_PORTS", ports).output();
    let output = output.map_err(|error| format!("it cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let (said, steps) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Err(format!("{}\n{}\n{}", output.status, said.trim_end(), steps.trim_end()).into())
}
