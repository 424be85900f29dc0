//! Store of many nodes, maintained by its owner.

use jit_postgres::{PostgresStore, StoreUsers};
use serde_json::json;

use super::Context;
use crate::cli;
use crate::config::StoreAt;
use crate::error::Failure;

/// Creates it or upgrades it, and allows roles to use it.
pub(super) async fn migrate(at: &Context<'_>, migrate: &cli::Migrate) -> Result<(), Failure> {
    let config = at.config()?;
    let StoreAt::Postgres { server, listen_url } = &config.store else {
        return Err(Failure::configuration(
            "this store needs no migration by hand: it is created and upgraded when it is opened",
            "only a store at `postgres://` is migrated by hand",
        ));
    };
    let users = StoreUsers::nodes(migrate.node.clone()).auditors(migrate.auditor.clone());
    PostgresStore::migrate(&crate::build::shared_store(server, listen_url.as_deref())?, &users).await?;
    let answer = json!({"store": "ready", "nodes": users.nodes, "auditors": users.auditors});
    at.out.result(&answer, || {
        let said = |what: &str, roles: &[String]| match roles {
            [] => String::new(),
            roles => format!("; {what}: {}", roles.join(", ")),
        };
        format!("the store is ready{}{}", said("nodes", &users.nodes), said("auditors", &users.auditors))
    })
}
