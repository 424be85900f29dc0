//! Tests of code of other people that would run as the broker.

use std::sync::Arc;

use jit_core::database::{Database, FixedCredentials, Severity, TlsMode};
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::World as _;
use jit_postgres::{PostgresConfig, PostgresDatabase};

use crate::must;
use crate::scene::Scene;

/// Makes a superuser's login trigger that runs a function of mallory's. Mallory can put anything
/// into it, and it runs as whoever logs in (17 and later).
pub(crate) async fn login_trigger(scene: Scene) -> Result<(), BoxError> {
    let (place, mallory, broker) = (scene.world.fresh("place"), scene.world.fresh("mallory"), scene.world.broker());
    let admin = scene.running.admin("postgres").await?;
    admin.batch_execute(&format!("CREATE ROLE {mallory} LOGIN")).await?;
    admin.batch_execute(&format!("CREATE DATABASE {place} TEMPLATE template0")).await?;
    let there = scene.running.admin(&place).await?;
    there
        .batch_execute(&format!(
            "CREATE SCHEMA app AUTHORIZATION {mallory}; CREATE FUNCTION app.logged_in() RETURNS event_trigger LANGUAGE plpgsql AS \
             $$ BEGIN NULL; END $$; CREATE EVENT TRIGGER logins ON login EXECUTE FUNCTION app.logged_in()"
        ))
        .await?;
    let url = format!("postgres://{broker}@127.0.0.1:{}/{place}", scene.running.port);
    let secret = Arc::new(FixedCredentials::new(format!("secret of {broker}").into()));
    let tls = TlsMode::verify_full(Some(scene.running.ca.clone()));
    let database = PostgresDatabase::new(PostgresConfig::from_url(&url)?.credentials(secret).tls(tls))?;
    let refused = async || {
        let found = database.check(&[]).await?;
        let about = |what: &str| what.contains(&mallory) && what.contains("app.logged_in()");
        Ok::<_, BoxError>(found.iter().any(|one| one.severity == Severity::Refusal && about(&one.message)))
    };
    must(!refused().await?, "a superuser's own function is refused")?;
    there.batch_execute(&format!("ALTER FUNCTION app.logged_in() OWNER TO {mallory}")).await?;
    // what mallory can do with it
    let hers = scene.running.session(&mallory, &place).await?;
    let body = format!("IF current_user = '{broker}' THEN GRANT {} TO {mallory}; END IF;", scene.role);
    hers.batch_execute(&format!(
        "CREATE OR REPLACE FUNCTION app.logged_in() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
    ))
    .await?;
    drop(scene.running.session(&broker, &place).await?);
    must(scene.world.members(&scene.role).await?.iter().any(|row| row.member == mallory), "the trigger does not run")?;
    must(refused().await?, "nobody says that somebody else's function runs as the broker")?;
    there.batch_execute("ALTER EVENT TRIGGER logins DISABLE").await?;
    must(!refused().await?, "one that is off is refused")?;
    drop((there, hers, database));
    Ok(admin.batch_execute(&format!("DROP DATABASE {place} WITH (FORCE)")).await?)
}
