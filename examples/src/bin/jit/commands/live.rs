//! Changes to a live access: giving it back, revoking it, asking for more time.

use jit_core::AccessState;
use jit_core::engine::AccessView;

use super::Context;
use crate::cli;
use crate::error::Failure;
use crate::spans::{said, shown};

pub(super) async fn release(at: &Context<'_>, release: &cli::Release) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &release.actor);
    let view = jit.release(&actor, release.id).await?;
    at.finish(&jit, view.id(), gone).await
}

pub(super) async fn revoke(at: &Context<'_>, revoke: &cli::Revoke) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &revoke.actor);
    let view = jit.revoke(&actor, revoke.id, &revoke.reason).await?;
    at.finish(&jit, view.id(), gone).await
}

pub(super) async fn extend(at: &Context<'_>, extend: &cli::Extend) -> Result<(), Failure> {
    let jit = at.engine().await?;
    let actor = at.actor(&jit, &extend.actor);
    let view = jit.extend(&actor, extend.id, extend.how_long, &extend.reason).await?;
    let longer = said(extend.how_long);
    at.finish(&jit, view.id(), |view| match (view.extension, view.expires_at) {
        (Some(_), _) => format!("asked: {longer} more wait for approval"),
        (None, Some(end)) => format!("extended by {longer}: until {}", shown(end)),
        (None, None) => format!("the access is {} meanwhile", view.state),
    })
    .await
}

fn gone(view: &AccessView) -> String {
    let (who, role, target) = (&view.principal, &view.role, &view.target);
    match view.state {
        AccessState::Revoked => {
            let ended = view.evidence.as_ref().map_or_else(String::new, |evidence| told(evidence.sessions_ended));
            let left = view.evidence.as_ref().map(|evidence| evidence.residual.join("; ")).unwrap_or_default();
            if !left.is_empty() {
                return format!(
                    "our grant of `{role}` on `{target}` is revoked and verified{ended}; `{who}` still holds the role: {left}"
                );
            }
            format!("revoked and verified: `{who}` no longer has `{role}` on `{target}`{ended}")
        }
        AccessState::Withdrawn => format!("withdrawn: `{role}` on `{target}` was not granted to `{who}`"),
        state => format!("{state}: `{role}` on `{target}` for `{who}`"),
    }
}

fn told(sessions: u32) -> String {
    match sessions {
        0 => String::new(),
        1 => "; one session was ended".to_owned(),
        several => format!("; {several} sessions were ended"),
    }
}
