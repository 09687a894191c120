//! Text and binary forms of arrays, vectors (`oidvector`, `int2vector`) and row values.
//!
//! ```text
//!   {1,2,NULL}    {{1,2},{3,4}}    [0:1]={a,"b c"}      text; a dimension list where a lower bound is not 1
//! ```
//!
//! Binary: the number of dimensions, a flag for NULLs, the element type, length and lower bound of each dimension, then
//! each element with its length (-1 for NULL).

use crate::datum::{ArrayDim, ArrayValue, Datum, RecordValue};
use crate::env::IoEnv;
use crate::error::{PgError, PgResult};
use crate::io::scalar::is_space;
use crate::oid::{self, Oid};
use crate::sqlstate::SqlState;
use crate::typeinfo::{TypeInfo, type_name};

/// The most dimensions.
pub const DIMENSIONS_MAX: usize = 6;
/// The most elements.
pub const ELEMENTS_MAX: usize = 134_217_727;

fn too_many_dimensions() -> PgError {
    PgError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("number of array dimensions exceeds the maximum allowed ({DIMENSIONS_MAX})"),
    )
}

fn too_many_elements() -> PgError {
    PgError::new(
        SqlState::PROGRAM_LIMIT_EXCEEDED,
        format!("array size exceeds the maximum allowed ({ELEMENTS_MAX})"),
    )
}

fn delimiter(elem: Oid) -> u8 {
    if elem == oid::BOX { b';' } else { b',' }
}

/// Reads an array of `elem`, each element by `read`.
pub(crate) fn array_in(
    elem: Oid,
    text: &str,
    read: &mut dyn FnMut(&str) -> PgResult<Datum>,
) -> PgResult<ArrayValue> {
    let mut parser = Parser { text, at: 0, delimiter: delimiter(elem) };
    let mut dims = parser.dimensions()?;
    let dimensions_given = !dims.is_empty();
    if dimensions_given {
        if !parser.eat(b'=') {
            return Err(parser.malformed("Missing \"=\" after array dimensions."));
        }
        parser.skip_space();
        if parser.peek() != Some(b'{') {
            return Err(parser.malformed("Array contents must start with \"{\"."));
        }
    } else if parser.peek() != Some(b'{') {
        return Err(parser.malformed("Array value must start with \"{\" or dimension information."));
    }
    let mut contents = Contents {
        dims: dims.iter().map(|d| Some(d.len)).collect(),
        dims_are_fixed: dimensions_given,
        mismatch: if dimensions_given {
            "Specified array dimensions do not match array contents."
        } else {
            "Multidimensional arrays must have sub-arrays with matching dimensions."
        },
        elements: Vec::new(),
    };
    contents.read(&mut parser, read)?;
    parser.skip_space();
    if parser.peek().is_some() {
        return Err(parser.malformed("Junk after closing right brace."));
    }
    if contents.elements.is_empty() {
        return Ok(ArrayValue { elem, dims: Vec::new(), elements: Vec::new() });
    }
    if !dimensions_given {
        dims = contents.dims.iter().map(|len| ArrayDim { len: len.unwrap_or(0), lower_bound: 1 }).collect();
    }
    Ok(ArrayValue { elem, dims, elements: contents.elements })
}

/// The part between the braces, while it is read.
struct Contents {
    /// The length of each dimension, once known.
    dims: Vec<Option<i32>>,
    /// No deeper nesting may follow: the dimensions were given, or an element was seen.
    dims_are_fixed: bool,
    mismatch: &'static str,
    elements: Vec<Datum>,
}

impl Contents {
    fn read(
        &mut self,
        parser: &mut Parser<'_>,
        read: &mut dyn FnMut(&str) -> PgResult<Datum>,
    ) -> PgResult<()> {
        // The number of elements seen in each open level.
        let mut levels: Vec<i32> = Vec::new();
        let mut expect_delimiter = false;
        loop {
            match parser.token()? {
                Token::Open => {
                    if expect_delimiter {
                        return Err(parser.malformed("Unexpected \"{\" character."));
                    }
                    if levels.len() >= DIMENSIONS_MAX {
                        return Err(too_many_dimensions());
                    }
                    levels.push(0);
                    if levels.len() > self.dims.len() {
                        if self.dims_are_fixed {
                            return Err(parser.malformed(self.mismatch));
                        }
                        self.dims.push(None);
                    }
                }
                Token::Close => {
                    let count = levels.pop().unwrap_or(0);
                    if count > 0 && !expect_delimiter {
                        return Err(parser.malformed("Unexpected \"}\" character."));
                    }
                    if let Some(outer) = levels.last_mut() {
                        *outer += 1;
                    }
                    let dim = &mut self.dims[levels.len()];
                    if *dim.get_or_insert(count) != count {
                        return Err(parser.malformed(self.mismatch));
                    }
                    if levels.is_empty() {
                        return Ok(());
                    }
                    expect_delimiter = true;
                }
                Token::Delimiter => {
                    if !expect_delimiter {
                        let message = format!("Unexpected \"{}\" character.", parser.delimiter as char);
                        return Err(parser.malformed(&message));
                    }
                    expect_delimiter = false;
                }
                Token::Element(element) => {
                    if expect_delimiter {
                        return Err(parser.malformed("Unexpected array element."));
                    }
                    if self.elements.len() >= ELEMENTS_MAX {
                        return Err(too_many_elements());
                    }
                    self.elements.push(match element {
                        Some(text) => read(&text)?,
                        None => Datum::Null,
                    });
                    self.dims_are_fixed = true;
                    if levels.len() != self.dims.len() {
                        return Err(parser.malformed(self.mismatch));
                    }
                    if let Some(count) = levels.last_mut() {
                        *count += 1;
                    }
                    expect_delimiter = true;
                }
            }
        }
    }
}

enum Token {
    Open,
    Close,
    Delimiter,
    /// An element; `None` for an unquoted NULL.
    Element(Option<String>),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    delimiter: u8,
}

impl Parser<'_> {
    #[cold]
    fn malformed(&self, detail: &str) -> PgError {
        let message = format!("malformed array literal: \"{}\"", self.text);
        PgError::new(SqlState::INVALID_TEXT_REPRESENTATION, message).detail(detail)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// The `[2:4][3]` in front of an array.
    fn dimensions(&mut self) -> PgResult<Vec<ArrayDim>> {
        let mut dims = Vec::new();
        loop {
            self.skip_space();
            if !self.eat(b'[') {
                return Ok(dims);
            }
            if dims.len() >= DIMENSIONS_MAX {
                return Err(too_many_dimensions());
            }
            let Some(first) = self.bound()? else {
                return Err(self.malformed("\"[\" must introduce explicitly-specified array dimensions."));
            };
            let (lower_bound, upper) = if self.eat(b':') {
                match self.bound()? {
                    Some(upper) => (first, upper),
                    None => return Err(self.malformed("Missing array dimension value.")),
                }
            } else {
                (1, first)
            };
            if !self.eat(b']') {
                return Err(self.malformed("Missing \"]\" after array dimensions."));
            }
            if upper < lower_bound {
                return Err(PgError::new(
                    SqlState::ARRAY_SUBSCRIPT_ERROR,
                    "upper bound cannot be less than lower bound",
                ));
            }
            if upper == i32::MAX {
                return Err(PgError::new(
                    SqlState::PROGRAM_LIMIT_EXCEEDED,
                    format!("array upper bound is too large: {upper}"),
                ));
            }
            let len = upper.checked_sub(lower_bound).and_then(|len| len.checked_add(1));
            dims.push(ArrayDim { len: len.ok_or_else(too_many_elements)?, lower_bound });
        }
    }

    fn bound(&mut self) -> PgResult<Option<i32>> {
        let rest = &self.text[self.at..];
        let sign = usize::from(rest.starts_with(['+', '-']));
        let digits = rest[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Ok(None);
        }
        self.at += sign + digits;
        match rest[..sign + digits].parse() {
            Ok(bound) => Ok(Some(bound)),
            Err(_) => {
                Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "array bound is out of integer range"))
            }
        }
    }

    fn token(&mut self) -> PgResult<Token> {
        self.skip_space();
        let Some(byte) = self.peek() else { return Err(self.unexpected_end()) };
        match byte {
            b'{' => self.at += 1,
            b'}' => {
                self.at += 1;
                return Ok(Token::Close);
            }
            b'"' => {
                self.at += 1;
                return self.quoted().map(|text| Token::Element(Some(text)));
            }
            _ if byte == self.delimiter => {
                self.at += 1;
                return Ok(Token::Delimiter);
            }
            _ => return self.unquoted().map(Token::Element),
        }
        Ok(Token::Open)
    }

    #[cold]
    fn unexpected_end(&self) -> PgError {
        self.malformed("Unexpected end of input.")
    }

    fn quoted(&mut self) -> PgResult<String> {
        let mut element = String::new();
        let text = self.text;
        let mut chars = text[self.at..].char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '\\' => match chars.next() {
                    Some((_, escaped)) => element.push(escaped),
                    None => break,
                },
                '"' => {
                    self.at += offset + 1;
                    self.skip_space();
                    return match self.peek() {
                        None => Err(self.unexpected_end()),
                        Some(b) if b == self.delimiter || b == b'{' || b == b'}' => Ok(element),
                        Some(_) => Err(self.malformed("Incorrectly quoted array element.")),
                    };
                }
                c => element.push(c),
            }
        }
        Err(self.unexpected_end())
    }

    /// An element without quotes, up to the last character that is no blank; `None` for NULL.
    fn unquoted(&mut self) -> PgResult<Option<String>> {
        let mut element = String::new();
        let (mut len, mut escaped) = (0, false);
        let text = self.text;
        let mut chars = text[self.at..].char_indices();
        while let Some((offset, c)) = chars.next() {
            match c {
                '{' => return Err(self.malformed("Unexpected \"{\" character.")),
                '"' => return Err(self.malformed("Incorrectly quoted array element.")),
                '\\' => {
                    let Some((_, c)) = chars.next() else { break };
                    element.push(c);
                    len = element.len();
                    escaped = true;
                }
                _ if c == '}' || c == char::from(self.delimiter) => {
                    self.at += offset;
                    element.truncate(len);
                    let is_null = !escaped && element.eq_ignore_ascii_case("null");
                    return Ok(if is_null { None } else { Some(element) });
                }
                c => {
                    element.push(c);
                    if !u8::try_from(c).is_ok_and(is_space) {
                        len = element.len();
                    }
                }
            }
        }
        Err(self.unexpected_end())
    }
}

/// Appends an array as text, each element by `write`.
pub(crate) fn array_out(array: &ArrayValue, env: &IoEnv, out: &mut Vec<u8>) {
    if array.elements.is_empty() {
        return out.extend_from_slice(b"{}");
    }
    if array.dims.iter().any(|d| d.lower_bound != 1) {
        for dim in &array.dims {
            let upper = i64::from(dim.lower_bound) + i64::from(dim.len) - 1;
            out.extend_from_slice(format!("[{}:{upper}]", dim.lower_bound).as_bytes());
        }
        out.push(b'=');
    }
    let mut elements = array.elements.iter();
    level_out(array, &array.dims, &mut elements, env, out);
}

fn level_out<'a>(
    array: &ArrayValue,
    dims: &[ArrayDim],
    elements: &mut impl Iterator<Item = &'a Datum>,
    env: &IoEnv,
    out: &mut Vec<u8>,
) {
    let Some((dim, inner)) = dims.split_first() else {
        match elements.next() {
            Some(Datum::Null) | None => out.extend_from_slice(b"NULL"),
            Some(element) => element_out(array.elem, element, env, out),
        }
        return;
    };
    out.push(b'{');
    for index in 0..dim.len {
        if index > 0 {
            out.push(delimiter(array.elem));
        }
        level_out(array, inner, elements, env, out);
    }
    out.push(b'}');
}

fn element_out(elem: Oid, element: &Datum, env: &IoEnv, out: &mut Vec<u8>) {
    let start = out.len();
    super::output(elem, element, env, out);
    let text = &out[start..];
    let special = |b: &u8| matches!(b, b'"' | b'\\' | b'{' | b'}') || *b == delimiter(elem) || is_space(*b);
    if text.is_empty() || text.eq_ignore_ascii_case(b"null") || text.iter().any(special) {
        quote(out, start, |_| b'\\');
    }
}

/// Puts what `out` holds from `start` on into quotation marks, with an escape before each quotation mark and backslash.
/// Within one another these double in number, so a text that is longer than any may be is left as it is.
fn quote(out: &mut Vec<u8>, start: usize, escape: impl Fn(u8) -> u8) {
    if out.len() - start > super::TEXT_BYTES_MAX {
        return;
    }
    let text = out.split_off(start);
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(escape(byte));
        }
        out.push(byte);
        if out.len() - start > super::TEXT_BYTES_MAX {
            return;
        }
    }
    out.push(b'"');
}

/// Appends the binary form of an array.
pub(crate) fn array_send(array: &ArrayValue, out: &mut Vec<u8>) {
    let mut put = |value: i32| out.extend_from_slice(&value.to_be_bytes());
    put(array.dims.len() as i32);
    put(i32::from(array.elements.iter().any(Datum::is_null)));
    put(array.elem.0.cast_signed());
    for dim in &array.dims {
        put(dim.len);
        put(dim.lower_bound);
    }
    for element in &array.elements {
        sized_send(array.elem, element, out);
    }
}

/// A value behind its length; NULL has the length -1.
fn sized_send(ty: Oid, value: &Datum, out: &mut Vec<u8>) {
    if value.is_null() {
        return out.extend_from_slice(&(-1i32).to_be_bytes());
    }
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    super::send(ty, value, out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

fn binary_error(message: String) -> PgError {
    PgError::new(SqlState::INVALID_BINARY_REPRESENTATION, message)
}

/// Reads the binary form of an array of `elem`.
pub(crate) fn array_recv(elem: Oid, typmod: i32, bytes: &[u8]) -> PgResult<ArrayValue> {
    let mut reader = Reader { bytes };
    let ndims = reader.i32()?;
    let Ok(dimensions) = usize::try_from(ndims) else {
        return Err(binary_error(format!("invalid number of dimensions: {ndims}")));
    };
    if dimensions > DIMENSIONS_MAX {
        return Err(PgError::new(
            SqlState::PROGRAM_LIMIT_EXCEEDED,
            format!("number of array dimensions ({ndims}) exceeds the maximum allowed ({DIMENSIONS_MAX})"),
        ));
    }
    if !matches!(reader.i32()?, 0 | 1) {
        return Err(binary_error("invalid array flags".into()));
    }
    let sent = Oid(reader.i32()?.cast_unsigned());
    // Rows are of types that only the catalog knows.
    let elem = if elem == oid::RECORD && TypeInfo::of(sent).is_none() { sent } else { elem };
    if sent != elem {
        return Err(PgError::new(
            SqlState::DATATYPE_MISMATCH,
            format!(
                "binary data has array element type {sent} ({}) instead of expected {elem} ({})",
                type_name(sent),
                type_name(elem)
            ),
        ));
    }
    let mut dims = Vec::with_capacity(dimensions);
    let mut count = 1usize;
    for _ in 0..dimensions {
        let (len, lower_bound) = (reader.i32()?, reader.i32()?);
        let factor = usize::try_from(len).map_err(|_| too_many_elements())?;
        count = count.checked_mul(factor).filter(|c| *c <= ELEMENTS_MAX).ok_or_else(too_many_elements)?;
        dims.push(ArrayDim::new(len, lower_bound)?);
    }
    if dims.is_empty() || count == 0 {
        reader.end()?;
        return Ok(ArrayValue { elem, dims: Vec::new(), elements: Vec::new() });
    }
    // Each element takes four bytes at least: a count beyond that is a lie, not to be allocated for.
    let mut elements = Vec::with_capacity(count.min(reader.bytes.len() / 4));
    for _ in 0..count {
        elements.push(reader.sized(elem, typmod)?);
    }
    reader.end()?;
    Ok(ArrayValue { elem, dims, elements })
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> PgResult<&'a [u8]> {
        let (head, rest) = self
            .bytes
            .split_at_checked(len)
            .ok_or_else(|| PgError::new(SqlState::PROTOCOL_VIOLATION, "insufficient data left in message"))?;
        self.bytes = rest;
        Ok(head)
    }

    fn i32(&mut self) -> PgResult<i32> {
        super::fixed(self.take(4)?).map(i32::from_be_bytes)
    }

    fn sized(&mut self, ty: Oid, typmod: i32) -> PgResult<Datum> {
        match self.i32()? {
            -1 => Ok(Datum::Null),
            len => {
                let len = usize::try_from(len).unwrap_or(usize::MAX);
                super::recv(ty, typmod, self.take(len)?)
            }
        }
    }

    fn end(&self) -> PgResult<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(binary_error("incorrect binary data format".into())) }
    }
}

/// `oidvector` and `int2vector`: numbers with blanks between them.
pub(crate) fn vector_in(
    elem: Oid,
    text: &str,
    read: &mut dyn FnMut(&str) -> PgResult<Datum>,
) -> PgResult<ArrayValue> {
    let words = text.split(|c: char| u8::try_from(c).is_ok_and(is_space)).filter(|w| !w.is_empty());
    let elements = words.map(read).collect::<PgResult<Vec<Datum>>>()?;
    Ok(vector(elem, elements))
}

/// An `oidvector` or `int2vector`: one dimension with subscripts from 0.
pub fn vector(elem: Oid, elements: Vec<Datum>) -> ArrayValue {
    let mut array = ArrayValue::from_elements(elem, elements);
    match array.dims.first_mut() {
        Some(dim) => dim.lower_bound = 0,
        None => array.dims.push(ArrayDim { len: 0, lower_bound: 0 }),
    }
    array
}

pub(crate) fn vector_out(array: &ArrayValue, env: &IoEnv, out: &mut Vec<u8>) {
    for (index, element) in array.elements.iter().enumerate() {
        if index > 0 {
            out.push(b' ');
        }
        super::output(array.elem, element, env, out);
    }
}

/// Appends a row value: `(1,"a b",)`, where nothing at all is NULL.
pub(crate) fn record_out(record: &RecordValue, env: &IoEnv, out: &mut Vec<u8>) {
    out.push(b'(');
    for (index, field) in record.fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if field.is_null() {
            continue;
        }
        let start = out.len();
        super::output(record.types.get(index).copied().unwrap_or(Oid::INVALID), field, env, out);
        let text = &out[start..];
        let special = |b: &u8| matches!(b, b'"' | b'\\' | b'(' | b')' | b',') || is_space(*b);
        if text.is_empty() || text.iter().any(special) {
            quote(out, start, |byte| byte);
        }
    }
    out.push(b')');
}

/// Appends the binary form of a row value: the number of fields, then type, length and bytes of each.
pub(crate) fn record_send(record: &RecordValue, out: &mut Vec<u8>) {
    out.extend_from_slice(&(record.fields.len() as u32).to_be_bytes());
    for (index, field) in record.fields.iter().enumerate() {
        let ty = record.types.get(index).copied().unwrap_or(Oid::INVALID);
        out.extend_from_slice(&ty.0.to_be_bytes());
        sized_send(ty, field, out);
    }
}

/// Reads the binary form of a row value, whose types it carries.
pub(crate) fn record_recv(bytes: &[u8]) -> PgResult<RecordValue> {
    let mut reader = Reader { bytes };
    let count = usize::try_from(reader.i32()?).unwrap_or(0);
    let mut record = RecordValue { types: Vec::new(), fields: Vec::new() };
    for _ in 0..count {
        let ty = Oid(reader.i32()?.cast_unsigned());
        record.types.push(ty);
        record.fields.push(reader.sized(ty, -1)?);
    }
    reader.end()?;
    Ok(record)
}
