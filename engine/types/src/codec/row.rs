//! Rows: the values of a table's columns, any one of which can be read without touching the others.
//!
//! ```text
//!   0        1        2..4      4..            ..                 ..
//!   version  flags    columns   null bitmap    end offsets        values
//!   01       bit 0:   u16 LE    1 bit each,    u16 or u32 LE      binary wire form, as `send` writes it
//!            wide                1 is NULL      each, from the
//!                                               start of values
//! ```
//!
//! The value of column `i` ends at offset `i` and begins where that of column `i - 1` ends. A row remembers how many
//! columns its table had when it was written: columns added since are not in it, and the reader knows their default
//! ([`RowView::column_count`]). Values are stored in the form that `send` writes, so that a binary result is a copy,
//! and common types are written as text straight from the stored bytes ([`text_of_value`]).

use crate::datum::Datum;
use crate::env::IoEnv;
use crate::error::{PgError, PgResult};
use crate::io;
use crate::oid::{self, Oid};

const VERSION: u8 = 1;
const WIDE_OFFSETS: u8 = 1;
const HEADER_LEN: usize = 4;

/// Builds a row at the end of a buffer: one `push` a column, in order. Columns not pushed are NULL.
pub struct RowWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    columns: usize,
    next: usize,
    wide: bool,
}

impl<'a> RowWriter<'a> {
    /// Begins a row of `columns` columns (at most `u16::MAX`; a table has at most 1,600) at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, columns: usize) -> RowWriter<'a> {
        let count = u16::try_from(columns).unwrap_or(u16::MAX);
        let columns = usize::from(count);
        let start = out.len();
        out.extend_from_slice(&[VERSION, 0]);
        out.extend_from_slice(&count.to_le_bytes());
        out.resize(start + values_start(columns, false), 0);
        RowWriter { out, start, columns, next: 0, wide: false }
    }

    /// The next column is `value`.
    pub fn push(&mut self, value: &Datum) {
        if value.is_null() {
            return self.push_null();
        }
        if self.next < self.columns {
            put_value(value, self.out);
            self.end_column();
        }
    }

    /// The next column has these stored bytes, taken from another row: an unchanged column of an UPDATE.
    pub fn push_stored(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.push_null(),
            Some(bytes) if self.next < self.columns => {
                self.out.extend_from_slice(bytes);
                self.end_column();
            }
            Some(_) => {}
        }
    }

    /// The next column is NULL.
    pub fn push_null(&mut self) {
        if self.next < self.columns {
            self.out[self.start + HEADER_LEN + self.next / 8] |= 1 << (self.next % 8);
            self.end_column();
        }
    }

    /// Ends the row.
    pub fn finish(mut self) {
        while self.next < self.columns {
            self.push_null();
        }
    }

    fn end_column(&mut self) {
        let mut end = self.out.len() - self.start - values_start(self.columns, self.wide);
        if end > usize::from(u16::MAX) && !self.wide {
            self.widen();
            end = self.out.len() - self.start - values_start(self.columns, true);
        }
        let slots = self.start + HEADER_LEN + self.columns.div_ceil(8);
        if self.wide {
            // Datums are far below 4 GB each, and so is a row that storage takes.
            let end = u32::try_from(end).unwrap_or(u32::MAX);
            self.out[slots + 4 * self.next..][..4].copy_from_slice(&end.to_le_bytes());
        } else {
            self.out[slots + 2 * self.next..][..2].copy_from_slice(&(end as u16).to_le_bytes());
        }
        self.next += 1;
    }

    /// Makes room for offsets of four bytes, once a row outgrows 64 KB.
    fn widen(&mut self) {
        let slots = self.start + HEADER_LEN + self.columns.div_ceil(8);
        let narrow: Vec<u8> = self.out[slots..slots + 2 * self.columns].to_vec();
        let wide = narrow.chunks_exact(2).flat_map(|b| [b[0], b[1], 0, 0]);
        self.out.splice(slots..slots + 2 * self.columns, wide);
        self.out[self.start + 1] |= WIDE_OFFSETS;
        self.wide = true;
    }
}

/// Appends a row of these values to `out`.
pub fn encode(values: &[Datum], out: &mut Vec<u8>) {
    let mut row = RowWriter::new(out, values.len());
    for value in values {
        row.push(value);
    }
    row.finish();
}

/// Appends the stored form of one value that is not NULL, without a row around it.
pub fn put_value(value: &Datum, out: &mut Vec<u8>) {
    io::send(Oid::INVALID, value, out);
}

/// Where the values begin, counted from the start of the row.
fn values_start(columns: usize, wide: bool) -> usize {
    HEADER_LEN + columns.div_ceil(8) + columns * if wide { 4 } else { 2 }
}

/// A stored row, read in place.
#[derive(Clone, Copy, Debug)]
pub struct RowView<'a> {
    nulls: &'a [u8],
    ends: &'a [u8],
    values: &'a [u8],
    columns: u16,
    wide: bool,
}

impl<'a> RowView<'a> {
    /// A view of the row in `bytes`. Fails if that cannot be one (XX001), or has a format of a later version.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> PgResult<RowView<'a>> {
        let [VERSION, flags, low, high, rest @ ..] = bytes else { return Err(bad_row(bytes)) };
        let columns = u16::from_le_bytes([*low, *high]);
        let wide = flags & WIDE_OFFSETS != 0;
        let count = usize::from(columns);
        let (Some((nulls, rest)), true) = (rest.split_at_checked(count.div_ceil(8)), *flags <= WIDE_OFFSETS)
        else {
            return Err(bad_row(bytes));
        };
        match rest.split_at_checked(count * if wide { 4 } else { 2 }) {
            Some((ends, values)) => Ok(RowView { nulls, ends, values, columns, wide }),
            None => Err(bad_row(bytes)),
        }
    }

    /// How many columns the table had when the row was written.
    pub fn column_count(&self) -> usize {
        usize::from(self.columns)
    }

    /// Whether column `index` is NULL. A column that the row does not have is NULL.
    #[inline]
    pub fn is_null(&self, index: usize) -> bool {
        index >= self.column_count() || self.nulls[index / 8] & (1 << (index % 8)) != 0
    }

    /// The stored bytes of column `index`; `None` if it is NULL or the row does not have it. Takes constant time.
    #[inline]
    pub fn column(&self, index: usize) -> PgResult<Option<&'a [u8]>> {
        if self.is_null(index) {
            return Ok(None);
        }
        let start = if index == 0 { 0 } else { self.end(index - 1) };
        match self.values.get(start..self.end(index)) {
            Some(value) => Ok(Some(value)),
            None => Err(bad_row(&[VERSION])),
        }
    }

    /// Column `index` as a value of type `ty`; NULL if the row does not have it.
    pub fn datum(&self, index: usize, ty: Oid) -> PgResult<Datum> {
        match self.column(index)? {
            Some(bytes) => get_value(ty, bytes),
            None => Ok(Datum::Null),
        }
    }

    fn end(&self, index: usize) -> usize {
        if self.wide {
            let at = 4 * index;
            u32::from_le_bytes([self.ends[at], self.ends[at + 1], self.ends[at + 2], self.ends[at + 3]])
                as usize
        } else {
            usize::from(u16::from_le_bytes([self.ends[2 * index], self.ends[2 * index + 1]]))
        }
    }
}

/// Reads every column of a row as values of `types`; columns that the row does not have are NULL.
pub fn decode(bytes: &[u8], types: &[Oid]) -> PgResult<Vec<Datum>> {
    let row = RowView::new(bytes)?;
    types.iter().enumerate().map(|(index, ty)| row.datum(index, *ty)).collect()
}

/// The value of type `ty` in the stored bytes of a column.
#[inline]
pub fn get_value(ty: Oid, bytes: &[u8]) -> PgResult<Datum> {
    // The keys and counters of OLTP, without a call.
    match (ty, bytes) {
        (oid::INT4, &[a, b, c, d]) => return Ok(Datum::Int4(i32::from_be_bytes([a, b, c, d]))),
        (oid::INT8, &[a, b, c, d, e, f, g, h]) => {
            return Ok(Datum::Int8(i64::from_be_bytes([a, b, c, d, e, f, g, h])));
        }
        _ => {}
    }
    // What was checked when it came in is not parsed again on every read.
    let ty = if ty == oid::JSON { oid::TEXT } else { ty };
    io::recv(ty, -1, bytes).map_err(|error| bad_value(ty, &error))
}

/// Appends column `index`, of type `ty`, as text to `out`. Answers whether there is a value: NULL appends nothing.
#[inline]
pub fn text_of_column(
    row: &RowView<'_>,
    index: usize,
    ty: Oid,
    env: &IoEnv,
    out: &mut Vec<u8>,
) -> PgResult<bool> {
    match row.column(index)? {
        Some(bytes) => text_of_value(bytes, ty, env, out).map(|()| true),
        None => Ok(false),
    }
}

/// Appends column `index` in binary to `out`. Answers whether there is a value: NULL appends nothing.
#[inline]
pub fn send_of_column(row: &RowView<'_>, index: usize, out: &mut Vec<u8>) -> PgResult<bool> {
    match row.column(index)? {
        Some(bytes) => {
            send_of_value(bytes, out);
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Appends the stored bytes of a column in binary to `out`: they are in that form already.
#[inline]
pub fn send_of_value(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(bytes);
}

/// Appends the stored bytes of a column of type `ty` as text to `out`. What OLTP reads most makes no [`Datum`].
#[inline]
pub fn text_of_value(bytes: &[u8], ty: Oid, env: &IoEnv, out: &mut Vec<u8>) -> PgResult<()> {
    if io::text_of_wire(ty, bytes, env, out) {
        return Ok(());
    }
    let value = get_value(ty, bytes)?;
    io::output(ty, &value, env, out);
    Ok(())
}

#[cold]
fn bad_row(bytes: &[u8]) -> PgError {
    match bytes.first() {
        Some(&VERSION) | None => PgError::corrupted("a stored row is damaged"),
        Some(version) => PgError::corrupted(format!("a stored row has the unknown format version {version}")),
    }
}

#[cold]
fn bad_value(ty: Oid, error: &PgError) -> PgError {
    PgError::corrupted("a stored value is damaged").detail(format!(
        "Reading it as {}: {}",
        crate::typeinfo::type_name(ty),
        error.message
    ))
}
