//! Rows of COPY FROM that are inserted together.
//!
//! As PostgreSQL does it, rows are gathered once they have passed their checks, up to a number of them and of bytes, and
//! then inserted: so what is wrong with the text or the checks of a row is found before what a row before it has in
//! common with another. An error of such an insertion tells the line, and not its text. Where a default or the condition
//! is volatile, each row is inserted before the next one is looked at.

use shardforge_types::{Datum, PgError};

use crate::storage::{FailedRow, TableWriter};

/// PostgreSQL's `MAX_BUFFERED_TUPLES`.
const ROWS_MAX: usize = 1000;

/// PostgreSQL's `MAX_BUFFERED_BYTES`, of the lines that the rows come from.
const BYTES_MAX: usize = 65_535;

/// Rows that have passed their checks, and the lines that they come from.
pub struct RowBatch {
    rows_max: usize,
    rows: Vec<Vec<Datum>>,
    lines: Vec<u64>,
    bytes: usize,
}

impl RowBatch {
    /// A batch of one row at a time, or of many.
    pub fn new(one_by_one: bool) -> RowBatch {
        let rows_max = if one_by_one { 1 } else { ROWS_MAX };
        RowBatch { rows_max, rows: Vec::new(), lines: Vec::new(), bytes: 0 }
    }

    /// Adds a row; `bytes` is the length of its line.
    pub fn push(&mut self, row: Vec<Datum>, line: u64, bytes: usize) {
        self.rows.push(row);
        self.lines.push(line);
        self.bytes += bytes;
    }

    /// Whether it takes no more rows.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= self.rows_max || self.bytes >= BYTES_MAX
    }

    /// Whether errors of the insertion tell no more than the line.
    pub fn hides_text(&self) -> bool {
        self.rows_max > 1
    }

    /// Inserts the rows and is empty then. Answers how many they were.
    ///
    /// # Errors
    /// That of the first row that could not be inserted, with its line.
    pub async fn insert(&mut self, writer: &TableWriter<'_>) -> Result<u64, (PgError, u64)> {
        if let Err(FailedRow { row, error }) = writer.insert_checked(&mut self.rows).await {
            return Err((error, self.lines.get(row).copied().unwrap_or_default()));
        }
        let count = self.rows.len() as u64;
        self.rows.clear();
        self.lines.clear();
        self.bytes = 0;
        Ok(count)
    }
}
