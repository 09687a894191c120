//! `to_char` of timestamps and intervals.

use shardforge_types::datetime::calendar::{day_of_week, days_of_date, iso_week, iso_year_start};
use shardforge_types::datetime::{Civil, MICROS_PER_HOUR, MICROS_PER_SEC, ZoneOffset};
use shardforge_types::{Interval, PgError, PgResult, SqlState};

use super::number::{ordinal, roman};
use super::template::{Case, Field, Item, items};

/// What is formatted: fields, and what only timestamps have.
pub(super) struct Moment {
    pub year: i32,
    pub month: i32,
    pub day: i32,
    pub hour: i64,
    pub minute: i32,
    pub second: i32,
    pub micros: i32,
    /// Days from 2000-01-01; None of an interval.
    pub days: Option<i64>,
    pub zone: Option<ZoneOffset>,
}

impl Moment {
    /// The fields of a local timestamp, with the zone if it has one.
    pub(super) fn of_timestamp(local: i64, zone: Option<ZoneOffset>) -> Moment {
        let civil = Civil::of_timestamp(local);
        Moment {
            year: civil.year,
            month: civil.month,
            day: civil.day,
            hour: i64::from(civil.hour),
            minute: civil.minute,
            second: civil.second,
            micros: civil.micros,
            days: Some(civil.days()),
            zone,
        }
    }

    /// The fields of an interval.
    pub(super) fn of_interval(interval: &Interval) -> Moment {
        let micros = interval.micros;
        Moment {
            year: interval.months / 12,
            month: interval.months % 12,
            day: interval.days,
            hour: micros / MICROS_PER_HOUR,
            minute: (micros % MICROS_PER_HOUR / (60 * MICROS_PER_SEC)) as i32,
            second: (micros / MICROS_PER_SEC % 60) as i32,
            micros: (micros % MICROS_PER_SEC) as i32,
            days: None,
            zone: None,
        }
    }

    /// The day, which an interval does not have.
    fn calendar_day(&self) -> PgResult<i64> {
        self.days.ok_or_else(|| {
            PgError::new(SqlState::INVALID_DATETIME_FORMAT, "invalid format specification for an interval value")
                .hint("Intervals are not tied to specific calendar dates.")
        })
    }

    /// The year as it is shown: 1 BC for 0.
    fn shown_year(&self) -> i64 {
        let year = i64::from(self.year);
        if self.days.is_some() && year <= 0 { 1 - year } else { year }
    }

    fn day_of_year(&self) -> i64 {
        match self.days {
            Some(days) => days - days_of_date(self.year, 1, 1) + 1,
            None => i64::from(self.year * 12 + self.month) * 30 + i64::from(self.day),
        }
    }

    fn seconds_of_day(&self) -> i64 {
        self.hour * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }
}

const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Formats a moment by a template.
pub(super) fn write(moment: &Moment, template: &str) -> PgResult<String> {
    let mut out = String::with_capacity(template.len() + 16);
    for item in items(template) {
        match item {
            Item::Literal(c) => out.push(c),
            Item::Field { field, fill, ordinal_suffix, .. } => {
                let start = out.len();
                write_field(moment, field, fill, &mut out)?;
                if let Some(upper) = ordinal_suffix
                    && out[start..].ends_with(|c: char| c.is_ascii_digit())
                {
                    let suffix = ordinal(out[start..].as_bytes());
                    out.push_str(&if upper { suffix.to_ascii_uppercase() } else { suffix.to_owned() });
                }
            }
        }
    }
    Ok(out)
}

fn number(out: &mut String, value: i64, width: usize, fill: bool) {
    // The sign stands outside the width.
    let width = if fill { 0 } else { width };
    let sign = if value < 0 { "-" } else { "" };
    out.push_str(&format!("{sign}{:0width$}", value.unsigned_abs()));
}

fn word(out: &mut String, text: &str, case: Case, width: usize, fill: bool) {
    let width = if fill { 0 } else { width };
    out.push_str(&format!("{:<width$}", case.apply(text)));
}

fn write_field(m: &Moment, field: Field, fill: bool, out: &mut String) -> PgResult<()> {
    let century_year = m.shown_year();
    match field {
        Field::Hour12 => {
            let hour = if m.hour % 12 == 0 { 12 } else { m.hour % 12 };
            number(out, hour, 2, fill);
        }
        Field::Hour24 => number(out, m.hour, 2, fill),
        Field::Minute => number(out, i64::from(m.minute), 2, fill),
        Field::Second => number(out, i64::from(m.second), 2, fill),
        Field::Fraction(digits) => {
            let scaled = m.micros / 10i32.pow(6 - u32::from(digits));
            number(out, i64::from(scaled), usize::from(digits), false);
        }
        Field::Millisecond => number(out, i64::from(m.micros / 1000), 3, false),
        Field::Microsecond => number(out, i64::from(m.micros), 6, false),
        Field::SecondOfDay => number(out, m.seconds_of_day(), 0, true),
        Field::Meridiem { dots, upper } => {
            let afternoon = m.hour.rem_euclid(24) >= 12;
            let text = match (afternoon, dots) {
                (true, true) => "p.m.",
                (true, false) => "pm",
                (false, true) => "a.m.",
                (false, false) => "am",
            };
            out.push_str(&if upper { text.to_ascii_uppercase() } else { text.to_owned() });
        }
        Field::Era { dots, upper } => {
            m.calendar_day()?;
            let text = match (m.year <= 0, dots) {
                (true, true) => "b.c.",
                (true, false) => "bc",
                (false, true) => "a.d.",
                (false, false) => "ad",
            };
            out.push_str(&if upper { text.to_ascii_uppercase() } else { text.to_owned() });
        }
        Field::Year(digits) => {
            let width = usize::from(digits);
            let value = if digits >= 4 { century_year } else { century_year % 10i64.pow(u32::from(digits)) };
            number(out, value, width, fill);
        }
        Field::YearWithComma => {
            out.push_str(&format!("{},{:03}", century_year / 1000, century_year % 1000));
        }
        Field::IsoYear(digits) => {
            let year = i64::from(iso_week(m.calendar_day()?).0);
            let year = if year <= 0 { 1 - year } else { year };
            let value = if digits >= 4 { year } else { year % 10i64.pow(u32::from(digits)) };
            number(out, value, usize::from(digits), fill);
        }
        Field::Century => {
            let year = i64::from(m.year);
            let century = match m.days {
                None => year / 100,
                Some(_) if year > 0 => (year - 1) / 100 + 1,
                Some(_) => year / 100 - 1,
            };
            number(out, century, if century.abs() <= 99 { 2 } else { 0 }, fill);
        }
        Field::MonthName(case) | Field::MonthShort(case) => {
            m.calendar_day()?;
            let name = MONTHS[(m.month - 1).rem_euclid(12) as usize];
            match field {
                Field::MonthShort(_) => word(out, &name[..3], case, 0, fill),
                _ => word(out, name, case, 9, fill),
            }
        }
        Field::Month => number(out, i64::from(m.month), 2, fill),
        Field::MonthRoman { upper } => {
            if m.month == 0 && m.year == 0 {
                return Ok(());
            }
            // An interval's months count on; a negative one counts from the end.
            let month = (m.month - 1).rem_euclid(12) + 1;
            let numeral = roman(month);
            let numeral = if upper { numeral } else { numeral.to_ascii_lowercase() };
            let width = if fill { 0 } else { 4 };
            out.push_str(&format!("{numeral:<width$}"));
        }
        Field::DayName(case) | Field::DayShort(case) => {
            let name = WEEKDAYS[day_of_week(m.calendar_day()?).rem_euclid(7) as usize];
            match field {
                Field::DayShort(_) => word(out, &name[..3], case, 0, fill),
                _ => word(out, name, case, 9, fill),
            }
        }
        Field::DayOfYear => number(out, m.day_of_year(), 3, fill),
        Field::Day => number(out, i64::from(m.day), 2, fill),
        Field::DayOfWeek => {
            number(out, i64::from(day_of_week(m.calendar_day()?)) + 1, 0, fill);
        }
        Field::IsoDayOfWeek => {
            let day = day_of_week(m.calendar_day()?);
            number(out, i64::from(if day == 0 { 7 } else { day }), 0, fill);
        }
        Field::IsoDayOfYear => {
            let days = m.calendar_day()?;
            number(out, days - iso_year_start(iso_week(days).0) + 1, 3, fill);
        }
        Field::WeekOfMonth => number(out, (i64::from(m.day) - 1) / 7 + 1, 0, fill),
        Field::WeekOfYear => number(out, (m.day_of_year() - 1) / 7 + 1, 2, fill),
        Field::IsoWeek => number(out, i64::from(iso_week(m.calendar_day()?).1), 2, fill),
        Field::Quarter => {
            if m.month != 0 || m.days.is_some() {
                number(out, i64::from((m.month - 1) / 3 + 1), 0, fill);
            }
        }
        Field::Julian => {
            const JULIAN_DAY_OF_2000: i64 = 2_451_545;
            number(out, m.calendar_day()? + JULIAN_DAY_OF_2000, 0, fill);
        }
        Field::ZoneName { upper } => {
            m.calendar_day()?;
            if let Some(zone) = &m.zone {
                let name = &zone.abbreviation;
                out.push_str(&if upper { name.clone() } else { name.to_lowercase() });
            }
        }
        Field::ZoneHours | Field::ZoneMinutes | Field::ZoneOffset => {
            m.calendar_day()?;
            let east = m.zone.as_ref().map_or(0, |zone| zone.secs_east);
            let (sign, magnitude) = (if east < 0 { '-' } else { '+' }, east.unsigned_abs());
            let (hours, minutes) = (magnitude / 3600, magnitude / 60 % 60);
            match field {
                Field::ZoneHours => out.push_str(&format!("{sign}{hours:02}")),
                Field::ZoneMinutes => out.push_str(&format!("{minutes:02}")),
                _ if fill => out.push_str(&format!("{sign}{hours}")),
                _ => out.push_str(&format!("{sign}{hours:02}")),
            }
            if field == Field::ZoneOffset && minutes != 0 {
                out.push_str(&format!(":{minutes:02}"));
            }
        }
        Field::Fixed => {}
    }
    Ok(())
}
