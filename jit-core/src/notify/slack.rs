//! Notices to a channel of Slack, through its incoming webhooks.

use async_trait::async_trait;
use chrono::SecondsFormat;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::notice::Notice;
use super::notifier::{Notifier, NotifyError};
use super::webhook::{judge, unanswered};
use super::words::line;
use crate::audit_event::EventKind;
use crate::http::{HttpClient, HttpRequest};
use crate::text::{cut, escaped};

/// Largest number of characters of a header (Slack's Block Kit reference: header block).
const HEADER: usize = 150;
/// Largest number of characters of the text of a section.
const SECTION: usize = 3_000;
/// Largest number of characters of one field of a section, which has at most ten fields.
const FIELD: usize = 2_000;
/// Largest number of characters of a button's address.
const ADDRESS: usize = 3_000;

/// Posts notices to a channel: who, what, why, for how long, and a link to the decision.
#[derive(Debug)]
pub struct Slack {
    client: HttpClient,
    url: SecretString,
}

impl Slack {
    /// Makes a notifier for the channel of this incoming webhook. The webhook's address is a
    /// secret.
    #[must_use]
    pub fn new(client: HttpClient, url: SecretString) -> Self {
        Self { client, url }
    }
}

#[async_trait]
impl Notifier for Slack {
    async fn notify(&self, notice: &Notice) -> Result<(), NotifyError> {
        let body = payload(notice).to_string().into_bytes();
        let request = HttpRequest::post_json(self.url.expose_secret(), body);
        let answer = self.client.send(&request).await.map_err(unanswered)?;
        judge(&answer, "Slack")
    }
}

/// Builds the message, within Slack's limits whatever the notice holds. Text that people and
/// servers wrote is only sent as `plain_text` without emoji, so Slack makes no field, link, mention
/// or icon of it.
fn payload(notice: &Notice) -> Value {
    let headline = match tone(notice.event) {
        Tone::Plain => line(notice),
        Tone::Loud => format!("🚨 {}", line(notice)),
    };
    let mut blocks = vec![json!({ "type": "header", "text": plain(&headline, HEADER) })];
    let shown = [
        ("principal", "Who"),
        ("role", "Role"),
        ("target", "Target"),
        ("duration", "For"),
        ("expires_at", "Until"),
        ("ticket", "Ticket"),
        ("rule", "Rule"),
        ("by", "By"),
        ("note", "Note"),
        ("why", "Why"),
        ("approve", "Approve with"),
    ];
    let field = |name: &str| notice.fields.get(name).filter(|text| !text.trim().is_empty());
    let titled = |name: &str, title: &str, most| field(name).map(|text| plain(&format!("{title}: {text}"), most));
    let fields: Vec<Value> = shown.iter().filter_map(|(name, title)| titled(name, title, FIELD)).collect();
    if !fields.is_empty() {
        blocks.push(json!({ "type": "section", "fields": fields }));
    }
    for (name, title) in [("reason", "Reason"), ("awaits", "Pending on")] {
        if let Some(text) = titled(name, title, SECTION) {
            blocks.push(json!({ "type": "section", "text": text }));
        }
    }
    if let Some(link) = field("link").filter(|link| link.chars().count() <= ADDRESS) {
        let button = json!({ "type": "button", "text": plain("Open", 75), "url": link });
        blocks.push(json!({ "type": "actions", "elements": [button] }));
    }
    let about = notice.access.map_or_else(|| notice.tenant.to_string(), |access| access.to_string());
    let context = format!("{about}, {}", notice.at.to_rfc3339_opts(SecondsFormat::Secs, true));
    blocks.push(json!({ "type": "context", "elements": [plain(&context, FIELD)] }));
    json!({ "text": unmarked(&headline), "mrkdwn": false, "blocks": blocks })
}

/// Makes text that Slack shows as it is, on one line.
fn plain(text: &str, most: usize) -> Value {
    // an empty text makes Slack refuse the whole message
    let text = if text.trim().is_empty() { "jit" } else { text };
    json!({ "type": "plain_text", "text": cut(&escaped(text), most), "emoji": false })
}

/// Makes the text of the message for places that show no blocks. This text cannot be marked as
/// plain, so everything that Slack could interpret is taken apart.
fn unmarked(text: &str) -> String {
    let apart = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace(':', ": ");
    cut(&apart, SECTION).into_owned()
}

/// Loudness of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tone {
    /// Everything is as it should be.
    Plain,
    /// Somebody has to act, or to look.
    Loud,
}

/// Returns the loudness of an event.
fn tone(event: EventKind) -> Tone {
    match event {
        EventKind::BreakGlass
        | EventKind::Overdue
        | EventKind::Reappeared
        | EventKind::ReviewOverdue
        | EventKind::SwitchFired
        | EventKind::Finding
        | EventKind::FactorLocked
        | EventKind::TargetLost
        | EventKind::PumpDied
        | EventKind::TargetRefused
        | EventKind::Retired
        | EventKind::Stopped => Tone::Loud,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::audit_event::EventKind;
    use crate::clock::{SystemEntropy, Time};
    use crate::id::{AccessId, TenantId};

    fn notice(event: EventKind, fields: BTreeMap<String, String>) -> Notice {
        let access = AccessId::fresh(Time::UNIX_EPOCH, &SystemEntropy);
        let notice = Notice::new(TenantId::default(), event, Time::UNIX_EPOCH, &SystemEntropy).about(access);
        Notice { fields, ..notice }
    }

    /// Collects every text that Slack is told to show, with whether Slack may interpret it.
    fn texts(value: &Value, into: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                if let Some(kind) = map.get("type").and_then(Value::as_str)
                    && let Some(text) = map.get("text").and_then(Value::as_str)
                {
                    assert_eq!((kind, &map["emoji"]), ("plain_text", &json!(false)), "{text}");
                    into.push(text.to_owned());
                }
                map.values().for_each(|value| texts(value, into));
            }
            Value::Array(list) => list.iter().for_each(|value| texts(value, into)),
            _ => {}
        }
    }

    #[test]
    fn it_says_who_what_why_how_long_and_where_to_decide() {
        let fields = [
            ("principal", "alice"),
            ("requester", "alice"),
            ("role", "orders_write"),
            ("target", "orders-prod"),
            ("reason", "OPS-12: stuck <!channel> & <https://evil|orders>"),
            ("duration", "30m"),
            ("awaits", "2 of group `dba`"),
            ("link", "https://jit.example.com/a/1"),
        ];
        let fields = fields.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let payload = payload(&notice(EventKind::Requested, fields));
        let shown = payload.to_string();
        for part in [
            "alice asks for orders_write on orders-prod",
            "For: 30m",
            "2 of group `dba`",
            "https://jit.example.com/a/1",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(shown.contains("Reason: OPS-12: stuck <!channel>"), "shown as it is where nothing is made of it");
        let mut all = Vec::new();
        texts(&payload, &mut all);
        assert!(all.len() > 6, "{all:?}");
    }

    #[test]
    fn what_people_wrote_makes_no_field_no_mention_and_no_icon() {
        let evil = "x\n*Role*\norders_read <!channel> :white_check_mark: `bob`";
        for event in
            [EventKind::Requested, EventKind::Denied, EventKind::Finding, EventKind::Stopped, EventKind::Escalated]
        {
            let names =
                ["principal", "role", "target", "reason", "ticket", "note", "why", "by", "to", "scope", "awaits"];
            let fields = names.iter().map(|name| ((*name).to_owned(), evil.to_owned())).collect();
            let payload = payload(&notice(event, fields));
            let text = payload["text"].as_str().unwrap();
            assert!(!text.contains(":white_check_mark:") && !text.contains('<') && !text.contains('\n'), "{text}");
            let mut all = Vec::new();
            texts(&payload, &mut all);
            assert!(all.iter().all(|text| !text.contains('\n')), "{all:?}");
        }
    }

    #[test]
    fn an_emergency_looks_like_one() {
        let shown = payload(&notice(EventKind::BreakGlass, BTreeMap::new())).to_string();
        assert!(shown.contains("🚨 EMERGENCY"), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn whatever_a_notice_holds_slacks_limits_are_kept(
            texts_given in proptest::collection::vec(proptest::option::of("(\\PC|[<>&\n]|é){0,4000}"), 14),
            event in prop_oneof![Just(EventKind::Requested), Just(EventKind::Overdue), Just(EventKind::Finding), Just(EventKind::PolicyChanged)],
        ) {
            let names = ["principal", "role", "target", "duration", "expires_at", "ticket", "rule", "by", "note", "why",
                "reason", "awaits", "link", "requester"];
            let fields = names.iter().zip(texts_given).filter_map(|(name, text)| Some(((*name).to_owned(), text?))).collect();
            let payload = payload(&notice(event, fields));
            let blocks = payload["blocks"].as_array().unwrap();
            prop_assert!(blocks.len() <= 50);
            prop_assert!(payload["text"].as_str().unwrap().chars().count() <= 40_000);
            for block in blocks {
                match block["type"].as_str().unwrap() {
                    "header" => prop_assert!((1..=150).contains(&block["text"]["text"].as_str().unwrap().chars().count())),
                    "section" => {
                        let fields = block["fields"].as_array();
                        prop_assert!(fields.is_none_or(|fields| (1..=10).contains(&fields.len())));
                        for field in fields.into_iter().flatten() {
                            prop_assert!((1..=2_000).contains(&field["text"].as_str().unwrap().chars().count()));
                        }
                    }
                    "actions" => prop_assert!(block["elements"][0]["url"].as_str().unwrap().chars().count() <= 3_000),
                    _ => {}
                }
            }
            let mut lengths = Vec::new();
            texts(&payload, &mut lengths);
            prop_assert!(lengths.iter().all(|text| (1..=3_000).contains(&text.chars().count())));
        }
    }
}
