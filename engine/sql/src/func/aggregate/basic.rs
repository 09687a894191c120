//! count, sum of the integer and float types, min, max, and the boolean and bitwise aggregates.

use std::cmp::Ordering;

use shardforge_types::{Datum, Numeric, Oid, PgError, PgResult, SqlState, compare, oid};

use super::{Accumulator, AggregateFactory, AggregateInfo};
use crate::exec::env::EvalEnv;
use crate::func::float;

pub(super) const FACTORIES: &[(&str, AggregateFactory)] = &[
    ("count", |info| Box::new(Count { star: info.arg_types.is_empty(), rows: 0 })),
    ("sum", sum),
    ("min", |info| Box::new(Extreme::new(info, Ordering::Less))),
    ("max", |info| Box::new(Extreme::new(info, Ordering::Greater))),
    ("any_value", |_| Box::new(First { value: Datum::Null })),
    ("bool_and", |_| Box::new(Fold::new(and))),
    ("every", |_| Box::new(Fold::new(and))),
    ("bool_or", |_| Box::new(Fold::new(or))),
    ("bit_and", |_| Box::new(Fold::new(and))),
    ("bit_or", |_| Box::new(Fold::new(or))),
    ("bit_xor", |_| Box::new(Fold::new(xor))),
];

struct Count {
    star: bool,
    rows: i64,
}

impl Accumulator for Count {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        self.rows += i64::from(self.star || !args.first().is_none_or(Datum::is_null));
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(Datum::Int8(self.rows))
    }
}

fn sum(info: &AggregateInfo) -> Box<dyn Accumulator> {
    match info.arg_types.first().map(|ty| ty.oid) {
        Some(oid::INT2 | oid::INT4 | oid::INT8) => {
            Box::new(IntegerSum { total: 0, rows: 0, wide: info.ret.oid == oid::NUMERIC })
        }
        Some(oid::FLOAT4) => Box::new(FloatSum { total: 0.0, rows: 0, single: true }),
        _ => Box::new(FloatSum { total: 0.0, rows: 0, single: false }),
    }
}

/// sum(int2), sum(int4): bigint; sum(int8): numeric.
struct IntegerSum {
    total: i128,
    rows: u64,
    wide: bool,
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
        if self.wide {
            let total = shardforge_types::numeric::BigNumeric::from_units(self.total, 0);
            return Ok(Datum::Numeric(Numeric::from(total)));
        }
        i64::try_from(self.total)
            .map(Datum::Int8)
            .map_err(|_| PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "bigint out of range"))
    }
}

struct FloatSum {
    total: f64,
    rows: u64,
    single: bool,
}

impl Accumulator for FloatSum {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        match args.first() {
            Some(Datum::Float8(value)) => self.total = float::add(self.total, *value)?,
            Some(Datum::Float4(value)) => self.total = f64::from(self.total as f32 + value),
            _ => return Ok(()),
        }
        self.rows += 1;
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(match (self.rows, self.single) {
            (0, _) => Datum::Null,
            (_, true) => Datum::Float4(self.total as f32),
            (_, false) => Datum::Float8(self.total),
        })
    }
}

/// min and max of any ordered type.
struct Extreme {
    ty: Oid,
    wanted: Ordering,
    best: Datum,
}

impl Extreme {
    fn new(info: &AggregateInfo, wanted: Ordering) -> Extreme {
        let ty = info.arg_types.first().map_or(oid::UNKNOWN, |ty| ty.oid);
        Extreme { ty, wanted, best: Datum::Null }
    }
}

impl Accumulator for Extreme {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let Some(value) = args.first().filter(|value| !value.is_null()) else { return Ok(()) };
        if self.best.is_null() || compare::cmp(self.ty, value, &self.best) == self.wanted {
            self.best = value.clone();
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(self.best.clone())
    }
}

/// any_value: the first that is not null.
struct First {
    value: Datum,
}

impl Accumulator for First {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        if self.value.is_null()
            && let Some(value) = args.first()
        {
            self.value = value.clone();
        }
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(self.value.clone())
    }
}

/// Folds the values that are not null with an operator.
struct Fold {
    op: fn(&Datum, &Datum) -> Datum,
    value: Datum,
}

impl Fold {
    fn new(op: fn(&Datum, &Datum) -> Datum) -> Fold {
        Fold { op, value: Datum::Null }
    }
}

impl Accumulator for Fold {
    fn update(&mut self, args: &[Datum], _: &EvalEnv) -> PgResult<()> {
        let Some(value) = args.first().filter(|value| !value.is_null()) else { return Ok(()) };
        self.value = if self.value.is_null() { value.clone() } else { (self.op)(&self.value, value) };
        Ok(())
    }

    fn finish(&mut self, _: &EvalEnv) -> PgResult<Datum> {
        Ok(self.value.clone())
    }
}

macro_rules! bitwise {
    ($name:ident, $op:tt) => {
        fn $name(left: &Datum, right: &Datum) -> Datum {
            match (left, right) {
                (Datum::Bool(left), Datum::Bool(right)) => Datum::Bool(left $op right),
                (Datum::Int2(left), Datum::Int2(right)) => Datum::Int2(left $op right),
                (Datum::Int4(left), Datum::Int4(right)) => Datum::Int4(left $op right),
                (Datum::Int8(left), Datum::Int8(right)) => Datum::Int8(left $op right),
                _ => Datum::Null,
            }
        }
    };
}

bitwise!(and, &);
bitwise!(or, |);
bitwise!(xor, ^);
