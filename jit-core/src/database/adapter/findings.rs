//! Findings of a check.

use crate::database::{Check, CheckSubject, Severity};

/// Makes one finding of a check. `about` is its stable word and the object.
#[must_use]
pub fn finding(
    severity: Severity,
    about: (&str, Option<String>),
    message: impl Into<String>,
    remedy: Option<String>,
) -> Check {
    let about = CheckSubject { what: about.0.to_owned(), on: about.1 };
    Check { severity, about, message: message.into(), remedy }
}

/// Makes the finding about a role with these powers. `None` if it has none.
#[must_use]
pub fn can_grant(role: &str, powers: &[String]) -> Option<Check> {
    let message = format!(
        "`{role}` gives what outlives it: {}; a rule has to accept that with `can_grant = \"accepted\"`",
        powers.join(", ")
    );
    let about = ("can-grant", Some(role.to_owned()));
    (!powers.is_empty()).then(|| finding(Severity::Danger, about, message, None))
}

/// Makes the finding about a dead man's switch that does not work, for this reason.
#[must_use]
pub fn no_dead_mans_switch(severity: Severity, why: &str, remedy: Option<String>) -> Check {
    let message = format!("nothing ends a role when every process of jit is dead: {why}");
    finding(severity, ("dead-man", None), message, remedy)
}

/// Returns the fix for a broker that owns the server: a login of its own, or else this statement.
/// `None` if the login cannot do without its rights, such as the one that the server began with.
#[must_use]
pub fn login_of_its_own(broker: &str, statement: Option<&str>) -> String {
    let statement = statement.map(|statement| format!("; where `{broker}` is that login, run {statement}"));
    format!(
        "name a login of its own in the target's URL, like `jit_broker`: `Jit::set_up_target` (or `jit doctor \
         --sql TARGET`) prints the script that makes it{}",
        statement.unwrap_or_default()
    )
}
