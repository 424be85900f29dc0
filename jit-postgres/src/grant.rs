//! Granting: one packet for each role and each scope of the membership.

use jit_core::clock::Time;
use jit_core::database::{Call, DatabaseError, GrantOrder, Granted, Membership, MembershipScope, Rejection};
use jit_core::internal::adapter::{Budget, account_has_members, is_the_broker, late, role_can_grant};
use jit_core::policy::Stance;
use tokio::sync::OnceCell;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Statement};

use crate::block::{Group, Orders, drive};
use crate::connect::{Connection, Statements};
use crate::observe::MembershipColumns;
use crate::sql;

/// Grants the memberships. Returns one result per order.
pub(crate) async fn grant(
    connection: &Connection,
    call: &Call,
    orders: &[GrantOrder],
    budget: Budget,
) -> Vec<Result<Granted, DatabaseError>> {
    if connection.server.superuser {
        return orders.iter().map(|_| Err(superuser_broker())).collect();
    }
    let all = (0..orders.len()).collect();
    let outcome = drive(connection, call, budget, &Grants(orders), orders.len(), all, (&[], None)).await;
    let granted = outcome.look.map(|(moment, _)| Granted::new(moment.identity, moment.now));
    let results = outcome.results.into_iter();
    results
        .map(|result| match (result, &granted) {
            (Ok(()), Ok(granted)) => Ok(granted.clone()),
            (Ok(()), Err(error)) => Err(DatabaseError::unknown(format!("the server went away right after: {error}"))),
            (Err(error), _) => Err(error),
        })
        .collect()
}

/// Error for a broker that is a superuser. From 16 on, the server records every superuser's grants
/// under the bootstrap superuser, so ours and others' grants would be one.
pub(crate) fn superuser_broker() -> DatabaseError {
    DatabaseError::rejected(
        Rejection::PrivilegeMissing,
        "the broker is a superuser, whose grants cannot be told from others': make it a dedicated role with `ALTER ROLE ... NOSUPERUSER`",
    )
}

struct Grants<'a>(&'a [GrantOrder]);

impl Orders for Grants<'_> {
    const HEEDS_MARKS: bool = false;
    const SORT: &'static str = sql::GRANT;

    fn statement(statements: &Statements) -> &OnceCell<Statement> {
        &statements.grant
    }

    fn about(&self, order: usize) -> Option<(&Membership, bool)> {
        self.0.get(order).map(|order| (order.membership(), order.scope() == MembershipScope::SetRole))
    }

    async fn sort(
        &self,
        connection: &Connection,
        sort: &Statement,
        group: &Group,
        _: Budget,
    ) -> Result<Row, tokio_postgres::Error> {
        let orders: Vec<&GrantOrder> = group.orders.iter().filter_map(|i| self.0.get(*i)).collect();
        let asked = MembershipColumns::of(orders.iter().map(|order| order.membership()));
        let not_after: Vec<Time> = orders.iter().map(|order| order.not_after()).collect();
        let members: Vec<bool> = orders.iter().map(|order| order.account_members() == Stance::Accepted).collect();
        let powers: Vec<bool> = orders.iter().map(|order| order.can_grant() == Stance::Accepted).collect();
        let ((role, role_id), server) = (&group.role, &connection.server);
        let (accounts, account_ids) = (&asked.accounts, &asked.account_ids);
        let parameters: [&(dyn ToSql + Sync); 10] = [
            &server.broker,
            role,
            role_id,
            &group.set_role,
            accounts,
            account_ids,
            &not_after,
            &members,
            &powers,
            &server.administrators,
        ];
        connection.client.query_one(sort, &parameters).await
    }

    fn refusal(&self, order: usize, state: &str, why: &str) -> Option<DatabaseError> {
        let order = self.0.get(order)?;
        let (account, role) = (&order.membership().account, &order.membership().role);
        let (rejection, why) = match state {
            "late" => return Some(late()),
            "no role" => (Rejection::NoSuchRole, format!("there is no role `{role}`")),
            "no account" => (Rejection::NoSuchAccount, format!("there is no account `{account}`")),
            "broker" => (Rejection::Other, is_the_broker(account)),
            "superuser" => (
                Rejection::Other,
                format!("`{account}` is a superuser: it needs no role, and the broker could not end its sessions"),
            ),
            "powers" => (Rejection::RoleCanGrant, role_can_grant(role, why)),
            "members" => (Rejection::AccountHasMembers, account_has_members(account, why)),
            _ => return None,
        };
        Some(DatabaseError::rejected(rejection, why))
    }
}
