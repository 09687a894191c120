//! Queries that the fast path does not run, as DataFusion plans.
//!
//! ```text
//!   ir::Rel --rewrite--> ir::Rel --lower--> ExecutionPlan --run--> batches --> RowSink
//! ```
//!
//! A [`DfPlan`] keeps instances of its physical plan in a pool: an execution takes one (or makes one), puts its
//! context into the instance's [`slots::Slots`], runs it, and gives it back with its state reset.

mod aggregate;
mod arrays;
mod ctes;
mod error;
mod expr;
mod locking;
mod lower;
mod memory;
mod operator;
mod operators;
mod rewrite;
mod slots;

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result as DfResult;
use datafusion::execution::context::TaskContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::SessionConfig;
use futures::StreamExt;
use futures::future::poll_fn;
use parking_lot::Mutex;
use shardforge_types::{Oid, PgResult};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::block_in_place;

use self::arrays::value_at;
use self::error::from_df;
use self::lower::{Lowering, types_of};
pub use self::memory::MemoryAccount;
use self::operator::OperatorExec;
use self::slots::Slots;
use crate::engine::EngineOptions;
use crate::ir::{Col, Rel};
use crate::plan::{ExecContext, Field, OutputRow, Planner, Progress, RowSink};

/// DataFusion's state that all queries share: memory pool, spill directory, configuration.
pub struct DfRuntime {
    context: Arc<TaskContext>,
    environment: Arc<RuntimeEnv>,
}

impl DfRuntime {
    /// Sets up memory and spilling.
    ///
    /// # Errors
    /// If the spill directory cannot be made.
    pub fn new(options: &EngineOptions) -> PgResult<DfRuntime> {
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![options.spill_dir.clone()]));
        let environment = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(options.query_memory_bytes)))
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(from_df)?;
        let config = SessionConfig::new().with_target_partitions(1).with_batch_size(operators::BATCH_ROWS);
        let state =
            SessionStateBuilder::new().with_config(config).with_runtime_env(environment.clone()).build();
        Ok(DfRuntime { context: state.task_ctx(), environment })
    }

    /// Bytes that running queries have reserved.
    pub fn reserved_bytes(&self) -> usize {
        self.environment.memory_pool.reserved()
    }
}

/// A planned query.
pub struct DfPlan {
    cols: Vec<Col>,
    template: Instance,
    pool: Mutex<Vec<Instance>>,
    remake: Remake,
    joins: bool,
}

/// Makes another instance.
type Remake = Box<dyn Fn() -> PgResult<Instance> + Send + Sync>;

/// A physical plan with its slots; serves one execution at a time.
#[derive(Clone)]
struct Instance {
    plan: Arc<dyn ExecutionPlan>,
    slots: Arc<Slots>,
}

/// Instances kept for later executions.
const POOL_MAX: usize = 8;

impl DfPlan {
    /// Plans a query whose rows have the given columns, in this order.
    ///
    /// # Errors
    /// 0A000 for what is not supported; expressions that do not compile.
    pub fn plan(rel: &Rel, output: &[Col], params: usize, planner: &Planner<'_>) -> PgResult<DfPlan> {
        let params = u16::try_from(params).unwrap_or(u16::MAX);
        let make = move |planner: &Planner<'_>, rel: &Rel, output: &[Col]| -> PgResult<Instance> {
            let slots = Arc::new(Slots::default());
            let lowered = Lowering::new(planner, slots.clone(), params).query(rel, output)?;
            Ok(Instance { plan: lowered.plan, slots })
        };
        let template = make(planner, rel, output)?;
        let (engine, catalog, reads_at) = (planner.engine.clone(), planner.catalog.clone(), planner.reads_at);
        let (rel, cols) = (rel.clone(), output.to_vec());
        let remake: Remake = {
            let cols = cols.clone();
            Box::new(move || make(&Planner { engine: &engine, catalog: &catalog, reads_at }, &rel, &cols))
        };
        let joins = joins(&template.plan);
        Ok(DfPlan { cols, pool: Mutex::new(vec![template.clone()]), template, remake, joins })
    }

    /// Types of the output columns.
    pub fn types(&self) -> Arc<[Oid]> {
        types_of(&self.cols)
    }

    /// The physical plan as text, one line a node.
    pub fn explain(&self, _verbose: bool) -> Vec<String> {
        displayable(self.template.plan.as_ref())
            .indent(false)
            .to_string()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// See [`crate::plan::QueryPlan::can_go_back`].
    pub fn can_go_back(&self) -> bool {
        can_go_back(&self.template.plan)
    }

    fn take(&self) -> PgResult<Instance> {
        // In a statement of its own, so that the pool is not locked while a plan is made.
        let pooled = self.pool.lock().pop();
        match pooled {
            Some(instance) => Ok(instance),
            None => (self.remake)(),
        }
    }

    fn give_back(&self, instance: Instance) {
        instance.slots.clear();
        let Ok(plan) = reset_plan_states(instance.plan) else { return };
        let mut pool = self.pool.lock();
        if pool.len() < POOL_MAX {
            pool.push(Instance { plan, slots: instance.slots });
        }
    }
}

fn can_go_back(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let any: &dyn Any = plan.as_ref();
    let by_itself = any.is::<SortExec>();
    let with_inputs = any.is::<ProjectionExec>()
        || any.is::<FilterExec>()
        || any.is::<UnionExec>()
        || any.is::<CoalescePartitionsExec>()
        || any.downcast_ref::<OperatorExec>().is_some_and(OperatorExec::can_go_back);
    by_itself || (with_inputs && plan.children().into_iter().all(can_go_back))
}

/// Whether a few rows may become very many, with nothing that gives way in between.
fn joins(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let any: &dyn Any = plan.as_ref();
    any.is::<HashJoinExec>() || any.is::<NestedLoopJoinExec>() || plan.children().into_iter().any(joins)
}

/// A query being run.
pub struct DfCursor {
    plan: Arc<DfPlan>,
    types: Arc<[Oid]>,
    instance: Option<Instance>,
    /// Behind a lock only so that a session can be shared by reference while it waits.
    stream: Mutex<SendableRecordBatchStream>,
    /// Nothing was asked of it yet.
    begins: bool,
    batch: Option<(RecordBatch, usize)>,
}

impl DfCursor {
    /// Starts a query.
    ///
    /// # Errors
    /// What starting raises.
    pub async fn start(plan: &Arc<DfPlan>, cx: &ExecContext) -> PgResult<DfCursor> {
        let instance = plan.take()?;
        instance.slots.set(Arc::new(cx.clone()));
        let stream = instance.plan.execute(0, cx.engine.df.context.clone()).map_err(from_df)?;
        Ok(DfCursor {
            plan: plan.clone(),
            types: plan.types(),
            instance: Some(instance),
            stream: Mutex::new(stream),
            begins: true,
            batch: None,
        })
    }

    /// Sends up to `max` rows: at most those of one batch.
    ///
    /// # Errors
    /// What the query raises.
    pub async fn fetch(
        &mut self,
        _cx: &ExecContext,
        max: usize,
        sink: &mut dyn RowSink,
    ) -> PgResult<Progress> {
        loop {
            if let Some((batch, at)) = &mut self.batch {
                let count = max.min(batch.num_rows() - *at);
                for row in *at..*at + count {
                    sink.row(&ArrowRow { batch, types: &self.types, row })?;
                }
                *at += count;
                if *at == batch.num_rows() {
                    self.batch = None;
                }
                return Ok(Progress { rows: count, done: false });
            }
            match self.next_batch().await {
                None => {
                    if let Some(instance) = self.instance.take() {
                        self.plan.give_back(instance);
                    }
                    return Ok(Progress { rows: 0, done: true });
                }
                Some(batch) => {
                    let batch = batch.map_err(from_df)?;
                    if batch.num_rows() > 0 {
                        self.batch = Some((batch, 0));
                    }
                }
            }
        }
    }
}

impl DfCursor {
    /// The next batch. The first step of a join may be all of it: the worker's other tasks are handed to another thread before it.
    async fn next_batch(&mut self) -> Option<DfResult<RecordBatch>> {
        let stream = self.stream.get_mut();
        let mut hands_over = std::mem::take(&mut self.begins)
            && self.plan.joins
            && Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread;
        poll_fn(|cx| match std::mem::take(&mut hands_over) {
            true => block_in_place(|| stream.poll_next_unpin(cx)),
            false => stream.poll_next_unpin(cx),
        })
        .await
    }
}

struct ArrowRow<'a> {
    batch: &'a RecordBatch,
    types: &'a [Oid],
    row: usize,
}

impl OutputRow for ArrowRow<'_> {
    fn columns(&self) -> usize {
        self.types.len()
    }

    fn field(&self, index: usize, emit: &mut dyn FnMut(Field<'_>) -> PgResult<()>) -> PgResult<()> {
        let value = value_at(self.batch.column(index).as_ref(), self.types[index], self.row)?;
        emit(if value.is_null() { Field::Null } else { Field::Value(&value) })
    }
}
