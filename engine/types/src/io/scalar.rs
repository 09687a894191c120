//! Booleans, integers and object numbers; and what all input functions share.

use crate::datum::Datum;
use crate::error::{PgError, PgResult};
use crate::sqlstate::SqlState;

/// The error for text that is no value of the type at all.
#[cold]
pub(crate) fn invalid_syntax(type_name: &str, text: &str) -> PgError {
    PgError::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

/// Whether C's `isspace` holds: what the input functions of numbers skip around the value.
pub(crate) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// `text` without blanks around it.
pub(crate) fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| u8::try_from(c).is_ok_and(is_space))
}

/// `bool` takes any unambiguous prefix of true, false, yes, no, on, off, and 1 and 0.
pub(crate) fn bool_in(text: &str) -> PgResult<Datum> {
    parse_bool(trim(text)).map(Datum::Bool).ok_or_else(|| invalid_syntax("boolean", text))
}

/// The boolean that `word` spells, also in settings.
pub fn parse_bool(word: &str) -> Option<bool> {
    let is_prefix = |full: &str, at_least: usize| {
        word.len() >= at_least && word.len() <= full.len() && full[..word.len()].eq_ignore_ascii_case(word)
    };
    if word == "1" || is_prefix("true", 1) || is_prefix("yes", 1) || is_prefix("on", 2) {
        Some(true)
    } else if word == "0" || is_prefix("false", 1) || is_prefix("no", 1) || is_prefix("off", 2) {
        Some(false)
    } else {
        None
    }
}

pub(crate) fn int2_in(text: &str) -> PgResult<Datum> {
    let value = parse_int(text, "smallint", i64::from(i16::MIN))?;
    i16::try_from(value).map(Datum::Int2).map_err(|_| int_out_of_range(text, "smallint"))
}

pub(crate) fn int4_in(text: &str) -> PgResult<Datum> {
    let value = parse_int(text, "integer", i64::from(i32::MIN))?;
    i32::try_from(value).map(Datum::Int4).map_err(|_| int_out_of_range(text, "integer"))
}

pub(crate) fn int8_in(text: &str) -> PgResult<Datum> {
    parse_int(text, "bigint", i64::MIN).map(Datum::Int8)
}

#[cold]
pub(crate) fn int_out_of_range(text: &str, type_name: &str) -> PgError {
    PgError::new(
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
        format!("value \"{text}\" is out of range for type {type_name}"),
    )
}

/// An integer in decimal, or in `0x`, `0o`, `0b` notation; single underscores may stand between digits. `min` is the
/// type's minimum: as in PostgreSQL, a number found too long is out of range whatever follows it.
fn parse_int(text: &str, type_name: &str, min: i64) -> PgResult<i64> {
    let body = trim(text);
    let (negative, digits) = match body.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (radix, mut digits, mut may_underscore) = match digits {
        [b'0', b'x' | b'X', rest @ ..] => (16, rest, true),
        [b'0', b'o' | b'O', rest @ ..] => (8, rest, true),
        [b'0', b'b' | b'B', rest @ ..] => (2, rest, true),
        rest => (10, rest, false),
    };
    if digits.is_empty() {
        return Err(invalid_syntax(type_name, text));
    }
    let limit = min.unsigned_abs() / u64::from(radix);
    let mut value = 0u64;
    while let [first, rest @ ..] = digits {
        match (*first as char).to_digit(radix) {
            Some(_) if value > limit => return Err(int_out_of_range(text, type_name)),
            Some(digit) => {
                // At most 2^63 + radix: far from the end of u64.
                value = value * u64::from(radix) + u64::from(digit);
                may_underscore = true;
            }
            None if *first == b'_' && may_underscore && !rest.is_empty() => may_underscore = false,
            None => return Err(invalid_syntax(type_name, text)),
        }
        digits = rest;
    }
    let value = if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() };
    value.ok_or_else(|| int_out_of_range(text, type_name))
}

/// `oid`: unsigned, in C's notation (so `010` is eight); a negative number stands for its two's complement.
pub(crate) fn oid_in(text: &str) -> PgResult<u32> {
    let body = trim(text);
    let (negative, digits) = match body.strip_prefix(['-', '+']) {
        Some(rest) => (body.starts_with('-'), rest),
        None => (false, body),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(invalid_syntax("oid", text));
    }
    let value = i64::from_str_radix(digits, radix).ok().map(|v| if negative { -v } else { v });
    match value {
        Some(v) if v >= i64::from(i32::MIN) && v <= i64::from(u32::MAX) => Ok(v as u32),
        _ => Err(int_out_of_range(text, "oid")),
    }
}

pub(crate) fn int_out(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The bytes of a binary value of fixed length.
pub(crate) fn fixed<const N: usize>(bytes: &[u8]) -> PgResult<[u8; N]> {
    bytes.try_into().map_err(|_| {
        if bytes.len() < N {
            PgError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message")
        } else {
            PgError::new(SqlState::INVALID_BINARY_REPRESENTATION, "incorrect binary data format")
        }
    })
}

/// Text in a message must be UTF-8 and free of zero bytes.
pub(crate) fn utf8(bytes: &[u8]) -> PgResult<&str> {
    let invalid = |at: usize| {
        let len = match bytes[at] {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => 1,
        };
        let shown: Vec<String> = bytes[at..].iter().take(len).map(|b| format!("0x{b:02x}")).collect();
        PgError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" ")),
        )
    };
    let text = std::str::from_utf8(bytes).map_err(|e| invalid(e.valid_up_to()))?;
    match memchr::memchr(0, bytes) {
        Some(at) => Err(invalid(at)),
        None => Ok(text),
    }
}
