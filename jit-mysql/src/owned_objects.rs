//! Objects and rights that an account got of its own. These are rights to routines (who creates one
//! gets them), rights to tables that it passed on, and definitions that run with its rights or the
//! role's. Tables have no owner here.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::database::{DatabaseError, MOST_OWNED_OBJECTS, Membership, Owned, OwnedObject};
use jit_core::id::{Account, RoleName};
use mysql_async::Row;

use crate::account::Name;
use crate::connect::Connection;
use crate::default_role::Standing;
use crate::error::reading;
use crate::observe::{Named, garbled, name, text};
use crate::sql::routines::{DEFINITIONS_IN_MARIADB, DEFINITIONS_IN_MYSQL, Routine};
use crate::sql::{self, Flavour};

/// Largest number of other memberships that are listed. If a role has more others in it, none are
/// listed, not even the broker's; then the engine says that a rename cannot be seen. Each one is
/// kept with the access, as a short mark.
const MOST_MEMBERSHIPS: usize = MOST_OWNED_OBJECTS;

/// Members and their roles, by one of the two.
type MembershipGrants = BTreeMap<Name, BTreeSet<(Name, Name)>>;

fn membership((member, role): &(Name, Name)) -> Option<OwnedObject> {
    // a name with control characters cannot be shown
    let membership = (Account::new(member.to_string()).ok()?, RoleName::new(role.as_role()).ok()?);
    let id = serde_json::to_string(&["membership", &member.to_string(), &role.to_string()]).ok()?;
    let what = format!("membership of {member} in `{}`", role.as_role());
    let mut thing = OwnedObject::new(id, what);
    thing.membership = Some(membership);
    Some(thing)
}

/// Returns the procedure that shows what accounts and roles defined.
pub(crate) fn definitions(flavour: Flavour) -> &'static Routine {
    match flavour {
        Flavour::MySql => &DEFINITIONS_IN_MYSQL,
        Flavour::MariaDb => &DEFINITIONS_IN_MARIADB,
    }
}

impl Connection {
    /// Reads the owned objects; one answer per membership.
    pub(crate) async fn owned_objects(&mut self, memberships: &[Membership]) -> Result<Owned, DatabaseError> {
        let flavour = self.server.flavour;
        let accounts: Vec<String> = memberships
            .iter()
            .map(|membership| Named::of(flavour, membership).account)
            .map(|account| format!("{}@{}", account.user, account.host))
            .collect();
        let asked = serde_json::to_string(&accounts).map_err(|_| garbled())?;
        // MariaDB's roles have no host, and still an @ where they define something
        let roles = memberships.iter().map(|membership| Named::of(flavour, membership).role);
        let roles: Vec<String> = roles.map(|role| format!("{}@{}", role.user, role.host)).collect();
        let mut all: BTreeMap<String, Vec<OwnedObject>> = BTreeMap::new();
        for row in self.list(sql::OWNED_OBJECTS, (&asked,).into()).await? {
            let thing = OwnedObject::new(text(&row, "id")?, text(&row, "what")?);
            all.entry(text(&row, "account")?).or_default().push(thing);
        }
        let definers: BTreeSet<&String> = accounts.iter().chain(&roles).collect();
        for (definer, thing) in self.definitions(&definers).await? {
            all.entry(definer).or_default().push(thing);
        }
        let named: Vec<Named> = memberships.iter().map(|membership| Named::of(flavour, membership)).collect();
        let memberships = self.memberships(&named).await?;
        let prepared = self.prepared().await?;
        let each = accounts.iter().zip(&roles).zip(&memberships).map(|((account, role), memberships)| {
            let mut things: Vec<OwnedObject> =
                [account, role].into_iter().filter_map(|owner| all.get(owner)).flatten().cloned().collect();
            things.extend(prepared.iter().cloned());
            // even beside many members, owned objects are listed all the same
            let few = things.len() <= MOST_OWNED_OBJECTS;
            things.extend(memberships.iter().cloned());
            things.sort();
            few.then_some(things)
        });
        let each = each.collect();
        Ok(Owned::new(self.moment().await?.identity, each))
    }

    /// Reads, for each membership, who is in the role, and in which roles the account is. Neither
    /// server has lasting ids. So these memberships are the only sign of a renamed account or role.
    async fn memberships(&mut self, named: &[Named]) -> Result<Vec<Vec<OwnedObject>>, DatabaseError> {
        if named.is_empty() {
            return Ok(Vec::new());
        }
        self.say_what_is_asked(named).await?;
        let (mut by_role, mut by_account): (MembershipGrants, MembershipGrants) = Default::default();
        for row in self.lists(&[], &[sql::HOLDERS, sql::ROLES_OF], None).await?.iter().flatten() {
            let (role, member) = (name(row, "role_user", "role_host")?, name(row, "member_user", "member_host")?);
            by_role.entry(role.clone()).or_default().insert((member.clone(), role.clone()));
            by_account.entry(member.clone()).or_default().insert((member, role));
        }
        let each = named.iter().map(|Named { account, role }| {
            let (of_role, of_account) = (by_role.get(role), by_account.get(account));
            let all: BTreeSet<&(Name, Name)> = of_role.into_iter().chain(of_account).flatten().collect();
            if all.len() > MOST_MEMBERSHIPS { Vec::new() } else { all.into_iter().filter_map(membership).collect() }
        });
        Ok(each.collect())
    }

    /// Reads prepared transactions that no session has any more. Anybody can commit them, and the
    /// servers do not say whose they are.
    async fn prepared(&mut self) -> Result<Vec<OwnedObject>, DatabaseError> {
        let rows = self.list(sql::PREPARED, ().into()).await?;
        let each = rows.iter().map(|row| {
            let number = text(row, "trx")?;
            let what = format!(
                "prepared transaction {number} of InnoDB, which XA RECOVER lists: the server does not say whose it is"
            );
            Ok(OwnedObject::new(format!("prepared/{number}"), what))
        });
        each.collect()
    }

    /// Reads what these definers defined, by definer. Returns nothing, or less, if the procedure
    /// that shows it is missing, or the right to it; a check says so.
    async fn definitions(&mut self, definers: &BTreeSet<&String>) -> Result<Vec<(String, OwnedObject)>, DatabaseError> {
        let asked = serde_json::to_string(definers).map_err(|_| garbled())?;
        let flavour = self.server.flavour;
        let routine = definitions(flavour);
        let rows = if self.standing(routine).await? == Standing::Fit {
            self.ask(sql::TELL_DEFINERS, (asked,).into()).await.map_err(reading)?;
            let show = match flavour {
                Flavour::MySql => sql::SHOW_DEFINITIONS_IN_MYSQL,
                Flavour::MariaDb => sql::SHOW_DEFINITIONS_IN_MARIADB,
            };
            self.call_trusted(routine, show).await?
        } else if flavour == Flavour::MariaDb
            && self.script("SELECT db, name, definer FROM mysql.event LIMIT 0").await.is_ok()
        {
            self.list(sql::EVENTS_IN_MARIADB, (asked,).into()).await?
        } else {
            Vec::new()
        };
        rows.iter().map(definition).collect()
    }
}

/// Returns the definer, and what they defined. The same object with another definer counts as
/// another one: it has other rights.
fn definition(row: &Row) -> Result<(String, OwnedObject), DatabaseError> {
    let (definer, kind) = (text(row, "definer")?, text(row, "kind")?);
    let (place, name) = (text(row, "place")?, text(row, "name")?);
    let whose = definer.strip_suffix('@').unwrap_or(&definer);
    let what = format!("{kind} {place}.{name}, which runs with the rights of `{whose}`");
    let id = serde_json::to_string(&[&kind, &place, &name, &definer]).map_err(|_| garbled())?;
    let mut thing = OwnedObject::new(id, what);
    thing.version = Some(text(row, "version")?).filter(|version| !version.is_empty());
    Ok((definer, thing))
}
