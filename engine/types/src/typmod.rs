//! Type modifiers: the `(n)` of `varchar(n)`, the `(p, s)` of `numeric(p, s)`.

use crate::datum::Datum;
use crate::error::{PgError, PgResult};
use crate::oid::{self, Oid};
use crate::sqlstate::SqlState;

/// What PostgreSQL adds to a length in a type modifier (the size of a varlena header).
pub const HEADER: i32 = 4;

/// Makes `value` fit `ty` with type modifier `typmod` (-1: none). An explicit cast truncates silently; an
/// assignment refuses to lose anything but trailing blanks.
pub fn apply_typmod(ty: Oid, typmod: i32, value: Datum, explicit: bool) -> PgResult<Datum> {
    if typmod < 0 {
        return Ok(value);
    }
    match (ty, &value) {
        (oid::VARCHAR, Datum::Text(text)) => {
            let limit = usize::try_from(typmod - HEADER).unwrap_or(0);
            let Some((cut, _)) = text.char_indices().nth(limit) else { return Ok(value) };
            if !explicit && text[cut..].bytes().any(|b| b != b' ') {
                return Err(PgError::new(
                    SqlState::STRING_DATA_RIGHT_TRUNCATION,
                    format!("value too long for type character varying({limit})"),
                ));
            }
            Ok(Datum::text(&text[..cut]))
        }
        _ => Ok(value),
    }
}
