//! The order and the equality of each type, as its btree and hash operator classes have them.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::datum::{Datum, Interval, TimeTz};
use crate::oid::{self, Oid};

/// Compares two values of type `ty`. NULL sorts after everything (callers that want NULLS FIRST decide before).
pub fn cmp(ty: Oid, a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Greater,
        (_, Datum::Null) => Ordering::Less,
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Int2(a), Datum::Int2(b)) => a.cmp(b),
        (Datum::Int4(a), Datum::Int4(b)) => a.cmp(b),
        (Datum::Int8(a), Datum::Int8(b)) => a.cmp(b),
        (Datum::Text(a), Datum::Text(b)) if ty == oid::BPCHAR => {
            a.trim_end_matches(' ').cmp(b.trim_end_matches(' '))
        }
        (Datum::Text(a), Datum::Text(b)) => a.cmp(b),
        (Datum::Bytea(a), Datum::Bytea(b)) => a.cmp(b),
        _ => Ordering::Equal,
    }
}

/// Feeds a value of type `ty` to `state`, such that values that compare equal hash alike.
pub fn hash<H: Hasher>(ty: Oid, value: &Datum, state: &mut H) {
    match value {
        Datum::Bool(v) => v.hash(state),
        Datum::Int2(v) => i64::from(*v).hash(state),
        Datum::Int4(v) => i64::from(*v).hash(state),
        Datum::Int8(v) => v.hash(state),
        Datum::Text(v) if ty == oid::BPCHAR => v.trim_end_matches(' ').hash(state),
        Datum::Text(v) => v.hash(state),
        Datum::Bytea(v) => v.hash(state),
        _ => state.write_u8(0),
    }
}

/// The length of an interval in microseconds, with months of 30 days and days of 24 hours: what intervals compare by.
pub fn interval_span_micros(interval: &Interval) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * 86_400_000_000 + i128::from(interval.micros)
}

impl TimeTz {
    /// The moment in UTC, in microseconds from midnight (below 0 or past 24:00 in zones far from Greenwich).
    pub fn utc_micros(&self) -> i64 {
        self.micros + i64::from(self.zone_secs_west) * 1_000_000
    }

    /// The inverse of [`TimeTz::utc_micros`].
    pub fn from_utc_micros(utc: i64, zone_secs_west: i32) -> Option<TimeTz> {
        let micros = utc.checked_sub(i64::from(zone_secs_west) * 1_000_000)?;
        Some(TimeTz { micros, zone_secs_west })
    }
}
