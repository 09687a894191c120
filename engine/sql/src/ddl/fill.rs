//! Filling new storage from existing rows: indexes, rewritten tables, and tables made from queries.

use std::sync::Arc;

use bytes::Bytes;
use shardforge_kv::Visibility;
use shardforge_types::{Datum, PgError, PgResult, SqlState};

use crate::catalog::TableDesc;
use crate::plan::{Collect, KeySet};
use crate::session::error::from_kv;
use crate::session::{Execution, PgSession};
use crate::storage::{ScanRow, TableLayout, TableScan, TableWriter};

/// Rows handled at a time.
const BATCH_ROWS: usize = 1024;

/// Computes a row of the new table from one of the old: `None` keeps it as it is.
pub type RowChange<'a> = &'a (dyn Fn(&mut Vec<Datum>) -> PgResult<()> + Send + Sync);

/// Makes the entries of a new index from the table's rows. Those who look are shown the command.
///
/// # Errors
/// 23505 if they are not unique; what the index's expressions raise.
pub async fn fill_index(
    session: &mut PgSession,
    command: &'static str,
    old: &Arc<TableDesc>,
    new: Arc<TableDesc>,
    position: usize,
) -> PgResult<()> {
    let catalog = session.catalog();
    let layout = session.engine.layout(old, &catalog)?;
    let new_layout = session.engine.layout(&new, &catalog)?;
    let index = new_layout
        .indexes
        .iter()
        .find(|index| index.position == position)
        .ok_or_else(|| PgError::internal("the new index has no layout"))?;
    let env = session.eval_env();
    let txn = session.ensure_txn().txn.clone();
    txn.begin_statement();
    let progress = session.show_progress(command, new.oid, new.indexes[position].oid);
    progress.phase("building index");
    let mut scan = TableScan::whole(&layout, Visibility::Current);
    let mut seen = KeySet::new(&session.engine, "unique keys");
    let mut rows: Vec<ScanRow> = Vec::new();
    while !scan.is_done() {
        rows.clear();
        scan.next_page(&txn, BATCH_ROWS, &mut rows).await?;
        progress.rows(rows.len());
        for row in &rows {
            // As the new descriptor has it: columns that the same statement adds are there, with their defaults.
            let values = new_layout.decode(&row.value)?;
            let Some(entry) = index.entry(&values, &row.key, &env)? else { continue };
            if let Some(len) = entry.unique_len
                && !seen.insert(Bytes::copy_from_slice(&entry.key[..len]))?
            {
                return Err(could_not_create(&new_layout, position, &values, &env));
            }
            let value = crate::storage::entry_value(&row.key);
            txn.put(Bytes::from(entry.key), value);
        }
        txn.spill_if_large().await.map_err(from_kv)?;
        session.check_canceled()?;
    }
    Ok(())
}

/// 23505 for a row whose key another one has.
pub fn could_not_create(
    layout: &TableLayout,
    position: usize,
    row: &[Datum],
    env: &crate::exec::env::EvalEnv,
) -> PgError {
    let index = &layout.table.indexes[position];
    let detail = crate::storage::key_text(layout, index, row, env);
    PgError::new(SqlState::UNIQUE_VIOLATION, format!("could not create unique index \"{}\"", index.name))
        .detail(format!("Key {detail} is duplicated."))
        .schema(crate::storage::schema_name(layout, env))
        .table(&*layout.table.name)
        .constraint(&*index.name)
}

/// Copies all rows of a table into the storage of its new descriptor, which must be fresh (indexes too),
/// changing each on the way.
///
/// # Errors
/// 23505, 23502 and 23514 if the rows do not fit the new descriptor; what `change` raises.
pub async fn rewrite(
    session: &mut PgSession,
    old: &Arc<TableDesc>,
    new: Arc<TableDesc>,
    change: RowChange<'_>,
) -> PgResult<()> {
    let catalog = session.catalog();
    let layout = session.engine.layout(old, &catalog)?;
    let new_layout = session.engine.layout(&new, &catalog)?;
    let env = session.eval_env();
    let txn = session.ensure_txn().txn.clone();
    txn.begin_statement();
    let engine = session.engine.clone();
    let mut scan = TableScan::whole(&layout, Visibility::Current);
    let mut seen = KeySet::new(&session.engine, "unique keys");
    let mut rows: Vec<ScanRow> = Vec::new();
    while !scan.is_done() {
        rows.clear();
        scan.next_page(&txn, BATCH_ROWS, &mut rows).await?;
        for row in &rows {
            let mut values = layout.decode(&row.value)?;
            values.resize(new_layout.types.len(), Datum::Null);
            change(&mut values)?;
            new_layout.check_row(&mut values, &env)?;
            let key = new_layout.row_key(&values, || engine.next_row_id());
            if new_layout.key.is_some() && !seen.insert(key.clone())? {
                return Err(could_not_create(&new_layout, 0, &values, &env));
            }
            for index in &new_layout.indexes {
                let Some(entry) = index.entry(&values, &key, &env)? else { continue };
                if let Some(len) = entry.unique_len
                    && !seen.insert(Bytes::copy_from_slice(&entry.key[..len]))?
                {
                    return Err(could_not_create(&new_layout, index.position, &values, &env));
                }
                txn.put(Bytes::from(entry.key), crate::storage::entry_value(&key));
            }
            txn.put(key, new_layout.encode(&values));
        }
        txn.spill_if_large().await.map_err(from_kv)?;
        session.check_canceled()?;
    }
    Ok(())
}

/// Inserts all rows of a query into a table whose columns they match by position; answers how many.
///
/// # Errors
/// What the query or the table's constraints raise.
pub async fn insert_all(
    session: &mut PgSession,
    table: Arc<TableDesc>,
    mut execution: Execution,
) -> PgResult<u64> {
    let Some((mut cursor, cx)) = execution.cursor.take().map(|running| *running) else { return Ok(0) };
    let catalog = session.catalog();
    let layout = session.engine.layout(&table, &catalog)?;
    let writer = TableWriter::new(&cx, &layout);
    let types: Arc<[shardforge_types::Oid]> = execution.output.iter().map(|c| c.col.ty.oid).collect();
    let mut count = 0;
    loop {
        let mut sink = Collect::new(types.clone());
        let progress = cursor.fetch(&cx, BATCH_ROWS, &mut sink).await?;
        writer.insert_many(&mut sink.rows).await.map_err(|failed| failed.error)?;
        count += sink.rows.len() as u64;
        cx.txn.spill_if_large().await.map_err(from_kv)?;
        if progress.done {
            return Ok(count);
        }
    }
}

/// Reads all rows and fails with what `check` says of the first that does not pass.
///
/// # Errors
/// What `check` raises.
pub async fn validate(
    session: &mut PgSession,
    table: &Arc<TableDesc>,
    check: &(dyn Fn(&[Datum]) -> PgResult<()> + Send + Sync),
) -> PgResult<()> {
    let catalog = session.catalog();
    let layout = session.engine.layout(table, &catalog)?;
    let txn = session.ensure_txn().txn.clone();
    txn.begin_statement();
    let mut scan = TableScan::whole(&layout, Visibility::Current);
    let mut rows: Vec<ScanRow> = Vec::new();
    while !scan.is_done() {
        rows.clear();
        scan.next_page(&txn, BATCH_ROWS, &mut rows).await?;
        for row in &rows {
            check(&layout.decode(&row.value)?)?;
        }
        session.check_canceled()?;
    }
    Ok(())
}
