//! A value of a PostgreSQL type, in memory.
//!
//! A [`Datum`] does not carry its type: the plan knows it. The variant says how the value is represented, and
//! several types share one (text, varchar, bpchar, name, json: `Text`; oid and all reg* types: `Oid`). It is kept at
//! 24 bytes and cheap to clone: what is long sits behind an `Arc`.

use std::sync::Arc;

use crate::error::{PgError, PgResult};
use crate::numeric::Numeric;
use crate::oid::Oid;
use crate::sqlstate::SqlState;

/// One value, or NULL.
///
/// `==` compares representations (it tells 1.0 from 1.00, and NaN from itself); for SQL's comparison see
/// [`crate::compare::cmp`].
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Datum {
    /// NULL of any type.
    #[default]
    Null,
    /// `bool`.
    Bool(bool),
    /// `int2`.
    Int2(i16),
    /// `int4`.
    Int4(i32),
    /// `int8`.
    Int8(i64),
    /// `float4`.
    Float4(f32),
    /// `float8`.
    Float8(f64),
    /// `numeric`.
    Numeric(Numeric),
    /// `text`, `varchar`, `bpchar` (blank-padded to its length), `name`, `unknown`, `json`, `cstring`; `jsonb` in
    /// canonical text; `void` (the empty text).
    Text(Arc<str>),
    /// `"char"`: one byte.
    Char(u8),
    /// `bytea`.
    Bytea(Arc<[u8]>),
    /// `uuid`.
    Uuid([u8; 16]),
    /// `date`: days since 2000-01-01; `i32::MIN` and `i32::MAX` are the infinities.
    Date(i32),
    /// `time`: microseconds since midnight, up to and including 24:00.
    Time(i64),
    /// `timetz`.
    Timetz(TimeTz),
    /// `timestamp`: microseconds since 2000-01-01 00:00; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// `timestamptz`: microseconds since 2000-01-01 00:00 UTC; infinities as in `Timestamp`.
    Timestamptz(i64),
    /// `interval`.
    Interval(Arc<Interval>),
    /// `oid`, `xid`, `cid` and all reg* types.
    Oid(u32),
    /// An array.
    Array(Arc<ArrayValue>),
    /// A row value.
    Record(Arc<RecordValue>),
}

impl Datum {
    /// A `Text` value.
    pub fn text(value: impl Into<Arc<str>>) -> Datum {
        Datum::Text(value.into())
    }

    /// A `Bytea` value.
    pub fn bytea(value: impl Into<Arc<[u8]>>) -> Datum {
        Datum::Bytea(value.into())
    }

    /// Whether this is NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Datum::Null)
    }

    /// The text of a `Text` value.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Datum::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a `Bool`.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Datum::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of an `Int2`, `Int4`, `Int8` or `Oid`, widened.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Datum::Int2(value) => Some(i64::from(*value)),
            Datum::Int4(value) => Some(i64::from(*value)),
            Datum::Int8(value) => Some(*value),
            Datum::Oid(value) => Some(i64::from(*value)),
            _ => None,
        }
    }
}

/// A `time with time zone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeTz {
    /// Local microseconds since midnight, up to and including 24:00.
    pub micros: i64,
    /// The zone in seconds *west* of Greenwich, as on the wire.
    pub zone_secs_west: i32,
}

/// An `interval`: its three fields are kept apart, because months and days vary in length.
///
/// All three at their minimum is `-infinity`, all three at their maximum `infinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Months (and years, 12 each).
    pub months: i32,
    /// Days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

/// An array: its elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrayValue {
    /// The element type.
    pub elem: Oid,
    /// The dimensions, outermost first; none for the empty array.
    pub dims: Vec<ArrayDim>,
    /// The elements; as many as the product of the dimensions' lengths.
    pub elements: Vec<Datum>,
}

/// One dimension of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArrayDim {
    /// How many elements it has.
    pub len: i32,
    /// The subscript of its first element; 1 unless said otherwise.
    pub lower_bound: i32,
}

impl ArrayDim {
    /// A dimension whose subscripts, and the one past the last, are integers.
    ///
    /// # Errors
    /// 54000 if they are not.
    pub fn new(len: i32, lower_bound: i32) -> PgResult<ArrayDim> {
        if lower_bound.checked_add(len).is_none() {
            return Err(PgError::new(
                SqlState::PROGRAM_LIMIT_EXCEEDED,
                format!("array lower bound is too large: {lower_bound}"),
            ));
        }
        Ok(ArrayDim { len, lower_bound })
    }
}

impl ArrayValue {
    /// A one-dimensional array with subscripts from 1 (or the empty array).
    pub fn from_elements(elem: Oid, elements: Vec<Datum>) -> ArrayValue {
        let dims = match i32::try_from(elements.len()) {
            Ok(0) => Vec::new(),
            Ok(len) => vec![ArrayDim { len, lower_bound: 1 }],
            Err(_) => vec![ArrayDim { len: i32::MAX, lower_bound: 1 }],
        };
        ArrayValue { elem, dims, elements }
    }

    /// The element at this subscript list, if it is within bounds.
    pub fn get(&self, subscripts: &[i32]) -> Option<&Datum> {
        if subscripts.len() != self.dims.len() || self.dims.is_empty() {
            return None;
        }
        let mut index = 0usize;
        for (dim, subscript) in self.dims.iter().zip(subscripts) {
            let offset = i64::from(*subscript) - i64::from(dim.lower_bound);
            if offset < 0 || offset >= i64::from(dim.len) {
                return None;
            }
            index = index
                .checked_mul(usize::try_from(dim.len).ok()?)?
                .checked_add(usize::try_from(offset).ok()?)?;
        }
        self.elements.get(index)
    }
}

/// A row value.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordValue {
    /// The types of its fields.
    pub types: Vec<Oid>,
    /// The fields.
    pub fields: Vec<Datum>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datum_stays_small() {
        assert!(size_of::<Datum>() <= 24, "{}", size_of::<Datum>());
    }

    #[test]
    fn array_subscripts() {
        let array = ArrayValue {
            elem: crate::oid::INT4,
            dims: vec![ArrayDim { len: 2, lower_bound: 0 }, ArrayDim { len: 2, lower_bound: 1 }],
            elements: (0..4).map(Datum::Int4).collect(),
        };
        assert_eq!(array.get(&[1, 1]), Some(&Datum::Int4(2)));
        assert_eq!(array.get(&[2, 1]), None);
        assert_eq!(array.get(&[0]), None);
    }
}
