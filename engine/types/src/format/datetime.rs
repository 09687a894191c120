//! `to_char(timestamp, template)` and its like.

use crate::datetime::calendar::{
    Civil, JULIAN_2000, MONTHS, WEEKDAYS, day_of_week, days_of_date, iso_week, iso_year_start,
};
use crate::datetime::ops::is_infinite;
use crate::datetime::{MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SEC, TimeZone, ZoneOffset};
use crate::datum::Interval;
use crate::error::{PgError, PgResult};
use crate::format::{ordinal, quoted};
use crate::sqlstate::SqlState;

/// `to_char(timestamp, template)`; `None` is NULL: of an infinity, or by an empty template.
pub fn timestamp_to_char(micros: i64, template: &str) -> PgResult<Option<String>> {
    if is_infinite(micros) || template.is_empty() {
        return Ok(None);
    }
    Fields::of_civil(&Civil::of_timestamp(micros), None).write(template).map(Some)
}

/// `to_char(timestamptz, template)`, in a time zone.
pub fn timestamptz_to_char(micros: i64, template: &str, zone: &TimeZone) -> PgResult<Option<String>> {
    if is_infinite(micros) || template.is_empty() {
        return Ok(None);
    }
    let local = Civil::of_timestamp(zone.to_local(micros));
    Fields::of_civil(&local, Some(zone.describe(micros))).write(template).map(Some)
}

/// `to_char(interval, template)`.
pub fn interval_to_char(interval: &Interval, template: &str) -> PgResult<Option<String>> {
    if interval.is_infinite() || template.is_empty() {
        return Ok(None);
    }
    let micros = interval.micros;
    let (year, month) = (interval.months / 12, interval.months % 12);
    let days = i64::from(interval.days);
    let fields = Fields {
        year: i64::from(year),
        month: i64::from(month),
        day: days,
        hour: micros / MICROS_PER_HOUR,
        minute: micros / MICROS_PER_MINUTE % 60,
        second: micros / MICROS_PER_SEC % 60,
        micros: micros % MICROS_PER_SEC,
        day_of_year: (i64::from(year) * 12 + i64::from(month)) * 30 + days,
        date: 0,
        zone: None,
        is_interval: true,
    };
    fields.write(template).map(Some)
}

/// What the patterns show.
struct Fields {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
    day_of_year: i64,
    /// Days since 2000-01-01.
    date: i64,
    zone: Option<ZoneOffset>,
    is_interval: bool,
}

/// How letters are written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Upper,
    Lower,
    Capital,
}

/// The patterns, longest first among those that begin alike. All but the names are taken in lower case as well.
const PATTERNS: [&str; 51] = [
    "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "CC", "DAY", "DDD", "DD", "DY", "D", "FF1", "FF2", "FF3",
    "FF4", "FF5", "FF6", "HH24", "HH12", "HH", "IDDD", "ID", "IW", "IYYY", "IYY", "IY", "I", "J", "MI", "MM",
    "MONTH", "MON", "MS", "OF", "P.M.", "PM", "Q", "RM", "SSSSS", "SSSS", "SS", "TZH", "TZM", "TZ", "US",
    "WW", "W", "Y,YYY", "YYYY", "YYY",
];
const SHORT_YEARS: [&str; 2] = ["YY", "Y"];

/// The pattern at the start of a template, and how it was written.
fn pattern_at(template: &str) -> Option<(&'static str, Case)> {
    for pattern in PATTERNS.into_iter().chain(SHORT_YEARS) {
        let Some(text) = template.get(..pattern.len()) else { continue };
        if text == pattern {
            return Some((pattern, Case::Upper));
        }
        if text.eq_ignore_ascii_case(pattern) {
            if !text.bytes().any(|b| b.is_ascii_uppercase()) {
                return Some((pattern, Case::Lower));
            }
            let is_name = matches!(pattern, "DAY" | "DY" | "MONTH" | "MON");
            let is_capital = text[1..].bytes().all(|b| b.is_ascii_lowercase());
            if is_name && is_capital {
                return Some((pattern, Case::Capital));
            }
        }
    }
    None
}

fn cased(text: &str, case: Case) -> String {
    match case {
        Case::Upper => text.to_uppercase(),
        Case::Lower => text.to_lowercase(),
        Case::Capital => text.to_owned(),
    }
}

impl Fields {
    fn of_civil(civil: &Civil, zone: Option<ZoneOffset>) -> Fields {
        let date = civil.days();
        Fields {
            year: i64::from(civil.year),
            month: i64::from(civil.month),
            day: i64::from(civil.day),
            hour: i64::from(civil.hour),
            minute: i64::from(civil.minute),
            second: i64::from(civil.second),
            micros: i64::from(civil.micros),
            day_of_year: date - days_of_date(civil.year, 1, 1) + 1,
            date,
            zone,
            is_interval: false,
        }
    }

    fn write(&self, template: &str) -> PgResult<String> {
        let mut out = String::new();
        let mut rest = template;
        while let Some(first) = rest.chars().next() {
            let (modifier, after) = modifiers(rest);
            if let Some((pattern, case)) = pattern_at(after) {
                rest = &after[pattern.len()..];
                let start = out.len();
                self.pattern(pattern, case, modifier, &mut out)?;
                rest = self.ordinal_suffix(pattern, rest, start, &mut out);
            } else if after.len() < rest.len() {
                // A modifier without a pattern behind it shows nothing.
                rest = after;
            } else if first == '"' {
                let (text, after) = quoted(&rest[1..]);
                out += &text;
                rest = after;
            } else if rest.starts_with("\\\"") {
                out.push('"');
                rest = &rest[2..];
            } else {
                out.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        Ok(out)
    }

    /// The `TH` or `th` behind a pattern of a number (and `SP`, which is taken and has no effect).
    fn ordinal_suffix<'a>(&self, pattern: &str, rest: &'a str, start: usize, out: &mut String) -> &'a str {
        let suffix = rest.get(..2).unwrap_or("");
        match suffix {
            "TH" | "th" => {
                let is_number =
                    !matches!(pattern, "DAY" | "DY" | "MONTH" | "MON" | "RM" | "TZ" | "OF" | "TZH" | "TZM")
                        && out[start..].ends_with(|c: char| c.is_ascii_digit());
                if is_number {
                    let ending = ordinal(&out.as_bytes()[start..]);
                    *out += &if suffix == "TH" { ending.to_uppercase() } else { ending.to_owned() };
                }
                &rest[2..]
            }
            "SP" => &rest[2..],
            _ => rest,
        }
    }

    fn pattern(&self, pattern: &str, case: Case, modifier: Modifier, out: &mut String) -> PgResult<()> {
        let fill = modifier == Modifier::Fill;
        // A number in so many digits; a negative one has a place more for its sign. `FM` drops the zeros.
        let number = |value: i64, width: usize| match (fill, value < 0) {
            (true, _) => value.to_string(),
            (false, true) => format!("{value:0width$}", width = width + 1),
            (false, false) => format!("{value:0width$}"),
        };
        // Days have no place more for a sign.
        let day_number =
            |value: i64, width: usize| if fill { value.to_string() } else { format!("{value:0width$}") };
        // A name, padded to the longest.
        let name = |text: &str, width: usize| {
            let text = cased(text, case);
            if modifier == Modifier::None { format!("{text:width$}") } else { text }
        };
        let invalid_for_interval = || {
            if self.is_interval {
                return Err(PgError::new(
                    SqlState::INVALID_DATETIME_FORMAT,
                    "invalid format specification for an interval value",
                )
                .hint("Intervals are not tied to specific calendar dates."));
            }
            Ok(())
        };
        let shown_year = |year: i64| if self.is_interval || year > 0 { year } else { 1 - year };
        let hour12 = if self.hour % 12 == 0 { 12 } else { self.hour % 12 };
        let iso = || {
            let (year, week) = iso_week(self.date);
            (i64::from(year), i64::from(week))
        };
        let weekday = day_of_week(self.date);
        match pattern {
            "A.M." | "P.M." => *out += &cased(if self.hour % 24 >= 12 { "P.M." } else { "A.M." }, case),
            "AM" | "PM" => *out += &cased(if self.hour % 24 >= 12 { "PM" } else { "AM" }, case),
            "HH" | "HH12" => *out += &number(hour12, 2),
            "HH24" => *out += &number(self.hour, 2),
            "MI" => *out += &number(self.minute, 2),
            "SS" => *out += &number(self.second, 2),
            "MS" | "FF3" => *out += &format!("{:03}", self.micros / 1_000),
            "US" | "FF6" => *out += &format!("{:06}", self.micros),
            "FF1" => *out += &format!("{}", self.micros / 100_000),
            "FF2" => *out += &format!("{:02}", self.micros / 10_000),
            "FF4" => *out += &format!("{:04}", self.micros / 100),
            "FF5" => *out += &format!("{:05}", self.micros / 10),
            "SSSS" | "SSSSS" => *out += &((self.hour * 60 + self.minute) * 60 + self.second).to_string(),
            "TZ" => {
                invalid_for_interval()?;
                if let Some(zone) = &self.zone {
                    *out += &cased(&zone.abbreviation, case);
                }
            }
            "TZH" | "TZM" | "OF" => {
                invalid_for_interval()?;
                self.offset(pattern, fill, out);
            }
            "A.D." | "B.C." => {
                invalid_for_interval()?;
                *out += &cased(if self.year <= 0 { "B.C." } else { "A.D." }, case);
            }
            "AD" | "BC" => {
                invalid_for_interval()?;
                *out += &cased(if self.year <= 0 { "BC" } else { "AD" }, case);
            }
            "MONTH" | "MON" => {
                invalid_for_interval()?;
                let month = MONTHS[usize::try_from(self.month - 1).unwrap_or(0).min(11)];
                *out += &if pattern == "MONTH" { name(month, 9) } else { name(&month[..3], 0) };
            }
            "MM" => *out += &number(self.month, 2),
            "DAY" | "DY" => {
                invalid_for_interval()?;
                let day = WEEKDAYS[usize::try_from(weekday).unwrap_or(0)];
                *out += &if pattern == "DAY" { name(day, 9) } else { name(&day[..3], 0) };
            }
            "DDD" => *out += &day_number(self.day_of_year, 3),
            "IDDD" => *out += &number(self.date - iso_year_start(iso().0 as i32) + 1, 3),
            "DD" => *out += &day_number(self.day, 2),
            "D" => {
                invalid_for_interval()?;
                *out += &(weekday + 1).to_string();
            }
            "ID" => {
                invalid_for_interval()?;
                *out += &(if weekday == 0 { 7 } else { weekday }).to_string();
            }
            "WW" => *out += &number((self.day_of_year - 1) / 7 + 1, 2),
            "IW" => *out += &number(iso().1, 2),
            "Q" => {
                if self.month != 0 || !self.is_interval {
                    *out += &((self.month - 1) / 3 + 1).to_string();
                }
            }
            "CC" => {
                let century = match self.year {
                    year if self.is_interval => year / 100,
                    year if year > 0 => (year - 1) / 100 + 1,
                    year => year / 100 - 1,
                };
                *out += &if century.abs() <= 99 { number(century, 2) } else { century.to_string() };
            }
            "Y,YYY" => {
                let year = shown_year(self.year);
                *out += &format!("{},{:03}", year / 1000, year % 1000);
            }
            "YYYY" => *out += &number(shown_year(self.year), 4),
            "YYY" => *out += &number(shown_year(self.year) % 1000, 3),
            "YY" => *out += &number(shown_year(self.year) % 100, 2),
            "Y" => *out += &(shown_year(self.year) % 10).to_string(),
            "IYYY" => *out += &number(shown_year(iso().0), 4),
            "IYY" => *out += &number(shown_year(iso().0) % 1000, 3),
            "IY" => *out += &number(shown_year(iso().0) % 100, 2),
            "I" => *out += &(shown_year(iso().0) % 10).to_string(),
            "RM" => self.roman_month(case, fill, out),
            "W" => *out += &((self.day - 1) / 7 + 1).to_string(),
            _ => {
                // J: the Julian day.
                let julian = if self.is_interval {
                    julian_of_fields(self.year, self.month, self.day)
                } else {
                    self.date + JULIAN_2000
                };
                *out += &julian.to_string();
            }
        }
        Ok(())
    }

    fn offset(&self, pattern: &str, fill: bool, out: &mut String) {
        let secs = self.zone.as_ref().map_or(0, |zone| zone.secs_east);
        let sign = if secs < 0 { '-' } else { '+' };
        let (hours, minutes) = (secs.abs() / 3600, secs.abs() % 3600 / 60);
        match pattern {
            "TZH" => *out += &format!("{sign}{hours:02}"),
            "TZM" => *out += &format!("{minutes:02}"),
            _ => {
                *out += &if fill { format!("{sign}{hours}") } else { format!("{sign}{hours:02}") };
                if minutes != 0 {
                    *out += &format!(":{minutes:02}");
                }
            }
        }
    }

    /// A month in Roman numerals. Intervals count from their end when negative.
    fn roman_month(&self, case: Case, fill: bool, out: &mut String) {
        const ROMAN: [&str; 12] = ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"];
        if self.month == 0 && self.year == 0 {
            return;
        }
        let index = if self.month == 0 {
            if self.year >= 0 { 11 } else { 0 }
        } else {
            if self.month < 0 { self.month + 12 } else { self.month - 1 }
        };
        let text = cased(ROMAN[index as usize], case);
        *out += &if fill { text } else { format!("{text:4}") };
    }
}

/// What stands in front of a pattern.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Modifier {
    None,
    /// `FM`: no padding.
    Fill,
    /// `TM`: names in the language of the session (English), without padding.
    Translate,
}

/// The modifier in front of a pattern (`FX` has no effect on output), and what follows it.
fn modifiers(template: &str) -> (Modifier, &str) {
    let mut rest = template;
    let mut modifier = Modifier::None;
    loop {
        match rest.get(..2) {
            Some("FM" | "fm") => modifier = Modifier::Fill,
            Some("TM" | "tm") => modifier = Modifier::Translate,
            Some("FX" | "fx") => {}
            _ => return (modifier, rest),
        }
        rest = &rest[2..];
    }
}

/// The Julian day of the fields of an interval, by the same sum that serves for dates.
fn julian_of_fields(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year + 4800, month + 1) } else { (year + 4799, month + 13) };
    let century = year / 100;
    year * 365 - 32_167 + year / 4 - century + century / 4 + 7_834 * month / 256 + day
}
