//! Sessions of users, and a session that blocks every GRANT and REVOKE.

use std::fmt;

use async_trait::async_trait;
use jit_core::store::BoxError;
use jit_core::testkit::database_laws::{Attempt, Hold, Tried, UserSession};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error};

use super::{quoted, table};
use crate::servers::RunningMySql;

/// Session of a user.
#[derive(Debug)]
pub struct MySqlSession {
    conn: Conn,
    id: u32,
}

impl MySqlSession {
    /// Logs in, and returns the session.
    ///
    /// # Errors
    /// When the server refuses the login.
    pub async fn open(running: &RunningMySql, account: &str, password: &str) -> Result<Self, BoxError> {
        let conn = running.session(account, password).await?;
        let id = conn.id();
        Ok(Self { conn, id })
    }
}

#[async_trait]
impl UserSession for MySqlSession {
    fn id(&self) -> String {
        self.id.to_string()
    }

    async fn attempt(&mut self, what: Attempt<'_>) -> Result<Tried, BoxError> {
        let statement = match what {
            Attempt::SetRole(role) => format!("SET ROLE {}", quoted(role)),
            Attempt::Read(role) => format!("SELECT n FROM {} LIMIT 1", table(role)),
            Attempt::Write(role) => format!("INSERT INTO {} VALUES (0)", table(role)),
            Attempt::Make { name, .. } => format!("CREATE PROCEDURE {}() DO 1", table(name)),
            Attempt::Ping => "DO 1".to_owned(),
            other => return Err(format!("no {other:?} here").into()),
        };
        match self.conn.query_drop(statement).await {
            Ok(()) => Ok(Tried::Done),
            Err(error) if is_ended(&error) => Ok(Tried::Ended),
            Err(error) if is_denied(&error) => Ok(Tried::Denied),
            Err(error) => Err(error.into()),
        }
    }
}

/// Checks whether the server says that a privilege is missing: on a database, a table, a column or
/// a role.
fn is_denied(error: &Error) -> bool {
    matches!(error, Error::Server(error) if [1044, 1142, 1143, 1227, 1959, 3530].contains(&error.code))
}

/// Checks whether the session is gone: cut off, killed, or shut down with the server.
fn is_ended(error: &Error) -> bool {
    match error {
        Error::Io(_) | Error::Driver(mysql_async::DriverError::ConnectionClosed) => true,
        Error::Server(error) => [1053, 1317, 1927, 3169, 4031].contains(&error.code),
        _ => false,
    }
}

/// Session of an administrator that locks what GRANT and REVOKE change, and stays open. Reads and
/// logins go on meanwhile.
pub struct LockedRoles {
    conn: Conn,
    release: &'static str,
}

impl fmt::Debug for LockedRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedRoles").field("id", &self.conn.id()).finish()
    }
}

impl LockedRoles {
    /// Locks the roles until it is released.
    ///
    /// # Errors
    /// When the server refuses that.
    pub async fn lock(running: &RunningMySql) -> Result<Self, BoxError> {
        let mut conn = running.admin().await?;
        let (lock, release): (&[&str], _) = if running.flavour.is_mariadb() {
            // with LOCK TABLES, a waiting GRANT would also block everybody who only reads
            (&["FLUSH TABLES WITH READ LOCK"], "UNLOCK TABLES")
        } else {
            (&["START TRANSACTION", "SELECT COUNT(*) FROM mysql.role_edges FOR UPDATE"], "ROLLBACK")
        };
        for statement in lock {
            conn.query_drop(*statement).await?;
        }
        Ok(Self { conn, release })
    }
}

#[async_trait]
impl Hold for LockedRoles {
    fn id(&self) -> String {
        self.conn.id().to_string()
    }

    async fn release(mut self: Box<Self>) -> Result<(), BoxError> {
        self.conn.query_drop(self.release).await?;
        Ok(self.conn.disconnect().await?)
    }
}
