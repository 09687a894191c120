//! sum and avg.
//!
//! Integers add up in 128 bits and are checked once at the end; numerics in [`NumericSum`]; floats as PostgreSQL does,
//! one by one with its overflow check.

use std::sync::Arc;

use shardforge_types::numeric::NumericSum;
use shardforge_types::{Datum, Interval, Numeric, Oid, PgError, PgResult, SqlState, oid};

use super::{Accumulator, AggregateFactory};
use crate::exec::env::EvalEnv;
use crate::func::float;

/// The factories of this family.
pub(super) fn factory(name: &str, args: &[Oid]) -> Option<AggregateFactory> {
    let [arg] = *args else { return None };
    Some(match (name, arg) {
        ("sum", oid::INT2 | oid::INT4) => |_| Box::new(IntegerSum::new(IntegerResult::SumInt8)),
        ("sum", oid::INT8) => |_| Box::new(IntegerSum::new(IntegerResult::SumNumeric)),
        ("avg", oid::INT2 | oid::INT4 | oid::INT8) => |_| Box::new(IntegerSum::new(IntegerResult::Average)),
        ("sum", oid::NUMERIC) => {
            |_| Box::new(NumericTotal { total: NumericSum::default(), rows: 0, average: false })
        }
        ("avg", oid::NUMERIC) => {
            |_| Box::new(NumericTotal { total: NumericSum::default(), rows: 0, average: true })
        }
        ("sum", oid::FLOAT4) => |_| Box::new(Float4Sum { total: 0.0, rows: 0 }),
        ("sum", oid::FLOAT8) => |_| Box::new(Float8Sum { total: 0.0, rows: 0, average: false }),
        ("avg", oid::FLOAT4 | oid::FLOAT8) => |_| Box::new(Float8Sum { total: 0.0, rows: 0, average: true }),
        ("sum", oid::INTERVAL) => {
            |_| Box::new(IntervalSum { total: Interval::default(), rows: 0, average: false })
        }
        ("avg", oid::INTERVAL) => {
            |_| Box::new(IntervalSum { total: Interval::default(), rows: 0, average: true })
        }
        _ => return None,
    })
}

#[derive(Clone, Copy)]
enum IntegerResult {
    SumInt8,
    SumNumeric,
    Average,
}

/// Integers of any width. 2^64 rows of the widest do not fill 128 bits.
struct IntegerSum {
    total: i128,
    rows: i64,
    result: IntegerResult,
}

impl IntegerSum {
    fn new(result: IntegerResult) -> IntegerSum {
        IntegerSum { total: 0, rows: 0, result }
    }
}

impl Accumulator for IntegerSum {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        if let Some(value) = args.first().and_then(Datum::as_i64) {
            self.total += i128::from(value);
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        if self.rows == 0 {
            return Ok(Datum::Null);
        }
        let total = || Numeric::from_units(self.total, 0);
        match self.result {
            IntegerResult::SumNumeric => Ok(Datum::Numeric(total())),
            IntegerResult::Average => total().div(&Numeric::from(self.rows)).map(Datum::Numeric),
            IntegerResult::SumInt8 => i64::try_from(self.total)
                .map(Datum::Int8)
                .map_err(|_| PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range")),
        }
    }
}

struct NumericTotal {
    total: NumericSum,
    rows: i64,
    average: bool,
}

impl Accumulator for NumericTotal {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        if let Some(Datum::Numeric(value)) = args.first() {
            self.total.add(value)?;
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        match (self.rows, self.average) {
            (0, _) => Ok(Datum::Null),
            (_, false) => self.total.total().map(Datum::Numeric),
            (rows, true) => self.total.total()?.div(&Numeric::from(rows)).map(Datum::Numeric),
        }
    }
}

struct Float4Sum {
    total: f32,
    rows: i64,
}

impl Accumulator for Float4Sum {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        if let Some(Datum::Float4(value)) = args.first() {
            self.total = float::add_single(self.total, *value)?;
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(if self.rows == 0 { Datum::Null } else { Datum::Float4(self.total) })
    }
}

struct Float8Sum {
    total: f64,
    rows: i64,
    average: bool,
}

impl Accumulator for Float8Sum {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let value = match args.first() {
            Some(Datum::Float8(value)) => *value,
            Some(Datum::Float4(value)) => f64::from(*value),
            _ => return Ok(()),
        };
        // PostgreSQL starts the sum with the first value, which keeps a negative zero.
        self.total = if self.rows == 0 && !self.average { value } else { float::add(self.total, value)? };
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(match (self.rows, self.average) {
            (0, _) => Datum::Null,
            (_, false) => Datum::Float8(self.total),
            (rows, true) => Datum::Float8(self.total / rows as f64),
        })
    }
}

struct IntervalSum {
    total: Interval,
    rows: i64,
    average: bool,
}

impl Accumulator for IntervalSum {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        if let Some(Datum::Interval(value)) = args.first() {
            self.total = self.total.add(value)?;
            self.rows += 1;
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        match (self.rows, self.average) {
            (0, _) => Ok(Datum::Null),
            (_, false) => Ok(Datum::Interval(Arc::new(self.total))),
            (rows, true) => self.total.div(rows as f64).map(|mean| Datum::Interval(Arc::new(mean))),
        }
    }
}
