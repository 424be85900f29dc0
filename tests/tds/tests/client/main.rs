//! Tests of the TDS double with an independent client, `python-tds`. It knows neither this
//! workspace nor the adapter's driver. Without it the tests are ignored, and say so.

#[path = "../certificates/mod.rs"]
mod certificates;

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use jit_tds::{Options, TdsServer};
use libtest_mimic::{Arguments, Failed, Trial};

use self::certificates::Certificates;

const SCRIPT: &str = include_str!("client.py");

/// Setup of the server, before anybody connects.
const SETUP: [(&str, &str); 2] = [
    ("master", "CREATE LOGIN ann WITH PASSWORD = 'Secret-of-ann-1'"),
    (
        "app",
        "CREATE USER ann FOR LOGIN ann; CREATE ROLE readers; CREATE TABLE dbo.t (n int); \
         INSERT INTO dbo.t (n) VALUES (1), (2); GRANT SELECT ON dbo.t TO readers",
    ),
];

fn main() {
    let arguments = Arguments::from_args();
    let client = lacks(&[("pass", "no python3"), ("import pytds", "no python-tds: pip install python-tds")]);
    let encryption = client.or_else(|| lacks(&[("import OpenSSL", "no TLS for python-tds: pip install pyOpenSSL")]));
    let trials = cases().map(|case| {
        let encrypted = encryption.is_none();
        let run = move || run(case, encrypted).map_err(|error| Failed::from(format!("{error:#}")));
        let trial = Trial::test(case.to_owned(), run);
        let about_tls = case.contains("tls") || case.contains("authority");
        match if about_tls { encryption } else { client } {
            // the reason is printed in the place of the test's kind
            Some(why) => trial.with_kind(why).with_ignored_flag(true),
            None => trial,
        }
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

/// Returns the functions of the script without arguments.
fn cases() -> impl Iterator<Item = &'static str> {
    SCRIPT.lines().filter_map(|line| line.strip_prefix("def ")?.strip_suffix("():"))
}

/// Returns the reason of the first need that is not met here.
fn lacks(needs: &[(&str, &'static str)]) -> Option<&'static str> {
    let has = |code: &str| {
        let python = Command::new("python3").args(["-c", code]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        python.is_ok_and(|status| status.success())
    };
    needs.iter().find_map(|(code, why)| (!has(code)).then_some(*why))
}

/// Runs one case. Without encryption, the client is given no authority.
fn run(case: &str, encrypted: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let files = Certificates::make(folder.path())?;
    let setup = SETUP.map(|(database, sql)| (database.to_owned(), sql.to_owned())).to_vec();
    let options = Options { tls: files.offered(), setup, ..Options::default() };
    let password = options.sa_password.clone();
    let server = TdsServer::start(options)?;
    let mut python = Command::new("python3")
        .args(["-", case, &server.port().to_string()])
        .arg(if encrypted { files.ca.as_os_str() } else { OsStr::new("") })
        .arg(&files.other_ca)
        .arg(password)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    python.stdin.take().context("no input")?.write_all(SCRIPT.as_bytes())?;
    let output = python.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
