//! Our own operators: scans, functions in FROM, LIMIT, DISTINCT ON, set operations, correlated subqueries.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use hashbrown::{HashMap, HashSet};
use shardforge_types::codec::key::{self, KeyOrder};
use shardforge_types::{Datum, Oid, PgError, PgResult, SqlState};

use super::arrays::{ColumnBuilder, value_at};
use super::error::from_df;
use super::expr::BatchRow;
use super::operator::Operator;
use super::slots::Slots;
use crate::catalog::pg_catalog::{self, Hints, SystemScan};
use crate::exec::eval::{CompiledExpr, NoRow, RowSource};
use crate::func::{self, CallInfo};
use crate::plan::ExecContext;
use crate::storage::{AccessPath, ScanRow, TableLayout};

/// Rows in a batch that an operator makes.
pub const BATCH_ROWS: usize = 4096;
/// Results of a correlated subquery that are remembered.
const APPLY_CACHE_MAX: usize = 10_000;

pub(super) type Batches = BoxStream<'static, PgResult<RecordBatch>>;

/// A batch of rows of values.
///
/// # Errors
/// If a value is of another type than its column.
pub fn batch_of(schema: &SchemaRef, types: &[Oid], rows: &[Vec<Datum>]) -> PgResult<RecordBatch> {
    let mut builders: Vec<ColumnBuilder> = types.iter().map(|ty| ColumnBuilder::new(*ty)).collect();
    for row in rows {
        for (builder, value) in builders.iter_mut().zip(row) {
            builder.push(value)?;
        }
    }
    finish_batch(schema, builders, rows.len())
}

fn finish_batch(schema: &SchemaRef, builders: Vec<ColumnBuilder>, rows: usize) -> PgResult<RecordBatch> {
    let arrays = builders.into_iter().map(ColumnBuilder::finish).collect();
    make_batch(schema, arrays, rows)
}

/// A batch of arrays; also of none, where only the number of rows counts.
///
/// # Errors
/// If the arrays do not fit the schema.
pub fn make_batch(schema: &SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> PgResult<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
        .map_err(|error| PgError::internal(format!("query engine: {error}")))
}

/// The values of a row of a batch.
///
/// # Errors
/// XX001 if stored bytes are damaged.
pub fn row_values(batch: &RecordBatch, types: &[Oid], row: usize) -> PgResult<Vec<Datum>> {
    types.iter().enumerate().map(|(i, ty)| value_at(batch.column(i).as_ref(), *ty, row)).collect()
}

/// Batches made of chunks of rows.
fn batches_of_rows(
    schema: SchemaRef,
    types: Arc<[Oid]>,
    rows: impl Iterator<Item = PgResult<Vec<Datum>>> + Send + 'static,
) -> Batches {
    let mut rows = rows;
    stream::iter(std::iter::from_fn(move || {
        let mut chunk = Vec::new();
        for row in rows.by_ref() {
            match row {
                Ok(row) => chunk.push(row),
                Err(error) => return Some(Err(error)),
            }
            if chunk.len() == BATCH_ROWS {
                break;
            }
        }
        (!chunk.is_empty()).then(|| batch_of(&schema, &types, &chunk))
    }))
    .boxed()
}

/// Literal rows.
pub struct ValuesOp {
    pub schema: SchemaRef,
    pub types: Arc<[Oid]>,
    pub rows: Vec<Vec<CompiledExpr>>,
    pub slots: Arc<Slots>,
}

impl Operator for ValuesOp {
    fn describe(&self) -> String {
        format!("Values: {} rows", self.rows.len())
    }

    fn can_go_back(&self) -> bool {
        self.rows.len() > 1
    }

    fn start(self: Arc<Self>, _: Vec<SendableRecordBatchStream>, _: Arc<TaskContext>) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let (schema, types) = (self.schema.clone(), self.types.clone());
        let mut next = 0;
        let rows = std::iter::from_fn(move || {
            let row = self.rows.get(next)?;
            next += 1;
            Some(row.iter().map(|expr| expr.eval(&NoRow, &cx.params, &cx.env)).collect())
        });
        Ok(batches_of_rows(schema, types, rows))
    }
}

/// A scan of a stored table.
pub struct ScanOp {
    pub schema: SchemaRef,
    /// Positions in the stored row; past the last column: the row key, then tableoid.
    pub positions: Vec<usize>,
    pub types: Arc<[Oid]>,
    pub layout: Arc<TableLayout>,
    pub path: AccessPath,
    pub description: String,
    pub slots: Arc<Slots>,
}

impl Operator for ScanOp {
    fn describe(&self) -> String {
        self.description.clone()
    }

    fn can_go_back(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, _: Vec<SendableRecordBatchStream>, _: Arc<TaskContext>) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let scan = cx.scan(&self.layout, &self.path, false)?;
        Ok(stream::try_unfold((self, scan, cx), |(op, mut scan, cx)| async move {
            let mut rows: Vec<ScanRow> = Vec::new();
            while rows.is_empty() && !scan.is_done() {
                scan.next_page(&cx.txn, BATCH_ROWS, &mut rows).await?;
            }
            if rows.is_empty() {
                return Ok(None);
            }
            let batch = op.batch(&rows)?;
            Ok(Some((batch, (op, scan, cx))))
        })
        .boxed())
    }
}

impl ScanOp {
    fn batch(&self, rows: &[ScanRow]) -> PgResult<RecordBatch> {
        let mut builders: Vec<ColumnBuilder> = self.types.iter().map(|ty| ColumnBuilder::new(*ty)).collect();
        let width = self.layout.types.len();
        for row in rows {
            let stored = self.layout.view(&row.value)?;
            for (builder, position) in builders.iter_mut().zip(&self.positions) {
                if *position < width {
                    builder.push(&stored.column(*position)?)?;
                } else if *position == width {
                    builder.push(&Datum::bytea(&row.key[..]))?;
                } else {
                    builder.push(&Datum::Oid(self.layout.table.oid.0))?;
                }
            }
        }
        finish_batch(&self.schema, builders, rows.len())
    }
}

/// A scan of a virtual table.
pub struct SystemScanOp {
    pub schema: SchemaRef,
    pub types: Arc<[Oid]>,
    pub relation: Oid,
    pub columns: Vec<i16>,
    pub hints: Hints,
    pub name: String,
    pub slots: Arc<Slots>,
}

impl Operator for SystemScanOp {
    fn describe(&self) -> String {
        let how = if self.hints.is_empty() { "" } else { " (by key)" };
        format!("System Scan on {}{how}", self.name)
    }

    fn can_go_back(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, _: Vec<SendableRecordBatchStream>, _: Arc<TaskContext>) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let equalities = self
            .hints
            .resolve(|scalar| CompiledExpr::compile(scalar, &|_| None)?.eval(&NoRow, &cx.params, &cx.env));
        let rows = pg_catalog::scan(&SystemScan {
            catalog: &cx.env.catalog,
            session: &cx.env,
            relation: self.relation,
            columns: &self.columns,
            equalities: &equalities,
        });
        Ok(batches_of_rows(self.schema.clone(), self.types.clone(), rows.into_iter().map(Ok)))
    }
}

/// A function that yields rows: set-returning, or scalar (one row).
pub struct TableCall {
    pub func: Oid,
    pub info: CallInfo,
    pub args: Vec<CompiledExpr>,
    pub width: usize,
    pub retset: bool,
}

impl TableCall {
    fn rows(&self, row: &dyn RowSource, cx: &ExecContext) -> PgResult<func::TableRows> {
        let args =
            self.args.iter().map(|arg| arg.eval(row, &cx.params, &cx.env)).collect::<PgResult<Vec<_>>>()?;
        if self.retset {
            let function = func::table(self.func).ok_or_else(|| func::not_supported(self.func))?;
            return function.call(&args, &self.info, &cx.env);
        }
        let function = func::scalar(self.func).ok_or_else(|| func::not_supported(self.func))?;
        let value = function.call(&args, &self.info, &cx.env)?;
        let fields: func::TableRow = match value {
            Datum::Record(record) if self.width > 1 => record.fields.iter().cloned().collect(),
            Datum::Null if self.width > 1 => (0..self.width).map(|_| Datum::Null).collect(),
            value => std::iter::once(value).collect(),
        };
        Ok(Box::new(std::iter::once(Ok(fields))))
    }

    /// The fields of a yielded row: a composite value is spread over the columns.
    fn spread(&self, row: func::TableRow, out: &mut Vec<Datum>) {
        if row.len() == 1
            && self.width > 1
            && let Datum::Record(record) = &row[0]
        {
            out.extend(record.fields.iter().cloned());
        } else {
            out.extend(row);
        }
    }
}

/// Functions in lock step: the shorter ones are padded with NULL.
struct LockStep {
    calls: Arc<Vec<TableCall>>,
    rows: Vec<Option<func::TableRows>>,
}

impl LockStep {
    fn start(calls: &Arc<Vec<TableCall>>, row: &dyn RowSource, cx: &ExecContext) -> PgResult<LockStep> {
        let rows = calls.iter().map(|call| call.rows(row, cx).map(Some)).collect::<PgResult<_>>()?;
        Ok(LockStep { calls: calls.clone(), rows })
    }

    fn next(&mut self, out: &mut Vec<Datum>) -> PgResult<bool> {
        let mut any = false;
        for (call, rows) in self.calls.iter().zip(&mut self.rows) {
            match rows.as_mut().and_then(Iterator::next) {
                Some(row) => {
                    any = true;
                    call.spread(row?, out);
                }
                None => {
                    *rows = None;
                    out.extend(std::iter::repeat_n(Datum::Null, call.width));
                }
            }
        }
        Ok(any)
    }
}

/// Functions in FROM.
pub struct FunctionScanOp {
    pub schema: SchemaRef,
    pub types: Arc<[Oid]>,
    pub calls: Arc<Vec<TableCall>>,
    pub ordinality: bool,
    pub name: String,
    pub slots: Arc<Slots>,
}

impl Operator for FunctionScanOp {
    fn describe(&self) -> String {
        format!("Function Scan on {}", self.name)
    }

    fn can_go_back(&self) -> bool {
        true
    }

    fn start(self: Arc<Self>, _: Vec<SendableRecordBatchStream>, _: Arc<TaskContext>) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let mut step = LockStep::start(&self.calls, &NoRow, &cx)?;
        let (schema, types) = (self.schema.clone(), self.types.clone());
        let mut count = 0i64;
        let rows = std::iter::from_fn(move || {
            let mut row = Vec::with_capacity(self.types.len());
            match step.next(&mut row) {
                Err(error) => return Some(Err(error)),
                Ok(false) => return None,
                Ok(true) => {}
            }
            count += 1;
            if count % 1024 == 0
                && let Err(error) = cx.env.session.host.check_canceled()
            {
                return Some(Err(error));
            }
            if self.ordinality {
                row.push(Datum::Int8(count));
            }
            Some(Ok(row))
        });
        Ok(batches_of_rows(schema, types, rows))
    }
}

/// Set-returning functions in the select list.
pub struct ProjectSetOp {
    pub schema: SchemaRef,
    pub types: Arc<[Oid]>,
    pub input_types: Arc<[Oid]>,
    pub calls: Arc<Vec<TableCall>>,
    pub slots: Arc<Slots>,
}

impl Operator for ProjectSetOp {
    fn describe(&self) -> String {
        "ProjectSet".to_owned()
    }

    fn start(
        self: Arc<Self>,
        mut inputs: Vec<SendableRecordBatchStream>,
        _: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let input = inputs.remove(0);
        Ok(input
            .flat_map(move |batch| {
                let (op, cx) = (self.clone(), cx.clone());
                match batch {
                    Err(error) => stream::once(async move { Err(from_df(error)) }).boxed(),
                    Ok(batch) => op.expand(batch, cx),
                }
            })
            .boxed())
    }
}

impl ProjectSetOp {
    fn expand(self: Arc<Self>, batch: RecordBatch, cx: Arc<ExecContext>) -> Batches {
        let (schema, types) = (self.schema.clone(), self.types.clone());
        let mut at = 0;
        let mut current: Option<(LockStep, Vec<Datum>)> = None;
        let rows = std::iter::from_fn(move || {
            loop {
                if let Some((step, base)) = &mut current {
                    let mut row = base.clone();
                    match step.next(&mut row) {
                        Err(error) => return Some(Err(error)),
                        Ok(true) => return Some(Ok(row)),
                        Ok(false) => current = None,
                    }
                }
                if at == batch.num_rows() {
                    return None;
                }
                let source = BatchRow { batch: &batch, types: &self.input_types, row: at };
                let started = LockStep::start(&self.calls, &source, &cx)
                    .and_then(|step| Ok((step, row_values(&batch, &self.input_types, at)?)));
                at += 1;
                match started {
                    Ok(started) => current = Some(started),
                    Err(error) => return Some(Err(error)),
                }
            }
        });
        batches_of_rows(schema, types, rows)
    }
}

/// LIMIT and OFFSET, also WITH TIES (over key columns at the end of the input).
pub struct LimitOp {
    pub limit: Option<CompiledExpr>,
    pub offset: Option<CompiledExpr>,
    /// WITH TIES: positions of the sort key columns and their types.
    pub ties: Option<Vec<(usize, Oid)>>,
    /// Types of the second input, whose only row `limit` and `offset` are evaluated on; empty without one.
    pub bound_types: Arc<[Oid]>,
    pub slots: Arc<Slots>,
}

impl Operator for LimitOp {
    fn describe(&self) -> String {
        "Limit".to_owned()
    }

    fn can_go_back(&self) -> bool {
        true
    }

    fn start(
        self: Arc<Self>,
        mut inputs: Vec<SendableRecordBatchStream>,
        _: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let input = inputs.remove(0);
        let state = Limited { op: self, input, bounds: inputs.pop(), left: None, skip: 0, last: None };
        Ok(stream::try_unfold(state, move |mut state| {
            let cx = cx.clone();
            async move {
                if state.left.is_none() {
                    state.evaluate(&cx).await?;
                }
                Ok(state.next().await?.map(|batch| (batch, state)))
            }
        })
        .boxed())
    }
}

/// A LIMIT at work.
struct Limited {
    op: Arc<LimitOp>,
    input: SendableRecordBatchStream,
    bounds: Option<SendableRecordBatchStream>,
    /// Rows to skip.
    skip: u64,
    /// Rows to let through; `None` until the bounds are known.
    left: Option<u64>,
    /// WITH TIES, once the limit is reached: the key of the last row.
    last: Option<Vec<u8>>,
}

impl Limited {
    /// Finds out how many rows to skip and to keep.
    async fn evaluate(&mut self, cx: &ExecContext) -> PgResult<()> {
        let row = match &mut self.bounds {
            None => Vec::new(),
            Some(bounds) => match bounds.next().await {
                Some(batch) => row_values(&batch.map_err(from_df)?, &self.op.bound_types, 0)?,
                None => return Err(PgError::internal("the bounds of a LIMIT have no row")),
            },
        };
        let count = crate::plan::fast::count;
        let offset = self.op.offset.as_ref();
        let limit = self.op.limit.as_ref();
        let state = SqlState::INVALID_ROW_COUNT_IN_RESULT_OFFSET_CLAUSE;
        self.skip = count(offset, &row, cx, state, "OFFSET")?.unwrap_or(0);
        let state = SqlState::INVALID_ROW_COUNT_IN_LIMIT_CLAUSE;
        self.left = Some(count(limit, &row, cx, state, "LIMIT")?.unwrap_or(u64::MAX));
        Ok(())
    }

    async fn next(&mut self) -> PgResult<Option<RecordBatch>> {
        loop {
            let left = self.left.unwrap_or(0);
            if left == 0 && self.last.is_none() {
                return Ok(None);
            }
            let Some(batch) = self.input.next().await else { return Ok(None) };
            let mut batch = batch.map_err(from_df)?;
            let dropped = self.skip.min(batch.num_rows() as u64) as usize;
            self.skip -= dropped as u64;
            batch = batch.slice(dropped, batch.num_rows() - dropped);
            let mut keep = left.min(batch.num_rows() as u64) as usize;
            let left = left - keep as u64;
            self.left = Some(left);
            if let Some(keys) = &self.op.ties {
                if keep > 0 && left == 0 {
                    self.last = Some(tie_key(&batch, keys, keep - 1)?);
                }
                if let Some(wanted) = &self.last {
                    while keep < batch.num_rows() && tie_key(&batch, keys, keep)? == *wanted {
                        keep += 1;
                    }
                    if keep < batch.num_rows() {
                        self.last = None;
                    }
                }
            }
            if keep > 0 {
                return Ok(Some(batch.slice(0, keep)));
            }
        }
    }
}

fn tie_key(batch: &RecordBatch, keys: &[(usize, Oid)], row: usize) -> PgResult<Vec<u8>> {
    let mut out = Vec::new();
    for (position, ty) in keys {
        key::encode(*ty, KeyOrder::ASC, &value_at(batch.column(*position).as_ref(), *ty, row)?, &mut out);
    }
    Ok(out)
}

pub(super) fn row_key(batch: &RecordBatch, types: &[Oid], row: usize, out: &mut Vec<u8>) -> PgResult<()> {
    out.clear();
    for (i, ty) in types.iter().enumerate() {
        key::encode(*ty, KeyOrder::ASC, &value_at(batch.column(i).as_ref(), *ty, row)?, out);
    }
    Ok(())
}

/// DISTINCT and DISTINCT ON: keeps the first row of each key.
pub struct DistinctOp {
    /// Positions and types of the key columns.
    pub keys: Vec<(usize, Oid)>,
}

impl Operator for DistinctOp {
    fn describe(&self) -> String {
        "Unique".to_owned()
    }

    fn start(
        self: Arc<Self>,
        mut inputs: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let reservation = datafusion::execution::memory_pool::MemoryConsumer::new("distinct")
            .register(context.memory_pool());
        let state = (self, inputs.remove(0), HashSet::<Vec<u8>>::new(), reservation);
        Ok(stream::try_unfold(state, |(op, mut input, mut seen, reservation)| async move {
            let Some(batch) = input.next().await else { return Ok(None) };
            let batch = batch.map_err(from_df)?;
            let mut mask = Vec::with_capacity(batch.num_rows());
            for row in 0..batch.num_rows() {
                let key = tie_key(&batch, &op.keys, row)?;
                let size = key.len() + 48;
                let is_new = seen.insert(key);
                if is_new {
                    reservation.try_grow(size).map_err(from_df)?;
                }
                mask.push(is_new);
            }
            Ok(Some((filtered(&batch, mask)?, (op, input, seen, reservation))))
        })
        .boxed())
    }
}

pub(super) fn filtered(batch: &RecordBatch, mask: Vec<bool>) -> PgResult<RecordBatch> {
    compute::filter_record_batch(batch, &mask.into())
        .map_err(|error| PgError::internal(format!("query engine: {error}")))
}

/// One input after the other: UNION ALL keeps their order.
pub struct AppendOp {
    pub schema: SchemaRef,
}

impl Operator for AppendOp {
    fn describe(&self) -> String {
        "Append".to_owned()
    }

    fn start(
        self: Arc<Self>,
        inputs: Vec<SendableRecordBatchStream>,
        _: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        Ok(stream::iter(inputs)
            .flatten()
            .map(move |batch| {
                let batch = batch.map_err(from_df)?;
                make_batch(&self.schema, batch.columns().to_vec(), batch.num_rows())
            })
            .boxed())
    }
}

/// INTERSECT and EXCEPT, with and without ALL. The first input is filtered by what is in the second.
pub struct SetOp {
    pub except: bool,
    pub all: bool,
    pub types: Arc<[Oid]>,
    pub schema: SchemaRef,
}

impl Operator for SetOp {
    fn describe(&self) -> String {
        format!("{}{}", if self.except { "Except" } else { "Intersect" }, if self.all { " All" } else { "" })
    }

    fn start(
        self: Arc<Self>,
        mut inputs: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let (right, left) = (inputs.remove(1), inputs.remove(0));
        let reservation = datafusion::execution::memory_pool::MemoryConsumer::new("set operation")
            .register(context.memory_pool());
        let state = (self, left, Some(right), HashMap::<Vec<u8>, u64>::new(), reservation);
        Ok(stream::try_unfold(state, |(op, mut left, mut right, mut counts, reservation)| async move {
            let mut key = Vec::new();
            if let Some(mut right) = right.take() {
                while let Some(batch) = right.next().await {
                    let batch = batch.map_err(from_df)?;
                    for row in 0..batch.num_rows() {
                        row_key(&batch, &op.types, row, &mut key)?;
                        reservation.try_grow(key.len() + 56).map_err(from_df)?;
                        *counts.entry_ref(&key[..]).or_insert(0) += 1;
                    }
                }
            }
            let Some(batch) = left.next().await else { return Ok(None) };
            let batch = batch.map_err(from_df)?;
            let mut mask = Vec::with_capacity(batch.num_rows());
            for row in 0..batch.num_rows() {
                row_key(&batch, &op.types, row, &mut key)?;
                mask.push(op.keeps(&mut counts, &key));
            }
            let batch = RecordBatch::try_new(op.schema.clone(), batch.columns().to_vec())
                .or_else(|_| make_batch(&op.schema, batch.columns().to_vec(), batch.num_rows()))?;
            Ok(Some((filtered(&batch, mask)?, (op, left, right, counts, reservation))))
        })
        .boxed())
    }
}

impl SetOp {
    fn keeps(&self, counts: &mut HashMap<Vec<u8>, u64>, key: &[u8]) -> bool {
        match (self.except, self.all) {
            // Each row of the right side takes one equal row away.
            (true, true) => match counts.get_mut(key) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            },
            // Once a row was let through it counts as seen.
            (true, false) => {
                if counts.contains_key(key) {
                    false
                } else {
                    counts.insert(key.to_vec(), 1);
                    true
                }
            }
            // Each row of the right side lets one equal row through.
            (false, true) => match counts.get_mut(key) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    true
                }
                _ => false,
            },
            (false, false) => counts.remove(key).is_some(),
        }
    }
}

/// A plan that runs once for each distinct binding of its outer columns.
pub struct Correlated {
    /// The plan.
    pub plan: Arc<dyn ExecutionPlan>,
    /// Its slots.
    pub slots: Arc<Slots>,
    /// Types of its output columns.
    pub types: Arc<[Oid]>,
    /// Positions of the outer columns in the outer row, in the order of the parameters that stand for them.
    pub outer: Vec<usize>,
}

impl Correlated {
    /// The context in which the plan runs for an outer row.
    pub(super) fn bind(
        &self,
        cx: &ExecContext,
        row: &dyn RowSource,
    ) -> PgResult<(Arc<ExecContext>, Vec<u8>)> {
        let mut params = cx.params.to_vec();
        let mut key = Vec::new();
        for position in &self.outer {
            let value = row.column(*position)?;
            shardforge_types::codec::row::encode(std::slice::from_ref(&value), &mut key);
            params.push(value);
        }
        Ok((Arc::new(ExecContext { params: params.into(), ..cx.clone() }), key))
    }

    /// Runs the plan for an outer row. One run at a time.
    pub(super) async fn run(
        &self,
        cx: Arc<ExecContext>,
        context: &Arc<TaskContext>,
    ) -> PgResult<SendableRecordBatchStream> {
        self.slots.set(cx);
        let plan = reset_plan_states(self.plan.clone()).map_err(from_df)?;
        plan.execute(0, context.clone()).map_err(from_df)
    }
}

/// What a subquery in an expression answers.
pub enum SubqueryAnswer {
    /// Its only value.
    Scalar,
    /// Whether it has a row.
    Exists,
    /// An array of its values.
    Array(Oid),
    /// Whether a test over its rows is true of any (or of all).
    Quantified {
        /// Over the subquery's columns.
        test: CompiledExpr,
        /// ANY rather than ALL.
        any: bool,
    },
}

/// Adds one column for each subquery to its input.
pub struct SubqueryOp {
    pub schema: SchemaRef,
    pub input_types: Arc<[Oid]>,
    pub subqueries: Arc<Vec<(Correlated, SubqueryAnswer, Oid)>>,
    pub slots: Arc<Slots>,
}

impl Operator for SubqueryOp {
    fn describe(&self) -> String {
        let correlated = self.subqueries.iter().filter(|(sub, ..)| !sub.outer.is_empty()).count();
        format!("Subqueries: {} ({correlated} correlated)", self.subqueries.len())
    }

    fn start(
        self: Arc<Self>,
        mut inputs: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let caches = (0..self.subqueries.len()).map(|_| HashMap::<Vec<u8>, Datum>::new()).collect::<Vec<_>>();
        let state = (self, inputs.remove(0), cx, context, caches);
        Ok(stream::try_unfold(state, |(op, mut input, cx, context, mut caches)| async move {
            let Some(batch) = input.next().await else { return Ok(None) };
            let batch = batch.map_err(from_df)?;
            let mut builders: Vec<ColumnBuilder> =
                op.subqueries.iter().map(|(_, _, ty)| ColumnBuilder::new(*ty)).collect();
            for row in 0..batch.num_rows() {
                for (i, (sub, answer, _)) in op.subqueries.iter().enumerate() {
                    let source = RowAt { batch: &batch, types: &op.input_types, row };
                    let (bound, key) = sub.bind(&cx, &source)?;
                    if let Some(known) = caches[i].get(&key) {
                        builders[i].push(known)?;
                        continue;
                    }
                    let value = answer.compute(sub, bound, &context).await?;
                    builders[i].push(&value)?;
                    if caches[i].len() < APPLY_CACHE_MAX {
                        caches[i].insert(key, value);
                    }
                }
                cx.env.session.host.check_canceled()?;
            }
            let mut arrays = batch.columns().to_vec();
            arrays.extend(builders.into_iter().map(ColumnBuilder::finish));
            let out = make_batch(&op.schema, arrays, batch.num_rows())?;
            Ok(Some((out, (op, input, cx, context, caches))))
        })
        .boxed())
    }
}

/// As [`BatchRow`], and safe to hold while waiting.
struct RowAt<'a> {
    batch: &'a RecordBatch,
    types: &'a [Oid],
    row: usize,
}

impl RowSource for RowAt<'_> {
    fn column(&self, index: usize) -> PgResult<Datum> {
        value_at(self.batch.column(index).as_ref(), self.types[index], self.row)
    }
}

impl SubqueryAnswer {
    async fn compute(
        &self,
        sub: &Correlated,
        cx: Arc<ExecContext>,
        context: &Arc<TaskContext>,
    ) -> PgResult<Datum> {
        let mut rows = sub.run(cx.clone(), context).await?;
        let mut found: Option<Datum> = None;
        let mut elements = Vec::new();
        let mut unknown = false;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(from_df)?;
            for row in 0..batch.num_rows() {
                match self {
                    SubqueryAnswer::Exists => return Ok(Datum::Bool(true)),
                    SubqueryAnswer::Scalar => {
                        if found.is_some() {
                            return Err(PgError::new(
                                SqlState::CARDINALITY_VIOLATION,
                                "more than one row returned by a subquery used as an expression",
                            ));
                        }
                        found = Some(value_at(batch.column(0).as_ref(), sub.types[0], row)?);
                    }
                    SubqueryAnswer::Array(_) => {
                        elements.push(value_at(batch.column(0).as_ref(), sub.types[0], row)?);
                    }
                    SubqueryAnswer::Quantified { test, any } => {
                        let source = RowAt { batch: &batch, types: &sub.types, row };
                        match test.eval(&source, &cx.params, &cx.env)? {
                            Datum::Bool(result) if result == *any => return Ok(Datum::Bool(*any)),
                            Datum::Null => unknown = true,
                            _ => {}
                        }
                    }
                }
            }
        }
        Ok(match self {
            SubqueryAnswer::Exists => Datum::Bool(false),
            SubqueryAnswer::Scalar => found.unwrap_or(Datum::Null),
            SubqueryAnswer::Array(elem) => func::array_of(*elem, elements)?,
            SubqueryAnswer::Quantified { .. } if unknown => Datum::Null,
            SubqueryAnswer::Quantified { any, .. } => Datum::Bool(!any),
        })
    }
}

/// A lateral join: the right side runs for each row of the left one.
pub struct LateralOp {
    pub schema: SchemaRef,
    pub left_types: Arc<[Oid]>,
    pub right: Arc<Correlated>,
    /// Join condition over left's columns, then right's.
    pub on: Option<CompiledExpr>,
    /// LEFT JOIN: a left row without match appears once, with NULLs.
    pub outer_join: bool,
    pub slots: Arc<Slots>,
}

impl Operator for LateralOp {
    fn describe(&self) -> String {
        format!("Lateral {}Join", if self.outer_join { "Left " } else { "" })
    }

    fn start(
        self: Arc<Self>,
        mut inputs: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let state = (self, inputs.remove(0), cx, context);
        Ok(stream::try_unfold(state, |(op, mut input, cx, context)| async move {
            let Some(batch) = input.next().await else { return Ok(None) };
            let batch = batch.map_err(from_df)?;
            let out = op.join(&batch, &cx, &context).await?;
            Ok(Some((out, (op, input, cx, context))))
        })
        .boxed())
    }
}

impl LateralOp {
    async fn join(
        &self,
        batch: &RecordBatch,
        cx: &ExecContext,
        context: &Arc<TaskContext>,
    ) -> PgResult<RecordBatch> {
        let right_types = &self.right.types;
        let types: Vec<Oid> = self.left_types.iter().chain(right_types.iter()).copied().collect();
        let mut builders: Vec<ColumnBuilder> = types.iter().map(|ty| ColumnBuilder::new(*ty)).collect();
        let mut count = 0;
        for row in 0..batch.num_rows() {
            let left = row_values(batch, &self.left_types, row)?;
            let (bound, _) = self.right.bind(cx, &left)?;
            let mut rows = self.right.run(bound.clone(), context).await?;
            let mut matched = false;
            while let Some(right) = rows.next().await {
                let right = right.map_err(from_df)?;
                for at in 0..right.num_rows() {
                    let mut joined = left.clone();
                    joined.extend(row_values(&right, right_types, at)?);
                    if let Some(on) = &self.on
                        && on.eval(&joined, &bound.params, &bound.env)? != Datum::Bool(true)
                    {
                        continue;
                    }
                    matched = true;
                    count += 1;
                    for (builder, value) in builders.iter_mut().zip(&joined) {
                        builder.push(value)?;
                    }
                }
            }
            if !matched && self.outer_join {
                count += 1;
                let nulls = std::iter::repeat_n(&Datum::Null, right_types.len());
                for (builder, value) in builders.iter_mut().zip(left.iter().chain(nulls)) {
                    builder.push(value)?;
                }
            }
            cx.env.session.host.check_canceled()?;
        }
        finish_batch(&self.schema, builders, count)
    }
}
