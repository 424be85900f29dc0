//! Laws about the way to the server: TLS, passwords, and what may never be told of them (law 12).

use std::sync::Arc;

use super::scene::Scene;
use super::{Act, CERTIFICATE_NAME, Certificate, Login, Outcome, WRONG_PASSWORD, World, laws, must};
use crate::database::{Check, Database, DatabaseError, MembershipScope, RevokeHow, Severity};
use crate::store::BoxError;

laws! {
    contract_tls_refuses_an_unknown_authority: [Network], [];
    contract_tls_refuses_a_wrong_host: [Network], [];
    contract_tls_refuses_a_certificate_that_has_expired: [Network, OwnServer], [];
    contract_tls_knows_a_nameless_certificate_by_the_expected_name_only: [Network, OwnServer], [];
    contract_tls_takes_no_common_name_where_there_are_others: [Network, OwnServer], [];
    contract_tls_is_never_given_up: [Network], ["my-tls"];
    contract_plaintext_only_by_its_dangerous_name: [Network], [];
    contract_wrong_password_is_unreachable_and_says_so: [Network], [];
    contract_rotated_password_is_picked_up: [Network], [];
    contract_nobody_there_is_unreachable: [Network], [];
    contract_idle_connections_that_died_are_replaced: [Network], [];
}

async fn contract_tls_refuses_an_unknown_authority(world: Arc<dyn World>) -> Outcome {
    refused(&world, Login::UnknownCa, &["certificate"]).await
}

async fn contract_tls_refuses_a_wrong_host(world: Arc<dyn World>) -> Outcome {
    refused(&world, Login::WrongHost, &["certificate"]).await
}

async fn contract_tls_refuses_a_certificate_that_has_expired(world: Arc<dyn World>) -> Outcome {
    world.database(Login::Broker).await?.identify().await?;
    world.act(Act::Show { certificate: Certificate::Expired }).await?;
    // a server may take a moment to show another certificate
    for _ in 0..100 {
        if world.database(Login::Broker).await?.identify().await.is_err() {
            break;
        }
        world.pass(std::time::Duration::from_millis(50)).await;
    }
    refused(&world, Login::Broker, &["certificate", "expired"]).await
}

async fn contract_tls_knows_a_nameless_certificate_by_the_expected_name_only(world: Arc<dyn World>) -> Outcome {
    refused(&world, Login::NameInCertificate, &["certificate", CERTIFICATE_NAME]).await?;
    for certificate in [Certificate::Nameless, Certificate::NamelessFirstVersion] {
        world.act(Act::Show { certificate }).await?;
        answers(&world, Login::NameInCertificate).await?;
        answers(&world, Login::ChainAlone).await?;
        for login in [Login::Broker, Login::AnotherName, Login::NameByUnknownCa, Login::ChainByUnknownCa] {
            refused(&world, login, &["certificate"])
                .await
                .map_err(|error| format!("{certificate:?}, {login:?}: {error}"))?;
        }
    }
    // all work is done over this connection
    let database = world.database(Login::NameInCertificate).await?;
    let told = checks_of(&database, "tls-name").await?;
    must(told.severity == Severity::Remark && told.message.contains(CERTIFICATE_NAME), format!("{told:?}"))?;
    let told = checks_of(&world.database(Login::ChainAlone).await?, "tls-chain-only").await?;
    must(told.severity == Severity::Danger && told.message.contains("does not prove"), format!("{told:?}"))
}

async fn contract_tls_takes_no_common_name_where_there_are_others(world: Arc<dyn World>) -> Outcome {
    world.act(Act::Show { certificate: Certificate::Elsewhere }).await?;
    answers(&world, Login::ChainAlone).await?;
    refused(&world, Login::NameInCertificate, &["certificate", CERTIFICATE_NAME]).await?;
    refused(&world, Login::Broker, &["certificate"]).await
}

/// Returns the finding about this subject.
async fn checks_of(database: &Arc<dyn Database>, what: &str) -> Result<Check, BoxError> {
    let checks = database.check(&[]).await?;
    let told = checks.iter().find(|check| check.about.what == what).cloned();
    told.ok_or_else(|| format!("nothing is told of {what}: {checks:?}").into())
}

/// Checks that the login leads to the server. A server that changes its certificate may take a
/// moment.
async fn answers(world: &Arc<dyn World>, login: Login) -> Outcome {
    let mut last = None;
    for _ in 0..100 {
        match world.database(login).await?.identify().await {
            Ok(_) => return Ok(()),
            Err(error) => last = Some(error),
        }
        world.pass(std::time::Duration::from_millis(50)).await;
    }
    must(false, format!("{login:?} leads nowhere: {last:?}"))
}

async fn contract_tls_is_never_given_up(world: Arc<dyn World>) -> Outcome {
    refused(&world, Login::Stripped, &["TLS"]).await
}

async fn contract_plaintext_only_by_its_dangerous_name(world: Arc<dyn World>) -> Outcome {
    world.database(Login::Plaintext).await?.identify().await?;
    Ok(())
}

async fn contract_wrong_password_is_unreachable_and_says_so(world: Arc<dyn World>) -> Outcome {
    refused(&world, Login::WrongPassword, &["password"]).await
}

async fn contract_nobody_there_is_unreachable(world: Arc<dyn World>) -> Outcome {
    refused(&world, Login::NobodyThere, &[]).await
}

/// Checks that the login leads nowhere, that the error says why, and that nothing tells the
/// password.
async fn refused(world: &Arc<dyn World>, login: Login, words: &[&str]) -> Outcome {
    let database = world.database(login).await?;
    let answer = database.identify().await;
    let Err(error @ DatabaseError::Unreachable { .. }) = answer else {
        return must(false, format!("not unreachable: {answer:?}"));
    };
    let text = error.with_causes();
    for word in words {
        must(text.to_lowercase().contains(&word.to_lowercase()), format!("`{word}` is not in: {text}"))?;
    }
    let all = format!("{text} {error:?} {database:?}");
    must(!all.contains(WRONG_PASSWORD), format!("it tells the password: {all}"))
}

async fn contract_rotated_password_is_picked_up(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    world.act(Act::RotatePassword).await?;
    eventually(|| async { scene.revoke(RevokeHow::Remove).await.map(drop) }).await?;
    must(scene.rows().await? == 0, "the membership is still there")
}

async fn contract_idle_connections_that_died_are_replaced(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(MembershipScope::Inherit).await?;
    // rotation ends the broker's connections; the second rotation meets a pool that was refilled
    for _ in 0..2 {
        world.act(Act::RotatePassword).await?;
        eventually(|| async { scene.observe().await.map(drop) }).await?;
    }
    Ok(())
}

/// Tries twice: a connection may turn out dead only when it is used, and the second try has to find
/// a living one.
async fn eventually<F: Future<Output = Outcome>>(mut what: impl FnMut() -> F) -> Outcome {
    let first = what().await;
    let Err(error) = first else { return Ok(()) };
    let error: Box<DatabaseError> = error.downcast()?;
    let passing = matches!(*error, DatabaseError::Unreachable { .. } | DatabaseError::OutcomeUnknown { .. });
    must(passing, format!("not a passing failure: {error:?}"))?;
    what().await.map_err(|again| -> BoxError { format!("{again}, after {error}").into() })
}
