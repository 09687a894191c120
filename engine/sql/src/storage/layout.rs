//! [`TableLayout`]: a table's descriptor, compiled for reading and writing rows.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_types::codec::key::{self, KeyOrder};
use shardforge_types::codec::row::{self, RowView};
use shardforge_types::{Datum, Oid, PgError, PgResult};

use super::{KeyHead, PREFIX_LEN};
use crate::catalog::{ColumnDesc, IndexColumn, IndexDesc, IndexKey, IndexState, TableDesc, TableKey};
use crate::exec::env::EvalEnv;
use crate::exec::eval::{CompiledExpr, RowSource};

/// Compiles an expression that the catalog stores as text, over a table's columns by position
/// (attribute number - 1).
pub type ExpressionCompiler<'a> = &'a dyn Fn(&str, &TableDesc) -> PgResult<CompiledExpr>;

/// A table as the executor sees it.
pub struct TableLayout {
    /// The descriptor.
    pub table: Arc<TableDesc>,
    /// What row keys begin with.
    pub head: KeyHead,
    /// Type of each column, by position.
    pub types: Vec<Oid>,
    /// Primary key columns; `None` when rows have a hidden id.
    pub key: Option<Vec<KeyPart>>,
    /// Indexes with storage of their own.
    pub indexes: Vec<IndexLayout>,
    /// Positions of the columns that a foreign key could reference: those of unique indexes over plain columns
    /// without predicate. Who changes none of them leaves the row's key alone, as row locks see it.
    pub key_columns: Vec<usize>,
    /// CHECK constraints: name and condition.
    pub checks: Vec<(String, CompiledExpr)>,
    /// Generated columns: position and expression.
    pub generated: Vec<(usize, CompiledExpr)>,
    missing: Vec<Option<Datum>>,
}

/// An index with storage of its own.
pub struct IndexLayout {
    /// Its position in [`TableDesc::indexes`].
    pub position: usize,
    /// What its keys begin with.
    pub head: KeyHead,
    /// What the keys of the table's rows begin with.
    rows: KeyHead,
    /// Key columns.
    pub parts: Vec<KeyPart>,
    /// UNIQUE, at every moment.
    pub unique: bool,
    /// Who may use it, and how.
    pub state: IndexState,
    /// UNIQUE, but rows with equal keys are let in and looked at later: entries are those of an index that is not
    /// unique.
    pub unique_later: bool,
    /// NULLS NOT DISTINCT.
    pub nulls_not_distinct: bool,
    /// WHERE of a partial index.
    pub predicate: Option<CompiledExpr>,
}

/// A key column.
pub struct KeyPart {
    /// What is indexed.
    pub source: KeySource,
    /// Its type.
    pub ty: Oid,
    /// Direction and place of NULLs.
    pub order: KeyOrder,
}

/// What a key column is made from.
pub enum KeySource {
    /// A column, by position.
    Column(usize),
    /// An expression over the columns.
    Expression(CompiledExpr),
}

/// An index entry that a row gives rise to.
pub struct IndexEntry {
    /// Full key.
    pub key: Vec<u8>,
    /// The key is the columns alone, so it must not exist yet.
    pub must_be_unique: bool,
    /// Length of the part of the key that no two rows may share, sooner or later.
    pub unique_len: Option<usize>,
}

impl TableLayout {
    /// Compiles a descriptor.
    ///
    /// # Errors
    /// If an expression of the descriptor no longer compiles.
    pub fn compile(table: &Arc<TableDesc>, compile: ExpressionCompiler<'_>) -> PgResult<TableLayout> {
        let parts = |columns: &[IndexColumn]| -> PgResult<Vec<KeyPart>> {
            columns.iter().map(|column| KeyPart::compile(column, table, compile)).collect()
        };
        let key = match (table.key, table.primary_key()) {
            (TableKey::Primary, Some(index)) => Some(parts(&index.columns)?),
            (TableKey::Primary, None) => {
                return Err(PgError::internal(format!("table {} has no primary key", table.oid.0)));
            }
            (TableKey::RowId, _) => None,
        };
        let clustered = key.is_some();
        let head = KeyHead::new(table.storage, table.buckets);
        let indexes = table
            .indexes
            .iter()
            .enumerate()
            .filter(|(_, index)| !(clustered && index.primary))
            .map(|(position, index)| {
                Ok(IndexLayout {
                    position,
                    head: KeyHead::new(index.storage, index.buckets),
                    rows: head,
                    parts: parts(&index.columns)?,
                    unique: index.unique && !index.deferrable,
                    state: index.state,
                    unique_later: index.unique && index.deferrable,
                    nulls_not_distinct: index.nulls_not_distinct,
                    predicate: index.predicate.as_deref().map(|sql| compile(sql, table)).transpose()?,
                })
            })
            .collect::<PgResult<Vec<_>>>()?;
        let checks = table
            .checks
            .iter()
            .map(|check| Ok((check.name.clone(), compile(&check.sql, table)?)))
            .collect::<PgResult<Vec<_>>>()?;
        let generated = table
            .live_columns()
            .filter(|(_, column)| column.generated)
            .filter_map(|(attnum, column)| Some((attnum, column.default.as_ref()?)))
            .map(|(attnum, default)| Ok((attnum as usize - 1, compile(&default.sql, table)?)))
            .collect::<PgResult<Vec<_>>>()?;
        let missing = table.columns.iter().map(missing_value).collect::<PgResult<Vec<_>>>()?;
        Ok(TableLayout {
            table: table.clone(),
            head,
            types: table.columns.iter().map(|column| column.ty).collect(),
            key,
            indexes,
            key_columns: key_columns(table),
            checks,
            generated,
            missing,
        })
    }

    /// The key of a row with these values; `row_id` supplies the hidden id of a table without primary key.
    pub fn row_key(&self, row: &[Datum], row_id: impl FnOnce() -> u64) -> Bytes {
        let mut out = self.head.begin(16);
        match &self.key {
            Some(parts) => {
                for part in parts {
                    if let KeySource::Column(position) = part.source {
                        key::encode(part.ty, part.order, &row[position], &mut out);
                    }
                }
            }
            None => out.extend_from_slice(&row_id().to_be_bytes()),
        }
        self.head.seal(&mut out);
        Bytes::from(out)
    }

    /// The full key of the row that an index entry's value points to.
    pub fn key_of_entry(&self, value: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(PREFIX_LEN + value.len());
        out.extend_from_slice(self.head.prefix());
        out.extend_from_slice(value);
        Bytes::from(out)
    }

    /// The stored form of a row; one value a column, dropped ones NULL.
    pub fn encode(&self, row: &[Datum]) -> Bytes {
        let mut out = Vec::with_capacity(64);
        row::encode(row, &mut out);
        Bytes::from(out)
    }

    /// Reads all columns of a stored row.
    ///
    /// # Errors
    /// XX001 if the bytes are damaged.
    pub fn decode(&self, value: &[u8]) -> PgResult<Vec<Datum>> {
        let row = self.view(value)?;
        (0..self.types.len()).map(|position| row.column(position)).collect()
    }

    /// A view of a stored row that reads single columns.
    ///
    /// # Errors
    /// XX001 if the bytes are damaged.
    pub fn view<'a>(&'a self, value: &'a [u8]) -> PgResult<StoredRow<'a>> {
        Ok(StoredRow { view: RowView::new(value)?, layout: self })
    }

    /// The descriptor of a secondary index.
    pub fn index_desc(&self, index: &IndexLayout) -> &IndexDesc {
        &self.table.indexes[index.position]
    }
}

impl IndexLayout {
    /// The entry of a row in this index; `None` if a partial index leaves it out.
    ///
    /// # Errors
    /// What the index's expressions raise.
    pub fn entry(&self, row: &[Datum], row_key: &[u8], env: &EvalEnv) -> PgResult<Option<IndexEntry>> {
        if let Some(predicate) = &self.predicate
            && predicate.eval(&row, &[], env)? != Datum::Bool(true)
        {
            return Ok(None);
        }
        let mut out = self.head.begin(16 + row_key.len());
        let mut any_null = false;
        for part in &self.parts {
            let computed;
            let value = match &part.source {
                KeySource::Column(position) => &row[*position],
                KeySource::Expression(expr) => {
                    computed = expr.eval(&row, &[], env)?;
                    &computed
                }
            };
            any_null |= value.is_null();
            key::encode(part.ty, part.order, value, &mut out);
        }
        self.head.seal(&mut out);
        let counts = !any_null || self.nulls_not_distinct;
        let must_be_unique = self.unique && counts;
        let unique_len = (counts && (self.unique || self.unique_later)).then_some(out.len());
        if !must_be_unique {
            out.extend_from_slice(self.rows.columns(row_key));
        }
        Ok(Some(IndexEntry { key: out, must_be_unique, unique_len }))
    }
}

impl KeyPart {
    fn compile(
        column: &IndexColumn,
        table: &TableDesc,
        compile: ExpressionCompiler<'_>,
    ) -> PgResult<KeyPart> {
        let source = match &column.key {
            IndexKey::Column(attnum) => KeySource::Column(*attnum as usize - 1),
            IndexKey::Expression(sql) => KeySource::Expression(compile(sql, table)?),
        };
        Ok(KeyPart { source, ty: column.ty, order: key_order(column) })
    }
}

/// The order of a key column's values.
pub(super) fn key_order(column: &IndexColumn) -> KeyOrder {
    KeyOrder { descending: column.desc, nulls_first: column.nulls_first }
}

fn key_columns(table: &TableDesc) -> Vec<usize> {
    let position = |column: &IndexColumn| match column.key {
        IndexKey::Column(attnum) => Some(attnum as usize - 1),
        IndexKey::Expression(_) => None,
    };
    let keys = table.indexes.iter().filter(|index| index.unique && index.predicate.is_none());
    let plain = keys.filter_map(|index| index.columns.iter().map(position).collect::<Option<Vec<_>>>());
    let mut columns: Vec<usize> = plain.flatten().collect();
    columns.sort_unstable();
    columns.dedup();
    columns
}

fn missing_value(column: &ColumnDesc) -> PgResult<Option<Datum>> {
    match &column.missing {
        None => Ok(None),
        Some(bytes) => Ok(Some(RowView::new(bytes)?.datum(0, column.ty)?)),
    }
}

/// A stored row of which single columns are read.
#[derive(Clone, Copy)]
pub struct StoredRow<'a> {
    view: RowView<'a>,
    layout: &'a TableLayout,
}

impl<'a> StoredRow<'a> {
    /// The value of a column by position; of a column added after the row was written, its default then.
    ///
    /// # Errors
    /// XX001 if the bytes are damaged.
    pub fn column(&self, position: usize) -> PgResult<Datum> {
        if position < self.view.column_count() {
            self.view.datum(position, self.layout.types[position])
        } else {
            Ok(self.layout.missing[position].clone().unwrap_or(Datum::Null))
        }
    }

    /// The stored bytes of a column (the binary wire form), `Some(None)` for NULL; `None` if the row
    /// is older than the column.
    pub fn stored(&self, position: usize) -> Option<PgResult<Option<&'a [u8]>>> {
        (position < self.view.column_count()).then(|| self.view.column(position))
    }
}

impl RowSource for StoredRow<'_> {
    fn column(&self, index: usize) -> PgResult<Datum> {
        StoredRow::column(self, index)
    }
}
