//! Strings: length, case, parts, padding, replacing, quoting.
//!
//! Positions and lengths count characters; strings are UTF-8. Case mapping is Unicode's simple one (one character for
//! one), as PostgreSQL's built-in C.UTF-8 locale has it.

use std::fmt::Write;

use shardforge_types::io::TEXT_BYTES_MAX;
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState, oid};

use super::args::Args;
use super::registry::{KernelTable, SqlKernelTable};
use crate::exec::env::EvalEnv;
use crate::func::ident::quote_identifier;
use crate::func::{CallInfo, to_text};

#[rustfmt::skip]
pub(super) const KERNELS: KernelTable = &[
    ("textcat", concat_two),
    ("textlen", |a, _, _| Ok(Datum::Int4(chars(a.text(0)?)))),
    ("bpcharlen", |a, _, _| Ok(Datum::Int4(chars(a.blanks_cut(0)?)))),
    ("textoctetlen", |a, _, _| Ok(Datum::Int4(a.text(0)?.len() as i32))),
    ("bpcharoctetlen", |a, _, _| Ok(Datum::Int4(a.text(0)?.len() as i32))),
    ("upper", |a, _, _| Ok(Datum::text(upper(a.text(0)?)))),
    ("lower", |a, _, _| Ok(Datum::text(lower(a.text(0)?)))),
    ("casefold", |a, _, _| Ok(Datum::text(lower(a.text(0)?)))),
    ("initcap", |a, _, _| Ok(Datum::text(initcap(a.text(0)?)))),
    ("text_substr", |a, _, _| substring(a.text(0)?, a.int4(1)?, Some(a.int4(2)?)).map(Datum::text)),
    ("text_substr_no_len", |a, _, _| substring(a.text(0)?, a.int4(1)?, None).map(Datum::text)),
    ("lpad", |a, _, _| pad(a.text(0)?, a.int4(1)?, a.text(2)?, Side::Left).map(Datum::text)),
    ("rpad", |a, _, _| pad(a.text(0)?, a.int4(1)?, a.text(2)?, Side::Right).map(Datum::text)),
    ("btrim", |a, _, _| Ok(Datum::text(trim(a.text(0)?, a.text(1)?, true, true)))),
    ("btrim1", |a, _, _| Ok(Datum::text(trim(a.text(0)?, " ", true, true)))),
    ("ltrim", |a, _, _| Ok(Datum::text(trim(a.text(0)?, a.text(1)?, true, false)))),
    ("ltrim1", |a, _, _| Ok(Datum::text(trim(a.text(0)?, " ", true, false)))),
    ("rtrim", |a, _, _| Ok(Datum::text(trim(a.text(0)?, a.text(1)?, false, true)))),
    ("rtrim1", |a, _, _| Ok(Datum::text(trim(a.text(0)?, " ", false, true)))),
    ("translate", |a, _, _| Ok(Datum::text(translate(a.text(0)?, a.text(1)?, a.text(2)?)))),
    ("replace_text", |a, _, _| Ok(Datum::text(replace(a.text(0)?, a.text(1)?, a.text(2)?)))),
    ("textpos", |a, _, _| Ok(Datum::Int4(position(a.text(0)?, a.text(1)?)))),
    ("textoverlay", |a, _, _| overlay(a.text(0)?, a.text(1)?, a.int4(2)?, a.int4(3)?).map(Datum::text)),
    ("textoverlay_no_len", |a, _, _| {
        overlay(a.text(0)?, a.text(1)?, a.int4(2)?, chars(a.text(1)?)).map(Datum::text)
    }),
    ("text_left", |a, _, _| Ok(Datum::text(left(a.text(0)?, a.int4(1)?)))),
    ("text_right", |a, _, _| Ok(Datum::text(right(a.text(0)?, a.int4(1)?)))),
    ("text_reverse", |a, _, _| Ok(Datum::text(a.text(0)?.chars().rev().collect::<String>()))),
    ("repeat", |a, _, _| repeat(a.text(0)?, a.int4(1)?).map(Datum::text)),
    ("split_part", |a, _, _| split_part(a.text(0)?, a.text(1)?, a.int4(2)?).map(Datum::text)),
    ("text_starts_with", |a, _, _| Ok(Datum::Bool(a.text(0)?.starts_with(a.text(1)?)))),
    ("ascii", |a, _, _| Ok(Datum::Int4(a.text(0)?.chars().next().map_or(0, |c| c as i32)))),
    ("chr", |a, _, _| chr(a.int4(0)?).map(Datum::text)),
    ("to_hex32", |a, _, _| Ok(Datum::text(format!("{:x}", a.int4(0)?)))),
    ("to_hex64", |a, _, _| Ok(Datum::text(format!("{:x}", a.int8(0)?)))),
    ("to_oct32", |a, _, _| Ok(Datum::text(format!("{:o}", a.int4(0)?)))),
    ("to_oct64", |a, _, _| Ok(Datum::text(format!("{:o}", a.int8(0)?)))),
    ("to_bin32", |a, _, _| Ok(Datum::text(format!("{:b}", a.int4(0)?)))),
    ("to_bin64", |a, _, _| Ok(Datum::text(format!("{:b}", a.int8(0)?)))),
    ("quote_ident", |a, _, _| Ok(Datum::text(quote_identifier(a.text(0)?)))),
    ("quote_literal", |a, _, _| Ok(Datum::text(quote_literal(a.text(0)?)))),
    ("quote_nullable", |a, _, _| Ok(Datum::text(match a.datum(0) {
        Datum::Null => "NULL".to_owned(),
        _ => quote_literal(a.text(0)?),
    }))),
    ("text_concat", concat),
    ("text_concat_ws", concat_ws),
    ("text_format", format),
    ("text_format_nv", format),

    // Conversions between the string types.
    ("bpchar_name", |a, _, _| Ok(Datum::text(as_name(a.blanks_cut(0)?)))),
    ("text_name", |a, _, _| Ok(Datum::text(as_name(a.text(0)?)))),
    ("name_text", |a, _, _| Ok(a.datum(0).clone())),
    ("name_bpchar", |a, _, _| Ok(a.datum(0).clone())),
    ("char_text", |a, info, env| to_text(info.arg(0), a.datum(0), env).map(Datum::text)),
    ("char_bpchar", |a, info, env| to_text(info.arg(0), a.datum(0), env).map(Datum::text)),
    ("text_char", |a, _, env| shardforge_types::input(oid::CHAR, -1, a.text(0)?, &env.io)),
    ("bpchar", |a, _, _| shardforge_types::apply_typmod(oid::BPCHAR, a.int4(1)?, a.datum(0).clone(), a.bool(2)?)),
    ("varchar", |a, _, _| shardforge_types::apply_typmod(oid::VARCHAR, a.int4(1)?, a.datum(0).clone(), a.bool(2)?)),
    ("nameconcatoid", |a, _, _| {
        let suffix = format!("_{}", a.oid(1)?);
        let room = NAME_BYTES_MAX.saturating_sub(suffix.len());
        Ok(Datum::text(format!("{}{suffix}", cut_bytes(a.text(0)?, room))))
    }),
];

#[rustfmt::skip]
pub(super) const SQL_KERNELS: SqlKernelTable = &[
    (879, "lpad(text, integer)", |a, _, _| pad(a.text(0)?, a.int4(1)?, " ", Side::Left).map(Datum::text)),
    (880, "rpad(text, integer)", |a, _, _| pad(a.text(0)?, a.int4(1)?, " ", Side::Right).map(Datum::text)),
    (1285, "quote_literal(anyelement)", |a, info, env| {
        Ok(Datum::text(quote_literal(&to_text(info.arg(0), a.datum(0), env)?)))
    }),
    (1290, "quote_nullable(anyelement)", |a, info, env| Ok(Datum::text(match a.datum(0) {
        Datum::Null => "NULL".to_owned(),
        value => quote_literal(&to_text(info.arg(0), value, env)?),
    }))),
    (1811, "bit_length(text)", |a, _, _| Ok(Datum::Int4((a.text(0)?.len() * 8) as i32))),
    (2003, "textanycat(text, anynonarray)", |a, info, env| {
        Ok(Datum::text(format!("{}{}", a.text(0)?, cast_to_text(info.arg(1), a.datum(1), env)?)))
    }),
    (2004, "anytextcat(anynonarray, text)", |a, info, env| {
        Ok(Datum::text(format!("{}{}", cast_to_text(info.arg(0), a.datum(0), env)?, a.text(1)?)))
    }),
];

/// A value cast to text: as it prints, but for the types that have a cast function of their own.
fn cast_to_text(ty: Oid, value: &Datum, env: &EvalEnv) -> PgResult<String> {
    match (ty, value) {
        (_, Datum::Bool(value)) => Ok(value.to_string()),
        (oid::BPCHAR, Datum::Text(text)) => Ok(text.trim_end_matches(' ').to_owned()),
        _ => to_text(ty, value, env),
    }
}

/// The longest identifier.
const NAME_BYTES_MAX: usize = 63;

#[cold]
fn too_long() -> PgError {
    PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "requested length too large")
}

pub(super) fn chars(text: &str) -> i32 {
    i32::try_from(if text.is_ascii() { text.len() } else { text.chars().count() }).unwrap_or(i32::MAX)
}

/// The byte offset of the nth character, or the end.
fn offset(text: &str, nth: usize) -> usize {
    if text.is_ascii() {
        return nth.min(text.len());
    }
    text.char_indices().nth(nth).map_or(text.len(), |(at, _)| at)
}

fn concat_two(args: &[Datum], _: &CallInfo, _: &EvalEnv) -> PgResult<Datum> {
    let (left, right) = (args.text(0)?, args.text(1)?);
    if left.len() + right.len() > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    let mut result = String::with_capacity(left.len() + right.len());
    result.push_str(left);
    result.push_str(right);
    Ok(Datum::text(result))
}

/// Upper case, character for character.
pub(super) fn upper(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_uppercase();
    }
    text.chars().map(|c| simple(c, c.to_uppercase())).collect()
}

/// Lower case, character for character.
pub(super) fn lower(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    text.chars().map(|c| simple(c, c.to_lowercase())).collect()
}

/// The mapping if it is one character; otherwise the character stays.
fn simple(c: char, mut mapped: impl ExactSizeIterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(single), None) => single,
        _ => c,
    }
}

fn initcap(text: &str) -> String {
    let mut inside_word = false;
    text.chars()
        .map(|c| {
            let mapped = if inside_word { simple(c, c.to_lowercase()) } else { simple(c, c.to_uppercase()) };
            inside_word = c.is_alphanumeric();
            mapped
        })
        .collect()
}

/// `substring(text from start for length)`: start may lie before the string; what would lie there counts.
pub(super) fn substring(text: &str, start: i32, length: Option<i32>) -> PgResult<&str> {
    let (first, end) = substring_range(start, length)?;
    let from = offset(text, first);
    match end {
        Some(end) => Ok(&text[from..from + offset(&text[from..], end - first)]),
        None => Ok(&text[from..]),
    }
}

/// Zero-based start and end (None: to the end) of a substring.
pub(super) fn substring_range(start: i32, length: Option<i32>) -> PgResult<(usize, Option<usize>)> {
    let first = usize::try_from(start.saturating_sub(1)).unwrap_or(0);
    let Some(length) = length else { return Ok((first, None)) };
    let end = i64::from(start) + i64::from(length);
    if length < 0 && end < i64::from(start) {
        return Err(PgError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    Ok((first, Some(usize::try_from(end - 1).unwrap_or(0).max(first))))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

fn pad(text: &str, length: i32, fill: &str, side: Side) -> PgResult<String> {
    let wanted = usize::try_from(length).unwrap_or(0);
    let have = chars(text) as usize;
    if have >= wanted || fill.is_empty() {
        return Ok(text[..offset(text, wanted)].to_owned());
    }
    if wanted.saturating_mul(4) > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    let filling: String = fill.chars().cycle().take(wanted - have).collect();
    Ok(if side == Side::Left { filling + text } else { format!("{text}{filling}") })
}

fn trim<'a>(text: &'a str, set: &str, start: bool, end: bool) -> &'a str {
    let in_set = |c: char| set.contains(c);
    let text = if start { text.trim_start_matches(in_set) } else { text };
    if end { text.trim_end_matches(in_set) } else { text }
}

fn translate(text: &str, from: &str, to: &str) -> String {
    let to: Vec<char> = to.chars().collect();
    text.chars()
        .filter_map(|c| match from.chars().position(|f| f == c) {
            Some(at) => to.get(at).copied(),
            None => Some(c),
        })
        .collect()
}

fn replace(text: &str, from: &str, to: &str) -> String {
    if from.is_empty() { text.to_owned() } else { text.replace(from, to) }
}

/// The position of a substring, counted in characters from 1; 0 if it is not there.
fn position(text: &str, part: &str) -> i32 {
    text.find(part).map_or(0, |at| chars(&text[..at]) + 1)
}

fn overlay(text: &str, new: &str, start: i32, length: i32) -> PgResult<String> {
    if start <= 0 {
        return Err(PgError::new(SqlState::SUBSTRING_ERROR, "negative substring length not allowed"));
    }
    let after = start.checked_add(length).ok_or_else(|| super::int::out_of_range("integer"))?;
    Ok(format!("{}{new}{}", substring(text, 1, Some(start - 1))?, substring(text, after, None)?))
}

fn left(text: &str, n: i32) -> &str {
    let keep = if n < 0 { chars(text).saturating_add(n).max(0) } else { n };
    &text[..offset(text, keep as usize)]
}

fn right(text: &str, n: i32) -> &str {
    let drop =
        if n < 0 { n.unsigned_abs() as usize } else { (chars(text) as usize).saturating_sub(n as usize) };
    &text[offset(text, drop)..]
}

fn repeat(text: &str, n: i32) -> PgResult<String> {
    let n = usize::try_from(n).unwrap_or(0);
    if text.len().saturating_mul(n) > TEXT_BYTES_MAX {
        return Err(too_long());
    }
    Ok(text.repeat(n))
}

/// The nth field; negative numbers count from the end.
fn split_part<'a>(text: &'a str, separator: &str, n: i32) -> PgResult<&'a str> {
    if n == 0 {
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, "field position must not be zero"));
    }
    let nth = n.unsigned_abs() as usize - 1;
    if text.is_empty() || separator.is_empty() {
        return Ok(if nth == 0 { text } else { "" });
    }
    let field = if n > 0 { text.split(separator).nth(nth) } else { text.rsplit(separator).nth(nth) };
    Ok(field.unwrap_or(""))
}

fn chr(code: i32) -> PgResult<String> {
    if code == 0 {
        return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "null character not permitted"));
    }
    if code < 0 {
        return Err(PgError::new(SqlState::INVALID_PARAMETER_VALUE, "character number must be positive"));
    }
    if code > 0x10_FFFF {
        let message = format!("requested character too large for encoding: {code}");
        return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message));
    }
    char::from_u32(code as u32).map(String::from).ok_or_else(|| {
        let message = format!("requested character not valid for encoding: {code}");
        PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, message)
    })
}

/// The string as an SQL literal: in the escape form if it has a backslash.
pub fn quote_literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    if text.contains('\\') {
        quoted.push('E');
    }
    quoted.push('\'');
    for c in text.chars() {
        if c == '\'' || c == '\\' {
            quoted.push(c);
        }
        quoted.push(c);
    }
    quoted.push('\'');
    quoted
}

fn cut_bytes(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// The string cut to the length of a `name`.
pub(super) fn as_name(text: &str) -> &str {
    cut_bytes(text, NAME_BYTES_MAX)
}

/// The arguments of a VARIADIC "any" call from position `first` on, with their types. None: the array was NULL.
fn variadic<'a>(
    args: &'a [Datum],
    info: &'a CallInfo,
    first: usize,
) -> PgResult<Option<Vec<(shardforge_types::Oid, &'a Datum)>>> {
    if !info.variadic {
        return Ok(Some(args.iter().enumerate().skip(first).map(|(i, arg)| (info.arg(i), arg)).collect()));
    }
    match args.get(first) {
        None | Some(Datum::Null) => Ok(None),
        Some(_) => {
            let array = args.array(first)?;
            Ok(Some(array.elements.iter().map(|element| (array.elem, element)).collect()))
        }
    }
}

fn concat(args: &[Datum], info: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    let Some(values) = variadic(args, info, 0)? else { return Ok(Datum::Null) };
    join(&values, "", env).map(Datum::text)
}

fn concat_ws(args: &[Datum], info: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    if args.datum(0).is_null() {
        return Ok(Datum::Null);
    }
    let separator = args.text(0)?;
    let Some(values) = variadic(args, info, 1)? else { return Ok(Datum::Null) };
    join(&values, separator, env).map(Datum::text)
}

fn join(values: &[(shardforge_types::Oid, &Datum)], separator: &str, env: &EvalEnv) -> PgResult<String> {
    let texts = values
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(ty, value)| to_text(*ty, value, env))
        .collect::<PgResult<Vec<String>>>()?;
    Ok(texts.join(separator))
}

/// `format(template, ...)`: `%[position$][-][width]{s|I|L|%}`.
fn format(args: &[Datum], info: &CallInfo, env: &EvalEnv) -> PgResult<Datum> {
    if args.datum(0).is_null() {
        return Ok(Datum::Null);
    }
    let template = args.text(0)?;
    let values = variadic(args, info, 1)?.unwrap_or_default();
    let mut out = String::with_capacity(template.len() + 16);
    let mut next_value = 0usize;
    let mut chars = template.chars().peekable();
    let invalid = |message: String| PgError::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let unterminated =
        || invalid("unterminated format() type specifier".to_owned()).hint("For a single \"%\" use \"%%\".");
    let value_at = |position: usize| {
        values.get(position).copied().ok_or_else(|| invalid("too few arguments for format()".to_owned()))
    };
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        if chars.peek() == Some(&'%') {
            chars.next();
            out.push('%');
            continue;
        }
        let mut spec = FormatSpec::default();
        let number = leading_number(&mut chars)?;
        if number.is_some() && chars.peek() == Some(&'$') {
            chars.next();
            spec.position = Some(position_from(number)?);
            spec.width = None;
        } else {
            spec.width = number;
        }
        if spec.width.is_none() {
            while chars.peek() == Some(&'-') {
                chars.next();
                spec.left = true;
            }
            if chars.peek() == Some(&'*') {
                chars.next();
                let number = leading_number(&mut chars)?;
                let at = if number.is_some() {
                    if chars.next() != Some('$') {
                        return Err(invalid("width argument position must be ended by \"$\"".to_owned()));
                    }
                    position_from(number)?
                } else {
                    next_value += 1;
                    next_value - 1
                };
                next_value = at + 1;
                let width = match value_at(at)? {
                    (_, Datum::Null) => 0,
                    (ty, value) => {
                        let text = to_text(ty, value, env)?;
                        text.parse::<i32>().map_err(|_| invalid(format!("invalid width {text}")))?
                    }
                };
                spec.left |= width < 0;
                spec.width = Some(width.unsigned_abs() as usize);
            } else {
                spec.width = leading_number(&mut chars)?;
            }
        }
        let conversion = chars.next().ok_or_else(unterminated)?;
        if !matches!(conversion, 's' | 'I' | 'L') {
            return Err(invalid(format!("unrecognized format() type specifier \"{conversion}\""))
                .hint("For a single \"%\" use \"%%\"."));
        }
        let at = spec.position.unwrap_or(next_value);
        next_value = at + 1;
        let (ty, value) = value_at(at)?;
        let text = match (conversion, value.is_null()) {
            ('s', true) => String::new(),
            ('I', true) => {
                let message = "null values cannot be formatted as an SQL identifier";
                return Err(PgError::new(SqlState::NULL_VALUE_NOT_ALLOWED, message));
            }
            (_, true) => "NULL".to_owned(),
            ('s', _) => to_text(ty, value, env)?,
            ('I', _) => quote_identifier(&to_text(ty, value, env)?),
            _ => quote_literal(&to_text(ty, value, env)?),
        };
        spec.write(&text, &mut out)?;
    }
    Ok(Datum::text(out))
}

#[derive(Default)]
struct FormatSpec {
    position: Option<usize>,
    width: Option<usize>,
    left: bool,
}

impl FormatSpec {
    fn write(&self, text: &str, out: &mut String) -> PgResult<()> {
        let width = self.width.unwrap_or(0);
        if width > TEXT_BYTES_MAX {
            return Err(too_long());
        }
        let written = if self.left { write!(out, "{text:<width$}") } else { write!(out, "{text:>width$}") };
        written.map_err(|_| too_long())
    }
}

fn leading_number(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> PgResult<Option<usize>> {
    let mut number: Option<i32> = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        chars.next();
        let next = number.unwrap_or(0).checked_mul(10).and_then(|n| n.checked_add(digit as i32));
        number =
            Some(next.ok_or_else(|| {
                PgError::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "number is out of range")
            })?);
    }
    Ok(number.map(|n| n as usize))
}

fn position_from(number: Option<usize>) -> PgResult<usize> {
    match number {
        Some(0) | None => Err(PgError::new(
            SqlState::INVALID_PARAMETER_VALUE,
            "format specifies argument 0, but arguments are numbered from 1",
        )),
        Some(n) => Ok(n - 1),
    }
}
