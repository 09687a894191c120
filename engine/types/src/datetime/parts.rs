//! `extract` and `date_trunc`: single fields of dates, times and intervals, and cutting off what is below one.

use crate::datetime::calendar::{Civil, JULIAN_2000, UNIX_EPOCH_MICROS, day_of_week, days_of_date, iso_week};
use crate::datetime::fields::{Unit, unit};
use crate::datetime::ops::is_infinite;
use crate::datetime::{
    MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SEC, TimeZone, check_timestamp,
    out_of_range,
};
use crate::datum::{Interval, TimeTz};
use crate::error::{PgError, PgResult};
use crate::numeric::Numeric;
use crate::oid::{self, Oid};
use crate::sqlstate::SqlState;
use crate::typeinfo::type_name;

/// A field that `extract` knows: a unit of time, or one of those that only it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A unit of time.
    Unit(Unit),
    /// Seconds since 1970 (or of an interval, in all).
    Epoch,
    /// Day of the week, Sunday is 0.
    DayOfWeek,
    /// Day of the week, Monday is 1.
    IsoDayOfWeek,
    /// Day of the year.
    DayOfYear,
    /// ISO 8601 year of the week.
    IsoYear,
    /// Julian day, with its fraction.
    Julian,
    /// Seconds east of Greenwich.
    TimeZone,
    /// Hours of the offset.
    TimeZoneHour,
    /// Minutes of the offset.
    TimeZoneMinute,
}

impl Part {
    /// The field of this name, in any case of letters; 22023 if there is none. `ty` is for the message.
    pub fn parse(name: &str, ty: Oid) -> PgResult<Part> {
        let lower = name.to_ascii_lowercase();
        Ok(match lower.get(..10).unwrap_or(&lower) {
            "epoch" => Part::Epoch,
            "dow" => Part::DayOfWeek,
            "isodow" => Part::IsoDayOfWeek,
            "doy" => Part::DayOfYear,
            "isoyear" => Part::IsoYear,
            "j" | "jd" | "julian" => Part::Julian,
            "timezone" => Part::TimeZone,
            "timezone_h" => Part::TimeZoneHour,
            "timezone_m" => Part::TimeZoneMinute,
            _ => match unit(&lower) {
                Some(unit) => Part::Unit(unit),
                None => return Err(not_recognized(name, ty)),
            },
        })
    }
}

#[cold]
fn not_recognized(name: &str, ty: Oid) -> PgError {
    PgError::new(
        SqlState::INVALID_PARAMETER_VALUE,
        format!("unit \"{}\" not recognized for type {}", name.to_ascii_lowercase(), type_name(ty)),
    )
}

#[cold]
fn not_supported(name: &str, ty: Oid) -> PgError {
    PgError::not_supported(format!(
        "unit \"{}\" not supported for type {}",
        name.to_ascii_lowercase(),
        type_name(ty)
    ))
}

fn whole(value: impl Into<i64>) -> Numeric {
    Numeric::from(value.into())
}

fn scaled(units: i64, scale: u16) -> Numeric {
    Numeric::Small { units, scale }
}

/// Decade, century or millennium of a year that counts through 0.
fn era(year: i32, length: i32) -> i32 {
    if length == 10 {
        return year.div_euclid(10);
    }
    if year > 0 { (year + length - 1) / length } else { -((length - year) / length) }
}

/// What infinities answer: fields that grow without end are infinite, the others have no value.
fn of_infinity(part: Part, positive: bool) -> Option<Numeric> {
    let grows = matches!(
        part,
        Part::Unit(Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium)
            | Part::Julian
            | Part::IsoYear
            | Part::Epoch
    );
    grows.then_some(if positive { Numeric::PosInf } else { Numeric::NegInf })
}

/// `extract(name from timestamp)`; `None` is NULL, for fields that infinities do not have.
pub fn extract_timestamp(name: &str, micros: i64) -> PgResult<Option<Numeric>> {
    let part = Part::parse(name, oid::TIMESTAMP)?;
    if is_infinite(micros) {
        return Ok(of_infinity(part, micros == i64::MAX));
    }
    if part == Part::Epoch {
        return Ok(Some(epoch(micros)));
    }
    of_civil(part, micros)?.map_or_else(|| Err(not_supported(name, oid::TIMESTAMP)), |v| Ok(Some(v)))
}

/// `extract(name from timestamptz)`, in a time zone.
pub fn extract_timestamptz(name: &str, micros: i64, zone: &TimeZone) -> PgResult<Option<Numeric>> {
    let part = Part::parse(name, oid::TIMESTAMPTZ)?;
    if is_infinite(micros) {
        return Ok(of_infinity(part, micros == i64::MAX));
    }
    let offset = zone.offset_at(micros);
    if let Some(value) = of_offset(part, offset) {
        return Ok(Some(value));
    }
    if part == Part::Epoch {
        return Ok(Some(epoch(micros)));
    }
    let local = micros.saturating_add(i64::from(offset) * MICROS_PER_SEC);
    of_civil(part, local)?.map_or_else(|| Err(not_supported(name, oid::TIMESTAMPTZ)), |v| Ok(Some(v)))
}

/// `extract(name from date)`.
pub fn extract_date(name: &str, date: i32) -> PgResult<Option<Numeric>> {
    let part = Part::parse(name, oid::DATE)?;
    let has_it = !matches!(
        part,
        Part::TimeZone
            | Part::TimeZoneHour
            | Part::TimeZoneMinute
            | Part::Unit(Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour)
    );
    if !has_it {
        return Err(not_supported(name, oid::DATE));
    }
    if date == i32::MIN || date == i32::MAX {
        return Ok(of_infinity(part, date == i32::MAX));
    }
    match part {
        Part::Epoch => {
            let unix_days = i64::from(date) + UNIX_EPOCH_MICROS / MICROS_PER_DAY;
            Ok(Some(whole(unix_days * 86_400)))
        }
        Part::Julian => Ok(Some(whole(i64::from(date) + JULIAN_2000))),
        _ => match i64::from(date).checked_mul(MICROS_PER_DAY) {
            Some(micros) => of_civil(part, micros),
            None => Err(PgError::new(SqlState::DATETIME_FIELD_OVERFLOW, "date out of range for timestamp")),
        },
    }
}

/// `extract(name from time)`.
pub fn extract_time(name: &str, micros: i64) -> PgResult<Option<Numeric>> {
    let part = Part::parse(name, oid::TIME)?;
    of_time(part, micros).map_or_else(|| Err(not_supported(name, oid::TIME)), |v| Ok(Some(v)))
}

/// `extract(name from timetz)`.
pub fn extract_timetz(name: &str, time: TimeTz) -> PgResult<Option<Numeric>> {
    let part = Part::parse(name, oid::TIMETZ)?;
    let value = match part {
        Part::Epoch => Some(scaled(time.utc_micros(), 6)),
        _ => of_offset(part, -time.zone_secs_west).or_else(|| of_time(part, time.micros)),
    };
    value.map_or_else(|| Err(not_supported(name, oid::TIMETZ)), |v| Ok(Some(v)))
}

/// `extract(name from interval)`.
pub fn extract_interval(name: &str, interval: &Interval) -> PgResult<Option<Numeric>> {
    let part = Part::parse(name, oid::INTERVAL)?;
    if interval.is_infinite() {
        let grows = matches!(
            part,
            Part::Unit(Unit::Hour | Unit::Day | Unit::Year | Unit::Decade | Unit::Century | Unit::Millennium)
                | Part::Epoch
        );
        let supported = grows || matches!(part, Part::Unit(_));
        if !supported {
            return Err(not_supported(name, oid::INTERVAL));
        }
        let positive = *interval == Interval::INFINITY;
        return Ok(grows.then_some(if positive { Numeric::PosInf } else { Numeric::NegInf }));
    }
    let (years, months) = (interval.months / 12, interval.months % 12);
    let value = match part {
        Part::Unit(Unit::Hour) => whole(interval.micros / MICROS_PER_HOUR),
        Part::Unit(Unit::Day) => whole(interval.days),
        Part::Unit(Unit::Week) => whole(interval.days / 7),
        Part::Unit(Unit::Month) => whole(months),
        Part::Unit(Unit::Quarter) if interval.months >= 0 => whole(months / 3 + 1),
        Part::Unit(Unit::Quarter) => whole(-(-months / 3 + 1)),
        Part::Unit(Unit::Year) => whole(years),
        Part::Unit(Unit::Decade) => whole(years / 10),
        Part::Unit(Unit::Century) => whole(years / 100),
        Part::Unit(Unit::Millennium) => whole(years / 1000),
        Part::Epoch => {
            // Years of 365.25 days, months of 30.
            let days = i128::from(years) * 1461 + i128::from(months) * 120 + i128::from(interval.days) * 4;
            let micros = days * i128::from(MICROS_PER_DAY / 4) + i128::from(interval.micros);
            Numeric::from_units(micros, 6)
        }
        Part::Unit(Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute) => {
            let micros = interval.micros % MICROS_PER_HOUR;
            return Ok(of_time(part, micros));
        }
        _ => return Err(not_supported(name, oid::INTERVAL)),
    };
    Ok(Some(value))
}

fn epoch(micros: i64) -> Numeric {
    Numeric::from_units(i128::from(micros) + i128::from(UNIX_EPOCH_MICROS), 6)
}

fn of_offset(part: Part, secs_east: i32) -> Option<Numeric> {
    Some(match part {
        Part::TimeZone => whole(secs_east),
        Part::TimeZoneHour => whole(secs_east / 3600),
        Part::TimeZoneMinute => whole(secs_east / 60 % 60),
        _ => return None,
    })
}

fn of_time(part: Part, micros: i64) -> Option<Numeric> {
    Some(match part {
        Part::Unit(Unit::Microsecond) => whole(micros % MICROS_PER_MINUTE),
        Part::Unit(Unit::Millisecond) => scaled(micros % MICROS_PER_MINUTE, 3),
        Part::Unit(Unit::Second) => scaled(micros % MICROS_PER_MINUTE, 6),
        Part::Unit(Unit::Minute) => whole(micros / MICROS_PER_MINUTE % 60),
        Part::Unit(Unit::Hour) => whole(micros / MICROS_PER_HOUR),
        Part::Epoch => scaled(micros, 6),
        _ => return None,
    })
}

/// A field of a local time that is not infinite; `None` for those it does not have.
fn of_civil(part: Part, local: i64) -> PgResult<Option<Numeric>> {
    let civil = Civil::of_timestamp(local);
    let days = civil.days();
    // There is no year 0 to show.
    let shown_year = |year: i32| if year > 0 { year } else { year - 1 };
    Ok(Some(match part {
        Part::Unit(Unit::Day) => whole(civil.day),
        Part::Unit(Unit::Week) => whole(iso_week(days).1),
        Part::Unit(Unit::Month) => whole(civil.month),
        Part::Unit(Unit::Quarter) => whole((civil.month - 1) / 3 + 1),
        Part::Unit(Unit::Year) => whole(shown_year(civil.year)),
        Part::Unit(Unit::Decade) => whole(era(civil.year, 10)),
        Part::Unit(Unit::Century) => whole(era(civil.year, 100)),
        Part::Unit(Unit::Millennium) => whole(era(civil.year, 1000)),
        Part::IsoYear => whole(shown_year(iso_week(days).0)),
        Part::DayOfWeek => whole(day_of_week(days)),
        Part::IsoDayOfWeek => whole(if day_of_week(days) == 0 { 7 } else { day_of_week(days) }),
        Part::DayOfYear => whole(days - days_of_date(civil.year, 1, 1) + 1),
        Part::Julian => {
            let fraction = whole(civil.time_micros()).div(&whole(MICROS_PER_DAY))?;
            whole(days + JULIAN_2000).add(&fraction)?
        }
        _ => return Ok(of_time(part, civil.time_micros())),
    }))
}

/// Cuts a local time, in fields, off below a unit. Answers whether the date's fields alone are left.
fn truncate(civil: &mut Civil, unit: Unit) -> bool {
    let first_year = |year: i32, length: i32| {
        if year > 0 {
            (year + length - 1) / length * length - (length - 1)
        } else {
            -((length - year) / length) * length + 1
        }
    };
    match unit {
        Unit::Microsecond => return false,
        Unit::Millisecond => {
            civil.micros -= civil.micros % 1000;
            return false;
        }
        Unit::Second | Unit::Minute | Unit::Hour => {
            civil.micros = 0;
            if unit != Unit::Second {
                civil.second = 0;
            }
            if unit == Unit::Hour {
                civil.minute = 0;
            }
            return false;
        }
        Unit::Day => {}
        Unit::Week => {
            let days = civil.days();
            let monday = days - (days + 5).rem_euclid(7);
            (civil.year, civil.month, civil.day) = super::calendar::date_of_days(monday);
        }
        Unit::Month => civil.day = 1,
        Unit::Quarter => (civil.month, civil.day) = ((civil.month - 1) / 3 * 3 + 1, 1),
        Unit::Year => (civil.month, civil.day) = (1, 1),
        Unit::Decade => {
            let year = civil.year;
            let start = if year > 0 { year / 10 * 10 } else { -((9 - year) / 10) * 10 };
            (civil.year, civil.month, civil.day) = (start, 1, 1);
        }
        Unit::Century => (civil.year, civil.month, civil.day) = (first_year(civil.year, 100), 1, 1),
        Unit::Millennium => (civil.year, civil.month, civil.day) = (first_year(civil.year, 1000), 1, 1),
    }
    (civil.hour, civil.minute, civil.second, civil.micros) = (0, 0, 0, 0);
    true
}

/// The unit that `date_trunc` is asked to cut at.
fn trunc_unit(name: &str, ty: Oid) -> PgResult<Unit> {
    match Part::parse(name, ty)? {
        Part::Unit(unit) => Ok(unit),
        Part::TimeZone | Part::TimeZoneHour | Part::TimeZoneMinute => Err(not_supported(name, ty)),
        _ => Err(not_recognized(name, ty)),
    }
}

/// `date_trunc(name, timestamp)`.
pub fn trunc_timestamp(name: &str, micros: i64) -> PgResult<i64> {
    let unit = trunc_unit(name, oid::TIMESTAMP)?;
    if is_infinite(micros) {
        return Ok(micros);
    }
    let mut civil = Civil::of_timestamp(micros);
    truncate(&mut civil, unit);
    civil.timestamp().ok_or_else(|| out_of_range("timestamp out of range"))
}

/// `date_trunc(name, timestamptz)`, in a time zone.
pub fn trunc_timestamptz(name: &str, micros: i64, zone: &TimeZone) -> PgResult<i64> {
    let unit = trunc_unit(name, oid::TIMESTAMPTZ)?;
    if is_infinite(micros) {
        return Ok(micros);
    }
    let offset = i64::from(zone.offset_at(micros)) * MICROS_PER_SEC;
    let mut civil = Civil::of_timestamp(micros.saturating_add(offset));
    let is_date = truncate(&mut civil, unit);
    let local = civil.timestamp().ok_or_else(|| out_of_range("timestamp out of range"))?;
    // Within a day the offset stays what it was, so that an hour that occurs twice is told apart.
    check_timestamp(if is_date { zone.to_utc(local) } else { local.saturating_sub(offset) })
}

/// `date_trunc(name, interval)`.
pub fn trunc_interval(name: &str, interval: &Interval) -> PgResult<Interval> {
    let unit = trunc_unit(name, oid::INTERVAL)?;
    if unit == Unit::Week {
        return Err(not_supported(name, oid::INTERVAL).detail("Months usually have fractional weeks."));
    }
    if interval.is_infinite() {
        return Ok(*interval);
    }
    let months = |length: i32| Interval::new(interval.months / length * length, 0, 0);
    let micros =
        |length: i64| Interval::new(interval.months, interval.days, interval.micros / length * length);
    Ok(match unit {
        Unit::Microsecond => *interval,
        Unit::Millisecond => micros(1000),
        Unit::Second => micros(MICROS_PER_SEC),
        Unit::Minute => micros(MICROS_PER_MINUTE),
        Unit::Hour => micros(MICROS_PER_HOUR),
        Unit::Day | Unit::Week => Interval::new(interval.months, interval.days, 0),
        Unit::Month => months(1),
        Unit::Quarter => months(3),
        Unit::Year => months(12),
        Unit::Decade => months(120),
        Unit::Century => months(1_200),
        Unit::Millennium => months(12_000),
    })
}
