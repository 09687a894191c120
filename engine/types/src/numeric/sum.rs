//! Sums of many numbers: what `sum` and `avg` accumulate in, without making a number a row.

use crate::error::PgResult;
use crate::numeric::{Numeric, pow10};

/// A running sum. Small numbers add up in an `i128`; what does not fit there is carried as a [`Numeric`].
#[derive(Clone, Debug, Default)]
pub struct NumericSum {
    units: i128,
    scale: u16,
    rest: Option<Numeric>,
}

impl NumericSum {
    /// Adds a number.
    pub fn add(&mut self, value: &Numeric) -> PgResult<()> {
        if let Numeric::Small { units, scale } = value
            && let Some((sum, scale)) = self.small_sum(i128::from(*units), *scale)
        {
            (self.units, self.scale) = (sum, scale);
            return Ok(());
        }
        self.rest = Some(match &self.rest {
            Some(rest) => rest.add(value)?,
            None => value.clone(),
        });
        Ok(())
    }

    /// Adds an integer.
    pub fn add_int(&mut self, value: i64) -> PgResult<()> {
        self.add(&Numeric::from(value))
    }

    /// Takes a number away again, as a moving window frame does. The scale stays.
    pub fn sub(&mut self, value: &Numeric) -> PgResult<()> {
        self.add(&value.neg())
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &NumericSum) -> PgResult<()> {
        self.add(&other.total()?)
    }

    /// The sum so far; its scale is the greatest of the numbers added.
    pub fn total(&self) -> PgResult<Numeric> {
        let small = Numeric::from_units(self.units, self.scale);
        match &self.rest {
            Some(rest) => rest.add(&small),
            None => Ok(small),
        }
    }

    fn small_sum(&self, units: i128, scale: u16) -> Option<(i128, u16)> {
        let common = scale.max(self.scale);
        let a = self.units.checked_mul(pow10(common - self.scale))?;
        let b = units.checked_mul(pow10(common - scale))?;
        Some((a.checked_add(b)?, common))
    }
}
