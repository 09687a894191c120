//! `to_timestamp(text, template)` and `to_date(text, template)`.
//!
//! The text is read field by field. Blanks and punctuation in the template match any run of blanks and punctuation in
//! the text; a number reads as many digits as it finds, unless another number follows without a separator.

use shardforge_types::datetime::calendar::{days_in_month, days_of_date, iso_year_start};
use shardforge_types::datetime::{self, TimeZone, ops};
use shardforge_types::{PgError, PgResult, SqlState};

use super::template::{Field, Item, items};

/// What a text said.
#[derive(Debug, Default)]
struct Fields {
    year: Option<i64>,
    century: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    week_of_month: Option<i64>,
    week_of_year: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    iso_day_of_year: Option<i64>,
    julian: Option<i64>,
    hour: Option<i64>,
    hour_is_12: bool,
    minute: Option<i64>,
    second: Option<i64>,
    second_of_day: Option<i64>,
    micros: i64,
    afternoon: Option<bool>,
    before_christ: bool,
    zone_sign: Option<i64>,
    zone_hours: i64,
    zone_minutes: i64,
    zone: Option<TimeZone>,
}

#[cold]
fn invalid(message: impl Into<String>) -> PgError {
    PgError::new(SqlState::INVALID_DATETIME_FORMAT, message)
}

struct Reader<'a> {
    rest: &'a str,
}

fn field_name(field: Field) -> &'static str {
    match field {
        Field::Hour12 => "HH12",
        Field::Hour24 => "HH24",
        Field::Minute => "MI",
        Field::Second => "SS",
        Field::Millisecond => "MS",
        Field::Microsecond => "US",
        Field::Fraction(_) => "FF",
        Field::SecondOfDay => "SSSSS",
        Field::Year(4) => "YYYY",
        Field::Year(3) => "YYY",
        Field::Year(2) => "YY",
        Field::Year(_) => "Y",
        Field::YearWithComma => "Y,YYY",
        Field::IsoYear(4) => "IYYY",
        Field::IsoYear(3) => "IYY",
        Field::IsoYear(2) => "IY",
        Field::IsoYear(_) => "I",
        Field::Century => "CC",
        Field::MonthName => "MONTH",
        Field::MonthShort => "MON",
        Field::Month => "MM",
        Field::MonthRoman => "RM",
        Field::DayName => "DAY",
        Field::DayShort => "DY",
        Field::DayOfYear => "DDD",
        Field::Day => "DD",
        Field::DayOfWeek => "D",
        Field::IsoDayOfWeek => "ID",
        Field::IsoDayOfYear => "IDDD",
        Field::WeekOfMonth => "W",
        Field::WeekOfYear => "WW",
        Field::IsoWeek => "IW",
        Field::Quarter => "Q",
        Field::Julian => "J",
        Field::ZoneHours => "TZH",
        Field::ZoneMinutes => "TZM",
        Field::ZoneOffset => "OF",
        Field::ZoneName => "TZ",
        Field::Meridiem => "AM",
        Field::Era => "AD",
        Field::Fixed => "FX",
    }
}

/// The most digits that a field takes where another number follows at once.
fn digits_max(field: Field) -> usize {
    match field {
        Field::Year(digits) | Field::IsoYear(digits) | Field::Fraction(digits) => usize::from(digits),
        Field::DayOfYear | Field::IsoDayOfYear | Field::Millisecond => 3,
        Field::Microsecond => 6,
        Field::SecondOfDay => 5,
        Field::Quarter | Field::DayOfWeek | Field::IsoDayOfWeek | Field::WeekOfMonth => 1,
        Field::Julian => 9,
        _ => 2,
    }
}

impl Reader<'_> {
    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// A number with an optional sign; `adjacent` limits it to the field's own width.
    fn number(&mut self, field: Field, adjacent: bool) -> PgResult<i64> {
        self.skip_blanks();
        let signed = usize::from(self.rest.starts_with(['-', '+']));
        let available = self.rest[signed..].bytes().take_while(u8::is_ascii_digit).count();
        let width = digits_max(field);
        let digits = if adjacent { available.min(width) } else { available };
        let name = field_name(field);
        if digits == 0 {
            let shown: String = self.rest.chars().take(width).collect();
            if shown.is_empty() && self.rest.is_empty() {
                return Ok(0);
            }
            return Err(invalid(format!("invalid value \"{shown}\" for \"{name}\""))
                .detail("Value must be an integer."));
        }
        if adjacent && digits < width {
            let shown: String = self.rest.chars().take(width).collect();
            return Err(invalid(format!("source string too short for \"{name}\" formatting field"))
                .detail(format!("Field requires {width} characters, but only {} remain.", shown.len()))
                .hint("If your source string is not fixed-width, try using the \"FM\" modifier."));
        }
        let (text, rest) = self.rest.split_at(signed + digits);
        self.rest = rest;
        let value = text.parse::<i64>().ok().filter(|value| i32::try_from(*value).is_ok());
        value.ok_or_else(|| {
            PgError::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("value for \"{name}\" in source string is out of range"),
            )
            .detail(format!("Value must be in the range {} to {}.", i32::MIN, i32::MAX))
        })
    }

    /// The position in a list of the word that the text starts with.
    fn word(&mut self, words: &[&str], field: Field) -> PgResult<usize> {
        self.skip_blanks();
        let found = words
            .iter()
            .position(|word| self.rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)));
        match found {
            Some(at) => {
                self.rest = &self.rest[words[at].len()..];
                Ok(at)
            }
            None => {
                let shown: String = self.rest.chars().take_while(|c| !c.is_whitespace()).collect();
                Err(invalid(format!("invalid value \"{shown}\" for \"{}\"", field_name(field)))
                    .detail("The given value did not match any of the allowed values for this field."))
            }
        }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const MONTHS_SHORT: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const WEEKDAYS_SHORT: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
/// Longer numerals first, so that `VIII` is not read as `VII`.
const ROMAN: [&str; 12] = ["VIII", "VII", "III", "XII", "II", "IV", "IX", "VI", "XI", "I", "V", "X"];
const ROMAN_VALUES: [i64; 12] = [8, 7, 3, 12, 2, 4, 9, 6, 11, 1, 5, 10];

fn is_separator(c: char) -> bool {
    c.is_ascii_punctuation() || c.is_whitespace()
}

fn read(text: &str, template: &str) -> PgResult<Fields> {
    let items = items(template);
    let mut reader = Reader { rest: text };
    let mut fields = Fields::default();
    for (at, item) in items.iter().enumerate() {
        match item {
            Item::Literal(c) if is_separator(*c) => {
                // One separator, and blanks around it. A sign before a number belongs to the number.
                let before = reader.rest;
                reader.skip_blanks();
                let signs_number = reader.rest.starts_with(['-', '+'])
                    && matches!(
                        items.get(at + 1),
                        Some(Item::Field { field: Field::ZoneHours | Field::ZoneOffset, .. })
                    );
                if let Some(c) = reader.rest.chars().next().filter(|c| is_separator(*c) && !signs_number)
                    && (before.len() == reader.rest.len() || !c.is_whitespace())
                {
                    reader.rest = &reader.rest[c.len_utf8()..];
                }
            }
            Item::Literal(_) => {
                // Any character is skipped for a literal one.
                let mut chars = reader.rest.chars();
                chars.next();
                reader.rest = chars.as_str();
            }
            Item::Field { field, fill, ordinal_suffix, numeric } => {
                let next_is_number =
                    matches!(items.get(at + 1), Some(Item::Field { numeric: true, .. })) && *numeric && !fill;
                read_field(&mut reader, *field, next_is_number, &mut fields)?;
                if *ordinal_suffix {
                    reader.rest = reader.rest.get(2..).unwrap_or("");
                }
            }
        }
    }
    Ok(fields)
}

fn read_field(reader: &mut Reader<'_>, field: Field, adjacent: bool, fields: &mut Fields) -> PgResult<()> {
    match field {
        Field::Hour12 | Field::Hour24 => {
            fields.hour_is_12 = field == Field::Hour12;
            fields.hour = Some(reader.number(field, adjacent)?);
        }
        Field::Minute => fields.minute = Some(reader.number(field, adjacent)?),
        Field::Second => fields.second = Some(reader.number(field, adjacent)?),
        Field::SecondOfDay => fields.second_of_day = Some(reader.number(field, adjacent)?),
        Field::Millisecond | Field::Microsecond | Field::Fraction(_) => {
            let before = reader.rest.trim_start();
            let value = reader.number(field, adjacent)?;
            let digits = before.len() - reader.rest.len();
            // The digits are a fraction: 5 is five tenths.
            let width = if field == Field::Millisecond { 3 } else { 6 };
            let scaled = value * 10i64.pow((width as usize).saturating_sub(digits) as u32);
            fields.micros += if field == Field::Millisecond { scaled * 1000 } else { scaled };
        }
        Field::Meridiem => {
            fields.hour_is_12 = true;
            let at = reader.word(&["a.m.", "p.m.", "am", "pm"], field)?;
            fields.afternoon = Some(at % 2 == 1);
        }
        Field::Era => {
            let at = reader.word(&["a.d.", "b.c.", "ad", "bc"], field)?;
            fields.before_christ = at % 2 == 1;
        }
        Field::Year(digits) => fields.year = Some(short_year(reader, field, digits, adjacent)?),
        Field::YearWithComma => {
            let thousands = reader.number(field, false)?;
            reader.rest = reader.rest.strip_prefix(',').unwrap_or(reader.rest);
            fields.year = Some(thousands * 1000 + reader.number(field, false)?);
        }
        Field::IsoYear(digits) => fields.iso_year = Some(short_year(reader, field, digits, adjacent)?),
        Field::Century => fields.century = Some(reader.number(field, adjacent)?),
        Field::MonthName => fields.month = Some(reader.word(&MONTHS, field)? as i64 + 1),
        Field::MonthShort => fields.month = Some(reader.word(&MONTHS_SHORT, field)? as i64 + 1),
        Field::MonthRoman => fields.month = Some(ROMAN_VALUES[reader.word(&ROMAN, field)?]),
        Field::Month => fields.month = Some(reader.number(field, adjacent)?),
        Field::DayName => {
            reader.word(&WEEKDAYS, field)?;
        }
        Field::DayShort => {
            reader.word(&WEEKDAYS_SHORT, field)?;
        }
        Field::DayOfYear => fields.day_of_year = Some(reader.number(field, adjacent)?),
        Field::Day => fields.day = Some(reader.number(field, adjacent)?),
        Field::IsoDayOfWeek => fields.iso_day = Some(reader.number(field, adjacent)?),
        Field::IsoDayOfYear => fields.iso_day_of_year = Some(reader.number(field, adjacent)?),
        Field::WeekOfMonth => fields.week_of_month = Some(reader.number(field, adjacent)?),
        Field::WeekOfYear => fields.week_of_year = Some(reader.number(field, adjacent)?),
        Field::IsoWeek => fields.iso_week = Some(reader.number(field, adjacent)?),
        // Read and not used: they say too little.
        Field::DayOfWeek | Field::Quarter => {
            reader.number(field, adjacent)?;
        }
        Field::Julian => fields.julian = Some(reader.number(field, adjacent)?),
        Field::ZoneHours | Field::ZoneOffset => {
            reader.skip_blanks();
            fields.zone_sign = Some(if reader.rest.starts_with('-') { -1 } else { 1 });
            reader.rest = reader.rest.strip_prefix(['-', '+']).unwrap_or(reader.rest);
            fields.zone_hours = reader.number(field, true)?;
            if field == Field::ZoneOffset && reader.rest.starts_with(':') {
                reader.rest = &reader.rest[1..];
                fields.zone_minutes = reader.number(field, true)?;
            }
        }
        Field::ZoneMinutes => fields.zone_minutes = reader.number(field, adjacent)?,
        Field::ZoneName => {
            reader.skip_blanks();
            let end = reader.rest.find(|c: char| c.is_whitespace()).unwrap_or(reader.rest.len());
            let (name, rest) = reader.rest.split_at(end);
            let zone = TimeZone::for_conversion(name).map_err(|_| {
                invalid(format!("invalid value \"{name}\" for \"TZ\""))
                    .detail("Time zone abbreviation is not recognized.")
            })?;
            fields.zone = Some(zone);
            reader.rest = rest;
        }
        Field::Fixed => {}
    }
    Ok(())
}

/// A year of fewer than four digits is the one nearest to 2020.
fn short_year(reader: &mut Reader<'_>, field: Field, digits: u8, adjacent: bool) -> PgResult<i64> {
    let before = reader.rest.trim_start();
    let year = reader.number(field, adjacent)?;
    let read = before.len() - reader.rest.len();
    if digits >= 4 || read >= 4 || before.starts_with('-') {
        return Ok(year);
    }
    Ok(match year {
        0..70 if read < 3 => year + 2000,
        70..100 if read < 3 => year + 1900,
        0..520 if read == 3 => year + 2000,
        520..1000 if read == 3 => year + 1000,
        _ => year,
    })
}

impl Fields {
    fn out_of_range(text: &str) -> PgError {
        PgError::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{text}\""),
        )
    }

    /// Days from 2000-01-01.
    fn days(&self, text: &str) -> PgResult<i64> {
        let wrong = || Fields::out_of_range(text);
        if let Some(julian) = self.julian {
            return Ok(julian - 2_451_545);
        }
        if let Some(year) = self.iso_year {
            let year = i32::try_from(year).map_err(|_| wrong())?;
            let start = iso_year_start(year);
            if let Some(day) = self.iso_day_of_year {
                return Ok(start + day - 1);
            }
            let week = self.iso_week.unwrap_or(1);
            let day = self.iso_day.unwrap_or(1);
            return Ok(start + (week - 1) * 7 + day - 1);
        }
        let mut year = match (self.year, self.century) {
            (Some(year), Some(century)) if (0..100).contains(&(year % 100)) && self.year < Some(100) => {
                (century - 1) * 100 + year
            }
            (Some(year), _) => year,
            (None, Some(century)) => (century - 1) * 100 + 1,
            (None, None) => 0,
        };
        if self.before_christ && year > 0 {
            year = 1 - year;
        } else if year < 0 {
            year += 1;
        }
        let year = i32::try_from(year).map_err(|_| wrong())?;
        if let Some(day) = self.day_of_year {
            return Ok(days_of_date(year, 1, 1) + day - 1);
        }
        if let Some(week) = self.week_of_year {
            return Ok(days_of_date(year, 1, 1) + (week - 1) * 7);
        }
        let month = self.month.unwrap_or(1);
        let day = match (self.day, self.week_of_month) {
            (Some(day), _) => day,
            (None, Some(week)) => (week - 1) * 7 + 1,
            (None, None) => 1,
        };
        if !(1..=12).contains(&month) || day < 1 || day > i64::from(days_in_month(year, month as i32)) {
            return Err(wrong());
        }
        Ok(days_of_date(year, month as i32, day as i32))
    }

    /// The zone, if the text says how far it is from Greenwich.
    fn fixed_zone(&self, text: &str) -> PgResult<Option<TimeZone>> {
        /// The hours that a zone may be away from Greenwich, besides minutes.
        const HOURS_MAX: i64 = 15;
        let Some(sign) = self.zone_sign else { return Ok(None) };
        if !(0..=HOURS_MAX).contains(&self.zone_hours) || !(0..60).contains(&self.zone_minutes) {
            return Err(PgError::new(
                SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE,
                format!("time zone displacement out of range: \"{text}\""),
            ));
        }
        Ok(Some(TimeZone::fixed((sign * (self.zone_hours * 3600 + self.zone_minutes * 60)) as i32)))
    }

    /// Microseconds since midnight.
    fn time(&self, text: &str) -> PgResult<i64> {
        let wrong = || Fields::out_of_range(text);
        let mut hour = self.hour.unwrap_or(0);
        if self.hour_is_12 && self.hour.is_some() {
            if !(1..=12).contains(&hour) {
                return Err(invalid(format!("hour \"{hour}\" is invalid for the 12-hour clock"))
                    .hint("Use the 24-hour clock, or give an hour between 1 and 12."));
            }
            match self.afternoon {
                Some(true) if hour < 12 => hour += 12,
                Some(false) if hour == 12 => hour = 0,
                _ => {}
            }
        }
        let (minute, second) = (self.minute.unwrap_or(0), self.second.unwrap_or(0));
        if let Some(second_of_day) = self.second_of_day {
            if !(0..86_400).contains(&second_of_day) {
                return Err(wrong());
            }
            return Ok(second_of_day * datetime::MICROS_PER_SEC + self.micros);
        }
        if !(0..=24).contains(&hour) || !(0..60).contains(&minute) || !(0..=60).contains(&second) {
            return Err(wrong());
        }
        Ok(hour * datetime::MICROS_PER_HOUR
            + minute * datetime::MICROS_PER_MINUTE
            + second * datetime::MICROS_PER_SEC
            + self.micros)
    }
}

/// The moment that the text means; local time if it names no zone.
pub(super) fn to_timestamp(text: &str, template: &str, zone: &TimeZone) -> PgResult<i64> {
    let fields = read(text, template)?;
    let (days, time) = (fields.days(text)?, fields.time(text)?);
    let local = days.checked_mul(datetime::MICROS_PER_DAY).and_then(|midnight| midnight.checked_add(time));
    let local =
        local.ok_or_else(|| PgError::new(SqlState::DATETIME_FIELD_OVERFLOW, "timestamp out of range"))?;
    let local = datetime::check_timestamp(local)?;
    let fixed = fields.fixed_zone(text)?;
    ops::timestamp_to_timestamptz(local, fixed.as_ref().or(fields.zone.as_ref()).unwrap_or(zone))
}

/// The date that the text means.
pub(super) fn to_date(text: &str, template: &str) -> PgResult<i32> {
    let days = read(text, template)?.days(text)?;
    let date = i32::try_from(days).ok().and_then(|days| datetime::check_date(days).ok());
    date.ok_or_else(|| {
        PgError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{text}\""))
    })
}
