//! Asking for a role.

use jit_core::AccessState;
use jit_core::engine::{AccessRequest, AccessView};

use super::Context;
use crate::cli;
use crate::error::Failure;
use crate::spans::shown;

pub(super) async fn request(at: &Context<'_>, request: &cli::Request) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.proving(&jit, &request.actor, &request.factor)?;
    let view = jit.request(&actor, ask(request)).await?;
    at.finish(&jit, view.id(), sentence).await
}

/// Builds the request from the command line.
pub(super) fn ask(request: &cli::Request) -> AccessRequest {
    let mut ask = AccessRequest::new(&request.target, &request.role, request.how_long).because(&request.reason);
    if let Some(ticket) = &request.ticket {
        ask = ask.ticket(ticket);
    }
    if let Some(start) = request.at {
        ask = ask.starting(start);
    }
    if let Some(grantee) = &request.on_behalf_of {
        ask = ask.on_behalf_of(grantee.clone());
    }
    if let Some(key) = &request.key {
        ask = ask.key(key);
    }
    if request.break_glass {
        ask = ask.break_glass();
    }
    ask
}

/// Describes the state of an access on its way to being usable.
pub(super) fn sentence(view: &AccessView) -> String {
    let (who, role, target) = (&view.principal, &view.role, &view.target);
    match (view.state, view.expires_at) {
        (AccessState::Pending, _) => format!("asked: `{role}` on `{target}` waits for approval"),
        (AccessState::Active, Some(end)) => format!("usable: `{who}` has `{role}` on `{target}` until {}", shown(end)),
        (AccessState::Scheduled, _) => match view.starts_at {
            Some(start) => format!("approved: `{who}` gets `{role}` on `{target}` at {}", shown(start)),
            None => format!("approved: `{who}` gets `{role}` on `{target}` as soon as it can be granted"),
        },
        (state, _) => format!("{state}: `{role}` on `{target}` for `{who}`"),
    }
}
