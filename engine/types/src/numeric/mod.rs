//! `numeric`: decimal numbers of any length, with NaN and the infinities.
//!
//! A value carries a *display scale*, the number of digits shown after the point: `1.50` and `1.5` are equal and
//! print differently. Most numbers in practice fit [`Numeric::Small`], an `i64` of units of the last shown digit; the
//! rest is [`Numeric::Big`]. A number that fits `Small` is always `Small`, so a value has one representation per
//! scale.

mod big;

use std::sync::Arc;

pub use big::BigNumeric;

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
