//! Arithmetic on dates, times and timestamps.
//!
//! An interval is added in three steps, months, then days, then microseconds, each on the result of the one before: a
//! day past the end of a month becomes its last day, and with a time zone the first two steps keep the local time.
//! Infinite operands give infinite results, or an error where there is no answer.

use std::cmp::Ordering;

use crate::datetime::calendar::{Civil, UNIX_EPOCH_MICROS, days_in_month};
use crate::datetime::interval::interval_out_of_range;
use crate::datetime::{
    DATE_END, DATE_MIN, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SEC, TimeZone,
    check_date, check_timestamp, out_of_range,
};
use crate::datum::{Interval, TimeTz};
use crate::error::{PgError, PgResult};
use crate::sqlstate::SqlState;

/// Whether a timestamp is `infinity` or `-infinity`.
pub fn is_infinite(micros: i64) -> bool {
    micros == i64::MIN || micros == i64::MAX
}

#[cold]
fn timestamp_out_of_range() -> PgError {
    out_of_range("timestamp out of range")
}

/// A finite timestamp, or 22008.
fn finite_timestamp(micros: Option<i64>) -> PgResult<i64> {
    match micros {
        Some(micros) if !is_infinite(micros) => check_timestamp(micros),
        _ => Err(timestamp_out_of_range()),
    }
}

/// The answer when the timestamp or the interval is infinite.
fn infinite_sum(micros: i64, interval: &Interval) -> Option<PgResult<i64>> {
    let positive = *interval == Interval::INFINITY;
    match (is_infinite(micros), interval.is_infinite()) {
        (false, false) => None,
        (true, true) if (micros == i64::MAX) != positive => Some(Err(timestamp_out_of_range())),
        (true, _) => Some(Ok(micros)),
        (false, true) => Some(Ok(if positive { i64::MAX } else { i64::MIN })),
    }
}

/// The timestamp this many months later, on the month's last day if the day does not exist there.
fn add_months(micros: i64, months: i32) -> PgResult<i64> {
    if months == 0 {
        return Ok(micros);
    }
    let mut civil = Civil::of_timestamp(micros);
    let total = i64::from(civil.year) * 12 + i64::from(civil.month) - 1 + i64::from(months);
    civil.year = i32::try_from(total.div_euclid(12)).map_err(|_| timestamp_out_of_range())?;
    civil.month = total.rem_euclid(12) as i32 + 1;
    civil.day = civil.day.min(days_in_month(civil.year, civil.month));
    civil.timestamp().ok_or_else(timestamp_out_of_range)
}

fn add_days(micros: i64, days: i32) -> PgResult<i64> {
    if days == 0 {
        return Ok(micros);
    }
    let added = i64::from(days).checked_mul(MICROS_PER_DAY);
    finite_timestamp(added.and_then(|added| micros.checked_add(added)))
}

/// `timestamp + interval`.
pub fn timestamp_add(micros: i64, interval: &Interval) -> PgResult<i64> {
    if let Some(answer) = infinite_sum(micros, interval) {
        return answer;
    }
    let dated = add_days(add_months(micros, interval.months)?, interval.days)?;
    finite_timestamp(dated.checked_add(interval.micros))
}

/// `timestamp - interval`.
pub fn timestamp_sub(micros: i64, interval: &Interval) -> PgResult<i64> {
    timestamp_add(micros, &interval.neg()?)
}

/// `timestamptz + interval`, in a time zone.
pub fn timestamptz_add(micros: i64, interval: &Interval, zone: &TimeZone) -> PgResult<i64> {
    if let Some(answer) = infinite_sum(micros, interval) {
        return answer;
    }
    let mut moment = micros;
    if interval.months != 0 {
        moment = zone.to_utc(add_months(zone.to_local(moment), interval.months)?);
    }
    if interval.days != 0 {
        moment = zone.to_utc(add_days(zone.to_local(moment), interval.days)?);
    }
    finite_timestamp(moment.checked_add(interval.micros))
}

/// `timestamptz - interval`, in a time zone.
pub fn timestamptz_sub(micros: i64, interval: &Interval, zone: &TimeZone) -> PgResult<i64> {
    timestamptz_add(micros, &interval.neg()?, zone)
}

/// `timestamp - timestamp` (and `timestamptz - timestamptz`): days and microseconds.
pub fn timestamp_diff(a: i64, b: i64) -> PgResult<Interval> {
    match (is_infinite(a), is_infinite(b)) {
        (true, true) if a == b => Err(interval_out_of_range()),
        (true, _) => Ok(if a == i64::MAX { Interval::INFINITY } else { Interval::MINUS_INFINITY }),
        (false, true) => Ok(if b == i64::MIN { Interval::INFINITY } else { Interval::MINUS_INFINITY }),
        (false, false) => {
            let micros = a.checked_sub(b).ok_or_else(interval_out_of_range)?;
            Interval::new(0, 0, micros).justify_hours()
        }
    }
}

/// `age(a, b)`: the difference in years, months, days and time, counted on the calendar. For `timestamptz`, give local
/// times.
pub fn age(a: i64, b: i64) -> PgResult<Interval> {
    if is_infinite(a) || is_infinite(b) {
        return timestamp_diff(a, b);
    }
    let (first, second) = (Civil::of_timestamp(a), Civil::of_timestamp(b));
    let flipped = a < b;
    let sign = if flipped { -1 } else { 1 };
    let field = |x: i32, y: i32| i64::from(sign * (x - y));
    let mut micros = (first.time_micros() - second.time_micros()) * i64::from(sign);
    let mut days = field(first.day, second.day);
    let mut months = field(first.year, second.year) * 12 + field(first.month, second.month);
    if micros < 0 {
        micros += MICROS_PER_DAY;
        days -= 1;
    }
    while days < 0 {
        let base = if flipped { &first } else { &second };
        days += i64::from(days_in_month(base.year, base.month));
        months -= 1;
    }
    let sign = i64::from(sign);
    Ok(Interval::new((months * sign) as i32, (days * sign) as i32, micros * sign))
}

/// `date + integer`.
pub fn date_add(date: i32, days: i32) -> PgResult<i32> {
    if date == i32::MIN || date == i32::MAX {
        return Ok(date);
    }
    let sum = date.checked_add(days).filter(|sum| (DATE_MIN..DATE_END).contains(sum));
    sum.ok_or_else(|| out_of_range("date out of range"))
}

/// `date - integer`.
pub fn date_sub(date: i32, days: i32) -> PgResult<i32> {
    if date == i32::MIN || date == i32::MAX {
        return Ok(date);
    }
    let difference = date.checked_sub(days).filter(|days| (DATE_MIN..DATE_END).contains(days));
    difference.ok_or_else(|| out_of_range("date out of range"))
}

/// `date - date`.
pub fn date_diff(a: i32, b: i32) -> PgResult<i32> {
    let infinite = |date: i32| date == i32::MIN || date == i32::MAX;
    if infinite(a) || infinite(b) {
        return Err(out_of_range("cannot subtract infinite dates"));
    }
    a.checked_sub(b).ok_or_else(|| out_of_range("date out of range"))
}

/// Midnight of a date, as a timestamp.
pub fn date_to_timestamp(date: i32) -> PgResult<i64> {
    match date {
        i32::MIN => Ok(i64::MIN),
        i32::MAX => Ok(i64::MAX),
        _ => finite_timestamp(i64::from(date).checked_mul(MICROS_PER_DAY))
            .map_err(|_| out_of_range("date out of range for timestamp")),
    }
}

/// Midnight of a date in a time zone.
pub fn date_to_timestamptz(date: i32, zone: &TimeZone) -> PgResult<i64> {
    timestamp_to_timestamptz(date_to_timestamp(date)?, zone)
        .map_err(|_| out_of_range("date out of range for timestamp"))
}

/// The date of a timestamp.
pub fn timestamp_to_date(micros: i64) -> PgResult<i32> {
    match micros {
        i64::MIN => Ok(i32::MIN),
        i64::MAX => Ok(i32::MAX),
        _ => i32::try_from(micros.div_euclid(MICROS_PER_DAY))
            .map_err(|_| out_of_range("date out of range"))
            .and_then(check_date),
    }
}

/// The date of a moment in a time zone.
pub fn timestamptz_to_date(micros: i64, zone: &TimeZone) -> PgResult<i32> {
    timestamp_to_date(timestamptz_to_timestamp(micros, zone))
}

/// The time of day of a timestamp; `None` of infinities, which have none.
pub fn timestamp_to_time(micros: i64) -> Option<i64> {
    (!is_infinite(micros)).then(|| micros.rem_euclid(MICROS_PER_DAY))
}

/// The local time of a moment (`timestamptz AT TIME ZONE`).
pub fn timestamptz_to_timestamp(micros: i64, zone: &TimeZone) -> i64 {
    if is_infinite(micros) { micros } else { zone.to_local(micros) }
}

/// The moment of a local time (`timestamp AT TIME ZONE`).
pub fn timestamp_to_timestamptz(micros: i64, zone: &TimeZone) -> PgResult<i64> {
    if is_infinite(micros) { Ok(micros) } else { finite_timestamp(Some(zone.to_utc(micros))) }
}

/// `timetz AT TIME ZONE`: the same moment of the day, by the clock of a zone as it is at `now`.
pub fn timetz_at_zone(time: TimeTz, zone: &TimeZone, now: i64) -> TimeTz {
    let zone_secs_west = -zone.offset_at(now);
    let micros = time.utc_micros() - i64::from(zone_secs_west) * MICROS_PER_SEC;
    TimeTz { micros: micros.rem_euclid(MICROS_PER_DAY), zone_secs_west }
}

/// `time + interval`: only the interval's time counts, and midnight wraps around.
pub fn time_add(time: i64, interval: &Interval) -> PgResult<i64> {
    if interval.is_infinite() {
        return Err(out_of_range("cannot add infinite interval to time"));
    }
    Ok((time + interval.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY))
}

/// `time - interval`.
pub fn time_sub(time: i64, interval: &Interval) -> PgResult<i64> {
    if interval.is_infinite() {
        return Err(out_of_range("cannot subtract infinite interval from time"));
    }
    Ok((time - interval.micros % MICROS_PER_DAY).rem_euclid(MICROS_PER_DAY))
}

/// `time - time`.
pub fn time_diff(a: i64, b: i64) -> Interval {
    Interval::new(0, 0, a - b)
}

/// `interval::time`: the interval's microseconds within a day.
pub fn interval_to_time(interval: &Interval) -> PgResult<i64> {
    if interval.is_infinite() {
        return Err(out_of_range("cannot convert infinite interval to time"));
    }
    Ok(interval.micros.rem_euclid(MICROS_PER_DAY))
}

/// `make_date(year, month, day)`; a negative year is BC.
pub fn make_date(year: i32, month: i32, day: i32) -> PgResult<i32> {
    let field_out_of_range =
        || out_of_range(&format!("date field value out of range: {year}-{month:02}-{day:02}"));
    let counted = match year.cmp(&0) {
        Ordering::Equal => return Err(field_out_of_range()),
        Ordering::Less => year.checked_add(1).ok_or_else(field_out_of_range)?,
        Ordering::Greater => year,
    };
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(counted, month) {
        return Err(field_out_of_range());
    }
    Civil { year: counted, month, day, ..Civil::default() }
        .date()
        .ok_or_else(|| out_of_range(&format!("date out of range: {counted}-{month:02}-{day:02}")))
}

/// `make_time(hour, minute, seconds)`.
pub fn make_time(hour: i32, minute: i32, seconds: f64) -> PgResult<i64> {
    let micros = (seconds * MICROS_PER_SEC as f64).round_ties_even();
    // The cast and the sum saturate; what does not fit a day is refused below.
    let total = (i64::from(hour) * MICROS_PER_HOUR + i64::from(minute) * MICROS_PER_MINUTE)
        .saturating_add(micros as i64);
    let fits = (0..=24).contains(&hour)
        && (0..=59).contains(&minute)
        && (0.0..=60.0 * MICROS_PER_SEC as f64).contains(&micros)
        && total <= MICROS_PER_DAY;
    if fits {
        return Ok(total);
    }
    Err(out_of_range(&format!("time field value out of range: {hour}:{minute:02}:{seconds:02}")))
}

/// `make_timestamp(year, month, day, hour, minute, seconds)`.
pub fn make_timestamp(date: (i32, i32, i32), hour: i32, minute: i32, seconds: f64) -> PgResult<i64> {
    let (year, month, day) = date;
    let days = make_date(year, month, day)?;
    let time = make_time(hour, minute, seconds)?;
    let micros = i64::from(days).checked_mul(MICROS_PER_DAY).and_then(|days| days.checked_add(time));
    finite_timestamp(micros).map_err(|_| {
        out_of_range(&format!(
            "timestamp out of range: {year}-{month:02}-{day:02} {hour}:{minute:02}:{seconds:02}"
        ))
    })
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`.
pub fn make_interval(parts: [i32; 6], seconds: f64) -> PgResult<Interval> {
    let [years, months, weeks, days, hours, minutes] = parts.map(i64::from);
    let micros = (seconds * MICROS_PER_SEC as f64).round_ties_even();
    if !micros.is_finite() || micros.abs() >= 9.2e18 {
        return Err(interval_out_of_range());
    }
    let time = hours * MICROS_PER_HOUR + minutes * MICROS_PER_MINUTE;
    let fields = (
        i32::try_from(years * 12 + months),
        i32::try_from(weeks * 7 + days),
        time.checked_add(micros as i64),
    );
    match fields {
        (Ok(months), Ok(days), Some(micros)) => {
            let interval = Interval::new(months, days, micros);
            if interval.is_infinite() { Err(interval_out_of_range()) } else { Ok(interval) }
        }
        _ => Err(interval_out_of_range()),
    }
}

/// `to_timestamp(seconds)`: seconds since 1970.
pub fn timestamptz_of_epoch(seconds: f64) -> PgResult<i64> {
    if seconds.is_infinite() {
        return Ok(if seconds > 0.0 { i64::MAX } else { i64::MIN });
    }
    if seconds.is_nan() {
        return Err(out_of_range("timestamp cannot be NaN"));
    }
    let seconds_2000 = seconds - (UNIX_EPOCH_MICROS / MICROS_PER_SEC) as f64;
    let micros = (seconds_2000 * MICROS_PER_SEC as f64).round_ties_even();
    let micros = if micros.abs() < 9.3e18 { check_timestamp(micros as i64).ok() } else { None };
    micros.filter(|m| !is_infinite(*m)).ok_or_else(|| {
        let mut shown = Vec::new();
        crate::io::float::float8_out(seconds, -9, &mut shown);
        out_of_range(&format!("timestamp out of range: \"{}\"", String::from_utf8_lossy(&shown)))
    })
}

/// `date_bin(stride, source, origin)`: the start of the stride-long bin, counted from `origin`, that `source` is in.
pub fn date_bin(stride: &Interval, source: i64, origin: i64) -> PgResult<i64> {
    if is_infinite(source) {
        return Ok(source);
    }
    if is_infinite(origin) {
        return Err(out_of_range("origin out of range"));
    }
    if stride.is_infinite() {
        return Err(out_of_range("timestamps cannot be binned into infinite intervals"));
    }
    if stride.months != 0 {
        return Err(PgError::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "timestamps cannot be binned into intervals containing months or years",
        ));
    }
    let width =
        i64::from(stride.days).checked_mul(MICROS_PER_DAY).and_then(|days| days.checked_add(stride.micros));
    let width = width.ok_or_else(interval_out_of_range)?;
    if width <= 0 {
        return Err(out_of_range("stride must be greater than zero"));
    }
    let distance = source.checked_sub(origin).ok_or_else(interval_out_of_range)?;
    finite_timestamp(distance.checked_sub(distance.rem_euclid(width)).and_then(|bin| origin.checked_add(bin)))
}
