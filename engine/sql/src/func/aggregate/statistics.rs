//! Variance, standard deviation, covariance, correlation, regression.
//!
//! Over floats by the updating formulas of Youngs and Cramer, over exact numbers from the sums of values and squares,
//! both as PostgreSQL does, so that the results agree to the last digit.

use shardforge_types::numeric::NumericSum;
use shardforge_types::{Datum, Numeric, Oid, PgError, PgResult, SqlState, oid};

use super::{Accumulator, AggregateFactory};
use crate::exec::env::EvalEnv;

/// The factories of this family.
pub(super) fn factory(name: &str, args: &[Oid]) -> Option<AggregateFactory> {
    if let [oid::FLOAT8, oid::FLOAT8] = args {
        return regression(name);
    }
    let [arg] = *args else { return None };
    let exact = match arg {
        oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC => true,
        oid::FLOAT4 | oid::FLOAT8 => false,
        _ => return None,
    };
    Some(match (name, exact) {
        ("var_pop", true) => |_| Box::new(ExactSpread::new(Spread { sample: false, root: false })),
        ("var_samp" | "variance", true) => {
            |_| Box::new(ExactSpread::new(Spread { sample: true, root: false }))
        }
        ("stddev_pop", true) => |_| Box::new(ExactSpread::new(Spread { sample: false, root: true })),
        ("stddev_samp" | "stddev", true) => {
            |_| Box::new(ExactSpread::new(Spread { sample: true, root: true }))
        }
        ("var_pop", false) => |_| Box::new(FloatSpread::new(Spread { sample: false, root: false })),
        ("var_samp" | "variance", false) => {
            |_| Box::new(FloatSpread::new(Spread { sample: true, root: false }))
        }
        ("stddev_pop", false) => |_| Box::new(FloatSpread::new(Spread { sample: false, root: true })),
        ("stddev_samp" | "stddev", false) => {
            |_| Box::new(FloatSpread::new(Spread { sample: true, root: true }))
        }
        _ => return None,
    })
}

/// Of the sample or of the population; the standard deviation or the variance.
#[derive(Clone, Copy)]
struct Spread {
    sample: bool,
    root: bool,
}

#[cold]
fn overflow() -> PgError {
    PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

/// Integers and numerics.
struct ExactSpread {
    spread: Spread,
    rows: i64,
    sum: NumericSum,
    squares: NumericSum,
    /// What has not gone to the sums yet: integers, as long as they fit.
    small_sum: i128,
    small_squares: i128,
    not_a_number: bool,
}

impl ExactSpread {
    fn new(spread: Spread) -> ExactSpread {
        ExactSpread {
            spread,
            rows: 0,
            sum: NumericSum::default(),
            squares: NumericSum::default(),
            small_sum: 0,
            small_squares: 0,
            not_a_number: false,
        }
    }

    fn flush(&mut self) -> PgResult<()> {
        self.sum.add(&Numeric::from_units(self.small_sum, 0))?;
        self.squares.add(&Numeric::from_units(self.small_squares, 0))?;
        (self.small_sum, self.small_squares) = (0, 0);
        Ok(())
    }
}

impl Accumulator for ExactSpread {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let Some(value) = args.first() else { return Ok(()) };
        if let Some(value) = value.as_i64() {
            let value = i128::from(value);
            let squares = match self.small_squares.checked_add(value * value) {
                Some(squares) => squares,
                None => {
                    self.flush()?;
                    value * value
                }
            };
            self.small_squares = squares;
            self.small_sum += value;
            self.rows += 1;
        } else if let Datum::Numeric(value) = value {
            self.rows += 1;
            if value.is_finite() {
                self.sum.add(value)?;
                self.squares.add(&value.mul(value)?)?;
            } else {
                self.not_a_number = true;
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        if self.rows < if self.spread.sample { 2 } else { 1 } {
            return Ok(Datum::Null);
        }
        if self.not_a_number {
            return Ok(Datum::Numeric(Numeric::NaN));
        }
        self.flush()?;
        let rows = Numeric::from(self.rows);
        let sum = self.sum.total()?;
        let numerator = rows.mul(&self.squares.total()?)?.sub(&sum.mul(&sum)?)?;
        if numerator.is_zero() || numerator.is_negative() {
            return Ok(Datum::Numeric(Numeric::from(0i64)));
        }
        let other = if self.spread.sample { Numeric::from(self.rows - 1) } else { rows.clone() };
        let variance = numerator.div(&rows.mul(&other)?)?;
        if self.spread.root { variance.sqrt_to_own_scale() } else { Ok(variance) }.map(Datum::Numeric)
    }
}

/// float4 and float8.
struct FloatSpread {
    spread: Spread,
    rows: f64,
    sum: f64,
    /// Sum of the squared deviations from the mean.
    deviations: f64,
}

impl FloatSpread {
    fn new(spread: Spread) -> FloatSpread {
        FloatSpread { spread, rows: 0.0, sum: 0.0, deviations: 0.0 }
    }
}

impl Accumulator for FloatSpread {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let value = match args.first() {
            Some(Datum::Float8(value)) => *value,
            Some(Datum::Float4(value)) => f64::from(*value),
            _ => return Ok(()),
        };
        let (rows_before, sum_before) = (self.rows, self.sum);
        self.rows += 1.0;
        self.sum += value;
        if rows_before > 0.0 {
            let deviation = value * self.rows - self.sum;
            self.deviations += deviation * deviation / (self.rows * rows_before);
            if self.sum.is_infinite() || self.deviations.is_infinite() {
                if !sum_before.is_infinite() && !value.is_infinite() {
                    return Err(overflow());
                }
                self.deviations = f64::NAN;
            }
        } else if !value.is_finite() {
            self.deviations = f64::NAN;
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        let divisor = if self.spread.sample { self.rows - 1.0 } else { self.rows };
        if divisor <= 0.0 {
            return Ok(Datum::Null);
        }
        let variance = self.deviations / divisor;
        Ok(Datum::Float8(if self.spread.root { variance.sqrt() } else { variance }))
    }
}

/// The aggregates of pairs (Y, X).
fn regression(name: &str) -> Option<AggregateFactory> {
    Some(match name {
        "regr_count" => |_| Box::new(Regression::new(|r| Some(Datum::Int8(r.rows as i64)))),
        "regr_sxx" => |_| Box::new(Regression::new(|r| r.unless_empty(r.xx))),
        "regr_syy" => |_| Box::new(Regression::new(|r| r.unless_empty(r.yy))),
        "regr_sxy" => |_| Box::new(Regression::new(|r| r.unless_empty(r.xy))),
        "regr_avgx" => |_| Box::new(Regression::new(|r| r.unless_empty(r.x / r.rows))),
        "regr_avgy" => |_| Box::new(Regression::new(|r| r.unless_empty(r.y / r.rows))),
        "covar_pop" => |_| Box::new(Regression::new(|r| r.unless_empty(r.xy / r.rows))),
        "covar_samp" => {
            |_| Box::new(Regression::new(|r| (r.rows >= 2.0).then(|| Datum::Float8(r.xy / (r.rows - 1.0)))))
        }
        "corr" => |_| {
            Box::new(Regression::new(|r| {
                (r.rows >= 1.0 && r.xx != 0.0 && r.yy != 0.0)
                    .then(|| Datum::Float8(r.xy / (r.xx * r.yy).sqrt()))
            }))
        },
        "regr_r2" => |_| {
            Box::new(Regression::new(|r| match (r.rows >= 1.0 && r.xx != 0.0, r.yy == 0.0) {
                (false, _) => None,
                (true, true) => Some(Datum::Float8(1.0)),
                (true, false) => Some(Datum::Float8((r.xy * r.xy) / (r.xx * r.yy))),
            }))
        },
        "regr_slope" => |_| {
            Box::new(Regression::new(|r| (r.rows >= 1.0 && r.xx != 0.0).then(|| Datum::Float8(r.xy / r.xx))))
        },
        "regr_intercept" => |_| {
            Box::new(Regression::new(|r| {
                (r.rows >= 1.0 && r.xx != 0.0).then(|| Datum::Float8((r.y - r.x * r.xy / r.xx) / r.rows))
            }))
        },
        _ => return None,
    })
}

/// Sums over pairs of which neither is null.
struct Regression {
    result: fn(&Regression) -> Option<Datum>,
    rows: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Regression {
    fn new(result: fn(&Regression) -> Option<Datum>) -> Regression {
        Regression { result, rows: 0.0, x: 0.0, y: 0.0, xx: 0.0, yy: 0.0, xy: 0.0 }
    }

    fn unless_empty(&self, value: f64) -> Option<Datum> {
        (self.rows >= 1.0).then_some(Datum::Float8(value))
    }
}

impl Accumulator for Regression {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let [Datum::Float8(y), Datum::Float8(x)] = *args else { return Ok(()) };
        let (rows_before, x_before, y_before) = (self.rows, self.x, self.y);
        self.rows += 1.0;
        self.x += x;
        self.y += y;
        if rows_before > 0.0 {
            let (dx, dy) = (x * self.rows - self.x, y * self.rows - self.y);
            let scale = 1.0 / (self.rows * rows_before);
            self.xx += dx * dx * scale;
            self.yy += dy * dy * scale;
            self.xy += dx * dy * scale;
            let sums = [self.x, self.xx, self.y, self.yy, self.xy];
            if sums.iter().any(|sum| sum.is_infinite()) {
                let x_finite = !x_before.is_infinite() && !x.is_infinite();
                let y_finite = !y_before.is_infinite() && !y.is_infinite();
                if (self.x.is_infinite() || self.xx.is_infinite()) && x_finite
                    || (self.y.is_infinite() || self.yy.is_infinite()) && y_finite
                    || self.xy.is_infinite() && x_finite && y_finite
                {
                    return Err(overflow());
                }
                for sum in [&mut self.xx, &mut self.yy, &mut self.xy] {
                    if sum.is_infinite() {
                        *sum = f64::NAN;
                    }
                }
            }
        } else {
            if !x.is_finite() {
                (self.xx, self.xy) = (f64::NAN, f64::NAN);
            }
            if !y.is_finite() {
                (self.yy, self.xy) = (f64::NAN, f64::NAN);
            }
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok((self.result)(self).unwrap_or(Datum::Null))
    }
}
