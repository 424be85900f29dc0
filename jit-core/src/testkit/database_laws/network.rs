//! The way to the server: TLS, passwords, and what may never be said of them (law 12).

use std::sync::Arc;

use super::scene::Scene;
use super::{Act, Login, Outcome, WRONG_PASSWORD, World, laws, must};
use crate::database::{DatabaseError, RevokeHow, Width};
use crate::store::BoxError;

laws! {
    contract_tls_refuses_an_unknown_authority: [Network], [];
    contract_tls_refuses_a_wrong_host: [Network], [];
    contract_tls_refuses_a_certificate_that_has_expired: [Network, OwnServer], [];
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
    world.act(Act::LetCertificateExpire).await?;
    // a server may take a moment to show another one
    for _ in 0..100 {
        if world.database(Login::Broker).await?.identify().await.is_err() {
            break;
        }
        world.pass(std::time::Duration::from_millis(50)).await;
    }
    refused(&world, Login::Broker, &["certificate", "expired"]).await
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

/// The login leads nowhere, the error says why, and nothing says the password.
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
    scene.grant(Width::Inherit).await?;
    world.act(Act::RotatePassword).await?;
    eventually(|| async { scene.revoke(RevokeHow::Remove).await.map(drop) }).await?;
    must(scene.rows().await? == 0, "the membership is still there")
}

async fn contract_idle_connections_that_died_are_replaced(world: Arc<dyn World>) -> Outcome {
    let scene = Scene::new(world.clone()).await?;
    scene.grant(Width::Inherit).await?;
    // rotation ends the broker's connections; the second one finds a pool that has been refilled
    for _ in 0..2 {
        world.act(Act::RotatePassword).await?;
        eventually(|| async { scene.observe().await.map(drop) }).await?;
    }
    Ok(())
}

/// A connection may turn out dead only when it is used: a second try has to find a living one.
async fn eventually<F: Future<Output = Outcome>>(mut what: impl FnMut() -> F) -> Outcome {
    let first = what().await;
    let Err(error) = first else { return Ok(()) };
    let error: Box<DatabaseError> = error.downcast()?;
    let passing = matches!(*error, DatabaseError::Unreachable { .. } | DatabaseError::OutcomeUnknown { .. });
    must(passing, format!("not a passing failure: {error:?}"))?;
    what().await.map_err(|again| -> BoxError { format!("{again}, after {error}").into() })
}
