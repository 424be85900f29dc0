//! Target patterns: `*` stands for any characters, also for none; all other characters stand for
//! themselves.

/// A pattern, parsed once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob {
    text: String,
    /// Byte offset of the first `*`; `None` means an exact name.
    prefix: Option<usize>,
    /// Texts between the stars.
    middle: Vec<String>,
    /// Text after the last star.
    suffix: String,
}

impl Glob {
    pub(super) fn new(text: &str) -> Self {
        let mut parts: Vec<String> = text.split('*').skip(1).map(str::to_owned).collect();
        let suffix = parts.pop().unwrap_or_default();
        parts.retain(|part| !part.is_empty());
        Self { text: text.to_owned(), prefix: text.find('*'), middle: parts, suffix }
    }

    /// Returns the name, if the pattern is an exact name.
    pub(super) fn exact(&self) -> Option<&str> {
        self.prefix.is_none().then_some(self.text.as_str())
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let Some(prefix) = self.prefix.and_then(|until| self.text.get(..until)) else {
            return name == self.text;
        };
        let inner = name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(self.suffix.as_str()));
        let Some(mut rest) = inner else { return false };
        for part in &self.middle {
            let Some((_, behind)) = rest.split_once(part.as_str()) else { return false };
            rest = behind;
        }
        true
    }

    /// Checks whether the pattern matches every name that the other one matches. Only a star
    /// matches a star of the other one.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.matches(&other.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_also_none() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*", "x", true),
            ("orders-*", "orders-prod", true),
            ("orders-*", "orders-", true),
            ("orders-*", "orders", false),
            ("*-prod", "orders-prod", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a*b*b", "ab", false),
            ("a**b", "ab", true),
            ("orders", "orders", true),
            ("orders", "orders2", false),
            ("*é*", "Zoé1", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_pattern_covers_narrower_ones() {
        assert!(Glob::new("*").covers(&Glob::new("orders-*")));
        assert!(Glob::new("orders-*").covers(&Glob::new("orders-prod")));
        assert!(Glob::new("orders-*").covers(&Glob::new("orders-*-prod")));
        assert!(!Glob::new("orders-prod").covers(&Glob::new("orders-*")));
        assert!(!Glob::new("orders-*-prod").covers(&Glob::new("orders-*")));
    }
}
