//! Intervals as text: the four `IntervalStyle`s to write, and all of them to read.

use crate::datetime::fields::{FieldKind, Keyword, Unit, keyword, leading_int, split, unit};
use crate::datetime::input::{Fault, parse_clock};
use crate::datetime::output::{fraction_out, two};
use crate::datetime::{MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SEC};
use crate::datum::Interval;
use crate::env::{IntervalStyle, IoEnv};
use crate::error::PgResult;

/// Reads an `interval`.
pub fn interval_in(text: &str, typmod: i32, env: &IoEnv) -> PgResult<Interval> {
    let range = if typmod < 0 { 0x7FFF } else { typmod >> 16 & 0x7FFF };
    let fault = |fault: Fault| {
        // Whatever overflows in an interval is the interval's overflow.
        let fault = if matches!(fault, Fault::Overflow) { Fault::IntervalOverflow } else { fault };
        fault.error("interval", text)
    };
    let read = match split(text) {
        Some(fields) => Reader::new(range).read(&fields, env.interval_style),
        None => Err(Fault::Format),
    };
    let read = match read {
        Err(Fault::Format) if text.trim_start().starts_with('P') => read_iso8601(text.trim_start()),
        other => other,
    };
    read.map_err(fault)?.apply_typmod(typmod)
}

/// An interval while its parts are added up.
#[derive(Default)]
struct Parts {
    years: i64,
    months: i64,
    days: i64,
    micros: i64,
}

impl Parts {
    fn add(&mut self, unit: Unit, value: i64, fraction: f64) -> Result<(), Fault> {
        match unit {
            Unit::Microsecond => self.add_micros(value, fraction, 1),
            Unit::Millisecond => self.add_micros(value, fraction, 1_000),
            Unit::Second => self.add_micros(value, fraction, MICROS_PER_SEC),
            Unit::Minute => self.add_micros(value, fraction, MICROS_PER_MINUTE),
            Unit::Hour => self.add_micros(value, fraction, MICROS_PER_HOUR),
            Unit::Day => {
                self.days = add_i32(self.days, value, 1)?;
                self.add_micros(0, fraction, MICROS_PER_DAY)
            }
            Unit::Week => {
                self.days = add_i32(self.days, value, 7)?;
                self.add_days_fraction(fraction, 7.0)
            }
            Unit::Month => {
                self.months = add_i32(self.months, value, 1)?;
                self.add_days_fraction(fraction, 30.0)
            }
            Unit::Quarter => Err(Fault::Format),
            Unit::Year => self.add_years(value, fraction, 1),
            Unit::Decade => self.add_years(value, fraction, 10),
            Unit::Century => self.add_years(value, fraction, 100),
            Unit::Millennium => self.add_years(value, fraction, 1_000),
        }
    }

    fn add_micros(&mut self, value: i64, fraction: f64, scale: i64) -> Result<(), Fault> {
        let scaled = fraction * scale as f64;
        let whole = scaled.trunc();
        let rest = scaled - whole;
        let rounded = whole as i64 + i64::from(rest > 0.5) - i64::from(rest < -0.5);
        let value = value.checked_mul(scale).ok_or(Fault::Overflow)?;
        let sum = self.micros.checked_add(value).and_then(|sum| sum.checked_add(rounded));
        self.micros = sum.ok_or(Fault::Overflow)?;
        Ok(())
    }

    fn add_days_fraction(&mut self, fraction: f64, scale: f64) -> Result<(), Fault> {
        let days = fraction * scale;
        self.days = add_i32(self.days, days.trunc() as i64, 1)?;
        self.add_micros(0, days.fract(), MICROS_PER_DAY)
    }

    fn add_years(&mut self, value: i64, fraction: f64, scale: i64) -> Result<(), Fault> {
        let months = (fraction * scale as f64 * 12.0).round_ties_even() as i64;
        self.years = add_i32(self.years, value, scale)?;
        self.months = add_i32(self.months, months, 1)?;
        Ok(())
    }

    fn finish(&self) -> Result<Interval, Fault> {
        let months = i32::try_from(self.years * 12 + self.months).map_err(|_| Fault::IntervalOutOfRange)?;
        let days = i32::try_from(self.days).map_err(|_| Fault::Overflow)?;
        let interval = Interval { months, days, micros: self.micros };
        if interval.is_infinite() { Err(Fault::IntervalOutOfRange) } else { Ok(interval) }
    }
}

/// A sum that must fit 32 bits.
fn add_i32(sum: i64, value: i64, scale: i64) -> Result<i64, Fault> {
    let total = value.checked_mul(scale).and_then(|value| sum.checked_add(value)).ok_or(Fault::Overflow)?;
    if i32::try_from(total).is_ok() { Ok(total) } else { Err(Fault::Overflow) }
}

/// Reads fields from right to left: a unit stands behind its number.
struct Reader {
    parts: Parts,
    /// The unit of the next number to the left.
    unit: Option<Unit>,
    /// The unit was written and waits for its number.
    unit_is_open: bool,
    /// The units already given, as bits.
    seen: u32,
    /// The unit of a last number without one.
    last_unit: Unit,
    minutes_first: bool,
}

const SEEN_TIME: u32 = 1 << Unit::Hour as u32 | 1 << Unit::Minute as u32 | 1 << Unit::Second as u32;
const SEEN_SECONDS: u32 =
    1 << Unit::Second as u32 | 1 << Unit::Millisecond as u32 | 1 << Unit::Microsecond as u32;

impl Reader {
    fn new(range: i32) -> Reader {
        // The field that a type modifier such as `day to hour` ends with.
        let last_unit = match range {
            0x0004 => Unit::Year,
            0x0002 | 0x0006 => Unit::Month,
            0x0008 => Unit::Day,
            0x0400 | 0x0408 => Unit::Hour,
            0x0800 | 0x0C00 | 0x0C08 => Unit::Minute,
            _ => Unit::Second,
        };
        let minutes_first = range == 0x1800;
        Reader { parts: Parts::default(), unit: None, unit_is_open: false, seen: 0, last_unit, minutes_first }
    }

    fn read(mut self, fields: &[super::fields::Field], style: IntervalStyle) -> Result<Interval, Fault> {
        let signed = |text: &str| text.starts_with(['+', '-']);
        // The SQL standard has one sign for all fields; that holds if no other field has its own.
        let force_negative = style == IntervalStyle::SqlStandard
            && fields.first().is_some_and(|f| f.text.starts_with('-'))
            && !fields[1..].iter().any(|f| signed(&f.text));
        let mut is_ago = false;
        for (index, field) in fields.iter().enumerate().rev() {
            let is_last = index + 1 == fields.len();
            let told = match field.kind {
                FieldKind::Time => self.clock(&field.text, force_negative)?,
                FieldKind::Signed if field.text[1..].contains(':') => {
                    let negative = force_negative || field.text.starts_with('-');
                    self.clock(&field.text[1..], negative)?
                }
                FieldKind::Signed | FieldKind::Date | FieldKind::Number => {
                    self.number(&field.text, force_negative)?
                }
                FieldKind::Word | FieldKind::SignedWord => {
                    if self.unit_is_open {
                        return Err(Fault::Format);
                    }
                    if field.text == "ago" {
                        if !is_last {
                            return Err(Fault::Format);
                        }
                        is_ago = true;
                        continue;
                    }
                    match (unit(&field.text), keyword(&field.text)) {
                        (Some(unit), _) => {
                            self.unit = Some(unit);
                            self.unit_is_open = true;
                        }
                        (None, Some(Keyword::Infinity)) if fields.len() == 1 => {
                            return Ok(Interval::INFINITY);
                        }
                        (None, Some(Keyword::MinusInfinity)) if fields.len() == 1 => {
                            return Ok(Interval::MINUS_INFINITY);
                        }
                        (None, Some(Keyword::Ignored)) => {}
                        _ => return Err(Fault::Format),
                    }
                    0
                }
            };
            if told & self.seen != 0 {
                return Err(Fault::Format);
            }
            self.seen |= told;
        }
        if self.seen == 0 || self.unit_is_open {
            return Err(Fault::Format);
        }
        let interval = self.parts.finish()?;
        if is_ago { interval.neg().map_err(|_| Fault::Overflow) } else { Ok(interval) }
    }

    fn clock(&mut self, text: &str, negative: bool) -> Result<u32, Fault> {
        let mut clock = parse_clock(text)?;
        if self.minutes_first && text.matches(':').count() == 1 && !text.contains('.') {
            clock.second = clock.minute;
            clock.minute = i32::try_from(clock.hour).map_err(|_| Fault::Overflow)?;
            clock.hour = 0;
        }
        let micros = clock.hour.checked_mul(MICROS_PER_HOUR).and_then(|hours| {
            let rest = i64::from(clock.minute) * MICROS_PER_MINUTE + i64::from(clock.second) * MICROS_PER_SEC;
            hours.checked_add(rest + i64::from(clock.micros))
        });
        let micros = micros.ok_or(Fault::Overflow)?;
        let micros = if negative { -micros } else { micros };
        self.parts.micros = self.parts.micros.checked_add(micros).ok_or(Fault::Overflow)?;
        self.unit = Some(Unit::Day);
        self.unit_is_open = false;
        Ok(SEEN_TIME)
    }

    fn number(&mut self, text: &str, force_negative: bool) -> Result<u32, Fault> {
        let mut unit = self.unit.unwrap_or(self.last_unit);
        let negative = text.starts_with('-');
        let (mut value, rest) = match leading_int(text) {
            Some((value, rest)) => (i64::try_from(value).map_err(|_| Fault::Overflow)?, rest),
            None => (0, text),
        };
        let mut fraction = 0.0;
        if let Some(months) = rest.strip_prefix('-') {
            // Years and months, as in SQL: 1-2.
            let (months, rest) = leading_int(months).ok_or(Fault::Format)?;
            if !(0..12).contains(&months) {
                return Err(Fault::Overflow);
            }
            if !rest.is_empty() {
                return Err(Fault::Format);
            }
            unit = Unit::Month;
            let months = if negative { -months } else { months } as i64;
            value = value.checked_mul(12).and_then(|v| v.checked_add(months)).ok_or(Fault::Overflow)?;
        } else if rest.starts_with('.') {
            fraction = parse_fraction(rest)?;
            if negative {
                fraction = -fraction;
            }
        } else if !rest.is_empty() {
            return Err(Fault::Format);
        }
        if force_negative {
            value = if value > 0 { -value } else { value };
            fraction = -fraction.abs();
        }
        self.parts.add(unit, value, fraction)?;
        self.unit = Some(unit);
        self.unit_is_open = false;
        Ok(if unit == Unit::Second && fraction != 0.0 { SEEN_SECONDS } else { 1 << unit as u32 })
    }
}

fn parse_fraction(text: &str) -> Result<f64, Fault> {
    let digits = text.strip_prefix('.').ok_or(Fault::Format)?;
    if digits.is_empty() {
        return Ok(0.0);
    }
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::Format);
    }
    text.parse().map_err(|_| Fault::Format)
}

/// `P1Y2M3DT4H5M6.5S`, or `P0001-02-03T04:05:06`.
fn read_iso8601(text: &str) -> Result<Interval, Fault> {
    let mut rest = text.strip_prefix('P').filter(|rest| !rest.is_empty()).ok_or(Fault::Format)?;
    let mut parts = Parts::default();
    let mut in_date = true;
    let mut have_field = false;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('T') {
            (in_date, have_field, rest) = (false, false, after);
            continue;
        }
        let (value, fraction, after) = iso_number(rest)?;
        let mut chars = after.chars();
        let unit = chars.next();
        let next = chars.as_str();
        match (in_date, unit) {
            (true, Some('Y')) => parts.add(Unit::Year, value, fraction)?,
            (true, Some('M')) => parts.add(Unit::Month, value, fraction)?,
            (true, Some('W')) => parts.add(Unit::Week, value, fraction)?,
            (true, Some('D')) => parts.add(Unit::Day, value, fraction)?,
            (false, Some('H')) => parts.add(Unit::Hour, value, fraction)?,
            (false, Some('M')) => parts.add(Unit::Minute, value, fraction)?,
            (false, Some('S')) => parts.add(Unit::Second, value, fraction)?,
            // The basic forms 00010203 and, below, 040506; or a year alone.
            (true, Some('T') | None) if !have_field => {
                if digits_len(rest) == 8 {
                    parts.add(Unit::Year, value / 10_000, 0.0)?;
                    parts.add(Unit::Month, value / 100 % 100, 0.0)?;
                    parts.add(Unit::Day, value % 100, fraction)?;
                } else {
                    parts.add(Unit::Year, value, fraction)?;
                }
                rest = after;
                have_field = true;
                continue;
            }
            (false, None) if !have_field && digits_len(rest) == 6 => {
                parts.add(Unit::Hour, value / 10_000, 0.0)?;
                parts.add(Unit::Minute, value / 100 % 100, 0.0)?;
                parts.add(Unit::Second, value % 100, fraction)?;
                return parts.finish();
            }
            (true, Some('-')) if !have_field => {
                rest = iso_alternative_date(value, fraction, next, &mut parts)?;
                have_field = true;
                continue;
            }
            (false, Some(':') | None) if !have_field => {
                return iso_alternative_time(value, fraction, after, parts);
            }
            _ => return Err(Fault::Format),
        }
        have_field = true;
        rest = next;
    }
    parts.finish()
}

fn digits_len(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// A number with a fraction, and what follows it.
fn iso_number(text: &str) -> Result<(i64, f64, &str), Fault> {
    let (value, rest) = match leading_int(text) {
        Some((value, rest)) => (i64::try_from(value).map_err(|_| Fault::Overflow)?, rest),
        None if text.trim_start_matches('-').starts_with('.') => (0, text.trim_start_matches('-')),
        None => return Err(Fault::Format),
    };
    if !rest.starts_with('.') {
        return Ok((value, 0.0, rest));
    }
    let len = 1 + rest[1..].bytes().take_while(u8::is_ascii_digit).count();
    let fraction = parse_fraction(&rest[..len])?;
    Ok((value, if text.starts_with('-') { -fraction } else { fraction }, &rest[len..]))
}

/// The `-02-03` behind the year.
fn iso_alternative_date<'a>(
    years: i64,
    fraction: f64,
    text: &'a str,
    parts: &mut Parts,
) -> Result<&'a str, Fault> {
    parts.add(Unit::Year, years, fraction)?;
    let (months, fraction, rest) = iso_number(text)?;
    parts.add(Unit::Month, months, fraction)?;
    let Some(rest) = rest.strip_prefix('-') else { return Ok(rest) };
    let (days, fraction, rest) = iso_number(rest)?;
    parts.add(Unit::Day, days, fraction)?;
    if rest.is_empty() || rest.starts_with('T') { Ok(rest) } else { Err(Fault::Format) }
}

/// The `:05:06` behind the hour.
fn iso_alternative_time(hours: i64, fraction: f64, text: &str, mut parts: Parts) -> Result<Interval, Fault> {
    parts.add(Unit::Hour, hours, fraction)?;
    let mut rest = text;
    for unit in [Unit::Minute, Unit::Second] {
        let Some(after) = rest.strip_prefix(':') else { break };
        let (value, fraction, after) = iso_number(after)?;
        parts.add(unit, value, fraction)?;
        rest = after;
    }
    if rest.is_empty() { parts.finish() } else { Err(Fault::Format) }
}

/// The parts of an interval as they are shown, all with the sign of the value they come from.
struct Shown {
    years: i64,
    months: i64,
    days: i64,
    hours: i64,
    minutes: i64,
    seconds: i64,
    micros: i64,
}

/// Appends an `interval`.
pub fn interval_out(interval: &Interval, env: &IoEnv, out: &mut Vec<u8>) {
    if interval.is_infinite() {
        let positive = *interval == Interval::INFINITY;
        return out.extend_from_slice(if positive { b"infinity" } else { b"-infinity" });
    }
    let shown = Shown {
        years: i64::from(interval.months / 12),
        months: i64::from(interval.months % 12),
        days: i64::from(interval.days),
        hours: interval.micros / MICROS_PER_HOUR,
        minutes: interval.micros / MICROS_PER_MINUTE % 60,
        seconds: interval.micros / MICROS_PER_SEC % 60,
        micros: interval.micros % MICROS_PER_SEC,
    };
    match env.interval_style {
        IntervalStyle::Postgres => shown.postgres(interval.micros < 0, out),
        IntervalStyle::PostgresVerbose => shown.verbose(out),
        IntervalStyle::SqlStandard => shown.sql_standard(out),
        IntervalStyle::Iso8601 => shown.iso8601(out),
    }
}

fn int(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

impl Shown {
    fn clock(&self, out: &mut Vec<u8>) {
        two(self.minutes.unsigned_abs() as i32, out);
        out.push(b':');
        two(self.seconds.unsigned_abs() as i32, out);
        fraction_out(self.micros.unsigned_abs() as i32, out);
    }

    fn postgres(&self, time_is_negative: bool, out: &mut Vec<u8>) {
        let start = out.len();
        let mut after_negative = false;
        for (value, unit) in [(self.years, "year"), (self.months, "mon"), (self.days, "day")] {
            if value == 0 {
                continue;
            }
            if out.len() > start {
                out.push(b' ');
            }
            if after_negative && value > 0 {
                out.push(b'+');
            }
            int(value, out);
            out.push(b' ');
            out.extend_from_slice(unit.as_bytes());
            if value != 1 {
                out.push(b's');
            }
            after_negative = value < 0;
        }
        let is_empty = out.len() == start;
        if is_empty || self.hours != 0 || self.minutes != 0 || self.seconds != 0 || self.micros != 0 {
            if !is_empty {
                out.push(b' ');
            }
            if time_is_negative {
                out.push(b'-');
            } else if after_negative {
                out.push(b'+');
            }
            let hours = self.hours.unsigned_abs();
            if hours < 10 {
                out.push(b'0');
            }
            out.extend_from_slice(itoa::Buffer::new().format(hours).as_bytes());
            out.push(b':');
            self.clock(out);
        }
    }

    fn verbose(&self, out: &mut Vec<u8>) {
        out.push(b'@');
        let (mut is_zero, mut is_ago) = (true, false);
        let parts = [
            (self.years, "year"),
            (self.months, "mon"),
            (self.days, "day"),
            (self.hours, "hour"),
            (self.minutes, "min"),
        ];
        for (value, unit) in parts.into_iter().filter(|(value, _)| *value != 0) {
            if is_zero {
                is_ago = value < 0;
            }
            is_zero = false;
            let value = if is_ago { -value } else { value };
            out.push(b' ');
            int(value, out);
            out.push(b' ');
            out.extend_from_slice(unit.as_bytes());
            if value != 1 {
                out.push(b's');
            }
        }
        if self.seconds != 0 || self.micros != 0 {
            out.push(b' ');
            let negative = self.seconds < 0 || self.micros < 0;
            if negative && is_zero {
                is_ago = true;
            } else if negative != is_ago {
                out.push(b'-');
            }
            is_zero = false;
            int(self.seconds.abs(), out);
            fraction_out(self.micros.unsigned_abs() as i32, out);
            out.extend_from_slice(b" sec");
            if self.seconds.abs() != 1 || self.micros != 0 {
                out.push(b's');
            }
        }
        if is_zero {
            out.extend_from_slice(b" 0");
        }
        if is_ago {
            out.extend_from_slice(b" ago");
        }
    }

    fn sql_standard(&self, out: &mut Vec<u8>) {
        let time = [self.hours, self.minutes, self.seconds, self.micros];
        let all = [self.years, self.months, self.days].into_iter().chain(time);
        let has_negative = all.clone().any(|v| v < 0);
        let has_positive = { all }.any(|v| v > 0);
        let has_year_month = self.years != 0 || self.months != 0;
        let has_day_time = self.days != 0 || time.iter().any(|v| *v != 0);
        let is_mixed = (has_negative && has_positive) || (has_year_month && has_day_time);
        let sign = |negative: bool| if negative { b'-' } else { b'+' };
        let hours = |out: &mut Vec<u8>| {
            int(self.hours.abs(), out);
            out.push(b':');
            self.clock(out);
        };
        let year_month = |out: &mut Vec<u8>| {
            int(self.years.abs(), out);
            out.push(b'-');
            int(self.months.abs(), out);
        };
        if !has_negative && !has_positive {
            return out.push(b'0');
        }
        if is_mixed {
            out.push(sign(self.years < 0 || self.months < 0));
            year_month(out);
            out.push(b' ');
            out.push(sign(self.days < 0));
            int(self.days.abs(), out);
            out.push(b' ');
            out.push(sign(time.iter().any(|v| *v < 0)));
            return hours(out);
        }
        if has_negative {
            out.push(b'-');
        }
        if has_year_month {
            return year_month(out);
        }
        if self.days != 0 {
            int(self.days.abs(), out);
            out.push(b' ');
        }
        hours(out);
    }

    fn iso8601(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(b'P');
        let part = |value: i64, unit: u8, out: &mut Vec<u8>| {
            if value != 0 {
                int(value, out);
                out.push(unit);
            }
        };
        part(self.years, b'Y', out);
        part(self.months, b'M', out);
        part(self.days, b'D', out);
        if self.hours != 0 || self.minutes != 0 || self.seconds != 0 || self.micros != 0 {
            out.push(b'T');
        }
        part(self.hours, b'H', out);
        part(self.minutes, b'M', out);
        if self.seconds != 0 || self.micros != 0 {
            if self.seconds < 0 || self.micros < 0 {
                out.push(b'-');
            }
            int(self.seconds.abs(), out);
            fraction_out(self.micros.unsigned_abs() as i32, out);
            out.push(b'S');
        }
        if out.len() == start + 1 {
            out.extend_from_slice(b"T0S");
        }
    }
}
