//! The client's COPY data, cut into rows and fields.
//!
//! Data arrives in pieces that have nothing to do with lines. [`CopyReader`] keeps what is not a whole row yet; a
//! row is only looked at when its end is there (or the data has ended).

use std::borrow::Cow;

use shardforge_types::{PgError, PgResult, SqlState};

use super::options::{CopyFormat, CopyOptions, Header};
use crate::session::wire::{invalid_utf8, text_of};

/// Longest row, in bytes.
const ROW_BYTES_MAX: usize = 1 << 30;
/// How a binary COPY begins.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";

/// A field of a row.
pub enum FieldText<'a> {
    /// Its text, escapes and quotes resolved.
    Text(Cow<'a, str>),
    /// The marker of NULL.
    Null,
    /// The marker of the column's default.
    Default,
    /// Binary; `None` is NULL.
    Binary(Option<&'a [u8]>),
}

/// The fields of a row.
pub struct RowFields<'a> {
    /// In order.
    pub list: Vec<FieldText<'a>>,
    /// The line (or, in binary, the row), from 1.
    line: u64,
}

impl RowFields<'_> {
    /// True if this is the header line.
    pub fn is_header(&self, options: &CopyOptions) -> bool {
        options.header != Header::None && self.line == 1
    }

    /// Checks a header line that must match.
    ///
    /// # Errors
    /// 22P04.
    pub fn check_header(&self, options: &CopyOptions, names: &[String]) -> PgResult<()> {
        if options.header != Header::Match {
            return Ok(());
        }
        let bad = |message: String| Err(PgError::new(SqlState::BAD_COPY_FILE_FORMAT, message));
        if self.list.len() != names.len() {
            return bad(format!(
                "wrong number of fields in header line: got {}, expected {}",
                self.list.len(),
                names.len()
            ));
        }
        for (i, (field, name)) in self.list.iter().zip(names).enumerate() {
            let found = match field {
                FieldText::Text(text) if **text == **name => continue,
                FieldText::Text(text) => format!("\"{text}\""),
                FieldText::Default => format!("\"{}\"", options.default.as_deref().unwrap_or_default()),
                FieldText::Null => format!("null value (\"{}\")", options.null),
                FieldText::Binary(_) => continue,
            };
            let field = i + 1;
            return bad(format!(
                "column name mismatch in header line field {field}: got {found}, expected \"{name}\""
            ));
        }
        Ok(())
    }
}

/// Cuts data into rows.
pub struct CopyReader {
    format: CopyFormat,
    delimiter: u8,
    quote: u8,
    escape: u8,
    /// Markers of NULL and of a column's default.
    null: String,
    default: Option<String>,
    columns: usize,
    data: Vec<u8>,
    /// Start of what has not been consumed.
    at: usize,
    /// Where the search for a row's end goes on, and whether it is inside quotes.
    scanned: usize,
    in_quotes: bool,
    ended: bool,
    finished: bool,
    line: u64,
    row: (usize, usize),
    signature_read: bool,
}

impl CopyReader {
    /// A reader for rows of so many columns.
    pub fn new(options: &CopyOptions, columns: usize) -> CopyReader {
        CopyReader {
            format: options.format,
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            null: options.null.clone(),
            default: options.default.clone(),
            columns,
            data: Vec::new(),
            at: 0,
            scanned: 0,
            in_quotes: false,
            ended: false,
            finished: false,
            line: 0,
            row: (0, 0),
            signature_read: false,
        }
    }

    /// Takes in more data.
    pub fn feed(&mut self, data: &[u8]) {
        if self.finished {
            return;
        }
        if self.at > 0 {
            self.data.drain(..self.at);
            self.scanned -= self.at;
            self.at = 0;
        }
        self.data.extend_from_slice(data);
    }

    /// No more data follows.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// The line (or, in binary, the row) that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The length of that line; 0 in binary.
    pub fn line_bytes(&self) -> usize {
        self.row.1 - self.row.0
    }

    /// The text of that line.
    pub fn current_line(&self) -> Option<String> {
        if self.format == CopyFormat::Binary {
            return None;
        }
        Some(String::from_utf8_lossy(self.data.get(self.row.0..self.row.1)?).into_owned())
    }

    /// The next row, if it is there whole.
    ///
    /// # Errors
    /// 22P04 and 22021 for damaged data, 54000 for a row that is too long.
    pub fn next_row(&mut self) -> PgResult<Option<RowFields<'_>>> {
        if self.finished {
            return Ok(None);
        }
        if self.format == CopyFormat::Binary {
            return self.next_binary();
        }
        let Some(end) = self.line_end()? else { return Ok(None) };
        let (start, stop, next) = end;
        self.at = next;
        self.scanned = next;
        self.line += 1;
        self.row = (start, stop);
        let line = &self.data[start..stop];
        if line == b"\\." && self.format == CopyFormat::Text {
            self.finished = true;
            return Ok(None);
        }
        let line = text_of(line)?;
        let fields = match self.format {
            CopyFormat::Csv => self.csv_fields(line)?,
            _ => self.text_fields(line)?,
        };
        // A table without columns has empty lines.
        if self.columns == 0 && line.is_empty() {
            return Ok(Some(RowFields { list: Vec::new(), line: self.line }));
        }
        Ok(Some(RowFields { list: fields, line: self.line }))
    }

    /// Start and end of the next line, and where the one after begins.
    fn line_end(&mut self) -> PgResult<Option<(usize, usize, usize)>> {
        let csv = self.format == CopyFormat::Csv;
        let mut i = self.scanned;
        while i < self.data.len() {
            let byte = self.data[i];
            if csv {
                if self.in_quotes && byte == self.escape && self.escape != self.quote {
                    i += 2;
                    continue;
                }
                if byte == self.quote {
                    self.in_quotes = !self.in_quotes;
                }
            } else if byte == b'\\' {
                // The escaped byte, a newline included, belongs to the line.
                if i + 1 < self.data.len() || self.ended {
                    i += 2;
                    continue;
                }
                break;
            }
            if byte == b'\n' && !self.in_quotes {
                let stop = if i > self.at && self.data[i - 1] == b'\r' { i - 1 } else { i };
                return Ok(Some((self.at, stop, i + 1)));
            }
            i += 1;
        }
        self.scanned = i.min(self.data.len());
        if self.data.len() - self.at > ROW_BYTES_MAX {
            return Err(PgError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, "a row of COPY data is too long"));
        }
        if !self.ended || self.at >= self.data.len() {
            return Ok(None);
        }
        if self.in_quotes {
            return Err(PgError::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field"));
        }
        Ok(Some((self.at, self.data.len(), self.data.len())))
    }

    fn text_fields<'a>(&self, line: &'a str) -> PgResult<Vec<FieldText<'a>>> {
        let mut fields = Vec::with_capacity(self.columns);
        let bytes = line.as_bytes();
        let mut start = 0;
        let mut i = 0;
        let mut escaped = false;
        loop {
            match bytes.get(i) {
                Some(b'\\') => {
                    escaped = true;
                    i += 2;
                }
                Some(byte) if *byte != self.delimiter => i += 1,
                end => {
                    let stop = i.min(bytes.len());
                    let raw = &line[start..stop];
                    // Markers are compared before backslashes are resolved.
                    fields.push(match self.marker(raw) {
                        Some(marker) => marker,
                        None if escaped => FieldText::Text(Cow::Owned(unescape(raw)?)),
                        None => FieldText::Text(Cow::Borrowed(raw)),
                    });
                    if end.is_none() {
                        return Ok(fields);
                    }
                    i += 1;
                    start = i;
                    escaped = false;
                }
            }
        }
    }

    /// What an unquoted field stands for, if it is a marker.
    fn marker<'a>(&self, raw: &str) -> Option<FieldText<'a>> {
        if raw == self.null {
            Some(FieldText::Null)
        } else if self.default.as_deref() == Some(raw) {
            Some(FieldText::Default)
        } else {
            None
        }
    }

    fn csv_fields<'a>(&self, line: &'a str) -> PgResult<Vec<FieldText<'a>>> {
        let mut fields = Vec::with_capacity(self.columns);
        let bytes = line.as_bytes();
        let mut i = 0;
        loop {
            let start = i;
            let mut owned: Option<Vec<u8>> = None;
            let mut in_quotes = false;
            loop {
                match bytes.get(i) {
                    None => break,
                    Some(byte) if in_quotes => {
                        let text = owned.get_or_insert_with(Vec::new);
                        let next = bytes.get(i + 1);
                        if *byte == self.escape && next.is_some_and(|n| *n == self.quote || *n == self.escape)
                        {
                            text.push(bytes[i + 1]);
                            i += 2;
                        } else if *byte == self.quote {
                            in_quotes = false;
                            i += 1;
                        } else {
                            text.push(*byte);
                            i += 1;
                        }
                    }
                    Some(byte) if *byte == self.delimiter => break,
                    Some(byte) if *byte == self.quote => {
                        owned.get_or_insert_with(|| bytes[start..i].to_vec());
                        in_quotes = true;
                        i += 1;
                    }
                    Some(byte) => {
                        if let Some(text) = &mut owned {
                            text.push(*byte);
                        }
                        i += 1;
                    }
                }
            }
            if in_quotes {
                return Err(PgError::new(SqlState::BAD_COPY_FILE_FORMAT, "unterminated CSV quoted field"));
            }
            fields.push(match owned {
                None => {
                    let raw = &line[start..i];
                    self.marker(raw).unwrap_or(FieldText::Text(Cow::Borrowed(raw)))
                }
                Some(bytes) => {
                    let text = String::from_utf8(bytes).map_err(|error| invalid_utf8(error.as_bytes(), 0))?;
                    FieldText::Text(Cow::Owned(text))
                }
            });
            if i >= bytes.len() {
                return Ok(fields);
            }
            i += 1;
        }
    }

    fn next_binary(&mut self) -> PgResult<Option<RowFields<'_>>> {
        let bad = |message: &str| PgError::new(SqlState::BAD_COPY_FILE_FORMAT, message);
        if !self.signature_read {
            let header = SIGNATURE.len() + 8;
            if self.data.len() - self.at < header {
                return if self.ended { Err(bad("COPY file signature not recognized")) } else { Ok(None) };
            }
            let start = &self.data[self.at..];
            if !start.starts_with(SIGNATURE) {
                return Err(bad("COPY file signature not recognized"));
            }
            let extension = be_u32(&start[SIGNATURE.len() + 4..]) as usize;
            if start.len() < header + extension {
                return if self.ended {
                    Err(bad("invalid COPY file header (missing length)"))
                } else {
                    Ok(None)
                };
            }
            self.at += header + extension;
            self.signature_read = true;
        }
        let start = self.at;
        let Some(count) = self.data.get(start..start + 2) else {
            return if self.ended && self.at < self.data.len() {
                Err(bad("unexpected EOF in COPY data"))
            } else {
                Ok(None)
            };
        };
        let count = i16::from_be_bytes([count[0], count[1]]);
        if count == -1 {
            self.finished = true;
            return Ok(None);
        }
        self.line += 1;
        if usize::try_from(count) != Ok(self.columns) {
            return Err(bad(&format!("row field count is {count}, expected {}", self.columns)));
        }
        let mut at = start + 2;
        let mut ranges = Vec::with_capacity(self.columns);
        for _ in 0..count {
            let Some(length) = self.data.get(at..at + 4) else {
                return self.incomplete(bad("unexpected EOF in COPY data"));
            };
            let length = be_u32(length) as i32;
            at += 4;
            if length == -1 {
                ranges.push(None);
                continue;
            }
            let Ok(length) = usize::try_from(length) else { return Err(bad("invalid field size")) };
            if length > ROW_BYTES_MAX {
                return Err(bad("invalid field size"));
            }
            if self.data.len() < at + length {
                return self.incomplete(bad("unexpected EOF in COPY data"));
            }
            ranges.push(Some(at..at + length));
            at += length;
        }
        self.at = at;
        self.scanned = at;
        let data = &self.data;
        let list =
            ranges.into_iter().map(|range| FieldText::Binary(range.map(|range| &data[range]))).collect();
        Ok(Some(RowFields { list, line: self.line }))
    }

    /// A row that is not there whole: more data may bring it.
    fn incomplete(&mut self, error: PgError) -> PgResult<Option<RowFields<'_>>> {
        if self.ended {
            return Err(error);
        }
        self.line -= 1;
        Ok(None)
    }
}

fn be_u32(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |value, byte| (value << 8) | u32::from(*byte))
}

/// Resolves backslash escapes of the text format.
fn unescape(raw: &str) -> PgResult<String> {
    let bytes = raw.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        if bytes[i] != b'\\' || i + 1 == bytes.len() {
            out.push(bytes[i]);
            i += 1;
            continue;
        }
        let digits = |from: usize, max: usize, radix: u32| {
            let len = bytes[from..].iter().take(max).take_while(|b| (**b as char).is_digit(radix)).count();
            let text = std::str::from_utf8(&bytes[from..from + len]).unwrap_or("");
            u32::from_str_radix(text, radix).ok().map(|value| (value as u8, len))
        };
        i += 1;
        match bytes[i] {
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'0'..=b'7' => {
                if let Some((value, len)) = digits(i, 3, 8) {
                    out.push(value);
                    i += len - 1;
                }
            }
            b'x' => match digits(i + 1, 2, 16) {
                Some((value, len)) => {
                    out.push(value);
                    i += len;
                }
                None => out.push(b'x'),
            },
            other => out.push(other),
        }
        i += 1;
    }
    text_of(&out).map(str::to_owned)
}
