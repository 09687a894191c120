//! The order and the equality of each type, as its btree and hash operator classes have them.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use crate::datum::{ArrayValue, Datum, Interval, RecordValue, TimeTz};
use crate::oid::{self, Oid};

/// Compares two values of type `ty`. NULL sorts after everything (callers that want NULLS FIRST decide before).
///
/// Values of two different representations are ordered by representation: the binder never lets that happen, and a
/// total order keeps a sort from going astray if it did.
pub fn cmp(ty: Oid, a: &Datum, b: &Datum) -> Ordering {
    match (a, b) {
        (Datum::Null, Datum::Null) => Ordering::Equal,
        (Datum::Null, _) => Ordering::Greater,
        (_, Datum::Null) => Ordering::Less,
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Char(a), Datum::Char(b)) => a.cmp(b),
        (Datum::Int2(a), Datum::Int2(b)) => a.cmp(b),
        (Datum::Int4(a), Datum::Int4(b)) | (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Int8(a), Datum::Int8(b)) if ty == oid::XID8 => a.cast_unsigned().cmp(&b.cast_unsigned()),
        (Datum::Int8(a), Datum::Int8(b))
        | (Datum::Time(a), Datum::Time(b))
        | (Datum::Timestamp(a), Datum::Timestamp(b))
        | (Datum::Timestamptz(a), Datum::Timestamptz(b)) => a.cmp(b),
        (Datum::Float4(a), Datum::Float4(b)) => cmp_float(f64::from(*a), f64::from(*b)),
        (Datum::Float8(a), Datum::Float8(b)) => cmp_float(*a, *b),
        (Datum::Numeric(a), Datum::Numeric(b)) => a.cmp_value(b),
        (Datum::Text(a), Datum::Text(b)) if ty == oid::BPCHAR => {
            a.trim_end_matches(' ').cmp(b.trim_end_matches(' '))
        }
        (Datum::Text(a), Datum::Text(b)) => a.cmp(b),
        (Datum::Bytea(a), Datum::Bytea(b)) => a.cmp(b),
        (Datum::Uuid(a), Datum::Uuid(b)) => a.cmp(b),
        (Datum::Timetz(a), Datum::Timetz(b)) => {
            a.utc_micros().cmp(&b.utc_micros()).then(a.zone_secs_west.cmp(&b.zone_secs_west))
        }
        (Datum::Interval(a), Datum::Interval(b)) => interval_span_micros(a).cmp(&interval_span_micros(b)),
        (Datum::Oid(a), Datum::Oid(b)) => a.cmp(b),
        (Datum::Array(a), Datum::Array(b)) => cmp_arrays(a, b),
        (Datum::Record(a), Datum::Record(b)) => cmp_records(a, b),
        (a, b) => representation(a).cmp(&representation(b)),
    }
}

/// The order of floats: NaN equals itself and is greater than infinity; -0 equals 0.
pub fn cmp_float(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// Element by element, NULL last; then by length, dimensions, lower bounds.
fn cmp_arrays(a: &ArrayValue, b: &ArrayValue) -> Ordering {
    let elements = a.elements.iter().zip(&b.elements).map(|(x, y)| cmp(a.elem, x, y));
    elements
        .into_iter()
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
        .then(a.elements.len().cmp(&b.elements.len()))
        .then(a.dims.len().cmp(&b.dims.len()))
        .then_with(|| a.dims.iter().map(|d| d.len).cmp(b.dims.iter().map(|d| d.len)))
        .then_with(|| a.dims.iter().map(|d| d.lower_bound).cmp(b.dims.iter().map(|d| d.lower_bound)))
}

fn cmp_records(a: &RecordValue, b: &RecordValue) -> Ordering {
    let fields = a.fields.iter().zip(&b.fields).zip(&a.types).map(|((x, y), ty)| cmp(*ty, x, y));
    fields
        .into_iter()
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
        .then(a.fields.len().cmp(&b.fields.len()))
}

fn representation(value: &Datum) -> u8 {
    match value {
        Datum::Null => 255,
        Datum::Bool(_) => 0,
        Datum::Int2(_) => 1,
        Datum::Int4(_) => 2,
        Datum::Int8(_) => 3,
        Datum::Float4(_) => 4,
        Datum::Float8(_) => 5,
        Datum::Numeric(_) => 6,
        Datum::Text(_) => 7,
        Datum::Char(_) => 8,
        Datum::Bytea(_) => 9,
        Datum::Uuid(_) => 10,
        Datum::Date(_) => 11,
        Datum::Time(_) => 12,
        Datum::Timetz(_) => 13,
        Datum::Timestamp(_) => 14,
        Datum::Timestamptz(_) => 15,
        Datum::Interval(_) => 16,
        Datum::Oid(_) => 17,
        Datum::Array(_) => 18,
        Datum::Record(_) => 19,
    }
}

/// Feeds a value of type `ty` to `state`, such that values that compare equal hash alike.
pub fn hash<H: Hasher>(ty: Oid, value: &Datum, state: &mut H) {
    match value {
        Datum::Null => state.write_u8(0xFF),
        Datum::Bool(v) => v.hash(state),
        Datum::Char(v) => v.hash(state),
        Datum::Int2(v) => v.hash(state),
        Datum::Int4(v) | Datum::Date(v) => v.hash(state),
        Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) => v.hash(state),
        Datum::Float4(v) => hash_float(f64::from(*v), state),
        Datum::Float8(v) => hash_float(*v, state),
        Datum::Numeric(v) => v.hash_value(state),
        Datum::Text(v) if ty == oid::BPCHAR => v.trim_end_matches(' ').hash(state),
        Datum::Text(v) => v.hash(state),
        Datum::Bytea(v) => v.hash(state),
        Datum::Uuid(v) => v.hash(state),
        Datum::Timetz(v) => {
            v.utc_micros().hash(state);
            v.zone_secs_west.hash(state);
        }
        Datum::Interval(v) => interval_span_micros(v).hash(state),
        Datum::Oid(v) => v.hash(state),
        Datum::Array(v) => {
            for element in &v.elements {
                hash(v.elem, element, state);
            }
            for dim in &v.dims {
                dim.len.hash(state);
                dim.lower_bound.hash(state);
            }
        }
        Datum::Record(v) => {
            for (ty, field) in v.types.iter().zip(&v.fields) {
                hash(*ty, field, state);
            }
        }
    }
}

fn hash_float<H: Hasher>(value: f64, state: &mut H) {
    let canonical = if value.is_nan() { f64::NAN } else { value + 0.0 };
    canonical.to_bits().hash(state);
}

/// The length of an interval in microseconds, with months of 30 days and days of 24 hours: what intervals compare by.
pub fn interval_span_micros(interval: &Interval) -> i128 {
    let days = i128::from(interval.months) * 30 + i128::from(interval.days);
    days * 86_400_000_000 + i128::from(interval.micros)
}

impl TimeTz {
    /// The moment in UTC, in microseconds from midnight (below 0 or past 24:00 in zones far from Greenwich).
    pub fn utc_micros(&self) -> i64 {
        self.micros.saturating_add(i64::from(self.zone_secs_west) * 1_000_000)
    }

    /// The inverse of [`TimeTz::utc_micros`].
    pub fn from_utc_micros(utc: i64, zone_secs_west: i32) -> Option<TimeTz> {
        let micros = utc.checked_sub(i64::from(zone_secs_west) * 1_000_000)?;
        Some(TimeTz { micros, zone_secs_west })
    }
}
