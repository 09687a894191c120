//! generate_series over integers and numerics.

use shardforge_types::{Datum, Numeric, PgError, PgResult, SqlState};
use smallvec::smallvec;

use super::args::Args;
use super::registry::TableKernelTable;
use crate::exec::env::EvalEnv;
use crate::func::{CallInfo, TableRow, TableRows};

pub(super) const TABLES: TableKernelTable = &[
    ("generate_series_int4", int4),
    ("generate_series_step_int4", int4),
    ("generate_series_int8", int8),
    ("generate_series_step_int8", int8),
    ("generate_series_numeric", numeric),
    ("generate_series_step_numeric", numeric),
];

#[cold]
pub(super) fn step_is_zero() -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot equal zero")
}

fn row(value: Datum) -> PgResult<TableRow> {
    Ok(smallvec![value])
}

fn int4(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let step = if args.len() > 2 { args.int4(2)? } else { 1 };
    let values = integers(i64::from(args.int4(0)?), i64::from(args.int4(1)?), i64::from(step))?;
    Ok(Box::new(values.map(|value| row(Datum::Int4(value as i32)))))
}

fn int8(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let step = if args.len() > 2 { args.int8(2)? } else { 1 };
    let values = integers(args.int8(0)?, args.int8(1)?, step)?;
    Ok(Box::new(values.map(|value| row(Datum::Int8(value)))))
}

/// From `start` to `stop`, both included. A step past the type's range ends the series.
fn integers(start: i64, stop: i64, step: i64) -> PgResult<impl Iterator<Item = i64> + Send> {
    if step == 0 {
        return Err(step_is_zero());
    }
    let within = move |value: &i64| if step > 0 { *value <= stop } else { *value >= stop };
    let first = Some(start).filter(within);
    Ok(std::iter::successors(first, move |value| value.checked_add(step).filter(within)))
}

fn numeric(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let step = if args.len() > 2 { args.numeric(2)?.clone() } else { Numeric::from(1i64) };
    let (start, stop) = (args.numeric(0)?.clone(), args.numeric(1)?.clone());
    for (value, name) in [(&start, "start"), (&stop, "stop"), (&step, "step")] {
        if !value.is_finite() {
            let what = if value.is_nan() { "NaN" } else { "infinity" };
            let kind = if name == "step" { "step size" } else { name };
            let message = match name {
                "step" => format!("{kind} cannot be {what}"),
                _ => format!("{kind} value cannot be {what}"),
            };
            return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
        }
    }
    if step.is_zero() {
        return Err(step_is_zero());
    }
    let down = step.is_negative();
    let mut next = Some(start);
    Ok(Box::new(std::iter::from_fn(move || {
        let value = next.take()?;
        let order = value.cmp_value(&stop);
        if if down { order.is_lt() } else { order.is_gt() } {
            return None;
        }
        match value.add(&step) {
            Ok(following) => next = Some(following),
            Err(error) => return Some(Err(error)),
        }
        Some(row(Datum::Numeric(value)))
    })))
}
