//! Granting: one packet for each role, then the default roles.

use jit_core::database::{Call, DatabaseError, GrantOrder, Granted, Membership, Rejection};
use jit_core::internal::adapter::{
    Budget, HOW_TO_ALLOW, account_has_members, copied, is_the_broker, none_applied, role_can_grant,
};
use jit_core::policy::{Activation, Stance};

use crate::block::Group;
use crate::connect::Connection;
use crate::observe::{Look, Named};
use crate::rights::NOT_OURS;
use crate::sql;

/// Grants the roles; returns one result per order.
pub(crate) async fn grant(
    connection: &mut Connection,
    call: &Call,
    orders: &[GrantOrder],
    budget: Budget,
) -> Vec<Result<Granted, DatabaseError>> {
    let memberships: Vec<Membership> = orders.iter().map(|order| order.membership().clone()).collect();
    // nothing was sent yet that changes anything
    let looks = match connection.look_with_powers(&memberships).await {
        Ok((moment, looks)) => match call.meant_for(&moment.identity) {
            Ok(()) => looks,
            Err(error) => return none_applied(orders.len(), &error),
        },
        Err(error) => return none_applied(orders.len(), &error),
    };
    let any_default = orders.iter().zip(&looks).any(|(order, look)| wants_default(order, look));
    let may_not = if any_default { connection.may_not_activate().await } else { Ok(None) };
    let may_not = match may_not {
        Ok(may_not) => may_not,
        Err(error) => return none_applied(orders.len(), &error),
    };
    let flavour = connection.server.flavour;
    let named: Vec<Named> = memberships.iter().map(|membership| Named::of(flavour, membership)).collect();
    let mut results: Vec<Result<(), DatabaseError>> = Vec::with_capacity(orders.len());
    for ((order, look), named) in orders.iter().zip(&looks).zip(&named) {
        let refused = refusal(&connection.server.broker, order, named, look);
        let refused = refused.or_else(|| may_not.as_ref().filter(|_| wants_default(order, look)).map(copied));
        results.push(refused.map_or(Ok(()), Err));
    }
    let to_grant = orders.iter().zip(&looks).zip(&named).enumerate().filter_map(|(i, ((order, look), named))| {
        let needed = matches!(results.get(i), Some(Ok(()))) && look.seen.direct.is_empty();
        needed.then(|| (i, named.account.clone(), named.role.clone(), order.not_after()))
    });
    let groups = Group::of(to_grant.collect::<Vec<_>>());
    for (i, result) in connection.send(call, budget, groups, sql::grant).await {
        if let Some(place) = results.get_mut(i) {
            *place = result;
        }
    }
    see_what_was_done(connection, &memberships, &mut results).await;
    for (((order, look), named), result) in orders.iter().zip(&looks).zip(&named).zip(&mut results) {
        if result.is_ok()
            && wants_default(order, look)
            && let Err(error) = connection.activate(named).await
        {
            *result = Err(not_activated(connection, call, budget, named, look, error).await);
        }
    }
    let moment = connection.moment().await;
    let granted = moment.map(|moment| Granted::new(moment.identity, moment.now));
    let results = results.into_iter().map(|result| match (result, &granted) {
        (Ok(()), Ok(granted)) => Ok(granted.clone()),
        (Ok(()), Err(error)) => Err(DatabaseError::unknown(format!("the server went away right after: {error}"))),
        (Err(error), _) => Err(error),
    });
    results.collect()
}

/// Takes a role back that could not become a default role, and returns the error of the grant. The
/// requester asked for a role that can be used at login.
async fn not_activated(
    connection: &mut Connection,
    call: &Call,
    budget: Budget,
    named: &Named,
    look: &Look,
    error: DatabaseError,
) -> DatabaseError {
    let why = format!("the role could not be made a default role of the account: {}", error.with_causes());
    let until = connection.server.clock.after(budget.left());
    let taken = match look.seen.direct.is_empty() {
        true => {
            let group = Group::of([(0, named.account.clone(), named.role.clone(), until)]);
            connection.send(call, budget, group, sql::revoke).await.into_iter().all(|(_, done)| done.is_ok())
        }
        false => true,
    };
    match error {
        DatabaseError::Rejected { rejection, .. } if taken => {
            DatabaseError::rejected(rejection, format!("{why}; it was taken back"))
        }
        DatabaseError::NotApplied { .. } if taken => DatabaseError::not_applied(format!("{why}; it was taken back")),
        _ => DatabaseError::unknown(why),
    }
}

/// Reads what interrupted statements did. An interrupted statement may have been applied for some
/// of its accounts; the catalog shows it, and nothing can arrive later.
async fn see_what_was_done(
    connection: &mut Connection,
    memberships: &[Membership],
    results: &mut [Result<(), DatabaseError>],
) {
    let interrupted = |result: &Result<(), DatabaseError>| matches!(result, Err(DatabaseError::NotApplied { .. }));
    if !results.iter().any(interrupted) {
        return;
    }
    match connection.look(memberships).await {
        Ok((_, looks)) => {
            for (result, look) in results.iter_mut().zip(looks).filter(|(result, _)| interrupted(result)) {
                if !look.seen.direct.is_empty() {
                    *result = Ok(());
                }
            }
        }
        Err(error) => {
            for result in results.iter_mut().filter(|result| interrupted(result)) {
                *result = Err(DatabaseError::unknown(error.with_causes()));
            }
        }
    }
}

fn wants_default(order: &GrantOrder, look: &Look) -> bool {
    order.activation() == Activation::Default
        && !look.seen.default_roles.iter().any(|role| role == order.membership().role.as_str())
}

fn refusal(broker: &str, order: &GrantOrder, named: &Named, look: &Look) -> Option<DatabaseError> {
    let (account, role) = (&order.membership().account, &order.membership().role);
    let seen = &look.seen;
    let (rejection, why) = if !seen.role_exists {
        (Rejection::NoSuchRole, format!("there is no role `{role}`"))
    } else if !seen.account_exists {
        (
            Rejection::NoSuchAccount,
            format!("there is no account `{account}`{}: name it with its host, as the server does", seen.alike_hint()),
        )
    } else if format!("{}@{}", named.account.user, named.account.host) == broker {
        (Rejection::Other, is_the_broker(account))
    } else if look.powers.iter().any(|power| power.contains(NOT_OURS)) {
        (Rejection::PrivilegeMissing, format!("{NOT_OURS} (`{role}`): {HOW_TO_ALLOW}"))
    } else if order.can_grant() == Stance::Refused && !look.powers.is_empty() {
        (Rejection::RoleCanGrant, role_can_grant(role, &look.powers.join(", ")))
    } else if order.account_members() == Stance::Refused && !seen.members.is_empty() {
        (Rejection::AccountHasMembers, account_has_members(account, &seen.members.join(", ")))
    } else {
        return None;
    };
    Some(DatabaseError::rejected(rejection, why))
}
