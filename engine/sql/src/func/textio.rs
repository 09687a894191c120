//! Text forms of values whose text needs the catalog.
//!
//! `shardforge_types` reads and writes every type but the reg* ones: what `'pg_class'::regclass` means, and how 1259
//! prints as a regclass, is known to the catalog alone. These two functions are what everything above it uses:
//! casts through text, results sent to a client, COPY.

use std::sync::Arc;

use shardforge_types::io::TEXT_BYTES_MAX;
use shardforge_types::{ArrayValue, Datum, Oid, PgError, PgResult, RecordValue, SqlState, element_type, oid};

use super::regtypes;
use crate::exec::env::EvalEnv;

/// Reads a value of type `ty` and makes it fit `typmod`, as `shardforge_types::input`.
pub fn input(ty: Oid, typmod: i32, text: &str, env: &EvalEnv) -> PgResult<Datum> {
    if regtypes::is_reg(ty) {
        return regtypes::input(ty, text, env);
    }
    if let Some(elem) = element_type(ty).filter(|elem| regtypes::is_reg(*elem)) {
        let Datum::Array(names) = shardforge_types::input(oid::TEXT_ARRAY, -1, text, &env.io)? else {
            return Ok(Datum::Null);
        };
        let elements = names.elements.iter().map(|name| match name.as_str() {
            Some(name) => regtypes::input(elem, name, env),
            None => Ok(Datum::Null),
        });
        let elements = elements.collect::<PgResult<Vec<_>>>()?;
        return Ok(Datum::Array(Arc::new(ArrayValue { elem, dims: names.dims.clone(), elements })));
    }
    shardforge_types::input(ty, typmod, text, &env.io)
}

/// Whether the text form of a type shows names of the catalog, so that it cannot be made from the stored bytes alone.
pub fn text_needs_catalog(ty: Oid) -> bool {
    use shardforge_types::oid;
    let named =
        |ty: Oid| shardforge_types::io::is_oid_like(ty) && !matches!(ty, oid::OID | oid::XID | oid::CID);
    named(ty)
        || matches!(ty, oid::RECORD)
        || shardforge_types::element_type(ty).is_some_and(|elem| named(elem) || elem == oid::RECORD)
}

/// Appends the text form of a value, as `shardforge_types::output`.
pub fn output(ty: Oid, value: &Datum, env: &EvalEnv, out: &mut Vec<u8>) {
    match value {
        Datum::Oid(number) if regtypes::is_reg(ty) => {
            out.extend_from_slice(regtypes::output(ty, Oid(*number), env).as_bytes());
        }
        Datum::Array(array) if needs_names(array.elem, &array.elements) => {
            let elements = array.elements.iter().map(|element| as_text(array.elem, element, env)).collect();
            let named = ArrayValue { elem: oid::TEXT, dims: array.dims.clone(), elements };
            shardforge_types::output(oid::TEXT_ARRAY, &Datum::Array(Arc::new(named)), &env.io, out);
        }
        Datum::Record(record)
            if record.types.iter().zip(&record.fields).any(|(ty, f)| field_needs_names(*ty, f)) =>
        {
            let fields =
                record.types.iter().zip(&record.fields).map(|(ty, field)| as_text(*ty, field, env)).collect();
            let named = RecordValue { types: vec![oid::TEXT; record.types.len()], fields };
            shardforge_types::output(oid::RECORD, &Datum::Record(Arc::new(named)), &env.io, out);
        }
        _ => shardforge_types::output(ty, value, &env.io, out),
    }
}

/// The text form of a value as a string.
///
/// # Errors
/// 54000 when it is longer than a string may be.
pub(crate) fn to_text(ty: Oid, value: &Datum, env: &EvalEnv) -> PgResult<String> {
    let text = text_of_any_length(ty, value, env);
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("string buffer exceeds maximum allowed length ({TEXT_BYTES_MAX} bytes)");
        return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    Ok(text)
}

fn text_of_any_length(ty: Oid, value: &Datum, env: &EvalEnv) -> String {
    let mut out = Vec::new();
    output(ty, value, env, &mut out);
    String::from_utf8(out).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn as_text(ty: Oid, value: &Datum, env: &EvalEnv) -> Datum {
    if value.is_null() { Datum::Null } else { Datum::text(text_of_any_length(ty, value, env)) }
}

fn needs_names(elem: Oid, elements: &[Datum]) -> bool {
    regtypes::is_reg(elem)
        || matches!(elements.first(), Some(Datum::Record(_)))
            && elements.iter().any(|e| field_needs_names(elem, e))
}

fn field_needs_names(ty: Oid, field: &Datum) -> bool {
    match field {
        Datum::Oid(_) => regtypes::is_reg(ty),
        Datum::Array(array) => needs_names(array.elem, &array.elements),
        Datum::Record(record) => {
            record.types.iter().zip(&record.fields).any(|(ty, f)| field_needs_names(*ty, f))
        }
        _ => false,
    }
}
