//! Common table expressions: rows computed once and read by each reference, recursion, what writes returned.
//!
//! The rows of an expression are pulled as its readers ask for them, so that a LIMIT outside stops a recursion that
//! would not end by itself. They are kept until the plan's run is over, and count as memory of the query.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use futures::StreamExt;
use futures::stream;
use hashbrown::HashSet;
use parking_lot::Mutex;
use shardforge_types::{Datum, Oid, PgError, PgResult};

use super::error::from_df;
use super::operator::Operator;
use super::operators::{BATCH_ROWS, Batches, batch_of, filtered, make_batch, row_key};
use super::slots::Slots;
use crate::ir::CteId;

/// What a batch costs beyond its arrays' buffers.
const BATCH_OVERHEAD_BYTES: usize = 256;

/// The rows of a common table expression, as far as its readers have asked for them.
#[derive(Default)]
pub struct CteRows {
    run: tokio::sync::Mutex<Option<Run>>,
}

struct Run {
    /// Of the slots: which execution this is.
    generation: u64,
    batches: Vec<RecordBatch>,
    /// Yields the rest; `None` when there is none.
    rest: Option<SendableRecordBatchStream>,
    memory: MemoryReservation,
}

impl CteRows {
    /// Ends the run, if no reader is at work.
    pub fn forget(&self) {
        if let Ok(mut run) = self.run.try_lock() {
            *run = None;
        }
    }

    /// A batch by its number; `None` past the last one.
    async fn batch(
        &self,
        index: usize,
        scan: &CteScanOp,
        context: &Arc<TaskContext>,
    ) -> PgResult<Option<RecordBatch>> {
        let generation = scan.slots.generation();
        let mut state = self.run.lock().await;
        let run = match &mut *state {
            Some(run) if run.generation == generation => run,
            // Rows of another run are of no use.
            other => {
                let plan = reset_plan_states(scan.plan.clone()).map_err(from_df)?;
                let rest = Some(plan.execute(0, context.clone()).map_err(from_df)?);
                let memory = MemoryConsumer::new("common table expression").register(context.memory_pool());
                other.insert(Run { generation, batches: Vec::new(), rest, memory })
            }
        };
        while run.batches.len() <= index {
            let Some(rest) = &mut run.rest else { return Ok(None) };
            match rest.next().await {
                None => run.rest = None,
                Some(batch) => {
                    let batch = batch.map_err(from_df)?;
                    let bytes = batch.get_array_memory_size() + BATCH_OVERHEAD_BYTES;
                    run.memory.try_grow(bytes).map_err(from_df)?;
                    run.batches.push(batch);
                }
            }
        }
        Ok(Some(run.batches[index].clone()))
    }
}

/// Reads a common table expression.
pub struct CteScanOp {
    pub schema: SchemaRef,
    pub name: String,
    pub plan: Arc<dyn ExecutionPlan>,
    pub rows: Arc<CteRows>,
    pub slots: Arc<Slots>,
}

impl Operator for CteScanOp {
    fn describe(&self) -> String {
        format!("CTE Scan on {}", self.name)
    }

    fn can_go_back(&self) -> bool {
        true
    }

    fn start(
        self: Arc<Self>,
        _: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let state = (self, context, 0usize);
        Ok(stream::try_unfold(state, |(op, context, index)| async move {
            let Some(batch) = op.rows.batch(index, &op, &context).await? else { return Ok(None) };
            let batch = make_batch(&op.schema, batch.columns().to_vec(), batch.num_rows())?;
            Ok(Some((batch, (op, context, index + 1))))
        })
        .boxed())
    }
}

/// The working table of a recursive query: what its step reads.
#[derive(Default)]
pub struct WorkTable {
    batches: Mutex<Vec<RecordBatch>>,
}

/// Reads the working table.
pub struct WorkTableOp {
    pub schema: SchemaRef,
    pub table: Arc<WorkTable>,
}

impl Operator for WorkTableOp {
    fn describe(&self) -> String {
        "WorkTable Scan".to_owned()
    }

    fn start(self: Arc<Self>, _: Vec<SendableRecordBatchStream>, _: Arc<TaskContext>) -> PgResult<Batches> {
        let batches = self.table.batches.lock().clone();
        let schema = self.schema.clone();
        Ok(stream::iter(batches)
            .map(move |batch| make_batch(&schema, batch.columns().to_vec(), batch.num_rows()))
            .boxed())
    }
}

/// WITH RECURSIVE: the base, then the step over what the round before added, until it adds nothing.
pub struct RecursiveOp {
    pub schema: SchemaRef,
    pub types: Arc<[Oid]>,
    pub base: Arc<dyn ExecutionPlan>,
    pub step: Arc<dyn ExecutionPlan>,
    pub table: Arc<WorkTable>,
    pub all: bool,
    pub slots: Arc<Slots>,
}

/// How far a recursion is.
struct Recursion {
    begun: bool,
    /// Rows of a UNION so far.
    seen: HashSet<Vec<u8>>,
    /// For `seen`.
    memory: MemoryReservation,
}

impl Operator for RecursiveOp {
    fn describe(&self) -> String {
        "Recursive Union".to_owned()
    }

    fn start(
        self: Arc<Self>,
        _: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<Batches> {
        let cx = self.slots.get()?;
        let memory = MemoryConsumer::new("recursive query").register(context.memory_pool());
        let state = (self, cx, context, Recursion { begun: false, seen: HashSet::new(), memory });
        Ok(stream::try_unfold(state, |(op, cx, context, mut recursion)| async move {
            cx.env.session.host.check_canceled()?;
            // A recursion over what is in memory must not keep the session from being cancelled.
            tokio::task::consume_budget().await;
            let added = op.round(&mut recursion, &context).await?;
            op.table.batches.lock().clone_from(&added);
            if added.is_empty() {
                return Ok(None);
            }
            let all = compute::concat_batches(&op.schema, &added)
                .map_err(|error| PgError::internal(format!("query engine: {error}")))?;
            Ok(Some((all, (op, cx, context, recursion))))
        })
        .boxed())
    }
}

impl RecursiveOp {
    /// The rows that the next round adds.
    async fn round(
        &self,
        recursion: &mut Recursion,
        context: &Arc<TaskContext>,
    ) -> PgResult<Vec<RecordBatch>> {
        let plan = if recursion.begun { &self.step } else { &self.base };
        recursion.begun = true;
        let plan = reset_plan_states(plan.clone()).map_err(from_df)?;
        let mut stream = plan.execute(0, context.clone()).map_err(from_df)?;
        let mut added = Vec::new();
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(from_df)?;
            let mut batch = make_batch(&self.schema, batch.columns().to_vec(), batch.num_rows())?;
            if !self.all {
                let mut mask = Vec::with_capacity(batch.num_rows());
                let mut key = Vec::new();
                for row in 0..batch.num_rows() {
                    row_key(&batch, &self.types, row, &mut key)?;
                    let new = recursion.seen.insert(key.clone());
                    if new {
                        recursion.memory.try_grow(key.len() + size_of::<Vec<u8>>()).map_err(from_df)?;
                    }
                    mask.push(new);
                }
                batch = filtered(&batch, mask)?;
            }
            if batch.num_rows() > 0 {
                added.push(batch);
            }
        }
        Ok(added)
    }
}

/// What a data-modifying statement of WITH returned; it has run before.
pub struct WrittenOp {
    pub schema: SchemaRef,
    pub types: Arc<[Oid]>,
    pub cte: CteId,
    pub slots: Arc<Slots>,
}

impl Operator for WrittenOp {
    fn describe(&self) -> String {
        "Written Rows".to_owned()
    }

    fn start(self: Arc<Self>, _: Vec<SendableRecordBatchStream>, _: Arc<TaskContext>) -> PgResult<Batches> {
        let rows = self
            .slots
            .get()?
            .written
            .get(&self.cte)
            .cloned()
            .ok_or_else(|| PgError::internal("a data-modifying statement of WITH has not run"))?;
        let chunks = rows.len().div_ceil(BATCH_ROWS);
        Ok(stream::iter(0..chunks)
            .map(move |chunk| {
                let positions = chunk * BATCH_ROWS..rows.len().min((chunk + 1) * BATCH_ROWS);
                let rows: Vec<Vec<Datum>> = rows.range(positions).cloned().collect();
                batch_of(&self.schema, &self.types, &rows)
            })
            .boxed())
    }
}
