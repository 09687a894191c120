//! What identifiers, strings and numbers stand for, read from their source text.

use std::sync::Arc;

use shardforge_types::SqlState;

use super::ast::Name;
use super::error::{PResult, ParseError};
use super::lexer::is_continuation_gap;

/// The longest identifier, in bytes.
const IDENTIFIER_BYTES_MAX: usize = 63;

/// An integer literal in any radix, if it fits 32 bits.
pub(super) fn integer(text: &str) -> Option<i32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => (&text[2..], 16),
        [b'0', b'o' | b'O', ..] => (&text[2..], 8),
        [b'0', b'b' | b'B', ..] => (&text[2..], 2),
        _ => (text, 10),
    };
    let mut value: i32 = 0;
    for b in digits.bytes().filter(|b| *b != b'_') {
        let digit = (b as char).to_digit(radix)?;
        value = value.checked_mul(radix as i32)?.checked_add(digit as i32)?;
    }
    Some(value)
}

/// The text of a number that is kept as text: without underscores.
pub(super) fn number(text: &str) -> Name {
    if text.contains('_') { Arc::from(text.replace('_', "")) } else { Arc::from(text) }
}

/// An unquoted identifier: folded to lower case (ASCII only, as for UTF-8 databases) and cut to 63 bytes.
pub(super) fn identifier(text: &str) -> Name {
    let text = truncate(text);
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Arc::from(text.to_ascii_lowercase())
    } else {
        Arc::from(text)
    }
}

/// Cut to 63 bytes, not inside a character.
fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(IDENTIFIER_BYTES_MAX.min(text.len()))]
}

/// A quoted identifier, given with its quotes.
pub(super) fn quoted_identifier(text: &str) -> Name {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains('"') {
        Arc::from(truncate(&inner.replace("\"\"", "\"")))
    } else {
        Arc::from(truncate(inner))
    }
}

/// The text inside a `$tag$...$tag$` string.
pub(super) fn dollar(text: &str) -> Name {
    let tag = text[1..].find('$').map_or(0, |i| i + 2);
    Arc::from(text.get(tag..text.len().saturating_sub(tag)).unwrap_or_default())
}

/// The contents of a quoted string and of its continuations, with doubled quotes undone but escapes kept.
/// `prefix` bytes come before the first quote.
fn segments(text: &str, prefix: usize, escapes: bool) -> String {
    let src = text.as_bytes();
    let mut out = Vec::with_capacity(src.len());
    let mut at = prefix + 1;
    while at < src.len() {
        match src[at] {
            b'\\' if escapes && at + 1 < src.len() => {
                out.extend_from_slice(&src[at..at + 2]);
                at += 2;
            }
            b'\'' if src.get(at + 1) == Some(&b'\'') => {
                out.push(b'\'');
                at += 2;
            }
            b'\'' => {
                // The end, or the gap before a continuation.
                let next =
                    (at + 1..src.len()).find(|i| src[*i] == b'\'' && is_continuation_gap(&src[at + 1..*i]));
                match next {
                    Some(i) => at = i + 1,
                    None => break,
                }
            }
            b => {
                out.push(b);
                at += 1;
            }
        }
    }
    // Only whole characters were copied: the cuts are at ASCII bytes.
    String::from_utf8_lossy(&out).into_owned()
}

/// A plain string literal.
pub(super) fn string(text: &str) -> Name {
    let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    if inner.contains('\'') { Arc::from(segments(text, 0, false)) } else { Arc::from(inner) }
}

/// `B'...'` as `b...`, `X'...'` as `x...`.
pub(super) fn bits(text: &str) -> Name {
    let kind = text[..1].to_ascii_lowercase();
    Arc::from(kind + &segments(text, 1, false))
}

/// An `E'...'` string; `pos` is where it stands in the text.
pub(super) fn escape_string(text: &str, pos: u32) -> PResult<Name> {
    let raw = segments(text, 1, true);
    if !raw.contains('\\') {
        return Ok(Arc::from(raw));
    }
    let src = raw.as_bytes();
    let mut out: Vec<u8> = Vec::with_capacity(src.len());
    let mut high: Option<u32> = None;
    let mut at = 0;
    while at < src.len() {
        if src[at] != b'\\' || at + 1 == src.len() {
            if high.is_some() {
                return Err(near(PAIR, &raw, at, 1, pos));
            }
            out.push(src[at]);
            at += 1;
            continue;
        }
        let escape = src[at + 1];
        at += 2;
        if matches!(escape, b'u' | b'U') {
            let len = if escape == b'u' { 4 } else { 8 };
            let code = hex(src.get(at..at + len)).ok_or_else(|| {
                let at = pos + at as u32;
                ParseError::new(SqlState::INVALID_ESCAPE_SEQUENCE, "invalid Unicode escape", at)
                    .hint("Unicode escapes must be \\uXXXX or \\UXXXXXXXX.")
            })?;
            push_code_point(&mut out, &mut high, code).map_err(|m| near(m, &raw, at - 2, len + 2, pos))?;
            at += len;
            continue;
        }
        if high.is_some() {
            return Err(near(PAIR, &raw, at - 2, 1, pos));
        }
        match escape {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                let mut value = u32::from(escape - b'0');
                let end = at + 2;
                while at < end && matches!(src.get(at), Some(b'0'..=b'7')) {
                    value = value * 8 + u32::from(src[at] - b'0');
                    at += 1;
                }
                out.push(value as u8);
            }
            b'x' if src.get(at).is_some_and(u8::is_ascii_hexdigit) => {
                let len = if src.get(at + 1).is_some_and(u8::is_ascii_hexdigit) { 2 } else { 1 };
                out.push(hex(src.get(at..at + len)).unwrap_or(0) as u8);
                at += len;
            }
            other => out.push(other),
        }
    }
    if high.is_some() {
        return Err(ParseError::syntax(format!("{PAIR} at or near \"'\""), pos + 2 + raw.len() as u32));
    }
    utf8(&out)
}

/// What is wrong with an escape in an E'' string: `offset` is that into the raw contents.
fn near(message: &str, raw: &str, offset: usize, len: usize, pos: u32) -> Box<ParseError> {
    let text = String::from_utf8_lossy(&raw.as_bytes()[offset..(offset + len).min(raw.len())]);
    ParseError::syntax(format!("{message} at or near \"{text}\""), pos + 2 + offset as u32)
}

const PAIR: &str = "invalid Unicode surrogate pair";

/// A `U&'...'` string or `U&"..."` identifier, with the escape character that UESCAPE names.
pub(super) fn unicode(text: &str, escape: char, pos: u32) -> PResult<Name> {
    let raw = match text.as_bytes().get(2) {
        Some(b'"') => text.get(3..text.len().saturating_sub(1)).unwrap_or_default().replace("\"\"", "\""),
        _ => segments(text, 2, false),
    };
    if !raw.contains(escape) {
        return Ok(Arc::from(raw));
    }
    let (escape, src) = (escape as u8, raw.as_bytes());
    let mut out = Vec::with_capacity(src.len());
    let mut high: Option<u32> = None;
    let mut at = 0;
    while at < src.len() {
        let doubled = src.get(at + 1) == Some(&escape);
        if src[at] != escape || doubled {
            if high.is_some() {
                return Err(ParseError::syntax(PAIR, pos + 3 + at as u32));
            }
            out.push(src[at]);
            at += 1 + usize::from(src[at] == escape && doubled);
            continue;
        }
        let plus = usize::from(src.get(at + 1) == Some(&b'+'));
        let (from, len) = (at + 1 + plus, if plus == 1 { 6 } else { 4 });
        let code = hex(src.get(from..from + len)).ok_or_else(|| {
            ParseError::syntax("invalid Unicode escape", pos + 3 + at as u32)
                .hint("Unicode escapes must be \\XXXX or \\+XXXXXX.")
        })?;
        push_code_point(&mut out, &mut high, code)
            .map_err(|message| ParseError::syntax(message, pos + 3 + at as u32))?;
        at = from + len;
    }
    if high.is_some() {
        return Err(ParseError::syntax(PAIR, pos + 3 + at as u32));
    }
    utf8(&out)
}

/// Append a code point; the first half of a surrogate pair waits in `high` for the second.
fn push_code_point(out: &mut Vec<u8>, high: &mut Option<u32>, code: u32) -> Result<(), &'static str> {
    let code = match (*high, code) {
        (Some(first), 0xDC00..=0xDFFF) => {
            *high = None;
            0x10000 + ((first - 0xD800) << 10) + (code - 0xDC00)
        }
        (None, 0xD800..=0xDBFF) => {
            *high = Some(code);
            return Ok(());
        }
        (Some(_), _) | (None, 0xDC00..=0xDFFF) => {
            return Err(PAIR);
        }
        (None, code) => code,
    };
    match char::from_u32(code).filter(|c| *c != '\0') {
        Some(c) => {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            Ok(())
        }
        None => Err("invalid Unicode escape value"),
    }
}

fn hex(digits: Option<&[u8]>) -> Option<u32> {
    let digits = digits?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What escapes made of a string must be text still.
fn utf8(bytes: &[u8]) -> PResult<Name> {
    let bad = match std::str::from_utf8(bytes) {
        Ok(text) => match text.find('\0') {
            None => return Ok(Arc::from(text)),
            Some(at) => &bytes[at..=at],
        },
        Err(e) => {
            let at = e.valid_up_to();
            let expected = match bytes[at] {
                0xC0..=0xDF => 2,
                0xE0..=0xEF => 3,
                0xF0..=0xF7 => 4,
                _ => 1,
            };
            &bytes[at..(at + expected).min(bytes.len())]
        }
    };
    let shown: Vec<String> = bad.iter().map(|b| format!("0x{b:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
    let mut error = ParseError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message, 0);
    error.pos = None;
    Err(error)
}
