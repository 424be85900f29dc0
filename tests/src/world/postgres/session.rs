//! Sessions of users, and transactions that stay open.

use async_trait::async_trait;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Attempt, Hold, Tried, UserSession};
use tokio_postgres::Client;

use super::{is_denied, is_ended, literal, quoted};
use crate::servers::RunningPostgres;

/// Session of a user.
#[derive(Debug)]
pub struct PostgresSession {
    client: Client,
    pid: i32,
}

impl PostgresSession {
    /// Logs in, and returns the session.
    ///
    /// # Errors
    /// When the server refuses the login.
    pub async fn open(running: &RunningPostgres, account: &str) -> Result<Self, BoxError> {
        let client = running.session(account, "postgres").await?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        Ok(Self { client, pid })
    }
}

#[async_trait]
impl UserSession for PostgresSession {
    fn id(&self) -> String {
        self.pid.to_string()
    }

    async fn attempt(&mut self, what: Attempt<'_>) -> Result<Tried, BoxError> {
        let statements = match what {
            Attempt::SetRole(role) => format!("SET ROLE {}", quoted(role)),
            Attempt::Read(role) => format!("SELECT n FROM {} LIMIT 1", quoted(role)),
            Attempt::Write(role) => format!("INSERT INTO {} VALUES (0)", quoted(role)),
            Attempt::OpenCursor(role) => format!("BEGIN; DECLARE c CURSOR FOR SELECT n FROM {}", quoted(role)),
            Attempt::Fetch => "FETCH 1 FROM c".to_owned(),
            Attempt::Prepare { role, gid } => {
                format!("BEGIN; INSERT INTO {} VALUES (0); PREPARE TRANSACTION {}", quoted(role), literal(gid))
            }
            Attempt::Make { name, .. } => {
                format!("CREATE FUNCTION {}() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'", quoted(name))
            }
            Attempt::Ping => "SELECT 1".to_owned(),
            other => return Err(format!("no {other:?} here").into()),
        };
        match self.client.batch_execute(&statements).await {
            Ok(()) => Ok(Tried::Done),
            Err(error) if is_ended(&self.client, &error) => Ok(Tried::Ended),
            Err(error) if is_denied(&error) => {
                self.client.batch_execute("ROLLBACK").await?;
                Ok(Tried::Denied)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Transaction of an administrator that has granted something and stays open.
#[derive(Debug)]
pub struct OpenTransaction {
    client: Client,
    pid: i32,
}

impl OpenTransaction {
    /// Changes this membership in an open transaction. Before 16 only a change of the same row
    /// blocks others, so it changes an existing membership: the admin option.
    ///
    /// # Errors
    /// When the server refuses that.
    pub async fn begin(running: &RunningPostgres, role: &str, account: &str) -> Result<Self, BoxError> {
        let client = running.admin("postgres").await?;
        let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.try_get(0)?;
        let grant = format!("BEGIN; GRANT {} TO {} WITH ADMIN OPTION", quoted(role), quoted(account));
        client.batch_execute(&grant).await?;
        Ok(Self { client, pid })
    }
}

#[async_trait]
impl Hold for OpenTransaction {
    fn id(&self) -> String {
        self.pid.to_string()
    }

    async fn release(self: Box<Self>) -> Result<(), BoxError> {
        self.client.batch_execute("ROLLBACK").await?;
        Ok(())
    }
}
