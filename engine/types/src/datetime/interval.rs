//! Intervals as values: arithmetic, normal forms, and type modifiers.
//!
//! Months, days and microseconds are kept apart; an operation carries from one to the next only where it says so
//! (`justify_*`, the fractions that multiplication leaves).

use crate::datetime::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SEC, out_of_range};
use crate::datum::Interval;
use crate::error::{PgError, PgResult};
use crate::numeric::division_by_zero;

const DAYS_PER_MONTH: i32 = 30;

#[cold]
pub(crate) fn interval_out_of_range() -> PgError {
    out_of_range("interval out of range")
}

impl Interval {
    /// `infinity`.
    pub const INFINITY: Interval = Interval { months: i32::MAX, days: i32::MAX, micros: i64::MAX };
    /// `-infinity`.
    pub const MINUS_INFINITY: Interval = Interval { months: i32::MIN, days: i32::MIN, micros: i64::MIN };

    /// An interval of these parts.
    pub fn new(months: i32, days: i32, micros: i64) -> Interval {
        Interval { months, days, micros }
    }

    /// Whether it is `infinity` or `-infinity`.
    pub fn is_infinite(&self) -> bool {
        *self == Interval::INFINITY || *self == Interval::MINUS_INFINITY
    }

    /// Whether it is neither `infinity` nor `-infinity`.
    pub fn is_finite(&self) -> bool {
        !self.is_infinite()
    }

    /// `-self`.
    pub fn neg(&self) -> PgResult<Interval> {
        if self.is_infinite() {
            let positive = *self == Interval::INFINITY;
            return Ok(if positive { Interval::MINUS_INFINITY } else { Interval::INFINITY });
        }
        finite(self.months.checked_neg(), self.days.checked_neg(), self.micros.checked_neg())
    }

    /// `self + other`.
    pub fn add(&self, other: &Interval) -> PgResult<Interval> {
        match (self.is_infinite(), other.is_infinite()) {
            (true, true) if self != other => Err(interval_out_of_range()),
            (true, _) => Ok(*self),
            (false, true) => Ok(*other),
            (false, false) => finite(
                self.months.checked_add(other.months),
                self.days.checked_add(other.days),
                self.micros.checked_add(other.micros),
            ),
        }
    }

    /// `self - other`.
    pub fn sub(&self, other: &Interval) -> PgResult<Interval> {
        if self.is_infinite() && self == other {
            return Err(interval_out_of_range());
        }
        if self.is_infinite() || other.is_infinite() {
            return self.add(&other.neg()?);
        }
        finite(
            self.months.checked_sub(other.months),
            self.days.checked_sub(other.days),
            self.micros.checked_sub(other.micros),
        )
    }

    /// `self * factor`: fractions of months become days, fractions of days become microseconds.
    pub fn mul(&self, factor: f64) -> PgResult<Interval> {
        if factor.is_nan() {
            return Err(interval_out_of_range());
        }
        if self.is_infinite() || factor.is_infinite() {
            let span = crate::compare::interval_span_micros(self);
            if factor == 0.0 || span == 0 {
                return Err(interval_out_of_range());
            }
            let positive = (span > 0) == (factor > 0.0);
            return Ok(if positive { Interval::INFINITY } else { Interval::MINUS_INFINITY });
        }
        self.scaled(|part| part * factor)
    }

    /// `self / divisor`.
    pub fn div(&self, divisor: f64) -> PgResult<Interval> {
        if divisor == 0.0 {
            return Err(division_by_zero());
        }
        if divisor.is_nan() || (self.is_infinite() && divisor.is_infinite()) {
            return Err(interval_out_of_range());
        }
        if self.is_infinite() {
            return if divisor < 0.0 { self.neg() } else { Ok(*self) };
        }
        self.scaled(|part| part / divisor)
    }

    /// Multiplies or divides each part; what a part has in fractions cascades down, as in PostgreSQL's `interval_mul`.
    fn scaled(&self, scale: impl Fn(f64) -> f64) -> PgResult<Interval> {
        let whole = |value: f64| -> PgResult<i32> {
            if value.is_nan() || value >= f64::from(i32::MAX) + 1.0 || value < f64::from(i32::MIN) {
                return Err(interval_out_of_range());
            }
            Ok(value as i32)
        };
        let months = whole(scale(f64::from(self.months)))?;
        let days = whole(scale(f64::from(self.days)))?;
        let month_remainder_days =
            round_to_micros((scale(f64::from(self.months)) - f64::from(months)) * f64::from(DAYS_PER_MONTH));
        let remainder = scale(f64::from(self.days)) - f64::from(days) + month_remainder_days
            - month_remainder_days.trunc();
        let mut seconds = round_to_micros(remainder * 86_400.0);
        let mut days = i64::from(days);
        // A second's worth of rounding can make a whole day of it.
        if seconds.abs() >= 86_400.0 {
            days += (seconds / 86_400.0) as i64;
            seconds -= (seconds / 86_400.0).trunc() * 86_400.0;
        }
        days += month_remainder_days as i64;
        let micros = (scale(self.micros as f64) + seconds * MICROS_PER_SEC as f64).round_ties_even();
        if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&micros) {
            return Err(interval_out_of_range());
        }
        finite(Some(months), i32::try_from(days).ok(), Some(micros as i64))
    }

    /// `justify_hours`: whole days of 24 hours become days.
    pub fn justify_hours(&self) -> PgResult<Interval> {
        if self.is_infinite() {
            return Ok(*self);
        }
        let mut days = i64::from(self.days) + self.micros / MICROS_PER_DAY;
        let mut micros = self.micros % MICROS_PER_DAY;
        if days > 0 && micros < 0 {
            micros += MICROS_PER_DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= MICROS_PER_DAY;
            days += 1;
        }
        finite(Some(self.months), i32::try_from(days).ok(), Some(micros))
    }

    /// `justify_days`: whole months of 30 days become months.
    pub fn justify_days(&self) -> PgResult<Interval> {
        if self.is_infinite() {
            return Ok(*self);
        }
        let mut months = i64::from(self.months) + i64::from(self.days / DAYS_PER_MONTH);
        let mut days = self.days % DAYS_PER_MONTH;
        if months > 0 && days < 0 {
            days += DAYS_PER_MONTH;
            months -= 1;
        } else if months < 0 && days > 0 {
            days -= DAYS_PER_MONTH;
            months += 1;
        }
        finite(i32::try_from(months).ok(), Some(days), Some(self.micros))
    }

    /// `justify_interval`: hours to days, days to months, and one sign for all.
    pub fn justify(&self) -> PgResult<Interval> {
        if self.is_infinite() {
            return Ok(*self);
        }
        let mut days = i64::from(self.days) + self.micros / MICROS_PER_DAY;
        let mut micros = self.micros % MICROS_PER_DAY;
        let per_month = i64::from(DAYS_PER_MONTH);
        let mut months = i64::from(self.months) + days / per_month;
        days %= per_month;
        if months > 0 && (days < 0 || (days == 0 && micros < 0)) {
            days += per_month;
            months -= 1;
        } else if months < 0 && (days > 0 || (days == 0 && micros > 0)) {
            days -= per_month;
            months += 1;
        }
        if days > 0 && micros < 0 {
            micros += MICROS_PER_DAY;
            days -= 1;
        } else if days < 0 && micros > 0 {
            micros -= MICROS_PER_DAY;
            days += 1;
        }
        finite(i32::try_from(months).ok(), i32::try_from(days).ok(), Some(micros))
    }

    /// Makes it fit the type modifier of `interval(p)`, `interval year to month`, ...: drops the fields below the last
    /// one named, and rounds fractions of seconds.
    pub fn apply_typmod(&self, typmod: i32) -> PgResult<Interval> {
        if typmod < 0 || self.is_infinite() {
            return Ok(*self);
        }
        let (range, precision) = (typmod >> 16 & 0x7FFF, typmod & 0xFFFF);
        let mut fitted = *self;
        // The bits of the fields, as in PostgreSQL's INTERVAL_MASK.
        const MONTH: i32 = 1 << 1;
        const YEAR: i32 = 1 << 2;
        const DAY: i32 = 1 << 3;
        const HOUR: i32 = 1 << 10;
        const MINUTE: i32 = 1 << 11;
        const SECOND: i32 = 1 << 12;
        let truncate = |micros: i64, unit: i64| micros / unit * unit;
        if range == YEAR {
            fitted = Interval::new(self.months / 12 * 12, 0, 0);
        } else if range == MONTH || range == YEAR | MONTH {
            fitted = Interval::new(self.months, 0, 0);
        } else if range == DAY {
            fitted.micros = 0;
        } else if range & (HOUR | MINUTE | SECOND) == HOUR {
            fitted.micros = truncate(self.micros, MICROS_PER_HOUR);
        } else if range & (MINUTE | SECOND) == MINUTE {
            fitted.micros = truncate(self.micros, MICROS_PER_MINUTE);
        }
        if precision != 0xFFFF {
            fitted.micros = round_micros(fitted.micros, precision).ok_or_else(interval_out_of_range)?;
        }
        Ok(fitted)
    }
}

/// Rounds microseconds half away from zero to this many digits of a second.
pub(crate) fn round_micros(micros: i64, precision: i32) -> Option<i64> {
    let dropped = u32::try_from(6 - precision).ok().filter(|dropped| *dropped > 0);
    let Some(dropped) = dropped else { return Some(micros) };
    let unit = 10i64.pow(dropped);
    let rounded = micros.unsigned_abs().checked_add(unit.unsigned_abs() / 2)? / unit.unsigned_abs();
    let rounded = i64::try_from(rounded * unit.unsigned_abs()).ok()?;
    Some(if micros < 0 { -rounded } else { rounded })
}

/// Rounds to six digits after the point, to drop what floating point adds.
fn round_to_micros(value: f64) -> f64 {
    (value * 1_000_000.0).round_ties_even() / 1_000_000.0
}

/// An interval of these parts, if none overflowed and they do not spell an infinity.
fn finite(months: Option<i32>, days: Option<i32>, micros: Option<i64>) -> PgResult<Interval> {
    match (months, days, micros) {
        (Some(months), Some(days), Some(micros)) => {
            let result = Interval::new(months, days, micros);
            if result.is_infinite() { Err(interval_out_of_range()) } else { Ok(result) }
        }
        _ => Err(interval_out_of_range()),
    }
}
