//! Conversions between `numeric` and the other number types, and its type modifier.

use crate::error::{PgError, PgResult};
use crate::io::float;
use crate::numeric::Numeric;
use crate::sqlstate::SqlState;
use crate::typmod::HEADER;

/// Precision and scale of the type modifier of `numeric(p, s)`; the scale can be negative.
pub fn typmod_parts(typmod: i32) -> Option<(i32, i32)> {
    let bits = typmod.checked_sub(HEADER).filter(|bits| *bits >= 0)?;
    // The scale is an 11-bit signed number.
    Some((bits >> 16 & 0xFFFF, ((bits & 0x7FF) ^ 1024) - 1024))
}

impl Numeric {
    /// Rounds to the scale of `numeric(p, s)` and fails (22003) if the number has too many digits for its precision.
    pub fn apply_typmod(&self, typmod: i32) -> PgResult<Numeric> {
        let Some((precision, scale)) = typmod_parts(typmod) else { return Ok(self.clone()) };
        let field_overflow = |detail: String| {
            Err(PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "numeric field overflow").detail(detail))
        };
        if !self.is_finite() {
            return match self {
                Numeric::NaN => Ok(Numeric::NaN),
                _ => field_overflow(format!(
                    "A field with precision {precision}, scale {scale} cannot hold an infinite value."
                )),
            };
        }
        let rounded = match self {
            Numeric::Small { scale: shown, .. } if i32::from(*shown) == scale => self.clone(),
            _ => self.round(scale)?,
        };
        let whole_digits = precision - scale;
        let fits = match rounded.to_big() {
            Some(big) if !big.is_zero() => {
                let power = big.weight * 4 + big.digit(0).ilog10() as i32;
                power < whole_digits
            }
            _ => true,
        };
        if fits {
            return Ok(rounded);
        }
        let limit = if whole_digits == 0 { "1".to_owned() } else { format!("10^{whole_digits}") };
        field_overflow(format!(
            "A field with precision {precision}, scale {scale} must round to an absolute value less than {limit}."
        ))
    }

    /// To `int8`, rounding half away from zero.
    pub fn to_i64(&self) -> PgResult<i64> {
        self.to_int("bigint")
    }

    /// To `int4`, rounding half away from zero.
    pub fn to_i32(&self) -> PgResult<i32> {
        self.to_int("integer")
    }

    /// To `int2`, rounding half away from zero.
    pub fn to_i16(&self) -> PgResult<i16> {
        self.to_int("smallint")
    }

    fn to_int<T: TryFrom<i128>>(&self, type_name: &str) -> PgResult<T> {
        let special = |what: &str| {
            Err(PgError::new(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!("cannot convert {what} to {type_name}"),
            ))
        };
        let units = match self {
            Numeric::NaN => return special("NaN"),
            Numeric::PosInf | Numeric::NegInf => return special("infinity"),
            Numeric::Small { units, scale: 0 } => Some(i128::from(*units)),
            Numeric::Small { .. } | Numeric::Big(_) => self.to_big().and_then(|big| big.round(0).to_units()),
        };
        units.and_then(|u| T::try_from(u).ok()).ok_or_else(|| {
            PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))
        })
    }

    /// To `float8`; out of its range is an error (22003).
    pub fn to_f64(&self) -> PgResult<f64> {
        match self {
            // Exact: both are below 2^53, and a quotient of exact numbers rounds once.
            Numeric::Small { units, scale } if units.unsigned_abs() < 1 << 53 => {
                Ok(*units as f64 / 10f64.powi(i32::from(*scale)))
            }
            _ => float::parse_float8(&self.to_string()),
        }
    }

    /// To `float4`; out of its range is an error (22003).
    pub fn to_f32(&self) -> PgResult<f32> {
        float::parse_float4(&self.to_string())
    }

    /// From `float8`, by its first 15 digits.
    pub fn from_f64(value: f64) -> PgResult<Numeric> {
        Numeric::from_float(value, 0, float::float8_out)
    }

    /// From `float4`, by its first 6 digits.
    pub fn from_f32(value: f32) -> PgResult<Numeric> {
        Numeric::from_float(value, 0, float::float4_out)
    }

    fn from_float<F>(value: F, extra_digits: i32, out: impl Fn(F, i32, &mut Vec<u8>)) -> PgResult<Numeric> {
        let mut text = Vec::with_capacity(32);
        out(value, extra_digits, &mut text);
        Numeric::parse(std::str::from_utf8(&text).unwrap_or_default())
    }
}
