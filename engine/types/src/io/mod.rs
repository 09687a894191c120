//! Text and binary forms of values, as clients send and receive them.
//!
//! Four functions, named as in `pg_type`: [`input`] and [`output`] for text, [`recv`] and [`send`] for binary. Output
//! appends to a buffer and cannot fail. Input is dispatched on the type, output on the value's own variant. The names
//! behind reg* types are the catalog's business: here they are numbers.

mod scalar;

use crate::datum::Datum;
use crate::env::IoEnv;
use crate::error::{PgError, PgResult};
use crate::oid::{self, Oid};
use crate::typeinfo::type_name;

/// Reads a value of type `ty` from text, and makes it fit `typmod` (-1: none) as an explicit cast would not: what is
/// too long is an error.
pub fn input(ty: Oid, typmod: i32, text: &str, _env: &IoEnv) -> PgResult<Datum> {
    let value = match ty {
        oid::BOOL => scalar::bool_in(text)?,
        oid::INT2 => scalar::int2_in(text)?,
        oid::INT4 => scalar::int4_in(text)?,
        oid::INT8 => scalar::int8_in(text)?,
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::UNKNOWN | oid::CSTRING => Datum::text(text),
        _ => return Err(PgError::not_supported(format!("cannot accept a value of type {}", type_name(ty)))),
    };
    crate::typmod::apply_typmod(ty, typmod, value, false)
}

/// Appends the text form of `value` to `out`. NULL appends nothing.
pub fn output(_ty: Oid, value: &Datum, _env: &IoEnv, out: &mut Vec<u8>) {
    match value {
        Datum::Bool(v) => out.push(if *v { b't' } else { b'f' }),
        Datum::Int2(v) => scalar::int_out(*v, out),
        Datum::Int4(v) => scalar::int_out(*v, out),
        Datum::Int8(v) => scalar::int_out(*v, out),
        Datum::Oid(v) => scalar::int_out(*v, out),
        Datum::Text(v) => out.extend_from_slice(v.as_bytes()),
        _ => {}
    }
}

/// Reads a value of type `ty` from its binary form.
pub fn recv(ty: Oid, typmod: i32, bytes: &[u8]) -> PgResult<Datum> {
    let value = match ty {
        oid::BOOL => Datum::Bool(fixed::<1>(bytes)?[0] != 0),
        oid::INT2 => Datum::Int2(i16::from_be_bytes(fixed(bytes)?)),
        oid::INT4 => Datum::Int4(i32::from_be_bytes(fixed(bytes)?)),
        oid::INT8 => Datum::Int8(i64::from_be_bytes(fixed(bytes)?)),
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::UNKNOWN | oid::CSTRING => {
            Datum::text(scalar::utf8(bytes)?)
        }
        _ => return Err(PgError::not_supported(format!("cannot receive a value of type {}", type_name(ty)))),
    };
    crate::typmod::apply_typmod(ty, typmod, value, false)
}

/// Appends the binary form of `value` to `out`. NULL appends nothing.
pub fn send(_ty: Oid, value: &Datum, out: &mut Vec<u8>) {
    match value {
        Datum::Bool(v) => out.push(u8::from(*v)),
        Datum::Int2(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Int4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Int8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Oid(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Text(v) => out.extend_from_slice(v.as_bytes()),
        _ => {}
    }
}

/// Whether `ty` is a four-byte object number: `oid`, `xid`, `cid` and the reg* types.
pub(crate) fn is_oid_like(ty: Oid) -> bool {
    matches!(
        ty,
        oid::OID
            | oid::XID
            | oid::CID
            | oid::REGPROC
            | oid::REGPROCEDURE
            | oid::REGOPER
            | oid::REGOPERATOR
            | oid::REGCLASS
            | oid::REGTYPE
            | oid::REGROLE
            | oid::REGNAMESPACE
            | oid::REGCONFIG
            | oid::REGDICTIONARY
            | oid::REGCOLLATION
    )
}

/// Appends the text form of a value in binary form to `out`, if `ty` is one of the types for which that is hot.
#[inline]
pub(crate) fn text_of_wire(ty: Oid, bytes: &[u8], _env: &IoEnv, out: &mut Vec<u8>) -> bool {
    match (ty, bytes) {
        (oid::INT4, &[a, b, c, d]) => scalar::int_out(i32::from_be_bytes([a, b, c, d]), out),
        (oid::INT8, &[a, b, c, d, e, f, g, h]) => {
            scalar::int_out(i64::from_be_bytes([a, b, c, d, e, f, g, h]), out);
        }
        (oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::JSON, text) => out.extend_from_slice(text),
        (oid::INT2, &[a, b]) => scalar::int_out(i16::from_be_bytes([a, b]), out),
        (oid::BOOL, &[v]) => out.push(if v != 0 { b't' } else { b'f' }),
        _ => return false,
    }
    true
}

fn fixed<const N: usize>(bytes: &[u8]) -> PgResult<[u8; N]> {
    scalar::fixed(bytes)
}
