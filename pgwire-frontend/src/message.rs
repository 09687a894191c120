//! Reading the client's messages in place.
//!
//! A frontend message is a type byte, an int32 length that counts itself, and a body. [`Frame::peek`]
//! finds the first one in a buffer and checks its type and length before its body has arrived; a
//! [`Cursor`] then reads the body's fields without copying. The messages are few and regular, so this is
//! shorter, and cheaper on the path of Bind and Execute, than to build a value of each.

use shardforge_types::{PgError, PgResult, SqlState};

use crate::encode::fatal;
use crate::limits::{MESSAGE_BYTES_MAX, SMALL_MESSAGE_BYTES_MAX};

/// Type byte and length word.
pub(crate) const HEADER_BYTES: usize = 5;

/// A message whose header has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    /// Header included.
    pub(crate) bytes: usize,
}

impl Frame {
    /// The first message of `input`, whose body may still be on its way; `None` if not even its header is there.
    pub(crate) fn peek(input: &[u8]) -> PgResult<Option<Frame>> {
        let Some(&kind) = input.first() else { return Ok(None) };
        let bytes_max = match kind {
            b'Q' | b'P' | b'B' | b'F' | b'd' => MESSAGE_BYTES_MAX,
            b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' | b'p' => SMALL_MESSAGE_BYTES_MAX,
            other => return Err(fatal_violation(format!("invalid frontend message type {other}"))),
        };
        let Some(length) = input.get(1..HEADER_BYTES) else { return Ok(None) };
        let length = i32::from_be_bytes([length[0], length[1], length[2], length[3]]);
        match usize::try_from(length) {
            Ok(length) if (4..=bytes_max).contains(&length) => Ok(Some(Frame { kind, bytes: length + 1 })),
            _ => Err(fatal_violation("invalid message length")),
        }
    }
}

/// Reads the fields of a message's body one after another.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Cursor<'a> {
        Cursor { rest: body }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn take(&mut self, count: usize) -> PgResult<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(protocol_violation("insufficient data left in message"));
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> PgResult<[u8; N]> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(protocol_violation("insufficient data left in message"));
        };
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> PgResult<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> PgResult<u16> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> PgResult<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> PgResult<u32> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> PgResult<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    /// A string that ends with a zero byte, which must be UTF-8.
    pub(crate) fn string(&mut self) -> PgResult<&'a str> {
        let Some(end) = memchr::memchr(0, self.rest) else {
            return Err(protocol_violation("invalid string in message"));
        };
        let (text, rest) = (&self.rest[..end], &self.rest[end + 1..]);
        self.rest = rest;
        utf8(text)
    }

    /// The body must be used up.
    pub(crate) fn end(&self) -> PgResult<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(protocol_violation("invalid message format")) }
    }
}

/// The text, or PostgreSQL's error naming the first bytes that are not UTF-8.
pub(crate) fn utf8(text: &[u8]) -> PgResult<&str> {
    std::str::from_utf8(text).map_err(|error| {
        let bad = &text[error.valid_up_to()..];
        let announced = match bad.first() {
            Some(0xc0..=0xdf) => 2,
            Some(0xe0..=0xef) => 3,
            Some(0xf0..=0xf7) => 4,
            _ => 1,
        };
        let bytes: Vec<String> = bad.iter().take(announced).map(|byte| format!("0x{byte:02x}")).collect();
        PgError::new(
            SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" ")),
        )
    })
}

/// A message that cannot be understood, but whose end is known: the connection goes on.
pub(crate) fn protocol_violation(message: impl Into<String>) -> PgError {
    PgError::new(SqlState::PROTOCOL_VIOLATION, message.into())
}

/// The stream cannot be followed any more.
pub(crate) fn fatal_violation(message: impl Into<String>) -> PgError {
    fatal(SqlState::PROTOCOL_VIOLATION, message)
}

pub(crate) fn unsupported_format(code: i16) -> PgError {
    PgError::new(SqlState::INVALID_PARAMETER_VALUE, format!("unsupported format code: {code}"))
}
