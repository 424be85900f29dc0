//! Reading the rights of roles that outlive a membership, as the server has them now.

use std::collections::{BTreeMap, BTreeSet};

use jit_core::database::{DatabaseError, Membership};
use mysql_async::Row;

use crate::account::Name;
use crate::connect::{Connection, whole};
use crate::error::{self, reading};
use crate::observe::{Look, Moment, Named, garbled, name, number, text};
use crate::powers::{OfAdministrator, On, Right, of_line, powers};
use crate::sql::definers::{self, Reads};
use crate::sql::{Flavour, rights};

/// Reason why the rights of a role are unknown: the broker does not hold it.
pub(crate) const NOT_OURS: &str = "the broker does not hold the role, and so cannot see its rights";

impl Connection {
    /// Looks at all memberships, and at the rights of each role that outlive a membership.
    pub(crate) async fn look_with_powers(
        &mut self,
        memberships: &[Membership],
    ) -> Result<(Moment, Vec<Look>), DatabaseError> {
        if memberships.is_empty() {
            return Ok((self.moment().await?, Vec::new()));
        }
        let flavour = self.server.flavour;
        let named: Vec<Named> = memberships.iter().map(|membership| Named::of(flavour, membership)).collect();
        self.look_at_with_powers(&named).await
    }

    /// Looks at memberships and rights by names.
    pub(crate) async fn look_at_with_powers(&mut self, named: &[Named]) -> Result<(Moment, Vec<Look>), DatabaseError> {
        let (moment, mut looks) = self.look_at(named).await?;
        let rights = match self.server.flavour {
            // the look set the variable that names the roles
            Flavour::MySql => self.rights_in_mysql().await?,
            Flavour::MariaDb => {
                let there = named.iter().zip(&looks).filter(|(_, look)| look.seen.role_exists);
                let roles: BTreeSet<&Name> = there.map(|(named, _)| &named.role).collect();
                let mut rights = BTreeMap::new();
                for role in roles {
                    rights.insert(role.clone(), self.rights_in_mariadb(role).await?);
                }
                rights
            }
        };
        let calls = rights.values().flatten().any(Right::is_to_call);
        let routines = if calls { self.routines_of_administrators().await? } else { Vec::new() };
        let (flavour, home) = (self.server.flavour, self.home());
        for (named, look) in named.iter().zip(&mut looks) {
            let rights = rights.get(&named.role).map(Vec::as_slice).unwrap_or_default();
            look.powers = powers(flavour, &home, rights, &routines).into_iter().collect();
        }
        Ok((moment, looks))
    }

    /// Reads the administrators' routines that the broker sees ([`OfAdministrator`] says who is
    /// one). Returns none if it may not see whose they are: a check of the target says so.
    async fn routines_of_administrators(&mut self) -> Result<Vec<OfAdministrator>, DatabaseError> {
        let (flavour, home) = (self.server.flavour, self.home());
        let mut answers = self.script(&definers::of_administrators(flavour, &home, Reads::All)).await;
        // earlier versions of jit did not ask for all of these rights
        if flavour == Flavour::MariaDb && answers.as_ref().is_err_and(error::is_denied) {
            answers = self.script(&definers::of_administrators(flavour, &home, Reads::Few)).await;
        }
        let rows = match answers {
            Err(error) if error::is_denied(&error) => return Ok(Vec::new()),
            answers => whole(answers.map_err(reading)?.into_iter().next().unwrap_or_default())?,
        };
        let each = rows.iter().map(|row| {
            let (database, name, definer) = (text(row, "db")?, text(row, "name")?, text(row, "definer")?);
            Ok(OfAdministrator { database, name, definer })
        });
        each.collect()
    }

    async fn rights_in_mysql(&mut self) -> Result<BTreeMap<Name, Vec<Right>>, DatabaseError> {
        let mut rights: BTreeMap<Name, Vec<Right>> = BTreeMap::new();
        for row in self.list(rights::OF_MYSQL, ().into()).await? {
            rights.entry(name(&row, "role_user", "role_host")?).or_default().extend(of_row(&row)?);
        }
        Ok(rights)
    }

    async fn rights_in_mariadb(&mut self, role: &Name) -> Result<Vec<Right>, DatabaseError> {
        let answers = match self.script(&rights::of_mariadb(&role.user)).await {
            Ok(answers) => answers,
            // the broker cannot grant this role, and cannot see its rights
            Err(error) if error::code(&error) == Some(error::NOT_A_ROLE_OF_OURS) => {
                let why = NOT_OURS.to_owned();
                return Ok(vec![Right::new("", On::Unknown(why))]);
            }
            Err(error) => return Err(reading(error)),
        };
        // every role has at least one line
        let lines = answers.first().filter(|rows| !rows.is_empty()).ok_or_else(error::cut)?;
        let mut rights = Vec::new();
        for line in lines {
            let line: Option<Vec<u8>> = line.get_opt(0).and_then(Result::ok).ok_or_else(garbled)?;
            rights.extend(of_line(&String::from_utf8(line.unwrap_or_default()).map_err(|_| garbled())?));
        }
        Ok(rights)
    }
}

/// Parses the rights in a row of MySQL's catalog.
fn of_row(row: &Row) -> Result<Vec<Right>, DatabaseError> {
    let (database, object) = (text(row, "db")?, text(row, "object")?);
    let on = match text(row, "level")?.as_str() {
        "global" => On::Server,
        "database" => On::Databases(database),
        "table" => On::Table(database, object),
        "routine" => On::Routine(database, object),
        _ => On::Account(object),
    };
    let names = text(row, "rights")?;
    let names = names.split(',').filter(|name| !["", "GRANT"].contains(name));
    let mut rights: Vec<Right> = names.map(|name| Right::new(name, on.clone())).collect();
    if number(row, "grantable")? != 0 && !matches!(on, On::Account(_)) {
        rights.push(Right::new("GRANT OPTION", on));
    }
    Ok(rights)
}
