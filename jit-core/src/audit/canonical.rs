//! The one canonical form of an entry, checked in one pass over its bytes without building a value.
//! It is the RFC 8785 form of objects, lists, strings, booleans and integers below 2^53 either way.

use std::borrow::Cow;
use std::str;

/// Fields of a well-formed entry that verification needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Canonical<'a> {
    /// Value of the field `id`.
    pub(super) id: Option<Cow<'a, str>>,
    /// Value of the field `tenant`.
    pub(super) tenant: Option<Cow<'a, str>>,
}

/// Checks the form of an entry.
///
/// # Errors
/// The reason why the form is wrong.
pub(super) fn check(body: &[u8]) -> Result<Canonical<'_>, &'static str> {
    let text = str::from_utf8(body).map_err(|_| "it is not UTF-8")?;
    let mut scanner = Scanner { text, at: 0 };
    let mut found = Canonical { id: None, tenant: None };
    if scanner.peek() != Some(b'{') {
        return Err("it is not an object");
    }
    scanner.object(DEEPEST, |key, value| {
        let field = match key {
            "id" => &mut found.id,
            "tenant" => &mut found.tenant,
            _ => return,
        };
        *field = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).and_then(unescape);
    })?;
    if scanner.at == text.len() { Ok(found) } else { Err("something follows its end") }
}

/// Largest depth of nested objects and lists.
const DEEPEST: u32 = 32;
const TOO_DEEP: &str = "it is nested too deep";
const LARGEST: u64 = (1 << 53) - 1;

struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.at = self.at.saturating_add(1);
        }
        found
    }

    fn since(&self, start: usize) -> &'a str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn value(&mut self, depth: u32) -> Result<(), &'static str> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(depth, |_, _| {}),
            Some(b'[') => self.list(depth),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err("a value is not of the canonical form"),
        }
    }

    fn object(&mut self, depth: u32, mut field: impl FnMut(&str, &'a str)) -> Result<(), &'static str> {
        let depth = depth.checked_sub(1).ok_or(TOO_DEEP)?;
        self.take(b'{');
        if self.take(b'}') {
            return Ok(());
        }
        let mut before: Option<Cow<'a, str>> = None;
        loop {
            let key = unescape(self.string()?).ok_or("a name cannot be read")?;
            if before.is_some_and(|before| before >= key) {
                return Err("its names are not in order, or one stands twice");
            }
            if !self.take(b':') {
                return Err("a name has no value");
            }
            let start = self.at;
            self.value(depth)?;
            field(&key, self.since(start));
            before = Some(key);
            if self.take(b'}') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err("an object is not of the canonical form");
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<(), &'static str> {
        let depth = depth.checked_sub(1).ok_or(TOO_DEEP)?;
        self.take(b'[');
        if self.take(b']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            if self.take(b']') {
                return Ok(());
            }
            if !self.take(b',') {
                return Err("a list is not of the canonical form");
            }
        }
    }

    fn word(&mut self, word: &str) -> Result<(), &'static str> {
        if word.bytes().all(|byte| self.take(byte)) { Ok(()) } else { Err("a value is not of the canonical form") }
    }

    fn number(&mut self) -> Result<(), &'static str> {
        const WRONG: &str = "a number is not a whole one below 2^53 in its shortest form";
        let negative = self.take(b'-');
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at = self.at.saturating_add(1);
        }
        let digits = self.since(start);
        let value: u64 = digits.parse().map_err(|_| WRONG)?;
        let short = digits == "0" || !digits.starts_with('0');
        if short && value <= LARGEST && !(negative && value == 0) { Ok(()) } else { Err(WRONG) }
    }

    /// Reads the string between its quotes, as it is written.
    fn string(&mut self) -> Result<&'a str, &'static str> {
        const WRONG: &str = "a text is not escaped in the canonical way";
        if !self.take(b'"') {
            return Err("a name is not a text");
        }
        let start = self.at;
        loop {
            match self.peek() {
                None => return Err("a text has no end"),
                Some(b'"') => break,
                Some(b'\\') => {
                    let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
                    let length = match rest {
                        [_, b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't', ..] => 2,
                        // a control character that has no short form, in lower case
                        [_, b'u', b'0', b'0', b'0', b'0'..=b'7' | b'b' | b'e' | b'f', ..]
                        | [_, b'u', b'0', b'0', b'1', b'0'..=b'9' | b'a'..=b'f', ..] => 6,
                        _ => return Err(WRONG),
                    };
                    self.at = self.at.saturating_add(length);
                }
                Some(0..=0x1f) => return Err(WRONG),
                Some(_) => self.at = self.at.saturating_add(1),
            }
        }
        let inside = self.since(start);
        self.take(b'"');
        Ok(inside)
    }
}

/// Decodes the escapes of a text.
fn unescape(inside: &str) -> Option<Cow<'_, str>> {
    if inside.contains('\\') {
        serde_json::from_str(&format!("\"{inside}\"")).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inside))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::audit_event::Detail;

    #[test]
    fn only_the_canonical_form_passes() {
        for good in [
            r#"{}"#,
            r#"{"a":1,"b":[true,false,[]],"c":{"d":"x\n\u0007"},"id":"7","tenant":"a\"b"}"#,
            r#"{"a":-9007199254740991}"#,
            "{\"a\":\"\u{7f}\u{e9}\"}",
        ] {
            check(good.as_bytes()).unwrap_or_else(|why| panic!("{good}: {why}"));
        }
        for bad in [
            "",
            "1",
            "[]",
            "null",
            r#"{"a":null}"#,
            r#"{"a": 1}"#,
            r#"{"a":1} "#,
            r#"{"a":1}{}"#,
            r#"{"b":1,"a":1}"#,
            r#"{"a":1,"a":1}"#,
            r#"{"a":01}"#,
            r#"{"a":-0}"#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":9007199254740992}"#,
            r#"{"a":"\u0041"}"#,
            r#"{"a":"\u001F"}"#,
            r#"{"a":"\u000a"}"#,
            r#"{"a":"\/"}"#,
            r#"{"a":"é}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":1,}"#,
            r#"{"a":tru}"#,
            r#"{"a"}"#,
            "{\"a\":\"\n\"}",
        ] {
            assert!(check(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(40), "]".repeat(40));
        assert_eq!(check(deep.as_bytes()), Err(TOO_DEEP));
    }

    #[test]
    fn id_and_tenant_are_found() {
        let found = check(br#"{"a":{"id":"no"},"id":"7","tenant":"a\"b"}"#).unwrap();
        assert_eq!((found.id.as_deref(), found.tenant.as_deref()), (Some("7"), Some("a\"b")));
    }

    fn detail() -> impl Strategy<Value = Detail> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Detail::Bool),
            any::<i64>().prop_map(Detail::from),
            any::<String>().prop_map(Detail::Text),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Detail::List),
                proptest::collection::btree_map(any::<String>(), inner, 0..4).prop_map(Detail::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_entries_are_written_as_passes(fields in proptest::collection::btree_map(any::<String>(), detail(), 0..5)) {
            let body = serde_json::to_vec(&fields).unwrap();
            prop_assert!(check(&body).is_ok(), "{}", String::from_utf8_lossy(&body));
        }

        #[test]
        fn what_passes_is_its_own_canonical_form(text in r#"\{("[a-c]":([0-9]{1,3}|"[a\\n"]{0,3}"|true|\[\]),?){0,3}\}"#) {
            if check(text.as_bytes()).is_ok() {
                let fields: BTreeMap<String, Detail> = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(serde_json::to_string(&fields).unwrap(), text);
            }
        }
    }
}
