//! count, min, max, any_value, and the boolean and bitwise aggregates.

use std::cmp::Ordering;

use shardforge_types::{Datum, Oid, PgResult, compare, oid};

use super::{Accumulator, AggregateFactory, AggregateInfo};
use crate::exec::env::EvalEnv;

/// The factories of this family.
pub(super) fn factory(name: &str, args: &[Oid]) -> Option<AggregateFactory> {
    Some(match (name, args) {
        ("count", []) => |_| Box::new(Count { star: true, rows: 0 }),
        ("count", _) => |_| Box::new(Count { star: false, rows: 0 }),
        ("min", _) => |info| Box::new(Extreme::new(info, Ordering::Less)),
        ("max", _) => |info| Box::new(Extreme::new(info, Ordering::Greater)),
        ("any_value", _) => |_| Box::new(First { value: Datum::Null }),
        ("bool_and" | "every" | "bit_and", [arg]) if is_bitwise(*arg) => |_| Box::new(Fold::new(and)),
        ("bool_or" | "bit_or", [arg]) if is_bitwise(*arg) => |_| Box::new(Fold::new(or)),
        ("bit_xor", [arg]) if is_bitwise(*arg) => |_| Box::new(Fold::new(xor)),
        _ => return None,
    })
}

fn is_bitwise(ty: Oid) -> bool {
    matches!(ty, oid::BOOL | oid::INT2 | oid::INT4 | oid::INT8)
}

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

/// min and max of any ordered type.
struct Extreme {
    ty: Oid,
    wanted: Ordering,
    best: Datum,
}

impl Extreme {
    fn new(info: &AggregateInfo, wanted: Ordering) -> Extreme {
        Extreme { ty: info.arg(0), wanted, best: Datum::Null }
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
