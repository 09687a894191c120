//! Typed access to a kernel's arguments.
//!
//! The binder has made the arguments fit the function's declared types, so a mismatch is a defect of ours. It is
//! answered as an internal error all the same, because a wrong plan must not take the server down.

use std::sync::Arc;

use shardforge_types::{ArrayValue, Datum, Interval, Numeric, PgError, PgResult};

/// Accessors by position and representation.
pub(super) trait Args {
    fn datum(&self, index: usize) -> &Datum;
    fn bool(&self, index: usize) -> PgResult<bool>;
    fn int2(&self, index: usize) -> PgResult<i16>;
    fn int4(&self, index: usize) -> PgResult<i32>;
    fn int8(&self, index: usize) -> PgResult<i64>;
    fn float4(&self, index: usize) -> PgResult<f32>;
    fn float8(&self, index: usize) -> PgResult<f64>;
    fn numeric(&self, index: usize) -> PgResult<&Numeric>;
    fn text(&self, index: usize) -> PgResult<&str>;
    /// A `bpchar` without the blanks that pad it.
    fn blanks_cut(&self, index: usize) -> PgResult<&str> {
        Ok(self.text(index)?.trim_end_matches(' '))
    }
    fn bytea(&self, index: usize) -> PgResult<&[u8]>;
    fn char(&self, index: usize) -> PgResult<u8>;
    fn uuid(&self, index: usize) -> PgResult<[u8; 16]>;
    fn oid(&self, index: usize) -> PgResult<u32>;
    fn date(&self, index: usize) -> PgResult<i32>;
    fn time(&self, index: usize) -> PgResult<i64>;
    fn timestamp(&self, index: usize) -> PgResult<i64>;
    fn timestamptz(&self, index: usize) -> PgResult<i64>;
    fn interval(&self, index: usize) -> PgResult<&Interval>;
    fn array(&self, index: usize) -> PgResult<&Arc<ArrayValue>>;
}

macro_rules! accessor {
    ($name:ident, $variant:ident, &$ty:ty) => {
        #[inline]
        fn $name(&self, index: usize) -> PgResult<&$ty> {
            match self.get(index) {
                Some(Datum::$variant(value)) => Ok(value),
                other => Err(mismatch(index, stringify!($variant), other)),
            }
        }
    };
    ($name:ident, $variant:ident, $ty:ty) => {
        #[inline]
        fn $name(&self, index: usize) -> PgResult<$ty> {
            match self.get(index) {
                Some(Datum::$variant(value)) => Ok(*value),
                other => Err(mismatch(index, stringify!($variant), other)),
            }
        }
    };
}

impl Args for [Datum] {
    #[inline]
    fn datum(&self, index: usize) -> &Datum {
        self.get(index).unwrap_or(&Datum::Null)
    }

    accessor!(bool, Bool, bool);
    accessor!(int2, Int2, i16);
    accessor!(int4, Int4, i32);
    accessor!(int8, Int8, i64);
    accessor!(float4, Float4, f32);
    accessor!(float8, Float8, f64);
    accessor!(numeric, Numeric, &Numeric);
    accessor!(text, Text, &str);
    accessor!(bytea, Bytea, &[u8]);
    accessor!(char, Char, u8);
    accessor!(uuid, Uuid, [u8; 16]);
    accessor!(oid, Oid, u32);
    accessor!(date, Date, i32);
    accessor!(time, Time, i64);
    accessor!(timestamp, Timestamp, i64);
    accessor!(timestamptz, Timestamptz, i64);
    accessor!(interval, Interval, &Interval);
    accessor!(array, Array, &Arc<ArrayValue>);
}

#[cold]
fn mismatch(index: usize, expected: &str, found: Option<&Datum>) -> PgError {
    let found = found.map_or_else(|| "nothing".to_owned(), |datum| format!("{datum:?}"));
    PgError::internal(format!("argument {} should be {expected}, found {found}", index + 1))
}
