//! The parameters of a Bind message, read in place.
//!
//! [`RawParams::decode`] checks the whole section once, so that going through the values later cannot
//! fail and copies nothing:
//!
//! ```text
//!   int16 n_formats, n_formats x int16, int16 n_values, n_values x (int32 length | -1 for NULL, bytes)
//! ```

use shardforge_types::PgResult;

use crate::backend::Format;
use crate::message::{Cursor, protocol_violation, unsupported_format};

/// All parameters of a Bind, borrowed from the input buffer.
#[derive(Debug, Clone, Copy)]
pub struct RawParams<'a> {
    formats: &'a [u8],
    values: &'a [u8],
    count: usize,
}

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawParam<'a> {
    /// How `value` is written.
    pub format: Format,
    /// The bytes, or `None` for NULL.
    pub value: Option<&'a [u8]>,
}

impl<'a> RawParams<'a> {
    /// No parameters.
    pub const EMPTY: RawParams<'static> = RawParams { formats: &[], values: &[], count: 0 };

    pub(crate) fn decode(cursor: &mut Cursor<'a>) -> PgResult<RawParams<'a>> {
        let n_formats = usize::from(cursor.u16()?);
        let formats = cursor.take(n_formats * 2)?;
        for code in formats.chunks_exact(2) {
            format_of_code(i16::from_be_bytes([code[0], code[1]]))?;
        }
        let count = usize::from(cursor.u16()?);
        if n_formats > 1 && n_formats != count {
            return Err(protocol_violation(format!(
                "bind message has {n_formats} parameter formats but {count} parameters"
            )));
        }
        let rest = cursor.rest();
        for _ in 0..count {
            let length = cursor.i32()?;
            if length >= 0 {
                cursor.take(length as usize)?;
            } else if length != -1 {
                return Err(protocol_violation("insufficient data left in message"));
            }
        }
        let values = &rest[..rest.len() - cursor.rest().len()];
        Ok(RawParams { formats, values, count })
    }

    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The parameters in order.
    pub fn iter(&self) -> RawParamsIter<'a> {
        RawParamsIter { params: *self, index: 0, rest: self.values }
    }

    fn format(&self, index: usize) -> Format {
        let at = match self.formats.len() {
            0 => return Format::Text,
            2 => 0,
            _ => index * 2,
        };
        if self.formats[at + 1] == 1 { Format::Binary } else { Format::Text }
    }
}

impl<'a> IntoIterator for RawParams<'a> {
    type Item = RawParam<'a>;
    type IntoIter = RawParamsIter<'a>;

    fn into_iter(self) -> RawParamsIter<'a> {
        self.iter()
    }
}

/// See [`RawParams::iter`].
#[derive(Debug, Clone)]
pub struct RawParamsIter<'a> {
    params: RawParams<'a>,
    index: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for RawParamsIter<'a> {
    type Item = RawParam<'a>;

    fn next(&mut self) -> Option<RawParam<'a>> {
        if self.index == self.params.count {
            return None;
        }
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let length = i32::from_be_bytes(*length);
        let (value, rest) = match usize::try_from(length) {
            Ok(length) => {
                let (value, rest) = rest.split_at_checked(length)?;
                (Some(value), rest)
            }
            Err(_) => (None, rest),
        };
        let format = self.params.format(self.index);
        self.index += 1;
        self.rest = rest;
        Some(RawParam { format, value })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.params.count - self.index;
        (left, Some(left))
    }
}

impl ExactSizeIterator for RawParamsIter<'_> {}

/// A format code of the protocol.
pub(crate) fn format_of_code(code: i16) -> PgResult<Format> {
    match code {
        0 => Ok(Format::Text),
        1 => Ok(Format::Binary),
        other => Err(unsupported_format(other)),
    }
}
