//! Trial binary: everything of the library from a shell, and the pump.
//!
//! In its local mode anyone who can read `jit.toml` holds the broker's credentials anyway. So
//! `--as` is believed, and recorded as asserted by a user of the operating system.

#![deny(clippy::print_stdout, clippy::print_stderr)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod build;
mod cli;
mod commands;
mod config;
mod error;
mod os_user;
mod output;
mod policy;
mod print;
mod running;
mod settle;
mod spans;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;
use jit_core::text::Written;
use tracing_subscriber::EnvFilter;

use self::cli::Cli;
use self::error::Failure;
use self::output::Output;

fn main() -> ExitCode {
    // the panic's own message could move the cursor, too
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(output::errors(Written::OneLine), "internal error: {panic}");
    }));
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return cli::explain(&error),
    };
    // the commands themselves report what happens to accesses
    let quiet = || EnvFilter::new("error,jit_core::engine::repository::unit_of_work=off");
    let filter = EnvFilter::try_from_env("JIT_LOG").unwrap_or_else(|_| quiet());
    // an event is one line, whatever is in it; colours would be escaped like anything else
    let log = || output::errors(Written::OneLine);
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log).init();
    let out = Output::new(cli.json);
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::unusable(format!("no runtime can be started: {error}"), "check the limits of this user")
        })
        .and_then(|runtime| {
            let result = runtime.block_on(commands::run(&cli, out));
            // a name lookup that hangs is not waited for
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            failure.exit_code()
        }
    }
}
