//! [`LockRowsOp`]: locks the rows that a query has read, and checks those again that have changed meanwhile.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use futures::StreamExt;
use futures::stream;
use shardforge_kv::LockStrength;
use shardforge_types::{Datum, Oid, PgResult};

use super::arrays::value_at;
use super::error::from_df;
use super::operator::Operator;
use super::operators::{Batches, Correlated, batch_of, row_values};
use super::slots::Slots;
use crate::ir::RowWait;
use crate::plan::{ExecContext, LockedRow, lock_row};
use crate::storage::TableLayout;

/// One table's part in a [`LockRowsOp`].
pub struct LockTarget {
    pub layout: Arc<TableLayout>,
    /// Position of the row's key among the input's columns. NULL where a join found no row.
    pub key: usize,
    /// Positions of the table's columns among the input's, with those in the stored row.
    pub columns: Vec<(usize, usize)>,
    pub strength: LockStrength,
    pub wait: RowWait,
}

/// Locks rows one after the other. A row of which some part has a newer version than the snapshot shows is put
/// together anew, from the newest versions of what is locked and the same versions of everything else, and
/// `recheck` says whether it still belongs to the query, and with which values (`EvalPlanQual`).
pub struct LockRowsOp {
    pub schema: SchemaRef,
    pub types: Arc<[Oid]>,
    pub targets: Vec<LockTarget>,
    /// The query below over the input's row in place of its tables: at most one row, of the same columns. It is bound
    /// to the row with its newest values, followed by those that it had.
    pub recheck: Correlated,
    /// Whether rows may be locked before they are asked for. Otherwise a LIMIT above, or a cursor that is read row by
    /// row, leaves the others unlocked.
    pub ahead: bool,
    pub slots: Arc<Slots>,
}

struct Run {
    op: Arc<LockRowsOp>,
    input: SendableRecordBatchStream,
    cx: Arc<ExecContext>,
    context: Arc<TaskContext>,
    /// What was read last, and how much of it has been locked.
    batch: Option<(RecordBatch, usize)>,
}

impl Operator for LockRowsOp {
    fn describe(&self) -> String {
        "LockRows".to_owned()
    }

    fn start(
        self: Arc<Self>,
        mut inputs: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let run = Run { op: self, input: inputs.remove(0), cx, context, batch: None };
        Ok(stream::try_unfold(run, |mut run| async move {
            let batch = if run.op.ahead { run.next_batch().await? } else { run.next_row().await? };
            Ok(batch.map(|batch| (batch, run)))
        })
        .boxed())
    }
}

impl Run {
    async fn read(&mut self) -> PgResult<Option<RecordBatch>> {
        self.input.next().await.transpose().map_err(from_df)
    }

    async fn next_row(&mut self) -> PgResult<Option<RecordBatch>> {
        loop {
            let Some((batch, row)) = self.batch.take() else {
                let Some(batch) = self.read().await? else { return Ok(None) };
                self.batch = Some((batch, 0));
                continue;
            };
            if row == batch.num_rows() {
                continue;
            }
            let locked = self.lock(&batch, row).await?;
            let one = match locked {
                Locked::AsItWas => Some(batch.slice(row, 1)),
                Locked::Anew(values) => Some(batch_of(&self.op.schema, &self.op.types, &[values])?),
                Locked::Gone => None,
            };
            self.batch = Some((batch, row + 1));
            if one.is_some() {
                return Ok(one);
            }
        }
    }

    async fn next_batch(&mut self) -> PgResult<Option<RecordBatch>> {
        let Some(batch) = self.read().await? else { return Ok(None) };
        let mut rows = Vec::new();
        let mut same = true;
        for row in 0..batch.num_rows() {
            match self.lock(&batch, row).await? {
                Locked::AsItWas if same => {}
                Locked::AsItWas => rows.push(row_values(&batch, &self.op.types, row)?),
                changed => {
                    if same {
                        same = false;
                        for before in 0..row {
                            rows.push(row_values(&batch, &self.op.types, before)?);
                        }
                    }
                    if let Locked::Anew(values) = changed {
                        rows.push(values);
                    }
                }
            }
        }
        Ok(Some(if same { batch } else { batch_of(&self.op.schema, &self.op.types, &rows)? }))
    }

    async fn lock(&mut self, batch: &RecordBatch, row: usize) -> PgResult<Locked> {
        let mut values: Option<Vec<Datum>> = None;
        for target in &self.op.targets {
            let key = value_at(batch.column(target.key).as_ref(), self.op.types[target.key], row)?;
            let Datum::Bytea(key) = &key else { continue };
            let locked = lock_row(&self.cx, &target.layout, key, target.strength, target.wait).await?;
            let Some(LockedRow { moved_to, outcome }) = locked else { return Ok(Locked::Gone) };
            let Some(current) = outcome.current else { return Ok(Locked::Gone) };
            if !outcome.changed {
                continue;
            }
            let values = match &mut values {
                Some(values) => values,
                none => none.insert(row_values(batch, &self.op.types, row)?),
            };
            if let Some(key) = moved_to {
                values[target.key] = Datum::Bytea(key[..].into());
            }
            let stored = target.layout.view(&current)?;
            for (position, column) in &target.columns {
                values[*position] = stored.column(*column)?;
            }
        }
        match values {
            None => Ok(Locked::AsItWas),
            Some(values) => self.check_again(values, row_values(batch, &self.op.types, row)?).await,
        }
    }

    /// Checks a row, given its values and those that it had.
    async fn check_again(&mut self, mut values: Vec<Datum>, before: Vec<Datum>) -> PgResult<Locked> {
        let recheck = &self.op.recheck;
        values.extend(before);
        let (bound, _) = recheck.bind(&self.cx, &values)?;
        let mut rows = recheck.run(bound, &self.context).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(from_df)?;
            if batch.num_rows() > 0 {
                return Ok(Locked::Anew(row_values(&batch, &recheck.types, 0)?));
            }
        }
        Ok(Locked::Gone)
    }
}

/// What became of a row when it was locked.
enum Locked {
    AsItWas,
    /// It has changed, and still belongs to the query.
    Anew(Vec<Datum>),
    /// It is deleted, does not belong to the query any more, or is skipped.
    Gone,
}
