//! [`Stored`]: a table's rows or an index as a range of keys, and the places in it where shards begin.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_types::codec::key;
use shardforge_types::{Datum, Oid};

use super::check::value_text;
use super::layout::key_order;
use super::{KeyHead, PREFIX_LEN, whole_range};
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

    /// All that is stored of a table: its rows, and the indexes with keys of their own.
    pub fn all_of(table: &Arc<TableDesc>) -> impl Iterator<Item = Stored> + '_ {
        let clustered = table.key == TableKey::Primary;
        let indexes =
            table.indexes.iter().enumerate().filter(move |(_, index)| !(clustered && index.primary));
        let places = std::iter::once(None).chain(indexes.map(|(position, _)| Some(position)));
        places.map(|index| Stored { table: table.clone(), index })
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

    /// The places before the first key, in each bucket, that begins with these values, one for each of the leading key
    /// columns.
    pub fn boundaries(&self, values: &[Datum]) -> Vec<Bytes> {
        let mut columns = Vec::new();
        for (column, value) in self.key_columns().unwrap_or_default().iter().zip(values) {
            key::encode(column.ty, key_order(column), value, &mut columns);
        }
        let head = self.head();
        head.buckets().map(|bucket| Bytes::from([&head.start_of(bucket)[..], &columns].concat())).collect()
    }

    /// The places where its buckets begin, the first with all that it has; none if its keys have no bucket.
    pub fn bucket_starts(&self) -> Vec<Bytes> {
        let head = self.head();
        if !head.is_hashed() {
            return Vec::new();
        }
        let others = head.buckets().skip(1).map(|bucket| Bytes::from(head.start_of(bucket)));
        std::iter::once(Bytes::copy_from_slice(head.prefix())).chain(others).collect()
    }

    /// A place in it as SPLIT AT writes it: `(1, 'x')`, and `bucket 3` or `bucket 3 (1, 'x')` if keys have buckets. `None`
    /// for its begin, and what does not part keys by their columns.
    pub fn boundary_text(&self, place: &[u8], env: &EvalEnv) -> Option<String> {
        let head = self.head();
        let bucket = place.get(PREFIX_LEN).filter(|_| head.is_hashed());
        let bucket = bucket.map(|bucket| format!("bucket {bucket}"));
        let values = self.values_text(head.columns(place), env);
        match (bucket, values) {
            (Some(bucket), None) if place.len() == head.len() => Some(bucket),
            (Some(bucket), Some(values)) => Some(format!("{bucket} {values}")),
            (_, values) => values,
        }
    }

    fn values_text(&self, mut rest: &[u8], env: &EvalEnv) -> Option<String> {
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

    /// What its keys begin with.
    fn head(&self) -> KeyHead {
        let buckets = self.index_desc().map_or(self.table.buckets, |index| index.buckets);
        KeyHead::new(self.storage(), buckets)
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
