//! `bytea`, `uuid`, `"char"` and `name`.

use crate::datum::Datum;
use crate::env::ByteaOutput;
use crate::error::{PgError, PgResult};
use crate::io::scalar::invalid_syntax;
use crate::sqlstate::SqlState;

/// The longest `name`, in bytes.
pub const NAME_LEN_MAX: usize = 63;

/// `bytea` in hex (`\x00ff`) or in escape form (`a\000\\`).
pub(crate) fn bytea_in(text: &str) -> PgResult<Vec<u8>> {
    match text.strip_prefix("\\x") {
        Some(hex) => decode_hex(hex),
        None => decode_escape(text.as_bytes()).ok_or_else(|| {
            PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea")
        }),
    }
}

/// Pairs of hexadecimal digits; blanks may stand between the pairs. Also `decode(text, 'hex')`.
pub fn decode_hex(hex: &str) -> PgResult<Vec<u8>> {
    let invalid = |message: String| PgError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let digit = |c: char| {
        c.to_digit(16).map(|d| d as u8).ok_or_else(|| invalid(format!("invalid hexadecimal digit: \"{c}\"")))
    };
    let mut out = Vec::with_capacity(hex.len() / 2);
    let mut chars = hex.chars();
    while let Some(high) = chars.next() {
        if matches!(high, ' ' | '\n' | '\t' | '\r') {
            continue;
        }
        let high = digit(high)?;
        let low =
            chars.next().ok_or_else(|| invalid("invalid hexadecimal data: odd number of digits".into()))?;
        out.push(high << 4 | digit(low)?);
    }
    Ok(out)
}

fn decode_escape(mut text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    while let [first, rest @ ..] = text {
        text = rest;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        match rest {
            [b'\\', rest @ ..] => {
                out.push(b'\\');
                text = rest;
            }
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                text = rest;
            }
            _ => return None,
        }
    }
    Some(out)
}

pub(crate) fn bytea_out(bytes: &[u8], format: ByteaOutput, out: &mut Vec<u8>) {
    match format {
        ByteaOutput::Hex => {
            out.extend_from_slice(b"\\x");
            hex_out(bytes, out);
        }
        ByteaOutput::Escape => escape_out(bytes, out),
    }
}

/// Appends `encode(bytes, 'escape')` as `bytea_output = escape` has it: bytes that are not printable ASCII in octal.
pub fn escape_out(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x20..=0x7e => out.push(*byte),
            _ => octal_out(*byte, out),
        }
    }
}

fn octal_out(byte: u8, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
}

/// Appends two hexadecimal digits a byte.
pub fn hex_out(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(2 * bytes.len());
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// `uuid`: 32 hexadecimal digits, hyphens after any even number of pairs, braces around it all or not.
pub(crate) fn uuid_in(text: &str) -> PgResult<Datum> {
    parse_uuid(text.as_bytes()).map(Datum::Uuid).ok_or_else(|| invalid_syntax("uuid", text))
}

fn parse_uuid(text: &[u8]) -> Option<[u8; 16]> {
    let (mut rest, braces) = match text {
        [b'{', rest @ ..] => (rest, true),
        rest => (rest, false),
    };
    let mut uuid = [0; 16];
    for (at, byte) in uuid.iter_mut().enumerate() {
        let [high, low, after @ ..] = rest else { return None };
        *byte = ((*high as char).to_digit(16)? << 4 | (*low as char).to_digit(16)?) as u8;
        rest = match after {
            [b'-', after @ ..] if at % 2 == 1 && at < 15 => after,
            after => after,
        };
    }
    match rest {
        [] if !braces => Some(uuid),
        [b'}'] if braces => Some(uuid),
        _ => None,
    }
}

pub(crate) fn uuid_out(uuid: &[u8; 16], out: &mut Vec<u8>) {
    for (group, range) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
        if group > 0 {
            out.push(b'-');
        }
        hex_out(&uuid[range], out);
    }
}

/// `"char"`: the first byte, or a byte in octal (`\101`); nothing is the zero byte.
pub(crate) fn char_in(text: &str) -> u8 {
    match text.as_bytes() {
        [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
            (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
        }
        bytes => bytes.first().copied().unwrap_or(0),
    }
}

pub(crate) fn char_out(byte: u8, out: &mut Vec<u8>) {
    match byte {
        0 => {}
        0x80.. => octal_out(byte, out),
        _ => out.push(byte),
    }
}

/// `name` silently loses what is past 63 bytes, whole characters.
pub fn truncate_name(text: &str) -> &str {
    if text.len() <= NAME_LEN_MAX {
        return text;
    }
    &text[..text.floor_char_boundary(NAME_LEN_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytea() {
        let message = |text: &str| bytea_in(text).map_err(|e| format!("{} {}", e.sqlstate, e.message));
        assert_eq!(message("\\x 01 02"), Ok(vec![1, 2]));
        assert_eq!(message("a\\001\\\\"), Ok(vec![b'a', 1, b'\\']));
        assert_eq!(message("\\x0g"), Err("22023 invalid hexadecimal digit: \"g\"".into()));
        assert_eq!(message("\\x012"), Err("22023 invalid hexadecimal data: odd number of digits".into()));
        assert_eq!(message("\\x0 1"), Err("22023 invalid hexadecimal digit: \" \"".into()));
        assert_eq!(message("a\\b"), Err("22P02 invalid input syntax for type bytea".into()));
        let mut out = Vec::new();
        bytea_out(b"a\\\x00\xff", ByteaOutput::Escape, &mut out);
        assert_eq!(out, b"a\\\\\\000\\377");
    }

    #[test]
    fn uuid() {
        let expected = b"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for text in [
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
            "A0EEBC99-9C0B4EF8-BB6D6BB9-BD380A11",
        ] {
            let uuid = parse_uuid(text.as_bytes()).unwrap_or_default();
            let mut out = Vec::new();
            uuid_out(&uuid, &mut out);
            assert_eq!(out, expected);
        }
        for bad in ["a0-ee", "", "a0eebc999c0b4ef8bb6d6bb9bd380a11}", "a-0eebc999c0b4ef8bb6d6bb9bd380a11"] {
            assert_eq!(
                uuid_in(bad).map_err(|e| e.message.clone()),
                Err(format!("invalid input syntax for type uuid: \"{bad}\""))
            );
        }
    }

    #[test]
    fn one_byte_and_names() {
        assert_eq!(char_in("\\377"), 255);
        assert_eq!(char_in("é"), 0xc3);
        assert_eq!(char_in(""), 0);
        assert_eq!(truncate_name(&"é".repeat(40)), "é".repeat(31));
    }
}
