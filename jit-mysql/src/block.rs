//! Sending changes: one packet for each role, with its label and its deadline.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::clock::{Time, span, to_std};
use jit_core::database::{Call, DatabaseError};
use jit_core::internal::adapter::{Budget, late};

use crate::account::Name;
use crate::connect::Connection;
use crate::error;
use crate::observe::{cheaply, number, text};
use crate::sql::{self, Flavour};

/// Orders that travel in one statement.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) role: Name,
    /// Deadline after which the server must refuse it, by its own clock, UTC.
    pub(crate) not_after: Time,
    /// Index of each order, and its account.
    pub(crate) orders: Vec<(usize, Name)>,
}

/// Writer of the statement for a role and its accounts.
pub(crate) type Statement = fn(&str, &[String]) -> String;

/// Number of times that a statement is tried again after a deadlock.
const TRIES: u32 = 20;
/// Longest wait for a lock, however much time is left. The servers count in seconds.
const LONGEST_WAIT: u64 = 30;

impl Group {
    /// Puts orders of one role and deadline together.
    pub(crate) fn of(orders: impl IntoIterator<Item = (usize, Name, Name, Time)>) -> Vec<Self> {
        let mut groups: BTreeMap<(Name, Time), Vec<(usize, Name)>> = BTreeMap::new();
        for (i, account, role, not_after) in orders {
            groups.entry((role, not_after)).or_default().push((i, account));
        }
        groups.into_iter().map(|((role, not_after), orders)| Self { role, not_after, orders }).collect()
    }

    fn statement(&self, flavour: Flavour, statement: Statement) -> String {
        let mut accounts: Vec<String> = self.orders.iter().map(|(_, account)| account.quoted()).collect();
        accounts.sort();
        accounts.dedup();
        statement(&flavour.quoted_role(&self.role), &accounts)
    }

    /// Splits the group into its orders.
    fn split(self) -> impl Iterator<Item = Self> {
        let Self { role, not_after, orders } = self;
        orders.into_iter().map(move |order| Self { role: role.clone(), not_after, orders: vec![order] })
    }
}

impl Connection {
    /// Sends the groups and returns the result of each order. If a statement fails because of one
    /// account, it is sent again for each account alone.
    pub(crate) async fn send(
        &mut self,
        call: &Call,
        budget: Budget,
        groups: Vec<Group>,
        statement: Statement,
    ) -> Vec<(usize, Result<(), DatabaseError>)> {
        let mut results = Vec::new();
        let mut waiting: Vec<Group> = groups.into_iter().rev().collect();
        while let Some(group) = waiting.pop() {
            match self.send_one(call, budget, &group, statement).await {
                Ok(()) => results.extend(group.orders.iter().map(|(i, _)| (*i, Ok(())))),
                Err(Failed::Each(_)) if group.orders.len() > 1 => waiting.extend(group.split()),
                Err(failed) => results.extend(group.orders.iter().map(|(i, _)| (*i, Err(failed.to_error())))),
            }
        }
        // a search for this call by its label finds it done
        if let Err(error) = self.script(sql::done(self.server.flavour)).await {
            tracing::debug!(why = error::said(&error), "the label of a call stays until its connection ends");
            self.close();
        }
        results
    }

    async fn send_one(
        &mut self,
        call: &Call,
        budget: Budget,
        group: &Group,
        statement: Statement,
    ) -> Result<(), Failed> {
        let text = group.statement(self.server.flavour, statement);
        let mut tries = 0_u32;
        loop {
            let left = to_std(span(self.server.clock.after(Duration::ZERO), group.not_after));
            let wait = budget.patience().min(left).as_secs().clamp(1, LONGEST_WAIT);
            let not_after = group.not_after.format("%Y-%m-%d %H:%M:%S%.6f").to_string();
            let server = call.server.as_ref().map(cheaply);
            let parameters = (call.label.as_str(), not_after, server).into();
            let told =
                sql::filled(sql::TELL, &parameters).map_err(|error| Failed::All(error::reading(error.into())))?;
            match self.script(&format!("{told}; {}", sql::run(self.server.flavour, wait, &text))).await {
                Ok(_) => return Ok(()),
                Err(error) if error::code(&error) == Some(error::DEADLOCK) && tries < TRIES => {
                    tries = tries.saturating_add(1);
                    tokio::time::sleep(Duration::from_millis(u64::from(tries))).await;
                }
                Err(error) => return Err(self.failed(&error).await),
            }
        }
    }

    async fn failed(&mut self, failure: &mysql_async::Error) -> Failed {
        if error::is_absence(failure) {
            return Failed::Each(error::changing(failure));
        }
        Failed::All(match error::code(failure) {
            Some(error::STOPPED) => self.stopped().await,
            Some(error::LOCK_TIMEOUT | error::TOO_LONG) => self.blamed().await,
            _ => error::changing(failure),
        })
    }

    /// Reads why the packet stopped before its statement.
    async fn stopped(&mut self) -> DatabaseError {
        let answers = self.script(sql::WHY).await.unwrap_or_default();
        let row = answers.first().and_then(|rows| rows.first());
        match row.map(|row| (number(row, "late"), number(row, "other"))) {
            Some((Ok(0), Ok(1))) => {
                let why = "a proxy took the statement to another server than the one that was looked at";
                DatabaseError::AnotherServer { why: why.to_owned() }
            }
            _ => late(),
        }
    }

    /// Names the sessions that block, as far as the broker may see them.
    async fn blamed(&mut self) -> DatabaseError {
        let found = match self.server.flavour {
            Flavour::MySql => self.list(sql::BLOCKERS, ().into()).await.map_err(|error| error.to_string()),
            Flavour::MariaDb => Err("MariaDB does not show who holds locks".to_owned()),
        };
        let who = match found {
            Ok(rows) => {
                let names = rows.iter().filter_map(|row| {
                    Some(format!("session {} of `{}`", number(row, "id").ok()?, text(row, "user").ok()?))
                });
                let names: Vec<String> = names.collect();
                if names.is_empty() { self.prepared_or_gone().await } else { names.join(", ") }
            }
            Err(why) => format!("a session that cannot be named ({why})"),
        };
        DatabaseError::not_applied(format!(
            "the tables of accounts are locked by {who}: what it does there must end first"
        ))
    }

    /// Names what blocks if no session does.
    async fn prepared_or_gone(&mut self) -> String {
        let rows = self.list(sql::PREPARED, ().into()).await.unwrap_or_default();
        let numbers: Vec<String> = rows.iter().filter_map(|row| text(row, "trx").ok()).collect();
        if numbers.is_empty() {
            return "a session that has ended since".to_owned();
        }
        format!(
            "no session, perhaps by a prepared transaction (XA RECOVER lists them; InnoDB has {})",
            numbers.join(", ")
        )
    }
}

/// Reason why a statement was not done.
#[derive(Debug)]
enum Failed {
    /// Failure that may be due to one of its accounts.
    Each(DatabaseError),
    /// Failure of every order alike.
    All(DatabaseError),
}

impl Failed {
    fn to_error(&self) -> DatabaseError {
        let (Self::Each(error) | Self::All(error)) = self;
        match error {
            DatabaseError::Unreachable { why, .. } | DatabaseError::OutcomeUnknown { why, .. } => {
                DatabaseError::unknown(why)
            }
            DatabaseError::Rejected { rejection, why, .. } => DatabaseError::rejected(*rejection, why),
            DatabaseError::NotApplied { why, .. } => DatabaseError::not_applied(why),
            DatabaseError::AnotherServer { why } => DatabaseError::AnotherServer { why: why.clone() },
            other => DatabaseError::unknown(other.to_string()),
        }
    }
}
