//! Decimal numbers as digits in base 10,000: PostgreSQL's own wire form, in which its rules for scales are stated.

/// A finite number: `sign * sum(digits[i] * 10000^(weight - i))`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BigNumeric {
    /// Whether it is below zero; never set on zero.
    pub(crate) negative: bool,
    /// The power of 10,000 of the first digit.
    pub(crate) weight: i32,
    /// Decimal digits shown after the point.
    pub(crate) scale: u16,
    /// Digits of 0 to 9,999, most significant first; neither the first nor the last is 0. Empty for zero.
    pub(crate) digits: Vec<u16>,
}

/// Decimal digits in one digit of base 10,000.
pub(crate) const DEC_DIGITS: i32 = 4;
/// The base.
pub(crate) const BASE: u32 = 10_000;

impl BigNumeric {
    /// `units * 10^-scale`.
    pub fn from_units(units: i128, scale: u16) -> BigNumeric {
        let negative = units < 0;
        let mut rest = units.unsigned_abs();
        // The last digit of base 10,000 holds the last `scale % 4` decimals, filled up with zeros.
        let fraction_digits = i32::from(scale.div_ceil(4));
        let fill = fraction_digits * DEC_DIGITS - i32::from(scale);
        let mut digits = Vec::with_capacity(12);
        if fill > 0 {
            let keep = 10u128.pow((DEC_DIGITS - fill).cast_unsigned());
            digits.push((rest % keep) as u16 * 10u16.pow(fill.cast_unsigned()));
            rest /= keep;
        }
        while rest > 0 {
            digits.push((rest % u128::from(BASE)) as u16);
            rest /= u128::from(BASE);
        }
        digits.reverse();
        let weight = digits.len() as i32 - 1 - fraction_digits;
        let mut number = BigNumeric { negative, weight, scale, digits };
        number.strip();
        number
    }

    /// The number with these digits of base 10,000 and no more decimals shown than they need; `None` if a digit is out
    /// of range.
    pub fn from_digits(negative: bool, weight: i32, digits: Vec<u16>) -> Option<BigNumeric> {
        if digits.iter().any(|d| u32::from(*d) >= BASE) {
            return None;
        }
        let mut number = BigNumeric { negative, weight, scale: 0, digits };
        number.strip();
        number.scale = number.min_scale();
        Some(number)
    }

    /// The least scale that shows every decimal.
    pub fn min_scale(&self) -> u16 {
        let Some(last) = self.digits.last() else { return 0 };
        let shown = (self.digits.len() as i32 - 1 - self.weight) * DEC_DIGITS;
        let zeros =
            (0..DEC_DIGITS).take_while(|n| last % 10u16.pow(n.cast_unsigned() + 1) == 0).count() as i32;
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
        let mut units = 0i128;
        let fraction_digits = i32::from(self.scale.div_ceil(4));
        if self.digits.is_empty() {
            return Some(0);
        }
        if self.weight + fraction_digits > 9 {
            return None;
        }
        for at in 0..=self.weight + fraction_digits {
            let digit = usize::try_from(at).ok().and_then(|at| self.digits.get(at)).copied().unwrap_or(0);
            units = units.checked_mul(i128::from(BASE))?.checked_add(i128::from(digit))?;
        }
        let fill = fraction_digits * DEC_DIGITS - i32::from(self.scale);
        units /= 10i128.pow(fill.cast_unsigned());
        Some(if self.negative { -units } else { units })
    }
}
