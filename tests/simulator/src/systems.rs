//! The world outside of the engine: notifiers, a tracker of tickets, a change board, and second
//! factors. They fail as a database does, or do not answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta};
use secrecy::{ExposeSecret, SecretString};

use super::world::World;
use jit_core::approver::{Approver, ApproverError, Callback, CallbackRefused, Explanation, Reply, Review};
use jit_core::clock::{Time, after};
use jit_core::mfa::{Challenge, Factor, FactorError, Once, VerifiedFactor};
use jit_core::notify::{Notice, Notifier, NotifyError};

/// Tracker of tickets: it answers at once, and a ticket may be closed later.
pub(super) const TRACKER: &str = "tracker";
/// Change board: it mostly calls back.
pub(super) const BOARD: &str = "board";
/// Factor with numbers that count upwards, like TOTP.
pub(super) const CODE: &str = "code";
/// Factor with signed words about one access, like OIDC.
pub(super) const TOKEN: &str = "token";

/// Time for which a token is good.
const TOKEN_LASTS: TimeDelta = TimeDelta::minutes(5);
/// Number of wrong codes in a row that locks the factor.
const MOST_WRONG: u64 = 6;
/// Time for which a locked factor looks at no code.
const LOCKED: TimeDelta = TimeDelta::minutes(1);

/// State of the world outside.
#[derive(Debug, Default)]
pub(super) struct Systems {
    /// Time at which the ticket of an access is closed.
    closes: BTreeMap<String, Time>,
    /// Questions that the board was asked.
    pub(super) questions: Vec<Review>,
    /// Callbacks that were sent so far.
    pub(super) called: Vec<Callback>,
    /// Last number of each person.
    pub(super) numbers: BTreeMap<String, u64>,
}

/// A kind of callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Calls {
    /// Board calls back itself.
    Board { yes: bool },
    /// Earlier callback is sent once more.
    Again,
    /// Somebody else makes the callback up.
    Forged,
    /// Board's words about one question arrive as an answer to another.
    Misplaced,
}

/// A proof that a person gives with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proves {
    Nothing,
    Code,
    UsedCode,
    Token,
    OldToken,
    TokenOfAnother,
}

impl World {
    /// Decides whether something outside of the engine fails, or hangs for longer than anybody
    /// waits.
    async fn lets_down(&self, whom: &'static str) -> bool {
        let (fails, hangs) = {
            let mut inside = self.inside();
            let rate = inside.weather.database;
            let fails = rate > 0 && inside.random.chance(rate);
            (fails, fails && inside.random.chance(200))
        };
        if hangs {
            self.count("systems: hangs");
            tokio::time::sleep(Duration::from_secs(120)).await;
        }
        if fails {
            self.count(whom);
        }
        fails
    }

    /// Records an answer of an outside system, heard or not. Returns its number.
    fn says(&self, approver: &str, review: &Review, yes: bool) -> u64 {
        let mut inside = self.inside();
        let number = inside.oracle.words.len() as u64;
        inside.oracle.words.push((approver.to_owned(), review.id.clone(), yes));
        number
    }

    fn draws(&self, permille: u64) -> bool {
        self.inside().random.chance(permille)
    }

    /// Returns a person's words for a factor, with the factor's name; none if they prove nothing.
    pub(super) fn proof(
        &self,
        who: &str,
        proves: Proves,
        nonce: &str,
        another: &str,
    ) -> Option<(&'static str, String)> {
        let now = self.now();
        let mut inside = self.inside();
        let last = inside.systems.numbers.entry(who.to_owned()).or_default();
        if proves != Proves::UsedCode {
            *last = last.saturating_add(1);
        }
        let number = *last;
        let token = |nonce: &str, age: i64| {
            let at = after(now, TimeDelta::seconds(0_i64.saturating_sub(age))).timestamp_micros();
            Some((TOKEN, format!("{who} {number} {nonce} {at}")))
        };
        match proves {
            Proves::Nothing => None,
            Proves::Code | Proves::UsedCode => Some((CODE, format!("{who} {number}"))),
            Proves::Token => token(nonce, 0),
            Proves::OldToken => token(nonce, 90),
            Proves::TokenOfAnother => token(another, 0),
        }
    }

    /// Makes a callback from the board, or one that pretends to be.
    pub(super) fn callback(&self, pick: u64, calls: Calls) -> Option<Callback> {
        let (question, other, before) = {
            let inside = self.inside();
            let place = |length: usize| usize::try_from(pick.checked_rem(length.min(6) as u64)?).ok();
            let from_end = |length: usize| length.checked_sub(place(length)?.saturating_add(1));
            let questions = &inside.systems.questions;
            let question = questions.get(from_end(questions.len())?)?.clone();
            let before = from_end(inside.systems.called.len()).and_then(|place| inside.systems.called.get(place));
            (question, questions.last().cloned()?, before.cloned())
        };
        let about = |token: &Review, body: String| Callback::new(&token.token, body.into_bytes());
        let words = |yes: bool| {
            let number = self.says(BOARD, &question, yes);
            format!("{number} {yes} {}", question.id)
        };
        let callback = match calls {
            Calls::Board { yes } => about(&question, words(yes)),
            Calls::Again => before?,
            Calls::Forged => about(&question, format!("{} true {}", u64::MAX, question.id)),
            Calls::Misplaced => about(&other, words(true)),
        };
        if matches!(calls, Calls::Board { .. } | Calls::Misplaced) {
            self.inside().systems.called.push(callback.clone());
        }
        Some(callback)
    }
}

/// Notifier that reaches the people.
#[derive(Debug)]
pub(super) struct People(pub(super) Arc<World>);

#[async_trait]
impl Notifier for People {
    async fn notify(&self, _: &Notice) -> Result<(), NotifyError> {
        if self.0.lets_down("notice: not delivered").await {
            let why = "simulated".to_owned();
            return Err(NotifyError::Temporary { why, retry_after: None, source: None });
        }
        self.0.count("notice delivered");
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Tracker(pub(super) Arc<World>);

#[async_trait]
impl Approver for Tracker {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        let world = &self.0;
        if world.lets_down("tracker: fails").await {
            return Err(ApproverError::new("simulated"));
        }
        let now = world.now();
        let open = {
            let mut inside = world.inside();
            let secs = if inside.random.chance(250) { inside.random.between(0, 150) } else { 86_400 };
            let closes = after(now, TimeDelta::seconds(i64::try_from(secs).unwrap_or_default()));
            let closes = inside.systems.closes.entry(review.access.to_string()).or_insert(closes);
            now < *closes
        };
        world.count(if open { "tracker: open" } else { "tracker: closed" });
        let said = said(world.says(TRACKER, review, open));
        // it gave its answer, and nobody hears it
        if world.lets_down("tracker: fails").await {
            return Err(ApproverError::new("simulated"));
        }
        Ok(if open { Reply::Approve(said) } else { Reply::Deny(said) })
    }
}

#[derive(Debug)]
pub(super) struct Board(pub(super) Arc<World>);

#[async_trait]
impl Approver for Board {
    async fn review(&self, review: &Review) -> Result<Reply, ApproverError> {
        let world = &self.0;
        if world.lets_down("board: fails").await {
            return Err(ApproverError::new("simulated"));
        }
        if world.draws(700) {
            let mut inside = world.inside();
            if !inside.systems.questions.iter().any(|asked| asked.token == review.token) {
                inside.systems.questions.push(review.clone());
            }
            let secs = i64::try_from(inside.random.between(10, 60)).unwrap_or_default();
            drop(inside);
            return Ok(Reply::Wait(after(world.now(), TimeDelta::seconds(secs))));
        }
        let yes = world.draws(900);
        let said = said(world.says(BOARD, review, yes));
        world.count("board: answers at once");
        Ok(if yes { Reply::Approve(said) } else { Reply::Deny(said) })
    }

    fn answered(&self, review: &Review, callback: &Callback, _: Time) -> Result<Reply, CallbackRefused> {
        let text = String::from_utf8_lossy(&callback.body).into_owned();
        let mut words = text.split(' ');
        let number = words.next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(u64::MAX);
        let (yes, about) = (words.next() == Some("true"), words.next().unwrap_or_default());
        let known = usize::try_from(number).ok().and_then(|place| self.0.inside().oracle.words.get(place).cloned());
        if known.is_none_or(|(_, id, said)| id != about || said != yes) {
            return Err(CallbackRefused::Signature { why: "simulated".to_owned() });
        }
        if about != review.id {
            return Err(CallbackRefused::Another);
        }
        Ok(if yes { Reply::Approve(said(number)) } else { Reply::Deny(said(number)) })
    }
}

fn said(number: u64) -> Explanation {
    Explanation::new("").detail("number", number.to_string())
}

/// Factor of numbers: each number is good once, and none below the last.
#[derive(Debug)]
pub(super) struct Codes;

#[async_trait]
impl Factor for Codes {
    async fn verify(&self, challenge: &Challenge<'_>, response: &SecretString) -> Result<VerifiedFactor, FactorError> {
        let kept = String::from_utf8_lossy(challenge.kept.unwrap_or_default()).into_owned();
        let mut kept = kept.split(' ').map(|number| number.parse::<u64>().unwrap_or_default());
        let (last, wrong) = (kept.next().unwrap_or_default(), kept.next().unwrap_or_default());
        let locked = kept.next().and_then(|micros| DateTime::from_timestamp_micros(i64::try_from(micros).ok()?));
        if let Some(until) = locked.filter(|until| *until > challenge.now) {
            return Err(FactorError::Locked { until });
        }
        let text = response.expose_secret();
        let number = text.strip_prefix(challenge.who.as_str()).and_then(|rest| rest.trim().parse::<u64>().ok());
        match number.filter(|number| *number > last) {
            Some(number) => {
                let mut verified = VerifiedFactor::new(challenge.now);
                verified.details.insert("number".to_owned(), number.to_string());
                verified.keep = Some(format!("{number} 0").into_bytes());
                Ok(verified)
            }
            None => {
                let wrong = wrong.saturating_add(1);
                let until = (wrong >= MOST_WRONG).then(|| after(challenge.now, LOCKED));
                let keep = match until {
                    Some(until) => format!("{last} 0 {}", until.timestamp_micros()),
                    None => format!("{last} {wrong}"),
                };
                let (why, keep) = ("it is not right".to_owned(), Some(keep.into_bytes()));
                Err(FactorError::Wrong { why, keep, locked_until: until })
            }
        }
    }
}

/// Factor of tokens: each is good once, for one access, for a while.
#[derive(Debug)]
pub(super) struct Tokens;

#[async_trait]
impl Factor for Tokens {
    async fn verify(&self, challenge: &Challenge<'_>, response: &SecretString) -> Result<VerifiedFactor, FactorError> {
        let mut words = response.expose_secret().split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let (who, number, nonce, at) = (word(), word(), word(), word());
        let at = at.parse::<i64>().ok().and_then(DateTime::from_timestamp_micros).unwrap_or_default();
        let until = after(at, TOKEN_LASTS);
        if who != challenge.who.as_str() || nonce != challenge.nonce || until <= challenge.now {
            return Err(FactorError::wrong("it is not right"));
        }
        let key = format!("{who}-{number}");
        let mut verified = VerifiedFactor::new(at);
        verified.details.extend([("number".to_owned(), number), ("nonce".to_owned(), nonce)]);
        verified.once = Some(Once::new(key, until));
        Ok(verified)
    }
}
