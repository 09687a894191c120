//! Comparisons between different date and time types, OVERLAPS, and the larger and smaller of two.

use std::cmp::Ordering;

use shardforge_types::datetime::ops;
use shardforge_types::{Datum, Interval, Oid, PgResult, compare, oid};

use super::zone;
use crate::exec::env::EvalEnv;
use crate::func::CallInfo;
use crate::func::args::Args;
use crate::func::registry::{KernelTable, SqlKernelTable};

/// The seven comparisons of a pair of types, by a function that orders them.
macro_rules! mixed {
    ($order:ident $eq:literal $ne:literal $lt:literal $le:literal $gt:literal $ge:literal $cmp:literal) => {
        &[
            ($eq, |a, _, env| Ok(Datum::Bool($order(a, env)?.is_eq()))),
            ($ne, |a, _, env| Ok(Datum::Bool($order(a, env)?.is_ne()))),
            ($lt, |a, _, env| Ok(Datum::Bool($order(a, env)?.is_lt()))),
            ($le, |a, _, env| Ok(Datum::Bool($order(a, env)?.is_le()))),
            ($gt, |a, _, env| Ok(Datum::Bool($order(a, env)?.is_gt()))),
            ($ge, |a, _, env| Ok(Datum::Bool($order(a, env)?.is_ge()))),
            ($cmp, |a, _, env| Ok(Datum::Int4($order(a, env)? as i32))),
        ]
    };
}

/// One table a pair of types.
#[rustfmt::skip]
pub(in crate::func) const KERNELS: &[KernelTable] = &[
    mixed!(date_timestamp "date_eq_timestamp" "date_ne_timestamp" "date_lt_timestamp" "date_le_timestamp"
        "date_gt_timestamp" "date_ge_timestamp" "date_cmp_timestamp"),
    mixed!(timestamp_date "timestamp_eq_date" "timestamp_ne_date" "timestamp_lt_date" "timestamp_le_date"
        "timestamp_gt_date" "timestamp_ge_date" "timestamp_cmp_date"),
    mixed!(date_timestamptz "date_eq_timestamptz" "date_ne_timestamptz" "date_lt_timestamptz" "date_le_timestamptz"
        "date_gt_timestamptz" "date_ge_timestamptz" "date_cmp_timestamptz"),
    mixed!(timestamptz_date "timestamptz_eq_date" "timestamptz_ne_date" "timestamptz_lt_date" "timestamptz_le_date"
        "timestamptz_gt_date" "timestamptz_ge_date" "timestamptz_cmp_date"),
    mixed!(timestamp_timestamptz "timestamp_eq_timestamptz" "timestamp_ne_timestamptz" "timestamp_lt_timestamptz"
        "timestamp_le_timestamptz" "timestamp_gt_timestamptz" "timestamp_ge_timestamptz" "timestamp_cmp_timestamptz"),
    mixed!(timestamptz_timestamp "timestamptz_eq_timestamp" "timestamptz_ne_timestamp" "timestamptz_lt_timestamp"
        "timestamptz_le_timestamp" "timestamptz_gt_timestamp" "timestamptz_ge_timestamp" "timestamptz_cmp_timestamp"),
    &[
        ("overlaps_timestamp", |a, _, _| Ok(overlaps(a, oid::TIMESTAMP))),
        ("overlaps_time", |a, _, _| Ok(overlaps(a, oid::TIME))),
        ("overlaps_timetz", |a, _, _| Ok(overlaps(a, oid::TIMETZ))),
        ("time_larger", |a, info, _| larger(a, info)),
        ("time_smaller", |a, info, _| smaller(a, info)),
        ("timetz_larger", |a, info, _| larger(a, info)),
        ("timetz_smaller", |a, info, _| smaller(a, info)),
        ("interval_larger", |a, info, _| larger(a, info)),
        ("interval_smaller", |a, info, _| smaller(a, info)),
    ],
];

fn larger(args: &[Datum], info: &CallInfo) -> PgResult<Datum> {
    let first = compare::cmp(info.arg(0), args.datum(0), args.datum(1)).is_gt();
    Ok(args.datum(usize::from(!first)).clone())
}

fn smaller(args: &[Datum], info: &CallInfo) -> PgResult<Datum> {
    let first = compare::cmp(info.arg(0), args.datum(0), args.datum(1)).is_lt();
    Ok(args.datum(usize::from(!first)).clone())
}

/// Midnight of a date that may lie beyond the timestamps: then it sorts like an infinity.
fn midnight(date: i32) -> i64 {
    ops::date_to_timestamp(date).unwrap_or(if date < 0 { i64::MIN + 1 } else { i64::MAX - 1 })
}

fn date_timestamp(args: &[Datum], _: &EvalEnv) -> PgResult<Ordering> {
    Ok(midnight(args.date(0)?).cmp(&args.timestamp(1)?))
}

fn timestamp_date(args: &[Datum], _: &EvalEnv) -> PgResult<Ordering> {
    Ok(args.timestamp(0)?.cmp(&midnight(args.date(1)?)))
}

/// The moment of a local time; one that cannot be represented keeps its order.
fn moment(local: i64, env: &EvalEnv) -> i64 {
    ops::timestamp_to_timestamptz(local, zone(env)).unwrap_or(local)
}

fn date_timestamptz(args: &[Datum], env: &EvalEnv) -> PgResult<Ordering> {
    Ok(moment(midnight(args.date(0)?), env).cmp(&args.timestamptz(1)?))
}

fn timestamptz_date(args: &[Datum], env: &EvalEnv) -> PgResult<Ordering> {
    Ok(args.timestamptz(0)?.cmp(&moment(midnight(args.date(1)?), env)))
}

fn timestamp_timestamptz(args: &[Datum], env: &EvalEnv) -> PgResult<Ordering> {
    Ok(moment(args.timestamp(0)?, env).cmp(&args.timestamptz(1)?))
}

fn timestamptz_timestamp(args: &[Datum], env: &EvalEnv) -> PgResult<Ordering> {
    Ok(args.timestamptz(0)?.cmp(&moment(args.timestamp(1)?, env)))
}

/// `(s1, e1) OVERLAPS (s2, e2)`: half-open periods, their ends in either order; one end may be NULL.
fn overlaps(args: &[Datum], ty: Oid) -> Datum {
    let before = |left: &Datum, right: &Datum| compare::cmp(ty, left, right).is_lt();
    // Puts the earlier end first; a NULL end goes second, and two NULLs are no period.
    let period = |start: &Datum, end: &Datum| match (start.is_null(), end.is_null()) {
        (true, true) => None,
        (true, false) => Some((end.clone(), Datum::Null)),
        (false, true) => Some((start.clone(), Datum::Null)),
        (false, false) if before(end, start) => Some((end.clone(), start.clone())),
        (false, false) => Some((start.clone(), end.clone())),
    };
    let (Some(first), Some(second)) =
        (period(args.datum(0), args.datum(1)), period(args.datum(2), args.datum(3)))
    else {
        return Datum::Null;
    };
    let (earlier, later) = match compare::cmp(ty, &first.0, &second.0) {
        Ordering::Equal => {
            // Equal starts overlap, whatever the lengths; with an unknown end, unknown.
            return if first.1.is_null() || second.1.is_null() { Datum::Null } else { Datum::Bool(true) };
        }
        Ordering::Less => (first, second),
        Ordering::Greater => (second, first),
    };
    if earlier.1.is_null() {
        return Datum::Null;
    }
    if before(&later.0, &earlier.1) {
        return Datum::Bool(true);
    }
    if later.1.is_null() { Datum::Null } else { Datum::Bool(false) }
}

/// The forms of OVERLAPS that give a period's length instead of its end.
#[rustfmt::skip]
pub(in crate::func) const SQL_KERNELS: SqlKernelTable = &[
    (1305, "overlaps(timestamptz, interval, timestamptz, interval)", overlaps_with_lengths),
    (1306, "overlaps(timestamptz, timestamptz, timestamptz, interval)", overlaps_with_lengths),
    (1307, "overlaps(timestamptz, interval, timestamptz, timestamptz)", overlaps_with_lengths),
    (1309, "overlaps(time, interval, time, interval)", overlaps_with_lengths),
    (1310, "overlaps(time, time, time, interval)", overlaps_with_lengths),
    (1311, "overlaps(time, interval, time, time)", overlaps_with_lengths),
    (2042, "overlaps(timestamp, interval, timestamp, interval)", overlaps_with_lengths),
    (2043, "overlaps(timestamp, timestamp, timestamp, interval)", overlaps_with_lengths),
    (2044, "overlaps(timestamp, interval, timestamp, timestamp)", overlaps_with_lengths),
];

fn overlaps_with_lengths(args: &[Datum], info: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let end = |start: &Datum, end: &Datum| -> PgResult<Datum> {
        Ok(match (start, end) {
            (Datum::Timestamp(at), Datum::Interval(length)) => {
                Datum::Timestamp(ops::timestamp_add(*at, length)?)
            }
            (Datum::Timestamptz(at), Datum::Interval(length)) => {
                Datum::Timestamptz(ops::timestamptz_add(*at, length, zone(env))?)
            }
            (Datum::Time(at), Datum::Interval(length)) => Datum::Time(ops::time_add(*at, length)?),
            (_, Datum::Interval(_)) => Datum::Null,
            (_, end) => end.clone(),
        })
    };
    let (first, second) = (args.datum(0), args.datum(2));
    let periods = [first.clone(), end(first, args.datum(1))?, second.clone(), end(second, args.datum(3))?];
    Ok(overlaps(&periods, info.arg(0)))
}

/// Whether an interval is below, at or above zero.
pub(super) fn sign(interval: &Interval) -> Ordering {
    compare::interval_span_micros(interval).cmp(&0)
}
