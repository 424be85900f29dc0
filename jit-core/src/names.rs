//! Keys, lanes and serials that are made of several names.
//!
//! Names may hold any printable character, so a separator alone is ambiguous. The tenant
//! `org/webhook:team` could pass for `org`.

/// Joins names into one text. Each name but the last follows its length in bytes. So `split`
/// returns the same names, whatever they hold: `4/team/webhook:dba`.
#[must_use]
pub fn join<const N: usize>(names: [&str; N]) -> String {
    let mut text = String::new();
    for (place, name) in names.iter().enumerate() {
        if place.saturating_add(1) < N {
            text.push_str(&format!("{}/{name}/", name.len()));
        } else {
            text.push_str(name);
        }
    }
    text
}

/// Returns the names that [`join`] made this text of.
pub(crate) fn split<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut names = [""; N];
    let mut rest = text;
    for (place, name) in names.iter_mut().enumerate() {
        if place.saturating_add(1) < N {
            let (length, behind) = rest.split_once('/')?;
            let length: usize = length.parse().ok()?;
            *name = behind.get(..length)?;
            rest = behind.get(length..)?.strip_prefix('/')?;
        } else {
            *name = rest;
        }
    }
    Some(names)
}

/// Makes a name of 64 hexadecimal digits from these parts, and from no others, for something that
/// has no other name on the server.
#[must_use]
pub fn name_for(parts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        // with its length, so that no two lists of parts are one text
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    crate::hex::hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_name_passes_for_two() {
        assert_ne!(join(["org/webhook:team", "dba"]), join(["org", "webhook:team/dba"]));
        assert_eq!(join(["team", "webhook:dba"]), "4/team/webhook:dba");
        assert_eq!(split::<2>("team/webhook:dba"), None);
        assert_eq!(split::<2>("400/team/webhook:dba"), None);
    }

    proptest! {
        #[test]
        fn what_was_joined_is_split_into_the_same(a in "[ab/:0-9é]{0,8}", b in "[ab/:0-9é]{0,8}", c in "[ab/:0-9é]{0,8}") {
            let [a, b, c] = [a.as_str(), b.as_str(), c.as_str()];
            let joined = join([a, b, c]);
            prop_assert_eq!(split(&joined), Some([a, b, c]));
        }

        #[test]
        fn any_text_is_split_or_refused(text in "[0-9/a:é]{0,12}") {
            let _ = split::<3>(&text);
        }
    }
}
