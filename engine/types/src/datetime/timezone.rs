//! Time zones by name, as the `TimeZone` setting, `AT TIME ZONE` and timestamps as text take them.
//!
//! A zone is a name of the IANA database (bundled, so every node has the same), an offset, or a POSIX specification
//! such as `EST5EDT` or `<+03>-03`, whose sign is west of Greenwich. The rules come from `jiff`; what is ours are
//! PostgreSQL's answers to local times that do not exist (they are read by the offset before the change) or exist
//! twice (the second time), and years beyond 9999, which have the rules of the same year in another 400-year cycle.

use std::sync::Arc;

use jiff::tz::{AmbiguousOffset, Offset};

use crate::datetime::abbreviations::ABBREVIATIONS;
use crate::datetime::calendar::{Civil, UNIX_EPOCH_MICROS, date_of_days};
use crate::datetime::{MICROS_PER_DAY, MICROS_PER_SEC};
use crate::error::{PgError, PgResult};
use crate::sqlstate::SqlState;

/// A cycle of the Gregorian calendar.
const CYCLE_YEARS: i32 = 400;
const CYCLE_MICROS: i64 = 146_097 * MICROS_PER_DAY;
/// From this year on, rules are looked up in an earlier cycle.
const YEAR_END: i32 = 9_000;

/// A time zone: a name for SHOW, and its rules. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeZone {
    name: Arc<str>,
    rules: jiff::tz::TimeZone,
}

/// What a zone says about one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneOffset {
    /// Seconds east of Greenwich.
    pub secs_east: i32,
    /// Whether it is daylight saving time.
    pub is_dst: bool,
    /// The abbreviation in use then, such as `CEST`; a number (`+03`) where there is none.
    pub abbreviation: String,
}

impl TimeZone {
    /// UTC.
    pub fn utc() -> TimeZone {
        TimeZone { name: "UTC".into(), rules: jiff::tz::TimeZone::UTC }
    }

    /// A fixed offset, in seconds east of Greenwich; its name is a POSIX one (`<+05:30>-05:30`).
    pub fn fixed(secs_east: i32) -> TimeZone {
        let shown = |secs: i32, sign: char| {
            let (secs, mut text) = (secs.abs(), format!("{sign}{:02}", secs.abs() / 3600));
            if secs % 3600 != 0 {
                text += &format!(":{:02}", secs / 60 % 60);
            }
            if secs % 60 != 0 {
                text += &format!(":{:02}", secs % 60);
            }
            text
        };
        let (east, west) = if secs_east < 0 { ('-', '+') } else { ('+', '-') };
        let name = format!("<{}>{}", shown(secs_east, east), shown(secs_east, west));
        TimeZone::by_name(&name)
            .unwrap_or_else(|| TimeZone { name: name.into(), rules: fixed_rules(secs_east) })
    }

    /// The zone of this name: of the IANA database in any case of letters, or a POSIX specification.
    pub fn by_name(name: &str) -> Option<TimeZone> {
        if name.eq_ignore_ascii_case("utc") {
            return Some(TimeZone::utc());
        }
        if let Ok(rules) = jiff::tz::TimeZone::get(name)
            && let Some(canonical) = rules.iana_name()
        {
            return Some(TimeZone { name: canonical.into(), rules });
        }
        let upper = name.to_ascii_uppercase();
        Some(TimeZone { rules: posix_rules(&upper)?, name: upper.into() })
    }

    /// The zone that a value of the `TimeZone` setting means: a name, or hours east of Greenwich as a number.
    pub fn from_setting(value: &str) -> Option<TimeZone> {
        match value.trim().parse::<f64>() {
            Ok(hours) if hours.abs() < 24.0 => Some(TimeZone::fixed((hours * 3600.0) as i32)),
            Ok(_) => None,
            Err(_) => TimeZone::by_name(value),
        }
    }

    /// The zone that the first argument of `timezone()` means: an abbreviation or what [`TimeZone::by_name`] takes.
    pub fn for_conversion(name: &str) -> PgResult<TimeZone> {
        if let Some((secs_east, _)) = abbreviation(&name.to_ascii_lowercase()) {
            return Ok(TimeZone { name: name.to_ascii_uppercase().into(), rules: fixed_rules(secs_east) });
        }
        TimeZone::by_name(name).ok_or_else(|| not_recognized(name))
    }

    /// The name as SHOW TimeZone answers it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has had one offset for ever.
    pub fn is_fixed(&self) -> bool {
        let any = jiff::Timestamp::UNIX_EPOCH;
        self.rules.preceding(any).next().is_none() && self.rules.following(any).next().is_none()
    }

    /// The offset in force at a moment, in seconds east of Greenwich. `utc` counts microseconds from 2000-01-01.
    pub fn offset_at(&self, utc: i64) -> i32 {
        self.rules.to_offset(jiff_timestamp(utc)).seconds()
    }

    /// What the zone says about a moment.
    pub fn describe(&self, utc: i64) -> ZoneOffset {
        let info = self.rules.to_offset_info(jiff_timestamp(utc));
        ZoneOffset {
            secs_east: info.offset().seconds(),
            is_dst: info.dst().is_dst(),
            abbreviation: info.abbreviation().to_owned(),
        }
    }

    /// The offset by which a local time is read.
    pub fn offset_of_local(&self, local: i64) -> i32 {
        let civil = Civil::of_timestamp(local);
        let year = if civil.year >= YEAR_END {
            YEAR_END - CYCLE_YEARS + (civil.year - YEAR_END).rem_euclid(CYCLE_YEARS)
        } else {
            civil.year
        };
        let part = |value: i32| value as i8;
        let Ok(datetime) = jiff::civil::DateTime::new(
            year as i16,
            part(civil.month),
            part(civil.day),
            part(civil.hour),
            part(civil.minute),
            part(civil.second),
            civil.micros * 1000,
        ) else {
            return 0;
        };
        match self.rules.to_ambiguous_timestamp(datetime).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.seconds(),
            AmbiguousOffset::Gap { before, .. } => before.seconds(),
            AmbiguousOffset::Fold { after, .. } => after.seconds(),
        }
    }

    /// The local time at a moment.
    pub fn to_local(&self, utc: i64) -> i64 {
        utc.saturating_add(i64::from(self.offset_at(utc)) * MICROS_PER_SEC)
    }

    /// The moment of a local time.
    pub fn to_utc(&self, local: i64) -> i64 {
        local.saturating_sub(i64::from(self.offset_of_local(local)) * MICROS_PER_SEC)
    }
}

/// 22023: no such zone.
#[cold]
pub(crate) fn not_recognized(name: &str) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, format!("time zone \"{name}\" not recognized"))
}

/// The offset east of Greenwich, in seconds, of a zone abbreviation in lower case, and whether it is daylight saving time.
pub(crate) fn abbreviation(lower: &str) -> Option<(i32, bool)> {
    let at = ABBREVIATIONS.binary_search_by_key(&lower, |(name, ..)| name).ok()?;
    Some((ABBREVIATIONS[at].1, ABBREVIATIONS[at].2))
}

/// A moment in jiff's terms; beyond its range, the same moment of another cycle.
fn jiff_timestamp(utc: i64) -> jiff::Timestamp {
    let mut utc = utc;
    let (year, ..) = date_of_days(utc.div_euclid(MICROS_PER_DAY));
    if year >= YEAR_END {
        utc -= i64::from((year - YEAR_END) / CYCLE_YEARS + 1) * CYCLE_MICROS;
    }
    jiff::Timestamp::from_microsecond(utc + UNIX_EPOCH_MICROS).unwrap_or_default()
}

fn fixed_rules(secs_east: i32) -> jiff::tz::TimeZone {
    Offset::from_seconds(secs_east).map_or(jiff::tz::TimeZone::UTC, Offset::to_time_zone)
}

/// The rules of a POSIX specification. Without rules for the changes, daylight saving time is that of the USA; without a
/// name, as in `+3`, it is an offset (west of Greenwich, too).
fn posix_rules(text: &str) -> Option<jiff::tz::TimeZone> {
    let padded;
    let text = if text.starts_with(|c: char| matches!(c, '+' | '-') || c.is_ascii_digit()) {
        padded = format!("<{}>{text}", text.replace(':', ""));
        padded.as_str()
    } else {
        text
    };
    // A name in brackets may hold a colon (`<+02:30>-02:30`), which jiff does not take.
    let unquoted = match text.find('>') {
        Some(end) if text.starts_with('<') => {
            Some(format!("{}{}", text[..end].replace(':', ""), &text[end..]))
        }
        _ => None,
    };
    let text = unquoted.as_deref().unwrap_or(text);
    // jiff takes one-letter names and the like for names of files: they need an offset to be a specification.
    if !text.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    jiff::tz::TimeZone::posix(text)
        .or_else(|_| jiff::tz::TimeZone::posix(&format!("{text},M3.2.0,M11.1.0")))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datetime::calendar::days_of_date;

    fn noon(year: i32, month: i32, day: i32) -> i64 {
        days_of_date(year, month, day) * MICROS_PER_DAY + MICROS_PER_DAY / 2
    }

    #[test]
    fn the_abbreviations_are_ordered() {
        assert!(ABBREVIATIONS.windows(2).all(|w| w[0].0 < w[1].0));
        assert_eq!(abbreviation("cest"), Some((7200, true)));
    }

    #[test]
    fn names() {
        let shown = |name: &str| TimeZone::from_setting(name).map(|zone| zone.name().to_owned());
        assert_eq!(shown("america/new_york").as_deref(), Some("America/New_York"));
        assert_eq!(shown("utc").as_deref(), Some("UTC"));
        assert_eq!(shown("5").as_deref(), Some("<+05>-05"));
        assert_eq!(shown("5.5").as_deref(), Some("<+05:30>-05:30"));
        assert_eq!(shown("gmt+3").as_deref(), Some("GMT+3"));
        assert_eq!(shown("foo3bar").as_deref(), Some("FOO3BAR"));
        assert_eq!(shown("04:30").as_deref(), Some("04:30"));
        assert_eq!(shown("foo"), None);
        assert_eq!(shown(""), None);
    }

    #[test]
    fn offsets() {
        let zone = TimeZone::by_name("Europe/Berlin").unwrap_or_else(TimeZone::utc);
        assert_eq!(zone.offset_at(noon(2024, 1, 1)), 3600);
        assert_eq!(zone.describe(noon(2024, 7, 1)).abbreviation, "CEST");
        assert_eq!(zone.offset_at(noon(20_024, 7, 1)), 7200);
        assert_eq!(zone.offset_of_local(noon(290_024, 7, 1)), 7200);
        assert_eq!(zone.offset_of_local(noon(-4000, 7, 1)), 3208);
        assert_eq!(TimeZone::fixed(-12_600).offset_at(0), -12_600);
    }
}
