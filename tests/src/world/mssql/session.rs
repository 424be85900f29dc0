//! Sessions of users, and transactions that stay open.

use anyhow::Context;
use async_trait::async_trait;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Attempt, Hold, Tried, UserSession};
use tiberius::error::Error;

use super::place::{Place, Talk, execute};
use super::{literal, quoted};

/// Session of a user.
#[derive(Debug)]
pub struct MsSqlSession {
    client: Talk,
    id: i32,
    /// User that it may impersonate.
    acts_as: Option<String>,
}

impl MsSqlSession {
    /// Logs in, and returns the session.
    ///
    /// # Errors
    /// When the server refuses the login.
    pub async fn open(place: &Place, account: &str, password: &str, acts_as: Option<String>) -> Result<Self, BoxError> {
        let mut client = place.login(&place.database, account, password).await?;
        let id = number(&mut client, "SELECT CONVERT(int, @@SPID) AS id").await?;
        Ok(Self { client, id, acts_as })
    }
}

async fn number(client: &mut Talk, text: &str) -> Result<i32, BoxError> {
    let row = client.simple_query(text).await?.into_row().await?;
    Ok(row.context("no row")?.try_get(0)?.context("no number")?)
}

/// Checks whether the server says that a permission is missing.
fn is_denied(error: &Error) -> bool {
    matches!(error.code(), Some(229 | 230 | 262 | 15151))
}

/// Checks whether the session is gone: its connection is closed, or the server announces that.
fn is_ended(error: &Error) -> bool {
    match error {
        Error::Server(token) => token.class() >= 20 || token.code() == 596,
        _ => true,
    }
}

#[async_trait]
impl UserSession for MsSqlSession {
    fn id(&self) -> String {
        self.id.to_string()
    }

    async fn attempt(&mut self, what: Attempt<'_>) -> Result<Tried, BoxError> {
        let statements = match what {
            // a role does not have to be set: every member has it
            Attempt::SetRole(role) => {
                let act = self.acts_as.take().map(|other| format!("EXECUTE AS USER = {}; ", literal(&other)));
                let act = act.unwrap_or_default();
                let text = format!(
                    "{act}IF ISNULL(IS_ROLEMEMBER({}), 0) = 0 RAISERROR (N'not in the role', 16, 1)",
                    literal(role)
                );
                return match execute(&mut self.client, &text).await {
                    Ok(()) => Ok(Tried::Done),
                    Err(error) if is_ended(&error) => Ok(Tried::Ended),
                    Err(error) if error.code() == Some(50000) => Ok(Tried::Denied),
                    Err(error) => Err(error.into()),
                };
            }
            Attempt::Read(role) => format!("SELECT TOP (1) n FROM dbo.{}", quoted(role)),
            Attempt::Write(role) => format!("INSERT INTO dbo.{} (n) VALUES (0)", quoted(role)),
            Attempt::OpenCursor(role) => {
                format!("DECLARE c CURSOR GLOBAL FOR SELECT n FROM dbo.{}; OPEN c", quoted(role))
            }
            Attempt::Fetch => "FETCH NEXT FROM c".to_owned(),
            Attempt::Make { role, name } => format!("CREATE TABLE {}.{} (n int NOT NULL)", quoted(role), quoted(name)),
            Attempt::Ping => "SELECT 1 AS one".to_owned(),
            other => return Err(format!("no {other:?} here").into()),
        };
        match execute(&mut self.client, &statements).await {
            Ok(()) => Ok(Tried::Done),
            Err(error) if is_ended(&error) => Ok(Tried::Ended),
            Err(error) if is_denied(&error) => Ok(Tried::Denied),
            Err(error) => Err(error.into()),
        }
    }
}

/// Transaction of an administrator that has changed a role and stays open.
#[derive(Debug)]
pub struct OpenTransaction {
    client: Talk,
    id: i32,
}

impl OpenTransaction {
    /// Changes this membership in an open transaction.
    ///
    /// # Errors
    /// When the server refuses that.
    pub async fn begin(place: &Place, role: &str, account: &str) -> Result<Self, BoxError> {
        let mut client = place.admin(&place.database).await?;
        let id = number(&mut client, "SELECT CONVERT(int, @@SPID) AS id").await?;
        let (role, account) = (quoted(role), quoted(account));
        // adding an existing member would change nothing
        let touch = format!(
            "BEGIN TRANSACTION; ALTER ROLE {role} DROP MEMBER {account}; ALTER ROLE {role} ADD MEMBER {account};"
        );
        execute(&mut client, &touch).await?;
        Ok(Self { client, id })
    }
}

#[async_trait]
impl Hold for OpenTransaction {
    fn id(&self) -> String {
        self.id.to_string()
    }

    async fn release(mut self: Box<Self>) -> Result<(), BoxError> {
        execute(&mut self.client, "ROLLBACK TRANSACTION").await?;
        Ok(())
    }
}
