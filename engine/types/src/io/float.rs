//! `float4` and `float8`: read as C's `strtod` reads them, written in the shortest form that reads back the same.

use crate::error::{PgError, PgResult};
use crate::io::scalar::{invalid_syntax, is_space};
use crate::sqlstate::SqlState;

/// Reads a `float8`.
pub fn parse_float8(text: &str) -> PgResult<f64> {
    parse(text, "double precision", |digits| digits.parse().ok(), f64::is_infinite, |v| v == 0.0)
}

/// Reads a `float4`, rounding once.
pub fn parse_float4(text: &str) -> PgResult<f32> {
    parse(text, "real", |digits| digits.parse().ok(), f32::is_infinite, |v| v == 0.0)
}

fn parse<F: Copy>(
    text: &str,
    type_name: &str,
    convert: impl Fn(&str) -> Option<F>,
    is_infinite: impl Fn(F) -> bool,
    is_zero: impl Fn(F) -> bool,
) -> PgResult<F> {
    let syntax = || invalid_syntax(type_name, text);
    let body = text.trim_start_matches(|c: char| u8::try_from(c).is_ok_and(is_space));
    let len = number_len(body).ok_or_else(syntax)?;
    let (number, rest) = body.split_at(len);
    if !rest.bytes().all(is_space) {
        return Err(syntax());
    }
    let unsigned = number.trim_start_matches(['+', '-']);
    if unsigned.starts_with(['i', 'I', 'n', 'N']) {
        return convert(number).ok_or_else(syntax);
    }
    let value = if let [b'0', b'x' | b'X', ..] = unsigned.as_bytes() {
        let value = hex_float(&unsigned[2..]).ok_or_else(syntax)?;
        let sign = if number.starts_with('-') { "-" } else { "" };
        convert(&format!("{sign}{value:e}")).ok_or_else(syntax)?
    } else {
        convert(number).ok_or_else(syntax)?
    };
    let nonzero = unsigned
        .split(['e', 'E', 'p', 'P'])
        .next()
        .is_some_and(|m| m.trim_start_matches("0x").bytes().any(|b| b.is_ascii_hexdigit() && b != b'0'));
    if is_infinite(value) || (is_zero(value) && nonzero) {
        return Err(PgError::new(
            SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
            format!("\"{number}\" is out of range for type {type_name}"),
        ));
    }
    Ok(value)
}

/// The length of the longest number that `text` starts with.
fn number_len(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let body = &bytes[sign..];
    for word in ["infinity", "inf", "nan"] {
        if body.len() >= word.len() && body[..word.len()].eq_ignore_ascii_case(word.as_bytes()) {
            return Some(sign + word.len());
        }
    }
    let (radix_len, is_digit, exponent): (usize, fn(&u8) -> bool, [u8; 2]) = match body {
        [b'0', b'x' | b'X', next, ..] if next.is_ascii_hexdigit() || *next == b'.' => {
            (2, u8::is_ascii_hexdigit, *b"pP")
        }
        _ => (0, u8::is_ascii_digit, *b"eE"),
    };
    let count = |from: usize| body[from..].iter().take_while(|b| is_digit(b)).count();
    let mut at = radix_len + count(radix_len);
    let mut digits = at - radix_len;
    if body.get(at) == Some(&b'.') {
        let fraction = count(at + 1);
        digits += fraction;
        at += 1 + fraction;
    }
    if digits == 0 {
        return None;
    }
    if body.get(at).is_some_and(|b| exponent.contains(b)) {
        let sign = usize::from(matches!(body.get(at + 1), Some(b'+' | b'-')));
        let digits = body[at + 1 + sign..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits > 0 {
            at += 1 + sign + digits;
        }
    }
    Some(sign + at)
}

/// A hexadecimal number `h.hhhp±d`, without sign and prefix. Digits past the sixteenth do not count.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // Far past the range of floats either way, and far from overflowing in what follows.
    let limit = 1 << 28;
    let beyond = if exponent.starts_with('-') { -limit } else { limit };
    let mut exponent = exponent.parse::<i32>().unwrap_or(beyond).clamp(-limit, limit);
    let mut value = 0u64;
    for (place, digit) in whole.chars().chain(fraction.chars()).enumerate() {
        let in_fraction = place >= whole.len();
        if value >> 60 == 0 {
            value = value << 4 | u64::from(digit.to_digit(16)?);
            exponent -= if in_fraction { 4 } else { 0 };
        } else {
            exponent += if in_fraction { 0 } else { 4 };
        }
    }
    // In two steps, so that neither power of two overflows while the product does not.
    let exponent = exponent.clamp(-2000, 2000);
    Some(value as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2))
}

/// Appends a `float8`.
pub fn float8_out(value: f64, extra_float_digits: i32, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return special_out(value, out);
    }
    if extra_float_digits > 0 {
        let bits = value.to_bits();
        let binary = Binary::new(bits >> 52 & 0x7FF, bits & ((1 << 52) - 1), 52, 1075);
        let exact = |precision: usize| {
            let text = format!("{value:.precision$e}");
            (text.parse() == Ok(value)).then_some(text)
        };
        shortest_out(ryu::Buffer::new().format_finite(value), &binary, exact, 15, out);
    } else {
        general_out(value, (15 + extra_float_digits).max(1).cast_unsigned() as usize, out);
    }
}

/// Appends a `float4`.
pub fn float4_out(value: f32, extra_float_digits: i32, out: &mut Vec<u8>) {
    if !value.is_finite() {
        return special_out(f64::from(value), out);
    }
    if extra_float_digits > 0 {
        let bits = u64::from(value.to_bits());
        let binary = Binary::new(bits >> 23 & 0xFF, bits & ((1 << 23) - 1), 23, 150);
        let exact = |precision: usize| {
            let text = format!("{value:.precision$e}");
            (text.parse() == Ok(value)).then_some(text)
        };
        shortest_out(ryu::Buffer::new().format_finite(value), &binary, exact, 6, out);
    } else {
        general_out(f64::from(value), (6 + extra_float_digits).max(1).cast_unsigned() as usize, out);
    }
}

fn special_out(value: f64, out: &mut Vec<u8>) {
    let word: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    };
    out.extend_from_slice(word);
}

/// A float as `mantissa * 2^exponent`.
struct Binary {
    mantissa: u64,
    exponent: i32,
}

impl Binary {
    fn new(biased: u64, fraction: u64, fraction_bits: u32, bias: i32) -> Binary {
        match biased {
            0 => Binary { mantissa: fraction, exponent: 1 - bias },
            _ => Binary { mantissa: fraction | 1 << fraction_bits, exponent: biased as i32 - bias },
        }
    }

    /// Whether `digits * 10^power` lies exactly in the middle between this float and one of its neighbours.
    fn is_midpoint(&self, digits: u64, power: i32) -> bool {
        if self.mantissa % 2 == 1 || digits == 0 || !(-3..=27).contains(&power) {
            return false;
        }
        let fives = 5u128.pow(power.unsigned_abs());
        let scaled = match power {
            0.. => u128::from(digits) * fives,
            _ if u128::from(digits) % fives != 0 => return false,
            _ => u128::from(digits) / fives,
        };
        let twos = scaled.trailing_zeros();
        // The middles are (2m - 1) and (2m + 1) times 2^(exponent - 1), and those factors are odd.
        let odd = scaled >> twos;
        let doubled = 2 * u128::from(self.mantissa);
        (odd == doubled + 1 || odd + 1 == doubled) && twos as i32 + power == self.exponent - 1
    }
}

/// Significant digits without zeros at their end, and the power of ten of the first.
struct Decimal {
    digits: [u8; 20],
    len: usize,
    power: i32,
}

impl Decimal {
    /// Reads `1.5`, `100.0`, `1e-7`, `1.2e20` (without a sign).
    fn read(text: &[u8]) -> Decimal {
        let (mantissa, exponent) = match memchr::memchr(b'e', text) {
            Some(at) => (&text[..at], small_int(&text[at + 1..])),
            None => (text, 0),
        };
        let mut decimal = Decimal { digits: [0; 20], len: 0, power: 0 };
        let point = memchr::memchr(b'.', mantissa).unwrap_or(mantissa.len());
        for (at, byte) in mantissa.iter().enumerate().filter(|(at, _)| *at != point) {
            if decimal.len == 0 {
                if *byte == b'0' {
                    continue;
                }
                let place = if at < point { point as i32 - 1 - at as i32 } else { point as i32 - at as i32 };
                decimal.power = exponent + place;
            }
            if decimal.len < decimal.digits.len() {
                decimal.digits[decimal.len] = *byte;
                decimal.len += 1;
            }
        }
        while decimal.len > 0 && decimal.digits[decimal.len - 1] == b'0' {
            decimal.len -= 1;
        }
        decimal
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.len]
    }

    /// The digits as an integer, and the power of ten of the last.
    fn as_integer(&self) -> (u64, i32) {
        let value = self.digits().iter().fold(0u64, |value, b| value.wrapping_mul(10) + u64::from(b - b'0'));
        (value, self.power + 1 - self.len as i32)
    }
}

/// Writes the shortest digits that read back as the float (`ryu` is that crate's form of them) as PostgreSQL does, which
/// goes over to an exponent at 10^`fixed_max` and below 10^-4. PostgreSQL does not count on readers to round ties to even,
/// so digits in the middle of two floats are not short enough; `exact` has more.
fn shortest_out(
    ryu: &str,
    binary: &Binary,
    exact: impl Fn(usize) -> Option<String>,
    fixed_max: i32,
    out: &mut Vec<u8>,
) {
    let unsigned = match ryu.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => ryu,
    };
    let mut decimal = Decimal::read(unsigned.as_bytes());
    let is_midpoint = |decimal: &Decimal| {
        let (value, power) = decimal.as_integer();
        binary.is_midpoint(value, power)
    };
    if is_midpoint(&decimal) {
        let longer = (decimal.len..17).filter_map(exact);
        let mut longer = longer.map(|text| Decimal::read(text.trim_start_matches('-').as_bytes()));
        if let Some(found) = longer.find(|decimal| !is_midpoint(decimal)) {
            decimal = found;
        }
    }
    write_digits(decimal.digits(), decimal.power, fixed_max, out);
}

/// C's `%.{precision}g`.
fn general_out(value: f64, precision: usize, out: &mut Vec<u8>) {
    let text = format!("{value:.*e}", precision - 1);
    let unsigned = match text.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => text.as_str(),
    };
    let (mantissa, exponent) = unsigned.split_once('e').unwrap_or((unsigned, "0"));
    let digits: Vec<u8> = mantissa.bytes().filter(|b| *b != b'.').collect();
    let len = digits.iter().rposition(|b| *b != b'0').map_or(0, |at| at + 1);
    write_digits(&digits[..len], small_int(exponent.as_bytes()), precision as i32, out);
}

/// Writes significant digits of which the first has the power of ten `power`.
fn write_digits(digits: &[u8], power: i32, fixed_max: i32, out: &mut Vec<u8>) {
    if digits.is_empty() {
        return out.push(b'0');
    }
    if power < -4 || power >= fixed_max {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if power < 0 { b"e-" } else { b"e+" });
        if power.abs() < 10 {
            out.push(b'0');
        }
        out.extend_from_slice(itoa::Buffer::new().format(power.abs()).as_bytes());
    } else if power < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-power - 1) as usize));
        out.extend_from_slice(digits);
    } else {
        let whole = power as usize + 1;
        if digits.len() <= whole {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', whole - digits.len()));
        } else {
            out.extend_from_slice(&digits[..whole]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    }
}

fn small_int(bytes: &[u8]) -> i32 {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let value = digits.iter().fold(0, |value, b| value * 10 + i32::from(b - b'0'));
    if negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown8(value: f64, extra: i32) -> String {
        let mut out = Vec::new();
        float8_out(value, extra, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    fn shown4(value: f32, extra: i32) -> String {
        let mut out = Vec::new();
        float4_out(value, extra, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    #[test]
    fn float8_as_postgresql_writes_it() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (123_456_789_012_345_680.0, "1.2345678901234568e+17"),
            (123456789012345.67, "123456789012345.67"),
            (1e300, "1e+300"),
            (1e23, "9.999999999999999e+22"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15"),
            (5e-324, "5e-324"),
            (1.5e20, "1.5e+20"),
            (-12.5, "-12.5"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(shown8(value, 1), expected);
        }
        assert_eq!(shown8(0.1 + 0.2, 0), "0.3");
        assert_eq!(shown8(1.0 / 3.0, -5), "0.3333333333");
        assert_eq!(shown8(123.456, -15), "1e+02");
        assert_eq!(shown8(1e15, 0), "1e+15");
        assert_eq!(shown8(1e14, 0), "100000000000000");
    }

    #[test]
    fn float4_as_postgresql_writes_it() {
        for (value, expected) in
            [(1e5, "100000"), (1e6, "1e+06"), (123_456.0, "123456"), (1e-5, "1e-05"), (0.1, "0.1")]
        {
            assert_eq!(shown4(value, 1), expected);
        }
        assert_eq!(shown4(1.0 / 3.0, -5), "0.3");
        assert_eq!(shown4(1e6, 0), "1e+06");
    }

    #[test]
    fn input_errors() {
        let message =
            |text: &str| parse_float8(text).map_err(|e| (e.sqlstate.code().to_owned(), e.message.clone()));
        let range =
            |n: &str| Err(("22003".to_owned(), format!("\"{n}\" is out of range for type double precision")));
        let syntax = |n: &str| {
            Err(("22P02".to_owned(), format!("invalid input syntax for type double precision: \"{n}\"")))
        };
        assert_eq!(message("1e400"), range("1e400"));
        assert_eq!(message(" 1e-400 "), range("1e-400"));
        for bad in [" abc", "", ".", "1e", "infinit", "1 2", "1.5x", "0x"] {
            assert_eq!(message(bad), syntax(bad), "{bad}");
        }
        assert_eq!(message("0x1p3"), Ok(8.0));
        assert_eq!(message("0x1.8p1"), Ok(3.0));
        assert_eq!(message("+inf"), Ok(f64::INFINITY));
        assert_eq!(message("5."), Ok(5.0));
        assert_eq!(message(" .5 "), Ok(0.5));
        assert_eq!(message("0e999"), Ok(0.0));
        assert!(parse_float8("-nan").is_ok_and(f64::is_nan));
        assert_eq!(
            parse_float4("1e39").map_err(|e| e.message.clone()),
            Err("\"1e39\" is out of range for type real".to_owned())
        );
    }
}
