//! Text that people and servers supply: its checks on entry, and its escaping on output.
//!
//! Control and format characters move a cursor, begin a line or change the order of letters.
//! Whoever writes them decides what the next reader sees. They are refused on entry and escaped on
//! output, whoever let them in.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;

/// Longest reason, note and comment, in characters.
pub const LONGEST_NOTE: usize = 2_000;
/// Longest number of a ticket, in characters.
pub const LONGEST_TICKET: usize = 256;
/// Longest text in an entry of the log, in characters: an error of a server, a list as one text.
/// Longer texts are cut.
pub const LONGEST_DETAIL: usize = 4_000;

/// A text that cannot be taken. The error says which character is wrong, and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The text is too long.
    #[error("the {what} has more than {longest} characters: shorten it")]
    Long {
        /// Kind of text that was expected, in the user's words.
        what: &'static str,
        /// Largest number of characters that it may have.
        longest: usize,
    },
    /// The text holds a character that cannot be seen.
    #[error(
        "character {place} of the {what} is U+{code:04X}, which cannot be seen or moves what is shown: leave it out"
    )]
    Unseen {
        /// Kind of text that was expected, in the user's words.
        what: &'static str,
        /// Place of the character, counted from 1.
        place: usize,
        /// Number of the character in Unicode.
        code: u32,
    },
}

/// Returns the message of an error with its causes, each of them once.
#[must_use]
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// Returns the text if it has at most `longest` characters, all of which can be seen.
///
/// # Errors
/// [`TextError`] says what is wrong with the text. It does not repeat the text itself.
pub fn taken<'t>(what: &'static str, text: &'t str, longest: usize) -> Result<&'t str, TextError> {
    // a character has at most four bytes, so the characters of a far too long text are not counted
    if text.len() > longest.saturating_mul(4) || text.chars().count() > longest {
        return Err(TextError::Long { what, longest });
    }
    match text.chars().zip(1..).find(|(character, _)| !is_seen(*character)) {
        Some((character, place)) => Err(TextError::Unseen { what, place, code: u32::from(character) }),
        None => Ok(text),
    }
}

/// Checks whether the character is shown as itself and changes nothing around it. It must not be a
/// control character (Cc), a format character (Cf) or a separator of lines or paragraphs (Zl, Zp).
/// Characters to which Unicode gives no meaning (Co, Cn) fail too. Format characters turn the order
/// of letters around, or are invisible.
#[must_use]
pub fn is_seen(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    if is_wide_space(character) {
        return true;
    }
    // behind a letter, the standard library escapes exactly the characters that have no printed
    // form; at the beginning also accents
    let mut bytes = [b'a', 0, 0, 0, 0];
    let Some(place) = bytes.get_mut(1..) else { return false };
    let length = character.encode_utf8(place).len().saturating_add(1);
    let text = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
    text.escape_debug().eq(text.chars())
}

/// Checks whether the character is a space other than the one of ASCII (Zs). It is fine in a text,
/// but not in a name.
pub(crate) fn is_wide_space(character: char) -> bool {
    matches!(character, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}')
}

/// Returns the text on one line, with every character escaped that is not [seen](is_seen): `\n`,
/// `\u{202e}`. Text that is escaped already stays as it is.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    written(text, |_| false, |character, into| into.extend(character.escape_debug()))
}

/// Escapes the text, but keeps line ends, which are the product's own.
fn escaped_lines(text: &str) -> Cow<'_, str> {
    written(text, |character| character == '\n', |character, into| into.extend(character.escape_debug()))
}

/// Escapes the same characters in JSON's own way. They occur only in its strings, so the meaning of
/// the JSON stays.
fn escaped_json(text: &str) -> Cow<'_, str> {
    written(
        text,
        |character| character == '\n',
        |character, into| {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // writing to a string cannot fail
                let _ = write!(into, "\\u{unit:04x}");
            }
        },
    )
}

fn written(text: &str, kept: impl Fn(char) -> bool, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    let fine = |character: char| is_seen(character) || kept(character);
    if text.chars().all(fine) {
        return Cow::Borrowed(text);
    }
    let mut into = String::with_capacity(text.len().saturating_add(16));
    for character in text.chars() {
        if fine(character) {
            into.push(character);
        } else {
            escape(character, &mut into);
        }
    }
    Cow::Owned(into)
}

/// Returns the text, without its end if it has more than `longest` characters.
#[must_use]
pub fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    match text.char_indices().nth(longest.saturating_sub(1)) {
        Some((end, last)) if text.len() > end.saturating_add(last.len_utf8()) => {
            Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
        }
        _ => Cow::Borrowed(text),
    }
}

/// Kind of text that a [`TextWriter`] writes: it says what is left unescaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Written {
    /// Keeps line ends; for texts that the program lays out itself.
    Lines,
    /// Keeps only the end of the last line, so that each write is one line. For a log.
    OneLine,
    /// Keeps JSON readable, with one object a line.
    Json,
}

/// Writes text to a terminal, a file or a log, and escapes what is not [seen](is_seen). Bytes that
/// are not UTF-8 are written as U+FFFD.
///
/// Every program output goes through such a writer, so that nothing that others wrote reaches a
/// terminal unescaped.
#[derive(Debug)]
pub struct TextWriter<W> {
    to: W,
    how: Written,
}

impl<W: io::Write> TextWriter<W> {
    /// Makes a writer to this output.
    pub fn new(to: W, how: Written) -> Self {
        Self { to, how }
    }
}

impl<W: io::Write> io::Write for TextWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        match self.how {
            Written::Lines => self.to.write_all(escaped_lines(&text).as_bytes())?,
            Written::Json => self.to.write_all(escaped_json(&text).as_bytes())?,
            Written::OneLine => {
                let (line, end) = match text.strip_suffix('\n') {
                    Some(line) => (line, "\n"),
                    None => (&*text, ""),
                };
                self.to.write_all(escaped(line).as_bytes())?;
                self.to.write_all(end.as_bytes())?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    /// Ranges of Cc, Cf, Zl and Zp in Unicode 16, written down independently of the code under
    /// test.
    const UNSEEN: &[(u32, u32)] = &[
        (0x0, 0x1f),
        (0x7f, 0x9f),
        (0xad, 0xad),
        (0x600, 0x605),
        (0x61c, 0x61c),
        (0x6dd, 0x6dd),
        (0x70f, 0x70f),
        (0x890, 0x891),
        (0x8e2, 0x8e2),
        (0x180e, 0x180e),
        (0x200b, 0x200f),
        (0x2028, 0x202e),
        (0x2060, 0x2064),
        (0x2066, 0x206f),
        (0xfeff, 0xfeff),
        (0xfff9, 0xfffb),
        (0x110bd, 0x110bd),
        (0x110cd, 0x110cd),
        (0x13430, 0x1343f),
        (0x1bca0, 0x1bca3),
        (0x1d173, 0x1d17a),
        (0xe0001, 0xe0001),
        (0xe0020, 0xe007f),
    ];

    fn unseen(character: char) -> bool {
        UNSEEN.iter().any(|(from, to)| (*from..=*to).contains(&u32::from(character)))
    }

    #[test]
    fn no_character_that_moves_what_is_shown_counts_as_seen() {
        for (from, to) in UNSEEN {
            for character in (*from..=*to).filter_map(char::from_u32) {
                assert!(!is_seen(character), "U+{:04X}", u32::from(character));
            }
        }
        for character in "aZ09 ~\"'\\`ßéñ日本語अΩЖ🙂→…\u{301}\u{a0}\u{3000}".chars() {
            assert!(is_seen(character), "U+{:04X}", u32::from(character));
        }
        assert!(!is_seen('\u{e000}') && !is_seen('\u{378}'), "for private use, and unassigned");
    }

    #[test]
    fn a_refusal_says_which_character_and_where() {
        assert_eq!(taken("note", "a b", 3), Ok("a b"));
        assert_eq!(taken("note", "abcd", 3), Err(TextError::Long { what: "note", longest: 3 }));
        let error = taken("note", "é\u{202e}x", 9).unwrap_err();
        assert_eq!(
            error.to_string(),
            "character 2 of the note is U+202E, which cannot be seen or moves what is shown: leave it out"
        );
    }

    #[test]
    fn what_is_cut_says_so() {
        assert_eq!((cut("abc", 3), cut("abcd", 3), cut("", 3)), ("abc".into(), "ab…".into(), "".into()));
    }

    fn through(how: Written, text: &str) -> String {
        let mut bytes = Vec::new();
        TextWriter::new(&mut bytes, how).write_all(text.as_bytes()).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_of_a_log_stays_one_line() {
        assert_eq!(through(Written::OneLine, "a\nb\u{1b}[2J\n"), "a\\nb\\u{1b}[2J\n");
        assert_eq!(through(Written::Lines, "a\nb\r\u{9b}2J\n"), "a\nb\\r\\u{9b}2J\n");
    }

    proptest! {
        #[test]
        fn nothing_unseen_comes_out(text in any::<String>()) {
            for how in [Written::Lines, Written::OneLine, Written::Json] {
                let out = through(how, &text);
                prop_assert!(!out.chars().any(|character| character != '\n' && unseen(character)), "{out:?}");
                prop_assert_eq!(through(how, &out), out, "what is escaped once stays as it is");
            }
            let line = escaped(&text).into_owned();
            prop_assert!(!line.chars().any(unseen), "{line:?}");
            prop_assert_eq!(&escaped(&line), &line);
            prop_assert!(cut(&text, 5).chars().count() <= 5);
        }

        #[test]
        fn json_says_the_same_as_before(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<String>(&through(Written::Json, &json)).unwrap(), text);
        }

        #[test]
        fn what_is_taken_is_printed_as_it_is(text in "\\PC{0,20}") {
            if taken("text", &text, 20).is_ok() {
                prop_assert_eq!(&*escaped(&text), &*text);
            }
        }
    }
}
