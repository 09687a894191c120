//! Type modifiers: the `(n)` of `varchar(n)`, the `(p, s)` of `numeric(p, s)`.

use std::sync::Arc;

use crate::datum::{Datum, TimeTz};
use crate::error::{PgError, PgResult};
use crate::oid::{self, Oid};
use crate::sqlstate::SqlState;

/// What PostgreSQL adds to a length in a type modifier (the size of a varlena header).
pub const HEADER: i32 = 4;

/// Makes `value` fit `ty` with type modifier `typmod` (-1: none). An explicit cast truncates strings silently; an
/// assignment refuses to lose anything but trailing blanks (22001).
pub fn apply_typmod(ty: Oid, typmod: i32, value: Datum, explicit: bool) -> PgResult<Datum> {
    if typmod < 0 {
        return Ok(value);
    }
    match (ty, value) {
        (oid::VARCHAR, Datum::Text(text)) => fit(text, typmod, explicit, false).map(Datum::Text),
        (oid::BPCHAR, Datum::Text(text)) => fit(text, typmod, explicit, true).map(Datum::Text),
        (oid::NUMERIC, Datum::Numeric(number)) => number.apply_typmod(typmod).map(Datum::Numeric),
        (oid::TIME, Datum::Time(micros)) => Ok(Datum::Time(rounded(micros, typmod))),
        (oid::TIMETZ, Datum::Timetz(time)) => {
            Ok(Datum::Timetz(TimeTz { micros: rounded(time.micros, typmod), ..time }))
        }
        (oid::TIMESTAMP, Datum::Timestamp(micros)) => Ok(Datum::Timestamp(rounded(micros, typmod))),
        (oid::TIMESTAMPTZ, Datum::Timestamptz(micros)) => Ok(Datum::Timestamptz(rounded(micros, typmod))),
        (oid::INTERVAL, Datum::Interval(interval)) => {
            interval.apply_typmod(typmod).map(|fitted| Datum::Interval(fitted.into()))
        }
        (_, Datum::Array(array)) => {
            let mut array = Arc::unwrap_or_clone(array);
            let elem = array.elem;
            for element in &mut array.elements {
                *element = apply_typmod(elem, typmod, std::mem::take(element), explicit)?;
            }
            Ok(Datum::Array(array.into()))
        }
        (_, value) => Ok(value),
    }
}

/// Microseconds rounded to the precision of `time(p)` or `timestamp(p)`; infinities stay.
fn rounded(micros: i64, precision: i32) -> i64 {
    match micros {
        i64::MIN | i64::MAX => micros,
        _ => crate::datetime::round_micros(micros, precision).unwrap_or(micros),
    }
}

/// What char(n) is filled up with, in pieces.
const BLANKS: &str = "                                                                ";

/// A string of at most `typmod - 4` characters; `pad` fills it up with blanks.
fn fit(text: Arc<str>, typmod: i32, explicit: bool, pad: bool) -> PgResult<Arc<str>> {
    let limit = usize::try_from(typmod - HEADER).unwrap_or(0);
    // A character is a byte at least, so most strings are seen to fit, or fill a char(n), without counting.
    if text.len() < limit || (text.len() == limit && text.is_ascii()) || text.chars().count() <= limit {
        if !pad || text.len() == limit && text.is_ascii() {
            return Ok(text);
        }
        let mut blanks = limit - text.chars().count();
        if blanks == 0 {
            return Ok(text);
        }
        let mut padded = String::with_capacity(text.len() + blanks);
        padded.push_str(&text);
        while blanks > 0 {
            let some = blanks.min(BLANKS.len());
            padded.push_str(&BLANKS[..some]);
            blanks -= some;
        }
        return Ok(padded.into());
    }
    let cut = text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at);
    if !explicit && text[cut..].bytes().any(|b| b != b' ') {
        let type_name = if pad { "character" } else { "character varying" };
        return Err(PgError::new(
            SqlState::STRING_DATA_RIGHT_TRUNCATION,
            format!("value too long for type {type_name}({limit})"),
        ));
    }
    Ok(text[..cut].into())
}
