//! Claims of a token, with the types of RFC 7519 and OpenID Connect Core section 2.

use chrono::DateTime;
use serde_json::{Map, Value};

use super::refused::Refused;
use crate::clock::Time;

/// Claims of a token that its provider has signed.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn read(payload: &[u8]) -> Result<Self, Refused> {
        let read = serde_json::from_slice(payload);
        read.map(Self).map_err(|_| Refused::NotAToken { why: "what it says is not a JSON object" })
    }

    /// Returns a text that has to be there.
    pub(super) fn text(&self, claim: &str) -> Result<&str, Refused> {
        self.text_if(claim)?.ok_or_else(|| Refused::Missing { claim: claim.to_owned() })
    }

    /// Returns a text, if the claim is there; an empty text counts as absent.
    pub(super) fn text_if(&self, claim: &str) -> Result<Option<&str>, Refused> {
        match self.0.get(claim) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
            Some(_) => Err(malformed(claim, "a text")),
        }
    }

    /// Returns one text or several.
    pub(super) fn texts(&self, claim: &str) -> Result<Vec<&str>, Refused> {
        let one = Value::as_str;
        match self.0.get(claim) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(all)) => {
                let texts: Option<Vec<&str>> = all.iter().map(one).collect();
                texts.ok_or_else(|| malformed(claim, "a list of texts"))
            }
            Some(_) => Err(malformed(claim, "a text or a list of texts")),
        }
    }

    /// Returns a time that has to be there, UTC.
    pub(super) fn time(&self, claim: &str) -> Result<Time, Refused> {
        self.time_if(claim)?.ok_or_else(|| Refused::Missing { claim: claim.to_owned() })
    }

    /// Returns a time, UTC, if the claim is there: seconds since 1970, with the fraction cut off.
    pub(super) fn time_if(&self, claim: &str) -> Result<Option<Time>, Refused> {
        const WHAT: &str = "seconds since 1970";
        let seconds = match self.0.get(claim) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(number)) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
            Some(_) => None,
        };
        let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        time.map(Some).ok_or_else(|| malformed(claim, WHAT))
    }

    /// Checks whether the claim is true; some providers write that as a text.
    pub(super) fn is_true(&self, claim: &str) -> bool {
        match self.0.get(claim) {
            Some(Value::Bool(is)) => *is,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }
}

fn malformed(claim: &str, what: &'static str) -> Refused {
    Refused::Malformed { claim: claim.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_have_the_types_of_the_standard() {
        let claims =
            br#"{"one":"a","two":["a","b"],"odd":[1],"at":1.9,"far":1e300,"word":"1","nothing":null,"empty":""}"#;
        let claims = Claims::read(claims).unwrap();
        assert_eq!(claims.texts("one"), Ok(vec!["a"]));
        assert_eq!(claims.texts("two"), Ok(vec!["a", "b"]));
        assert_eq!(claims.texts("none"), Ok(vec![]));
        assert!(claims.texts("odd").is_err());
        assert_eq!(claims.time("at"), Ok(DateTime::from_timestamp(1, 0).unwrap()));
        assert!(claims.time("far").is_err());
        assert!(claims.time("word").is_err());
        assert_eq!(claims.time_if("nothing"), Ok(None));
        assert_eq!(claims.text("empty"), Err(Refused::Missing { claim: "empty".to_owned() }));
        assert!(claims.text("two").is_err());
        assert!(Claims::read(b"[]").is_err());
    }
}
