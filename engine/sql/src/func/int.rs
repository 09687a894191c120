//! Integer arithmetic, bit operations and conversions.
//!
//! PostgreSQL has each operator for every pair of integer types; the result has the wider type and every overflow is
//! an error. The pairs are spelled out by macros from one generic body a operator, so that each is a monomorphic
//! function of a few instructions.

use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::args::Args;
use super::registry::KernelTable;

/// 22003 with the wording of the integer types.
#[cold]
pub(super) fn out_of_range(type_name: &str) -> PgError {
    PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))
}

/// 22012.
#[cold]
pub(super) fn division_by_zero() -> PgError {
    PgError::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// `checked_*` of two operands widened to the result's type.
macro_rules! arithmetic {
    ($left:ident $right:ident -> $wide:ident as $ty:ty, $message:literal, $method:ident) => {
        |a, _, _| {
            let (left, right) = (<$ty>::from(a.$left(0)?), <$ty>::from(a.$right(1)?));
            left.$method(right).map(Datum::$wide).ok_or_else(|| out_of_range($message))
        }
    };
}

/// Division: by zero is an error, and so is the one quotient that does not fit.
macro_rules! division {
    ($left:ident $right:ident -> $wide:ident as $ty:ty, $message:literal) => {
        |a, _, _| {
            let (left, right) = (<$ty>::from(a.$left(0)?), <$ty>::from(a.$right(1)?));
            if right == 0 {
                return Err(division_by_zero());
            }
            left.checked_div(right).map(Datum::$wide).ok_or_else(|| out_of_range($message))
        }
    };
}

/// Remainder: MIN % -1 is 0.
macro_rules! modulo {
    ($arg:ident -> $wide:ident) => {
        |a, _, _| {
            let (left, right) = (a.$arg(0)?, a.$arg(1)?);
            if right == 0 {
                return Err(division_by_zero());
            }
            Ok(Datum::$wide(left.wrapping_rem(right)))
        }
    };
}

macro_rules! unary {
    ($arg:ident -> $wide:ident, $message:literal, $method:ident) => {
        |a, _, _| a.$arg(0)?.$method().map(Datum::$wide).ok_or_else(|| out_of_range($message))
    };
}

macro_rules! narrow {
    ($arg:ident -> $wide:ident as $ty:ty, $message:literal) => {
        |a, _, _| <$ty>::try_from(a.$arg(0)?).map(Datum::$wide).map_err(|_| out_of_range($message))
    };
}

macro_rules! widen {
    ($arg:ident -> $wide:ident as $ty:ty) => {
        |a, _, _| Ok(Datum::$wide(<$ty>::from(a.$arg(0)?)))
    };
}

macro_rules! bits {
    ($arg:ident -> $wide:ident, $op:tt) => {
        |a, _, _| Ok(Datum::$wide(a.$arg(0)? $op a.$arg(1)?))
    };
}

/// Shifts take the count modulo the width of the (promoted) operand, as the hardware that PostgreSQL runs on does.
macro_rules! shift {
    ($arg:ident -> $wide:ident, $method:ident) => {
        |a, _, _| Ok(Datum::$wide(a.$arg(0)?.$method(a.int4(1)? as u32)))
    };
}

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("int2pl",   arithmetic!(int2 int2 -> Int2 as i16, "smallint", checked_add)),
    ("int2mi",   arithmetic!(int2 int2 -> Int2 as i16, "smallint", checked_sub)),
    ("int2mul",  arithmetic!(int2 int2 -> Int2 as i16, "smallint", checked_mul)),
    ("int4pl",   arithmetic!(int4 int4 -> Int4 as i32, "integer", checked_add)),
    ("int4mi",   arithmetic!(int4 int4 -> Int4 as i32, "integer", checked_sub)),
    ("int4mul",  arithmetic!(int4 int4 -> Int4 as i32, "integer", checked_mul)),
    ("int8pl",   arithmetic!(int8 int8 -> Int8 as i64, "bigint", checked_add)),
    ("int8mi",   arithmetic!(int8 int8 -> Int8 as i64, "bigint", checked_sub)),
    ("int8mul",  arithmetic!(int8 int8 -> Int8 as i64, "bigint", checked_mul)),
    ("int24pl",  arithmetic!(int2 int4 -> Int4 as i32, "integer", checked_add)),
    ("int24mi",  arithmetic!(int2 int4 -> Int4 as i32, "integer", checked_sub)),
    ("int24mul", arithmetic!(int2 int4 -> Int4 as i32, "integer", checked_mul)),
    ("int42pl",  arithmetic!(int4 int2 -> Int4 as i32, "integer", checked_add)),
    ("int42mi",  arithmetic!(int4 int2 -> Int4 as i32, "integer", checked_sub)),
    ("int42mul", arithmetic!(int4 int2 -> Int4 as i32, "integer", checked_mul)),
    ("int28pl",  arithmetic!(int2 int8 -> Int8 as i64, "bigint", checked_add)),
    ("int28mi",  arithmetic!(int2 int8 -> Int8 as i64, "bigint", checked_sub)),
    ("int28mul", arithmetic!(int2 int8 -> Int8 as i64, "bigint", checked_mul)),
    ("int82pl",  arithmetic!(int8 int2 -> Int8 as i64, "bigint", checked_add)),
    ("int82mi",  arithmetic!(int8 int2 -> Int8 as i64, "bigint", checked_sub)),
    ("int82mul", arithmetic!(int8 int2 -> Int8 as i64, "bigint", checked_mul)),
    ("int48pl",  arithmetic!(int4 int8 -> Int8 as i64, "bigint", checked_add)),
    ("int48mi",  arithmetic!(int4 int8 -> Int8 as i64, "bigint", checked_sub)),
    ("int48mul", arithmetic!(int4 int8 -> Int8 as i64, "bigint", checked_mul)),
    ("int84pl",  arithmetic!(int8 int4 -> Int8 as i64, "bigint", checked_add)),
    ("int84mi",  arithmetic!(int8 int4 -> Int8 as i64, "bigint", checked_sub)),
    ("int84mul", arithmetic!(int8 int4 -> Int8 as i64, "bigint", checked_mul)),

    ("int2div",  division!(int2 int2 -> Int2 as i16, "smallint")),
    ("int4div",  division!(int4 int4 -> Int4 as i32, "integer")),
    ("int8div",  division!(int8 int8 -> Int8 as i64, "bigint")),
    ("int24div", division!(int2 int4 -> Int4 as i32, "integer")),
    ("int42div", division!(int4 int2 -> Int4 as i32, "integer")),
    ("int28div", division!(int2 int8 -> Int8 as i64, "bigint")),
    ("int82div", division!(int8 int2 -> Int8 as i64, "bigint")),
    ("int48div", division!(int4 int8 -> Int8 as i64, "bigint")),
    ("int84div", division!(int8 int4 -> Int8 as i64, "bigint")),

    ("int2mod", modulo!(int2 -> Int2)),
    ("int4mod", modulo!(int4 -> Int4)),
    ("int8mod", modulo!(int8 -> Int8)),

    ("int2um",  unary!(int2 -> Int2, "smallint", checked_neg)),
    ("int4um",  unary!(int4 -> Int4, "integer", checked_neg)),
    ("int8um",  unary!(int8 -> Int8, "bigint", checked_neg)),
    ("int2abs", unary!(int2 -> Int2, "smallint", checked_abs)),
    ("int4abs", unary!(int4 -> Int4, "integer", checked_abs)),
    ("int8abs", unary!(int8 -> Int8, "bigint", checked_abs)),
    ("int4inc", |a, _, _| a.int4(0)?.checked_add(1).map(Datum::Int4).ok_or_else(|| out_of_range("integer"))),
    ("int8inc", |a, _, _| a.int8(0)?.checked_add(1).map(Datum::Int8).ok_or_else(|| out_of_range("bigint"))),
    ("int2up",  |a, _, _| Ok(a.datum(0).clone())),
    ("int4up",  |a, _, _| Ok(a.datum(0).clone())),
    ("int8up",  |a, _, _| Ok(a.datum(0).clone())),

    ("int2and", bits!(int2 -> Int2, &)),
    ("int4and", bits!(int4 -> Int4, &)),
    ("int8and", bits!(int8 -> Int8, &)),
    ("int2or",  bits!(int2 -> Int2, |)),
    ("int4or",  bits!(int4 -> Int4, |)),
    ("int8or",  bits!(int8 -> Int8, |)),
    ("int2xor", bits!(int2 -> Int2, ^)),
    ("int4xor", bits!(int4 -> Int4, ^)),
    ("int8xor", bits!(int8 -> Int8, ^)),
    ("int2not", |a, _, _| Ok(Datum::Int2(!a.int2(0)?))),
    ("int4not", |a, _, _| Ok(Datum::Int4(!a.int4(0)?))),
    ("int8not", |a, _, _| Ok(Datum::Int8(!a.int8(0)?))),
    // A smallint is promoted to 32 bits before it is shifted, and cut afterwards.
    ("int2shl", |a, _, _| Ok(Datum::Int2(i32::from(a.int2(0)?).wrapping_shl(a.int4(1)? as u32) as i16))),
    ("int2shr", |a, _, _| Ok(Datum::Int2(i32::from(a.int2(0)?).wrapping_shr(a.int4(1)? as u32) as i16))),
    ("int4shl", shift!(int4 -> Int4, wrapping_shl)),
    ("int4shr", shift!(int4 -> Int4, wrapping_shr)),
    ("int8shl", shift!(int8 -> Int8, wrapping_shl)),
    ("int8shr", shift!(int8 -> Int8, wrapping_shr)),

    ("i2toi4", widen!(int2 -> Int4 as i32)),
    ("i4toi2", narrow!(int4 -> Int2 as i16, "smallint")),
    ("int28",  widen!(int2 -> Int8 as i64)),
    ("int48",  widen!(int4 -> Int8 as i64)),
    ("int82",  narrow!(int8 -> Int2 as i16, "smallint")),
    ("int84",  narrow!(int8 -> Int4 as i32, "integer")),
    ("i8tooid", narrow!(int8 -> Oid as u32, "OID")),
    ("oidtoi8", widen!(oid -> Int8 as i64)),
    ("chartoi4", |a, _, _| Ok(Datum::Int4(i32::from(a.char(0)? as i8)))),
    ("i4tochar", |a, _, _| match i8::try_from(a.int4(0)?) {
        Ok(code) => Ok(Datum::Char(code as u8)),
        Err(_) => Err(PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "\"char\" out of range")),
    }),

    ("int4gcd", |a, _, _| {
        i32::try_from(gcd(i64::from(a.int4(0)?), i64::from(a.int4(1)?))).map(Datum::Int4).map_err(|_| out_of_range("integer"))
    }),
    ("int8gcd", |a, _, _| {
        i64::try_from(gcd_magnitude(a.int8(0)?.unsigned_abs(), a.int8(1)?.unsigned_abs()))
            .map(Datum::Int8)
            .map_err(|_| out_of_range("bigint"))
    }),
    ("int4lcm", |a, _, _| {
        let (left, right) = (i64::from(a.int4(0)?), i64::from(a.int4(1)?));
        let multiple = lcm(left.unsigned_abs(), right.unsigned_abs());
        multiple.and_then(|m| i32::try_from(m).ok()).map(Datum::Int4).ok_or_else(|| out_of_range("integer"))
    }),
    ("int8lcm", |a, _, _| {
        let multiple = lcm(a.int8(0)?.unsigned_abs(), a.int8(1)?.unsigned_abs());
        multiple.and_then(|m| i64::try_from(m).ok()).map(Datum::Int8).ok_or_else(|| out_of_range("bigint"))
    }),

    ("btint2cmp", |a, _, _| compare(a.int2(0)?, a.int2(1)?)),
    ("btint4cmp", |a, _, _| compare(a.int4(0)?, a.int4(1)?)),
    ("btint8cmp", |a, _, _| compare(a.int8(0)?, a.int8(1)?)),
    ("btint24cmp", |a, _, _| compare(i32::from(a.int2(0)?), a.int4(1)?)),
    ("btint42cmp", |a, _, _| compare(a.int4(0)?, i32::from(a.int2(1)?))),
    ("btint28cmp", |a, _, _| compare(i64::from(a.int2(0)?), a.int8(1)?)),
    ("btint82cmp", |a, _, _| compare(a.int8(0)?, i64::from(a.int2(1)?))),
    ("btint48cmp", |a, _, _| compare(i64::from(a.int4(0)?), a.int8(1)?)),
    ("btint84cmp", |a, _, _| compare(a.int8(0)?, i64::from(a.int4(1)?))),
];

fn compare<T: Ord + Copy>(left: T, right: T) -> PgResult<Datum> {
    Ok(Datum::Int4(left.cmp(&right) as i32))
}

fn gcd(left: i64, right: i64) -> u64 {
    gcd_magnitude(left.unsigned_abs(), right.unsigned_abs())
}

fn gcd_magnitude(mut left: u64, mut right: u64) -> u64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

fn lcm(left: u64, right: u64) -> Option<u64> {
    if left == 0 || right == 0 {
        return Some(0);
    }
    (left / gcd_magnitude(left, right)).checked_mul(right)
}
