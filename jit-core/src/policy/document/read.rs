//! Reading of a parsed TOML document, value by value, so that all its problems are found in one go.

use chrono::TimeDelta;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Findings;
use crate::text::{cut, escaped};

/// Keys by their present name, and the name that they had before. Documents may use either.
const FORMER: [(&str, &str); 3] =
    [("dead_mans_switch", "dead_man"), ("grantees", "receivers"), ("leftovers", "left_behind")];

/// Returns the name that the key had before.
fn former(key: &str) -> Option<&'static str> {
    FORMER.iter().find(|(now, _)| *now == key).map(|(_, before)| *before)
}

/// A value and its place.
pub(super) type Found<'d> = &'d Spanned<DeValue<'d>>;

/// A table of the document.
#[derive(Debug, Clone)]
pub(super) struct Section<'d> {
    /// Byte offset of its beginning.
    pub(super) at: usize,
    /// Name of the table in the user's words: `[[rule]]`.
    what: &'static str,
    table: &'d DeTable<'d>,
}

impl<'d> Section<'d> {
    pub(super) fn new(at: usize, what: &'static str, table: &'d DeTable<'d>) -> Self {
        Self { at, what, table }
    }

    /// Takes the value as a table.
    pub(super) fn of(value: Found<'d>, what: &'static str, findings: &mut Findings) -> Option<Self> {
        match value.get_ref() {
            DeValue::Table(table) => Some(Self::new(value.span().start, what, table)),
            other => {
                let is = kind(other);
                findings.problem(value.span().start, format!("`{what}` has to be a table, and this is {is}"));
                None
            }
        }
    }

    /// Returns the name of the table in the user's words.
    pub(super) fn what(&self) -> &'static str {
        self.what
    }

    /// Refuses every key that is not known here.
    pub(super) fn only(&self, known: &[&str], findings: &mut Findings) {
        for (at, key, _) in self.entries() {
            if known.contains(&key) {
                continue;
            }
            if let Some(now) = known.iter().find(|now| former(now) == Some(key)) {
                if self.table.contains_key(*now) {
                    findings.problem(at, format!("`{key}` is the former name of `{now}`: give one of them"));
                }
                continue;
            }
            let (what, key) = (self.what, shown(key));
            let hint = match near(&key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known are {}", quoted(known)),
            };
            findings.problem(at, format!("unknown key `{key}` in `{what}`: {hint}"));
        }
    }

    /// Returns every key with its place and value, in the order of the names.
    pub(super) fn entries(&self) -> impl Iterator<Item = (usize, &'d str, Found<'d>)> + use<'d> {
        self.table.iter().map(|(key, value)| (key.span().start, key.get_ref().as_ref(), value))
    }

    pub(super) fn find(&self, key: &str) -> Option<Found<'d>> {
        self.table.get(key).or_else(|| self.table.get(former(key)?))
    }

    /// Returns the value of a key that has to be there.
    pub(super) fn demand(&self, key: &str, example: &str, findings: &mut Findings) -> Option<Found<'d>> {
        let found = self.find(key);
        if found.is_none() {
            let what = self.what;
            findings.problem(self.at, format!("`{what}` has no `{key}`: add one, like `{key} = {example}`"));
        }
        found
    }

    /// Returns a list of texts that has to be there and must not be empty.
    pub(super) fn demand_texts(
        &self,
        key: &'static str,
        example: &str,
        findings: &mut Findings,
    ) -> Option<Vec<(usize, &'d str)>> {
        let value = self.demand(key, example, findings)?;
        let texts = texts(value, key, findings)?;
        if texts.is_empty() {
            let line = format!("`{key}` is empty, so this could never match: name some, like `{key} = {example}`");
            findings.problem(value.span().start, line);
            return None;
        }
        Some(texts)
    }

    /// Reads a length of time above zero and up to the ceiling, with its place.
    pub(super) fn duration(
        &self,
        key: &str,
        ceiling: TimeDelta,
        findings: &mut Findings,
    ) -> Option<(usize, TimeDelta)> {
        let value = self.find(key)?;
        let at = value.span().start;
        let given = text(value, key, findings)?;
        let parsed = length(given, key, ceiling).map_err(|wrong| findings.problem(at, wrong)).ok()?;
        Some((at, parsed))
    }

    /// Reads one of some words; the first of them if the key is absent.
    pub(super) fn choice<T: Copy>(&self, key: &str, words: &[(&str, T)], findings: &mut Findings) -> Option<T> {
        let Some(value) = self.find(key) else {
            return words.first().map(|(_, meaning)| *meaning);
        };
        let given = text(value, key, findings)?;
        let chosen = words.iter().find(|(word, _)| *word == given).map(|(_, meaning)| *meaning);
        if chosen.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let line = format!("`{key}` cannot be `{}`: it is one of {}", shown(given), quoted(&known));
            findings.problem(value.span().start, line);
        }
        chosen
    }

    /// Reads a whole number within bounds.
    pub(super) fn number(&self, key: &str, most: u32, findings: &mut Findings) -> Option<u32> {
        let value = self.find(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(given) => u32::from_str_radix(given.as_str(), given.radix()).ok(),
            _ => None,
        };
        let number = number.filter(|number| (1..=most).contains(number));
        if number.is_none() {
            findings.problem(value.span().start, format!("`{key}` has to be a whole number from 1 to {most}"));
        }
        number
    }
}

/// Parses a length of time above zero and up to the ceiling. The error says what is wrong with it.
pub(in crate::policy) fn length(given: &str, key: &str, ceiling: TimeDelta) -> Result<TimeDelta, String> {
    let parsed = humantime::parse_duration(given).ok().and_then(|parsed| TimeDelta::from_std(parsed).ok());
    let Some(parsed) = parsed else {
        let given = shown(given);
        return Err(format!("`{given}` is not a length of time: write it like `30m`, `4h` or `1h 30m`"));
    };
    if parsed < TimeDelta::microseconds(1) {
        return Err(format!("`{key}` has to be longer than zero, like `30m`"));
    }
    if parsed > ceiling {
        let (given, most) = (shown(given), said(ceiling));
        return Err(format!("`{given}` is over the ceiling: `{key}` can be at most `{most}`"));
    }
    Ok(parsed)
}

/// Takes the value as a text.
pub(super) fn text<'d>(value: Found<'d>, key: &str, findings: &mut Findings) -> Option<&'d str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text.as_ref()),
        other => {
            let is = kind(other);
            findings.problem(value.span().start, format!("`{key}` has to be a text in quotes, and this is {is}"));
            None
        }
    }
}

/// Takes the value as a list.
pub(super) fn list<'d>(value: Found<'d>, key: &str, findings: &mut Findings) -> Option<&'d [Spanned<DeValue<'d>>]> {
    match value.get_ref() {
        DeValue::Array(list) => Some(list),
        DeValue::Table(_) if matches!(key, "rule" | "may" | "rule.stage" | "plan.NAME.stage") => {
            let short = key.rsplit('.').next().unwrap_or(key);
            findings.problem(value.span().start, format!("there can be many of `{short}`: write `[[{key}]]`"));
            None
        }
        other => {
            let is = kind(other);
            findings.problem(value.span().start, format!("`{key}` has to be a list in brackets, and this is {is}"));
            None
        }
    }
}

/// Takes the value as a list of texts, each with its place; none may occur twice.
pub(super) fn texts<'d>(value: Found<'d>, key: &str, findings: &mut Findings) -> Option<Vec<(usize, &'d str)>> {
    let before = findings.problems();
    let mut all: Vec<(usize, &str)> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for item in list(value, key, findings)? {
        let Some(one) = text(item, key, findings) else { continue };
        if !seen.insert(one) {
            findings.problem(item.span().start, format!("`{}` stands twice in `{key}`: remove one", shown(one)));
        }
        all.push((item.span().start, one));
    }
    (findings.problems() == before).then_some(all)
}

/// Prepares a user's text for a message: short and on one line.
pub(in crate::policy) fn shown(text: &str) -> String {
    cut(&escaped(text), 65).into_owned()
}

/// Writes a length of time for a message, as the document writes it.
pub(in crate::policy) fn said(span: TimeDelta) -> String {
    humantime::format_duration(crate::clock::to_std(span)).to_string().replace("1day", "24h")
}

/// Puts words in backticks.
pub(super) fn quoted(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// Finds the word that was probably meant: at most two slips away, and more right than wrong.
pub(in crate::policy) fn near<'w>(given: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    let most = given.chars().count().saturating_sub(1).saturating_div(2).min(2);
    words.map(|word| (slips(given, word), word)).filter(|(slips, _)| *slips <= most).min().map(|(_, word)| word)
}

/// Counts the characters to insert, delete or replace (Levenshtein distance). Texts of very
/// different lengths are not measured.
fn slips(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let length = from.chars().count();
    if length.abs_diff(to.len()) > 2 || length > 128 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (above, character) in from.chars().enumerate() {
        let mut diagonal = above;
        let mut left = above.saturating_add(1);
        let mut next = vec![left];
        for (other, up) in to.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(*other != character));
            left = replaced.min(up.saturating_add(1)).min(left.saturating_add(1));
            diagonal = *up;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(usize::MAX)
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
