//! A foreign key, resolved for execution: both tables, how values compare, where keys are found.
//!
//! The two sides may have different types, as far as PostgreSQL lets them. Everything is compared as values of the
//! *referenced* columns' types ([`Key`]): a referencing value is converted first, and one that does not convert (an
//! integer that the other type cannot hold) equals no key.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::{ObjectId, ObjectLockMode};
use shardforge_types::codec::key::{self, KeyOrder};
use shardforge_types::{Datum, Oid, PgError, PgResult, oid};

use crate::bind::{self, BindContext};
use crate::catalog::{ColumnDesc, ForeignKeyDesc, IndexDesc, IndexState, TableDesc};
use crate::exec::env::EvalEnv;
use crate::exec::eval::CompiledExpr;
use crate::ir::Ty;
use crate::plan::ExecContext;
use crate::session::error::from_kv;
use crate::session::lock_kind::RELATION;
use crate::storage::{
    Converted, IndexLayout, KeyHead, KeyPart, KeySource, KeySpan, RowEvent, TableLayout, convert,
};

/// A foreign key with its tables.
pub struct Relationship {
    /// The constraint.
    pub fk: ForeignKeyDesc,
    /// The referencing table.
    pub child: Arc<TableDesc>,
    /// The referenced table.
    pub parent: Arc<TableDesc>,
    /// The referencing table, compiled.
    pub child_layout: Arc<TableLayout>,
    /// The referenced table, compiled.
    pub parent_layout: Arc<TableLayout>,
    casts: Vec<KeyCast>,
    /// Position of the referenced index in the layout's list; `None`: the rows are stored by it.
    target: Option<usize>,
}

/// How a referencing value becomes one of the referenced column's type.
pub enum KeyCast {
    /// It is one.
    Same,
    /// Both are integers.
    Integer,
    /// By an implicit cast.
    Expr(CompiledExpr),
}

/// A key, as values of the referenced columns.
pub struct Key {
    /// The values, in the constraint's order.
    pub values: Box<[Datum]>,
    /// Equal for equal keys, and for no others.
    pub bytes: Vec<u8>,
}

/// Which table is locked before the newest descriptors are read.
#[derive(Clone, Copy)]
pub enum Lock {
    /// The referenced one, whose rows are looked up and locked.
    Parent,
    /// The referencing one, whose rows are looked up.
    Child,
    /// The referencing one, whose rows are changed.
    ChildRows,
}

impl Relationship {
    /// The foreign key of an event; `None` if it is gone.
    ///
    /// # Errors
    /// What the lock raises, or an expression that no longer compiles.
    pub async fn of_event(cx: &ExecContext, event: &RowEvent, lock: Lock) -> PgResult<Option<Relationship>> {
        let Some((child, fk)) = find(cx, event) else { return Ok(None) };
        let (table, mode) = match lock {
            Lock::Parent => (fk.ref_table, ObjectLockMode::RowShare),
            Lock::Child => (child.oid, ObjectLockMode::RowShare),
            Lock::ChildRows => (child.oid, ObjectLockMode::RowExclusive),
        };
        let object = ObjectId { class: cx.env.catalog.database.0, kind: RELATION, id: u64::from(table.0) };
        cx.txn.lock_object(object, mode, cx.wait).await.map_err(from_kv)?;
        // Whoever held the lock may have changed the table.
        let Some((child, fk)) = find(cx, event) else { return Ok(None) };
        let parent =
            newest(cx, fk.ref_table).ok_or_else(|| PgError::internal("a referenced table is gone"))?;
        Relationship::new(cx, fk, child, parent).map(Some)
    }

    /// A foreign key between two tables.
    ///
    /// # Errors
    /// XX000 if the descriptors do not go together.
    pub fn new(
        cx: &ExecContext,
        fk: ForeignKeyDesc,
        child: Arc<TableDesc>,
        parent: Arc<TableDesc>,
    ) -> PgResult<Relationship> {
        let child_layout = cx.engine.layout(&child, &cx.env.catalog)?;
        let parent_layout = cx.engine.layout(&parent, &cx.env.catalog)?;
        let casts = fk
            .columns
            .iter()
            .zip(&fk.ref_columns)
            .map(|(from, to)| {
                key_cast(child.column(*from), parent.column(*to), &cx.env)?
                    .ok_or_else(|| PgError::internal("the columns of a foreign key do not compare"))
            })
            .collect::<PgResult<Vec<_>>>()?;
        let is_target = |index: &IndexDesc| index.oid == fk.ref_index;
        let position = parent.indexes.iter().position(is_target);
        let position = position.ok_or_else(|| PgError::internal("the referenced index is gone"))?;
        let target = match parent_layout.indexes.iter().position(|index| index.position == position) {
            None if parent_layout.key.is_none() => {
                return Err(PgError::internal("the referenced index has no layout"));
            }
            found => found,
        };
        Ok(Relationship { fk, child, parent, child_layout, parent_layout, casts, target })
    }

    /// The key that referencing values (none of them NULL) mean; `None` if there can be no such key.
    ///
    /// # Errors
    /// What a cast raises.
    pub fn key(&self, values: &[Datum], env: &EvalEnv) -> PgResult<Option<Key>> {
        let mut converted = Vec::with_capacity(values.len());
        for ((value, cast), attnum) in values.iter().zip(&self.casts).zip(&self.fk.ref_columns) {
            converted.push(match cast {
                KeyCast::Same => value.clone(),
                KeyCast::Integer => match convert(value.clone(), self.parent.column(*attnum).ty) {
                    Converted::Key(value) => value,
                    Converted::Null | Converted::BelowAll | Converted::AboveAll => return Ok(None),
                },
                KeyCast::Expr(expr) => expr.eval(&std::slice::from_ref(value), &[], env)?,
            });
        }
        Ok(Some(self.referenced_key(converted.into())))
    }

    /// The key with these values of the referenced columns.
    pub fn referenced_key(&self, values: Box<[Datum]>) -> Key {
        let mut bytes = Vec::with_capacity(16 * values.len());
        for (value, attnum) in values.iter().zip(&self.fk.ref_columns) {
            key::encode(self.parent.column(*attnum).ty, KeyOrder::default(), value, &mut bytes);
        }
        Key { values, bytes }
    }

    /// The key that a referencing row means; `None` if it references nothing.
    ///
    /// # Errors
    /// What a cast raises.
    pub fn key_of_child(&self, row: &[Datum], env: &EvalEnv) -> PgResult<Option<Key>> {
        let values: Vec<Datum> = self.fk.columns.iter().map(|n| row[*n as usize - 1].clone()).collect();
        if values.iter().any(Datum::is_null) {
            return Ok(None);
        }
        self.key(&values, env)
    }

    /// Where the row of a key is.
    pub fn target(&self, wanted: &Key) -> Target {
        let value_of = |position: usize| {
            let at = self.fk.ref_columns.iter().position(|attnum| *attnum as usize - 1 == position);
            at.map(|at| &wanted.values[at])
        };
        match self.target {
            None => {
                let parts = self.parent_layout.key.as_deref().unwrap_or(&[]);
                Target::Row(encode_parts(self.parent_layout.head, parts, &value_of))
            }
            Some(position) => {
                let index: &IndexLayout = &self.parent_layout.indexes[position];
                Target::Entry(encode_parts(index.head, &index.parts, &value_of))
            }
        }
    }

    /// Whether a stored row of the referenced table has a key.
    ///
    /// # Errors
    /// XX001 if it is damaged.
    pub fn row_has_key(&self, stored: &[u8], wanted: &Key) -> PgResult<bool> {
        let row = self.parent_layout.view(stored)?;
        let columns = self.fk.ref_columns.iter();
        let values = columns.map(|n| row.column(*n as usize - 1)).collect::<PgResult<Box<[Datum]>>>()?;
        Ok(self.referenced_key(values).bytes == wanted.bytes)
    }

    /// An index of the referencing table that leads to the rows with a key, with the span of the key in it; `None`
    /// if there is no such index. An index serves if the referencing columns are its first ones, in any order.
    pub fn spans_of_child(&self, wanted: &Key) -> Option<(Option<usize>, Vec<KeySpan>)> {
        let clustered = self.child_layout.key.as_deref().map(|parts| (None, self.child_layout.head, parts));
        let secondary = self.child_layout.indexes.iter().enumerate();
        let whole = |index: &IndexLayout| index.predicate.is_none() && index.state == IndexState::Public;
        let secondary = secondary.filter(|(_, index)| whole(index));
        let mut all = clustered.into_iter().chain(secondary.map(|(i, x)| (Some(i), x.head, &x.parts[..])));
        let (index, head, parts) = all.find(|(_, _, parts)| self.leads(parts))?;
        let mut bytes = head.begin(16);
        for part in &parts[..self.fk.columns.len()] {
            let KeySource::Column(position) = part.source else { return None };
            let at = self.fk.columns.iter().position(|attnum| *attnum as usize - 1 == position)?;
            match convert(wanted.values[at].clone(), part.ty) {
                Converted::Key(value) => key::encode(part.ty, part.order, &value, &mut bytes),
                Converted::Null | Converted::BelowAll | Converted::AboveAll => {
                    return Some((index, Vec::new()));
                }
            }
        }
        Some((index, vec![head.span_of(bytes, parts.len() == self.fk.columns.len())]))
    }

    /// Whether the first columns of an index are the referencing ones, and a referenced value has a key there.
    fn leads(&self, parts: &[KeyPart]) -> bool {
        let Some(first) = parts.get(..self.fk.columns.len()) else { return false };
        self.fk.columns.iter().zip(&self.casts).all(|(attnum, cast)| {
            let is_column =
                |part: &KeyPart| matches!(part.source, KeySource::Column(p) if p == *attnum as usize - 1);
            !matches!(cast, KeyCast::Expr(_)) && first.iter().any(is_column)
        })
    }
}

/// Where the row of a key is.
pub enum Target {
    /// Under this key.
    Row(Bytes),
    /// Where this entry of an index points to.
    Entry(Bytes),
}

fn encode_parts<'v>(
    head: KeyHead,
    parts: &[KeyPart],
    value_of: &dyn Fn(usize) -> Option<&'v Datum>,
) -> Bytes {
    let mut out = head.begin(16);
    for part in parts {
        if let KeySource::Column(position) = part.source
            && let Some(value) = value_of(position)
        {
            key::encode(part.ty, part.order, value, &mut out);
        }
    }
    head.seal(&mut out);
    Bytes::from(out)
}

/// How values of a referencing column compare with a referenced one: `None` if they do not.
///
/// # Errors
/// What binding raises.
pub fn key_cast(from: &ColumnDesc, to: &ColumnDesc, env: &EvalEnv) -> PgResult<Option<KeyCast>> {
    let is_integer = |ty: Oid| matches!(ty, oid::INT2 | oid::INT4 | oid::INT8);
    let is_text = |ty: Oid| matches!(ty, oid::TEXT | oid::VARCHAR);
    if from.ty == to.ty || (is_text(from.ty) && is_text(to.ty)) {
        return Ok(Some(KeyCast::Same));
    }
    if is_integer(from.ty) && is_integer(to.ty) {
        return Ok(Some(KeyCast::Integer));
    }
    let cx = BindContext::for_catalog_text(&env.catalog, &env.io);
    let Some(scalar) = bind::bind_key_cast(column_ty(from), column_ty(to), &cx)? else { return Ok(None) };
    Ok(Some(KeyCast::Expr(CompiledExpr::compile(&scalar, &|id| (id == bind::INPUT).then_some(0))?)))
}

/// A column's type.
pub fn column_ty(column: &ColumnDesc) -> Ty {
    Ty { oid: column.ty, typmod: column.typmod, collation: column.collation }
}

/// The constraint of an event, and its table.
fn find(cx: &ExecContext, event: &RowEvent) -> Option<(Arc<TableDesc>, ForeignKeyDesc)> {
    let child = newest(cx, event.table)?;
    let fk = child.foreign_key(event.constraint)?.clone();
    Some((child, fk))
}

/// The newest descriptor of a table that is locked: what is published, unless the transaction has changed it.
pub fn newest(cx: &ExecContext, table: Oid) -> Option<Arc<TableDesc>> {
    let known = cx.env.catalog.table(table).cloned();
    if cx.engine.catalog.version() == cx.env.catalog.version {
        return known;
    }
    let published = cx.engine.catalog.snapshot(cx.env.catalog.database);
    let published = published.as_ref().and_then(|catalog| catalog.table(table)).cloned();
    [known, published].into_iter().flatten().max_by_key(|table| table.version)
}
