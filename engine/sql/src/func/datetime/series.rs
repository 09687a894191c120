//! generate_series over timestamps.

use std::cmp::Ordering;

use shardforge_types::datetime::{TimeZone, ops};
use shardforge_types::{Datum, Interval, PgError, PgResult, SqlState};
use smallvec::smallvec;

use super::compare::sign;
use crate::exec::env::EvalEnv;
use crate::func::args::Args;
use crate::func::registry::TableKernelTable;
use crate::func::series::step_is_zero;
use crate::func::{CallInfo, TableRows};

pub(super) const TABLES: TableKernelTable = &[
    ("generate_series_timestamp", timestamps),
    ("generate_series_timestamptz", moments),
    ("generate_series_timestamptz_at_zone", moments),
];

fn timestamps(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<TableRows> {
    let step = *args.interval(2)?;
    steps(args.timestamp(0)?, args.timestamp(1)?, step, Datum::Timestamp, move |at| {
        ops::timestamp_add(at, &step)
    })
}

fn moments(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<TableRows> {
    let step = *args.interval(2)?;
    let zone =
        if args.len() > 3 { TimeZone::for_conversion(args.text(3)?)? } else { env.io.time_zone.clone() };
    let advance = move |at| ops::timestamptz_add(at, &step, &zone);
    steps(args.timestamptz(0)?, args.timestamptz(1)?, step, Datum::Timestamptz, advance)
}

fn steps(
    start: i64,
    stop: i64,
    step: Interval,
    make: fn(i64) -> Datum,
    advance: impl Fn(i64) -> PgResult<i64> + Send + 'static,
) -> PgResult<TableRows> {
    let direction = sign(&step);
    if direction == Ordering::Equal {
        return Err(step_is_zero());
    }
    if step.is_infinite() {
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, "step size cannot be infinite"));
    }
    let mut next = Some(start);
    Ok(Box::new(std::iter::from_fn(move || {
        let at = next.take()?;
        if at.cmp(&stop) == direction {
            return None;
        }
        match advance(at) {
            Ok(following) => next = Some(following),
            Err(error) => return Some(Err(error)),
        }
        Some(Ok(smallvec![make(at)]))
    })))
}
