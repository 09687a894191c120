//! Where result rows go: the wire, a buffer, a COPY.

use std::sync::Arc;

use shardforge_types::codec::row;
use shardforge_types::{Datum, Oid, PgResult};

/// One column of a result row.
pub enum Field<'a> {
    /// NULL.
    Null,
    /// Stored bytes of a column (the binary wire form).
    Stored(&'a [u8]),
    /// A value that is not NULL.
    Value(&'a Datum),
}

/// A row on its way to a sink.
pub trait OutputRow {
    /// How many columns it has.
    fn columns(&self) -> usize;

    /// Hands a column to `emit`.
    ///
    /// # Errors
    /// What computing the column raises, or `emit`.
    fn field(&self, index: usize, emit: &mut dyn FnMut(Field<'_>) -> PgResult<()>) -> PgResult<()>;
}

/// Takes rows.
pub trait RowSink: Send {
    /// Takes a row.
    ///
    /// # Errors
    /// What the row raises, or if a value has no form in the sink's format.
    fn row(&mut self, row: &dyn OutputRow) -> PgResult<()>;
}

impl OutputRow for [Datum] {
    fn columns(&self) -> usize {
        self.len()
    }

    fn field(&self, index: usize, emit: &mut dyn FnMut(Field<'_>) -> PgResult<()>) -> PgResult<()> {
        match &self[index] {
            Datum::Null => emit(Field::Null),
            value => emit(Field::Value(value)),
        }
    }
}

impl OutputRow for Vec<Datum> {
    fn columns(&self) -> usize {
        self.len()
    }

    fn field(&self, index: usize, emit: &mut dyn FnMut(Field<'_>) -> PgResult<()>) -> PgResult<()> {
        self.as_slice().field(index, emit)
    }
}

/// Takes rows that nobody wants to see.
pub struct Discard;

impl RowSink for Discard {
    fn row(&mut self, _: &dyn OutputRow) -> PgResult<()> {
        Ok(())
    }
}

/// Collects rows as values.
pub struct Collect {
    types: Arc<[Oid]>,
    /// The rows.
    pub rows: Vec<Vec<Datum>>,
}

impl Collect {
    /// For rows with these column types.
    pub fn new(types: Arc<[Oid]>) -> Collect {
        Collect { types, rows: Vec::new() }
    }
}

impl RowSink for Collect {
    fn row(&mut self, output: &dyn OutputRow) -> PgResult<()> {
        let mut values = Vec::with_capacity(output.columns());
        for (index, ty) in self.types.iter().enumerate() {
            output.field(index, &mut |field| {
                values.push(match field {
                    Field::Null => Datum::Null,
                    Field::Value(value) => value.clone(),
                    Field::Stored(bytes) => row::get_value(*ty, bytes)?,
                });
                Ok(())
            })?;
        }
        self.rows.push(values);
        Ok(())
    }
}
