//! Tests of the memberships that the broker granted, of their grantor, and of what blocks a revoke.

use std::time::Duration;

use jit_core::database::{Call, Grantor, Membership, RevokeOrder};
use jit_core::policy::Stance;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Act, Login, World as _};

use crate::must;
use crate::scene::Scene;

pub(crate) async fn locked(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    scene.sql("GRANT {role} TO {account} WITH ADMIN OPTION").await?;
    let other = scene.world.fresh("bob");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    // an open transaction that granted the role blocks every revoke of it
    let session = scene.running.session(&scene.account, "postgres").await?;
    session.batch_execute(&format!("BEGIN; GRANT {} TO {other}", scene.role)).await?;
    let report = scene.revoke().await?;
    let ours = report.seen.direct.iter().filter(|grant| grant.grantor == Grantor::Broker).count();
    must(ours == 0, format!("it is still held: {:?}", report.seen.direct))?;
    must(session.batch_execute("COMMIT").await.is_err(), "the session that was in the way goes on")
}

pub(crate) async fn superuser(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    scene.sql("ALTER ROLE {broker} SUPERUSER").await?;
    let again = scene.world.database(Login::Broker).await?;
    let scene = Scene { database: again, ..scene };
    let report = scene.revoke().await?;
    must(report.seen.direct.is_empty(), format!("it is still held: {:?}", report.seen.direct))?;
    must(scene.try_grant(Stance::Refused).await?.is_err(), "a superuser grants")
}

pub(crate) async fn encodings(scene: Scene) -> Result<(), BoxError> {
    let latin = scene.world.fresh("latin");
    let admin = scene.running.admin("postgres").await?;
    let make = format!("CREATE DATABASE {latin} TEMPLATE template0 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C'");
    admin.batch_execute(&make).await?;
    let name = scene.world.fresh("müller");
    let there = scene.running.admin(&latin).await?;
    there.batch_execute(&format!("CREATE ROLE \"{name}\" LOGIN; GRANT {} TO \"{name}\"", scene.role)).await?;
    let role = scene.database.role(&scene.role)?;
    let holders = scene.database.holders(&[role]).await?.holders;
    let told = name.replace('ü', "\\xfc");
    must(holders.iter().any(|holder| holder.account.as_str() == told), format!("`{told}` is not among {holders:?}"))?;
    scene.try_grant(Stance::Refused).await??;
    scene.revoke().await?;
    there.batch_execute(&format!("DROP ROLE \"{name}\"")).await?;
    drop(there);
    Ok(admin.batch_execute(&format!("DROP DATABASE {latin} WITH (FORCE)")).await?)
}

pub(crate) async fn of_the_broker(scene: Scene) -> Result<(), BoxError> {
    must(scene.database.of_the_broker().await?.usable.is_empty(), "the broker can use nothing yet")?;
    scene.try_grant(Stance::Refused).await??;
    scene.sql("GRANT {role} TO {broker} WITH SET TRUE").await?;
    let seen = scene.database.of_the_broker().await?;
    must(seen.granted.iter().any(|holder| holder.role.as_str() == scene.role), "what it granted is not listed")?;
    must(seen.usable.iter().any(|holder| holder.role.as_str() == scene.role), "what it can use is not listed")
}

pub(crate) async fn gone_before(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    must(scene.revoke().await?.was_held == Some(true), "it was held")?;
    must(scene.revoke().await?.was_held == Some(false), "it was gone already")
}

/// Grants to several accounts at once, of which one cannot be granted the role, and takes it back.
pub(crate) async fn one_of_several(scene: Scene) -> Result<(), BoxError> {
    let mut accounts = vec![scene.account.clone()];
    for _ in 0..6 {
        let account = scene.world.fresh("u");
        scene.world.act(Act::CreateAccount { account: &account, inherits: true }).await?;
        accounts.push(account);
    }
    // the server itself refuses a circle, after everything that is checked before its statement
    scene.sql("GRANT {account} TO {role}").await?;
    let refused = &scene.account;
    let granted = scene.try_grant_to(&accounts).await?;
    for (account, result) in accounts.iter().zip(granted) {
        let said = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let right = if account == refused { said.contains("members of each other") } else { result.is_ok() };
        must(right, format!("the grant to `{account}`, while that to `{refused}` is refused: {result:?}"))?;
    }
    // the server keeps what somebody passed on from being taken away
    let passes_on = accounts.get(3).ok_or("no account")?;
    let admin = scene.running.admin("postgres").await?;
    let (role, broker, receiver) = (&scene.role, scene.world.broker(), scene.world.fresh("bob"));
    scene.world.act(Act::CreateAccount { account: &receiver, inherits: true }).await?;
    admin.batch_execute(&format!("GRANT {role} TO {passes_on} WITH ADMIN TRUE GRANTED BY {broker}")).await?;
    let session = scene.running.session(passes_on, "postgres").await?;
    session.batch_execute(&format!("GRANT {role} TO {receiver}")).await?;
    let role = scene.database.role(role)?;
    let order = |account: &String| -> Result<RevokeOrder, BoxError> {
        Ok(RevokeOrder::new(scene.access, Membership::new(scene.database.account(account)?, role.clone())))
    };
    let orders = accounts.iter().map(order).collect::<Result<Vec<_>, _>>()?;
    let call = Call::new(format!("r{}", scene.access), Duration::from_secs(10));
    for (account, result) in accounts.iter().zip(scene.database.revoke(&call, &orders).await) {
        let said = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let right = if account == passes_on { said.contains("CASCADE") } else { result.is_ok() };
        must(right, format!("the revoke from `{account}`, while that from `{passes_on}` is refused: {result:?}"))?;
    }
    Ok(())
}

/// Swaps the names of two accounts while one of them holds the role.
pub(crate) async fn swapped(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    // as the engine does: from now on by id
    let seen = scene.database.observe(&[scene.membership()?]).await?.seen.pop().ok_or("nothing")?;
    let mut membership = scene.membership()?;
    (membership.account_id, membership.role_id) = (seen.account_id, seen.role_id);
    let (other, between) = (scene.world.fresh("bob"), scene.world.fresh("between"));
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    for (from, to) in [(&scene.account, &between), (&other, &scene.account), (&between, &other)] {
        scene.world.act(Act::Rename { from, to }).await?;
    }
    let session = scene.running.session(&other, "postgres").await?;
    let report = scene.revoke_of(membership).await?;
    must(report.was_held == Some(true), "whoever has the name now was taken for the account")?;
    must(scene.world.members(&scene.role).await?.iter().all(|row| row.member != other), "it holds the role still")?;
    must(session.batch_execute("SELECT 1").await.is_err(), "its session lives")
}

/// Checks that a lock held by another call of ours is not reported as a person's.
pub(crate) async fn locked_by_us(scene: Scene) -> Result<(), BoxError> {
    scene.try_grant(Stance::Refused).await??;
    let other = scene.world.fresh("bob");
    scene.world.act(Act::CreateAccount { account: &other, inherits: true }).await?;
    let broker = scene.world.broker();
    let ours = scene.running.session(&broker, "postgres").await?;
    let grant = format!("BEGIN; GRANT {} TO {other} GRANTED BY {broker}", scene.role);
    ours.batch_execute(&grant).await?;
    let error = scene.revoke().await.err().ok_or("it was revoked all the same")?.to_string();
    must(error.contains("another call of jit") && !error.contains(&broker), error.clone())?;
    must(ours.batch_execute("ROLLBACK").await.is_ok(), "our own session was ended")?;
    // the lock of a person is named, and ours beside it is not
    let admin = scene.running.admin("postgres").await?;
    admin.batch_execute(&format!("BEGIN; GRANT {} TO {other}", scene.role)).await?;
    let waits = ours.batch_execute(&grant);
    let (_, error) = tokio::join!(tokio::time::timeout(Duration::from_secs(4), waits), scene.revoke());
    let error = error.err().ok_or("it was revoked all the same")?.to_string();
    must(error.contains("`postgres`") && !error.contains(&broker), error.clone())?;
    drop(admin);
    Ok(())
}

/// Locks the tables of roles in the account's session, in a mode that still allows reads.
pub(crate) async fn locked_catalog(scene: Scene) -> Result<(), BoxError> {
    for table in ["pg_auth_members", "pg_authid"] {
        scene.sql(&format!("GRANT MAINTAIN ON {table} TO {{role}}")).await?;
        scene.try_grant(Stance::Accepted).await??;
        let session = scene.running.session(&scene.account, "postgres").await?;
        session.batch_execute(&format!("BEGIN; LOCK TABLE {table} IN EXCLUSIVE MODE")).await?;
        let report = scene.revoke().await;
        drop(session);
        let report = report.map_err(|error| format!("{table}: {error}"))?;
        must(report.seen.direct.is_empty(), format!("{table}: it is still held: {:?}", report.seen.direct))?;
        must(report.seen.sessions.is_empty(), format!("{table}: its session lives"))?;
        scene.sql(&format!("REVOKE MAINTAIN ON {table} FROM {{role}}")).await?;
    }
    Ok(())
}
