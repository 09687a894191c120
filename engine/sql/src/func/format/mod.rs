//! Templates: `to_char`, `to_number`, `to_date`, `to_timestamp`.
//!
//! * [`number`]: text to numbers.
//! * [`template`]: the elements of date and time templates.
//! * [`parse`]: text to timestamps.
//!
//! Values to text is [`shardforge_types::format`]'s.

mod number;
mod parse;
mod template;

use shardforge_types::format;
use shardforge_types::{Datum, PgResult};

use super::args::Args;
use super::registry::KernelTable;

pub(super) const KERNELS: KernelTable = &[
    ("numeric_to_char", |a, _, _| format::numeric_to_char(a.numeric(0)?, a.text(1)?).map(Datum::text)),
    ("int4_to_char", |a, _, _| format::int_to_char(i64::from(a.int4(0)?), a.text(1)?).map(Datum::text)),
    ("int8_to_char", |a, _, _| format::int_to_char(a.int8(0)?, a.text(1)?).map(Datum::text)),
    ("float4_to_char", |a, _, _| {
        format::float_to_char(f64::from(a.float4(0)?), FLOAT4_DIGITS, a.text(1)?).map(Datum::text)
    }),
    ("float8_to_char", |a, _, _| {
        format::float_to_char(a.float8(0)?, FLOAT8_DIGITS, a.text(1)?).map(Datum::text)
    }),
    ("numeric_to_number", |a, _, _| match (a.text(0)?, a.text(1)?) {
        (_, "") => Ok(Datum::Null),
        (text, template) => number::to_number(text, template).map(Datum::Numeric),
    }),
    ("timestamp_to_char", |a, _, _| text_or_null(format::timestamp_to_char(a.timestamp(0)?, a.text(1)?))),
    ("timestamptz_to_char", |a, _, env| {
        text_or_null(format::timestamptz_to_char(a.timestamptz(0)?, a.text(1)?, &env.io.time_zone))
    }),
    ("interval_to_char", |a, _, _| text_or_null(format::interval_to_char(a.interval(0)?, a.text(1)?))),
    ("to_timestamp", |a, _, env| {
        parse::to_timestamp(a.text(0)?, a.text(1)?, &env.io.time_zone).map(Datum::Timestamptz)
    }),
    ("to_date", |a, _, _| parse::to_date(a.text(0)?, a.text(1)?).map(Datum::Date)),
];

/// Decimal digits that a float4 and a float8 carry for sure.
const FLOAT4_DIGITS: usize = 6;
const FLOAT8_DIGITS: usize = 15;

fn text_or_null(text: PgResult<Option<String>>) -> PgResult<Datum> {
    Ok(text?.map_or(Datum::Null, Datum::text))
}
