//! Checks tickets in their tracker: the ticket exists, is open, and belongs to the requester.

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::wire::{said, short};
use super::{Approver, ApproverError, Reply, Review};
use crate::http::{HttpClient, HttpRequest};

/// Placeholder of the ticket in an address.
const TICKET: &str = "{ticket}";
/// Placeholder of the requester in the expected text of a condition.
const REQUESTER: &str = "{requester}";

/// Looks a ticket up and judges the tracker's answer.
#[derive(Debug)]
pub struct TicketCheck {
    client: HttpClient,
    tracker: Tracker,
}

/// Address of a tracker, and the conditions that a ticket has to meet.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Tracker {
    /// Address of one ticket, with `{ticket}` in it.
    pub url: String,
    /// Headers that the tracker needs, such as `authorization`.
    pub headers: Vec<(String, SecretString)>,
    /// Conditions that must all be true.
    pub conditions: Vec<Condition>,
}

/// A condition that a ticket has to meet.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Condition {
    /// Name of the condition, for people and the log (`status`).
    pub name: String,
    /// Place in the JSON, as a JSON pointer (RFC 6901). A `*` in it means every item of a list.
    pub at: String,
    /// Test of the value at that place.
    pub test: Test,
}

impl Condition {
    /// Creates the condition of this name, on the value at this JSON pointer.
    #[must_use]
    pub fn new(name: impl Into<String>, at: impl Into<String>, test: Test) -> Self {
        Self { name: name.into(), at: at.into(), test }
    }
}

/// Test of a value in the ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Test {
    /// The value is one of these texts (numbers and truth values as they are written).
    OneOf(Vec<String>),
    /// There is a value, and it is none of these texts.
    NoneOf(Vec<String>),
    /// The value is this text, in which `{requester}` means the requester. The comparison ignores
    /// case.
    Requester(String),
}

impl Tracker {
    /// Creates a check of the ticket at this address, with `{ticket}` in it.
    #[must_use]
    pub fn new(url: impl Into<String>, conditions: Vec<Condition>) -> Self {
        Self { url: url.into(), headers: Vec::new(), conditions }
    }

    /// Adds a header that the tracker needs.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<SecretString>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Creates a check for Jira: the issue exists and is not done. With `assignee`, such as
    /// `{requester}@example.com`, it is assigned to that address.
    #[must_use]
    pub fn jira(base: &str, assignee: Option<&str>) -> Self {
        let base = base.trim_end_matches('/');
        let open = Condition {
            name: "status".to_owned(),
            at: "/fields/status/statusCategory/key".to_owned(),
            test: Test::NoneOf(vec!["done".to_owned()]),
        };
        let url = format!("{base}/rest/api/2/issue/{TICKET}?fields=status,assignee");
        Self::with(url, open, "/fields/assignee/emailAddress", assignee)
    }

    /// Creates a check for GitHub: the issue of this repository (`owner/name`) exists and is open.
    /// The ticket is its number. With `assignee`, such as `{requester}`, it is assigned to that
    /// login. `base` is `https://api.github.com`, or the address of your own server.
    #[must_use]
    pub fn github(base: &str, repository: &str, assignee: Option<&str>) -> Self {
        let base = base.trim_end_matches('/');
        let open = Condition {
            name: "status".to_owned(),
            at: "/state".to_owned(),
            test: Test::OneOf(vec!["open".to_owned()]),
        };
        let url = format!("{base}/repos/{repository}/issues/{TICKET}");
        let mut tracker = Self::with(url, open, "/assignees/*/login", assignee);
        tracker.headers.push(("accept".to_owned(), "application/vnd.github+json".into()));
        tracker
    }

    fn with(url: String, open: Condition, at: &str, assignee: Option<&str>) -> Self {
        let assigned = assignee.map(|who| Condition {
            name: "assignee".to_owned(),
            at: at.to_owned(),
            test: Test::Requester(who.to_owned()),
        });
        Self { url, headers: Vec::new(), conditions: std::iter::once(open).chain(assigned).collect() }
    }
}

impl TicketCheck {
    /// Creates a check of tickets in this tracker.
    ///
    /// # Errors
    /// [`ApproverError`] if the address has no place for the ticket, or a condition has no valid
    /// JSON pointer.
    pub fn new(client: HttpClient, tracker: Tracker) -> Result<Self, ApproverError> {
        if !tracker.url.contains(TICKET) {
            return Err(ApproverError::new(format!(
                "the address of the tracker has no `{TICKET}` in it: say where the ticket goes"
            )));
        }
        let misplaced = tracker.conditions.iter().find(|condition| !condition.at.starts_with('/'));
        if let Some(condition) = misplaced {
            let why = format!("`{}` is not a place in JSON: write it like `/fields/status/name`", condition.at);
            return Err(ApproverError::new(why));
        }
        Ok(Self { client, tracker })
    }
}

#[async_trait]
impl Approver for TicketCheck {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        let no = |why: String| Ok(Reply::Deny(said(&why, None)));
        let Some(ticket) = review.ticket.as_deref().map(str::trim).filter(|ticket| !ticket.is_empty()) else {
            return no("no ticket was given".to_owned());
        };
        // inside an address these point to another one
        if matches!(ticket, "." | "..") {
            return no(format!("`{ticket}` is not a ticket"));
        }
        let mut request = HttpRequest::get(self.tracker.url.replace(TICKET, &encoded(ticket)));
        for (name, value) in &self.tracker.headers {
            request = request.header(name, value.expose_secret());
        }
        let answer = self.client.send(&request).await?;
        match answer.status {
            200..=299 => {}
            404 | 410 => return no(format!("there is no ticket `{}`", short(ticket))),
            401 | 403 => {
                return Err(ApproverError::new(format!("the tracker answered {}: check its login", answer.status)));
            }
            status => {
                let retry_after = answer.retry_after;
                return Err(ApproverError {
                    retry_after,
                    ..ApproverError::new(format!("the tracker answered {status}"))
                });
            }
        }
        let found: Value =
            serde_json::from_slice(&answer.body).map_err(|_| ApproverError::new("the tracker's answer is not JSON"))?;
        let mut seen = Map::new();
        for condition in &self.tracker.conditions {
            let texts: Vec<String> = select(&found, &condition.at).into_iter().filter_map(text).collect();
            let there = if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") };
            seen.insert(condition.name.clone(), Value::String(there.clone()));
            if !condition.test.holds(&texts, review.requester.as_str()) {
                let why = format!("the {} of ticket `{}` is `{}`", condition.name, short(ticket), short(&there));
                return Ok(Reply::Deny(said(&why, Some(&seen))));
            }
        }
        Ok(Reply::Approve(said(&format!("ticket `{}`", short(ticket)), Some(&seen))))
    }
}

impl Test {
    fn holds(&self, texts: &[String], requester: &str) -> bool {
        match self {
            Self::OneOf(these) => texts.iter().any(|text| these.contains(text)),
            Self::NoneOf(these) => !texts.is_empty() && texts.iter().all(|text| !these.contains(text)),
            Self::Requester(template) => {
                let wanted = template.replace(REQUESTER, requester).to_lowercase();
                texts.iter().any(|text| text.to_lowercase() == wanted)
            }
        }
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Returns the values at a pointer, for every item where it has a `*`.
fn select<'v>(value: &'v Value, pointer: &str) -> Vec<&'v Value> {
    let mut found = vec![value];
    for part in pointer.split('/').skip(1) {
        let name = part.replace("~1", "/").replace("~0", "~");
        found = found
            .into_iter()
            .flat_map(|value| match value {
                Value::Array(items) if part == "*" => items.iter().collect(),
                Value::Array(items) => {
                    part.parse::<usize>().ok().and_then(|place| items.get(place)).into_iter().collect()
                }
                Value::Object(map) => map.get(&name).into_iter().collect::<Vec<_>>(),
                _ => Vec::new(),
            })
            .collect();
    }
    found
}

/// Encodes a part of an address. All but the unreserved characters of RFC 3986 are escaped.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_tracker_says_is_judged() {
        let issue = json!({
            "state": "open", "number": 12, "locked": false,
            "assignees": [{ "login": "Bob" }, { "login": "alice" }],
            "fields": { "a/b": { "key": "indeterminate" }, "assignee": null },
        });
        let holds = |at: &str, test: Test| {
            let texts: Vec<String> = select(&issue, at).into_iter().filter_map(text).collect();
            test.holds(&texts, "bob")
        };
        let one_of = |texts: &[&str]| Test::OneOf(texts.iter().map(|text| (*text).to_owned()).collect());
        let none_of = |texts: &[&str]| Test::NoneOf(texts.iter().map(|text| (*text).to_owned()).collect());
        assert!(holds("/state", one_of(&["open", "new"])) && !holds("/state", one_of(&["closed"])));
        assert!(holds("/number", one_of(&["12"])) && holds("/locked", one_of(&["false"])));
        assert!(holds("/fields/a~1b/key", none_of(&["done"])));
        assert!(!holds("/fields/gone", none_of(&["done"])), "what is not there is not open");
        assert!(!holds("/fields/assignee/name", Test::Requester("{requester}".to_owned())));
        assert!(holds("/assignees/*/login", Test::Requester("{requester}".to_owned())));
        assert!(holds("/assignees/1/login", one_of(&["alice"])) && !holds("/assignees/2/login", none_of(&["x"])));
        assert!(!holds("/assignees/*/login", Test::Requester("{requester}@example.com".to_owned())));
    }

    #[test]
    fn a_ticket_is_one_part_of_an_address() {
        assert_eq!(encoded("OPS-12"), "OPS-12");
        assert_eq!(encoded("../admin?x=1#é"), "..%2Fadmin%3Fx%3D1%23%C3%A9");
    }
}
