//! LIKE and ILIKE.
//!
//! The matcher walks pattern and text together and backtracks only to the last `%`: a later one makes all earlier
//! choices good, so the time is bounded by the product of the lengths.

use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::args::Args;
use super::registry::KernelTable;

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("textlike",     |a, _, _| Ok(Datum::Bool(like(a.text(0)?, a.text(1)?)?))),
    ("textnlike",    |a, _, _| Ok(Datum::Bool(!like(a.text(0)?, a.text(1)?)?))),
    ("namelike",     |a, _, _| Ok(Datum::Bool(like(a.text(0)?, a.text(1)?)?))),
    ("namenlike",    |a, _, _| Ok(Datum::Bool(!like(a.text(0)?, a.text(1)?)?))),
    ("bytealike",    |a, _, _| Ok(Datum::Bool(like_bytes(a.bytea(0)?, a.bytea(1)?)?))),
    ("byteanlike",   |a, _, _| Ok(Datum::Bool(!like_bytes(a.bytea(0)?, a.bytea(1)?)?))),
    ("texticlike",   |a, _, _| Ok(Datum::Bool(ilike(a.text(0)?, a.text(1)?)?))),
    ("texticnlike",  |a, _, _| Ok(Datum::Bool(!ilike(a.text(0)?, a.text(1)?)?))),
    ("nameiclike",   |a, _, _| Ok(Datum::Bool(ilike(a.text(0)?, a.text(1)?)?))),
    ("nameicnlike",  |a, _, _| Ok(Datum::Bool(!ilike(a.text(0)?, a.text(1)?)?))),
    // The text of a bpchar is compared with its padding.
    ("like_escape",  |a, _, _| like_escape(a.text(0)?, a.text(1)?).map(Datum::text)),
    ("similar_to_escape_1", |a, _, _| similar_to_regex(a.text(0)?, Some("\\")).map(Datum::text)),
    ("similar_to_escape_2", |a, _, _| similar_to_regex(a.text(0)?, Some(a.text(1)?)).map(Datum::text)),
    ("similar_escape", |a, _, _| match (a.datum(0), a.datum(1)) {
        (Datum::Null, _) => Ok(Datum::Null),
        (_, Datum::Null) => similar_to_regex(a.text(0)?, Some("\\")).map(Datum::text),
        _ => similar_to_regex(a.text(0)?, Some(a.text(1)?)).map(Datum::text),
    }),
];

#[cold]
fn escape_at_end() -> PgError {
    PgError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "LIKE pattern must not end with escape character")
}

/// `text LIKE pattern` with backslash as the escape character.
pub(crate) fn like(text: &str, pattern: &str) -> PgResult<bool> {
    matches(text.as_bytes(), pattern.as_bytes(), true)
}

fn like_bytes(text: &[u8], pattern: &[u8]) -> PgResult<bool> {
    matches(text, pattern, false)
}

fn ilike(text: &str, pattern: &str) -> PgResult<bool> {
    like(&super::text::lower(text), &super::text::lower(pattern))
}

/// The length of the character (or, for bytea, byte) that starts with this byte.
fn char_len(first: u8, utf8: bool) -> usize {
    match first {
        _ if !utf8 => 1,
        0xF0.. => 4,
        0xE0.. => 3,
        0xC0.. => 2,
        _ => 1,
    }
}

fn matches(text: &[u8], pattern: &[u8], utf8: bool) -> PgResult<bool> {
    let (mut t, mut p) = (0, 0);
    // Where to go on after a mismatch: the pattern after the last '%', and the next place in the text to try.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match pattern.get(p) {
            Some(b'%') => {
                p += 1;
                if p == pattern.len() {
                    return Ok(true);
                }
                retry = Some((p, t));
                continue;
            }
            Some(b'_') if t < text.len() => {
                t += char_len(text[t], utf8);
                p += 1;
                continue;
            }
            // An escape character at the end is an error only where there is text left to compare.
            Some(b'\\') if t < text.len() => {
                let literal = *pattern.get(p + 1).ok_or_else(escape_at_end)?;
                if text.get(t) == Some(&literal) {
                    t += 1;
                    p += 2;
                    continue;
                }
            }
            Some(literal) if text.get(t) == Some(literal) && *literal != b'_' => {
                t += 1;
                p += 1;
                continue;
            }
            None if t == text.len() => return Ok(true),
            _ => {}
        }
        match retry {
            Some((after, from)) if from < text.len() => {
                let from = from + char_len(text[from], utf8);
                (p, t) = (after, from);
                retry = Some((after, from));
            }
            _ => return Ok(false),
        }
    }
}

/// Rewrites a pattern with another escape character into one with backslash.
fn like_escape(pattern: &str, escape: &str) -> PgResult<String> {
    let escape = escape_char(escape)?;
    let mut result = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if Some(c) == escape {
            result.push('\\');
            if c == '\\' || escape != Some('\\') {
                // What follows is literal, whatever it is.
                if let Some(next) = chars.next() {
                    result.push(next);
                }
            }
        } else if c == '\\' {
            result.push_str("\\\\");
        } else {
            result.push(c);
        }
    }
    Ok(result)
}

fn escape_char(escape: &str) -> PgResult<Option<char>> {
    let mut chars = escape.chars();
    match (chars.next(), chars.next()) {
        (first, None) => Ok(first),
        _ => Err(PgError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid escape string")
            .hint("Escape string must be empty or one character.")),
    }
}

/// Translates a SIMILAR TO pattern into an advanced regular expression, anchored at both ends. Two escaped double
/// quotes divide it into three parts, of which `substring(text similar pattern escape e)` answers the middle one.
pub(super) fn similar_to_regex(pattern: &str, escape: Option<&str>) -> PgResult<String> {
    let escape = match escape {
        Some(escape) => escape_char(escape)?,
        None => Some('\\'),
    };
    let mut result = String::from("^(?:");
    let mut after_escape = false;
    let mut in_bracket = 0usize;
    let mut bracket_start = false;
    let mut separators = 0;
    for c in pattern.chars() {
        if after_escape {
            if c == '"' && in_bracket == 0 {
                match separators {
                    0 => result.push_str("){1,1}?("),
                    1 => result.push_str("){1,1}(?:"),
                    _ => {
                        return Err(PgError::new(
                            SqlState::INVALID_USE_OF_ESCAPE_CHARACTER,
                            "SQL regular expression may not contain more than two escape-double-quote separators",
                        ));
                    }
                }
                separators += 1;
            } else {
                result.push('\\');
                result.push(c);
            }
            after_escape = false;
        } else if Some(c) == escape {
            after_escape = true;
        } else if in_bracket > 0 {
            if c == '\\' {
                result.push('\\');
            }
            result.push(c);
            match c {
                ']' if !bracket_start => in_bracket -= 1,
                '[' => in_bracket += 1,
                _ => {}
            }
            bracket_start = bracket_start && c == '^';
        } else {
            match c {
                '[' => {
                    result.push('[');
                    in_bracket = 1;
                    bracket_start = true;
                }
                '%' => result.push_str(".*"),
                '_' => result.push('.'),
                '(' => result.push_str("(?:"),
                '\\' | '.' | '^' | '$' => {
                    result.push('\\');
                    result.push(c);
                }
                c => result.push(c),
            }
        }
    }
    result.push_str(")$");
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_patterns() {
        for (text, pattern, expected) in [
            ("", "", true),
            ("", "%", true),
            ("abc", "a%", true),
            ("abc", "_b_", true),
            ("abc", "%b", false),
            ("aXbXc", "a%X_", true),
            ("50%", "50\\%", true),
            ("500", "50\\%", false),
            ("añb", "a_b", true),
            ("mississippi", "m%iss%ip%i", true),
            ("a_b", "a\\_b", true),
            ("ab", "a_b", false),
            ("_", "_", true),
        ] {
            assert_eq!(like(text, pattern).unwrap(), expected, "{text} LIKE {pattern}");
        }
        assert!(like("ab", "a\\").is_err());
        assert!(!like("a", "a\\").unwrap());
    }

    #[test]
    fn other_escapes() {
        assert_eq!(like_escape("a#%b", "#").unwrap(), "a\\%b");
        assert_eq!(like_escape("a\\b", "#").unwrap(), "a\\\\b");
        assert_eq!(like_escape("a\\b", "").unwrap(), "a\\\\b");
        assert!(like_escape("a", "##").is_err());
    }
}
