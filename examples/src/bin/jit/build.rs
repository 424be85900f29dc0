//! An engine from what is configured.

use std::path::Path;
use std::sync::Arc;

use jit_core::audit::{JsonLines, SigningKey, origin};
use jit_core::clock::SystemEntropy;
use jit_core::database::{CommandCredentials, Credentials, EnvCredentials, FileCredentials};
use jit_core::engine::{Jit, TenantBuilder};
use jit_core::id::TenantId;
use jit_core::policy::PolicyDocument;
use jit_core::store::{MemoryStore, SqliteStore, Store};
use jit_postgres::{PostgresConfig, PostgresDatabase};

use crate::config::{Config, Password, StoreAt, TargetConfig, TenantConfig};
use crate::error::Failure;

/// The engine, as the handle of the tenant that was asked for.
pub(crate) async fn engine(config: &Config, tenant: Option<&TenantId>) -> Result<Jit, Failure> {
    if let Some(tenant) = tenant
        && !config.tenants.contains_key(tenant)
    {
        let known: Vec<String> = config.tenants.keys().map(|known| format!("`{known}`")).collect();
        let message = format!("tenant `{tenant}` is not configured: configured are {}", known.join(", "));
        return Err(Failure::configuration(message, "add it to jit.toml as `[tenants.NAME]`"));
    }
    // the documents first: a wrong one leaves no trace of a store
    let mut builders = Vec::new();
    for (id, settings) in &config.tenants {
        builders.push((id.clone(), tenant_builder(id, settings)?));
    }
    let mut builder = Jit::builder().shared_store(store(&config.store)?);
    for (id, tenant) in builders {
        builder = builder.tenant(id, tenant);
    }
    let jit = builder.build().await?;
    match tenant {
        Some(tenant) => Ok(jit.tenant(tenant)?),
        None => Ok(jit),
    }
}

/// The store, opened.
pub(crate) fn store(at: &StoreAt) -> Result<Arc<dyn Store>, Failure> {
    Ok(match at {
        StoreAt::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
        StoreAt::Memory => Arc::new(MemoryStore::default()),
    })
}

fn tenant_builder(id: &TenantId, settings: &TenantConfig) -> Result<TenantBuilder, Failure> {
    let mut builder = TenantBuilder::default().policy(PolicyDocument::load(&settings.policy)?);
    for (name, target) in &settings.targets {
        builder = builder.database(name.as_str(), database(name, target)?);
    }
    if let Some(path) = &settings.audit.signing_key {
        let key = signing_key(path, id)?;
        builder = builder.signing_key(key);
    }
    if let Some(path) = &settings.audit.file {
        let sink = JsonLines::append(path).map_err(|error| {
            Failure::configuration(error.to_string(), "`[audit] file` in jit.toml says where it is")
        })?;
        builder = builder.audit_sink(sink);
    }
    Ok(builder)
}

/// The key of this file, made where there is none.
pub(crate) fn signing_key(path: &Path, tenant: &TenantId) -> Result<SigningKey, Failure> {
    SigningKey::load_or_create(path, &origin(tenant), &SystemEntropy).map_err(|error| {
        Failure::configuration(error.to_string(), "`[audit] signing_key` in jit.toml says where it is")
    })
}

fn database(name: &str, target: &TargetConfig) -> Result<PostgresDatabase, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::configuration(format!("target `{name}`: {error}"), "mend it under `[targets]` in jit.toml")
    };
    let mut config = PostgresConfig::from_url(&target.url).map_err(|error| wrong(&error))?.tls(target.tls.clone());
    if let Some(password) = &target.password {
        config = config.credentials(credentials(password));
    }
    PostgresDatabase::new(config).map_err(|error| wrong(&error))
}

fn credentials(password: &Password) -> Arc<dyn Credentials> {
    match password {
        Password::File(path) => Arc::new(FileCredentials::new(path)),
        Password::Env(name) => Arc::new(EnvCredentials::new(name)),
        Password::Command(words) => {
            let (program, arguments) =
                words.split_first().map_or(("", [].as_slice()), |(one, rest)| (one.as_str(), rest));
            Arc::new(CommandCredentials::new(program, arguments))
        }
    }
}
