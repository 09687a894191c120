//! The text form of `numeric`.

use crate::error::PgResult;
use crate::io::scalar::{invalid_syntax, trim};
use crate::numeric::big::DEC_DIGITS;
use crate::numeric::{BigNumeric, Numeric, SCALE_MAX, WEIGHT_MAX, overflow};

impl Numeric {
    /// Reads a number: decimal with an optional exponent, an integer in `0x`, `0o`, `0b` notation, `NaN`, or an infinity.
    pub fn parse(text: &str) -> PgResult<Numeric> {
        let body = trim(text);
        if let Some(small) = parse_small(body.as_bytes()) {
            return Ok(small);
        }
        let syntax = || invalid_syntax("numeric", text);
        let (negative, unsigned) = match body.strip_prefix(['-', '+']) {
            Some(rest) => (body.starts_with('-'), rest),
            None => (false, body),
        };
        if unsigned.eq_ignore_ascii_case("infinity") || unsigned.eq_ignore_ascii_case("inf") {
            return Ok(if negative { Numeric::NegInf } else { Numeric::PosInf });
        }
        if body.eq_ignore_ascii_case("nan") {
            return Ok(Numeric::NaN);
        }
        let number = match unsigned.as_bytes() {
            [b'0', b'x' | b'X', rest @ ..] => parse_radix(rest, 16),
            [b'0', b'o' | b'O', rest @ ..] => parse_radix(rest, 8),
            [b'0', b'b' | b'B', rest @ ..] => parse_radix(rest, 2),
            rest => parse_decimal(rest)?,
        };
        let mut number = number.ok_or_else(syntax)?;
        number.negative = negative && !number.is_zero();
        Ok(number.checked()?.into())
    }

    /// Appends the number, with as many decimals as its scale says.
    pub fn output(&self, out: &mut Vec<u8>) {
        match self {
            Numeric::NaN => out.extend_from_slice(b"NaN"),
            Numeric::PosInf => out.extend_from_slice(b"Infinity"),
            Numeric::NegInf => out.extend_from_slice(b"-Infinity"),
            Numeric::Small { units, scale } => output_small(*units, usize::from(*scale), out),
            Numeric::Big(big) => output_big(big, out),
        }
    }
}

impl std::fmt::Display for Numeric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::new();
        self.output(&mut out);
        f.write_str(std::str::from_utf8(&out).unwrap_or_default())
    }
}

fn output_small(units: i64, scale: usize, out: &mut Vec<u8>) {
    if units < 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(units.unsigned_abs()).as_bytes();
    if scale == 0 {
        return out.extend_from_slice(digits);
    }
    let whole = digits.len().saturating_sub(scale);
    out.extend_from_slice(if whole == 0 { b"0" } else { &digits[..whole] });
    out.push(b'.');
    out.extend(std::iter::repeat_n(b'0', scale.saturating_sub(digits.len())));
    out.extend_from_slice(&digits[whole..]);
}

fn output_big(big: &BigNumeric, out: &mut Vec<u8>) {
    if big.negative {
        out.push(b'-');
    }
    let four =
        |digit: u16| [digit / 1000, digit / 100 % 10, digit / 10 % 10, digit % 10].map(|d| b'0' + d as u8);
    if big.weight < 0 {
        out.push(b'0');
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(big.digit(0)).as_bytes());
        for at in 1..=big.weight {
            out.extend_from_slice(&four(big.digit(at)));
        }
    }
    if big.scale > 0 {
        out.push(b'.');
        let start = out.len();
        let mut at = big.weight + 1;
        while out.len() - start < usize::from(big.scale) {
            out.extend_from_slice(&four(big.digit(at)));
            at += 1;
        }
        out.truncate(start + usize::from(big.scale));
    }
}

/// Up to 18 digits with at most one point and a sign: nearly every number there is.
fn parse_small(body: &[u8]) -> Option<Numeric> {
    let (negative, digits) = match body {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.len() > 18 || !digits.iter().any(u8::is_ascii_digit) {
        return None;
    }
    let mut units = 0i64;
    let mut scale = None;
    for byte in digits {
        match byte {
            b'0'..=b'9' => {
                units = units * 10 + i64::from(byte - b'0');
                scale = scale.map(|s| s + 1);
            }
            b'.' if scale.is_none() => scale = Some(0),
            _ => return None,
        }
    }
    Some(Numeric::Small { units: if negative { -units } else { units }, scale: scale.unwrap_or(0) })
}

/// An integer in another base; underscores may stand before digits.
fn parse_radix(digits: &[u8], radix: u32) -> Option<BigNumeric> {
    let mut value = BigNumeric::default();
    let radix_number = BigNumeric::from_units(i128::from(radix), 0);
    let mut rest = digits;
    if rest.is_empty() {
        return None;
    }
    while let [first, after @ ..] = rest {
        let digit = match first {
            b'_' => None,
            byte => Some((*byte as char).to_digit(radix)?),
        };
        match digit {
            // A number that is too long already need not grow further.
            Some(_) if value.weight > WEIGHT_MAX => {}
            Some(digit) => {
                value = value.mul(&radix_number).add(&BigNumeric::from_units(i128::from(digit), 0));
            }
            None if after.first().is_some_and(u8::is_ascii_hexdigit) => {}
            None => return None,
        }
        rest = after;
    }
    Some(value)
}

/// Digits with a point and an exponent; underscores may stand between digits. `Ok(None)` is a syntax error.
fn parse_decimal(text: &[u8]) -> PgResult<Option<BigNumeric>> {
    let mut rest = text;
    let mut digits: Vec<u8> = Vec::with_capacity(text.len());
    let mut scale: Option<i64> = None;
    if let [b'.', after @ ..] = rest {
        scale = Some(0);
        rest = after;
    }
    if !rest.first().is_some_and(u8::is_ascii_digit) {
        return Ok(None);
    }
    while let [first, after @ ..] = rest {
        match first {
            b'0'..=b'9' => {
                digits.push(first - b'0');
                scale = scale.map(|s| s + 1);
            }
            b'.' if scale.is_none() && after.first() != Some(&b'_') => scale = Some(0),
            b'_' if after.first().is_some_and(u8::is_ascii_digit) => {}
            b'.' | b'_' => return Ok(None),
            _ => break,
        }
        rest = after;
    }
    let mut exponent = 0i64;
    if let [b'e' | b'E', after @ ..] = rest {
        let Some(value) = parse_exponent(after) else { return Ok(None) };
        exponent = value;
    } else if !rest.is_empty() {
        return Ok(None);
    }
    if exponent.abs() > i64::from(i32::MAX / 2) {
        return Err(overflow());
    }
    let fraction = scale.unwrap_or(0);
    from_decimals(&digits, fraction - exponent).map(Some)
}

/// The digits of an exponent, saturating.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if !rest.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let mut value = 0i64;
    while let [first, after @ ..] = rest {
        match first {
            b'0'..=b'9' => value = value.saturating_mul(10).saturating_add(i64::from(first - b'0')),
            b'_' if after.first().is_some_and(u8::is_ascii_digit) => {}
            _ => return None,
        }
        rest = after;
    }
    Some(if negative { -value } else { value })
}

/// `decimals * 10^-fraction`, showing `fraction` decimals (none if that is negative).
fn from_decimals(decimals: &[u8], fraction: i64) -> PgResult<BigNumeric> {
    let scale = fraction.max(0);
    let skip = decimals.iter().take_while(|d| **d == 0).count();
    let decimals = &decimals[skip..];
    if scale > i64::from(SCALE_MAX) {
        return Err(overflow());
    }
    let scale = scale as u16;
    if decimals.is_empty() {
        return Ok(BigNumeric::zero(scale));
    }
    // The power of ten of the first decimal.
    let power = decimals.len() as i64 - 1 - fraction;
    let weight = power.div_euclid(i64::from(DEC_DIGITS));
    if weight > i64::from(WEIGHT_MAX) {
        return Err(overflow());
    }
    // Fill up on the left, so that groups of four end at powers of 10,000.
    let lead = (3 - power.rem_euclid(4)) as usize;
    let total = (lead + decimals.len()).div_ceil(4);
    let at = |i: usize| i.checked_sub(lead).and_then(|i| decimals.get(i)).map_or(0, |d| u16::from(*d));
    let digits = (0..total)
        .map(|g| ((at(4 * g) * 10 + at(4 * g + 1)) * 10 + at(4 * g + 2)) * 10 + at(4 * g + 3))
        .collect();
    let mut number = BigNumeric { negative: false, weight: weight as i32, scale, digits };
    number.strip();
    Ok(number)
}
