//! Laws about decisions and answers: they were really made, by this person, with this proof, and
//! once (laws 8 and 9).

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::approval::{entitled, leads};
use super::records::{AnswerRecord, ApprovalRecord, DelegationsRecord, EntryRecord, RequestRecord, ReviewRecord};
use super::{Case, Lawful, Oracle, broken, human};
use jit_core::clock::{Time, after};

/// Delay after which every review of the simulated policy is due: `within = "1m"`.
pub(super) const REVIEW: TimeDelta = TimeDelta::seconds(60);

/// Knowledge from the commits about delegations and used proofs, apart from single accesses.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    /// Proofs and answers that were used.
    used: BTreeSet<String>,
    /// Delegations, by the absent approver.
    pub(super) instead: BTreeMap<String, Vec<Instead>>,
}

/// A delegation: somebody decides in another's place.
#[derive(Debug, Clone)]
pub(super) struct Instead {
    pub(super) to: String,
    pub(super) since: Time,
    pub(super) until: Time,
    /// Flag: the delegation was withdrawn.
    pub(super) back: bool,
}

impl Oracle {
    /// Checks law 9: each decision was committed with its entry, and an outside system really gave
    /// its answer.
    pub(super) fn heard(
        &self,
        id: &str,
        before: Option<&ApprovalRecord>,
        now: &ApprovalRecord,
        told: &[&EntryRecord],
        request: Option<&ApprovalRecord>,
    ) -> Lawful {
        let extension = request.is_some();
        let known = |what: &str| broken(9, format!("{id} has {what} that no entry tells of"));
        let about: Vec<&&EntryRecord> =
            told.iter().filter(|entry| entry.details.contains_key("extension") == extension).collect();
        let before = before.cloned().unwrap_or_default();
        for one in now.decisions.iter().filter(|one| !before.decisions.contains(one)) {
            let away = one.in_place_of.as_ref().map(|away| away.who.as_str());
            let tells = |entry: &&&EntryRecord| {
                entry.what == what(&one.verdict)
                    && entry.actor.as_ref() == Some(&one.by)
                    && entry.text("in_place_of") == away
                    && entry.text("factor").is_some() == one.proven.is_some()
            };
            about.iter().find(|entry| tells(entry)).ok_or_else(|| known("a decision"))?;
            let meant = |question: &str| self.meant.contains(&(one.by.clone(), id.to_owned(), question.to_owned()));
            let before = |request: &ApprovalRecord| {
                request
                    .decisions
                    .iter()
                    .any(|earlier| human(&earlier.by) == human(&one.by) || away_is(earlier, &one.by))
            };
            // a yes that names no question extends a window only if it cannot have been meant for
            // the request
            let plain = meant("") && (one.verdict == "deny" || request.is_none_or(before));
            if one.question != now.question || !(plain || meant(&one.question)) {
                return Err(broken(19, format!("{id} counts a word of `{}` about another question", one.by)));
            }
        }
        for one in now.confirmations.iter().filter(|one| !before.confirmations.contains(one)) {
            let tells = |entry: &&&EntryRecord| entry.what == "confirmed" && entry.actor.as_ref() == Some(&one.by);
            about.iter().find(|entry| tells(entry)).ok_or_else(|| known("a second factor"))?;
            if one.question != now.question {
                return Err(broken(19, format!("{id} counts a second factor about another question")));
            }
        }
        let heard_before = |one: &AnswerRecord| before.answers.iter().any(|before| before.answer == *one);
        for one in now.answers.iter().map(|heard| &heard.answer).filter(|one| !heard_before(one)) {
            let tells = |entry: &&&EntryRecord| {
                entry.what == what(&one.verdict) && entry.text("approver") == Some(one.approver.as_str())
            };
            let entry = about.iter().find(|entry| tells(entry)).ok_or_else(|| known("an answer"))?;
            let place = entry.text("approver_number").and_then(|number| number.parse::<usize>().ok());
            let really = place.and_then(|place| self.words.get(place)).is_some_and(|(approver, about, yes)| {
                let nonce = about.strip_suffix(&format!("/{approver}")).unwrap_or_default();
                let is_asked = nonce == now.nonce(id) && one.question == now.question;
                *approver == one.approver && is_asked && *yes == (one.verdict == "approve")
            });
            if !really {
                let why = format!("{id} counts a word of `{}` that it never said about it", one.approver);
                return Err(broken(19, why));
            }
        }
        Ok(())
    }

    /// Checks law 8: a proof proves one thing, once, and only what it was made for.
    pub(super) fn used_up(&mut self, entry: &EntryRecord) -> Lawful {
        let actor = entry.actor.as_deref().unwrap_or_default();
        if let Some(nonce) = entry.text("factor_nonce")
            && !entry.access.as_ref().is_some_and(|id| {
                let question = entry.text("question").unwrap_or_default();
                if id.ends_with(question) { nonce == id } else { nonce == format!("{id}.{question}") }
            })
        {
            return Err(broken(8, format!("`{actor}` proves with words about {nonce} that it is them")));
        }
        let factor = entry.text("factor").zip(entry.text("factor_number"));
        let proof = factor.map(|(factor, number)| format!("the {factor} {number} of `{actor}`"));
        let answer = entry.text("approver_number").map(|number| format!("the answer {number}"));
        for used in proof.into_iter().chain(answer) {
            if !self.desk.used.insert(used.clone()) {
                return Err(broken(8, format!("{used} is used twice")));
            }
        }
        Ok(())
    }

    /// Checks law 9: each delegation is in the log.
    pub(super) fn stands_in(&mut self, record: DelegationsRecord, entries: &[(String, EntryRecord)]) -> Lawful {
        let tells = |(_, entry): &(String, EntryRecord)| {
            let what = matches!(entry.what.as_str(), "delegated" | "delegation-ended");
            what && entry.actor.as_ref() == Some(&record.of)
        };
        if !entries.iter().any(tells) {
            return Err(broken(9, format!("somebody decides in the place of `{}`, and no entry says so", record.of)));
        }
        let given = record.given.into_iter().map(|given| {
            let back = given.taken_back;
            Instead { to: given.to, since: given.since, until: given.until, back }
        });
        self.desk.instead.insert(record.of, given.collect());
        Ok(())
    }

    /// Checks the review that is owed after an emergency, and who gave it.
    pub(super) fn owed(
        &self,
        node: usize,
        id: &str,
        case: &Case,
        review: Option<&ReviewRecord>,
        told: &[&EntryRecord],
        at: Time,
    ) -> Lawful {
        if !case.request.break_glass {
            return Ok(());
        }
        let Some(review) = review else {
            return match case.state.as_str() {
                "active" => Err(broken(4, format!("{id} is had in an emergency, and no review is owed"))),
                _ => Ok(()),
            };
        };
        // more time after a review was not reviewed: another review is owed from then on
        let again = told.iter().any(|entry| entry.what == "extended");
        let before = case.review.as_ref().filter(|before| !again || before.given.is_none());
        if again && review.given.is_some() {
            return Err(broken(4, format!("{id} goes on after its review, and no other is owed")));
        }
        if before.is_some_and(|before| before.given.is_some() && before.given != review.given) {
            return Err(broken(9, format!("the review of {id} is not what it was")));
        }
        if before.is_none() && review.due > after(at, REVIEW) || before.is_some_and(|before| before.due != review.due) {
            return Err(broken(4, format!("the review of {id} is owed at {}", review.due)));
        }
        let has = |what: &str| told.iter().find(|entry| entry.what == what);
        if review.told && !before.is_some_and(|before| before.told) && has("review-overdue").is_none() {
            return Err(broken(9, format!("nobody was told that the review of {id} is overdue")));
        }
        let Some(given) = review.given.as_ref().filter(|_| before.is_none_or(|before| before.given.is_none())) else {
            return Ok(());
        };
        if has("reviewed").and_then(|entry| entry.actor.as_ref()) != Some(&given.by) {
            return Err(broken(9, format!("{id} is reviewed, and no entry says so")));
        }
        let policy = self.in_force.get(node);
        let asked = policy.is_none_or(|policy| entitled(policy.now, &given.by) || entitled(policy.before, &given.by));
        let own = human(&given.by) == human(&case.request.requester);
        let called = self.called.contains(&(given.by.clone(), id.to_owned()));
        match asked && called && !own {
            true => Ok(()),
            false => Err(broken(8, format!("{id} is reviewed by `{}`", given.by))),
        }
    }

    /// Counts the grounds of a grant, which shows how often histories have each of them.
    pub(super) fn comes_about_by(&mut self, request: &RequestRecord, said: &ApprovalRecord) {
        let yes = said.yes();
        let role = if request.break_glass { "emergency" } else { request.role.as_str() };
        match (role, yes.len()) {
            ("emergency", 0) => self.comes_about("intents: emergency"),
            ("emergency", _) => self.comes_about("intents: emergency with a second person"),
            ("owner", _) => self.comes_about("intents: ticket, board, two factors"),
            ("reader" | "other", _) => {}
            _ => self.comes_about("intents: people only"),
        }
        if yes.iter().any(|one| leads(&one.by)) {
            self.comes_about("intents: with the yes of one escalated to");
        }
        if yes.iter().any(|one| one.in_place_of.is_some()) {
            self.comes_about("intents: with a yes in another's place");
        }
    }

    /// Counts what was decided and answered, likewise.
    pub(super) fn comes_about_of(&mut self, told: &[&EntryRecord]) {
        for entry in told {
            match entry.what.as_str() {
                "escalated" => self.comes_about("said: escalated"),
                "confirmed" => self.comes_about("said: confirmed"),
                "reviewed" => self.comes_about("said: reviewed"),
                "review-overdue" => self.comes_about("said: review overdue"),
                _ => {}
            }
        }
    }
}

/// Checks whether the decision was made in the place of this principal's human.
fn away_is(one: &super::records::DecisionRecord, who: &str) -> bool {
    one.in_place_of.as_ref().is_some_and(|away| human(&away.who) == human(who))
}

fn what(verdict: &str) -> &'static str {
    if verdict == "approve" { "approved" } else { "denied" }
}
