//! Roots, powers, exponentials and logarithms of any precision.
//!
//! Each result has a scale that gives it at least 16 significant digits; PostgreSQL estimates the size of the result
//! in floating point for that, and the estimates here are the same, down to their truncations (`as i32`). The digits
//! are computed with some to spare and rounded once.

use std::cmp::Ordering;

use crate::error::{PgError, PgResult};
use crate::numeric::arith::{division_by_zero, result_scale};
use crate::numeric::big::{BASE, BigNumeric, DEC_DIGITS};
use crate::numeric::{DISPLAY_SCALE_MAX, Numeric, SIGNIFICANT_DIGITS_MIN, WEIGHT_MAX, overflow};
use crate::sqlstate::SqlState;

const LN_10: f64 = std::f64::consts::LN_10;
const LOG10_E: f64 = std::f64::consts::LOG10_E;
/// e to a power beyond this has no place in a numeric.
const EXPONENT_MAX: f64 = 6_000.0;
/// Digits computed to spare.
const GUARD_DIGITS: i32 = 8;

fn power_error(message: &str) -> PgError {
    PgError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message)
}

fn log_error(message: &str) -> PgError {
    PgError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, message)
}

fn one() -> BigNumeric {
    BigNumeric::from_units(1, 0)
}

impl Numeric {
    /// The square root.
    pub fn sqrt(&self) -> PgResult<Numeric> {
        if self.is_negative() {
            return Err(power_error("cannot take square root of a negative number"));
        }
        let Some(x) = self.to_big() else { return Ok(self.clone()) };
        // Half the decimal weight, rounded as PostgreSQL does.
        let weight =
            if x.weight >= 0 { x.weight * DEC_DIGITS / 2 + 1 } else { 1 - (1 - x.weight * DEC_DIGITS) / 2 };
        Ok(exact_sqrt(&x, result_scale(weight, &[x.scale])).checked()?.into())
    }

    /// The square root with as many digits behind the point as the number has: what a standard deviation is
    /// rounded to.
    pub fn sqrt_to_own_scale(&self) -> PgResult<Numeric> {
        match (self.to_big(), self.scale()) {
            (Some(x), Some(scale)) if !self.is_negative() => {
                Ok(exact_sqrt(&x, i32::from(scale)).checked()?.into())
            }
            _ => self.sqrt(),
        }
    }

    /// `e ^ self`.
    pub fn exp(&self) -> PgResult<Numeric> {
        match self {
            Numeric::NegInf => return Ok(Numeric::ZERO),
            Numeric::NaN | Numeric::PosInf => return Ok(self.clone()),
            Numeric::Small { .. } | Numeric::Big(_) => {}
        }
        let x = self.to_big().unwrap_or_default();
        let power = (x.to_f64_lossy() * LOG10_E).clamp(-2000.0, 2000.0);
        let scale = result_scale(power as i32, &[x.scale]);
        Ok(exp(&x, scale)?.checked()?.into())
    }

    /// The natural logarithm.
    pub fn ln(&self) -> PgResult<Numeric> {
        let Some(x) = self.log_argument()? else { return Ok(self.clone()) };
        Ok(ln(&x, result_scale(ln_weight(&x), &[x.scale])).into())
    }

    /// The logarithm to base 10.
    pub fn log10(&self) -> PgResult<Numeric> {
        Numeric::from(10i64).log(self)
    }

    /// `log(self, x)`: the logarithm of `x` to the base `self`.
    pub fn log(&self, x: &Numeric) -> PgResult<Numeric> {
        if self.is_nan() || x.is_nan() {
            return Ok(Numeric::NaN);
        }
        let (base, number) = match (self.log_argument()?, x.log_argument()?) {
            (Some(base), Some(number)) => (base, number),
            (None, None) => return Ok(Numeric::NaN),
            (None, Some(_)) => return Ok(Numeric::ZERO),
            (Some(_), None) => return Ok(Numeric::PosInf),
        };
        let (base_weight, number_weight) = (ln_weight(&base), ln_weight(&number));
        let weight = number_weight - base_weight;
        let scale = result_scale(weight, &[base.scale, number.scale]);
        let ln_base = ln(&base, scale + weight - base_weight + GUARD_DIGITS);
        let ln_number = ln(&number, scale + weight - number_weight + GUARD_DIGITS);
        if ln_base.is_zero() {
            return Err(division_by_zero());
        }
        Ok(ln_number.div_to(&ln_base, scale, true).into())
    }

    /// The number in base 10,000 if a logarithm of it has to be computed; `None` of infinity and NaN.
    fn log_argument(&self) -> PgResult<Option<BigNumeric>> {
        if self.is_negative() {
            return Err(log_error("cannot take logarithm of a negative number"));
        }
        if self.is_zero() {
            return Err(log_error("cannot take logarithm of zero"));
        }
        Ok(self.to_big())
    }

    /// `self ^ exponent`.
    pub fn pow(&self, exponent: &Numeric) -> PgResult<Numeric> {
        let is_one = |n: &Numeric| n.cmp_value(&Numeric::ONE) == Ordering::Equal;
        if self.is_nan() || exponent.is_nan() {
            return Ok(if exponent.is_zero() || is_one(self) { Numeric::ONE } else { Numeric::NaN });
        }
        if self.is_zero() && exponent.is_negative() {
            return Err(power_error("zero raised to a negative power is undefined"));
        }
        let exponent_is_whole = exponent.to_big().is_none_or(|e| e.min_scale() == 0);
        if self.is_negative() && !exponent_is_whole {
            return Err(power_error(
                "a negative number raised to a non-integer power yields a complex result",
            ));
        }
        match (self.to_big(), exponent.to_big()) {
            (Some(base), Some(exponent)) => Ok(pow(&base, &exponent)?.checked()?.into()),
            _ => Ok(self.pow_special(exponent)),
        }
    }

    /// Powers where the base or the exponent is infinite.
    fn pow_special(&self, exponent: &Numeric) -> Numeric {
        if exponent.is_zero() || self.cmp_value(&Numeric::ONE) == Ordering::Equal {
            return Numeric::ONE;
        }
        if self.is_zero() {
            return Numeric::ZERO;
        }
        if !exponent.is_finite() {
            return match self.abs().cmp_value(&Numeric::ONE) {
                Ordering::Equal => Numeric::ONE,
                size if (size == Ordering::Greater) != exponent.is_negative() => Numeric::PosInf,
                _ => Numeric::ZERO,
            };
        }
        let odd = exponent.to_big().is_some_and(|e| is_odd(&e));
        match self {
            _ if exponent.is_negative() => Numeric::ZERO,
            Numeric::NegInf if odd => Numeric::NegInf,
            _ => Numeric::PosInf,
        }
    }

    /// `n!`.
    pub fn factorial(n: i64) -> PgResult<Numeric> {
        if n < 0 {
            return Err(PgError::new(
                SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                "factorial of a negative number is undefined",
            ));
        }
        if n > 32_177 {
            return Err(overflow());
        }
        let product =
            (2..=n).fold(one(), |product, i| product.mul(&BigNumeric::from_units(i128::from(i), 0)));
        Ok(product.checked()?.into())
    }
}

/// The power of ten of the first significant digit, plus or minus 4.
fn decimal_weight(x: &BigNumeric) -> i32 {
    x.weight * DEC_DIGITS
}

fn is_odd(whole: &BigNumeric) -> bool {
    whole.digit(whole.weight) % 2 == 1
}

/// The square root, correctly rounded: a root next to the middle between two numbers is decided by squaring the middle.
fn exact_sqrt(x: &BigNumeric, scale: i32) -> BigNumeric {
    let root = sqrt(x, scale);
    let half_unit = BigNumeric::from_units(5, u16::try_from(scale + 1).unwrap_or(0));
    let unit = half_unit.add(&half_unit);
    let (below, above) = (root.sub(&half_unit), root.add(&half_unit));
    if !root.is_zero() && below.mul(&below).cmp_value(x).is_gt() {
        root.sub(&unit).round(scale)
    } else if above.mul(&above).cmp_value(x).is_le() {
        root.add(&unit).round(scale)
    } else {
        root
    }
}

/// The square root by Newton's iteration, from the root of the first digits.
fn sqrt(x: &BigNumeric, scale: i32) -> BigNumeric {
    if x.is_zero() {
        return BigNumeric::zero(scale.max(0) as u16);
    }
    // An even power of 10,000 is taken out, so that floating point neither overflows nor underflows.
    let shift = x.weight.div_euclid(2);
    let head = BigNumeric { weight: x.weight - 2 * shift, ..x.clone() };
    let mut root = from_f64(head.to_f64_lossy().sqrt());
    root.weight += shift;
    let work_scale = scale + GUARD_DIGITS;
    let half = BigNumeric::from_units(5, 1);
    let mut correct_digits = 14;
    let wanted = work_scale + decimal_weight(x) / 2 + 8;
    loop {
        root = root.add(&x.div_to(&root, work_scale, true)).mul_to(&half, work_scale);
        if correct_digits > wanted {
            return root.round(scale);
        }
        correct_digits *= 2;
    }
}

/// A positive number of moderate size, to about 15 digits.
fn from_f64(value: f64) -> BigNumeric {
    let mut rest = value;
    let whole = rest.trunc();
    rest -= whole;
    let mut digits = vec![(whole / f64::from(BASE)) as u16, (whole % f64::from(BASE)) as u16];
    for _ in 0..4 {
        rest *= f64::from(BASE);
        digits.push(rest.trunc() as u16);
        rest = rest.fract();
    }
    let mut number = BigNumeric { negative: false, weight: 1, scale: 0, digits };
    number.strip();
    number
}

/// `e ^ x`, rounded to `scale`: halves `x` until its series converges fast, then squares the result as often.
fn exp(x: &BigNumeric, scale: i32) -> PgResult<BigNumeric> {
    let approximate = x.to_f64_lossy();
    if approximate.abs() >= EXPONENT_MAX {
        return if approximate > 0.0 { Err(overflow()) } else { Ok(BigNumeric::zero(scale.max(0) as u16)) };
    }
    let halvings = if approximate.abs() > 0.01 { (approximate.abs() / 0.01).log2().ceil() as i32 } else { 0 };
    let power = (approximate * LOG10_E) as i32;
    let digits = (1 + power + scale + halvings / 3 + 1).max(0) + GUARD_DIGITS;
    let divisor = BigNumeric::from_units(1i128 << halvings, 0);
    let reduced = x.div_to(&divisor, digits, true);
    let mut sum = one().add(&reduced);
    let mut term = reduced.clone();
    for n in 2i128.. {
        term = term.mul(&reduced).div_to(&BigNumeric::from_units(n, 0), digits, true);
        if term.is_zero() {
            break;
        }
        sum = sum.add(&term);
    }
    for _ in 0..halvings {
        let square = sum.mul(&sum);
        let digits = digits - decimal_weight(&square);
        sum = square.round(digits);
    }
    Ok(sum.round(scale))
}

/// The natural logarithm of a positive number, rounded to `scale`: takes roots until the number is near 1, where
/// `ln(x) = 2 artanh((x - 1) / (x + 1))` converges fast.
fn ln(x: &BigNumeric, scale: i32) -> BigNumeric {
    let (low, high) = (BigNumeric::from_units(9, 1), BigNumeric::from_units(11, 1));
    let weight = (decimal_weight(x).abs() + 4).cast_unsigned();
    // Each root halves the logarithm: about log2 of the decimal weight, and a few to get from 10 to 1.1.
    let work_scale = scale.max(0) + (weight.ilog2() as i32 + 8) / 3 + GUARD_DIGITS + 2;
    let inverted = x.cmp_value(&low).is_lt();
    let mut near = if inverted { one().div_to(x, work_scale, true) } else { x.clone() };
    let mut roots = 0;
    while near.cmp_value(&high).is_gt() {
        near = sqrt(&near, work_scale);
        roots += 1;
    }
    let ratio = near.sub(&one()).div_to(&near.add(&one()), work_scale, true);
    let square = ratio.mul_to(&ratio, work_scale);
    let mut power = ratio.clone();
    let mut sum = ratio;
    for n in (3i128..).step_by(2) {
        power = power.mul_to(&square, work_scale);
        if power.is_zero() {
            break;
        }
        sum = sum.add(&power.div_to(&BigNumeric::from_units(n, 0), work_scale, true));
    }
    let result = sum.mul(&BigNumeric::from_units(1i128 << (roots + 1), 0)).round(scale);
    if inverted { result.negated() } else { result }
}

/// An estimate of the power of ten of `ln(x)`, from the first digits of `x`.
fn ln_weight(x: &BigNumeric) -> i32 {
    let (low, high) = (BigNumeric::from_units(9, 1), BigNumeric::from_units(11, 1));
    if x.cmp_value(&low).is_ge() && x.cmp_value(&high).is_le() {
        // ln(1 + d) is about d.
        let distance = x.sub(&one());
        return match distance.digits.first() {
            Some(digit) => distance.weight * DEC_DIGITS + f64::from(*digit).log10() as i32,
            None => 0,
        };
    }
    let mut digits = f64::from(x.digit(0));
    let mut power = x.weight * DEC_DIGITS;
    if x.digits.len() > 1 {
        digits = digits * f64::from(BASE) + f64::from(x.digit(1));
        power -= DEC_DIGITS;
    }
    (digits.ln() + f64::from(power) * LN_10).abs().log10() as i32
}

fn pow(base: &BigNumeric, exponent: &BigNumeric) -> PgResult<BigNumeric> {
    let whole = exponent.min_scale() == 0;
    let as_int = BigNumeric { scale: 0, ..exponent.clone() }.to_units().and_then(|n| i32::try_from(n).ok());
    if whole && let Some(n) = as_int {
        return pow_int(base, n, exponent.scale);
    }
    if base.is_zero() {
        return Ok(BigNumeric::zero(SIGNIFICANT_DIGITS_MIN as u16));
    }
    let negative = base.negative && is_odd(exponent);
    let base = &BigNumeric { negative: false, ..base.clone() };
    let weight = ln_weight(base);
    let rough = ln(base, (8 - weight).max(0)).mul_to(exponent, (8 - weight).max(0)).to_f64_lossy();
    if rough.abs() > EXPONENT_MAX * 1.003_333 {
        return if rough > 0.0 { Err(overflow()) } else { Ok(BigNumeric::zero(DISPLAY_SCALE_MAX as u16)) };
    }
    let power = (rough * LOG10_E) as i32;
    let scale = result_scale(power, &[base.scale, exponent.scale]);
    let work_scale = ((scale + power).max(0) - weight + GUARD_DIGITS).max(0);
    let product = ln(base, work_scale).mul_to(exponent, work_scale);
    let mut result = exp(&product, scale)?;
    result.negative = negative && !result.is_zero();
    Ok(result)
}

fn pow_int(base: &BigNumeric, exponent: i32, exponent_scale: u16) -> PgResult<BigNumeric> {
    let power = pow_int_weight(base, exponent);
    if power > f64::from((WEIGHT_MAX + 1) * DEC_DIGITS) {
        return Err(overflow());
    }
    if power + 1.0 < -f64::from(DISPLAY_SCALE_MAX) {
        return Ok(BigNumeric::zero(DISPLAY_SCALE_MAX as u16));
    }
    let scale = result_scale(power as i32, &[base.scale, exponent_scale]);
    match exponent {
        0 => return Ok(BigNumeric { scale: scale as u16, ..one() }),
        1 => return Ok(base.clone().round(scale)),
        2 => return Ok(base.mul_to(base, scale)),
        _ if base.is_zero() => return Ok(BigNumeric::zero(scale as u16)),
        -1 => return Ok(one().div_to(base, scale, true)),
        _ => {}
    }
    // Square and multiply, with as many digits as the result shows, the errors of the steps, and some to spare.
    let digits = (1 + scale + power as i32).max(0) + f64::from(exponent).abs().ln() as i32 + GUARD_DIGITS + 4;
    let limited = |product: BigNumeric| {
        let scale = digits - decimal_weight(&product);
        product.round(scale)
    };
    let mut bits = exponent.unsigned_abs();
    let mut square = base.clone();
    let mut result = one();
    while bits > 0 {
        if bits & 1 == 1 {
            result = limited(result.mul(&square));
        }
        bits >>= 1;
        if bits > 0 {
            square = limited(square.mul(&square));
        }
        if square.weight.max(result.weight) > WEIGHT_MAX {
            return if exponent > 0 { Err(overflow()) } else { Ok(BigNumeric::zero(scale as u16)) };
        }
        if square.is_zero() {
            return Ok(BigNumeric::zero(scale as u16));
        }
    }
    Ok(if exponent < 0 { one().div_to(&result, scale, true) } else { result.round(scale) })
}

/// An estimate of the power of ten of `base ^ exponent`.
fn pow_int_weight(base: &BigNumeric, exponent: i32) -> f64 {
    if base.is_zero() {
        return 0.0;
    }
    let mut digits = f64::from(base.digit(0));
    let mut power = base.weight * DEC_DIGITS;
    for digit in base.digits.iter().take(4).skip(1) {
        digits = digits * f64::from(BASE) + f64::from(*digit);
        power -= DEC_DIGITS;
    }
    f64::from(exponent) * (digits.log10() + f64::from(power))
}
