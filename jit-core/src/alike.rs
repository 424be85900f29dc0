//! Names that pass for others: the same but for case, width, normal form, or letters that look the same.

use std::collections::{BTreeMap, BTreeSet};

use unicode_normalization::UnicodeNormalization as _;
use unicode_security::skeleton;

/// What a name looks like. Two names are alike where they share one of these texts. Case is taken away before the look of the letters, and after it:
/// a Cyrillic `В` looks like `B`, its small letter like none of ours.
fn looks(name: &str) -> [String; 2] {
    let seen = |name: &str| folded(&skeleton(name).collect::<String>());
    [seen(&folded(name)), seen(&seen(name))]
}

/// The name without case, width and normal form.
fn folded(name: &str) -> String {
    // by way of capitals: `ß` and `ss`, and both small sigmas, are the same there
    name.nfkc().collect::<String>().to_uppercase().to_lowercase().nfkc().collect()
}

/// Whether two names are different and one could be taken for the other.
#[must_use]
pub(crate) fn are_alike(one: &str, other: &str) -> bool {
    one != other && looks(one).iter().any(|look| looks(other).contains(look))
}

/// Whether two different names differ by nothing but case: where case counts, as on PostgreSQL, both can be real.
pub(crate) fn differ_by_case(one: &str, other: &str) -> bool {
    one != other && one.to_lowercase() == other.to_lowercase()
}

/// Whether one of two names that are alike has to be a mistake or a disguise. Names of ASCII letters that differ in more than case, as `app1` and
/// `appl`, can both be meant where they were both written down.
pub(crate) fn is_disguise(one: &str, other: &str) -> bool {
    are_alike(one, other) && (differ_by_case(one, other) || !one.is_ascii() || !other.is_ascii())
}

/// Says that a name is not the known one that it looks like.
pub(crate) fn refusal(what: &str, name: &str, known: &str) -> String {
    format!(
        "the {what} `{name}` is not known and differs from `{known}`, which is, only by case, width, normal form or letters that look the \
         same: use the known name, or make this one known too"
    )
}

/// Names that are known, by what they look like.
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
    /// Makes a name known.
    pub(crate) fn add(&mut self, name: &str) {
        if self.names.insert(name.to_owned()) {
            for look in looks(name) {
                self.by_look.entry(look).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// Whether it is one of them.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// The known name that this one could be taken for; none where it is known itself.
    pub(crate) fn like(&self, name: &str) -> Option<&str> {
        if self.names.is_empty() || self.has(name) {
            return None;
        }
        looks(name).iter().find_map(|look| self.by_look.get(look)).map(String::as_str)
    }

    /// Two of them that could be taken for each other.
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

    /// One letter in another case, width, form or alphabet.
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
