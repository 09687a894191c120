//! Calendar arithmetic: days and microseconds to fields and back.

use crate::datetime::{
    DATE_END, DATE_MIN, MICROS_PER_DAY, MICROS_PER_HOUR, MICROS_PER_MINUTE, MICROS_PER_SEC,
};
use crate::datetime::{TIMESTAMP_END, TIMESTAMP_MIN};

/// Days from 1970-01-01 to 2000-01-01.
pub(crate) const UNIX_DAYS: i64 = 10_957;
/// Microseconds from 1970-01-01 to 2000-01-01.
pub const UNIX_EPOCH_MICROS: i64 = UNIX_DAYS * MICROS_PER_DAY;
/// The Julian day of 2000-01-01.
pub(crate) const JULIAN_2000: i64 = 2_451_545;

/// A date and time of day, in fields. Years count through 0: 0 is 1 BC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Civil {
    /// The year.
    pub year: i32,
    /// 1 to 12.
    pub month: i32,
    /// 1 to 31.
    pub day: i32,
    /// 0 to 23 (24 while a text is read).
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
    /// 0 to 59 (60 while a text is read).
    pub second: i32,
    /// 0 to 999,999.
    pub micros: i32,
}

impl Civil {
    /// The fields of a timestamp that is not infinite.
    pub fn of_timestamp(micros: i64) -> Civil {
        let days = micros.div_euclid(MICROS_PER_DAY);
        let mut civil = Civil::of_time(micros.rem_euclid(MICROS_PER_DAY));
        (civil.year, civil.month, civil.day) = date_of_days(days);
        civil
    }

    /// The fields of a time of day; the date is left at zeros.
    pub fn of_time(micros: i64) -> Civil {
        Civil {
            hour: (micros / MICROS_PER_HOUR) as i32,
            minute: (micros / MICROS_PER_MINUTE % 60) as i32,
            second: (micros / MICROS_PER_SEC % 60) as i32,
            micros: (micros % MICROS_PER_SEC) as i32,
            ..Civil::default()
        }
    }

    /// Days from 2000-01-01 to the date.
    pub fn days(&self) -> i64 {
        days_of_date(self.year, self.month, self.day)
    }

    /// Microseconds since midnight.
    pub fn time_micros(&self) -> i64 {
        let seconds = (i64::from(self.hour) * 60 + i64::from(self.minute)) * 60 + i64::from(self.second);
        seconds * MICROS_PER_SEC + i64::from(self.micros)
    }

    /// The timestamp, if it is within range.
    pub fn timestamp(&self) -> Option<i64> {
        let micros = self.days().checked_mul(MICROS_PER_DAY)?.checked_add(self.time_micros())?;
        (TIMESTAMP_MIN..TIMESTAMP_END).contains(&micros).then_some(micros)
    }

    /// The date, if it is within range.
    pub fn date(&self) -> Option<i32> {
        i32::try_from(self.days()).ok().filter(|days| (DATE_MIN..DATE_END).contains(days))
    }
}

/// Days from 2000-01-01 to a date. After Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in
/// March, so that the leap day is the last of the year.
pub fn days_of_date(year: i32, month: i32, day: i32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468 - UNIX_DAYS
}

/// Year, month and day of the day this many days from 2000-01-01.
pub fn date_of_days(days: i64) -> (i32, i32, i32) {
    let days = days + UNIX_DAYS + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year as i32, month as i32, day as i32)
}

/// Whether the year has a 29 February.
pub fn is_leap_year(year: i32) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// How many days the month has; `month` is 1 to 12.
pub fn days_in_month(year: i32, month: i32) -> i32 {
    match month {
        2 => 28 + i32::from(is_leap_year(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day of the week of a date, 0 for Sunday.
pub fn day_of_week(days: i64) -> i32 {
    // 2000-01-01 was a Saturday.
    (days + 6).rem_euclid(7) as i32
}

/// The ISO 8601 year and week of a date: weeks begin on Monday and belong to the year of their Thursday.
pub fn iso_week(days: i64) -> (i32, i32) {
    let thursday = days + 3 - (days + 5).rem_euclid(7);
    let (year, ..) = date_of_days(thursday);
    let week = (thursday - days_of_date(year, 1, 1)) / 7 + 1;
    (year, week as i32)
}

/// The Monday of the first week of an ISO year.
pub fn iso_year_start(year: i32) -> i64 {
    let fourth = days_of_date(year, 1, 4);
    fourth - (fourth + 5).rem_euclid(7)
}

/// English names of the months.
pub(crate) const MONTHS: [&str; 12] = [
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
/// English names of the days of the week, from Sunday.
pub(crate) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates() {
        assert_eq!(days_of_date(2000, 1, 1), 0);
        assert_eq!(days_of_date(1970, 1, 1), -UNIX_DAYS);
        assert_eq!(days_of_date(-4713, 11, 24), i64::from(DATE_MIN));
        assert_eq!(days_of_date(5_874_898, 1, 1), i64::from(DATE_END));
        for days in (-3_000_000..3_000_000).step_by(17) {
            let (year, month, day) = date_of_days(days);
            assert_eq!(days_of_date(year, month, day), days);
        }
        assert_eq!(day_of_week(days_of_date(2024, 2, 29)), 4);
    }

    #[test]
    fn iso_weeks() {
        assert_eq!(iso_week(days_of_date(2021, 1, 3)), (2020, 53));
        assert_eq!(iso_week(days_of_date(2024, 12, 30)), (2025, 1));
        assert_eq!(iso_week(days_of_date(2005, 1, 1)), (2004, 53));
        assert_eq!(iso_year_start(2021), days_of_date(2021, 1, 4));
    }
}
