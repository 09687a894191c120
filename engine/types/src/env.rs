//! The session settings that text forms depend on.
//!
//! PostgreSQL reads them from globals; here they are one value that the session keeps and hands to every text
//! conversion, so that the conversions are pure functions.

use crate::datetime::TimeZone;

/// `DateStyle`, first half: how dates and timestamps are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateStyle {
    /// `1997-12-17 07:37:16-08`.
    #[default]
    Iso,
    /// `12/17/1997 07:37:16.00 PST`.
    Sql,
    /// `Wed Dec 17 07:37:16 1997 PST`.
    Postgres,
    /// `17.12.1997 07:37:16.00 PST`.
    German,
}

/// `DateStyle`, second half: the order in which day and month are read (and, but for ISO, written).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DateOrder {
    /// Month, day, year.
    #[default]
    Mdy,
    /// Day, month, year.
    Dmy,
    /// Year, month, day.
    Ymd,
}

/// `IntervalStyle`: how intervals are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IntervalStyle {
    /// `1 year 2 mons 3 days 04:05:06`.
    #[default]
    Postgres,
    /// `@ 1 year 2 mons 3 days 4 hours 5 mins 6 secs`.
    PostgresVerbose,
    /// `+1-2 +3 +4:05:06`.
    SqlStandard,
    /// `P1Y2M3DT4H5M6S`.
    Iso8601,
}

/// `bytea_output`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ByteaOutput {
    /// `\x0001ff`.
    #[default]
    Hex,
    /// `\000\001\377`.
    Escape,
}

/// The settings that reading and writing values as text depends on. The default is a fresh session's, in UTC.
#[derive(Clone, Debug)]
pub struct IoEnv {
    /// `DateStyle`, first half.
    pub date_style: DateStyle,
    /// `DateStyle`, second half.
    pub date_order: DateOrder,
    /// `IntervalStyle`.
    pub interval_style: IntervalStyle,
    /// `TimeZone`.
    pub time_zone: TimeZone,
    /// `extra_float_digits`: above 0, floats are written in the shortest form that reads back the same.
    pub extra_float_digits: i32,
    /// `bytea_output`.
    pub bytea_output: ByteaOutput,
    /// The start of the transaction, for the inputs `now`, `today`, `tomorrow`, `yesterday`:
    /// microseconds since 2000-01-01 00:00 UTC.
    pub now_micros: i64,
}

impl Default for IoEnv {
    fn default() -> IoEnv {
        IoEnv {
            date_style: DateStyle::default(),
            date_order: DateOrder::default(),
            interval_style: IntervalStyle::default(),
            time_zone: TimeZone::utc(),
            extra_float_digits: 1,
            bytea_output: ByteaOutput::default(),
            now_micros: 0,
        }
    }
}
