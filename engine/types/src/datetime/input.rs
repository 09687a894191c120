//! Dates, times and timestamps from text.
//!
//! The second half of the reading: the fields that `fields` found are given their meaning from left to right, and which
//! of year, month and day a number is depends on which are known already and on `DateStyle`. What each combination
//! means, and which error a wrong one gives, follows PostgreSQL's `DecodeDateTime` and `DecodeTimeOnly`.

use crate::datetime::calendar::{Civil, JULIAN_2000, date_of_days, days_in_month, days_of_date};
use crate::datetime::fields::{Field, FieldKind, Keyword, fraction_micros, keyword, leading_int, split};
use crate::datetime::timezone::abbreviation;
use crate::datetime::{
    DATE_END, DATE_MIN, MICROS_PER_DAY, MICROS_PER_SEC, TIMESTAMP_END, TIMESTAMP_MIN, TimeZone,
};
use crate::datum::TimeTz;
use crate::env::{DateOrder, IoEnv};
use crate::error::{PgError, PgResult};
use crate::io::scalar::invalid_syntax;
use crate::sqlstate::SqlState;

/// Why a text is no date.
#[derive(Debug)]
pub(crate) enum Fault {
    Format,
    Overflow,
    /// An impossible month or day: perhaps the order of the fields is meant differently.
    MonthDayOverflow,
    IntervalOverflow,
    IntervalOutOfRange,
    ZoneOverflow,
    UnknownZone(String),
}

impl Fault {
    /// The error for reading `text` as `type_name`.
    #[cold]
    pub(crate) fn error(&self, type_name: &str, text: &str) -> PgError {
        let overflow = || {
            PgError::new(
                SqlState::DATETIME_FIELD_OVERFLOW,
                format!("date/time field value out of range: \"{text}\""),
            )
        };
        match self {
            Fault::Format => PgError::new(
                SqlState::INVALID_DATETIME_FORMAT,
                invalid_syntax(type_name, text).message.clone(),
            ),
            Fault::Overflow => overflow(),
            Fault::MonthDayOverflow => overflow().hint("Perhaps you need a different \"DateStyle\" setting."),
            Fault::IntervalOverflow => PgError::new(
                SqlState::INTERVAL_FIELD_OVERFLOW,
                format!("interval field value out of range: \"{text}\""),
            ),
            Fault::IntervalOutOfRange => super::interval::interval_out_of_range(),
            Fault::ZoneOverflow => PgError::new(
                SqlState::INVALID_TIME_ZONE_DISPLACEMENT_VALUE,
                format!("time zone displacement out of range: \"{text}\""),
            ),
            Fault::UnknownZone(name) => super::timezone::not_recognized(name),
        }
    }
}

/// Reads a `date`.
pub fn date_in(text: &str, env: &IoEnv) -> PgResult<i32> {
    let read = Reader::read(text, env, false).map_err(|fault| fault.error("date", text))?;
    let days = match read.special {
        Some(Special::Epoch) => return Ok(days_of_date(1970, 1, 1) as i32),
        Some(Special::Infinity) => return Ok(i32::MAX),
        Some(Special::MinusInfinity) => return Ok(i32::MIN),
        None => read.civil.days(),
    };
    match i32::try_from(days) {
        Ok(days @ DATE_MIN..DATE_END) => Ok(days),
        _ => Err(PgError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("date out of range: \"{text}\""))),
    }
}

/// Reads a `timestamp`; a zone in the text is ignored.
pub fn timestamp_in(text: &str, env: &IoEnv) -> PgResult<i64> {
    let read = Reader::read(text, env, false).map_err(|fault| fault.error("timestamp", text))?;
    moment(&read, text, |_| Ok(0))
}

/// Reads a `timestamptz`; without a zone in the text, in the session's.
pub fn timestamptz_in(text: &str, env: &IoEnv) -> PgResult<i64> {
    let type_name = "timestamp with time zone";
    let read = Reader::read(text, env, false).map_err(|fault| fault.error(type_name, text))?;
    moment(&read, text, |local| Ok(read.secs_east(local, env)))
}

fn moment(read: &Reader<'_>, text: &str, secs_east: impl Fn(i64) -> PgResult<i32>) -> PgResult<i64> {
    let out_of_range =
        || PgError::new(SqlState::DATETIME_FIELD_OVERFLOW, format!("timestamp out of range: \"{text}\""));
    match read.special {
        Some(Special::Epoch) => return Ok(-super::calendar::UNIX_EPOCH_MICROS),
        Some(Special::Infinity) => return Ok(i64::MAX),
        Some(Special::MinusInfinity) => return Ok(i64::MIN),
        None => {}
    }
    let local = read.civil.days().checked_mul(MICROS_PER_DAY);
    let local = local.and_then(|days| days.checked_add(read.civil.time_micros())).ok_or_else(out_of_range)?;
    if !(TIMESTAMP_MIN - MICROS_PER_DAY..TIMESTAMP_END + MICROS_PER_DAY).contains(&local) {
        return Err(out_of_range());
    }
    let utc = local - i64::from(secs_east(local)?) * MICROS_PER_SEC;
    if (TIMESTAMP_MIN..TIMESTAMP_END).contains(&utc) { Ok(utc) } else { Err(out_of_range()) }
}

/// Reads a `time`; a zone in the text is ignored.
pub fn time_in(text: &str, env: &IoEnv) -> PgResult<i64> {
    let read = Reader::read(text, env, true).map_err(|fault| fault.error("time", text))?;
    Ok(read.civil.time_micros())
}

/// Reads a `timetz`; without a zone in the text, in the session's.
pub fn timetz_in(text: &str, env: &IoEnv) -> PgResult<TimeTz> {
    let read = Reader::read(text, env, true).map_err(|fault| fault.error("time with time zone", text))?;
    let micros = read.civil.time_micros();
    let day = if read.has(DATE) {
        read.civil.days()
    } else {
        env.time_zone.to_local(env.now_micros).div_euclid(MICROS_PER_DAY)
    };
    let secs_east = read.secs_east(day * MICROS_PER_DAY + micros, env);
    Ok(TimeTz { micros, zone_secs_west: -secs_east })
}

// The fields that are known already, as bits.
const YEAR: u32 = 1;
const MONTH: u32 = 2;
const DAY: u32 = 4;
const DATE: u32 = YEAR | MONTH | DAY;
const DAY_OF_YEAR: u32 = 8;
const HOUR: u32 = 16;
const MINUTE: u32 = 32;
const SECOND: u32 = 64;
const TIME: u32 = HOUR | MINUTE | SECOND;
const ZONE: u32 = 128;
const DAYLIGHT_MODIFIER: u32 = 256;
const MERIDIEM: u32 = 512;
const ERA: u32 = 1024;
const WEEKDAY: u32 = 2048;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    Epoch,
    Infinity,
    MinusInfinity,
}

/// A word that says what the next number is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Prefix {
    Julian,
    Time,
}

enum Zone {
    /// Seconds east of Greenwich.
    Fixed(i32),
    Named(TimeZone),
}

struct Reader<'a> {
    env: &'a IoEnv,
    time_only: bool,
    civil: Civil,
    day_of_year: i32,
    known: u32,
    special: Option<Special>,
    zone: Option<Zone>,
    prefix: Option<Prefix>,
    month_is_text: bool,
    year_is_short: bool,
    is_julian: bool,
    is_bc: bool,
    is_pm: Option<bool>,
}

type Read<T> = Result<T, Fault>;

impl<'a> Reader<'a> {
    fn read(text: &str, env: &'a IoEnv, time_only: bool) -> Read<Reader<'a>> {
        let fields = split(text).ok_or(Fault::Format)?;
        let mut reader = Reader {
            env,
            time_only,
            civil: Civil::default(),
            day_of_year: 0,
            known: 0,
            special: None,
            zone: None,
            prefix: None,
            month_is_text: false,
            year_is_short: false,
            is_julian: false,
            is_bc: false,
            is_pm: None,
        };
        if fields.is_empty() {
            return Err(Fault::Format);
        }
        for index in 0..fields.len() {
            let found = reader.field(&fields, index)?;
            if found & reader.known != 0 {
                return Err(Fault::Format);
            }
            reader.known |= found;
        }
        if reader.prefix.is_some() {
            return Err(Fault::Format);
        }
        if reader.special.is_none() {
            reader.finish()?;
        }
        Ok(reader)
    }

    fn has(&self, fields: u32) -> bool {
        self.known & fields == fields
    }

    /// The offset of the zone at a local time: the text's zone, or else the session's.
    fn secs_east(&self, local: i64, env: &IoEnv) -> i32 {
        match &self.zone {
            Some(Zone::Fixed(secs_east)) => *secs_east,
            Some(Zone::Named(zone)) => zone.offset_of_local(local),
            None => env.time_zone.offset_of_local(local),
        }
    }

    /// Reads one field and answers what it told.
    fn field(&mut self, fields: &[Field], index: usize) -> Read<u32> {
        let Field { kind, text } = &fields[index];
        match kind {
            FieldKind::Date => self.date_field(fields, index, text),
            FieldKind::Time => {
                match self.prefix.take() {
                    None | Some(Prefix::Time) => {}
                    Some(Prefix::Julian) => return Err(Fault::Format),
                }
                self.clock(text)?;
                self.check_clock()?;
                Ok(TIME)
            }
            FieldKind::Signed => {
                self.zone = Some(Zone::Fixed(numeric_zone(text)?));
                Ok(ZONE)
            }
            FieldKind::Number => self.number_field(fields, index, text),
            FieldKind::Word | FieldKind::SignedWord => self.word(text),
        }
    }

    fn date_field(&mut self, fields: &[Field], index: usize, text: &str) -> Read<u32> {
        if self.time_only {
            let last = fields.last().map(|f| f.kind);
            let is_date = index == 0
                && fields.len() >= 2
                && (last == Some(FieldKind::Date) || fields[1].kind == FieldKind::Time);
            if is_date {
                return self.date(text);
            }
        } else if self.prefix == Some(Prefix::Julian) {
            // A Julian day with a zone behind it.
            let (day, rest) = leading_int(text).ok_or(Fault::Format)?;
            self.prefix = None;
            self.julian_day(day)?;
            self.zone = Some(Zone::Fixed(numeric_zone(rest)?));
            return Ok(DATE | TIME | ZONE);
        } else if self.prefix.is_none() && !self.has(MONTH | DAY) {
            return self.date(text);
        }
        // A time run together with a zone, or the name of a zone with punctuation.
        if text.starts_with(|c: char| c.is_ascii_digit()) || self.prefix.is_some() {
            if self.prefix.take().is_some_and(|prefix| prefix != Prefix::Time) || self.has(TIME) {
                return Err(Fault::Format);
            }
            let dash = text.find('-').ok_or(Fault::Format)?;
            self.zone = Some(Zone::Fixed(numeric_zone(&text[dash..])?));
            let known = if self.time_only { self.known | DATE } else { self.known };
            return Ok(self.run_together(&text[..dash], known)? | ZONE);
        }
        let zone = TimeZone::by_name(text).ok_or_else(|| Fault::UnknownZone(text.to_owned()))?;
        self.zone = Some(Zone::Named(zone));
        Ok(ZONE)
    }

    fn number_field(&mut self, fields: &[Field], index: usize, text: &str) -> Read<u32> {
        if let Some(prefix) = self.prefix {
            let (value, rest) = leading_int(text).ok_or(Fault::Format)?;
            if i32::try_from(value).is_err() {
                return Err(Fault::Overflow);
            }
            if !rest.is_empty() && !rest.starts_with('.') {
                return Err(Fault::Format);
            }
            self.prefix = None;
            return match prefix {
                Prefix::Julian => {
                    if self.time_only {
                        return Err(Fault::Format);
                    }
                    self.julian_day(value)?;
                    if rest.is_empty() {
                        return Ok(DATE);
                    }
                    let fraction: f64 = format!("0{rest}").parse().map_err(|_| Fault::Format)?;
                    let time = Civil::of_time((fraction * MICROS_PER_DAY as f64) as i64);
                    self.set_clock(&time);
                    Ok(DATE | TIME)
                }
                Prefix::Time => match self.run_together(text, self.known | DATE)? {
                    TIME => Ok(TIME),
                    _ => Err(Fault::Format),
                },
            };
        }
        let point = text.find('.');
        if self.time_only {
            let is_date =
                index == 0 && fields.len() >= 2 && fields.last().is_some_and(|f| f.kind == FieldKind::Date);
            return match point {
                Some(_) if is_date => self.date(text),
                Some(point) if point > 2 => self.run_together(text, self.known | DATE),
                Some(_) => Err(Fault::Format),
                None if text.len() > 4 => self.run_together(text, self.known | DATE),
                None => self.number(text, self.known | DATE),
            };
        }
        match point {
            Some(_) if self.known & DATE == 0 => self.date(text),
            Some(point) if point > 2 => self.run_together(text, self.known),
            _ if text.len() >= 6 && !(self.has(DATE) && self.has(TIME)) => {
                self.run_together(text, self.known)
            }
            _ => self.number(text, self.known),
        }
    }

    fn word(&mut self, text: &str) -> Read<u32> {
        if let Some((secs_east, is_dst)) = abbreviation(text) {
            self.zone = Some(Zone::Fixed(secs_east));
            // "DST" after a zone that has it already is one too many.
            return Ok(ZONE | if is_dst { DAYLIGHT_MODIFIER } else { 0 });
        }
        let Some(word) = keyword(text) else {
            let zone = TimeZone::by_name(text).ok_or(Fault::Format)?;
            self.zone = Some(Zone::Named(zone));
            return Ok(ZONE);
        };
        if self.time_only
            && matches!(
                word,
                Keyword::Month(_)
                    | Keyword::Today
                    | Keyword::Tomorrow
                    | Keyword::Yesterday
                    | Keyword::Epoch
                    | Keyword::Infinity
                    | Keyword::MinusInfinity
                    | Keyword::Weekday
            )
        {
            return Err(Fault::Format);
        }
        let date_and_time = DATE | TIME | ZONE;
        Ok(match word {
            Keyword::Month(month) => return Ok(self.text_month(month)),
            Keyword::Weekday => WEEKDAY,
            Keyword::Am | Keyword::Pm => {
                self.is_pm = Some(word == Keyword::Pm);
                MERIDIEM
            }
            Keyword::Ad | Keyword::Bc => {
                self.is_bc = word == Keyword::Bc;
                ERA
            }
            Keyword::Now => {
                let secs_east = self.env.time_zone.offset_at(self.env.now_micros);
                self.civil = Civil::of_timestamp(self.env.time_zone.to_local(self.env.now_micros));
                self.zone = Some(Zone::Fixed(secs_east));
                if self.time_only { TIME } else { date_and_time }
            }
            Keyword::Today => self.relative_day(0),
            Keyword::Tomorrow => self.relative_day(1),
            Keyword::Yesterday => self.relative_day(-1),
            Keyword::AllBalls => {
                self.set_clock(&Civil::default());
                self.zone = Some(Zone::Fixed(0));
                TIME | ZONE
            }
            Keyword::Epoch => self.special(Special::Epoch),
            Keyword::Infinity => self.special(Special::Infinity),
            Keyword::MinusInfinity => self.special(Special::MinusInfinity),
            Keyword::DaylightModifier => {
                match &mut self.zone {
                    Some(Zone::Fixed(secs_east)) => *secs_east += 3600,
                    _ => return Err(Fault::Format),
                }
                DAYLIGHT_MODIFIER
            }
            Keyword::TimePrefix => {
                if (!self.time_only && !self.has(DATE)) || self.prefix.is_some() {
                    return Err(Fault::Format);
                }
                self.prefix = Some(Prefix::Time);
                0
            }
            Keyword::Julian => {
                self.prefix = Some(Prefix::Julian);
                0
            }
            Keyword::Ignored => 0,
            Keyword::Unit => return Err(Fault::Format),
        })
    }

    fn special(&mut self, special: Special) -> u32 {
        self.special = Some(special);
        DATE | TIME | ZONE
    }

    fn relative_day(&mut self, offset: i64) -> u32 {
        let today = self.env.time_zone.to_local(self.env.now_micros).div_euclid(MICROS_PER_DAY);
        let (year, month, day) = date_of_days(today + offset);
        (self.civil.year, self.civil.month, self.civil.day) = (year, month, day);
        // A year known in full, past the rules for texts.
        self.is_julian = true;
        DATE
    }

    /// A month by name. A number taken for the month before was the day then.
    fn text_month(&mut self, month: i32) -> u32 {
        let mut found = MONTH;
        if self.has(MONTH) && !self.month_is_text && !self.has(DAY) && (1..=31).contains(&self.civil.month) {
            self.civil.day = self.civil.month;
            found = DAY;
        }
        self.month_is_text = true;
        self.civil.month = month;
        found
    }

    fn julian_day(&mut self, day: i128) -> Read<()> {
        let day = i32::try_from(day).ok().filter(|day| *day >= 0).ok_or(Fault::Overflow)?;
        let (year, month, day) = date_of_days(i64::from(day) - JULIAN_2000);
        (self.civil.year, self.civil.month, self.civil.day) = (year, month, day);
        self.is_julian = true;
        Ok(())
    }

    /// A date in one field: numbers, or numbers and a month, with punctuation between.
    fn date(&mut self, text: &str) -> Read<u32> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            rest = rest.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
            if rest.is_empty() {
                return Err(Fault::Format);
            }
            let digits = rest.starts_with(|c: char| c.is_ascii_digit());
            let len = rest
                .bytes()
                .take_while(|b| if digits { b.is_ascii_digit() } else { b.is_ascii_alphabetic() })
                .count();
            parts.push(&rest[..len]);
            // The character that ends a part is dropped.
            rest = rest.get(len + 1..).unwrap_or("");
        }
        let mut known = self.known;
        let mut found = 0;
        for part in parts.iter().filter(|p| p.starts_with(|c: char| c.is_ascii_alphabetic())) {
            match keyword(part) {
                Some(Keyword::Month(month)) if known & MONTH == 0 => {
                    self.civil.month = month;
                    self.month_is_text = true;
                    known |= MONTH;
                    found |= MONTH;
                }
                Some(Keyword::Ignored) => {}
                _ => return Err(Fault::Format),
            }
        }
        for part in parts.iter().filter(|p| p.starts_with(|c: char| c.is_ascii_digit())) {
            let told = self.number(part, known)?;
            if told & known != 0 {
                return Err(Fault::Format);
            }
            known |= told;
            found |= told;
        }
        if known & !(DAY_OF_YEAR | ZONE) == DATE { Ok(found) } else { Err(Fault::Format) }
    }

    /// A single number, whose meaning depends on what is known.
    fn number(&mut self, text: &str, known: u32) -> Read<u32> {
        let (value, rest) = leading_int(text).ok_or(Fault::Format)?;
        let value = i32::try_from(value).map_err(|_| Fault::Overflow)?;
        if rest.starts_with('.') {
            if text.len() - rest.len() > 2 {
                return self.run_together(text, known | DATE);
            }
            self.civil.micros = fraction_micros(rest).ok_or(Fault::Format)?;
        } else if !rest.is_empty() {
            return Err(Fault::Format);
        }
        if text.len() == 3 && known & DATE == YEAR && (1..=366).contains(&value) {
            self.day_of_year = value;
            return Ok(DAY_OF_YEAR | MONTH | DAY);
        }
        let is_long = text.len() >= 3;
        let order = self.env.date_order;
        let meaning = match known & DATE {
            0 if is_long || order == DateOrder::Ymd => YEAR,
            0 if order == DateOrder::Dmy => DAY,
            0 => MONTH,
            YEAR => MONTH,
            MONTH if self.month_is_text && (is_long || order == DateOrder::Ymd) => YEAR,
            MONTH => DAY,
            found if found == YEAR | MONTH => {
                if self.month_is_text && is_long && self.year_is_short {
                    // What was taken for the year was the day.
                    self.civil.day = self.civil.year;
                    self.civil.year = value;
                    self.year_is_short = false;
                    return Ok(DAY);
                }
                DAY
            }
            DAY => MONTH,
            found if found == MONTH | DAY => YEAR,
            DATE => return self.run_together(text, known),
            _ => return Err(Fault::Format),
        };
        match meaning {
            YEAR => {
                self.civil.year = value;
                self.year_is_short = text.len() <= 2;
            }
            MONTH => self.civil.month = value,
            _ => self.civil.day = value,
        }
        Ok(meaning)
    }

    /// Digits run together: `20240102`, `040506`, `0405`, the last two with a fraction of the second.
    fn run_together(&mut self, text: &str, known: u32) -> Read<u32> {
        let (digits, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
        if !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Fault::Format);
        }
        let number = |part: &str| part.parse::<i32>().unwrap_or(i32::MAX);
        let len = digits.len();
        if !fraction.is_empty() {
            self.civil.micros = fraction_micros(fraction).ok_or(Fault::Format)?;
        } else if known & DATE != DATE && len >= 6 {
            self.civil.day = number(&digits[len - 2..]);
            self.civil.month = number(&digits[len - 4..len - 2]);
            self.civil.year = number(&digits[..len - 4]);
            self.year_is_short |= len == 6;
            return Ok(DATE);
        }
        if known & TIME != TIME && (len == 6 || len == 4) {
            self.civil.hour = number(&digits[..2]);
            self.civil.minute = number(&digits[2..4]);
            self.civil.second = if len == 6 { number(&digits[4..]) } else { 0 };
            return Ok(TIME);
        }
        Err(Fault::Format)
    }

    /// `hh:mm`, `hh:mm:ss`, `hh:mm:ss.fff`, or `mm:ss.fff`.
    fn clock(&mut self, text: &str) -> Read<()> {
        let clock = parse_clock(text)?;
        self.civil.hour = i32::try_from(clock.hour).map_err(|_| Fault::Overflow)?;
        (self.civil.minute, self.civil.second, self.civil.micros) =
            (clock.minute, clock.second, clock.micros);
        Ok(())
    }

    fn set_clock(&mut self, time: &Civil) {
        (self.civil.hour, self.civil.minute) = (time.hour, time.minute);
        (self.civil.second, self.civil.micros) = (time.second, time.micros);
    }

    fn check_clock(&self) -> Read<()> {
        let Civil { hour, minute, second, .. } = self.civil;
        let fits = (0..=24).contains(&hour)
            && (0..=59).contains(&minute)
            && (0..=60).contains(&second)
            && self.civil.time_micros() <= MICROS_PER_DAY;
        if fits { Ok(()) } else { Err(Fault::Overflow) }
    }

    /// What needs the whole: era, short years, 12-hour clock, whether the day exists.
    fn finish(&mut self) -> Read<()> {
        self.finish_date()?;
        if let Some(is_pm) = self.is_pm {
            match (self.civil.hour, is_pm) {
                (13.., _) => return Err(Fault::Overflow),
                (12, false) => self.civil.hour = 0,
                (..12, true) => self.civil.hour += 12,
                _ => {}
            }
        }
        if self.time_only {
            self.check_clock()?;
            if !self.has(TIME) {
                return Err(Fault::Format);
            }
            let dated_zone = matches!(&self.zone, Some(Zone::Named(zone)) if !zone.is_fixed());
            return if dated_zone && !self.has(DATE) { Err(Fault::Format) } else { Ok(()) };
        }
        if !self.has(DATE) {
            return Err(Fault::Format);
        }
        if self.known & TIME != 0 { self.check_clock() } else { Ok(()) }
    }

    fn finish_date(&mut self) -> Read<()> {
        if self.has(YEAR) && !self.is_julian {
            let year = &mut self.civil.year;
            if self.is_bc {
                if *year <= 0 {
                    return Err(Fault::Overflow);
                }
                *year = 1 - *year;
            } else if self.year_is_short {
                *year += if *year < 70 { 2000 } else { 1900 };
            } else if *year <= 0 {
                return Err(Fault::Overflow);
            }
        }
        if self.has(DAY_OF_YEAR) {
            let first = days_of_date(self.civil.year, 1, 1);
            let (year, month, day) = date_of_days(first + i64::from(self.day_of_year) - 1);
            (self.civil.year, self.civil.month, self.civil.day) = (year, month, day);
        }
        let Civil { year, month, day, .. } = self.civil;
        if (self.has(MONTH) && !(1..=12).contains(&month)) || (self.has(DAY) && !(1..=31).contains(&day)) {
            return Err(Fault::MonthDayOverflow);
        }
        if self.has(DATE) && day > days_in_month(year, month) {
            return Err(Fault::Overflow);
        }
        Ok(())
    }
}

/// A time of day or, in an interval, a number of hours, minutes and seconds.
pub(crate) struct Clock {
    pub hour: i64,
    pub minute: i32,
    pub second: i32,
    pub micros: i32,
}

/// `hh:mm`, `hh:mm:ss`, `hh:mm:ss.fff`, or `mm:ss.fff`.
pub(crate) fn parse_clock(text: &str) -> Read<Clock> {
    let part = |text| -> Read<(i32, &str)> {
        let (value, rest) = leading_int(text).unwrap_or((0, text));
        Ok((i32::try_from(value).map_err(|_| Fault::Overflow)?, rest))
    };
    let (hour, rest) = leading_int(text).ok_or(Fault::Format)?;
    let rest = rest.strip_prefix(':').ok_or(Fault::Format)?;
    let (minute, rest) = part(rest)?;
    let hour = i64::try_from(hour).map_err(|_| Fault::Overflow)?;
    let mut clock = Clock { hour, minute, second: 0, micros: 0 };
    if rest.starts_with('.') {
        clock.micros = fraction_micros(rest).ok_or(Fault::Format)?;
        clock.second = minute;
        clock.minute = i32::try_from(hour).map_err(|_| Fault::Overflow)?;
        clock.hour = 0;
    } else if let Some(rest) = rest.strip_prefix(':') {
        let (second, rest) = part(rest)?;
        clock.second = second;
        if !rest.is_empty() {
            clock.micros = fraction_micros(rest).ok_or(Fault::Format)?;
        }
    } else if !rest.is_empty() {
        return Err(Fault::Format);
    }
    let fits = clock.hour >= 0 && (0..=59).contains(&clock.minute) && (0..=60).contains(&clock.second);
    if fits { Ok(clock) } else { Err(Fault::Overflow) }
}

/// An offset such as `+02`, `-0330`, `+05:30:15`: seconds east of Greenwich.
fn numeric_zone(text: &str) -> Read<i32> {
    let negative = text.starts_with('-');
    let unsigned = text.strip_prefix(['+', '-']).ok_or(Fault::Format)?;
    let part = |text| -> (i128, &str) { leading_int(text).unwrap_or((0, text)) };
    let (mut hour, mut rest) = part(unsigned);
    let (mut minute, mut second) = (0, 0);
    if let Some(after) = rest.strip_prefix(':') {
        (minute, rest) = part(after);
        if let Some(after) = rest.strip_prefix(':') {
            (second, rest) = part(after);
        }
    } else if rest.is_empty() && unsigned.len() > 2 {
        (hour, minute) = (hour / 100, hour % 100);
    }
    if !(0..=15).contains(&hour) || !(0..60).contains(&minute) || !(0..60).contains(&second) {
        return Err(Fault::ZoneOverflow);
    }
    if !rest.is_empty() {
        return Err(Fault::Format);
    }
    let secs = ((hour * 60 + minute) * 60 + second) as i32;
    Ok(if negative { -secs } else { secs })
}
