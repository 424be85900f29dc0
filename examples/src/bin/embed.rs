//! Example of jit in a team's own service: an engine, its pump, one request and one decision.
//!
//! It reads `policy.toml` (as `jit init` writes it), and the broker's password from
//! `ORDERS_PASSWORD`. The first argument is the database. The second one is a CA to trust instead
//! of the system's: `embed postgres://jit_broker@db.example/orders ca.pem`.

use std::sync::Arc;
use std::time::Duration;

use jit_core::{
    AccessRequest, Actor, EnvCredentials, Jit, JsonLines, PolicyDocument, SigningKey, SqliteStore, SystemEntropy,
    TenantId, TimeDelta, TlsMode,
};
use jit_postgres::{PostgresConfig, PostgresDatabase};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let url = std::env::args().nth(1).ok_or("say where the database is: embed URL [CA]")?;
    let tls = TlsMode::verify_full(std::env::args().nth(2).map(Into::into));
    let password = Arc::new(EnvCredentials::new("ORDERS_PASSWORD"));
    let config = PostgresConfig::from_url(&url)?.tls(tls).credentials(password);

    let jit = Jit::builder()
        .store(SqliteStore::open("jit.db")?)
        .policy(PolicyDocument::load("policy.toml")?)
        .database("orders-prod", PostgresDatabase::new(config)?)
        .signing_key(SigningKey::load_or_create("audit.key", "orders", &SystemEntropy)?)
        .audit_sink(JsonLines::append("audit.jsonl")?)
        .build()
        .await?;
    let pump = jit.start();

    // alice and bob are principals whom the service has authenticated
    let alice = Actor::authenticated(TenantId::default(), "alice".parse()?, "oidc");
    let bob = Actor::authenticated(TenantId::default(), "bob".parse()?, "oidc");
    let request =
        AccessRequest::new("orders-prod", "orders_write", TimeDelta::minutes(30)).because("OPS-12: stuck orders");
    let access = jit.request(&alice, request).await?;
    jit.approve(&bob, &access, "go ahead").await?;
    let access = jit.until_active(access.id(), Duration::from_secs(10)).await?;
    println!("usable until {:?}", access.expires_at);

    pump.stop().await;
    Ok(())
}
