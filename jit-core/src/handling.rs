//! Handling of a role: the choices of a rule that the grant, its end and the adapters follow.

use serde::{Deserialize, Serialize};

/// Scope of a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::exhaustive_enums, reason = "an adapter has to handle each: a new one must stop its build")]
pub enum MembershipScope {
    /// Role's privileges are inherited. `SET ROLE` is withheld if the engine can do so.
    Inherit,
    /// Role's privileges are inherited, and `SET ROLE` is allowed.
    SetRole,
}

/// Treatment of open sessions at the end of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::exhaustive_enums, reason = "an adapter has to handle each: a new one must stop its build")]
pub enum Sessions {
    /// All sessions of the account end.
    End,
    /// The sessions are left alone, and the audit entry says so.
    Keep,
}

/// Way in which a role becomes usable on engines that have default roles (MySQL, MariaDB). Other
/// engines ignore it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::exhaustive_enums, reason = "an adapter has to handle each: a new one must stop its build")]
pub enum Activation {
    /// The user runs `SET ROLE` in each session.
    Session,
    /// The role becomes a default role, so new sessions have it at once. At the end, the former
    /// defaults are restored.
    #[default]
    Default,
}

/// Demand for a dead man's switch: the database itself takes the role away when no node is alive to
/// do it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DeadMansSwitchPolicy {
    /// The switch is used where the target has one.
    #[default]
    WhenPossible,
    /// Nothing is granted without the switch.
    Required,
    /// The switch is never used.
    Off,
}

/// Treatment of leftovers: what the account or the role came to own, and what was passed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Leftovers {
    /// Leftovers are reported, as far as the database shows them.
    #[default]
    Report,
    /// Leftovers are not looked for.
    Off,
}

/// Stance of a rule on something risky that needs acceptance by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::exhaustive_enums, reason = "an adapter has to handle each: a new one must stop its build")]
pub enum Stance {
    /// The risk is refused.
    Refused,
    /// The rule accepts the risk.
    Accepted,
}

/// Treatment of the account's prepared transactions at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(clippy::exhaustive_enums, reason = "an adapter has to handle each: a new one must stop its build")]
pub enum Prepared {
    /// They are reported, and the end stays unverified while one is there.
    Report,
    /// They are rolled back.
    Rollback,
}
