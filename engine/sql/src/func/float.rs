//! `float4` and `float8`: arithmetic, mathematics, conversions.
//!
//! PostgreSQL answers an error where IEEE arithmetic would quietly go to infinity or to zero: an infinite result of
//! finite operands is 22003 "value out of range: overflow", a zero result of a product or quotient of non-zeros is
//! "underflow".

use shardforge_types::{Datum, PgError, PgResult, SqlState};

use super::args::Args;
use super::int::{division_by_zero, out_of_range};
use super::registry::KernelTable;

#[cold]
fn overflow() -> PgError {
    PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: overflow")
}

#[cold]
fn underflow() -> PgError {
    PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value out of range: underflow")
}

#[cold]
fn input_out_of_range() -> PgError {
    PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "input is out of range")
}

/// The operations whose checks are the same for both widths.
macro_rules! float_ops {
    ($module:ident, $ty:ty) => {
        mod $module {
            use super::{PgResult, division_by_zero, overflow, underflow};

            pub(in crate::func) fn add(a: $ty, b: $ty) -> PgResult<$ty> {
                let sum = a + b;
                if sum.is_infinite() && !a.is_infinite() && !b.is_infinite() {
                    Err(overflow())
                } else {
                    Ok(sum)
                }
            }

            pub(in crate::func) fn sub(a: $ty, b: $ty) -> PgResult<$ty> {
                add(a, -b)
            }

            pub(in crate::func) fn mul(a: $ty, b: $ty) -> PgResult<$ty> {
                let product = a * b;
                if product.is_infinite() && !a.is_infinite() && !b.is_infinite() {
                    return Err(overflow());
                }
                if product == 0.0 && a != 0.0 && b != 0.0 { Err(underflow()) } else { Ok(product) }
            }

            pub(in crate::func) fn div(a: $ty, b: $ty) -> PgResult<$ty> {
                if b == 0.0 && !a.is_nan() {
                    return Err(division_by_zero());
                }
                let quotient = a / b;
                if quotient.is_infinite() && !a.is_infinite() {
                    return Err(overflow());
                }
                if quotient == 0.0 && a != 0.0 && !b.is_infinite() { Err(underflow()) } else { Ok(quotient) }
            }
        }
    };
}

float_ops!(single, f32);
float_ops!(double, f64);

pub(in crate::func) use double::{add, div, mul, sub};
pub(in crate::func) use single::add as add_single;

/// A binary operator over mixed widths, computed in double precision.
macro_rules! mixed {
    ($left:ident $right:ident, $op:path) => {
        |a, _, _| $op(f64::from(a.$left(0)?), f64::from(a.$right(1)?)).map(Datum::Float8)
    };
}

macro_rules! same {
    ($arg:ident -> $variant:ident, $op:path) => {
        |a, _, _| $op(a.$arg(0)?, a.$arg(1)?).map(Datum::$variant)
    };
}

/// A function of one double that has no error but a NaN for a number.
macro_rules! total {
    ($op:expr) => {
        |a, _, _| Ok(Datum::Float8($op(a.float8(0)?)))
    };
}

/// A function of one double that may fail.
macro_rules! partial {
    ($op:expr) => {
        |a, _, _| $op(a.float8(0)?).map(Datum::Float8)
    };
}

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("float4pl",  same!(float4 -> Float4, single::add)),
    ("float4mi",  same!(float4 -> Float4, single::sub)),
    ("float4mul", same!(float4 -> Float4, single::mul)),
    ("float4div", same!(float4 -> Float4, single::div)),
    ("float8pl",  same!(float8 -> Float8, add)),
    ("float8mi",  same!(float8 -> Float8, sub)),
    ("float8mul", same!(float8 -> Float8, mul)),
    ("float8div", same!(float8 -> Float8, div)),
    ("float48pl",  mixed!(float4 float8, add)),
    ("float48mi",  mixed!(float4 float8, sub)),
    ("float48mul", mixed!(float4 float8, mul)),
    ("float48div", mixed!(float4 float8, div)),
    ("float84pl",  mixed!(float8 float4, add)),
    ("float84mi",  mixed!(float8 float4, sub)),
    ("float84mul", mixed!(float8 float4, mul)),
    ("float84div", mixed!(float8 float4, div)),
    ("float4um", |a, _, _| Ok(Datum::Float4(-a.float4(0)?))),
    ("float8um", total!(|x: f64| -x)),
    ("float4up", |a, _, _| Ok(a.datum(0).clone())),
    ("float8up", |a, _, _| Ok(a.datum(0).clone())),
    ("float4abs", |a, _, _| Ok(Datum::Float4(a.float4(0)?.abs()))),
    ("float8abs", total!(f64::abs)),

    ("dround", total!(f64::round_ties_even)),
    ("dtrunc", total!(f64::trunc)),
    ("dceil", total!(f64::ceil)),
    ("dfloor", total!(f64::floor)),
    ("dsign", total!(|x: f64| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else if x == 0.0 { 0.0 } else { x })),
    ("dsqrt", partial!(|x: f64| if x < 0.0 {
        Err(PgError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, "cannot take square root of a negative number"))
    } else {
        Ok(x.sqrt())
    })),
    ("dcbrt", total!(f64::cbrt)),
    ("dexp", partial!(exp)),
    ("dlog1", partial!(|x: f64| logarithm(x, f64::ln))),
    ("dlog10", partial!(|x: f64| logarithm(x, f64::log10))),
    ("dpow", |a, _, _| power(a.float8(0)?, a.float8(1)?).map(Datum::Float8)),
    ("dsin", partial!(|x: f64| finite(x, f64::sin))),
    ("dcos", partial!(|x: f64| finite(x, f64::cos))),
    ("dtan", partial!(|x: f64| finite(x, f64::tan))),
    ("dcot", partial!(|x: f64| finite(x, |x| 1.0 / x.tan()))),
    ("dasin", partial!(|x: f64| within_one(x, f64::asin))),
    ("dacos", partial!(|x: f64| within_one(x, f64::acos))),
    ("datan", total!(f64::atan)),
    ("datan2", |a, _, _| Ok(Datum::Float8(a.float8(0)?.atan2(a.float8(1)?)))),
    ("dsinh", total!(f64::sinh)),
    ("dcosh", total!(f64::cosh)),
    ("dtanh", total!(f64::tanh)),
    ("dasinh", total!(f64::asinh)),
    ("dacosh", partial!(|x: f64| if x < 1.0 { Err(input_out_of_range()) } else { Ok(x.acosh()) })),
    ("datanh", partial!(|x: f64| if !(-1.0..=1.0).contains(&x) && !x.is_nan() {
        Err(input_out_of_range())
    } else {
        Ok(x.atanh())
    })),
    ("dsind", partial!(|x: f64| finite(x, degrees::sine))),
    ("dcosd", partial!(|x: f64| finite(x, degrees::cosine))),
    ("dtand", partial!(|x: f64| finite(x, degrees::tangent))),
    ("dcotd", partial!(|x: f64| finite(x, degrees::cotangent))),
    ("dasind", partial!(|x: f64| within_one(x, degrees::arc_sine))),
    ("dacosd", partial!(|x: f64| within_one(x, degrees::arc_cosine))),
    ("datand", total!(degrees::arc_tangent)),
    ("datan2d", |a, _, _| Ok(Datum::Float8(degrees::arc_tangent2(a.float8(0)?, a.float8(1)?)))),
    ("degrees", partial!(|x: f64| div(x, std::f64::consts::PI / 180.0))),
    ("radians", partial!(|x: f64| mul(x, std::f64::consts::PI / 180.0))),
    ("dpi", |_, _, _| Ok(Datum::Float8(std::f64::consts::PI))),
    ("derf", total!(error_function::erf)),
    ("derfc", total!(error_function::erfc)),
    ("dgamma", partial!(gamma)),
    ("dlgamma", partial!(log_gamma)),

    ("ftod", |a, _, _| Ok(Datum::Float8(f64::from(a.float4(0)?)))),
    ("dtof", |a, _, _| narrow(a.float8(0)?).map(Datum::Float4)),
    ("i2tof", |a, _, _| Ok(Datum::Float4(f32::from(a.int2(0)?)))),
    ("i2tod", |a, _, _| Ok(Datum::Float8(f64::from(a.int2(0)?)))),
    ("i4tof", |a, _, _| Ok(Datum::Float4(a.int4(0)? as f32))),
    ("i4tod", |a, _, _| Ok(Datum::Float8(f64::from(a.int4(0)?)))),
    ("i8tof", |a, _, _| Ok(Datum::Float4(a.int8(0)? as f32))),
    ("i8tod", |a, _, _| Ok(Datum::Float8(a.int8(0)? as f64))),
    ("ftoi2", |a, _, _| to_int(f64::from(a.float4(0)?), -32_768.0, 32_768.0, "smallint").map(|v| Datum::Int2(v as i16))),
    ("dtoi2", |a, _, _| to_int(a.float8(0)?, -32_768.0, 32_768.0, "smallint").map(|v| Datum::Int2(v as i16))),
    ("ftoi4", |a, _, _| to_int(f64::from(a.float4(0)?), -I4_LIMIT, I4_LIMIT, "integer").map(|v| Datum::Int4(v as i32))),
    ("dtoi4", |a, _, _| to_int(a.float8(0)?, -I4_LIMIT, I4_LIMIT, "integer").map(|v| Datum::Int4(v as i32))),
    ("ftoi8", |a, _, _| to_int(f64::from(a.float4(0)?), -I8_LIMIT, I8_LIMIT, "bigint").map(Datum::Int8)),
    ("dtoi8", |a, _, _| to_int(a.float8(0)?, -I8_LIMIT, I8_LIMIT, "bigint").map(Datum::Int8)),
    ("width_bucket_float8", |a, _, _| {
        width_bucket(a.float8(0)?, a.float8(1)?, a.float8(2)?, a.int4(3)?).map(Datum::Int4)
    }),
];

const I4_LIMIT: f64 = 2_147_483_648.0;
const I8_LIMIT: f64 = 9_223_372_036_854_775_808.0;

/// Rounds to the nearest integer, ties to even; `high` is the first value too large.
fn to_int(value: f64, low: f64, high: f64, type_name: &str) -> PgResult<i64> {
    let rounded = value.round_ties_even();
    if rounded >= low && rounded < high { Ok(rounded as i64) } else { Err(out_of_range(type_name)) }
}

fn narrow(value: f64) -> PgResult<f32> {
    let result = value as f32;
    if result.is_infinite() && !value.is_infinite() {
        return Err(overflow());
    }
    if result == 0.0 && value != 0.0 { Err(underflow()) } else { Ok(result) }
}

fn finite(x: f64, op: impl Fn(f64) -> f64) -> PgResult<f64> {
    if x.is_infinite() { Err(input_out_of_range()) } else { Ok(op(x)) }
}

fn within_one(x: f64, op: impl Fn(f64) -> f64) -> PgResult<f64> {
    if (-1.0..=1.0).contains(&x) || x.is_nan() { Ok(op(x)) } else { Err(input_out_of_range()) }
}

pub(super) fn exp(x: f64) -> PgResult<f64> {
    let result = x.exp();
    if result.is_infinite() && x.is_finite() {
        return Err(overflow());
    }
    if result == 0.0 && x.is_finite() { Err(underflow()) } else { Ok(result) }
}

fn gamma(x: f64) -> PgResult<f64> {
    if x.is_nan() || x == f64::INFINITY {
        return Ok(x);
    }
    let result = libm::tgamma(x);
    if result == 0.0 {
        return Err(underflow());
    }
    // At zero and the negative integers it has poles.
    if result.is_finite() { Ok(result) } else { Err(overflow()) }
}

fn log_gamma(x: f64) -> PgResult<f64> {
    let result = libm::lgamma(x);
    if result.is_infinite() && !x.is_infinite() { Err(overflow()) } else { Ok(result) }
}

fn logarithm(x: f64, op: fn(f64) -> f64) -> PgResult<f64> {
    let refuse = |message: &str| Err(PgError::new(SqlState::INVALID_ARGUMENT_FOR_LOG, message));
    if x == 0.0 {
        return refuse("cannot take logarithm of zero");
    }
    if x < 0.0 {
        return refuse("cannot take logarithm of a negative number");
    }
    Ok(op(x))
}

/// `power(x, y)`, with POSIX's special cases and PostgreSQL's errors.
pub(super) fn power(x: f64, y: f64) -> PgResult<f64> {
    let refuse = |message: &str| Err(PgError::new(SqlState::INVALID_ARGUMENT_FOR_POWER_FUNCTION, message));
    if x == 0.0 && y < 0.0 {
        return refuse("zero raised to a negative power is undefined");
    }
    if x < 0.0 && y.is_finite() && y.floor() != y {
        return refuse("a negative number raised to a non-integer power yields a complex result");
    }
    let result = x.powf(y);
    if x.is_finite() && y.is_finite() {
        if result.is_infinite() {
            return Err(overflow());
        }
        if result == 0.0 && x != 0.0 {
            return Err(underflow());
        }
    }
    Ok(result)
}

/// The number of the bucket of `[low, high)`, divided into `count` equal ones, that the operand falls in.
fn width_bucket(operand: f64, low: f64, high: f64, count: i32) -> PgResult<i32> {
    let refuse =
        |message: &str| Err(PgError::new(SqlState::INVALID_ARGUMENT_FOR_WIDTH_BUCKET_FUNCTION, message));
    if count <= 0 {
        return refuse("count must be greater than zero");
    }
    if low.is_nan() || high.is_nan() {
        return refuse("lower and upper bounds cannot be NaN");
    }
    if low.is_infinite() || high.is_infinite() {
        return refuse("lower and upper bounds must be finite");
    }
    if low == high {
        return refuse("lower bound cannot equal upper bound");
    }
    let past_the_end = || count.checked_add(1).ok_or_else(|| out_of_range("integer"));
    // NaN sorts above every number.
    let (before, after, distance) = if low < high {
        (operand < low, operand >= high || operand.is_nan(), (operand - low) / (high - low))
    } else {
        (operand > low || operand.is_nan(), operand <= high, (low - operand) / (low - high))
    };
    if before {
        return Ok(0);
    }
    if after {
        return past_the_end();
    }
    // Rounding may lift the quotient to 1; the operand is below the upper bound all the same.
    Ok(((f64::from(count) * distance) as i32).min(count - 1) + 1)
}

/// Trigonometry in degrees, exact where the exact result is a rational number.
mod degrees {
    use std::f64::consts::PI;

    fn radians(x: f64) -> f64 {
        x * (PI / 180.0)
    }

    /// sin of 0 to 30 degrees, scaled so that sin 30 is 0.5.
    fn sine_to_30(x: f64) -> f64 {
        (radians(x).sin() / radians(30.0).sin()) / 2.0
    }

    /// cos of 0 to 60 degrees, scaled so that cos 60 is 0.5.
    fn cosine_to_60(x: f64) -> f64 {
        let scale = 1.0 - radians(60.0).cos();
        1.0 - ((1.0 - radians(x).cos()) / scale) / 2.0
    }

    fn sine_to_90(x: f64) -> f64 {
        if x <= 30.0 { sine_to_30(x) } else { cosine_to_60(90.0 - x) }
    }

    fn cosine_to_90(x: f64) -> f64 {
        if x <= 60.0 { cosine_to_60(x) } else { sine_to_30(90.0 - x) }
    }

    pub(super) fn sine(x: f64) -> f64 {
        let mut sign = 1.0;
        let mut x = x % 360.0;
        if x < 0.0 {
            x = -x;
            sign = -sign;
        }
        if x > 180.0 {
            x = 360.0 - x;
            sign = -sign;
        }
        if x > 90.0 {
            x = 180.0 - x;
        }
        sign * sine_to_90(x)
    }

    pub(super) fn cosine(x: f64) -> f64 {
        let mut sign = 1.0;
        let mut x = (x % 360.0).abs();
        if x > 180.0 {
            x = 360.0 - x;
        }
        if x > 90.0 {
            x = 180.0 - x;
            sign = -sign;
        }
        sign * cosine_to_90(x)
    }

    /// The argument folded to 0..=90 and the sign of the (co)tangent there.
    fn fold(x: f64) -> (f64, f64) {
        let mut sign = 1.0;
        let mut x = x % 360.0;
        if x < 0.0 {
            x = -x;
            sign = -sign;
        }
        if x > 180.0 {
            x = 360.0 - x;
            sign = -sign;
        }
        if x > 90.0 {
            x = 180.0 - x;
            sign = -sign;
        }
        (x, sign)
    }

    pub(super) fn tangent(x: f64) -> f64 {
        let (x, sign) = fold(x);
        let scale = sine_to_90(45.0) / cosine_to_90(45.0);
        let result = sign * ((sine_to_90(x) / cosine_to_90(x)) / scale);
        if result == 0.0 { 0.0 } else { result }
    }

    pub(super) fn cotangent(x: f64) -> f64 {
        let (x, sign) = fold(x);
        let scale = cosine_to_90(45.0) / sine_to_90(45.0);
        let result = sign * ((cosine_to_90(x) / sine_to_90(x)) / scale);
        if result == 0.0 { 0.0 } else { result }
    }

    fn arc_sine_to_1(x: f64) -> f64 {
        if x <= 0.5 { (x.asin() / 0.5f64.asin()) * 30.0 } else { 90.0 - (x.acos() / 0.5f64.acos()) * 60.0 }
    }

    pub(super) fn arc_sine(x: f64) -> f64 {
        if x >= 0.0 { arc_sine_to_1(x) } else { -arc_sine_to_1(-x) }
    }

    pub(super) fn arc_cosine(x: f64) -> f64 {
        if x >= 0.0 { 90.0 - arc_sine_to_1(x) } else { 90.0 + arc_sine_to_1(-x) }
    }

    pub(super) fn arc_tangent(x: f64) -> f64 {
        (x.atan() / 1.0f64.atan()) * 45.0
    }

    pub(super) fn arc_tangent2(y: f64, x: f64) -> f64 {
        (y.atan2(x) / 1.0f64.atan()) * 45.0
    }
}

/// The error function: its series near zero, its continued fraction further out.
mod error_function {
    pub(super) fn erf(x: f64) -> f64 {
        libm_like(x, false)
    }

    pub(super) fn erfc(x: f64) -> f64 {
        libm_like(x, true)
    }

    fn libm_like(x: f64, complement: bool) -> f64 {
        if x.is_nan() {
            return x;
        }
        let value = if x.abs() < 2.5 { series(x) } else { 1.0f64.copysign(x) - tail(x.abs()).copysign(x) };
        match (complement, x >= 0.5) {
            (false, _) => value,
            (true, true) => {
                if x < 2.5 {
                    1.0 - value
                } else {
                    tail(x)
                }
            }
            (true, false) => 1.0 - value,
        }
    }

    /// The Maclaurin series in its all-positive form.
    fn series(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term.abs() > sum.abs() * 1e-17 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        sum * 2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp()
    }

    /// erfc for large arguments, by its continued fraction.
    fn tail(x: f64) -> f64 {
        let mut fraction = 0.0;
        for k in (1..=60).rev() {
            fraction = f64::from(k) / 2.0 / (x + fraction);
        }
        (-x * x).exp() / (x + fraction) / std::f64::consts::PI.sqrt()
    }
}
