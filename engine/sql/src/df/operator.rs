//! [`OperatorExec`]: a node of a physical plan whose work is one of our own operators.
//!
//! DataFusion's [`ExecutionPlan`] has many methods that mean the same for every operator of ours: one partition,
//! no order promised, nothing pushed down. An operator says what its inputs are and how rows flow.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::stream::BoxStream;
use shardforge_types::PgResult;

use super::error::to_df;

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
        let batches = batches.map(|batch| batch.map_err(to_df));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), batches)))
    }
}
