//! Referenced keys that are gone: who references them, and what becomes of those rows.

use bytes::Bytes;
use hashbrown::HashMap;
use shardforge_kv::{IsolationLevel, LockStrength, Visibility};
use shardforge_types::{Datum, PgError, PgResult};

use super::check::is_referenced_there;
use super::relationship::{Key, Relationship, column_ty};
use crate::bind::{self, BindContext};
use crate::catalog::ReferentialAction;
use crate::exec::eval::{CompiledExpr, NoRow};
use crate::plan::{ExecContext, KeySet};
use crate::session::error::{from_kv, from_kv_row_lock};
use crate::storage::{RowChange, RowEvent, ScanRow, TableScan, TableWriter};

/// Rows read at a time.
const BATCH_ROWS: usize = 1024;

/// Keys that are gone, each once.
struct Gone {
    keys: Vec<GoneKey>,
    /// Their places in `keys`, by the key's bytes.
    places: HashMap<Vec<u8>, usize>,
}

struct GoneKey {
    key: Key,
    /// What it has become; `None` if its row was deleted.
    new: Option<Box<[Datum]>>,
    /// The first event that tells of it.
    event: usize,
}

impl Gone {
    fn of(rel: &Relationship, events: &[&RowEvent]) -> Gone {
        let mut gone = Gone { keys: Vec::new(), places: HashMap::new() };
        for (event, noted) in events.iter().enumerate() {
            let RowChange::Referenced { old, new } = &noted.change else { continue };
            let key = rel.referenced_key(old.clone());
            gone.places.entry(key.bytes.clone()).or_insert_with(|| {
                gone.keys.push(GoneKey { key, new: new.clone(), event });
                gone.keys.len() - 1
            });
        }
        gone
    }

    /// The key that a stored referencing row has, if it is one of these.
    fn of_row(&self, cx: &ExecContext, rel: &Relationship, stored: &[u8]) -> PgResult<Option<usize>> {
        let view = rel.child_layout.view(stored)?;
        let columns = rel.fk.columns.iter();
        let values = columns.map(|n| view.column(*n as usize - 1)).collect::<PgResult<Vec<_>>>()?;
        if values.iter().any(Datum::is_null) {
            return Ok(None);
        }
        let key = rel.key(&values, &cx.env)?;
        Ok(key.and_then(|key| self.places.get(&key.bytes).copied()))
    }
}

/// Keys that must not be referenced any more: answers the positions of the events whose keys are, in no order.
/// A key that another row has now is as good as ever, unless the constraint says RESTRICT.
///
/// A row that references a key is locked KEY SHARE, as PostgreSQL does it: whoever deletes it, or changes its keys, is
/// waited for, and then it may not reference the key any more.
///
/// # Errors
/// What locks and the store raise; 40001 for a row that is there no more, to a transaction with one snapshot.
pub async fn still_referenced(
    cx: &ExecContext,
    rel: &Relationship,
    events: &[&RowEvent],
    restrict: bool,
) -> PgResult<Vec<usize>> {
    let gone = Gone::of(rel, events);
    let mut looked_for = vec![true; gone.keys.len()];
    if !restrict {
        for (position, one) in gone.keys.iter().enumerate() {
            looked_for[position] = !is_referenced_there(cx, rel, &one.key).await?;
        }
    }
    let by_index = gone.keys.first().is_some_and(|gone| rel.spans_of_child(&gone.key).is_some());
    let mut failed = Vec::new();
    if by_index {
        for (position, one) in gone.keys.iter().enumerate() {
            if looked_for[position] && has_child(cx, rel, &gone, position).await? {
                failed.push(one.event);
            }
            cx.env.session.host.check_canceled()?;
        }
    } else {
        let found = scanned(cx, rel, &gone, looked_for).await?;
        failed.extend(found.into_iter().map(|position| gone.keys[position].event));
    }
    Ok(failed)
}

/// Whether a row that an index of the referencing table leads to references a key, by its position.
async fn has_child(cx: &ExecContext, rel: &Relationship, gone: &Gone, position: usize) -> PgResult<bool> {
    let Some((index, spans)) = rel.spans_of_child(&gone.keys[position].key) else {
        return Err(PgError::internal("no index leads to the referencing rows"));
    };
    let mut scan = TableScan::of_spans(&rel.child_layout, index, spans, Visibility::Latest);
    let mut rows = Vec::new();
    // Nearly always there is none, or the first one stays.
    let mut wanted = 1;
    while !scan.is_done() {
        rows.clear();
        scan.next_page(&cx.txn, wanted, &mut rows).await?;
        for row in &rows {
            if stays(cx, rel, gone, row, position).await? {
                return Ok(true);
            }
        }
        wanted = BATCH_ROWS;
    }
    Ok(false)
}

/// Reads the whole referencing table for rows with any of the keys that are looked for; answers which have some.
async fn scanned(
    cx: &ExecContext,
    rel: &Relationship,
    gone: &Gone,
    mut looked_for: Vec<bool>,
) -> PgResult<Vec<usize>> {
    let mut found = Vec::new();
    let mut scan = TableScan::whole(&rel.child_layout, Visibility::Latest);
    let mut rows = Vec::new();
    while !scan.is_done() && looked_for.contains(&true) {
        rows.clear();
        scan.next_page(&cx.txn, BATCH_ROWS, &mut rows).await?;
        for row in &rows {
            if let Some(position) = gone.of_row(cx, rel, &row.value)?
                && looked_for[position]
                && stays(cx, rel, gone, row, position).await?
            {
                looked_for[position] = false;
                found.push(position);
            }
        }
        cx.env.session.host.check_canceled()?;
    }
    Ok(found)
}

/// Locks a row that references a key, so that it goes on doing so; false if it does not any more.
async fn stays(
    cx: &ExecContext,
    rel: &Relationship,
    gone: &Gone,
    row: &ScanRow,
    position: usize,
) -> PgResult<bool> {
    let lock_error = |error| from_kv_row_lock(error).context(rel.child_lock_statement(&cx.env));
    let locked = cx.txn.lock_newest(&row.key, LockStrength::KeyShare, cx.wait).await;
    if let Some(current) = locked.map_err(lock_error)?.current
        && gone.of_row(cx, rel, &current)? == Some(position)
    {
        return Ok(true);
    }
    if cx.isolation != IsolationLevel::ReadCommitted {
        // The lock for writing refuses a row that has changed, and says who changed it.
        let refused = cx.txn.lock_for_write(&row.key, LockStrength::KeyShare, cx.wait).await;
        refused.map_err(lock_error)?;
    }
    Ok(false)
}

/// CASCADE, SET NULL and SET DEFAULT: changes the rows that reference the keys.
///
/// # Errors
/// What writing these rows raises; 40001 for a row that is newer than the snapshot of the transaction.
pub async fn change_rows(
    cx: &ExecContext,
    rel: &Relationship,
    events: &[&RowEvent],
    on_delete: bool,
) -> PgResult<()> {
    let gone = Gone::of(rel, events);
    let mut writer = TableWriter::new(cx, &rel.child_layout);
    if cx.engine.catalog.version() != cx.env.catalog.version
        && let Some(newest) = cx.engine.catalog.snapshot(cx.env.catalog.database)
    {
        writer.watch_also(&newest);
    }
    let change = NewValues::of(cx, rel, on_delete)?;
    let changed = KeySet::new(&cx.engine, "rows changed by a foreign key");
    let mut work = Work { cx, rel, writer, change, changed };
    let outcome = work.all(&gone).await;
    outcome.map_err(|error| error.context(format!("SQL statement \"{}\"", statement(cx, rel, on_delete))))
}

struct Work<'a> {
    cx: &'a ExecContext,
    rel: &'a Relationship,
    writer: TableWriter<'a>,
    change: NewValues,
    /// Rows under their new keys: one that gets another key of the list is not changed again.
    changed: KeySet,
}

impl Work<'_> {
    async fn all(&mut self, gone: &Gone) -> PgResult<()> {
        let layout = &self.rel.child_layout;
        let mut rows = Vec::new();
        for position in 0..gone.keys.len() {
            let Some((index, spans)) = self.rel.spans_of_child(&gone.keys[position].key) else { break };
            let mut scan = TableScan::of_spans(layout, index, spans, Visibility::Latest);
            while !scan.is_done() {
                rows.clear();
                scan.next_page(&self.cx.txn, BATCH_ROWS, &mut rows).await?;
                for row in &rows {
                    self.row(&row.key, &gone.keys[position]).await?;
                }
            }
            self.cx.env.session.host.check_canceled()?;
            if position + 1 == gone.keys.len() {
                return Ok(());
            }
        }
        let mut scan = TableScan::whole(layout, Visibility::Latest);
        while !scan.is_done() {
            rows.clear();
            scan.next_page(&self.cx.txn, BATCH_ROWS, &mut rows).await?;
            for row in &rows {
                if let Some(position) = gone.of_row(self.cx, self.rel, &row.value)? {
                    self.row(&row.key, &gone.keys[position]).await?;
                }
            }
            self.cx.txn.spill_if_large().await.map_err(from_kv)?;
            self.cx.env.session.host.check_canceled()?;
        }
        Ok(())
    }

    /// Changes a row, if under its lock it still references the key.
    async fn row(&mut self, row_key: &Bytes, gone: &GoneKey) -> PgResult<()> {
        if self.changed.contains(row_key) {
            return Ok(());
        }
        let in_key = |position: &usize| self.rel.child_layout.key_columns.contains(position);
        let strength = match &self.change {
            NewValues::Delete => LockStrength::Update,
            NewValues::Set(columns) | NewValues::Follow(columns) => {
                if columns.iter().any(|(position, _)| in_key(position)) {
                    LockStrength::Update
                } else {
                    LockStrength::NoKeyUpdate
                }
            }
        };
        let mut outcome = self.writer.lock(row_key, strength).await?;
        let mut moved_to = None;
        if outcome.changed
            && let Some((key, now)) = self.writer.follow(row_key, strength).await?
        {
            (moved_to, outcome) = (Some(key), now);
        }
        let row_key = moved_to.as_ref().unwrap_or(row_key);
        let Some(current) = outcome.current else { return Ok(()) };
        let old = self.rel.child_layout.decode(&current)?;
        let key = self.rel.key_of_child(&old, &self.cx.env)?;
        if key.is_none_or(|key| key.bytes != gone.key.bytes) {
            return Ok(());
        }
        let mut new = old.clone();
        match &self.change {
            NewValues::Delete => return self.writer.delete(row_key, &old).await,
            NewValues::Set(values) => {
                for (position, value) in values {
                    new[*position] = match value {
                        None => Datum::Null,
                        Some(default) => default.eval(&NoRow, &[], &self.cx.env)?,
                    };
                }
            }
            NewValues::Follow(casts) => {
                let values = gone.new.as_deref().unwrap_or(&[]);
                for ((position, cast), value) in casts.iter().zip(values) {
                    new[*position] = match cast {
                        None => value.clone(),
                        Some(cast) => cast.eval(&std::slice::from_ref(value), &[], &self.cx.env)?,
                    };
                }
            }
        }
        let new_key = self.writer.update(row_key, &old, &mut new).await?;
        self.changed.insert(new_key)?;
        Ok(())
    }
}

/// What referencing rows become.
enum NewValues {
    /// They go.
    Delete,
    /// Columns by position get NULL or their default.
    Set(Vec<(usize, Option<CompiledExpr>)>),
    /// Columns by position get the new key, cast to their types.
    Follow(Vec<(usize, Option<CompiledExpr>)>),
}

impl NewValues {
    fn of(cx: &ExecContext, rel: &Relationship, on_delete: bool) -> PgResult<NewValues> {
        let bind = BindContext::for_catalog_text(&cx.env.catalog, &cx.env.io);
        let set = rel.fk.set_columns(on_delete);
        match rel.fk.action(on_delete) {
            ReferentialAction::Cascade if on_delete => Ok(NewValues::Delete),
            ReferentialAction::Cascade => {
                let pairs = rel.fk.columns.iter().zip(&rel.fk.ref_columns);
                let casts = pairs.map(|(to, from)| {
                    let (to_ty, from_ty) =
                        (column_ty(rel.child.column(*to)), column_ty(rel.parent.column(*from)));
                    let position = *to as usize - 1;
                    if to_ty.oid == from_ty.oid && (to_ty.typmod < 0 || to_ty.typmod == from_ty.typmod) {
                        return Ok((position, None));
                    }
                    let cast = bind::bind_assignment(from_ty, to_ty, &bind)?
                        .ok_or_else(|| PgError::internal("a key cannot be assigned"))?;
                    let cast = CompiledExpr::compile(&cast, &|id| (id == bind::INPUT).then_some(0))?;
                    Ok((position, Some(cast)))
                });
                casts.collect::<PgResult<_>>().map(NewValues::Follow)
            }
            ReferentialAction::SetDefault => {
                let defaults = set.iter().map(|attnum| {
                    let default = bind::column_default(&rel.child, *attnum, &bind)?;
                    let default =
                        default.map(|value| CompiledExpr::compile(&value, &|_| None)).transpose()?;
                    Ok((*attnum as usize - 1, default))
                });
                defaults.collect::<PgResult<_>>().map(NewValues::Set)
            }
            ReferentialAction::SetNull => {
                Ok(NewValues::Set(set.iter().map(|attnum| (*attnum as usize - 1, None)).collect()))
            }
            ReferentialAction::NoAction | ReferentialAction::Restrict => {
                Err(PgError::internal("this action changes no rows"))
            }
        }
    }
}

/// The statement that PostgreSQL would run, for the context of errors.
fn statement(cx: &ExecContext, rel: &Relationship, on_delete: bool) -> String {
    let schema = cx.env.catalog.schemas.get(&rel.child.schema).map_or("", |schema| schema.name.as_str());
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let column = |attnum: &i16| quoted(&rel.child.column(*attnum).name);
    let table = format!("{}.{}", quoted(schema), quoted(&rel.child.name));
    let action = rel.fk.action(on_delete);
    let set: Vec<String> = match action {
        ReferentialAction::Cascade if on_delete => Vec::new(),
        ReferentialAction::Cascade => {
            rel.fk.columns.iter().enumerate().map(|(i, n)| format!("{} = ${}", column(n), i + 1)).collect()
        }
        ReferentialAction::SetNull => {
            rel.fk.set_columns(on_delete).iter().map(|n| format!("{} = NULL", column(n))).collect()
        }
        _ => rel.fk.set_columns(on_delete).iter().map(|n| format!("{} = DEFAULT", column(n))).collect(),
    };
    let first = if action == ReferentialAction::Cascade { set.len() + 1 } else { 1 };
    let condition: Vec<String> = rel
        .fk
        .columns
        .iter()
        .enumerate()
        .map(|(i, n)| format!("${} OPERATOR(pg_catalog.=) {}", first + i, column(n)))
        .collect();
    let condition = condition.join(" AND ");
    if set.is_empty() {
        format!("DELETE FROM ONLY {table} WHERE {condition}")
    } else {
        format!("UPDATE ONLY {table} SET {} WHERE {condition}", set.join(", "))
    }
}
