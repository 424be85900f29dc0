//! Making the schema, bringing an older one forward, and saying who may use it.

use jit_core::store::StoreError;
use postgres_protocol::escape::escape_identifier;

use super::error::{failed, unreachable};
use super::rows::get;
use super::sql;
use crate::connect::{Connector, Line};

/// Version of the schema that this software knows.
const SCHEMA: i32 = 1;
/// Oldest server that has what the schema needs.
const OLDEST_SERVER: i32 = 150_000;

/// Roles that may use a store.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct StoreUsers {
    /// Roles of nodes: they may look, and call the functions that change the store. They cannot
    /// write by themselves, least of all the log.
    pub nodes: Vec<String>,
    /// Roles of auditors: they read the log and its checkpoints, and nothing else.
    pub auditors: Vec<String>,
}

impl StoreUsers {
    /// Creates the users of a store that has these roles of nodes and no auditors.
    #[must_use]
    pub fn nodes(nodes: Vec<String>) -> Self {
        Self { nodes, auditors: Vec::new() }
    }

    /// Sets the roles of auditors.
    #[must_use]
    pub fn auditors(self, auditors: Vec<String>) -> Self {
        Self { auditors, ..self }
    }
}

/// Makes the schema if there is none and this user may. Brings forward an older one of theirs, and
/// refuses a newer one.
pub(super) async fn bring_forward(connector: &Connector) -> Result<(), StoreError> {
    let line = connector.line(None).await.map_err(unreachable)?;
    line.client.batch_execute(sql::BEGIN).await.map_err(failed)?;
    let (found, owner) = look(&line).await?;
    let row = line.client.query_typed_one(sql::DATABASE, &[]).await.map_err(failed)?;
    if get(&row, "everybody_connects")? {
        tracing::warn!(
            database = get::<&str>(&row, "name")?,
            "every login of the server may connect to the store's database: `jit store migrate` (`PostgresStore::migrate`) takes that from PUBLIC"
        );
    }
    line.client.batch_execute("COMMIT").await.map_err(failed)?;
    match found {
        Some(SCHEMA) => Ok(()),
        Some(found) if found > SCHEMA => {
            Err(StoreError::Newer { found: i64::from(found), known: i64::from(SCHEMA) })
        }
        _ if owner => migrate(connector, None).await,
        _ => Err(StoreError::Unavailable {
            why: "the database holds no store of this version, and this user may not make one: let the owner of the database open it \
                  once, and allow this user by `PostgresStore::migrate`"
                .to_owned(),
            source: None,
        }),
    }
}

/// Does the same, allows these roles, and closes the database to everybody else.
pub(super) async fn allow(connector: &Connector, users: &StoreUsers) -> Result<(), StoreError> {
    migrate(connector, Some(users)).await
}

async fn admit(line: &Line, users: &StoreUsers) -> Result<(), StoreError> {
    for (roles, place, statement) in
        [(&users.nodes, "NODES", sql::ALLOW_NODES), (&users.auditors, "AUDITORS", sql::ALLOW_AUDITORS)]
    {
        if !roles.is_empty() {
            let names: Vec<String> = roles.iter().map(|role| escape_identifier(role)).collect();
            line.client.batch_execute(&statement.replace(place, &names.join(", "))).await.map_err(failed)?;
        }
    }
    close(line).await
}

/// Lets only allowed roles connect to the store's database.
async fn close(line: &Line) -> Result<(), StoreError> {
    let row = line.client.query_typed_one(sql::DATABASE, &[]).await.map_err(failed)?;
    let name: &str = get(&row, "name")?;
    let connects = sql::CLOSE.replace("PLACE", name);
    if get(&row, "owner")? {
        let mut all = vec![connects];
        all.extend(get::<bool>(&row, "everybody_makes")?.then(|| sql::CLOSE_PUBLIC.to_owned()));
        let users: Option<&str> = get(&row, "users")?;
        all.extend(users.map(|users| sql::ALLOW_CONNECT.replace("PLACE", name).replace("USERS", users)));
        return line.client.batch_execute(&all.join("; ")).await.map_err(failed);
    }
    if get(&row, "everybody_connects")? {
        let why = format!(
            "every login of the server may connect to the store's database, and this user does not own it: let its owner run \
             `{connects}`, and `GRANT CONNECT` to those who use the store"
        );
        return Err(StoreError::Unavailable { why, source: None });
    }
    Ok(())
}

/// Makes the schema or brings it forward, and admits these users, in one transaction. If several do
/// this at once, one makes the schema, and the others then see that it is there.
async fn migrate(connector: &Connector, users: Option<&StoreUsers>) -> Result<(), StoreError> {
    let mut made_by_others = false;
    loop {
        let line = connector.line(None).await.map_err(unreachable)?;
        line.client.batch_execute(sql::BEGIN).await.map_err(failed)?;
        // If something fails, the connection is closed, and with it the transaction.
        match look(&line).await?.0 {
            None => match line.client.batch_execute(sql::SCHEMA_1).await {
                Err(error) if is_made_already(&error) && !made_by_others => {
                    made_by_others = true;
                    continue;
                }
                made => made.map_err(failed)?,
            },
            Some(SCHEMA) => line.client.batch_execute(sql::MIGRATION_LOCK).await.map_err(failed)?,
            Some(found) => return Err(StoreError::Newer { found: i64::from(found), known: i64::from(SCHEMA) }),
        }
        if let Some(users) = users {
            admit(&line, users).await?;
        }
        return line.client.batch_execute("COMMIT").await.map_err(failed);
    }
}

/// Checks whether somebody else made the schema meanwhile.
fn is_made_already(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| matches!(code.code(), "42P06" | "23505"))
}

/// Reads the schema's number, if there is one, and checks whether this user may make or change it.
/// A schema that a stranger made, or put something into, is no store, whatever stands in it.
async fn look(line: &Line) -> Result<(Option<i32>, bool), StoreError> {
    let unusable = |why: String| Err(StoreError::Unavailable { why, source: None });
    let row = line.client.query_typed_one(sql::FOUND, &[]).await.map_err(failed)?;
    if get::<i32>(&row, "server")? < OLDEST_SERVER {
        return unusable("the store needs PostgreSQL 15 or later".to_owned());
    }
    if let Some(owner) = get::<Option<&str>>(&row, "foreign_owner")? {
        return unusable(format!(
            "the schema `jit` belongs to `{owner}`, who is neither a superuser, nor the owner of the database, nor this user: look at what it \
             is, drop it, and make the store anew as the owner of the database"
        ));
    }
    if let Some(what) = get::<Option<&str>>(&row, "foreign")? {
        return unusable(format!(
            "in the schema `jit` others than its owner own or may make something ({what}): look at what it is, and drop or revoke it"
        ));
    }
    let (there, usable, owner): (bool, bool, bool) = (get(&row, "there")?, get(&row, "usable")?, get(&row, "owner")?);
    if get(&row, "taken")? && !there {
        return unusable("the database has a schema `jit` that is no store: name another database".to_owned());
    }
    if there && !usable {
        return unusable(
            "this user may not use the store: let its owner allow it by `PostgresStore::migrate`".to_owned(),
        );
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
