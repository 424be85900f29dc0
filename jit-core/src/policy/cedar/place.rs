//! Places in a Cedar text.

use miette::Diagnostic;

/// Finds the beginning of each policy of the text, as byte offsets in its order. The text has to be
/// one that Cedar reads.
pub(super) fn starts(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = At::Between;
    let mut characters = text.char_indices().peekable();
    while let Some((offset, character)) = characters.next() {
        let comment = character == '/' && characters.peek().is_some_and(|(_, next)| *next == '/');
        match (at, character) {
            (At::Text, '\\') => {
                characters.next();
            }
            (At::Text, '"') => at = At::Policy,
            (At::Text, _) => {}
            _ if comment => while characters.next_if(|(_, next)| *next != '\n').is_some() {},
            (At::Policy, '"') => at = At::Text,
            (At::Policy, ';') => at = At::Between,
            (At::Between, character) if !character.is_whitespace() => {
                starts.push(offset);
                at = At::Policy;
            }
            _ => {}
        }
    }
    starts
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Between,
    Policy,
    /// The scan is between quotes.
    Text,
}

/// Returns the place that Cedar gives for the error, if it gives one.
pub(super) fn of(error: &dyn Diagnostic) -> Option<usize> {
    error.labels()?.next().map(|label| label.offset())
}

/// Returns Cedar's message and advice, on one line.
pub(super) fn words(error: &dyn Diagnostic) -> String {
    let mut words = error.to_string();
    if let Some(help) = error.help() {
        words.push_str(&format!(": {help}"));
    }
    words.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_begin_after_comments_and_semicolons_that_are_not_text() {
        let text = "// a; \"b\n@id(\"x;\\\";//\") permit(principal, action, resource); // ;\n\n forbid(principal, action, resource);";
        let second = text.find("forbid").unwrap();
        assert_eq!(starts(text), [9, second]);
        assert!(starts("  // nothing").is_empty());
    }
}
