//! Keys: bytes that compare, as plain unsigned bytes, the way the values compare.
//!
//! A key column is a marker byte (is it NULL, and does NULL come first or last) and a payload. Payloads are
//! self-delimiting and no payload is a proper prefix of another of its type, so columns are simply concatenated, and
//! a key prefix is a scan range. A descending column has the bits of its payload inverted; its marker is not
//! inverted, as NULLS FIRST and LAST are independent of the direction.
//!
//! ```text
//!   marker   01 NULL, sorts first   02 a value follows   03 NULL, sorts last   (00 ends a list)
//!   bool     one byte               ints      big endian, sign bit flipped
//!   floats   IEEE bits, big endian; sign bit flipped when positive, all bits when negative; -0 as 0, one NaN
//!   text     bytes, 00 as 01 01 and 01 as 01 02; ended by 00
//!   numeric  class byte, weight, base-10,000 digits; see `put_numeric`
//! ```
//!
//! Equal values have equal keys (1.0 and 1.00, 0.0 and -0.0, `'a'::char(3)` and `'a'::char(5)`), so a key can lose
//! what equality does not see: [`is_lossless`] says for which types the value read back is the value stored.

use crate::compare::interval_span_micros;
use crate::datum::{ArrayDim, ArrayValue, Datum, Interval, TimeTz};
use crate::error::{PgError, PgResult};
use crate::numeric::{BigNumeric, Numeric};
use crate::oid::{self, Oid};
use crate::typeinfo::{element_type, type_name};

const END_OF_LIST: u8 = 0x00;
const NULL_FIRST: u8 = 0x01;
const VALUE: u8 = 0x02;
const NULL_LAST: u8 = 0x03;

/// The order of one key column. The default is SQL's: ascending, nulls last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyOrder {
    /// `DESC`.
    pub descending: bool,
    /// `NULLS FIRST`.
    pub nulls_first: bool,
}

impl KeyOrder {
    /// `ASC NULLS LAST`.
    pub const ASC: KeyOrder = KeyOrder { descending: false, nulls_first: false };
    /// `DESC NULLS FIRST`, what `DESC` alone means.
    pub const DESC: KeyOrder = KeyOrder { descending: true, nulls_first: true };
}

/// Appends the key form of `value`, a value of type `ty`, to `out`.
pub fn encode(ty: Oid, order: KeyOrder, value: &Datum, out: &mut Vec<u8>) {
    if value.is_null() {
        out.push(if order.nulls_first { NULL_FIRST } else { NULL_LAST });
        return;
    }
    out.push(VALUE);
    let start = out.len();
    put_payload(ty, value, out);
    if order.descending {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

/// Appends the key form of several columns.
pub fn encode_all<'a>(columns: impl IntoIterator<Item = (Oid, KeyOrder, &'a Datum)>, out: &mut Vec<u8>) {
    for (ty, order, value) in columns {
        encode(ty, order, value, out);
    }
}

/// Reads a value of type `ty` off the front of `key`.
pub fn decode(ty: Oid, order: KeyOrder, key: &mut &[u8]) -> PgResult<Datum> {
    let mut reader = Reader { bytes: key, mask: 0 };
    let value = match reader.byte()? {
        NULL_FIRST | NULL_LAST => Datum::Null,
        VALUE => {
            reader.mask = if order.descending { 0xFF } else { 0 };
            get_payload(ty, &mut reader)?
        }
        _ => return Err(bad_key()),
    };
    *key = reader.bytes;
    Ok(value)
}

/// Whether a value of this type read back from a key is exactly the value that went in.
pub fn is_lossless(ty: Oid) -> bool {
    match ty {
        oid::FLOAT4 | oid::FLOAT8 | oid::NUMERIC | oid::BPCHAR | oid::INTERVAL | oid::RECORD | oid::JSONB => {
            false
        }
        _ => element_type(ty).is_none_or(is_lossless),
    }
}

/// The range `[start, end)` of the keys that begin with `prefix` and go on with a value that is not NULL.
pub fn value_range(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let with = |marker: u8| {
        let mut key = prefix.to_vec();
        key.push(marker);
        key
    };
    (with(VALUE), with(VALUE + 1))
}

/// The smallest key that is greater than every key with this prefix; `None` when there is none (all bytes `FF`).
pub fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|b| *b != 0xFF)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

fn put_payload(ty: Oid, value: &Datum, out: &mut Vec<u8>) {
    match value {
        Datum::Null => {}
        Datum::Bool(v) => out.push(u8::from(*v)),
        Datum::Char(v) => out.push(*v),
        Datum::Int2(v) => out.extend_from_slice(&(v.cast_unsigned() ^ (1 << 15)).to_be_bytes()),
        Datum::Int4(v) | Datum::Date(v) => put_i32(*v, out),
        Datum::Int8(v) if ty == oid::XID8 => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Int8(v) | Datum::Time(v) | Datum::Timestamp(v) | Datum::Timestamptz(v) => put_i64(*v, out),
        Datum::Float4(v) => out.extend_from_slice(&ordered_f32(*v).to_be_bytes()),
        Datum::Float8(v) => out.extend_from_slice(&ordered_f64(*v).to_be_bytes()),
        Datum::Numeric(v) => put_numeric(v, out),
        Datum::Text(v) if ty == oid::BPCHAR => put_bytes(v.trim_end_matches(' ').as_bytes(), out),
        Datum::Text(v) => put_bytes(v.as_bytes(), out),
        Datum::Bytea(v) => put_bytes(v, out),
        Datum::Uuid(v) => out.extend_from_slice(v),
        Datum::Timetz(v) => {
            put_i64(v.utc_micros(), out);
            put_i32(v.zone_secs_west, out);
        }
        Datum::Interval(v) => {
            let span = interval_span_micros(v).cast_unsigned() ^ (1 << 127);
            out.extend_from_slice(&span.to_be_bytes());
        }
        Datum::Oid(v) => out.extend_from_slice(&v.to_be_bytes()),
        Datum::Array(v) => {
            for element in &v.elements {
                encode(v.elem, KeyOrder::ASC, element, out);
            }
            out.push(END_OF_LIST);
            out.push(v.dims.len() as u8);
            for dim in &v.dims {
                put_i32(dim.len, out);
            }
            for dim in &v.dims {
                put_i32(dim.lower_bound, out);
            }
        }
        Datum::Record(v) => {
            for (ty, field) in v.types.iter().zip(&v.fields) {
                encode(*ty, KeyOrder::ASC, field, out);
            }
            out.push(END_OF_LIST);
        }
    }
}

fn get_payload(ty: Oid, reader: &mut Reader<'_>) -> PgResult<Datum> {
    Ok(match ty {
        oid::BOOL => Datum::Bool(reader.byte()? != 0),
        oid::CHAR => Datum::Char(reader.byte()?),
        oid::INT2 => Datum::Int2((u16::from_be_bytes(reader.array()?) ^ (1 << 15)).cast_signed()),
        oid::INT4 => Datum::Int4(reader.i32()?),
        oid::INT8 => Datum::Int8(reader.i64()?),
        oid::XID8 => Datum::Int8(i64::from_be_bytes(reader.array()?)),
        oid::DATE => Datum::Date(reader.i32()?),
        oid::TIME => Datum::Time(reader.i64()?),
        oid::TIMESTAMP => Datum::Timestamp(reader.i64()?),
        oid::TIMESTAMPTZ => Datum::Timestamptz(reader.i64()?),
        oid::FLOAT4 => Datum::Float4(f32::from_bits(unordered_f32(u32::from_be_bytes(reader.array()?)))),
        oid::FLOAT8 => Datum::Float8(f64::from_bits(unordered_f64(u64::from_be_bytes(reader.array()?)))),
        oid::NUMERIC => Datum::Numeric(get_numeric(reader)?),
        oid::BYTEA => Datum::bytea(reader.escaped()?),
        oid::UUID => Datum::Uuid(reader.array()?),
        oid::TIMETZ => {
            let (utc, zone_secs_west) = (reader.i64()?, reader.i32()?);
            Datum::Timetz(TimeTz::from_utc_micros(utc, zone_secs_west).ok_or_else(bad_key)?)
        }
        oid::INTERVAL => {
            let span = (u128::from_be_bytes(reader.array()?) ^ (1 << 127)).cast_signed();
            Datum::Interval(interval_from_span(span).ok_or_else(bad_key)?.into())
        }
        oid::TEXT | oid::VARCHAR | oid::BPCHAR | oid::NAME | oid::UNKNOWN | oid::JSON | oid::CSTRING => {
            Datum::text(String::from_utf8(reader.escaped()?).map_err(|_| bad_key())?)
        }
        _ if crate::io::is_oid_like(ty) => Datum::Oid(u32::from_be_bytes(reader.array()?)),
        _ => match element_type(ty) {
            Some(elem) => Datum::Array(get_array(elem, reader)?.into()),
            None => {
                return Err(PgError::not_supported(format!("cannot read a key of type {}", type_name(ty))));
            }
        },
    })
}

fn put_i32(value: i32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.cast_unsigned() ^ (1 << 31)).to_be_bytes());
}

fn put_i64(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&(value.cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(at) = memchr::memchr2(0, 1, rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[1, rest[at] + 1]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(0);
}

fn ordered_f64(value: f64) -> u64 {
    // All NaNs are one value, above infinity; -0 is 0.
    let bits = if value.is_nan() { f64::NAN.to_bits() & !(1 << 63) } else { (value + 0.0).to_bits() };
    if bits >> 63 == 0 { bits ^ (1 << 63) } else { !bits }
}

fn unordered_f64(bits: u64) -> u64 {
    if bits >> 63 == 1 { bits ^ (1 << 63) } else { !bits }
}

fn ordered_f32(value: f32) -> u32 {
    let bits = if value.is_nan() { f32::NAN.to_bits() & !(1 << 31) } else { (value + 0.0).to_bits() };
    if bits >> 31 == 0 { bits ^ (1 << 31) } else { !bits }
}

fn unordered_f32(bits: u32) -> u32 {
    if bits >> 31 == 1 { bits ^ (1 << 31) } else { !bits }
}

// The classes of numbers, in order. Within the positive ones the weight decides, then the digits from the left; the
// digits are stored plus one, so that 0 ends them and a shorter number that is a prefix sorts first. Negative numbers
// are the inversion of their absolute value.
const NEG_INF: u8 = 0x10;
const NEGATIVE: u8 = 0x20;
const ZERO: u8 = 0x30;
const POSITIVE: u8 = 0x40;
const POS_INF: u8 = 0x50;
const NAN: u8 = 0x60;

fn put_numeric(value: &Numeric, out: &mut Vec<u8>) {
    let number = match value {
        Numeric::NaN => return out.push(NAN),
        Numeric::PosInf => return out.push(POS_INF),
        Numeric::NegInf => return out.push(NEG_INF),
        Numeric::Small { units: 0, .. } => return out.push(ZERO),
        Numeric::Small { units, scale } => &BigNumeric::from_units(i128::from(*units), *scale),
        Numeric::Big(number) => number,
    };
    if number.digits.is_empty() {
        return out.push(ZERO);
    }
    out.push(if number.negative { NEGATIVE } else { POSITIVE });
    let start = out.len();
    put_i32(number.weight, out);
    for digit in &number.digits {
        out.extend_from_slice(&(digit + 1).to_be_bytes());
    }
    out.extend_from_slice(&[0, 0]);
    if number.negative {
        for byte in &mut out[start..] {
            *byte = !*byte;
        }
    }
}

fn get_numeric(reader: &mut Reader<'_>) -> PgResult<Numeric> {
    let negative = match reader.byte()? {
        NAN => return Ok(Numeric::NaN),
        POS_INF => return Ok(Numeric::PosInf),
        NEG_INF => return Ok(Numeric::NegInf),
        ZERO => return Ok(Numeric::from(0i64)),
        NEGATIVE => true,
        POSITIVE => false,
        _ => return Err(bad_key()),
    };
    let mask = reader.mask;
    if negative {
        reader.mask = !mask;
    }
    let weight = reader.i32()?;
    let mut digits = Vec::new();
    loop {
        match u16::from_be_bytes(reader.array()?) {
            0 => break,
            digit @ 1..=10_000 => digits.push(digit - 1),
            _ => return Err(bad_key()),
        }
    }
    reader.mask = mask;
    BigNumeric::from_digits(negative, weight, digits).map(Numeric::from).ok_or_else(bad_key)
}

/// The interval of this length with months of 30 days and days of 24 hours, in its largest units.
fn interval_from_span(span: i128) -> Option<Interval> {
    let days = span / 86_400_000_000;
    Some(Interval {
        months: i32::try_from(days / 30).ok()?,
        days: i32::try_from(days % 30).ok()?,
        micros: i64::try_from(span % 86_400_000_000).ok()?,
    })
}

fn get_array(elem: Oid, reader: &mut Reader<'_>) -> PgResult<ArrayValue> {
    let mut elements = Vec::new();
    loop {
        match reader.byte()? {
            END_OF_LIST => break,
            NULL_LAST => elements.push(Datum::Null),
            VALUE => elements.push(get_payload(elem, reader)?),
            _ => return Err(bad_key()),
        }
    }
    let ndims = usize::from(reader.byte()?);
    let mut dims = Vec::with_capacity(ndims);
    for _ in 0..ndims {
        dims.push(ArrayDim { len: reader.i32()?, lower_bound: 0 });
    }
    for dim in &mut dims {
        dim.lower_bound = reader.i32()?;
    }
    // Whoever walks the dimensions trusts them to be those of the elements.
    let count = dims.iter().try_fold(1usize, |n, dim| n.checked_mul(usize::try_from(dim.len).ok()?));
    let expected = if dims.is_empty() { Some(0) } else { count };
    if expected != Some(elements.len()) {
        return Err(bad_key());
    }
    Ok(ArrayValue { elem, dims, elements })
}

#[cold]
fn bad_key() -> PgError {
    PgError::corrupted("a stored key is damaged")
}

/// Reads the payload of a key; the mask undoes the inversion of descending columns.
struct Reader<'a> {
    bytes: &'a [u8],
    mask: u8,
}

impl Reader<'_> {
    fn byte(&mut self) -> PgResult<u8> {
        self.array::<1>().map(|[b]| b)
    }

    fn array<const N: usize>(&mut self) -> PgResult<[u8; N]> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or_else(bad_key)?;
        self.bytes = rest;
        Ok(head.map(|b| b ^ self.mask))
    }

    fn i32(&mut self) -> PgResult<i32> {
        Ok((u32::from_be_bytes(self.array()?) ^ (1 << 31)).cast_signed())
    }

    fn i64(&mut self) -> PgResult<i64> {
        Ok((u64::from_be_bytes(self.array()?) ^ (1 << 63)).cast_signed())
    }

    /// The bytes that `put_bytes` wrote.
    fn escaped(&mut self) -> PgResult<Vec<u8>> {
        let len = memchr::memchr(self.mask, self.bytes).ok_or_else(bad_key)?;
        let mut out = Vec::with_capacity(len);
        let mut stored = self.bytes[..len].iter().map(|b| b ^ self.mask);
        while let Some(byte) = stored.next() {
            out.push(match byte {
                1 => stored.next().and_then(|b| b.checked_sub(1)).ok_or_else(bad_key)?,
                byte => byte,
            });
        }
        self.bytes = &self.bytes[len + 1..];
        Ok(out)
    }
}
