//! Dates, times, timestamps and intervals.

mod timezone;

pub use timezone::TimeZone;
