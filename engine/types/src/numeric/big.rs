//! Decimal numbers as digits in base 10,000: PostgreSQL's own wire form, in which its rules for scales are stated.
//!
//! The arithmetic is the schoolbook's: numbers of more than a few dozen digits are rare in a database.

use std::cmp::Ordering;

use crate::error::PgResult;
use crate::numeric::{SCALE_MAX, WEIGHT_MAX, overflow};

/// Decimal digits in one digit of base 10,000.
pub(crate) const DEC_DIGITS: i32 = 4;
/// The base.
pub(crate) const BASE: u32 = 10_000;

/// A finite number: `sign * sum(digits[i] * 10000^(weight - i))`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigNumeric {
    /// Whether it is below zero; never set on zero.
    pub(crate) negative: bool,
    /// The power of 10,000 of the first digit; 0 for zero.
    pub(crate) weight: i32,
    /// Decimal digits shown after the point.
    pub(crate) scale: u16,
    /// Digits of 0 to 9,999, most significant first; neither the first nor the last is 0. Empty for zero.
    pub(crate) digits: Vec<u16>,
}

impl BigNumeric {
    /// Zero with this scale.
    pub(crate) fn zero(scale: u16) -> BigNumeric {
        BigNumeric { scale, ..BigNumeric::default() }
    }

    /// `units * 10^-scale`.
    pub fn from_units(units: i128, scale: u16) -> BigNumeric {
        let negative = units < 0;
        let mut rest = units.unsigned_abs();
        // The last digit of base 10,000 holds the last `scale % 4` decimals, filled up with zeros.
        let fraction_digits = i32::from(scale.div_ceil(4));
        let fill = (fraction_digits * DEC_DIGITS - i32::from(scale)).cast_unsigned();
        let mut digits = Vec::with_capacity(10);
        if fill > 0 {
            let keep = 10u128.pow(4 - fill);
            digits.push((rest % keep) as u16 * 10u16.pow(fill));
            rest /= keep;
        }
        while rest > u128::from(u64::MAX) {
            digits.push((rest % u128::from(BASE)) as u16);
            rest /= u128::from(BASE);
        }
        let mut rest = rest as u64;
        while rest > 0 {
            digits.push((rest % u64::from(BASE)) as u16);
            rest /= u64::from(BASE);
        }
        digits.reverse();
        let weight = digits.len() as i32 - 1 - fraction_digits;
        let mut number = BigNumeric { negative, weight, scale, digits };
        number.strip();
        number
    }

    /// The number with these digits of base 10,000 and no more decimals shown than they need; `None` if a digit or
    /// the weight is out of range.
    pub fn from_digits(negative: bool, weight: i32, digits: Vec<u16>) -> Option<BigNumeric> {
        if digits.iter().any(|d| u32::from(*d) >= BASE) || weight.abs() > 2 * WEIGHT_MAX {
            return None;
        }
        let mut number = BigNumeric { negative, weight, scale: 0, digits };
        number.strip();
        number.scale = number.min_scale();
        Some(number)
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// The least scale that shows every decimal.
    pub fn min_scale(&self) -> u16 {
        let Some(last) = self.digits.last() else { return 0 };
        let shown = (self.digits.len() as i32 - 1 - self.weight) * DEC_DIGITS;
        let zeros = (1..4).take_while(|n| last % 10u16.pow(*n) == 0).count() as i32;
        u16::try_from((shown - zeros).max(0)).unwrap_or(u16::MAX)
    }

    /// Drops zeros at both ends.
    pub(crate) fn strip(&mut self) {
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        let zeros = self.digits.iter().take_while(|d| **d == 0).count();
        if zeros > 0 {
            self.digits.drain(..zeros);
            self.weight -= zeros as i32;
        }
        if self.digits.is_empty() {
            self.weight = 0;
            self.negative = false;
        }
    }

    /// The number in units of the last shown decimal, if that fits.
    pub(crate) fn to_units(&self) -> Option<i128> {
        let fraction_digits = i32::from(self.scale.div_ceil(4));
        if self.digits.is_empty() {
            return Some(0);
        }
        if self.weight + fraction_digits > 8 {
            return None;
        }
        let mut units = 0i128;
        for at in 0..=self.weight + fraction_digits {
            units = units * i128::from(BASE) + i128::from(self.digit(at));
        }
        let fill = fraction_digits * DEC_DIGITS - i32::from(self.scale);
        units /= 10i128.pow(fill.cast_unsigned());
        Some(if self.negative { -units } else { units })
    }

    /// Digit number `at`, counted from the first; 0 outside.
    pub(crate) fn digit(&self, at: i32) -> u16 {
        usize::try_from(at).ok().and_then(|at| self.digits.get(at)).copied().unwrap_or(0)
    }

    /// Fails if the number has more digits than a numeric can have.
    pub(crate) fn checked(self) -> PgResult<BigNumeric> {
        if self.weight > WEIGHT_MAX || self.scale > SCALE_MAX { Err(overflow()) } else { Ok(self) }
    }

    pub(crate) fn cmp_value(&self, other: &BigNumeric) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_abs(other),
            (true, true) => other.cmp_abs(self),
        }
    }

    fn cmp_abs(&self, other: &BigNumeric) -> Ordering {
        match (self.is_zero(), other.is_zero()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => self.weight.cmp(&other.weight).then_with(|| self.digits.cmp(&other.digits)),
        }
    }

    pub(crate) fn negated(mut self) -> BigNumeric {
        self.negative = !self.negative && !self.is_zero();
        self
    }

    /// The sum, exact, with the greater scale of the two.
    pub(crate) fn add(&self, other: &BigNumeric) -> BigNumeric {
        let scale = self.scale.max(other.scale);
        let mut sum = if self.negative == other.negative {
            BigNumeric { negative: self.negative, ..self.add_abs(other) }
        } else {
            match self.cmp_abs(other) {
                Ordering::Equal => BigNumeric::default(),
                Ordering::Greater => BigNumeric { negative: self.negative, ..self.sub_abs(other) },
                Ordering::Less => BigNumeric { negative: other.negative, ..other.sub_abs(self) },
            }
        };
        sum.scale = scale;
        sum
    }

    pub(crate) fn sub(&self, other: &BigNumeric) -> BigNumeric {
        self.add(&other.clone().negated())
    }

    fn add_abs(&self, other: &BigNumeric) -> BigNumeric {
        if self.is_zero() || other.is_zero() {
            return if self.is_zero() { other.clone() } else { self.clone() };
        }
        let weight = self.weight.max(other.weight) + 1;
        let last = self.last_power().min(other.last_power());
        let mut digits = vec![0u16; (weight - last + 1) as usize];
        let mut carry = 0;
        for power in last..=weight {
            let sum = self.digit(self.weight - power) + other.digit(other.weight - power) + carry;
            carry = u16::from(u32::from(sum) >= BASE);
            digits[(weight - power) as usize] = if carry == 1 { sum - BASE as u16 } else { sum };
        }
        let mut sum = BigNumeric { negative: false, weight, scale: 0, digits };
        sum.strip();
        sum
    }

    /// The difference of absolute values; `self` is not the smaller one.
    fn sub_abs(&self, other: &BigNumeric) -> BigNumeric {
        if other.is_zero() {
            return self.clone();
        }
        let last = self.last_power().min(other.last_power());
        let mut digits = vec![0u16; (self.weight - last + 1) as usize];
        let mut borrow = 0;
        for power in last..=self.weight {
            let minuend = self.digit(self.weight - power) + BASE as u16;
            let difference = minuend - other.digit(other.weight - power) - borrow;
            borrow = u16::from(u32::from(difference) < BASE);
            digits[(self.weight - power) as usize] =
                if borrow == 1 { difference } else { difference - BASE as u16 };
        }
        let mut difference = BigNumeric { negative: false, weight: self.weight, scale: 0, digits };
        difference.strip();
        difference
    }

    /// The power of 10,000 of the last digit.
    fn last_power(&self) -> i32 {
        self.weight - self.digits.len() as i32 + 1
    }

    /// The product, exact; its scale is left at 0 for the caller to set.
    pub(crate) fn mul(&self, other: &BigNumeric) -> BigNumeric {
        if self.is_zero() || other.is_zero() {
            return BigNumeric::default();
        }
        // Products are below 10^8, so a column of 2^37 of them fits u64.
        let mut columns = vec![0u64; self.digits.len() + other.digits.len()];
        for (i, a) in self.digits.iter().enumerate() {
            for (j, b) in other.digits.iter().enumerate() {
                columns[i + j + 1] += u64::from(*a) * u64::from(*b);
            }
        }
        let mut carry = 0;
        let mut digits = vec![0u16; columns.len()];
        for (digit, column) in digits.iter_mut().zip(&columns).rev() {
            let sum = column + carry;
            *digit = (sum % u64::from(BASE)) as u16;
            carry = sum / u64::from(BASE);
        }
        let negative = self.negative != other.negative;
        let mut product = BigNumeric { negative, weight: self.weight + other.weight + 1, scale: 0, digits };
        product.strip();
        product
    }

    /// The product, rounded to `scale`.
    pub(crate) fn mul_to(&self, other: &BigNumeric, scale: i32) -> BigNumeric {
        self.mul(other).round(scale)
    }

    /// The quotient by something that is not zero, rounded (half away from zero) or truncated to `scale`.
    pub(crate) fn div_to(&self, divisor: &BigNumeric, scale: i32, rounded: bool) -> BigNumeric {
        let shown = u16::try_from(scale.max(0)).unwrap_or(u16::MAX);
        if self.is_zero() || divisor.is_zero() {
            return BigNumeric::zero(shown);
        }
        // Enough digits for the scale, and one more to round by.
        let fraction_digits = scale.div_euclid(DEC_DIGITS) + 2;
        let weight = self.weight - divisor.weight;
        let count = weight + 1 + fraction_digits;
        if count <= 0 {
            return BigNumeric::zero(shown);
        }
        let digits = long_division(&self.digits, &divisor.digits, count as usize);
        let mut quotient =
            BigNumeric { negative: self.negative != divisor.negative, weight, scale: 0, digits };
        quotient.strip();
        if rounded { quotient.round(scale) } else { quotient.trunc(scale) }
    }

    /// Rounds half away from zero to `scale` decimals; a negative scale rounds before the point.
    pub(crate) fn round(mut self, scale: i32) -> BigNumeric {
        let up = self.cut(scale);
        if up {
            // The unit at `scale`: one at that decimal place.
            let place = -scale;
            let weight = place.div_euclid(DEC_DIGITS);
            let unit = BigNumeric {
                negative: self.negative,
                weight,
                scale: 0,
                digits: vec![10u16.pow(place.rem_euclid(DEC_DIGITS).cast_unsigned())],
            };
            // `cut` may have left a zero, which has no sign.
            let shown = self.scale;
            self = BigNumeric { negative: unit.negative, ..self.add_abs(&unit) };
            self.scale = shown;
        }
        if self.is_zero() {
            self.negative = false;
        }
        self
    }

    /// Cuts off what is past `scale` decimals; a negative scale cuts before the point.
    pub(crate) fn trunc(mut self, scale: i32) -> BigNumeric {
        self.cut(scale);
        self.strip();
        self
    }

    /// Cuts off what is past `scale` decimals and answers whether rounding half away from zero would go up. Keeps the
    /// sign even of zero, for `round`.
    fn cut(&mut self, scale: i32) -> bool {
        self.scale = u16::try_from(scale.max(0)).unwrap_or(u16::MAX);
        // Decimal digits to keep, counted from the first decimal of the first digit.
        let keep = (self.weight + 1) * DEC_DIGITS + scale;
        let negative = self.negative;
        if self.is_zero() || keep >= self.digits.len() as i32 * DEC_DIGITS {
            return false;
        }
        if keep < 0 {
            self.digits.clear();
            self.weight = 0;
            return false;
        }
        let whole = (keep / DEC_DIGITS) as usize;
        let part = (keep % DEC_DIGITS).cast_unsigned();
        let up;
        if part == 0 {
            up = self.digits[whole] >= (BASE / 2) as u16;
            self.digits.truncate(whole);
        } else {
            let unit = 10u16.pow(4 - part);
            let rest = self.digits[whole] % unit;
            up = rest >= unit / 2;
            self.digits[whole] -= rest;
            self.digits.truncate(whole + 1);
        }
        self.strip();
        self.negative = negative;
        up
    }

    /// An approximation, good to about 15 digits; out of range it is infinite or zero.
    pub(crate) fn to_f64_lossy(&self) -> f64 {
        let mut value = 0f64;
        for digit in self.digits.iter().take(6) {
            value = value * f64::from(BASE) + f64::from(*digit);
        }
        let power = (self.weight + 1 - self.digits.len().min(6) as i32) * DEC_DIGITS;
        value *= 10f64.powi(power);
        if self.negative { -value } else { value }
    }
}

/// The first `count` digits of the quotient of two digit strings, the first of which has the weight
/// `weight(dividend) - weight(divisor)`. Neither string begins with 0. Knuth's algorithm D.
fn long_division(dividend: &[u16], divisor: &[u16], count: usize) -> Vec<u16> {
    if let [single] = divisor {
        let single = u32::from(*single);
        let mut rest = 0;
        return (0..count)
            .map(|at| {
                let value = rest * BASE + u32::from(dividend.get(at).copied().unwrap_or(0));
                rest = value % single;
                (value / single) as u16
            })
            .collect();
    }
    // Scale both so that the first digit of the divisor is at least half the base: estimates are then off by 2 at most.
    let n = divisor.len();
    let factor = BASE / (u32::from(divisor[0]) + 1);
    let scaled = |digits: &[u16], len: usize| {
        let mut out = vec![0i64; len + 1];
        let mut carry = 0;
        for at in (0..len).rev() {
            let value = digits.get(at).map_or(0, |d| u32::from(*d)) * factor + carry;
            out[at + 1] = i64::from(value % BASE);
            carry = value / BASE;
        }
        out[0] = i64::from(carry);
        out
    };
    let v = &scaled(divisor, n)[1..];
    let mut u = scaled(dividend, dividend.len().max(count + n));
    let base = i64::from(BASE);
    let mut quotient = vec![0u16; count];
    for (j, digit) in quotient.iter_mut().enumerate() {
        let head = u[j] * base + u[j + 1];
        let mut estimate = (head / v[0]).min(base - 1);
        while estimate * v[1] > (head - estimate * v[0]) * base + u[j + 2] {
            estimate -= 1;
        }
        let mut borrow = 0;
        for i in (0..n).rev() {
            let value = u[j + 1 + i] - estimate * v[i] - borrow;
            u[j + 1 + i] = value.rem_euclid(base);
            borrow = -value.div_euclid(base);
        }
        u[j] -= borrow;
        if u[j] < 0 {
            estimate -= 1;
            let mut carry = 0;
            for i in (0..n).rev() {
                let value = u[j + 1 + i] + v[i] + carry;
                u[j + 1 + i] = value % base;
                carry = value / base;
            }
            u[j] += carry;
        }
        *digit = estimate as u16;
    }
    quotient
}
