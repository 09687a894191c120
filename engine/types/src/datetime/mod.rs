//! Dates, times, timestamps and intervals: calendar arithmetic, text forms, time zones, and the functions over them.
//!
//! Days and microseconds count from 2000-01-01, as on the wire. The calendar is the proleptic Gregorian one from
//! 4714-11-24 BC (Julian day 0) on; there is a year 0 in computations, which is shown as 1 BC.

mod abbreviations;
pub mod calendar;
mod fields;
mod input;
mod interval;
mod interval_text;
pub mod ops;
mod output;
mod parts;
mod timezone;

use crate::error::{PgError, PgResult};
use crate::sqlstate::SqlState;

pub use calendar::Civil;
pub use fields::Unit;
pub use input::{date_in, time_in, timestamp_in, timestamptz_in, timetz_in};
pub(crate) use interval::round_micros;
pub use interval_text::{interval_in, interval_out};
pub use output::{date_out, time_out, timestamp_out, timestamptz_out, timetz_out};
pub use parts::{
    Part, extract_date, extract_interval, extract_time, extract_timestamp, extract_timestamptz,
    extract_timetz, trunc_interval, trunc_timestamp, trunc_timestamptz,
};
pub use timezone::{TimeZone, ZoneOffset};

/// Microseconds in a second.
pub const MICROS_PER_SEC: i64 = 1_000_000;
/// Microseconds in a minute.
pub const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SEC;
/// Microseconds in an hour.
pub const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
/// Microseconds in a day of 24 hours.
pub const MICROS_PER_DAY: i64 = 24 * MICROS_PER_HOUR;
/// The first timestamp: 4714-11-24 00:00 BC.
pub const TIMESTAMP_MIN: i64 = -211_813_488_000_000_000;
/// The first moment past the last timestamp: 294277-01-01.
pub const TIMESTAMP_END: i64 = 9_223_371_331_200_000_000;
/// The first date: 4714-11-24 BC.
pub const DATE_MIN: i32 = -2_451_545;
/// The first day past the last date: 5874898-01-01 (Julian day 2147483494).
pub const DATE_END: i32 = 2_145_031_949;
/// Zones lie within 16 hours of Greenwich, exclusively.
pub const ZONE_SECS_END: i32 = 16 * 3600;

fn out_of_range(message: &str) -> PgError {
    PgError::new(SqlState::DATETIME_FIELD_OVERFLOW, message)
}

/// `micros`, if it is a timestamp (infinities included), else 22008.
pub fn check_timestamp(micros: i64) -> PgResult<i64> {
    match micros {
        i64::MIN | i64::MAX | TIMESTAMP_MIN..TIMESTAMP_END => Ok(micros),
        _ => Err(out_of_range("timestamp out of range")),
    }
}

/// `days`, if it is a date (infinities included), else 22008.
pub fn check_date(days: i32) -> PgResult<i32> {
    match days {
        i32::MIN | i32::MAX | DATE_MIN..DATE_END => Ok(days),
        _ => Err(out_of_range("date out of range")),
    }
}

/// `micros`, if it is a time of day (24:00 included), else 22008.
pub fn check_time(micros: i64) -> PgResult<i64> {
    match micros {
        0..=MICROS_PER_DAY => Ok(micros),
        _ => Err(out_of_range("time out of range")),
    }
}

/// `secs`, if a zone may lie that far from Greenwich, else 22009.
pub fn check_zone(secs: i32) -> PgResult<i32> {
    if secs.unsigned_abs() < ZONE_SECS_END.unsigned_abs() {
        return Ok(secs);
    }
    Err(PgError::new(SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE, "time zone displacement out of range"))
}
