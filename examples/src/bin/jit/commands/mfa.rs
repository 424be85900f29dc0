//! Setting up codes, and removing them.

use std::io::{BufRead, IsTerminal};

use jit_core::Actor;
use jit_core::engine::Jit;
use jit_core::id::FactorName;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use secrecy::ExposeSecret;
use serde_json::json;

use super::Context;
use crate::cli::Mfa;
use crate::error::Failure;
use crate::output::Output;

pub(super) async fn mfa(at: &Context<'_>, command: &Mfa) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let name = FactorName::new("totp").map_err(|error| Failure::usage(error.to_string(), ""))?;
    match command {
        Mfa::Enroll { totp, actor } => {
            let who = actor.who.clone();
            let actor = at.actor(&jit, actor);
            let proving = match totp {
                Some(code) => actor.clone().responding(name.clone(), code.as_str()),
                None => actor.clone(),
            };
            let enrollment = jit.enroll_factor(&proving, &name).await?;
            let uri = enrollment.uri.expose_secret();
            at.out.result(&json!({"principal": who, "uri": uri}), || shown(uri))?;
            // without a terminal, `jit mfa confirm` takes the first code
            if at.out.is_json() || !std::io::stdin().is_terminal() {
                return Ok(());
            }
            confirm(at, &jit, actor.responding(name, asked(at.out)?)).await
        }
        Mfa::Confirm { totp, actor } => {
            let actor = at.actor(&jit, actor).responding(name, totp.as_str());
            confirm(at, &jit, actor).await
        }
        Mfa::Remove { of, actor } => {
            jit.remove_factor(&at.actor(&jit, actor), &name, of).await?;
            at.out.result(&json!({"principal": of, "removed": true}), || format!("the codes of `{of}` are removed"))
        }
    }
}

async fn confirm(at: &Context<'_>, jit: &Jit, actor: Actor) -> Result<(), Failure> {
    jit.confirm_factor(&actor).await?;
    let who = &actor.principal;
    at.out
        .result(&json!({"principal": who, "enrolled": true}), || format!("set up: codes of `{who}` count from now on"))
}

/// Returns the code that an application scans, and the key to type in if it cannot.
fn shown(uri: &str) -> String {
    let secret = uri.split("secret=").nth(1).and_then(|rest| rest.split('&').next()).unwrap_or_default();
    let drawn = QrCode::new(uri.as_bytes()).map(|code| code.render::<Dense1x2>().quiet_zone(true).build());
    let drawn = drawn.unwrap_or_default();
    format!("scan this with your authenticator application, or type the key in:\n\n{drawn}\n\nkey: {secret}")
}

fn asked(out: Output) -> Result<String, Failure> {
    out.ask("the code that it shows now:");
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|error| Failure::usage(format!("no code was given: {error}"), "give it to `jit mfa confirm`"))?;
    Ok(line.trim().to_owned())
}
