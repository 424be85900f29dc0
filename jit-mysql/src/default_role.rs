//! Default roles: a granted role is usable at once, and the default role from before comes back.
//!
//! MySQL keeps a list: ours is added to it, and a REVOKE removes it. MariaDB keeps one role: ours
//! replaces it, and it stays set after a REVOKE. Changing the default role of another account takes
//! rights over all accounts in both. A procedure made by an administrator has these rights instead
//! of the broker. It is called only while it is what jit knows, and its definer exists.

use jit_core::database::{DatabaseError, DefaultRole, Rejection, RevokeOrder};

use crate::account::Name;
use crate::connect::Connection;
use crate::error::{self, reading};
use crate::observe::{Look, Named, number, text};
use crate::sql::routines::{self, Routine};
use crate::sql::{self, Flavour};

/// State of a procedure of jit on this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Procedure may be called.
    Fit,
    /// Procedure does not exist, or the broker does not see it.
    Missing,
    /// Procedure exists, but the broker may not call it.
    NotAllowed,
    /// Procedure is not what jit knows, or its definer cannot be trusted. Holds the reason, for
    /// people to read.
    Unfit(String),
}

impl Standing {
    /// Returns the reason why it cannot be called, for people to read.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Fit => String::new(),
            Self::Missing => "it is not there, or the broker does not see it".to_owned(),
            Self::NotAllowed => "the broker may not execute it".to_owned(),
            Self::Unfit(why) => why.clone(),
        }
    }
}

/// Returns the procedure that sets default roles.
pub(crate) fn procedure(flavour: Flavour) -> &'static Routine {
    match flavour {
        Flavour::MySql => &routines::DEFAULT_ROLE_IN_MYSQL,
        Flavour::MariaDb => &routines::DEFAULT_ROLE_IN_MARIADB,
    }
}

impl Connection {
    /// Reads the state of a procedure of jit on this server.
    pub(crate) async fn standing(&mut self, routine: &Routine) -> Result<Standing, DatabaseError> {
        let answers = match self.script(&routines::facts(self.server.flavour, routine)).await {
            Ok(answers) => answers,
            // the catalog of procedures may not be read
            Err(error) if error::is_denied(&error) => return Ok(Standing::Missing),
            Err(error) => return Err(reading(error)),
        };
        let Some(row) = answers.first().and_then(|rows| rows.first()) else { return Ok(Standing::Missing) };
        let is = |column| number(row, column).map(|is| is != 0);
        let definer = text(row, "definer")?;
        Ok(if !is("is_there")? {
            Standing::Unfit(format!("its definer `{definer}` is gone"))
        } else if !is("administers")? {
            Standing::Unfit(format!("its definer `{definer}` is no administrator of this server"))
        } else if !is("same")? {
            Standing::Unfit(format!(
                "its text, parameters, security type, sql_mode or character set is not what jit makes (its definer is `{definer}`)"
            ))
        } else if !is("may_call")? {
            Standing::NotAllowed
        } else {
            Standing::Fit
        })
    }

    /// Returns the reason why the broker cannot set default roles here, or none if it can.
    pub(crate) async fn may_not_activate(&mut self) -> Result<Option<DatabaseError>, DatabaseError> {
        let standing = self.standing(procedure(self.server.flavour)).await?;
        Ok((standing != Standing::Fit).then(|| {
            let why = format!(
                "the role would not be usable at once: the procedure jit.default_role cannot be used: {}; run the check of this target, which prints \
                 what fixes it, or let the rule say `activation = \"session\"`",
                standing.why()
            );
            DatabaseError::rejected(Rejection::PrivilegeMissing, why)
        }))
    }

    /// Makes the role one that new sessions of the account have.
    pub(crate) async fn activate(&mut self, named: &Named) -> Result<(), DatabaseError> {
        let Named { account, role } = named;
        match self.server.flavour {
            Flavour::MySql => self.of_the_list(account, role, true).await,
            Flavour::MariaDb => self.the_only_one(account, Some(&role.user)).await,
        }
    }

    /// Removes the role from the default roles, if it is one.
    ///
    /// # Errors
    /// Returns only errors that trying again does not fix. The look that follows sees the others.
    pub(crate) async fn deactivate(&mut self, order: &RevokeOrder, named: &Named, look: &Look) -> Result<(), String> {
        let DefaultRole::Goes { back_to } = &order.default_role else { return Ok(()) };
        let Named { account, role } = named;
        if !look.seen.default_roles.contains(&role.as_role()) {
            return Ok(());
        }
        let back_to =
            back_to.as_ref().and_then(|back_to| Name::parse(back_to).ok()).filter(|back_to| back_to.user != role.user);
        let done = match self.server.flavour {
            Flavour::MySql => self.of_the_list(account, role, false).await,
            Flavour::MariaDb => match back_to {
                // the default role from before may be gone meanwhile
                Some(back_to) if self.the_only_one(account, Some(&back_to.user)).await.is_ok() => Ok(()),
                _ => self.the_only_one(account, None).await,
            },
        };
        let Err(error) = done else { return Ok(()) };
        let why = error.with_causes();
        tracing::warn!(%account, role = role.as_role(), why, "the default role of an account cannot be put back");
        if matches!(error, DatabaseError::Rejected { .. }) { Err(why) } else { Ok(()) }
    }

    async fn of_the_list(&mut self, account: &Name, role: &Name, wanted: bool) -> Result<(), DatabaseError> {
        let parameters = (&account.user, &account.host, &role.user, &role.host, wanted);
        self.ask(sql::TELL_IN_MYSQL, parameters.into()).await.map_err(reading)?;
        self.call_trusted(&routines::DEFAULT_ROLE_IN_MYSQL, sql::CALL_IN_MYSQL).await.map(drop)
    }

    async fn the_only_one(&mut self, account: &Name, role: Option<&String>) -> Result<(), DatabaseError> {
        self.ask(sql::TELL_IN_MARIADB, (&account.user, &account.host, role).into()).await.map_err(reading)?;
        self.call_trusted(&routines::DEFAULT_ROLE_IN_MARIADB, sql::CALL_IN_MARIADB).await.map(drop)
    }

    /// Calls a procedure of jit while it is what jit knows, in one packet with the proof. Returns
    /// the rows of all its lists, if it has any.
    pub(crate) async fn call_trusted(
        &mut self,
        routine: &Routine,
        call: &str,
    ) -> Result<Vec<mysql_async::Row>, DatabaseError> {
        let packet = routines::call(&routines::trusted(self.server.flavour, routine), call);
        let error = match self.script(&packet).await {
            Ok(answers) => return Ok(answers.into_iter().flatten().collect()),
            Err(error) => error,
        };
        if error::code(&error) == Some(error::STOPPED) {
            let why = self.standing(routine).await?.why();
            let why = format!("the procedure jit.{} was not called: {why}; run the check of this target", routine.name);
            return Err(DatabaseError::rejected(Rejection::PrivilegeMissing, why));
        }
        let said = format!("the procedure jit.{} failed: {}", routine.name, error::said(&error));
        Err(match (error::code(&error), error::changing(&error)) {
            (Some(code), DatabaseError::Rejected { rejection, .. }) => {
                DatabaseError::rejected(rejection, format!("{said} (error {code})"))
            }
            (_, other) => other,
        })
    }
}
