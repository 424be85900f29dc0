//! Building an engine from the configuration.

mod workflow;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use jit_core::audit::{JsonLines, SigningKey, origin};
use jit_core::clock::SystemEntropy;
use jit_core::database::{
    CommandCredentials, Credentials, DEAD_MANS_SWITCH_GRACE, Database, EnvCredentials, FileCredentials, declared,
};
use jit_core::engine::{Jit, TenantBuilder};
use jit_core::id::TenantId;
use jit_core::store::{MemoryStore, SqliteStore, Store};
use jit_mssql::{MsSqlConfig, MsSqlDatabase};
use jit_mysql::{MySqlConfig, MySqlDatabase};
use jit_postgres::{ConfigError, PostgresConfig, PostgresDatabase, PostgresStore, StoreConfig};

use crate::config::{Config, Engine, Password, ServerConfig, StoreAt, TenantConfig};
use crate::error::Failure;

/// Builds the engine, and returns the handle of the tenant that was asked for.
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
        builders.push((id.clone(), tenant_builder(id, settings).await?));
    }
    let mut builder = Jit::builder().shared_store(store(&config.store).await?);
    for (id, tenant) in builders {
        builder = builder.tenant(id, tenant);
    }
    let jit = builder.build().await?;
    match tenant {
        Some(tenant) => Ok(jit.tenant(tenant)?),
        None => Ok(jit),
    }
}

/// Opens the configured store.
pub(crate) async fn store(at: &StoreAt) -> Result<Arc<dyn Store>, Failure> {
    Ok(match at {
        StoreAt::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
        StoreAt::Postgres { server, listen_url } => {
            Arc::new(PostgresStore::open(shared_store(server, listen_url.as_deref())?).await?)
        }
        StoreAt::Memory => Arc::new(MemoryStore::default()),
    })
}

/// Returns the settings of a store for many nodes.
pub(crate) fn shared_store(server: &ServerConfig, listen_url: Option<&str>) -> Result<StoreConfig, Failure> {
    let wrong = |error: ConfigError| {
        Failure::configuration(format!("the store: {error}"), "fix it under `[store]` in jit.toml")
    };
    let config = StoreConfig::new(postgres(server).map_err(wrong)?);
    let Some(url) = listen_url else { return Ok(config) };
    let listen = ServerConfig { url: url.to_owned(), ..server.clone() };
    Ok(config.listen(Some(postgres(&listen).map_err(wrong)?)))
}

async fn tenant_builder(id: &TenantId, settings: &TenantConfig) -> Result<TenantBuilder, Failure> {
    let mut builder = settings.policy.add_to(TenantBuilder::default())?;
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
        let sink = match &settings.audit.name {
            Some(name) => sink.named(name),
            None => sink,
        };
        builder = builder.audit_sink(sink);
    }
    workflow::workflow(builder, &settings.workflow).await
}

/// Reads the key from this file, or creates it if there is none.
pub(crate) fn signing_key(path: &Path, tenant: &TenantId) -> Result<SigningKey, Failure> {
    SigningKey::load_or_create(path, &origin(tenant), &SystemEntropy).map_err(|error| {
        Failure::configuration(error.to_string(), "`[audit] signing_key` in jit.toml says where it is")
    })
}

/// Creates the adapter that the URL's scheme names.
fn database(name: &str, target: &ServerConfig) -> Result<Arc<dyn Database>, Failure> {
    let wrong = |error: &dyn Display| {
        Failure::configuration(format!("target `{name}`: {error}"), "fix it under `[targets]` in jit.toml")
    };
    let database: Arc<dyn Database> = match target.engine() {
        Some(Engine::Postgres) => {
            let config = postgres(target).map_err(|error| wrong(&error))?;
            Arc::new(PostgresDatabase::new(config).map_err(|error| wrong(&error))?)
        }
        Some(Engine::MySql) => {
            let config = mysql(target).map_err(|error| wrong(&error))?;
            Arc::new(MySqlDatabase::new(config).map_err(|error| wrong(&error))?)
        }
        Some(Engine::MsSql) => {
            let config = mssql(target).map_err(|error| wrong(&error))?;
            Arc::new(MsSqlDatabase::new(config).map_err(|error| wrong(&error))?)
        }
        None => return Err(wrong(&"its URL names no engine that is known")),
    };
    declared(database, target.realm.as_deref()).map_err(|error| wrong(&format!("`realm`: {error}")))
}

fn mssql(server: &ServerConfig) -> Result<MsSqlConfig, jit_mssql::ConfigError> {
    let config = MsSqlConfig::from_url(&server.url)?.tls(server.tls.clone());
    let config = config.dead_mans_switch_grace(server.dead_mans_switch_grace.unwrap_or(DEAD_MANS_SWITCH_GRACE));
    Ok(match &server.password {
        Some(password) => config.credentials(credentials(password)),
        None => config,
    })
}

fn mysql(server: &ServerConfig) -> Result<MySqlConfig, jit_mysql::ConfigError> {
    let config = MySqlConfig::from_url(&server.url)?.tls(server.tls.clone());
    let config = config.dead_mans_switch_grace(server.dead_mans_switch_grace.unwrap_or(DEAD_MANS_SWITCH_GRACE));
    Ok(match &server.password {
        Some(password) => config.credentials(credentials(password)),
        None => config,
    })
}

pub(crate) fn postgres(server: &ServerConfig) -> Result<PostgresConfig, ConfigError> {
    let config = PostgresConfig::from_url(&server.url)?.tls(server.tls.clone());
    let config = config.administrators(server.administrators.clone());
    let config = config.dead_mans_switch_grace(server.dead_mans_switch_grace.unwrap_or(DEAD_MANS_SWITCH_GRACE));
    Ok(match &server.password {
        Some(password) => config.credentials(credentials(password)),
        None => config,
    })
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
