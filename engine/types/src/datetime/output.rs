//! Dates, times and timestamps as text, in the four `DateStyle`s.

use crate::datetime::calendar::{Civil, MONTHS, WEEKDAYS, day_of_week};
use crate::datum::TimeTz;
use crate::env::{DateOrder, DateStyle, IoEnv};

/// Appends a `date`.
pub fn date_out(days: i32, env: &IoEnv, out: &mut Vec<u8>) {
    if infinity_out(days == i32::MIN, days == i32::MAX, out) {
        return;
    }
    let (year, month, day) = crate::datetime::calendar::date_of_days(i64::from(days));
    let civil = Civil { year, month, day, ..Civil::default() };
    match (env.date_style, env.date_order) {
        (DateStyle::Postgres, DateOrder::Dmy) => day_first(&civil, b'-', out),
        (DateStyle::Postgres, _) => month_first(&civil, b'-', out),
        _ => numeric_date(&civil, env, out),
    }
    era_out(year, out);
}

/// Appends a `timestamp`.
pub fn timestamp_out(micros: i64, env: &IoEnv, out: &mut Vec<u8>) {
    if !infinity_out(micros == i64::MIN, micros == i64::MAX, out) {
        datetime_out(micros, None, env, out);
    }
}

/// Appends a `timestamptz`, in the session's zone.
pub fn timestamptz_out(micros: i64, env: &IoEnv, out: &mut Vec<u8>) {
    if infinity_out(micros == i64::MIN, micros == i64::MAX, out) {
        return;
    }
    let secs_east = env.time_zone.offset_at(micros);
    datetime_out(
        micros.saturating_add(i64::from(secs_east) * 1_000_000),
        Some((micros, secs_east)),
        env,
        out,
    );
}

/// Appends a `time`.
pub fn time_out(micros: i64, out: &mut Vec<u8>) {
    clock_out(&Civil::of_time(micros), out);
}

/// Appends a `timetz`.
pub fn timetz_out(value: TimeTz, out: &mut Vec<u8>) {
    time_out(value.micros, out);
    offset_out(-value.zone_secs_west, out);
}

/// Appends an offset east of Greenwich: `+02`, `-03:30`, `+00:53:28`.
pub(crate) fn offset_out(secs_east: i32, out: &mut Vec<u8>) {
    out.push(if secs_east < 0 { b'-' } else { b'+' });
    let secs = secs_east.abs();
    two(secs / 3600, out);
    if secs % 3600 != 0 {
        out.push(b':');
        two(secs / 60 % 60, out);
    }
    if secs % 60 != 0 {
        out.push(b':');
        two(secs % 60, out);
    }
}

fn infinity_out(negative: bool, positive: bool, out: &mut Vec<u8>) -> bool {
    if negative {
        out.extend_from_slice(b"-infinity");
    } else if positive {
        out.extend_from_slice(b"infinity");
    }
    negative || positive
}

fn datetime_out(local: i64, zone: Option<(i64, i32)>, env: &IoEnv, out: &mut Vec<u8>) {
    let civil = Civil::of_timestamp(local);
    if env.date_style == DateStyle::Postgres {
        out.extend_from_slice(&WEEKDAYS[day_of_week(civil.days()) as usize].as_bytes()[..3]);
        out.push(b' ');
        let month = &MONTHS[civil.month as usize - 1].as_bytes()[..3];
        if env.date_order == DateOrder::Dmy {
            two(civil.day, out);
            out.push(b' ');
            out.extend_from_slice(month);
        } else {
            out.extend_from_slice(month);
            out.push(b' ');
            two(civil.day, out);
        }
        out.push(b' ');
        clock_out(&civil, out);
        out.push(b' ');
        year_out(civil.year, out);
    } else {
        numeric_date(&civil, env, out);
        out.push(b' ');
        clock_out(&civil, out);
    }
    if let Some((utc, secs_east)) = zone {
        zone_out(utc, secs_east, env, out);
    }
    era_out(civil.year, out);
}

/// The zone: ISO shows the offset, the other styles the abbreviation where there is one.
fn zone_out(utc: i64, secs_east: i32, env: &IoEnv, out: &mut Vec<u8>) {
    if env.date_style == DateStyle::Iso {
        return offset_out(secs_east, out);
    }
    let abbreviation = env.time_zone.describe(utc).abbreviation;
    out.push(b' ');
    if abbreviation.starts_with(['+', '-']) {
        // Numeric abbreviations have no minutes to read back; the offset does.
        offset_out(secs_east, out);
    } else {
        out.extend_from_slice(abbreviation.as_bytes());
    }
}

fn numeric_date(civil: &Civil, env: &IoEnv, out: &mut Vec<u8>) {
    match (env.date_style, env.date_order) {
        (DateStyle::Sql, DateOrder::Dmy) => day_first(civil, b'/', out),
        (DateStyle::Sql, _) => month_first(civil, b'/', out),
        (DateStyle::German, _) => day_first(civil, b'.', out),
        _ => {
            year_out(civil.year, out);
            out.push(b'-');
            two(civil.month, out);
            out.push(b'-');
            two(civil.day, out);
        }
    }
}

fn day_first(civil: &Civil, separator: u8, out: &mut Vec<u8>) {
    two(civil.day, out);
    out.push(separator);
    two(civil.month, out);
    out.push(separator);
    year_out(civil.year, out);
}

fn month_first(civil: &Civil, separator: u8, out: &mut Vec<u8>) {
    two(civil.month, out);
    out.push(separator);
    two(civil.day, out);
    out.push(separator);
    year_out(civil.year, out);
}

/// The year without its era, four digits at least.
fn year_out(year: i32, out: &mut Vec<u8>) {
    let shown = if year > 0 { year } else { 1 - year };
    if shown < 10_000 {
        two(shown / 100, out);
        two(shown % 100, out);
    } else {
        out.extend_from_slice(itoa::Buffer::new().format(shown).as_bytes());
    }
}

fn era_out(year: i32, out: &mut Vec<u8>) {
    if year <= 0 {
        out.extend_from_slice(b" BC");
    }
}

fn clock_out(civil: &Civil, out: &mut Vec<u8>) {
    two(civil.hour, out);
    out.push(b':');
    two(civil.minute, out);
    out.push(b':');
    two(civil.second, out);
    fraction_out(civil.micros, out);
}

/// The fraction of a second, without zeros at its end.
pub(crate) fn fraction_out(micros: i32, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    out.push(b'.');
    let mut rest = micros;
    let mut unit = 100_000;
    while rest > 0 {
        out.push(b'0' + (rest / unit) as u8);
        rest %= unit;
        unit /= 10;
    }
}

/// Two digits of a number below 100.
pub(crate) fn two(value: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8]);
}
