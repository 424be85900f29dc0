//! Default roles: a role that was granted is usable at once, and what was the default before comes back.
//!
//! MySQL keeps a list, to which ours is added and from which a REVOKE takes it. MariaDB keeps one, which ours replaces, and leaves it set
//! after a REVOKE. To change another account's takes rights over all accounts in both; a procedure made by the README's broker statements has
//! them instead of the broker.

use jit_core::database::{DatabaseError, DefaultRole, RevokeOrder};

use crate::account::Name;
use crate::connect::Connection;
use crate::error;
use crate::observe::{Look, Named, number};
use crate::sql::{self, Flavour};

impl Connection {
    /// Whether that can be done here.
    pub(crate) async fn may_activate(&mut self) -> bool {
        let rows = self.ask(sql::MAY_ACTIVATE, ().into()).await.unwrap_or_default();
        rows.first().is_some_and(|row| number(row, "may_activate").is_ok_and(|may| may != 0))
    }

    /// Makes the role one that new sessions of the account have.
    pub(crate) async fn activate(&mut self, named: &Named) -> Result<(), DatabaseError> {
        let Named { account, role } = named;
        let done = match self.server.flavour {
            Flavour::MySql => self.of_the_list(account, role, true).await,
            Flavour::MariaDb => self.the_only_one(account, Some(&role.user)).await,
        };
        done.map_err(|error| error::changing(&error))
    }

    /// Makes it one no more, where it is one; what fails is seen by the look that follows.
    pub(crate) async fn deactivate(&mut self, order: &RevokeOrder, named: &Named, look: &Look) {
        let DefaultRole::Goes { back_to } = &order.default_role else { return };
        let Named { account, role } = named;
        if !look.seen.default_roles.contains(&role.as_role()) {
            return;
        }
        let back_to =
            back_to.as_ref().and_then(|back_to| Name::parse(back_to).ok()).filter(|back_to| back_to.user != role.user);
        let done = match self.server.flavour {
            Flavour::MySql => self.of_the_list(account, role, false).await,
            Flavour::MariaDb => match back_to {
                // what was the default before may be gone meanwhile
                Some(back_to) if self.the_only_one(account, Some(&back_to.user)).await.is_ok() => Ok(()),
                _ => self.the_only_one(account, None).await,
            },
        };
        if let Err(error) = done {
            let why = error::said(&error);
            tracing::warn!(%account, role = role.as_role(), why, "the default role of an account cannot be put back");
        }
    }

    async fn of_the_list(&mut self, account: &Name, role: &Name, wanted: bool) -> Result<(), mysql_async::Error> {
        let parameters = (&account.user, &account.host, &role.user, &role.host, wanted);
        self.ask(sql::CALL_IN_MYSQL, parameters.into()).await.map(drop)
    }

    async fn the_only_one(&mut self, account: &Name, role: Option<&String>) -> Result<(), mysql_async::Error> {
        self.ask(sql::CALL_IN_MARIADB, (&account.user, &account.host, role).into()).await.map(drop)
    }
}
