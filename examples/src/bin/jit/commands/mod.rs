//! Commands of the trial binary, one file each.

mod audit;
mod clock;
mod decide;
mod delegate;
mod doctor;
mod init;
mod listener;
mod live;
mod look;
mod mfa;
mod policy;
mod policy_test;
mod pump;
mod reconcile;
mod request;
mod review;
mod serve;
mod stop;
mod store;
mod target;
mod unreachable;
mod watch;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::OnceLock;

use jit_core::Actor;
use jit_core::engine::{AccessView, Jit};
use jit_core::id::{AccessId, FactorName, Principal};
use jit_core::text::escaped;

use tokio::signal::unix::{SignalKind, signal};

use crate::build;
use crate::cli::{self, Cli, Command};
use crate::config::{Config, StoreAt};
use crate::error::Failure;
use crate::os_user::os_user;
use crate::output::Output;
use crate::print::{self, AccessLine};
use crate::running;
use crate::settle::settle;

/// Runs the command that was given.
pub(crate) async fn run(cli: &Cli, out: Output) -> Result<(), Failure> {
    // with this, a file that may not grow is an error that can be reported, instead of the end of
    // the process
    let _told = signal(SignalKind::from_raw(libc::SIGXFSZ));
    let at = Context { cli, out, opened: OnceLock::new(), file: OnceLock::new() };
    let done = dispatch(&at).await;
    // perhaps no pump comes: so the command's work is in the log, signed, before this process ends
    if let Some(jit) = at.opened.get()
        && let Err(error) = jit.keep_log().await
    {
        let failure = Failure::from(error);
        // what stopped the command, too, is told once
        if !matches!(&done, Err(told) if told.message == failure.message) {
            out.failure(&failure);
        }
    }
    done
}

async fn dispatch(at: &Context<'_>) -> Result<(), Failure> {
    let Context { cli, out, .. } = *at;
    match &cli.command {
        Command::Init => init::init(&cli.config, out),
        Command::Doctor(cli::Doctor { sql: None }) => doctor::doctor(at).await,
        Command::Doctor(cli::Doctor { sql: Some(target) }) => doctor::set_up(at, target).await,
        Command::Request(ask) => request::request(at, ask).await,
        Command::Approve(decide) => decide::approve(at, decide).await,
        Command::Deny(decide) => decide::deny(at, decide).await,
        Command::Confirm(confirm) => decide::confirm(at, confirm).await,
        Command::Delegate(delegate) => delegate::delegate(at, delegate).await,
        Command::Review(given) => review::review(at, given).await,
        Command::Mfa(command) => mfa::mfa(at, command).await,
        Command::Cancel(cancel) => decide::cancel(at, cancel).await,
        Command::Release(release) => live::release(at, release).await,
        Command::Revoke(revoke) => live::revoke(at, revoke).await,
        Command::Extend(extend) => live::extend(at, extend).await,
        Command::Stop(stop) => stop::stop(at, stop).await,
        Command::Resume(resume) => stop::resume(at, resume).await,
        Command::List(list) => look::list(at, list).await,
        Command::Show(show) => look::show(at, show).await,
        Command::Watch => watch::watch(at).await,
        Command::RunDue => pump::run_due(at).await,
        Command::Pump => pump::pump(at).await,
        Command::Serve(serve) => serve::serve(at, serve).await,
        Command::Reconcile(reconcile) => reconcile::reconcile(at, reconcile).await,
        Command::Target(cli::Target::Retire(target)) => target::retire(at, target).await,
        Command::Target(cli::Target::Confirm(target)) => target::confirm(at, target).await,
        Command::Clock(cli::Clock::Accept(who)) => clock::accept(at, who).await,
        Command::Store(cli::Store::Migrate(users)) => store::migrate(at, users).await,
        Command::Policy(cli::Policy::Check { file }) => policy::check(at, file.as_deref()),
        Command::Policy(cli::Policy::Explain(ask)) => policy::explain(at, ask).await,
        Command::Policy(cli::Policy::Test { file }) => policy_test::test(at, file).await,
        Command::Audit(command) => audit::audit(at, command).await,
    }
}

/// Context that every command gets.
struct Context<'c> {
    cli: &'c Cli,
    out: Output,
    /// Engine that the command opened, if it did.
    opened: OnceLock<Jit>,
    /// Path of its store, if that is a file of this machine.
    file: OnceLock<PathBuf>,
}

impl Context<'_> {
    fn config(&self) -> Result<Config, Failure> {
        Config::load(&self.cli.config)
    }

    async fn engine(&self) -> Result<Jit, Failure> {
        self.engine_of(&self.config()?).await
    }

    async fn engine_of(&self, config: &Config) -> Result<Jit, Failure> {
        let jit = build::engine(config, self.cli.tenant.as_ref()).await?;
        let _ = self.opened.set(jit.clone());
        if let StoreAt::Sqlite(path) = &config.store {
            let _ = self.file.set(path.clone());
        }
        Ok(jit)
    }

    fn actor(&self, jit: &Jit, who: &cli::As) -> Actor {
        Actor::asserted(jit.tenant_id().clone(), who.who.clone(), os_user())
    }

    /// Returns the actor with the second factor that was given.
    fn proving(&self, jit: &Jit, who: &cli::As, factor: &cli::Factor) -> Result<Actor, Failure> {
        let actor = self.actor(jit, who);
        let named = |name: &str| FactorName::new(name).map_err(|error| Failure::usage(error.to_string(), ""));
        if let Some(code) = &factor.totp {
            return Ok(actor.responding(named("totp")?, code.as_str()));
        }
        let Some(path) = &factor.oidc_token else { return Ok(actor) };
        let read = match path.as_os_str() == "-" {
            true => std::io::read_to_string(std::io::stdin()),
            false => std::fs::read_to_string(path),
        };
        let token = read.map_err(|error| Failure::usage(format!("the token cannot be read: {error}"), ""))?;
        Ok(actor.responding(named("oidc")?, token.trim()))
    }

    /// Prints a sentence on what was done, then the state of the access.
    async fn access(&self, jit: &Jit, view: &AccessView, sentence: &str) -> Result<(), Failure> {
        let can_decide = deciders(jit, view).await;
        let now = jit.store().now().await?;
        self.out.result(&AccessLine { access: view, can_decide: &can_decide }, || {
            let lines = print::access(view, &can_decide, now);
            if sentence.is_empty() { lines } else { format!("{}\n{lines}", escaped(sentence)) }
        })?;
        // something is to be done about it later, which no command does
        if !view.is_final() && self.file.get().is_some_and(|store| running::is_none(store)) {
            self.out.words(running::NONE)?;
        }
        Ok(())
    }

    /// Does what the command made due, prints the state of the access then, and fails if it went no
    /// further.
    async fn finish(&self, jit: &Jit, id: AccessId, sentence: impl Fn(&AccessView) -> String) -> Result<(), Failure> {
        let (view, why) = settle(jit, id).await?;
        self.access(jit, &view, &sentence(&view)).await?;
        why.map_or(Ok(()), Err)
    }
}

/// Returns the people whose yes would count now; nobody if no decision is pending.
async fn deciders(jit: &Jit, view: &AccessView) -> BTreeSet<Principal> {
    if view.state != "pending" && view.extension.is_none() {
        return BTreeSet::new();
    }
    // this only helps the reader; the answer is valid without it
    jit.who_can_decide(view.id).await.unwrap_or_default()
}
