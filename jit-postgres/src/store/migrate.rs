//! Making the schema, bringing an older one forward, and saying who may use it.

use jit_core::store::StoreError;
use postgres_protocol::escape::escape_identifier;

use super::error::{failed, unreachable};
use super::rows::get;
use super::sql;
use crate::connect::{Connector, Line};

/// What this software knows.
const SCHEMA: i32 = 1;
/// The oldest server that has what the schema needs.
const OLDEST_SERVER: i32 = 150_000;

/// Who may use a store.
#[derive(Debug, Clone, Default)]
pub struct StoreUsers {
    /// Roles of nodes: they may look, and call what changes the store. They cannot write by themselves, least of all the log.
    pub nodes: Vec<String>,
    /// Roles of auditors: they read the log and its checkpoints, and nothing else.
    pub auditors: Vec<String>,
}

/// Makes the schema where there is none and this user may, brings an older one of his forward, and refuses a newer one.
pub(super) async fn bring_forward(connector: &Connector) -> Result<(), StoreError> {
    let line = connector.line(None).await.map_err(unreachable)?;
    let (found, owner) = look(&line).await?;
    match found {
        Some(SCHEMA) => Ok(()),
        Some(found) if found > SCHEMA => {
            Err(StoreError::Newer { found: i64::from(found), known: i64::from(SCHEMA) })
        }
        _ if owner => in_one(&line, async { migrate(&line).await }).await,
        _ => Err(StoreError::Unavailable {
            why: "the database holds no store of this version, and this user may not make one: let the owner of the database open it \
                  once, and allow this user by `PostgresStore::migrate`"
                .to_owned(),
            source: None,
        }),
    }
}

/// The same, and allows these roles.
pub(super) async fn allow(connector: &Connector, users: &StoreUsers) -> Result<(), StoreError> {
    let line = connector.line(None).await.map_err(unreachable)?;
    in_one(&line, async {
        migrate(&line).await?;
        for (roles, place, statement) in
            [(&users.nodes, "NODES", sql::ALLOW_NODES), (&users.auditors, "AUDITORS", sql::ALLOW_AUDITORS)]
        {
            if !roles.is_empty() {
                let names: Vec<String> = roles.iter().map(|role| escape_identifier(role)).collect();
                line.client.batch_execute(&statement.replace(place, &names.join(", "))).await.map_err(failed)?;
            }
        }
        Ok(())
    })
    .await
}

/// All of it or nothing, and no second one at the same time.
async fn in_one(line: &Line, work: impl Future<Output = Result<(), StoreError>>) -> Result<(), StoreError> {
    line.client.batch_execute(&format!("BEGIN; {}", sql::MIGRATION_LOCK)).await.map_err(failed)?;
    // where it fails the connection is closed, and with it the transaction
    work.await?;
    line.client.batch_execute("COMMIT").await.map_err(failed)
}

/// Another one may have been faster.
async fn migrate(line: &Line) -> Result<(), StoreError> {
    match look(line).await?.0 {
        None => line.client.batch_execute(sql::SCHEMA_1).await.map_err(failed),
        Some(SCHEMA) => Ok(()),
        Some(found) => Err(StoreError::Newer { found: i64::from(found), known: i64::from(SCHEMA) }),
    }
}

/// The schema's number, if there is one, and whether this user may make or change it.
async fn look(line: &Line) -> Result<(Option<i32>, bool), StoreError> {
    let row = line.client.query_typed_one(sql::FOUND, &[]).await.map_err(failed)?;
    if get::<i32>(&row, "server")? < OLDEST_SERVER {
        let why = "the store needs PostgreSQL 15 or later".to_owned();
        return Err(StoreError::Unavailable { why, source: None });
    }
    let (there, usable, owner): (bool, bool, bool) = (get(&row, "there")?, get(&row, "usable")?, get(&row, "owner")?);
    if get(&row, "taken")? && !there {
        let why = "the database has a schema `jit` that is no store: name another database".to_owned();
        return Err(StoreError::Unavailable { why, source: None });
    }
    if there && !usable {
        let why = "this user may not use the store: let its owner allow it by `PostgresStore::migrate`".to_owned();
        return Err(StoreError::Unavailable { why, source: None });
    }
    if !there && get(&row, "standby")? {
        let hint = "the server is a standby: point the store's URL at the primary".to_owned();
        return Err(StoreError::ReadOnly { hint, source: None });
    }
    if !there {
        return Ok((None, owner));
    }
    let row = line.client.query_typed_one(sql::SCHEMA_OF, &[]).await.map_err(failed)?;
    Ok((Some(get(&row, "schema")?), owner))
}
