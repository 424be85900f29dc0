//! Tokens of a batch.

use crate::SqlError;

/// Token of Transact-SQL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    /// Name or keyword as written.
    Word(String),
    /// Name in brackets or double quotes: never a keyword.
    Quoted(String),
    Text {
        text: String,
        national: bool,
    },
    Number(String),
    Hex(String),
    Variable(String),
    Global(String),
    Sign(&'static str),
    End,
}

/// Operators and signs. Those of two characters come first, so that the longest one matches.
const SIGNS: [&str; 34] = [
    "<>", "!=", "<=", ">=", "!<", "!>", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "::", "(", ")", ",", ";", ".",
    "=", "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "~", ":", "$",
];

/// Splits a batch into its tokens with their line numbers.
pub(crate) fn lex(sql: &str) -> Result<Vec<(Token, u32)>, SqlError> {
    let chars: Vec<char> = sql.chars().collect();
    let (mut at, mut line, mut out) = (0, 1_u32, Vec::new());
    let get = |i: usize| chars.get(i).copied().unwrap_or('\0');
    while at < chars.len() {
        let c = get(at);
        if c == '\n' {
            line += 1;
        }
        if c.is_whitespace() || c == '\u{feff}' {
            at += 1;
        } else if c == '-' && get(at + 1) == '-' {
            while at < chars.len() && get(at) != '\n' {
                at += 1;
            }
        } else if c == '/' && get(at + 1) == '*' {
            // comments nest
            let mut depth = 0;
            loop {
                if at >= chars.len() {
                    return Err(SqlError::new(113, "Missing end comment mark '*/'.").at(line));
                }
                match (get(at), get(at + 1)) {
                    ('/', '*') => (depth, at) = (depth + 1, at + 2),
                    ('*', '/') => (depth, at) = (depth - 1, at + 2),
                    (other, _) => {
                        line += u32::from(other == '\n');
                        at += 1;
                    }
                }
                if depth == 0 {
                    break;
                }
            }
        } else if c == '\'' || ((c == 'N' || c == 'n') && get(at + 1) == '\'') {
            let national = c != '\'';
            let (text, next) = quoted(&chars, at + usize::from(national), '\'').ok_or_else(|| {
                let rest: String = chars[at..].iter().take(20).collect();
                SqlError::new(
                    105,
                    format!("Unclosed quotation mark after the character string '{}'.", rest.trim_matches('\'')),
                )
                .at(line)
            })?;
            out.push((Token::Text { text, national }, line));
            at = next;
        } else if c == '[' || c == '"' {
            let (text, next) = quoted(&chars, at, if c == '[' { ']' } else { '"' })
                .ok_or_else(|| SqlError::new(105, "Unclosed quotation mark after the character string ''.").at(line))?;
            if text.is_empty() {
                return Err(SqlError::new(1038, "An object or column name is missing or empty.").at(line));
            }
            if text.chars().count() > 128 {
                let start: String = text.chars().take(128).collect();
                return Err(SqlError::new(
                    103,
                    format!("The identifier that starts with '{start}' is too long. Maximum length is 128."),
                )
                .at(line));
            }
            out.push((Token::Quoted(text), line));
            at = next;
        } else if c == '0' && matches!(get(at + 1), 'x' | 'X') {
            let end = (at + 2..chars.len()).find(|i| !get(*i).is_ascii_hexdigit()).unwrap_or(chars.len());
            out.push((Token::Hex(chars[at + 2..end].iter().collect()), line));
            at = end;
        } else if c.is_ascii_digit() || (c == '.' && get(at + 1).is_ascii_digit()) {
            let end = (at..chars.len()).find(|i| !(get(*i).is_ascii_digit() || get(*i) == '.')).unwrap_or(chars.len());
            out.push((Token::Number(chars[at..end].iter().collect()), line));
            at = end;
        } else if c == '@' || c == '_' || c == '#' || c.is_alphabetic() {
            let end = (at..chars.len())
                .find(|i| !(get(*i).is_alphanumeric() || matches!(get(*i), '_' | '@' | '#' | '$')))
                .unwrap_or(chars.len());
            let word: String = chars[at..end].iter().collect();
            let token = if let Some(global) = word.strip_prefix("@@") {
                Token::Global(global.to_lowercase())
            } else if word.starts_with('@') {
                Token::Variable(word.to_lowercase())
            } else if word.chars().count() > 128 {
                let start: String = word.chars().take(128).collect();
                return Err(SqlError::new(
                    103,
                    format!("The identifier that starts with '{start}' is too long. Maximum length is 128."),
                )
                .at(line));
            } else {
                Token::Word(word)
            };
            out.push((token, line));
            at = end;
        } else {
            let two: String = [c, get(at + 1)].iter().collect();
            let Some(sign) = SIGNS.iter().find(|s| two == **s).or_else(|| SIGNS.iter().find(|s| **s == c.to_string()))
            else {
                return Err(SqlError::new(102, format!("Incorrect syntax near '{c}'.")).at(line));
            };
            out.push((Token::Sign(sign), line));
            at += sign.chars().count();
        }
    }
    out.push((Token::End, line));
    Ok(out)
}

/// Returns the text between quotes, where a doubled closing quote stands for one.
fn quoted(chars: &[char], open: usize, close: char) -> Option<(String, usize)> {
    let (mut at, mut text) = (open + 1, String::new());
    loop {
        let c = *chars.get(at)?;
        if c == close {
            if chars.get(at + 1) != Some(&close) {
                return Some((text, at + 1));
            }
            at += 1;
        }
        text.push(c);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_double_their_closing_mark() {
        let words = lex("[a]]b] N'it''s' @@SPID /* x /* y */ */ -- z\n0x0F").unwrap();
        let plain: Vec<Token> = words.into_iter().map(|w| w.0).collect();
        assert_eq!(plain[0], Token::Quoted("a]b".into()));
        assert_eq!(plain[1], Token::Text { text: "it's".into(), national: true });
        assert_eq!(plain[2], Token::Global("spid".into()));
        assert_eq!(plain[3], Token::Hex("0F".into()));
    }

    #[test]
    fn a_name_beyond_128_is_refused() {
        assert_eq!(lex(&format!("[{}]", "x".repeat(129))).unwrap_err().number, 103);
    }
}
