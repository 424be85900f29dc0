//! Content of a policy, by Cedar's own JSON form of it.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use serde_json::Value;

/// Conditions of a policy, as JSON.
#[derive(Debug)]
pub(super) struct Syntax(Value);

impl Syntax {
    /// Takes a policy; `None` if Cedar has no JSON for it.
    pub(super) fn of(policy: &Policy) -> Option<Self> {
        policy.to_json().ok().map(Self)
    }

    /// Checks whether the policy speaks of the grantee.
    pub(super) fn speaks_of_grantee(&self) -> bool {
        reads_grantee(&self.0)
    }

    /// Returns the ids of the roles that the conditions limit the resource to; `None` if they set
    /// no such limit.
    pub(super) fn roles(&self) -> Option<BTreeSet<String>> {
        let conditions = self.0.get("conditions")?.as_array()?;
        let demanded = conditions.iter().filter(|condition| condition.get("kind").is_some_and(|kind| kind == "when"));
        demanded.filter_map(|condition| bound(condition.get("body")?)).reduce(|one, other| &one & &other)
    }
}

fn reads_grantee(value: &Value) -> bool {
    let inside = match value {
        Value::Array(items) => items.iter().any(reads_grantee),
        Value::Object(fields) => fields.values().any(reads_grantee),
        _ => false,
    };
    let read =
        value.get(".").filter(|read| read.get("attr").is_some_and(|attr| attr == "grantee" || attr == "receiver"));
    inside || read.and_then(|read| read.get("left")).is_some_and(|left| is_variable(left, "context"))
}

/// Returns the roles outside of which the condition is not met.
fn bound(condition: &Value) -> Option<BTreeSet<String>> {
    let sides = |key| {
        let sides: &Value = condition.get(key)?;
        Some((sides.get("left")?, sides.get("right")?))
    };
    if let Some((left, right)) = sides("&&") {
        return match (bound(left), bound(right)) {
            (Some(left), Some(right)) => Some(&left & &right),
            (left, right) => left.or(right),
        };
    }
    if let Some((left, right)) = sides("||") {
        return Some(&bound(left)? | &bound(right)?);
    }
    if let Some((left, right)) = sides("==") {
        let (resource, role) = if is_variable(left, "resource") { (left, right) } else { (right, left) };
        return is_variable(resource, "resource").then(|| role_id(role)).flatten().map(|id| BTreeSet::from([id]));
    }
    let (left, right) = sides("in")?;
    if !is_variable(left, "resource") {
        return None;
    }
    match right.get("Set").and_then(Value::as_array) {
        Some(roles) => roles.iter().map(role_id).collect(),
        None => role_id(right).map(|id| BTreeSet::from([id])),
    }
}

fn is_variable(value: &Value, name: &str) -> bool {
    value.get("Var").is_some_and(|variable| variable == name)
}

fn role_id(value: &Value) -> Option<String> {
    let entity = value.get("Value")?.get("__entity")?;
    entity.get("type").filter(|of| *of == "Jit::Role")?;
    entity.get("id")?.as_str().map(str::to_owned)
}
