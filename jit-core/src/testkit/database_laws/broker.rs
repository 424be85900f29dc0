//! Laws about the powers of the broker's account, and about what the server reports of itself.

use std::sync::Arc;

use super::scene::{Scene, call, only};
use super::{Act, By, Login, Need, Outcome, World, laws, must};
use crate::database::{Call, Check, DatabaseError, Identity, MembershipScope, Rejection, RevokeHow, Severity};
use crate::policy::Stance;
use crate::store::BoxError;

laws! {
    contract_least_privileged_broker_is_enough: [], ["pg-needs-admin", "pg-broker-15", "pg-cluster", "my-needs-admin", "my-kill", "my-default-right"];
    contract_broker_cannot_use_the_roles_it_grants: [], ["pg-broker-15", "pg-needs-admin"];
    contract_check_names_a_missing_admin_option: [], ["pg-needs-admin", "my-needs-admin"];
    contract_check_names_an_admin_option_held_through_a_group: [], ["pg-admin-through-group"];
    contract_check_names_the_missing_right_to_end_sessions: [], ["pg-signal-backend", "my-kill"];
    contract_check_refuses_a_superuser: [], ["pg-superuser-merges"];
    contract_check_names_each_privilege_that_is_taken: [Privileges], ["pg-signal-backend", "my-kill", "my-default-right"];
    contract_check_names_a_missing_role: [], [];
    contract_check_names_a_role_that_can_create_accounts: [CanGrant], ["pg-createrole"];
    contract_powers_of_a_role_are_reported: [CanGrant], ["pg-createrole"];
    contract_role_that_can_grant_is_refused_unless_accepted: [CanGrant], ["pg-createrole"];
    contract_capabilities_say_how_the_engine_behaves: [], ["pg-one-row", "pg-row-per-grantor", "pg-set-false"];
    contract_missing_privilege_is_rejected: [], ["pg-needs-admin", "my-needs-admin"];
    contract_incarnation_changes_with_a_restart: [OwnServer], ["pg-synchronous", "my-realm"];
    law_05_what_is_meant_for_another_server_changes_nothing: [], [];
    contract_read_only_server_applies_nothing: [OwnServer], ["pg-read-only"];
    contract_stopped_server_is_unreachable_and_found_again: [OwnServer], [];
}

async fn contract_least_privileged_broker_is_enough(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let findings = check(&scene).await?;
    // expected dangers: throwaway servers run without fsync, and other laws leave accounts with
    // members
    let expected = ["fsync", "account-members"];
    let well =
        |finding: &Check| finding.severity == Severity::Remark || expected.contains(&finding.about.what.as_str());
    must(findings.iter().all(well), format!("{findings:?}"))?;
    scene.grant(MembershipScope::Inherit).await?;
    let session = scene.session().await?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    must(report.ended.iter().any(|ended| ended.id == session.id()), "it could not end the session")
}

async fn contract_broker_cannot_use_the_roles_it_grants(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let mut session = world.session(&world.broker()).await?;
    super::scene::expect(&mut session, super::Attempt::Read(&scene.role), super::Tried::Denied).await
}

async fn contract_check_names_each_privilege_that_is_taken(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let role = scene.database.role(&scene.role)?;
    let mends = async || {
        // some rights of a session are fixed when the session begins
        let fresh = world.database(Login::Broker).await?;
        let found = fresh.check(std::slice::from_ref(&role)).await?;
        Ok::<Vec<String>, BoxError>(found.into_iter().filter_map(|finding| finding.remedy).collect())
    };
    let before = mends().await?;
    let privileges = world.privileges();
    must(!privileges.is_empty(), "there is nothing to take")?;
    for privilege in privileges {
        world.act(Act::Run { statement: &privilege.taken }).await?;
        let found = mends().await?;
        let named =
            |remedy: &&String| !before.contains(remedy) && privilege.named.iter().all(|name| remedy.contains(name));
        must(found.iter().any(|remedy| named(&remedy)), format!("`{}`: {found:?}", privilege.taken))?;
        world.act(Act::Run { statement: &privilege.given }).await?;
    }
    must(mends().await? == before, "something is missing although everything was given back")
}

async fn contract_check_names_a_missing_admin_option(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    world.act(Act::TakeAdminOption { role: &scene.role }).await?;
    names(&check(&scene).await?, "admin-option", Some(&scene.role))
}

async fn contract_check_names_an_admin_option_held_through_a_group(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    world.act(Act::AdminThroughGroup { role: &scene.role }).await?;
    names(&check(&scene).await?, "admin-option", Some(&scene.role))
}

async fn contract_check_names_the_missing_right_to_end_sessions(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    world.act(Act::TakeSignal).await?;
    names(&check(&scene).await?, "signal-backend", None)?;
    // without this right a revoke takes the membership, and never reports that the sessions are
    // gone
    scene.grant(MembershipScope::Inherit).await?;
    let session = scene.session().await?;
    match only(scene.database.revoke(&call("r"), &[scene.revoke_order(scene.membership()?, RevokeHow::Remove)]).await)?
    {
        Ok(report) => {
            must(report.seen.sessions.iter().any(|seen| seen.id == session.id()), "a live session is not reported")?
        }
        Err(error) => must(matches!(error, DatabaseError::Rejected { .. }), format!("not rejected: {error:?}"))?,
    }
    must(scene.rows().await? == 0, "the membership is still there")
}

async fn contract_check_refuses_a_superuser(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let superuser = world.database(Login::Superuser).await?;
    let findings = superuser.check(&[scene.database.role(&scene.role)?]).await?;
    let refused = |finding: &Check| finding.about.what == "superuser" && finding.severity == Severity::Refusal;
    must(findings.iter().any(refused), format!("a superuser broker was not refused: {findings:?}"))
}

async fn contract_check_names_a_missing_role(world: Arc<dyn World>) -> Outcome {
    let mut scene = Scene::new(world.clone()).await?;
    scene.role = world.fresh("no_role");
    let findings = check(&scene).await?;
    let named =
        |finding: &Check| finding.about.on.as_deref() == Some(&scene.role) && finding.severity == Severity::Refusal;
    must(findings.iter().any(named), format!("the missing role was not named: {findings:?}"))
}

async fn contract_check_names_a_role_that_can_create_accounts(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    world.act(Act::LetCreateAccounts { role: &scene.role }).await?;
    let findings = check(&scene).await?;
    let named =
        |finding: &Check| finding.about.on.as_deref() == Some(&scene.role) && finding.severity == Severity::Danger;
    must(findings.iter().any(named), format!("the role's power was not named: {findings:?}"))
}

async fn contract_powers_of_a_role_are_reported(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let refusal = async |scene: &Scene| {
        let order = scene.order_accepting(scene.soon().await?, Stance::Refused, Stance::Refused)?;
        Ok::<_, BoxError>(scene.send_grant(order).await?.err())
    };
    let none = refusal(&scene).await?;
    must(none.is_none(), format!("refused for powers that are not there: {none:?}"))?;
    let other = Scene::new(world.clone()).await?;
    let (to, by, scope) = (other.role.as_str(), By::Admin, MembershipScope::SetRole);
    world.act(Act::Grant { role: &scene.role, to, by, scope, admin: true }).await?;
    let refused = refusal(&other).await?;
    let named = matches!(&refused, Some(DatabaseError::Rejected { rejection: Rejection::RoleCanGrant, why, .. }) if why.contains(&scene.role));
    must(named, format!("the admin option was not named: {refused:?}"))
}

async fn contract_role_that_can_grant_is_refused_unless_accepted(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    world.act(Act::LetCreateAccounts { role: &scene.role }).await?;
    let order = scene.order_accepting(scene.soon().await?, Stance::Refused, Stance::Refused)?;
    let refused = scene.send_grant(order).await?;
    let right = matches!(&refused, Err(DatabaseError::Rejected { rejection: Rejection::RoleCanGrant, .. }));
    must(right, format!("not rejected for the role's power: {refused:?}"))?;
    must(scene.rows().await? == 0, "it was granted all the same")?;
    let order = scene.order_accepting(scene.soon().await?, Stance::Refused, Stance::Accepted)?;
    scene.send_grant(order).await??;
    must(scene.rows().await? == 1, "it was not granted although the rule accepts it")
}

async fn contract_capabilities_say_how_the_engine_behaves(world: Arc<dyn World>) -> Outcome {
    let database = world.database(Login::Broker).await?;
    let capabilities = database.capabilities().await?;
    must(!capabilities.engine.is_empty() && !capabilities.version.is_empty(), "engine or version is missing")?;
    let set_option = world.lacks(Need::SetOption).is_none();
    must(capabilities.set_option == set_option, "whether a grant can withhold SET ROLE is said wrongly")?;
    let recorded = world.lacks(Need::GrantorRecorded).is_none();
    must(capabilities.grantor_recorded == recorded, "whether the grantor is recorded is said wrongly")
}

async fn contract_missing_privilege_is_rejected(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    world.act(Act::TakeAdminOption { role: &scene.role }).await?;
    let order = scene.order(scene.membership()?, MembershipScope::Inherit, scene.soon().await?)?;
    let refused = scene.send_grant(order).await?;
    let right = matches!(&refused, Err(DatabaseError::Rejected { rejection: Rejection::PrivilegeMissing, .. }));
    must(right, format!("not rejected for the missing privilege: {refused:?}"))
}

async fn contract_incarnation_changes_with_a_restart(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let before = scene.database.identify().await?;
    must(before == scene.database.identify().await?, "the identity changes by itself")?;
    must(before == scene.grant(MembershipScope::Inherit).await?.identity, "the grant names another incarnation")?;
    // some servers know their start time in whole seconds only
    world.pass(std::time::Duration::from_millis(1_100)).await;
    world.act(Act::Restart).await?;
    let later = scene.database.identify().await?;
    must(before.realm == later.realm, "the realm changed with a restart")?;
    must(before.incarnation != later.incarnation, "the incarnation did not change with a restart")?;
    let report = scene.revoke(RevokeHow::Remove).await?;
    must(report.identity == later && report.seen.direct.is_empty(), "the revoke after it went wrong")
}

async fn law_05_what_is_meant_for_another_server_changes_nothing(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world).await?;
    let here = scene.database.identify().await?;
    let elsewhere = Identity { incarnation: "another run of it".to_owned(), ..here.clone() };
    let meant = |what: &str, server: &Identity| Call { server: Some(server.clone()), ..call(what) };
    let order = scene.order(scene.membership()?, MembershipScope::Inherit, scene.soon().await?)?;
    let orders = [order];
    let refused = only(scene.database.grant(&meant("g", &elsewhere), &orders).await)?;
    must(matches!(refused, Err(DatabaseError::AnotherServer { .. })), format!("not refused: {refused:?}"))?;
    must(scene.rows().await? == 0, "granted on another server than was meant")?;
    let granted = only(scene.database.grant(&meant("g", &here), &orders).await)??;
    must(granted.identity == here && scene.rows().await? == 1, "not granted on the server that was meant")?;
    let mut session = scene.session().await?;
    let orders = [scene.revoke_order(scene.membership()?, RevokeHow::Remove)];
    let refused = only(scene.database.revoke(&meant("r", &elsewhere), &orders).await)?;
    must(matches!(refused, Err(DatabaseError::AnotherServer { .. })), format!("not refused: {refused:?}"))?;
    must(scene.rows().await? == 1, "revoked on another server than was meant")?;
    super::scene::expect(&mut session, super::Attempt::Ping, super::Tried::Done).await?;
    let report = only(scene.database.revoke(&meant("r", &here), &orders).await)??;
    must(report.identity == here && scene.rows().await? == 0, "not revoked on the server that was meant")
}

async fn contract_read_only_server_applies_nothing(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    let other = scene.another("other").await?;
    scene.grant(MembershipScope::Inherit).await?;
    world.act(Act::Stop).await?;
    world.act(Act::Start { read_only: true }).await?;
    must(scene.observe().await?.direct.len() == 1, "what is held cannot be seen on a read-only server")?;
    let order = scene.order(scene.subject_of(&other)?, MembershipScope::SetRole, scene.soon().await?)?;
    let granted = scene.send_grant(order).await?.map(drop);
    let revoked =
        only(scene.database.revoke(&call("r"), &[scene.revoke_order(scene.membership()?, RevokeHow::Remove)]).await)?;
    for answer in [granted, revoked.map(drop)] {
        let right = matches!(&answer, Err(DatabaseError::NotApplied { .. }));
        must(right, format!("not answered with NotApplied: {answer:?}"))?;
    }
    Ok(())
}

async fn contract_stopped_server_is_unreachable_and_found_again(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    world.act(Act::Stop).await?;
    let membership = scene.membership()?;
    let gone =
        only(scene.database.revoke(&call("r"), &[scene.revoke_order(membership.clone(), RevokeHow::Remove)]).await)?;
    must(matches!(&gone, Err(error) if error.is_unreachable()), format!("not unreachable: {gone:?}"))?;
    let seen = scene.database.observe(&[membership]).await;
    must(matches!(&seen, Err(error) if error.is_unreachable()), format!("not unreachable: {seen:?}"))?;
    world.act(Act::Start { read_only: false }).await?;
    // the same adapter, without a restart of the service
    scene.revoke(RevokeHow::Remove).await?;
    must(scene.rows().await? == 0, "the membership is still there")
}

async fn check(scene: &Scene) -> Result<Vec<Check>, BoxError> {
    Ok(scene.database.check(&[scene.database.role(&scene.role)?]).await?)
}

/// Checks that a finding about this privilege refuses the broker and names the statement that fixes
/// it.
fn names(findings: &[Check], what: &str, on: Option<&str>) -> Outcome {
    let about = |finding: &&Check| finding.about.what == what && (on.is_none() || finding.about.on.as_deref() == on);
    let Some(finding) = findings.iter().find(about) else {
        return must(false, format!("`{what}` on {on:?} is not among {findings:?}"));
    };
    must(finding.severity == Severity::Refusal, format!("it is only a {:?}", finding.severity))?;
    let remedy = finding.remedy.as_deref().unwrap_or_default();
    must(
        remedy.contains("GRANT") && remedy.contains(on.unwrap_or_default()),
        format!("no statement mends it: {finding:?}"),
    )
}
