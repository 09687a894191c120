//! Templates: `to_char`, `to_number`, `to_date`, `to_timestamp`.
//!
//! * [`number`]: numbers to text and back.
//! * [`template`]: the elements of date and time templates.
//! * [`datetime`]: timestamps and intervals to text.
//! * [`parse`]: text to timestamps.

mod datetime;
mod number;
mod parse;
mod template;

use shardforge_types::datetime::ops;
use shardforge_types::{Datum, Numeric, PgResult};

use super::args::Args;
use super::registry::KernelTable;
use crate::exec::env::EvalEnv;
use crate::func::CallInfo;
use datetime::Moment;
use number::Template;

pub(super) const KERNELS: KernelTable = &[
    ("numeric_to_char", |a, _, _| numeric_to_char(a.numeric(0)?, a.text(1)?).map(Datum::text)),
    ("int4_to_char", |a, _, _| numeric_to_char(&Numeric::from(a.int4(0)?), a.text(1)?).map(Datum::text)),
    ("int8_to_char", |a, _, _| numeric_to_char(&Numeric::from(a.int8(0)?), a.text(1)?).map(Datum::text)),
    ("float4_to_char", |a, _, _| float_to_char(f64::from(a.float4(0)?), 6, a.text(1)?).map(Datum::text)),
    ("float8_to_char", |a, _, _| float_to_char(a.float8(0)?, 15, a.text(1)?).map(Datum::text)),
    ("numeric_to_number", |a, _, _| match (a.text(0)?, a.text(1)?) {
        (_, "") => Ok(Datum::Null),
        (text, template) => number::to_number(text, template).map(Datum::Numeric),
    }),
    ("timestamp_to_char", |a, _, _| {
        let micros = a.timestamp(0)?;
        moment_to_char((!ops::is_infinite(micros)).then(|| Moment::of_timestamp(micros, None)), a.text(1)?)
    }),
    ("timestamptz_to_char", timestamptz_to_char),
    ("interval_to_char", |a, _, _| {
        let interval = a.interval(0)?;
        moment_to_char(interval.is_finite().then(|| Moment::of_interval(interval)), a.text(1)?)
    }),
    ("to_timestamp", |a, _, env| parse::to_timestamp(a.text(0)?, a.text(1)?, &env.io.time_zone).map(Datum::Timestamptz)),
    ("to_date", |a, _, _| parse::to_date(a.text(0)?, a.text(1)?).map(Datum::Date)),
];

fn numeric_to_char(value: &Numeric, template: &str) -> PgResult<String> {
    let template = Template::parse(template)?;
    if template.roman {
        return Ok(template.write_roman(value.round(0)?.to_i32().ok()));
    }
    if template.exponent {
        if !value.is_finite() {
            return Ok(template.write_not_finite());
        }
        let text = scientific(value, template.post)?;
        return Ok(if text.starts_with('-') { text } else { format!(" {text}") });
    }
    let shifted = match template.shift {
        0 => value.clone(),
        shift => value.mul(&Numeric::from(10i64).pow(&Numeric::from(shift as i64))?)?,
    };
    Ok(template.write(&shifted.round(template.post as i32)?.to_string()))
}

/// `-1.234e+05` with so many decimals.
fn scientific(value: &Numeric, decimals: usize) -> PgResult<String> {
    if value.is_zero() {
        let fraction = if decimals > 0 { format!(".{}", "0".repeat(decimals)) } else { String::new() };
        return Ok(format!("0{fraction}e+00"));
    }
    let exponent_of = |value: &Numeric| {
        let text = value.abs().to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let whole = whole.trim_start_matches('0');
        if whole.is_empty() {
            -(fraction.bytes().take_while(|b| *b == b'0').count() as i32) - 1
        } else {
            whole.len() as i32 - 1
        }
    };
    // Rounding may carry into another digit, so the exponent is taken of the rounded number.
    let rounded = value.round(decimals as i32 - exponent_of(value))?;
    let exponent = exponent_of(&rounded);
    let digits: String = rounded.abs().to_string().chars().filter(|c| *c != '.').collect();
    let digits = digits.trim_start_matches('0');
    let mut significand: String = digits.chars().chain(std::iter::repeat('0')).take(decimals + 1).collect();
    if decimals > 0 {
        significand.insert(1, '.');
    }
    let sign = if value.is_negative() { "-" } else { "" };
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    Ok(format!("{sign}{significand}e{exponent_sign}{:02}", exponent.unsigned_abs()))
}

/// Floats are shown with no more digits than they carry.
fn float_to_char(value: f64, digits_max: usize, template: &str) -> PgResult<String> {
    let mut template = Template::parse(template)?;
    if template.roman {
        let whole = value.round_ties_even();
        return Ok(template.write_roman((whole.abs() < 1e9).then_some(whole as i32)));
    }
    if template.exponent {
        if !value.is_finite() {
            return Ok(template.write_not_finite());
        }
        let text = format!("{value:.*e}", template.post);
        let (significand, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, magnitude) = match exponent.strip_prefix('-') {
            Some(magnitude) => ('-', magnitude),
            None => ('+', exponent),
        };
        let lead = if significand.starts_with('-') { "" } else { " " };
        return Ok(format!("{lead}{significand}e{sign}{magnitude:0>2}"));
    }
    let shifted = if template.shift > 0 { value * 10f64.powi(template.shift as i32) } else { value };
    if !shifted.is_finite() {
        let text = if shifted.is_nan() { "NaN" } else { "Infinity" };
        return Ok(template.write(&format!("{}{text}", if shifted < 0.0 { "-" } else { "" })));
    }
    let whole = format!("{:.0}", shifted.abs()).len();
    template.post = template.post.min(digits_max.saturating_sub(whole));
    Ok(template.write(&format!("{shifted:.*}", template.post)))
}

fn moment_to_char(moment: Option<Moment>, template: &str) -> PgResult<Datum> {
    match moment {
        Some(moment) if !template.is_empty() => datetime::write(&moment, template).map(Datum::text),
        _ => Ok(Datum::Null),
    }
}

fn timestamptz_to_char(args: &[Datum], _: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let utc = args.timestamptz(0)?;
    if ops::is_infinite(utc) {
        return Ok(Datum::Null);
    }
    let zone = &env.io.time_zone;
    let moment = Moment::of_timestamp(zone.to_local(utc), Some(zone.describe(utc)));
    moment_to_char(Some(moment), args.text(1)?)
}
