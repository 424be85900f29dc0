//! Names that can be taken for others: they differ only by case, width, normal form, or letters
//! that look the same.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::skeleton;

/// Returns two texts that stand for the look of a name. Two names are alike if they share one of
/// these texts. Case is removed before the look of the letters is computed, and again after it. A
/// Cyrillic `В` looks like `B`, but its small letter looks like no Latin one.
fn looks(name: &str) -> [String; 2] {
    let seen = |name: &str| folded(&skeleton(name).collect::<String>());
    [seen(&folded(name)), seen(&seen(name))]
}

/// Returns the name without case, width and normal form.
fn folded(name: &str) -> String {
    // capitals come first: there `ß` equals `ss`, and both small sigmas are the same
    name.nfkc().collect::<String>().to_uppercase().to_lowercase().nfkc().collect()
}

/// Checks whether two names are different and one could be taken for the other.
#[must_use]
pub(crate) fn are_alike(one: &str, other: &str) -> bool {
    one != other && looks(one).iter().any(|look| looks(other).contains(look))
}

/// Checks whether two different names differ only by case. On servers where case counts, such as
/// PostgreSQL, both can be real.
pub(crate) fn differ_by_case(one: &str, other: &str) -> bool {
    one != other && one.to_lowercase() == other.to_lowercase()
}

/// Checks whether one of two names that are alike has to be a mistake or a disguise. Names of ASCII
/// letters that differ in more than case, as `app1` and `appl`, can both be meant if both were
/// written down.
pub(crate) fn is_disguise(one: &str, other: &str) -> bool {
    are_alike(one, other) && (differ_by_case(one, other) || !one.is_ascii() || !other.is_ascii())
}

/// Says that a name is not the known one that it looks like.
pub(crate) fn refusal(what: &str, name: &str, known: &str) -> String {
    format!(
        "the {what} `{name}` is unknown and differs from the known `{known}` only by case, width, normal form or letters that look the \
         same: use the known name, or make this one known too"
    )
}

/// Known names, indexed by their look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Known {
    names: BTreeSet<String>,
    by_look: BTreeMap<String, String>,
}

impl<'n> FromIterator<&'n str> for Known {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        let mut known = Self::default();
        names.into_iter().for_each(|name| known.add(name));
        known
    }
}

impl Known {
    /// Adds a name to the known ones.
    pub(crate) fn add(&mut self, name: &str) {
        if self.names.insert(name.to_owned()) {
            for look in looks(name) {
                self.by_look.entry(look).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// Checks whether the name is known.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Returns the known name that this one could be taken for. `None` if this name is known
    /// itself.
    pub(crate) fn like(&self, name: &str) -> Option<&str> {
        if self.names.is_empty() || self.has(name) {
            return None;
        }
        looks(name).iter().find_map(|look| self.by_look.get(look)).map(String::as_str)
    }

    /// Returns the pairs of known names that could be taken for each other.
    pub(crate) fn alike(&self) -> Vec<(&str, &str)> {
        let mut pairs = BTreeSet::new();
        for name in &self.names {
            let others = looks(name);
            let others = others.iter().filter_map(|look| self.by_look.get(look)).filter(|other| *other != name);
            pairs.extend(others.map(|other| (other.as_str(), name.as_str())));
        }
        pairs.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_looks_like_a_known_name_is_found() {
        let known: Known = ["alice", "Bob", "BILL", "josé", "straße", "ops-1"].into_iter().collect();
        for (name, like) in [
            ("Alice", "alice"),
            ("ALICE", "alice"),
            ("аlice", "alice"),
            ("Αlice", "alice"),
            ("ａｌｉｃｅ", "alice"),
            ("𝐚lice", "alice"),
            ("bob", "Bob"),
            ("Вob", "Bob"),
            ("bill", "BILL"),
            ("jose\u{301}", "josé"),
            ("STRASSE", "straße"),
            ("ops-l", "ops-1"),
        ] {
            assert_eq!(known.like(name), Some(like), "{name}");
            assert!(are_alike(name, like) && are_alike(like, name), "{name}");
        }
        for name in ["alice", "Bob", "BILL", "alicia", "bobby", "jose", "carol", "ops-2", "alice2"] {
            assert_eq!(known.like(name), None, "{name}");
        }
        let both: Known = ["alice", "Alice"].into_iter().collect();
        assert_eq!((both.like("alice"), both.like("Alice"), both.like("ALICE")), (None, None, Some("alice")));
        assert_eq!(both.alike().len(), 1);
        assert!(is_disguise("pg", "PG") && is_disguise("pg", "ｐg") && !is_disguise("app1", "appl"));
        assert!(differ_by_case("Zoë", "zoë") && !differ_by_case("a", "ａ") && !differ_by_case("a", "a"));
    }

    /// Writes one letter in another case, width, form or alphabet.
    fn disguised(letter: char, how: u8) -> String {
        match (how % 4, letter) {
            (0, _) => letter.to_uppercase().collect(),
            (1, 'a'..='z') => char::from_u32(u32::from(letter) - u32::from('a') + u32::from('ａ')).unwrap().to_string(),
            (2, 'a') => "а".to_owned(),
            (2, 'o') => "ο".to_owned(),
            (_, 'é') => "e\u{301}".to_owned(),
            _ => letter.to_string(),
        }
    }

    proptest! {
        #[test]
        fn no_disguise_of_a_known_name_goes_unseen(name in "[a-zé0-9._-]{1,12}", hows in proptest::collection::vec(0_u8..4, 12)) {
            let disguise: String = name.chars().zip(hows).map(|(letter, how)| disguised(letter, how)).collect();
            let known: Known = [name.as_str()].into_iter().collect();
            prop_assert_eq!(known.like(&name), None, "a known name is never refused");
            if disguise != name {
                prop_assert_eq!(known.like(&disguise), Some(name.as_str()), "{}", disguise);
                let both: Known = [name.as_str(), disguise.as_str()].into_iter().collect();
                prop_assert_eq!((both.like(&name), both.like(&disguise)), (None, None));
            }
        }

        #[test]
        fn any_two_texts_are_compared_the_same_both_ways(one in any::<String>(), other in any::<String>()) {
            prop_assert_eq!(are_alike(&one, &other), are_alike(&other, &one));
            prop_assert!(!are_alike(&one, &one));
        }
    }
}
