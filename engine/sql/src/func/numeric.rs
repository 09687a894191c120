//! `numeric`: the SQL functions over [`shardforge_types::Numeric`]'s arithmetic.

use shardforge_types::{Datum, Numeric, PgError, PgResult, SqlState};

use super::args::Args;
use super::int::out_of_range;
use super::registry::{KernelTable, SqlKernelTable};

/// An operator of two numerics.
macro_rules! binary {
    ($method:ident) => {
        |a, _, _| a.numeric(0)?.$method(a.numeric(1)?).map(Datum::Numeric)
    };
}

/// A function of one numeric that may fail.
macro_rules! unary {
    ($method:ident) => {
        |a, _, _| a.numeric(0)?.$method().map(Datum::Numeric)
    };
}

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("numeric_add", binary!(add)),
    ("numeric_sub", binary!(sub)),
    ("numeric_mul", binary!(mul)),
    ("numeric_div", binary!(div)),
    ("numeric_mod", binary!(rem)),
    ("numeric_div_trunc", binary!(div_trunc)),
    ("numeric_power", binary!(pow)),
    ("numeric_log", binary!(log)),
    ("numeric_gcd", binary!(gcd)),
    ("numeric_lcm", binary!(lcm)),
    ("numeric_sqrt", unary!(sqrt)),
    ("numeric_exp", unary!(exp)),
    ("numeric_ln", unary!(ln)),
    ("numeric_ceil", unary!(ceil)),
    ("numeric_floor", unary!(floor)),
    ("numeric_uminus", |a, _, _| Ok(Datum::Numeric(a.numeric(0)?.neg()))),
    ("numeric_uplus", |a, _, _| Ok(a.datum(0).clone())),
    ("numeric_abs", |a, _, _| Ok(Datum::Numeric(a.numeric(0)?.abs()))),
    ("numeric_sign", |a, _, _| Ok(Datum::Numeric(a.numeric(0)?.sign()))),
    ("numeric_round", |a, _, _| a.numeric(0)?.round(a.int4(1)?).map(Datum::Numeric)),
    ("numeric_trunc", |a, _, _| a.numeric(0)?.trunc(a.int4(1)?).map(Datum::Numeric)),
    ("numeric_inc", |a, _, _| a.numeric(0)?.add(&Numeric::from(1i64)).map(Datum::Numeric)),
    ("numeric_fac", |a, _, _| Numeric::factorial(a.int8(0)?).map(Datum::Numeric)),
    ("numeric_scale", |a, _, _| Ok(scale(a.numeric(0)?.scale()))),
    ("numeric_min_scale", |a, _, _| Ok(scale(a.numeric(0)?.min_scale()))),
    ("numeric_trim_scale", |a, _, _| Ok(Datum::Numeric(a.numeric(0)?.trim_scale()))),
    ("numeric", |a, _, _| a.numeric(0)?.apply_typmod(a.int4(1)?).map(Datum::Numeric)),
    ("width_bucket_numeric", |a, _, _| {
        width_bucket(a.numeric(0)?, a.numeric(1)?, a.numeric(2)?, a.int4(3)?).map(Datum::Int4)
    }),

    ("int2_numeric", |a, _, _| Ok(Datum::Numeric(Numeric::from(i64::from(a.int2(0)?))))),
    ("int4_numeric", |a, _, _| Ok(Datum::Numeric(Numeric::from(a.int4(0)?)))),
    ("int8_numeric", |a, _, _| Ok(Datum::Numeric(Numeric::from(a.int8(0)?)))),
    ("float4_numeric", |a, _, _| Numeric::from_f32(a.float4(0)?).map(Datum::Numeric)),
    ("float8_numeric", |a, _, _| Numeric::from_f64(a.float8(0)?).map(Datum::Numeric)),
    ("numeric_int2", |a, _, _| a.numeric(0)?.to_i16().map(Datum::Int2)),
    ("numeric_int4", |a, _, _| a.numeric(0)?.to_i32().map(Datum::Int4)),
    ("numeric_int8", |a, _, _| a.numeric(0)?.to_i64().map(Datum::Int8)),
    ("numeric_float4", |a, _, _| a.numeric(0)?.to_f32().map(Datum::Float4)),
    ("numeric_float8", |a, _, _| a.numeric(0)?.to_f64().map(Datum::Float8)),
];

#[rustfmt::skip]
pub(super) const SQL_KERNELS: SqlKernelTable = &[
    (1481, "log10(numeric)", unary!(log10)),
    (1741, "log(numeric)", unary!(log10)),
    (1708, "round(numeric)", |a, _, _| a.numeric(0)?.round(0).map(Datum::Numeric)),
    (1710, "trunc(numeric)", |a, _, _| a.numeric(0)?.trunc(0).map(Datum::Numeric)),
];

fn scale(scale: Option<u16>) -> Datum {
    scale.map_or(Datum::Null, |scale| Datum::Int4(i32::from(scale)))
}

/// The number of the bucket of `[low, high)`, divided into `count` equal ones, that the operand falls in.
fn width_bucket(operand: &Numeric, low: &Numeric, high: &Numeric, count: i32) -> PgResult<i32> {
    let refuse =
        |message: &str| Err(PgError::new(SqlState::INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION, message));
    if count <= 0 {
        return refuse("count must be greater than zero");
    }
    if operand.is_nan() || low.is_nan() || high.is_nan() {
        return refuse("operand, lower bound, and upper bound cannot be NaN");
    }
    if !low.is_finite() || !high.is_finite() {
        return refuse("lower and upper bounds must be finite");
    }
    let ascending = match low.cmp_value(high) {
        std::cmp::Ordering::Equal => return refuse("lower bound cannot equal upper bound"),
        order => order.is_lt(),
    };
    let from_low = operand.cmp_value(low);
    let from_high = operand.cmp_value(high);
    let (before, after) =
        if ascending { (from_low.is_lt(), from_high.is_ge()) } else { (from_low.is_gt(), from_high.is_le()) };
    if before {
        return Ok(0);
    }
    if after {
        return count.checked_add(1).ok_or_else(|| out_of_range("integer"));
    }
    let distance = operand.sub(low)?.abs().mul(&Numeric::from(count))?;
    distance.div_trunc(&high.sub(low)?.abs())?.to_i32().map(|bucket| bucket.min(count - 1) + 1)
}
