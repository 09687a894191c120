//! The binary form of `numeric`: counts, weight, sign and scale as 16-bit integers, then digits of base 10,000.

use crate::error::{PgError, PgResult};
use crate::numeric::big::BASE;
use crate::numeric::{BigNumeric, Numeric, SCALE_MAX, overflow};
use crate::sqlstate::SqlState;

const POSITIVE: u16 = 0x0000;
const NEGATIVE: u16 = 0x4000;
const NAN: u16 = 0xC000;
const POS_INF: u16 = 0xD000;
const NEG_INF: u16 = 0xF000;
/// What PostgreSQL sends as the scale of an infinity.
const INF_SCALE: u16 = 0x20;

impl Numeric {
    /// Appends the binary form to `out`.
    pub fn send(&self, out: &mut Vec<u8>) {
        let special = |sign: u16, scale: u16, out: &mut Vec<u8>| {
            for part in [0, 0, sign, scale] {
                out.extend_from_slice(&part.to_be_bytes());
            }
        };
        match self {
            Numeric::NaN => special(NAN, 0, out),
            Numeric::PosInf => special(POS_INF, INF_SCALE, out),
            Numeric::NegInf => special(NEG_INF, INF_SCALE, out),
            Numeric::Small { units, scale } => {
                send_big(&BigNumeric::from_units(i128::from(*units), *scale), out);
            }
            Numeric::Big(big) => send_big(big, out),
        }
    }

    /// Reads the binary form.
    pub fn recv(bytes: &[u8]) -> PgResult<Numeric> {
        let Some((head, digits)) = bytes.split_first_chunk::<8>() else {
            return Err(PgError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"));
        };
        let part = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
        let (count, weight, sign, scale) = (usize::from(part(0)), part(2).cast_signed(), part(4), part(6));
        let invalid = |what: &str| {
            PgError::new(
                SqlState::INVALID_BINARY_REPRESENTATION,
                format!("invalid {what} in external \"numeric\" value"),
            )
        };
        let negative = match sign {
            POSITIVE => false,
            NEGATIVE => true,
            NAN => return Ok(Numeric::NaN),
            POS_INF => return Ok(Numeric::PosInf),
            NEG_INF => return Ok(Numeric::NegInf),
            _ => return Err(invalid("sign")),
        };
        if scale > SCALE_MAX {
            return Err(invalid("scale"));
        }
        if digits.len() < 2 * count {
            return Err(PgError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"));
        }
        if digits.len() > 2 * count {
            return Err(PgError::new(
                SqlState::INVALID_BINARY_REPRESENTATION,
                "incorrect binary data format",
            ));
        }
        if let Some(small) = recv_small(negative, i32::from(weight), scale, digits) {
            return Ok(small);
        }
        let digits = digits.chunks_exact(2).map(|b| u16::from_be_bytes([b[0], b[1]])).collect();
        let number =
            BigNumeric::from_digits(negative, i32::from(weight), digits).ok_or_else(|| invalid("digit"))?;
        // Digits past the scale are cut off, as PostgreSQL does.
        let number = number.trunc(i32::from(scale));
        if number.weight > crate::numeric::WEIGHT_MAX { Err(overflow()) } else { Ok(number.into()) }
    }
}

/// The number, if it has few digits: without a detour through a vector of them.
fn recv_small(negative: bool, weight: i32, scale: u16, digits: &[u8]) -> Option<Numeric> {
    let fraction_digits = i32::from(scale.div_ceil(4));
    let count = (digits.len() / 2) as i32;
    if scale > Numeric::SMALL_SCALE_MAX
        || weight + fraction_digits > 3
        || count > weight + 1 + fraction_digits
    {
        return None;
    }
    // At most four digits of base 10,000, filled up with zeros on the right.
    let mut units = 0i64;
    for at in 0..(weight + 1 + fraction_digits).max(0) as usize {
        let digit = match digits.get(2 * at..2 * at + 2) {
            Some(b) => u16::from_be_bytes([b[0], b[1]]),
            None => 0,
        };
        if u32::from(digit) >= BASE {
            return None;
        }
        units = units * i64::from(BASE) + i64::from(digit);
    }
    let fill = (fraction_digits * 4 - i32::from(scale)).cast_unsigned();
    units /= 10i64.pow(fill);
    Some(Numeric::Small { units: if negative { -units } else { units }, scale })
}

fn send_big(big: &BigNumeric, out: &mut Vec<u8>) {
    let sign = if big.negative { NEGATIVE } else { POSITIVE };
    for part in [big.digits.len() as u16, big.weight as i16 as u16, sign, big.scale] {
        out.extend_from_slice(&part.to_be_bytes());
    }
    for digit in &big.digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}
