//! Dates, times and intervals: the SQL functions over [`shardforge_types::datetime`]'s arithmetic.
//!
//! What depends on the session's time zone reads it from the environment; PostgreSQL marks those functions stable.

mod compare;
mod series;

use std::sync::Arc;

use shardforge_types::datetime::{self, TimeZone, ops};
use shardforge_types::{Datum, Interval, Numeric, PgError, PgResult, SqlState, TimeTz, apply_typmod, oid};

use super::args::Args;
use super::registry::{KernelTable, SqlKernelTable, TableKernelTable};
use crate::exec::env::EvalEnv;

pub(super) use compare::{KERNELS as COMPARISONS, SQL_KERNELS as SQL_COMPARISONS};

fn interval(value: Interval) -> Datum {
    Datum::Interval(Arc::new(value))
}

/// The microseconds of a timestamp of either kind.
pub(super) fn micros(args: &[Datum], index: usize) -> PgResult<i64> {
    match args.datum(index) {
        Datum::Timestamptz(micros) => Ok(*micros),
        _ => args.timestamp(index),
    }
}

fn timetz(args: &[Datum], index: usize) -> PgResult<TimeTz> {
    match args.datum(index) {
        Datum::Timetz(time) => Ok(*time),
        other => Err(PgError::internal(format!("argument {} should be timetz, found {other:?}", index + 1))),
    }
}

fn zone(env: &EvalEnv) -> &TimeZone {
    &env.io.time_zone
}

/// The zone that an interval means: its offset from Greenwich.
fn zone_of_interval(value: &Interval) -> PgResult<TimeZone> {
    if value.months != 0 || value.days != 0 {
        let mut text = Vec::new();
        datetime::interval_out(value, &shardforge_types::IoEnv::default(), &mut text);
        let text = String::from_utf8_lossy(&text).into_owned();
        let message = format!("interval time zone \"{text}\" must not include months or days");
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message));
    }
    let seconds = value.micros / datetime::MICROS_PER_SEC;
    Ok(TimeZone::fixed(seconds.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32))
}

fn part(value: Option<Numeric>) -> Datum {
    value.map_or(Datum::Null, Datum::Numeric)
}

/// date_part answers double precision where extract answers numeric.
fn part_as_float(value: Option<Numeric>) -> PgResult<Datum> {
    value.map_or(Ok(Datum::Null), |value| value.to_f64().map(Datum::Float8))
}

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("date_pli", |a, _, _| ops::date_add(a.date(0)?, a.int4(1)?).map(Datum::Date)),
    ("date_mii", |a, _, _| ops::date_sub(a.date(0)?, a.int4(1)?).map(Datum::Date)),
    ("date_mi", |a, _, _| ops::date_diff(a.date(0)?, a.date(1)?).map(Datum::Int4)),
    ("date_pl_interval", |a, _, _| {
        ops::timestamp_add(ops::date_to_timestamp(a.date(0)?)?, a.interval(1)?).map(Datum::Timestamp)
    }),
    ("date_mi_interval", |a, _, _| {
        ops::timestamp_sub(ops::date_to_timestamp(a.date(0)?)?, a.interval(1)?).map(Datum::Timestamp)
    }),
    ("timestamp_pl_interval", |a, _, _| ops::timestamp_add(a.timestamp(0)?, a.interval(1)?).map(Datum::Timestamp)),
    ("timestamp_mi_interval", |a, _, _| ops::timestamp_sub(a.timestamp(0)?, a.interval(1)?).map(Datum::Timestamp)),
    ("timestamptz_pl_interval", |a, _, env| {
        ops::timestamptz_add(a.timestamptz(0)?, a.interval(1)?, zone(env)).map(Datum::Timestamptz)
    }),
    ("timestamptz_mi_interval", |a, _, env| {
        ops::timestamptz_sub(a.timestamptz(0)?, a.interval(1)?, zone(env)).map(Datum::Timestamptz)
    }),
    ("timestamptz_pl_interval_at_zone", |a, _, _| {
        let zone = TimeZone::for_conversion(a.text(2)?)?;
        ops::timestamptz_add(a.timestamptz(0)?, a.interval(1)?, &zone).map(Datum::Timestamptz)
    }),
    ("timestamptz_mi_interval_at_zone", |a, _, _| {
        let zone = TimeZone::for_conversion(a.text(2)?)?;
        ops::timestamptz_sub(a.timestamptz(0)?, a.interval(1)?, &zone).map(Datum::Timestamptz)
    }),
    ("timestamp_mi", |a, _, _| ops::timestamp_diff(micros(a, 0)?, micros(a, 1)?).map(interval)),
    ("time_pl_interval", |a, _, _| ops::time_add(a.time(0)?, a.interval(1)?).map(Datum::Time)),
    ("time_mi_interval", |a, _, _| ops::time_sub(a.time(0)?, a.interval(1)?).map(Datum::Time)),
    ("time_mi_time", |a, _, _| Ok(interval(ops::time_diff(a.time(0)?, a.time(1)?)))),
    ("timetz_pl_interval", |a, _, _| {
        let time = timetz(a, 0)?;
        Ok(Datum::Timetz(TimeTz { micros: ops::time_add(time.micros, a.interval(1)?)?, ..time }))
    }),
    ("timetz_mi_interval", |a, _, _| {
        let time = timetz(a, 0)?;
        Ok(Datum::Timetz(TimeTz { micros: ops::time_sub(time.micros, a.interval(1)?)?, ..time }))
    }),
    ("datetime_timestamp", |a, _, _| date_time(a.date(0)?, a.time(1)?).map(Datum::Timestamp)),
    ("datetimetz_timestamptz", |a, _, _| date_timetz(a.date(0)?, timetz(a, 1)?).map(Datum::Timestamptz)),

    ("interval_um", |a, _, _| a.interval(0)?.neg().map(interval)),
    ("interval_pl", |a, _, _| a.interval(0)?.add(a.interval(1)?).map(interval)),
    ("interval_mi", |a, _, _| a.interval(0)?.sub(a.interval(1)?).map(interval)),
    ("interval_mul", |a, _, _| a.interval(0)?.mul(a.float8(1)?).map(interval)),
    ("mul_d_interval", |a, _, _| a.interval(1)?.mul(a.float8(0)?).map(interval)),
    ("interval_div", |a, _, _| a.interval(0)?.div(a.float8(1)?).map(interval)),
    ("interval_justify_hours", |a, _, _| a.interval(0)?.justify_hours().map(interval)),
    ("interval_justify_days", |a, _, _| a.interval(0)?.justify_days().map(interval)),
    ("interval_justify_interval", |a, _, _| a.interval(0)?.justify().map(interval)),

    ("timestamp_age", |a, _, _| ops::age(a.timestamp(0)?, a.timestamp(1)?).map(interval)),
    ("timestamptz_age", |a, _, env| {
        let local = |index| Ok(ops::timestamptz_to_timestamp(a.timestamptz(index)?, zone(env)));
        ops::age(local(0)?, local(1)?).map(interval)
    }),
    ("timestamp_bin", |a, _, _| {
        ops::date_bin(a.interval(0)?, a.timestamp(1)?, a.timestamp(2)?).map(Datum::Timestamp)
    }),
    ("timestamptz_bin", |a, _, _| {
        ops::date_bin(a.interval(0)?, a.timestamptz(1)?, a.timestamptz(2)?).map(Datum::Timestamptz)
    }),
    ("date_finite", |a, _, _| Ok(Datum::Bool(!matches!(a.date(0)?, i32::MIN | i32::MAX)))),
    ("timestamp_finite", |a, _, _| Ok(Datum::Bool(!ops::is_infinite(micros(a, 0)?)))),
    ("interval_finite", |a, _, _| Ok(Datum::Bool(a.interval(0)?.is_finite()))),

    ("extract_date", |a, _, _| datetime::extract_date(a.text(0)?, a.date(1)?).map(part)),
    ("extract_time", |a, _, _| datetime::extract_time(a.text(0)?, a.time(1)?).map(part)),
    ("extract_timetz", |a, _, _| datetime::extract_timetz(a.text(0)?, timetz(a, 1)?).map(part)),
    ("extract_timestamp", |a, _, _| datetime::extract_timestamp(a.text(0)?, a.timestamp(1)?).map(part)),
    ("extract_timestamptz", |a, _, env| {
        datetime::extract_timestamptz(a.text(0)?, a.timestamptz(1)?, zone(env)).map(part)
    }),
    ("extract_interval", |a, _, _| datetime::extract_interval(a.text(0)?, a.interval(1)?).map(part)),
    ("time_part", |a, _, _| part_as_float(datetime::extract_time(a.text(0)?, a.time(1)?)?)),
    ("timetz_part", |a, _, _| part_as_float(datetime::extract_timetz(a.text(0)?, timetz(a, 1)?)?)),
    ("timestamp_part", |a, _, _| part_as_float(datetime::extract_timestamp(a.text(0)?, a.timestamp(1)?)?)),
    ("timestamptz_part", |a, _, env| {
        part_as_float(datetime::extract_timestamptz(a.text(0)?, a.timestamptz(1)?, zone(env))?)
    }),
    ("interval_part", |a, _, _| part_as_float(datetime::extract_interval(a.text(0)?, a.interval(1)?)?)),
    ("timestamp_trunc", |a, _, _| datetime::trunc_timestamp(a.text(0)?, a.timestamp(1)?).map(Datum::Timestamp)),
    ("timestamptz_trunc", |a, _, env| {
        datetime::trunc_timestamptz(a.text(0)?, a.timestamptz(1)?, zone(env)).map(Datum::Timestamptz)
    }),
    ("timestamptz_trunc_zone", |a, _, _| {
        let zone = TimeZone::for_conversion(a.text(2)?)?;
        datetime::trunc_timestamptz(a.text(0)?, a.timestamptz(1)?, &zone).map(Datum::Timestamptz)
    }),
    ("interval_trunc", |a, _, _| datetime::trunc_interval(a.text(0)?, a.interval(1)?).map(interval)),

    ("make_date", |a, _, _| ops::make_date(a.int4(0)?, a.int4(1)?, a.int4(2)?).map(Datum::Date)),
    ("make_time", |a, _, _| ops::make_time(a.int4(0)?, a.int4(1)?, a.float8(2)?).map(Datum::Time)),
    ("make_timestamp", |a, _, _| make_timestamp(a).map(Datum::Timestamp)),
    ("make_timestamptz", |a, _, env| {
        ops::timestamp_to_timestamptz(make_timestamp(a)?, zone(env)).map(Datum::Timestamptz)
    }),
    ("make_timestamptz_at_timezone", |a, _, _| {
        let zone = TimeZone::for_conversion(a.text(6)?)?;
        ops::timestamp_to_timestamptz(make_timestamp(a)?, &zone).map(Datum::Timestamptz)
    }),
    ("make_interval", |a, _, _| {
        let parts = [a.int4(0)?, a.int4(1)?, a.int4(2)?, a.int4(3)?, a.int4(4)?, a.int4(5)?];
        ops::make_interval(parts, a.float8(6)?).map(interval)
    }),
    ("float8_timestamptz", |a, _, _| ops::timestamptz_of_epoch(a.float8(0)?).map(Datum::Timestamptz)),

    // Conversions.
    ("date_timestamp", |a, _, _| ops::date_to_timestamp(a.date(0)?).map(Datum::Timestamp)),
    ("date_timestamptz", |a, _, env| ops::date_to_timestamptz(a.date(0)?, zone(env)).map(Datum::Timestamptz)),
    ("timestamp_date", |a, _, _| ops::timestamp_to_date(a.timestamp(0)?).map(Datum::Date)),
    ("timestamptz_date", |a, _, env| ops::timestamptz_to_date(a.timestamptz(0)?, zone(env)).map(Datum::Date)),
    ("timestamp_time", |a, _, _| Ok(ops::timestamp_to_time(a.timestamp(0)?).map_or(Datum::Null, Datum::Time))),
    ("timestamptz_time", |a, _, env| {
        let local = ops::timestamptz_to_timestamp(a.timestamptz(0)?, zone(env));
        Ok(ops::timestamp_to_time(local).map_or(Datum::Null, Datum::Time))
    }),
    ("timestamptz_timetz", |a, _, env| {
        let utc = a.timestamptz(0)?;
        let local = ops::timestamptz_to_timestamp(utc, zone(env));
        let zone_secs_west = -zone(env).offset_at(utc);
        Ok(ops::timestamp_to_time(local).map_or(Datum::Null, |micros| Datum::Timetz(TimeTz { micros, zone_secs_west })))
    }),
    ("timetz_time", |a, _, _| Ok(Datum::Time(timetz(a, 0)?.micros))),
    ("time_timetz", |a, _, env| {
        let zone_secs_west = -zone(env).offset_at(env.transaction_timestamp);
        Ok(Datum::Timetz(TimeTz { micros: a.time(0)?, zone_secs_west }))
    }),
    ("interval_time", |a, _, _| ops::interval_to_time(a.interval(0)?).map(Datum::Time)),
    ("time_interval", |a, _, _| Ok(interval(Interval { micros: a.time(0)?, ..Interval::default() }))),
    ("timestamp_timestamptz", |a, _, env| {
        ops::timestamp_to_timestamptz(a.timestamp(0)?, zone(env)).map(Datum::Timestamptz)
    }),
    ("timestamptz_timestamp", |a, _, env| {
        Ok(Datum::Timestamp(ops::timestamptz_to_timestamp(a.timestamptz(0)?, zone(env))))
    }),
    ("timestamp_scale", |a, _, _| apply_typmod(oid::TIMESTAMP, a.int4(1)?, a.datum(0).clone(), true)),
    ("timestamptz_scale", |a, _, _| apply_typmod(oid::TIMESTAMPTZ, a.int4(1)?, a.datum(0).clone(), true)),
    ("time_scale", |a, _, _| apply_typmod(oid::TIME, a.int4(1)?, a.datum(0).clone(), true)),
    ("timetz_scale", |a, _, _| apply_typmod(oid::TIMETZ, a.int4(1)?, a.datum(0).clone(), true)),
    ("interval_scale", |a, _, _| apply_typmod(oid::INTERVAL, a.int4(1)?, a.datum(0).clone(), true)),

    // AT TIME ZONE.
    ("timestamp_zone", |a, _, _| {
        let zone = TimeZone::for_conversion(a.text(0)?)?;
        ops::timestamp_to_timestamptz(a.timestamp(1)?, &zone).map(Datum::Timestamptz)
    }),
    ("timestamp_izone", |a, _, _| {
        ops::timestamp_to_timestamptz(a.timestamp(1)?, &zone_of_interval(a.interval(0)?)?).map(Datum::Timestamptz)
    }),
    ("timestamptz_zone", |a, _, _| {
        let zone = TimeZone::for_conversion(a.text(0)?)?;
        Ok(Datum::Timestamp(ops::timestamptz_to_timestamp(a.timestamptz(1)?, &zone)))
    }),
    ("timestamptz_izone", |a, _, _| {
        let zone = zone_of_interval(a.interval(0)?)?;
        Ok(Datum::Timestamp(ops::timestamptz_to_timestamp(a.timestamptz(1)?, &zone)))
    }),
    ("timetz_zone", |a, _, env| {
        let zone = TimeZone::for_conversion(a.text(0)?)?;
        Ok(Datum::Timetz(ops::timetz_at_zone(timetz(a, 1)?, &zone, env.transaction_timestamp)))
    }),
    ("timetz_izone", |a, _, env| {
        let zone = zone_of_interval(a.interval(0)?)?;
        Ok(Datum::Timetz(ops::timetz_at_zone(timetz(a, 1)?, &zone, env.transaction_timestamp)))
    }),
    ("timestamp_at_local", |a, _, env| {
        ops::timestamp_to_timestamptz(a.timestamp(0)?, zone(env)).map(Datum::Timestamptz)
    }),
    ("timestamptz_at_local", |a, _, env| {
        Ok(Datum::Timestamp(ops::timestamptz_to_timestamp(a.timestamptz(0)?, zone(env))))
    }),
    ("timetz_at_local", |a, _, env| {
        Ok(Datum::Timetz(ops::timetz_at_zone(timetz(a, 0)?, zone(env), env.transaction_timestamp)))
    }),
    ("timeofday", |_, _, env| Ok(Datum::text(time_of_day(env)))),
];

#[rustfmt::skip]
pub(super) const SQL_KERNELS: SqlKernelTable = &[
    (1176, "timestamptz(date, time)", |a, _, env| {
        ops::timestamp_to_timestamptz(date_time(a.date(0)?, a.time(1)?)?, zone(env)).map(Datum::Timestamptz)
    }),
    (1296, "timedate_pl(time, date)", |a, _, _| date_time(a.date(1)?, a.time(0)?).map(Datum::Timestamp)),
    (1298, "timetzdate_pl(timetz, date)", |a, _, _| date_timetz(a.date(1)?, timetz(a, 0)?).map(Datum::Timestamptz)),
    (1384, "date_part(text, date)", |a, _, _| {
        let midnight = ops::date_to_timestamp(a.date(1)?)?;
        part_as_float(datetime::extract_timestamp(a.text(0)?, midnight)?)
    }),
    (1386, "age(timestamptz)", |a, _, env| {
        ops::age(today(env)?, ops::timestamptz_to_timestamp(a.timestamptz(0)?, zone(env))).map(interval)
    }),
    (2059, "age(timestamp)", |a, _, env| ops::age(today(env)?, a.timestamp(0)?).map(interval)),
    (1848, "interval_pl_time(interval, time)", |a, _, _| ops::time_add(a.time(1)?, a.interval(0)?).map(Datum::Time)),
    (2546, "interval_pl_date(interval, date)", |a, _, _| {
        ops::timestamp_add(ops::date_to_timestamp(a.date(1)?)?, a.interval(0)?).map(Datum::Timestamp)
    }),
    (2547, "interval_pl_timetz(interval, timetz)", |a, _, _| {
        let time = timetz(a, 1)?;
        Ok(Datum::Timetz(TimeTz { micros: ops::time_add(time.micros, a.interval(0)?)?, ..time }))
    }),
    (2548, "interval_pl_timestamp(interval, timestamp)", |a, _, _| {
        ops::timestamp_add(a.timestamp(1)?, a.interval(0)?).map(Datum::Timestamp)
    }),
    (2549, "interval_pl_timestamptz(interval, timestamptz)", |a, _, env| {
        ops::timestamptz_add(a.timestamptz(1)?, a.interval(0)?, zone(env)).map(Datum::Timestamptz)
    }),
    (2550, "integer_pl_date(integer, date)", |a, _, _| ops::date_add(a.date(1)?, a.int4(0)?).map(Datum::Date)),
];

pub(super) const TABLES: TableKernelTable = series::TABLES;

/// Midnight today, local time.
fn today(env: &EvalEnv) -> PgResult<i64> {
    ops::date_to_timestamp(ops::timestamptz_to_date(env.transaction_timestamp, zone(env))?)
}

fn date_time(date: i32, time: i64) -> PgResult<i64> {
    let midnight = ops::date_to_timestamp(date)?;
    if ops::is_infinite(midnight) {
        Ok(midnight)
    } else {
        datetime::check_timestamp(midnight.saturating_add(time))
    }
}

fn date_timetz(date: i32, time: TimeTz) -> PgResult<i64> {
    let midnight = ops::date_to_timestamp(date)?;
    if ops::is_infinite(midnight) {
        return Ok(midnight);
    }
    let west = i64::from(time.zone_secs_west) * datetime::MICROS_PER_SEC;
    datetime::check_timestamp(midnight.saturating_add(time.micros).saturating_add(west))
}

fn make_timestamp(args: &[Datum]) -> PgResult<i64> {
    let date = (args.int4(0)?, args.int4(1)?, args.int4(2)?);
    ops::make_timestamp(date, args.int4(3)?, args.int4(4)?, args.float8(5)?)
}

/// `Wed Dec 17 07:37:16.123456 1997 PST`
fn time_of_day(env: &EvalEnv) -> String {
    const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let utc = env.session.host.clock_micros();
    let civil = datetime::Civil::of_timestamp(zone(env).to_local(utc));
    let weekday = DAYS[datetime::calendar::day_of_week(civil.days()).rem_euclid(7) as usize];
    let month = MONTHS[(civil.month - 1).rem_euclid(12) as usize];
    format!(
        "{weekday} {month} {:02} {:02}:{:02}:{:02}.{:06} {} {}",
        civil.day,
        civil.hour,
        civil.minute,
        civil.second,
        civil.micros,
        civil.year,
        zone(env).describe(utc).abbreviation
    )
}
