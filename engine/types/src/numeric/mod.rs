//! `numeric`: decimal numbers of any length, with NaN and the infinities.
//!
//! A value carries a *display scale*, the number of digits shown after the point: `1.50` and `1.5` are equal and
//! print differently. Most numbers in practice fit [`Numeric::Small`], an `i64` of units of the last shown digit; the
//! rest is [`Numeric::Big`]. A number that fits `Small` is always `Small`, so a value has one representation per
//! scale.
//!
//! PostgreSQL fixes the scale of every result (of a division, say, so that it has at least 16 significant digits), in
//! terms of digits in base 10,000. The rules are stated where each operation is: `arith`, `math`.

mod arith;
mod big;
mod convert;
mod math;
mod sum;
mod text;
mod wire;

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

pub(crate) use arith::division_by_zero;
pub use big::BigNumeric;
pub use convert::typmod_parts;
pub use sum::NumericSum;

use crate::error::PgError;
use crate::sqlstate::SqlState;

/// The most digits after the point.
pub const SCALE_MAX: u16 = 16_383;
/// The greatest power of 10,000 of a first digit.
pub(crate) const WEIGHT_MAX: i32 = 32_767;
/// The most digits after the point that a computation chooses by itself.
pub(crate) const DISPLAY_SCALE_MAX: i32 = 1_000;
/// The fewest significant digits of a quotient, a root, a logarithm.
pub(crate) const SIGNIFICANT_DIGITS_MIN: i32 = 16;

/// A `numeric` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Numeric {
    /// `units * 10^-scale`, with `scale` at most [`Numeric::SMALL_SCALE_MAX`].
    Small {
        /// The number without its decimal point.
        units: i64,
        /// Digits after the point.
        scale: u16,
    },
    /// Anything finite that `Small` does not hold.
    Big(Arc<BigNumeric>),
    /// Not a number: equal to itself and greater than everything else.
    NaN,
    /// Infinity.
    PosInf,
    /// Minus infinity.
    NegInf,
}

impl Numeric {
    /// The largest scale of a `Small`.
    pub const SMALL_SCALE_MAX: u16 = 18;
    /// Zero.
    pub const ZERO: Numeric = Numeric::Small { units: 0, scale: 0 };
    /// One.
    pub const ONE: Numeric = Numeric::Small { units: 1, scale: 0 };

    /// `units * 10^-scale`.
    pub fn from_units(units: i128, scale: u16) -> Numeric {
        match i64::try_from(units) {
            Ok(units) if scale <= Numeric::SMALL_SCALE_MAX => Numeric::Small { units, scale },
            _ => Numeric::Big(Arc::new(BigNumeric::from_units(units, scale))),
        }
    }

    /// Whether it is neither NaN nor infinite.
    pub fn is_finite(&self) -> bool {
        matches!(self, Numeric::Small { .. } | Numeric::Big(_))
    }

    /// Whether it is NaN.
    pub fn is_nan(&self) -> bool {
        matches!(self, Numeric::NaN)
    }

    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        match self {
            Numeric::Small { units, .. } => *units == 0,
            Numeric::Big(big) => big.is_zero(),
            _ => false,
        }
    }

    /// Whether it is below zero; NaN is not.
    pub fn is_negative(&self) -> bool {
        match self {
            Numeric::Small { units, .. } => *units < 0,
            Numeric::Big(big) => big.negative,
            Numeric::NegInf => true,
            Numeric::NaN | Numeric::PosInf => false,
        }
    }

    /// The display scale (`scale(numeric)`); `None` of NaN and the infinities.
    pub fn scale(&self) -> Option<u16> {
        match self {
            Numeric::Small { scale, .. } => Some(*scale),
            Numeric::Big(big) => Some(big.scale),
            _ => None,
        }
    }

    /// The number in base 10,000; `None` of NaN and the infinities.
    pub(crate) fn to_big(&self) -> Option<BigNumeric> {
        match self {
            Numeric::Small { units, scale } => Some(BigNumeric::from_units(i128::from(*units), *scale)),
            Numeric::Big(big) => Some(big.as_ref().clone()),
            _ => None,
        }
    }
}

impl From<BigNumeric> for Numeric {
    /// The number in its one representation: `Small` where it fits.
    fn from(big: BigNumeric) -> Numeric {
        let scale = big.scale;
        match big.to_units().filter(|_| scale <= Numeric::SMALL_SCALE_MAX).map(i64::try_from) {
            Some(Ok(units)) => Numeric::Small { units, scale },
            _ => Numeric::Big(Arc::new(big)),
        }
    }
}

impl From<i64> for Numeric {
    fn from(units: i64) -> Numeric {
        Numeric::Small { units, scale: 0 }
    }
}

impl From<i32> for Numeric {
    fn from(units: i32) -> Numeric {
        Numeric::from(i64::from(units))
    }
}

impl Numeric {
    /// PostgreSQL's total order: by value, whatever the scale; infinity above numbers, NaN above all.
    pub fn cmp_value(&self, other: &Numeric) -> Ordering {
        if let (Numeric::Small { units: a, scale: s }, Numeric::Small { units: b, scale: t }) = (self, other)
        {
            // i64 times 10^18 fits i128.
            return match s.cmp(t) {
                Ordering::Equal => a.cmp(b),
                Ordering::Less => (i128::from(*a) * pow10(t - s)).cmp(&i128::from(*b)),
                Ordering::Greater => i128::from(*a).cmp(&(i128::from(*b) * pow10(s - t))),
            };
        }
        match (self.to_big(), other.to_big()) {
            (Some(a), Some(b)) => a.cmp_value(&b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Numeric::NegInf => 0,
            Numeric::Small { .. } | Numeric::Big(_) => 1,
            Numeric::PosInf => 2,
            Numeric::NaN => 3,
        }
    }

    /// Feeds the value, whatever its scale, to `state`.
    pub fn hash_value<H: Hasher>(&self, state: &mut H) {
        match self.to_big() {
            Some(big) => {
                big.negative.hash(state);
                big.weight.hash(state);
                big.digits.hash(state);
            }
            None => self.rank().hash(state),
        }
    }
}

/// `10^n`, for `n` up to 38.
pub(crate) fn pow10(n: u16) -> i128 {
    10i128.pow(u32::from(n))
}

/// 22003: a number with too many digits before or after the point.
#[cold]
pub(crate) fn overflow() -> PgError {
    PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}
