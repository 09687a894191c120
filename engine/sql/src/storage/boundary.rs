//! [`Stored`]: a table's rows or an index as a range of keys, and the places in it where shards begin.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_types::codec::key;
use shardforge_types::{Datum, Oid};

use super::check::value_text;
use super::layout::key_order;
use super::{PREFIX_LEN, prefix, whole_range};
use crate::catalog::{IndexColumn, IndexDesc, Relation, StorageId, TableDesc, TableKey};
use crate::exec::env::EvalEnv;
use crate::func::quote_literal;

/// What has a range of keys of its own: the rows of a table, or an index.
pub struct Stored {
    /// The table.
    pub table: Arc<TableDesc>,
    /// Which of [`TableDesc::indexes`]; `None` for the rows themselves.
    index: Option<usize>,
}

impl Stored {
    /// What is stored of a relation; `None` for views and sequences.
    pub fn of(relation: &Relation) -> Option<Stored> {
        match relation {
            Relation::Table(table) => Some(Stored { table: table.clone(), index: None }),
            Relation::Index(table, position) => Some(Stored { table: table.clone(), index: Some(*position) }),
            Relation::View(_) | Relation::Sequence(_) => None,
        }
    }

    /// The relation's name.
    pub fn name(&self) -> &str {
        self.index_desc().map_or(&self.table.name, |index| &index.name)
    }

    /// What its keys begin with.
    pub fn storage(&self) -> StorageId {
        self.index_desc().map_or(self.table.storage, |index| index.storage)
    }

    /// All of its keys: from the first to before the second.
    pub fn range(&self) -> (Bytes, Bytes) {
        whole_range(self.storage())
    }

    /// The columns that its keys are made of; `None` for rows with hidden ids.
    pub fn key_columns(&self) -> Option<&[IndexColumn]> {
        let index = match (self.index_desc(), self.table.key) {
            (Some(index), _) => index,
            (None, TableKey::Primary) => self.table.primary_key()?,
            (None, TableKey::RowId) => return None,
        };
        Some(&index.columns)
    }

    /// The place before the first key that begins with these values, one for each of the leading key columns.
    pub fn boundary(&self, values: &[Datum]) -> Bytes {
        let mut out = Vec::from(prefix(self.storage()));
        for (column, value) in self.key_columns().unwrap_or_default().iter().zip(values) {
            key::encode(column.ty, key_order(column), value, &mut out);
        }
        Bytes::from(out)
    }

    /// A place in it as SPLIT AT writes it: `(1, 'x')`. `None` for its begin, and what does not part keys by their
    /// columns.
    pub fn boundary_text(&self, place: &[u8], env: &EvalEnv) -> Option<String> {
        let mut rest = place.get(PREFIX_LEN..)?;
        let mut values = Vec::new();
        for column in self.key_columns()? {
            if rest.is_empty() {
                break;
            }
            let value = key::decode(column.ty, key_order(column), &mut rest).ok()?;
            values.push(literal(column.ty, &value, env));
        }
        (!values.is_empty() && rest.is_empty()).then(|| format!("({})", values.join(", ")))
    }

    fn index_desc(&self) -> Option<&IndexDesc> {
        self.index.and_then(|position| self.table.indexes.get(position))
    }
}

/// A value as SQL writes it: numbers as they are, the rest in quotes.
fn literal(ty: Oid, value: &Datum, env: &EvalEnv) -> String {
    let text = value_text(ty, value, env);
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'-' | b'.'));
    match value {
        Datum::Null => text,
        Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) | Datum::Numeric(_) if is_number => text,
        Datum::Bool(value) => value.to_string(),
        _ => quote_literal(&text),
    }
}
