//! `bytea`: parts, bits, encodings, digests, and the encodings of text.

use std::sync::Arc;

use md5::{Digest, Md5};
use sha2::{Sha224, Sha256, Sha384, Sha512};
use shardforge_types::io::bytes::{decode_hex, hex_out};
use shardforge_types::{Datum, PgError, PgResult, SqlState, oid};

use super::args::Args;
use super::registry::{KernelTable, SqlKernelTable};
use super::text::substring_range;

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("byteacat", |a, _, _| Ok(Datum::bytea([a.bytea(0)?, a.bytea(1)?].concat()))),
    ("byteaoctetlen", |a, _, _| Ok(Datum::Int4(a.bytea(0)?.len() as i32))),
    ("bytea_substr", |a, _, _| substring(a.bytea(0)?, a.int4(1)?, Some(a.int4(2)?)).map(Datum::bytea)),
    ("bytea_substr_no_len", |a, _, _| substring(a.bytea(0)?, a.int4(1)?, None).map(Datum::bytea)),
    ("byteapos", |a, _, _| Ok(Datum::Int4(position(a.bytea(0)?, a.bytea(1)?)))),
    ("byteatrim", |a, _, _| Ok(Datum::bytea(trim(a.bytea(0)?, a.bytea(1)?, true, true)))),
    ("bytealtrim", |a, _, _| Ok(Datum::bytea(trim(a.bytea(0)?, a.bytea(1)?, true, false)))),
    ("byteartrim", |a, _, _| Ok(Datum::bytea(trim(a.bytea(0)?, a.bytea(1)?, false, true)))),
    ("byteaoverlay", |a, _, _| overlay(a.bytea(0)?, a.bytea(1)?, a.int4(2)?, a.int4(3)?).map(Datum::bytea)),
    ("byteaoverlay_no_len", |a, _, _| {
        overlay(a.bytea(0)?, a.bytea(1)?, a.int4(2)?, a.bytea(1)?.len() as i32).map(Datum::bytea)
    }),
    ("bytea_reverse", |a, _, _| Ok(Datum::bytea(a.bytea(0)?.iter().rev().copied().collect::<Vec<u8>>()))),
    ("bytea_bit_count", |a, _, _| {
        Ok(Datum::Int8(a.bytea(0)?.iter().map(|byte| i64::from(byte.count_ones())).sum()))
    }),
    ("byteaGetByte", |a, _, _| {
        let bytes = a.bytea(0)?;
        index(i64::from(a.int4(1)?), bytes.len()).map(|at| Datum::Int4(i32::from(bytes[at])))
    }),
    ("byteaSetByte", |a, _, _| {
        let mut bytes = a.bytea(0)?.to_vec();
        let at = index(i64::from(a.int4(1)?), bytes.len())?;
        bytes[at] = a.int4(2)? as u8;
        Ok(Datum::bytea(bytes))
    }),
    ("byteaGetBit", |a, _, _| {
        let bytes = a.bytea(0)?;
        let at = index(a.int8(1)?, bytes.len() * 8)?;
        Ok(Datum::Int4(i32::from(bytes[at / 8] >> (at % 8) & 1)))
    }),
    ("byteaSetBit", |a, _, _| {
        let mut bytes = a.bytea(0)?.to_vec();
        let at = index(a.int8(1)?, bytes.len() * 8)?;
        match a.int4(2)? {
            0 => bytes[at / 8] &= !(1 << (at % 8)),
            1 => bytes[at / 8] |= 1 << (at % 8),
            _ => return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, "new bit must be 0 or 1")),
        }
        Ok(Datum::bytea(bytes))
    }),

    ("binary_encode", |a, _, _| encode(a.bytea(0)?, a.text(1)?).map(Datum::text)),
    ("binary_decode", |a, _, env| decode(a.text(0)?, a.text(1)?, &env.io)),
    ("pg_convert_from", |a, _, _| convert_from(a.bytea(0)?, a.text(1)?).map(Datum::text)),
    ("pg_convert_to", |a, _, _| convert_to(a.text(0)?, a.text(1)?).map(Datum::bytea)),
    ("pg_convert", |a, _, _| {
        encoding(a.text(2)?, "destination")?;
        let text = convert_from(a.bytea(0)?, a.text(1)?)?;
        convert_to(&text, a.text(2)?).map(Datum::bytea)
    }),
    ("length_in_encoding", |a, _, _| convert_from(a.bytea(0)?, a.text(1)?).map(|t| Datum::Int4(super::text::chars(&t)))),

    ("md5_text", |a, _, _| Ok(Datum::text(hex(&Md5::digest(a.text(0)?))))),
    ("md5_bytea", |a, _, _| Ok(Datum::text(hex(&Md5::digest(a.bytea(0)?))))),
    ("sha224_bytea", |a, _, _| Ok(Datum::bytea(Sha224::digest(a.bytea(0)?).as_slice()))),
    ("sha256_bytea", |a, _, _| Ok(Datum::bytea(Sha256::digest(a.bytea(0)?).as_slice()))),
    ("sha384_bytea", |a, _, _| Ok(Datum::bytea(Sha384::digest(a.bytea(0)?).as_slice()))),
    ("sha512_bytea", |a, _, _| Ok(Datum::bytea(Sha512::digest(a.bytea(0)?).as_slice()))),
    // The reversed polynomials of CRC-32 and CRC-32C.
    ("crc32_bytea", |a, _, _| Ok(Datum::Int8(i64::from(crc32(a.bytea(0)?, 0xEDB8_8320))))),
    ("crc32c_bytea", |a, _, _| Ok(Datum::Int8(i64::from(crc32(a.bytea(0)?, 0x82F6_3B78))))),

    ("int2_bytea", |a, _, _| Ok(Datum::bytea(a.int2(0)?.to_be_bytes().as_slice()))),
    ("int4_bytea", |a, _, _| Ok(Datum::bytea(a.int4(0)?.to_be_bytes().as_slice()))),
    ("int8_bytea", |a, _, _| Ok(Datum::bytea(a.int8(0)?.to_be_bytes().as_slice()))),
    ("bytea_int2", |a, _, _| Ok(Datum::Int2(i16::from_be_bytes(fixed(a.bytea(0)?, "smallint")?)))),
    ("bytea_int4", |a, _, _| Ok(Datum::Int4(i32::from_be_bytes(fixed(a.bytea(0)?, "integer")?)))),
    ("bytea_int8", |a, _, _| Ok(Datum::Int8(i64::from_be_bytes(fixed(a.bytea(0)?, "bigint")?)))),
];

pub(super) const SQL_KERNELS: SqlKernelTable =
    &[(1810, "bit_length(bytea)", |a, _, _| Ok(Datum::Int4((a.bytea(0)?.len() * 8) as i32)))];

fn substring(bytes: &[u8], start: i32, length: Option<i32>) -> PgResult<&[u8]> {
    let (first, end) = substring_range(start, length)?;
    let first = first.min(bytes.len());
    Ok(&bytes[first..end.map_or(bytes.len(), |end| end.clamp(first, bytes.len()))])
}

fn position(bytes: &[u8], part: &[u8]) -> i32 {
    memchr::memmem::find(bytes, part).map_or(0, |at| at as i32 + 1)
}

fn trim<'a>(mut bytes: &'a [u8], set: &[u8], start: bool, end: bool) -> &'a [u8] {
    while let [first, rest @ ..] = bytes
        && start
        && set.contains(first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && end
        && set.contains(last)
    {
        bytes = rest;
    }
    bytes
}

fn overlay(bytes: &[u8], new: &[u8], start: i32, length: i32) -> PgResult<Vec<u8>> {
    if start <= 0 {
        return Err(PgError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let after = start.checked_add(length).ok_or_else(|| super::int::out_of_range("integer"))?;
    Ok([substring(bytes, 1, Some(start - 1))?, new, substring(bytes, after, None)?].concat())
}

fn index(at: i64, len: usize) -> PgResult<usize> {
    usize::try_from(at).ok().filter(|at| *at < len).ok_or_else(|| {
        let last = len as i64 - 1;
        PgError::new(SqlState::ARRAY_SUBSCRIPT_ERROR, format!("index {at} out of valid range, 0..{last}"))
    })
}

fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    hex_out(bytes, &mut out);
    into_string(out)
}

/// Encoders write ASCII; anything else would be shown as replacement characters rather than lost.
fn into_string(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn encode(bytes: &[u8], format: &str) -> PgResult<String> {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    match format.to_ascii_lowercase().as_str() {
        "hex" => hex_out(bytes, &mut out),
        "escape" => {
            // Unlike bytea's own output, only what could not be text is written in octal.
            for &byte in bytes {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    0 | 0x80.. => out.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
                    _ => out.push(byte),
                }
            }
        }
        "base64" => base64_out(bytes, &mut out),
        _ => return Err(unknown_encoding(format)),
    }
    Ok(into_string(out))
}

fn decode(text: &str, format: &str, io: &shardforge_types::IoEnv) -> PgResult<Datum> {
    match format.to_ascii_lowercase().as_str() {
        "hex" => decode_hex(text).map(Datum::bytea),
        // The escape format of bytea's own input; `\x` at the start would mean hex there.
        "escape" if !text.starts_with("\\x") => shardforge_types::input(oid::BYTEA, -1, text, io),
        "escape" => {
            Err(PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid input syntax for type bytea"))
        }
        "base64" => base64_in(text).map(Datum::bytea),
        _ => Err(unknown_encoding(format)),
    }
}

fn unknown_encoding(format: &str) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unrecognized encoding: \"{format}\""))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// Where RFC 2045 breaks lines.
const BASE64_LINE: usize = 76;

fn base64_out(bytes: &[u8], out: &mut Vec<u8>) {
    let mut column = 0;
    for chunk in bytes.chunks(3) {
        if column >= BASE64_LINE {
            out.push(b'\n');
            column = 0;
        }
        let mut group = [0u8; 4];
        group[1..=chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes(group);
        for place in 0..4 {
            let digit = BASE64[(bits >> (18 - 6 * place)) as usize & 63];
            out.push(if place > chunk.len() { b'=' } else { digit });
        }
        column += 4;
    }
}

fn base64_in(text: &str) -> PgResult<Vec<u8>> {
    let invalid = |message: String| PgError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut digits, mut padding) = (0u32, 0, 0);
    for c in text.chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\r')) {
        let digit = if c == '=' {
            if padding == 0 {
                padding = match digits {
                    2 => 2,
                    3 => 1,
                    _ => return Err(invalid("unexpected \"=\" while decoding base64 sequence".to_owned())),
                };
            }
            0
        } else if padding > 0 {
            return Err(invalid_base64(c));
        } else {
            let found = u8::try_from(c).ok().and_then(|c| BASE64.iter().position(|d| *d == c));
            found.ok_or_else(|| invalid_base64(c))? as u32
        };
        bits = bits << 6 | digit;
        digits += 1;
        if digits == 4 {
            let group = bits.to_be_bytes();
            out.extend_from_slice(&group[1..4 - padding]);
            (bits, digits) = (0, 0);
        }
    }
    if digits != 0 {
        return Err(invalid("invalid base64 end sequence".to_owned())
            .hint("Input data is missing padding, is truncated, or is otherwise corrupted."));
    }
    Ok(out)
}

fn invalid_base64(c: char) -> PgError {
    let message = format!("invalid symbol \"{c}\" found while decoding base64 sequence");
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, message)
}

/// Text encodings that are converted here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// UTF-8, and bytes that nobody looks at.
    Utf8,
    /// ISO 8859-1: the first 256 characters.
    Latin1,
}

fn encoding(name: &str, which: &str) -> PgResult<Encoding> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    match plain.as_str() {
        "utf8" | "unicode" | "sqlascii" => Ok(Encoding::Utf8),
        "latin1" | "iso88591" => Ok(Encoding::Latin1),
        "latin2" | "win1252" | "eucjp" | "sjis" | "koi8r" | "win1251" | "gbk" => {
            Err(PgError::not_supported(format!("conversion with encoding \"{name}\" is not supported yet"))
                .hint("Use UTF8 or LATIN1."))
        }
        _ => {
            let message = format!("invalid {which} encoding name \"{name}\"");
            Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, message))
        }
    }
}

fn convert_to(text: &str, to: &str) -> PgResult<Vec<u8>> {
    if encoding(to, "destination")? == Encoding::Utf8 {
        return Ok(text.as_bytes().to_vec());
    }
    let byte = |c: char| {
        u8::try_from(u32::from(c)).map_err(|_| {
            let mut buffer = [0; 4];
            let bytes: Vec<String> =
                c.encode_utf8(&mut buffer).bytes().map(|byte| format!("0x{byte:02x}")).collect();
            let message = format!(
                "character with byte sequence {} in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"",
                bytes.join(" ")
            );
            PgError::new(SqlState::UNTRANSLATABLE_CHARACTER, message)
        })
    };
    text.chars().map(byte).collect()
}

fn convert_from(bytes: &[u8], from: &str) -> PgResult<Arc<str>> {
    if encoding(from, "source")? == Encoding::Latin1 {
        return Ok(bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => Ok(text.into()),
        Ok(_) => Err(invalid_utf8(&[0])),
        Err(error) => {
            let rest = &bytes[error.valid_up_to()..];
            let expected = match rest[0] {
                0xF0.. => 4,
                0xE0.. => 3,
                0xC0.. => 2,
                _ => 1,
            };
            Err(invalid_utf8(&rest[..rest.len().min(expected)]))
        }
    }
}

fn invalid_utf8(bytes: &[u8]) -> PgError {
    let shown: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    let message = format!("invalid byte sequence for encoding \"UTF8\": {}", shown.join(" "));
    PgError::new(SqlState::CHARACTER_NOT_IN_REPERTOIRE, message)
}

fn crc32(bytes: &[u8], polynomial: u32) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ polynomial } else { crc >> 1 };
        }
    }
    !crc
}

/// The bytes of an integer, most significant first, with zeros in front where some are missing.
fn fixed<const N: usize>(bytes: &[u8], type_name: &str) -> PgResult<[u8; N]> {
    if bytes.len() > N {
        return Err(super::int::out_of_range(type_name));
    }
    let mut full = [0u8; N];
    full[N - bytes.len()..].copy_from_slice(bytes);
    Ok(full)
}
