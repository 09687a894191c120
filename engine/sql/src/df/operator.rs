//! [`OperatorExec`]: a node of a physical plan whose work is one of our own operators.
//!
//! DataFusion's [`ExecutionPlan`] has many methods that mean the same for every operator of ours: one partition,
//! no order promised, nothing pushed down. An operator says what its inputs are and how rows flow.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::Stream;
use futures::stream::BoxStream;
use shardforge_types::PgResult;

use super::error::{from_df, to_df};

/// An operator of our own.
pub trait Operator: Any + Send + Sync {
    /// What EXPLAIN calls it.
    fn describe(&self) -> String;

    /// Whether a cursor over it may move backward, given that its inputs allow it: see
    /// [`crate::plan::QueryPlan::can_go_back`].
    fn can_go_back(&self) -> bool {
        false
    }

    /// Starts it: batches of the operator's schema.
    ///
    /// # Errors
    /// What starting raises.
    fn start(
        self: Arc<Self>,
        inputs: Vec<SendableRecordBatchStream>,
        context: Arc<TaskContext>,
    ) -> PgResult<BoxStream<'static, PgResult<RecordBatch>>>;
}

/// See the module's documentation.
pub struct OperatorExec {
    operator: Arc<dyn Operator>,
    inputs: Vec<Arc<dyn ExecutionPlan>>,
    properties: Arc<PlanProperties>,
}

impl OperatorExec {
    /// A node with this schema over these inputs.
    pub fn new(operator: Arc<dyn Operator>, schema: SchemaRef, inputs: Vec<Arc<dyn ExecutionPlan>>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        OperatorExec { operator, inputs, properties: Arc::new(properties) }
    }

    /// See [`Operator::can_go_back`].
    pub fn can_go_back(&self) -> bool {
        self.operator.can_go_back()
    }
}

impl fmt::Debug for OperatorExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.operator.describe())
    }
}

impl DisplayAs for OperatorExec {
    fn fmt_as(&self, _t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.operator.describe())
    }
}

impl ExecutionPlan for OperatorExec {
    fn name(&self) -> &str {
        "OperatorExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.inputs.iter().collect()
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(OperatorExec {
            operator: self.operator.clone(),
            inputs: children,
            properties: self.properties.clone(),
        }))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        use futures::StreamExt;
        let inputs = self
            .inputs
            .iter()
            .map(|input| input.execute(partition, context.clone()))
            .collect::<DfResult<Vec<_>>>()?;
        let batches = self.operator.clone().start(inputs, context).map_err(to_df)?;
        let batches = Sliced::new(batches).map(|batch| batch.map_err(to_df));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}

/// A plan that makes very many rows of few, as a join does: it gives way as our own operators do.
pub fn giving_way(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    Arc::new(OperatorExec::new(Arc::new(GiveWay), plan.schema(), vec![plan]))
}

/// See [`giving_way`].
struct GiveWay;

impl Operator for GiveWay {
    fn describe(&self) -> String {
        "GiveWay".to_owned()
    }

    fn start(
        self: Arc<Self>,
        inputs: Vec<SendableRecordBatchStream>,
        _: Arc<TaskContext>,
    ) -> PgResult<BoxStream<'static, PgResult<RecordBatch>>> {
        use futures::StreamExt;
        let batches = futures::stream::iter(inputs).flatten();
        Ok(batches.map(|batch| batch.map_err(from_df)).boxed())
    }
}

/// A query computes for no longer than this without giving way to others, as long as it asks our operators or joins for rows.
const SLICE: Duration = Duration::from_millis(5);

/// A stream that gives way when it has had rows without a break for a [`SLICE`]: what is above it may take them all in one go.
struct Sliced {
    batches: BoxStream<'static, PgResult<RecordBatch>>,
    /// When it was first asked since it last gave way.
    since: Option<Instant>,
}

impl Sliced {
    fn new(batches: BoxStream<'static, PgResult<RecordBatch>>) -> Sliced {
        Sliced { batches, since: None }
    }
}

impl Stream for Sliced {
    type Item = PgResult<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SLICE {
            self.since = None;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let next = self.batches.as_mut().poll_next(cx);
        if next.is_pending() {
            self.since = None;
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use futures::{FutureExt, StreamExt};

    use super::*;

    #[tokio::test]
    async fn a_stream_that_always_has_rows_gives_way() {
        let batch = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let endless = futures::stream::repeat_with(move || Ok(batch.clone()));
        let mut sliced = Sliced::new(endless.boxed());
        let began = Instant::now();
        let mut rows = 0u64;
        while sliced.next().now_or_never().is_some() {
            rows += 1;
        }
        assert!(rows > 0 && began.elapsed() >= SLICE);
        assert!(sliced.next().now_or_never().is_some(), "and goes on");
    }
}
