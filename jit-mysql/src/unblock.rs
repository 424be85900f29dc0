//! Ending sessions of an account that block the revocation of its role.
//!
//! A grantee may hold a lock that a REVOKE waits for: on the tables of accounts, on the whole
//! server, for a backup. If the rule ends the account's sessions anyway, they are ended while the
//! REVOKE waits. The REVOKE is sent first, so that it is in the queue. The account's next session,
//! which may come at once, then gets no lock before it. MariaDB does not show who holds a lock, so
//! nothing asks for it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jit_core::database::DatabaseError;
use jit_core::internal::adapter::{Pool, meanwhile};

use crate::account::Name;
use crate::connect::Connection;
use crate::observe::{garbled, number, text};
use crate::sessions::may_be;
use crate::sql;

/// Time for the work, after which sessions are assumed to be in its way.
const PATIENCE: Duration = Duration::from_millis(1500);
/// Pause between two looks for sessions that are in the way.
const PAUSE: Duration = Duration::from_millis(150);
/// Longest wait for another connection.
const LEND: Duration = Duration::from_secs(1);

/// Accounts whose sessions end, and all known accounts with their user names.
#[derive(Debug, Clone, Default)]
pub(crate) struct InTheWay {
    pub(crate) accounts: BTreeSet<Name>,
    pub(crate) known: Arc<BTreeSet<Name>>,
}

/// Does the work. If it takes longer than a moment, the sessions of these accounts are ended
/// meanwhile, on a separate connection.
pub(crate) async fn unblocked<T>(pool: &Pool<Connection>, whose: &InTheWay, work: impl Future<Output = T>) -> T {
    meanwhile(work, end_meanwhile(pool, whose)).await
}

async fn end_meanwhile(pool: &Pool<Connection>, whose: &InTheWay) {
    if whose.accounts.is_empty() {
        return;
    }
    tokio::time::sleep(PATIENCE).await;
    loop {
        // if it is dropped while it works, it is closed
        if let Ok(mut lease) = pool.lend(LEND).await {
            while lease.end_all_of(whose).await.is_ok() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Connection {
    /// Tells every session of these accounts to end. Reads no table that could be locked.
    async fn end_all_of(&mut self, whose: &InTheWay) -> Result<(), DatabaseError> {
        let users: BTreeSet<&str> = whose.accounts.iter().map(|account| account.user.as_str()).collect();
        let users = serde_json::to_string(&users).map_err(|_| garbled())?;
        for row in self.list(sql::SESSIONS, (users,).into()).await? {
            let id = u64::try_from(number(&row, "id")?).unwrap_or_default();
            let (user, from) = (text(&row, "user")?, text(&row, "host")?);
            if whose.accounts.iter().any(|account| may_be(account, &whose.known, &user, &from)) {
                tracing::info!(
                    session = id,
                    user,
                    "a session is ended before its role is revoked: it may be in the way"
                );
                // the look that follows reports a session that cannot be ended
                let _ = self.end_session(id).await;
            }
        }
        Ok(())
    }
}
