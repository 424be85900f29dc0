//! Laws about sessions: a revoke also ends the sessions that used the role (law 5).

use std::sync::Arc;

use super::scene::{Scene, expect};
use super::{Act, Attempt, By, Outcome, Tried, World, laws, must};
use crate::database::{DatabaseError, MembershipScope, Rejection, RevokeHow};
use crate::policy::{Sessions, Stance};

laws! {
    law_05_session_that_set_the_role_is_ended: [], ["pg-set-role-kept", "pg-end-after-revoke", "pg-signal-backend", "my-session-keeps"];
    law_05_open_cursor_is_ended: [Cursors], ["pg-cursor-kept"];
    law_05_session_of_a_member_of_the_account_is_ended: [AccountMembers], ["pg-member-of-account"];
    law_05_only_the_accounts_own_sessions_are_ended: [], ["pg-signal-backend"];
    law_05_who_reconnects_has_nothing: [], ["pg-end-after-revoke"];
    law_05_later_sessions_are_told_from_earlier_ones: [], ["pg-end-after-revoke"];
    law_05_sessions_are_left_where_the_rule_says_so: [], ["pg-set-role-kept"];
    contract_account_with_members_is_refused: [AccountMembers], ["pg-member-of-account"];
    contract_width_inherit_withholds_set_role: [SetOption], ["pg-set-false"];
    contract_width_set_role_allows_it: [], ["pg-widen"];
    contract_grant_is_usable_by_a_noinherit_account: [SetOption], ["pg-set-false"];
    contract_grant_never_gives_the_admin_option: [], ["pg-admin-never", "my-admin-never"];
}

async fn law_05_session_that_set_the_role_is_ended(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::SetRole).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Done).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Done).await?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Ended).await?;
    let ended =
        report.ended.iter().any(|ended| ended.id == session.id() && ended.account == scene.canonical(&scene.account));
    must(ended, format!("session {} is not among the ended ones: {:?}", session.id(), report.ended))?;
    must(report.seen.sessions.is_empty(), "the report still shows sessions")?;
    must(report.seen.direct.is_empty() && scene.rows().await? == 0, "the membership is still there")
}

async fn law_05_open_cursor_is_ended(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::OpenCursor(&scene.role), Tried::Done).await?;
    expect(&mut session, Attempt::Fetch, Tried::Done).await?;
    scene.revoke(RevokeHow::Remove).await?;
    expect(&mut session, Attempt::Fetch, Tried::Ended).await
}

async fn law_05_session_of_a_member_of_the_account_is_ended(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let bob = with_member(&scene).await?;
    let order = scene.order_accepting(scene.soon().await?, Stance::Accepted, Stance::Refused)?;
    scene.send_grant(order).await??;
    let mut session = world.session(&bob).await?;
    // some engines set only roles that were granted directly: there, bob becomes the account first
    if session.attempt(Attempt::SetRole(&scene.role)).await? != Tried::Done {
        expect(&mut session, Attempt::SetRole(&scene.account), Tried::Done).await?;
    }
    expect(&mut session, Attempt::Write(&scene.role), Tried::Done).await?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Ended).await?;
    must(report.seen.members == [scene.canonical(&bob)], format!("seen as members: {:?}", report.seen.members))
}

async fn law_05_only_the_accounts_own_sessions_are_ended(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let carol = scene.another("carol").await?;
    let mut bystander = world.session(&carol).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let mut session = scene.session().await?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    expect(&mut session, Attempt::Ping, Tried::Ended).await?;
    expect(&mut bystander, Attempt::Ping, Tried::Done).await?;
    must(report.ended.len() == 1, format!("one session was to end: {:?}", report.ended))
}

async fn law_05_who_reconnects_has_nothing(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::SetRole).await?;
    scene.usable(Tried::Done).await?;
    scene.revoke(RevokeHow::Remove).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Denied).await?;
    expect(&mut session, Attempt::Read(&scene.role), Tried::Denied).await
}

async fn law_05_later_sessions_are_told_from_earlier_ones(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let earlier = scene.session().await?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    let ended = report.ended.iter().find(|ended| ended.id == earlier.id());
    let before = ended.and_then(|ended| ended.since).is_none_or(|since| since < report.revoked_at);
    must(before, "the ended session began before the revoke, and its report says otherwise")?;
    must(report.revoked_at <= report.server_time, "the revoke is later than the look after it")?;
    let later = scene.session().await?;
    let seen = scene.observe().await?;
    let Some(session) = seen.sessions.iter().find(|session| session.id == later.id()) else {
        return must(false, format!("session {} is not seen: {:?}", later.id(), seen.sessions));
    };
    must(
        session.since.is_none_or(|since| since > report.revoked_at),
        "it began after the revoke, and `since` says otherwise",
    )
}

async fn law_05_sessions_are_left_where_the_rule_says_so(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let mut session = scene.session().await?;
    let mut order = scene.revoke_order(scene.membership()?, RevokeHow::Remove);
    order.sessions = Sessions::Keep;
    let report = scene.send_revoke(order).await?;
    must(report.ended.is_empty(), "sessions were ended")?;
    let seen = report.seen.sessions.iter().any(|seen| seen.id == session.id());
    must(seen, "the session that was left is not in the report")?;
    expect(&mut session, Attempt::Ping, Tried::Done).await?;
    must(scene.rows().await? == 0, "the membership is still there")
}

async fn contract_account_with_members_is_refused(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let bob = with_member(&scene).await?;
    let seen = scene.observe().await?;
    must(seen.members == [scene.canonical(&bob)], format!("seen as members: {:?}", seen.members))?;
    let order = scene.order_accepting(scene.soon().await?, Stance::Refused, Stance::Refused)?;
    let refused = scene.send_grant(order).await?;
    let right = matches!(&refused, Err(DatabaseError::Rejected { rejection: Rejection::AccountHasMembers, .. }));
    must(right, format!("not rejected for the account's members: {refused:?}"))?;
    must(scene.rows().await? == 0, "it was granted all the same")
}

/// Makes another account a member of the account, and returns it.
async fn with_member(scene: &Scene) -> Result<String, crate::store::BoxError> {
    let bob = scene.another("bob").await?;
    let (role, to) = (scene.account.as_str(), bob.as_str());
    scene.world.act(Act::Grant { role, to, by: By::Admin, scope: MembershipScope::SetRole, admin: false }).await?;
    Ok(bob)
}

async fn contract_width_inherit_withholds_set_role(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::Inherit).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Denied).await?;
    expect(&mut session, Attempt::Write(&scene.role), Tried::Done).await?;
    let seen = scene.observe().await?;
    must(seen.direct.iter().all(|grant| grant.scope == MembershipScope::Inherit), "the width was not seen as granted")
}

async fn contract_width_set_role_allows_it(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    scene.grant(MembershipScope::SetRole).await?;
    let mut session = scene.session().await?;
    expect(&mut session, Attempt::SetRole(&scene.role), Tried::Done).await?;
    let seen = scene.observe().await?;
    must(seen.direct.iter().all(|grant| grant.scope == MembershipScope::SetRole), "the width was not seen as granted")
}

async fn contract_grant_is_usable_by_a_noinherit_account(world: Arc<dyn World>) -> Outcome {
    let mut scene = Scene::new(world.clone()).await?;
    scene.account = world.fresh("noinherit");
    world.act(Act::CreateAccount { account: &scene.account, inherits: false }).await?;
    scene.grant(MembershipScope::Inherit).await?;
    scene.usable(Tried::Done).await
}

async fn contract_grant_never_gives_the_admin_option(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::SetRole).await?;
    let rows = world.members(&scene.role).await?;
    let admin = rows.iter().any(|row| row.member == scene.account && row.admin);
    must(!admin, "the account could pass the role on")
}
