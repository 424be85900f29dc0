//! Granting: one packet for each role and each scope of the membership.

use std::collections::BTreeMap;

use jit_core::clock::Time;
use jit_core::database::{Call, DatabaseError, GrantOrder, Granted, MembershipScope, Rejection};
use jit_core::internal::adapter::{Budget, account_has_members, is_the_broker, late, role_can_grant};
use jit_core::policy::Stance;
use serde::Serialize;
use tokio::sync::OnceCell;
use tokio_postgres::Statement;

use crate::block::{Group, OrderResult, Orders, drive};
use crate::connect::{Connection, Statements};
use crate::observe::oid;
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

/// Question for [`sql::GRANT`], as JSON.
#[derive(Debug, Serialize)]
struct GrantQuestion<'a> {
    role: &'a str,
    role_id: Option<u32>,
    set_role: bool,
    administrators: &'a [String],
    orders: Vec<One<'a>>,
}

#[derive(Debug, Serialize)]
struct One<'a> {
    i: usize,
    account: &'a str,
    account_id: Option<u32>,
    not_after: Time,
    members: bool,
    powers: bool,
}

impl Orders for Grants<'_> {
    const HEEDS_MARKS: bool = false;
    const SORT: &'static str = sql::GRANT;

    fn statement(statements: &Statements) -> &OnceCell<Statement> {
        &statements.grant
    }

    fn groups(&self, connection: &Connection, orders: &[usize], _: Budget) -> Vec<Group> {
        let mut groups: BTreeMap<_, Vec<(usize, &GrantOrder)>> = BTreeMap::new();
        for &i in orders {
            let Some(order) = self.0.get(i) else { continue };
            let membership = order.membership();
            let key = (membership.role.as_str(), membership.role_id.as_ref(), order.scope());
            groups.entry(key).or_default().push((i, order));
        }
        let groups = groups.into_iter().map(|((role, role_id, scope), orders)| {
            let ones = orders.iter().map(|&(i, order)| One {
                i,
                account: order.membership().account.as_str(),
                account_id: oid(order.membership().account_id.as_ref()),
                not_after: order.not_after(),
                members: order.account_members() == Stance::Accepted,
                powers: order.can_grant() == Stance::Accepted,
            });
            let ask = GrantQuestion {
                role,
                role_id: oid(role_id),
                set_role: scope == MembershipScope::SetRole,
                administrators: &connection.server.administrators,
                orders: ones.collect(),
            };
            Group::new(role, oid(role_id), &ask, orders.iter().map(|(i, _)| *i).collect())
        });
        groups.collect()
    }

    fn refusal(&self, order: usize, answer: &OrderResult) -> Option<DatabaseError> {
        let order = self.0.get(order)?;
        let (account, role) = (&order.membership().account, &order.membership().role);
        let why = answer.why.as_deref().unwrap_or_default();
        let (rejection, why) = match answer.state.as_str() {
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
