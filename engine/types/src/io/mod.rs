//! Text and binary forms of values, as clients send and receive them.
//!
//! Four functions, named as in `pg_type`: [`input`] and [`output`] for text, [`recv`] and [`send`] for binary. Output
//! appends to a buffer and cannot fail. Input is dispatched on the type, output on the value's own variant. The names
//! behind reg* types are the catalog's business: here they are numbers.

pub mod array;
pub mod bytes;
pub mod float;
pub mod json;
pub mod scalar;
pub mod snapshot;

use crate::datetime;
use crate::datum::{Datum, Interval, TimeTz};
use crate::env::IoEnv;
use crate::error::{PgError, PgResult};
use crate::numeric::Numeric;
use crate::oid::{self, Oid};
use crate::sqlstate::SqlState;
use crate::typeinfo::{TypeInfo, element_type, type_name};
use crate::typmod::apply_typmod;

/// Reads a value of type `ty` from text, and makes it fit `typmod` (-1: none) as an assignment would: what is too long
/// is an error, not cut off.
pub fn input(ty: Oid, typmod: i32, text: &str, env: &IoEnv) -> PgResult<Datum> {
    let value = match ty {
        oid::INT4 => return scalar::int4_in(text),
        oid::INT8 => return scalar::int8_in(text),
        oid::INT2 => return scalar::int2_in(text),
        oid::BOOL => return scalar::bool_in(text),
        oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::UNKNOWN
        | oid::CSTRING
        | oid::ACLITEM
        | oid::PG_NODE_TREE => Datum::text(text),
        oid::JSON => {
            json::check(text)?;
            Datum::text(text)
        }
        oid::NAME => Datum::text(bytes::truncate_name(text)),
        oid::FLOAT4 => Datum::Float4(float::parse_float4(text)?),
        oid::FLOAT8 => Datum::Float8(float::parse_float8(text)?),
        oid::NUMERIC => Datum::Numeric(Numeric::parse(text)?),
        oid::CHAR => Datum::Char(bytes::char_in(text)),
        oid::BYTEA => Datum::bytea(bytes::bytea_in(text)?),
        oid::UUID => bytes::uuid_in(text)?,
        oid::DATE => return datetime::date_in(text, env).map(Datum::Date),
        oid::TIME => Datum::Time(datetime::time_in(text, env)?),
        oid::TIMETZ => Datum::Timetz(datetime::timetz_in(text, env)?),
        oid::TIMESTAMP => Datum::Timestamp(datetime::timestamp_in(text, env)?),
        oid::TIMESTAMPTZ => Datum::Timestamptz(datetime::timestamptz_in(text, env)?),
        oid::INTERVAL => return Ok(Datum::Interval(datetime::interval_in(text, typmod, env)?.into())),
        oid::XID8 => Datum::Int8(snapshot::xid8_in(text)?.cast_signed()),
        oid::PG_SNAPSHOT | oid::TXID_SNAPSHOT => Datum::bytea(snapshot::Snapshot::parse(text)?.to_bytes()),
        oid::VOID => Datum::text(""),
        oid::INT2VECTOR => Datum::Array(array::vector_in(oid::INT2, text, &mut scalar::int2_in)?.into()),
        oid::OIDVECTOR => {
            Datum::Array(array::vector_in(oid::OID, text, &mut |t| scalar::oid_in(t).map(Datum::Oid))?.into())
        }
        _ if is_oid_like(ty) => Datum::Oid(scalar::oid_in(text)?),
        oid::RECORD => {
            return Err(PgError::not_supported("input of anonymous composite types is not implemented"));
        }
        _ => match element_type(ty) {
            // The modifier of an array type is that of its elements.
            Some(elem) => {
                let mut read = |text: &str| input(elem, typmod, text, env);
                return Ok(Datum::Array(array::array_in(elem, text, &mut read)?.into()));
            }
            None => return Err(unsupported(ty)),
        },
    };
    if typmod < 0 { Ok(value) } else { apply_typmod(ty, typmod, value, false) }
}

/// The longest text form, in bytes: PostgreSQL's limit on a string. [`output`] may stop beyond it, and whoever asked for
/// the text refuses it then (54000).
pub const TEXT_BYTES_MAX: usize = 0x3fff_ffff;

/// Appends the text form of `value` to `out`. NULL appends nothing.
pub fn output(ty: Oid, value: &Datum, env: &IoEnv, out: &mut Vec<u8>) {
    match value {
        Datum::Null => {}
        Datum::Bool(v) => out.push(if *v { b't' } else { b'f' }),
        Datum::Int2(v) => scalar::int_out(*v, out),
        Datum::Int4(v) => scalar::int_out(*v, out),
        Datum::Int8(v) if ty == oid::XID8 => scalar::int_out(v.cast_unsigned(), out),
        Datum::Int8(v) => scalar::int_out(*v, out),
        Datum::Float4(v) => float::float4_out(*v, env.extra_float_digits, out),
        Datum::Float8(v) => float::float8_out(*v, env.extra_float_digits, out),
        Datum::Numeric(v) => v.output(out),
        Datum::Text(v) => out.extend_from_slice(v.as_bytes()),
        Datum::Char(v) => bytes::char_out(*v, out),
        Datum::Bytea(v) if matches!(ty, oid::PG_SNAPSHOT | oid::TXID_SNAPSHOT) => {
            if let Ok(snapshot) = snapshot::Snapshot::recv(v) {
                snapshot.output(out);
            }
        }
        Datum::Bytea(v) => bytes::bytea_out(v, env.bytea_output, out),
        Datum::Uuid(v) => bytes::uuid_out(v, out),
        Datum::Oid(v) => scalar::int_out(*v, out),
        Datum::Array(v) if ty == oid::OIDVECTOR || ty == oid::INT2VECTOR => array::vector_out(v, env, out),
        Datum::Array(v) => array::array_out(v, env, out),
        Datum::Record(v) => array::record_out(v, env, out),
        Datum::Date(v) => datetime::date_out(*v, env, out),
        Datum::Time(v) => datetime::time_out(*v, out),
        Datum::Timetz(v) => datetime::timetz_out(*v, out),
        Datum::Timestamp(v) => datetime::timestamp_out(*v, env, out),
        Datum::Timestamptz(v) => datetime::timestamptz_out(*v, env, out),
        Datum::Interval(v) => datetime::interval_out(v, env, out),
    }
}

/// Reads a value of type `ty` from its binary form.
pub fn recv(ty: Oid, typmod: i32, bytes: &[u8]) -> PgResult<Datum> {
    let value = match ty {
        oid::INT4 => Datum::Int4(i32::from_be_bytes(fixed(bytes)?)),
        oid::INT8 | oid::XID8 => Datum::Int8(i64::from_be_bytes(fixed(bytes)?)),
        oid::PG_SNAPSHOT | oid::TXID_SNAPSHOT => Datum::bytea(snapshot::Snapshot::recv(bytes)?.to_bytes()),
        oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::UNKNOWN
        | oid::CSTRING
        | oid::ACLITEM
        | oid::PG_NODE_TREE => Datum::text(scalar::utf8(bytes)?),
        oid::INT2 => Datum::Int2(i16::from_be_bytes(fixed(bytes)?)),
        oid::BOOL => Datum::Bool(fixed::<1>(bytes)?[0] != 0),
        oid::FLOAT4 => Datum::Float4(f32::from_be_bytes(fixed(bytes)?)),
        oid::FLOAT8 => Datum::Float8(f64::from_be_bytes(fixed(bytes)?)),
        oid::NUMERIC => Datum::Numeric(Numeric::recv(bytes)?),
        oid::NAME => {
            let text = scalar::utf8(bytes)?;
            if text.len() > bytes::NAME_LEN_MAX {
                let error = PgError::new(SqlState::NAME_TOO_LONG, "identifier too long");
                return Err(error.detail(format!(
                    "Identifier must be less than {} characters.",
                    bytes::NAME_LEN_MAX + 1
                )));
            }
            Datum::text(text)
        }
        oid::JSON => {
            let text = scalar::utf8(bytes)?;
            json::check(text)?;
            Datum::text(text)
        }
        oid::CHAR => Datum::Char(fixed::<1>(bytes)?[0]),
        oid::BYTEA => Datum::bytea(bytes),
        oid::UUID => Datum::Uuid(fixed(bytes)?),
        oid::DATE => Datum::Date(datetime::check_date(i32::from_be_bytes(fixed(bytes)?))?),
        oid::TIME => Datum::Time(datetime::check_time(i64::from_be_bytes(fixed(bytes)?))?),
        oid::TIMETZ => Datum::Timetz(timetz_recv(bytes)?),
        oid::TIMESTAMP => Datum::Timestamp(datetime::check_timestamp(i64::from_be_bytes(fixed(bytes)?))?),
        oid::TIMESTAMPTZ => Datum::Timestamptz(datetime::check_timestamp(i64::from_be_bytes(fixed(bytes)?))?),
        oid::INTERVAL => Datum::Interval(interval_recv(bytes)?.into()),
        oid::VOID => Datum::text(""),
        oid::INT2VECTOR => Datum::Array(array::array_recv(oid::INT2, -1, bytes)?.into()),
        oid::OIDVECTOR => Datum::Array(array::array_recv(oid::OID, -1, bytes)?.into()),
        oid::RECORD => Datum::Record(array::record_recv(bytes)?.into()),
        oid::RECORD_ARRAY => Datum::Array(array::array_recv(oid::RECORD, -1, bytes)?.into()),
        _ if is_oid_like(ty) => Datum::Oid(u32::from_be_bytes(fixed(bytes)?)),
        _ => match element_type(ty) {
            Some(elem) => return Ok(Datum::Array(array::array_recv(elem, typmod, bytes)?.into())),
            None if TypeInfo::of(ty).is_none() => user_type_recv(bytes)?,
            None => return Err(unsupported(ty)),
        },
    };
    if typmod < 0 { Ok(value) } else { apply_typmod(ty, typmod, value, false) }
}

/// Reads a value of a type that is not built in: the row type of a table, or an array of one. Their binary forms tell
/// them apart: where a row has the type of its first field, an array has a flag, which is 0 or 1.
fn user_type_recv(bytes: &[u8]) -> PgResult<Datum> {
    match bytes.get(4..8) {
        Some([0, 0, 0, 0 | 1]) => Ok(Datum::Array(array::array_recv(oid::RECORD, -1, bytes)?.into())),
        _ => Ok(Datum::Record(array::record_recv(bytes)?.into())),
    }
}

/// Appends the binary form of `value` to `out`. NULL appends nothing.
pub fn send(_ty: Oid, value: &Datum, out: &mut Vec<u8>) {
    match value {
        Datum::Null => {}
        Datum::Bool(v) => out.push(u8::from(*v)),
        Datum::Int2(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Int4(v) | Datum::Date(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) => {
            out.extend_from_slice(&v.to_be_bytes());
        }
        Datum::Float4(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Float8(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Numeric(v) => v.send(out),
        Datum::Text(v) => out.extend_from_slice(v.as_bytes()),
        Datum::Char(v) => out.push(*v),
        Datum::Bytea(v) => out.extend_from_slice(v),
        Datum::Uuid(v) => out.extend_from_slice(v),
        Datum::Timetz(v) => {
            out.extend_from_slice(&v.micros.to_be_bytes());
            out.extend_from_slice(&v.zone_secs_west.to_be_bytes());
        }
        Datum::Interval(v) => {
            out.extend_from_slice(&v.micros.to_be_bytes());
            out.extend_from_slice(&v.days.to_be_bytes());
            out.extend_from_slice(&v.months.to_be_bytes());
        }
        Datum::Oid(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Array(v) => array::array_send(v, out),
        Datum::Record(v) => array::record_send(v, out),
    }
}

fn timetz_recv(bytes: &[u8]) -> PgResult<TimeTz> {
    let bytes: [u8; 12] = fixed(bytes)?;
    let micros = i64::from_be_bytes(fixed(&bytes[..8])?);
    let zone_secs_west = i32::from_be_bytes(fixed(&bytes[8..])?);
    Ok(TimeTz {
        micros: datetime::check_time(micros)?,
        zone_secs_west: datetime::check_zone(zone_secs_west)?,
    })
}

fn interval_recv(bytes: &[u8]) -> PgResult<Interval> {
    let bytes: [u8; 16] = fixed(bytes)?;
    Ok(Interval {
        micros: i64::from_be_bytes(fixed(&bytes[..8])?),
        days: i32::from_be_bytes(fixed(&bytes[8..12])?),
        months: i32::from_be_bytes(fixed(&bytes[12..])?),
    })
}

/// Whether values of the built-in type `ty` can be read and written.
pub fn is_supported(ty: Oid) -> bool {
    match ty {
        oid::BOOL
        | oid::INT2
        | oid::INT4
        | oid::INT8
        | oid::FLOAT4
        | oid::FLOAT8
        | oid::NUMERIC
        | oid::TEXT
        | oid::VARCHAR
        | oid::BPCHAR
        | oid::NAME
        | oid::CHAR
        | oid::BYTEA
        | oid::UUID
        | oid::XID8
        | oid::PG_SNAPSHOT
        | oid::TXID_SNAPSHOT
        | oid::JSON
        | oid::DATE
        | oid::TIME
        | oid::TIMETZ
        | oid::TIMESTAMP
        | oid::TIMESTAMPTZ
        | oid::INTERVAL
        | oid::ACLITEM
        | oid::PG_NODE_TREE
        | oid::INT2VECTOR
        | oid::OIDVECTOR => true,
        _ => is_oid_like(ty) || element_type(ty).is_some_and(is_supported),
    }
}

#[cold]
fn unsupported(ty: Oid) -> PgError {
    PgError::not_supported(format!("type {} is not supported", type_name(ty)))
        .hint("Values of this type can be neither read nor written yet.")
}

/// Whether `ty` is a four-byte object number: `oid`, `xid`, `cid` and the reg* types.
pub fn is_oid_like(ty: Oid) -> bool {
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
pub(crate) fn text_of_wire(ty: Oid, bytes: &[u8], env: &IoEnv, out: &mut Vec<u8>) -> bool {
    match (ty, bytes) {
        (oid::INT4, &[a, b, c, d]) => scalar::int_out(i32::from_be_bytes([a, b, c, d]), out),
        (oid::INT8, &[a, b, c, d, e, f, g, h]) => {
            scalar::int_out(i64::from_be_bytes([a, b, c, d, e, f, g, h]), out);
        }
        (oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::JSON, text) => out.extend_from_slice(text),
        (oid::INT2, &[a, b]) => scalar::int_out(i16::from_be_bytes([a, b]), out),
        (oid::FLOAT8, &[a, b, c, d, e, f, g, h]) => {
            float::float8_out(f64::from_be_bytes([a, b, c, d, e, f, g, h]), env.extra_float_digits, out);
        }
        (oid::FLOAT4, &[a, b, c, d]) => {
            float::float4_out(f32::from_be_bytes([a, b, c, d]), env.extra_float_digits, out);
        }
        (oid::TIMESTAMP, &[a, b, c, d, e, f, g, h]) => {
            datetime::timestamp_out(i64::from_be_bytes([a, b, c, d, e, f, g, h]), env, out);
        }
        (oid::TIMESTAMPTZ, &[a, b, c, d, e, f, g, h]) => {
            datetime::timestamptz_out(i64::from_be_bytes([a, b, c, d, e, f, g, h]), env, out);
        }
        (oid::DATE, &[a, b, c, d]) => datetime::date_out(i32::from_be_bytes([a, b, c, d]), env, out),
        (oid::BOOL, &[v]) => out.push(if v != 0 { b't' } else { b'f' }),
        _ => return false,
    }
    true
}

fn fixed<const N: usize>(bytes: &[u8]) -> PgResult<[u8; N]> {
    scalar::fixed(bytes)
}
