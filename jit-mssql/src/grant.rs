//! Granting: many orders in one transaction of one round trip.

use jit_core::clock::Time;
use jit_core::database::{Call, DatabaseError, GrantOrder, Granted, Membership, Rejection};
use jit_core::internal::adapter::{Budget, is_the_broker, role_can_grant};
use jit_core::policy::Stance;
use tiberius::Row;

use crate::batch::{OrderResult, Orders, drive};
use crate::connect::{Connection, Connector, Server};
use crate::sql;

/// Grants the memberships. Returns one result per order.
pub(crate) async fn grant(
    connector: &Connector,
    connection: &mut Connection,
    call: &Call,
    orders: &[GrantOrder],
    budget: Budget,
) -> Vec<Result<Granted, DatabaseError>> {
    drive(connector, connection, call, budget, &Grants(orders), orders.len()).await
}

struct Grants<'a>(&'a [GrantOrder]);

impl Orders for Grants<'_> {
    type Shown = Granted;

    fn text(server: &Server, call: &Call, rows: usize, lock_wait_ms: u128) -> String {
        sql::grant(server.scope, &call.label, rows, lock_wait_ms)
    }

    fn membership(&self, order: usize) -> Option<&Membership> {
        self.0.get(order).map(GrantOrder::membership)
    }

    fn terms(&self, order: usize) -> (Time, bool, bool) {
        let Some(order) = self.0.get(order) else { return (Time::UNIX_EPOCH, false, false) };
        let (powers, actors) = (order.can_grant() == Stance::Accepted, order.account_members() == Stance::Accepted);
        (order.not_after(), powers, actors)
    }

    fn shown(
        &self,
        connection: &Connection,
        results: &[Vec<Row>],
        orders: &[usize],
    ) -> Result<Vec<Granted>, DatabaseError> {
        let moment = connection.moment_of(results)?;
        let granted = Granted::new(moment.identity, moment.now);
        Ok(orders.iter().map(|_| granted.clone()).collect())
    }

    fn refusal(&self, order: usize, answer: &OrderResult) -> Option<DatabaseError> {
        let order = self.0.get(order)?;
        let (account, role) = (&order.membership().account, &order.membership().role);
        let why = answer.why.as_deref().unwrap_or_default();
        let (rejection, why) = match answer.state.as_str() {
            "no role" => (Rejection::NoSuchRole, format!("there is no role `{role}` (in exactly this spelling)")),
            "no account" => (
                Rejection::NoSuchAccount,
                format!("there is no account `{account}` (in exactly this spelling, in this database)"),
            ),
            "broker" => (Rejection::Other, is_the_broker(account)),
            "superuser" => (Rejection::Other, format!("`{account}` is in sysadmin: it needs no role")),
            "group" => (
                Rejection::AccountHasMembers,
                format!(
                    "account `{account}` is a group of a directory: whoever is in it would hold the role, and whose sessions are theirs the server does not say; name a person's login"
                ),
            ),
            "mighty" => (
                Rejection::PrivilegeMissing,
                "the broker is in sysadmin or db_owner, with which it could grant anything: run the check of this target, which names what it needs instead".to_owned(),
            ),
            "members" => (
                Rejection::AccountHasMembers,
                format!(
                    "others may act as account `{account}` (`{why}` can impersonate it) and would use the role too; a rule can accept that with `account_members = \"accepted\"`"
                ),
            ),
            "powers" => (Rejection::RoleCanGrant, role_can_grant(role, why)),
            _ => return None,
        };
        Some(DatabaseError::rejected(rejection, why))
    }
}
