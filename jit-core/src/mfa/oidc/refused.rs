//! Reasons why a token proves nothing, in words for a person. They repeat nothing of the token
//! except names, cut short.

use chrono::TimeDelta;

use super::algorithm::SigningAlgorithm;
use crate::clock::Time;
use crate::mfa::FactorError;

/// Reason why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("a token proves something about one access only, and none was named")]
    NotBound,
    #[error("this is not a signed ID token: {why}")]
    NotAToken { why: &'static str },
    #[error("this is a token of type `{typ}`, and an ID token is needed")]
    Kind { typ: String },
    #[error("the token is signed by `{alg}`, which is not accepted: accepted are {}", join(accepted))]
    Algorithm { alg: String, accepted: Vec<SigningAlgorithm> },
    #[error("the token demands an extension that is not supported here (`crit`)")]
    Critical,
    #[error("the token does not name the key that it is signed with (`kid`)")]
    NoKeyId,
    #[error("the token is signed with the key `{kid}`, which is not one of the provider's")]
    UnknownKey { kid: String },
    #[error("the token is signed by `{alg}`, and the provider's key `{kid}` is not for that")]
    KeyDoesNotFit { kid: String, alg: SigningAlgorithm },
    #[error("the token's signature is not valid")]
    Signature,
    #[error("the token lacks `{claim}`")]
    Missing { claim: String },
    #[error("the token's `{claim}` is not what it has to be: {what}")]
    Malformed { claim: String, what: &'static str },
    #[error("the token is from `{found}`, and one from `{expected}` is needed")]
    Issuer { found: String, expected: String },
    #[error("the token is for {}, and one for `{expected}` is needed", quoted(found))]
    Audience { found: Vec<String>, expected: String },
    #[error("the token was given to `{found}`, and one given to `{expected}` is needed (`azp`)")]
    Party { found: String, expected: String },
    #[error("the token is for several, and does not say to whom it was given (`azp`)")]
    NoParty,
    #[error("the token expired at {at}")]
    Expired { at: Time },
    #[error("the token is valid from {at} only (`{claim}`)")]
    NotYet { claim: &'static str, at: Time },
    #[error("the token is about {found}, and one about {expected} is needed (`{claim}`)")]
    Subject { claim: String, found: String, expected: String },
    #[error("the provider did not verify the e-mail address `{found}`")]
    Unverified { found: String },
    #[error("the token is not bound to an access: it has no `nonce`")]
    NoNonce,
    #[error("the token was made for something else: its `nonce` is not that of this access and decision")]
    Nonce,
    #[error("the token does not say when the person proved who they are (`auth_time`): log in anew, with `max_age`")]
    NoAuthTime,
    #[error("the person proved who they are at {at}, and that may be {} ago at most: log in anew", minutes(*max_age))]
    TooOld { at: Time, max_age: TimeDelta },
    #[error(
        "the token shows no second factor: {}; needed is {}",
        shows(amr, acr.as_deref()),
        needs(accepted_amr, accepted_acr)
    )]
    NoSecondFactor { amr: Vec<String>, acr: Option<String>, accepted_amr: Vec<String>, accepted_acr: Vec<String> },
}

impl From<Refused> for FactorError {
    fn from(refused: Refused) -> Self {
        Self::wrong(refused.to_string())
    }
}

/// Longest text of a token that is repeated in a message or in the log, in characters.
const LONGEST_SHOWN: usize = 128;

/// Returns a text of a token as it may be repeated: cut short, control characters escaped.
pub(super) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        shown.push_str("...");
    }
    shown
}

fn join(algorithms: &[SigningAlgorithm]) -> String {
    quoted(&algorithms.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn quoted(texts: &[String]) -> String {
    let all: Vec<String> = texts.iter().map(|text| format!("`{text}`")).collect();
    if all.is_empty() { "nobody".to_owned() } else { all.join(", ") }
}

fn minutes(span: TimeDelta) -> String {
    humantime::format_duration(crate::clock::to_std(span)).to_string()
}

fn shows(amr: &[String], acr: Option<&str>) -> String {
    let amr = if amr.is_empty() { "it has no `amr`".to_owned() } else { format!("its `amr` is {}", quoted(amr)) };
    let acr = acr.map_or_else(|| "no `acr`".to_owned(), |acr| format!("its `acr` is `{acr}`"));
    format!("{amr} and {acr}")
}

fn needs(amr: &[String], acr: &[String]) -> String {
    let one = |name: &str, of: &[String]| (!of.is_empty()).then(|| format!("an `{name}` of {}", quoted(of)));
    let all: Vec<String> = [one("amr", amr), one("acr", acr)].into_iter().flatten().collect();
    all.join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_says_is_repeated_shortly_and_without_control_characters() {
        assert_eq!(shown("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
        assert_eq!(shown(&"x".repeat(500)), format!("{}...", "x".repeat(128)));
        assert_eq!(shown("alice"), "alice");
    }

    #[test]
    fn messages_say_what_is_there_and_what_is_needed() {
        let refused = Refused::NoSecondFactor {
            amr: vec!["pwd".to_owned()],
            acr: None,
            accepted_amr: vec!["mfa".to_owned(), "otp".to_owned()],
            accepted_acr: vec!["gold".to_owned()],
        };
        assert_eq!(
            refused.to_string(),
            "the token shows no second factor: its `amr` is `pwd` and no `acr`; \
             needed is an `amr` of `mfa`, `otp` or an `acr` of `gold`"
        );
        let at = Time::UNIX_EPOCH;
        let refused = Refused::TooOld { at, max_age: TimeDelta::minutes(90) };
        assert!(refused.to_string().contains("1h 30m ago at most"), "{refused}");
    }
}
