//! The four operations, remainder, rounding; with PostgreSQL's treatment of NaN and the infinities.
//!
//! Scales: a sum has the greater one, a product the sum, a quotient one that gives it at least 16 significant digits
//! ([`div_scale`]) and no less than either operand's.

use crate::error::{PgError, PgResult};
use crate::numeric::big::{BigNumeric, DEC_DIGITS};
use crate::numeric::{DISPLAY_SCALE_MAX, Numeric, SCALE_MAX, SIGNIFICANT_DIGITS_MIN, pow10};
use crate::sqlstate::SqlState;

#[cold]
pub(crate) fn division_by_zero() -> PgError {
    PgError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// The result when at least one operand of a sum is not finite.
fn add_special(a: &Numeric, b: &Numeric) -> Numeric {
    match (a, b) {
        (Numeric::NaN, _)
        | (_, Numeric::NaN)
        | (Numeric::PosInf, Numeric::NegInf)
        | (Numeric::NegInf, Numeric::PosInf) => Numeric::NaN,
        (Numeric::PosInf, _) | (_, Numeric::PosInf) => Numeric::PosInf,
        _ => Numeric::NegInf,
    }
}

impl Numeric {
    /// `self + other`.
    pub fn add(&self, other: &Numeric) -> PgResult<Numeric> {
        if let (Numeric::Small { units: a, scale: s }, Numeric::Small { units: b, scale: t }) = (self, other)
        {
            let scale = *s.max(t);
            let sum = i128::from(*a) * pow10(scale - s) + i128::from(*b) * pow10(scale - t);
            return Ok(Numeric::from_units(sum, scale));
        }
        match (self.to_big(), other.to_big()) {
            (Some(a), Some(b)) => Ok(a.add(&b).checked()?.into()),
            _ => Ok(add_special(self, other)),
        }
    }

    /// `self - other`.
    pub fn sub(&self, other: &Numeric) -> PgResult<Numeric> {
        self.add(&other.neg())
    }

    /// `-self`.
    pub fn neg(&self) -> Numeric {
        match self {
            Numeric::Small { units, scale } => Numeric::from_units(-i128::from(*units), *scale),
            Numeric::Big(big) => big.as_ref().clone().negated().into(),
            Numeric::NaN => Numeric::NaN,
            Numeric::PosInf => Numeric::NegInf,
            Numeric::NegInf => Numeric::PosInf,
        }
    }

    /// The absolute value.
    pub fn abs(&self) -> Numeric {
        if self.is_negative() { self.neg() } else { self.clone() }
    }

    /// -1, 0, 1, or NaN.
    pub fn sign(&self) -> Numeric {
        match self {
            Numeric::NaN => Numeric::NaN,
            _ if self.is_negative() => Numeric::from(-1i64),
            _ if self.is_zero() => Numeric::ZERO,
            _ => Numeric::ONE,
        }
    }

    /// `self * other`.
    pub fn mul(&self, other: &Numeric) -> PgResult<Numeric> {
        if let (Numeric::Small { units: a, scale: s }, Numeric::Small { units: b, scale: t }) = (self, other)
        {
            return Ok(Numeric::from_units(i128::from(*a) * i128::from(*b), s + t));
        }
        let (Some(a), Some(b)) = (self.to_big(), other.to_big()) else {
            return Ok(self.mul_special(other));
        };
        let scale = (i32::from(a.scale) + i32::from(b.scale)).min(i32::from(SCALE_MAX));
        Ok(a.mul_to(&b, scale).checked()?.into())
    }

    /// The product when at least one factor is not finite: zero times infinity is NaN.
    fn mul_special(&self, other: &Numeric) -> Numeric {
        if self.is_nan() || other.is_nan() || self.is_zero() || other.is_zero() {
            Numeric::NaN
        } else if self.is_negative() == other.is_negative() {
            Numeric::PosInf
        } else {
            Numeric::NegInf
        }
    }

    /// `self / other`.
    pub fn div(&self, other: &Numeric) -> PgResult<Numeric> {
        let (Some(a), Some(b)) = (self.to_big(), other.to_big()) else {
            return self.div_special(other);
        };
        if b.is_zero() {
            return Err(division_by_zero());
        }
        let scale = div_scale(&a, &b);
        if let Some(quotient) = self.div_small(other, scale) {
            return Ok(quotient);
        }
        Ok(a.div_to(&b, scale, true).checked()?.into())
    }

    /// The quotient in plain integers, where they are long enough.
    fn div_small(&self, other: &Numeric, scale: i32) -> Option<Numeric> {
        let (Numeric::Small { units: a, scale: s }, Numeric::Small { units: b, scale: t }) = (self, other)
        else {
            return None;
        };
        let shift = u32::try_from(scale + i32::from(*t) - i32::from(*s)).ok()?;
        let dividend = i128::from(*a).checked_mul(10i128.checked_pow(shift)?)?;
        let (divisor, quotient) = (i128::from(*b), dividend / i128::from(*b));
        let rest = (dividend % divisor).unsigned_abs();
        let up = i128::from(rest >= divisor.unsigned_abs() - rest);
        let sign = if (*a < 0) == (*b < 0) { up } else { -up };
        Some(Numeric::from_units(quotient + sign, u16::try_from(scale).ok()?))
    }

    fn div_special(&self, other: &Numeric) -> PgResult<Numeric> {
        match (self.is_finite(), other.is_finite()) {
            _ if self.is_nan() || other.is_nan() => Ok(Numeric::NaN),
            (false, false) => Ok(Numeric::NaN),
            (false, true) if other.is_zero() => Err(division_by_zero()),
            (false, true) if other.is_negative() => Ok(self.neg()),
            (false, true) => Ok(self.clone()),
            (true, _) => Ok(Numeric::ZERO),
        }
    }

    /// `div(self, other)`: the quotient without its fraction.
    pub fn div_trunc(&self, other: &Numeric) -> PgResult<Numeric> {
        let (Some(a), Some(b)) = (self.to_big(), other.to_big()) else {
            return self.div_special(other);
        };
        if b.is_zero() {
            return Err(division_by_zero());
        }
        Ok(a.div_to(&b, 0, false).checked()?.into())
    }

    /// `self % other`, with the sign of `self`.
    pub fn rem(&self, other: &Numeric) -> PgResult<Numeric> {
        let (Some(a), Some(b)) = (self.to_big(), other.to_big()) else {
            return match (self.is_finite(), other.is_finite()) {
                _ if self.is_nan() || other.is_nan() => Ok(Numeric::NaN),
                (false, true) if other.is_zero() => Err(division_by_zero()),
                (false, _) => Ok(Numeric::NaN),
                (true, _) => Ok(self.clone()),
            };
        };
        if b.is_zero() {
            return Err(division_by_zero());
        }
        Ok(big_rem(&a, &b).into())
    }

    /// `round(self, scale)`: half away from zero. A negative scale rounds before the point.
    pub fn round(&self, scale: i32) -> PgResult<Numeric> {
        self.cut(scale, BigNumeric::round)
    }

    /// `trunc(self, scale)`.
    pub fn trunc(&self, scale: i32) -> PgResult<Numeric> {
        self.cut(scale, BigNumeric::trunc)
    }

    fn cut(&self, scale: i32, how: impl Fn(BigNumeric, i32) -> BigNumeric) -> PgResult<Numeric> {
        let limit = i32::from(SCALE_MAX);
        match self.to_big() {
            Some(big) => Ok(how(big, scale.clamp(-131_073, limit)).checked()?.into()),
            None => Ok(self.clone()),
        }
    }

    /// The least integer not below.
    pub fn ceil(&self) -> PgResult<Numeric> {
        let whole = self.trunc(0)?;
        if whole.cmp_value(self).is_lt() { whole.add(&Numeric::ONE) } else { Ok(whole) }
    }

    /// The greatest integer not above.
    pub fn floor(&self) -> PgResult<Numeric> {
        let whole = self.trunc(0)?;
        if whole.cmp_value(self).is_gt() { whole.sub(&Numeric::ONE) } else { Ok(whole) }
    }

    /// `min_scale(self)`: the least scale that shows every decimal.
    pub fn min_scale(&self) -> Option<u16> {
        self.to_big().map(|big| big.min_scale())
    }

    /// `trim_scale(self)`: without zeros at the end of the fraction.
    pub fn trim_scale(&self) -> Numeric {
        match self.to_big() {
            Some(mut big) => {
                big.scale = big.min_scale();
                big.into()
            }
            None => self.clone(),
        }
    }

    /// The greatest common divisor, positive.
    pub fn gcd(&self, other: &Numeric) -> PgResult<Numeric> {
        let (Some(mut a), Some(mut b)) = (self.to_big(), other.to_big()) else { return Ok(Numeric::NaN) };
        let scale = a.scale.max(b.scale);
        while !b.is_zero() {
            (a, b) = (b.clone(), big_rem(&a, &b));
        }
        a.negative = false;
        a.scale = scale;
        Ok(a.into())
    }

    /// The least common multiple, positive.
    pub fn lcm(&self, other: &Numeric) -> PgResult<Numeric> {
        let (Some(a), Some(b)) = (self.to_big(), other.to_big()) else { return Ok(Numeric::NaN) };
        let scale = a.scale.max(b.scale);
        if a.is_zero() || b.is_zero() {
            return Ok(BigNumeric::zero(scale).into());
        }
        let gcd = self.gcd(other)?.to_big().unwrap_or_default();
        let mut lcm = a.div_to(&gcd, 0, false).mul(&b);
        lcm.negative = false;
        lcm.scale = scale;
        Ok(lcm.checked()?.into())
    }
}

/// The remainder of the truncated division, with the greater scale of the two.
fn big_rem(a: &BigNumeric, b: &BigNumeric) -> BigNumeric {
    let scale = a.scale.max(b.scale);
    let mut rest = a.sub(&a.div_to(b, 0, false).mul(b));
    rest.scale = scale;
    rest
}

/// The scale of a quotient: at least 16 significant digits, estimated from the first digits of base 10,000 alone.
pub(crate) fn div_scale(a: &BigNumeric, b: &BigNumeric) -> i32 {
    let first = |n: &BigNumeric| (n.weight, n.digit(0));
    let ((weight_a, first_a), (weight_b, first_b)) = (first(a), first(b));
    let weight = weight_a - weight_b - i32::from(first_a <= first_b);
    result_scale(weight * DEC_DIGITS, &[a.scale, b.scale])
}

/// The scale of a result whose first digit has the power of ten `power`: 16 significant digits, no less than the
/// operands' scales, at most 1,000.
pub(crate) fn result_scale(power: i32, operands: &[u16]) -> i32 {
    let least = operands.iter().copied().max().unwrap_or(0);
    (SIGNIFICANT_DIGITS_MIN - power).max(i32::from(least)).clamp(0, DISPLAY_SCALE_MAX)
}
